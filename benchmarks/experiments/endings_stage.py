"""The long commands of footseg, each of seconds, and the folder that each finds: for ``endings``."""

import csv
import json
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from footseg.benchmarks.experiments.endings_process import SAID, TEMPORARY, Started
from footseg.data.images import write_mask

SIZE = ("--size", "64")
SMALL = ("--network-options", "width=0.25", "--network-options", "dropout=0.0")
TRAIN = ("train", "fast_linknet", "--data", "feet", *SIZE, "--batch", "8", "--learning-rate", "5e-3", *SMALL)
FILE = "files/fast_linknet_64x64_fp32.tflite"
ONNX = "files/fast_linknet_64x64_fp32.onnx"
CUT_OUT = ("--feet", "feet/train", "--floors", "feet/train/images")
Words = tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """``base`` is what every trial begins with; ``records`` has what trials gave."""

    base: Path
    records: Path

    def fresh(self, name: str) -> Path:
        """A copy of the base in a folder of its own."""
        folder = self.base.parent / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.base, folder)
        return folder


@dataclass(frozen=True)
class LongCommand:
    """A command to end: what it ``writes`` (beginnings of paths), and how its work is taken up ``again``.

    ``result`` is what must come out whether it was disturbed or not; ``kills`` and ``terms`` are how often it
    is ended by SIGKILL and SIGTERM.
    """

    name: str
    words: Words
    writes: Words
    kills: int
    terms: int
    result: Callable[[Path], Any] = lambda folder: None
    resumed: Words = ()
    begun: str = ""
    code: int = 0

    @property
    def ends(self) -> list[tuple[str, int]]:
        """The signal and the number of each trial, a SIGTERM after the first SIGKILL."""
        sigkill = [("SIGKILL", number) for number in range(self.kills)]
        return [*sigkill[:1], *(("SIGTERM", number) for number in range(self.terms)), *sigkill[1:]]

    def again(self, folder: Path) -> Words:
        """The command that goes on; where ``begun`` is not there, nothing was begun."""
        there = self.begun and (folder / self.begun).is_file()
        return self.resumed if there else self.words


def history(*runs: str) -> Callable[[Path], Any]:
    """The figures of runs, but for how long they took."""

    def read(folder: Path) -> Any:
        found = {}
        for path in sorted(path for run in runs for path in folder.glob(f"{run}/history.csv")):
            rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
            timed = ("images_per_second", "seconds")
            found[str(path.relative_to(folder))] = [
                {name: value for name, value in row.items() if name not in timed} for row in rows
            ]
        return found

    return read


def names(out: str) -> Callable[[Path], Any]:
    """The files of a folder, by name."""
    return lambda folder: sorted(str(path.relative_to(folder)) for path in (folder / out).rglob("*"))


def points(out: str) -> Callable[[Path], Any]:
    """What a search tried and found."""

    def read(folder: Path) -> Any:
        found = [json.loads(path.read_text()) for path in sorted((folder / out / "trials").glob("0*.json"))]
        return [{name: trial[name] for name in ("number", "point", "status", "scores")} for trial in found]

    return read


def _compress(*step: str) -> tuple[Words, Words]:
    return ("compress", "run", "--out", "new", *step), ("compress", "--resume", "--out", "new")


PRUNE, CLUSTER, CUT, QAT = (
    _compress(*step, "--set", "epochs=2")
    for step in (("--prune", "0.5"), ("--cluster", "8"), ("--cut", "0.5"), ("--qat",))
)
SEARCH: Words = (
    "search", "fast_linknet", "--data", "feet", "--out", "new", *SIZE, "--batch", "8", "--epochs", "2",
    *SMALL[:2], "--trials", "3",
)  # fmt: skip
THESIS: Words = (
    "reproduce", "thesis", "--out", "new", *CUT_OUT, "--real", "feet", "--students", "enet", "--count", "12",
    *SIZE, "--epochs", "1", "--steps", "2", "--batch", "2", "--teacher-base", "4",
)  # fmt: skip
DRAWN: Words = ("data", "synth", "new", "--count", "400", *SIZE, "--workers", "2")
LAID: Words = ("data", "synth", "new", *CUT_OUT, "--count", "300", *SIZE, "--workers", "2")
TRAINED, STEPS = history("new"), history("new", "new/steps/*")

