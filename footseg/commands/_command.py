"""What a command is, and how a command line is run: one that a person wrote, or a step of longer work.

A command's work is imported when it is called: nothing heavy is imported here or beside it.
"""

import argparse
import contextlib
import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import __version__, files
from footseg.errors import FootsegError
from footseg.quiet import native_quiet

Arguments = argparse.Namespace


GROUPS: dict[tuple[str, ...], str] = {
    ("data",): "make, check and look at data sets",
    ("reproduce",): "make published results anew",
}


@dataclass(frozen=True)
class Output:
    """What a command found: ``document`` for --json, ``text`` for people, ``ok`` for the exit code."""

    document: Any
    text: str
    ok: bool = True


@dataclass(frozen=True)
class Command:
    """One command: its words, its help, its arguments and its work."""

    words: tuple[str, ...]
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    work: Callable[[Arguments], Output]


def say(line: str) -> None:
    """Progress and errors go to standard error, so that standard output stays a document."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def run(words: Sequence[str], commands: Sequence[Command]) -> int:
    """Run one command line of these; returns 0 done, 1 a clear error, 2 wrong usage, 130 interrupted."""
    # Before any import of TensorFlow: its start-up notes bury the messages that matter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    args = parser(commands).parse_args(words)
    args.command_line = shlex.join(["footseg", *words])
    try:
        quietly = contextlib.nullcontext() if args.debug else native_quiet()
        with quietly, files.disk_errors(Path(getattr(args, "out", None) or ".")):
            output: Output = args.work(args)
        text = json.dumps(output.document, indent=2, default=str) if args.json else output.text
        if text:
            with _whole_stdout():
                print(text, flush=True)  # noqa: T201
        return 0 if output.ok else 1
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
        sub.set_defaults(work=command.work)
    return top


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
