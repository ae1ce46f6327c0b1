"""Precisions, estimators of ranges, types of the ends and kept operators: what stands in the files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import runtime
from footseg.export import quantize, speed, tflite
from footseg.export.ends import Asked
from footseg.export.precisions import PRECISIONS
from footseg.graphs.graph import Tensor
from footseg.graphs.tflite import read
from tests.canonical import canonical

tf = pytest.importorskip("tensorflow", reason="converts the networks: pip install '.[train]'")
keras = pytest.importorskip("keras", reason="makes the networks: pip install '.[train]'")
pytest.importorskip("ai_edge_quantizer", reason="quantizes: pip install '.[compress]'")

# Kernels of the network below, by output channel: extremes 1 and 2, root mean squares 0.6 and 1.2.
KERNEL = np.array([[1.0, 0.2, 0.2], [2.0, 0.4, 0.4]], np.float32)
BLACK, WHITE = (np.full((1, 8, 8, 3), value, np.uint8) for value in (0, 255))
EXTREMES = np.concatenate([BLACK, WHITE])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An fp32 ``.tflite`` of one convolution (``KERNEL``), one depthwise and one transposed, 8x8."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 1, use_bias=False, name="one")(image)
    # Above zero, so that no activation is dead.
    positive = keras.initializers.RandomUniform(0.1, 1, seed=0)
    x = keras.layers.DepthwiseConv2D(
        3, padding="same", activation="relu", depthwise_initializer=positive, name="two"
    )(x)
    x = keras.layers.Conv2DTranspose(8, 2, 2, name="three")(x)
    model = keras.Model(image, keras.layers.AveragePooling2D(2)(x))
    model.get_layer("one").set_weights([KERNEL.T.reshape(1, 1, 3, 2)])
    folder = tmp_path_factory.mktemp("network")
    from footseg.export import freeze

    path = folder / "fp32.tflite"
    path.write_bytes(tflite.convert(freeze.freeze(model, folder / "saved_model")))
    return path


def made(network: Path, folder: Path, precision: str, **options: Any) -> Path:
    path = folder / f"{precision}.tflite"
    path.write_bytes(quantize.quantize(network, precision, EXTREMES, **options))
    canonical(path)
    return path


def tensors(path: Path) -> dict[str, Tensor]:
    """The first input and each weight of a file by what it is: "image", "CONV_2D", ..."""
    graph = read(path)
    found = {"image": graph.tensors[graph.operators[0].outputs[0]]}
    return found | {
        operator.op: graph.tensors[operator.inputs[tflite.WEIGHTS[operator.op]]]
        for operator in graph.operators
        if operator.op in tflite.WEIGHTS
    }


ALL = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "TRANSPOSE_CONV": 1}


@pytest.mark.parametrize(
    ("precision", "weights"),
    [
        ("fp32", {"float32": ALL}),
        ("fp16", {"float16": ALL}),
        ("int8", {"int8": ALL}),
        ("int8w", {"int8": ALL}),
        ("int16x8", {"int8": ALL}),
        # The quantizer has 4 bits for ordinary convolutions only.
        ("int4w", {"int4": {"CONV_2D": 1}, "int8": {"DEPTHWISE_CONV_2D": 1, "TRANSPOSE_CONV": 1}}),
        ("dynamic", {"int8": ALL}),
    ],
)
def test_types_of_weights_and_results(
    precision: str, weights: dict[str, Any], network: Path, tmp_path: Path
) -> None:
    found = tflite.contents(made(network, tmp_path, precision))
    assert found.weights == weights
    floats = {} if PRECISIONS[precision].calibrated else {**ALL, "AVERAGE_POOL_2D": 1}
    assert found.floats == floats
    assert weights.keys() >= {PRECISIONS[precision].weights}


def test_ranges_of_activations_by_hand(network: Path, tmp_path: Path) -> None:
    """A black and a white image: 0 to 1 is the widest; the average moves a twentieth of the way, to 0.05."""
    for ranges, highest in (("minmax", 1.0), ("average", 0.05)):
        found = tensors(made(network, tmp_path, "int8", ranges=ranges))["image"].quantization
        assert found is not None
        assert (found.scales, found.zero_points) == (pytest.approx((1.0001 * highest / 255,)), (-128,))


def test_ranges_of_weights_by_hand(network: Path, tmp_path: Path) -> None:
    """Extremes 1 and 2 over 127 steps; for "mse" 0.05408 root mean squares, which are 0.6 and 1.2.

    For "octav" the largest value alone is clipped: x / (1 + 2s) with s = 4^-8 / 3 (two values below it).
    """

    def scales(ranges: str) -> Any:
        found = tensors(made(network, tmp_path, "int8", ranges=ranges))
        assert found["CONV_2D"].quantization is not None
        return np.array(found["CONV_2D"].quantization.scales)

    np.testing.assert_allclose(scales("minmax"), np.array([1, 2]) / 127, rtol=1e-6)
    np.testing.assert_allclose(scales("mse"), 0.05408 * np.array([0.6, 1.2]), rtol=1e-6)
    np.testing.assert_allclose(scales("octav"), np.array([1, 2]) / (1 + 2 * 4**-8 / 3) / 127, rtol=1e-6)


@pytest.mark.parametrize(
    ("precision", "ranges", "expected"),
    [
        ("fp32", "octav", {}),
        ("fp16", "average", {}),
        ("int4w", "octav", {"weights": "octav"}),
        ("int8w", "average", {"weights": "minmax"}),
        ("int8", "average", {"weights": "minmax", "activations": "average"}),
        ("int16x8", "mse", {"weights": "mse", "activations": "minmax"}),
    ],
)
def test_estimators_that_a_precision_takes(precision: str, ranges: str, expected: dict[str, str]) -> None:
    assert quantize.estimators(precision, ranges) == expected


@pytest.mark.parametrize(
    ("ends", "types"),
    [
        (Asked(), (np.float32, np.float32)),
        (Asked("uint8", "mask"), (np.float32, np.float32)),
        (Asked("int8"), (np.int8, np.int8)),
        (Asked("int8", "mask"), (np.int8, np.float32)),
    ],
)
def test_the_quantizer_makes_codes_of_ends_and_nothing_else(
    ends: Asked, types: tuple[Any, Any], network: Path, tmp_path: Path
) -> None:
    file = runtime.interpreter(made(network, tmp_path, "int8", ends=ends))
    assert tuple(end["dtype"] for end in (*file.get_input_details(), *file.get_output_details())) == types
    # The image is 0 to 1 in 255 steps: codes are pixels less 128.
    if types[0] == np.int8:
        assert file.get_input_details()[0]["quantization"] == (pytest.approx(1.0001 / 255), -128)


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8w", "dynamic"])
def test_a_kept_operator_stays_in_float(precision: str, network: Path, tmp_path: Path) -> None:
    (transposed,) = (o.name for o in read(network).operators if o.op == "TRANSPOSE_CONV")
    found = tflite.contents(made(network, tmp_path, precision, keep=[transposed]))
    assert found.weights["float32"] == {"TRANSPOSE_CONV": 1}
    rest = {kind: 1 for kind in ALL if kind != "TRANSPOSE_CONV"}
    assert found.weights[PRECISIONS[precision].weights] == rest


def test_what_is_dead_in_calibration_stays_in_float(network: Path, tmp_path: Path) -> None:
    """Of a black image come nothing but zeros, for which there is no scale; the file runs all the same."""
    path = tmp_path / "int8.tflite"
    path.write_bytes(quantize.quantize(network, "int8", BLACK))
    assert tflite.contents(path).weights == {"float32": ALL}
    np.testing.assert_array_equal(runtime.load(path).logits(WHITE), runtime.load(network).logits(WHITE))


def test_operators_outside_xnnpack_are_counted(network: Path, tmp_path: Path) -> None:
    """It leaves depthwise convolutions alone whose ranges are found anew in each inference."""
    found = speed.against(made(network, tmp_path, "dynamic"), network, seconds=0)
    assert found.outside == {"DEPTHWISE_CONV_2D": 1}
    assert found.operators == 4
    assert found.rounds == speed.ROUNDS[0]
    assert found.ratio > 0
    assert runtime.delegation(network).outside == {}


@pytest.mark.parametrize(
    ("arguments", "options", "complaint"),
    [
        (("int9", EXTREMES), {}, "unknown precision 'int9': did you mean"),
        (("int8", None), {}, "int8 needs calibration images and got none"),
        (("int16x8", EXTREMES[:0]), {}, "int16x8 needs calibration images and got none"),
        (("int8", EXTREMES[:, :4]), {}, r"must be uint8 \(N, 8, 8, 3\), got uint8 \(2, 4, 8, 3\): letterbox"),
        (("int8", EXTREMES / 255), {}, r"must be uint8 \(N, 8, 8, 3\), got float64"),
        (("int8", EXTREMES), {"ranges": "median"}, "unknown ranges 'median'"),
        (("int16x8", EXTREMES), {"ends": Asked("int8")}, "int16x8 files take float32 or uint8, not int8"),
        (("int8w", None), {"keep": ["conv9"]}, "no operator of fp32.tflite has the output conv9"),
    ],
)
def test_wrong_arguments(
    arguments: tuple[Any, ...], options: dict[str, Any], complaint: str, network: Path
) -> None:
    with pytest.raises(ValueError, match=complaint):
        quantize.quantize(network, *arguments, **options)
