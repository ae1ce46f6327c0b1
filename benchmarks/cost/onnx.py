"""A ``.onnx`` as a graph, its shapes by ONNX's own inference; nothing is run.

Integer files are written with a DequantizeLinear before and a QuantizeLinear behind each operator. A runtime
takes the three for one operator in integers, and so does this reader, wherever all data that an operator
reads comes from a DequantizeLinear and all that it writes goes into a QuantizeLinear.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footseg.benchmarks.cost.graph import Graph, Macs, Operator, Shape, Tensor, settled
from footseg.errors import FootsegError, require

if TYPE_CHECKING:
    import onnx

# Where an operator that multiplies has its data and its weights among its inputs.
DATA_AND_WEIGHTS = {
    "Conv": (0, 1),
    "ConvTranspose": (0, 1),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
}
# Inputs that can be weights; of the others, all. Not scales, zero points, a Resize's region and factors.
WEIGHTS = {
    "QuantizeLinear": (0,),
    "DequantizeLinear": (0,),
    "Resize": (0,),
    "Upsample": (0,),
    "QLinearConv": (0, 3, 8),
    "QLinearMatMul": (0, 3),
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
}


def read(path: Path) -> Graph:
    """The main graph: those that If, Loop and Scan carry are left out, and said to be.

    Raises:
        FootsegError: not an ONNX file, or a shape around an operator with MACs that inference leaves open.
        MissingExtraError: the package onnx is not installed.
    """
    onnx = require("onnx", "onnx")
    try:
        model = onnx.load(path, load_external_data=False)
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # protobuf's own errors share no base class
        raise FootsegError(f"{path} is not a whole .onnx file ({error}): export it again") from error
    if not graph.node:
        raise FootsegError(f"{path} holds no ONNX graph: export it again")
    tensors = _tensors(onnx, graph)
    operators = list(_operators(path, graph, tensors))
    bodies = sum(attribute.type == onnx.AttributeProto.GRAPH for n in graph.node for attribute in n.attribute)
    outputs = tuple(value.name for value in graph.output)
    return Graph(
        tensors,
        settled(_in_integers(operators, tensors, outputs), lambda key: tensors[key].stored is not None),
        tuple(value.name for value in graph.input if tensors[value.name].stored is None),
        outputs,
        left_out=(f"{bodies} graphs inside of operators",) if bodies else (),
    )


def _tensors(onnx: Any, graph: "onnx.GraphProto") -> dict[Any, Tensor]:
    """Every tensor that is named; those of which inference says nothing have no shape."""
    held = {tensor.name: tensor for tensor in graph.initializer}
    held |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    weights = {name for node in graph.node for name in _weight_inputs(node)}
    names = {name for node in graph.node for name in (*node.input, *node.output) if name}
    tensors = {name: Tensor(None, 0, "unknown") for name in names | {value.name for value in graph.output}}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sides = value.type.tensor_type.shape.dim
        known = value.type.tensor_type.HasField("shape") and all(side.dim_value > 0 for side in sides)
        shape = tuple(side.dim_value for side in sides) if known else None
        tensors[value.name] = Tensor(shape, *_type(onnx, value.type.tensor_type.elem_type))
    for name, tensor in held.items():
        bits, kind = _type(onnx, tensor.data_type)
        values = math.prod(tensor.dims)
        # Integers of 64 bits are shapes and axes, booleans flags.
        counts = name in weights and kind not in ("int64", "bool8")
        tensors[name] = Tensor(
            tuple(tensor.dims), bits, kind, math.ceil(values * bits / 8), values if counts else 0
        )
    return tensors


def _type(onnx: Any, element: int) -> tuple[int, str]:
    """Bits of an element, and its type's name as NumPy's."""
    name = onnx.TensorProto.DataType.Name(element).lower()
    name = {"float": "float32", "double": "float64", "bool": "bool8"}.get(name, name)
    width = re.search(r"\d+", name)  # the first: float8e4m3fn has 8 bits; strings have none
    return (int(width[0]) if width else 0), name


def _operators(path: Path, graph: "onnx.GraphProto", tensors: Mapping[Any, Tensor]) -> Iterator[Operator]:
    shapes = {name: tensor.shape or () for name, tensor in tensors.items()}
    for node in graph.node:
        counted = _macs(node, shapes)
        if counted.macs == 0:
            raise FootsegError(
                f"{path} leaves a shape around {node.name or node.op_type} open: its cost is not fixed; "
                "export with one fixed input size"
            )
        outputs = tuple(name for name in node.output if name)
        yield Operator(
            node.op_type,
            node.name or outputs[0],
            shapes[outputs[0]],
            tuple(name for name in node.input if name),
            outputs,
            counted,
            _arithmetic(node.op_type, [tensors[name].kind if name else "" for name in node.input]),
        )


def _arithmetic(op: str, kinds: Sequence[str]) -> str:
    if op not in DATA_AND_WEIGHTS:
        return ""
    data = kinds[DATA_AND_WEIGHTS[op][0]]
    return "int8" if data == "uint8" else data


def _in_integers(
    operators: Sequence[Operator], tensors: Mapping[Any, Tensor], outputs: Sequence[str]
) -> list[Operator]:
    """The operators, with those between DequantizeLinear and QuantizeLinear in integers."""
    source = {op.outputs[0]: op.inputs[0] for op in operators if op.op == "DequantizeLinear"}
    readers: dict[Any, list[Operator]] = {}
    for operator in operators:
        for key in operator.inputs:
            readers.setdefault(key, []).append(operator)

    def joined(operator: Operator) -> Operator | None:
        if operator.op in ("DequantizeLinear", "QuantizeLinear") or len(operator.outputs) != 1:
            return None
        data = [key for key in operator.inputs if tensors[key].stored is None]
        behind = readers.get(operator.outputs[0], [])
        if not data or not all(key in source for key in data) or operator.outputs[0] in outputs:
            return None
        if not behind or any(reader.op != "QuantizeLinear" for reader in behind):
            return None
        inputs = tuple(source.get(key, key) for key in operator.inputs)
        kind = tensors[source[data[0]]].kind
        return dataclasses.replace(
            operator,
            inputs=inputs,
            outputs=tuple(reader.outputs[0] for reader in behind),
            arithmetic=operator.arithmetic and ("int8" if kind == "uint8" else kind),
        )

    joint = [joined(operator) for operator in operators]
    taken = {operator.outputs[0] for operator, made in zip(operators, joint, strict=True) if made}

    def gone(operator: Operator) -> bool:
        """Whether a DequantizeLinear or QuantizeLinear is now part of the operators around it."""
        if operator.op == "QuantizeLinear":
            return operator.inputs[0] in taken
        if operator.op != "DequantizeLinear" or operator.outputs[0] in outputs:
            return False
        return all(reader.outputs[0] in taken for reader in readers.get(operator.outputs[0], []))

    return [
        made or (dataclasses.replace(operator, inputs=(), outputs=()) if gone(operator) else operator)
        for operator, made in zip(operators, joint, strict=True)
    ]


def _weight_inputs(node: "onnx.NodeProto") -> list[str]:
    places = WEIGHTS.get(node.op_type, range(len(node.input)))
    return [node.input[place] for place in places if place < len(node.input)]


def _macs(node: "onnx.NodeProto", shapes: Mapping[str, Shape]) -> Macs:
    def size(name: str) -> int:
        return math.prod(shapes[name]) if shapes.get(name) else 0

    if node.op_type not in DATA_AND_WEIGHTS:
        return Macs(None)
    data, weights = (shapes.get(node.input[place], ()) for place in DATA_AND_WEIGHTS[node.op_type])
    match node.op_type:
        case "Conv" | "ConvInteger" | "QLinearConv":  # weights (Cout, Cin of a group, kh, kw)
            depthwise = _attribute(node, "group", 1) > 1 and weights[1:2] == (1,)
            return Macs(size(node.output[0]) * math.prod(weights[1:]), in_tf_benchmark=not depthwise)
        case "ConvTranspose":  # weights (Cin, Cout of a group, kh, kw)
            return Macs(size(node.input[0]) * math.prod((weights or (0, 0))[1:]))
        case "Gemm":
            inner = (data or (0, 0))[0 if _attribute(node, "transA", 0) else 1]
            return Macs(size(node.output[0]) * inner, in_tf_benchmark=True)
    return Macs(size(node.output[0]) * (data or (0,))[-1], in_tf_benchmark=True)  # matrix products


def _attribute(node: "onnx.NodeProto", name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
