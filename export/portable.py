"""Graphs that phones' GPUs compute, and compute right: what is written otherwise than the converter does.

LiteRT's GPU delegates have no TRANSPOSE_CONV with an activation of its own (version 4 of the operator), so
the activation becomes an operator: the same bits on the processor in 0.98 to 1.00 of the time. In integers it
goes without a trace wherever saturation does its work already: ReLU is nothing new to codes whose zero point
is the lowest. Three things they compute wrongly, silently (seen in LiteRT 2.3, reports in ``docs/faults``).
Integer 1x1 convolutions of stride 2: they write as if the stride were 1; with the input thinned out before a
convolution of stride 1, they do not. And transposed convolutions of maps that the stride does not divide:
they take the padding from the input's size; without padding, and the border cut off behind it, they do not.
And sums of int8 tensors of different shapes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from footseg.errors import check_known
from footseg.export import plain
from footseg.export.precisions import TARGETS
from footseg.export.surgery import add_constant, add_operator, of_kind, tensor_like
from footseg.export.versions import INT8, INT16, INT32, UINT8

# Integer types of activations with their lowest and highest codes.
CODES = {INT8: (-128, 127), UINT8: (0, 255), INT16: (-32768, 32767)}
# The code that stands for 1 in a kernel of ones: the largest, as symmetric kernels have it.
ONE = 127


def portable(data: bytes, target: str = "any") -> bytes:
    """A ``.tflite`` as one plain flatbuffer (see ``export.plain``) that computes the same everywhere.

    With the ``target`` "cpu" (of ``precisions.TARGETS``) what GPUs need stays out, unless it costs nothing.

    Raises:
        ValueError: another target, or a buffer lies outside of the file.
    """
    check_known("no target", target, TARGETS)
    model = plain.unpack(data)
    for graph in model.subgraphs:
        drop_saturated_activations(model, graph)
        drop_squeezes(model, graph)
        split_activations(model, graph, integers=target == "any")
        if target == "any":
            thin_out(model, graph)
            cut_borders(model, graph)
    return plain.pack(model)


def drop_saturated_activations(model: Any, graph: Any) -> None:
    """Take the activation off each integer TRANSPOSE_CONV whose codes cannot leave its range anyway."""
    for operator in of_kind(model, graph, "TRANSPOSE_CONV"):
        output = graph.tensors[operator.outputs[0]]
        fused = operator.builtinOptions.fusedActivationFunction
        if fused and output.type in CODES and saturates(fused, output):
            operator.builtinOptions.fusedActivationFunction = 0


def drop_squeezes(model: Any, graph: Any) -> None:
    """Let each ADD read what a RESHAPE was given, where that is of the sum's own shape.

    Keras adds maps of one pixel like a bias, of one axis. GPUs add int8 tensors of different shapes wrongly.
    """
    made = {operator.outputs[0]: operator for operator in of_kind(model, graph, "RESHAPE")}
    for operator in of_kind(model, graph, "ADD"):
        shape = list(graph.tensors[operator.outputs[0]].shape)
        given = [made[key].inputs[0] if key in made else key for key in operator.inputs]
        operator.inputs = [
            new if list(graph.tensors[new].shape) == shape else key
            for key, new in zip(operator.inputs, given, strict=True)
        ]
    read = {key for operator in graph.operators for key in operator.inputs} | set(graph.outputs)
    idle = {id(operator) for key, operator in made.items() if key not in read}
    graph.operators = [operator for operator in graph.operators if id(operator) not in idle]


def split_activations(model: Any, graph: Any, integers: bool = True) -> None:
    """Make an operator of its own of what is left of activations in TRANSPOSE_CONV.

    Of those in ``integers``, too: XNNPACK has no RELU there, so that it costs the processor.
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = {
        schema.ActivationFunctionType.RELU: schema.BuiltinOperator.RELU,
        schema.ActivationFunctionType.RELU6: schema.BuiltinOperator.RELU6,
        schema.ActivationFunctionType.RELU_N1_TO_1: schema.BuiltinOperator.RELU_N1_TO_1,
    }
    for operator in of_kind(model, graph, "TRANSPOSE_CONV"):
        fused = operator.builtinOptions.fusedActivationFunction
        if fused not in kinds or (graph.tensors[operator.outputs[0]].type in CODES and not integers):
            continue
        operator.builtinOptions.fusedActivationFunction = 0
        before = tensor_like(graph, operator.outputs[0], b"/linear")
        add_operator(model, graph, kinds[fused], [before], operator.outputs, after=operator)
        operator.outputs = [before]


