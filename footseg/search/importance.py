"""How much of what came out each parameter explains on its own.

The more a parameter decides, the less do trials differ that are alike in it. Its share is 1 minus half the
mean squared difference of such trials over the variance among all; of ranks, so that a few trials that never
learnt do not decide alone. That is the first-order Sobol index ("main effect"), estimated from neighbours'
differences (von Neumann 1941, 10.1214/aoms/1177731677; for Sobol indices Gamboa, Gremaud, Klein and Lagnoux
2022, 10.3150/21-BEJ1421). For categories it is Kelley's epsilon squared (1935), which is eta squared adjusted
for their number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from footseg.search.records import Trial
from footseg.search.space import Choice, Label, Space, labels

# With so few, chance alone reaches a share of a half; with 20, 0.3, with 100, 0.06.
FEWEST = 10


@dataclass(frozen=True)
class ParameterImportance:
    """Of one parameter; ``trials`` of those scored had it active.

    ``share``, in [0, 1], of the variance of the objective's ranks is explained by the parameter alone; a
    parameter without effect reaches ``chance`` in one of 20 searches as long as this, so a share below it
    says nothing. Both are None with fewer than ``FEWEST`` trials, or where there is nothing to compare:
    no two trials alike or all of one objective.
    """

    label: Label
    share: float | None
    chance: float | None
    trials: int


def importance(
    space: Space, trials: Sequence[Trial], objective: str = "iou"
) -> tuple[ParameterImportance, ...]:
    """What each parameter explains of the score ``objective``, in the order of the space.

    Alike are trials of the same choice, or the tenth of all trials nearest on either side in a number's
    order. So effects of any form are found (a best value in the middle, too), and chance gives 0 on average
    before a share is cut to [0, 1]. A parameter of a branch is judged among the trials of that branch.

    What it cannot see: parameters that matter only together (interactions) have no main effect. Algorithms
    that follow results ("tpe", "anneal") look at good values mostly, which makes the parameters
    that they settled first look smaller, and parameters that move together share their effect: for the
    whole space, use trials of "random". Failed and refused trials do not count.
    """
    scored = [trial for trial in trials if trial.scored and objective in trial.scores]
    return tuple(_of(label, scored, objective) for label in labels(space))


def _of(label: Label, scored: Sequence[Trial], objective: str) -> ParameterImportance:
    active = [trial for trial in scored if label.name in trial.point]
    if len(active) < FEWEST:
        return ParameterImportance(label, None, None, len(active))
    found = share_explained(
        [trial.point[label.name] for trial in active],
        [trial.scores[objective] for trial in active],
        ordered=not isinstance(label.parameter, Choice),
    )
    if found is None:
        return ParameterImportance(label, None, None, len(active))
    share, chance = found
    return ParameterImportance(label, min(max(share, 0.0), 1.0), chance, len(active))


def share_explained(
    values: Sequence[float], outcomes: Sequence[float], *, ordered: bool
) -> tuple[float, float] | None:
    """The share of the variance of the ranks of ``outcomes`` that ``values`` explain, and chance's 95 %.

    The share is below 0 where trials alike differ more than others. ``ordered``: values are numbers, not
    names. None: all outcomes are equal, or no two values alike.
    """
    ranks = rankdata(outcomes)
    spread = ranks.var(ddof=1)
    alike = _alike(np.asarray(values, dtype=float), ordered)
    counts = alike.sum(axis=1)
    compared = int((counts > 0).sum())
    if not spread or not compared:
        return None
    # Each trial counts once, however many are like it.
    weights = alike / np.maximum(counts, 1)[:, None] / compared
    weights = (weights + weights.T) / 2
    z = (ranks - ranks.mean()) / math.sqrt(spread)
    # The sum of w (z_i - z_j)^2 / 2, written out.
    own = weights.sum(axis=1)
    share = 1 - float(own @ z**2 - z @ weights @ z)
    return share, 1.645 * _deviation(weights, own, z)


def _alike(values: np.ndarray, ordered: bool) -> np.ndarray:
    """[i, j]: whether two trials are alike in a parameter."""
    if ordered:
        place = rankdata(values)
        alike = np.abs(place[:, None] - place) <= max(1, round(len(values) / 10))
    else:
        alike = values[:, None] == values
    np.fill_diagonal(alike, False)
    return alike


def _deviation(weights: np.ndarray, own: np.ndarray, z: np.ndarray) -> float:
    """Of the share when outcomes fall on values by chance: variance of a quadratic form in independent z."""
    variance = 2 * float((weights**2).sum()) + float(((own - own.mean()) ** 2).sum()) * float((z**2).var())
    return math.sqrt(variance)
