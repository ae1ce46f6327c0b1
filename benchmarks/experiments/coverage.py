"""How often intervals over a few fresh starts are wrong when the truth is known: simulated, nothing is run.

Three ways to the interval of ``footseg.comparison``, at the same confidence and from the same starts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from footseg import comparison

COMPARISONS = 2000
# Starts of a comparison, and Student's t with one degree of freedom less at 99.5 %.
STUDENT = {8: 3.499, 16: 2.947}
# Standard deviation of the log ratio of a start: more than was seen, but on a busy machine.
DEVIATION = 0.02
SLOWER = 0.05

Bounds = tuple[float, float]


def simulated() -> list[dict[str, Any]]:
    """The share of comparisons that leave out the truth, and of those that find ``SLOWER``, by each way."""
    found = []
    for starts in STUDENT:
        for name, draw in DRAWS.items():
            logs = draw(np.random.default_rng(0), (COMPARISONS, starts))
            for way, bounds in WAYS.items():
                low, high = np.array([bounds(row) for row in logs]).T
                wrong = float(np.mean((low > 0) | (high < 0)))
                finds = float(np.mean(low + np.log1p(SLOWER) > 0))
                found.append(
                    {"starts": starts, "of": name, "interval": way, "leaves_out_truth": wrong, "finds": finds}
                )
    return found


def percentiles(logs: np.ndarray, draws: int = 4000) -> Bounds:
    """The bootstrap that draws starts with replacement and takes the percentiles of their means."""
    means = np.random.default_rng(0).choice(logs, (draws, len(logs))).mean(axis=1)
    tail = 50 * (1 - comparison.CONFIDENCE)
    low, high = np.percentile(means, (tail, 100 - tail))
    return float(low), float(high)


def _signs(logs: np.ndarray) -> Bounds:
    found = comparison.interval([[ratio] for ratio in np.exp(logs).tolist()])
    return float(np.log(found.low)), float(np.log(found.high))


def _student(logs: np.ndarray) -> Bounds:
    half = STUDENT[len(logs)] * logs.std(ddof=1) / len(logs) ** 0.5
    return float(logs.mean() - half), float(logs.mean() + half)


def _disturbed(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """One start in ten falls into a busy moment."""
    return rng.normal(0, DEVIATION, size) * np.where(rng.random(size) < 0.1, 10, 1)


DRAWS: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda rng, size: rng.normal(0, DEVIATION, size),
    "one start in ten disturbed tenfold": _disturbed,
}
WAYS: Mapping[str, Callable[[np.ndarray], Bounds]] = {
    "signs": _signs,
    "student": _student,
    "bootstrap percentiles": percentiles,
}
