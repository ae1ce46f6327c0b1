"""TipToe against FastLinkNet in int8: IoU on photographs and on composites, Arm instructions and bytes.

    python -m benchmarks.experiments.tiptoe --data DIR --composites DIR --runs DIR [--out FILE.json]

Every run is a ``footseg train`` of its own, is taken up where it was stopped, and gives the int8 file of
``footseg export``. On the composites, with so few epochs, both networks have two recipes, and the one that is
better on the validation split counts. TipToe's layers were chosen on the validation splits, too; the test
splits are scored here alone. ``--only tiptoe1`` trains what has this in its folder's name and ends, for as
many processes as there are cores.

Of the committed results, the composites are ``footseg data synth --count 3000 --seed 0`` of the training
photographs and floors, whose parts share no photograph.
"""

import argparse
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import files, run
from footseg.benchmarks.experiments.ablation import spread
from footseg.benchmarks.experiments.accuracy import footseg, scores
from footseg.benchmarks.results_file import read_all

RESULTS = Path(__file__).resolve().parents[1] / "results" / "tiptoe.json"
OWN, OTHER = "tiptoe", "fast_linknet"
SEEDS, SPLITS, CORES = (0, 1, 2), ("val", "test"), ("a53", "a72", "a76")
# What was promised of TipToe, as shares of FastLinkNet's.
INSTRUCTIONS, BYTES = 1 / 2, 1 / 8
# By set of images: the recipes, as options of footseg train.
RECIPES: dict[str, dict[str, tuple[str, ...]]] = {
    "photographs": {"default": ()},
    "composites": {
        "20 epochs": ("--epochs", "20"),
        "20 epochs of batch 8": ("--epochs", "20", "--batch", "8", "--learning-rate", "3e-3"),
    },
}


@dataclass(frozen=True)
class TrainedNetwork:
    """A network trained on one set by one recipe, with all seeds."""

    kind: str
    data: Path
    network: str
    recipe: str
    runs: Path

    @property
    def outs(self) -> list[Path]:
        """The folders of its runs."""
        place = self.runs / self.kind / self.recipe.replace(" ", "_")
        return [place / f"{self.network}{seed}" for seed in SEEDS]


def main() -> None:
    """Train what is not trained yet, then export, score, count and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the photographs")
    parser.add_argument("--composites", type=Path, required=True, help="folder made by footseg data synth")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--only", help="train runs whose folder has this in its name, and write no table")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    sets = {"photographs": args.data, "composites": args.composites}
    rows = [
        TrainedNetwork(kind, data, network, recipe, args.runs)
        for kind, data in sets.items()
        for recipe in RECIPES[kind]
        for network in (OWN, OTHER)
    ]
    for row in rows:
        for seed, out in zip(SEEDS, row.outs, strict=True):
            if args.only is None or args.only in str(out.relative_to(args.runs)):
                options = ("--seed", str(seed), *RECIPES[row.kind][row.recipe])
                footseg("train", row.network, "--data", row.data, "--out", out, "--resume", *options)
    if args.only is not None:
        return
    scores_ = [scored(row) for row in rows]
    costs = counted(rows)
    first = run.load(rows[0].outs[0])
    record = {
        "what": f"{OWN} against {OTHER}, 256x256, int8 files of {len(SEEDS)} seeds each",
        "goals": [*accuracy_goals(scores_), *cost_goals(costs)],
        "scores": scores_,
        "costs": costs,
        "recipes": RECIPES,
        "data": {kind: [data.resolve().name, files.fingerprint(data)] for kind, data in sets.items()},
        "machine": first.machine,
        "versions": first.versions,
    }
    files.write_json(args.out, record)


def int8_file(out: Path) -> Path:
    """The exported file of the run in ``out``."""
    return next(iter(sorted((out / "int8").glob("*.tflite"))))


def scored(row: TrainedNetwork) -> dict[str, Any]:
    """Scores of the int8 files of all seeds, by split, and the validation IoU that training ended with."""
    for out in row.outs:
        footseg("export", out, "--out", out / "int8", "--data", row.data, "--precision", "int8")
    found: dict[str, Any] = {"images": row.kind, "network": row.network, "recipe": row.recipe}
    found["keras_val_iou"] = spread([run.load(out).score("val_iou") for out in row.outs])
    for split in SPLITS:
        each = [scores(int8_file(out), row.data, split) for out in row.outs]
        found[split] = {name: spread([one[name] for one in each]) for name in each[0]}
    return found


def counted(rows: Iterable[TrainedNetwork]) -> dict[str, dict[str, float]]:
    """Bytes of the int8 file and instructions of one inference of it on each core, by network."""
    of = {row.network: int8_file(row.outs[0]) for row in rows}
    with tempfile.TemporaryDirectory() as temporary:
        lines = Path(temporary) / "lines.jsonl"
        footseg("bench", *of.values(), "--on", f"arm:{','.join(CORES)}", "--out", lines)
        measured = read_all(lines)
    costs: dict[str, dict[str, float]] = {name: {"bytes": file.stat().st_size} for name, file in of.items()}
    for line in measured:
        assert line.instructions is not None
        costs[line.artifact.network][f"instructions on {line.instructions.core}"] = line.instructions.total
    return costs


def accuracy_goals(scores_: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Both networks' mean IoU, each by its recipe that is better on validation: ours at least as good?

    Of these seeds and images, as measured; scores have the seeds' deviation.
    """
    goals = []
    for kind in RECIPES:
        best = {
            network: max(
                (row for row in scores_ if (row["images"], row["network"]) == (kind, network)),
                key=lambda row: row["val"]["iou"]["mean"],
            )
            for network in (OWN, OTHER)
        }
        for split in SPLITS:
            own, other = (best[network][split]["iou"]["mean"] for network in (OWN, OTHER))
            goals.append(_goal(f"mean {split} IoU on {kind}", own, other, met=own >= other))
    return goals


def cost_goals(costs: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Both networks' costs: ours within its share?"""
    goals = []
    for name, own in costs[OWN].items():
        share, other = (BYTES if name == "bytes" else INSTRUCTIONS), costs[OTHER][name]
        goals.append(_goal(name, own, other, met=own <= share * other))
    return goals


def _goal(text: str, own: float, other: float, *, met: bool) -> dict[str, Any]:
    return {"goal": text, OWN: own, OTHER: other, "ratio": round(own / other, 4), "met": met}


if __name__ == "__main__":
    main()
