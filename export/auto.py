"""The smallest mixture of precisions that stays within a given loss of IoU.

Static int8 is where it begins. If that loses too much, the operators that cost most (``export.sensitivity``)
are raised, one after another, to int8 weights with float arithmetic, and where that is not enough to fp16
weights; the fewest that do are found by bisection, and of these each that proves not to be needed is given
back. What is left of the allowed loss is spent on 4-bit weights, beginning where a saved byte brings the
least noise. Every mixture tried is measured, and all of them make the frontier.

The loss is fp32's IoU minus the file's, both on the same images of the validation split. Dozens of mixtures
compete on these, and the winner may owe it to luck. So a standard error of the loss must fit, too: without,
the smallest file of a FastLinkNet for a loss of 0.005 (0.0042 ± 0.0030 on 115 images) lost 0.0081 on 124
others.
"""

import dataclasses
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from footseg import files, runtime
from footseg import run as runs
from footseg.artifact import Artifact, file_name
from footseg.compress.sizes import packed
from footseg.description import Description
from footseg.errors import FootsegError
from footseg.export import ends as file_ends
from footseg.export import (
    freeze,
    metadata,
    mix,
    pipeline,
    quantize,
    search,
    sensitivity,
    shared,
    speed,
    tflite,
    verify,
)
from footseg.export.ends import Asked
from footseg.export.precisions import PRECISIONS
from footseg.export.sensitivity import Reference
from footseg.mixtures import Frontier, Mixture, QuantizationCost, Sensitivity, SpeedRecord
from footseg.run import Run

START, SMALLEST = "int8", "int4"
# Whole networks for comparison, each operator with weights at one level. Not 4-bit weights with float
# arithmetic: they are unpacked outside XNNPACK, and take longer than fp32 (the README's results).
WHOLE = ("fp16", "int8w")
# The share of the file that 4 bits must save at an operator, which leaves XNNPACK for them.
WORTH = 1e-3
# Enough that one image moves IoU by a part of a thousandth, and a second or two a mixture at 256x256.
IMAGES = 128


@dataclass(frozen=True)
class Auto:
    """What a search found: the file, and all points in the order tried, which the file ``record`` holds."""

    artifact: Artifact
    frontier: Frontier
    record: Path


@dataclass(frozen=True)
class AutoConfig:
    """What a search is asked for: the smallest file within ``max_loss`` of fp32's IoU.

    The loss is absolute and measured on up to ``images`` of the validation split of ``data_dir`` (where None:
    of the data set that the run was trained on; where it has none, of the training split); ``margin``
    standard errors of it must fit into ``max_loss``, too, 0 takes it at its face. ``fast`` leaves out what
    XNNPACK does not run in integers: 4-bit weights, whole networks in float arithmetic. ``io``, ``output``,
    ``ranges``, ``calibration_count`` and ``seed`` are as in ``pipeline.export_run``; ``threads`` are the
    runtime's.

    Raises:
        ValueError: a ``max_loss`` outside [0, 1), no images, a negative ``margin``, an unknown ``io`` or
            ``ranges``.
    """

    max_loss: float
    data_dir: Path | None = None
    images: int = IMAGES
    margin: float = 1.0
    fast: bool = False
    io: str = "float32"
    output: str = "logits"
    ranges: str = "minmax"
    calibration_count: int = 64
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.max_loss < 1:
            raise ValueError(
                f"the allowed loss of IoU is {self.max_loss}: expected 0 or more and less than 1, as 0.005"
            )
        if self.images < 1:
            raise ValueError(
                f"a loss of IoU is measured on images, not on {self.images}: {IMAGES} is a good number"
            )
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"the margin is {self.margin} standard errors: expected 0 or more, as 1")
        quantize.check_options(START, self.ends, self.ranges)

    @property
    def ends(self) -> Asked:
        """The ends of the file."""
        return Asked(self.io, self.output)


