"""Evaluation of a network whose masks are known beforehand: red is foot."""

import csv
import dataclasses
import json
import os
import resource

import numpy as np
import pytest
from PIL import Image

from footseg import artifact, cli, files
from footseg import evaluate as evaluation
from footseg.data.images import read_image
from footseg.errors import FootsegError
from tests.red_network import SIZE, block, red_network, write_data

PAIRS = {
    "right": (block(4, 4, 8, 8), block(4, 4, 8, 8)),
    "half": (block(4, 4, 8, 4), block(4, 4, 8, 8)),  # 32 of 64 pixels found
    "false": (block(4, 4, 2, 8), block(0, 0, 0, 0)),  # 16 pixels of no foot
}


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data", PAIRS)


@pytest.fixture
def model(tmp_path):
    return red_network(tmp_path / "red.onnx")


def test_figures_are_those_counted_by_hand(model, data):
    found = evaluation.evaluate(model, data)
    # Foot: 64 + 32 right, 32 missed, 16 invented; 3 * 1024 pixels.
    assert found.metrics["iou"] == 96 / 144
    assert found.metrics["pixel_accuracy"] == (3 * 1024 - 48) / (3 * 1024)
    assert found.metrics["iou_per_image"] == (1 + 0.5 + 0) / 3
    assert found.metrics["boundary_tolerance_px"] == 1
    assert set(found.metrics["per_class"]) == {"background", "foot"}
    assert found.metrics["per_class"]["foot"]["iou"] == 96 / 144
    assert (found.images, found.split, found.size) == (3, "test", (SIZE, SIZE))
    assert found.sha256 == files.sha256(model)
    # Worst first.
    assert [row.name for row in found.per_image] == ["false", "half", "right"]
    assert [row.iou for row in found.per_image] == [0, 0.5, 1]
    # "half" within 1 px: 16 of the 20 outline pixels found (not rows 6 to 9 of its right column), and 16 of
    # the true 28 (its left half and one more column above and below): F = 2 * 16 / (20 + 28).
    assert [row.boundary_f for row in found.per_image] == [0, pytest.approx(2 / 3, abs=1e-15), 1]
    half = found.per_image[1]
    assert (half.foot_share_truth, half.foot_share_predicted) == (64 / 1024, 32 / 1024)
    assert found.metrics["boundary_f"] == pytest.approx((0 + 2 / 3 + 1) / 3, abs=1e-15)


def test_ignored_pixels_count_nowhere(model, tmp_path):
    truth = block(4, 4, 8, 8)
    truth[:, 20:] = 255
    seen = block(4, 4, 8, 8)
    seen[:, 24:] = 1
    data = write_data(tmp_path / "data", {"a": (seen, truth)})
    found = evaluation.evaluate(model, data)
    assert found.metrics["iou"] == found.metrics["boundary_f"] == 1
    assert found.per_image[0].foot_share_predicted == 64 / (20 * SIZE)


def test_a_photograph_of_another_shape_is_letterboxed_with_its_mask(model, tmp_path):
    seen = np.zeros((64, 32), np.uint8)
    seen[16:48, 8:24] = 1  # edges on whole pixels of the canvas, where the photograph is 32 x 16
    data = write_data(tmp_path / "data", {"tall": (seen, seen)})
    # Antialiasing blends the pixels at an edge, never across half: the same masks exactly.
    assert evaluation.evaluate(model, data).metrics["iou"] == 1


def test_the_folder_that_is_written(model, data, tmp_path):
    out = tmp_path / "out"
    found = evaluation.evaluate(model, data, out=out, samples=2)
    record = json.loads((out / "metrics.json").read_text())
    assert record == json.loads(json.dumps(found.to_json()))
    assert record["model"] == "red.onnx"
    assert record["samples"] == ["false", "right"]  # first and last by name
    assert record["worst"] == ["false", "half", "right"]
    rows = list(csv.DictReader((out / "per_image.csv").open()))
    assert [row["name"] for row in rows] == ["false", "half", "right"]
    assert list(rows[0]) == [f.name for f in dataclasses.fields(evaluation.ImageScore)]
    assert rows[1]["iou"] == "0.500000"
    kinds = ("error", "image", "prediction", "truth")
    assert sorted(path.name for path in (out / "samples").iterdir()) == [
        f"{name}_{kind}.jpg" for name in ("false", "right") for kind in kinds
    ]
    assert len(list((out / "worst").iterdir())) == 3 * len(kinds)
    assert Image.open(out / "worst" / "half_truth.jpg").size == (256, 256)


