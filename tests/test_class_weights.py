"""Class weights against values worked out by hand and published ones."""

import math

import numpy as np
import pytest

from footseg.data.images import IGNORE
from footseg.training import class_weights as cw
from footseg.training.class_weights import ClassCounts, class_weights, count


def counts_of(*pixels: float) -> ClassCounts:
    """Counts of one image that holds every class."""
    return ClassCounts(np.array(pixels), np.full(len(pixels), sum(pixels)))


def by_rarity(*rarity: float) -> ClassCounts:
    """Counts in which class i has one pixel where the commonest has ``rarity[i]``."""
    return counts_of(*(1 / np.array(rarity)))


# ---- counting


def test_pixels_are_counted_by_class_and_by_the_images_that_hold_it() -> None:
    masks = np.array([[[0, 0], [0, 1]], [[0, 0], [IGNORE, IGNORE]], [[2, 2], [2, IGNORE]]], np.uint8)
    counts = count(masks, 4)
    assert counts.pixels.tolist() == [5, 1, 3, 0]
    # Image 1 has 4 pixels that count, image 2 has 2, image 3 has 3.
    assert counts.image_pixels.tolist() == [6, 4, 3, 0]


def test_images_may_differ_in_size() -> None:
    assert count([np.zeros((1, 3), np.uint8), np.ones((2, 2), np.uint8)], 2).pixels.tolist() == [3, 4]


# ---- the methods, before scaling


def test_inverse_is_one_minus_the_share() -> None:
    assert cw.inverse(counts_of(70, 20, 10)) == pytest.approx([0.3, 0.8, 0.9])


def test_enet_is_one_over_the_logarithm() -> None:
    assert cw.enet(counts_of(98, 2)) == pytest.approx([1 / math.log(2), 1 / math.log(1.04)])
    # The paper says that this keeps weights "between 1 and 50": a class of no pixels would get 50.5.
    assert (
        cw.enet(counts_of(1e12, 1))[1] == pytest.approx(1 / math.log(1.02)) == pytest.approx(50.5, abs=0.01)
    )


def test_exponential_of_two_classes() -> None:
    # B = (1, 3): mean 2, deviation 1. w = (e^(1/4), 3 e^(-1/4)).
    assert cw.exponential(counts_of(75, 25)) == pytest.approx([math.exp(0.25), 3 * math.exp(-0.25)])


def test_exponential_divides_by_the_deviation_of_the_population() -> None:
    # B = (1, 1, 4): mean 2, deviation sqrt((1 + 1 + 4) / 3) = sqrt 2; a sample's would be sqrt 3.
    spread = 4 * math.sqrt(2)
    assert cw.exponential(by_rarity(1, 1, 4)) == pytest.approx(
        [math.exp(1 / spread), math.exp(1 / spread), 4 * math.exp(-2 / spread)]
    )


def test_exponential_damps_the_extremes_of_thirteen_classes() -> None:
    # 233 -> 128 and 1 -> 1.28 fix mean and deviation: 4 ln(233 / 128) = (233 - mean) / deviation and
    # 4 ln 1.28 = (mean - 1) / deviation give 68.6 for the deviation, 68.7 for the mean. These rarities
    # have 68.53 and 68.77.
    rarity = (1, 5, 10, 15, 20, 30, 40, 50, 90, 120, 120, 160, 233)
    weights = cw.exponential(by_rarity(*rarity))
    assert weights[-1] == pytest.approx(128, abs=0.5)  # as many digits as are printed
    assert weights[0] == pytest.approx(1.28, abs=0.005)


def test_exponential_falls_again_beyond_four_deviations() -> None:
    # 38 common classes and two very rare ones: mean 48.45, deviation 206.9, four of it 827.7.
    weights = cw.exponential(by_rarity(*[1] * 38, 900, 1000))
    assert weights[-1] < weights[-2]