def auto(
    run_dir: Path, out_dir: Path, config: AutoConfig, say: Callable[[str], None] = lambda line: None
) -> Auto:
    """Write ``<network>_<H>x<W>_auto.tflite``, the smallest file found within the loss allowed.

    Beside the file stand its sidecar, ``..._auto_frontier.json`` (every point tried), and
    ``..._auto_int8.json`` and ``..._auto_int4.json`` (sensitivities, from which another search goes on).

    Raises:
        FootsegError: not a finished run, no data, no recipe within the loss (the best is named), a conversion
            that failed, a full disk.
    """
    started = time.perf_counter()
    run, sample, calibration = _read(run_dir, config)
    say(f"{run.network}: loss of IoU on {len(sample.names)} images of {sample.split}")
    file_ends.check_foreground(config.output, len(run.classes))
    path = _path(out_dir, run, config.ends)
    with tempfile.TemporaryDirectory() as folder:
        mixer = _mixer(run, Path(folder), calibration, config)
        against = sensitivity.reference(mixer.path, sample, config.threads)
        said = pipeline.description(run, "auto", config.ends)
        trials = _Trials(mixer, said, against, config, Path(folder) / "trial.tflite", say)
        found, best = _explore(trials, path.with_suffix(""))
        points = tuple(_weighed(trials, point, best) for point in trials.points.values())
        at = list(trials.points.values()).index(best)
        chosen = points[at]
        verification, timed = _write(trials, chosen, path, run.model)
        reference: Any = _described(against, mixer.path) | {"calibration": calibration.to_json()}
    say(
        f"{path.name}: {chosen.name}; {chosen.bytes / 1e6:.2f} MB; IoU {-chosen.iou_loss:+.4f} "
        f"± {chosen.iou_loss_error:.4f}, best of {len(points)} tried on the same {len(sample.names)} images: "
        "others may lose more"
    )
    say(timed.warning(path.name) if timed.slower else f"{path.name}: {timed.summary()}")
    asked = {name: getattr(config, name) for name in ("ranges", "max_loss", "margin")}
    artifact = pipeline.artifact(
        run,
        path,
        "auto",
        details={"by": "ai-edge-quantizer", **asked, **dataclasses.asdict(chosen)},
        verification=verification | {"against": run.model.name},
        calibration=calibration.to_json(),
        speed=timed.to_json(),
    )
    frontier = Frontier(
        file=path.name,
        network=artifact.network,
        max_loss=config.max_loss,
        margin=config.margin,
        reference=reference,
        chosen=at,
        points=points,
        sensitivities=found,
        speed=cast(SpeedRecord, artifact.speed),
        seconds=round(time.perf_counter() - started, 1),
        created=artifact.created,
        versions=artifact.versions,
    )
    result = Auto(artifact, frontier, path.with_name(f"{path.stem}_frontier.json"))
    artifact.save_sidecar()
    files.write_json(result.record, dataclasses.asdict(frontier))
    return result


def _path(folder: Path, run: Run, ends: Asked) -> Path:
    """Where the file of a mixture goes; what belongs to it has its stem."""
    return folder / file_name(run.network, run.input_shape, "auto", takes=ends.input, gives=ends.output)


def _write(trials: "_Trials", chosen: Mixture, path: Path, model: Path) -> tuple[dict[str, Any], speed.Speed]:
    """Write the chosen mixture, once it holds against the Keras network at ``model``; and how fast it is."""
    config, base = trials.config, trials.file
    with files.atomic_path(path) as temporary:
        base.write_bytes(trials.mixer(trials.mixture(chosen)))
        tflite.check_graph(base)
        record = _verify(model, base, trials.against, config).to_json()
        temporary.write_bytes(file_ends.finished(base.read_bytes(), config.ends, trials.said))
        if config.ends.put:
            images = trials.against.sample.images
            record["ends"] = file_ends.hold(temporary, base, images, config.threads)
        return record, speed.against(temporary, trials.mixer.path)


def _described(against: Reference, fp32: Path) -> dict[str, Any]:
    """The fp32 file that losses are taken to, and on what."""
    sample = against.sample
    return {
        "iou": against.iou,
        "bytes": fp32.stat().st_size,
        **packed(fp32.read_bytes()),
        "split": sample.split,
        "images": len(sample.names),
    }


def costs(
    run_dir: Path, out_dir: Path, config: AutoConfig, say: Callable[[str], None] = lambda line: None
) -> tuple[Sensitivity, Path]:
    """What each operator of a run's network costs when it alone is in int8, and the JSON file that says so.

    The file is the one that a search (``auto``) goes on from; ends stay float32. Errors are those of
    ``auto``.
    """
    config = dataclasses.replace(config, io="float32", output="logits")
    run, sample, calibration = _read(run_dir, config)
    saved = out_dir / f"{_path(out_dir, run, config.ends).stem}_{START}.json"
    say(f"{run.network}: loss of IoU on {len(sample.names)} images of {sample.split}")
    with tempfile.TemporaryDirectory() as folder:
        mixer = _mixer(run, Path(folder), calibration, config)
        against = sensitivity.reference(mixer.path, sample, config.threads)
        found = sensitivity.measure(mixer, against, START, threads=config.threads, saved=saved)
    return found, saved


