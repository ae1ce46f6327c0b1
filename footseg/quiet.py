"""Keep the chatter of native libraries off the user's terminal."""

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what is written on stdout and stderr, by Python and by C++, while the block runs.

    TensorFlow, LiteRT and the quantizer report build flags and missing GPUs there, and print progress of
    their own. Where the block fails, what was held back stays with the exception as a note, which
    ``--debug`` shows.
    """
    with tempfile.TemporaryFile() as held:
        native = os.dup(2)
        python = io.StringIO()
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            with (
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
        finally:
            os.dup2(native, 2)
            os.close(native)