def thin_out(model: Any, graph: Any) -> None:
    """Take every second pixel before each int8 1x1 convolution with a stride, which then has none.

    By a depthwise 1x1 convolution with ones, which gives codes back as they are: XNNPACK runs it in one piece
    with its neighbours (a pool of 1x1 it does not take: four pieces instead of one).
    """
    from ai_edge_litert import schema_py_generated as schema

    for operator in of_kind(model, graph, "CONV_2D"):
        image, weights = (graph.tensors[number] for number in operator.inputs[:2])
        options = operator.builtinOptions
        strides = (options.strideH, options.strideW)
        if image.type != INT8 or tuple(weights.shape[1:3]) != (1, 1) or strides == (1, 1):
            continue
        channels, scale = image.shape[3], float(image.quantization.scale[0])
        name = graph.tensors[operator.outputs[0]].name
        ones, none = np.full((1, 1, 1, channels), ONE, np.int8), np.zeros(channels, np.int32)
        inputs = [
            operator.inputs[0],
            add_constant(model, graph, name + b"/ones", ones, INT8, scale=1 / ONE),
            add_constant(model, graph, name + b"/zeros", none, INT32, scale=scale / ONE),
        ]
        thin = tensor_like(graph, operator.inputs[0], b"/thinned")
        graph.tensors[thin].name = name + b"/thinned"
        _, height, width, _ = graph.tensors[operator.outputs[0]].shape
        graph.tensors[thin].shape = [image.shape[0], height, width, channels]
        thinning = schema.DepthwiseConv2DOptionsT()
        thinning.padding, thinning.depthMultiplier = schema.Padding.VALID, 1
        thinning.strideH, thinning.strideW = strides
        thinning.dilationHFactor = thinning.dilationWFactor = 1
        options.strideH = options.strideW = 1
        kind = schema.BuiltinOperator.DEPTHWISE_CONV_2D
        add_operator(model, graph, kind, inputs, [thin], options=thinning, before=operator)
        operator.inputs = [thin, *operator.inputs[1:]]


def cut_borders(model: Any, graph: Any) -> None:
    """Give each TRANSPOSE_CONV whose padding GPUs mistake none, and cut its output to size behind it.

    As a 3x3 one of stride 2 at an odd height or width, 15x20 in a network for 480x640. Sums are the same.
    """
    from ai_edge_litert import schema_py_generated as schema

    for operator in of_kind(model, graph, "TRANSPOSE_CONV"):
        options, number = operator.builtinOptions, operator.outputs[0]
        image, output = graph.tensors[operator.inputs[2]], graph.tensors[number]
        kernel, strides = graph.tensors[operator.inputs[1]].shape[1:3], (options.strideH, options.strideW)
        if options.padding != schema.Padding.SAME or any(k < s for k, s in zip(kernel, strides, strict=True)):
            continue
        begins, taken = paddings(image.shape[1:3], kernel, strides)
        if begins == taken:
            continue
        sides = zip(image.shape[1:3], kernel, strides, strict=True)
        height, width = ((side - 1) * s + k for side, k, s in sides)
        whole = tensor_like(graph, number, b"/whole")
        graph.tensors[whole].shape = [output.shape[0], height, width, output.shape[3]]
        numbers = [graph.tensors[whole].shape, [0, *begins, 0], output.shape]
        shape, begin, size = (
            add_constant(model, graph, output.name + name, np.array(value, np.int32), INT32)
            for name, value in zip((b"/shape", b"/begin", b"/size"), numbers, strict=True)
        )
        options.padding, operator.outputs = schema.Padding.VALID, [whole]
        operator.inputs = [shape, *operator.inputs[1:]]
        kind, cut = schema.BuiltinOperator.SLICE, schema.SliceOptionsT()
        add_operator(model, graph, kind, [whole, begin, size], [number], options=cut, after=operator)


def paddings(
    sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Where the padding of a transposed convolution begins, (height, width), and where GPUs take it to."""
    begins = [max(k - s, 0) // 2 for k, s in zip(kernel, strides, strict=True)]
    taken = [max(k - (side % s or s), 0) // 2 for side, k, s in zip(sides, kernel, strides, strict=True)]
    return begins, taken


def saturates(fused: int, tensor: Any) -> bool:
    """Whether an activation changes nothing in what the codes of ``tensor`` can say."""
    from ai_edge_litert.schema_py_generated import ActivationFunctionType as Fused

    scale, zero = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    low, high = ((code - zero) * scale for code in CODES[tensor.type])
    # Half of a step: rounding gives the border's own code from there on.
    reach = {Fused.RELU: (0.0, float("inf")), Fused.RELU6: (0.0, 6.0), Fused.RELU_N1_TO_1: (-1.0, 1.0)}
    least, most = reach[fused]
    return low >= least - scale / 2 and high <= most + scale / 2