def test_samples_are_evenly_spaced_and_the_same_for_every_model():
    assert evaluation.evenly_spaced(11, 6) == [0, 2, 4, 6, 8, 10]
    assert evaluation.evenly_spaced(3, 6) == [0, 1, 2]
    assert evaluation.evenly_spaced(5, 0) == []


def test_the_error_picture_tells_invented_from_missed():
    truth, prediction = block(0, 0, 16, 16), block(0, 8, 16, 16)
    truth[31] = 255
    prediction[31] = 1
    picture = evaluation.Picture("a", np.full((SIZE, SIZE, 3), (200, 100, 0), np.uint8), truth, prediction)
    error = evaluation.draw(picture, ((0, 0, 0), (0, 158, 224)))["error"][
        4::8, 4::8
    ]  # 256 px: 8 for each pixel
    grey = (100, 100, 100)
    assert tuple(error[0, 0]) == evaluation.FALSE_NEGATIVE
    assert tuple(error[0, 10]) == grey  # a foot in both
    assert tuple(error[0, 20]) == evaluation.FALSE_POSITIVE
    assert tuple(error[31, 0]) == grey  # ignored


def test_an_earlier_evaluation_is_replaced_as_a_whole(model, data, tmp_path):
    out = tmp_path / "out"
    evaluation.evaluate(model, data, out=out)
    evaluation.evaluate(model, data, out=out, samples=1)
    assert {path.name.split("_")[0] for path in (out / "samples").iterdir()} == {"false"}


def test_a_folder_with_anything_else_is_left_alone(model, data, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "metrics.json").write_text("{}")
    (out / "model.keras").write_text("precious")
    with pytest.raises(FootsegError, match=r"holds more than an evaluation \(model\.keras\)"):
        evaluation.evaluate(model, data, out=out)
    assert (out / "model.keras").read_text() == "precious"
    with pytest.raises(FootsegError, match="is a file"):
        evaluation.evaluate(model, data, out=out / "model.keras")


