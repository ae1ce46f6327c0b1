"""Losses against values worked out by hand, gradients against finite differences."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from keras import ops
from keras.backend import standardize_dtype

from footseg.data.images import IGNORE
from footseg.training import losses
from footseg.training.config import TrainConfig

LN2 = math.log(2)

# Every loss in every form it has, for what must hold of all of them; three classes.
WEIGHTS = (0.2, 1.0, 5.0)
EVERY_LOSS: dict[str, losses.Loss] = {
    **losses.LOSSES,
    "ce, weighted": partial(losses.cross_entropy, class_weights=WEIGHTS),
    "ce, direct": lambda logits, masks: losses.cross_entropy(losses.scale_logits(logits, WEIGHTS), masks),
    "focal, weighted": partial(losses.focal, class_weights=WEIGHTS),
    "focal, gamma 0": partial(losses.focal, gamma=0.0),
    "focal, gamma 0.5": partial(losses.focal, gamma=0.5),
    "boundary, weighted": partial(losses.boundary_cross_entropy, class_weights=WEIGHTS, width=1),
}
every_loss = pytest.mark.parametrize("loss", EVERY_LOSS.values(), ids=EVERY_LOSS)
both_regions = pytest.mark.parametrize("loss", [losses.iou_loss, losses.dice_loss], ids=["iou", "dice"])


def logits_of(chance: np.ndarray) -> np.ndarray:
    """Logits (N, H, W, 2) whose softmax gives ``chance`` (N, H, W) to the foot."""
    return np.stack([np.log(1 - chance), np.log(chance)], axis=-1).astype("float32")


def one_row(*pixels: tuple[float, ...]) -> np.ndarray:
    """Logits (1, 1, W, C) whose softmax gives each pixel these probabilities."""
    return np.log(np.array([[pixels]]))


def value(loss: losses.Loss, logits: np.ndarray, masks: np.ndarray) -> float:
    return float(loss(ops.convert_to_tensor(logits), masks))


def gradient(loss: losses.Loss, logits: np.ndarray, masks: np.ndarray) -> np.ndarray:
    tensorflow = pytest.importorskip("tensorflow")
    tensor = tensorflow.constant(logits)
    with tensorflow.GradientTape() as tape:
        tape.watch(tensor)
        total = loss(tensor, masks)
    return tape.gradient(total, tensor).numpy()


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray]:
    """Random float64 logits (4, 3, 4, 3) and masks: mixed, one class missing, no foreground, all ignored."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3, 4, 3))
    masks = rng.integers(0, 3, (4, 3, 4))
    masks[:, 0, :2] = IGNORE
    masks[1][masks[1] == 1] = 0
    masks[2][masks[2] != IGNORE] = 0
    masks[3] = IGNORE
    return logits, masks


# ---- what holds of every loss


@every_loss
def test_gradients_are_the_slopes_of_the_values(
    loss: losses.Loss, case: tuple[np.ndarray, np.ndarray]
) -> None:
    logits, masks = case
    slopes = np.zeros_like(logits)
    step = 1e-5
    for index in np.ndindex(logits.shape):
        high, low = logits.copy(), logits.copy()
        high[index] += step
        low[index] -= step
        slopes[index] = (value(loss, high, masks) - value(loss, low, masks)) / (2 * step)
    # Central differences are good to step^2 / 6 times the third derivative (below 1 here, up to 125 where a
    # logit is multiplied by 5): 2e-9. Rounding of float64 adds 1e-15 / step = 1e-10.
    assert gradient(loss, logits, masks) == pytest.approx(slopes, abs=2e-9)


@every_loss
def test_ignored_pixels_have_no_gradient_at_all(
    loss: losses.Loss, case: tuple[np.ndarray, np.ndarray]
) -> None:
    logits, masks = case[0].astype("float32"), case[1]
    logits[0, 0, 0] = (1e4, -1e4, 0)
    slopes = gradient(loss, logits, masks)
    assert (slopes[masks == IGNORE] == 0).all()
    assert (slopes[masks != IGNORE] != 0).any()


