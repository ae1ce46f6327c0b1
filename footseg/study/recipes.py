"""Recipes of a compression study: what was done to a network before it became a file, and what came of it.

A recipe is the run's compression steps and the file's precision ("prune 70% → cluster 16 → int8"). Files that
differ in nothing but the seed of their training are one recipe, its figures their means. Every figure is held
against the uncompressed fp32 file of the same training where there is one.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import Any

from footseg import files
from footseg.benchmarks import places, shown
from footseg.benchmarks.figures import mb
from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.pages.page import metric
from footseg.compress.methods import METHODS
from footseg.errors import FootsegError, did_you_mean
from footseg.evaluate import SavedEvaluation
from footseg.grouping import grouped
from footseg.run import Compression, Run

# Latency from which a recipe is called slower than fp32: two copies of one file came out between 0.97 and
# 1.03 of each other.
SLOWER = 1.05


@dataclass(frozen=True)
class Ranged:
    """A figure and its range: over seeds from least to greatest; of one file's ratio, bench's interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """One recipe.

    ``loss`` is the baseline's IoU minus its own, ``ratio`` its latency over the baseline's (``in_turns`` if
    both ran in turns), ``smaller`` how many times smaller than the baseline's its "file", "gzip" and "zstd"
    bytes are. ``outside`` counts the operators that XNNPACK does not run, by kind where that is known.
    ``noisy`` says how ``latency_ms`` is known where its median was noisy. None stands for what nobody has
    measured.
    """

    label: str
    methods: tuple[str, ...]
    files: tuple[str, ...]
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    iou: Ranged | None
    boundary_f: Ranged | None
    loss: Ranged | None
    file_bytes: float
    gzip_bytes: float
    zstd_bytes: float | None
    smaller: Mapping[str, float]
    latency_ms: float
    ratio: Ranged | None
    in_turns: bool
    macs: float
    operators: int = 0
    outside: Mapping[str, int] = field(default_factory=dict)
    is_baseline: bool = False
    noisy: str = ""

    @property
    def slower(self) -> bool:
        """Whether it takes longer than the baseline by more than noise explains."""
        return self.ratio is not None and self.ratio.value > SLOWER and self.ratio.low > 1

    @property
    def costs(self) -> dict[str, float]:
        """What budgets limit: loss of IoU, bytes to download, latency over fp32's; inf where not known."""
        found = {"loss": self.loss, "bytes": _alone(self.gzip_bytes), "latency": self.ratio}
        return {name: figure.value if figure else math.inf for name, figure in found.items()}

    @property
    def warning(self) -> str:
        """The line about a slower recipe."""
        left = ", ".join(f"{kind} {count}" for kind, count in self.outside.items())
        why = (
            f"{sum(self.outside.values())} of {self.operators} operators run outside XNNPACK: {left}"
            if left
            else "though XNNPACK runs all of its operators"
        )
        return f"{self.label} is slower than fp32: {self.ratio.value if self.ratio else 0:.2f} times; {why}"


@dataclass(frozen=True)
class Budget:
    """What a recipe may take: bytes of its download (gzip), latency over fp32's, loss of IoU.

    Where nothing else is said it must not be slower than fp32: a file that is little smaller and many times
    slower, as one with int16 activations is, is nobody's choice.
    """

    max_bytes: float | None = None
    max_latency: float | None = SLOWER
    max_loss: float | None = 0.01

    def words(self) -> str:
        """As a phrase: "a loss of at most 0.01 IoU, a download of at most 0.45 MB, no slower than fp32"."""
        latency = f"at most {self.max_latency:g} times the latency of fp32" if self.max_latency else ""
        parts = [
            f"a loss of at most {self.max_loss:g} IoU" if self.max_loss is not None else "",
            f"a download of at most {mb(self.max_bytes)} MB" if self.max_bytes is not None else "",
            "no slower than fp32" if self.max_latency == SLOWER else latency,
        ]
        return ", ".join(part for part in parts if part) or "no limit"

    def winner(self, points: Sequence[Point], by: str | None = None) -> Point | None:
        """The best recipe within it; None where none is.

        ``by`` is what is to be least, "loss", "bytes" or "latency"; else the first that has no limit.
        The others decide between equals. What was not measured is within no limit.

        Raises:
            ValueError: an unknown ``by``.
        """
        limits = {"loss": self.max_loss, "bytes": self.max_bytes, "latency": self.max_latency}
        if by is not None and by not in limits:
            raise ValueError(f"by must be loss, bytes or latency, not {by!r}")
        goal = by or next((name for name, limit in limits.items() if limit is None), "loss")

        def fits(point: Point) -> bool:
            known = (point.costs[name] <= limit for name, limit in limits.items() if limit is not None)
            return all(known) and math.isfinite(point.costs[goal])

        found = [point for point in points if fits(point)]
        return min(found, key=lambda point: (point.costs[goal], *point.costs.values()), default=None)


