"""Metrics against values worked out by hand on grids small enough to count."""

import numpy as np
import pytest

from footseg import metrics


def grid(*rows: str) -> np.ndarray:
    """Class indices from text; ``x`` is an ignored pixel."""
    return np.array([[255 if c == "x" else int(c) for c in row] for row in rows], np.uint8)


def square(top: int, left: int, side: int, canvas: int = 40) -> np.ndarray:
    mask = np.zeros((canvas, canvas), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


def test_confusion_counts_rows_of_truth_and_skips_ignored_pixels():
    truth = grid("0011", "01x1")[None]
    predicted = grid("0111", "0011")[None]
    # truth 0: three pixels, one of them called 1; truth 1: four pixels, one of them called 0.
    assert metrics.confusion(truth, predicted, 2).tolist() == [[2, 1], [1, 3]]


def test_ignored_pixels_may_be_predicted_as_anything():
    assert metrics.confusion(grid("x1")[None], grid("x1")[None], 2).tolist() == [[0, 0], [0, 1]]


def test_confusion_is_the_sum_of_the_images_own():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, (2, 5, 7, 9), np.uint8)
    each = metrics.confusion_per_image(truth, predicted, 3)
    assert each.shape == (5, 3, 3)
    assert each[2].tolist() == metrics.confusion(truth[2:3], predicted[2:3], 3).tolist()
    assert each.sum(axis=0).tolist() == metrics.confusion(truth, predicted, 3).tolist()


def test_confusion_of_many_classes_does_not_overflow_a_byte():
    pair = np.full((1, 1, 1), 200, np.uint8)
    assert metrics.confusion(pair, pair, 201)[200, 200] == 1


def test_confusion_of_no_images_is_zero():
    assert metrics.confusion(np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4, 4), np.uint8), 2).sum() == 0


