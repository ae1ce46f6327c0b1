"""SavedModel to fp32 ``.tflite``, and what a ``.tflite`` holds."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from footseg.errors import FootsegError
from footseg.export.conversion import conversion
from footseg.graphs.graph import Graph, Key
from footseg.graphs.tflite import read

# They work out shapes while the network runs: each splits the XNNPACK partition, and neither static int8 nor
# the GPU delegates of phones take them.
SHAPE_OPERATORS = {"SHAPE", "STRIDED_SLICE", "PACK"}


# Where each operator with weights has them among its inputs.
WEIGHTS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "TRANSPOSE_CONV": 1, "FULLY_CONNECTED": 1}
# They only turn one type into another.
CASTS = {"QUANTIZE", "DEQUANTIZE"}


@dataclass(frozen=True)
class Contents:
    """The number formats in a ``.tflite``, counted in operators by kind.

    ``weights``: type of weights ("float32", "int4", ...) to kind to number; ``floats``: operators that give
    float32, conversions left out.
    """

    weights: dict[str, dict[str, int]]
    floats: dict[str, int]


def convert(saved_model: Path) -> bytes:
    """An fp32 ``.tflite`` of a SavedModel.

    Raises:
        FootsegError: the converter refused the network; what it printed is in the error's notes.
    """
    with conversion("conversion to TFLite"):
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(saved_model))
        return converter.convert()


def check_graph(path: Path) -> None:
    """Make sure that no shape arithmetic is left in a ``.tflite``.

    Raises:
        FootsegError: there is; the operators are named.
    """
    left, sizes = [], set[Key]()
    for index, operator in enumerate(read(path).operators):
        # Of values, not of shapes, STRIDED_SLICE crops and PACK stacks.
        of_sizes = operator.op in SHAPE_OPERATORS and sizes.intersection(operator.reads)
        if operator.op == "SHAPE" or of_sizes:
            left.append(f"{operator.op} (operator {index})")
            sizes.update(operator.outputs)
    if left:
        raise FootsegError(
            f"{path.name} works out shapes while it runs: {', '.join(left)}; give the network a fixed "
            "input size and layers that know their output's"
        )


def contents(path: Path) -> Contents:
    """What types the weights and results of a ``.tflite`` have.

    Raises:
        FootsegError: not a whole ``.tflite``.
    """
    graph = read(path)
    floats = Counter(op.op for op in graph.operators if op.op not in CASTS and graph.gives_float(op))
    return Contents(kinds_of_weights(graph, WEIGHTS, "DEQUANTIZE"), dict(floats))


def kinds_of_weights(graph: Graph, places: Mapping[str, int], dequantize: str) -> dict[str, dict[str, int]]:
    """How many operators of each kind have weights of each type, by type; also behind a ``dequantize``.

    ``places`` says which input of which kind of operator its weights are.
    """
    stored = {op.outputs[0]: op.reads[0] for op in graph.operators if op.op == dequantize}
    found: dict[str, Counter[str]] = {}
    for operator in graph.operators:
        if operator.op in places:
            tensor = operator.reads[places[operator.op]]
            kind = graph.tensors[stored.get(tensor, tensor)].kind
            found.setdefault(kind, Counter())[operator.op] += 1
    return {kind: dict(count) for kind, count in found.items()}
