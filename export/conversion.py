"""What every conversion shares: silence while it works, and one clear line when it fails."""

import contextlib
from collections.abc import Iterator

from footseg import files
from footseg.errors import FootsegError
from footseg.quiet import quiet


@contextlib.contextmanager
def conversion(what: str) -> Iterator[None]:
    """Run a converter quietly; whatever it raises becomes a FootsegError that starts with ``what``.

    What the converter printed stays with the error as a note (``--debug`` shows it).

    Raises:
        FootsegError: the block failed. Our own errors, ``MemoryError`` and ``OSError`` (a full disk) pass.
    """
    try:
        with quiet():
            yield
    except (FootsegError, MemoryError, OSError):
        raise
    except Exception as error:  # Converters raise kinds of their own, without a common base.
        if files.means_disk_full(error):
            raise files.DiskFullError(f"{what} failed, the disk is full; free some space") from error
        lines = str(error).strip().splitlines()
        failure = FootsegError(
            f"{what} failed: {type(error).__name__}: {lines[0] if lines else 'no message'}"
        )
        for note in getattr(error, "__notes__", ()):
            failure.add_note(note)
        raise failure from error
