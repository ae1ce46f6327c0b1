"""What a ``.tflite`` says of itself to the apps that read it: TFLite Metadata, by a writer of our own.

MediaPipe's ImageSegmenter opens a file only with ``NormalizationOptions`` for a float32 input, takes the
names of classes from a file of labels behind the last output, and turns logits into confidences by the
activation in ``SEGMENTER_METADATA``. The tables and their fields are numbered as in the public schemas
``metadata_schema.fbs`` (file identifier M001) and ``image_segmenter_metadata_schema.fbs`` (V001) of
MediaPipe.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers

from footseg.export import plain

NAME = b"TFLITE_METADATA"
SEGMENTER = "SEGMENTER_METADATA"
LABELS = "labels.txt"
# Of enumerations and unions in the schemas.
RGB, IMAGE_PROPERTIES, NORMALIZATION, AXIS_LABELS = 1, 2, 1, 2
ACTIVATIONS = {"none": 0, "sigmoid": 1, "softmax": 2}
# The first versions of the readers that know all that is written here.
PARSER, SEGMENTER_PARSER = "1.5.0", "1.0.0"


@dataclass(frozen=True)
class Description:
    """What is said of a segmenter.

    ``mean`` and ``std`` bring a pixel of 0 to 255 to the input, (pixel - mean) / std, the same for all
    channels; ``pixels`` says that the input takes them as they are (uint8). ``activation`` turns the output
    into confidences: "none", "sigmoid" or "softmax".
    """

    name: str
    text: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    activation: str = "softmax"
    pixels: bool = False
    mean: float = 0.0
    std: float = 255.0
    input_text: str = ""
    output_text: str = ""


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

    Its labels are appended as an uncompressed zip archive, which readers of flatbuffers do not see.

    Raises:
        FootsegError: a buffer lies outside of the file.
    """
    model = plain.unpack(data)
    model.description = said.text.encode()
    plain.set_metadata(model, NAME, serialized(_model(said), b"M001"))
    return plain.pack(model) + archive({LABELS: "\n".join(said.classes) + "\n"})


def archive(files: Mapping[str, str]) -> bytes:
    """Texts as an uncompressed zip archive, the same bytes each time."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as target:
        for name, text in files.items():
            target.writestr(zipfile.ZipInfo(name), text)
    return written.getvalue()


def serialized(table: Table, identifier: bytes) -> bytes:
    """A flatbuffer whose root is ``table``."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_written(builder, table), identifier)
    return bytes(builder.Output())


def _model(said: Description) -> Table:
    height, width = said.size
    properties = Table({0: Byte(RGB), 1: Table({0: Number(width), 1: Number(height)})})
    image = {0: "image", 1: said.input_text, 3: Table({0: Byte(IMAGE_PROPERTIES), 1: properties})}
    if not said.pixels:
        normalization = Table({0: [said.mean], 1: [said.std]})
        image[4] = [Table({0: Byte(NORMALIZATION), 1: normalization})]
        image[5] = Table({0: [(255 - said.mean) / said.std], 1: [-said.mean / said.std]})
    labels = Table({0: LABELS, 1: "The classes, in the order of the channels.", 2: Byte(AXIS_LABELS)})
    output = {0: "segmentation", 1: said.output_text, 6: [labels]}
    segmenter = serialized(Table({0: Byte(ACTIVATIONS[said.activation]), 1: SEGMENTER_PARSER}), b"V001")
    graph = {2: [Table(image)], 3: [Table(output)], 9: [Table({0: SEGMENTER, 1: segmenter})]}
    return Table({0: said.name, 1: said.text, 3: [Table(graph)], 7: PARSER})


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
