"""``footseg describe``, from its command line: what files say, and copies that say more."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from footseg import artifact, files, runtime
from footseg.cli import main
from footseg.clients import RUNS
from footseg.graphs import metadata
from tests.small_graphs import T, tflite

IMAGE, LOGITS = T((1, 8, 4, 3)), T((1, 8, 4, 3))
THREE = ("ground", "left", "right")


def graph(path: Path, tensors: tuple[T, ...] = (IMAGE, LOGITS), op: str = "RELU") -> Path:
    """A .tflite that footseg did not make."""
    last = len(tensors) - 1
    return tflite(path, tensors, [(op, list(range(last)), [last])], [0], [last])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return graph(tmp_path / "other.tflite")


def test_somebody_elses_file_gets_labels_and_a_sidecar(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.tflite"
    words = ["describe", str(file), "--classes", *THREE, "--mean", "127.5", "--std", "127.5"]
    assert main([*words, "--out", str(new), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    found = metadata.read(new)
    assert (found.name, found.labels, found.activation) == ("other", THREE, "softmax")
    assert (found.mean, found.std) == ((127.5,), (127.5,))
    assert found.ours is not None
    assert found.ours.parent == files.sha256(file)
    assert document == json.loads(json.dumps(found.ours.to_json()))
    assert document["feed"]["range"] == [-1, 1]
    sidecar = artifact.load(new)  # which refuses another file's SHA-256
    assert (sidecar.classes, sidecar.input_shape) == (THREE, (1, 8, 4, 3))
    assert {row.client: row.verdict for row in sidecar.clients}["mediapipe"] == RUNS
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 4, 3), np.uint8)
    np.testing.assert_array_equal(runtime.load(new).logits(images), runtime.load(file).logits(images))


def test_what_a_file_says_is_printed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(file)]) == 0
    said = capsys.readouterr().out
    assert "nothing" in said
    assert "logits (float32): a channel for each class" in said
    assert main(["describe", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["described"], document["sha256"]) == (False, files.sha256(file))
    assert document["ends"]["output"]["name"] == "logits"


def test_labels_come_from_a_file_and_force_replaces(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, labels = tmp_path / "new.tflite", tmp_path / "labels.txt"
    labels.write_text("ground\nleft\nright\n\n", encoding="utf-8")
    assert main(["describe", str(file), "--labels", str(labels), "--out", str(new)]) == 0
    before, others = new.read_bytes(), ["--classes", "floor", "l", "r"]
    assert main(["describe", str(new), *others, "--out", str(tmp_path / "third.tflite")]) == 1
    assert "describes itself already (labels: ground, left, right): --force" in capsys.readouterr().err
    assert not (tmp_path / "third.tflite").exists()
    assert main(["describe", str(file), *others, "--out", str(new)]) == 1
    assert "is there already: take another name, or --force" in capsys.readouterr().err
    assert new.read_bytes() == before
    assert main(["describe", str(new), *others, "--out", str(new), "--force"]) == 0
    found = metadata.read(new)
    assert found.labels == artifact.load(new).classes == ("floor", "l", "r")
    # Where it came from stays.
    assert found.ours is not None
    assert (found.ours.network, found.ours.parent) == ("other", files.sha256(file))
    assert main(["describe", str(new)]) == 0
    assert files.sha256(file) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--classes", "a", "b"], "has 3 classes, and the labels are 2 (a, b)"),
        (["--classes", "a", "b", "a"], "labels stand there twice: a"),
        (["--classes", "a", "b", " "], "a label is ' '"),
        (["--classes", "a", "b", "c\nd"], "expected a name on one line"),
        (["--classes", *THREE, "--std", "0"], "std above 0"),
        (["--labels", "/nowhere/labels.txt"], "labels cannot be read from /nowhere/labels.txt"),
    ],
)
def test_labels_that_do_not_fit(
    words: list[str], complaint: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.tflite"
    assert main(["describe", str(file), *words, "--out", str(new)]) == 1
    assert complaint in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.tflite"]


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda path: graph(path, (IMAGE, T((1, 1000)))), "which are no masks"),
        (lambda path: graph(path, (T((1, 8, 4, 1)), LOGITS)), "which are no masks"),
        (lambda path: graph(path, (IMAGE, T((1, 4, 2, 3)))), "which are no masks"),
        (lambda path: graph(path, (T((1, 8, 4, 3), "INT32"), LOGITS)), "takes int32"),
        (lambda path: graph(path, (IMAGE, T((1, 8, 4, 1)))), "it gives one channel, made by RELU"),
        (lambda path: path.write_bytes(b"no flatbuffer"), "not a .tflite file"),
    ],
)
def test_files_that_give_no_masks(
    make: Callable[[Path], object], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "other.tflite")
    words = ["describe", str(tmp_path / "other.tflite"), "--classes", *THREE]
    assert main([*words, "--out", str(tmp_path / "new.tflite")]) == 1
    assert complaint in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.tflite"]


def test_a_file_of_another_kind(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = shutil.copy(file, tmp_path / "other.onnx")
    assert main(["describe", str(onnx)]) == 1
    assert "is no .tflite" in capsys.readouterr().err
    assert main(["describe", str(file), "--classes", *THREE]) == 1
    assert "needs --classes or --labels, and --out" in capsys.readouterr().err
    assert main(["describe", str(file), "--classes", *THREE, "--out", str(tmp_path / "new.onnx")]) == 1
    assert "is no name of a .tflite file" in capsys.readouterr().err


def test_an_end_that_mediapipe_cannot_take_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = graph(tmp_path / "codes.tflite", (T((1, 8, 4, 3), "INT8"), T((1, 8, 4, 3), "INT8")))
    assert main(["describe", str(file), "--classes", *THREE, "--out", str(tmp_path / "new.tflite")]) == 0
    assert "MediaPipe: does not run, its input is float32 or uint8, not int8" in capsys.readouterr().err


def test_damaged_metadata_is_replaced_by_force_alone(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.tflite"
    words = ["describe", str(file), "--classes", *THREE, "--out"]
    assert main([*words, str(tmp_path / "whole.tflite")]) == 0
    data = (tmp_path / "whole.tflite").read_bytes()
    cut.write_bytes(data[: data.index(b"PK\x03\x04")])  # as by a tool that knows of no archive behind it
    assert main(["describe", str(cut)]) == 1
    assert "labels.txt are not there" in capsys.readouterr().err
    mended = ["describe", str(cut), "--classes", *THREE, "--out", str(tmp_path / "mended.tflite")]
    assert main(mended) == 1
    assert main([*mended, "--force"]) == 0
    assert metadata.read(tmp_path / "mended.tflite").labels == THREE