@every_loss
def test_what_ignored_pixels_are_given_changes_nothing(
    loss: losses.Loss, case: tuple[np.ndarray, np.ndarray]
) -> None:
    logits, masks = case
    others = logits.copy()
    others[masks == IGNORE] = 7 * others[masks == IGNORE] + 1
    assert value(loss, others, masks) == value(loss, logits, masks)
    # The last image, ignored as a whole, is as good as absent.
    assert value(loss, logits[:3], masks[:3]) == pytest.approx(value(loss, logits, masks), rel=1e-12)


@every_loss
def test_everything_ignored_costs_nothing(loss: losses.Loss) -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype("float32")
    masks = np.full((2, 3, 3), IGNORE, np.uint8)
    assert value(loss, logits, masks) == 0
    assert (gradient(loss, logits, masks) == 0).all()


@every_loss
def test_extreme_logits_stay_finite(loss: losses.Loss) -> None:
    # Certain of the truth, certain of its opposite, certain of two classes at once.
    logits = np.array([[[[1e4, -1e4, -1e4], [1e4, -1e4, -1e4], [1e4, 1e4, -1e4]]]], "float32")
    masks = np.array([[[0, 2, 1]]])
    assert math.isfinite(value(loss, logits, masks))
    assert np.isfinite(gradient(loss, logits, masks)).all()


# ---- cross-entropy and what it is divided by


def test_cross_entropy_is_the_mean_surprise_over_pixels() -> None:
    # Two pixels: a foot given 1/2, a background given 3/4.
    logits = logits_of(np.array([[[0.5, 0.25]]]))
    masks = np.array([[[1, 0]]])
    assert value(losses.cross_entropy, logits, masks) == pytest.approx((LN2 + math.log(4 / 3)) / 2)


def test_cross_entropy_leaves_ignored_pixels_out_of_sum_and_count() -> None:
    logits = logits_of(np.array([[[0.5, 0.01]]]))
    masks = np.array([[[1, IGNORE]]])
    assert value(losses.cross_entropy, logits, masks) == pytest.approx(LN2)


def test_class_weights_weigh_the_mean() -> None:
    # Class 0 given 1/2, class 2 given 1/4, one ignored: (1 ln 2 + 3 ln 4) / (1 + 3).
    logits = one_row((0.5, 0.25, 0.25), (0.5, 0.25, 0.25), (0.1, 0.8, 0.1))
    masks = np.array([[[0, 2, IGNORE]]])
    weighted = partial(losses.cross_entropy, class_weights=(1, 5, 3))
    assert value(weighted, logits, masks) == pytest.approx(7 * LN2 / 4)


def test_the_scale_of_class_weights_is_nothing() -> None:
    logits = one_row((0.5, 0.25, 0.25), (0.5, 0.25, 0.25))
    masks = np.array([[[0, 2]]])
    values = [
        value(partial(losses.cross_entropy, class_weights=np.array((1, 5, 3)) * scale), logits, masks)
        for scale in (1, 1000, 1e-3)
    ]
    # Two additions and a division in float64.
    assert values == pytest.approx([values[0]] * 3, rel=1e-12)


@pytest.mark.parametrize("name", ["ce", "boundary"])
def test_a_network_that_knows_nothing_costs_log_c_whatever_the_weights(name: str) -> None:
    masks = np.array([[[0, 2, 2, 2]]])
    loss = partial(losses.LOSSES[name], class_weights=WEIGHTS)
    assert value(loss, np.zeros((1, 1, 4, 3)), masks) == pytest.approx(math.log(3))


def test_the_number_of_class_weights_must_be_that_of_the_classes() -> None:
    with pytest.raises(ValueError, match="1 class weights for 3 classes"):
        losses.cross_entropy(ops.zeros((1, 1, 1, 3)), np.array([[[0]]]), class_weights=(2.0,))


