"""Losses on logits: (N, H, W, C) float and masks (N, H, W) integer -> one number.

Pixels whose mask is ``ignore`` (255) count nowhere: not in sums, not in the number of pixels, and their
gradient is exactly zero. A batch in which every pixel is ignored costs 0.

Two kinds. ``ce``, ``focal`` and ``boundary`` are weighted means over pixels; class weights act on them alone.
``iou`` and ``dice`` are scores of regions, which balance the classes by themselves.

**What a weighted mean is divided by**: the sum of the weights of the pixels that count, as PyTorch's
``CrossEntropyLoss`` does, not their number. A network that knows nothing then costs log C whatever the
weights, so that neither learning rate nor clipping nor the share of a second loss changes with them, and a
batch full of a class of weight 128 has no gradient 128 times as long. The price: what a class weighs depends
a little on what else is in its batch.
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from footseg.data.images import IGNORE
from footseg.errors import check_known
from footseg.training.config import TEACHER_TERMS, TrainConfig

Tensor = Any
Loss = Callable[..., Tensor]
"""(logits, masks, and options by name) -> a number."""

ClassWeights = Sequence[float] | np.ndarray
"""One number a class, as ``class_weights.class_weights`` makes them."""

EPSILON = 1e-6


# ---- weighted means over pixels


def cross_entropy(logits: Tensor, masks: Tensor, *, class_weights: ClassWeights | None = None) -> Tensor:
    """Mean over the pixels of -log p(true class), each weighted by its class (thesis, section 3.3.1).

    Raises:
        ValueError: the number of class weights is not that of the classes.
    """
    truth = _one_hot(masks, logits)
    return weighted_mean(_surprise(logits, truth), _pixel_weights(truth, class_weights))


def focal(
    logits: Tensor, masks: Tensor, *, class_weights: ClassWeights | None = None, gamma: float = 2.0
) -> Tensor:
    """Mean over the pixels of -(1 - p)^gamma log p of the true class (Lin et al. 2017, equations 4 and 5).

    Class weights are its alpha; gamma 0 is cross-entropy. The factor (1 - p)^gamma lowers the loss of easy
    pixels, so it stands only above the line of the mean. The paper divides by the number of anchors that hold
    an object, of which there is nothing here.

    Raises:
        ValueError: the number of class weights is not that of the classes.
    """
    truth = _one_hot(masks, logits)
    surprise = _surprise(logits, truth)
    # 1 - p without cancellation; kept off 0, where the slope of a power below 1 has no finite value.
    doubt = ops.maximum(-ops.expm1(-surprise), EPSILON)
    return weighted_mean(doubt**gamma * surprise, _pixel_weights(truth, class_weights))


def boundary_cross_entropy(
    logits: Tensor,
    masks: Tensor,
    *,
    class_weights: ClassWeights | None = None,
    width: int = 3,
    factor: float = 4.0,
) -> Tensor:
    """Cross-entropy in which the pixels near a class edge of the true mask count (1 + ``factor``) times.

    Raises:
        ValueError: the number of class weights is not that of the classes.
    """
    truth = _one_hot(masks, logits)
    weights = _pixel_weights(truth, class_weights) * (1 + factor * near_edges(masks, width, logits.dtype))
    return weighted_mean(_surprise(logits, truth), weights)


def near_edges(masks: Tensor, width: int, dtype: str = "float32") -> Tensor:
    """1 where a pixel of another class is within ``width`` pixels, else 0: (N, H, W) -> (N, H, W).

    Distance is the larger of rows and columns, so width 1 marks the pixels on both sides of an edge. Ignored
    pixels are near nothing and make nothing near.
    """
    known = ops.not_equal(masks, IGNORE)
    labels = ops.cast(masks, "float32")[..., None]  # max-pooling wants floats and channels
    window = 2 * width + 1

    def highest(values: Tensor) -> Tensor:
        values = ops.where(
            known[..., None], values, -float(IGNORE)
        )  # below every class and minus every class
        return ops.max_pool(values, window, strides=1, padding="same", data_format="channels_last")[..., 0]

    # Two classes are in the window when the highest and the lowest differ.
    several = ops.not_equal(highest(labels), -highest(-labels))
    return ops.cast(ops.logical_and(several, known), dtype)


def scale_logits(logits: Tensor, class_weights: ClassWeights) -> Tensor:
    """The "direct" weighting of thesis 002: each class's logit times its weight, before any loss.

    This is a temperature of its own for each class, not the cost of a mistake: the weight moves the
    probabilities that the loss sees, and is gone when the network predicts. 002 found it useless (mIoU 6.5
    against 38.2 with its W1); it is here to be compared with.

    Raises:
        ValueError: the number of class weights is not that of the classes.
    """
    return logits * _vector(class_weights, logits)


# ---- scores of regions


def iou_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """1 - soft intersection over union of the foreground, per image, then averaged.

    Rahman and Wang 2016 (thesis, section 3.3.2). Only foreground channels take part: over one-hot
    classes with background the union is 2N - I, which is pixel accuracy in disguise. With several
    foreground classes each image averages those that it holds. An image without any foreground (and
    a network that says so) scores 1: the smoothing term stands in both sums. Images in which every pixel is
    ignored are left out.
    """
    return _region_loss(
        logits, masks, lambda both, true, soft: (both + EPSILON) / (true + soft - both + EPSILON)
    )


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """1 - soft Dice coefficient 2I / (T + P) of the foreground; all else as in ``iou_loss``.

    Plain sums below the line (Sudre et al. 2017), not the squares of Milletari et al. 2016, so that
    Dice = 2 IoU / (1 + IoU) holds for the soft scores too.
    """
    return _region_loss(
        logits, masks, lambda both, true, soft: (2 * both + EPSILON) / (true + soft + EPSILON)
    )


def _region_loss(logits: Tensor, masks: Tensor, score: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """1 - ``score``(intersection, true area, soft area), each (N, C - 1), averaged as ``iou_loss`` says."""
    truth = _one_hot(masks, logits)
    known = ops.sum(truth, axis=-1)
    soft = (ops.softmax(logits, axis=-1) * known[..., None])[..., 1:]
    truth = truth[..., 1:]
    areas = ops.sum(truth, axis=(1, 2))
    scores = score(ops.sum(truth * soft, axis=(1, 2)), areas, ops.sum(soft, axis=(1, 2)))
    # An image with no foreground at all is judged on every class, so that false alarms cost something.
    empty = ops.all(areas == 0, axis=-1, keepdims=True)
    judged = ops.cast(ops.logical_or(areas > 0, empty), logits.dtype)
    losses = 1 - ops.sum(scores * judged, axis=-1) / ops.sum(judged, axis=-1)
    return weighted_mean(losses, ops.cast(ops.any(known > 0, axis=(1, 2)), logits.dtype))


# ---- pieces


def _one_hot(masks: Tensor, logits: Tensor) -> Tensor:
    """(N, H, W, C) of the logits' type: 1 at each pixel's class, all zeros where it is ignored."""
    known = ops.not_equal(masks, IGNORE)
    labels = ops.where(known, ops.cast(masks, "int32"), 0)  # 255 is no index that every backend forgives
    return (
        ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype) * ops.cast(known, logits.dtype)[..., None]
    )


def _surprise(logits: Tensor, truth: Tensor) -> Tensor:
    """-log p(true class) of each pixel, 0 where it is ignored: (N, H, W)."""
    return -ops.sum(truth * ops.log_softmax(logits, axis=-1), axis=-1)


def _pixel_weights(truth: Tensor, class_weights: ClassWeights | None) -> Tensor:
    """The weight of each pixel's true class (1 without weights), 0 where it is ignored: (N, H, W)."""
    return ops.sum(truth if class_weights is None else truth * _vector(class_weights, truth), axis=-1)


