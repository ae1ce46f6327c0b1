"""What is asked of phones, checked before any of them is."""

import math
from dataclasses import dataclass
from pathlib import Path

from footseg import comparison
from footseg.android_harness import ask, phone
from footseg.android_harness.toolchain import Kit
from footseg.artifact import Artifact
from footseg.benchmarks import places
from footseg.benchmarks.agreement import Task
from footseg.benchmarks.targets import RUNNERS


@dataclass(frozen=True)
class PhoneRequest:
    """What to measure on phones, and how.

    Args:
        threads: of the runtime.
        runner: of ``RUNNERS``.
        benchmark_model: the tool, a file here or a path on the phone; "" looks for it on the phone.
        runs: inferences timed at least, after warm-up; of benchmark_model, in each process.
        min_seconds: that they take at least.
        pin: "big", "middle", "little" or numbers of cores, as 4-7; "" lets the system choose.
        data: a data set, for accuracy on the phone; None for none.
        split: of the data set.
        images: so many of the split, evenly spaced; 0 for all.
        profile: whether to time each operator.
        gpu, xnnpack: the delegates; other values than these are for benchmark_model only.
        cool: whether to wait until the phone is cool.
        cool_limit_s: seconds after which waiting ends.
        energy: whether to read the fuel gauge, where there is one and the phone is not plugged in.
        energy_s, idle_s: seconds of work beside the gauge, and seconds of rest before.
        seconds: that comparing a file with the first fp32 file may take.
        starts: fresh processes of a comparison at most.
        confidence: of its interval.

    Raises:
        ValueError: a value that cannot be meant, or two that do not go together.
    """

    threads: int = 1
    runner: str = "footseg"
    benchmark_model: str = ""
    runs: int = 50
    min_seconds: float = 1.0
    pin: str = ""
    data: Path | None = None
    split: str = "test"
    images: int = 0
    profile: bool = False
    gpu: bool = False
    xnnpack: bool = True
    cool: bool = True
    cool_limit_s: float = 600.0
    energy: bool = True
    energy_s: float = 30.0
    idle_s: float = 10.0
    seconds: float = 20.0
    starts: int = 16
    confidence: float = comparison.CONFIDENCE

    def __post_init__(self) -> None:
        if self.runner not in RUNNERS:
            raise ValueError(f"runner is {self.runner!r}: expected {' or '.join(RUNNERS)}")
        smallest = {"threads": 1, "runs": 1, "images": 0, "min_seconds": 0, "seconds": 0, "idle_s": 0}
        for name, least in smallest.items():
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        comparison.check_starts(self.starts, self.confidence)
        if self.pin and self.pin.strip().lower() not in phone.PINS and ask.cores(self.pin) is None:
            raise ValueError(f"pin is {self.pin!r}: expected {', '.join(phone.PINS)} or cores as 4-7 or 4,5")
        if self.runner == "footseg" and (self.gpu or not self.xnnpack or self.benchmark_model):
            raise ValueError(
                "gpu, xnnpack and benchmark_model are for Google's tool (--runner benchmark_model); "
                "footseg's own runner is LiteRT on the processor with XNNPACK"
            )
        if self.gpu and not self.xnnpack:
            raise ValueError("gpu is instead of XNNPACK: leave xnnpack out")


@dataclass(frozen=True)
class PhoneJob:
    """All that phones are given alike: files with what this machine made of them, and the runner's kit."""

    request: PhoneRequest
    artifacts: tuple[Artifact, ...]
    tasks: tuple[Task | None, ...]
    kit: Kit | None

    @property
    def baseline(self) -> int:
        """The file that the others are compared with, by its place among ``artifacts``."""
        return places.baseline(self.artifacts)
