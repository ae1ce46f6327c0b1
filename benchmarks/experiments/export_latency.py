"""Our exported files against Keras's own LiteRT export and ONNX Runtime: latency, interleaved.

    footseg export RUN --out DIR --to tflite onnx --precision fp32 fp16 int8
    python -m benchmarks.experiments.export_latency RUN DIR

Files are run in turns, one inference each, so that whatever else the machine does meets all of them alike;
the ratio of two files is the median of the ratios of neighbouring inferences. Measured, on one thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from footseg import artifact, files, provenance, runtime
from footseg import run as runs
from footseg.errors import FootsegError, require
from footseg.quiet import quiet

RESULTS = Path(__file__).resolve().parents[1] / "results" / "export_latency.json"

# The figures to meet: (numerator, denominator, limit).
LIMITS = (
    ("fp32", "keras_litert", 0.95),
    ("fp32", "onnxruntime", 1.15),
    ("int8", "fp32", 0.55),
)


def main() -> None:
    """Gather the files, run them in turns, write the JSON, print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("artifacts", type=Path, metavar="DIR", help="folder that it was exported to")
    parser.add_argument("--rounds", type=int, default=300, help="inferences of each file (300)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = exported(arguments.run, arguments.artifacts)
        paths["keras_litert"] = keras_litert(arguments.run, Path(folder))
        result = compare(paths, arguments.rounds)
    files.write_json(arguments.out, result)
    for line in result["ratios"]:
        verdict = "met" if line["met"] else "NOT MET"
        print(f"{line['of']} / {line['to']}: {line['median']:.3f} (limit {line['limit']}, {verdict})")  # noqa: T201


def exported(run: Path, folder: Path) -> dict[str, Path]:
    """Our files of ``run`` in ``folder`` by precision, and "onnxruntime".

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
        if item.parent == parent and (item.format != "onnx" or item.recipe == "fp32")
    }
    if missing := [name for name in ("fp32", "fp16", "int8", "onnxruntime") if name not in found]:
        raise FootsegError(
            f"{folder} holds no {', '.join(missing)} file of {run}: "
            f"footseg export {run} --out {folder} --to tflite onnx --precision fp32 fp16 int8"
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


def compare(paths: dict[str, Path], rounds: int, warm_up: int = 20) -> dict[str, Any]:
    """Time each file ``rounds`` times, in turns, every second round backwards."""
    run = {name: inference(path) for name, path in paths.items()}
    for _ in range(warm_up):
        for once in run.values():
            once()
    samples: dict[str, list[float]] = {name: [] for name in run}
    for number in range(rounds):
        for name in list(run) if number % 2 else reversed(run):
            started = time.perf_counter_ns()
            run[name]()
            samples[name].append((time.perf_counter_ns() - started) / 1e6)
    return {
        "what": "measured: latency of one inference, in-process, interleaved, milliseconds",
        "threads": 1,
        "created": provenance.now(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "files": {
            name: {
                "bytes": path.stat().st_size,
                "median_ms": statistics.median(samples[name]),
                "least_ms": min(samples[name]),
            }
            | ({"delegation": vars(runtime.delegation(path))} if path.suffix == ".tflite" else {})
            for name, path in paths.items()
        },
        "ratios": [ratio(samples, of, to, limit) for of, to, limit in LIMITS],
        "samples_ms": {name: [round(value, 4) for value in values] for name, values in samples.items()},
    }


def ratio(samples: dict[str, list[float]], of: str, to: str, limit: float) -> dict[str, Any]:
    """The median ratio of neighbouring inferences of two files, and whether it is within its limit."""
    median = statistics.median(a / b for a, b in zip(samples[of], samples[to], strict=True))
    return {"of": of, "to": to, "median": median, "limit": limit, "met": median <= limit}


def inference(path: Path) -> Callable[[], Any]:
    """One inference of a file on a random image: its input set and its output fetched, nothing else."""
    model = runtime.load(path)
    image = np.random.default_rng(0).random((1, *model.size, 3), dtype=np.float32)
    if isinstance(model, runtime.OnnxSegmenter):
        session, name = model.session, model.input
        return lambda: session.run(None, {name: image})
    assert isinstance(model, runtime.TfliteSegmenter)
    interpreter, given, taken = model.interpreter, model.input["index"], model.output["index"]

    def once() -> Any:
        interpreter.set_tensor(given, image)
        interpreter.invoke()
        return interpreter.get_tensor(taken)

    return once


if __name__ == "__main__":
    main()
