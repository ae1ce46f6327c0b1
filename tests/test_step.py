"""The compiled step: teacher, averages, precision, clipping, and going on from a state."""

import math
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from footseg import networks
from footseg.training import augment, distill, losses
from footseg.training.config import TrainConfig, from_values
from footseg.training.distill import Course, Teacher
from footseg.training.step import TrainingStep, average_momentum, schedule

STAGES = ("shallow", "deep")
SIZE = (8, 8)
BATCH = 4
# A rate so small that no float32 weight moves: the loss of every step is that of the first weights.
STILL = {"learning_rate": 1e-30, "warmup": 0.0, "weight_decay": 0.0}
# float32 sums over 256 pixels of order one, in another order of summation.
CLOSE = 1e-5


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the configured network the stages of the small ones below."""
    monkeypatch.setattr(networks, "stages", lambda name: STAGES)


def small(width: int, *, restless: bool = True, policy: str = "float32") -> keras.Model:
    """Two stages and a classifier; ``restless``: with layers that behave otherwise in training."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    image = keras.Input((*SIZE, 3))
    x = layers.Conv2D(width, 3, 2, padding="same")(image)
    x = layers.BatchNormalization(momentum=0.5)(x) if restless else x
    x = layers.ReLU(name="shallow")(x)
    x = layers.Conv2D(2 * width, 3, 2, padding="same")(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer="ones", name="deep")(x)
    x = layers.Dropout(0.9)(x) if restless else x
    x = layers.Conv2DTranspose(2, 4, 4, name="classifier")(x)
    network = keras.Model(image, x, name="small")
    keras.config.set_dtype_policy(before)
    return network


def teacher(width: int = 3) -> Teacher:
    """A teacher of random weights and statistics, sure enough of itself that its logits matter."""
    network = small(width)
    rng = np.random.default_rng(5)
    network.set_weights([w + rng.uniform(0, 1, w.shape) for w in network.get_weights()])
    network.trainable = False
    return Teacher(network, STAGES)


def config(**values: Any) -> TrainConfig:
    return from_values({"network": "small", "data": "feet", "size": SIZE[0], **values})


def batch(settings: TrainConfig | None = None, seed: int = 0) -> tuple[Any, ...]:
    """Images, masks and drawn augmentations: of ``settings``, or none."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (BATCH, *SIZE, 3), np.uint8)
    masks = rng.integers(0, 2, (BATCH, *SIZE)).astype(np.uint8)
    how = settings.augmentation() if settings else augment.Augmentation(0, 0, 0, 0, 0)
    return images, masks, augment.sample(how, BATCH, SIZE, rng)


# ---- student and teacher


def test_the_thesis_loss_with_the_augmented_images_and_a_teacher_in_inference_mode() -> None:
    """L = CE + lambda T² CE(softmax(t/T), softmax(s/T)), nothing in front of the first, both on what the
    augmentation made; the teacher's dropout of 0.9 and its batch normalisation as in predict."""
    settings = config(loss=["ce", "distill:2.5"], temperature=3.0, zoom_out=0.2, **STILL)
    student, taught = small(2, restless=False), teacher()
    images, masks, drawn = batch(settings)
    moved, moved_masks = (np.array(a) for a in augment.apply(images, masks, drawn))
    assert (moved_masks == 255).any()
    assert np.abs(moved - images / 255).max() > 0.3
    ours, theirs = (np.array(n.predict_on_batch(moved), float) for n in (student, taught.network))
    known = moved_masks != 255
    truth = np.eye(2)[np.where(known, moved_masks, 0)]

    def cross_entropy(targets: np.ndarray, logits: np.ndarray) -> float:
        log_chance = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return float(-(targets * log_chance).sum(-1)[known].mean())

    soft = np.exp(theirs / 3) / np.exp(theirs / 3).sum(-1, keepdims=True)
    expected = cross_entropy(truth, ours) + 2.5 * 9 * cross_entropy(soft, ours / 3)
    found = TrainingStep(student, Course(settings, 10, teacher=taught)).train(images, masks, drawn)
    assert found == pytest.approx(expected, rel=CLOSE)


