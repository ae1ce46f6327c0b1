"""The latency to show of a file: its median, or where that was noisy, what its ratio says.

A ratio comes of turns, in which whatever disturbs one file disturbs the other, and so holds on a busy
machine, where medians, of one file after another, do not: beside two busy processes fp32 took 8.4 ms and
fp16 3.9 ms, with a ratio of 1.03. Whatever shows a time takes it from here, so that no two figures of a page
contradict each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from footseg.benchmarks.measurement import Measurement


@dataclass(frozen=True)
class Shown:
    """Milliseconds of one inference; ``how`` they follow from another file's, "" of the file's own median.

    ``noisy`` where no quiet median is behind them.
    """

    ms: float
    how: str = ""
    noisy: bool = False


def latency(m: Measurement, members: Sequence[Measurement]) -> Shown | None:
    """The latency of a file among those of its place; None of an emulated line, whatever it holds.

    A noisy median gives way to the file's ratio times the latency of what it was run in turns with. That is
    the other's median; where it was noisy, too, it follows from the quietest file that was run in turns with
    it; where none was quiet it stays, and is called noisy.
    """
    if m.latency is None or m.kind != "measured":
        return None
    if not m.latency.noisy:
        return Shown(m.latency.median_ms)
    reference = _reference(m, members)
    if reference is None or reference.latency is None:
        return Shown(m.latency.median_ms, noisy=True)
    ratio = _ratio(m)
    times = f"{ratio:.3f} times that of {reference.artifact.name}"
    if not reference.latency.noisy:
        return Shown(ratio * reference.latency.median_ms, times)
    if quiet := _quietest(reference, members):
        assert quiet.latency is not None
        quotient = ratio / _ratio(quiet)
        times = f"{quotient:.3f} times that of {quiet.artifact.name}"
        return Shown(quotient * quiet.latency.median_ms, times)
    how = "" if m is reference else f"{times}, which was noisy, too"
    return Shown(ratio * reference.latency.median_ms, how, noisy=True)


def _ratio(m: Measurement) -> float:
    return m.relative.ratio if m.relative else 1.0


def _reference(m: Measurement, members: Sequence[Measurement]) -> Measurement | None:
    """What a file was run in turns with, or itself; of several runners' that of its own, if there."""
    sha256 = m.relative.to_sha256 if m.relative else m.artifact.sha256
    found = [one for one in members if one.artifact.sha256 == sha256]
    return min(found, key=lambda one: one.runtime != m.runtime, default=None)


def _quietest(reference: Measurement, members: Sequence[Measurement]) -> Measurement | None:
    """Of the files that were run in turns with this one the least spread; None where all were noisy."""
    spreads = {
        i: one.latency.spread
        for i, one in enumerate(members)
        if one.latency and not one.latency.noisy and one.relative and _reference(one, members) is reference
    }
    return members[min(spreads, key=lambda i: spreads[i])] if spreads else None
