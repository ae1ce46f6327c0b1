"""Which figures can be compared: those of one place."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from footseg.android_harness.ask import listed
from footseg.artifact import Artifact
from footseg.benchmarks.measurement import Measurement
from footseg.grouping import grouped
from footseg.terminal import counted


@dataclass(frozen=True)
class Place:
    """Where a figure was found, and how: figures can be compared when these agree.

    ``cores`` are those that the process was held on, as 0-3,6; "" where it was not.
    """

    kind: str
    where: str
    threads: int
    cores: str = ""

    @property
    def words(self) -> str:
        """The device with the number of threads and the cores that it was held on."""
        core = "core" if self.cores.isdigit() else "cores"
        pinned = f", on {core} {self.cores} only" if self.cores else ""
        return f"{self.where}, {counted(self.threads, 'thread')}{pinned}"

    @property
    def how(self) -> str:
        """The same without the device."""
        return counted(self.threads, "thread") + (f", cores {self.cores}" if self.cores else "")


def latest(measured: Iterable[Measurement]) -> list[Measurement]:
    """The last measurement of each file in each place and runtime, in order of appearance."""
    found = {(m.artifact.sha256, m.artifact.name, m.runtime, device_key(m)): m for m in measured}
    return list(found.values())


def device_key(m: Measurement) -> Place:
    """The place of a measurement: big and little cores of one phone are two."""
    return Place(m.kind, m.where, m.threads, listed(m.conditions.get("pinned_cores") or ()))


def by_device(measured: Sequence[Measurement]) -> list[tuple[str, list[Measurement]]]:
    """The measurements of each place, under its name in words: what was timed before what was counted."""
    ordered = sorted(measured, key=lambda m: m.kind != "measured")
    groups = grouped((device_key(m), m) for m in ordered)
    return [(place.words, members) for place, members in groups.items()]


def instruction_ratio(m: Measurement, members: Sequence[Measurement]) -> float | None:
    """Instructions over those of the fp32 .tflite on the same core."""
    base = next((m.instructions for m in members if is_fp32(m.artifact) and m.instructions), None)
    return m.instructions.total / base.total if m.instructions and base else None


def is_fp32(artifact: Artifact) -> bool:
    """Whether it is such a file as ratios are taken to."""
    return artifact.recipe == "fp32" and artifact.format == "tflite"


def baseline(artifacts: Sequence[Artifact]) -> int:
    """The index of the file that the others are run in turns with: the first fp32 .tflite, else the first."""
    return next((i for i, one in enumerate(artifacts) if is_fp32(one)), 0)
