"""Which figures can be compared: those of one place."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.measurement import Measurement


@dataclass(frozen=True)
class Place:
    """Where a figure was found, and how: figures can be compared when these agree."""

    kind: str
    where: str
    threads: int
    cores: str = ""

    @property
    def words(self) -> str:
        """The device with the number of threads and the cores that it was held on."""
        pinned = f", on cores {self.cores} only" if self.cores else ""
        return f"{self.where}, {threads(self.threads)}{pinned}"


def latest(measured: Iterable[Measurement]) -> list[Measurement]:
    """The last measurement of each file in each place and runtime, in order of appearance."""
    found = {(m.artifact.sha256, m.artifact.name, m.runtime, device_key(m)): m for m in measured}
    return list(found.values())


def device_key(m: Measurement) -> Place:
    """The place of a measurement: big and little cores of one phone are two."""
    return Place(m.kind, m.where, m.threads, ranges(m.conditions.get("pinned_cores") or ()))


def by_device(measured: Sequence[Measurement]) -> list[tuple[str, list[Measurement]]]:
    """The measurements of each place, under its name in words: what was timed before what was counted."""
    groups: dict[Place, list[Measurement]] = {}
    for m in sorted(measured, key=lambda m: m.kind != "measured"):
        groups.setdefault(device_key(m), []).append(m)
    return [(place.words, members) for place, members in groups.items()]


def threads(number: int) -> str:
    """1 thread, 2 threads."""
    return "1 thread" if number == 1 else f"{number} threads"


def instruction_ratio(m: Measurement, members: Sequence[Measurement]) -> float | None:
    """Instructions over those of the fp32 .tflite on the same core."""
    base = next((other.instructions for other in members if is_fp32(other) and other.instructions), None)
    return m.instructions.total / base.total if m.instructions and base else None


def is_fp32(m: Measurement) -> bool:
    """Whether it is the file that ratios are taken to."""
    return m.artifact.recipe == "fp32" and m.artifact.format == "tflite"


def ranges(numbers: Sequence[int]) -> str:
    """0-3, 6: numbers that follow one another as one."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
