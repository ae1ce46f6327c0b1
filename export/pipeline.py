"""``footseg export``: every file asked for, each verified before it gets its name."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footseg import class_names, files, paired, provenance, runtime
from footseg import run as runs
from footseg.artifact import Artifact, file_name, format_of
from footseg.data.folder import open_data
from footseg.description import Description
from footseg.errors import FootsegError
from footseg.export import (
    coreml,
    ends,
    freeze,
    onnx,
    onnx_contents,
    onnx_ends,
    onnx_quantize,
    quantize,
    shared,
    tflite,
    verify,
    where,
)
from footseg.export import speed as speeds
from footseg.export.ends import Asked
from footseg.export.precisions import PRECISIONS
from footseg.export.targets import Target, asked_for, check_options
from footseg.graphs.ends import pixels_to_logits
from footseg.graphs.ends import read as read_ends
from footseg.run import Run
from footseg.terminal import note

# Where a run keeps its fake-quantized network, if it was trained for quantization.
QAT = "qat"


def export_run(
    run_dir: Path,
    out_dir: Path,
    *,
    formats: Sequence[str] = ("tflite", "onnx"),
    precisions: Sequence[str] = ("fp32",),
    data_dir: Path | None = None,
    calibration_count: int = 64,
    seed: int = 0,
    threads: int = 1,
    io: str = "float32",
    output: str = "logits",
    ranges: str = "minmax",
    keep: Collection[str] = (),
    made_for: str = "any",
    speed: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> list[Artifact]:
    """Export a trained run as ``<network>_<H>x<W>_<precision>.tflite`` and ``.onnx``, with sidecars.

    Other ends than float32 in, logits out are named in the file's name (``artifact.file_name``).

    Each file is held against the Keras network on up to 32 validation images of ``data_dir`` (where None: of
    the data set that the run was trained on), on more where these cannot tell, and gets its name only if it
    passes; a file of that name from before stays otherwise. ONNX is written in fp32, fp16 and int8.
    ``calibration_count`` training images, drawn by ``seed``, calibrate the precisions that work in integers;
    ``io`` is what the files take and ``output`` what they give (see ``export.ends``; files without integer
    codes take float32 beside one that has them). ``ranges`` and ``keep`` are those of ``export.quantize``,
    for the files that have them. An int8 ``.tflite`` of a run trained for quantization (RUN/qat) is that
    training's. ``.tflite`` files are ``made_for`` a target of ``export.portable``. With ``speed`` each file
    in another precision than fp32 is timed against the fp32 one, a second or two, and is said to be slower
    where it is. ``say`` gets a line for each step.

    Raises:
        ValueError: an unknown format, precision, io, output, ranges or tensor, or no calibration image.
        FootsegError: not a finished run, no data, ONNX alone in a precision that it is not written in, a
            foreground of other than two classes, a conversion that failed or a file out of tolerance, a full
            disk.
        MissingExtraError: a package that the conversion needs is not installed.
    """
    asked = Asked(io, output)
    targets = asked_for(formats, precisions, asked, say)
    check_options(targets, asked, ranges, keep, made_for)
    run = runs.load_trained(run_dir)
    ends.check_foreground(output, len(run.classes))
    data_dir = Path(run.data) if data_dir is None else data_dir
    sample = verify.sample(data_dir, run.input_shape[:2])
    check_classes(data_dir, run)
    quantization = _Quantization(
        ranges, tuple(keep), made_for, _calibration(run, data_dir, targets, calibration_count, seed, say)
    )

    say(f"{run.network}: verifying on {len(sample.names)} images of {sample.split}")
    with files.unchanged(run.model) as weights:
        reference = runtime.load(run.model, threads).logits
        network = freeze.load_network(run.model)
    more = verify.more(data_dir, sample, reference)
    with tempfile.TemporaryDirectory() as folder:
        work = _Conversions(
            run, weights, network, Path(folder), quantization, sample, reference(sample.images), more,
            threads, say,
        )  # fmt: skip
        made = []
        for target in targets:
            if target.format == "coreml":
                made.append(_make_coreml(work, target, out_dir))
            else:
                made.append(_make(work, target, out_dir, speed))
            made[-1].save_sidecar()
    return made


@dataclass(frozen=True)
class _Quantization:
    """How the files that are not fp32 are quantized: the arguments of ``export.quantize.quantize``."""

    ranges: str
    keep: tuple[str, ...]
    made_for: str
    calibration: quantize.Calibration | None


@dataclass(frozen=True)
class _Conversions:
    """Conversions of one network, which share the SavedModel and the fp32 file in ``folder``.

    ``weights`` is the SHA-256 of the file that the network was loaded from.
    """

    run: Run
    weights: str
    network: Any
    folder: Path
    quantization: _Quantization
    sample: verify.Sample
    expected: np.ndarray
    more: verify.More
    threads: int
    say: Callable[[str], None]

    @property
    def qat(self) -> Path:
        """The fake-quantized network, if the run has one."""
        return self.run.path / QAT

    def shared(self, target: Target) -> dict[str, dict[str, np.ndarray]]:
        """The ranges of weights of a clustered network with which its values stay shared in integers."""
        if not PRECISIONS[target.precision].calibrated or target.format != "tflite":
            return {}
        return self._shared

    @functools.cached_property
    def _shared(self) -> dict[str, dict[str, np.ndarray]]:
        return shared.weight_ranges(self.float_file("tflite"), shared.clustered_kernels(self.network))

    def trained_for(self, target: Target) -> bool:
        """Whether the run was trained for this very file."""
        return target.trained and self.qat.is_dir()

    def convert(self, target: Target) -> bytes:
        """The bytes of the file asked for, but for its ends and what it says of itself."""
        if self.trained_for(target):
            from footseg.export import qat

            return qat.convert(self.qat, target.ends, self.quantization.made_for)
        fp32, ranges = self.float_file(target.format), self.quantization.ranges
        images = self.quantization.calibration.images if self.quantization.calibration else None
        if target.format == "onnx":
            return onnx_quantize.quantize(fp32, target.precision, images, ranges=ranges)
        return quantize.quantize(
            fp32,
            target.precision,
            images,
            ends=target.ends,
            ranges=ranges,
            keep=self.quantization.keep,
            weight_ranges=self.shared(target),
            target=self.quantization.made_for,
            threads=self.threads,
        )

    def finished(self, target: Target, base: Path) -> bytes:
        """What ``convert`` wrote to ``base``, with the ends asked for and what it says of itself."""
        said = description(self.run, target.precision, target.ends)
        if target.format == "onnx":
            return onnx.describe(onnx_ends.with_ends(base.read_bytes(), target.ends), said)
        return ends.finished(base.read_bytes(), target.ends, said)

    def check_graph(self, path: Path, target: Target) -> None:
        """Refuse a ``.tflite`` with operators that have no place in it."""
        tflite.check_graph(path)
        if self.trained_for(target):
            from footseg.export import qat

            steps = [step for step in self.run.compression if step["method"] == QAT]
            qat.check_islands(path, {name for step in steps for name in step["left_out"]})

    def verify(self, path: Path, target: Target) -> tuple[verify.Verification, dict[str, Any]]:
        """Hold a file against its network; also what its sidecar says of that."""
        positions, trained = freeze.remembers_positions(self.network), self.trained_for(target)
        expected, more = self.expected, self.more
        if trained:
            # Rounding is part of this network, so its own logits are what the file must give; what the
            # rounding costs is the difference to the float weights beside it.
            rounded = freeze.loaded(self.qat)
            expected = rounded(self.sample.images)
            more = dataclasses.replace(self.more, reference=rounded)
        found = verify.verify(expected, path, self.sample, target.precision, self.threads, positions, more)
        if not trained:
            return found, found.to_json() | {"against": self.run.model.name}
        to_float = verify.compare(
            self.expected, runtime.load(path, self.threads).logits(self.sample.images), self.sample
        )
        return found, found.to_json() | {"against": QAT, "against_float": to_float.to_json()}

    def float_file(self, format_: str) -> Path:
        """The fp32 file of a format, which the others are made from.

        Verified whether it is asked for or not: the wide limits of fewer bits are for their rounding alone,
        so that no fault of the conversion hides in them.
        """
        asked = Target(format_, "fp32")
        path = self.folder / self.name(asked)
        if not path.is_file():
            if format_ == "onnx":
                path.write_bytes(onnx.convert(self.network))
            else:
                saved_model = freeze.freeze(self.network, self.folder / "saved_model")
                path.write_bytes(tflite.convert(saved_model))
            found, _ = self.verify(path, asked)
            if doubts := paired.doubts(found.decisions):
                self.say(f"{path.name}, which the others are made from: {doubts}")
        return path

    def name(self, target: Target) -> str:
        """What a file is called."""
        return file_name(
            self.run.network, self.run.input_shape, target.precision, target.format,
            takes=target.ends.input, gives=target.ends.output, target=self.quantization.made_for,
        )  # fmt: skip


def _make_coreml(work: _Conversions, target: Target, out_dir: Path) -> Artifact:
    """Convert one for Core ML and look at it; on a Mac hold it against the network, elsewhere say that not.

    Its weights are held against those of the ``.onnx``, which is held against the network everywhere.
    """
    path = out_dir / work.name(target)
    record: dict[str, Any] = {}
    with files.atomic_path(path) as temporary, files.unchanged(work.run.model, work.weights):
        said = description(work.run, target.precision, target.ends)
        coreml.convert(work.network, target.precision, said, temporary)
        weights = onnx_contents.weights(work.float_file("onnx"))
        details = coreml.check(temporary, target.precision, len(work.run.classes), weights)
        checked = f"{path.name}: {files.size(temporary) / 1e6:.2f} MB"
        if runtime.ON_A_MAC:
            verification, record = work.verify(temporary, target)
            work.say(f"{checked}; {verification.summary()}")
        else:
            count = details["weights_compared"]
            work.say(f"{checked}; {coreml.NOT_RUN}; its ends and {count} tensors of weights are right")
    return artifact(work.run, path, target.precision, details=details, verification=record)


def _make(work: _Conversions, target: Target, out_dir: Path, timed: bool) -> Artifact:
    """Convert, verify and time one file, then give it its name; its sidecar is not written yet.

    What is verified are its logits; other ends are put to it then, and held against these.
    """
    run, precision, say = work.run, target.precision, work.say
    path = out_dir / work.name(target)
    base = work.folder / "logits" / path.name
    base.parent.mkdir(exist_ok=True)
    base.write_bytes(work.convert(target))
    details: dict[str, Any] = {}
    ratio: dict[str, Any] = {}
    with files.atomic_path(path) as temporary, files.unchanged(work.run.model, work.weights):
        if target.format == "tflite":
            work.check_graph(base, target)
        verification, record = work.verify(base, target)
        temporary.write_bytes(work.finished(target, base))
        if target.ends.put:
            record["ends"] = ends.hold(temporary, base, work.sample.images, work.threads)
        say(f"{path.name}: {temporary.stat().st_size / 1e6:.2f} MB; {verification.summary()}")
        if "against_float" in record:
            say(f"{path.name}: IoU {record['against_float']['iou']:+.4f} against the run's float weights")
        if precision != "fp32":
            details = _details(work, base, target, lambda line: say(f"{path.name}: {line}"))
            ratio = _ratio(work, temporary, path.name) if timed else {}
        if target.format == "onnx":
            details["accelerators"] = onnx_contents.accelerated(temporary)
    calibration = work.quantization.calibration
    calibrated = PRECISIONS[precision].calibrated and not work.trained_for(target)
    return artifact(
        run,
        path,
        precision,
        details=details,
        verification=record,
        calibration=calibration.to_json() if calibration and calibrated else {},
        speed=ratio,
    )


def description(run: Run, recipe: str, asked: Asked = quantize.FLOAT) -> Description:
    """What a run's file says of itself."""
    return Description(
        network=run.network,
        classes=run.classes,
        size=run.input_shape[:2],
        input=asked.input,
        output=asked.output,
        recipe=recipe,
        parent=files.sha256(run.model),
    )


