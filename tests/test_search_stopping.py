"""Which trials are stopped early: the rules, against cases worked out by hand."""

import pytest

from footseg.search.stopping import RULES, asks, grace, rungs, why_stop

# Flat curves of 10 epochs; their median is 0.3.
OTHERS = [[score] * 10 for score in (0.1, 0.2, 0.3, 0.4, 0.5)]


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_judges_before_the_first_epoch_or_after_the_last(rule: str) -> None:
    assert why_stop(rule, [], OTHERS, 10) == ""
    assert why_stop(rule, [0.0] * 10, OTHERS, 10) == ""
    assert why_stop(rule, [0.0], OTHERS, 1) == ""


def test_none_never_stops() -> None:
    assert not any(why_stop("none", [0.0] * epoch, OTHERS, 10) for epoch in range(11))


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no rule 'medain' to stop trials by: did you mean 'median'\?"):
        why_stop("medain", [0.1], [], 10)


def test_the_median_rule_stops_what_is_below_the_median_of_the_others_best() -> None:
    assert why_stop("median", [0.1, 0.29, 0.2], OTHERS, 10) == (
        "IoU 0.2900 by epoch 3 is below the median of the 5 other trials that came so far (0.3000)"
    )
    assert why_stop("median", [0.1, 0.3, 0.2], OTHERS, 10) == "", "as good as the median is good enough"


def test_the_median_is_that_of_the_same_epoch() -> None:
    late = [[0.1, 0.1, 0.1, 0.9]] * 5
    assert why_stop("median", [0.1, 0.1, 0.2], late, 10) == ""
    assert why_stop("median", [0.1, 0.1, 0.2, 0.2], late, 10) != ""
    # A best that is past counts: 0.8 in the first epoch.
    assert why_stop("median", [0.5] * 3, [[0.8, 0.0, 0.0]] * 5, 10) != ""


def test_the_median_of_few_or_of_those_that_did_not_come_so_far_stops_nothing() -> None:
    assert why_stop("median", [0.0] * 3, OTHERS[1:], 10) == ""
    assert why_stop("median", [0.0] * 3, [*OTHERS[1:], [0.9, 0.9]], 10) == ""
    assert why_stop("median", [0.0] * 3, [*OTHERS[1:], [0.9, 0.9, 0.9]], 10) != ""


@pytest.mark.parametrize(("epochs", "first"), [(4, 3), (10, 3), (16, 4), (50, 10), (155, 31)])
def test_the_median_rule_waits_a_fifth_of_the_epochs_and_three_at_least(epochs: int, first: int) -> None:
    assert grace(epochs) == first
    asked = [epoch for epoch in range(epochs + 1) if asks("median", epoch, epochs)]
    assert asked == list(range(first, epochs))


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, ()), (2, (1,)), (3, (1,)), (4, (1, 2)), (9, (1, 3)), (50, (6, 17))]
)
def test_halving_judges_after_a_ninth_and_a_third(epochs: int, expected: tuple[int, ...]) -> None:
    assert rungs(epochs) == expected
    assert tuple(epoch for epoch in range(epochs + 1) if asks("halving", epoch, epochs)) == expected


def test_halving_lets_the_best_third_pass() -> None:
    # Six at the first rung of nine epochs: two go on.
    assert why_stop("halving", [0.45], OTHERS, 9) == ""
    assert why_stop("halving", [0.35], OTHERS, 9) == (
        "IoU 0.3500 by epoch 1 is place 3 of the 6 trials that came so far: the first 2 go on"
    )
    assert why_stop("halving", [0.4], OTHERS, 9) == "", "the second place is shared"
    assert why_stop("halving", [0.0, 0.0], OTHERS, 9) == "", "no rung"


def test_the_first_two_at_a_rung_go_on() -> None:
    assert why_stop("halving", [0.0] * 3, [[0.5] * 3], 9) == ""
    # Two more have been at the first rung only.
    assert why_stop("halving", [0.0] * 3, [[0.5] * 3, [0.5], [0.5]], 9) == ""
    assert why_stop("halving", [0.0] * 3, [[0.5] * 3, [0.5] * 3], 9) != ""


def test_a_rung_judges_by_the_best_until_it() -> None:
    assert why_stop("halving", [0.6, 0.1, 0.1], [[0.5] * 9, [0.4, 0.4, 0.4, 0.9]], 9) == ""
