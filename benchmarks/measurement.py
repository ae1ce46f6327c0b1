"""One measurement: one JSON line of ``results.jsonl``, with its raw samples, for statistics come later.

A line says what was run (artifact, runtime, threads), where (device, conditions), what follows from the file
alone (bytes, cost) and what was found, each part null where nobody looked. Of "measured" lines a clock ran
on the device named; of "emulated" ones instructions were counted on an emulated processor, and they
never hold a time. ``measurement.schema.json`` beside this file tells every field and its unit to other
programs; the dataclasses below are the same in Python, and tests hold the two together.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from footseg import comparison, provenance, records
from footseg.artifact import Artifact
from footseg.benchmarks import cost
from footseg.compress.sizes import packed
from footseg.runtime import Delegation

SCHEMA = 2
# Schema 1 had the same fields and fewer of them.
READABLE = (1, SCHEMA)
# Spread (interquartile range / median) from which a latency is called noisy. FastLinkNet on two x86 cores,
# 50 runs a trial: 0.01 to 0.07 in all 15 on an idle machine, above 0.1 in 28 of 30 beside two busy processes.
# At 0.1 the median of 50 runs is uncertain by about 1.25 * 0.1 / 1.35 / sqrt(50) = 1.3 %.
NOISY_SPREAD = 0.1

# What a line of a kind must not hold: an emulated one nothing that needs a clock, a measured one no counts.
NOT_OF: dict[str, tuple[str, ...]] = {
    "measured": ("instructions",),
    "emulated": ("latency", "cold_start", "relative", "profile", "calibration", "energy"),
}


@dataclass(frozen=True)
class Latency:
    """Time of one inference in milliseconds, over all runs after warm-up.

    ``spread`` is the interquartile range over the median, ``noisy`` whether it is above ``NOISY_SPREAD``; of
    ``runs_per_sample`` inferences each sample is the mean. ``processor_ms`` is what each sample took of
    processors, over all threads: less than ``samples_ms`` where others had them; empty where nobody looked.
    """

    samples_ms: tuple[float, ...]
    median_ms: float
    p90_ms: float
    spread: float
    noisy: bool
    note: str
    warmup_runs: int
    runs_per_sample: int = 1
    processor_ms: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        samples_ms: Sequence[float],
        warmup_runs: int = 0,
        runs_per_sample: int = 1,
        processor_ms: Sequence[float] = (),
    ) -> "Latency":
        """The statistics of raw samples.

        Raises:
            ValueError: no samples, or one that is not a positive number.
        """
        # A clock of processor time that is too coarse for an inference says 0.
        told = len(processor_ms) == len(samples_ms) and all(taken > 0 for taken in processor_ms)
        if not samples_ms or not all(math.isfinite(sample) and sample > 0 for sample in samples_ms):
            raise ValueError(f"latency needs positive samples in milliseconds, got {list(samples_ms)[:5]}")
        low, median, high, p90 = (float(q) for q in np.percentile(samples_ms, (25, 50, 75, 90)))
        spread = (high - low) / median
        noisy = spread > NOISY_SPREAD
        note = (
            f"noisy: the middle half of {len(samples_ms)} runs spreads over {spread:.0%} of the median; "
            "let the machine come to rest and measure again"
            if noisy
            else ""
        )
        processor = tuple(processor_ms) if told else ()
        return cls(
            tuple(samples_ms), median, p90, spread, noisy, note, warmup_runs, runs_per_sample, processor
        )

    @property
    def processors(self) -> float | None:
        """How many processors were at work on it on average; None where nobody looked."""
        return math.fsum(self.processor_ms) / math.fsum(self.samples_ms) if self.processor_ms else None


@dataclass(frozen=True)
class ColdStart:
    """What the first use of an app waits for, in a fresh process, in milliseconds."""

    load_ms: float
    first_inference_ms: float


@dataclass(frozen=True)
class Relative:
    """This file's latency over another's, the two run in turns so that drift cancels.

    ``low`` and ``high`` hold the true ratio with ``confidence``; None in lines from before there was one.
    """

    to: str
    to_sha256: str
    ratio: float
    rounds: int
    ratios: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    starts: int = 1

    @classmethod
    def of(cls, to: Artifact, starts: Sequence[Sequence[float]], confidence: float) -> "Relative":
        """The ratio and its interval, of the ratios of the rounds of each fresh start.

        Raises:
            ValueError: as ``comparison.interval``.
        """
        found = comparison.interval(starts, confidence)
        ratios = tuple(ratio for rounds in starts for ratio in rounds)
        return cls(
            to=to.name,
            to_sha256=to.sha256,
            ratio=found.ratio,
            rounds=len(ratios),
            ratios=ratios,
            low=found.low,
            high=found.high,
            confidence=confidence,
            starts=len(starts),
        )

    @property
    def different(self) -> bool | None:
        """Whether the interval leaves out 1, as ``comparison.verdict`` says; None without one."""
        if self.low is None or self.high is None:
            return None
        return comparison.verdict(self.low, self.high) == "different"

    @property
    def verdict(self) -> str:
        """As ``comparison.verdict``; "" without an interval."""
        return "" if self.low is None or self.high is None else comparison.verdict(self.low, self.high)


@dataclass(frozen=True)
class Instructions:
    """Guest instructions of one inference on an emulated core: counts, from which no time follows.

    ``vector`` are data-processing instructions of the SIMD and floating-point unit, ``load_store`` all that
    touch memory, vector loads among them, and ``other`` the rest; the three add up to ``total``.
    """

    core: str
    samples: tuple[int, ...]
    total: int
    vector: int
    load_store: int
    other: int
    spread: float


@dataclass(frozen=True)
class Agreement:
    """Outputs of a file on the device against those of the same file on this machine.

    ``pixels_equal``, IoUs and boundary Fs are shares from 0 to 1 over ``images`` of ``data``, those of
    ``host_`` this machine's; ``logit_max_absolute`` is the largest difference of logits. What needs the
    truth is None where nobody knows it, as of noise.
    """

    data: str
    split: str
    images: int
    pixels_equal: float
    logit_max_absolute: float | None = None
    iou: float | None = None
    boundary_f: float | None = None
    host_iou: float | None = None
    host_boundary_f: float | None = None
    boundary_tolerance_px: float | None = None


@dataclass(frozen=True)
class OperatorTime:
    """Median milliseconds of one operator, or of one step of the delegate, over ``runs`` inferences."""

    name: str
    op: str
    ms: float
    runs: int


@dataclass(frozen=True)
class SpeedAgainstPeak:
    """How fast this processor multiplied matrices in the same run, and the share of that the file reached.

    ``gflops`` is the median of the samples, 10^9 additions and multiplications a second on one thread;
    ``share`` is 2 x MACs over latency (one thread's in processor time, where it is known) against as many
    threads of that: above 1 where the runtime's kernels are the better ones.
    """

    what: str
    gflops: float
    samples_gflops: tuple[float, ...]
    share: float

    @classmethod
    def of(
        cls, what: str, samples_gflops: Sequence[float], latency: Latency, macs: int, threads: int
    ) -> "SpeedAgainstPeak":
        """The share that a file of so many ``macs`` reached with its median ``latency``.

        Raises:
            ValueError: no samples, or one that is not a positive number.
        """
        if not samples_gflops or not all(0 < speed < math.inf for speed in samples_gflops):
            raise ValueError(f"calibration needs positive GFLOP/s, got {list(samples_gflops)[:5]}")
        peak = statistics.median(samples_gflops)
        alone = statistics.median(latency.processor_ms) if latency.processor_ms and threads == 1 else None
        reached = 2 * macs / ((alone or latency.median_ms) * 1e6)
        return cls(what, peak, tuple(samples_gflops), reached / (peak * threads))


@dataclass(frozen=True)
class Energy:
    """Millijoules of one inference by the phone's own fuel gauge: an estimate, as ``note`` says.

    ``seconds`` are those of the run that it was divided from.
    """

    millijoules: float
    seconds: float
    note: str


@dataclass(frozen=True)
class Measurement:
    """One artifact on one device.

    Raises:
        ValueError: an unknown kind, or a part that lines of this kind must not hold (``NOT_OF``).
    """

    kind: str
    created: str
    device: Mapping[str, Any]
    artifact: Artifact
    runtime: str
    runtime_version: str
    threads: int
    file_bytes: int
    gzip_bytes: int
    cost: Mapping[str, Any]
    zstd_bytes: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    latency: Latency | None = None
    cold_start: ColdStart | None = None
    peak_memory_mb: float | None = None
    delegation: Delegation | None = None
    relative: Relative | None = None
    instructions: Instructions | None = None
    agreement: Agreement | None = None
    profile: tuple[OperatorTime, ...] = ()
    calibration: SpeedAgainstPeak | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    energy: Energy | None = None
    schema: int = SCHEMA

    @classmethod
    def of_file(cls, artifact: Artifact, **found: Any) -> "Measurement":
        """A measurement of ``artifact`` made now: what follows from the file itself is filled in.

        Raises:
            FootsegError: the file's cost cannot be read.
        """
        data = artifact.path.read_bytes()
        download = packed(data)
        return cls(
            created=provenance.now(),
            artifact=artifact,
            file_bytes=len(data),
            gzip_bytes=download["gzip"],
            zstd_bytes=download["zstd"],
            cost=cost.of_file(artifact.path).summary(),
            versions=provenance.versions(),
            **found,
        )

    def __post_init__(self) -> None:
        if self.kind not in NOT_OF:
            raise ValueError(f"kind must be {' or '.join(NOT_OF)}, got {self.kind!r}")
        if wrong := [name for name in NOT_OF[self.kind] if getattr(self, name)]:
            raise ValueError(f"what is {self.kind} has no {wrong[0]}: clocks and counts stand in lines apart")

    @property
    def is_base(self) -> bool:
        """Whether its ratio is 1 by definition: not so of a file that was run in turns with its own copy."""
        found = self.relative
        return found is not None and found.to_sha256 == self.artifact.sha256 and found.low == found.high

    @property
    def on_phone(self) -> bool:
        """Whether a clock ran on an Android device."""
        return self.kind == "measured" and bool({"serial", "android"} & set(self.device))

    @property
    def model(self) -> str:
        """The device without what two of its kind differ in: ratios can be compared when these agree.

        The phone's model, the emulated core, or the processor with its architecture and cores.
        """
        if self.kind == "emulated":
            return f"{self.instructions.core if self.instructions else self.device.get('cpu')}, emulated"
        words = (self.device.get("cpu"), self.device.get("architecture"), _cores(self.device))
        return str(self.device.get("model") or ", ".join(str(word) for word in words if word))

    @property
    def where(self) -> str:
        """The device in words: figures can be compared when these and the threads agree."""
        device = self.device
        names = (device.get("model"), device.get("cpu"), _cores(device), device.get("system"))
        words = ", ".join(str(name) for name in names if name)
        return f"{words}, serial {device['serial']}" if device.get("serial") else words

    def to_json(self) -> dict[str, Any]:
        """The line as a dictionary. Of paths only the names: lines are sent around, folders are private."""
        record = dataclasses.asdict(self)
        artifact = {key: value for key, value in record["artifact"].items() if key != "path"}
        artifact["run"] = Path(self.artifact.run).name
        return record | {"artifact": {"name": self.artifact.name, **artifact}}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Measurement":
        """The measurement that ``to_json`` wrote.

        Raises:
            ValueError: another schema; a field that is missing, unknown or of another type (it is named).
        """
        if record.get("schema") not in READABLE:
            known = " and ".join(map(str, READABLE))
            raise ValueError(f"its schema is {record.get('schema')!r}, this footseg reads {known}")
        found = records.of(cls, record, strict=True)
        for name, value in found.cost.items():
            of_words = name == "uncounted"
            right = isinstance(value, list) if of_words else value is None or _is_number(value)
            if not right:
                expected = "a list" if of_words else "a number"
                raise ValueError(f"its field 'cost.{name}' is {value!r:.40}, expected {expected}")
        return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cores(device: Mapping[str, Any]) -> str:
    count = device.get("cores")
    return "" if count is None else "1 core" if count == 1 else f"{count} cores"
