"""Weights that balance classes of unequal area, from the pixels of the training masks. Numpy only.

All but numbers given by hand are scaled to a mean of 1 over the classes that occur. The losses divide by the
sum of the weights (``training.losses``), so the scale changes nothing there and the learning rate need not
follow it; it keeps logits at their size in the direct form, and makes the printed weights comparable.

A class without a single training pixel has no frequency to go by and gets 1, the neutral value: in the outer
form only validation ever meets it, and in the direct form 0 would take its logit out of training.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from footseg.data.images import IGNORE
from footseg.errors import did_you_mean


@dataclass(frozen=True)
class ClassCounts:
    """How often each class occurs in a set of masks; ignored pixels are not counted.

    ``pixels`` (C,): its pixels. ``image_pixels`` (C,): all pixels of the images that hold it.
    """

    pixels: np.ndarray
    image_pixels: np.ndarray


def count(masks: Iterable[np.ndarray], classes: int) -> ClassCounts:
    """Count the classes in ``masks``: (N, H, W), or any number of (H, W), of integers below 256."""
    pixels = np.zeros(classes, np.int64)
    image_pixels = np.zeros(classes, np.int64)
    for mask in masks:
        found = np.bincount(mask.ravel(), minlength=IGNORE + 1)[:classes]
        pixels += found
        image_pixels += np.where(found > 0, found.sum(), 0)
    return ClassCounts(pixels, image_pixels)


def class_weights(names: Sequence[str], counts: ClassCounts) -> np.ndarray | None:
    """The weights (C,) that ``TrainConfig.class_weights`` asks for; None for "none".

    ``names`` is "none", one of ``METHODS``, or one number a class.

    Raises:
        ValueError: an unknown name, numbers that are not one a class, positive and finite, or masks in which
            fewer than two classes occur.
    """
    classes = len(counts.pixels)
    if tuple(names) == ("none",):
        return None
    if len(names) == 1 and names[0] in METHODS:
        present = counts.pixels > 0
        if np.count_nonzero(present) < 2:
            raise ValueError(
                f"class_weights = {names[0]}: fewer than two classes occur in the training masks "
                f"(pixels of each: {', '.join(map(str, counts.pixels))}), so there is nothing to balance"
            )
        found = METHODS[names[0]](ClassCounts(counts.pixels[present], counts.image_pixels[present]))
        weights = np.ones(classes)
        weights[present] = found / found.mean()
        return weights
    return _by_hand(names, classes)


def _by_hand(names: Sequence[str], classes: int) -> np.ndarray:
    """The numbers as they were given."""
    weights = np.array([_number(name, names) for name in names])
    if len(weights) != classes:
        raise ValueError(f"class_weights: {len(weights)} numbers for {classes} classes: give one a class")
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError(
            f"class_weights must be positive numbers, not {' '.join(names)}: "
            f"to leave pixels out, give them {IGNORE} in the masks"
        )
    return weights


def _number(name: str, names: Sequence[str]) -> float:
    try:
        return float(name)
    except ValueError:
        methods = ("none", *METHODS)
        if name in methods:
            raise ValueError(f"class_weights: {name} stands alone, not in {' '.join(names)}") from None
        hint = did_you_mean(name, methods)
        raise ValueError(f"class_weights: {name!r} is no method and no number: {hint}") from None


# ---- the methods, on counts of classes that occur


def inverse(counts: ClassCounts) -> np.ndarray:
    """1 - n_i / sum of n: W1 of thesis 002, "inverse frequency" in name only.

    With many classes nearly all of these lie between 0.9 and 1; the background's alone is lower.
    """
    return 1 - counts.pixels / counts.pixels.sum()


def exponential(counts: ClassCounts) -> np.ndarray:
    """Inverse frequency with its extremes damped: W2 of thesis 002.

    B_i = max n / n_i, w_i = B_i exp(-(B_i - mean B) / (4 std B)), with the population's deviation: the only
    sensible reading of what is printed (A = C / max C, B = 1 / B). In a case of 13 classes the rarest falls
    from 233 to 128 and the background rises from 1 to 1.28. Beyond B_i = 4 std B a rarer class weighs less
    again, which takes 15 classes or more of which very few are very rare.
    """
    rarity = counts.pixels.max() / counts.pixels
    spread = rarity.std()
    return rarity * np.exp(-(rarity - rarity.mean()) / (4 * spread)) if spread else rarity


def enet(counts: ClassCounts) -> np.ndarray:
    """1 / ln(1.02 + share of the pixels): between 1.4 and 50 (Paszke et al. 2016, section 5.2)."""
    return 1 / np.log(1.02 + counts.pixels / counts.pixels.sum())


def median(counts: ClassCounts) -> np.ndarray:
    """Median of the frequencies over each (Eigen and Fergus 2015; used by SegNet).

    A class's frequency is its share of the pixels of those images that hold it.
    """
    frequency = counts.pixels / counts.image_pixels
    return np.median(frequency) / frequency


METHODS: dict[str, Callable[[ClassCounts], np.ndarray]] = {
    "inverse": inverse,
    "exponential": exponential,
    "enet": enet,
    "median": median,
}
