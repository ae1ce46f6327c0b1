"""Which operators to raise and which to lower, so that a network just fits a limit: pure search, no model.

A *ladder* is what one operator may be in, most exact first and so, roughly, largest first. ``fits`` says
whether a mixture (a level for each operator) is within the limit; it is dear, and asked as seldom as can be.
Bisection takes it for granted that raising more operators never hurts. Measurements are not that orderly, but
whatever is returned was asked for and did fit.
"""

from collections.abc import Callable, Mapping, Sequence

Mixture = dict[str, str]
Ladders = Mapping[str, Sequence[str]]
Fits = Callable[[Mixture], bool]


def search(
    ladders: Ladders, start: str, dearest: Sequence[str], thriftiest: Sequence[str], fits: Fits
) -> Mixture | None:
    """A mixture that fits and is as low as it gets; None where not even the most exact one does.

    All operators begin at ``start``. ``dearest`` orders those to raise, most sensitive first; ``thriftiest``
    those to lower afterwards to the end of their ladder, the best trade first.

    Raises:
        ValueError: an operator whose ladder lacks ``start``.
    """
    if lacking := [name for name, ladder in ladders.items() if start not in ladder]:
        raise ValueError(f"{lacking[0]} cannot be in {start}: its ladder is {', '.join(ladders[lacking[0]])}")
    raised = _raise(ladders, dict.fromkeys(ladders, start), dearest, fits)
    if raised is None:
        return None
    needed = _give_back(ladders, start, raised, dearest[::-1], fits)
    return _lower(ladders, start, needed, thriftiest, fits)


def _raise(ladders: Ladders, mixture: Mixture, order: Sequence[str], fits: Fits) -> Mixture | None:
    """The fewest of ``order`` one rung up, so that it fits; where all are not enough, the fewest one more."""
    able = [name for name in order if mixture[name] != ladders[name][0]]

    def raised(count: int) -> Mixture:
        return mixture | {name: _rung(ladders[name], mixture[name], -1) for name in able[:count]}

    count = fewest(len(able), lambda count: fits(raised(count)))
    if count is not None:
        return raised(count)
    return _raise(ladders, raised(len(able)), order, fits) if able else None


def _give_back(ladders: Ladders, start: str, mixture: Mixture, order: Sequence[str], fits: Fits) -> Mixture:
    """Each of ``order`` as far down towards ``start`` as still fits, one after another."""
    for name in order:
        ladder = ladders[name]
        while ladder.index(mixture[name]) < ladder.index(start):
            lower = mixture | {name: _rung(ladder, mixture[name], 1)}
            if not fits(lower):
                break
            mixture = lower
    return mixture


def _lower(ladders: Ladders, start: str, mixture: Mixture, order: Sequence[str], fits: Fits) -> Mixture:
    """As many of ``order`` as fit at the end of their ladder: first in a row, then whoever still fits."""
    able = [name for name in order if mixture[name] == start and ladders[name][-1] != start]
    down = {name: ladders[name][-1] for name in able}

    def lowered(left_out: int) -> Mixture:
        return mixture | {name: down[name] for name in able[: len(able) - left_out]}

    left_out = fewest(len(able), lambda count: fits(lowered(count))) or 0
    mixture = lowered(left_out)
    for name in able[len(able) - left_out + 1 :]:  # The first one left out is known not to fit.
        if fits(mixture | {name: down[name]}):
            mixture = mixture | {name: down[name]}
    return mixture


def _rung(ladder: Sequence[str], level: str, step: int) -> str:
    return ladder[ladder.index(level) + step]


def fewest(most: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest count from 0 to ``most`` that is enough, by bisection; None where ``most`` is not."""
    if enough(0):
        return 0
    if most == 0 or not enough(most):
        return None
    low, high = 0, most  # Not enough, enough.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
