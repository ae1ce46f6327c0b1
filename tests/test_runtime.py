"""The one door through which every model file is run."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from footseg import runtime
from footseg.errors import FootsegError
from footseg.quiet import quiet

# tests/test_export.py holds int8 ends and delegation against converted files.


def images(count: int = 3, size: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_pixels_become_floats_in_0_to_1() -> None:
    pixels = np.array([0, 51, 255], np.uint8)
    np.testing.assert_array_equal(runtime.to_float(pixels), np.array([0.0, 0.2, 1.0], np.float32))
    assert runtime.to_float(pixels).dtype == np.float32


def test_pixels_that_are_floats_already_are_refused() -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        runtime.to_float(np.zeros(3, np.float32))


def test_all_kinds_of_file_give_the_same_logits(tiny_run: Path, tiny_artifacts: dict[str, Path]) -> None:
    expected = runtime.load(tiny_run / "model.keras").logits(images())
    assert expected.shape == (3, 64, 64, 2)
    assert expected.dtype == np.float32
    for kind in ("fp32", "onnx"):
        model = runtime.load(tiny_artifacts[kind])
        assert (model.size, model.classes) == ((64, 64), 2)
        # The same float32 arithmetic in another order: seen up to 4e-6 of the logits' spread.
        np.testing.assert_allclose(model.logits(images()), expected, atol=1e-4 * expected.std())


def test_a_run_folder_is_its_model(tiny_run: Path) -> None:
    model = runtime.load(tiny_run)
    assert model.path == tiny_run / "model.keras"


def test_keras_gives_each_image_the_same_logits_alone_and_in_batches(tiny_run: Path) -> None:
    many = images(runtime.KERAS_BATCH + 1)
    model = runtime.load(tiny_run)
    # Batch statistics (training mode) would make these differ by much more than rounding, for which fp32
    # files have the same limit: a ten-thousandth of the logits' spread.
    alone = model.logits(many[-1:])
    np.testing.assert_allclose(model.logits(many)[-1:], alone, atol=1e-4 * alone.std())


def test_images_of_another_size_are_refused(tiny_artifacts: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"must be \(N, 64, 64, 3\), got \(3, 32, 32, 3\)"):
        runtime.load(tiny_artifacts["fp32"]).logits(images(size=32))


# ---- files that are no models


@pytest.mark.parametrize("share", [0.0, 0.001, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_a_tflite_cut_off_anywhere_is_named(
    kind: str, share: float, tiny_artifacts: dict[str, Path], tmp_path: Path
) -> None:
    whole = tiny_artifacts[kind].read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(whole[: int(len(whole) * share)])
    for use in (runtime.load, runtime.delegation):
        with pytest.raises(FootsegError, match=r"cut\.tflite is .*export it again"):
            use(cut)


def test_a_tflite_whose_second_half_is_empty_is_named(
    tiny_artifacts: dict[str, Path], tmp_path: Path
) -> None:
    """As a file looks whose room was reserved and whose download broke off."""
    whole = tiny_artifacts["fp32"].read_bytes()
    half = len(whole) // 2
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(whole[:half] + bytes(len(whole) - half))
    with pytest.raises(FootsegError, match="damaged or cut off"):
        runtime.load(cut)


def test_a_keras_file_cut_in_half_is_named(tiny_run: Path, tmp_path: Path) -> None:
    whole = (tiny_run / "model.keras").read_bytes()
    cut = tmp_path / "cut.keras"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FootsegError, match=r"cut\.keras is not a Keras model or was cut off"):
        runtime.load(cut)


def test_an_archive_that_holds_no_keras_model_is_named(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "letters.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "dear reader")
    with pytest.raises(FootsegError, match=r"Keras cannot load .*letters\.keras"):
        runtime.load(path)


def test_an_onnx_file_that_is_garbage_or_cut_is_named(
    tiny_artifacts: dict[str, Path], tmp_path: Path
) -> None:
    whole = tiny_artifacts["onnx"].read_bytes()
    for content in (b"garbage" * 100, whole[: len(whole) // 2]):
        path = tmp_path / "bad.onnx"
        path.write_bytes(content)
        with pytest.raises(FootsegError, match=r"ONNX Runtime cannot load .*bad\.onnx.*export it again"):
            runtime.load(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(b"")
    with pytest.raises(FootsegError, match=r"give a \.keras, \.tflite, \.onnx file"):
        runtime.load(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match=r"no such file: .*gone\.tflite"):
        runtime.load(tmp_path / "gone.tflite")


# ---- networks that are no segmentation networks


def _two_outputs(keras, x):  # type: ignore[no-untyped-def]
    return [keras.layers.Conv2D(2, 1)(x), keras.layers.Conv2D(2, 1)(x)]


def _a_vector(keras, x):  # type: ignore[no-untyped-def]
    return keras.layers.GlobalAveragePooling2D()(x)


def _half_the_size(keras, x):  # type: ignore[no-untyped-def]
    return keras.layers.Conv2D(2, 1, strides=2)(x)


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (_two_outputs, "has 1 inputs and 2 outputs"),
        (_a_vector, r"gives \(None, 3\)"),
        (_half_the_size, r"gives \(None, 4, 4, 2\)"),
    ],
)
def test_a_network_that_does_not_segment_is_refused(
    head: Callable[..., object], complaint: str, tmp_path: Path
) -> None:
    keras = pytest.importorskip("keras", reason="makes the network: pip install '.[train]'")
    x = keras.Input((8, 8, 3))
    path = tmp_path / "other.keras"
    keras.Model(x, head(keras, x)).save(path)
    with pytest.raises(FootsegError, match=complaint):
        runtime.load(path)


# ---- silence


def test_native_chatter_is_held_back_and_told_with_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(2, b"all is well\n")
        print("step 1 of 3")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(RuntimeError) as caught, quiet():
        os.write(2, b"device is on fire\n")
        raise RuntimeError("stopped")
    assert "device is on fire" in caught.value.__notes__[0]
    os.write(2, b"back\n")
    assert capfd.readouterr().err == "back\n"
