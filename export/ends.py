"""What an app puts into a file and what it gets out: pixels in, masks out, where the app wants them so.

A file as the converter writes it takes float32 in [0, 1] and gives logits. Each other end is a few operators
more, put into the graph in front of and behind the network, in a form that XNNPACK runs where there is one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from footseg.errors import FootsegError, did_you_mean
from footseg.export import plain
from footseg.export.surgery import add_constant, add_operator, tensor_like
from footseg.export.versions import FLOAT32, INT32, UINT8

PIXEL = 1 / 255


@dataclass(frozen=True)
class End:
    """One way that a file may begin or end: its name, and what it is."""

    name: str
    text: str


INPUTS = (
    End("float32", "float32 in [0, 1]"),
    End("uint8", "pixels, 0 to 255, scaled in the file"),
)
OUTPUTS = (
    End("logits", "float32 logits, a channel for each class"),
    End("probabilities", "float32 in [0, 1], a channel for each class, that add up to 1"),
    End("foreground", "float32 in [0, 1], one channel: the probability of the second of two classes"),
    End("mask", "int32 class indices, one channel"),
)


def with_ends(data: bytes, inputs: str = "float32", output: str = "logits") -> bytes:
    """A ``.tflite`` with other ends; its own must be float32 in and logits float32 out.

    Raises:
        ValueError: an end of another name.
        FootsegError: the file has other ends already, or not two classes for "foreground".
    """
    for given, known in ((inputs, INPUTS), (output, OUTPUTS)):
        names = [end.name for end in known]
        if given not in names:
            raise ValueError(f"no end {given!r}: {did_you_mean(given, names)}")
    model = plain.unpack(data)
    (graph,) = model.subgraphs
    image, logits = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    if (image.type, logits.type) != (FLOAT32, FLOAT32):
        raise FootsegError("ends can be put to a file that takes float32 and gives float32 only")
    if inputs == "uint8":
        _take_pixels(model, graph)
    if output == "probabilities":
        _give_probabilities(model, graph)
    if output == "foreground":
        if logits.shape[-1] != 2:
            raise FootsegError(
                f"one channel of foreground says all of two classes, and this file has {logits.shape[-1]}: "
                "take probabilities or mask"
            )
        _give_foreground(model, graph)
    if output == "mask":
        _give_mask(model, graph)
    return plain.pack(model)


def _take_pixels(model: Any, graph: Any) -> None:
    """Scale uint8 pixels to [0, 1] by their quantization: DEQUANTIZE, which XNNPACK runs."""
    from ai_edge_litert import schema_py_generated as schema

    (old,) = graph.inputs
    pixels = tensor_like(graph, old, b"_pixels")
    tensor = graph.tensors[pixels]
    tensor.type = UINT8
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [PIXEL], [0]
    add_operator(model, graph, schema.BuiltinOperator.DEQUANTIZE, [pixels], [old], before=graph.operators[0])
    graph.inputs = [pixels]
    _rename(model, "inputs", old, pixels)


def _give_probabilities(model: Any, graph: Any) -> None:
    """Softmax; of two classes the sigmoids of their differences, which are the same numbers.

    XNNPACK's softmax over two channels takes 0.7 of an int8 FastLinkNet's time, differences and sigmoid 0.06.
    """
    from ai_edge_litert import schema_py_generated as schema

    if graph.tensors[graph.outputs[0]].shape[-1] == 2:
        _mix(model, graph, np.array([[1.0, -1.0], [-1.0, 1.0]], np.float32))
        _append(model, graph, schema.BuiltinOperator.LOGISTIC, b"_probabilities")
        return
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    _append(model, graph, schema.BuiltinOperator.SOFTMAX, b"_probabilities", options)


def _give_foreground(model: Any, graph: Any) -> None:
    """The sigmoid of the difference of two logits: what softmax gives the second of them."""
    from ai_edge_litert import schema_py_generated as schema

    _mix(model, graph, np.array([[-1.0, 1.0]], np.float32))
    _append(model, graph, schema.BuiltinOperator.LOGISTIC, b"_foreground")


def _mix(model: Any, graph: Any, weights: np.ndarray) -> None:
    """Sums of the output's channels, (new, old) ``weights``: a 1x1 convolution, which every delegate has."""
    from ai_edge_litert import schema_py_generated as schema

    (old,) = graph.outputs
    name, channels = graph.tensors[old].name, len(weights)
    kernel = add_constant(model, graph, name + b"_weights", weights[:, None, None, :], FLOAT32)
    bias = add_constant(model, graph, name + b"_zeros", np.zeros(channels, np.float32), FLOAT32)
    new = tensor_like(graph, old, b"_differences")
    graph.tensors[new].shape = [*graph.tensors[old].shape[:3], channels]
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    kind = schema.BuiltinOperator.CONV_2D
    add_operator(model, graph, kind, [old, kernel, bias], [new], options=options)
    _ends_with(model, graph, new)


def _append(model: Any, graph: Any, kind: int, suffix: bytes, options: Any = None) -> None:
    """Put an operator behind the output that keeps its shape."""
    (old,) = graph.outputs
    new = tensor_like(graph, old, suffix)
    add_operator(model, graph, kind, [old], [new], options=options)
    _ends_with(model, graph, new)


def _give_mask(model: Any, graph: Any) -> None:
    """The index of the largest logit: ARG_MAX, which runs outside of XNNPACK and on no GPU."""
    from ai_edge_litert import schema_py_generated as schema

    (old,) = graph.outputs
    axis = add_constant(model, graph, b"axis_of_classes", np.array([3], np.int32), INT32)
    new = tensor_like(graph, old, b"_mask")
    graph.tensors[new].type = INT32
    graph.tensors[new].shape = list(graph.tensors[old].shape[:3])
    options = schema.ArgMaxOptionsT()
    options.outputType = INT32
    add_operator(model, graph, schema.BuiltinOperator.ARG_MAX, [old, axis], [new], options=options)
    _ends_with(model, graph, new)


def _ends_with(model: Any, graph: Any, new: int) -> None:
    """Make a tensor the output."""
    (old,) = graph.outputs
    graph.outputs = [new]
    _rename(model, "outputs", old, new)


def _rename(model: Any, side: str, old: int, new: int) -> None:
    """Let the signature name the new tensor."""
    for signature in model.signatureDefs or ():
        for entry in getattr(signature, side):
            if entry.tensorIndex == old:
                entry.tensorIndex = new
