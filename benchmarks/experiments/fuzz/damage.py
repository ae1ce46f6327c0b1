"""What is done to a file: functions of its bytes and a random generator that give other bytes, with a name.

Bytes are changed as a bad disk or a cut download does it; what has a structure is also written anew with one
value of it made wrong.
"""

import csv
import io
import json
import re
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from footseg.grouping import grouped

Damage = tuple[str, bytes]
Damager = Callable[[bytes, Random], Damage]

# Texts that stand in JSON, TOML or a table as they are: numbers that no float holds, brackets without end.
DIGITS, DEEP = "9" * 5000, 100_000
RAW = (
    DIGITS,
    f"-{DIGITS}",
    "1e400",
    "NaN",
    "-Infinity",
    "[" * DEEP,
    "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP,
    "[" * 600 + "]" * 600,
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, -2.5, 2**31, 2**63, 2**70, 1e300, 5e-324, "", "a", "NaN", "1",
    "x" * 100_000,
    "../../outside", "/", "\0", "a\u2028b\x85c\x1b[31m", "\ud800", "\U0001f9b6", [], [None], [[]], [1, 2],
    ["a"], {}, {"a": 1}, {"": None},
)  # fmt: skip
CELLS = ("", "x", "-1", "1e999", "0x10", "1_0", "\u0661", '"', "-1e300", "\0")
MARKS = ("\0", "\x1b[31m", "\u2028", "\x85", "\ufeff", "\ufffd", '"', "\r", "\n", "#", ",", "}", "]")
MARK = "@@here@@"


def of_bytes(data: bytes, rng: Random) -> Damage:
    """Bits flipped, a span zeroed, doubled, left out, moved or made noise, the end cut off or lengthened."""
    length = len(data)
    start = rng.randrange(length + 1)
    end = min(length, start + int(2 ** rng.uniform(0, max(1, length.bit_length()))))
    deed = rng.choice(
        ("flip", "flip", "flip", "cut", "zero", "double", "remove", "move", "noise", "longer", "empty")
    )
    if deed == "flip":
        flipped = bytearray(data)
        for _ in range(int(2 ** rng.uniform(0, 7)) if length else 0):
            flipped[rng.randrange(length)] ^= 1 << rng.randrange(8)
        return deed, bytes(flipped)
    other = rng.randrange(length + 1)
    without = data[:start] + data[end:]
    changed = {
        "cut": data[:start],
        "zero": data[:start] + bytes(end - start) + data[end:],
        "double": data[:end] + data[start:],
        "remove": without,
        "move": without[:other] + data[start:end] + without[other:],
        "noise": data[:start] + rng.randbytes(end - start) + data[end:],
        "longer": data + rng.randbytes(rng.randrange(1, 4096)),
        "empty": b"",
    }
    return deed, changed[deed]


