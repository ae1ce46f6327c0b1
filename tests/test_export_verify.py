"""Verification catches what really goes wrong in conversions: each fault is planted in a converted file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import runtime
from footseg.errors import FootsegError
from footseg.export import freeze, verify
from footseg.export.precisions import PRECISIONS
from footseg.export.verify import Sample, Verification

tf = pytest.importorskip("tensorflow", reason="converts the networks: pip install 'footseg[train]'")


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> Any:
    return freeze.load_network(tiny_run / "model.keras")


@pytest.fixture(scope="module")
def sample(tiny_data: Path) -> Sample:
    return verify.sample(tiny_data, (64, 64))


@pytest.fixture(scope="module")
def expected(tiny_run: Path, sample: Sample) -> np.ndarray:
    return runtime.load(tiny_run).logits(sample.images)


def tflite_of(function: Callable[[Any], Any], *trackable: Any) -> bytes:
    """``function`` of an image as a .tflite; unlike export, whatever it does is converted."""
    spec = tf.TensorSpec((1, 64, 64, 3), tf.float32, name="image")
    concrete = tf.function(function, input_signature=[spec]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], *trackable)
    return converter.convert()


# ---- planted faults


def right(model: Any) -> bytes:
    return tflite_of(lambda image: model(image, training=False), tf.Module())


def batch_norm_in_training_mode(model: Any) -> bytes:
    """As a model called without ``training=False`` may be traced: each image has statistics of its own."""
    import keras

    def by_batch(layer: Any) -> Any:
        copy = type(layer).from_config(layer.get_config())
        if isinstance(layer, keras.layers.BatchNormalization):
            copy.call = lambda x, **_: tf.nn.batch_normalization(
                x, *tf.nn.moments(x, (0, 1, 2)), copy.beta, copy.gamma, copy.epsilon
            )
        return copy

    copy = keras.models.clone_model(model, clone_function=by_batch)
    copy.set_weights(model.get_weights())
    return tflite_of(lambda image: copy(image, training=False))


def unfrozen_weights(model: Any) -> bytes:
    """The second argument that the converter's documents ask for leaves the weights outside the file."""
    return tflite_of(lambda image: model(image, training=False), model)


def red_and_blue_swapped(model: Any) -> bytes:
    return tflite_of(lambda image: model(tf.gather(image, [2, 1, 0], axis=-1), training=False), tf.Module())


def pixels_in_0_to_255(model: Any) -> bytes:
    return tflite_of(lambda image: model(image / 255, training=False), tf.Module())


def one_class_zeroed(model: Any) -> bytes:
    return tflite_of(lambda image: model(image, training=False) * [1.0, 0.0], tf.Module())


