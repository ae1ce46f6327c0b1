"""Suggestions: the same again, never a point twice, and hyperopt's own."""

import functools
import json
import math
import time
from collections import Counter

import numpy as np
import pytest

from footseg.search import suggest as suggesting
from footseg.search.parameters import Branch, Choice, Range, Space
from footseg.search.space import Point, count, point_of, to_hyperopt, vals_of
from footseg.search.suggest import ALGORITHMS, ExhaustedError, nth, suggest

# The thesis's space: two parameters always, two more in one branch of three.
THESIS = Space(
    {
        "learning_rate": Range(1e-6, 1e-2, log=True),
        "dropout": Range(0, 1),
        "loss": Choice(
            (
                Branch("ce", "ce"),
                Branch("iou", "iou"),
                Branch("d", "distill", {"weight": Range(0, 10), "temperature": Range(1, 100, log=True)}),
            )
        ),
    }
)
# 2 + 3 = 5 points of the choice, times 2 widths: 10.
TEN = Space(
    {
        "loss": Choice(
            (
                Branch("ce", "ce", {"batch": Choice((Branch(8, "8"), Branch(16, "16")))}),
                Branch("iou", "iou", {"epochs": Range(1, 3, whole=True)}),
            )
        ),
        "width": Range(0.25, 0.5, step=0.25),
    }
)
LARGE = Space({"a": Range(1, 100, whole=True), "b": Range(1, 50, whole=True)})


def loss(point: Point) -> float:
    """Least at a learning rate of 1e-3, no dropout, distillation of weight 3."""
    value = (math.log10(point["learning_rate"]) + 3) ** 2 + point["dropout"]
    return value + (abs(point["weight@loss=2"] - 3) if point["loss"] == 2 else 4)


def searched(algorithm: str, trials: int, seed: int = 3) -> list[tuple[Point, float]]:
    """A search, each point told before the next is asked for."""
    told: list[tuple[Point, float]] = []
    for number in range(trials):
        point = suggest(THESIS, algorithm, told, [p for p, _ in told], (seed, number))
        told.append((point, loss(point)))
    return told


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_history_and_seed_give_the_same_point(algorithm: str) -> None:
    told = searched(algorithm, 25)
    points = [point for point, _ in told]
    first = suggest(THESIS, algorithm, told, points, (3, 25))
    # As they come back from records that a kill left behind.
    kept = json.loads(json.dumps(told))
    assert suggest(THESIS, algorithm, kept, [point for point, _ in kept], (3, 25)) == first
    assert suggest(THESIS, algorithm, told, points, (3, 26)) != first
    assert suggest(THESIS, algorithm, told, points, (4, 25)) != first


def test_random_points_depend_on_the_seed_alone() -> None:
    told = searched("random", 5)
    points = [point for point, _ in told]
    assert suggest(THESIS, "random", told, points, (3, 5)) == suggest(THESIS, "random", [], [], (3, 5))


def test_the_others_follow_what_came_out() -> None:
    points = [point for point, _ in searched("random", 30)]
    for algorithm in ("tpe", "anneal"):
        told = [(point, loss(point)) for point in points]
        turned = [(point, -value) for point, value in told]
        assert suggest(THESIS, algorithm, told, points, (0, 0)) != suggest(
            THESIS, algorithm, turned, points, (0, 0)
        )


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
def test_our_suggestion_is_hyperopts_own(algorithm: str) -> None:
    from hyperopt import Trials, anneal, base, fmin, tpe

    their = {
        # Of 40 trials, 39 are better than the worst.
        "tpe": functools.partial(tpe.suggest, n_startup_jobs=10, gamma=0.1 * 39 / math.sqrt(40)),
        "anneal": anneal.suggest,
    }[algorithm]
    trials = Trials()
    fmin(
        lambda drawn: (
            drawn["dropout"] + (drawn["loss"].get("weight", 5)) + math.log10(drawn["learning_rate"])
        ),
        to_hyperopt(THESIS),
        their,
        max_evals=40,
        trials=trials,
        rstate=np.random.default_rng(5),
        show_progressbar=False,
    )
    told = [(point_of(THESIS, doc["misc"]["vals"]), doc["result"]["loss"]) for doc in trials]
    domain = base.Domain(None, to_hyperopt(THESIS))
    seed = (1, 40)
    (document,) = their([40], domain, trials, suggesting.one_number((*seed, 0)))
    expected = point_of(THESIS, document["misc"]["vals"])
    assert suggest(THESIS, algorithm, told, [point for point, _ in told], seed) == expected


