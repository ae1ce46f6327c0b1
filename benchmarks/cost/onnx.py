"""The rules of counting for a ``.onnx``.

Integer files are written with a DequantizeLinear before and a QuantizeLinear behind each operator. A runtime
takes the three for one operator in integers, and so it is counted, wherever all data that an operator
reads comes from a DequantizeLinear and all that it writes goes into a QuantizeLinear.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from footseg.benchmarks.cost.work import Counted, Work, multiplied_in
from footseg.errors import FootsegError
from footseg.graphs import onnx
from footseg.graphs.graph import Graph, Key, Operator, Shape, Tensor
from footseg.grouping import grouped

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


def counted(path: Path) -> Counted:
    """A file's main graph and what it does.

    Raises:
        FootsegError: not an ONNX file, or a shape around an operator with MACs that inference leaves open.
        MissingExtraError: the package onnx is not installed.
    """
    graph = onnx.read(path)
    weights = {
        key: math.prod(tensor.shape or ())
        for key in {key for operator in graph.operators for key in _weight_inputs(operator)}
        # Integers of 64 bits are shapes and axes, booleans flags.
        if (tensor := graph.tensors[key]).stored is not None and tensor.kind not in ("int64", "bool8")
    }
    joined = replace(graph, operators=_in_integers(graph))
    work = tuple(_work(operator, graph.tensors) for operator in joined.operators)
    for operator, own in zip(joined.operators, work, strict=True):
        if own.macs == 0:
            raise FootsegError(
                f"{path} leaves a shape around {operator.name} open: its cost is not fixed; "
                "export with one fixed input size"
            )
    return Counted(joined, work, weights)


def _weight_inputs(operator: Operator) -> list[Key]:
    places = WEIGHTS.get(operator.op, range(len(operator.inputs)))
    found = [operator.inputs[place] for place in places if place < len(operator.inputs)]
    return [key for key in found if key is not None]


def _in_integers(graph: Graph) -> tuple[Operator, ...]:
    """The operators, with those between DequantizeLinear and QuantizeLinear in integers."""
    operators, outputs = graph.operators, graph.outputs
    source = {op.outputs[0]: op.inputs[0] for op in operators if op.op == "DequantizeLinear"}
    readers = grouped((key, operator) for operator in operators for key in operator.reads)

    def joined(operator: Operator) -> Operator | None:
        if operator.op in ("DequantizeLinear", "QuantizeLinear") or len(operator.outputs) != 1:
            return None
        data = [key for key in operator.reads if graph.tensors[key].stored is None]
        behind = readers.get(operator.outputs[0], [])
        if not data or not all(key in source for key in data) or operator.outputs[0] in outputs:
            return None
        if not behind or any(reader.op != "QuantizeLinear" for reader in behind):
            return None
        inputs = tuple(key if key is None else source.get(key, key) for key in operator.inputs)
        return replace(operator, inputs=inputs, outputs=tuple(reader.outputs[0] for reader in behind))

    joint = [joined(operator) for operator in operators]
    taken = {operator.outputs[0] for operator, made in zip(operators, joint, strict=True) if made}

    def gone(operator: Operator) -> bool:
        """Whether a DequantizeLinear or QuantizeLinear is now part of the operators around it."""
        if operator.op == "QuantizeLinear":
            return operator.inputs[0] in taken
        if operator.op != "DequantizeLinear" or operator.outputs[0] in outputs:
            return False
        return all(reader.outputs[0] in taken for reader in readers.get(operator.outputs[0], []))

    return tuple(
        made or (replace(operator, inputs=(), outputs=()) if gone(operator) else operator)
        for operator, made in zip(operators, joint, strict=True)
    )


def _work(operator: Operator, tensors: Mapping[Any, Tensor]) -> Work:
    if operator.op not in DATA_AND_WEIGHTS:
        return Work()
    data, weights = (tensors[operator.inputs[place]] for place in DATA_AND_WEIGHTS[operator.op])
    macs = _macs(operator, data.shape or (), weights.shape or ())
    depthwise = _group(operator) > 1 and (weights.shape or ())[1:2] == (1,)
    in_tf_benchmark = not depthwise and operator.op != "ConvTranspose"
    return Work(macs, in_tf_benchmark, multiplied_in(data.kind))


def _macs(operator: Operator, data: Shape, weights: Shape) -> int:
    """0 where a shape that they follow from is not known."""
    output = math.prod(operator.shape) if operator.shape else 0
    match operator.op:
        case "Conv" | "ConvInteger" | "QLinearConv":  # weights (Cout, Cin of a group, kh, kw)
            return output * math.prod(weights[1:])
        case "ConvTranspose":  # weights (Cin, Cout of a group, kh, kw)
            return math.prod(data or (0,)) * math.prod((weights or (0, 0))[1:])
        case "Gemm":
            return output * (data or (0, 0))[0 if operator.options.get("transA", 0) else 1]
    return output * (data or (0,))[-1]  # matrix products


def _group(operator: Operator) -> int:
    """In how many groups a convolution works; an attribute of another type, as of a damaged file, is none."""
    group = operator.options.get("group")
    return group if isinstance(group, int) else 1
