"""Whether a machine had other work while a file was measured, and what that does to its times.

A file that waits for a processor is slower by the clock on the wall, without end; in processor time only by
what busy neighbours take of caches and memory, ``comparison.CONTENDED`` at most; run in turns with another,
only by what they take more of it than of the other, ``comparison.SHIFTED``.
"""

import math
from collections.abc import Mapping

from footseg import comparison
from footseg.benchmarks.intervals import Log
from footseg.benchmarks.measurement import Measurement


def waited(m: Measurement, other: Measurement | None = None) -> float:
    """The share of its time that a file waited for processors, 0 to 1, so far as is known.

    One thread has a whole processor on an idle machine. Several wait for each other, too: they have what they
    had at the better one of two times, here and in ``other``.
    """
    had = [line.latency.processors if line and line.latency else None for line in (m, other)]
    most = max([1.0 if m.threads == 1 else 0.0, *filter(None, had)])
    return max(0.0, 1 - had[0] / most) if had[0] else 0.0


def moments(now: Measurement, then: Measurement) -> dict[str, float]:
    """What was waited "now" and "then"; a moment without other work is left out."""
    shares = {"now": waited(now, then), "then": waited(then, now)}
    return {when: share for when, share in shares.items() if share > comparison.BUSY}


def words(busy: Mapping[str, float]) -> str:
    """Of ``moments``, for people."""
    told = (f"{when} the file waited {share:.0%} of its time" for when, share in busy.items())
    return f"the machine had other work: {' and '.join(told)}" if busy else ""


def of_time(busy: Mapping[str, float], quotient: Log) -> Log:
    """The quotient of two processor times, wider by what neighbours may have added to either."""
    added = math.log(comparison.CONTENDED)
    return quotient.wider(down=added * ("now" in busy), up=added * ("then" in busy))


def of_ratio(busy: Mapping[str, float], quotient: Log) -> Log:
    """The quotient of two ratios, wider by what neighbours may have done to one file and not to the other."""
    added = math.log(comparison.SHIFTED) * bool(busy)
    return quotient.wider(down=added, up=added)
