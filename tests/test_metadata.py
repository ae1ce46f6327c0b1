"""What files say of themselves: by our writer, read here and by MediaPipe."""

import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import artifact, description, files, predict, runtime
from footseg.data.folder import load_split, open_data
from footseg.description import Description
from footseg.errors import FootsegError
from footseg.export import metadata, plain
from footseg.export.clients import install, known
from footseg.export.ends import Asked, finished
from footseg.graphs import metadata as said_by
from footseg.graphs.metadata import Metadata
from tests.small_graphs import T, tflite

MEDIAPIPE = Path(__file__).with_name("mediapipe_client.py")
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
        # It would give 0 for every class but the first: without a normalization it refuses the file.
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
def test_what_is_damaged(damage: Callable[[bytes], bytes], complaint: str, file: Path) -> None:
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


# ---- MediaPipe, in an environment of its own


@dataclass(frozen=True)
class Opened:
    """One file with these ends, and what MediaPipe makes of it."""

    path: Path
    record: dict[str, Any]
    masks: np.ndarray | None
    confidences: np.ndarray | None


Key = tuple[str, str, str]
PRECISIONS, INPUTS = ("fp32", "fp16", "int8"), ("float32", "uint8")
OUTPUTS = ("logits", "probabilities", "foreground")
MASK: Key = ("fp32", "float32", "mask")


@pytest.fixture(scope="module")
def images(tiny_data: Path) -> np.ndarray:
    """Of the network's size, so that nobody resizes."""
    return load_split(open_data(tiny_data), "test", (64, 64)).images


@pytest.fixture(scope="module")
def opened(
    tiny_artifacts: dict[str, Path], images: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> dict[Key, Opened]:
    """Exported files with all ends, opened by MediaPipe with no option."""
    client = next(client for client in known.CLIENTS if client.name == "mediapipe")
    if lacking := install.missing(client):
        pytest.skip(f"MediaPipe: {lacking}")
    folder, paths = tmp_path_factory.mktemp("mediapipe"), {}
    for key in [*((p, i, o) for p in PRECISIONS for i in INPUTS for o in OUTPUTS), MASK]:
        precision, taken, given = key
        ours = said_by.read(tiny_artifacts[precision]).ours
        assert ours is not None
        data, asked = tiny_artifacts[precision].read_bytes(), Asked(taken, given)
        paths[key] = folder / ("_".join(key) + ".tflite")
        paths[key].write_bytes(finished(data, asked, replace(ours, input=taken, output=given)))
    np.save(folder / "images.npy", images)
    python, out = install.home() / client.environment / "bin" / "python", folder / "out.npz"
    command = [python, MEDIAPIPE, out, folder / "images.npy", *paths.values()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(out)
    return {
        key: Opened(path, json.loads(record), found.get(f"masks{n}"), found.get(f"confidences{n}"))
        for n, ((key, path), record) in enumerate(zip(paths.items(), found["records"], strict=True))
    }


@pytest.mark.slow
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("taken", INPUTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_mediapipe_gives_the_masks_of_predict(
    precision: str, taken: str, output: str, opened: dict[Key, Opened], tiny_artifacts: dict[str, Path],
    images: np.ndarray,
) -> None:  # fmt: skip
    found = opened[precision, taken, output]
    assert found.masks is not None, found.record["error"]
    assert found.confidences is not None
    segmenter = runtime.load(tiny_artifacts[precision])
    expected = np.stack([predict.segment(segmenter, image) for image in images])
    assert 0.02 < expected.mean() < 0.98
    masks, classes = found.masks, 2
    if output == "foreground":
        assert set(np.unique(masks)) == {0, 255}  # its one class, and none
        masks, classes = np.where(masks == 0, 1, 0), 1
    # Its own XNNPACK may round a sum otherwise: of a thousand pixels one may lie on the edge.
    assert (masks == expected).mean() >= 0.999
    assert found.record["labels"] == ["background", "foot"][-classes:]
    logits = segmenter.logits(images).astype(np.float64)
    exact = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    # Integers may be a code off where a product lies between two; float32 is off by its last bits.
    assert np.abs(found.confidences - exact[..., -classes:]).max() < (0.05 if precision == "int8" else 1e-4)


@pytest.mark.slow
def test_mediapipe_refuses_masks_as_it_would_misread_them(opened: dict[Key, Opened]) -> None:
    assert "NormalizationOptions" in opened[MASK].record["error"]


@pytest.mark.slow
@pytest.mark.parametrize("key", [("fp32", i, o) for i in INPUTS for o in OUTPUTS] + [MASK])
def test_the_classes_of_its_schemas_read_every_field(key: Key, opened: dict[Key, Opened]) -> None:
    _, taken, output = key
    ours = said_by.read(opened[key].path).ours
    assert ours is not None
    normalized = taken == "float32" and key != MASK
    assert opened[key].record["described"] == {
        "name": "fast_linknet",
        # Custom metadata came with 1.5.0.
        "parser": "1.0.0" if key == MASK else "1.5.0",
        "input": ours.feeding,
        "colour": 1,  # RGB
        "size": [64, 64],
        "kinds": [1] if normalized else [],  # NormalizationOptions
        "mean": [[0.0]] if normalized else [],
        "std": [[255.0]] if normalized else [],
        "range": [[0.0], [1.0 if taken == "float32" else 255.0]],
        "output": [output, ours.reading],
        "labels": ["labels.txt", 3 if key == MASK else 2],  # TENSOR_VALUE_LABELS, TENSOR_AXIS_LABELS
        # SOFTMAX, NONE
        "activation": [] if key == MASK else [[2 if output == "logits" else 0, "1.0.0"]],
    }
