"""How far a figure of one model lies from another's on the same images, and whether that is within a limit.

An image is one sample, and both models saw it: that some images are hard for both cancels. IoU is a ratio of
sums over all images, so the interval comes of leaving out each image once, of both models: the jackknife
(Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 11), which draws nothing at random.
Of a mean, as boundary F is, its standard error is the usual one.

Few images hold most of what is lost, and then Student's t ends too soon on their side. Hall's transformation
("On the removal of skewness by transformation", Journal of the Royal Statistical Society B 54, 1992) counts
the skewness. Simulated at 99 % (tests/test_paired.py): of normal differences 1.3 % of intervals leave out the
truth with 8 images and 1.0 % with 32. Of losses on half of the images, exponential, it is 3.5 % and 0.6 %, by
Student's t alone 10.6 % and 4.2 %. What none of the images shows, no interval knows: where all differ by
the same it is that.

Latencies have another interval (``footseg.comparison``): signs tell nothing of a few images that a file
ruins, and those move IoU.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from footseg import metrics, records
from footseg.terminal import counted

CONFIDENCE = 0.99
WITHIN, BEYOND, CANNOT_TELL = "within", "beyond", "cannot tell"
# Figures that decisions are about, and their names for people.
FIGURES = {"iou": "IoU", "boundary_f": "boundary F"}


@dataclass(frozen=True)
class Difference:
    """A figure of one model minus another's on the same ``images`` images, in [-1, 1].

    ``error`` is its standard error, infinite for a single image, which tells nothing of others; ``skewness``
    that of what the images add to it.
    """

    value: float
    error: float
    skewness: float
    images: int

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """The bounds that hold the true difference with ``confidence``, 0 to 1."""
        if self.images < 2:
            return -1.0, 1.0
        t = float(stdtrit(self.images - 1, (1 + confidence) / 2))
        ends = (self.value - self.error * self._unskewed(t), self.value - self.error * self._unskewed(-t))
        low, high = np.clip(ends, -1.0, 1.0)
        return float(low), float(high)

    def _unskewed(self, t: float) -> float:
        """The inverse of Hall's transformation, which makes Student's t of a skewed one."""
        bend = self.skewness / math.sqrt(self.images)
        if abs(bend) < 1e-6:  # Next to it the formula is 0 / 0.
            return t
        return 3 / bend * (math.cbrt(1 + bend * (t - bend / 6)) - 1)


@dataclass(frozen=True)
class Decision:
    """Whether a difference is at most ``limit``, up or down, and what that was decided on.

    ``low`` and ``high`` hold the true difference with ``confidence``. ``verdict`` is "within" the limit if
    all between them is, "beyond" if nothing is, else "cannot tell".
    """

    images: int
    difference: float
    low: float
    high: float
    confidence: float
    limit: float
    verdict: str

    @property
    def clear(self) -> bool:
        """Whether one can tell."""
        return self.verdict != CANNOT_TELL

    @property
    def ends(self) -> str:
        """The interval in words."""
        return f"{self.low:+.4f} to {self.high:+.4f}"


def of_iou(before: np.ndarray, after: np.ndarray) -> Difference:
    """Of the foreground's IoU over all images, from their confusion matrices (N, classes, classes)."""

    def iou(of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total = of.sum(axis=0)
        return metrics.foreground_iou(total), metrics.foreground_iou(total - of)

    (whole_before, without_before), (whole_after, without_after) = iou(before), iou(after)
    return _jackknife(float(whole_after - whole_before), without_after - without_before)


def of_mean(before: np.ndarray, after: np.ndarray) -> Difference:
    """Of the mean of a figure that each image has: two arrays (N,)."""
    lost = after - before
    return _jackknife(float(lost.mean()), (lost.sum() - lost) / max(len(lost) - 1, 1))


def _jackknife(value: float, without: np.ndarray) -> Difference:
    """From the differences without each image, (N,)."""
    count = len(without)
    if count < 2:
        return Difference(value, math.inf, 0.0, count)
    added = without.mean() - without
    spread = float(added.std())
    skewness = float(np.mean(added**3)) / spread**3 if spread else 0.0
    return Difference(value, spread * math.sqrt(count - 1), skewness, count)


def decide(difference: Difference, limit: float, confidence: float = CONFIDENCE) -> Decision:
    """Hold a difference against what is allowed; one that is no number is beyond every limit."""
    low, high = difference.interval(confidence)
    verdict = CANNOT_TELL
    if math.isnan(difference.value):
        verdict = BEYOND
    elif -limit <= low and high <= limit:
        verdict = WITHIN
    elif not (low <= limit and high >= -limit):
        verdict = BEYOND
    return Decision(difference.images, difference.value, low, high, confidence, limit, verdict)


def decisions(verification: Mapping[str, Any]) -> dict[str, Decision]:
    """What a sidecar's verification says was decided, by figure; nothing in one of an older footseg.

    Raises:
        FootsegError: these are no decisions.
    """
    return records.checked(
        lambda: records.of(dict[str, Decision], verification.get("decisions", {})),
        "these are no decisions on IoU and boundary F",
        "export the file again",
    )


def doubts(decided: Mapping[str, Decision]) -> str:
    """In words, what could not be told; empty if all could."""
    return "; ".join(
        f"cannot tell on {counted(found.images, 'image')} whether "
        f"{FIGURES[figure]} is within {found.limit:g} ({found.ends})"
        for figure, found in decided.items()
        if not found.clear
    )
