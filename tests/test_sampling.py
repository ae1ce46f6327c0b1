"""What an epoch draws: how often, from where, and the same again for the same generator."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from footseg.data.folder import Split, open_data
from footseg.data.shapes import write_shapes
from footseg.data.synth import SynthConfig
from footseg.errors import FootsegError
from footseg.training.config import from_values
from footseg.training.sampling import Pool, Sampler, classes_in, load_pool, sampler


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, 1])


def split(count: int, value: int) -> Split:
    images = (
        np.full((count, 4, 6, 3), value, np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    )
    return Split(tuple(f"{value}_{i}" for i in range(count)), images, images[..., 0], f"sha{value}")


@pytest.mark.parametrize("count", [10, 8, 25])
def test_the_plain_order_is_one_permutation_over_and_over(count: int) -> None:
    expected = rng().permutation(10)[np.arange(count) % 10]
    np.testing.assert_array_equal(Sampler(10).epoch(count, rng()), expected)


def test_the_plain_order_leaves_the_generator_where_one_permutation_does() -> None:
    """What is drawn afterwards, the augmentation, stays what it was."""
    ours, reference = rng(), rng()
    Sampler(10, balance=0.0, share=0.5).epoch(8, ours)
    reference.permutation(10)
    assert ours.integers(1 << 60) == reference.integers(1 << 60)


def test_the_share_of_extra_images_is_exact_and_the_rest_is_each_own_image_at_most_once() -> None:
    order = Sampler(own=40, extra=7, share=0.3).epoch(40, rng())
    assert order.shape == (40,)
    extra = order[order >= 40]
    assert len(extra) == 12
    assert set(np.bincount(extra - 40, minlength=7)) == {1, 2}  # 12 draws of 7 images
    own = order[order < 40]
    assert len(set(own)) == len(own) == 28


def test_another_epoch_chooses_others_and_the_same_epoch_the_same() -> None:
    draw = Sampler(own=40, extra=40, share=0.5)
    np.testing.assert_array_equal(draw.epoch(40, rng(1)), draw.epoch(40, rng(1)))
    assert set(draw.epoch(40, rng(1))) != set(draw.epoch(40, rng(2)))


def test_each_class_is_equally_often_the_reason_for_a_draw() -> None:
    held = np.zeros((100, 3), bool)
    held[:90, 0] = held[90:98, 1] = held[98:, 2] = True  # one class an image, so that draws can be told apart
    order = Sampler(100, balance=1.0, classes_in=held).epoch(60, rng())
    drawn = np.bincount(order, minlength=100)
    assert drawn[:90].sum() == drawn[90:98].sum() == drawn[98:].sum() == 20
    assert drawn[:90].max() == 1
    assert set(drawn[90:98]) == {2, 3}  # 20 draws of 8 images
    assert set(drawn[98:]) == {10}


def test_half_balanced_draws_the_other_half_uniformly() -> None:
    held = np.zeros((100, 2), bool)
    held[:, 0] = True
    held[99, 1] = True
    order = Sampler(100, balance=0.5, classes_in=held).epoch(100, rng())
    # 25 for its class, at most one as one of the 50 uniform draws, at most one of the 25 for class 0.
    assert 25 <= np.count_nonzero(order == 99) <= 27


def test_a_class_that_no_image_holds_gets_no_draws() -> None:
    held = np.array([[True, False, True], [True, False, False]])
    order = Sampler(2, balance=1.0, classes_in=held).epoch(8, rng())
    assert np.count_nonzero(order == 0) == 4 + 2  # all four for class 2, two of four for class 0


def test_balance_holds_in_each_group_and_the_share_stays_exact() -> None:
    held = np.zeros((20, 2), bool)
    held[:, 0] = True
    held[[3, 15], 1] = True
    order = Sampler(10, 10, share=0.4, balance=1.0, classes_in=held).epoch(20, rng())
    assert np.count_nonzero(order >= 10) == 8
    assert np.count_nonzero(order == 15) in (4, 5)  # 4 for class 1, at most one of the 4 for class 0
    assert np.count_nonzero(order == 3) in (6, 7)


def test_a_pool_counts_its_splits_through() -> None:
    pool = Pool((split(3, 10), split(2, 100), split(4, 200)))
    assert (pool.own, len(pool), pool.fingerprint) == (3, 9, "sha10+sha100+sha200")
    images, masks = pool.take(np.array([8, 0, 4, 2, 3, 5]))
    assert images.shape == (6, 4, 6, 3)
    assert images[:, 0, 0, 0].tolist() == masks[:, 0, 0].tolist() == [203, 10, 101, 12, 100, 200]


def test_one_split_keeps_its_fingerprint() -> None:
    assert Pool((split(3, 10),)).fingerprint == "sha10"


def test_classes_are_seen_by_pixel_and_ignored_pixels_are_none() -> None:
    masks = np.zeros((130, 2, 2), np.uint8)  # more than two chunks
    masks[129] = [[255, 2], [2, 2]]
    held = classes_in([masks, masks[:1] + 1], 3)
    assert held.shape == (131, 3)
    assert held[:129].tolist() == [[True, False, False]] * 129
    assert held[129:].tolist() == [[False, False, True], [False, True, False]]


def test_data_sets_are_loaded_together(tiny_data: Path, tmp_path: Path) -> None:
    more = write_shapes(
        tmp_path / "more", SynthConfig({"train": 3, "val": 1, "test": 1}, seed=5, size=(64, 64))
    )
    options = {"network": "fast_linknet", "data": str(tiny_data), "size": 64, "extra_data": [str(more)]}
    config = from_values(options | {"extra_share": 0.25, "balance": 0.5})
    data = open_data(tiny_data)
    pool = load_pool(data, config)
    assert (pool.own, len(pool)) == (24, 27)
    drawing = sampler(config, pool, 2)
    assert (drawing.own, drawing.extra, drawing.share, drawing.balance) == (24, 3, 0.25, 0.5)
    assert drawing.classes_in is not None
    assert drawing.classes_in.shape == (27, 2)
    assert sampler(dataclasses.replace(config, balance=0.0), pool, 2).classes_in is None

    with pytest.raises(FootsegError, match="is given as data and as extra_data"):
        load_pool(data, dataclasses.replace(config, extra_data=(str(tiny_data),)))
    (more / "dataset.toml").write_text('classes = ["background", "shoe"]')
    with pytest.raises(FootsegError, match=r"has the classes background, shoe, .* has background, foot"):
        load_pool(data, config)
