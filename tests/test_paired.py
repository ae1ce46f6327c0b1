"""Differences of figures on the same images: by hand, and held against known truths."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from footseg import paired
from footseg.errors import FootsegError
from footseg.paired import Difference

# Two images of 8 pixels, 4 of them a foot: all found, and 2 missed.
RIGHT, MISSING = [[4, 0], [0, 4]], [[4, 0], [2, 2]]


def test_iou_is_of_all_pixels_and_its_error_of_leaving_images_out() -> None:
    found = paired.of_iou(np.array([RIGHT, RIGHT]), np.array([RIGHT, MISSING]))
    # 6 of 8 pixels of a foot are found, where all were. Without the first image 0.5 of IoU is lost, without
    # the second nothing: half of the difference is the error, and two values are never skewed.
    assert found.value == pytest.approx(6 / 8 - 1)
    assert found.error == pytest.approx(0.25)
    assert found.skewness == pytest.approx(0)
    assert found.images == 2


def test_of_a_mean_it_is_the_usual_standard_error() -> None:
    before, after = np.array([0.5, 0.5, 0.5, 0.9]), np.array([0.5, 0.4, 0.3, 0.8])
    found = paired.of_mean(before, after)
    assert found.value == pytest.approx(-0.1)
    # Differences 0, -0.1, -0.2, -0.1: squares of 0.02 in all, over 3 and 4.
    assert found.error == pytest.approx(math.sqrt(0.02 / 3 / 4))
    # Student's t with 3 degrees of freedom is 5.841 at 99.5 %, and the four are symmetrical.
    assert found.interval(0.99) == pytest.approx((-0.1 - 5.841 * 0.0408, -0.1 + 5.841 * 0.0408), abs=1e-3)


def test_an_interval_reaches_further_to_the_side_of_few_large_losses() -> None:
    found = paired.of_mean(np.zeros(16), np.array([-0.3, -0.1, *[0.0] * 14]))
    low, high = found.interval()
    assert found.value - low > 3 * (high - found.value) > 0


def test_a_single_image_tells_nothing_of_others() -> None:
    for found in (paired.of_iou(np.array([RIGHT]), np.array([MISSING])), paired.of_mean(*np.ones((2, 1)))):
        assert found.error == math.inf
        assert found.interval() == (-1.0, 1.0)
        assert paired.decide(found, 0.05).verdict == paired.CANNOT_TELL


@pytest.mark.parametrize("images", [2, 8, 32])
def test_of_images_that_are_all_alike_the_interval_is_their_difference(images: int) -> None:
    same = np.array([RIGHT] * images)
    for found in (paired.of_iou(same, same), paired.of_mean(np.ones(images), np.ones(images))):
        assert (found.value, found.error) == (0.0, 0.0)
        assert found.interval() == (0.0, 0.0)
        assert paired.decide(found, 1e-3).verdict == paired.WITHIN


def test_bounds_stay_where_differences_can_be() -> None:
    low, high = paired.of_mean(np.array([1.0, 0.0]), np.array([0.0, 1.0])).interval()
    assert (low, high) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.0, "within"), (-0.006, "within"), (-0.008, "cannot tell"), (0.012, "cannot tell"), (-0.014, "beyond"),
     (0.014, "beyond"), (math.nan, "beyond")],
)  # fmt: skip
def test_verdicts(value: float, verdict: str) -> None:
    # Student's t with 31 degrees of freedom is 2.744 at 99.5 %: 0.00274 to each side of the value.
    found = paired.decide(Difference(value, 0.001, 0.0, 32), 0.01)
    assert found.verdict == verdict
    assert found.clear == (verdict != "cannot tell")
    assert (found.images, found.limit, found.confidence) == (32, 0.01, 0.99)


def test_doubts_name_figure_images_limit_and_interval() -> None:
    decided = {
        "iou": paired.decide(Difference(0.0, 0.0, 0.0, 8), 0.01),
        "boundary_f": paired.decide(Difference(-0.0219, 0.005, 0.0, 8), 0.02),
    }
    # Student's t with 7 degrees of freedom is 3.499.
    words = "cannot tell on 8 images whether boundary F is within 0.02 (-0.0394 to -0.0044)"
    assert paired.doubts(decided) == words
    assert paired.doubts({}) == ""


def test_sidecars_of_before_decisions_have_none() -> None:
    assert paired.decisions({"images": 32, "iou": -0.001}) == {}


@pytest.mark.parametrize("damaged", [{"iou": {"images": 8}}, {"iou": 0.01}, ["iou"], 8])
def test_damaged_decisions_are_refused(damaged: object) -> None:
    with pytest.raises(FootsegError, match=r"no decisions on IoU .* \(it.*\): export the file again"):
        paired.decisions({"decisions": damaged})


# ---- how often intervals leave out the truth; a processor's rounding moves no draw over a bound


def left_out(draw: Callable[[np.random.Generator], Difference], truth: float) -> float:
    """The share of 2,000 intervals at 99 % without the truth; its own standard error at 0.01 is 0.0022."""
    rng = np.random.default_rng(0)
    bounds = [draw(rng).interval(0.99) for _ in range(2000)]
    return sum(not low <= truth <= high for low, high in bounds) / len(bounds)


# Three standard errors above 0.01, and what skewness leaves of it with 8 images (see paired's docstring).
@pytest.mark.parametrize(("images", "most"), [(8, 0.04), (32, 0.017), (128, 0.017)])
@pytest.mark.parametrize("lost", ["normal", "on half of the images"])
def test_intervals_of_means_hold_the_truth(images: int, most: float, lost: str) -> None:
    def draw(rng: np.random.Generator) -> Difference:
        if lost == "normal":
            after = rng.normal(-0.01, 0.02, images)
        else:
            after = -rng.exponential(0.02, images) * (rng.random(images) < 0.5)
        return paired.of_mean(np.zeros(images), after)

    assert left_out(draw, -0.01) < most


@pytest.mark.parametrize(("images", "most"), [(8, 0.04), (32, 0.017)])
def test_intervals_of_iou_hold_the_truth(images: int, most: float) -> None:
    """Feet of 200 to 2,000 pixels; Keras finds 90 % of them, the file loses each tenth of these again."""

    def draw(rng: np.random.Generator) -> Difference:
        feet = rng.integers(200, 2000, images)
        before = rng.binomial(feet, 0.9)
        after = rng.binomial(before, rng.uniform(0.8, 1.0, images))
        matrices = [
            np.stack([np.full(images, 4000), np.zeros(images, int), feet - found, found], axis=-1)
            for found in (before, after)
        ]
        return paired.of_iou(*(matrix.reshape(images, 2, 2) for matrix in matrices))

    # Over all images there are, IoU is the share of the feet's pixels that are found: 0.9, then 0.81.
    assert left_out(draw, 0.81 - 0.9) < most