COMMANDS: Sequence[LongCommand] = (
    LongCommand(
        "train", (*TRAIN, "--epochs", "6", "--out", "new"), ("new",), 6, 2, TRAINED,
        ("train", "--resume", "--out", "new"), "new/run.json",
    ),
    LongCommand(
        "train --resume", ("train", "--resume", "--out", "begun"), ("begun",), 5, 2, history("begun"),
    ),
    LongCommand("compress --prune", PRUNE[0], ("new",), 2, 1, STEPS, PRUNE[1], "new/compress.json"),
    LongCommand("compress --cluster", CLUSTER[0], ("new",), 2, 1, STEPS, CLUSTER[1], "new/compress.json"),
    LongCommand("compress --cut", CUT[0], ("new",), 2, 1, STEPS, CUT[1], "new/compress.json"),
    LongCommand("compress --qat", QAT[0], ("new",), 2, 1, STEPS, QAT[1], "new/compress.json"),
    LongCommand(
        "search", SEARCH, ("new",), 3, 2, points("new"), ("search", "--resume", "--out", "new"),
        "new/search.json",
    ),
    LongCommand(
        "export", ("export", "run", "--out", "new", "--precision", "fp32", "fp16", "int8", "--no-speed"),
        ("new",), 4, 2, names("new"),
    ),
    LongCommand(
        "export --to onnx", ("export", "run", "--out", "new", "--to", "onnx", "--precision", "fp32", "int8"),
        ("new",), 3, 1, names("new"),
    ),
    LongCommand(
        "export --auto",
        ("export", "run", "--out", "new", "--auto", "0.5", "--images", "4", "--calibration", "4"),
        ("new",), 2, 1, names("new"),
    ),
    LongCommand(
        "verify", ("verify", FILE, "--on", "gpu", "openvino", "web", "--images", "1", "--out", "page.html"),
        ("page",), 5, 3,
    ),
    LongCommand(
        "data synth", DRAWN, ("new",), 9, 3, names("new"), (*DRAWN, "--force"), "new/train/images/00000.jpg"
    ),
    LongCommand(
        "data synth --feet", LAID, ("new",), 8, 3, names("new"), (*LAID, "--force"), "new/synth.json"
    ),
    LongCommand("data check --fix", ("data", "check", "dirty", "--fix"), ("dirty",), 8, 3, names("dirty")),
    LongCommand(
        "evaluate", ("evaluate", "run", "--data", "feet", "--out", "new"), ("new",), 3, 1, names("new")
    ),
    LongCommand(
        "predict", ("predict", FILE, "feet/test/images", "--out", "new"), ("new",), 6, 2, names("new")
    ),
    LongCommand(
        "bench", ("bench", FILE, ONNX, "--seconds", "2", "--runs", "10", "--out", "results.jsonl"),
        ("results.jsonl",), 10, 4,
    ),
    LongCommand("bench --on arm", ("bench", FILE, "--on", "arm", "--out", "results.jsonl"),
        ("results.jsonl",), 10, 3),
    LongCommand("golden make", ("golden", "make", FILE, "--out", "new"), ("new",), 4, 1, names("new")),
    LongCommand("study", ("study", "run", "--out", "new", "--precision", "fp32"), ("new",), 1, 1),
    LongCommand("reproduce thesis", THESIS, ("new",), 1, 1),
    LongCommand("report", ("report", "results.jsonl", "--run", "run", "--out", "page.html"), ("page",), 4, 1),
)  # fmt: skip


def prepare(work: Path) -> Stage:
    """The stage in ``work``, made if it is not there: data, a run, an unfinished one, files, results."""
    stage = Stage(work / "base", work / "records")
    stage.records.mkdir(parents=True, exist_ok=True)
    whole = stage.records / "base.made"
    if whole.is_file():
        return stage
    making = stage.base  # a run names its data by its path
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    synth = ("data", "synth", "feet", "--train", "24", "--val", "8", "--test", "8", *SIZE, "--seed", "1")
    for words in (
        synth,
        ("data", "synth", "dirty", "--train", "300", "--val", "50", "--test", "50", *SIZE),
        (*TRAIN, "--epochs", "6", "--out", "run"),
        ("export", "run", "--out", "files", "--to", "tflite", "onnx", "--no-speed", "--no-clients"),
        ("bench", FILE, "--seconds", "1", "--runs", "10", "--out", "results.jsonl"),
    ):
        started = Started(making, words)
        if started.ended(600):
            raise SystemExit(f"footseg {' '.join(words)}: {started.said()}")
    for path in (making / "dirty").glob("*/masks/*.png"):
        write_mask(path, np.asarray(Image.open(path)) * np.uint8(255))
    _begin(making, (*TRAIN, "--epochs", "20", "--out", "begun"), "begun/model.keras")
    _begin(making, tuple("squeezed" if word == "new" else word for word in CUT[0]), "squeezed/compress.json")
    for made in (TEMPORARY, SAID):
        shutil.rmtree(making / made)
    whole.touch()
    return stage


def _begin(folder: Path, words: Words, there: str) -> None:
    """Leave a command in the middle, when it has written what is to be ``there``."""
    started = Started(folder, words)
    while not (folder / there).is_file():
        if started.process.poll() is not None:
            raise SystemExit(f"footseg {' '.join(words)} ended by itself: {started.said()}")
        time.sleep(0.05)
    started.process.send_signal(signal.SIGTERM)
    if started.ended(60) != 130:
        raise SystemExit(f"footseg {' '.join(words)} was not interrupted: {started.said()}")