def of_text(data: bytes, rng: Random) -> Damage:
    """As bytes; or what editors do to a text: another encoding, marks, control characters, lines."""
    text = data.decode(errors="replace")
    at = rng.randrange(len(text) + 1)
    lines = text.splitlines(keepends=True)
    line = rng.randrange(len(lines) + 1)
    inserted = rng.choice(
        (*RAW, "\0", "\x1b[31m", "\u2028", "\x85", "\ufeff", "\ufffd", '"', "\r", "\n", "#", ",", "}", "]")
    )
    changed: dict[str, Callable[[], bytes]] = {
        "BOM": lambda: b"\xef\xbb\xbf" + data,
        "UTF-16": lambda: text.encode("utf-16", "replace"),
        "UTF-32": lambda: text.encode("utf-32", "replace"),
        "Latin-1": lambda: data[:at] + b"\xe9\xff" + data[at:],
        "CRLF": lambda: text.replace("\n", "\r\n").encode(),
        "inserted": (text[:at] + inserted + text[at:]).encode,
        "line left out": lambda: "".join(lines[:line] + lines[line + 1 :]).encode(),
        "line doubled": lambda: "".join(lines[: line + 1] + lines[line:]).encode(),
        "line cut": lambda: "".join(
            [*lines[:line], *(one[: len(one) // 2] for one in lines[line : line + 1])]
        ).encode(),
        "lines joined": lambda: text.replace("\n", "", rng.randrange(1, 4)).encode(),
        "nothing but": lambda: rng.choice((inserted, "null", "[]", "{}", '""', "0", "\n\n", "true")).encode(),
    }
    deed = rng.choice((*changed, "bytes"))
    return of_bytes(data, rng) if deed == "bytes" else (deed, changed[deed]())


def of_json(data: bytes, rng: Random) -> Damage:
    """As text; or one value of a JSON document is another one, is gone, or stands there twice."""
    if rng.random() < 0.25 or data[:1] not in (b"{", b"["):
        return of_text(data, rng)
    root = [json.loads(data)]
    where, raw = _damage_value(root, rng)
    text = json.dumps(root[0], indent=2)
    return where, text.replace(f'"{MARK}"', raw).encode()


def of_lines(data: bytes, rng: Random) -> Damage:
    """As text; or one line of JSON is damaged as a document."""
    lines = data.decode().splitlines()
    if rng.random() < 0.25 or not lines:
        return of_text(data, rng)
    number = rng.randrange(len(lines))
    before, brace, rest = lines[number].partition("{")
    root = [json.loads(brace + rest)]
    where, raw = _damage_value(root, rng)
    lines[number] = before + json.dumps(root[0]).replace(f'"{MARK}"', raw)
    return f"line {number + 1}, {where}", "\n".join(lines).encode() + b"\n"


def of_toml(data: bytes, rng: Random) -> Damage:
    """As text; or one value is another one or gone."""
    import tomli_w

    if rng.random() < 0.25:
        return of_text(data, rng)
    root = [tomllib.loads(data.decode())]
    where, raw = _damage_value(root, rng)
    try:
        return where, tomli_w.dumps(root[0]).replace(f'"{MARK}"', raw).encode()
    except (TypeError, ValueError, AttributeError):  # TOML has no null, and no document but a table
        return of_text(data, rng)


def of_csv(data: bytes, rng: Random) -> Damage:
    """As text; or one cell is another one, a column is gone, or a row is too long."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    if rng.random() < 0.25 or not rows:
        return of_text(data, rng)
    number = rng.randrange(len(rows))
    column = rng.randrange(max(1, len(rows[number])))
    deed = rng.choice(("cell", "cell", "cell", "column", "row"))
    if deed == "cell":
        rows[number][column] = rng.choice((*RAW[:5], *CELLS))
    elif deed == "column":
        rows = [row[:column] + row[column + 1 :] for row in rows]
    else:
        rows[number] = rows[number] * 2
    return f"{deed} {column} of line {number + 1}", "\n".join(",".join(row) for row in rows).encode() + b"\n"


def of_archive(inner: Callable[[str], Damager]) -> Damager:
    """As bytes; or an archive's part is damaged by ``inner`` of its name, is gone, doubled, empty or huge."""

    def damage(data: bytes, rng: Random) -> Damage:
        if rng.random() < 0.25:
            return of_bytes(data, rng)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [(info.filename, archive.read(info)) for info in archive.infolist()]
        number = rng.randrange(len(parts))
        name, held = parts[number]
        deed = rng.choice(("inside",) * 6 + ("gone", "doubled", "huge", "renamed"))
        if deed == "inside":
            deed, changed = inner(name)(held, rng)
            parts[number] = (name, changed)
        elif deed == "gone":
            del parts[number]
        elif deed == "doubled":
            parts.append((name, held[: len(held) // 2]))
        elif deed == "huge":
            parts[number] = (name, held + bytes(300_000_000))
        else:
            parts[number] = (rng.choice((f"../{name}", "", "x" * 300, f"{name}/")), held)
        return f"{name} {deed}", _zipped(parts)

    return damage


def _inside(
    name: str, held: bytes, inner: Callable[[str], Damager], rng: Random
) -> tuple[str, tuple[str, bytes]]:
    told, changed = inner(name)(held, rng)
    return told, (name, changed)


def _zipped(parts: list[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, held in parts:
            archive.writestr(name or "_", held)
    return packed.getvalue()


def of_array(data: bytes, rng: Random) -> Damage:
    """As bytes; or an ``.npy`` array of another type, shape or order, or of values that are no numbers."""
    import numpy as np

    if rng.random() < 0.3:
        return of_bytes(data, rng)
    array = np.load(io.BytesIO(data), allow_pickle=False)
    texts = ("", "[]", "{}", "null", "[" * DEEP, DIGITS, '[{"epoch": []}]')
    changed: dict[str, Callable[[], Any]] = {
        "objects": lambda: np.array([None, {}], dtype=object),
        "texts": lambda: np.array(["a", "b"]),
        "a text": lambda: np.array(rng.choice(texts)),
        "a number": lambda: np.array(7),
        "NaN": lambda: np.full(array.shape, np.nan, np.float32),
        "whole numbers": lambda: np.zeros(array.shape, np.int64),
        "complex": lambda: np.zeros(array.shape, np.complex64),
        "empty": lambda: np.zeros((0,), array.dtype),
        "an axis more": lambda: array[None],
        "structured": lambda: np.zeros(array.shape, [("a", "f4")]),
    }
    deed = rng.choice((*changed, "claims more"))
    if deed == "claims more":
        at = data.find(b"'shape': (")
        return deed, data[: at + 10] + b"9" + data[at + 11 :] if at >= 0 else data
    written = io.BytesIO()
    np.save(written, changed[deed](), allow_pickle=True)
    return deed, written.getvalue()


def _damage_value(root: list[Any], rng: Random) -> tuple[str, str]:
    """Change one value below ``root``, in its place; its path, and what ``MARK`` stands for in it."""
    kinds = grouped((re.sub(r"\d+", "*", place[0]), place) for place in _places(root))
    path, holder, key = rng.choice(rng.choice(list(kinds.values())))  # a list of thousands counts once
    deed = rng.choice(("value",) * 5 + ("raw", "gone", "double", "grown"))
    value, raw = holder[key], ""
    if deed == "value":
        holder[key] = rng.choice(VALUES)
    elif deed == "raw":
        holder[key], raw = MARK, rng.choice(RAW)
    elif deed == "gone":
        del holder[key]
        if not root:
            root.append(None)
    elif isinstance(value, list):
        holder[key] = value * 2 if deed == "double" else value[:-1]
    elif isinstance(value, dict):
        holder[key] = {**value, "unknown": 1} if deed == "double" else [value]
    elif isinstance(value, int | float):
        holder[key] = -value if deed == "double" else value * 1e12
    else:
        holder[key] = [value] if deed == "double" else f"{value}/../\u202e"
    return f"{path} {deed}", raw


def _places(value: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every value below a list or a dictionary: where it is, and the holder and the key to change it by."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield f"{path}.{key}"[:100], value, key
        yield from _places(inner, f"{path}.{key}")
