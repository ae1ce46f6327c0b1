"""Shares of parameters: chance gives nothing, what decides gives nearly all."""

import numpy as np
import pytest

from footseg.search.importance import FEWEST, importance, share_explained
from footseg.search.parameters import Branch, Choice, Range, Space
from footseg.search.records import Trial

SPACE = Space(
    {
        "learning_rate": Range(0, 1),
        "dropout": Range(0, 1),
        "loss": Choice((Branch("ce", "ce"), Branch("d", "distill", {"weight": Range(0, 1)}))),
    }
)


def trials(number: int, seed: int, score: str) -> list[Trial]:
    """Random points; ``score`` names what decides."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(number):
        point: dict[str, float | int] = {"learning_rate": rng.random(), "dropout": rng.random()}
        point["loss"] = int(rng.integers(2))
        if point["loss"]:
            point["weight@loss=1"] = rng.random()
        value = float(rng.random() if score == "chance" else point.get(score, 0.5))
        found.append(Trial(k, point, {}, "finished", scores={"iou": value}))
    return found


def shares(found: list[Trial]) -> dict[str, float | None]:
    return {each.label.name: each.share for each in importance(SPACE, found)}


def test_a_share_by_hand() -> None:
    # 10 values in order, so alike are neighbours; outcomes in order: squares of differences 1, half: 1/2.
    # Variance of the ranks 1..10: 82.5 / 9 = 55/6. Share: 1 - (1/2) / (55/6) = 1 - 3/55.
    found = share_explained(range(10), range(10), ordered=True)
    assert found is not None
    assert found[0] == pytest.approx(1 - 3 / 55)


def test_a_share_of_categories_is_epsilon_squared() -> None:
    # Ranks 1, 2, 3 | 4, 5, 6. Within: 2 + 2 over 6 - 2; all: 17.5 over 6 - 1. Epsilon squared: 1 - 1 / 3.5.
    found = share_explained([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], ordered=False)
    assert found is not None
    assert found[0] == pytest.approx(1 - 1 / 3.5)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("number", [12, 40])
def test_chance_gives_nothing(ordered: bool, number: int) -> None:
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        values = rng.random(number) if ordered else rng.integers(0, 4, number)
        found.append(share_explained(values, rng.random(number), ordered=ordered))
    one = np.array([each for each in found if each is not None])
    deviation = one[:, 0].std()
    # Exactly 0 on average: within three deviations of a mean of 400.
    assert abs(one[:, 0].mean()) < 3 * deviation / 20
    # One in 20 is above what is called chance: 20 of 400, three deviations of a binomial are 13.
    assert 7 <= (one[:, 0] > one[:, 1]).sum() <= 33


def test_what_decides_everything_explains_nearly_all() -> None:
    found = shares(trials(100, 0, "learning_rate"))
    assert found["learning_rate"] > 0.95
    assert found["dropout"] < 0.1
    assert found["loss"] < 0.1


def test_a_choice_explains_too() -> None:
    found = shares(trials(100, 1, "loss"))
    assert found["loss"] == pytest.approx(1)  # a sum of 100 products
    assert found["learning_rate"] < 0.15


def test_a_best_value_in_the_middle_is_found() -> None:
    values = np.random.default_rng(0).random(60)
    found = share_explained(values, -((values - 0.5) ** 2), ordered=True)
    # A straight line through it explains nothing.
    assert abs(np.corrcoef(values, (values - 0.5) ** 2)[0, 1]) < 0.3
    assert found is not None
    assert found[0] > 0.8


def test_a_conditional_parameter_is_judged_among_its_own() -> None:
    drawn = trials(80, 2, "weight@loss=1")
    by_name = {each.label.name: each for each in importance(SPACE, drawn)}
    weight = by_name["weight@loss=1"]
    assert weight.trials == sum(trial.point["loss"] for trial in drawn) < 60
    assert weight.share is not None
    assert weight.share > 0.9
    assert by_name["learning_rate"].trials == 80


def test_shares_are_within_0_and_1() -> None:
    for seed in range(20):
        for each in importance(SPACE, trials(25, seed, "chance")):
            assert each.share is None or 0 <= each.share <= 1


def test_too_few_trials_say_nothing() -> None:
    found = importance(SPACE, trials(FEWEST - 1, 0, "learning_rate"))
    assert {each.share for each in found} == {each.chance for each in found} == {None}
    assert [each.trials for each in found][:3] == [FEWEST - 1] * 3
    assert shares(trials(FEWEST, 0, "learning_rate"))["learning_rate"] is not None


def test_only_trials_with_a_score_count() -> None:
    found = trials(20, 0, "learning_rate")
    bad = [Trial(20 + k, trial.point, {}, "failed", "diverged") for k, trial in enumerate(found)]
    assert importance(SPACE, found + bad) == importance(SPACE, found)
    assert importance(SPACE, found, "boundary_f")[0].trials == 0


def test_nothing_to_explain() -> None:
    assert share_explained(range(12), [0.5] * 12, ordered=True) is None
    assert share_explained(range(12), range(12), ordered=False) is None


def test_steps_are_compared_within_themselves() -> None:
    """Ten trials of each of two widths: alike are those of the same width, as in a choice."""
    values, outcomes = [0.5] * 10 + [1.0] * 10, list(range(20))
    assert share_explained(values, outcomes, ordered=True) == share_explained(values, outcomes, ordered=False)
