"""Losses on logits: (N, H, W, C) float and masks (N, H, W) integer -> one number.

Pixels whose mask is ``ignore`` (255) count nowhere: not in sums, not in the number of pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from footseg.data.images import IGNORE
from footseg.errors import did_you_mean

Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]

EPSILON = 1e-6


def cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean over the pixels that count of -log p(true class) (thesis, section 3.3.1)."""
    known = ops.cast(ops.not_equal(masks, IGNORE), logits.dtype)
    labels = ops.where(ops.equal(masks, IGNORE), 0, ops.cast(masks, "int32"))
    one_hot = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    losses = -ops.sum(one_hot * ops.log_softmax(logits, axis=-1), axis=-1) * known
    return ops.sum(losses) / ops.maximum(ops.sum(known), 1.0)


def iou_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """1 - soft intersection over union of the foreground, per image, then averaged.

    Rahman and Wang 2016 (thesis, section 3.3.2). Only foreground channels take part: over one-hot
    classes with background the union is 2N - I, which is pixel accuracy in disguise. With several
    foreground classes each image averages those that it holds. An image without any foreground (and
    a network that says so) scores 1: the smoothing term stands in both sums.
    """
    known = ops.cast(ops.not_equal(masks, IGNORE), logits.dtype)[..., None]
    labels = ops.where(ops.equal(masks, IGNORE), 0, ops.cast(masks, "int32"))
    truth = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)[..., 1:] * known
    chance = ops.softmax(logits, axis=-1)[..., 1:] * known
    intersection = ops.sum(truth * chance, axis=(1, 2))  # (N, C - 1)
    union = ops.sum(truth + chance - truth * chance, axis=(1, 2))
    iou = (intersection + EPSILON) / (union + EPSILON)
    present = ops.cast(ops.sum(truth, axis=(1, 2)) > 0, logits.dtype)
    # An image with no foreground at all is judged on every class, so that false alarms cost something.
    present = ops.where(ops.sum(present, axis=-1, keepdims=True) > 0, present, ops.ones_like(present))
    return ops.mean(1.0 - ops.sum(iou * present, axis=-1) / ops.sum(present, axis=-1))


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "iou": iou_loss}


def parse(terms: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Read loss terms such as ``("ce", "iou:0.5")`` as (name, weight) pairs.

    Raises:
        ValueError: no term, an unknown name, or a weight that is no positive number.
    """
    if not terms:
        raise ValueError(f"name at least one loss of: {', '.join(sorted(LOSSES))}")
    pairs = []
    for term in terms:
        name, _, weight = term.partition(":")
        if name not in LOSSES:
            raise ValueError(f"no loss {name!r}: {did_you_mean(name, LOSSES)}")
        try:
            number = float(weight) if weight else 1.0
        except ValueError:
            number = 0.0
        if not number > 0:
            raise ValueError(f"the weight of loss {term!r} must be a positive number, as in {name}:0.5")
        pairs.append((name, number))
    return tuple(pairs)


def combined(terms: Sequence[str]) -> Loss:
    """The weighted sum of the named losses."""
    pairs = parse(terms)

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        logits = ops.cast(logits, "float32")  # mixed precision must not reach the sums
        total = ops.zeros((), "float32")
        for name, weight in pairs:
            total = total + weight * LOSSES[name](logits, masks)
        return total

    return loss