def test_inactive_parameters_are_empty_lists_to_hyperopt() -> None:
    from hyperopt import base

    point = {"learning_rate": 1e-3, "dropout": 0.5, "loss": 0}
    misc = suggesting._document(base, THESIS, 7, point, 1.0)["misc"]
    assert misc["vals"]["weight@loss=2"] == misc["idxs"]["weight@loss=2"] == []
    assert misc["idxs"]["loss"] == [7]
    assert misc["vals"]["loss"] == [0]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_point_of_a_finite_space_comes_once_and_then_none(algorithm: str) -> None:
    told: list[tuple[Point, float]] = []
    for number in range(10):
        point = suggest(TEN, algorithm, told, [p for p, _ in told], (0, number))
        told.append((point, point["width"]))
    assert len({tuple(sorted(point.items())) for point, _ in told}) == 10
    with pytest.raises(ExhaustedError, match="all 10 points of the space were tried"):
        suggest(TEN, algorithm, told, [p for p, _ in told], (0, 10))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_points_that_have_no_end_yet_are_not_given_again(algorithm: str) -> None:
    three = Space({"batch": Choice(tuple(Branch(size, str(size)) for size in (8, 16, 32)))})
    tried: list[Point] = []
    for number in range(3):
        tried.append(suggest(three, algorithm, [], tried, (1, number)))
    assert sorted(point["batch"] for point in tried) == [0, 1, 2]
    with pytest.raises(ExhaustedError, match="all 3 points"):
        suggest(three, algorithm, [], tried, (1, 3))


def test_a_branch_without_a_number_is_tried_once_beside_one_with() -> None:
    space = Space({"loss": Choice((Branch("ce", "ce"), Branch("d", "d", {"weight": Range(0, 1)})))})
    assert count(space) is None
    tried: list[Point] = []
    for number in range(30):
        tried.append(suggest(space, "random", [], tried, (0, number)))
    assert tried.count({"loss": 0}) == 1


def test_a_finite_space_is_counted_through() -> None:
    points = [nth(TEN, index) for index in range(10)]
    assert len({tuple(sorted(point.items())) for point in points}) == 10
    assert Counter(point["loss"] for point in points) == {0: 4, 1: 6}
    # What hyperopt is told of them comes back the same.
    assert [point_of(TEN, vals_of(TEN, point)) for point in points] == points


def test_the_last_point_of_a_large_space_is_found() -> None:
    tried = [nth(LARGE, index) for index in range(5000) if index != 1234]
    assert suggest(LARGE, "random", [], tried, (0, 4999)) == nth(LARGE, 1234)


def test_running_points_keep_tpe_away() -> None:
    """Without them, ten workers that ask at once are sent to nearly one place."""
    told = searched("random", 40)
    points = [point for point, _ in told]
    alone = suggest(THESIS, "tpe", told, points, (0, 40))
    running = [{**alone, "dropout": alone["dropout"] * (1 + k / 1000)} for k in range(1, 10)]
    assert suggest(THESIS, "tpe", told, points + running, (0, 40)) != alone


def test_refused_points_do_not_widen_what_is_good() -> None:
    from hyperopt import tpe

    # hyperopt takes gamma * sqrt(trials) as good: of 31 and of 131, a tenth of the 30 better than the worst.
    told = [(nth(LARGE, index), float(min(index, 30))) for index in range(131)]
    for some in (told[:31], told):
        method, _ = suggesting._method("tpe", some)
        assert isinstance(method, functools.partial)
        assert method.func is tpe.suggest
        assert method.keywords["gamma"] * math.sqrt(len(some)) == pytest.approx(3)  # a square root's rounding


def test_no_loss_is_no_news() -> None:
    told = searched("random", 25)
    points = [point for point, _ in told]
    lost = [(points[0], math.nan), *told[1:]]
    for algorithm in ("tpe", "anneal"):
        assert suggest(THESIS, algorithm, lost, points, (0, 0)) == suggest(
            THESIS, algorithm, told[1:], points, (0, 0)
        )


def test_an_unknown_algorithm_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match="unknown algorithm 'tpo': did you mean 'tpe'"):
        suggest(THESIS, "tpo", [], [], (0,))


def test_a_suggestion_costs_little() -> None:
    """8 ms measured with 100 points on one core: 1 % of a trial of 0.8 s. 100 ms is room for slow ones."""
    points = [nth(LARGE, 37 * index) for index in range(100)]
    told = [(point, float(point["a"])) for point in points]
    suggest(LARGE, "tpe", told, points, (0, 0))
    start = time.process_time()
    suggest(LARGE, "tpe", told, points, (0, 1))
    assert time.process_time() - start < 0.1
