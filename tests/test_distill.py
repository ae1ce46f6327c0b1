"""What a teacher teaches: each term against values worked out by hand, and teachers that do not fit."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from footseg import networks
from footseg.data.images import IGNORE
from footseg.errors import FootsegError
from footseg.training import distill
from footseg.training.config import TrainConfig, from_values
from tests.kinds import each_network
from tests.runs import save_run

LN2, LN3 = math.log(2), math.log(3)
BOTH = np.zeros((1, 1, 2), int)
FIRST = np.array([[[0, IGNORE]]])
# float32 sums of a few numbers of order one.
CLOSE = 1e-6
CLASSES = ("background", "foot")


def row(*pixels: tuple[float, ...]) -> np.ndarray:
    """One image of one row, (1, 1, pixels, channels)."""
    return np.array([[pixels]], "float32")


def value(term: Callable[..., Any], student: np.ndarray, teacher: np.ndarray, *more: Any) -> float:
    return float(term(ops.convert_to_tensor(student), ops.convert_to_tensor(teacher), *more))


def slopes(loss: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Central differences in float64: good to about 1e-9 for numbers of order one."""
    found, step = np.empty_like(at), 1e-4
    for index in np.ndindex(at.shape):
        high, low = at.copy(), at.copy()
        high[index] += step
        low[index] -= step
        found[index] = (loss(high) - loss(low)) / (2 * step)
    return found


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


in_float64 = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX computes in float32, too coarse for differences"
)

# ---- soft targets

# At T = 2 the teacher says (1/4, 3/4) and (1/2, 1/2), the student the other way round.
SOFT_TEACHER, SOFT_STUDENT = row((0, 2 * LN3), (0, 0)), row((0, 0), (0, 2 * LN3))


def test_soft_cross_entropy_of_a_worked_case() -> None:
    # -1/4 ln 1/2 - 3/4 ln 1/2 = ln 2; -1/2 ln 1/4 - 1/2 ln 3/4 = ln(16/3) / 2; times T² = 4.
    expected = 4 * (LN2 + math.log(16 / 3) / 2) / 2
    assert value(distill.soft_cross_entropy, SOFT_STUDENT, SOFT_TEACHER, BOTH, 2.0) == pytest.approx(
        expected, abs=CLOSE
    )


def test_soft_targets_are_the_first_argument_of_the_cross_entropy() -> None:
    # One pixel, T = 1: teacher (1/4, 3/4), student (1/10, 9/10). The other order gives 0.425.
    student, teacher = row((0, math.log(9))), row((0, LN3))
    expected = -(math.log(0.1) / 4 + 3 * math.log(0.9) / 4)  # 0.655
    assert value(distill.soft_cross_entropy, student, teacher, BOTH[..., :1], 1.0) == pytest.approx(
        expected, abs=CLOSE
    )


def test_ignored_pixels_teach_nothing() -> None:
    assert value(distill.soft_cross_entropy, SOFT_STUDENT, SOFT_TEACHER, FIRST, 2.0) == pytest.approx(
        4 * LN2, abs=CLOSE
    )
    nothing = np.full((1, 1, 2), IGNORE)
    for term in (distill.soft_cross_entropy, distill.regression, distill.hint, distill.attention):
        more = (2.0,) if term is distill.soft_cross_entropy else ()
        assert value(term, SOFT_STUDENT, SOFT_TEACHER, nothing, *more) == 0


@in_float64
def test_cross_entropy_and_divergence_differ_in_value_and_not_in_gradient() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 1, 1, 3, 3))
    masks, temperature = np.array([[[0, 1, IGNORE]]]), 3.0
    targets = softmax(teacher / temperature)
    known = (masks != IGNORE) / (masks != IGNORE).sum()

    def cross_entropy(logits: np.ndarray) -> float:
        return value(distill.soft_cross_entropy, logits, teacher, masks, temperature)

    def divergence(logits: np.ndarray) -> float:
        ratio = np.log(targets / softmax(logits / temperature))
        return temperature**2 * float(((targets * ratio).sum(-1) * known).sum())

    entropy = temperature**2 * float((-(targets * np.log(targets)).sum(-1) * known).sum())
    assert entropy > 1
    assert cross_entropy(student) - divergence(student) == pytest.approx(entropy, abs=1e-9)
    # T (p_student - p_teacher) of each pixel's share: worked out on paper.
    expected = temperature * (softmax(student / temperature) - targets) * known[..., None]
    np.testing.assert_allclose(slopes(cross_entropy, student), expected, atol=1e-8)
    np.testing.assert_allclose(slopes(divergence, student), expected, atol=1e-8)