@pytest.fixture(scope="module")
def planted(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """The file of a fault, made once."""
    folder = tmp_path_factory.mktemp("planted")

    def file(fault: Callable[[Any], bytes]) -> Path:
        path = folder / f"{fault.__name__}.tflite"
        if not path.is_file():
            path.write_bytes(fault(model))
        return path

    return file


def test_a_faithful_file_passes(planted: Callable[[Any], Path], expected: np.ndarray, sample: Sample) -> None:
    """So that the faults below fail for their fault and not for the way their file was made."""
    found = verify.verify(expected, planted(right), sample, "fp32")
    assert found.pixels_equal == 1.0
    assert found.images == 8
    assert found.split == "val"


# int8 has the widest limits but for int4w, which is made from an fp32 file that passed those of fp32.
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(
    "fault",
    [
        batch_norm_in_training_mode,
        unfrozen_weights,
        red_and_blue_swapped,
        pixels_in_0_to_255,
        one_class_zeroed,
    ],
)
def test_a_planted_fault_is_caught(
    fault: Callable[[Any], bytes],
    precision: str,
    planted: Callable[[Any], Path],
    expected: np.ndarray,
    sample: Sample,
) -> None:
    with pytest.raises(FootsegError, match=rf"{fault.__name__}\.tflite does not do .* mean logit difference"):
        verify.verify(expected, planted(fault), sample, precision)


def test_the_error_names_measure_value_limit_and_the_three_worst_images() -> None:
    found = Verification(
        images=4,
        split="val",
        logit_scale=1.0,
        logit_max=0.5,
        logit_mean=0.25,
        logit_max_absolute=0.5,
        logit_mean_absolute=0.25,
        pixels_equal=1.0,
        iou=0.0,
        boundary_f=-0.5,
        worst=(("b", 0.5), ("a", 0.25), ("d", 0.0)),
    )
    with pytest.raises(FootsegError) as caught:
        verify.check(found, PRECISIONS["int8"].tolerance, "net.tflite")
    text = str(caught.value)
    assert "net.tflite" in text
    assert "mean logit difference 0.25 (limit 0.03); difference in boundary F 0.5 (limit 0.02)" in text
    assert "b (50.0% of its pixels), a (25.0% of its pixels), d (0.0% of its pixels)" in text
    assert "largest logit" not in text


@pytest.mark.parametrize("measure", ["logit_max", "logit_mean", "pixels_equal", "iou", "boundary_f"])
def test_a_measure_that_is_no_number_fails(measure: str) -> None:
    good = Verification(4, "val", 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, ())
    verify.check(good, PRECISIONS["fp32"].tolerance, "net.tflite")
    with pytest.raises(FootsegError):
        verify.check(
            dataclasses.replace(good, **{measure: float("nan")}), PRECISIONS["fp32"].tolerance, "net.tflite"
        )


def test_a_precision_without_limits_is_refused(tmp_path: Path, sample: Sample) -> None:
    with pytest.raises(ValueError, match="no tolerance for precision 'fp8'"):
        verify.verify(np.zeros(()), tmp_path / "x.tflite", sample, "fp8")


# ---- the measures, by hand


def by_hand(masks: list[list[int]]) -> Sample:
    """Images of one row; the pixels do not matter."""
    truth = np.array(masks, np.uint8)[:, None, :]
    return Sample("val", tuple("abcd"[: len(truth)]), np.zeros((*truth.shape, 3), np.uint8), truth)


def logits_of(values: list[list[float]]) -> np.ndarray:
    """Two classes; ``values`` is the logit of class 1, class 0 has its negative."""
    row = np.array(values, np.float32)[:, None, :]
    return np.stack([-row, row], axis=-1)


def test_measures_of_two_small_images() -> None:
    on = by_hand([[0, 0, 1, 1], [1, 1, 1, 255]])
    keras = logits_of([[-1, -1, 1, 1], [1, 1, 1, 1]])
    exported = logits_of([[-1, 1, 1, 1], [1, 1, 1, -1]])
    found = verify.compare(keras, exported, on)
    # Two of 8 pixels moved by 2 in both logits; the logits are +-1, so their deviation is 1.
    assert found.logit_scale == 1.0
    assert found.logit_max == found.logit_max_absolute == 2.0
    assert found.logit_mean == found.logit_mean_absolute == 0.5
    # One of the 7 pixels that are not padding changed its class.
    assert found.pixels_equal == pytest.approx(6 / 7)
    # Keras finds the 5 feet's pixels exactly; the exported file one more: 5 / 6.
    assert found.iou == pytest.approx(5 / 6 - 1)
    assert found.worst == (("a", 0.25), ("b", 0.0))


def test_where_the_logits_are_no_numbers_the_pixels_differ() -> None:
    on = by_hand([[0, 1]])
    keras = logits_of([[-1, 1]])
    found = verify.compare(keras, np.full_like(keras, np.nan), on)
    assert found.logit_max == np.inf
    assert found.pixels_equal == 0.0


def test_logits_of_other_images_are_refused() -> None:
    on = by_hand([[0, 1]])
    with pytest.raises(ValueError, match="must be of the same images"):
        verify.compare(logits_of([[0, 1]]), logits_of([[0, 1, 2]]), on)


# ---- the sample


def test_the_sample_is_evenly_spaced_over_the_validation_split(tiny_data: Path) -> None:
    every = verify.sample(tiny_data, (64, 64), count=100)
    assert len(every.names) == 8
    some = verify.sample(tiny_data, (32, 32), count=3)
    # Places 0, 3.5 (to the even one) and 7 of eight.
    assert some.names == (every.names[0], every.names[4], every.names[7])
    assert some.images.shape == (3, 32, 32, 3)
    assert some.masks.shape == (3, 32, 32)


def test_without_validation_images_training_ones_are_taken_and_never_test_ones(
    tiny_data: Path, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        (tmp_path / split).symlink_to(tiny_data / split)
    assert verify.sample(tmp_path, (64, 64)).split == "train"
    (tmp_path / "train").unlink()
    with pytest.raises(FootsegError, match=r"neither val nor train .* pass --data DIR"):
        verify.sample(tmp_path, (64, 64))


def test_a_data_set_that_is_gone_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match=r"moved is gone, .*: pass --data DIR"):
        verify.sample(tmp_path / "moved", (64, 64))
