"""Prediction of photographs by a network whose masks are known beforehand: red is foot."""

import dataclasses
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from footseg import artifact, cli
from footseg.data.images import Letterbox, read_image, unletterbox_logits, write_image, write_mask
from footseg.data.labels import unnamed
from footseg.data.masks import read_mask
from footseg.errors import FootsegError
from footseg.predict import enlarge_argmax, predict, unique_names
from tests.red_network import red_image, red_network
from tests.runs import save_run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def model(tmp_path):
    return red_network(tmp_path / "red.onnx")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def photograph(path: Path, height: int = 60, width: int = 100) -> np.ndarray:
    """Write a photograph with red in its left half; returns the mask that the red network should give."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 1
    write_image(path, red_image(mask), quality=95)
    return mask


@pytest.mark.parametrize(("height", "width"), [(60, 100), (301, 97), (7, 500), (20, 20), (1, 1)])
def test_a_mask_has_the_size_of_its_photograph(model, out, tmp_path, height, width):
    truth = photograph(tmp_path / "in" / "a.png", height, width)
    (found,) = predict(model, [tmp_path / "in" / "a.png"], out)
    mask = read_mask(found.mask, unnamed(2))
    assert Image.open(found.mask).mode == "L"
    assert mask.shape == truth.shape
    # The one edge can be off by less than one pixel of the 32 px canvas, which is max(H, W)/32 photograph's.
    assert np.count_nonzero(mask != truth) <= height * max(height, width) / 32
    assert found.foot_share == np.count_nonzero(mask) / mask.size
    assert read_image(found.overlay).shape == (height, width, 3)


def test_the_line_of_a_photograph_names_the_class(model, out, tmp_path, capsys):
    photograph(tmp_path / "in" / "a.png", 40, 40)
    words = ["predict", str(model), str(tmp_path / "in" / "a.png"), "--out", str(out)]
    assert cli.main(words) == 0
    assert " foreground on 50.0% of the pixels" in capsys.readouterr().out
    named = dataclasses.replace(artifact.load(model), classes=("road", "pothole"))
    named.save_sidecar()
    assert cli.main(words) == 0
    assert " pothole on 50.0% of the pixels" in capsys.readouterr().out


def test_the_camera_was_turned(model, out, tmp_path):
    turned = Image.fromarray(
        red_image(np.repeat([[1, 0]], 40, axis=0).repeat(20, axis=1))
    )  # 40 x 40, red left
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned by 90 degrees clockwise: red is on top
    (tmp_path / "in").mkdir()
    turned.save(tmp_path / "in" / "a.jpg", exif=exif, quality=95)
    (found,) = predict(model, [tmp_path / "in" / "a.jpg"], out)
    mask = read_mask(found.mask, unnamed(2))
    assert mask[:15].all()
    assert not mask[25:].any()


def test_one_class_at_a_time_is_the_argmax_of_all():
    logits = np.random.default_rng(0).normal(size=(16, 24, 5)).astype(np.float32)
    logits[:, :, 3] = logits[:, :, 1]  # ties go to the lower class
    box = Letterbox.fit((90, 70), (16, 24))
    expected = unletterbox_logits(logits, box).argmax(axis=-1)
    np.testing.assert_array_equal(enlarge_argmax(logits, box), expected)


def test_folders_and_files_each_once(model, out, tmp_path):
    photos = tmp_path / "in"
    for name in ("b.png", "a.jpg"):
        photograph(photos / name)
    (photos / "notes.txt").write_text("no photograph")
    found = predict(model, [photos / "b.png", photos], out)
    assert [prediction.image.name for prediction in found] == ["b.png", "a.jpg"]
    assert sorted(path.name for path in out.iterdir()) == [
        "a_mask.png", "a_overlay.jpg", "b_mask.png", "b_overlay.jpg",
    ]  # fmt: skip


def test_the_same_name_twice_overwrites_nothing(model, out, tmp_path):
    paths = [tmp_path / "x" / "a.png", tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.png"]
    for width, path in zip((40, 60, 80), paths, strict=True):
        photograph(path, width=width)
    found = predict(model, paths, out)
    assert [prediction.mask.name for prediction in found] == ["a_mask.png", "a-2_mask.png", "a-3_mask.png"]
    assert [read_mask(prediction.mask, unnamed(2)).shape[1] for prediction in found] == [40, 60, 80]


@pytest.mark.parametrize(
    ("stems", "names"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a", "a"], ["a", "a-2", "a-3"]),
        (["a", "a", "a-2"], ["a", "a-3", "a-2"]),
        (["a-2", "a", "a"], ["a-2", "a", "a-3"]),
        (["Foot", "foot"], ["Foot", "foot-2"]),
    ],
)
def test_names_are_unique_and_keep_those_that_are_taken(stems, names):
    assert unique_names(stems) == names


def test_broken_photographs_are_named_and_the_rest_is_done(model, out, tmp_path, capsys):
    photos = tmp_path / "in"
    for name in ("a.jpg", "b.jpg", "d.jpg"):
        photograph(photos / name, 200, 300)
    whole = (photos / "b.jpg").read_bytes()
    (photos / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "c.jpg").write_bytes(b"")
    with pytest.raises(FootsegError) as error:
        predict(model, [photos, tmp_path / "gone.jpg"], out)
    assert str(error.value) == (
        "3 of 5 photographs were left out, as they could not be read: b.jpg, c.jpg, gone.jpg; "
        f"the other 2 are in {out}"
    )
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.split(":")[0] for line in printed.err.splitlines() if line] == ["left out"] * 3
    assert "gone.jpg: no such file" in printed.err
    assert sorted(path.name for path in out.glob("*_mask.png")) == ["a_mask.png", "d_mask.png"]


def test_nothing_readable_writes_nothing(model, out, tmp_path):
    with pytest.raises(FootsegError, match=r"1 of 1 photographs .* nothing was written"):
        predict(model, [tmp_path / "gone.jpg"], out)
    assert not out.exists()


def test_nothing_given_and_nowhere_to_write(model, out, tmp_path):
    (tmp_path / "empty").mkdir()
    photograph(tmp_path / "in" / "a.png")
    with pytest.raises(FootsegError, match="no photographs"):
        predict(model, [], out)
    with pytest.raises(FootsegError, match=r"no images in .*empty"):
        predict(model, [tmp_path / "empty"], out)
    with pytest.raises(FootsegError, match="is a file"):
        predict(model, [tmp_path / "in"], tmp_path / "in" / "a.png")


def test_a_labelled_mask_beside_the_photograph_is_never_overwritten(model, tmp_path):
    photograph(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a_mask.png").write_bytes(b"an hour's work")
    with pytest.raises(FootsegError, match="is where the photographs are: give another folder"):
        predict(model, [tmp_path / "in" / "a.png"], tmp_path / "x" / ".." / "in")
    assert (tmp_path / "in" / "a_mask.png").read_bytes() == b"an hour's work"


def test_a_run_gives_its_own_colours(out, tmp_path):
    keras = pytest.importorskip("keras", reason="needs pip install '.[train]'")
    image = keras.Input((32, 32, 3))
    layer = keras.layers.Conv2D(2, 1)
    network = keras.Model(image, layer(image))
    layer.set_weights([np.zeros((1, 1, 3, 2), np.float32), np.array([0, 1], np.float32)])  # all is foot
    save_run(tmp_path / "run", network, colours=((0, 0, 0), (0, 255, 0)))
    write_image(tmp_path / "in" / "a.png", np.zeros((32, 32, 3), np.uint8))
    (found,) = predict(tmp_path / "run", [tmp_path / "in"], out)
    red, green, blue = read_image(found.overlay)[16, 16].astype(int)
    assert green > 90  # half a veil of 255 on black, less what JPEG takes
    assert max(red, blue) < 40


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux reports it")
def test_large_photographs_take_no_gigabytes(model, out, tmp_path):
    """24 megapixels, as phones take them, in a process of its own."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).resize((6000, 4000)).save(encoded, "JPEG")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large.jpg").write_bytes(encoded.getvalue())
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from footseg.predict import predict;"
        "predict(Path(sys.argv[2]), [Path(sys.argv[3])], Path(sys.argv[4]));"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'));"
        "print(status['VmHWM'].split()[0])"
    )
    # Not getrusage: its peak is handed down from the process that ran the tests before.
    command = [sys.executable, "-c", code, *map(str, (ROOT, model, tmp_path / "in", out))]
    megabytes = int(subprocess.check_output(command, text=True)) / 1024
    assert Image.open(out / "large_mask.png").size == (6000, 4000)
    assert max(Image.open(out / "large_overlay.jpg").size) == 2048
    # 530 MB on one machine, of them 75 at the start; 850 MB when the overlay was drawn at full size.
    assert megabytes < 700


