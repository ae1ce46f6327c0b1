"""From a run to files: what the files hold, and that nothing wrong is left under their names."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import artifact, files, runtime
from footseg.errors import FootsegError
from footseg.export import freeze, onnx, quantize, tflite, verify
from footseg.export.ends import Asked
from footseg.export.pipeline import export_run
from footseg.graphs.tflite import read

tf = pytest.importorskip("tensorflow", reason="converts the networks: pip install '.[train]'")
keras = pytest.importorskip("keras", reason="makes the networks: pip install '.[train]'")

NAMES = {
    "fp32": "fast_linknet_64x64_fp32.tflite",
    "fp16": "fast_linknet_64x64_fp16.tflite",
    "int8": "fast_linknet_64x64_int8.tflite",
    "onnx": "fast_linknet_64x64_fp32.onnx",
    "onnx fp16": "fast_linknet_64x64_fp16.onnx",
    "onnx int8": "fast_linknet_64x64_int8.onnx",
}


def operators(path: Path) -> list[str]:
    return [operator.op for operator in read(path).operators]


# ---- what the files hold


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_tflite_runs_as_one_partition(precision: str, tiny_artifacts: dict[str, Path]) -> None:
    found = runtime.delegation(tiny_artifacts[precision])
    assert found.partitions == 1
    assert found.delegated == found.operators > 60
    assert found.share == 1.0


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_tflite_takes_one_fixed_image_and_gives_named_logits(
    precision: str, tiny_artifacts: dict[str, Path]
) -> None:
    file = runtime.interpreter(tiny_artifacts[precision])
    assert file.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["logits"]}}
    (image,), (logits,) = file.get_input_details(), file.get_output_details()
    assert image["shape_signature"].tolist() == [1, 64, 64, 3]
    assert logits["shape_signature"].tolist() == [1, 64, 64, 2]
    assert image["dtype"] == logits["dtype"] == np.float32


def test_batch_norm_and_relu_are_folded_and_no_shapes_are_worked_out(
    tiny_artifacts: dict[str, Path],
) -> None:
    found = set(operators(tiny_artifacts["fp32"]))
    # ADD is the network's own: 8 blocks and 4 skips. RESHAPE stands where a map is 1x1, as here at 64x64.
    # RELU stands behind transposed convolutions, SLICE behind those of one pixel, for GPUs.
    assert found <= {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "DEPTH_TO_SPACE",
        "MAX_POOL_2D",
        "RELU",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "SLICE",
        "TRANSPOSE_CONV",
    }
    assert operators(tiny_artifacts["fp32"]).count("RELU") == 5
    assert operators(tiny_artifacts["fp32"]).count("ADD") == 12


def test_sizes_of_the_full_network(tmp_path: Path) -> None:
    """The project's figures for FastLinkNet at 256x256: at most 7.30 and 2.1 MB (of 10^6 bytes)."""
    from footseg.networks import build

    build("fast_linknet").save(tmp_path / "model.keras")
    network = freeze.load_network(tmp_path / "model.keras")
    whole = tmp_path / "fp32.tflite"
    whole.write_bytes(tflite.convert(freeze.freeze(network, tmp_path / "saved_model")))
    noise = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    small = tmp_path / "int8.tflite"
    small.write_bytes(quantize.quantize(whole, "int8", noise))
    assert whole.stat().st_size <= 7.30e6
    assert small.stat().st_size <= 2.1e6
    assert runtime.delegation(whole).partitions == runtime.delegation(small).partitions == 1