def test_direct_weights_are_temperatures() -> None:
    # Logits (0, ln 2) times (1, 2): (0, ln 4), of which the softmax is (1/5, 4/5).
    logits = np.array([[[[0.0, LN2]]]])
    scaled = losses.scale_logits(ops.convert_to_tensor(logits), (1, 2))
    assert float(losses.cross_entropy(scaled, np.array([[[1]]]))) == pytest.approx(math.log(5 / 4))
    # No cost weight: where the logit is 0 a weight of 2 changes nothing.
    assert float(losses.scale_logits(ops.convert_to_tensor(logits), (2, 1))[0, 0, 0, 0]) == 0


# ---- focal


def test_focal_of_a_worked_case() -> None:
    # A foot given 1/2: (1/2)^2 ln 2; a background given 3/4: (1/4)^2 ln 4/3.
    logits = one_row((0.5, 0.5), (0.75, 0.25), (0.9, 0.1))
    masks = np.array([[[1, 0, IGNORE]]])
    hard, easy = LN2 / 4, math.log(4 / 3) / 16
    assert value(losses.focal, logits, masks) == pytest.approx((hard + easy) / 2)
    weighted = partial(losses.focal, class_weights=(1, 3))
    assert value(weighted, logits, masks) == pytest.approx((3 * hard + easy) / 4)


def test_focal_without_focus_is_cross_entropy(case: tuple[np.ndarray, np.ndarray]) -> None:
    for class_weights in (None, WEIGHTS):
        plain = value(partial(losses.cross_entropy, class_weights=class_weights), *case)
        assert value(partial(losses.focal, class_weights=class_weights, gamma=0.0), *case) == plain


# ---- boundary


def test_edges_of_a_row() -> None:
    row = np.array([[[0, 0, 0, 1, 1, IGNORE, 0]]], np.uint8)
    # Ignored pixels make no edge, but 2 pixels reach across one.
    assert ops.convert_to_numpy(losses.near_edges(row, 1)).tolist() == [[[0, 0, 1, 1, 0, 0, 0]]]
    assert ops.convert_to_numpy(losses.near_edges(row, 2)).tolist() == [[[0, 1, 1, 1, 1, 0, 1]]]


@pytest.mark.parametrize("width", [1, 2, 4])
def test_edges_are_near_where_another_class_is_in_the_window(width: int) -> None:
    rng = np.random.default_rng(width)
    # Patches of four classes and of ignored pixels, so that some pixels are near no edge.
    masks = rng.choice([0, 0, 0, 0, 0, 1, 2, 3, IGNORE], (2, 4, 5)).repeat(5, axis=1).repeat(5, axis=2)
    expected = np.zeros(masks.shape)
    for n, i, j in zip(*np.nonzero(masks != IGNORE), strict=True):
        window = masks[n, max(0, i - width) : i + width + 1, max(0, j - width) : j + width + 1]
        expected[n, i, j] = ((window != masks[n, i, j]) & (window != IGNORE)).any()
    assert 0 < expected.mean() < 1
    assert (ops.convert_to_numpy(losses.near_edges(masks, width)) == expected).all()


def test_pixels_near_an_edge_count_more_often() -> None:
    # Background given 1/2, then at the edge background given 1/4 and a foot given 1/8, an ignored one, and a
    # background that only an ignored pixel separates from it: (1 + 5 x 2 + 5 x 3 + 1) ln 2 / (1 + 5 + 5 + 1).
    logits = one_row((1 / 2, 1 / 2), (1 / 4, 3 / 4), (7 / 8, 1 / 8), (0.5, 0.5), (1 / 2, 1 / 2))
    masks = np.array([[[0, 0, 1, IGNORE, 0]]])
    loss = partial(losses.boundary_cross_entropy, width=1, factor=4.0)
    assert value(loss, logits, masks) == pytest.approx(27 * LN2 / 12)
    # Feet three times: (1 + 10 + 45 + 1) / (1 + 5 + 15 + 1).
    assert value(partial(loss, class_weights=(1, 3)), logits, masks) == pytest.approx(57 * LN2 / 22)


