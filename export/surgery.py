"""Changes to a model as the schema's objects: operators, tensors and constants put into its graph."""

import copy
from typing import Any

import numpy as np

from footseg.export import versions


def of_kind(model: Any, graph: Any, name: str) -> list[Any]:
    """The operators of a kind, as "CONV_2D"."""
    return [
        operator
        for operator in graph.operators or ()
        if versions.kind(model.operatorCodes[operator.opcodeIndex]) == name
    ]


def code_of(model: Any, builtin: int) -> int:
    """The number of a kind of operator in the model's table, into which it is put if it is not there."""
    from ai_edge_litert import schema_py_generated as schema

    for number, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return number
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def tensor_like(graph: Any, number: int, suffix: bytes) -> int:
    """A new tensor as another one, but for its name; returns its number."""
    tensor = copy.copy(graph.tensors[number])
    tensor.name, tensor.buffer, tensor.shapeSignature = tensor.name + suffix, 0, None
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_constant(
    model: Any, graph: Any, name: bytes, value: np.ndarray, kind: int, scale: float | None = None
) -> int:
    """A new tensor that holds ``value``, of a type of the schema; returns its number."""
    from ai_edge_litert import schema_py_generated as schema

    tensor, buffer = schema.TensorT(), schema.BufferT()
    tensor.name, tensor.type, tensor.shape, tensor.buffer = name, kind, list(value.shape), len(model.buffers)
    buffer.data = np.frombuffer(value.tobytes(), np.uint8)
    model.buffers.append(buffer)
    if scale is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_operator(
    model: Any,
    graph: Any,
    builtin: int,
    inputs: list[int],
    outputs: list[int],
    *,
    options: Any = None,
    before: Any = None,
    after: Any = None,
) -> None:
    """Put an operator of a kind (its code in the schema) into the graph, before or after another one.

    Without either it comes last.
    """
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code_of(model, builtin), inputs, outputs
    if options is not None:
        name = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operator.builtinOptions = options
    if before is None and after is None:
        graph.operators.append(operator)
        return
    place = next(i for i, other in enumerate(graph.operators) if other is before or other is after)
    graph.operators.insert(place + (after is not None), operator)
