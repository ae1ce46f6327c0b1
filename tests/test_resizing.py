"""Other programs' resizing, against values worked out by hand; and that training draws from it."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from footseg.data import resizing
from footseg.data.folder import DataSet, load_split, open_data, pairs, read_pair
from footseg.data.images import letterbox, letterbox_mask
from footseg.data.labels import unnamed
from footseg.data.resizing import KERNELS, RULES, Rule
from footseg.training import sampling
from footseg.training.config import TrainConfig, from_values
from footseg.training.train import train
from tests.conftest import train_one_epoch

STRIPES = [0, 90, 0, 0, 90, 0]


def row(kernel: str, pixels: list[int], width: int) -> list[int]:
    """A grey row of uint8 pixels, scaled."""
    image = np.repeat(np.array(pixels, np.uint8)[None, :, None], 3, axis=2)
    scaled = KERNELS[kernel](image, 1, width)
    assert (scaled == scaled[..., :1]).all()
    return scaled[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("kernel", "pixels", "width", "expected"),
    [
        # Centres at 1 and 4 of 6: exactly on the stripes, which nothing tells from a plain 90.
        ("bilinear", STRIPES, 2, [90, 90]),
        ("nearest", STRIPES, 2, [90, 90]),
        ("area", STRIPES, 2, [30, 30]),
        # A triangle of 3 pixels to each side, of which 2/3, 1, 2/3 and 1/3 lie in the picture: 90 / (8/3).
        ("antialiased", STRIPES, 2, [34, 34]),
        # Halves: centres between two pixels, where bilinear is the mean that area is.
        ("bilinear", [0, 10, 20, 40], 2, [5, 30]),
        ("area", [0, 10, 20, 40], 2, [5, 30]),
        # (0 + 15) / 1.5 and (15 + 90) / 1.5.
        ("area", [0, 30, 90], 2, [10, 70]),
        # Enlarged: centres at -1/4, 1/4, 3/4, 5/4; the ends repeat.
        ("bilinear", [0, 100], 4, [0, 25, 75, 100]),
        ("antialiased", [0, 100], 4, [0, 25, 75, 100]),
        ("nearest", [0, 100], 4, [0, 0, 100, 100]),
        ("align_corners", [0, 100, 200], 5, [0, 50, 100, 150, 200]),
        ("align_corners", [7, 100, 200], 1, [7]),
    ],
)
def test_kernels_by_hand(kernel: str, pixels: list[int], width: int, expected: list[int]) -> None:
    assert row(kernel, pixels, width) == expected


def test_halving_is_for_what_shrinks_twice_in_both_directions() -> None:
    line = np.array([0, 10, 20, 40, 60, 80, 90, 90], np.uint8)
    image = np.repeat(line[None, :, None].repeat(2, 0), 3, axis=2)
    # [5, 30, 70, 90], then centres at 1/6, 3/2 and 17/6 of it: 5 + 25/6, 50, 90 - 20/6.
    assert KERNELS["halved"](image, 1, 3)[0, :, 0].tolist() == [9, 50, 87]
    # Not halved: centres at 5/6, 3.5 and 37/6 of the eight.
    assert KERNELS["halved"](image, 2, 3)[0, :, 0].tolist() == [8, 50, 90]


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_and_columns_are_scaled_alike_and_a_flat_picture_stays_flat(kernel: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (13, 9, 3), np.uint8)
    wide, high = KERNELS[kernel](image, 5, 7), KERNELS[kernel](image.swapaxes(0, 1), 7, 5).swapaxes(0, 1)
    # Pillow and the others round once or twice, in another order.
    assert np.abs(wide.astype(int) - high).max() <= 1
    assert (KERNELS[kernel](np.full((13, 9, 3), 77, np.uint8), 5, 20) == 77).all()


def test_floats_are_not_rounded() -> None:
    plane = np.array([[0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(KERNELS["bilinear"](plane, 1, 4), [[0, 0.25, 0.75, 1]])


def test_a_stretched_photograph_fills_the_canvas_and_its_mask_with_it() -> None:
    image = np.zeros((4, 2, 3), np.uint8)
    image[:, 1] = 200
    mask = image[..., 0] // 200
    canvas, box = RULES["stretch"].canvas(image, (4, 4))
    assert (box.top, box.left, box.height, box.width) == (0, 0, 4, 4)
    assert canvas[0, :, 0].tolist() == [0, 50, 150, 200]
    assert RULES["stretch"].mask(mask, (4, 4))[0].tolist() == [0, 0, 1, 1]
    canvas, _ = Rule("black", "nearest", padding=0).canvas(image + 10, (4, 4))
    assert canvas[0, :, 0].tolist() == [0, 10, 210, 0]
    assert RULES["nearest"].mask(mask, (4, 4))[0].tolist() == [255, 0, 1, 255]


def test_an_unknown_rule_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="did you mean 'bilinear'"):
        resizing.rule("bilinaer")


# ---- in training


def config_of(data: Path, **options: object) -> TrainConfig:
    base = {"network": "tiptoe", "size": 24, "batch": 4, "steps": 3, "epochs": 2, "ema": 0.5}
    return from_values({"data": str(data), **base, **options})


def test_a_split_is_loaded_by_each_rule(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data, rules = open_data(tiny_data), (RULES["nearest"], RULES["stretch"])
    split = load_split(data, "val", (24, 40), rules=rules)
    image, mask = read_pair(pairs(data, "val")[3], data.labels)
    np.testing.assert_array_equal(split.images[3], letterbox(image, (24, 40))[0])
    np.testing.assert_array_equal(split.masks[3], letterbox_mask(mask, (24, 40)))
    for rule, (images, masks) in zip(rules, split.others, strict=True):
        np.testing.assert_array_equal(images[3], rule.canvas(image, (24, 40))[0])
        np.testing.assert_array_equal(masks[3], rule.mask(mask, (24, 40)))
    assert split.others[0][1] is split.masks, "a kernel moves no mask"
    mapped = load_split(data, "val", (24, 40), 0, rules)
    assert isinstance(mapped.others[1][0], np.memmap)
    for own, other in zip((*split.others[0], *split.others[1]), sum(mapped.others, ()), strict=True):
        np.testing.assert_array_equal(own, other)
    assert load_split(data, "val", (24, 40), 0).others == ()


def test_the_share_is_exact_and_the_rules_come_equally_often() -> None:
    config = config_of(Path("feet"), resize=0.6)
    ways = sampling.resized(config, 40, np.random.default_rng(0))
    assert ways is not None
    assert np.bincount(ways).tolist() == [16, 6, 6, 6, 6]
    again = sampling.resized(config, 40, np.random.default_rng(1))
    assert again is not None
    assert ways.tolist() != again.tolist()


def test_without_the_option_nothing_is_drawn() -> None:
    """What comes after it, the augmentation, stays what it was."""
    ours, reference = np.random.default_rng(0), np.random.default_rng(0)
    assert sampling.resized(config_of(Path("feet")), 40, ours) is None
    assert ours.integers(1 << 60) == reference.integers(1 << 60)


def test_a_pool_takes_each_image_as_it_was_drawn(tiny_data: Path) -> None:
    config = config_of(tiny_data, resize=0.5, resize_by=["nearest", "area"])
    pool = sampling.load_pool(open_data(tiny_data), config)
    images, masks = pool.take(np.array([5, 5, 5]), np.array([2, 0, 1]))
    own = pool.splits[0]
    expected = own.others[1][0][5], own.images[5], own.others[0][0][5]
    np.testing.assert_array_equal(images, expected)
    assert (masks == own.masks[5]).all()
    assert (expected[0] != expected[1]).any()
    told = sampling.what_resizing_changes(config, pool)
    assert told == "resize: of 24 training photographs these get other pixels: nearest 24, area 24"


def test_photographs_of_the_networks_size_have_nothing_to_draw(tiny_data: Path) -> None:
    config = config_of(tiny_data, resize=0.5, size=64)
    told = sampling.what_resizing_changes(config, sampling.load_pool(open_data(tiny_data), config))
    assert told.startswith("resize 0.5 changes nothing: all 24 training photographs are 64x64 already")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["aera"], "did you mean 'area'"),
        (["area", "area"], "resize_by is area area: give one or more resizings, each once"),
        ([], "resize_by is empty: give one or more"),
    ],
)
def test_wrong_rules_are_refused_before_anything_is_decoded(names: list[str], message: str) -> None:
    config = config_of(Path("feet"), resize=0.5, resize_by=names)
    with pytest.raises(ValueError, match=message):
        sampling.load_pool(DataSet(Path("feet"), unnamed(2)), config)
    assert sampling.rules(dataclasses.replace(config, resize=0.0)) == ()


@pytest.mark.slow
@pytest.mark.usefixtures("two_layers")
def test_a_run_that_was_killed_goes_on_to_the_same_history(tiny_data: Path, tmp_path: Path) -> None:
    def history(out: Path) -> list[str]:
        with (out / "history.csv").open() as file:
            return [row["loss"] + row["val_loss"] + row["val_iou"] for row in csv.DictReader(file)]

    said: list[str] = []
    config = config_of(tiny_data, resize=0.5)
    train(config, tmp_path / "whole", say=said.append)
    train_one_epoch(config, tmp_path / "killed")
    train(config, tmp_path / "killed", resume=True)
    assert history(tmp_path / "killed") == history(tmp_path / "whole")
    # Squares: nothing to stretch but by a kernel without antialiasing.
    assert "bilinear 24, nearest 24, area 24, stretch 24" in said[0]
    train(dataclasses.replace(config, resize=0.0), tmp_path / "plain")
    assert history(tmp_path / "plain") != history(tmp_path / "whole")
