"""What each ingredient of the training recipe gives: the same network and budget, one ingredient more a row.

    python -m benchmarks.ablation --data DIR --composites DIR --teacher RUN --runs DIR --out FILE.json

Each row of RECIPES keeps what the rows above it added. Every run is a ``footseg train`` of its own, is taken
up where it was stopped, and is scored on the validation split alone: the mean over the last quarter of its
epochs' validation IoU, because the best of many epochs rewards luck.
"""

import argparse
import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy import footseg
from footseg import files, run


@dataclass(frozen=True)
class Recipe:
    """One row: what it is called, and the options that it changes."""

    name: str
    options: dict[str, Any]


def recipes(composites: Path, teacher: Path) -> tuple[Recipe, ...]:
    """The rows, from the thesis's training to all that helped."""
    return (
        Recipe(
            "thesis: Adam, cross-entropy, its augmentation",
            {
                "loss": ["ce"],
                "learning_rate": 1e-3,
                "warmup": 0,
                "weight_decay": 0,
                "ema": 0,
                "affine": 1 / 3,
                "zoom_out": 0,
                "colour": 0,
                "hue": 0,
            },
        ),
        Recipe("+ IoU loss", {"loss": ["ce", "iou"]}),
        Recipe("+ AdamW at 4e-3, warm-up", {"learning_rate": 4e-3, "warmup": 0.05, "weight_decay": 0.15}),
        Recipe("+ average of the weights (EMA)", {"ema": 0.99}),
        Recipe(
            "+ colour, smaller and larger feet", {"affine": 0.25, "zoom_out": 0.15, "colour": 0.4, "hue": 0.02}
        ),
        Recipe("+ copy-paste", {"paste": 0.5}),
        Recipe("+ composited images", {"extra_data": [str(composites)], "extra_share": 0.3}),
        Recipe(
            "+ teacher",
            {"loss": ["ce", "iou", "distill:2"], "teacher": str(teacher), "temperature": 2},
        ),
    )


def arguments(options: dict[str, Any]) -> list[str]:
    """Options as flags of ``footseg train``."""
    flags = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        flags += ["--" + name.replace("_", "-"), *map(str, values)]
    return flags


def late_iou(history: Path) -> float:
    """Mean validation IoU of the last quarter of the epochs."""
    with history.open(newline="") as file:
        scores = [float(row["val_iou"]) for row in csv.DictReader(file)]
    return statistics.mean(scores[-max(1, len(scores) // 4) :])


def spread(scores: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation, with the scores themselves."""
    deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
    return {"mean": statistics.mean(scores), "deviation": deviation, "scores": list(scores)}


def main() -> None:
    """Train what is not trained yet, then write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--composites", type=Path, required=True, help="folder made by footseg data synth")
    parser.add_argument("--teacher", type=Path, required=True, help="run that teaches")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--epochs", type=int, default=20, help="of each run (default 20)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    args = parser.parse_args()
    options: dict[str, Any] = {"epochs": args.epochs}
    rows: list[dict[str, Any]] = []
    for number, recipe in enumerate(recipes(args.composites, args.teacher)):
        options |= recipe.options
        scores = []
        for seed in args.seeds:
            out = args.runs / f"{number}_seed{seed}"
            command = ("train", "fast_linknet", "--data", args.data, "--out", out, "--resume")
            footseg(*command, *arguments(options | {"seed": seed}))
            record = run.load(out)
            scores.append(late_iou(record.history))
        rows.append({"recipe": recipe.name, "val_iou": spread(scores), "seconds": record.seconds})
        files.write_json(
            args.out,
            {
                "what": f"FastLinkNet 256x256, {args.epochs} epochs of {args.data.name}, one ingredient more a row",
                "score": "validation IoU, mean of the last quarter of the epochs",
                "seeds": args.seeds,
                "rows": rows,
                "data_fingerprint": record.data_fingerprint,
                "machine": record.machine,
                "versions": record.versions,
            },
        )


if __name__ == "__main__":
    main()
