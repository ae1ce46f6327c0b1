"""What a ``.tflite`` says of itself: TFLite Metadata as MediaPipe reads it, and footseg's own entry.

Tables and fields are numbered as in MediaPipe's public schemas ``metadata_schema.fbs`` (identifier M001) and
``image_segmenter_metadata_schema.fbs`` (V001); ``footseg.export.metadata`` writes them.
"""

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flatbuffers import number_types
from flatbuffers.table import Table

from footseg import description
from footseg.description import Description
from footseg.errors import FootsegError

NAME, OURS, RUNTIME = "TFLITE_METADATA", "FOOTSEG", "min_runtime_version"
SEGMENTER = "SEGMENTER_METADATA"
ACTIVATIONS = ("none", "sigmoid", "softmax")
# Kinds of associated files that name classes: of channels, of values.
LABELS = (2, 3)
NORMALIZATION = 1


@dataclass(frozen=True)
class Metadata:
    """What a ``.tflite`` says of itself; fields are empty where it says nothing.

    ``text`` is what it is, for people, ``runtime`` the oldest TensorFlow Lite that it promises to run on.
    ``described`` tells whether it has TFLite Metadata: from there are the ``labels`` of its last output, the
    ``mean`` and ``std`` by which its input is normalized, and the ``activation`` that MediaPipe puts behind
    it. ``ours`` is what footseg wrote.
    """

    text: str = ""
    runtime: str = ""
    described: bool = False
    name: str = ""
    labels: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    activation: str = ""
    ours: Description | None = None


def read(path: Path) -> Metadata:
    """What the ``.tflite`` at ``path`` says of itself.

    Raises:
        FootsegError: not a .tflite file, or what it says is damaged.
    """
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    if not schema.Model.ModelBufferHasIdentifier(data, 0):
        raise FootsegError(f"{path} is not a .tflite file: export it again")
    try:
        return _metadata(schema.Model.GetRootAs(data, 0), data)
    # A flatbuffer has no checksum: a damaged one shows as an offset that leads outside, in any error.
    except Exception as error:
        raise FootsegError(
            f"what {path} says of itself is damaged ({error}): describe it again with "
            "footseg describe --force, or export it again"
        ) from error


def _metadata(model: Any, data: bytes) -> Metadata:
    entries = {}
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        buffer = model.Buffers(entry.Buffer())
        held = buffer.DataAsNumpy() if buffer.DataLength() else b""
        entries[(entry.Name() or b"").decode()] = bytes(held)
    said = _tflite_metadata(entries[NAME], data) if entries.get(NAME) else {}
    ours = description.read(entries[OURS]) if entries.get(OURS) else None
    return Metadata(
        text=(model.Description() or b"").decode(),
        runtime=entries.get(RUNTIME, b"").rstrip(b"\0").decode(),
        described=bool(said),
        ours=ours,
        **said,
    )


def _tflite_metadata(held: bytes, data: bytes) -> dict[str, Any]:
    """The fields of ``Metadata`` that come from TFLite Metadata; ``data`` is the file, its labels behind."""
    root = _root(held)
    said: dict[str, Any] = {"name": _text(root, 0)}
    for graph in _tables(root, 3)[:1]:
        for image in _tables(graph, 2)[:1]:
            for unit in _tables(image, 4):
                if _byte(unit, 0) == NORMALIZATION:
                    options = _table(unit, 1)
                    said |= {"mean": _floats(options, 0), "std": _floats(options, 1)}
        for output in _tables(graph, 3)[-1:]:
            said["labels"] = _labels(output, data)
        for custom in _tables(graph, 9):
            if _text(custom, 0) == SEGMENTER:
                options = _root(_bytes(custom, 1))
                said["activation"] = ACTIVATIONS[_byte(options, 0)]
    return said


def _labels(output: Table, data: bytes) -> tuple[str, ...]:
    """The lines of the first file that names classes, out of the archive behind the flatbuffer."""
    for file in _tables(output, 6):
        if _byte(file, 2) in LABELS:
            try:
                with zipfile.ZipFile(io.BytesIO(data)) as archive:
                    text = archive.read(_text(file, 0)).decode()
            except (zipfile.BadZipFile, KeyError, zlib.error) as error:
                raise ValueError(f"its labels {_text(file, 0)} are not there") from error
            return tuple(line.rstrip("\r") for line in text.rstrip("\r\n").split("\n"))
    return ()


def _root(data: bytes) -> Table:
    start = Table(data, 0)
    return Table(data, start.Indirect(0))


def _place(table: Table, field: int) -> int:
    """Where a field stands; 0 where the table has none."""
    offset = table.Offset(4 + 2 * field)
    return table.Pos + offset if offset else 0


def _byte(table: Table, field: int) -> int:
    place = _place(table, field)
    return int(table.Get(number_types.Int8Flags, place)) if place else 0


def _text(table: Table, field: int) -> str:
    place = _place(table, field)
    return bytes(table.String(place)).decode() if place else ""


def _table(table: Table, field: int) -> Table:
    return Table(table.Bytes, table.Indirect(_place(table, field)))


def _vector(table: Table, field: int) -> tuple[int, int]:
    """Where a vector begins, and how many it has; (0, 0) where there is none."""
    offset = table.Offset(4 + 2 * field)
    return (table.Vector(offset), table.VectorLen(offset)) if offset else (0, 0)


def _tables(table: Table, field: int) -> list[Table]:
    start, count = _vector(table, field)
    return [Table(table.Bytes, table.Indirect(start + 4 * number)) for number in range(count)]


def _floats(table: Table, field: int) -> tuple[float, ...]:
    start, count = _vector(table, field)
    return tuple(float(table.Get(number_types.Float32Flags, start + 4 * n)) for n in range(count))


def _bytes(table: Table, field: int) -> bytes:
    start, count = _vector(table, field)
    return bytes(table.Bytes[start : start + count])
