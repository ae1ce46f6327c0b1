"""What each ingredient of the training recipe gives: the same network and budget, several seeds a row.

    python -m benchmarks.experiments.ablation --data DIR --composites DIR --teacher RUN --runs DIR \
        --out FILE.json

Every run is a ``footseg train`` of its own, is taken up where it was stopped, and is scored on the validation
split alone: the mean over the last quarter of its epochs' validation IoU, because the best of many epochs
rewards luck. ``--workers 2`` trains two at a time, each on its share of the cores.

Of the committed results, the composites are ``footseg data synth`` with ``--train 3000 --val 0 --test 0
--seed 1`` of the training photographs and floors; the teacher is ``footseg train efficientnet_lite
--network-options encoder_weights=imagenet --epochs 14 --learning-rate 1.2e-3 --weight-decay 0.05 --ema 0.99
--paste 0.3``.
"""

import argparse
import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import files, run
from footseg.benchmarks.experiments.accuracy import footseg

# Options that say where something lies, of no meaning on another machine.
FOLDERS = ("teacher", "extra_data")


@dataclass(frozen=True)
class Recipe:
    """One row: what it is called, which row it starts from (the first: none), the options it changes."""

    name: str
    base: str
    options: dict[str, Any]


def recipes(composites: Path, teacher: Path) -> tuple[Recipe, ...]:
    """From the thesis's training to footseg's defaults, step by step; then what can be added to those."""
    taught = {"teacher": str(teacher), "temperature": 2}
    defaults = "+ footseg's augmentation"
    return (
        Recipe(
            "thesis: Adam, cross-entropy, its augmentation",
            "",
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
        Recipe("+ IoU loss", "thesis: Adam, cross-entropy, its augmentation", {"loss": ["ce", "iou"]}),
        Recipe(
            "+ AdamW at 4e-3, warm-up, EMA",
            "+ IoU loss",
            {"learning_rate": 4e-3, "warmup": 0.05, "weight_decay": 0.15, "ema": 0.99},
        ),
        Recipe(
            defaults,
            "+ AdamW at 4e-3, warm-up, EMA",
            {"affine": 0.25, "zoom_out": 0.15, "colour": 0.4, "hue": 0.02},
        ),
        Recipe("defaults + copy-paste", defaults, {"paste": 0.5}),
        Recipe(
            "defaults + composited images", defaults, {"extra_data": [str(composites)], "extra_share": 0.3}
        ),
        Recipe("defaults + teacher: distill", defaults, {**taught, "loss": ["ce", "iou", "distill:2"]}),
        Recipe(
            "defaults + teacher: distill, hint, attention",
            defaults,
            {**taught, "loss": ["ce", "iou", "distill:2", "attention:2", "hint:1"], "hint_until": 1},
        ),
    )


def resolved(recipe: Recipe, rows: Sequence[Recipe]) -> dict[str, Any]:
    """The options of a recipe with those of the rows it stands on."""
    by_name = {row.name: row for row in rows}
    below = resolved(by_name[recipe.base], rows) if recipe.base else {}
    return below | recipe.options


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as flags of ``footseg train``."""
    flags = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        flags += ["--" + name.replace("_", "-"), *map(str, values)]
    return flags


def late_iou(history: Path) -> float:
    """Mean validation IoU of the last quarter of the epochs."""
    scores = run.read_history(history, "val_iou")["val_iou"]
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
    parser.add_argument("--epochs", type=int, default=16, help="of each run (default 16)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--rows", type=int, nargs="+", help="numbers of the recipes, from 0 (default: all)")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time (default 1)")
    args = parser.parse_args()
    threads = str(max(1, (os.cpu_count() or 1) // args.workers))
    os.environ |= {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    rows = recipes(args.composites, args.teacher)

    def train(job: tuple[int, int]) -> None:
        seed, number = job
        options = resolved(rows[number], rows) | {"epochs": args.epochs, "seed": seed}
        out = args.runs / f"{number}_seed{seed}"
        footseg("train", "fast_linknet", "--data", args.data, "--out", out, "--resume", *arguments(options))

    numbers = args.rows or range(len(rows))
    with ThreadPoolExecutor(args.workers) as pool:
        list(pool.map(train, [(seed, number) for number in numbers for seed in args.seeds]))
    taken = {n: [run.load(args.runs / f"{n}_seed{seed}") for seed in args.seeds] for n in numbers}
    first = next(iter(taken.values()))[0]
    files.write_json(
        args.out,
        {
            "what": f"FastLinkNet 256x256 from scratch, {args.epochs} epochs of {args.data.name}",
            "score": "validation IoU over all pixels, mean of the last quarter of the epochs",
            "seeds": args.seeds,
            "teacher": {"network": run.load(args.teacher).network, "best": run.load(args.teacher).best},
            "rows": [
                {
                    "recipe": rows[number].name,
                    "options": {k: v for k, v in rows[number].options.items() if k not in FOLDERS},
                    "val_iou": spread([late_iou(record.history) for record in records]),
                    "best_val_iou": spread([record.score("val_iou") for record in records]),
                }
                for number, records in taken.items()
            ],
            "data_fingerprint": first.data_fingerprint,
            "machine": first.machine,
            "versions": first.versions,
        },
    )


if __name__ == "__main__":
    main()
