"""What a ``.tflite`` says of itself to the apps that read it, by a writer of our own.

TFLite Metadata is what MediaPipe's ImageSegmenter reads: it opens a file only with ``NormalizationOptions``
for a float32 input, takes the names of classes from a file of labels behind the last output, and turns logits
into confidences by the activation in ``SEGMENTER_METADATA``. The tables and their fields are numbered as in
the public schemas ``metadata_schema.fbs`` (file identifier M001) and ``image_segmenter_metadata_schema.fbs``
(V001) of MediaPipe. Beside it stands all that footseg knows of the file (``footseg.description``).
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers

from footseg.description import Description
from footseg.export import plain

NAME, OURS = plain.DESCRIPTIONS
SEGMENTER = "SEGMENTER_METADATA"
LABELS = "labels.txt"
# Of enumerations and unions in the schemas.
RGB, IMAGE_PROPERTIES, NORMALIZATION, AXIS_LABELS, VALUE_LABELS = 1, 2, 1, 2, 3
NONE, SOFTMAX = 0, 2
# The first versions of the readers that know what is written: custom metadata came with 1.5.0.
PARSER, PARSER_OF_CUSTOM, PARSER_OF_SEGMENTER = "1.0.0", "1.5.0", "1.0.0"


@dataclass(frozen=True)
class Table:
    """A flatbuffer table: values by the numbers of their fields.

    A value is a text, bytes, a Table, a list of texts or Tables (vectors of references), a list of floats, or
    one of ``Byte`` and ``Number``.
    """

    fields: Mapping[int, Any]


@dataclass(frozen=True)
class Byte:
    """An int8, or the kind of a union."""

    value: int


@dataclass(frozen=True)
class Number:
    """A uint32."""

    value: int


def describe(data: bytes, said: Description) -> bytes:
    """A ``.tflite`` that describes itself; what described it before is replaced.

    Its labels are appended as an uncompressed zip archive, which readers of flatbuffers do not see. 2 kB in
    all.

    Raises:
        ValueError: a buffer lies outside of the file.
    """
    model = plain.unpack(data)
    model.description = said.text.encode()
    plain.set_metadata(model, NAME, serialized(_model(said), b"M001"))
    plain.set_metadata(model, OURS, said.to_bytes())
    return _with_files(plain.pack(model), {LABELS: "\n".join(said.channels) + "\n"})


def _with_files(data: bytes, texts: Mapping[str, str]) -> bytes:
    """Texts appended as an archive, the same bytes each time; its offsets count from the file's begin."""
    written = io.BytesIO(data)
    with zipfile.ZipFile(written, "a", zipfile.ZIP_STORED) as target:
        for name, text in texts.items():
            target.writestr(zipfile.ZipInfo(name), text)
    return written.getvalue()


def serialized(table: Table, identifier: bytes) -> bytes:
    """A flatbuffer whose root is ``table``."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_written(builder, table), identifier)
    return bytes(builder.Output())


def _model(said: Description) -> Table:
    graph = {2: [_input(said)], 3: [_output(said)]}
    if said.output != "mask":
        activation = {0: Byte(_activation(said)), 1: PARSER_OF_SEGMENTER}
        graph[9] = [Table({0: SEGMENTER, 1: serialized(Table(activation), b"V001")})]
    parser = PARSER_OF_CUSTOM if 9 in graph else PARSER
    return Table({0: said.network, 1: said.text, 3: [Table(graph)], 7: parser})


def _input(said: Description) -> Table:
    """``NormalizationOptions`` are for float32 alone: pixels go in as they are.

    With a mask at the other end there are none: MediaPipe would give 0 for every class but the first, and so
    refuses the file. With pixels in, nothing keeps it from that.
    """
    height, width = said.size
    black, white = said.range
    properties = Table({0: Byte(RGB), 1: Table({0: Number(width), 1: Number(height)})})
    image: dict[int, Any] = {0: "image", 1: said.feeding}
    image[3] = Table({0: Byte(IMAGE_PROPERTIES), 1: properties})
    if said.input == "float32" and said.output != "mask":
        normalization = Table({0: [said.mean], 1: [said.std]})
        image[4] = [Table({0: Byte(NORMALIZATION), 1: normalization})]
    image[5] = Table({0: [white], 1: [black]})
    return Table(image)


def _output(said: Description) -> Table:
    kind = VALUE_LABELS if said.output == "mask" else AXIS_LABELS
    labels = Table({0: LABELS, 1: "The classes, a line each.", 2: Byte(kind)})
    return Table({0: said.output, 1: said.reading, 6: [labels]})


def _activation(said: Description) -> int:
    """What turns the output into confidences. Of one channel MediaPipe takes more than 0.5 for its class."""
    return SOFTMAX if said.output == "logits" else NONE


def _written(builder: Any, table: Table) -> int:
    """Write a table behind all that it refers to; returns its place."""
    places = {field: _reference(builder, value) for field, value in table.fields.items()}
    builder.StartObject(max(table.fields) + 1)
    for field, value in table.fields.items():
        if isinstance(value, Byte):
            builder.PrependInt8Slot(field, value.value, 0)
        elif isinstance(value, Number):
            builder.PrependUint32Slot(field, value.value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(field, places[field], 0)
    return builder.EndObject()


def _reference(builder: Any, value: Any) -> int:
    """Write what a field refers to; returns its place, 0 for values that stand in the field itself."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, bytes):
        return _bytes(builder, value)
    if isinstance(value, Table):
        return _written(builder, value)
    if isinstance(value, list):
        return _vector(builder, value)
    return 0


def _vector(builder: Any, values: Sequence[Any]) -> int:
    if isinstance(values[0], float):
        builder.StartVector(4, len(values), 4)
        for number in reversed(values):
            builder.PrependFloat32(number)
        return builder.EndVector()
    places = [_reference(builder, value) for value in values]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()


def _bytes(builder: Any, value: bytes) -> int:
    """A vector of bytes at an address that 16 divides, as the schema wants custom metadata to be."""
    builder.StartVector(1, len(value), 16)
    builder.head -= len(value)
    builder.Bytes[builder.head : builder.head + len(value)] = value
    return builder.EndVector()
