"""One measurement: one JSON line of ``results.jsonl``, with its raw samples, for statistics come later.

The schema (``SCHEMA`` = 1), each line one object:

    schema            1
    kind              "measured": a clock ran on the device named. (Later: "emulated", "computed".)
    created           UTC, ISO 8601
    device            cpu, cores, architecture, system of the machine that ran it
    artifact          name, format, sha256 and, where the file has a sidecar, all that stands in it
    runtime           "LiteRT" or "ONNX Runtime", with runtime_version
    threads           of the runtime
    latency           samples_ms (every run after warm-up, in order), median_ms, p90_ms,
                      spread (interquartile range / median), noisy, note (the word on it), warmup_runs
    cold_start        load_ms (open, check, plan, delegate), first_inference_ms; in a fresh process,
                      the file in the disk cache, the time to import the runtime left out
    peak_memory_mb    MB (10^6 bytes) that loading and running the file added to the process at most
    file_bytes, gzip_bytes, zstd_bytes
                      of the file and of what is downloaded of it, at gzip's level 9 and zstd's 19; lines from
                      before zstd was counted have null
    cost              computed from the file: parameters, macs, flops (2 x MACs), flops_tf_benchmark,
                      uncounted (operators that add nothing); see benchmarks/cost.py
    delegation        operators, delegated, partitions of the .tflite under XNNPACK; null for ONNX
    relative          to (name), to_sha256, ratio (median over rounds of this / that, run in turns),
                      rounds, ratios (of each round; older lines have none); null when nothing was compared
    versions          footseg, Python and the packages that can change a result

A reader takes lines of its own schema number and refuses others by line number.
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

from footseg.artifact import Artifact
from footseg.errors import FootsegError
from footseg.files import disk_errors
from footseg.runtime import Delegation

SCHEMA = 1
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

    @classmethod
    def of(cls, samples_ms: Sequence[float], warmup_runs: int = 0) -> "Latency":
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
        return cls(tuple(samples_ms), median, p90, spread, noisy, note, warmup_runs)


@dataclass(frozen=True)
class ColdStart:
    """What the first use of an app waits for, in a fresh process, in milliseconds."""

    load_ms: float
    first_inference_ms: float


@dataclass(frozen=True)
class Relative:
    """This file's latency over another's, the two run in turns so that drift cancels."""

    to: str
    to_sha256: str
    ratio: float
    rounds: int
    ratios: tuple[float, ...] = ()


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
    latency: Latency
    cold_start: ColdStart
    peak_memory_mb: float
    file_bytes: int
    gzip_bytes: int
    cost: Mapping[str, Any]
    delegation: Delegation | None = None
    relative: Relative | None = None
    zstd_bytes: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

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
        if record.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {record.get('schema')!r}, this footseg reads {SCHEMA}")
        try:
            artifact = dict(record["artifact"])
            artifact |= {
                "path": Path(artifact.pop("name")),
                "input_shape": tuple(artifact["input_shape"]),
                "classes": tuple(artifact["classes"]),
            }
            latency = record["latency"] | {"samples_ms": tuple(record["latency"]["samples_ms"])}
            parts = {
                "artifact": Artifact(**artifact),
                "latency": Latency(**latency),
                "cold_start": ColdStart(**record["cold_start"]),
                "delegation": Delegation(**record["delegation"]) if record["delegation"] else None,
                "relative": _relative(record["relative"]) if record["relative"] else None,
            }
            return cls(**{**record, **parts})
        except KeyError as error:
            raise ValueError(f"it has no field {error}") from error
        except TypeError as error:
            raise ValueError(f"its fields are not those of schema {SCHEMA} ({error})") from error


def _relative(record: Mapping[str, Any]) -> Relative:
    return Relative(**{**record, "ratios": tuple(record.get("ratios", ()))})


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


def as_table(measured: Sequence[Measurement]) -> str:
    """The measurements as aligned lines for a terminal, with the words on noise below.

    Files of one name are told apart by their folders.
    """
    folders: dict[str, set[str]] = {}
    for m in measured:
        folders.setdefault(m.artifact.name, set()).add(m.artifact.path.parent.name)
    names = [
        f"{m.artifact.path.parent.name}/" * (len(folders[m.artifact.name]) > 1) + m.artifact.name
        for m in measured
    ]
    heads = (
        "file", "MB", "gzip MB", "zstd MB", "M MACs", "median ms", "p90 ms",
        "x fp32", "load ms", "first ms", "peak MB", "delegated",
    )  # fmt: skip
    cells = [
        (
            name,
            f"{m.file_bytes / 1e6:.2f}",
            f"{m.gzip_bytes / 1e6:.2f}",
            "-" if m.zstd_bytes is None else f"{m.zstd_bytes / 1e6:.2f}",
            f"{m.cost['macs'] / 1e6:.1f}",
            f"{m.latency.median_ms:.3f}",
            f"{m.latency.p90_ms:.3f}",
            f"{m.relative.ratio:.2f}" if m.relative else "-",
            f"{m.cold_start.load_ms:.1f}",
            f"{m.cold_start.first_inference_ms:.1f}",
            f"{m.peak_memory_mb:.1f}",
            f"{m.delegation.delegated}/{m.delegation.operators} in {m.delegation.partitions}"
            if m.delegation
            else "-",
        )
        for m, name in zip(measured, names, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in (heads, *cells)
    ]
    notes = [f"{m.artifact.name}: {m.latency.note}" for m in measured if m.latency.noisy]
    return "\n".join([*lines, *notes])