WITHIN_A_HUNDREDTH = Budget()


@dataclass(frozen=True)
class _File:
    """A measured file, the run it was exported from if that is known, its baseline, and all of its place."""

    measured: Measurement
    run: Run | None
    baseline: Measurement | None
    place: Sequence[Measurement]

    @property
    def steps(self) -> Sequence[Compression]:
        return self.run.compression if self.run else ()

    @property
    def label(self) -> str:
        artifact = self.measured.artifact
        words = [step_words(step) for step in self.steps]
        if self.run is None and self.baseline is not self.measured:
            words = [artifact.run.rpartition("/")[2] or artifact.path.stem]
        form = "" if artifact.format == "tflite" else " " + artifact.format.upper()
        return " → ".join([*words, artifact.recipe or artifact.path.stem]) + form

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for files of one recipe."""
        artifact = self.measured.artifact
        settings = [(step["method"], step.get("settings")) for step in self.steps]
        chosen = [artifact.details.get(name) for name in ("io", "ranges", "keep")]
        chosen += [artifact.input.name or "float32", artifact.output.name or "logits"]
        network = (artifact.network, artifact.network_options, artifact.input_shape)
        calibration = artifact.calibration.get("count")
        return self.label, json.dumps((network, settings, chosen, calibration), sort_keys=True, default=str)


def step_words(step: Compression) -> str:
    """A compression step of a run's record in a word or two: "prune 70%", "cluster 16", "cut 50%", "QAT"."""
    method, settings = step["method"], step.get("settings", {})
    if method == "qat":
        return "QAT"
    row = METHODS.get(method)
    amount = settings.get(row.option) if row else None
    if row is None or amount is None:
        return method
    block = settings.get("block", "1x1")
    words = f"{method} {amount:.0%}" if row.kind is float else f"{method} {amount}"
    return words if block == "1x1" else f"{words} in {block}"


def gather(
    measured: Sequence[Measurement],
    evaluated: Mapping[str, SavedEvaluation],
    runs: Iterable[Run],
    baseline: str | None = None,
) -> tuple[Point, ...]:
    """The recipes among the files of one machine, the baseline first, then from large to small downloads.

    Args:
        measured: one measurement a file.
        evaluated: by SHA-256 of the file.
        runs: those that the files were exported from, found by the SHA-256 of their ``model.keras``.
        baseline: name or SHA-256 of the fp32 file to hold all others against; else that of each file's own
            training.

    Raises:
        FootsegError: no such baseline.
    """
    by_model = {files.sha256(run.model): run for run in runs if run.model.is_file()}
    named = _named(measured, baseline) if baseline else None
    bases = [named] if named else _baselines(measured, by_model)
    members = [
        _File(m, by_model.get(m.artifact.parent), _baseline_of(m, bases, by_model), measured)
        for m in measured
    ]
    points = []
    for group in grouped((member.key, member) for member in members).values():
        if len(group) > 1 and _seeds_differ(group):
            points.append(_mean([_point(member, evaluated, bases) for member in group]))
        else:
            points += [_point(member, evaluated, bases) for member in group]
    return tuple(sorted(_told_apart(points), key=lambda p: (not p.is_baseline, -p.gzip_bytes)))


# --- baselines -----------------------------------------------------------------------------------


def _named(measured: Sequence[Measurement], baseline: str) -> Measurement:
    for m in measured:
        if baseline in (m.artifact.name, m.artifact.sha256):
            return m
    names = [m.artifact.name for m in measured]
    raise FootsegError(f"no measured file {baseline!r} to compare with: {did_you_mean(baseline, names)}")


def _baselines(measured: Sequence[Measurement], by_model: Mapping[str, Run]) -> list[Measurement]:
    """The fp32 .tflite files of uncompressed runs; where no such run is known, of unknown ones."""
    fp32 = [m for m in measured if places.is_fp32(m.artifact)]
    known = [m for m in fp32 if m.artifact.parent in by_model]
    plain = [m for m in known if not by_model[m.artifact.parent].compression]
    return plain or [m for m in fp32 if m.artifact.parent not in by_model]


def _baseline_of(
    m: Measurement, bases: Sequence[Measurement], by_model: Mapping[str, Run]
) -> Measurement | None:
    """The baseline that comes of the same uncompressed network; the only one, if there is but one."""
    steps = by_model[m.artifact.parent].compression if m.artifact.parent in by_model else ()
    root = steps[0]["parent"] if steps else m.artifact.parent
    own = [base for base in bases if base.artifact.parent == root]
    return own[0] if own else bases[0] if len(bases) == 1 else None


# --- figures -------------------------------------------------------------------------------------


