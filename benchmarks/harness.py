"""What ``android_harness`` says, as this package says it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from footseg.android_harness.errors import HarnessError
from footseg.errors import FootsegError


@contextmanager
def as_footseg(where: str = "", names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Errors of android_harness as FootsegErrors.

    Args:
        where: stands before the message unless it is in it, as a phone's serial.
        names: texts of messages and what stands for each of them: files by their own names.

    Raises:
        FootsegError: there was a HarnessError.
    """
    try:
        yield
    except HarnessError as error:
        message = str(error)
        for name, own in (names or {}).items():
            message = message.replace(name, own)
        raise FootsegError(message if where in message else f"{where}: {message}") from error