def test_without_edges_the_boundary_loss_is_cross_entropy() -> None:
    logits = one_row((0.5, 0.5), (0.75, 0.25), (0.75, 0.25))
    masks = np.array([[[0, IGNORE, 0]]])
    assert value(losses.boundary_cross_entropy, logits, masks) == value(losses.cross_entropy, logits, masks)


# ---- regions


def test_iou_and_dice_loss_of_a_worked_case() -> None:
    # Foot pixels given 0.8 and 0.4, one background pixel given 0.2, one ignored.
    # I = 0.8 + 0.4 = 1.2; truth 2, soft 1.4; U = 2 + 1.4 - 1.2 = 2.2.
    logits = logits_of(np.array([[[0.8, 0.4, 0.2, 0.9]]]))
    masks = np.array([[[1, 1, 0, IGNORE]]])
    # The smoothing of 1e-6 stands in both sums.
    assert value(losses.iou_loss, logits, masks) == pytest.approx(1 - 1.2 / 2.2, abs=1e-6)
    assert value(losses.dice_loss, logits, masks) == pytest.approx(1 - 2.4 / 3.4, abs=1e-6)


@both_regions
def test_regions_are_per_image_so_a_small_foot_counts_as_much_as_a_large_one(loss: losses.Loss) -> None:
    # Image 1: all three foot pixels certain (loss 0). Image 2: its one foot pixel is missed (loss 1).
    sure, never = 1 - 1e-7, 1e-7
    logits = logits_of(np.array([[[sure, sure, sure]], [[never, never, never]]]))
    masks = np.array([[[1, 1, 1]], [[1, 0, 0]]])
    assert value(loss, logits, masks) == pytest.approx((0 + 1) / 2, abs=1e-5)


@both_regions
def test_regions_of_an_empty_image_are_nothing_when_nothing_is_seen(loss: losses.Loss) -> None:
    nothing = np.zeros((1, 2, 2), int)
    # float32 softmax of these logits is 1e-9: four pixels of it, against the smoothing of 1e-6.
    assert value(loss, logits_of(np.full((1, 2, 2), 1e-9)), nothing) < 0.01
    assert value(loss, logits_of(np.full((1, 2, 2), 0.9)), nothing) > 0.99


@both_regions
def test_regions_do_not_count_the_background(loss: losses.Loss) -> None:
    # One foot pixel of 100, missed. Were background counted too, the loss would be near 0.5.
    chance = np.full((1, 10, 10), 1e-7)
    masks = np.zeros((1, 10, 10), int)
    masks[0, 0, 0] = 1
    assert value(loss, logits_of(chance), masks) == pytest.approx(1, abs=1e-4)


@both_regions
def test_regions_average_the_foreground_classes_that_an_image_holds(loss: losses.Loss) -> None:
    # Three classes; only class 2 is there, and missed: class 1, rightly not seen, must not halve the loss.
    logits = np.full((1, 1, 2, 3), -20.0, "float32")
    logits[..., 0] = 20
    assert value(loss, logits, np.array([[[0, 2]]])) == pytest.approx(1, abs=1e-5)
    # Found in one image and missed in the other.
    logits = np.concatenate([logits, logits])
    logits[1, 0, 1] = (-20, -20, 20)
    assert value(loss, logits, np.array([[[0, 2]], [[0, 2]]])) == pytest.approx(1 / 2, abs=1e-5)


def test_regions_of_three_classes_worked_out() -> None:
    # Class 1: I = 0.5, truth 1, soft 0.5 + 0.25; class 2: I = 0.5, truth 1, soft 0.25 + 0.5.
    logits = one_row((0.25, 0.5, 0.25), (0.25, 0.25, 0.5))
    masks = np.array([[[1, 2]]])
    assert value(losses.iou_loss, logits, masks) == pytest.approx(1 - 0.5 / 1.25, abs=1e-6)
    assert value(losses.dice_loss, logits, masks) == pytest.approx(1 - 1.0 / 1.75, abs=1e-6)


# ---- what a configuration names


def combined_value(
    config: TrainConfig, *case: np.ndarray, class_weights: tuple[float, ...] | None = None
) -> float:
    return value(losses.combined(config, class_weights), *case)


