"""``results.jsonl``: measurements, a line each, appended as they come and read back.

A reader takes lines of this schema and of those before it, and names file, line and field of any other.
"""

import errno
import json
import os
from pathlib import Path

from footseg.benchmarks.measurement import Measurement
from footseg.errors import FootsegError
from footseg.files import disk_errors


def append_line(path: Path, measurement: Measurement) -> None:
    """Add one line to ``path`` in a single write, so that two writers never mix theirs.

    A last line without an end, as an editor may leave it, gets one: else two lines would be lost.

    Raises:
        FootsegError: the disk is full; the file is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(measurement.to_json(), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with disk_errors(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            before = os.fstat(file).st_size
            if before and os.pread(file, 1, before - 1) != b"\n":
                line = b"\n" + line
            if os.write(file, line) < len(line):
                os.ftruncate(file, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)


def check_writable(path: Path) -> None:
    """Find out whether ``append_line`` can write to ``path``, which stays as it is; its folder is made.

    Raises:
        FootsegError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644))
        if is_new:
            path.unlink()
    except OSError as error:
        raise FootsegError(f"{path} cannot be written ({error.strerror}): give --out another file") from error


def _no_number(word: str) -> None:
    """NaN and infinity are no JSON, and no result."""
    raise ValueError(f"it holds {word}, which is no number")


def read_all(path: Path) -> list[Measurement]:
    """All measurements of ``path``, in the order they were made.

    Raises:
        FootsegError: no such file, none in it, or a line that cannot be read (it is named).
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() ends lines at U+2028, too
    except FileNotFoundError as error:
        raise FootsegError(f"no such file: {path} (footseg bench ARTIFACT --out {path} makes it)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FootsegError(f"{path} cannot be read as results ({error})") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_constant=_no_number)
            if not isinstance(record, dict):
                raise ValueError("it is not a JSON object")
            found.append(Measurement.from_json(record))
        except (ValueError, RecursionError) as error:  # json.JSONDecodeError is the first
            mend = "delete that line" if found else "give a file that footseg bench --out has written"
            raise FootsegError(f"{path}, line {number} is not a measurement: {error}; {mend}") from error
    if not found:
        raise FootsegError(f"{path} holds no measurement: footseg bench ARTIFACT --out {path}")
    return found
