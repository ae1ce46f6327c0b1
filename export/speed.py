"""Whether a new file is faster than the fp32 one, measured in a second on the machine at hand.

An answer for the person who exports, not a measurement to publish: that is ``footseg bench``. Of one thread,
whatever the file is checked with: of several only the clock on the wall tells, and that a busy machine bends.
"""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import comparison, provenance, runtime

# Inferences that one file makes in a row; the fastest stands for the turn, for whatever disturbs one makes it
# longer.
TURN = 4
# At least as many rounds as an interval needs.
ROUNDS = (comparison.fewest_starts(), 25)
SECONDS = 1.0
# A file is called slower from here on. Two copies of one file, 24 times on a busy machine: 0.971 to 1.021.
NOISE = 1.05


@dataclass(frozen=True)
class Speed:
    """Time of a file over that of another, the two run in turns; ``kind`` is always "measured".

    ``low`` and ``high`` hold the true ratio of this start with ``confidence``, by ``rounds``; ``waited`` is
    the share of the time that the one thread waited for a processor. ``outside`` counts the operators that
    XNNPACK did not take, by kind, of ``operators`` (none: not a ``.tflite``).
    """

    ratio: float
    low: float
    high: float
    rounds: int
    operators: int
    outside: Mapping[str, int]
    device: Mapping[str, str | int]
    waited: float = 0.0
    confidence: float = comparison.CONFIDENCE
    threads: int = 1
    kind: str = "measured"

    @property
    def verdict(self) -> str:
        """Whether the file takes longer than noise explains: "slower", "not slower" or "cannot tell".

        Beside other work a file is called slower only by more than that may have added to it alone.
        """
        added = comparison.SHIFTED if self.waited > comparison.BUSY else 1.0
        if self.low > NOISE * added:
            return "slower"
        return "not slower" if self.high <= NOISE else "cannot tell"

    @property
    def slower(self) -> bool:
        """Whether it surely takes longer."""
        return self.verdict == "slower"

    def summary(self) -> str:
        """The ratio for people."""
        found = f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}] of fp32's time on this machine"
        if self.verdict != "cannot tell":
            return found
        busy = self.waited > comparison.BUSY
        why = f": it had other work {self.waited:.0%} of the time" if busy else ""
        return f"{found}; nobody can tell whether it is slower{why}"

    def warning(self, name: str) -> str:
        """The line about a slower file."""
        return (
            f"{name} is slower than fp32 on this machine: {self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}] "
            f"times its time ({self.rounds} rounds in turns, 1 thread){self._why()}"
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
        """Its fields and its verdict, ready for a sidecar."""
        return {**dataclasses.asdict(self), "verdict": self.verdict}


def against(path: Path, fp32: Path, *, seconds: float = SECONDS) -> Speed:
    """Time the file at ``path`` against the one at ``fp32``, of the same format, for about ``seconds``.

    Each round gives each file a turn of ``TURN`` inferences, in alternating order (A B, B A, ...), so that a
    drift of the machine's speed cancels. At least ``ROUNDS[0]`` rounds are made however slow the files are.

    Raises:
        FootsegError: a file is not a model or was cut off.
    """
    pair = [_Loaded(file) for file in (path, fp32)]
    for timed in pair:
        timed.turn()  # Warm-up: what the first inferences allocate.
    ratios: list[float] = []
    began, own = time.perf_counter(), time.thread_time()
    while len(ratios) < ROUNDS[0] or (len(ratios) < ROUNDS[1] and time.perf_counter() - began < seconds):
        order = pair if len(ratios) % 2 == 0 else pair[::-1]
        turns = {timed.path: timed.turn() for timed in order}
        ratios.append(turns[path] / turns[fp32])
    waited = 1 - (time.thread_time() - own) / (time.perf_counter() - began)
    interval = comparison.interval([[ratio] for ratio in ratios])
    found = runtime.delegation(path) if path.suffix == ".tflite" else None
    return Speed(
        ratio=interval.ratio,
        low=interval.low,
        high=interval.high,
        rounds=len(ratios),
        operators=found.operators if found else 0,
        outside=found.outside if found else {},
        device=provenance.machine(),
        waited=max(waited, 0.0),
    )


class _Loaded:
    """A loaded file with noise at its input."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._invoke = runtime.inference(runtime.load(path))

    def turn(self) -> float:
        """Seconds of one inference, the least of a turn."""
        return min(self._once() for _ in range(TURN))

    def _once(self) -> float:
        # Time of this thread: a busy machine interrupts the slower file more often, and threads of the Keras
        # network may still be at work. With 8 processes on 2 cores the clock gave int8 a quarter of the ratio
        # to fp32 that processor time did.
        started = time.thread_time()
        self._invoke()
        return time.thread_time() - started
