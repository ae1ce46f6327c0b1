"""Accuracy on real photographs: train, export, score once on the test split, as footseg commands.

    python -m benchmarks.experiments.accuracy --data DIR --run RUN --out benchmarks/results/accuracy.json

The recipe is footseg's default configuration; every choice in it was made on the validation split. A RUN that
is finished is not trained again.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from footseg import children, files, run

PRECISIONS = ("fp32", "fp16", "int8")


def footseg(*arguments: str | Path) -> Any:
    """Run a command; its --json document."""
    command = [*children.command("footseg"), *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def scores(model: Path, data: Path, split: str) -> dict[str, float]:
    """The figures that tables quote."""
    metrics = footseg("evaluate", model, "--data", data, "--split", split)["metrics"]
    return {name: metrics[name] for name in ("iou", "iou_per_image", "boundary_f", "pixel_accuracy")}


def main() -> None:
    """Train, export, score, write the JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set")
    parser.add_argument(
        "--run", type=Path, required=True, help="folder of the run, made where it is not there"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    footseg("train", "fast_linknet", "--data", args.data, "--out", args.run, "--resume")
    record = run.load(args.run)
    with tempfile.TemporaryDirectory() as folder:
        formats = ("--to", "tflite", "onnx", "--precision", *PRECISIONS)
        artifacts = footseg("export", args.run, "--out", folder, "--data", args.data, *formats)
        models = {"model.keras": record.model, **{Path(a["path"]).name: Path(a["path"]) for a in artifacts}}
        sizes = {name: path.stat().st_size for name, path in models.items()}
        test = {name: scores(path, args.data, "test") for name, path in models.items()}
    files.write_json(
        args.out,
        {
            "what": "FastLinkNet 256x256 from scratch, default recipe",
            "data": args.data.resolve().name,
            "data_fingerprint": record.data_fingerprint,
            "training_minutes": record.seconds / 60,
            "validation": {"keras": scores(record.model, args.data, "val")},
            "test": test,
            "bytes": sizes,
            "verification": {Path(a["path"]).name: a["verification"] for a in artifacts},
            "config": record.config.read_text().splitlines()[2:],
            "seed": record.seed,
            "machine": record.machine,
            "versions": record.versions,
            "created": record.created,
        },
    )


if __name__ == "__main__":
    main()
