"""Augmentation: the drawn maps by their geometry, the moved pixels by cases that can be seen."""

import numpy as np
import pytest

from footseg.data.images import IGNORE
from footseg.training import augment
from footseg.training.augment import Augmentation

NONE = Augmentation(flip=0, affine=0, zoom_out=0, colour=0, hue=0)


def batch(size: tuple[int, int] = (8, 12)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (
        rng.integers(0, 256, (4, *size, 3), dtype=np.uint8),
        rng.integers(0, 2, (4, *size), dtype=np.uint8),
    )


def applied(how: Augmentation, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    images, masks = batch()
    drawn = augment.sample(how, len(images), images.shape[1:3], np.random.default_rng(seed))
    moved, moved_masks = augment.apply(images, masks, drawn)
    return np.asarray(moved), np.asarray(moved_masks)


def test_no_augmentation_changes_nothing() -> None:
    images, masks = batch()
    moved, moved_masks = applied(NONE)
    np.testing.assert_allclose(moved, images / 255, atol=1e-6)  # float32 rounding of x / 255
    np.testing.assert_array_equal(moved_masks, masks)


def test_a_flip_mirrors_image_and_mask_together() -> None:
    images, masks = batch()
    moved, moved_masks = applied(Augmentation(flip=1, affine=0, zoom_out=0, colour=0, hue=0))
    np.testing.assert_allclose(moved, images[:, :, ::-1] / 255, atol=1e-6)
    np.testing.assert_array_equal(moved_masks, masks[:, :, ::-1])


def test_a_flip_swaps_left_and_right() -> None:
    images, masks = batch()
    masks[:, 0] = IGNORE
    swapped = np.arange(256, dtype=np.uint8)
    swapped[[0, 1]] = 1, 0
    how = Augmentation(flip=0.5, affine=0, zoom_out=0, colour=0, hue=0)
    drawn = augment.sample(how, len(images), images.shape[1:3], np.random.default_rng(0), swapped)
    flipped = drawn["affine"][:, 0] < 0
    assert 0 < flipped.sum() < len(flipped)
    moved = np.asarray(augment.apply(images, masks, drawn)[1])
    for mask, was, mirrored in zip(moved, masks, flipped, strict=True):
        np.testing.assert_array_equal(mask, swapped[was[:, ::-1]] if mirrored else was)
    # What else is drawn stays as it was without pairs.
    plain = augment.sample(how, len(images), images.shape[1:3], np.random.default_rng(0))
    assert plain.keys() == drawn.keys() - {"classes"}
    for name, values in plain.items():
        np.testing.assert_array_equal(values, drawn[name])


def test_exact_corners_give_their_affine_map() -> None:
    # A square of half the side, moved by a quarter: x = 0.25 + 0.5 u.
    corners = np.array([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]])
    np.testing.assert_allclose(augment.corner_affine(corners), [[[0.5, 0, 0.25], [0, 0.5, 0.25]]])


def test_closed_form_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(size=(20, 4, 2))
    unit = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]], float)
    for points, found in zip(corners, augment.corner_affine(corners), strict=True):
        expected = np.linalg.lstsq(unit, points, rcond=None)[0].T
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_thesis_affine_has_the_zoom_worked_out_for_it() -> None:
    # ARCHITECTURES 15.1: median zoom 1.51, never a mirror image (before the flip).
    how = Augmentation(flip=0, affine=1 / 3, zoom_out=0, colour=0, hue=0)
    drawn = augment.sample(how, 20_000, (256, 256), np.random.default_rng(2))["affine"].reshape(-1, 8)
    determinant = drawn[:, 0] * drawn[:, 4] - drawn[:, 1] * drawn[:, 3]
    assert determinant.min() > 0
    # 20,000 draws fix the median of a spread of 0.16 to 0.16 * 1.25 / sqrt(20000) = 0.0015.
    assert np.median(1 / np.sqrt(determinant)) == pytest.approx(1.51, abs=0.01)


