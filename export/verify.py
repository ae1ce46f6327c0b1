"""Hold an exported file against the Keras network it came from, on real images. Part of every export.

Logits differ by rounding, so each precision has limits of its own; see ``precisions``.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footseg import metrics, runtime
from footseg.data.folder import open_data, pairs, read_pair
from footseg.data.images import IGNORE, letterbox, letterbox_mask
from footseg.errors import FootsegError
from footseg.evaluate import evenly_spaced
from footseg.export.precisions import PRECISIONS, Tolerance

# Enough that one odd photograph does not decide, and a second or two of work at 256x256.
IMAGES = 32
WORST = 3


@dataclass(frozen=True)
class Sample:
    """Images uint8 (N, H, W, 3) and masks uint8 (N, H, W) at a network's size, and where they come from."""

    split: str
    names: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class Verification:
    """How far an exported file is from its Keras network.

    ``logit_max`` and ``logit_mean`` are the largest and the mean absolute difference of logits, each divided
    by ``logit_scale``, the standard deviation of the Keras logits; ``logit_max_absolute`` and
    ``logit_mean_absolute`` are the same undivided. ``pixels_equal`` is the share of pixels with the same
    class; ``iou`` and ``boundary_f`` are exported minus Keras, in [-1, 1]. ``worst`` names the images with
    most pixels of another class (then the largest logit difference), and that share.
    """

    images: int
    split: str
    logit_scale: float
    logit_max: float
    logit_mean: float
    logit_max_absolute: float
    logit_mean_absolute: float
    pixels_equal: float
    iou: float
    boundary_f: float
    worst: tuple[tuple[str, float], ...]

    def summary(self) -> str:
        """One line for people."""
        return (
            f"logits {self.logit_max_absolute:.2g} apart at most, {self.logit_mean_absolute:.2g} on average; "
            f"{self.pixels_equal:.2%} of pixels equal; IoU {self.iou:+.4f}, boundary F {self.boundary_f:+.4f}"
        )

    def to_json(self) -> dict[str, Any]:
        """Its fields, ready for a sidecar."""
        return dataclasses.asdict(self)


# What is allowed on top to a network that remembers where maxima stood (max-unpooling): it moves a value by
# a pixel wherever rounding turns two nearly equal neighbours around, few pixels but by any amount. Seen in
# ENets, max and mean: in fp32 0.92 and 9.4e-5 (random weights; a trained one had none in 48 photographs), in
# fp16 0.18 and 4.6e-4 (trained), 2.3 and 1.7e-3 (24 steps of training). Red and blue swapped: mean 0.27.
POSITIONS_MAX = 5.0
POSITIONS_MEAN = 2e-3


