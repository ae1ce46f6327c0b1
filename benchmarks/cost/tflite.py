"""The rules of counting for a ``.tflite``."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from footseg.benchmarks.cost.work import Counted, Work, multiplied_in
from footseg.errors import FootsegError
from footseg.graphs import tflite
from footseg.graphs.graph import Operator, Tensor

# Where an operator that multiplies has its data and its weights among its inputs.
DATA_AND_WEIGHTS = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
    "FULLY_CONNECTED": (0, 1),
    "BATCH_MATMUL": (0, 1),
}
UNCOUNTED_BY_TF = ("DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


def counted(path: Path) -> Counted:
    """A file's first subgraph and what it does.

    Raises:
        FootsegError: not a whole .tflite file, a tensor whose shape the file leaves open, or an operator
            without what it must have.
    """
    graph = tflite.read(path)
    for tensor in graph.tensors.values():
        if tensor.shape is None:
            raise FootsegError(
                f"{path} leaves the shape of {tensor.name} open: its cost is not fixed; "
                "export with one fixed input size"
            )
    weights = {
        key: math.prod(tensor.shape or ())
        for key, tensor in graph.tensors.items()
        if tensor.stored and (tensor.quantization or "float" in tensor.kind)
    }
    try:
        return Counted(graph, tuple(_work(operator, graph.tensors) for operator in graph.operators), weights)
    except (IndexError, KeyError, ZeroDivisionError) as error:  # Inputs that it must have, sides of 0.
        raise FootsegError(
            f"{path} is damaged (an operator does not fit its tensors: {error!r}): export it again"
        ) from error


def _work(operator: Operator, tensors: Mapping[Any, Tensor]) -> Work:
    if operator.op not in DATA_AND_WEIGHTS:
        return Work()
    data, weights = (tensors[operator.inputs[place]] for place in DATA_AND_WEIGHTS[operator.op])
    return Work(
        _macs(operator, data.shape or (), weights.shape or ()),
        operator.op not in UNCOUNTED_BY_TF,
        _arithmetic(data.kind, weights.kind),
    )


def _macs(operator: Operator, data: tuple[int, ...], weights: tuple[int, ...]) -> int:
    output = operator.shape
    match operator.op:
        case "CONV_2D":  # weights (Cout, kh, kw, Cin of a group)
            return math.prod(output) * math.prod(weights[1:])
        case "DEPTHWISE_CONV_2D":  # weights (1, kh, kw, Cout)
            return math.prod(output) * math.prod(weights[1:3])
        case "TRANSPOSE_CONV":  # weights (Cout, kh, kw, Cin)
            return math.prod(data) * math.prod(weights[:3])
        case "FULLY_CONNECTED":  # weights (units, inputs)
            return math.prod(output) * weights[-1]
    # BATCH_MATMUL: the left one may be transposed, or one for all matrices of the right
    return math.prod(output) * (math.prod(data[-2:]) // output[-2])


def _arithmetic(data: str, weights: str) -> str:
    """What an operator multiplies in: that of its data, but int8 where floats meet integer weights.

    Such hybrid operators quantize each image's activations on the way in. Weights behind a DEQUANTIZE are
    floats here, as they are when the runtime multiplies.
    """
    return "int8" if "float" in data and "int" in weights else multiplied_in(data)