def test_terms_are_summed_with_their_weights(case: tuple[np.ndarray, np.ndarray]) -> None:
    config = TrainConfig(loss=("ce", "iou:0.5", "dice:2", "distill:3"))
    parts = [value(losses.LOSSES[name], *case) for name in ("ce", "iou", "dice")]
    # The sum is made in float32, whose rounding is 6e-8; the parts in float64.
    assert combined_value(config, *case) == pytest.approx(parts[0] + 0.5 * parts[1] + 2 * parts[2], rel=1e-6)


def test_a_teachers_terms_alone_add_up_to_nothing(case: tuple[np.ndarray, np.ndarray]) -> None:
    assert combined_value(TrainConfig(loss=("distill", "hint:10")), *case) == 0


def test_half_precision_does_not_reach_the_sums() -> None:
    # 512 x 256 pixels of ln 2 are more than float16 can count.
    total = losses.combined(TrainConfig(loss=("ce",)))(
        ops.zeros((1, 512, 256, 2), "float16"), np.zeros((1, 512, 256), np.uint8)
    )
    assert standardize_dtype(total.dtype) == "float32"
    assert float(total) == pytest.approx(LN2, rel=1e-5)  # 131072 roundings of 6e-8, which mostly cancel


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({"loss": ("focal",), "focal_gamma": 1.5}, partial(losses.focal, gamma=1.5)),
        (
            {"loss": ("boundary",), "boundary_width": 1, "boundary_factor": 9.0},
            partial(losses.boundary_cross_entropy, width=1, factor=9.0),
        ),
    ],
)
def test_options_reach_their_loss(
    options: dict[str, object], loss: losses.Loss, case: tuple[np.ndarray, np.ndarray]
) -> None:
    config = TrainConfig(**options)
    default = losses.LOSSES[config.loss[0]]
    expected = value(loss, *case)
    assert combined_value(config, *case) == pytest.approx(expected, rel=1e-6)  # float32 against float64
    assert value(default, *case) != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", losses.WEIGHTED)
def test_outer_weights_multiply_losses_and_direct_ones_logits(
    name: str, case: tuple[np.ndarray, np.ndarray]
) -> None:
    logits, masks = case
    region = value(losses.iou_loss, logits, masks)  # untouched by either
    outer: Callable[..., object] = partial(losses.LOSSES[name], class_weights=WEIGHTS)
    for weighting, expected in (
        ("outer", value(outer, logits, masks)),
        ("direct", value(losses.LOSSES[name], logits * WEIGHTS, masks)),
    ):
        config = TrainConfig(loss=(name, "iou"), weighting=weighting)
        found = combined_value(config, logits, masks, class_weights=WEIGHTS)
        assert found == pytest.approx(expected + region, rel=1e-6)  # float32 against float64


@pytest.mark.parametrize("terms", [("iou",), ("dice", "distill")])
def test_class_weights_without_a_loss_that_they_act_on_are_refused(terms: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="class weights act on ce, focal, boundary"):
        losses.combined(TrainConfig(loss=terms), WEIGHTS)


def test_terms_are_read_in_their_order() -> None:
    assert losses.parse(["iou:0.5", "ce", "attention:1e3"]) == (
        ("iou", 0.5),
        ("ce", 1.0),
        ("attention", 1000.0),
    )


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], "at least one loss"),
        (["iuo"], "did you mean 'iou'"),
        (["distil"], "did you mean 'distill'"),
        (["ce:zero"], "'ce:zero' must be a positive number, as in ce:0.5"),
        (["ce:"], "positive number"),
        (["ce:0"], "positive number"),
        (["ce:-1"], "positive number"),
        (["ce:nan"], "positive number"),
        (["distill:inf"], r"\(lambda\) of loss 'distill:inf' must be a positive number"),
        (["ce", "iou", "ce:0.5"], "'ce' is named twice"),
    ],
)
def test_wrong_terms_are_named(terms: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        losses.parse(terms)