def artifact(run: Run, path: Path, recipe: str, **measured: dict[str, Any]) -> Artifact:
    """What a sidecar says of a run's file; ``measured``: its details, verification, calibration and speed."""
    format_ = format_of(path)
    found = read_ends(path) if format_ != "coreml" else pixels_to_logits(len(run.classes))
    return Artifact(
        path=path,
        format=format_,
        sha256=files.sha256(path),
        network=run.network,
        network_options=run.network_options,
        input_shape=(1, *run.input_shape),
        input=found.input,
        output=found.output,
        classes=run.classes,
        recipe=recipe,
        parameters=run.parameters,
        parent=files.sha256(run.model),
        run=str(run.path),
        clients=where.of_verified(path),
        versions=provenance.versions(),
        created=provenance.now(),
        **measured,
    )


def _details(work: _Conversions, path: Path, target: Target, say: Callable[[str], None]) -> dict[str, Any]:
    """What became of the operators, for the sidecar; those that the precision did not reach are said."""
    found = tflite.contents(path) if target.format == "tflite" else onnx_contents.contents(path)
    asked = PRECISIONS[target.precision].weights
    for kind, count in found.weights.items():
        if kind != asked:
            say(f"weights in {kind}, not in {asked}: {_counted(count)}")
    floats = found.floats if PRECISIONS[target.precision].calibrated else {}
    if floats:
        say(f"computed in float: {_counted(floats)}")
    trained = work.trained_for(target)
    library = "ai-edge-quantizer" if target.format == "tflite" else "ONNX Runtime"
    return {
        "by": "quantization-aware training" if trained else library,
        "ranges": {} if trained else quantize.estimators(target.precision, work.quantization.ranges),
        "keep": [] if trained else list(work.quantization.keep),
        "weights": found.weights,
        "float": floats,
        # Tensors whose scales keep the values that they share.
        "shared": [] if trained else sorted(work.shared(target)),
    }


