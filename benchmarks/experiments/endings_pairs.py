"""Two commands that begin at nearly the same time on one folder: for ``endings``."""

import json
import random
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from footseg import files
from footseg.benchmarks.experiments.endings_process import PATIENCE, Started, unreadable
from footseg.benchmarks.experiments.endings_stage import CUT, FILE, SEARCH, TRAIN, Stage, Words

TRIES = 2
NEW = ("--out", "new")
# What the second is told: that somebody is there, or what it would be told after the other's end.
IN_USE = re.compile(r"^footseg: \S+ is in use by process \d+ \(footseg .*\): wait until it has ended")
BENCH: Words = ("bench", FILE, "--seconds", "1", "--runs", "10", "--out", "results.jsonl")
REPORT: Words = ("report", "results.jsonl", "--out", "page.html", "--title")
SYNTH: Words = ("data", "synth", "new", "--count", "300", "--size", "64", "--workers", "2", "--seed")
EVALUATE: Words = ("evaluate", FILE, "--data", "feet", "--out", "new", "--split")
EXPORT: Words = ("export", "run", *NEW, "--no-speed", "--no-clients", "--precision")


@dataclass(frozen=True)
class Pair:
    """Two commands; the second begins within ``within`` seconds of the first.

    ``refused`` is what either may be told beside IN_USE, as a pattern: what is right where the other was
    first. ``mixed`` says what the end has of both.
    """

    name: str
    first: Words
    second: Words
    within: float
    refused: str = "(?!)"
    mixed: Callable[[Path], Sequence[str]] = lambda folder: ()


def one_run(out: str) -> Callable[[Path], Sequence[str]]:
    """Whether a run's record, options and history are of one and the same training."""

    def mixed(folder: Path) -> list[str]:
        record = json.loads((folder / out / "run.json").read_text(encoding="utf-8"))
        config = tomllib.loads((folder / out / "config.toml").read_text(encoding="utf-8"))
        epochs = len((folder / out / "history.csv").read_text(encoding="utf-8").splitlines()) - 1
        wrong = [] if record["seed"] == config["seed"] else [f"seeds {record['seed']} and {config['seed']}"]
        return wrong if record["epochs_done"] == epochs else [*wrong, f"{epochs} lines of history"]

    return mixed


def one_search(folder: Path) -> list[str]:
    """Whether there are the trials of one search, each with its end."""
    trials = [json.loads(path.read_text()) for path in sorted((folder / "new" / "trials").glob("0*.json"))]
    ends = [trial["status"] for trial in trials]
    return [] if ends == ["finished"] * 3 else [f"trials: {ends}"]


def one_set(folder: Path) -> list[str]:
    """Whether a drawn data set has as many images as masks, and as many as were asked for."""
    counts = {what: len(list((folder / "new").glob(f"*/{what}/*"))) for what in ("images", "masks")}
    return [] if set(counts.values()) == {300} else [str(counts)]


def all_lines(folder: Path) -> list[str]:
    """Whether both measurements are there, beside the one from before."""
    count = len((folder / "results.jsonl").read_text(encoding="utf-8").splitlines())
    return [] if count == 3 else [f"{count} lines, not 3"]


def with_sidecars(folder: Path) -> list[str]:
    """Files whose sidecar is of another."""
    return [
        path.name
        for path in (folder / "new").glob("*.tflite")
        if json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))["sha256"] != files.sha256(path)
    ]


