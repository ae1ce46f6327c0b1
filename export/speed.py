"""Whether a new file is faster than the fp32 one, measured in a second on the machine at hand.

An answer for the person who exports, not a measurement to publish: that is ``footseg bench``.
"""

import dataclasses
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import provenance, runtime
from footseg.terminal import counted

# Inferences that one file makes in a row; the first finds the caches full of the other file's data and is
# thrown away, the median of the others stands for the turn.
TURN = 4
ROUNDS = (5, 25)
SECONDS = 1.0
# A file is called slower from here on. Two copies of one file, 24 times on a busy machine: 0.971 to 1.021.
NOISE = 1.05


@dataclass(frozen=True)
class Speed:
    """Time of a file over that of another, the two run in turns; ``kind`` is always "measured".

    ``ratio`` is the median of the ratios of ``rounds``, ``low`` and ``high`` are their quartiles; ``outside``
    counts the operators that XNNPACK did not take, by kind, of ``operators`` (none: not a ``.tflite``).
    """

    ratio: float
    low: float
    high: float
    rounds: int
    threads: int
    operators: int
    outside: Mapping[str, int]
    device: Mapping[str, str | int]
    kind: str = "measured"

    @property
    def slower(self) -> bool:
        """Whether it takes longer than noise explains, in three rounds of four."""
        return self.ratio > NOISE and self.low > 1

    def summary(self) -> str:
        """The ratio for people."""
        return f"{self.ratio:.2f} of fp32's time on this machine"

    def warning(self, name: str) -> str:
        """The line about a slower file."""
        return (
            f"{name} is slower than fp32 on this machine: {self.ratio:.2f} times its time "
            f"({self.rounds} rounds in turns, {counted(self.threads, 'thread')}){self._why()}"
        )

    def _why(self) -> str:
        """What XNNPACK says to it, where it had a say."""
        if not self.operators:
            return ""
        if not self.outside:
            return "; though XNNPACK runs all of its operators"
        left = ", ".join(f"{kind} {count}" for kind, count in self.outside.items())
        outside = f"{sum(self.outside.values())} of its {self.operators} operators"
        return f"; {outside} run outside XNNPACK: {left}"

    def to_json(self) -> dict[str, Any]:
        """Its fields, ready for a sidecar."""
        return dataclasses.asdict(self)


def against(path: Path, fp32: Path, threads: int = 1, *, seconds: float = SECONDS) -> Speed:
    """Time the file at ``path`` against the one at ``fp32``, of the same format, for about ``seconds``.

    Each round gives each file a turn of ``TURN`` inferences, in alternating order (A B, B A, ...), so that a
    drift of the machine's speed cancels. At least ``ROUNDS[0]`` rounds are made however slow the files are.

    Raises:
        FootsegError: a file is not a model or was cut off.
    """
    pair = [_Loaded(file, threads) for file in (path, fp32)]
    for timed in pair:
        timed.turn()  # Warm-up: what the first inferences allocate.
    ratios: list[float] = []
    started = time.perf_counter()
    while len(ratios) < ROUNDS[0] or (len(ratios) < ROUNDS[1] and time.perf_counter() - started < seconds):
        order = pair if len(ratios) % 2 == 0 else pair[::-1]
        turns = {timed.path: timed.turn() for timed in order}
        ratios.append(turns[path] / turns[fp32])
    low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
    found = runtime.delegation(path, threads) if path.suffix == ".tflite" else None
    return Speed(
        ratio=ratio,
        low=low,
        high=high,
        rounds=len(ratios),
        threads=threads,
        operators=found.operators if found else 0,
        outside=found.outside if found else {},
        device=provenance.machine(),
    )


class _Loaded:
    """A loaded file with noise at its input."""

    def __init__(self, path: Path, threads: int) -> None:
        self.path = path
        self._threads = threads
        self._invoke = runtime.inference(runtime.load(path, threads))

    def turn(self) -> float:
        """Seconds of one inference, the median of a turn."""
        return statistics.median([self._once() for _ in range(TURN)][1:])

    def _once(self) -> float:
        # Processor time where there is one thread: a busy machine interrupts the slower file more often. With
        # 8 processes on 2 cores the clock gave int8 0.11 of fp32's time, this 0.48 to 0.51.
        clock = time.perf_counter if self._threads > 1 else time.process_time
        started = clock()
        self._invoke()
        return clock() - started