def test_exponential_of_equal_classes_has_no_deviation_to_divide_by() -> None:
    assert cw.exponential(counts_of(5, 5, 5)).tolist() == [1, 1, 1]


def test_median_of_the_frequencies_where_a_class_occurs() -> None:
    # Class 2 has 10 pixels, but only in images of 20: 1/2. Frequencies 3/4, 3/20, 1/2; median 1/2.
    counts = ClassCounts(np.array([75, 15, 10]), np.array([100, 100, 20]))
    assert cw.median(counts) == pytest.approx([2 / 3, 10 / 3, 1])


def test_median_gives_the_published_weights_of_camvid() -> None:
    # All 701 images, 11 classes: counts and weights of MathWorks' example "Semantic Segmentation Using
    # Deep Learning". SegNet's own weights (0.2595, 0.1826, 4.564 ...) come with no counts, and none of the
    # eleven is 1, as the median's must be: they were made over more classes.
    pixels = [768.01, 1173.7, 47.987, 1405.4, 336.14, 542.59, 52.242, 69.211, 244.37, 34.029, 25.912]
    images = [4831.5, 4831.5, 4831.5, 4845.3, 4720.9, 4479.0, 4686.3, 2516.0, 4831.5, 4444.4, 2619.6]
    published = [0.3182, 0.2082, 5.0924, 0.1744, 0.7103, 0.4175, 4.5371, 1.8386, 1.0, 6.6059, 5.1133]
    # The counts are printed with five digits: two of them are good to one part in 10,000.
    assert cw.median(ClassCounts(np.array(pixels), np.array(images))) == pytest.approx(published, rel=2e-4)


# ---- what a configuration asks for


@pytest.mark.parametrize("name", sorted(cw.METHODS))
def test_weights_have_a_mean_of_one_over_the_classes_that_occur(name: str) -> None:
    counts = ClassCounts(np.array([900, 0, 90, 10]), np.array([1000, 0, 1000, 500]))
    weights = class_weights([name], counts)
    assert weights is not None
    assert weights[[0, 2, 3]].mean() == pytest.approx(1)
    assert weights[0] < weights[2] < weights[3]  # the rarer, the heavier
    assert weights[1] == 1  # never seen: neutral

    # A class that does not occur changes nothing for the others.
    without = class_weights([name], ClassCounts(counts.pixels[[0, 2, 3]], counts.image_pixels[[0, 2, 3]]))
    assert without is not None
    assert weights[[0, 2, 3]].tolist() == without.tolist()


def test_inverse_of_feet_on_a_floor() -> None:
    # 1 - n/N = (0.03, 0.97), whose mean is 1/2.
    assert class_weights(["inverse"], counts_of(97, 3)) == pytest.approx([0.06, 1.94])


def test_none_is_none() -> None:
    assert class_weights(["none"], counts_of(97, 3)) is None


def test_numbers_by_hand_are_taken_as_they_are() -> None:
    weights = class_weights(["0.5", "3"], counts_of(97, 3))
    assert weights is not None
    assert weights.tolist() == [0.5, 3]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["invers"], "did you mean 'inverse'"),
        (["1", "x"], "'x' is no method and no number"),
        (["1"], "1 numbers for 2 classes"),
        (["1", "2", "3"], "3 numbers for 2 classes"),
        ([], "0 numbers for 2 classes"),
        (["1", "0"], "positive numbers, not 1 0"),
        (["1", "-2"], "positive"),
        (["1", "nan"], "positive"),
        (["1", "inf"], "positive"),
        (["inverse", "2"], "inverse stands alone"),
        (["none", "enet"], "none stands alone"),
    ],
)
def test_wrong_weights_are_named(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_weights(names, counts_of(97, 3))


@pytest.mark.parametrize("name", sorted(cw.METHODS))
@pytest.mark.parametrize("pixels", [(100, 0), (0, 0)])
def test_one_class_alone_cannot_be_balanced(name: str, pixels: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="nothing to balance"):
        class_weights([name], counts_of(*pixels))
