"""Temporary folders that go with their process: at its end or, where it was killed, when the next begins."""

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has none: there nothing is locked, and nothing swept.
    fcntl = None

SUFFIX = ".footseg-tmp"
"""How the names of these folders end."""
REPLACED = "replaced"
"""In such a folder: what a new one is to replace, until that has its name."""


def is_ours(folder: Path) -> bool:
    """Whether it is a temporary folder of this module's."""
    return folder.name.endswith(SUFFIX)


@contextlib.contextmanager
def folder_in(parent: Path, prefix: str = "") -> Iterator[Path]:
    """A folder in ``parent`` that is this process's for the block; those of killed processes there go first.

    Raises:
        OSError: none can be made there.
    """
    _sweep(parent)
    folder, held = _make(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


@contextlib.contextmanager
def everything_in_one_folder() -> Iterator[None]:
    """Put all temporary files of this process and its children into one folder, which goes with the block.

    Libraries and clients leave theirs when they are killed; in a folder of ours the next command sweeps them.

    Raises:
        OSError: no folder takes temporary files.
    """
    before = {name: os.environ.get(name) for name in _VARIABLES}, tempfile.tempdir
    with folder_in(Path(tempfile.gettempdir())) as folder:
        try:
            os.environ.update(dict.fromkeys(_VARIABLES, str(folder)))
            tempfile.tempdir = str(folder)
            yield
        finally:
            variables, tempfile.tempdir = before
            for name, value in variables.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


# Python asks for TMPDIR first, other programs may ask for the others.
_VARIABLES = ("TMPDIR", "TEMP", "TMP")


def sweep(parent: Path) -> None:
    """Remove the temporary folders in ``parent`` whose processes were killed; their locks went with them.

    What one of them had put aside, to be replaced by what never came to its name, gets its name back.
    """
    if fcntl is None:
        return
    for left in parent.glob(f"*{SUFFIX}"):  # hidden ones, too
        with contextlib.suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid == os.getuid():
                    for kept in left.glob(f"{REPLACED}/*"):
                        if not (parent / kept.name).exists():
                            kept.rename(parent / kept.name)
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


# A process of many thousand files looks once.
_sweep = functools.cache(sweep)


def _make(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """A folder, and the descriptor that holds its lock for as long as this process lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=SUFFIX, dir=parent))
        if fcntl is None:
            return folder, None
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            held = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.exists():
                    return folder, held
            except BaseException:
                os.close(held)
                raise
            os.close(held)
        # Another process swept it between its birth and its lock: a new one.
