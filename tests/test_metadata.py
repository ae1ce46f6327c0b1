"""What files say of themselves: by our writer, read here and by MediaPipe."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from footseg import artifact, description, files
from footseg.description import Description
from footseg.errors import FootsegError
from footseg.export import metadata, plain
from footseg.graphs import metadata as said_by
from footseg.graphs.metadata import Metadata
from tests.small_graphs import T, tflite

FEET = Description("tiny", ("background", "foot"), (8, 4), recipe="fp32", parent="0" * 64)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A graph without a word about itself."""
    return tflite(
        tmp_path / "file.tflite", [T((1, 8, 4, 3)), T((1, 8, 4, 3))], [("RELU", [0], [1])], [0], [1]
    )


def described(file: Path, said: Description) -> Metadata:
    """What a file says once it was told."""
    file.write_bytes(metadata.describe(file.read_bytes(), said))
    return said_by.read(file)


@pytest.mark.parametrize(
    ("ends", "mean", "activation", "labels"),
    [
        ({}, (0.0,), "softmax", ("background", "foot")),
        ({"mean": 127.5, "std": 127.5}, (127.5,), "softmax", ("background", "foot")),
        ({"input": "uint8"}, (), "softmax", ("background", "foot")),
        ({"input": "int8"}, (), "softmax", ("background", "foot")),
        ({"output": "probabilities"}, (0.0,), "none", ("background", "foot")),
        # MediaPipe calls the class of a single channel 0, and all else 255.
        ({"output": "foreground"}, (0.0,), "none", ("foot",)),
        # It would take the rows of a mask for channels: without a normalization it refuses the file.
        ({"output": "mask"}, (), "", ("background", "foot")),
    ],
)
def test_what_was_written_is_read(
    ends: dict[str, str], mean: tuple[float, ...], activation: str, labels: tuple[str, ...], file: Path
) -> None:
    said = replace(FEET, **ends)
    found = described(file, said)
    assert found.described
    assert (found.name, found.text) == ("tiny", said.text)
    assert (found.mean, found.activation, found.labels) == (mean, activation, labels)
    assert found.std == ((said.std,) if mean else ())
    assert found.ours == said


def test_a_file_that_says_nothing(file: Path) -> None:
    assert said_by.read(file) == Metadata()


def test_the_same_facts_are_the_same_bytes(file: Path) -> None:
    once = metadata.describe(file.read_bytes(), FEET)
    assert metadata.describe(file.read_bytes(), FEET) == once
    assert metadata.describe(once, FEET) == once
    # What was said before is gone, and its labels.
    other = replace(FEET, classes=("ground", "shoe"))
    assert metadata.describe(metadata.describe(once, other), FEET) == once
    assert len(once) - len(plain.pack(plain.unpack(file.read_bytes()))) < 2048


def test_its_archive_is_one_for_every_reader(file: Path) -> None:
    """Places in it count from the file's begin, as those of MediaPipe's own writer do; nothing is packed."""
    data = metadata.describe(file.read_bytes(), FEET)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (entry,) = archive.infolist()
        assert archive.read(entry) == b"background\nfoot\n"
    assert (entry.filename, entry.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
    assert data[entry.header_offset :].startswith(b"PK\x03\x04")
    assert data.endswith(data[entry.header_offset :])


def test_numbers_lie_where_16_divides_the_place(file: Path) -> None:
    """As the schemas ask: of the metadata in the file, and of the segmenter's in the metadata."""
    data = metadata.describe(file.read_bytes(), FEET)
    assert data.index(b"M001") % 16 == 4  # behind the offset of the root
    assert data.index(b"V001") % 16 == 4


def test_a_changed_graph_says_nothing_of_the_old_one(file: Path) -> None:
    before = plain.pack(plain.unpack(file.read_bytes()))
    described(file, FEET)
    model = plain.unpack(file.read_bytes())
    model.description = None
    assert plain.pack(model) == before


def test_facts_come_back_from_their_text() -> None:
    assert description.read(FEET.to_bytes()) == FEET
    with pytest.raises(ValueError, match="'classes'"):
        description.read(b'{"network": "tiny"}')


def test_how_it_is_fed() -> None:
    assert FEET.range == (0, 1)
    assert replace(FEET, mean=127.5, std=127.5).range == (-1, 1)
    assert replace(FEET, input="uint8").range == (0, 255)
    assert FEET.to_json()["feed"]["padding"] == 128
    assert "canvas of 128" in FEET.feeding


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda data: data[: data.index(b"PK\x03\x04")], "labels.txt are not there"),
        (lambda data: data.replace(b'"classes":', b'"glasses":'), "'classes'"),
        (lambda data: data[: (at := data.index(b"M001") - 4)] + b"\xff" * 3 + data[at + 3 :], "is damaged"),
        (lambda data: b"PK" + data, "not a .tflite file"),
    ],
)
def test_what_is_damaged(damage: object, complaint: str, file: Path) -> None:
    data = metadata.describe(file.read_bytes(), FEET)
    file.write_bytes(damage(data))
    assert file.read_bytes() != data
    with pytest.raises(FootsegError, match=complaint):
        said_by.read(file)


# ---- of exported files


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_exported_file_says_what_its_sidecar_says(
    precision: str, tiny_run: Path, tiny_artifacts: dict[str, Path]
) -> None:
    path = tiny_artifacts[precision]
    found, sidecar = said_by.read(path), artifact.load(path)
    assert found.labels == sidecar.classes == ("background", "foot")
    assert found.ours == Description(
        sidecar.network,
        sidecar.classes,
        sidecar.input_shape[1:3],
        recipe=precision,
        parent=files.sha256(tiny_run / "model.keras"),
        footseg=sidecar.versions["footseg"],
    )