@dataclass
class _Trials:
    """Mixtures that were tried: each is made, measured and remembered once."""

    mixer: mix.Mixer
    said: Description
    against: Reference
    config: AutoConfig
    file: Path
    say: Callable[[str], None]
    points: dict[str, Mixture] = dataclasses.field(default_factory=dict)

    def made(self, mixture: Mapping[str, str]) -> bytes:
        """The file of a mixture, which says of itself what it is."""
        return metadata.describe(self.mixer(mixture), self.said)

    def fits(self, mixture: Mapping[str, str]) -> bool:
        """Whether a mixture is within the loss allowed."""
        return self.point(mixture).fits

    def point(self, mixture: Mapping[str, str], name: str = "") -> Mixture:
        """Measure a mixture: a level for each operator of the mixer."""
        key = repr(sorted(mixture.items()))
        if key not in self.points:
            data = self.made(mixture)
            self.file.write_bytes(data)
            score = self.against.score(self.file, self.config.threads)
            delegation = runtime.delegation(self.file, self.config.threads)
            self.points[key] = Mixture(
                name=name or _name(mixture),
                levels={output: level for output, level in mixture.items() if level != START},
                bytes=len(data),
                iou=score.iou,
                iou_loss=score.iou_loss,
                iou_loss_error=score.iou_loss_error,
                logit_error=score.logit_error,
                operators=delegation.operators,
                delegated=delegation.delegated,
                partitions=delegation.partitions,
                fits=self._fits(score),
            )
            found = self.points[key]
            self.say(
                f"tried {found.name}: {found.bytes / 1e6:.2f} MB, "
                f"IoU {-found.iou_loss:+.4f} ± {found.iou_loss_error:.4f}"
                f"{'' if found.fits else ', too much'}"
            )
        return self.points[key]

    def _fits(self, score: sensitivity.Score) -> bool:
        # The error is infinite for a single image, which no margin of 0 turns into a number.
        margin = self.config.margin * score.iou_loss_error if self.config.margin else 0.0
        return score.iou_loss + margin <= self.config.max_loss

    def mixture(self, point: Mixture) -> dict[str, str]:
        """The level of each operator of a point."""
        return {operator.output: START for operator in self.mixer.operators} | point.levels


def _weighed(trials: _Trials, point: Mixture, best: Mixture) -> Mixture:
    """The point with its bytes as they are downloaded, if it is the chosen one or a whole network."""
    if point != best and point.name not in (START, *WHOLE):
        return point
    return dataclasses.replace(point, packed=packed(trials.made(trials.mixture(point))))


def _name(mixture: Mapping[str, str]) -> str:
    """What a mixture is, for people: "int8; 3 in int8w, 12 in int4"."""
    counts = Counter(level for level in mixture.values() if level != START)
    others = ", ".join(f"{counts[level]} in {level}" for level in mix.LEVELS if counts[level])
    return f"{START}; {others}" if others else START


def _explore(trials: _Trials, stem: Path) -> tuple[tuple[Sensitivity, ...], Mixture]:
    """Measure sensitivities, search by them; the point chosen.

    Raises:
        FootsegError: nothing fits.
    """
    operators, fast = trials.mixer.operators, trials.config.fast
    # fp16 is as good as float for weights; an operator without any has nothing between int8 and float.
    ladders = {
        operator.output: tuple(
            level
            for level in operator.levels
            if (level != "float" or "fp16" not in operator.levels) and not (fast and level == SMALLEST)
        )
        for operator in operators
    }
    whole = [
        trials.point({o.output: level if level in o.levels else "float" for o in operators}, level)
        for level in WHOLE
    ]
    first = _measured(trials, START, stem)
    found, thriftiest = [first], []
    if not fast and any(SMALLEST in operator.levels for operator in operators):
        found.append(_measured(trials, SMALLEST, stem))
        least = WORTH * trials.point({operator.output: START for operator in operators}).bytes
        thriftiest = by_trade(first, found[-1], least)
    dearest = [cost.output for cost in first.ranked()]
    best = search.search(ladders, START, dearest, thriftiest, trials.fits)
    fitting = [point for point in whole if point.fits and not fast]
    if best is not None:
        fitting.append(trials.point(best))
    if not fitting:
        raise FootsegError(_nothing(trials))
    return tuple(found), min(fitting, key=lambda point: point.bytes)


