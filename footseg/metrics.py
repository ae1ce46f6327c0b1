"""How good a segmentation is: overlap from the confusion matrix, outlines from the boundary F-score.

Overlap hardly sees a thin error all along an outline, and hardly tells it from a fat one in a single place;
the boundary F-score does. Pure numpy and scipy: training, evaluation and export checks share these functions.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from footseg.data.images import IGNORE

# Csurka et al. 2013 count an outline as found within 0.75 % of the image's diagonal.
TOLERANCE = 0.0075

Mask = NDArray[np.integer]
Scores = NDArray[np.float64]


def confusion(truth: Mask, predicted: Mask, classes: int) -> NDArray[np.int64]:
    """Pixels of each true class (row) that were given each class (column), over all images.

    ``truth`` and ``predicted`` are (N, H, W) class indices; where ``truth`` is 255 nothing is counted.
    Returns (classes, classes).

    Raises:
        ValueError: shapes differ, or an index is neither below ``classes`` nor ignored.
    """
    return confusion_per_image(truth, predicted, classes).sum(axis=0)


def confusion_per_image(truth: Mask, predicted: Mask, classes: int) -> NDArray[np.int64]:
    """As ``confusion``, one matrix for each image: (N, classes, classes)."""
    if truth.shape != predicted.shape or truth.ndim != 3:
        raise ValueError(
            f"truth {truth.shape} and predicted {predicted.shape} must both be (N, H, W): "
            "for one image pass mask[None]"
        )
    if not 2 <= classes < IGNORE:
        raise ValueError(f"classes is {classes}: expected 2 to {IGNORE - 1}")
    return np.array(
        [_confusion(t, p, classes) for t, p in zip(truth, predicted, strict=True)], dtype=np.int64
    ).reshape(len(truth), classes, classes)


def _confusion(truth: Mask, predicted: Mask, classes: int) -> NDArray[np.int64]:
    ignored = truth == IGNORE
    for name, mask in (("truth", truth), ("predicted", predicted)):
        wrong = (mask >= classes) | (mask < 0)
        if (wrong & ~ignored).any():
            raise ValueError(f"{name} has the class {mask[wrong & ~ignored][0]}: expected 0 to {classes - 1}")
    # One number a pixel, the last one for ignored pixels: half the time of selecting the others first.
    pair = np.where(ignored, classes * classes, truth.astype(np.int64) * classes + predicted)
    return np.bincount(pair.ravel(), minlength=classes * classes + 1)[:-1]


def scores(confusion: NDArray[np.integer]) -> dict[str, Any]:
    """The figures of one (classes, classes) confusion matrix, each in [0, 1].

    ``iou``, ``f1``, ``precision`` and ``recall`` are the foreground's: of class 1 where there are two
    classes, else the mean over all classes but 0. ``mean_iou`` is the mean over every class. A class that
    is neither in the truth nor predicted is left out of means and None in ``per_class`` (a list, by class
    index); where that leaves nothing the score is 1: nothing was there and nothing was found.
    """
    by_class = {
        "iou": class_iou(confusion),
        "f1": _class_ratio(confusion, 2, 1, 1),
        "precision": _class_ratio(confusion, 1, 1, 0),
        "recall": _class_ratio(confusion, 1, 0, 1),
    }
    return {
        "pixel_accuracy": float(pixel_accuracy(confusion)),
        "mean_iou": float(_mean_present(by_class["iou"])),
        **{name: float(_mean_present(values[1:])) for name, values in by_class.items()},
        "per_class": [
            {
                name: None if np.isnan(values[index]) else float(values[index])
                for name, values in by_class.items()
            }
            for index in range(len(confusion))
        ],
    }


def pixel_accuracy(confusion: NDArray[np.integer]) -> Scores:
    """Share of the counted pixels that have their class: (..., C, C) to (...); 1 where none was counted."""
    total = confusion.sum(axis=(-2, -1))
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), total, otherwise=1.0)


def class_iou(confusion: NDArray[np.integer]) -> Scores:
    """Intersection over union of each class: (..., C, C) to (..., C), NaN where the class is absent."""
    return _class_ratio(confusion, 1, 1, 1)


def foreground_iou(confusion: NDArray[np.integer]) -> Scores:
    """The ``iou`` of ``scores`` for a stack of matrices: (..., C, C) to (...)."""
    return _mean_present(class_iou(confusion)[..., 1:])


def _class_ratio(confusion: NDArray[np.integer], hit: int, false: int, missed: int) -> Scores:
    """hit * tp / (hit * tp + false * fp + missed * fn) by class; 0 for 0/0; NaN for an absent class."""
    tp = np.diagonal(confusion, axis1=-2, axis2=-1)
    fp = confusion.sum(axis=-2) - tp
    fn = confusion.sum(axis=-1) - tp
    ratio = _ratio(hit * tp, hit * tp + false * fp + missed * fn, otherwise=0.0)
    return np.where(tp + fp + fn == 0, np.nan, ratio)


def labelled(truth: Mask) -> NDArray[np.bool_]:
    """Which of masks (N, H, W) have a pixel that counts: (N,). The others have no score."""
    return np.array([bool((mask != IGNORE).any()) for mask in truth], bool)


def _ratio(part: NDArray[np.integer], whole: NDArray[np.integer], otherwise: float) -> Scores:
    return np.where(whole == 0, otherwise, part / np.maximum(whole, 1))


def _mean_present(values: Scores) -> Scores:
    """Mean over the last axis without the absent classes (NaN); 1 where all are absent."""
    present = ~np.isnan(values)
    count = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    return np.where(count == 0, 1.0, total / np.maximum(count, 1))


def boundary_tolerance(height: int, width: int) -> int:
    """How far an outline may be off and still count as found: 0.75 % of the diagonal, in whole px upwards."""
    return math.ceil(TOLERANCE * math.hypot(height, width))


def boundary(inside: NDArray[np.bool_], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The outline of a region: its valid pixels beside (4-neighbours) a valid pixel that is not in it.

    All arrays are (H, W). The image's border and the edge of an ignored area are no outline: where a thing
    leaves the picture nobody knows where it ends, so a network earns nothing for "finding" the border.
    """
    inside = inside & valid
    outside = ~inside & valid
    edge = np.zeros_like(inside)
    edge[1:] |= outside[:-1]
    edge[:-1] |= outside[1:]
    edge[:, 1:] |= outside[:, :-1]
    edge[:, :-1] |= outside[:, 1:]
    return edge & inside


