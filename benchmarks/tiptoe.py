"""TipToe against FastLinkNet in int8: IoU on photographs and on composites, Arm instructions and bytes.

    python -m benchmarks.tiptoe --data DIR --composites DIR --runs DIR [--out FILE.json]

Every run is a ``footseg train`` of its own with the default recipe (``--epochs 20`` on the composites), is
taken up where it was stopped, and gives the int8 file of ``footseg export``. TipToe's layers were chosen on
the validation splits; the test splits are scored here alone. ``--seeds 1`` trains that seed and ends, for as
many processes as there are cores.

Of the committed results, the composites are ``footseg data synth --count 3000 --seed 0`` of the training
photographs and floors, whose parts share no photograph.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ablation import spread
from benchmarks.accuracy import footseg, scores
from benchmarks.results_file import read_all
from footseg import files, run

RESULTS = Path(__file__).parent / "results" / "tiptoe.json"
OWN, OTHER = "tiptoe", "fast_linknet"
SEEDS, SPLITS, CORES = (0, 1, 2), ("val", "test"), ("a53", "a72", "a76")
# What was promised of TipToe, as shares of FastLinkNet's.
INSTRUCTIONS, BYTES = 1 / 2, 1 / 8


def main() -> None:
    """Train what is not trained yet, then export, score, count and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the photographs")
    parser.add_argument("--composites", type=Path, required=True, help="folder made by footseg data synth")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", help="train these only, and write no table")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    sets = {"photographs": (args.data, ()), "composites": (args.composites, ("--epochs", "20"))}
    for seed in args.seeds or SEEDS:
        for kind, (data, options) in sets.items():
            for network in (OWN, OTHER):
                out = folder(args.runs, kind, network, seed)
                words = ("--data", data, "--out", out, "--resume", "--seed", str(seed), *options)
                footseg("train", network, *words)
    if args.seeds:
        return
    found = {
        kind: {network: scored(args.runs, kind, network, data) for network in (OWN, OTHER)}
        for kind, (data, _) in sets.items()
    }
    first = run.load(folder(args.runs, "photographs", OWN, SEEDS[0]))
    record = {
        "what": f"{OWN} against {OTHER}, 256x256, int8 files of {len(SEEDS)} seeds each",
        "goals": goals(found, counted(args.runs)),
        "scores": found,
        "data": {kind: [data.resolve().name, files.fingerprint(data)] for kind, (data, _) in sets.items()},
        "machine": first.machine,
        "versions": first.versions,
    }
    files.write_json(args.out, record)


def folder(runs: Path, kind: str, network: str, seed: int) -> Path:
    """Where a run lies."""
    return runs / kind / f"{network}{seed}"


def int8_file(out: Path) -> Path:
    """The exported file of the run in ``out``."""
    return next(iter(sorted((out / "int8").glob("*.tflite"))))


def scored(runs: Path, kind: str, network: str, data: Path) -> dict[str, Any]:
    """Scores of the int8 files of all seeds, by split, and the validation IoU that training ended with."""
    outs = [folder(runs, kind, network, seed) for seed in SEEDS]
    for out in outs:
        footseg("export", out, "--out", out / "int8", "--data", data, "--precision", "int8")
    rows: dict[str, Any] = {"keras_val_iou": spread([run.load(out).best["val_iou"] for out in outs])}
    for split in SPLITS:
        each = [scores(int8_file(out), data, split) for out in outs]
        rows[split] = {name: spread([one[name] for one in each]) for name in each[0]}
    return rows


def counted(runs: Path) -> dict[str, dict[str, float]]:
    """Bytes of the int8 file and instructions of one inference of it on each core, by network."""
    of = {network: int8_file(folder(runs, "photographs", network, SEEDS[0])) for network in (OWN, OTHER)}
    with tempfile.TemporaryDirectory() as temporary:
        lines = Path(temporary) / "lines.jsonl"
        footseg("bench", *of.values(), "--on", f"arm:{','.join(CORES)}", "--out", lines)
        measured = read_all(lines)
    costs: dict[str, dict[str, float]] = {name: {"bytes": file.stat().st_size} for name, file in of.items()}
    for line in measured:
        assert line.instructions is not None
        costs[line.artifact.network][f"instructions on {line.instructions.core}"] = line.instructions.total
    return costs


def goals(
    found: Mapping[str, Mapping[str, Any]], costs: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """What was promised, with both networks' figures: at least as accurate, costs within their shares."""
    rows = []
    for kind, of in found.items():
        for split in SPLITS:
            own, other = (of[network][split]["iou"]["mean"] for network in (OWN, OTHER))
            rows.append(_goal(f"mean {split} IoU on {kind}", own, other, met=own >= other))
    for name, own in costs[OWN].items():
        share, other = (BYTES if name == "bytes" else INSTRUCTIONS), costs[OTHER][name]
        rows.append(_goal(name, own, other, met=own <= share * other))
    return rows


def _goal(text: str, own: float, other: float, *, met: bool) -> dict[str, Any]:
    return {"goal": text, OWN: own, OTHER: other, "ratio": round(own / other, 4), "met": met}


if __name__ == "__main__":
    main()
