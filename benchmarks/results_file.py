"""``results.jsonl``: measurements, a line each, appended as they come and read back.

A reader takes lines of this schema and of those before it, and names file, line and field of any other.
"""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

from footseg import paired
from footseg.benchmarks.measurement import Measurement
from footseg.errors import FootsegError
from footseg.files import disk_errors, parse_json


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


@dataclass(frozen=True)
class Stored:
    """What a results file holds: its measurements, in order, and what is wrong with each other line of it."""

    measurements: tuple[Measurement, ...]
    left_out: tuple[str, ...]


def read(path: Path) -> Stored:
    """The measurements of ``path``; a line that cannot be read costs no other, and is told.

    Raises:
        FootsegError: no such file, or no measurement in it.
    """
    try:
        lines = path.read_bytes().split(b"\n")  # a text may hold other ends of lines
    except FileNotFoundError as error:
        raise FootsegError(f"no such file: {path} (footseg bench ARTIFACT --out {path} makes it)") from error
    except OSError as error:
        raise FootsegError(f"{path} cannot be read as results ({error.strerror})") from error
    found, left_out = [], []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                found.append(_measurement(line))
        except (ValueError, FootsegError) as error:
            left_out.append(f"{path}, line {number} is not a measurement: {error}")
    if not found and left_out:
        raise FootsegError(f"{left_out[0]}; give a file that footseg bench --out has written")
    if not found:
        raise FootsegError(f"{path} holds no measurement: footseg bench ARTIFACT --out {path}")
    return Stored(tuple(found), tuple(left_out))


def read_all(path: Path) -> list[Measurement]:
    """The measurements of a file of which no line may be missing, as of a gate's baseline.

    Raises:
        FootsegError: as ``read``, or a line cannot be read.
    """
    stored = read(path)
    if stored.left_out:
        raise FootsegError(f"{stored.left_out[0]}; mend or delete that line")
    return list(stored.measurements)


def _measurement(line: bytes) -> Measurement:
    """One line; a ValueError or a FootsegError says what is wrong with it."""
    record = parse_json(line.decode(), parse_constant=_no_number)
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")
    found = Measurement.from_json(record)
    paired.decisions(found.artifact.verification)
    return found
