"""``footseg export``: every file asked for, each verified before it gets its name."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export import freeze, onnx, quantize, tflite, verify
from footseg import files, provenance, runtime
from footseg import run as runs
from footseg.artifact import Artifact
from footseg.data.folder import open_data
from footseg.errors import FootsegError, did_you_mean

FORMATS = ("tflite", "onnx")
PRECISIONS = tuple(quantize.PRECISIONS)


@dataclass(frozen=True)
class _Target:
    """One file to make."""

    format: str
    precision: str


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
    say: Callable[[str], None] = lambda line: None,
) -> list[Artifact]:
    """Export a trained run as ``<network>_<H>x<W>_<precision>.tflite`` and ``.onnx``, with sidecars.

    Each file is held against the Keras network on up to 32 validation images of ``data_dir`` (where None: of
    the data set that the run was trained on) and gets its name only if it passes; a file of that name from
    before stays otherwise. ONNX is written in fp32 only. ``calibration_count`` training images, drawn by
    ``seed``, calibrate int8; ``io`` ("float32" or "int8") is the type of its input and output. ``say`` gets a
    line for each step.

    Raises:
        ValueError: an unknown format, precision or io, or no calibration image.
        FootsegError: not a finished run, no data, ONNX asked for without fp32, a conversion that failed or a
            file out of tolerance, a full disk.
        MissingExtraError: a package that the conversion needs is not installed.
    """
    targets = _targets(formats, precisions, say)
    for target in targets:
        if target.precision in quantize.INTEGER_ENDS:
            quantize.check_options(target.precision, io)
    run = runs.load_trained(run_dir)
    data_dir = Path(run.data) if data_dir is None else data_dir
    size = run.input_shape[:2]
    sample = verify.sample(data_dir, size)
    if len(open_data(data_dir).classes) != len(run.classes):
        raise FootsegError(
            f"{data_dir} has {len(open_data(data_dir).classes)} classes, {run_dir} was trained on "
            f"{len(run.classes)} ({', '.join(run.classes)}): pass --data with a data set of these"
        )
    calibration = None
    if any(target.precision in quantize.CALIBRATED for target in targets):
        calibration = quantize.calibration(data_dir, size, calibration_count, seed)

    say(f"{run.network}: verifying on {len(sample.names)} images of {sample.split}")
    expected = runtime.load(run.model, threads).logits(sample.images)
    network = freeze.load_network(run.model)
    positions = freeze.remembers_positions(network)
    origin: dict[str, Any] = {
        "network": run.network,
        "network_options": run.network_options,
        "input_shape": (1, *run.input_shape),
        "classes": run.classes,
        "parameters": run.parameters,
        "parent": files.sha256(run.model),
        "run": str(run_dir),
        "versions": provenance.versions(),
    }
    made = []
    with tempfile.TemporaryDirectory() as folder:
        work = _Work(network, Path(folder), calibration, io, threads)
        for target in targets:
            name = f"{run.network}_{size[0]}x{size[1]}_{target.precision}.{target.format}"
            with files.atomic_path(out_dir / name) as temporary:
                temporary.write_bytes(work.convert(target))
                if target.format == "tflite":
                    tflite.check_graph(temporary)
                verification = verify.verify(
                    expected, temporary, sample, target.precision, threads, positions
                )
            done = Artifact(
                path=out_dir / name,
                format=target.format,
                sha256=files.sha256(out_dir / name),
                recipe=target.precision,
                verification=verification.to_json(),
                calibration=calibration.to_json() | {"io": io}
                if calibration and target.precision in quantize.CALIBRATED
                else {},
                created=provenance.now(),
                **origin,
            )
            done.save_sidecar()
            made.append(done)
            say(f"{name}: {done.path.stat().st_size / 1e6:.2f} MB; {verification.summary()}")
    return made


@dataclass(frozen=True)
class _Work:
    """Conversions of one network, which share the SavedModel and the fp32 file in ``folder``."""

    network: Any
    folder: Path
    calibration: quantize.Calibration | None
    io: str
    threads: int

    def convert(self, target: _Target) -> bytes:
        """The bytes of the file asked for."""
        if target.format == "onnx":
            return onnx.convert(self.network)
        return quantize.quantize(
            self._float_file(),
            target.precision,
            self.calibration.images if self.calibration else None,
            io=self.io if target.precision in quantize.INTEGER_ENDS else "float32",
            threads=self.threads,
        )

    def _saved_model(self) -> Path:
        folder = self.folder / "saved_model"
        return folder if folder.is_dir() else freeze.freeze(self.network, folder)

    def _float_file(self) -> Path:
        path = self.folder / "fp32.tflite"
        if not path.is_file():
            path.write_bytes(tflite.convert(self._saved_model()))
        return path


def _targets(formats: Sequence[str], precisions: Sequence[str], say: Callable[[str], None]) -> list[_Target]:
    """The files to make, without doubles, in the order of FORMATS and PRECISIONS."""
    for kind, asked, known in (("format", formats, FORMATS), ("precision", precisions, PRECISIONS)):
        if not asked:
            raise ValueError(f"no {kind} given: expected some of {', '.join(known)}")
        for name in asked:
            if name not in known:
                raise ValueError(f"unknown {kind} {name!r}: {did_you_mean(name, known)}")
    targets = [_Target("tflite", p) for p in PRECISIONS if "tflite" in formats and p in precisions]
    if "onnx" in formats:
        if "fp32" in precisions:
            targets.append(_Target("onnx", "fp32"))
        elif not targets:
            raise FootsegError(
                f"ONNX files are written in fp32 only, not in {' or '.join(precisions)}: "
                "add --precision fp32 or --to tflite"
            )
        if unmade := [p for p in PRECISIONS if p in precisions and p != "fp32"]:
            say(f"ONNX is written in fp32 only: no .onnx in {' or '.join(unmade)}")
    return targets
