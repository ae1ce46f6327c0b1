"""Pixels in, masks out: what a file takes and gives, how it is read, and how it is called."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import artifact, evaluate, predict, runtime
from footseg.cli import main
from footseg.errors import FootsegError
from footseg.export import ends
from footseg.export.ends import Asked, with_ends
from footseg.graphs.ends import read
from tests.arm_graphs import convolution, identity, pictures
from tests.small_graphs import T, onnx_file, tflite

SIDE = 16
# A logit is the value of one channel of the pixel: of two classes red and green, of three blue, too.
CLASSES = {2: identity()[:2], 3: identity()}


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """A file of one convolution with other ends."""

    def make(classes: int, **asked: str) -> Path:
        path = convolution(tmp_path / "logits.tflite", CLASSES[classes], side=SIDE)
        out = tmp_path / "ends.tflite"
        out.write_bytes(with_ends(path.read_bytes(), Asked(**asked)))
        return out

    return make


# ---- values by hand


def test_pixels_become_what_to_float_makes_of_them(made: Callable[..., Path]) -> None:
    """All 256, to the last bit: scaled by 1/255 alone 126 would be off."""
    path = made(3, input="uint8")
    loaded = runtime.interpreter(path)
    (image,), (result,) = loaded.get_input_details(), loaded.get_output_details()
    pixels = pictures(1, SIDE)
    loaded.set_tensor(image["index"], pixels)
    loaded.invoke()
    np.testing.assert_array_equal(loaded.get_tensor(result["index"]), runtime.to_float(pixels))
    np.testing.assert_array_equal(runtime.load(path).logits(pixels), runtime.to_float(pixels))
    # Who goes by the scale of the tensor finds pixels, too.
    assert image["quantization"] == (pytest.approx(1 / 255, rel=2e-5), 0)
    assert runtime.delegation(path).share == 1


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("output", ["probabilities", "foreground", "mask"])
def test_outputs_by_hand(output: str, classes: int, made: Callable[..., Path]) -> None:
    if (output, classes) == ("foreground", 3):
        with pytest.raises(FootsegError, match="this network has 3: ask for probabilities or mask"):
            made(classes, output=output)
        return
    model = runtime.load(made(classes, output=output))
    images = pictures(4, SIDE)
    images[1] = 7  # every pixel a tie: the first class wins
    logits = runtime.to_float(images)[..., :classes]
    powers = np.exp(logits.astype(np.float64))
    softmax = powers / powers.sum(axis=-1, keepdims=True)
    expected = {
        "probabilities": softmax,
        "foreground": softmax[..., 1:],
        "mask": logits.argmax(-1)[..., None],
    }
    found = model.values(images)
    assert (model.ends.output.name, model.ends.output.type, model.classes) == (output, "float32", classes)
    # XNNPACK's exponentials are float32's to the last bits.
    np.testing.assert_allclose(found, expected[output], atol=0 if output == "mask" else 1e-6)
    np.testing.assert_array_equal(model.logits(images).argmax(-1), logits.argmax(-1))
    if output != "mask":
        apart = model.logits(images)[..., 1] - model.logits(images)[..., 0]
        # Logarithms of probabilities are as far apart as logits.
        np.testing.assert_allclose(apart, logits[..., 1] - logits[..., 0], atol=1e-6)


def test_xnnpack_runs_every_end_of_two_classes(made: Callable[..., Path]) -> None:
    for output in ("probabilities", "foreground", "mask"):
        found = runtime.delegation(made(2, input="uint8", output=output))
        assert (found.share, found.partitions) == (1, 1)


def test_codes_stay_the_quantizers(tmp_path: Path) -> None:
    path = tflite(
        tmp_path / "codes.tflite",
        [T((1, 4, 4, 3), "INT8"), T((1, 4, 4, 3))],
        [("DEQUANTIZE", [0], [1])],
        [0],
        [1],
    )
    path.write_bytes(with_ends(path.read_bytes(), Asked("int8", "mask")))
    assert (read(path).input.name, read(path).output.name) == ("int8", "mask")
    with pytest.raises(FootsegError, match="takes float32 and gives float32"):
        with_ends(path.read_bytes(), Asked("uint8"))


# ---- what a graph gives


@pytest.mark.parametrize(
    ("shape", "operators", "expected"),
    [
        ((1, 4, 4, 3), [("RELU", [0], [1])], ("logits", 3)),
        ((1, 4, 4, 3), [("LOGISTIC", [0], [1])], ("probabilities", 3)),
        ((1, 4, 4, 1), [("LOGISTIC", [0], [1])], ("foreground", 2)),
        ((1, 4, 4, 1), [("LOGISTIC", [0], [2]), ("RESHAPE", [2], [1])], ("foreground", 2)),
        ((1, 4, 4, 1), [("GREATER", [0, 0], [2]), ("CAST", [2], [1])], ("mask", 2)),
        ((1, 4, 4), [("ARG_MAX", [0, 0], [1])], ("mask", 3)),
    ],
)
def test_meaning_is_read_from_the_graph(
    shape: tuple[int, ...], operators: Any, expected: tuple[str, int], tmp_path: Path
) -> None:
    path = tflite(tmp_path / "file.tflite", [T((1, 4, 4, 3)), T(shape), T(shape)], operators, [0], [1])
    assert (read(path).output.name, read(path).classes) == expected


def test_meaning_of_onnx_files(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    image = {"image": (1, 4, 4, 3)}
    soft = onnx_file(tmp_path / "a.onnx", [("Softmax", ["image"], ["y"], {})], image, {}, ["y"])
    assert (read(soft).output.name, read(soft).classes) == ("probabilities", 3)
    largest = onnx_file(
        tmp_path / "b.onnx", [("ArgMax", ["image"], ["y"], {"axis": 3, "keepdims": 0})], image, {}, ["y"]
    )
    assert (read(largest).output.name, read(largest).output.type, read(largest).classes) == (
        "mask",
        "int64",
        3,
    )
    proto = onnx.load(largest)
    proto.ir_version = 10  # what ONNX Runtime reads is older than what onnx writes
    onnx.save(proto, largest)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    masks = runtime.load(largest).logits(pixels).argmax(-1)
    np.testing.assert_array_equal(masks, pixels.argmax(-1))


def test_what_cannot_be_told_is_refused(tmp_path: Path) -> None:
    path = tflite(
        tmp_path / "file.tflite", [T((1, 4, 4, 1)), T((1, 4, 4, 1))], [("RELU", [0], [1])], [0], [1]
    )
    with pytest.raises(FootsegError, match=r"file\.tflite: it gives one channel, made by RELU"):
        read(path)


def test_a_mask_is_enlarged_by_its_nearest_pixels(made: Callable[..., Path]) -> None:
    photograph = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    photograph[..., 0] = 50
    photograph[:16, :16] = (0, 50, 0)
    mask = predict.segment(runtime.load(made(2, output="mask")), photograph)
    np.testing.assert_array_equal(mask, photograph[..., 1] > 0)


def test_a_file_that_gives_something_else_is_found_out(made: Callable[..., Path], tmp_path: Path) -> None:
    path = made(2, output="mask")
    other = convolution(tmp_path / "other.tflite", CLASSES[2][::-1], side=SIDE)
    assert ends.hold(path, path.with_name("logits.tflite"), pictures(2, SIDE))["pixels_equal"] == 1
    with pytest.raises(FootsegError, match=r"ends\.tflite does not give the mask that its logits say"):
        ends.hold(path, other, pictures(2, SIDE))


# ---- names


def test_names_tell_ends_apart() -> None:
    name = artifact.file_name
    assert name("unet", (64, 32, 3), "int8") == "unet_64x32_int8.tflite"
    assert name("unet", (64, 32, 3), "int8", target="cpu") == "unet_64x32_int8_cpu.tflite"
    assert name("unet", (64, 32, 3), "int8", takes="uint8") == "unet_64x32_int8_in-uint8.tflite"
    assert (
        name("unet", (64, 32, 3), "fp32", "onnx", takes="uint8", gives="mask")
        == "unet_64x32_fp32_in-uint8_out-mask.onnx"
    )


@pytest.mark.heavy
@pytest.mark.numeric
def test_through_the_command_line(
    tiny_run: Path, tiny_data: Path, tiny_artifacts: dict[str, Path], tmp_path: Path
) -> None:
    """A second export with other ends stands beside the first; every reader takes it for what it is."""
    asked = ["--precision", "int8", "--no-speed", "--io", "uint8", "--output", "mask"]
    assert main(["export", str(tiny_run), "--out", str(tmp_path), *asked]) == 0
    path = tmp_path / "fast_linknet_64x64_int8_in-uint8_out-mask.tflite"
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, f"{path.name}.json"]
    sidecar = artifact.load(path)
    assert (sidecar.input.name, sidecar.input.type) == ("uint8", "uint8")
    assert (sidecar.output.name, sidecar.output.type) == ("mask", "float32")
    assert sidecar.verification["ends"]["largest_difference"] == 0
    # What the network says is verified before the ends are put to it.
    assert sidecar.verification["logit_max"] > 0
    assert runtime.delegation(path).share == 1
    # The same masks as the file with float ends; ties are one in ten thousand.
    with_logits = evaluate.evaluate(tiny_artifacts["int8"], tiny_data, samples=0).metrics
    assert evaluate.evaluate(path, tiny_data, samples=0).metrics["iou"] == pytest.approx(
        with_logits["iou"], abs=1e-4
    )


def test_a_foreground_of_three_classes_is_refused_before_any_work(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((tiny_run / "run.json").read_text())
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.keras").write_bytes(b"never opened")
    (run / "run.json").write_text(json.dumps(record | {"classes": ["background", "left", "right"]}))
    out = tmp_path / "out"
    assert main(["export", str(run), "--out", str(out), "--output", "foreground"]) == 1
    assert "this network has 3: ask for probabilities or mask" in capsys.readouterr().err
    assert not out.exists()
