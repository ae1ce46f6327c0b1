"""Files that are either the old one or the whole new one, never half of it."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from footseg import temporary
from footseg.errors import FootsegError

# What a record may hold within one another, as lists in lists: ours have ten. Of deeper ones Python's own
# copying and writing, which call themselves, end at some hundreds.
DEEPEST = 100
# What the disks of Linux and macOS take of a name.
NAME_BYTES = 255


class DiskFullError(FootsegError):
    """Nothing could be written for want of space."""


# No space left, quota exceeded, file size limit: the same news for the reader.
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# No right to it, a read-only disk, a file where a folder should be.
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place when the block ends well.

    The temporary name keeps the suffix, because libraries choose a format by it. Whatever ends
    the block early (error, Ctrl-C), the temporary file or folder is removed and ``path`` is as it was.

    Raises:
        FootsegError: the disk is full, or a device (/dev/null) or, for a file, a folder stands at ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FootsegError(f"{path} is no file that could be replaced: give another name")
    with temporary.folder_in(path.parent, f"{short(f'.{path.name}')}.") as folder, disk_errors(path):
        new = folder / path.name
        yield new
        if path.is_dir():
            if not new.is_dir():
                raise FootsegError(f"{path} is a folder: give the name of a file")
            # A folder cannot be renamed over another: the old one steps aside, and goes with `folder`.
            (folder / temporary.REPLACED).mkdir()
            path.rename(folder / temporary.REPLACED / path.name)
        new.replace(path)


def short(name: str) -> str:
    """``name``, cut so that two dozen characters more make it none too long for a disk."""
    return cut(name, NAME_BYTES - 24)


def cut(name: str, most: int) -> str:
    """``name`` in at most so many bytes, no character cut in two."""
    raw = os.fsencode(name)
    return name if len(raw) <= most else raw[:most].decode(errors="ignore")


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError that means "the disk is full" or "not allowed" into a FootsegError that names it.

    ``path`` is what was to be written. Where it is the disk of temporary files that is full, that is named.
    """
    try:
        yield
    except DiskFullError as error:  # of a file inside a folder that is being made: name the folder
        raise DiskFullError(_disk_full(path, error.__cause__)) from error.__cause__
    except OSError as error:
        if means_disk_full(error):
            raise DiskFullError(_disk_full(path, error)) from error
        if error.errno in NOT_ALLOWED:
            raise FootsegError(
                f"{error.filename or path} cannot be used ({error.strerror}): choose another folder"
            ) from error
        raise


def means_disk_full(error: BaseException) -> bool:
    """Whether an error says so: by its number, or, of a library's own kind, in its text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in DISK_FULL
    # numpy: "4096 requested and 1024 written"
    return any(os.strerror(code) in str(error) for code in DISK_FULL) or (
        isinstance(error, OSError) and "requested and" in str(error)
    )


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room for even a small file."""
    return shutil.disk_usage(folder).free < 1 << 16


def _disk_full(path: Path, cause: BaseException | None) -> str:
    """What happened, and where space is wanted."""
    reason = getattr(cause, "strerror", None) or "no space left"
    lost = f": {path} was not written" if path.name else ""
    folder = Path(tempfile.gettempdir())
    if _is_fuller(folder, path):
        named = next(each for each in (folder, *folder.parents) if not temporary.is_ours(each))
        return (
            f"the disk of temporary files is full ({reason}){lost}; free some space in {named}, or set "
            "TMPDIR to another folder,"
        )
    return f"the disk is full ({reason}){lost}; free some space"


def _is_fuller(folder: Path, path: Path) -> bool:
    """Whether ``folder`` is on another disk than ``path``, one with less space left."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    with contextlib.suppress(OSError):
        other = folder.stat().st_dev != there.stat().st_dev
        return other and shutil.disk_usage(folder).free < shutil.disk_usage(there).free
    return False


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` atomically; bytes of names that are not UTF-8 become \\udcff."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, mend: str = "make it anew") -> Any:
    """Parse the JSON file ``path``; how to ``mend`` it ends the message where it is none.

    Raises:
        FootsegError: it cannot be read, or is not JSON: cut short, not UTF-8, nested too deep.
    """
    try:
        return parse_json(_text(path))
    except ValueError as error:
        raise FootsegError(f"{path} is not valid JSON ({error}); {mend}") from error


def parse_json(text: str, **options: Any) -> Any:
    """The value of a JSON document; ``options`` are those of json.loads.

    Raises:
        ValueError: it is none, holds a number of more digits than Python reads, or is nested too deep.
    """
    return _shallow(lambda: json.loads(text, **options))


def read_toml(path: Path) -> dict[str, Any]:
    """Parse the TOML file ``path``.

    Raises:
        FootsegError: it cannot be read, or is not TOML: not UTF-8, nested too deep.
    """
    try:
        return _shallow(lambda: tomllib.loads(_text(path)))
    except ValueError as error:
        raise FootsegError(f"{path} is not valid TOML: {error}") from error


def _text(path: Path) -> str:
    """The text of a file, without the mark that Windows' editors begin it with."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FootsegError(f"no such file: {path}") from error
    except OSError as error:
        raise FootsegError(f"{path} cannot be read ({error.strerror})") from error


def _shallow(parse: Callable[[], Any]) -> Any:
    """What ``parse`` gives, where it is not nested deeper than ``DEEPEST``."""
    try:
        value = parse()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        inside = (outer.values() if isinstance(outer, dict) else outer for outer in level)
        level = [inner for one in inside for inner in one if isinstance(inner, dict | list)]
        if not level:
            return value
    raise ValueError("it is nested too deep")


def size(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    parts = path.rglob("*") if path.is_dir() else [path]
    return sum(part.stat().st_size for part in parts if part.is_file())


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex; of a folder that of its files' names and SHA-256, sorted.

    These are the lines that ``sha256sum`` gives of them inside the folder.
    """
    if path.is_dir():
        found = sorted(part for part in path.rglob("*") if part.is_file())
        lines = "".join(f"{sha256(part)}  {part.relative_to(path).as_posix()}\n" for part in found)
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def unchanged(path: Path, before: str = "") -> Iterator[str]:
    """Yield the SHA-256 of a file that the block reads, that of ``before`` where it was read already.

    Raises:
        FootsegError: another file has its name at the end, as where the network is being trained.
    """
    before = before or (sha256(path) if path.exists() else "")
    yield before
    if not path.exists() or sha256(path) != before:
        raise FootsegError(f"{path} was replaced while it was read: run the command again")


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and sizes of all files in a folder, in hex; their bytes are not read.

    Raises:
        FootsegError: no such folder.
    """
    if not folder.is_dir():
        raise FootsegError(f"no such folder: {folder}")
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder)} {path.stat().st_size}" for path in found]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
