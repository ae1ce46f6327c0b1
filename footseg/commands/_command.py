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

from footseg import __version__, files, locks, temporary
from footseg.commands import _interrupt
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
    """One command: its words, its help, its arguments, its work, and the folder that it alone may write.

    ``go_on`` says how to go on once a full disk has space again.
    """

    words: tuple[str, ...]
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    work: Callable[[Arguments], Output]
    folder: Callable[[Arguments], Path | None] = lambda args: None
    go_on: Callable[[Arguments], str] = lambda args: "run the command again"


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
    _keep_keras_from_writing()
    args = parser(commands).parse_args(words)
    args.command_line = shlex.join(["footseg", *words])
    asked = _interrupt.Asked()
    try:
        with _interrupt.heeded() as asked:
            output = _done(args)
        text = json.dumps(output.document, indent=2, default=str) if args.json else output.text
        if text:
            with _whole_stdout():
                print(printable(text), flush=True)  # noqa: T201
        return 1 if not output.ok else 3 if output.unsure else 0
    except (FootsegError, ValueError) as error:
        if args.debug:
            traceback.print_exc()
        elif isinstance(error, files.DiskFullError):
            say(f"footseg: {error} and {args.go_on(args)}")
        elif _is_ours(error):
            say(f"footseg: {' '.join(str(error).split())}")
        elif not asked.yes:
            raise
        return 130 if asked.yes or getattr(error, "interrupted", False) else 1
    except KeyboardInterrupt:
        say("footseg: interrupted")
        return 130
    except BrokenPipeError:  # footseg ... | head
        _drop_stdout()
        return 1
    except Exception:
        if not asked.yes:
            raise
        say("footseg: interrupted")  # a library may make anything of a KeyboardInterrupt
        return 130


def _done(args: Arguments) -> Output:
    """What a command gives, with nobody else in its folder, and nothing of it left in the temporary one."""
    folder: Path | None = args.folder(args)
    with contextlib.ExitStack() as stack:
        stack.enter_context(lasting_stderr() if args.debug else native_quiet())
        stack.enter_context(files.disk_errors(Path(getattr(args, "out", None) or ".")))
        if folder is not None:
            stack.enter_context(locks.alone_in(folder, args.command_line))
        stack.enter_context(temporary.everything_in_one_folder())
        return args.work(args)


def _keep_keras_from_writing() -> None:
    """Have Keras look for its settings where none can be; who has a ``~/.keras/keras.json`` has it read.

    It else writes that file into the home of whoever only imports it.
    """
    if not Path("~/.keras/keras.json").expanduser().exists():
        os.environ.setdefault("KERAS_HOME", os.devnull)


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
        sub.set_defaults(work=command.work, folder=command.folder, go_on=command.go_on)
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
