"""What a command is, and how a command line is run: one that a person wrote, or a step of longer work.

A command's work is imported when it is called: nothing heavy is imported here or beside it.
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from footseg import __version__, files, locks
from footseg.errors import FootsegError
from footseg.quiet import lasting_stderr, native_quiet
from footseg.terminal import printable

Arguments = argparse.Namespace


GROUPS: dict[tuple[str, ...], str] = {
    ("data",): "make, check and look at data sets",
    ("golden",): "photographs, tensors and masks to test an app by",
    ("reproduce",): "make published results anew",
}


@dataclass(frozen=True)
class Output:
    """What a command found: ``document`` for --json, ``text`` for people, the others for the exit code.

    ``unsure`` where all is ``ok`` so far as anybody can tell.
    """

    document: Any
    text: str
    ok: bool = True
    unsure: bool = False


@dataclass(frozen=True)
class Command:
    """One command: its words, its help, its arguments, its work, and the folder that it alone may write."""

    words: tuple[str, ...]
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    work: Callable[[Arguments], Output]
    folder: Callable[[Arguments], Path | None] = lambda args: None


def out_folder(args: Arguments) -> Path | None:
    """The folder of ``--out``, where it was given."""
    return args.out


def say(line: str) -> None:
    """Progress and errors go to standard error, so that standard output stays a document."""
    print(printable(line), file=sys.stderr, flush=True)  # noqa: T201


def run(words: Sequence[str], commands: Sequence[Command]) -> int:
    """Run one command line of these.

    Returns 0 done, 1 a clear error, 2 wrong usage, 3 nobody can tell, 130 interrupted.
    """
    # Before any import of TensorFlow: its start-up notes bury the messages that matter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    args = parser(commands).parse_args(words)
    args.command_line = shlex.join(["footseg", *words])
    try:
        folder: Path | None = args.folder(args)
        alone = contextlib.nullcontext() if folder is None else locks.alone_in(folder, args.command_line)
        quietly = lasting_stderr() if args.debug else native_quiet()
        with quietly, ended_as_by_ctrl_c(), files.disk_errors(Path(getattr(args, "out", None) or ".")), alone:
            output: Output = args.work(args)
        text = json.dumps(output.document, indent=2, default=str) if args.json else output.text
        if text:
            with _whole_stdout():
                print(printable(text), flush=True)  # noqa: T201
        return 1 if not output.ok else 3 if output.unsure else 0
    except (FootsegError, ValueError) as error:
        if args.debug:
            traceback.print_exc()
        elif _is_ours(error):
            say(f"footseg: {' '.join(str(error).split())}")
        else:
            raise
        return 130 if getattr(error, "interrupted", False) else 1
    except KeyboardInterrupt:
        say("footseg: interrupted")
        return 130
    except BrokenPipeError:  # footseg ... | head
        _drop_stdout()
        return 1


def parser(commands: Sequence[Command]) -> argparse.ArgumentParser:
    """The tree of these commands."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    top = argparse.ArgumentParser(
        "footseg", description="Real-time segmentation on phones: train, compress, export, measure, ship."
    )
    top.add_argument("--version", action="version", version=f"footseg {__version__}")
    listed: dict[str, Any] = {"title": "commands", "metavar": "COMMAND", "required": True}
    groups: dict[tuple[str, ...], Any] = {(): top.add_subparsers(**listed)}
    for command in commands:
        above = command.words[:-1]
        if above not in groups:  # help lists a group where its first command stands
            group = groups[()].add_parser(above[0], help=GROUPS[above], description=GROUPS[above])
            groups[above] = group.add_subparsers(**listed)
        sub = groups[above].add_parser(
            command.words[-1], parents=[common], help=command.help, description=command.help
        )
        command.add_arguments(sub)
        sub.set_defaults(work=command.work, folder=command.folder)
    return top


@contextlib.contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the block as Ctrl-C does: with all of its cleaning up.

    Else what is in sessions of its own (an emulator, a runner on a phone) would run on, and its files stay.
    A signal that is ignored (nohup) stays so.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    asked = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        asked = []  # Python takes signals in its main thread only
    ours = [number for number in asked if signal.getsignal(number) == signal.SIG_DFL]
    try:
        for number in ours:
            signal.signal(number, end)
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def _whole_stdout() -> Iterator[None]:
    """Say in one line that standard output took no more, as where its disk is full."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_stdout()
        raise FootsegError(f"standard output cannot be written ({error.strerror})") from error


def _drop_stdout() -> None:
    """Send what is still to be printed nowhere: Python would fail on it again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_ours(error: Exception) -> bool:
    """Whether an error is a message for the user: ours, or a ValueError that our own code raised.

    A ValueError from the depths of another package is a fault in footseg and keeps its traceback.
    """
    if isinstance(error, FootsegError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    here = Path(__file__).absolute().parents[1]
    return bool(frames) and Path(frames[-1].filename).absolute().is_relative_to(here)
