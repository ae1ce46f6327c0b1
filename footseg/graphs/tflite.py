"""A ``.tflite`` as a graph, read from its flatbuffer; nothing is run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from footseg.errors import FootsegError
from footseg.graphs.graph import Graph, Operator, Quantization, Shape, Tensor, settled


def read(path: Path) -> Graph:
    """The first subgraph: the others are bodies of control flow, whose number of turns no file says.

    Raises:
        FootsegError: not a whole .tflite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    if not schema.Model.ModelBufferHasIdentifier(data, 0):
        raise FootsegError(f"{path} is not a .tflite file: export it again")
    try:
        return _graph(schema, data)
    # A flatbuffer has no length or checksum; a cut one shows as an offset that leads outside, in any error.
    except Exception as error:
        raise FootsegError(f"{path} is damaged ({error}): export it again") from error


def _graph(schema: Any, data: bytes) -> Graph:
    model = schema.ModelT.InitFromPackedBuf(data)
    ops, types = names(schema.BuiltinOperator), names(schema.TensorType)
    body, codes = model.subgraphs[0], model.operatorCodes
    found = body.tensors or []
    tensors = {i: _tensor(t, types[t.type], model.buffers[t.buffer], data) for i, t in enumerate(found)}
    operators = [_operator(op, codes[op.opcodeIndex], ops, tensors) for op in body.operators or []]
    others = len(model.subgraphs) - 1
    return Graph(
        tensors,
        settled(operators, tensors),
        _numbers(body.inputs),
        _numbers(body.outputs),
        variables=tuple(i for i, tensor in enumerate(found) if tensor.isVariable),
        left_out=(f"{others} subgraphs that the first one calls",) if others else (),
    )


def _tensor(tensor: Any, kind: str, buffer: Any, data: bytes) -> Tensor:
    held = stored(buffer, data)
    return Tensor(
        name=_text(tensor.name),
        shape=_shape(tensor),
        bits=_bits(kind),
        kind=kind.lower(),
        stored=len(held) or None,
        quantization=_quantization(tensor.quantization),
        data=held if len(held) else None,
    )


def stored(buffer: Any, data: bytes) -> memoryview:
    """What a buffer holds, in the flatbuffer or, as of large files, behind it (from an offset above 1 on)."""
    if buffer.data is not None and len(buffer.data):
        return memoryview(buffer.data)
    end = buffer.offset + buffer.size
    if end > len(data):
        raise ValueError(f"a buffer ends at byte {end} of {len(data)}")
    return memoryview(data)[buffer.offset : end] if buffer.offset > 1 else memoryview(b"")


def _shape(tensor: Any) -> Shape | None:
    """The shape with a batch of one; None where the file leaves another side open."""
    if any(side < 0 for side in _numbers(tensor.shapeSignature)[1:]):
        return None
    return _numbers(tensor.shape)


def _quantization(found: Any) -> Quantization | None:
    if found is None or found.scale is None or not len(found.scale):
        return None
    scales = tuple(float(scale) for scale in found.scale)
    return Quantization(scales, _numbers(found.zeroPoint), found.quantizedDimension)


def _operator(operator: Any, code: Any, ops: Mapping[int, str], tensors: Mapping[int, Tensor]) -> Operator:
    number = code_number(code)
    outputs = _numbers(operator.outputs)
    first = tensors[outputs[0]] if outputs else None
    options = operator.builtinOptions or operator.builtinOptions2
    return Operator(
        op=ops[number] if ops[number] != "CUSTOM" else f"CUSTOM {_text(code.customCode)}",
        name=first.name if first else "",
        shape=(first.shape or ()) if first else (),
        inputs=tuple(i if i >= 0 else None for i in _numbers(operator.inputs)),
        outputs=outputs,
        options=vars(options) if options else {},
        version=code.version,
        code=number,
    )


def code_number(code: Any) -> int:
    """The number of a kind of operator: below 127 it stood in a byte before version 3a of the schema."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def names(enumeration: Any) -> dict[int, str]:
    """The names in an enumeration of the schema, by their numbers."""
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _numbers(vector: Any) -> tuple[int, ...]:
    """A vector of the flatbuffer, where it is there."""
    return () if vector is None else tuple(int(value) for value in vector)


def _text(name: bytes | None) -> str:
    return (name or b"").decode()


def _bits(kind: str) -> int:
    """Bits of an element by the name of its type, which ends in them; strings and resources have none."""
    width = re.match(r"[A-Z]+(\d+)", kind)
    return 8 if kind == "BOOL" else int(width[1]) if width else 0