def boundary_f(truth: Mask, predicted: Mask, tolerance_px: float) -> float:
    """How well the outlines of one image meet, in [0, 1].

    After Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013.

    ``truth`` and ``predicted`` are (H, W) class indices; pixels with ``truth`` 255 are out on both sides.
    Precision is the share of the predicted outline within ``tolerance_px`` (Euclidean, between pixel centres,
    inclusive) of the true one, recall the converse, F their harmonic mean. An outline that is empty on one
    side scores 0, on both sides 1. The mean over the classes other than 0 that occur on either side; 1 where
    none does. For a data set take the mean over its images, as the paper does.

    Raises:
        ValueError: shapes differ or are not (H, W).
    """
    if truth.shape != predicted.shape or truth.ndim != 2:
        raise ValueError(f"truth {truth.shape} and predicted {predicted.shape} must both be (H, W)")
    valid = truth != IGNORE
    present = (np.unique(truth[valid]), np.unique(predicted[valid]))
    found = [
        _outline_f(boundary(truth == label, valid), boundary(predicted == label, valid), tolerance_px)
        for label in np.union1d(*present)
        if label != 0
    ]
    return float(np.mean(found)) if found else 1.0


def boundary_f_per_image(truth: Mask, predicted: Mask) -> NDArray[np.float64]:
    """``boundary_f`` of each image, (N,), of masks (N, H, W), within ``boundary_tolerance`` of their size.

    Raises:
        ValueError: as ``boundary_f``, and where one has more images than the other.
    """
    distance = boundary_tolerance(*truth.shape[1:])
    return np.array([boundary_f(t, p, distance) for t, p in zip(truth, predicted, strict=True)])


def _outline_f(truth: NDArray[np.bool_], predicted: NDArray[np.bool_], tolerance_px: float) -> float:
    if not (truth.any() and predicted.any()):
        return float(truth.any() == predicted.any())
    precision = _share_near(predicted, truth, tolerance_px)
    recall = _share_near(truth, predicted, tolerance_px)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(outline: NDArray[np.bool_], other: NDArray[np.bool_], distance: float) -> float:
    return float(np.mean(ndimage.distance_transform_edt(~other)[outline] <= distance))