def test_training_leaves_the_teacher_as_it_was_and_moves_the_student() -> None:
    settings = config(loss=["ce", "distill", "regression:0.01", "hint", "attention"], ema=0.9)
    student, taught = small(2), teacher()
    before, first = taught.network.get_weights(), student.get_weights()
    step = TrainingStep(student, Course(settings, 10, teacher=taught))
    for seed in range(3):
        step.train(*batch(settings, seed))
    for old, new in zip(before, taught.network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all((old != new).any() for old, new in zip(first, student.get_weights(), strict=True))
    # Neither in what is optimised, nor averaged, nor needed to go on.
    regressor = 2
    assert len(step.trainable_variables) == len(student.trainable_variables) + regressor
    assert len(step.averaged_weights()) == len(student.weights)
    without = TrainingStep(student, Course(config(ema=0.9), 10)).state()
    moments = 2
    assert len(step.state()) == len(without) + regressor * (1 + moments)


def test_cached_logits_are_worth_the_live_teacher_when_nothing_is_augmented() -> None:
    settings = config(loss=["ce", "distill", "regression"], **STILL)
    student, taught = small(2, restless=False), teacher()
    images, masks, drawn = batch()
    logits = taught.network.predict_on_batch(images / np.float32(255))
    live = TrainingStep(student, Course(settings, 10, teacher=taught)).train(images, masks, drawn)
    alone = TrainingStep(student, Course(settings, 10))
    assert alone.train(images, masks, drawn, logits) == pytest.approx(live, rel=CLOSE)
    # float16 keeps 11 bits of logits up to some tens, where T² = 16 times their error counts.
    assert alone.train(images, masks, drawn, logits.astype("float16")) == pytest.approx(live, rel=2e-3)
    with pytest.raises(ValueError, match="distill needs a teacher, or teacher_logits in each step"):
        alone.train(images, masks, drawn)


def test_hints_fade_while_the_other_terms_stay() -> None:
    settings = config(loss=["ce", "hint:2", "attention"], hint_until=0.5, **STILL)
    student, taught = small(2, restless=False), teacher()
    step = TrainingStep(student, Course(settings, 8, teacher=taught))
    images, masks, drawn = batch()
    found = np.array([step.train(images, masks, drawn) for _ in range(6)])
    pictures = images / np.float32(255)
    ours, theirs = (
        distill.tapped(network, STAGES).predict_on_batch(pictures) for network in (student, taught.network)
    )
    guided = ops.convert_to_tensor(step.lesson.regressor(ours["stages"][1]))
    hint = float(distill.hint(guided, ops.convert_to_tensor(theirs["stages"][1]), masks))
    looks = sum(
        float(distill.attention(*map(ops.convert_to_tensor, pair), masks))
        for pair in zip(ours["stages"], theirs["stages"], strict=True)
    )
    rest = float(losses.cross_entropy(ops.convert_to_tensor(ours["logits"]), masks)) + looks
    expected = rest + 2 * hint * np.array([1, 0.75, 0.5, 0.25, 0, 0])
    assert hint > 0.1
    np.testing.assert_allclose(found, expected, rtol=CLOSE)


def test_the_regressor_learns_and_is_not_in_the_saved_network(tmp_path: Path) -> None:
    settings = config(loss=["ce", "hint"])
    student = small(2)
    step = TrainingStep(student, Course(settings, 10, teacher=teacher()))
    kernel = step.lesson.regressor.kernel
    assert kernel.shape == (1, 1, 4, 6)  # the deep stages of widths 2 and 3
    first = ops.convert_to_numpy(kernel).copy()
    step.train(*batch(settings))
    step.train(*batch(settings))
    assert (ops.convert_to_numpy(kernel) != first).any()
    student.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [w.shape for w in loaded.weights] == [w.shape for w in small(2).weights]


def test_only_what_the_terms_need_is_built() -> None:
    assert TrainingStep(small(2), Course(config(loss=["ce"]), 10, teacher=teacher())).lesson is None
    lesson = TrainingStep(small(2), Course(config(loss=["distill"]), 10, teacher=teacher())).lesson
    assert lesson.student.output["stages"] == lesson.teacher.output["stages"] == []
    lesson = TrainingStep(small(2), Course(config(loss=["hint"]), 10, teacher=teacher())).lesson
    assert [len(model.output["stages"]) for model in (lesson.student, lesson.teacher)] == [1, 1]


def test_a_teacher_that_cannot_serve_is_refused() -> None:
    for term in ("hint", "attention"):
        for useless in (None, Teacher(small(2))):
            with pytest.raises(ValueError, match=f"loss {term} needs the features of a teacher"):
                TrainingStep(small(2), Course(config(loss=["ce", term]), 10, teacher=useless))
    image = keras.Input((*SIZE, 3))
    three = Teacher(keras.Model(image, layers.Conv2D(3, 1)(image)))
    with pytest.raises(ValueError, match=r"teacher gives logits \(None, 8, 8, 3\), the student .* 8, 8, 2\)"):
        TrainingStep(small(2), Course(config(loss=["distill"]), 10, teacher=three))


# ---- averages and rates


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_last_share_is_averaged_with_equal_weights(ema: float) -> None:
    settings = config(ema=ema, swa=0.5, learning_rate=0.1, warmup=0.0)
    network = small(2)
    step = TrainingStep(network, Course(settings, 6))
    states, moving = [], [w.copy() for w in network.get_weights()]
    for number in range(1, 7):
        states.append([w.copy() for w in network.get_weights()])
        if number <= 3:
            kept = min(ema, number / (number + 9))
            moving = [kept * m + (1 - kept) * w for m, w in zip(moving, states[-1], strict=True)]
        step.train(*batch(settings, number))
        if number <= 3:
            expected = moving if ema else network.get_weights()
        else:
            expected = [np.mean(ws, axis=0) for ws in zip(*states[3:], strict=True)]
        for found, mean in zip(step.averaged_weights(), expected, strict=True):
            np.testing.assert_allclose(found, mean, atol=CLOSE)
    # The statistics of the batch normalisation among them.
    assert len(states[0]) == len(network.weights) > len(network.trainable_weights)


def test_how_much_of_the_average_is_kept() -> None:
    def kept(number: int, start: int | None) -> float:
        return float(average_momentum(ops.convert_to_tensor(float(number)), 0.99, start))

    assert kept(1, None) == pytest.approx(0.1)
    assert kept(10_000, None) == pytest.approx(0.99)
    assert [kept(number, 100) for number in (101, 102, 104)] == pytest.approx([0, 1 / 2, 3 / 4])
    assert kept(91, 100) == pytest.approx(0.91)


def test_the_rate_falls_as_a_cosine_and_is_held_while_states_are_averaged() -> None:
    settings = {"learning_rate": 1.0, "warmup": 0.1}
    free, held = (schedule(config(**settings, swa=swa), 110) for swa in (0.0, 0.5))

    def cosine(step: int) -> float:
        return 0.001 + 0.999 * (1 + math.cos(math.pi * (step - 11) / 99)) / 2

    # A cosine in float32.
    for step in (11, 30, 55):
        assert float(free(step)) == pytest.approx(cosine(step), abs=1e-6)
        assert float(held(step)) == pytest.approx(cosine(step), abs=1e-6)
    assert float(free(109)) == pytest.approx(cosine(109), abs=1e-6)
    assert float(held(109)) == float(held(55))


# ---- precision and clipping


def scale(step: TrainingStep) -> Any:
    return next(v for v in step.optimizer.variables if v.name == "dynamic_scale")


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_float32_weights_and_reports_the_loss_itself(precision: str) -> None:
    if precision == "mixed_bfloat16" and "ONEDNN_MAX_CPU_ISA" in os.environ:
        pytest.skip("TensorFlow asks oneDNN for the processor's bfloat16, which the older instructions lack")
    whole = small(2, restless=False)
    expected = TrainingStep(whole, Course(config(**STILL), 10)).train(*batch(config(**STILL)))
    network = small(2, restless=False, policy=precision)
    network.set_weights(whole.get_weights())
    assert str(network.compute_dtype) == precision.removeprefix("mixed_")
    settings = config(**STILL, precision=precision)
    step = TrainingStep(network, Course(settings, 10))
    # Three significant digits of bfloat16; not 32768 times the loss, which is what is differentiated.
    assert step.train(*batch(settings)) == pytest.approx(expected, rel=2e-2)
    assert {str(v.dtype) for v in (*network.weights, *step.average)} == {"float32"}
    scaled = any(v.name == "dynamic_scale" for v in step.optimizer.variables)
    assert scaled == (precision == "mixed_float16")


def test_a_gradient_that_overflows_costs_a_step_and_no_weight() -> None:
    settings = config(precision="mixed_float16", loss=["ce"], ema=0.0)
    network = small(2, restless=False, policy="mixed_float16")
    step = TrainingStep(network, Course(settings, 10))
    before = network.get_weights()  # the classifier's kernel and bias last
    scale(step).assign(2.0**100)
    assert math.isfinite(step.train(*batch(settings)))
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert float(ops.convert_to_numpy(scale(step))) == 2.0**99
    scale(step).assign(2.0**10)
    step.train(*batch(settings))
    step.train(*batch(settings))  # the first has a rate of 0
    assert (network.get_weights()[-2] != before[-2]).any()


def test_clipping_limits_the_norm_of_the_whole_gradient() -> None:
    for clip in (0.0, 0.01):
        settings = config(loss=["ce"], clip=clip, warmup=0.0)
        step = TrainingStep(small(2, restless=False), Course(settings, 10))
        step.train(*batch(settings))
        # After one step Adam's first moments are a tenth of the gradient.
        moments = [v for v in step.optimizer.variables if "_momentum" in v.name]
        norm = 10 * math.sqrt(sum(float(ops.sum(ops.square(v))) for v in moments))
        assert len(moments) == len(step.trainable_variables)
        assert norm == pytest.approx(0.01, rel=1e-4) if clip else norm > 0.02


def test_slopes_of_prelu_do_not_decay() -> None:
    image = keras.Input((*SIZE, 3))
    # What is never negative has no gradient in the slope: only decay could change it.
    x = layers.PReLU(alpha_initializer="ones")(layers.ReLU()(image))
    network = keras.Model(image, layers.Conv2D(2, 1)(x))
    settings = config(loss=["ce"], warmup=0.0, weight_decay=0.5, learning_rate=0.1)
    step = TrainingStep(network, Course(settings, 10))
    step.train(*batch(settings))
    assert (network.get_weights()[0] == 1).all()


# ---- going on


def test_a_step_goes_on_from_a_state_to_the_same_bits() -> None:
    """With all that there is to remember: moments, averages, dropout's seed, regressor, loss scale."""
    precision = "mixed_float16"
    terms = ["ce", "iou", "distill", "hint", "attention"]
    settings = config(loss=terms, ema=0.9, swa=0.5, clip=1.0, precision=precision)

    def fresh() -> TrainingStep:
        keras.utils.set_random_seed(0)  # as a run does from its seed
        return TrainingStep(small(2, policy=precision), Course(settings, 8, teacher=teacher()))

    batches = [batch(settings, seed) for seed in range(6)]
    step = fresh()
    for one in batches[:3]:
        step.train(*one)
    state = step.state()
    expected = [step.train(*one) for one in batches[3:]]
    again = fresh()
    keras.utils.set_random_seed(1)
    again.load_state(state)
    assert [again.train(*one) for one in batches[3:]] == expected
    found, other = again.state(), step.state()
    assert found.keys() == other.keys()
    for name, numbers in found.items():
        np.testing.assert_array_equal(numbers, other[name])
