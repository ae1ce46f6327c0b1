"""What footseg search promises, measured: nothing lost after kills, little overhead, and TPE against random.

    python -m benchmarks.experiments.searches resume --work DIR [--trials 100] [--kills 5]
    python -m benchmarks.experiments.searches algorithms --work DIR [--trials 100] [--seeds 10]

Both tune a small TipToe on drawn feet, in DIR. ``resume`` kills a search by the real command with
SIGKILL wherever it is, resumes it as often, and holds the records of finished trials at each kill against
those at the end. ``algorithms`` searches the thesis's space without a teacher by TPE and at random, with the
same seeds and budgets, and compares the best validation IoU. So that 20 searches take no night, one
training is made for each of 16 parts of the learning rate's logarithm, 6 of dropout and both losses, in its
middle, and IoU is interpolated between them. (With the IoU of the nearest training in place of that, most
searches of 100 trials end in the best of the 192: TPE then wins 5 seeds, random search 1, and 4 are ties.)
Both algorithms draw from the whole ranges and know nothing of it. Trainings are kept: it goes on where it
was stopped. The figures are in results/searches.json.
"""

import argparse
import json
import math
import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from footseg import children, files, provenance
from footseg.benchmarks.experiments.accuracy import footseg
from footseg.search import records, space, suggest

RESULTS = Path(__file__).resolve().parents[1] / "results" / "searches.json"
# Seconds a trial; large enough that a bad learning rate shows.
DATA = ("--train", "96", "--val", "32", "--test", "8", "--size", "64", "--seed", "7")
NETWORK = "tiptoe"
OPTIONS = {"width": 0.5, "blocks2": 1, "blocks3": 1, "blocks4": 1}
TRAINING: dict[str, Any] = {"size": 64, "batch": 8, "epochs": 10, "ema": 0.0}
RATES, DROPOUTS = 16, 6
PROMISED_WINS, PROMISED_OVERHEAD = 0.7, 0.02


def main() -> None:
    """Run one of the experiments and write what it gave beside that of the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", choices=("resume", "algorithms"))
    parser.add_argument("--work", type=Path, required=True, help="folder of the data and the searches")
    parser.add_argument("--trials", type=int, default=100, help="of a search (100)")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    data = args.work / "feet"
    if not data.is_dir():
        footseg("data", "synth", data, *DATA)
    if args.experiment == "resume":
        found = resume(data, args.work / "resume", args.trials, args.kills)
    else:
        found = algorithms(data, args.work, args.trials, args.seeds)
    before = files.read_json(args.out) if args.out.is_file() else {}
    settings = {
        "data": list(DATA),
        "training": TRAINING,
        "network": NETWORK,
        "options": OPTIONS,
        "machine": provenance.machine(),
    }
    files.write_json(args.out, before | {args.experiment: settings | found})
    print(json.dumps({k: v for k, v in found.items() if k != "searches"}, indent=1))  # noqa: T201


def resume(data: Path, out: Path, trials: int, kills: int) -> dict[str, Any]:
    """Kill a search ``kills`` times and let it end; what was kept of it."""
    words = words_of(data, out, "tpe", 0, trials)
    rng = random.Random(0)
    snapshots: list[dict[str, str]] = []
    for kill in range(1, kills + 1):
        killed_at(
            round(trials * kill / (kills + 1)), out, start(words if kill == 1 else [*words, "--resume"]), rng
        )
        snapshots.append(finished_records(out))
    spent = seconds_of(out)
    began = time.monotonic()
    process = start([*words, "--resume"])
    if process.wait() != 0:
        raise SystemExit(f"the search ended with exit code {process.returncode}")
    wall, trained = time.monotonic() - began, seconds_of(out) - spent
    found, after = records.load_trials(out), finished_records(out)
    return {
        "kills": kills,
        "finished_at_kills": [len(snapshot) for snapshot in snapshots],
        "trials": len(found),
        "finished": sum(trial.status == "finished" for trial in found),
        "distinct_points": len({json.dumps(trial.point, sort_keys=True) for trial in found}),
        "records_changed_or_lost": sorted(
            {name for old in snapshots for name, text in old.items() if after.get(name) != text}
        ),
        "median_seconds_a_trial": round(median(trial.seconds for trial in found), 2),
        "last_command": {"seconds": round(wall, 1), "of_trials": round(trained, 1)},
        "overhead_between_trials": between(out, snapshots[-1]),
        "overhead_promised": PROMISED_OVERHEAD,
    }


def killed_at(goal: int, out: Path, process: "subprocess.Popen[bytes]", rng: random.Random) -> None:
    """Let a search finish ``goal`` trials and kill it some seconds later, wherever it is."""
    while len(finished_records(out)) < goal:
        if process.poll() is not None:
            raise SystemExit(f"the search ended by itself with exit code {process.returncode}")
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 3))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def between(out: Path, before: dict[str, str]) -> float:
    """Of the time from the first to the last trial of a command, what was no trial's, over what was."""
    names = sorted(name for name in finished_records(out) if name not in before)
    ends = [(out / "trials" / name).stat().st_mtime for name in names]
    trained = sum(json.loads((out / "trials" / name).read_text())["seconds"] for name in names[1:])
    return round((max(ends) - min(ends)) / trained - 1, 4)