def _nothing(trials: _Trials) -> str:
    """Why nothing was chosen, and what came closest."""
    sample, config = trials.against.sample, trials.config
    closest = min(trials.points.values(), key=lambda p: p.iou_loss + config.margin * p.iou_loss_error)
    sure = f" ({config.margin:g} x standard error included)" if config.margin else ""
    return (
        f"nothing stays within {config.max_loss:g} of fp32's IoU{sure}, which is {trials.against.iou:.4f} on "
        f"{len(sample.names)} images of {sample.split}: the closest, {closest.name}, loses "
        f"{closest.iou_loss:.4f} ± {closest.iou_loss_error:.4f} at {closest.bytes / 1e6:.2f} MB; allow a "
        "larger loss, measure on more images, or stay with fp32"
    )


def _measured(trials: _Trials, level: str, stem: Path) -> Sensitivity:
    saved = stem.with_name(f"{stem.name}_{level}.json")
    return sensitivity.measure(
        trials.mixer, trials.against, level, threads=trials.config.threads, saved=saved
    )


def by_trade(at_start: Sensitivity, lowered: Sensitivity, least: float) -> list[str]:
    """Output tensors of the operators to lower, least noise on the logits for a byte first.

    The power of independent noises adds up, so what lowering adds is the difference of the squared errors.
    Those that would save fewer than ``least`` bytes are left out.
    """
    before = {cost.output: cost for cost in at_start.costs}
    saved = {cost.output: cost.bytes_saved - before[cost.output].bytes_saved for cost in lowered.costs}

    def price(cost: QuantizationCost) -> float:
        noise = cost.logit_error**2 - before[cost.output].logit_error ** 2
        # Where rounding happens to help, the larger operator still goes first.
        return max(noise, 1e-12) / saved[cost.output]

    worth = [cost for cost in lowered.costs if saved[cost.output] >= max(least, 1)]
    return [cost.output for cost in sorted(worth, key=price)]


def _read(run_dir: Path, config: AutoConfig) -> tuple[Run, verify.Sample, quantize.Calibration]:
    """The run, the images that it is judged on and those that calibrate it."""
    run = runs.load_trained(run_dir)
    data_dir = config.data_dir or Path(run.data)
    size = run.input_shape[:2]
    sample = verify.sample(data_dir, size, config.images)
    pipeline.check_classes(data_dir, run)
    return run, sample, quantize.calibration(data_dir, size, config.calibration_count, config.seed)


def _mixer(run: Run, folder: Path, calibration: quantize.Calibration, config: AutoConfig) -> mix.Mixer:
    """A Mixer of the run's fp32 file, which is made in ``folder``; shared values stay shared."""
    fp32 = folder / "fp32.tflite"
    network = freeze.load_network(run.model)
    fp32.write_bytes(tflite.convert(freeze.freeze(network, folder / "saved_model")))
    weight_ranges = shared.weight_ranges(fp32, shared.clustered_kernels(network))
    return mix.calibrated(
        fp32, calibration.images,
        ends=config.ends, ranges=config.ranges, weight_ranges=weight_ranges, threads=config.threads,
    )  # fmt: skip


def _verify(model: Path, file: Path, against: Reference, config: AutoConfig) -> verify.Verification:
    """Hold the file chosen against the Keras network, on the images of the search.

    Its limit is the loss that was allowed, and what fp32's file itself is off by. It has no interval: these
    are the very images that the loss was measured on, with its standard error.

    Raises:
        FootsegError: it loses more: the file is not the one that was measured.
    """
    expected = runtime.load(model, config.threads).logits(against.sample.images)
    own = verify.compare(expected, against.logits, against.sample)
    verify.check(own, PRECISIONS["fp32"].tolerance, "the fp32 file")
    found = verify.compare(
        expected, runtime.load(file, config.threads).logits(against.sample.images), against.sample
    )
    if not -found.iou.value <= config.max_loss + abs(own.iou.value):
        raise FootsegError(
            f"{file.name} loses {-found.iou.value:.4f} of the Keras network's IoU, {config.max_loss:g} were "
            "allowed: it was not written as it was measured; run the command again"
        )
    return found