def tolerance(precision: str, positions: bool) -> Tolerance:
    """The limits of a precision; ``positions`` says that the network remembers where maxima stood.

    Raises:
        ValueError: none for this ``precision``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"no tolerance for precision {precision!r}: known are {', '.join(PRECISIONS)}")
    limits = PRECISIONS[precision].tolerance
    if not positions:
        return limits
    return dataclasses.replace(
        limits,
        logit_max=limits.logit_max + POSITIONS_MAX,
        logit_mean=limits.logit_mean + POSITIONS_MEAN,
    )


def sample(data_dir: Path, size: tuple[int, int], count: int = IMAGES) -> Sample:
    """Up to ``count`` images evenly spaced over the validation split, where there is none the training split.

    Only these are read, so a large data set costs no more than a small one. Test images stay unseen.

    Raises:
        FootsegError: the data set is not there or has neither split, or a file is damaged.
    """
    if not data_dir.is_dir():
        raise FootsegError(
            f"the data set {data_dir} is gone, and an export is checked on real images: pass --data DIR"
        )
    data = open_data(data_dir)
    split = next((name for name in ("val", "train") if name in data.splits), None)
    if split is None:
        raise FootsegError(f"{data_dir} has neither val nor train to check an export on: pass --data DIR")
    found = pairs(data, split)
    chosen = [found[i] for i in evenly_spaced(len(found), count)]
    read = [read_pair(pair, len(data.classes)) for pair in chosen]
    return Sample(
        split=split,
        names=tuple(pair.name for pair in chosen),
        images=np.stack([letterbox(image, size)[0] for image, _ in read]),
        masks=np.stack([letterbox_mask(mask, size) for _, mask in read]),
    )


def verify(
    expected: np.ndarray,
    path: Path,
    on: Sample,
    precision: str,
    threads: int = 1,
    positions: bool = False,
) -> Verification:
    """Run the file at ``path`` on the sample and hold it against ``expected``, the Keras logits.

    For ``positions`` see ``tolerance``.

    Raises:
        FootsegError: the file cannot be run, or is out of tolerance: the measure, its value, the limit and
            the images that differ most are named.
        ValueError: no tolerance for this ``precision``.
    """
    limits = tolerance(precision, positions)
    verification = compare(expected, runtime.load(path, threads).logits(on.images), on)
    check(verification, limits, path.name)
    return verification


def check(verification: Verification, tolerance: Tolerance, name: str) -> None:
    """Hold what was measured against its limits.

    Raises:
        FootsegError: one or more are exceeded.
    """
    measured = {
        "largest logit difference": (verification.logit_max, tolerance.logit_max),
        "mean logit difference": (verification.logit_mean, tolerance.logit_mean),
        "share of pixels of another class": (1 - verification.pixels_equal, tolerance.pixels_differ),
        "difference in IoU": (abs(verification.iou), tolerance.iou),
        "difference in boundary F": (abs(verification.boundary_f), tolerance.boundary_f),
    }
    # Written so that NaN fails, too.
    failed = [
        f"{what} {value:.3g} (limit {limit:g})"
        for what, (value, limit) in measured.items()
        if not value <= limit
    ]
    if failed:
        images = ", ".join(f"{image} ({share:.1%} of its pixels)" for image, share in verification.worst)
        raise FootsegError(
            f"{name} does not do what its Keras network does: {'; '.join(failed)}; logit differences are in "
            f"standard deviations of the Keras logits; most different on {images}"
        )


def compare(keras: np.ndarray, exported: np.ndarray, on: Sample) -> Verification:
    """Measure the differences of two float arrays of logits (N, H, W, classes) of the same images.

    Logits that are no numbers count as infinitely far off. Padding (mask 255) is left out of the masks'
    measures: what a network says of it is cut away.

    Raises:
        ValueError: the shapes differ.
    """
    if keras.shape != exported.shape or keras.shape[:3] != on.masks.shape:
        raise ValueError(
            f"logits {keras.shape} and {exported.shape} must be of the same images, {on.masks.shape}"
        )
    finite = np.isfinite(exported).all(axis=-1)
    difference = np.where(np.isfinite(exported), np.abs(exported - keras), np.inf)
    scale = float(keras.std()) or 1.0
    classes = keras.shape[-1]
    before = keras.argmax(axis=-1).astype(np.uint8)
    # A pixel without a number has no class: it is counted as one that the network did not say.
    after = np.where(finite, exported.argmax(axis=-1), (before + 1) % classes).astype(np.uint8)
    valid = on.masks != IGNORE
    differ = ((before != after) & valid).sum(axis=(1, 2)) / np.maximum(valid.sum(axis=(1, 2)), 1)
    order = sorted(range(len(on.names)), key=lambda i: (differ[i], difference[i].max()), reverse=True)
    return Verification(
        images=len(on.names),
        split=on.split,
        logit_scale=scale,
        logit_max=float(difference.max()) / scale,
        logit_mean=float(difference.mean()) / scale,
        logit_max_absolute=float(difference.max()),
        logit_mean_absolute=float(difference.mean()),
        pixels_equal=1.0 - float(((before != after) & valid).sum() / max(valid.sum(), 1)),
        iou=_iou(on.masks, after, classes) - _iou(on.masks, before, classes),
        boundary_f=_boundary_f(on.masks, after) - _boundary_f(on.masks, before),
        worst=tuple((on.names[i], float(differ[i])) for i in order[:WORST]),
    )


def _iou(truth: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    return metrics.scores(metrics.confusion(truth, predicted, classes))["iou"]


def _boundary_f(truth: np.ndarray, predicted: np.ndarray) -> float:
    tolerance = metrics.boundary_tolerance(*truth.shape[1:])
    scores = [metrics.boundary_f(t, p, tolerance) for t, p in zip(truth, predicted, strict=True)]
    return float(np.mean(scores))
