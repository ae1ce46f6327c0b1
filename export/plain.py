"""A ``.tflite`` as one plain flatbuffer, which every reader of the format opens.

ai-edge-quantizer writes weights behind the flatbuffer, found by their offset in the file, and leaves the
older of an operator's two codes at 0, which is ADD. TensorFlow Lite 2.13, OpenVINO, tf2onnx, MNN and the
writers of metadata know neither: they find no data, or another operator. Written as here, a file is read by
all of them.
"""

from typing import Any

import flatbuffers  # comes with LiteRT, which reads its schema by it
import numpy as np

from footseg.export import versions
from footseg.graphs.tflite import code_number, stored

# Codes from here on do not fit into the older field, which then holds this number.
PLACEHOLDER = 127
RUNTIME = b"min_runtime_version"
# What is said of a file as a whole: it holds no longer once the graph is changed.
DESCRIPTIONS = (b"TFLITE_METADATA", b"FOOTSEG")
# Bytes of the version in the file, the rest of them 0: readers take it for a C string of at most so many.
RUNTIME_BYTES = 16


def unpack(data: bytes) -> Any:
    """The model in ``data`` as the schema's objects (``ModelT``), all of its weights inside.

    What the file says of itself is left out (``export.metadata`` writes it), and the files behind it, too.

    Raises:
        ValueError: a buffer lies outside of the file.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data)
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(stored(buffer, data), np.uint8)
            buffer.offset = buffer.size = 0
    for code in model.operatorCodes:
        code.builtinCode = code_number(code)
    _forget(model, DESCRIPTIONS)
    return model


def pack(model: Any) -> bytes:
    """``model`` as a flatbuffer: operators in their lowest versions, and the lowest runtime that has them.

    Each kind of operator has an entry for each version that is used, and no other; tensors that no operator
    touches and buffers that nothing refers to are left out.
    """
    from ai_edge_litert import schema_py_generated as schema

    for number, graph in enumerate(model.subgraphs):
        _sweep_tensors(model, number, graph)
    codes: dict[tuple[int, Any, int], int] = {}
    entries: list[Any] = []
    told = True
    for graph in model.subgraphs:
        for operator in graph.operators or ():
            old = model.operatorCodes[operator.opcodeIndex]
            told = told and not versions.untold(operator, old, graph.tensors)
            version = versions.lowest(operator, old, graph.tensors)
            key = (old.builtinCode, old.customCode, version)
            if key not in codes:
                codes[key] = len(entries)
                entry = schema.OperatorCodeT()
                entry.builtinCode, entry.customCode, entry.version = key
                entry.deprecatedBuiltinCode = min(old.builtinCode, PLACEHOLDER)
                entries.append(entry)
            operator.opcodeIndex = codes[key]
    model.operatorCodes = entries
    runtime = versions.runtime(entries) if told else None
    if runtime is None:  # Nothing is promised, and what was promised of another graph goes.
        model.metadata = [entry for entry in model.metadata or () if entry.name != RUNTIME]
    else:
        set_metadata(model, RUNTIME, runtime.encode().ljust(RUNTIME_BYTES, b"\0"))
    _order(model)
    builder = _Aligned(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def set_metadata(model: Any, name: bytes, data: bytes) -> None:
    """Put ``data`` under ``name`` into the model's metadata, in place of what stood there."""
    from ai_edge_litert import schema_py_generated as schema

    model.metadata = list(model.metadata or ())
    entry = next((entry for entry in model.metadata if entry.name == name), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, len(model.buffers)
        model.metadata.append(entry)
        model.buffers.append(schema.BufferT())
    model.buffers[entry.buffer].data = np.frombuffer(data, np.uint8)


def _sweep_tensors(model: Any, number: int, graph: Any) -> None:
    """Take the tensors that no operator touches out of a graph of the model, and count the others anew."""
    vectors = [(graph, "inputs"), (graph, "outputs")]
    vectors += [(op, side) for op in graph.operators or () for side in ("inputs", "outputs", "intermediates")]
    vectors = [(owner, side) for owner, side in vectors if getattr(owner, side) is not None]
    kept = sorted({int(tensor) for owner, side in vectors for tensor in getattr(owner, side)} - {-1})
    places = {-1: -1} | {tensor: place for place, tensor in enumerate(kept)}
    graph.tensors = [graph.tensors[tensor] for tensor in kept]
    for owner, side in vectors:
        setattr(owner, side, [places[int(tensor)] for tensor in getattr(owner, side)])
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == number:
            for entry in (*(signature.inputs or ()), *(signature.outputs or ())):
                entry.tensorIndex = places[entry.tensorIndex]


def _forget(model: Any, names: tuple[bytes, ...]) -> None:
    """Take metadata out of a model."""
    if model.metadata is not None:
        model.metadata = [entry for entry in model.metadata if entry.name not in names]


def _order(model: Any) -> None:
    """Number buffers by their first use and drop those without; metadata stands in the order of its names.

    So a model that was changed and changed back is the same bytes. The first buffer is the empty one.
    """
    model.metadataBuffer = None  # numbers of buffers, as metadata was found before it had names
    model.metadata = sorted(model.metadata or (), key=lambda entry: entry.name)
    places = {0: 0}
    for user in [*(tensor for graph in model.subgraphs for tensor in graph.tensors), *model.metadata]:
        user.buffer = places.setdefault(user.buffer, len(places))
    model.buffers = [model.buffers[number] for number in places]


class _Aligned(flatbuffers.Builder):
    """Puts bytes where 16 divides the place, as the schema asks of buffers.

    Python's own takes 4: a runtime that reads wider numbers where they lie may not.
    """

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - flatbuffers' name
        if x.dtype == np.uint8:
            self.Prep(16, x.nbytes)
        return super().CreateNumpyVector(x)
