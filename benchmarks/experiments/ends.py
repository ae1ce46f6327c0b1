"""What each end of a file costs: the file alone, and from camera pixels to a mask of bytes.

    footseg export RUN --out DIR --precision int8 fp32 fp16
    python -m benchmarks.experiments.ends DIR/*_int8.tflite DIR/*_fp32.tflite DIR/*_fp16.tflite

Each file that takes float32 and gives logits gets all other ends, and is the one that they are held against.
"file" is the time of an inference over that file's. "app" is the time from pixels, uint8 (1, H, W, 3), to a
mask, uint8 (H, W), over that of the same file, whatever its ends leave over done by numpy: scaling before it,
and argmax behind it. "logits compared" is that file, too, with two channels compared in place of argmax,
which numpy does in a twentieth of the time. All by processor time on one thread, in turns, the intervals over
fresh starts (``footseg.comparison``). "instructions" are those of an emulated Cortex-A76.
"""

import argparse
import dataclasses
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from footseg import artifact, children, comparison, files, provenance, runtime
from footseg.benchmarks import arm, host
from footseg.export.ends import Asked, with_ends
from footseg.graphs.ends import OUTPUTS

RESULTS = Path(__file__).resolve().parents[1] / "results" / "ends.json"
STARTS, ROUNDS, TURN = 10, 12, 6
# Limits of the int8 files: of pixels in, and of pixels in and masks out.
FILE, APP = 1.02, 0.8
COMPARED = "float32 logits compared"


def main() -> None:
    """Measure each file with all ends, write the JSON after each, print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="float32 in, logits out")
    parser.add_argument("--only-time", type=int, metavar="SEED", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each comparison of a file (10)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.only_time is not None:
        print(json.dumps(apps(arguments.files, arguments.only_time)))  # noqa: T201
        return
    measured: dict[str, Any] = {}
    for path in arguments.files:
        measured[artifact.load(path).name] = rows = measure(path, arguments.seconds)
        record = {
            "what": "measured on one thread, processor time; instructions emulated (Cortex-A76)",
            "created": provenance.now(),
            "machine": provenance.machine(),
            "versions": provenance.versions(),
            "files": measured,
            "figures": figures(measured),
        }
        files.write_json(arguments.out, record)
        for name, row in rows.items():
            shown = ", ".join(f"{key} {value:.3f}" for key, value in ratios(row).items())
            print(f"{path.name} {name}: {shown}", flush=True)  # noqa: T201


def measure(path: Path, seconds: float) -> dict[str, dict[str, Any]]:
    """A row for each pair of ends of a file, the file's own first."""
    with tempfile.TemporaryDirectory() as folder:
        made = {name: Path(folder) / f"{name.replace(' ', '_')}.tflite" for name in ends()}
        for asked, out in zip(ends().values(), made.values(), strict=True):
            out.write_bytes(with_ends(path.read_bytes(), asked))
        paths = list(made.values())
        alone = host.compare(paths, seconds=seconds)
        whole = end_to_end(paths)
        counted = [line.instructions for line in arm.measure_all(paths, images=1, inferences=1)]
        rows: dict[str, dict[str, Any]] = {}
        for name, out, file, app, count in zip(made, paths, alone, whole, counted, strict=False):
            found = runtime.delegation(out)
            rows[name] = {
                "file": {key: getattr(file, key) for key in ("ratio", "low", "high", "confidence")},
                "app": app,
                "instructions": count.total if count else None,
                "operators": found.operators,
                "delegated": found.delegated,
                "outside": dict(found.outside),
            }
        rows[COMPARED] = {"app": whole[-1]}
        return rows


def ends() -> dict[str, Asked]:
    """All pairs of ends by name, "float32 logits" first."""
    return {f"{given} {output}": Asked(given, output) for given in ("float32", "uint8") for output in OUTPUTS}


def end_to_end(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The interval of each app's time over the first one's; the last is the first with channels compared."""
    command = [*children.command("footseg.benchmarks.experiments.ends"), *map(str, paths), "--only-time"]
    starts = []
    for number in range(STARTS):
        done = subprocess.run(
            [*command, str(number)], capture_output=True, text=True, check=True, env=children.environment()
        )
        starts.append(json.loads(done.stdout))
    return [
        dataclasses.asdict(comparison.interval([start["ratios"][i] for start in starts]))
        | {"ms": min(start["ms"][i] for start in starts)}
        for i in range(len(paths) + 1)
    ]


def apps(paths: Sequence[Path], seed: int) -> dict[str, Any]:
    """In this process: of each app the ratios to the first in all rounds, and its least milliseconds."""
    run = [app(path) for path in paths] + [app(paths[0], compared=True)]
    order = list(range(len(run)))
    random.Random(seed).shuffle(order)
    ratios: list[list[float]] = [[] for _ in run]
    least = [float("inf")] * len(run)
    for _ in range(ROUNDS + 1):
        there, back = ({i: turn(run[i]) for i in way} for way in (order, order[::-1]))
        for i in order:
            least[i] = min(least[i], there[i], back[i])
            own, first = (there[i], back[i]), (there[0], back[0])
            ratios[i].append(comparison.round_ratio(own, first))
    return {"ratios": [rounds[1:] for rounds in ratios], "ms": least}  # the first round is warm-up


def turn(once: Callable[[], Any]) -> float:
    """Milliseconds of processor time, the least of a turn."""
    found = []
    for _ in range(TURN):
        started = time.process_time_ns()
        once()
        found.append((time.process_time_ns() - started) / 1e6)
    return min(found)


def app(path: Path, *, compared: bool = False) -> Callable[[], np.ndarray]:
    """From a camera's pixels to a mask of bytes: a file, and numpy where it leaves something over."""
    model = runtime.TfliteSegmenter(path, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *model.size, 3), np.uint8)
    interpreter, given, taken = model.interpreter, model.input, model.output["index"]
    output = model.ends.output.name

    def once() -> np.ndarray:
        image = pixels if given["dtype"] == np.uint8 else runtime.to_float(pixels)
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
        values = interpreter.get_tensor(taken)[0]
        if output == "mask":
            return values[..., 0].astype(np.uint8)
        if output == "foreground":
            return (values[..., 0] > 0.5).view(np.uint8)
        if compared:
            return (values[..., 1] > values[..., 0]).view(np.uint8)
        return values.argmax(axis=-1).astype(np.uint8)

    return once


def ratios(row: Mapping[str, Any]) -> dict[str, float]:
    """What is printed of a row."""
    return {key: row[key]["ratio"] for key in ("file", "app") if key in row}


def figures(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The figures that are asked of int8 files, each with its limit and whether it is met."""
    found = []
    for name, rows in measured.items():
        if not name.endswith("_int8.tflite"):
            continue
        own, pixels, masks = (rows[f"{ends_}"] for ends_ in ("float32 logits", "uint8 logits", "uint8 mask"))
        for what, value, limit in (
            ("time with pixels in", pixels["file"]["ratio"], FILE),
            ("instructions with pixels in", pixels["instructions"] / own["instructions"], FILE),
            ("operators outside XNNPACK with pixels in", sum(pixels["outside"].values()), 0),
            ("app with pixels in and masks out", masks["app"]["ratio"], APP),
        ):
            found.append({"file": name, "what": what, "value": value, "limit": limit, "met": value <= limit})
    return found


if __name__ == "__main__":
    main()
