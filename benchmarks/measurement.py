"""One measurement: one JSON line of ``results.jsonl``, with its raw samples, for statistics come later.

The schema (``SCHEMA`` = 2; ``measurement.schema.json`` is the same for other programs), each line one object:

    schema            2
    kind              "measured": a clock ran on the device named; "emulated": instructions were counted
                      on an emulated processor, and there is no time in the line
    created           UTC, ISO 8601
    device            cpu, cores, architecture, system of the machine that ran it; of a phone also model,
                      serial, soc, android, build; of an emulated processor the emulator and its version
    artifact          name, format, sha256 and, where the file has a sidecar, all that stands in it
    runtime           "LiteRT", "ONNX Runtime" or "benchmark_model", with runtime_version
    threads           of the runtime
    file_bytes, gzip_bytes, zstd_bytes
                      of the file and of what is downloaded of it, at gzip's level 9 and zstd's 19; lines from
                      before zstd was counted have null
    cost              computed from the file: parameters, macs, flops (2 x MACs), flops_tf_benchmark,
                      uncounted (operators that add nothing), peak_activation_bytes, bytes_moved; see
                      benchmarks/cost.py
    versions          footseg, Python and the packages that can change a result

and what was found, each null where nobody looked:

    latency           samples_ms (every run after warm-up, in order), median_ms, p90_ms,
                      spread (interquartile range / median), noisy, note (the word on it), warmup_runs,
                      runs_per_sample (more than 1: each sample is the mean of so many, as benchmark_model
                      tells no more)
    cold_start        load_ms (open, check, plan, delegate), first_inference_ms; in a fresh process,
                      the file in the disk cache, the time to import the runtime left out
    peak_memory_mb    MB (10^6 bytes) that loading and running the file added to the process at most
    delegation        operators, delegated, partitions of the .tflite under XNNPACK
    relative          to (name), to_sha256, ratio (of this file's latency to that one's, run in turns),
                      low, high (its interval at ``confidence``), rounds, ratios (raw, of each round), starts
                      (fresh processes that the rounds were spread over); older lines have no interval
    instructions      core, samples (of each inference counted), total (their median), vector, load_store,
                      other, spread ((largest - smallest) / median)
    agreement         outputs there against this machine's on real images: data, split, images, pixels_equal
                      (0 to 1), logit_max_absolute, and, where masks could be scored, iou, boundary_f with
                      host_iou, host_boundary_f, boundary_tolerance_px
    profile           operators in their order: name, op, ms (median over runs), runs; under XNNPACK those of
                      the delegate
    calibration       what (the loop: a float32 matrix product in the same run), gflops (median),
                      samples_gflops, share (2 x MACs / latency over gflops x threads)
    conditions        what held while it ran: pinned_cores, governor, thermal_before, thermal_after,
                      throttled, cooled_seconds, battery, charging, notes
    energy            millijoules of one inference, an estimate: see its ``note``

A reader takes lines of this schema and of those before it, and refuses others by line number.
"""

import dataclasses
import errno
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cost
from footseg import provenance
from footseg.artifact import Artifact
from footseg.compress.sizes import packed
from footseg.errors import FootsegError
from footseg.files import disk_errors
from footseg.runtime import Delegation

SCHEMA = 2
# Schema 1 had the same fields and fewer of them.
READABLE = (1, 2)
# Spread (interquartile range / median) from which a latency is called noisy. FastLinkNet on two x86 cores,
# 50 runs a trial: 0.01 to 0.07 in all 15 on an idle machine, above 0.1 in 28 of 30 beside two busy processes.
# At 0.1 the median of 50 runs is uncertain by about 1.25 * 0.1 / 1.35 / sqrt(50) = 1.3 %.
NOISY_SPREAD = 0.1