def _point(member: _File, evaluated: Mapping[str, SavedEvaluation], bases: Sequence[Measurement]) -> Point:
    m, base = member.measured, member.baseline
    latency = shown.latency(m, member.place)
    assert latency is not None
    iou, boundary = (metric(evaluated, m.artifact.sha256, name) for name in ("iou", "boundary_f"))
    base_iou = metric(evaluated, base.artifact.sha256, "iou") if base else None
    loss = None if iou is None or base_iou is None else base_iou - iou
    delegation = m.delegation
    outside = dict(getattr(delegation, "outside", {}) or {})
    if delegation and not outside and delegation.delegated < delegation.operators:
        outside = {"operators": delegation.operators - delegation.delegated}
    ratio, in_turns = _ratio(m, base, bases, member.place)
    return Point(
        label=member.label,
        methods=tuple(step["method"] for step in member.steps),
        files=(m.artifact.name,),
        runs=(member.run.path.name,) if member.run else (),
        seeds=(member.run.seed,) if member.run else (),
        iou=_alone(iou),
        boundary_f=_alone(boundary),
        loss=_alone(loss),
        file_bytes=m.file_bytes,
        gzip_bytes=m.gzip_bytes,
        zstd_bytes=m.zstd_bytes,
        smaller=_smaller(m, base),
        latency_ms=latency.ms,
        ratio=ratio,
        in_turns=in_turns,
        macs=m.cost["macs"],
        operators=delegation.operators if delegation else 0,
        outside=outside,
        is_baseline=m is base,
        noisy=_noisy(latency),
    )


def _noisy(found: shown.Shown) -> str:
    """How a latency is known where its median was noisy; "" where it was not."""
    if found.how:
        return f"its median was noisy, this is {found.how}"
    return "the median is noisy" if found.noisy else ""


def _alone(value: float | None) -> Ranged | None:
    return None if value is None else Ranged(value, value, value)


def _smaller(m: Measurement, base: Measurement | None) -> dict[str, float]:
    if base is None:
        return {}
    found = {"file": base.file_bytes / m.file_bytes, "gzip": base.gzip_bytes / m.gzip_bytes}
    if m.zstd_bytes and base.zstd_bytes:
        found["zstd"] = base.zstd_bytes / m.zstd_bytes
    return found


def _ratio(
    m: Measurement, base: Measurement | None, bases: Sequence[Measurement], place: Sequence[Measurement]
) -> tuple[Ranged | None, bool]:
    """Against the baseline: run in turns where bench did so with it or its like, else of two latencies."""
    relative = m.relative
    if m is base:
        return Ranged(1.0, 1.0, 1.0), True
    # The fp32 file of another seed has the same operators on other weights, and so the same latency.
    if relative and relative.to_sha256 in {other.artifact.sha256 for other in bases}:
        if relative.low is None or relative.high is None:
            return _alone(relative.ratio), True
        return Ranged(relative.ratio, relative.low, relative.high), True
    own, other = shown.latency(m, place), shown.latency(base, place) if base else None
    return _alone(own.ms / other.ms if own and other else None), False


def _seeds_differ(group: Sequence[_File]) -> bool:
    seeds = [member.run.seed for member in group if member.run]
    return len(set(seeds)) == len(group)


def _mean(points: Sequence[Point]) -> Point:
    """One recipe of several seeds."""

    def figure(name: str) -> Ranged | None:
        found = [getattr(point, name) for point in points]
        if any(value is None for value in found):
            return None
        values = [value.value for value in found]
        return Ranged(fmean(values), min(values), max(values))

    def all_of(name: str) -> tuple[Any, ...]:
        return tuple(value for point in points for value in getattr(point, name))

    zstd = [point.zstd_bytes for point in points if point.zstd_bytes is not None]
    common = set.intersection(*(set(point.smaller) for point in points))
    means: dict[str, Any] = {
        **{name: all_of(name) for name in ("files", "runs", "seeds")},
        **{name: figure(name) for name in ("iou", "boundary_f", "loss", "ratio")},
        **{name: fmean(getattr(p, name) for p in points) for name in ("file_bytes", "gzip_bytes", "macs")},
    }
    return replace(
        points[0],
        **means,
        zstd_bytes=fmean(zstd) if len(zstd) == len(points) else None,
        smaller={name: fmean(point.smaller[name] for point in points) for name in sorted(common)},
        latency_ms=median(point.latency_ms for point in points),
        in_turns=all(point.in_turns for point in points),
        noisy=next((point.noisy for point in points if point.noisy), ""),
    )


def _told_apart(points: Sequence[Point]) -> list[Point]:
    """Equal labels of different files get the files' names as well."""
    labels = [point.label for point in points]
    return [
        replace(point, label=f"{point.label} ({point.files[0].rpartition('.')[0]})")
        if labels.count(point.label) > 1
        else point
        for point in points
    ]
