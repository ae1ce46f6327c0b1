"""Keep the chatter of native libraries off the user's terminal.

TensorFlow, LiteRT and the quantizer write build flags and missing GPUs straight to file descriptor 2,
whatever their log level, and print progress of their own.
"""

import contextlib
import faulthandler
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import IO, Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back all that is written on stdout and stderr, by Python and by C++, while the block runs.

    Where the block fails, what was held back stays with the exception as a note, which ``--debug`` shows.
    """
    python = io.StringIO()
    with tempfile.TemporaryFile() as held:
        try:
            with (
                native_stderr_to(held),
                contextlib.redirect_stdout(python),
                contextlib.redirect_stderr(python),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                yield
        except Exception as error:
            held.seek(0)
            error.add_note(held.read().decode(errors="replace") + python.getvalue())
            raise


@contextlib.contextmanager
def native_quiet() -> Iterator[None]:
    """Hold back what C++ writes to stderr; Python's own still goes to the terminal, and so does a crash."""
    with tempfile.TemporaryFile() as held, native_stderr_to(held) as terminal, _as_stderr(terminal):
        faulthandler.enable(terminal)
        try:
            yield
        finally:
            faulthandler.disable()


@contextlib.contextmanager
def lasting_stderr() -> Iterator[None]:
    """Let the block go on when nobody takes what it writes to stderr."""
    with _lasting(2) as terminal, _as_stderr(terminal):
        yield


@contextlib.contextmanager
def _as_stderr(terminal: IO[str]) -> Iterator[None]:
    """Let Python write to ``terminal`` what it would write to its own stderr; another one stays."""
    python = sys.stderr
    if python is sys.__stderr__:
        sys.stderr = terminal
    try:
        yield
    finally:
        sys.stderr = python


def open_closed_streams() -> None:
    """Put the null device where standard input, output or error is closed, as by ``2>&-``.

    Else the next file that is opened takes its number, and what is meant for the terminal goes into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - lives as long as the process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


class _Lasting(io.FileIO):
    """Takes what a closed pipe or a full disk does not: work outlives the reader of its progress."""

    def write(self, data: Any, /) -> int:
        """Write ``data``, or drop it."""
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


def _lasting(descriptor: int) -> IO[str]:
    """A text stream to a copy of a descriptor; what cannot be written is dropped."""
    raw = _Lasting(os.dup(descriptor), "w")
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)


@contextlib.contextmanager
def native_stderr_to(held: IO[bytes]) -> Iterator[IO[str]]:
    """Point file descriptor 2 at ``held`` for the block; yields what it pointed at before."""
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    with _lasting(2) as terminal:
        os.dup2(held.fileno(), 2)
        try:
            yield terminal
        finally:
            terminal.flush()
            os.dup2(terminal.fileno(), 2)