def test_hand_labels_in_the_folder_to_write_are_never_overwritten(model, out, tmp_path, capsys):
    photograph(tmp_path / "in" / "a.png")
    words = ["predict", str(model), str(tmp_path / "in"), "--out", str(out)]
    assert cli.main(words) == 0
    assert cli.main(words) == 0  # our own is replaced
    write_mask(out / "a_mask.png", np.ones((60, 100), np.uint8))
    before = (out / "a_mask.png").read_bytes()
    capsys.readouterr()
    assert cli.main(words) == 1
    assert "a_mask.png is there, and not by footseg predict" in capsys.readouterr().err
    assert (out / "a_mask.png").read_bytes() == before


def test_the_folders_of_a_data_set_are_no_place_to_write(model, tmp_path):
    for part in ("images", "masks"):
        photograph(tmp_path / "set" / part / "a.png")
    photograph(tmp_path / "in" / "b.png")
    with pytest.raises(FootsegError, match="is a data set's own folder"):
        predict(model, [tmp_path / "in"], tmp_path / "set" / "masks")


@pytest.mark.parametrize("name", ["n" * 250, "\u00e9" * 124, os.fsdecode(b"\xff" * 20)])
def test_names_that_are_too_long_or_no_text(model, out, tmp_path, name):
    photograph(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / f"{name}.png")
    (found,) = predict(model, [tmp_path / "in"], out)
    assert found.mask.is_file()
    assert found.overlay.is_file()
    assert len(os.fsencode(found.overlay.name)) <= 255


def test_what_is_left_out_of_a_folder_is_said_and_junk_costs_nothing(model, out, tmp_path, capsys):
    truth = photograph(tmp_path / "in" / "a.png")
    whole = (tmp_path / "in" / "a.png").read_bytes()
    chunk = b"\0\0\0\3pHYsxxx\0\0\0\0"  # three bytes where nine belong, and a wrong sum
    (tmp_path / "in" / "a.png").write_bytes(whole[:33] + chunk + whole[33:])
    (tmp_path / "in" / "more").mkdir()
    (tmp_path / "in" / "b.xml").write_text("")
    (tmp_path / "in" / "c.jpg").symlink_to("nothing.jpg")
    assert cli.main(["predict", str(model), str(tmp_path / "in"), "--out", str(out)]) == 1
    err = capsys.readouterr().err
    assert f"note: {tmp_path / 'in'}: left out: 1 file of kind .xml, the folder more" in err
    assert "a.png: its metadata is damaged: read without" in err
    assert "c.jpg: a link to a file that is not there" in err
    assert "Traceback" not in err
    assert (read_mask(out / "a_mask.png", unnamed(2)) != truth).mean() < 0.05  # one column of the canvas