PAIRS: Sequence[Pair] = (
    Pair(
        "train, train", (*TRAIN, "--epochs", "3", *NEW), (*TRAIN, "--epochs", "2", "--seed", "1", *NEW), 6,
        "is an? (un)?finished run", one_run("new"),
    ),
    Pair(
        "train, train --force", (*TRAIN, "--epochs", "3", *NEW),
        (*TRAIN, "--epochs", "2", "--seed", "1", "--force", *NEW), 9, mixed=one_run("new"),
    ),
    Pair(
        "train --resume, train --resume", ("train", "--resume", "--out", "begun"),
        ("train", "--resume", "--out", "begun"), 6, mixed=one_run("begun"),
    ),
    Pair(
        "compress --resume, compress --resume", ("compress", "--resume", "--out", "squeezed"),
        ("compress", "--resume", "--out", "squeezed"), 9, mixed=one_run("squeezed"),
    ),
    Pair("data synth, data synth", (*SYNTH, "0"), (*SYNTH, "1"), 1.5, "is not empty", one_set),
    Pair("search, search", (*SEARCH, "--seed", "0"), (*SEARCH, "--seed", "1"), 6, "is a search", one_search),
    Pair("export, export", (*EXPORT, "fp32"), (*EXPORT, "fp32", "fp16"), 6, mixed=with_sidecars),
    Pair(
        "compress, export of it", CUT[0], ("export", "new", "--out", "made", "--no-clients"), 15,
        "new is not a run|no such folder: new", one_run("new"),
    ),
    Pair("bench, bench", BENCH, BENCH, 1, mixed=all_lines),
    Pair("report, report", (*REPORT, "one"), (*REPORT, "two"), 0.5),
    Pair("evaluate, evaluate", (*EVALUATE, "test"), (*EVALUATE, "val"), 0.5),
    Pair(
        "train, evaluate", ("train", "--resume", "--out", "begun"),
        ("evaluate", "begun", "--data", "feet", "--out", "new"), 9, "was replaced while it was read",
        one_run("begun"),
    ),
    Pair(
        "check --fix, train", ("data", "check", "dirty", "--fix"),
        ("train", "fast_linknet", "--data", "dirty", *TRAIN[4:], "--epochs", "1", *NEW), 1.5,
        "masks? .* cannot be used|footseg data check",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Try:
    """Two commands on one folder, once; ``end`` is "one after the other" or "refused"."""

    pair: str
    after_s: float
    codes: tuple[int, int]
    end: str
    wrong: tuple[str, ...]


def pairs(stage: Stage, only: set[str], seed: int) -> dict[str, Any]:
    """Try each pair ``TRIES`` times."""
    tries = [
        _try(stage, pair, number, seed)
        for number in range(TRIES)
        for pair in PAIRS
        if not only or pair.name in only
    ]
    return {
        "pairs": {pair.name: dict(Counter(t.end for t in tries if t.pair == pair.name)) for pair in PAIRS},
        "tries": len(tries),
        "wrong": [asdict(one) for one in tries if one.wrong],
    }


def _try(stage: Stage, pair: Pair, number: int, seed: int) -> Try:
    kept = stage.records / f"pair {pair.name}_{seed}_{number}.json"
    if kept.is_file():
        read = files.read_json(kept)
        return Try(**{**read, "codes": tuple(read["codes"]), "wrong": tuple(read["wrong"])})
    after = random.Random(f"{pair.name} {seed} {number}").uniform(0, pair.within)
    folder = stage.fresh("pair")
    first = Started(folder, pair.first)
    at_work = first.waited(after)
    second = Started(folder, pair.second)
    codes = first.ended(PATIENCE), second.ended(PATIENCE)
    wrong = [*_badly_refused(pair, first, codes[0]), *_badly_refused(pair, second, codes[1])]
    if codes == (1, 1):
        wrong.append("both were refused")
    wrong += [f"half written: {path}" for path in unreadable(folder)]
    wrong += [f"left over: {path}" for path in second.leftovers()]
    wrong += [] if wrong else [f"mixed: {what}" for what in pair.mixed(folder)]
    end = "one after the other" if codes == (0, 0) else "refused"
    if not at_work:
        end += ", begun after the other's end"
    done = Try(pair.name, round(after, 2), codes, end, tuple(wrong))
    files.write_json(kept, asdict(done))
    print(f"{pair.name} after {after:.2f} s: {codes} {end} {'; '.join(wrong) or 'good'}", flush=True)  # noqa: T201
    return done


def _badly_refused(pair: Pair, one: Started, code: int) -> list[str]:
    """What is wrong with how one of them ended: anything but its work done, or one line that says why not."""
    errors = [line for line in one.said().splitlines() if line.startswith("footseg: ")]
    fine = code == 0 or (
        code == 1 and len(errors) == 1 and (IN_USE.match(errors[0]) or re.search(pair.refused, errors[0]))
    )
    return [] if fine else [f"exit code {code}: {one.said()[-600:]}"]
