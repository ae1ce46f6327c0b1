"""Batch normalisation folded into the convolution before it: the same numbers from fewer layers.

Jacob et al. 2018, Quantization and training of neural networks for efficient integer-arithmetic-only
inference (arXiv:1712.05877), section 3.2. In inference BN(conv(x)) is a convolution whose kernel is scaled by
gamma / sqrt(variance + epsilon) per output channel and whose bias takes in the rest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D, layers.Dense)


@dataclass(frozen=True)
class Call:
    """One use of an operation in a functional model: the tensors it takes and those it gives."""

    operation: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


def calls(model: keras.Model) -> tuple[Call, ...]:
    """Every use of an operation in a functional ``model``, makers before users; inputs are none.

    Raises:
        ValueError: a subclassed or Sequential model, whose graph Keras does not keep.
    """
    if not isinstance(model, keras.models.Model) or not hasattr(model, "_nodes_by_depth"):
        raise ValueError(
            f"{model.name} is a {type(model).__name__}, not a functional model: build it as "
            "keras.Model(inputs, outputs), so that its layers can be walked"
        )
    by_depth = model._nodes_by_depth
    return tuple(
        Call(node.operation, tuple(node.input_tensors), tuple(node.output_tensors))
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if not node.is_input
    )


def foldable(model: keras.Model, only: Callable[[keras.Layer], bool] = lambda layer: True) -> dict[str, str]:
    """Convolutions whose output goes to a batch normalisation and nowhere else: name to its name.

    ``only`` is asked of each convolution. Left out are shared layers, convolutions with an activation, and
    normalisation along another axis than the channels'.

    Raises:
        ValueError: as ``calls``.
    """
    uses: dict[int, list[Any]] = {}
    times: dict[int, int] = {}
    every = calls(model)
    for call in every:
        times[id(call.operation)] = times.get(id(call.operation), 0) + 1
        for tensor in call.inputs:
            uses.setdefault(id(tensor), []).append(call.operation)
    for tensor in model.outputs:
        uses.setdefault(id(tensor), []).append(None)

    def pairs() -> Iterator[tuple[str, str]]:
        for call in every:
            layer, users = call.operation, uses.get(id(call.outputs[0]), [])
            if (
                type(layer) in CONVOLUTIONS
                and len(users) == 1
                and type(users[0]) is layers.BatchNormalization
                and times[id(layer)] == times[id(users[0])] == 1
                and layer.activation is keras.activations.linear
                and _along_channels(users[0], layer)
                and only(layer)
            ):
                yield layer.name, users[0].name

    return dict(pairs())


def fold(model: keras.Model, only: Callable[[keras.Layer], bool] = lambda layer: True) -> keras.Model:
    """A new functional model with batch normalisation folded into the convolutions before it.

    ``only`` is asked of each convolution. Outputs differ from inference with ``model`` by rounding alone.

    Raises:
        ValueError: a subclassed or Sequential model.
    """
    folded = foldable(model, only)
    gone = set(folded.values())

    def clone(operation: Any) -> Any:
        config = operation.get_config()
        return type(operation).from_config(
            config | {"use_bias": True} if operation.name in folded else config
        )

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if operation.name in gone else operation(*args, **kwargs)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in copy.layers:
        if not layer.weights:
            continue
        source = model.get_layer(layer.name)
        if layer.name in folded:
            layer.set_weights(folded_weights(source, model.get_layer(folded[layer.name])))
        else:
            layer.set_weights(source.get_weights())
    return copy


def folded_weights(layer: keras.Layer, norm: keras.Layer) -> list[np.ndarray]:
    """Kernel and bias of ``layer`` with ``norm`` in them, in the kernel's type."""
    kernel, *bias = (weight.astype(np.float64) for weight in layer.get_weights())
    factor, offset = affine(norm)
    bias_in = bias[0] if bias else 0.0
    return [
        (kernel * along_outputs(factor, layer)).astype(np.float32),
        (bias_in * factor + offset).astype(np.float32),
    ]


def affine(norm: keras.Layer) -> tuple[np.ndarray, np.ndarray]:
    """What ``norm`` does in inference: factor and offset of each channel, float64 (C,)."""
    names = ["gamma"] * norm.scale + ["beta"] * norm.center + ["mean", "variance"]
    weights = dict(zip(names, (weight.astype(np.float64) for weight in norm.get_weights()), strict=True))
    factor = weights.get("gamma", 1.0) / np.sqrt(weights["variance"] + norm.epsilon)
    return factor, weights.get("beta", 0.0) - weights["mean"] * factor


def along_outputs(values: np.ndarray, layer: keras.Layer) -> np.ndarray:
    """Values of each output channel, shaped to be multiplied with ``layer``'s kernel.

    Kernels are (h, w, in, out), of transposed convolutions (h, w, out, in), of depthwise ones (h, w, in,
    multiplier) with in * multiplier channels out, of dense layers (in, out).
    """
    if isinstance(layer, layers.Conv2DTranspose):
        return values[:, None]
    if isinstance(layer, layers.DepthwiseConv2D):
        return values.reshape(-1, layer.depth_multiplier)
    return values


def _along_channels(norm: keras.Layer, layer: keras.Layer) -> bool:
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    rank = len(layer.output.shape)
    return norm.axis % rank == (rank - 1 if last else 1)