@pytest.fixture
def converted(tiny_float: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fp32 file of ``tiny_run`` as it was converted before: what is tested comes after that."""
    monkeypatch.setattr(freeze, "freeze", lambda network, folder: folder)
    monkeypatch.setattr(tflite, "convert", lambda saved_model: tiny_float.read_bytes())


@pytest.mark.usefixtures("converted")
def test_int8_ends_are_read_by_their_scale(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    (made,) = export_run(
        tiny_run,
        tmp_path,
        formats=["tflite"],
        precisions=["int8"],
        io="int8",
        ranges="octav",
        say=said.append,
    )
    file = runtime.interpreter(made.path)
    assert file.get_input_details()[0]["dtype"] == file.get_output_details()[0]["dtype"] == np.int8
    assert (made.input.name, made.output.type) == ("int8", "int8")
    assert made.details["ranges"] == {"weights": "octav", "activations": "minmax"}
    assert made.details["weights"].keys() == {"int8"}
    assert f"{made.name}: computed in float: DEPTH_TO_SPACE 1" in said
    assert said[0].startswith("calibrating on 24 images, as ")
    assert made.speed["kind"] == "measured"
    assert made.speed["ratio"] > 0
    # XNNPACK has no average pooling of int8 images.
    assert made.speed["outside"] == {"AVERAGE_POOL_2D": 1}
    assert any("on this machine" in line for line in said)
    kept = artifact.load(made.path)
    assert (kept.details, kept.speed) == (made.details, made.speed)
    # That the file passed verification is the proof that runtime writes and reads its ends right;
    # that there are at most 256 different logits, that they went through 8 bits.
    white = np.full((1, 64, 64, 3), 255, np.uint8)
    logits = runtime.load(made.path).logits(white)
    assert logits.dtype == np.float32
    assert 1 < len(np.unique(logits)) <= 256


# ---- sidecars


def test_files_and_sidecars(tiny_run: Path, tiny_artifacts: dict[str, Path]) -> None:
    for kind, path in tiny_artifacts.items():
        assert path.name == NAMES[kind]
        found = artifact.load(path)
        assert found.recipe == path.stem.rpartition("_")[2]
        assert found.network == "fast_linknet"
        assert found.input_shape == (1, 64, 64, 3)
        assert found.parent == files.sha256(tiny_run / "model.keras")
        assert found.parameters == keras.saving.load_model(tiny_run / "model.keras").count_params()
        assert found.verification["images"] == 8
        assert found.verification["split"] == "val"
        assert {"tensorflow", "keras"} <= found.versions.keys()
        assert bool(found.calibration) == kind.endswith("int8")


def test_calibration_is_recorded_and_drawn_from_training_images_by_its_seed(tiny_data: Path) -> None:
    first, again, other = (quantize.calibration(tiny_data, (64, 64), 5, seed) for seed in (1, 1, 2))
    assert first.names == again.names != other.names
    assert len(set(first.names)) == 5
    assert set(first.names) <= {path.stem for path in (tiny_data / "train" / "images").iterdir()}
    assert first.images.shape == (5, 64, 64, 3)
    record = first.to_json()
    assert (record["split"], record["count"], record["seed"]) == ("train", 5, 1)
    assert record["names_sha256"] == again.to_json()["names_sha256"] != other.to_json()["names_sha256"]
    assert quantize.calibration(tiny_data, (64, 64), 1000, 0).to_json()["count"] == 24


def test_a_cut_network_trained_for_int8(
    tiny_run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only model.keras says what the network is, and RUN/qat what int8 means: nothing is calibrated."""
    run, data = tmp_path / "run", tmp_path / "data"
    run.mkdir()
    shutil.copytree(tiny_data, data, ignore=shutil.ignore_patterns("train"))
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(7, 3, strides=2, padding="same", activation="relu")(image)
    model = keras.Model(image, keras.layers.Conv2DTranspose(2, 2, 2)(x))
    model.save(run / "model.keras")
    record = json.loads((tiny_run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"input_shape": [16, 16, 3], "data": str(data)}))
    # A network whose weights moved in training for int8: logits half as large again.
    rounded = keras.Model(image, model(image) * 1.5)
    freeze.freeze(rounded, run / "qat")

    class Converter:
        @staticmethod
        def convert(saved_model: Path, ends: Asked, *_: Any) -> bytes:
            assert (saved_model, ends) == (run / "qat", Asked())
            return tflite.convert(saved_model)

        @staticmethod
        def check_islands(path: Path, left_out: set[str]) -> None:
            checked.append(path.name)

    checked: list[str] = []
    monkeypatch.setattr("footseg.export.qat", Converter, raising=False)
    said: list[str] = []
    made = {
        a.recipe: a
        for a in export_run(
            run, tmp_path, formats=["tflite"], precisions=["fp32", "int8"], speed=False, say=said.append
        )
    }
    assert made["fp32"].verification["against"] == "model.keras"
    found = made["int8"]
    assert len(checked) == 1
    assert found.verification["against"] == "qat"
    assert found.verification["logit_max"] < 1e-5
    # Half as large again differs by half of each logit from the float weights'.
    to_float, scale = found.verification["against_float"], made["fp32"].verification["logit_scale"]
    mean = np.abs(runtime.load(run).logits(verify.sample(data, (16, 16)).images)).mean()
    assert to_float["logit_mean"] == pytest.approx(0.5 * mean / scale, rel=1e-4)
    assert f"{found.name}: IoU +0.0000 against the run's float weights" in said
    assert found.details["by"] == "quantization-aware training"
    assert found.calibration == found.speed == {}