@in_float64
def test_the_square_of_the_temperature_keeps_the_gradient_and_its_limit_is_regression() -> None:
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(2, 1, 1, 4, 3))
    masks = np.array([[[0, 1, IGNORE, 2]]])
    limit = slopes(lambda logits: value(distill.regression, logits, teacher, masks), student)
    away = []
    for temperature in (10.0, 100.0, 1000.0):
        gradient = slopes(
            lambda logits, t=temperature: value(distill.soft_cross_entropy, logits, teacher, masks, t),
            student,
        )
        away.append(np.abs(gradient - limit).max() / np.abs(limit).max())
    # The next term of the expansion in 1/T: ten times the temperature, a tenth of the distance.
    assert away[0] < 0.2
    assert away[1] == pytest.approx(away[0] / 10, rel=0.2)
    # At 1000, T² = 1e6 times the rounding of float64 over the step of 1e-4 is 1e-6 more.
    assert away[2] < 0.002


# ---- logits


def test_regression_of_a_worked_case_leaves_out_what_all_logits_of_a_pixel_share() -> None:
    # Differences (-4, -2), centred (-1, 1): 1/2 * 1. The second pixel's (0, 6), centred (-3, 3): 1/2 * 9.
    student, teacher = row((1, 3), (0, 6)), row((5, 5), (0, 0))
    assert value(distill.regression, student, teacher, BOTH) == pytest.approx((0.5 + 4.5) / 2, abs=CLOSE)
    assert value(distill.regression, student, teacher, FIRST) == pytest.approx(0.5, abs=CLOSE)
    assert value(distill.regression, teacher + 7, teacher, BOTH) == pytest.approx(0, abs=CLOSE)


# ---- features


def test_hint_of_a_worked_case() -> None:
    # Squares (1, 9) and (0, 4), their means 5 and 2, half of the mean over two cells.
    student, teacher = row((1, 3), (0, 2)), row((0, 0), (0, 0))
    assert value(distill.hint, student, teacher, BOTH) == pytest.approx((2.5 + 1) / 2, abs=CLOSE)
    assert value(distill.hint, student, teacher, FIRST) == pytest.approx(2.5, abs=CLOSE)


def test_hint_weighs_a_cell_by_its_share_of_known_pixels_and_brings_the_teacher_to_the_student() -> None:
    # Two cells over 4x8 pixels; the teacher's map is 2x4. Of the first cell a quarter is known.
    masks = np.zeros((1, 4, 8), int)
    masks[:, :, :3] = IGNORE
    teacher = np.arange(8, dtype="float32").reshape(1, 2, 4, 1)  # cells' means: (0+1+4+5)/4, (2+3+6+7)/4
    student = row((2.5 + 2,), (4.5 + 4,))
    expected = 0.5 * (0.25 * 4 + 1 * 16) / 1.25
    assert value(distill.hint, student, teacher, masks) == pytest.approx(expected, abs=CLOSE * expected)


def test_the_weight_of_hints_falls_in_a_line_to_nothing() -> None:
    weights = [float(distill.hint_weight(ops.convert_to_tensor(float(s)), 50.0)) for s in (0, 25, 50, 99)]
    assert weights == [1, 0.5, 0, 0]


def test_attention_of_a_worked_case() -> None:
    # Sums of squares (9, 16) -> hand: lengths sqrt(81 + 256); the teacher looks at the first cell only.
    student, teacher = row((3, 0), (0, 4)), row((1, 1, 1), (0, 0, 0))
    cosine = 9 / math.sqrt(81 + 256)
    assert value(distill.attention, student, teacher, BOTH) == pytest.approx(1 - cosine, abs=CLOSE)
    # Only the first cell known: both look there.
    assert value(distill.attention, student, teacher, FIRST) == pytest.approx(0, abs=CLOSE)


def test_attention_does_not_see_scale_and_is_one_for_disjoint_maps() -> None:
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    masks = np.zeros((2, 3, 4), int)
    assert value(distill.attention, 100 * features, features, masks) == pytest.approx(0, abs=CLOSE)
    assert value(distill.attention, row((1, 0), (0, 0)), row((0, 0), (2, 2)), BOTH) == pytest.approx(
        1, abs=CLOSE
    )


def test_attention_maps_of_other_sizes_are_brought_together() -> None:
    fine = np.random.default_rng(0).normal(size=(1, 4, 8, 3)).astype("float32")
    squares = (fine**2).sum(-1).reshape(1, 2, 2, 4, 2).mean((2, 4))
    coarse = np.sqrt(squares)[..., None].astype("float32")
    masks = np.zeros((1, 8, 16), int)
    assert value(distill.attention, coarse, fine, masks) == pytest.approx(0, abs=CLOSE)
    # The other way round cells are interpolated, which is no longer exact.
    assert 0 < value(distill.attention, fine, coarse, masks) < 0.5


