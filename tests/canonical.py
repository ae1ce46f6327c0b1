"""What every ``.tflite`` of ours is, asserted from its bytes: one plain flatbuffer in its lowest versions."""

import io
import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from footseg.export import plain, versions

# Bits of an element of each type that our files have.
BITS = {"FLOAT32": 32, "FLOAT16": 16, "INT32": 32, "INT64": 64, "UINT8": 8, "INT8": 8, "INT16": 16, "INT4": 4}
# The field of a buffer's data in its table.
DATA = 4


def canonical(file: Path | bytes) -> None:
    """Assert that a ``.tflite`` is in the form that all readers of the format know."""
    data = file if isinstance(file, bytes) else file.read_bytes()
    wrong = list(faults(data))
    assert not wrong, wrong


def faults(data: bytes) -> Iterator[str]:
    """What is not so, in words."""
    if data[4:8] != b"TFL3":
        yield f"identifier {data[4:8]!r}"
    model = schema.Model.GetRootAs(data, 0)
    end = _end(data)
    if model.Version() != 3:
        yield f"version {model.Version()} of the schema"
    if model.SubgraphsLength() != 1:
        yield f"{model.SubgraphsLength()} subgraphs"
    yield from _buffers(model, end)
    yield from _codes(model, data)
    yield from _tensors(model)
    yield from _order(model.Subgraphs(0))
    yield from _signatures(model)
    yield from _metadata(model, schema.ModelT.InitFromPackedBuf(data))


