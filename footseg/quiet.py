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
from typing import IO


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
    python = sys.stderr
    with tempfile.TemporaryFile() as held, native_stderr_to(held) as terminal:
        if python is sys.__stderr__:
            sys.stderr = terminal
        faulthandler.enable(terminal)
        try:
            yield
        finally:
            faulthandler.disable()
            sys.stderr = python


@contextlib.contextmanager
def native_stderr_to(held: IO[bytes]) -> Iterator[IO[str]]:
    """Point file descriptor 2 at ``held`` for the block; yields what it pointed at before."""
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w", 1, "utf-8") as terminal:
        os.dup2(held.fileno(), 2)
        try:
            yield terminal
        finally:
            terminal.flush()
            os.dup2(terminal.fileno(), 2)
