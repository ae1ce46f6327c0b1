"""Small .tflite and .onnx files made by hand, for what is computed from files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

BYTES = {"FLOAT32": 4, "FLOAT16": 2, "INT8": 1, "UINT8": 1, "INT16": 2, "INT32": 4, "INT4": 0.5}


@dataclass(frozen=True)
class T:
    """A tensor: activations unless ``held``, then as many zero bytes are stored as its type needs."""

    shape: tuple[int, ...]
    kind: str = "FLOAT32"
    held: bool = False
    variable: bool = False
    signature: tuple[int, ...] = ()


Ops = Sequence[tuple[str, Sequence[int], Sequence[int]]]
OPTIONS = {"ADD": "Add", "MUL": "Mul", "SUB": "Sub", "DIV": "Div", "CONCATENATION": "Concatenation"}


def tflite(
    path: Path, tensors: Sequence[T], ops: Ops, inputs: Sequence[int], outputs: Sequence[int], bodies: int = 0
) -> Path:
    """Write a .tflite of these tensors and operators, with so many more (empty) subgraphs.

    A quantized type gets a scale, an unknown operator becomes a custom one.
    """
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    graph.tensors, graph.operators = [_tensor(t, f"net/t{i};x", model) for i, t in enumerate(tensors)], []
    graph.inputs, graph.outputs = list(inputs), list(outputs)
    for op, read, written in ops:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, op, schema.BuiltinOperator.CUSTOM)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        code.customCode = None if hasattr(schema.BuiltinOperator, op) else op.encode()
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes), read, written
        if op in OPTIONS:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{OPTIONS[op]}Options")
            operator.builtinOptions = getattr(schema, f"{OPTIONS[op]}OptionsT")()
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    model.subgraphs = [graph, *(schema.SubGraphT() for _ in range(bodies))]
    path.write_bytes(packed(model))
    return path


def packed(model: Any) -> bytes:
    """A model of the schema as a ``.tflite``, with nothing changed in it."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(described: T, name: str, model: Any) -> Any:
    tensor = schema.TensorT()
    tensor.shape, tensor.name, tensor.isVariable = list(described.shape), name.encode(), described.variable
    tensor.type = getattr(schema.TensorType, described.kind)
    if described.signature:
        tensor.shapeSignature = list(described.signature)
    if described.kind in ("INT8", "UINT8", "INT4", "INT16"):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [1.0], [0]
    if described.held:
        buffer = schema.BufferT()
        buffer.data = [0] * math.ceil(math.prod(described.shape) * BYTES[described.kind])
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    return tensor


def onnx_file(
    path: Path,
    nodes: Sequence[tuple[str, Sequence[str], Sequence[str], dict[str, Any]]],
    inputs: dict[str, tuple[Any, ...]],
    weights: dict[str, tuple[str, tuple[int, ...]]],
    outputs: Sequence[str],
) -> Path:
    """Write a .onnx: float inputs by shape, weights of zeros by type and shape; shapes are inferred."""
    import onnx

    make, kinds = onnx.helper, onnx.TensorProto
    held = [
        make.make_tensor(name, getattr(kinds, kind), shape, [0] * math.prod(shape))
        for name, (kind, shape) in weights.items()
    ]
    graph = make.make_graph(
        [make.make_node(op, read, written, **extra) for op, read, written, extra in nodes],
        "g",
        [make.make_tensor_value_info(name, kinds.FLOAT, shape) for name, shape in inputs.items()],
        [make.make_empty_tensor_value_info(name) for name in outputs],
        held,
    )
    opsets = [make.make_opsetid("", 17), make.make_opsetid("mine", 1)]
    onnx.save(make.make_model(graph, opset_imports=opsets), path)
    return path