def _ratio(work: _Conversions, path: Path, name: str) -> dict[str, Any]:
    """Time of a file over the fp32 one's, for the sidecar; said, and loudly where it is slower."""
    found = speeds.against(path, work.float_file(path.suffix.removeprefix(".")))
    work.say(found.warning(name) if found.slower else f"{name}: {found.summary()}")
    return found.to_json()


def _counted(kinds: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in kinds.items())


def check_classes(data_dir: Path, run: Run) -> None:
    """Make sure that a data set has as many classes as a run was trained on.

    Raises:
        FootsegError: it has others.
    """
    classes = open_data(data_dir).classes
    if len(classes) != len(run.classes):
        raise FootsegError(
            f"{data_dir} has {len(classes)} classes, {run.path} was trained on "
            f"{len(run.classes)} ({', '.join(run.classes)}): pass --data with a data set of these"
        )
    if said := class_names.compared(run.path, run.classes, data_dir, classes):
        note(said)


def _calibration(
    run: Run, data_dir: Path, targets: Sequence[Target], count: int, seed: int, say: Callable[[str], None]
) -> quantize.Calibration | None:
    """Calibration images, if a file needs some; fewer than asked for are said to be so."""
    needing = [target for target in targets if PRECISIONS[target.precision].calibrated]
    if (run.path / QAT).is_dir():
        needing = [target for target in needing if not target.trained]
        if any(target.precision == "int8" for target in needing):
            say(
                "the .onnx in int8 is made of the float weights and calibrated: the ranges that training "
                "for int8 found (RUN/qat) are the .tflite's alone"
            )
    if count < 1:
        raise ValueError(f"calibration needs at least one image, not {count}: 64 is a good number")
    if not needing:
        return None
    found = quantize.calibration(data_dir, run.input_shape[:2], count, seed)
    if len(found.names) < count:
        say(
            f"calibrating on {len(found.names)} images, as {data_dir} has no more to train on: "
            f"{count} were asked for"
        )
    return found