def test_zoom_out_ignores_what_lies_outside_and_mirrors_the_image_there() -> None:
    images = np.full((1, 16, 16, 3), 200, np.uint8)
    masks = np.ones((1, 16, 16), np.uint8)
    # x = 2 u - 0.5: the image shrinks to the middle half.
    drawn = {
        "affine": np.array([[2, 0, -8 + 0.5, 0, 2, -8 + 0.5, 0, 0]], np.float32),
        "colour": augment.sample(NONE, 1, (16, 16), np.random.default_rng(0))["colour"],
    }
    moved, moved_masks = (np.asarray(a) for a in augment.apply(images, masks, drawn))
    np.testing.assert_allclose(moved, 200 / 255, atol=1e-6)
    inside = np.zeros((16, 16), bool)
    inside[4:12, 4:12] = True
    np.testing.assert_array_equal(moved_masks[0] == 1, inside)
    np.testing.assert_array_equal(moved_masks[0] == IGNORE, ~inside)


def test_colour_keeps_grey_grey_and_moves_colours() -> None:
    how = Augmentation(flip=0, affine=0, zoom_out=0, colour=0.3, hue=0.1)
    drawn = augment.sample(how, 50, (2, 2), np.random.default_rng(3))["colour"].astype(float)
    grey = drawn @ np.array([0.5, 0.5, 0.5, 1])
    # Saturation and hue leave grey alone; brightness and contrast move the channels alike (float32 matrices).
    np.testing.assert_allclose(np.ptp(grey, axis=1), 0, atol=1e-6)
    assert np.ptp(grey[:, 0]) > 0.2
    red = drawn @ np.array([1, 0, 0, 1])
    assert np.ptp(red, axis=0).min() > 0.05


def test_pixels_stay_in_range() -> None:
    moved, _ = applied(Augmentation(colour=1.0, hue=0.5), seed=4)
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_the_same_seed_draws_the_same_numbers() -> None:
    first, again = (
        augment.sample(Augmentation(), 3, (64, 64), np.random.default_rng([7, 2])) for _ in range(2)
    )
    other = augment.sample(Augmentation(), 3, (64, 64), np.random.default_rng([7, 3]))
    np.testing.assert_array_equal(first["affine"], again["affine"])
    assert not np.array_equal(first["affine"], other["affine"])


@pytest.mark.parametrize("name", ["flip", "affine", "zoom_out", "colour", "hue"])
def test_strengths_out_of_range_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"augmentation {name} is between 0 and"):
        Augmentation(**{name: -0.1})
    with pytest.raises(ValueError, match=name):
        Augmentation(**{name: 1.1})


def test_paste_copies_the_next_images_foreground_and_blends_its_seam() -> None:
    images = np.zeros((2, 6, 6, 3), np.uint8)
    images[1] = 255
    masks = np.zeros((2, 6, 6), np.uint8)
    masks[1, 2:5, 2:5] = 1
    masks[1, 0, 0] = 255  # unknown pixels are not pasted
    nothing = augment.Augmentation(0, 0, 0, 0, 0)
    drawn = augment.sample(nothing, 2, (6, 6), np.random.default_rng(0))
    pasted, truth = augment.apply(images, masks, drawn | {"paste": np.array([1, 0], np.float32)})
    pasted, truth = np.asarray(pasted), np.asarray(truth)
    assert (truth[0] == (masks[1] == 1)).all()
    assert (truth[1] == masks[1]).all()
    assert pasted[0, 3, 3, 0] == pytest.approx(1)  # well inside: all new
    assert pasted[0, 2, 3, 0] == pytest.approx(6 / 9)  # on the edge: six of nine neighbours are foot
    assert pasted[0, 0, 0, 0] == pytest.approx(0)
    assert pasted[1].min() == pytest.approx(1)


def test_paste_draws_only_where_it_is_on() -> None:
    off = augment.sample(augment.Augmentation(), 4, (8, 8), np.random.default_rng(0))
    on = augment.sample(augment.Augmentation(paste=1.0), 4, (8, 8), np.random.default_rng(0))
    assert "paste" not in off
    assert on["paste"].tolist() == [1, 1, 1, 1]
    assert (on["affine"] == off["affine"]).all()