def test_a_full_disk_leaves_the_earlier_evaluation(model, data, tmp_path):
    out = tmp_path / "out"
    found = evaluation.evaluate(model, data, out=out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    # The kernel refuses files of more than 2 kB, as a full disk would: some fit, others do not.
    assert any(len(content) > 2048 for content in before.values())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(FootsegError, match="the disk is full"):
            found.save(out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_another_number_of_classes_is_refused(data, tmp_path):
    model = red_network(tmp_path / "three.onnx", classes=3)
    with pytest.raises(FootsegError, match=r"tells 3 classes apart, .* has 2 \(background, foot\)"):
        evaluation.evaluate(model, data)


def test_logits_that_are_no_numbers_are_no_background(data, tmp_path):
    model = red_network(tmp_path / "nan.onnx", weight=float("nan"))
    with pytest.raises(FootsegError, match=r"nan\.onnx yields NaN or infinity"):
        evaluation.evaluate(model, data)


def test_more_classes_and_the_names_of_the_data_set(tmp_path):
    model = red_network(tmp_path / "three.onnx", classes=3)
    data = write_data(
        tmp_path / "data", {"a": (block(4, 4, 8, 8), block(4, 4, 8, 8) + block(20, 20, 4, 4) * 2)}
    )
    (data / "dataset.toml").write_text('classes = ["floor", "left", "right"]\n')
    found = evaluation.evaluate(model, data, out=tmp_path / "out")
    assert found.metrics["per_class"]["left"]["iou"] == 1
    assert found.metrics["per_class"]["right"]["iou"] == 0
    assert found.metrics["iou"] == 0.5


def test_bad_arguments_and_folders(model, data, tmp_path):
    with pytest.raises(ValueError, match="samples is -1"):
        evaluation.evaluate(model, data, samples=-1)
    with pytest.raises(FootsegError, match="no split 'val'"):
        evaluation.evaluate(model, data, split="val")
    with pytest.raises(FootsegError, match="no such folder"):
        evaluation.evaluate(model, tmp_path / "nowhere")


def test_keras_and_onnx_of_the_same_weights_score_the_same(tmp_path, data, model):
    keras = pytest.importorskip("keras", reason="needs pip install '.[train]'")
    image = keras.Input((SIZE, SIZE, 3))
    layer = keras.layers.Conv2D(2, 1)
    network = keras.Model(image, layer(image))
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0, 1] = 1
    layer.set_weights([kernel, np.array([0, -0.5], np.float32)])
    network.save(tmp_path / "red.keras")
    ours, theirs = (evaluation.evaluate(path, data) for path in (tmp_path / "red.keras", model))
    assert ours.metrics == theirs.metrics
    assert ours.per_image == theirs.per_image


def test_real_photographs(shared_data, tmp_path):
    """Red is no good sign of a foot, but the path from JPEG to figures is the real one."""
    model = red_network(tmp_path / "red.onnx", size=64)
    found = evaluation.evaluate(model, shared_data / "ccp_footwear", split="val", out=tmp_path / "out")
    assert found.images == len(list((shared_data / "ccp_footwear/val/images").iterdir()))
    ious = [row.iou for row in found.per_image]
    assert ious == sorted(ious)
    assert 0 < found.metrics["iou"] < 0.6
    first = found.samples[0].name
    assert read_image(tmp_path / "out" / "samples" / f"{first}_image.jpg").shape == (256, 256, 3)


def evaluated(model, data, capsys):
    """What the command answers: exit code, standard output and standard error."""
    code = cli.main(["evaluate", str(model), "--data", str(data)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_images_without_labels_have_no_score_and_are_named(model, tmp_path, capsys):
    nothing = np.full((SIZE, SIZE), 255, np.uint8)
    unlabelled = {name: (block(0, 0, 0, 0), nothing) for name in ("blank", "empty")}
    labelled = evaluation.evaluate(model, write_data(tmp_path / "labelled", PAIRS))
    data = write_data(tmp_path / "data", PAIRS | unlabelled)
    found = evaluation.evaluate(model, data)
    assert found.metrics == labelled.metrics
    assert found.metrics["iou_per_image"] == (1 + 0.5 + 0) / 3  # not (1 + 0.5 + 0 + 1 + 1) / 5
    assert found.per_image == labelled.per_image
    assert (found.images, found.unlabelled) == (5, ("blank", "empty"))
    code, out, _ = evaluated(model, data, capsys)
    assert (code, "left out, as no pixel of them is labelled: blank, empty" in out) == (0, True)


def test_a_split_without_any_label_is_refused(model, tmp_path, capsys):
    nothing = np.full((SIZE, SIZE), 255, np.uint8)
    data = write_data(tmp_path / "data", {"a": (block(0, 0, 0, 0), nothing)})
    code, out, err = evaluated(model, data, capsys)
    assert (code, out) == (1, "")
    assert "no pixel of" in err


def test_classes_are_compared_by_name(model, data, capsys):
    names = {
        ("background", "foot"): (0, ""),
        ("floor", "shoe"): (
            0,
            f"note: {model} has the classes floor, shoe, {data} has background, foot: they are",
        ),
        ("foot", "background"): (1, "the same names in another order"),
        ("foot", "shoe"): (1, "the same names in another order"),
    }
    for classes, (expected, words) in names.items():
        artifact.Artifact(model, "onnx", files.sha256(model), classes=classes).save_sidecar()
        code, _, err = evaluated(model, data, capsys)
        assert code == expected
        assert (words in err) if words else ("classes" not in err)


def test_names_too_long_for_a_picture_lose_their_end(model, tmp_path):
    name = "\u00e9" * 120  # 240 bytes
    found = evaluation.evaluate(
        model, write_data(tmp_path / "data", {name: PAIRS["half"]}), out=tmp_path / "out"
    )
    assert found.per_image[0].name == name
    for picture in (tmp_path / "out" / "worst").iterdir():
        assert len(picture.name.encode()) <= 255
    assert (tmp_path / "out" / "worst" / evaluation.picture_name(name, "prediction")).is_file()


def test_a_name_that_is_no_text_is_written_and_read(model, tmp_path):
    name = os.fsdecode(b"\xff\xfe")
    data = write_data(tmp_path / "data", {name: PAIRS["half"]})
    evaluation.evaluate(model, data, out=tmp_path / "out")
    saved = evaluation.SavedEvaluation.load(tmp_path / "out")
    assert saved.image_iou(name) == 0.5
