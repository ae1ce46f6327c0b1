"""What each channel of a network is worth: by its normalisation, by the loss's slope, by its filters."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from footseg.compress.channels import MAKING, channels, known
from footseg.compress.kernels import kernel_of, output_axes

Scores = dict[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Importance:
    """By layer name, a number of at least 0 for each of its output channels: what is lost with it.

    ``comparable``: numbers of one layer can be held against those of another, as they have one unit. Where
    they cannot, a plan takes each as its share of what its group of channels has left.
    """

    scores: Scores
    comparable: bool


def bn_importance(model: keras.Model) -> Importance:
    """|gamma| of each channel's batch normalisation (Liu et al. 2017, Network slimming, arXiv:1708.06519).

    Channels without a normalisation get the L2 norm of their filters.

    Raises:
        ValueError: as ``channels``.
    """
    scores = {
        layer.name: np.abs(np.asarray(layer.gamma)) if _has_gamma(layer) else _filter_norms(layer)
        for layer in _judged(model)
    }
    return Importance(scores, comparable=False)


def magnitude_importance(model: keras.Model) -> Importance:
    """The L2 norm of the filters that make each channel (Li et al. 2017, arXiv:1608.08710, with L1 there).

    Raises:
        ValueError: as ``channels``.
    """
    uses = [use for use in channels(model).uses if _has_kernel(use.operation)]
    return Importance({use.name: _filter_norms(use.operation) for use in uses}, comparable=False)


def taylor_importance(
    model: keras.Model,
    batches: Iterable[tuple[NDArray[np.floating], NDArray[np.integer]]],
    loss: Callable[[Any, Any], Any],
) -> Importance:
    """By how much the loss would change without a channel, to first order, squared; mean over batches.

    Molchanov et al. 2019, Importance estimation for neural network pruning, arXiv:1906.10771, equation 8,
    with a gate behind each batch normalisation: its derivative is gamma dL/dgamma + beta dL/dbeta. Channels
    without one have their gate behind the convolution: kernel dL/dkernel + bias dL/dbias, summed by filter.
    Needs Keras on TensorFlow.

    Squares, taken as they are: half of a FastLinkNet's MACs cut by them left an IoU of 0.73 before any
    retraining (dense: 0.76), absolute values 0.55, squares as shares of their group 0.69, and
    ``bn_importance`` 0.39.

    Args:
        model: gives logits (N, H, W, classes); called as in inference, so statistics do not move.
        batches: images float32 (N, H, W, 3) in [0, 1] and masks (N, H, W).
        loss: of logits and masks, as in ``footseg.training.losses``.

    Raises:
        ValueError: no batch, or as ``channels``.
    """
    layers = _judged(model)
    derivatives = _derivatives(model, [_gate_weights(layer) for layer in layers], loss)
    total = [np.zeros(())] * len(layers)
    count = 0
    for images, masks in batches:
        total = [
            sum_ + np.square(slope) for sum_, slope in zip(total, derivatives(images, masks), strict=True)
        ]
        count += 1
    if not count:
        raise ValueError(
            "no batch to take the importance of channels from: give one of images and masks or more"
        )
    scores: Scores = {layer.name: sum_ / count for layer, sum_ in zip(layers, total, strict=True)}
    if broken := [name for name, values in scores.items() if not np.isfinite(values).all()]:
        raise ValueError(
            f"the loss has no finite slope at layer {broken[0]}: look at the batches and the loss"
        )
    return Importance(scores, comparable=True)


def _derivatives(
    model: keras.Model, gates: list[list[tuple[Any, int]]], loss: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], list[NDArray[np.floating]]]:
    """(images, masks) -> dL/dgate of each channel, a vector for each of ``gates``, which are variables."""
    import tensorflow as tf

    @tf.function
    def derivatives(images: Any, masks: Any) -> list[Any]:
        values = [[variable.value for variable, _ in gate] for gate in gates]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)  # frozen layers have a worth, too
            wrong = loss(model(images, training=False), masks)
        slopes = tape.gradient(wrong, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [
            tf.add_n([_by_channel(v * s, axis) for v, s, (_, axis) in zip(*parts, strict=True)])
            for parts in zip(values, slopes, gates, strict=True)
        ]

    return lambda images, masks: [
        slope.numpy().astype(np.float64)
        for slope in derivatives(tf.convert_to_tensor(images), tf.convert_to_tensor(masks))
    ]


def _by_channel(values: Any, axis: int) -> Any:
    """Sums over all axes but ``axis``, which is negative."""
    rank = len(values.shape)
    return keras.ops.sum(values, axis=[other for other in range(rank) if other != rank + axis])


def _judged(model: keras.Model) -> list[Any]:
    """The layers whose values tell what channels are worth: normalisations, and filters that have none."""
    found = channels(model)
    normalised: set[int] = set()
    for use in found.uses:
        if _has_gamma(use.operation):
            normalised.update(use.output.tolist())
    layers = {
        use.name: use.operation
        for use in found.uses
        if _has_gamma(use.operation)
        or (_has_kernel(use.operation) and normalised.isdisjoint(use.output.tolist()))
    }
    return list(layers.values())


def _has_gamma(operation: Any) -> bool:
    return known(operation) == "BatchNormalization" and operation.scale


def _has_kernel(operation: Any) -> bool:
    return known(operation) in MAKING


def _gate_weights(layer: Any) -> list[tuple[Any, int]]:
    """The variables that a channel's output is linear in, and their axis of output channels."""
    if _has_gamma(layer):
        return [(layer.gamma, -1)] + ([(layer.beta, -1)] if layer.center else [])
    return [_kernel(layer)] + ([(layer.bias, -1)] if layer.use_bias else [])


def _kernel(layer: Any) -> tuple[Any, int]:
    return kernel_of(layer), output_axes(layer)[0]


def _filter_norms(layer: Any) -> NDArray[np.floating]:
    variable, axis = _kernel(layer)
    filters = np.moveaxis(np.asarray(variable), axis, 0)
    return np.linalg.norm(filters.reshape(len(filters), -1), axis=1)
