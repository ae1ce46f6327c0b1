"""Ctrl-C in the first seconds of commands, at a terminal and by ``kill -INT``: for ``endings``."""

import contextlib
import fcntl
import os
import random
import signal
import subprocess
import termios
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from footseg import files
from footseg.benchmarks.experiments.endings_process import GONE, Started
from footseg.benchmarks.experiments.endings_stage import COMMANDS, Stage

COUNT, MOMENTS = 60, 3.0
# They import the most, or start processes; each lasts longer than ``MOMENTS``.
NAMES = ("train", "export", "evaluate", "compress --prune", "search", "verify", "data synth", "bench")
# What a shell's user sees of a command that was interrupted: our code, or that of the signal itself.
ENDED = (130, -signal.SIGINT)
PYTHON = "a traceback of Python's own start, before the first line of footseg"
UGLY = ("Traceback", "Exception ignored", "KeyboardInterrupt")


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class AtTerminal(Started):
    """A command in the foreground of a terminal of its own, where Ctrl-C reaches all of its processes."""

    def start(self, words: list[str], env: dict[str, str]) -> "subprocess.Popen[bytes]":
        """As ``Started`` does, with a terminal in place of files."""
        self._keys, theirs = os.openpty()
        process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=self.folder, env=env,
            start_new_session=True, preexec_fn=_take_terminal,  # noqa: PLW1509 - no threads yet
        )  # fmt: skip
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return process

    def _read(self) -> None:
        with self.file.open("wb") as said, contextlib.suppress(OSError):  # the terminal is gone
            while data := os.read(self._keys, 4096):
                said.write(data)

    def send(self, number: int) -> None:
        """Press Ctrl-C; other signals go to the process alone."""
        if number == signal.SIGINT:
            os.write(self._keys, b"\x03")
        else:
            super().send(number)

    def close(self) -> None:
        """Wait for the last that it says."""
        self._reader.join(GONE)
        os.close(self._keys)


@dataclass(frozen=True)
class Press:
    """One Ctrl-C: ``wrong`` says what should not be, "" is good."""

    command: str
    how: str
    after_s: float
    exit_code: int
    took_s: float
    wrong: str


def interrupts(stage: Stage, only: set[str], seed: int) -> dict[str, Any]:
    """Press Ctrl-C ``COUNT`` times, in turns at a terminal and by ``kill -INT``."""
    # A shell's background ignores it, and so would what is started from there.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    commands = [command for command in COMMANDS if command.name in NAMES]
    presses = []
    for number in range(COUNT):
        command = commands[number // 2 % len(commands)]
        if not only or command.name in only:
            presses.append(_press(stage, command.name, command.words, number, seed))
    return {
        "sent": len(presses),
        "exit_codes": dict(sorted(Counter(str(press.exit_code) for press in presses).items())),
        "longest_s": max(press.took_s for press in presses),
        "in_pythons_own_start": sum(press.wrong == PYTHON for press in presses),
        "swallowed": sum("swallowed" in press.wrong for press in presses),
        "wrong": [asdict(press) for press in presses if press.wrong],
    }


def _press(stage: Stage, name: str, words: tuple[str, ...], number: int, seed: int) -> Press:
    kept = stage.records / f"ctrl-c_{seed}_{number}.json"
    if kept.is_file():
        return Press(**files.read_json(kept))
    after = random.Random(f"ctrl-c {seed} {number}").uniform(0, MOMENTS)
    how = ("terminal", "kill -INT")[number % 2]
    folder = stage.fresh("ctrl-c")
    started = (AtTerminal if how == "terminal" else Started)(folder, words)
    code = started.ended_by(signal.SIGINT, after, GONE)
    took = started.seconds - after
    left = started.orphans(GONE)
    started.close()
    said = started.said()
    wrong = f"alive: {left}" if left else ""
    if code not in ENDED and not (code == 0 and took < 0):  # it was done before
        wrong = f"swallowed: exit code {code} after {took:.1f} s"
    if any(word in said for word in UGLY):
        # Nobody but Python can do anything about those before the first line of ours.
        wrong = f"{said[-1500:]}" if "commands/" in said or "__main__.py" in said else PYTHON
    press = Press(name, how, round(after, 3), code, round(took, 2), wrong)
    files.write_json(kept, asdict(press))
    print(f"{number} {name} ({how}) after {after:.2f} s: {code}, {took:.2f} s {wrong or 'good'}", flush=True)  # noqa: T201
    return press
