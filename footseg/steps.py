"""Long work as a list of footseg commands: runs those not done yet. A step is done when its record and its
output are there.

A step that may fail and did is noted and tried again the next time.
"""

import contextlib
import dataclasses
import io
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg import files, provenance
from footseg import records as typed
from footseg.commands import data, measuring, shipping, training
from footseg.commands._command import run
from footseg.errors import FootsegError

Command = Callable[[Sequence[str]], int]
Say = Callable[[str], None]


# What steps are made of.
COMMANDS = (*data.COMMANDS, *training.COMMANDS, *shipping.COMMANDS, *measuring.COMMANDS)
# The folder of the records.
STEPS = "steps"


def run_step(words: Sequence[str]) -> int:
    """Run a command line as a step of another command, whose standard output stays its own."""
    with contextlib.redirect_stdout(sys.stderr):
        return run(words, COMMANDS)


@dataclass(frozen=True)
class Step:
    """One command: its ``words``, what it leaves, and the names of the steps whose output it reads.

    Where ``may_fail``, a refusal (a file out of its tolerance) is a result and not the end: hours of other
    networks' training do not wait for it.
    """

    name: str
    words: tuple[str, ...]
    output: Path
    needs: tuple[str, ...] = ()
    may_fail: bool = False


@dataclass(frozen=True)
class Record:
    """What is kept of a step that was run: ``refused`` says why it failed where it may."""

    words: tuple[str, ...]
    needs: tuple[str, ...]
    refused: str
    seconds: float
    created: str


class StepsInterruptedError(FootsegError):
    """Ctrl-C: what is done stays done."""

    interrupted = True


def run_steps(
    steps: Sequence[Step], out: Path, command: Command, say: Say, *, go_on: str, first: int = 1
) -> None:
    """Run what is not done, in order; numbers start at ``first``. ``go_on`` is the command that goes on.

    A step that is run again makes every step that reads its output run again.

    Raises:
        FootsegError: a step failed.
        StepsInterruptedError: Ctrl-C.
    """
    for number, step in enumerate(steps, start=first):
        if _done(step, out):
            say(f"[{number}] {step.name}: done before")
            continue
        for reader in _readers(step.name, records(out)):
            (out / STEPS / f"{reader}.json").unlink()
        say(f"\n[{number}] {step.name}: footseg {shlex.join(step.words)}")
        started = time.monotonic()
        refused = _run(step, command, say, go_on)
        record = Record(
            words=_portable(step.words, out),
            needs=tuple(_stem(name) for name in step.needs),
            refused=refused,
            seconds=round(time.monotonic() - started, 1),
            created=provenance.now(),
        )
        files.write_json(record_path(out, step), dataclasses.asdict(record))


def record_path(out: Path, step: Step) -> Path:
    """The record that says that a step is done."""
    return out / STEPS / f"{_stem(step.name)}.json"


def records(out: Path) -> dict[str, Record]:
    """The records of all steps done, by the file's name before the suffix.

    Raises:
        FootsegError: one is damaged.
    """
    return {path.stem: _read(path) for path in sorted((out / STEPS).glob("*.json"))}


def _done(step: Step, out: Path) -> bool:
    path = record_path(out, step)
    if not path.is_file():
        return False
    record = _read(path)
    same = record.words == _portable(step.words, out)
    return same and not record.refused and step.output.exists()


def _read(path: Path) -> Record:
    return typed.read(Record, path, "record of a step", "remove it, and the step is done again")


def _portable(words: Sequence[str], out: Path) -> tuple[str, ...]:
    """Words that stay the same when the folder is moved."""
    return tuple(
        f"OUT{word.removeprefix(f'{out}')}" if word.startswith(f"{out}/") else word for word in words
    )


def _readers(name: str, done: Mapping[str, Record]) -> set[str]:
    """The steps done that read the output of the step ``name``, or of one that does."""
    found: set[str] = set()
    newest = {_stem(name)}
    while newest:
        newest = {stem for stem, record in done.items() if newest & set(record.needs)} - found
        found |= newest
    return found


def _stem(name: str) -> str:
    return name.replace(" ", "_")


def _run(step: Step, command: Command, say: Say, go_on: str) -> str:
    """Run one step; "" or, where it may fail, why it did."""
    if step.output.is_file():
        step.output.unlink()  # bench appends
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said) if step.may_fail else contextlib.nullcontext():
            code = command(step.words)
    except KeyboardInterrupt:
        code = 130
    lines = said.getvalue().strip().splitlines()
    if code == 0:
        for line in lines:
            say(line)
        return ""
    if code == 1 and step.may_fail and lines:
        say(f"{lines[-1]}\n(noted; the next run tries again)")
        return lines[-1].removeprefix("footseg: ")
    if code == 130:
        raise StepsInterruptedError(f"stopped in the step {step.name!r}; go on with: {go_on}")
    raise FootsegError(
        f"the step {step.name!r} failed with exit code {code}, the line above says why; when mended, "
        f"go on with: {go_on}"
    )
