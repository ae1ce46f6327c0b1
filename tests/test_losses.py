"""Losses against values worked out by hand, gradients against finite differences."""

import math

import numpy as np
import pytest
from keras import ops

from footseg import losses
from footseg.data.images import IGNORE


def logits_of(chance: np.ndarray) -> np.ndarray:
    """Logits (N, H, W, 2) whose softmax gives ``chance`` (N, H, W) to the foot."""
    return np.stack([np.log(1 - chance), np.log(chance)], axis=-1).astype("float32")


def value(loss: losses.Loss, logits: np.ndarray, masks: np.ndarray) -> float:
    return float(loss(ops.convert_to_tensor(logits), masks))


def test_cross_entropy_is_the_mean_surprise_over_pixels() -> None:
    # Two pixels: a foot given 1/2, a background given 3/4.
    logits = logits_of(np.array([[[0.5, 0.25]]]))
    masks = np.array([[[1, 0]]])
    assert value(losses.cross_entropy, logits, masks) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_cross_entropy_leaves_ignored_pixels_out_of_sum_and_count() -> None:
    logits = logits_of(np.array([[[0.5, 0.01]]]))
    masks = np.array([[[1, IGNORE]]])
    assert value(losses.cross_entropy, logits, masks) == pytest.approx(math.log(2))


def test_everything_ignored_costs_nothing() -> None:
    logits = logits_of(np.array([[[0.5, 0.01]]]))
    masks = np.full((1, 1, 2), IGNORE)
    assert value(losses.cross_entropy, logits, masks) == 0
    assert math.isfinite(value(losses.iou_loss, logits, masks))


def test_iou_loss_of_a_worked_case() -> None:
    # Foot pixels given 0.8 and 0.4, one background pixel given 0.2.
    # I = 0.8 + 0.4 = 1.2; U = (1 + 0.8 - 0.8) + (1 + 0.4 - 0.4) + 0.2 = 2.2.
    logits = logits_of(np.array([[[0.8, 0.4, 0.2]]]))
    masks = np.array([[[1, 1, 0]]])
    assert value(losses.iou_loss, logits, masks) == pytest.approx(1 - 1.2 / 2.2, abs=1e-6)


def test_iou_loss_is_per_image_so_a_small_foot_counts_as_much_as_a_large_one() -> None:
    # Image 1: all three foot pixels certain (I/U = 1). Image 2: its one foot pixel given 1/2 (I/U = 1/2).
    sure, unsure = 1 - 1e-7, 0.5
    logits = logits_of(np.array([[[sure, sure, sure]], [[unsure, 1e-7, 1e-7]]]))
    masks = np.array([[[1, 1, 1]], [[1, 0, 0]]])
    assert value(losses.iou_loss, logits, masks) == pytest.approx((0 + 0.5) / 2, abs=1e-5)


def test_iou_loss_of_an_empty_image_is_nothing_when_nothing_is_seen() -> None:
    nothing = np.zeros((1, 2, 2), int)
    # float32 softmax of these logits is 1e-9: four pixels of it, against the smoothing of 1e-6.
    assert value(losses.iou_loss, logits_of(np.full((1, 2, 2), 1e-9)), nothing) < 0.01
    assert value(losses.iou_loss, logits_of(np.full((1, 2, 2), 0.9)), nothing) > 0.99


def test_iou_loss_does_not_count_the_background() -> None:
    # One foot pixel of 100, missed. Were background counted too, the loss would be near 0.5.
    chance = np.full((1, 10, 10), 1e-7)
    masks = np.zeros((1, 10, 10), int)
    masks[0, 0, 0] = 1
    assert value(losses.iou_loss, logits_of(chance), masks) == pytest.approx(1, abs=1e-4)


def test_iou_loss_averages_the_foreground_classes_that_an_image_holds() -> None:
    # Three classes; only class 2 is there, found with certainty: class 1 must not dilute it.
    logits = np.full((1, 1, 2, 3), -20.0, "float32")
    logits[0, 0, 0, 0] = logits[0, 0, 1, 2] = 20
    assert value(losses.iou_loss, logits, np.array([[[0, 2]]])) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_gradients_are_the_slopes_of_the_values(name: str) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 3, 3))
    masks = rng.integers(0, 3, (2, 3, 3))
    masks[0, 0, 0] = IGNORE
    loss = losses.LOSSES[name]
    tensor = tensorflow.constant(logits)
    with tensorflow.GradientTape() as tape:
        tape.watch(tensor)
        total = loss(tensor, masks)
    gradient = tape.gradient(total, tensor).numpy()
    step = 1e-5
    for index in [(0, 0, 0, 0), (0, 1, 2, 1), (1, 2, 2, 2), (1, 0, 1, 0)]:
        high, low = logits.copy(), logits.copy()
        high[index] += step
        low[index] -= step
        slope = (
            float(loss(ops.convert_to_tensor(high), masks)) - float(loss(ops.convert_to_tensor(low), masks))
        ) / (2 * step)
        # Central differences in float64 are good to step**2, 1e-10; rounding adds 1e-11 / step = 1e-6.
        assert gradient[index] == pytest.approx(slope, abs=2e-6)


def test_terms_are_summed_with_their_weights() -> None:
    logits = logits_of(np.array([[[0.8, 0.4, 0.2]]]))
    masks = np.array([[[1, 1, 0]]])
    parts = [value(losses.LOSSES[name], logits, masks) for name in ("ce", "iou")]
    assert value(losses.combined(["ce", "iou:0.5"]), logits, masks) == pytest.approx(
        parts[0] + 0.5 * parts[1]
    )


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], "at least one loss"),
        (["iuo"], "did you mean 'iou'"),
        (["ce:zero"], "positive number"),
        (["ce:-1"], "positive number"),
        (["ce:nan"], "positive number"),
    ],
)
def test_wrong_terms_are_named(terms: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        losses.parse(terms)
