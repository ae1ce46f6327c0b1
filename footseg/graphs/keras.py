"""A functional Keras network as its calls, and the multiply-accumulates that its layers stand for."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from footseg.graphs.graph import Shape
from footseg.grouping import grouped


@dataclass(frozen=True)
class Call:
    """One use of an operation in a model: the tensors it takes and those it gives, and all its arguments."""

    operation: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    is_input: bool = False


def functional(model: Any) -> Any:
    """``model``, or the functional one that a built Sequential stands for."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs, name=model.name)
    return model


def calls(model: Any) -> tuple[Call, ...]:
    """Every use of an operation in a functional model of Keras 3 or tf_keras, makers before users.

    Raises:
        ValueError: a subclassed or Sequential model, whose graph Keras does not keep.
    """
    by_depth = getattr(model, "_nodes_by_depth", None)
    if by_depth is None:
        raise ValueError(
            f"{getattr(model, 'name', model)} is a {type(model).__name__}, not a functional model: build it "
            "as keras.Model(inputs, outputs), so that its layers can be walked"
        )
    return tuple(_call(node) for depth in sorted(by_depth, reverse=True) for node in by_depth[depth])


def _call(node: Any) -> Call:
    outputs = tuple(keras.tree.flatten(node.outputs))
    if hasattr(node, "operation"):
        given = node.arguments
        return Call(
            node.operation, tuple(node.input_tensors), outputs, given.args, given.kwargs, node.is_input
        )
    inputs = tuple(node.keras_inputs)
    return Call(node.layer, inputs, outputs, node.call_args, node.call_kwargs, node.is_input)


def users(every: Iterable[Call]) -> dict[int, list[Call]]:
    """The calls that take each tensor, by its id; one that takes it twice stands there twice."""
    return grouped((id(tensor), call) for call in every for tensor in call.inputs)


def as_array(value: Any) -> Any:
    """An argument of a call: constants of a backend, which become inputs of an ONNX file, as arrays."""
    is_constant = keras.ops.is_tensor(value) and not isinstance(value, keras.KerasTensor)
    return keras.ops.convert_to_numpy(value) if is_constant else value


def copy_state(source: Any, layer: Any, weights: Sequence[Any] | None = None) -> None:
    """Give ``layer`` the weights of ``source``, or ``weights`` made of them."""
    layer.set_weights(source.get_weights() if weights is None else list(weights))
    if hasattr(layer, "finalize_state"):  # Normalization computes with a copy of its weights
        layer.finalize_state()


def rescaling(layer: Any) -> Any:
    """The Rescaling that a Normalization over the last axis is; any other layer is itself.

    ONNX would get its mean and its variance as inputs: they are no variables, and no settings either.
    """
    if type(layer) is not keras.layers.Normalization or layer.axis not in (
        (-1,),
        (len(layer.mean.shape) - 1,),
    ):
        return layer
    mean, variance = (
        keras.ops.convert_to_numpy(x).astype(np.float64).ravel() for x in (layer.mean, layer.variance)
    )
    deviation = np.maximum(np.sqrt(variance), keras.backend.epsilon())
    scale, offset = (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)
    return keras.layers.Rescaling(scale.tolist(), offset.tolist(), name=layer.name)


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates: ``each`` for every input channel (if ``by_input``) and every output channel.

    ``in_tf_benchmark``: whether the rule of TensorFlow's benchmark counts them.
    """

    op: str
    each: int
    by_input: bool = True
    by_output: bool = True
    in_tf_benchmark: bool = True


def macs(layer: Any, inputs: Shape, output: Shape) -> tuple[Macs, ...]:
    """What a layer of these shapes (without the batch) multiplies, by its class's name; none for most."""
    kind, taps = type(layer).__name__, math.prod(getattr(layer, "kernel_size", ()))
    before, after = math.prod(inputs[:-1]), math.prod(output[:-1])
    match kind:
        case "Conv2D" if layer.groups > 1:
            return (Macs(kind, after * taps * layer.kernel.shape[-2], by_input=False),)
        case "Conv2D" | "Dense":
            return (Macs(kind, after * taps),)
        case "Conv2DTranspose":
            return (Macs(kind, before * taps, in_tf_benchmark=False),)
        case "DepthwiseConv2D":
            return (Macs(kind, after * taps, by_input=False, in_tf_benchmark=False),)
        case "SeparableConv2D":  # two operators, of which TensorFlow's rule counts one
            widened = after * layer.depth_multiplier
            return (
                Macs(f"{kind} depthwise", widened * taps, by_output=False, in_tf_benchmark=False),
                Macs(f"{kind} pointwise", widened),
            )
    return ()
