"""One process at a time in a folder that is written: the second is told who is there.

The kernel lets go of a lock when its process ends, however it ends, so that none is left behind.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from footseg import files, temporary
from footseg.errors import FootsegError
from footseg.temporary import fcntl


@contextlib.contextmanager
def alone_in(folder: Path, doing: str) -> Iterator[None]:
    """Hold ``folder``, or a file, which need not exist yet, for the block; others are told ``doing``.

    The lock is the file ``.NAME.lock`` beside it, and goes with the block, as do folders above it that were
    made for it and stayed empty. Other machines that share the disk see it where its file system does.

    Raises:
        FootsegError: another process holds it, or nothing can be written beside it.
    """
    if fcntl is None:
        yield
        return
    folder = folder.resolve()
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise FootsegError(f"{folder} cannot be written (read-only): choose another folder")
    made = _make_parents(folder)
    path = folder.with_name(files.short(f".{folder.name}") + ".lock")
    descriptor = None
    try:
        with files.disk_errors(folder):
            descriptor = _take(path, folder)
            os.truncate(descriptor, 0)
            from footseg import provenance

            holder = {"process": os.getpid(), "doing": doing, "since": provenance.now()}
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
            _sweep(folder)
        yield
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
        for parent in made:
            with contextlib.suppress(OSError):  # not empty any more
                parent.rmdir()


def _sweep(folder: Path) -> None:
    """Take away what killed commands left there and beside it: it might look like somebody's own things."""
    temporary.sweep(folder.parent)
    temporary.sweep(folder)
    for left in folder.glob(".*.lock"):
        with contextlib.suppress(FootsegError):  # it is held
            descriptor = _take(left, left)
            left.unlink(missing_ok=True)
            os.close(descriptor)


def _make_parents(folder: Path) -> list[Path]:
    """Make the folders above; returns those that were not there, the lowest first."""
    made = [parent for parent in folder.parents if not parent.exists()]
    for parent in folder.parents:
        if parent.exists() and not parent.is_dir():
            raise FootsegError(f"{parent} cannot be used (Not a directory): choose another folder")
    with files.disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    return made


def _take(path: Path, folder: Path) -> int:
    """The descriptor of the lock file at ``path``, locked."""
    assert fcntl is not None
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError as error:
            if not path.parent.exists():  # another process made it, and took it away when it ended
                path.parent.mkdir(parents=True, exist_ok=True)
                continue
            raise FootsegError(f"{path.parent} takes no files: choose another folder") from error
        except OSError as error:
            if error.errno not in files.NOT_ALLOWED:
                raise
            raise FootsegError(
                f"{path.parent} cannot be written ({error.strerror}): choose another folder"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it before takes the file away, and one that is away keeps nobody out.
            if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BlockingIOError:
            holder = _holder(path)
            os.close(descriptor)
            raise FootsegError(
                f"{folder} is in use{holder}: wait until it has ended, or give another --out"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _holder(path: Path) -> str:
    """Who holds a lock, in words; "" where that is not known."""
    try:
        told = files.read_json(path)
        return f" by process {told['process']} ({told['doing']}, since {told['since']})"
    except (FootsegError, KeyError, TypeError):
        return ""
