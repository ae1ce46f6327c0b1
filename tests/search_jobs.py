"""What workers of a search do in tests instead of training: tiny, and without TensorFlow."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from footseg.errors import MissingExtraError
from footseg.files import DiskFullError


class PickyError(MissingExtraError):
    """Cannot be made anew of its text alone, as pickle would."""

    def __init__(self, *, text: str) -> None:
        super().__init__(text)


def write(folder: Path, number: int) -> None:
    """Leave a file that says who ran the trial, and when; a second one for the same number fails."""
    with (folder / f"{number}.txt").open("x") as file:
        file.write(f"{os.getpid()} {time.monotonic()}")


def pair(folder: Path, number: int) -> None:
    """Wait for the trial beside this one (0 and 1, 2 and 3): only two at the same time get through."""
    write(folder, number)
    meet(folder, number)


def meet(folder: Path, number: int) -> None:
    """Wait for the trial beside this one to have begun."""
    end = time.monotonic() + 30
    while not (folder / f"{number ^ 1}.txt").exists():
        if time.monotonic() > end:
            raise RuntimeError("alone")
        time.sleep(0.01)


def behave(folder: Path, number: int) -> None:
    """Whatever the number says."""
    write(folder, number)
    BEHAVIOUR.get(number, lambda folder: None)(folder)


def sleep(folder: Path) -> None:
    """For ever, leaving a mark where it was interrupted rather than killed."""
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        with (folder / "interrupted.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")
        raise


def start_another(folder: Path) -> None:
    """Wait for a process of its own, which does not listen."""
    with subprocess.Popen(["sleep", "600"]) as child:
        (folder / "child.txt").write_text(str(child.pid))


def wait(folder: Path) -> None:
    """Until there is a file go.txt."""
    end = time.monotonic() + 30
    while not (folder / "go.txt").exists() and time.monotonic() < end:
        time.sleep(0.01)


def stubborn(folder: Path) -> None:
    """For ever, whatever comes."""
    while True:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            (folder / "stubborn.txt").touch()


def late(folder: Path) -> None:
    """Come to an end although interrupted."""
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(0.1)


def full(folder: Path) -> None:
    """As files.disk_errors says it."""
    raise DiskFullError("the disk is full (No space left on device): x was not written")


def picky(folder: Path) -> None:
    """An error that does not survive a pipe."""
    raise PickyError(text="this needs the package hyperopt")


def typo(folder: Path) -> None:
    """A fault in the program."""
    raise TypeError("no such\n thing")


def chatter(folder: Path) -> None:
    """As libraries do, on all levels."""
    print("print says hello")
    os.write(1, b"C says hello\n")
    os.write(2, b"C complains\n")
    print("stderr complains", file=sys.stderr)


def grow(folder: Path) -> None:
    """Keep 60 MB."""
    KEPT.append(os.urandom(60 << 20))


KEPT: list[bytes] = []
BEHAVIOUR: dict[int, Callable[[Path], object]] = {
    10: lambda folder: os.kill(os.getpid(), signal.SIGKILL),
    11: lambda folder: os._exit(3),
    12: typo,
    13: full,
    14: picky,
    15: sleep,
    16: sleep,
    17: stubborn,
    18: late,
    19: chatter,
    20: grow,
    22: start_another,
    23: wait,
    24: partial(meet, number=24),
    25: partial(meet, number=25),
    21: lambda folder: sys.exit("enough"),
}
