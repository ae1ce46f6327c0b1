"""The work of a Keras model, by its layers: a figure before there is a file, and a check on the file's."""

import math
from collections.abc import Iterator
from typing import Any

from footseg.benchmarks.cost.graph import Macs, Shape


def layers(model: Any) -> Iterator[tuple[str, str, Shape, int, Macs]]:
    """Kind, name, output shape, parameters and MACs of each layer of a built model, in their order.

    Raises:
        ValueError: a shape is open, or a layer is used more than once (its cost is then the file's to
            tell: export the model and ask ``cost.of_file``).
    """
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        if len(layer._inbound_nodes) != 1:  # layer.output would silently be that of the first use
            raise ValueError(
                f"layer {layer.name} is used {len(layer._inbound_nodes)} times in {model.name}: "
                "export the model and count the file instead"
            )
        if hasattr(layer, "layers"):
            yield from layers(layer)
            continue
        output = tuple(layer.output.shape[1:])
        inputs = tuple(layer.input.shape[1:]) if hasattr(layer.input, "shape") else ()  # several: a list
        if None in output or None in inputs:
            raise ValueError(
                f"layer {layer.name} has the open shape {output}: build with a fixed input_shape"
            )
        own = layer.count_params()
        parts = _macs(layer, kind, inputs, output)
        for position, (op, counted) in enumerate(parts):
            yield op, layer.name, output, own if position == 0 else 0, counted


def _macs(layer: Any, kind: str, inputs: Shape, output: Shape) -> list[tuple[str, Macs]]:
    """The operators a layer stands for. A SeparableConv2D is two: TensorFlow's rule counts one of them."""
    match kind:
        case "Conv2D":  # kernel (kh, kw, Cin of a group, Cout)
            macs = math.prod(output) * math.prod(layer.kernel.shape[:3])
            return [(kind, Macs(macs, in_tf_benchmark=True))]
        case "DepthwiseConv2D":
            return [(kind, Macs(math.prod(output) * math.prod(layer.kernel_size)))]
        case "SeparableConv2D":  # pointwise kernel (1, 1, Cmid, Cout)
            *_, middle, filters = layer.pointwise_kernel.shape
            positions = math.prod(output) // filters
            return [
                ("SeparableConv2D depthwise", Macs(positions * middle * math.prod(layer.kernel_size))),
                ("SeparableConv2D pointwise", Macs(positions * middle * filters, in_tf_benchmark=True)),
            ]
        case "Conv2DTranspose":
            return [(kind, Macs(math.prod(inputs) * math.prod(layer.kernel_size) * layer.filters))]
        case "Dense":
            return [(kind, Macs(math.prod(output) * inputs[-1], in_tf_benchmark=True))]
    return [(kind, Macs(None))]