@pytest.mark.usefixtures("converted")
def test_neither_calibration_nor_verification_opens_test_images(
    tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    for path in (data / "test" / "images").iterdir():
        path.write_bytes(b"not an image")
    (made,) = export_run(
        tiny_run, tmp_path / "out", formats=["tflite"], precisions=["int8"], data_dir=data, speed=False
    )
    assert made.path.is_file()


# ---- asking for what there is not


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"formats": ["tflit"]}, "did you mean 'tflite'"),
        ({"precisions": ["int4"]}, "unknown precision 'int4': did you mean 'int4w'"),
        ({"precisions": []}, "no precision given"),
        ({"precisions": ["int8"], "io": "int16"}, "unknown io 'int16': did you mean"),
        ({"output": "masks"}, "unknown output 'masks': did you mean 'mask'"),
        (
            {"precisions": ["fp16"], "io": "int8"},
            "fp16 files take float32 or uint8, not int8: that is for int8",
        ),
        ({"precisions": ["int8"], "ranges": "min"}, "unknown ranges 'min': did you mean"),
        ({"calibration_count": 0}, "at least one image"),
    ],
)
def test_wrong_arguments(wrong: dict[str, Any], complaint: str, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=complaint):
        export_run(tiny_run, tmp_path, **wrong)


def test_another_backend_is_told_what_to_set(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(FootsegError, match="not on jax: run it again with KERAS_BACKEND=tensorflow"):
        freeze.load_network(tiny_run / "model.keras")


def test_a_data_set_of_other_classes_is_refused(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    (data / "dataset.toml").write_text('classes = ["background", "left", "right"]')
    with pytest.raises(FootsegError, match=r"has 3 classes, .* was trained on 2"):
        export_run(tiny_run, tmp_path / "out", data_dir=data)


def test_a_moved_data_set_is_asked_for(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"data": str(tmp_path / "moved")}))
    with pytest.raises(FootsegError, match="pass --data DIR"):
        export_run(run, tmp_path / "out")


# ---- nothing wrong stays under a good name


def _swapped(model: Any) -> Any:
    spec = tf.TensorSpec((1, 64, 64, 3), tf.float32, name="image")
    return tf.function(
        lambda image: {"logits": model(tf.gather(image, [2, 1, 0], axis=-1), training=False)},
        input_signature=[spec],
    )