def algorithms(data: Path, work: Path, trials: int, seeds: int) -> dict[str, Any]:
    """The same budget for TPE and random search, with each seed; who found the better training."""
    table = PointTable(work / "trainings.json", data)
    space_ = space.parse(space.without_teacher(space.load("thesis"))[0], {"network": NETWORK})
    searches = []
    for seed in range(seeds):
        row: dict[str, Any] = {"seed": seed}
        row |= {name: best_so_far(table, space_, name, seed, trials) for name in ("tpe", "random")}
        searches.append(row)
        print(  # noqa: T201
            f"seed {seed}: tpe {row['tpe'][-1]:.4f}, random {row['random'][-1]:.4f}, "
            f"{len(table.scores)} trainings", flush=True,
        )  # fmt: skip
    return {
        "trials": trials,
        "seeds": seeds,
        "trainings": len(table.scores),
        "best_of_all": max(table.scores.values()),
        "promised_wins": round(PROMISED_WINS * seeds),
        "after": [standing(searches, count) for count in (20, 40, 60, 80, 100) if count <= trials],
        "searches": searches,
    }


def standing(searches: Sequence[dict[str, Any]], count: int) -> dict[str, Any]:
    """Who is ahead after ``count`` trials."""
    pairs = [(row["tpe"][count - 1], row["random"][count - 1]) for row in searches]
    return {
        "trials": count,
        "tpe_wins": sum(tpe > other for tpe, other in pairs),
        "random_wins": sum(tpe < other for tpe, other in pairs),
        "mean_best_tpe": round(mean(tpe for tpe, _ in pairs), 4),
        "mean_best_random": round(mean(other for _, other in pairs), 4),
    }


class PointTable:
    """The validation IoU of each cell of the thesis's space, trained when it is first asked for."""

    def __init__(self, path: Path, data: Path) -> None:
        """``path`` keeps the scores."""
        self.path, self.data = path, data
        self.scores: dict[str, float] = files.read_json(path) if path.is_file() else {}

    def score(self, values: dict[str, Any]) -> float:
        """Of ``values``: interpolated between the nearest trainings, linearly in log rate and in dropout."""
        rates = nearest(math.log10(values["learning_rate"]), -6, -2, RATES)
        dropouts = nearest(values["network_options"]["dropout"], 0, 1, DROPOUTS)
        return sum(
            share * other * self._trained(rate, dropout, values["loss"])
            for rate, share in rates.items()
            for dropout, other in dropouts.items()
        )

    def _trained(self, rate: float, dropout: float, loss: list[str]) -> float:
        key = f"{10**rate:.3g} {dropout:.3g} {' '.join(loss)}"
        if key not in self.scores:
            self.scores[key] = self._train(10**rate, dropout, loss)
            files.write_json(self.path, self.scores)
        return self.scores[key]

    def _train(self, rate: float, dropout: float, loss: list[str]) -> float:
        import keras

        from footseg.training.config import from_values
        from footseg.training.train import train

        options = {**OPTIONS, "dropout": dropout}
        config = from_values(
            {
                **{**TRAINING, "network": NETWORK, "data": str(self.data)},
                **{"network_options": options, "learning_rate": rate, "loss": loss},
            }
        )
        found = train(config, self.path.parent / "run", force=True).score("val_iou")
        keras.backend.clear_session()
        return round(found, 5)


def nearest(value: float, low: float, high: float, count: int) -> dict[float, float]:
    """The middles of ``count`` equal parts of [low, high] around ``value``, with their shares in it."""
    width = (high - low) / count
    place = min(max((value - low) / width - 0.5, 0.0), count - 1.0)
    below = int(place)
    shares = {below: 1 + below - place, below + 1: place - below}
    return {low + (part + 0.5) * width: share for part, share in shares.items() if share > 0}


def best_so_far(table: PointTable, space_: Any, algorithm: str, seed: int, trials: int) -> list[float]:
    """The best validation IoU after each trial of one search."""
    told: list[tuple[Any, float]] = []
    for number in range(trials):
        point = suggest.suggest(space_, algorithm, told, [tried for tried, _ in told], (seed, number))
        told.append((point, 1 - table.score(space.values(space_, point))))
    losses = [loss for _, loss in told]
    return [round(1 - min(losses[: count + 1]), 5) for count in range(trials)]


def words_of(data: Path, out: Path, algorithm: str, seed: int, trials: int) -> list[str]:
    """The command line of one search."""
    return [
        "search", NETWORK, "--data", str(data), "--out", str(out), "--algorithm", algorithm,
        "--seed", str(seed), "--trials", str(trials),
        *(word for name, value in TRAINING.items() for word in (f"--{name}", str(value))),
        *(word for name, value in OPTIONS.items() for word in ("--network-options", f"{name}={value}")),
    ]  # fmt: skip


def finished_records(out: Path) -> dict[str, str]:
    """The records of trials that have their end, by file name."""
    texts = {path.name: path.read_text() for path in (out / "trials").glob("[0-9]*.json")}
    return {name: text for name, text in texts.items() if json.loads(text)["status"] in records.ENDED}


def seconds_of(out: Path) -> float:
    """What all trials took until now."""
    return sum(trial.seconds for trial in records.load_trials(out))


def start(words: Sequence[str]) -> "subprocess.Popen[bytes]":
    """A footseg command in a process of its own, quiet."""
    return subprocess.Popen([*children.command("footseg"), *words], stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