def _end(data: bytes) -> int:
    """Where the flatbuffer ends: at an archive of labels, or with the file."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return min(entry.header_offset for entry in archive.infolist())


def _buffers(model: Any, end: int) -> Iterator[str]:
    graph = model.Subgraphs(0)
    of_tensors = {graph.Tensors(number).Buffer() for number in range(graph.TensorsLength())}
    of_metadata = {model.Metadata(number).Buffer() for number in range(model.MetadataLength())}
    for number in range(model.BuffersLength()):
        buffer = model.Buffers(number)
        if buffer.Offset() or buffer.Size():
            yield f"buffer {number} lies at {buffer.Offset()}, outside of the flatbuffer"
        place = buffer._tab.Vector(buffer._tab.Offset(DATA)) if buffer.DataLength() else 0
        if place % 16 or place + buffer.DataLength() > end:
            yield f"buffer {number} begins at {place}"
        if number and number not in of_tensors | of_metadata:
            yield f"nothing uses buffer {number}"
    if model.Buffers(0).DataLength():
        yield "buffer 0 holds something: it says that a tensor has no data"


def _codes(model: Any, data: bytes) -> Iterator[str]:
    graph = model.Subgraphs(0)
    used = {graph.Operators(number).OpcodeIndex() for number in range(graph.OperatorsLength())}
    seen = set()
    for number in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(number)
        kind = (code.BuiltinCode(), code.CustomCode(), code.Version())
        if code.DeprecatedBuiltinCode() != min(code.BuiltinCode(), plain.PLACEHOLDER):
            yield f"kind {number} has the codes {code.BuiltinCode()} and {code.DeprecatedBuiltinCode()}"
        if number not in used or kind in seen:
            yield f"kind {number} is not used, or twice there"
        seen.add(kind)
    unpacked = schema.ModelT.InitFromPackedBuf(data)
    for number, operator in enumerate(unpacked.subgraphs[0].operators):
        code = unpacked.operatorCodes[operator.opcodeIndex]
        least = versions.lowest(operator, code, unpacked.subgraphs[0].tensors)
        if code.version != least:
            yield f"operator {number} ({versions.kind(code)}) has version {code.version}, and needs {least}"


def _tensors(model: Any) -> Iterator[str]:
    graph = model.Subgraphs(0)
    types = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    names: Counter[str] = Counter()
    for number in range(graph.TensorsLength()):
        tensor = graph.Tensors(number)
        shape, kind = _numbers(tensor.ShapeAsNumpy()), types[tensor.Type()]
        names[(tensor.Name() or b"").decode()] += 1
        if tensor.ShapeSignatureLength() and _numbers(tensor.ShapeSignatureAsNumpy()) != shape:
            yield f"tensor {number} has an open shape"
        if min(shape, default=1) < 1 or tensor.IsVariable() or tensor.Sparsity() is not None:
            yield f"tensor {number} is {shape}, variable or sparse"
        stored = model.Buffers(tensor.Buffer()).DataLength()
        if stored and stored != math.ceil(math.prod(shape) * BITS[kind] / 8):
            yield f"tensor {number} is {shape} of {kind} and holds {stored} bytes"
        yield from _quantization(number, tensor, shape, kind)
    if twice := [name for name, count in names.items() if count > 1 or not name]:
        yield f"names that are empty or not of one tensor alone: {twice}"


def _quantization(number: int, tensor: Any, shape: tuple[int, ...], kind: str) -> Iterator[str]:
    found = tensor.Quantization()
    scales = 0 if found is None else found.ScaleLength()
    if scales and (found.ZeroPointLength() != scales or not np.isfinite(found.ScaleAsNumpy()).all()):
        yield f"tensor {number} has {scales} scales and {found.ZeroPointLength()} zero points"
    if scales > 1 and shape[found.QuantizedDimension()] != scales:
        yield f"tensor {number}, {shape}, has {scales} scales along {found.QuantizedDimension()}"
    if scales and kind.startswith("FLOAT"):
        yield f"tensor {number} is {kind} and has scales"
    if kind in ("INT8", "UINT8", "INT16", "INT4") and not scales:
        yield f"tensor {number} is {kind} and has no scale"


def _order(graph: Any) -> Iterator[str]:
    """Each operator reads what is stored, given, or written before it; each tensor is of one of them."""
    inputs, outputs = (_numbers(vector) for vector in (graph.InputsAsNumpy(), graph.OutputsAsNumpy()))
    there, touched = set(inputs), {*inputs, *outputs}
    there |= {n for n in range(graph.TensorsLength()) if graph.Tensors(n).Buffer()}
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        read = {n for n in _numbers(operator.InputsAsNumpy()) if n >= 0}
        if read - there:
            yield f"operator {number} reads {read - there} before they are written"
        there |= set(_numbers(operator.OutputsAsNumpy()))
        touched |= read | set(_numbers(operator.OutputsAsNumpy()))
    if set(outputs) - there or len(touched) < graph.TensorsLength():
        yield f"nothing touches the tensors {set(range(graph.TensorsLength())) - touched}"


def _signatures(model: Any) -> Iterator[str]:
    graph = model.Subgraphs(0)
    sides = {"Inputs": _numbers(graph.InputsAsNumpy()), "Outputs": _numbers(graph.OutputsAsNumpy())}
    for number in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(number)
        if signature.SubgraphIndex() or not signature.SignatureKey():
            yield f"signature {number} is of subgraph {signature.SubgraphIndex()}"
        for side, tensors in sides.items():
            entries = [getattr(signature, side)(i) for i in range(getattr(signature, f"{side}Length")())]
            if sorted(entry.TensorIndex() for entry in entries) != sorted(tensors):
                yield f"signature {number} names other {side} than the graph"
            if not all(entry.Name() for entry in entries):
                yield f"signature {number} has {side} without a name"


def _metadata(model: Any, unpacked: Any) -> Iterator[str]:
    entries = [model.Metadata(number) for number in range(model.MetadataLength())]
    names = [entry.Name() for entry in entries]
    if len(set(names)) < len(names):
        yield f"metadata of one name twice: {names}"
    held = {entry.Name(): model.Buffers(entry.Buffer()) for entry in entries}
    codes = [model.OperatorCodes(number) for number in range(model.OperatorCodesLength())]
    kinds = [schema.OperatorCodeT.InitFromObj(code) for code in codes]
    graph = unpacked.subgraphs[0]
    untold = any(
        versions.untold(operator, unpacked.operatorCodes[operator.opcodeIndex], graph.tensors)
        for operator in graph.operators
    )
    promised = None if untold else versions.runtime(kinds)
    said = held.get(plain.RUNTIME)
    text = None if said is None else said.DataAsNumpy().tobytes().rstrip(b"\0").decode()
    if text != promised:
        yield f"min_runtime_version {text}, and the operators need {promised}"


def _numbers(vector: Any) -> tuple[int, ...]:
    """A vector of the flatbuffer, which is 0 where it is not there."""
    return () if isinstance(vector, int) else tuple(int(number) for number in vector)