@pytest.mark.parametrize("kind", ["fp32", "onnx"])
def test_a_file_out_of_tolerance_is_not_left_and_the_one_before_stays(
    kind: str,
    tiny_run: Path,
    tiny_artifacts: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(freeze, "serving_function", _swapped)
    monkeypatch.setattr(onnx, "serving_function", _swapped)
    before = tiny_artifacts[kind]
    for path in (before, artifact.sidecar_path(before)):
        shutil.copy(path, tmp_path)
    there = sorted(tmp_path.iterdir())
    with pytest.raises(FootsegError, match=rf"{NAMES[kind]} does not do what its Keras network does"):
        export_run(tiny_run, tmp_path, formats=["onnx" if kind == "onnx" else "tflite"])
    assert sorted(tmp_path.iterdir()) == there
    kept = artifact.load(tmp_path / before.name)
    assert kept.sha256 == files.sha256(before) == files.sha256(kept.path)


@pytest.mark.usefixtures("converted")
def test_a_full_disk_leaves_nothing(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if tmp_path in self.parents:
            write(self, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FootsegError, match=r"the disk is full .*fast_linknet_64x64_fp32\.tflite"):
        export_run(tiny_run, tmp_path, formats=["tflite"])
    assert list(tmp_path.iterdir()) == []


# ---- graphs


def test_shape_arithmetic_is_found_and_named(tmp_path: Path) -> None:
    """A free batch makes the converter work out each transposed convolution's output shape in the graph."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(16, 3, strides=2, padding="same")(image)
    model = keras.Model(image, keras.layers.Conv2DTranspose(16, 3, strides=2, padding="same")(x))
    spec = tf.TensorSpec((None, 16, 16, 3), tf.float32)
    concrete = tf.function(lambda x: model(x, training=False), input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [concrete.get_concrete_function()], tf.Module()
    )
    path = tmp_path / "free.tflite"
    path.write_bytes(converter.convert())
    with pytest.raises(FootsegError, match=r"free\.tflite works out shapes .*SHAPE.*STRIDED_SLICE.*PACK"):
        tflite.check_graph(path)
    found = runtime.delegation(path)
    # SHAPE, STRIDED_SLICE and PACK stay outside; which convolutions are taken is the delegate's affair.
    assert found.operators - found.delegated >= 3


def test_a_failed_conversion_is_one_line_with_the_converters_words_kept() -> None:
    from footseg.export.conversion import conversion

    with (
        pytest.raises(FootsegError, match=r"^melting failed: KeyError: 'wax'") as caught,
        conversion("melting"),
    ):
        print("the wax ran out")
        raise KeyError("wax")
    assert "the wax ran out" in caught.value.__notes__[0]


@pytest.mark.parametrize("use_bias", [False, True])
def test_a_narrow_transposed_convolution_means_the_same_when_lowered(use_bias: bool) -> None:
    from footseg.export.lowering import PixelConvolution, lower

    image = keras.Input((4, 5, 3))
    x = keras.layers.Conv2DTranspose(
        2, 2, 2, use_bias=use_bias, activation="softmax", bias_initializer="random_normal", name="narrow"
    )(image)
    x = keras.layers.Conv2DTranspose(8, 2, 2, name="wide")(x)
    x = keras.layers.Conv2DTranspose(2, 3, 2, padding="same", name="overlapping")(x)
    model = keras.Model(image, x)
    lowered = lower(model)
    assert [layer.name for layer in lowered.layers if isinstance(layer, PixelConvolution)] == ["narrow"]
    given = np.random.default_rng(0).random((2, 4, 5, 3), dtype=np.float32)
    # The same products, summed in another order.
    np.testing.assert_allclose(lowered(given), model(given), atol=1e-6)


def test_group_normalization_means_the_same_with_four_axes(tmp_path: Path) -> None:
    from footseg.export.lowering import lower

    keras.utils.set_random_seed(1)
    image = keras.Input((4, 6, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(image)
    x = keras.layers.GroupNormalization(
        4, gamma_initializer="random_uniform", beta_initializer="random_normal", name="norm"
    )(x)
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(x))
    given = np.random.default_rng(0).integers(0, 256, (4, 4, 6, 3), np.uint8)
    # The same sums in another order, divided by deviations of some tenths.
    np.testing.assert_allclose(lower(model)(given / 255), model(given / 255), atol=1e-5)
    fp32, int8 = tmp_path / "fp32.tflite", tmp_path / "int8.tflite"
    fp32.write_bytes(tflite.convert(freeze.freeze(lower(model), tmp_path / "saved_model")))
    int8.write_bytes(quantize.quantize(fp32, "int8", given))
    for path in (fp32, int8):
        axes = [len(tensor.shape or ()) for tensor in read(path).tensors.values()]
        assert max(axes) == 4  # a GPU takes no more
        assert runtime.delegation(path).partitions == 1


def test_a_network_trained_in_mixed_precision_is_lowered_to_float32() -> None:
    from footseg.export.lowering import lower

    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, dtype="mixed_float16")(image))
    lowered = lower(model)
    assert lowered.layers[-1].compute_dtype == "float32"
    np.testing.assert_array_equal(lowered.get_weights()[0], model.get_weights()[0])


def test_a_file_for_processors_alone_stands_beside_the_other(tiny_run: Path, tmp_path: Path) -> None:
    from footseg.cli import main

    said = ["--precision", "int8", "--no-speed", "--no-clients"]
    assert main(["export", str(tiny_run), "--out", str(tmp_path), *said, "--for", "cpu"]) == 0
    (path,) = tmp_path.glob("*.tflite")
    assert path.name == "fast_linknet_64x64_int8_cpu.tflite"
    # Projections keep their stride, of which a GPU makes nothing.
    strided = [o for o in read(path).operators if o.op == "CONV_2D" and o.options["strideH"] == 2]
    assert len(strided) > 1
    assert main(["export", str(tiny_run), "--out", str(tmp_path), "--to", "onnx", "--for", "cpu"]) == 1
    assert main(["export", str(tiny_run), "--out", str(tmp_path), "--auto", "0.1", "--for", "cpu"]) == 1
