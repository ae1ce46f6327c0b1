"""A search's folder: what was asked for, and one record for each point drawn.

SEARCH/search.json        SearchSettings: what makes it this search; of them only ``trials`` is ever changed
    trials/0007.json      Trial below: a point, what became of it and why
    trials/0007/          the run of that trial, as footseg train leaves it
    costs/KEY.json        what an architecture costs, by its hash
    results.csv, .json    all trials, written anew as each ends
    lock                  held while a search works here

A point is drawn, written down and only then worked on, so a kill at any moment loses none and repeats none.
"""

import contextlib
import dataclasses
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from footseg import files, run
from footseg import records as typed
from footseg.errors import FootsegError
from footseg.records import AnyNumber

SETTINGS, TRIALS = "search.json", "trials"
# A trial that has no end yet: these go on when a search is resumed.
OPEN = ("drawn", "running")
# "finished": trained to its end; "stopped": by the rule for bad trials; "failed": reason says why;
# "refused": over a limit, not trained.
ENDED = ("finished", "stopped", "failed", "refused")
# They have a score.
SCORED = ("finished", "stopped")

Point = Mapping[str, float | int]


@dataclass(frozen=True)
class SearchSettings:
    """What makes a search this search. ``values`` are the training options that do not vary.

    ``space`` is the space as plain values, as its TOML file has it; ``objective`` a score of
    ``footseg.search.goals``, ``against`` costs that are to be small at the same time, ``limits`` texts as
    "size<=260kB"; ``stop`` is "none", "median" or "halving". ``trials`` is the budget that was last given,
    for a command that gives none; None: no end.
    """

    space: dict[str, Any]
    values: dict[str, Any]
    algorithm: str = "tpe"
    seed: int = 0
    objective: str = "iou"
    against: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    stop: str = "none"
    data_fingerprint: str = ""
    trials: int | None = 100


@dataclass(frozen=True)
class Trial:
    """One point and what became of it.

    ``point`` is what hyperopt drew, by label (``footseg.search.space``); ``values`` the training options that
    it means; ``scores`` are of the validation split, in [0, 1]; ``costs`` are by the names of
    ``footseg.search.goals``. ``seconds`` is all the time spent on it, over all resumes.
    """

    number: int
    point: dict[str, float | int]
    values: dict[str, Any]
    status: str = "drawn"
    reason: str = ""
    scores: dict[str, AnyNumber] = field(default_factory=dict)
    costs: dict[str, AnyNumber] = field(default_factory=dict)
    epochs_done: int = 0
    seconds: float = 0.0
    worker: str = ""
    created: str = ""

    @property
    def name(self) -> str:
        """Of its folder and its record."""
        return f"{self.number:04d}"

    @property
    def counts(self) -> bool:
        """Whether it is done and part of a budget: refused ones cost next to nothing."""
        return self.status in ENDED and self.status != "refused"

    @property
    def scored(self) -> bool:
        """Whether it was trained well enough to be compared."""
        return self.status in SCORED and bool(self.scores)


def exists(folder: Path) -> bool:
    """Whether ``folder`` is that of a search."""
    return (folder / SETTINGS).is_file()


def save_settings(folder: Path, settings: SearchSettings) -> None:
    """Write ``search.json``."""
    files.write_json(folder / SETTINGS, dataclasses.asdict(settings))


def load_settings(folder: Path) -> SearchSettings:
    """Read ``search.json``.

    Raises:
        FootsegError: no such folder, not a search's, or a damaged one.
    """
    if not exists(folder):
        raise FootsegError(f"{folder} is not a search (it has no {SETTINGS}): make one with footseg search")
    return typed.read(SearchSettings, folder / SETTINGS, "record of a search", "search in another folder")


def run_folder(folder: Path, number: int) -> Path:
    """The run of a trial."""
    return folder / TRIALS / f"{number:04d}"


def save_trial(folder: Path, trial: Trial) -> None:
    """Write a trial's record."""
    files.write_json(folder / TRIALS / f"{trial.name}.json", dataclasses.asdict(trial))


def load_trial(folder: Path, number: int) -> Trial:
    """Read a trial's record.

    Raises:
        FootsegError: there is none, or it is damaged.
    """
    return _trial(folder / TRIALS / f"{number:04d}.json")


def load_trials(folder: Path) -> list[Trial]:
    """All records, by number."""
    return [_trial(path) for path in sorted((folder / TRIALS).glob("[0-9]*.json"))]


def _trial(path: Path) -> Trial:
    return typed.read(Trial, path, "record of a trial", "remove it, and the search goes on without it")


def curve(folder: Path, number: int) -> list[float]:
    """Validation IoU of each epoch that a trial has done so far."""
    return run.read_history(run_folder(folder, number) / run.HISTORY, "val_iou").get("val_iou", [])


@contextlib.contextmanager
def lock(
    folder: Path, *, wait: float = 20.0, say: Callable[[str], None] = lambda line: None
) -> Iterator[int]:
    """Hold a search's folder; yields a file descriptor that its workers inherit.

    Workers that a kill left behind end by themselves; until they have, they hold the lock, so that no trial
    is trained by two processes at once.

    Raises:
        FootsegError: another search holds it for longer than ``wait`` seconds.
    """
    path = folder / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor, path, wait, say)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, wait: float, say: Callable[[str], None]) -> None:
    until, said = time.monotonic() + wait, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                held = path.read_text() or "another process"
                raise FootsegError(
                    f"another search works in {path.parent} ({held}): wait for it, or stop it with Ctrl-C"
                ) from None
            if not said:
                say(f"{path.parent} is in use; waiting up to {wait:.0f} s for it")
                said = True
            time.sleep(0.1)
        else:
            return
