"""What a model file takes and what it gives, ours or not: read from its graph, told in words.

Shapes and types do not say it: one channel of float32 may be a probability or a class. The operator that
makes the output does, so that is looked at, behind those that pass values on as they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from footseg.errors import FootsegError
from footseg.graphs import onnx, tflite
from footseg.graphs.graph import VIEWS, Graph, Key, Operator

if TYPE_CHECKING:
    import numpy as np

# What an input is, by its type.
INPUTS: Mapping[str, str] = {
    "float32": "float32",
    "float16": "float16",
    "uint8": "uint8, the pixels as they are",
    "int8": "int8, codes by scale and zero point",
}
# What an output is, by its name.
OUTPUTS: Mapping[str, str] = {
    "logits": "a channel for each class, the largest wins",
    "probabilities": "a channel for each class, 0 to 1, the largest wins",
    "foreground": "one channel, 0 to 1: the probability of the second of two classes",
    "mask": "one channel: the number of the pixel's class",
}
# Operators of both formats, in capitals. The first pass on what a value means, whatever its type or place.
PASSING = VIEWS | {
    "CAST", "QUANTIZE", "DEQUANTIZE", "QUANTIZELINEAR", "DEQUANTIZELINEAR", "TRANSPOSE", "RESIZE_BILINEAR",
    "RESIZE",
}  # fmt: skip
SOFT = {"LOGISTIC", "SIGMOID", "SOFTMAX"}
LARGEST = {"ARG_MAX", "ARGMAX"}
# One of two: a comparison, or rounding to whole numbers.
EITHER = {"GREATER", "GREATER_EQUAL", "GREATEROREQUAL", "LESS", "LESS_EQUAL", "LESSOREQUAL"} | {
    "CEIL", "FLOOR", "ROUND",
}  # fmt: skip


@dataclass(frozen=True)
class End:
    """One end of a file: its name, the type of its numbers ("float32", "uint8", ...), and what they are."""

    name: str = ""
    type: str = ""
    text: str = ""


@dataclass(frozen=True)
class Ends:
    """What a file takes (named by its type), what it gives (a name of ``OUTPUTS``), its number of classes."""

    input: End
    output: End
    classes: int

    def logits(self, values: "np.ndarray") -> "np.ndarray":
        """What a file gives, float32 (N, H, W, channels), as logits, float32 (N, H, W, classes).

        Of probabilities their logarithms: softmax gives them back. Of classes 1 for a pixel's own and 0 for
        all others: only which is largest means something then.
        """
        import numpy as np

        if self.output.name == "logits":
            return values
        if self.output.name == "mask":
            return (values == np.arange(self.classes)).astype(np.float32)
        if self.output.name == "foreground":
            # Float32 has nothing between 1 - 2^-24 and 1.
            values = np.concatenate([np.maximum(1 - values, np.float32(2**-24)), values], axis=-1)
        return np.log(np.maximum(values, np.finfo(np.float32).tiny))


def pixels_to_logits(classes: int) -> Ends:
    """The ends of what takes an app's image and gives logits: a Core ML model."""
    return Ends(End("uint8", "uint8", INPUTS["uint8"]), End("logits", "float32", OUTPUTS["logits"]), classes)


def read(path: Path) -> Ends:
    """The ends of a ``.tflite`` or ``.onnx`` file; nothing is run.

    Raises:
        FootsegError: the file is damaged, or what it gives cannot be told.
        MissingExtraError: the package onnx is not installed.
    """
    graph = tflite.read(path) if path.suffix == ".tflite" else onnx.read(path)
    try:
        return of(graph)
    except FootsegError as error:
        raise FootsegError(f"{path}: {error}") from error


def of(graph: Graph) -> Ends:
    """The ends of a network with one input and one output.

    Raises:
        FootsegError: what the output means cannot be told; the text says what was looked at.
    """
    image, result = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    name, classes = _gives(graph, graph.outputs[0])
    return Ends(
        End(image.kind, image.kind, INPUTS.get(image.kind, "integer codes, by scale and zero point")),
        End(name, result.kind, OUTPUTS[name]),
        classes,
    )


def _gives(graph: Graph, output: Key) -> tuple[str, int]:
    """The name of an output and the number of classes that it tells apart."""
    channels = (graph.tensors[output].shape or (0,))[-1]
    maker = _maker(graph, output)
    kind = maker.op.upper() if maker else ""
    if maker and kind in LARGEST:
        read = graph.tensors[maker.reads[0]].shape or ()
        # It takes one axis away: that of the classes.
        return "mask", math.prod(read) // math.prod(maker.shape)
    if kind in EITHER and _is_one(graph, output):
        return "mask", 2
    if kind in SOFT and _is_one(graph, output):
        return "foreground", 2
    if kind in SOFT:
        return "probabilities", channels
    if _is_one(graph, output):
        raise FootsegError(
            f"it gives one channel, made by {maker.op if maker else 'no operator'}: a logit, a probability "
            "or a class, which footseg tells by the last operator (LOGISTIC: a probability; ARG_MAX, a "
            "comparison or CEIL: a class); end the network with one of these, or with a channel a class"
        )
    return "logits", channels


def _is_one(graph: Graph, output: Key) -> bool:
    """Whether an output has one number a pixel: (1, H, W, 1) or (1, H, W)."""
    shape = graph.tensors[output].shape or ()
    return len(shape) == 3 or shape[-1:] == (1,)


def _maker(graph: Graph, key: Key) -> Operator | None:
    """The operator that makes what is in a tensor, behind those that pass it on."""
    makers = {made: operator for operator in graph.operators for made in operator.outputs}
    while (found := makers.get(key)) and found.op.upper() in PASSING and found.reads:
        key = found.reads[0]
    return found