@pytest.mark.parametrize("name", ["soft_cross_entropy", "regression", "hint", "attention"])
@in_float64
def test_gradients_are_the_slopes_of_the_values(name: str) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 2, 2, 3, 3))
    masks = np.array([[[0, 1, 2], [IGNORE, 1, 0]]] * 2)
    more = (4.0,) if name == "soft_cross_entropy" else ()
    term = getattr(distill, name)
    tensor = tensorflow.constant(student)
    with tensorflow.GradientTape() as tape:
        tape.watch(tensor)
        total = term(tensor, tensorflow.constant(teacher), masks, *more)
    gradient = tape.gradient(total, tensor).numpy()
    found = slopes(lambda logits: value(term, logits, teacher, masks, *more), student)
    np.testing.assert_allclose(gradient, found, atol=1e-7)
    assert (gradient[masks == IGNORE] == 0).all()
    assert np.abs(gradient).max() > 0.01


# ---- teachers


def config(**values: Any) -> TrainConfig:
    return from_values({"network": "fast_linknet", "data": "feet", "size": 64, "teacher": "run", **values})


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run at 64x64 whose weights, statistics included, are far from a fresh network's."""
    options = {"width": 0.25, "dropout": 0.5}
    network = networks.build("fast_linknet", (64, 64, 3), 2, **options)
    rng = np.random.default_rng(0)
    network.set_weights([w + rng.uniform(0, 0.1, w.shape) for w in network.get_weights()])
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return save_run(folder, network, network_options=options, classes=CLASSES).path


def test_a_run_teaches_with_the_weights_it_has(teacher_run: Path) -> None:
    teacher = distill.load_teacher(teacher_run, config(), CLASSES)
    assert teacher.network.trainable_variables == []
    assert teacher.stages == networks.stages("fast_linknet")
    saved = keras.saving.load_model(teacher_run / "model.keras")
    images = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype("float32")
    np.testing.assert_array_equal(teacher.network.predict_on_batch(images), saved.predict_on_batch(images))


def test_a_run_teaches_at_the_size_of_the_student(teacher_run: Path) -> None:
    teacher = distill.load_teacher(teacher_run, config(size=[64, 128]), CLASSES)
    assert teacher.network.output_shape == (None, 64, 128, 2)
    assert teacher.network.trainable_variables == []
    saved = keras.saving.load_model(teacher_run / "model.keras")
    for ours, theirs in zip(teacher.network.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_keras_file_teaches_at_its_own_size_only(teacher_run: Path) -> None:
    model = teacher_run / "model.keras"
    assert distill.load_teacher(model, config(), CLASSES).stages == networks.stages("fast_linknet")
    with pytest.raises(FootsegError, match=r"takes images of 64x64, the student of 128x128: give the .* run"):
        distill.load_teacher(model, config(size=128), CLASSES)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            ("background", "left", "right"),
            r"2 classes \(background, foot\), the student learns 3 \(background,",
        ),
        (("foot", "background"), "the same, in the same order"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(
    teacher_run: Path, classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(FootsegError, match=message):
        distill.load_teacher(teacher_run, config(), classes)


def test_classes_of_other_names_may_be_taught(teacher_run: Path) -> None:
    assert distill.load_teacher(teacher_run, config(), ("background", "shoe"))


def test_a_size_that_the_teacher_cannot_take_is_refused_with_both(teacher_run: Path) -> None:
    with pytest.raises(
        FootsegError, match=r"trained at 64x64, cannot take the student's 96x96: .*nearest is"
    ):
        distill.load_teacher(teacher_run, config(size=96), CLASSES)


def test_what_is_no_network_cannot_teach(teacher_run: Path, tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match="no such file"):
        distill.load_teacher(tmp_path / "nothing.keras", config(), CLASSES)
    with pytest.raises(FootsegError, match=r"is not a run"):
        distill.load_teacher(tmp_path, config(), CLASSES)
    record = json.loads((teacher_run / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(FootsegError, match=r"has no model.keras yet"):
        distill.load_teacher(tmp_path, config(), CLASSES)


# ---- any network teaches any other


def thin(name: str, side: int) -> keras.Model:
    """A network of few channels, where it has an option for that."""
    options = {key: value for key, value in (("width", 0.25), ("base", 8)) if key in networks.options(name)}
    return networks.build(name, (side, side, 3), 2, **options)


@pytest.mark.parametrize("name", each_network())
def test_every_network_teaches_and_is_taught_by_all_terms_at_any_size(name: str) -> None:
    terms = ["ce", "distill", "regression", "hint", "attention"]
    networks_by_name = {name: thin(name, 128), "fast_linknet": thin("fast_linknet", 128)}
    for student, taught_by in ((name, "fast_linknet"), ("fast_linknet", name)):
        teacher = distill.Teacher(networks_by_name[taught_by], networks.stages(taught_by))
        settings = config(network=student, size=128, loss=terms)
        lesson = distill.Lesson(distill.Course(settings, 10, teacher=teacher), networks_by_name[student])
        image = keras.Input((128, 128, 3))
        total = lesson(lesson.student(image), image, keras.Input((128, 128), dtype="int32"), ops.zeros(()))
        assert total.shape == ()
    # What rebuilding a teacher at its student's size rests on.
    other = thin(name, 256).weights
    assert [w.shape for w in networks_by_name[name].weights] == [w.shape for w in other]
