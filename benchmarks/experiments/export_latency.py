"""Our fp32 .tflite against Keras's own LiteRT export and ONNX Runtime: latency, as footseg bench compares.

    footseg export RUN --out DIR --to tflite onnx --precision fp32
    python -m benchmarks.experiments.export_latency RUN DIR

The one place of these ratios; those of precisions are compression.py's. Each is over the time of our fp32
.tflite, the files run in turns in fresh processes, of processor time: beside other work intervals widen and
ratios stay (at a load of ten on two cores to within a hundredth). One thread.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from footseg import artifact, files, provenance, runtime
from footseg import run as runs
from footseg.benchmarks import host
from footseg.benchmarks.measurement import Relative
from footseg.errors import FootsegError, require
from footseg.quiet import quiet

RESULTS = Path(__file__).resolve().parents[1] / "results" / "export_latency.json"
FP32 = "fp32"
# What is compared with the fp32 .tflite, and the least ratio of each.
LEAST = {"keras_litert": 1 / 0.95, "onnxruntime": 1 / 1.15}


def main() -> None:
    """Gather the files, run them in turns, write the JSON, print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("artifacts", type=Path, metavar="DIR", help="folder that it was exported to")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = exported(arguments.run, arguments.artifacts)
        paths["keras_litert"] = keras_litert(arguments.run, Path(folder))
        result = compare(paths)
    files.write_json(arguments.out, result)
    for name, line in result["files"].items():
        met = {True: "met", False: "NOT MET", None: "what the others are held against"}[line["met"]]
        print(f"{name}: {line['ratio']:.3f} [{line['low']:.3f}, {line['high']:.3f}] ({met})")  # noqa: T201


def exported(run: Path, folder: Path) -> dict[str, Path]:
    """Our fp32 files of ``run`` in ``folder``: the .tflite, and "onnxruntime".

    Raises:
        FootsegError: one is missing.
    """
    parent = files.sha256(runs.load_trained(run).model)
    artifacts = [
        artifact.load(p) for p in sorted(folder.iterdir()) if p.suffix.removeprefix(".") in artifact.FORMATS
    ]
    found = {
        "onnxruntime" if item.format == "onnx" else item.recipe: item.path
        for item in artifacts
        if item.parent == parent and item.recipe == FP32
    }
    if missing := [name for name in (FP32, "onnxruntime") if name not in found]:
        raise FootsegError(
            f"{folder} holds no {', '.join(missing)} file of {run}: "
            f"footseg export {run} --out {folder} --to tflite onnx --precision fp32"
        )
    return found


def keras_litert(run: Path, folder: Path) -> Path:
    """What ``model.export(format="litert")`` makes of the same weights."""
    path = folder / "keras_litert.tflite"
    with quiet():
        keras = require("keras", "train")
        model = keras.saving.load_model(runs.load_trained(run).model, compile=False)
        model.export(str(path), format="litert", verbose=False)
    return path


def compare(paths: dict[str, Path], seconds: float = host.SECONDS) -> dict[str, Any]:
    """The ratios of all files to the fp32 .tflite, with their intervals."""
    names = [FP32, *LEAST]
    found = host.compare([paths[name] for name in names], seconds=seconds)
    return {
        "what": "measured: latency over that of the fp32 .tflite, in turns, fresh processes, processor time",
        "threads": 1,
        "created": provenance.now(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "files": {
            name: line(name, paths[name], relative) for name, relative in zip(names, found, strict=True)
        },
    }


def line(name: str, path: Path, found: Relative) -> dict[str, Any]:
    """What was found of one file, and whether its ratio is what it should be."""
    least = LEAST.get(name)
    return {
        "bytes": path.stat().st_size,
        "ratio": found.ratio,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence,
        "starts": found.starts,
        "ratios": [round(ratio, 5) for ratio in found.ratios],
        "least": least,
        "met": None if least is None else found.ratio >= least,
    } | ({"delegation": vars(runtime.delegation(path))} if path.suffix == ".tflite" else {})


if __name__ == "__main__":
    main()