@dataclass(frozen=True)
class Latency:
    """Time of one inference in milliseconds, over all runs after warm-up."""

    samples_ms: tuple[float, ...]
    median_ms: float
    p90_ms: float
    spread: float
    noisy: bool
    note: str
    warmup_runs: int
    runs_per_sample: int = 1

    @classmethod
    def of(cls, samples_ms: Sequence[float], warmup_runs: int = 0, runs_per_sample: int = 1) -> "Latency":
        """The statistics of raw samples.

        Raises:
            ValueError: no samples, or one that is not a positive number.
        """
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
        return cls(tuple(samples_ms), median, p90, spread, noisy, note, warmup_runs, runs_per_sample)


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

    @property
    def different(self) -> bool | None:
        """Whether the interval leaves out 1; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return not self.low <= 1 <= self.high


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
    """Outputs of a file on the device against those of the same file on this machine, on real images."""

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
class Calibration:
    """How fast this processor multiplied matrices in the same run, and the share of that the file reached."""

    what: str
    gflops: float
    samples_gflops: tuple[float, ...]
    share: float


@dataclass(frozen=True)
class Energy:
    """Millijoules of one inference by the phone's own fuel gauge: an estimate, as ``note`` says."""

    millijoules: float
    seconds: float
    note: str


@dataclass(frozen=True)
class Measurement:
    """One artifact on one device; the module's docstring tells each field."""

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
    calibration: Calibration | None = None
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

    @property
    def where(self) -> str:
        """The device in words: figures can be compared when these and the threads agree."""
        device = self.device
        names = [device.get("model"), device.get("cpu"), f"{device.get('cores')} cores", device.get("system")]
        words = ", ".join(str(name) for name in names if name)
        return f"{words}, serial {device['serial']}" if "serial" in device else words

    def to_json(self) -> dict[str, Any]:
        """The line as a dictionary. Of the artifact's path only the name: it need not be there any more."""
        record = dataclasses.asdict(self)
        artifact = {key: value for key, value in record["artifact"].items() if key != "path"}
        return record | {"artifact": {"name": self.artifact.name, **artifact}}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Measurement":
        """The measurement that ``to_json`` wrote.

        Raises:
            ValueError: another schema, a field that is missing or unknown.
        """
        if record.get("schema") not in READABLE:
            known = " and ".join(map(str, READABLE))
            raise ValueError(f"its schema is {record.get('schema')!r}, this footseg reads {known}")
        try:
            artifact = dict(record["artifact"])
            artifact |= {
                "path": Path(artifact.pop("name")),
                "input_shape": tuple(artifact["input_shape"]),
                "classes": tuple(artifact["classes"]),
            }
            parts = {name: _part(kind, record.get(name)) for name, kind in PARTS.items()}
            profile = tuple(OperatorTime(**row) for row in record.get("profile", ()))
            return cls(**{**record, "artifact": Artifact(**artifact), **parts, "profile": profile})
        except KeyError as error:
            raise ValueError(f"it has no field {error}") from error
        except TypeError as error:
            raise ValueError(f"its fields are not those of schema {record['schema']} ({error})") from error


# What of a line is an object of its own, or null.
PARTS: dict[str, type] = {
    "latency": Latency,
    "cold_start": ColdStart,
    "delegation": Delegation,
    "relative": Relative,
    "instructions": Instructions,
    "agreement": Agreement,
    "calibration": Calibration,
    "energy": Energy,
}


def _part(kind: type, record: Mapping[str, Any] | None) -> Any:
    """The object that a part of a line stands for; JSON's lists are tuples in it."""
    if not record:
        return None
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in record.items()})


def append_line(path: Path, measurement: Measurement) -> None:
    """Add one line to ``path`` in a single write, so that two writers never mix theirs.

    Raises:
        FootsegError: the disk is full; the file is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(measurement.to_json(), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with disk_errors(path):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            before = os.fstat(file).st_size
            if os.write(file, line) < len(line):
                os.ftruncate(file, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)


def read_all(path: Path) -> list[Measurement]:
    """All measurements of ``path``, in the order they were made.

    Raises:
        FootsegError: no such file, none in it, or a line that cannot be read (it is named).
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise FootsegError(f"no such file: {path} (footseg bench ARTIFACT --out {path} makes it)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FootsegError(f"{path} cannot be read as results ({error})") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("it is not a JSON object")
            found.append(Measurement.from_json(record))
        except ValueError as error:  # json.JSONDecodeError is one
            raise FootsegError(
                f"{path}, line {number} is not a measurement: {error}; delete that line"
            ) from error
    if not found:
        raise FootsegError(f"{path} holds no measurement: footseg bench ARTIFACT --out {path}")
    return found
