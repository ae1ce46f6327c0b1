"""The next point to try, by hyperopt (Bergstra, Yamins and Cox 2013, "Making a science of model search").

"random" draws from the space, whatever came out before. "tpe" is the tree of Parzen estimators (Bergstra,
Bardenet, Bengio and Kégl 2011, "Algorithms for hyper-parameter optimization"). "anneal" draws near one of the
best points, ever nearer. Nothing is kept between two calls: hyperopt's history is made anew from the records,
so a search goes on after a kill as if it had never stopped.
"""

import functools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from footseg.errors import FootsegError, check_known, require
from footseg.grouping import grouped
from footseg.search.parameters import Range, Space
from footseg.search.space import Label, Point, count, labels, point_of, to_hyperopt, vals_of

ALGORITHMS = ("random", "tpe", "anneal")
# TPE draws the first STARTUP points at random (hyperopt: 20), and then near the best GOOD of all (hyperopt: a
# quarter of the square root of their number), both as in Optuna. Against random search of the same seed, on a
# noisy function like the thesis's problem, that won 56 of 70 searches of 100 trials (hyperopt's own: 47)
# and 44 of 40 trials (45); on one shaped like a choice of architectures 64 (61) and 48 (45).
STARTUP = 10
GOOD = 0.1
# Draws by the algorithm itself before others take over from it.
REDRAWS = 10
# Of a space with infinitely many points: what is drawn once in 50 times is missed once in 10^9.
RANDOM_REDRAWS = 1000

_History: TypeAlias = Sequence[tuple[Point, float]]
_Suggest: TypeAlias = Callable[..., list[dict[str, Any]]]
# What is drawn below a branch (label and index), or at the top (None).
_Below: TypeAlias = Mapping[tuple[str, int] | None, Sequence[Label]]


class ExhaustedError(FootsegError):
    """Every point of the space was tried."""


def suggest(
    space: Space, algorithm: str, told: _History, tried: Collection[Point], seed: tuple[int, ...]
) -> Point:
    """A point of ``space`` that is none of ``tried``; the same for the same arguments.

    ``told`` are points with their losses (lower is better); ``tried`` all that were drawn, in their order.
    To "tpe", points without a finite loss (those still running) are as bad as any, as in hyperopt, so that
    several workers spread; "anneal" does not see them. "random" depends on ``seed`` (numbers from 0) alone,
    but where it would repeat a point. A point that would be repeated is drawn anew with other numbers, and
    after ``REDRAWS`` at random. With "tpe" the first ``STARTUP`` points are random.

    Raises:
        ValueError: an unknown algorithm.
        ExhaustedError: every point was tried.
    """
    check_known("unknown algorithm", algorithm, ALGORITHMS)
    known = {_key(point) for point in tried}
    total = count(space)
    if total is not None and len(known) >= total:
        raise ExhaustedError(f"all {total} points of the space were tried")
    history = {_key(point): (point, math.inf) for point in tried}
    history |= {_key(point): (point, loss) for point, loss in told if math.isfinite(loss)}
    for point in _draws(space, algorithm, list(history.values()), seed):
        if _key(point) not in known:
            return point
    raise ExhaustedError(f"{RANDOM_REDRAWS} points drawn at random had all been tried before")


def _key(point: Point) -> tuple[tuple[str, float | int], ...]:
    return tuple(sorted(point.items()))


def _draws(space: Space, algorithm: str, history: _History, seed: tuple[int, ...]) -> Iterator[Point]:
    """By the algorithm, then at random; of a finite space until one must be new."""
    base = require("hyperopt.base", "search")
    method, seen = _method(algorithm, history)
    domain = base.Domain(None, to_hyperopt(space))
    documents = [_document(base, space, number, *pair) for number, pair in enumerate(seen)]
    trials = base.trials_from_docs(documents, validate=False)

    def draw(by: _Suggest, attempt: int) -> Point:
        (document,) = by([len(seen)], domain, trials, one_number((*seed, attempt)))
        return point_of(space, document["misc"]["vals"])

    yield from (draw(method, attempt) for attempt in range(REDRAWS))
    if (total := count(space)) is None:
        uniform, _ = _method("random", history)
        yield from (draw(uniform, REDRAWS + attempt) for attempt in range(RANDOM_REDRAWS))
    else:
        # All different, and one more than the history has.
        size = min(total, len(history) + 1)
        rng = np.random.default_rng((*seed, REDRAWS))
        yield from (nth(space, int(k)) for k in rng.choice(min(total, 2**62), size, replace=False))


def _method(algorithm: str, history: _History) -> tuple[_Suggest, _History]:
    """hyperopt's function, and what of the history it is to see."""
    finite = [pair for pair in history if pair[1] < math.inf]
    if algorithm == "anneal":
        return require("hyperopt.anneal", "search").suggest, finite
    if algorithm == "random" or not finite:
        return require("hyperopt.rand", "search").suggest, ()
    tpe = require("hyperopt.tpe", "search").suggest
    return functools.partial(tpe, n_startup_jobs=STARTUP, gamma=_gamma(history), verbose=False), history


def _gamma(history: _History) -> float:
    """For hyperopt, which takes gamma * sqrt(trials) of them as good, rounded up, and 25 at the most.

    A share of those better than the worst loss, which refused and failed trials have: these may be most.
    """
    worst = max(loss for _, loss in history if loss < math.inf)
    better = sum(loss < worst for _, loss in history)
    return GOOD * max(better, 1) / math.sqrt(len(history))


def one_number(seed: tuple[int, ...]) -> int:
    """For hyperopt, whose annealing counts on from its seed and takes no tuple."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


def _document(base: Any, space: Space, number: int, point: Point, loss: float) -> dict[str, Any]:
    """A trial as hyperopt keeps it; a label that is not active has no index and no value."""
    vals = vals_of(space, point)
    return {
        "tid": number,
        "state": base.JOB_STATE_DONE,
        "spec": None,
        "result": {"status": base.STATUS_OK, "loss": loss},
        "misc": {"tid": number, "vals": vals, "idxs": {name: [number] * len(vals[name]) for name in vals}},
        "exp_key": None,
    }


def nth(space: Space, index: int) -> Point:
    """Point ``index``, from 0 to ``count(space)`` - 1, of a finite space, in an order of its own."""
    return _nth(grouped((label.parent, label) for label in labels(space)), None, index)


def _nth(below: _Below, parent: tuple[str, int] | None, index: int) -> Point:
    point: dict[str, float | int] = {}
    for label in below.get(parent, ()):
        sizes = _sizes(below, label)
        index, here = divmod(index, sum(sizes))
        if isinstance(label.parameter, Range):
            point[label.name] = label.parameter.nth(here)
            continue
        branch = 0
        while here >= sizes[branch]:
            here -= sizes[branch]
            branch += 1
        point[label.name] = branch
        point |= _nth(below, (label.name, branch), here)
    return point


def _sizes(below: _Below, label: Label) -> list[int]:
    """How many points there are from here on down, for each branch; a range is as one branch."""
    if isinstance(label.parameter, Range):
        return [label.parameter.count or 0]
    return [
        math.prod(sum(_sizes(below, each)) for each in below.get((label.name, branch), ()))
        for branch in range(len(label.parameter.branches))
    ]
