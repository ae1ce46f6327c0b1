"""The command tree: reads arguments, calls the one function that does the work, prints what it found.

The commands are in ``footseg.commands``. Nothing heavy is imported here or there before a command is called.
"""

import argparse
import contextlib
import json
import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from footseg import __version__, files
from footseg.commands import (
    compressing,
    costing,
    data,
    first,
    measuring,
    reproducing,
    searching,
    shipping,
    training,
)
from footseg.commands._shared import Command, Output, say
from footseg.errors import FootsegError
from footseg.quiet import native_quiet


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 done, 1 a clear error, 2 wrong usage, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Before any import of TensorFlow: its start-up notes bury the messages that matter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    args = parser().parse_args(arguments)
    args.command_line = shlex.join(["footseg", *arguments])
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


def parser() -> argparse.ArgumentParser:
    """The whole command tree."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    top = argparse.ArgumentParser(
        "footseg", description="Real-time segmentation on phones: train, compress, export, measure, ship."
    )
    top.add_argument("--version", action="version", version=f"footseg {__version__}")
    listed: dict[str, Any] = {"title": "commands", "metavar": "COMMAND", "required": True}
    groups: dict[tuple[str, ...], Any] = {(): top.add_subparsers(**listed)}
    for words, text in GROUPS.items():
        group = groups[words[:-1]].add_parser(words[-1], help=text, description=text)
        groups[words] = group.add_subparsers(**listed)
    for command in COMMANDS:
        sub = groups[command.words[:-1]].add_parser(
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
    here = Path(__file__).resolve().parents[1]
    ours = [here / package for package in ("footseg", "export", "benchmarks", "android_harness")]
    return bool(frames) and any(Path(frames[-1].filename).resolve().is_relative_to(p) for p in ours)


GROUPS = {
    ("data",): "make, check and look at data sets",
    ("reproduce",): "make published results anew",
}

COMMANDS: tuple[Command, ...] = (
    *first.COMMANDS,
    *data.COMMANDS,
    *training.COMMANDS,
    *searching.COMMANDS,
    *compressing.COMMANDS,
    *shipping.COMMANDS,
    *costing.COMMANDS,
    *measuring.COMMANDS,
    *reproducing.COMMANDS,
)
