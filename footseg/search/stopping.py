"""Which trials are stopped before their last epoch, because others were better by the same epoch.

A rule compares the best validation IoU until now with that of the other trials by the same epoch. What it
says depends on which of them have come that far: with one worker a search is repeated exactly, with several
their order decides along with the seed. So ``trial.py`` asks once an epoch and writes the answer down: a
trial that was killed and goes on is not judged a second time by others that came later.

Where the number of epochs itself is searched, the learning rate of a shorter trial has fallen further by the
same epoch, which flatters it: search ``epochs`` with the rule "none".
"""

import math
from collections.abc import Sequence
from statistics import median

from footseg.errors import did_you_mean

RULES = ("none", "median", "halving")

# Until then the median rule stops nothing. 24 runs of 16 epochs on 482 photographs (FastLinkNet, eight ways
# to train it): by the ninth, the fifth and the third of the epochs the order of trials had a rank correlation
# with the final one of 0.77, 0.84 and 0.91; by the ninth the rule would have stopped a run that ended at IoU
# 0.703, by the fifth none above 0.680 (median 0.677, best 0.755).
GRACE_SHARE = 1 / 5
# Warm-up and the average of weights: the first two epochs of a short run say little of it.
GRACE_EPOCHS = 3
# The median of fewer is a matter of luck: that of five lies between the quartiles in four of five draws.
FEWEST_OTHERS = 5

# Of three trials one goes on to three times as many epochs: Li et al. found 3 and 4 to do equally well, and a
# first rung before the ninth would judge by less than the rank correlation of 0.77 above.
FACTOR = 3
RUNGS = 2


def asks(rule: str, epoch: int, epochs: int) -> bool:
    """Whether a rule judges trials of ``epochs`` epochs after ``epoch`` of them; never after the last.

    Raises:
        ValueError: no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"no rule {rule!r} to stop trials by: {did_you_mean(rule, RULES)}")
    if rule == "none" or not 0 < epoch < epochs:
        return False
    return epoch in rungs(epochs) if rule == "halving" else epoch >= grace(epochs)


def why_stop(rule: str, own: Sequence[float], others: Sequence[Sequence[float]], epochs: int) -> str:
    """Why a trial should end now, in a line; "" where it should go on.

    ``own`` holds its validation IoU after each epoch until now, ``others`` those of the other trials, which
    may have come less far or further; ``epochs`` are those of a whole trial.

    Raises:
        ValueError: no such rule.
    """
    epoch = len(own)
    if not asks(rule, epoch, epochs):
        return ""
    best, there = max(own), [max(other[:epoch]) for other in others if len(other) >= epoch]
    return _median(best, there, epoch) if rule == "median" else _halving(best, there, epoch)


def grace(epochs: int) -> int:
    """Epochs after which the median rule judges for the first time."""
    return max(GRACE_EPOCHS, math.ceil(epochs * GRACE_SHARE))


def rungs(epochs: int) -> tuple[int, ...]:
    """Epochs after which successive halving judges: a ninth and a third of them."""
    powers = range(RUNGS, 0, -1)
    return tuple(sorted({math.ceil(epochs / FACTOR**power) for power in powers} - {epochs}))


def _median(best: float, others: Sequence[float], epoch: int) -> str:
    """The median stopping rule, after Golovin et al. 2017 (Vizier), section 3.2.

    Theirs holds the best of a trial against the median of the running means of whole trials, which low first
    epochs pull down; here it is the median of the best by the same epoch, of all that came so far. As only
    the better ones come far, the bar rises with the epoch: of 100 simulated trials of 50 epochs whose order
    never changes 24 were trained to the end, the best one always, in 40 % of the epochs.
    """
    if len(others) < FEWEST_OTHERS or best >= (middle := median(others)):
        return ""
    return (
        f"IoU {best:.4f} by epoch {epoch} is below the median of the {len(others)} other trials "
        f"that came so far ({middle:.4f})"
    )


def _halving(best: float, others: Sequence[float], epoch: int) -> str:
    """Asynchronous successive halving, after Li et al. 2020 (ASHA), algorithm 2.

    Theirs pauses a trial at a rung and may promote it later; here it ends, because a trial that waits is none
    that a budget of trials can count. The first two at a rung are let pass: a third of them is none.
    """
    count = len(others) + 1
    kept = count // FACTOR
    better = sum(other > best for other in others)
    if not kept or better < kept:
        return ""
    return (
        f"IoU {best:.4f} by epoch {epoch} is place {better + 1} of the {count} trials "
        f"that came so far: the first {kept} go on"
    )
