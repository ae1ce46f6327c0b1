"""Fronts and ranks, against figures worked out by hand."""

import pytest

from footseg.search import pareto


def test_front_of_two_goals() -> None:
    # By eye: (1, 5), (2, 3) and (4, 1) are the stairs; (2, 4) lies above (2, 3), (5, 5) above all.
    rows = [(1, 5), (2, 3), (4, 1), (2, 4), (5, 5)]
    assert pareto.front(rows) == [True, True, True, False, False]


def test_equal_rows_are_in_or_out_together() -> None:
    assert pareto.front([(1, 1), (1, 1), (2, 1), (2, 1)]) == [True, True, False, False]


def test_front_of_one_goal_is_its_least() -> None:
    assert pareto.front([[3.0], [1.0], [2.0], [1.0]]) == [False, True, False, True]


def test_nothing_has_no_front() -> None:
    assert pareto.front([]) == []
    assert pareto.ranks([]) == []


def test_ranks_peel_fronts_and_prefer_what_stands_alone() -> None:
    # First front: (0, 10), (1, 9), (5, 5), (10, 0). Crowding of the inner two: (1, 9): 5/10 + 5/10 = 1;
    # (5, 5): 9/10 + 9/10 = 1.8; the ends: infinite. So the ends are 0, (5, 5) is third, 2/4; (1, 9) is 3/4.
    rows = [(1, 9), (5, 5), (0, 10), (10, 0), (6, 6), (11, 11)]
    assert pareto.ranks(rows) == [0.75, 0.5, 0.0, 0.0, 1.0, 2.0]


def test_ranks_are_of_the_row_not_of_its_place() -> None:
    rows = [(1, 9), (5, 5), (0, 10), (10, 0), (6, 6), (5, 5), (1, 9)]
    given = pareto.ranks(rows)
    assert pareto.ranks(rows[::-1]) == given[::-1]
    assert given[1] == given[5]
    assert given[0] == given[6]


def test_ranks_do_not_depend_on_units() -> None:
    rows = [(1.0, 9.0), (5.0, 5.0), (0.0, 10.0), (10.0, 0.0)]
    assert pareto.ranks([(a * 1e6, b) for a, b in rows]) == pareto.ranks(rows)


def test_ranks_of_one_goal_follow_its_order() -> None:
    assert pareto.ranks([[3.0], [1.0], [2.0], [1.0]]) == [2.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("worse", [float("nan"), float("inf")])
def test_a_goal_without_a_value_is_refused(worse: float) -> None:
    with pytest.raises(ValueError, match="leave out trials that failed"):
        pareto.ranks([(1.0, worse), (0.0, 0.0)])


def test_rows_of_several_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows of \[1, 2\] values"):
        pareto.front([(1.0,), (1.0, 2.0)])
