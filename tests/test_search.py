"""The search for a mixture of precisions, on costs that can be added up by hand."""

from collections.abc import Callable, Mapping

import pytest

from export.search import Mixture, fewest, search

LADDER = ("fp16", "int8w", "int8", "int4")
# Loss of each operator at each level. At int8 they lose 5 + 3 + 1 = 9 together.
LOSS = {
    "a": {"fp16": 0, "int8w": 1, "int8": 5, "int4": 9},
    "b": {"fp16": 0, "int8w": 1, "int8": 3, "int4": 6},
    "c": {"fp16": 0, "int8w": 0, "int8": 1, "int4": 2},
}
LADDERS = dict.fromkeys(LOSS, LADDER)


def within(limit: float, losses: Mapping[str, Mapping[str, float]] = LOSS) -> Callable[[Mixture], bool]:
    return lambda mixture: sum(losses[name][level] for name, level in mixture.items()) <= limit


def test_what_fits_as_it_is_is_only_lowered() -> None:
    # 9 allowed: no room, since the cheapest lowering (c, +1) makes 10.
    assert search(LADDERS, "int8", "abc", "cba", within(9)) == {"a": "int8", "b": "int8", "c": "int8"}
    # 13: c and b make 5 + 6 + 2 = 13, which is all; a would be 17.
    assert search(LADDERS, "int8", "abc", "cba", within(13)) == {"a": "int8", "b": "int4", "c": "int4"}
    assert search(LADDERS, "int8", "abc", "cba", within(17)) == dict.fromkeys("abc", "int4")


def test_the_fewest_are_raised_and_the_rest_of_the_loss_is_spent() -> None:
    # a alone at int8w: 1 + 3 + 1 = 5. Then b in int4 makes 8, too much, and c, after the gap, 6.
    assert search(LADDERS, "int8", "abc", "bc", within(6)) == {"a": "int8w", "b": "int8", "c": "int4"}
    # Nothing to lower: the same, less the last step.
    assert search(LADDERS, "int8", "abc", "", within(6)) == {"a": "int8w", "b": "int8", "c": "int8"}


def test_what_need_not_be_raised_is_given_back() -> None:
    # The order is wrong: only c matters. It is reached with a and b raised, and they come back.
    losses = {name: dict.fromkeys(LADDER, 0) for name in "abc"}
    losses["c"]["int8"] = losses["c"]["int4"] = 1
    assert search(LADDERS, "int8", "abc", "", within(0, losses)) == {"a": "int8", "b": "int8", "c": "int8w"}


def test_two_rungs_are_climbed_where_one_is_not_enough() -> None:
    # All at int8w lose 1 + 1 + 0 = 2, so 1 needs a at fp16 (0 + 1 + 0). Of what was raised only c
    # comes back for nothing: never, since c at int8 loses 1; so 1 is a fp16, b int8w, c int8w.
    assert search(LADDERS, "int8", "abc", "", within(1)) == {"a": "fp16", "b": "int8w", "c": "int8w"}


def test_ladders_may_be_short() -> None:
    # b has no weights: float or int8, nothing between and nothing below.
    ladders = {"a": LADDER, "b": ("float", "int8")}
    losses = {"a": LOSS["a"], "b": {"float": 0, "int8": 4}}
    # All raised once lose 1 + 0; a at fp16 is not needed; b at int8 would make 5.
    assert search(ladders, "int8", "ab", "ab", within(1, losses)) == {"a": "int8w", "b": "float"}


def test_nothing_fits_a_limit_below_the_best() -> None:
    assert search(LADDERS, "int8", "abc", "abc", within(-1)) is None


def test_a_ladder_without_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match="b cannot be in int8: its ladder is float"):
        search({"a": LADDER, "b": ("float",)}, "int8", "ab", "", within(9))


@pytest.mark.parametrize("needed", range(17))
def test_fewest_is_found_by_bisection(needed: int) -> None:
    asked: list[int] = []

    def enough(count: int) -> bool:
        asked.append(count)
        return count >= needed

    assert fewest(16, enough) == needed
    assert len(asked) == len(set(asked)) <= 6  # both ends, and 16 = 2 ** 4 between


def test_fewest_of_none_and_of_not_enough() -> None:
    assert fewest(0, lambda count: True) == 0
    assert fewest(0, lambda count: False) is None
    assert fewest(5, lambda count: False) is None