@pytest.mark.parametrize(
    ("truth", "predicted", "classes", "message"),
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), 2, r"must both be \(N, H, W\)"),
        (np.zeros((2, 2)), np.zeros((2, 2)), 2, r"mask\[None\]"),
        (grid("02")[None], grid("01")[None], 2, "truth has the class 2: expected 0 to 1"),
        (grid("01")[None], grid("03")[None], 2, "predicted has the class 3: expected 0 to 1"),
        (np.array([[[-1]]]), np.array([[[0]]]), 2, "truth has the class -1"),
        (grid("01")[None], grid("01")[None], 1, "classes is 1"),
    ],
)
def test_confusion_refuses_what_it_cannot_count(truth, predicted, classes, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion(truth, predicted, classes)


def test_scores_of_two_classes_are_those_of_the_foreground():
    found = metrics.scores(np.array([[50, 10], [20, 20]]))
    assert found["pixel_accuracy"] == 70 / 100
    assert found["iou"] == 20 / (20 + 10 + 20)
    assert found["mean_iou"] == (50 / (50 + 20 + 10) + 20 / 50) / 2
    assert found["precision"] == 20 / 30
    assert found["recall"] == 20 / 40
    assert found["f1"] == 40 / (40 + 10 + 20)
    assert found["per_class"][1] == {name: found[name] for name in ("iou", "f1", "precision", "recall")}


def test_scores_of_more_classes_leave_out_background_and_absent_ones():
    matrix = np.zeros((4, 4), int)
    matrix[0, 0], matrix[1, 1], matrix[1, 2], matrix[2, 2] = 10, 3, 1, 4  # class 3 nowhere
    found = metrics.scores(matrix)
    assert found["iou"] == pytest.approx((3 / 4 + 4 / 5) / 2, abs=1e-15)  # rounding of the last digit
    assert found["mean_iou"] == pytest.approx((1 + 3 / 4 + 4 / 5) / 3, abs=1e-15)
    assert found["per_class"][3] == {"iou": None, "f1": None, "precision": None, "recall": None}


def test_nothing_there_and_nothing_found_is_right_and_a_false_alarm_is_wrong():
    assert metrics.scores(np.array([[9, 0], [0, 0]]))["iou"] == 1
    false_alarm = metrics.scores(np.array([[8, 1], [0, 0]]))
    assert (false_alarm["iou"], false_alarm["precision"], false_alarm["recall"]) == (0, 0, 0)
    assert metrics.scores(np.zeros((2, 2), int))["pixel_accuracy"] == 1


def test_scores_of_a_stack_are_those_of_its_matrices():
    stack = np.random.default_rng(1).integers(0, 9, (6, 3, 3))
    each = [metrics.scores(matrix) for matrix in stack]
    # One unit in the last place: the order of summing may differ between one matrix and a stack.
    np.testing.assert_allclose(metrics.foreground_iou(stack), [s["iou"] for s in each], rtol=1e-15)
    np.testing.assert_allclose(metrics.pixel_accuracy(stack), [s["pixel_accuracy"] for s in each], rtol=1e-15)


def test_tolerance_grows_with_the_image():
    # 0.0075 of the diagonal: 0.68, 2.72 and 6 px, rounded up.
    assert [metrics.boundary_tolerance(*s) for s in [(64, 64), (256, 256), (480, 640)]] == [1, 3, 6]


def test_outline_is_the_regions_own_pixels_and_not_the_image_border():
    inside = grid("0110", "0110", "0000") == 1
    assert metrics.boundary(inside, np.ones_like(inside)).tolist() == inside.tolist()
    half = grid("1100", "1100", "1100") == 1
    assert metrics.boundary(half, np.ones_like(half)).astype(int).tolist() == [[0, 1, 0, 0]] * 3


def test_the_edge_of_an_ignored_area_is_no_outline():
    truth = grid("11x00", "11x00", "11x00")
    assert not metrics.boundary(truth == 1, truth != 255).any()
    # The network may put its edge anywhere in the ignored strip: neither side has an outline left.
    assert metrics.boundary_f(truth, grid("11100", "11100", "11000"), 0) == 1
    # An outline beyond the strip is a false one.
    assert metrics.boundary_f(truth, grid("11110", "11110", "11110"), 0) == 0


def test_a_shifted_square_within_and_beyond_tolerance():
    truth, shifted = square(10, 10, 10), square(10, 12, 10)
    assert metrics.boundary_f(truth, shifted, 2) == 1
    # By hand, tolerance 0: of the 36 outline pixels of each square the two share 8 of the upper row
    # and 8 of the lower (columns 12 to 19); the side columns 10 and 19, and 12 and 21, do not meet
    # except at those rows' pixels. So precision = recall = F = 16/36.
    assert metrics.boundary_f(truth, shifted, 0) == pytest.approx(16 / 36, abs=1e-15)


def test_precision_and_recall_are_combined_harmonically():
    truth = square(5, 5, 10)
    predicted = truth | square(25, 25, 10)  # all of the true outline, and as much again that is false
    assert metrics.boundary_f(truth, predicted, 1) == pytest.approx(2 * 0.5 * 1 / 1.5, abs=1e-15)


def test_distance_is_euclidean_and_inclusive():
    truth, predicted = np.zeros((2, 9, 9), np.uint8)
    truth[2, 2] = predicted[5, 6] = 1  # 3 down, 4 across: 5 px apart
    assert metrics.boundary_f(truth, predicted, 5) == 1
    assert metrics.boundary_f(truth, predicted, 4.99) == 0


def test_empty_outlines():
    empty, full = np.zeros((8, 8), np.uint8), np.ones((8, 8), np.uint8)
    assert metrics.boundary_f(empty, empty, 1) == 1
    assert metrics.boundary_f(full, full, 1) == 1
    assert metrics.boundary_f(square(2, 2, 3, 8), empty, 1) == 0
    assert metrics.boundary_f(empty, square(2, 2, 3, 8), 1) == 0
    assert metrics.boundary_f(np.full((8, 8), 255, np.uint8), full, 1) == 1


def test_many_classes_are_averaged_over_those_present():
    truth = square(5, 5, 10) + 2 * square(25, 25, 10)
    predicted = square(5, 5, 10) + 3 * square(25, 25, 10)
    # Class 1 is right; 2 was missed and 3 invented.
    assert metrics.boundary_f(truth, predicted, 1) == pytest.approx(1 / 3, abs=1e-15)


def test_the_same_iou_can_hide_a_thin_or_a_fat_error():
    truth = square(30, 30, 40, canvas=100)
    thin = square(29, 29, 42, canvas=100)  # one px too large all around: 42² - 40² = 164 false pixels
    fat = truth.copy()
    fat[43:51, 70:90] = 1
    fat[51, 70:74] = 1  # 8 * 20 + 4 = 164 false pixels in one lump
    ious = [metrics.scores(metrics.confusion(truth[None], p[None], 2))["iou"] for p in (thin, fat)]
    assert ious[0] == ious[1] == 1600 / 1764
    tolerance = metrics.boundary_tolerance(100, 100)  # 2 px
    assert metrics.boundary_f(truth, thin, tolerance) == 1
    assert metrics.boundary_f(truth, fat, tolerance) < 0.9


def test_boundary_f_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"must both be \(H, W\)"):
        metrics.boundary_f(np.zeros((4, 4)), np.zeros((4, 5)), 1)
