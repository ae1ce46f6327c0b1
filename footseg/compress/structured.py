"""Structured pruning: whole channels go, and what is left is a smaller dense network of the same layout.

Three steps, each a function of what the one before it gave: the importance of each channel (``importance``),
a plan that says which channels go (``channel_plan``), and ``rewrite``, which builds the smaller network and
copies what is left of the weights. Retraining it is ordinary training. What is
tied by skip connections goes together: see ``footseg.compress.channels``.

Right after the cut the statistics of batch normalisation are those of another network: a FastLinkNet cut to
half of its MACs fell from an IoU of 0.76 to 0.68, and came back to 0.74 by ``settle`` alone.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from footseg.compress.channel_plan import CutPlan
from footseg.compress.channels import Channels, channels, known
from footseg.graphs.keras import copy_state, functional


def rewrite(model: keras.Model, plan: CutPlan) -> keras.Model:
    """A new functional network without the channels that ``plan`` removes; the weights that stay are copied.

    Layers keep their names; nothing in it is code of this project, so its ``.keras`` file loads anywhere.

    Raises:
        ValueError: the plan is of another network (the layer is named), or as ``channels``.
    """
    model = functional(model)
    found = channels(model)
    gone = _gone(found, plan)
    first = {use.name: use for use in reversed(found.uses)}
    kept = {name: ([~gone[ids] for ids in use.inputs], ~gone[use.output]) for name, use in first.items()}

    def narrowed(operation: Any) -> Any:
        return type(operation).from_config(_config(operation, kept[operation.name][1]))

    # Keras's own choice is the name of the tensor, which is not always that of the input layer.
    inputs = keras.tree.map_structure(
        lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t._keras_history.operation.name),
        model.input,
    )
    smaller = keras.models.clone_model(model, input_tensors=inputs, clone_function=narrowed)
    for layer in model.layers:
        if layer.weights:
            inputs, output = kept[layer.name]
            kept_weights = [_cut(layer, variable, inputs[0], output) for variable in layer.weights]
            copy_state(layer, smaller.get_layer(layer.name), kept_weights)
    return smaller


def _gone(found: Channels, plan: CutPlan) -> NDArray[np.bool_]:
    """Whether each class goes.

    Raises:
        ValueError: a layer that is not there, a channel that must stay, or tied channels of which some stay.
    """
    gone = np.zeros(found.count, bool)
    makers = found.makers
    for name, removed in plan.removed.items():
        if name not in makers or plan.layers[name][0] != len(makers[name]):
            raise ValueError(
                f"the plan is of another network: this one has no {name} of {plan.layers[name][0]} channels"
            )
        gone[makers[name][list(removed)]] = True
    for name, ids in makers.items():
        if tuple(np.flatnonzero(gone[ids]).tolist()) != tuple(plan.removed.get(name, ())):
            raise ValueError(
                f"the plan is of another network: it cuts what layer {name} is tied to, but not {name} itself"
            )
        if gone[ids].all():
            raise ValueError(f"the plan leaves layer {name} without channels")
    for number in np.flatnonzero(gone).tolist():
        if number in found.locked:
            raise ValueError(f"the plan removes a channel that must stay: {found.locked[number]}")
    return gone


def _config(operation: Any, output: NDArray[np.bool_]) -> dict[str, Any]:
    """An operation's configuration with as many channels as stay."""
    config, count = operation.get_config(), int(output.sum())
    match known(operation):
        case "Conv2D" | "Conv2DTranspose" | "SeparableConv2D":
            config["filters"] = count
        case "Dense":
            config["units"] = count
        case "Reshape":
            key = "target_shape" if "target_shape" in config else "newshape"
            *rows, last = config[key]
            config[key] = (*rows, last if last == -1 else count)
        case "Pad":
            front, back = config["pad_width"][-1]
            ends = (int(output[:front].sum()), int(output[len(output) - back :].sum()))
            config["pad_width"] = (*config["pad_width"][:-1], ends)
    return config


def _cut(layer: Any, variable: Any, inputs: NDArray[np.bool_], output: NDArray[np.bool_]) -> NDArray[Any]:
    """What stays of a layer's variable."""
    values = np.asarray(variable)
    for axis, stays in _axes(layer, variable, inputs, output).items():
        values = np.compress(stays, values, axis=axis)
    return values


def _axes(
    layer: Any, variable: Any, inputs: NDArray[np.bool_], output: NDArray[np.bool_]
) -> dict[int, NDArray[np.bool_]]:
    """The axes of a variable that are channels, and which of these stay."""
    match known(layer), variable.name:
        case ("Conv2D", "kernel") if layer.groups > 1:
            return {}
        case ("Conv2D" | "Dense", "kernel"):
            return {-2: inputs, -1: output}
        case ("Conv2DTranspose", "kernel"):
            return {-2: output, -1: inputs}
        case ("DepthwiseConv2D", "kernel") | ("SeparableConv2D", "depthwise_kernel"):
            return {-2: inputs}
        case ("SeparableConv2D", "pointwise_kernel"):
            return {-2: np.repeat(inputs, layer.depth_multiplier), -1: output}
    # Biases, normalisations, slopes; those that all channels share have a single one.
    return {-1: output} if variable.shape[-1:] == output.shape else {}


def settle(model: keras.Model, batches: Iterable[NDArray[np.floating]]) -> None:
    """Set the statistics of each batch normalisation of ``model`` to their mean over ``batches``, in place.

    For a network that was just rewritten: without it, what it is worth before retraining cannot be told.

    Args:
        model: the new network.
        batches: images float32 (N, H, W, 3) in [0, 1]; some 100 images are enough.

    Raises:
        ValueError: no batch.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    total: list[list[NDArray[Any]]] = []
    try:
        for layer in layers:
            layer.momentum = 0.0  # each batch leaves its own statistics
        for images in batches:
            model(images, training=True)
            total.append(
                [np.asarray(v) for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
            )
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    if not total:
        raise ValueError("no batch to take statistics from: give one of images or more")
    means = iter([np.mean(values, axis=0) for values in zip(*total, strict=True)])
    for layer in layers:
        layer.moving_mean.assign(next(means))
        layer.moving_variance.assign(next(means))