def _vector(class_weights: ClassWeights, like: Tensor) -> Tensor:
    if len(class_weights) != like.shape[-1]:
        raise ValueError(
            f"{len(class_weights)} class weights for {like.shape[-1]} classes: give one number a class"
        )
    return ops.convert_to_tensor(class_weights, dtype=like.dtype)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Sum of weights times values over the sum of weights; 0 where there is no weight at all."""
    total = ops.sum(weights)
    return ops.sum(values * weights) / ops.where(total > 0, total, ops.ones_like(total))


# ---- what a configuration names


# Keyword parameters of a loss are its options: ``gamma`` of ``focal`` is ``focal_gamma`` of TrainConfig. The
# losses that class weights act on have a parameter ``class_weights``.
LOSSES: dict[str, Loss] = {
    "ce": cross_entropy,
    "iou": iou_loss,
    "dice": dice_loss,
    "focal": focal,
    "boundary": boundary_cross_entropy,
}


def _options(name: str) -> list[str]:
    """The names of a loss's keyword parameters."""
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]


WEIGHTED = tuple(name for name in LOSSES if "class_weights" in _options(name))
"""The losses that class weights act on."""


def parse(terms: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Read terms such as ``("ce", "iou:0.5", "distill:2")`` as (name, weight) pairs; 1 where none is given.

    Raises:
        ValueError: no term, an unknown name, one named twice, or a weight that is no positive, finite number.
    """
    known = (*LOSSES, *TEACHER_TERMS)
    if not terms:
        raise ValueError(f"name at least one loss of: {', '.join(sorted(known))}")
    weights: dict[str, float] = {}
    for term in terms:
        name, colon, text = term.partition(":")
        check_known("no loss", name, known)
        if name in weights:
            raise ValueError(f"loss {name!r} is named twice: give it once, with one weight, as in {name}:0.5")
        weights[name] = _positive(text) if colon else 1.0
        if math.isnan(weights[name]):
            raise ValueError(
                f"the weight (lambda) of loss {term!r} must be a positive number, as in {name}:0.5"
            )
    return tuple(weights.items())


def teacher_terms(terms: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Those (name, weight) pairs that a teacher is needed for.

    Raises:
        ValueError: as ``parse``.
    """
    return tuple((name, weight) for name, weight in parse(terms) if name in TEACHER_TERMS)


def _positive(text: str) -> float:
    """The positive, finite number that ``text`` says; NaN for all else."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if 0 < number < math.inf else math.nan


def combined(config: TrainConfig, class_weights: ClassWeights | None = None) -> Loss:
    """The weighted sum, in float32, of the losses that are named; 0 where only a teacher's terms are.

    ``class_weights`` multiply losses or logits, as ``config.weighting`` says.

    Raises:
        ValueError: what ``parse`` raises, or class weights and no loss that they act on.
    """
    pairs = [(name, weight) for name, weight in parse(config.loss) if name in LOSSES]
    if class_weights is not None and not any(name in WEIGHTED for name, _ in pairs):
        raise ValueError(
            f"class weights act on {', '.join(WEIGHTED)}, and none of them is among the losses "
            f"{' '.join(config.loss)}: add one, or set class_weights to none"
        )
    terms = [(weight, _with_options(name, config, class_weights)) for name, weight in pairs]

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        logits = ops.cast(logits, "float32")  # mixed precision must not reach the sums
        total = ops.zeros((), "float32")
        for weight, term in terms:
            total = total + weight * term(logits, masks)
        return total

    return loss


def _with_options(name: str, config: TrainConfig, class_weights: ClassWeights | None) -> Loss:
    """The loss ``name`` of logits and masks alone: its options and class weights put in."""
    options = [option for option in _options(name) if option != "class_weights"]
    loss = functools.partial(LOSSES[name], **{o: getattr(config, f"{name}_{o}") for o in options})
    if class_weights is None or name not in WEIGHTED:
        return loss
    if config.weighting == "outer":
        return functools.partial(loss, class_weights=class_weights)
    return lambda logits, masks: loss(scale_logits(logits, class_weights), masks)
