"""Costs worked out by hand on small graphs, and FastLinkNet's, exact, from three kinds of file."""

import math
from pathlib import Path
from typing import Any

import pytest

from footseg.benchmarks import cost
from footseg.errors import FootsegError
from footseg.graphs.tflite import read
from tests.small_graphs import T, onnx_file, tflite

# (operator, shapes of its inputs, shape of its output, MACs by hand, counted by TensorFlow's benchmark?)
TFLITE_CASES = [
    # 4*4*8 outputs, each 3*3*3 products
    ("CONV_2D", [(1, 8, 8, 3), (8, 3, 3, 3)], (1, 4, 4, 8), 4 * 4 * 8 * 27, True),
    # grouped: the kernel holds the channels of one group (3 of 6)
    ("CONV_2D", [(1, 4, 4, 6), (8, 1, 1, 3)], (1, 4, 4, 8), 4 * 4 * 8 * 3, True),
    # depth multiplier 2: 6 outputs of 3 channels, each 3*3 products
    ("DEPTHWISE_CONV_2D", [(1, 4, 4, 3), (1, 3, 3, 6)], (1, 4, 4, 6), 4 * 4 * 6 * 9, False),
    # 2x2 inputs of 5 channels, each spread over 3*3*7; the output has four times the pixels
    ("TRANSPOSE_CONV", [(4,), (7, 3, 3, 5), (1, 2, 2, 5)], (1, 4, 4, 7), 2 * 2 * 5 * 9 * 7, False),
    ("FULLY_CONNECTED", [(1, 10), (4, 10)], (1, 4), 40, True),
    ("BATCH_MATMUL", [(2, 3, 5), (2, 5, 7)], (2, 3, 7), 2 * 3 * 5 * 7, True),
    ("BATCH_MATMUL", [(2, 5, 3), (2, 5, 7)], (2, 3, 7), 2 * 3 * 5 * 7, True),  # the left one transposed
    ("BATCH_MATMUL", [(1, 3, 5), (4, 5, 7)], (4, 3, 7), 4 * 3 * 5 * 7, True),  # one for all four
]


def one(path: Path, op: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> Path:
    """A .tflite of one operator: input 1 is float weights, one-dimensional input 0 an output shape."""
    tensors = [
        T(shape, "INT32" if len(shape) == 1 else "FLOAT32", held=index == 1 or len(shape) == 1)
        for index, shape in enumerate(inputs)
    ]
    data = [index for index, tensor in enumerate(tensors) if not tensor.held]
    return tflite(path, [*tensors, T(output)], [(op, range(len(inputs)), [len(inputs)])], data, [len(inputs)])


@pytest.mark.parametrize(("op", "inputs", "output", "macs", "in_benchmark"), TFLITE_CASES)
def test_tflite_operator_by_hand(
    tmp_path: Path,
    *,
    op: str,
    inputs: list[tuple[int, ...]],
    output: tuple[int, ...],
    macs: int,
    in_benchmark: bool,
) -> None:
    found = cost.of_file(one(tmp_path / "m.tflite", op, inputs, output))
    assert (found.macs, found.flops) == (macs, 2 * macs)
    assert found.flops_tf_benchmark == (2 * macs if in_benchmark else 0)
    assert found.uncounted == ()
    # The int32 output shape of TRANSPOSE_CONV is no parameter, but it is read.
    assert found.parameters == math.prod(inputs[1])
    data = [shape for index, shape in enumerate(inputs) if index != 1 and len(shape) > 1]
    read, written = 4 * sum(map(math.prod, data)), 4 * math.prod(output)
    weights = 4 * math.prod(inputs[1]) + sum(4 * math.prod(shape) for shape in inputs if len(shape) == 1)
    (operator,) = found.operators
    assert (operator.read_bytes, operator.weight_bytes, operator.written_bytes) == (read, weights, written)
    assert (operator.op, operator.output_shape, operator.arithmetic) == (op, output, "float32")
    assert found.bytes_moved == operator.moved_bytes == read + weights + written
    assert operator.intensity == found.intensity == 2 * macs / (read + weights + written)
    # Both ends of the graph live throughout, each from a multiple of 64 bytes on: the input first.
    assert found.live_bytes == operator.live_bytes == read + written
    assert found.peak_activation_bytes == -(-read // 64) * 64 + written


def test_tflite_names_what_it_does_not_count(tmp_path: Path) -> None:
    found = cost.of_file(one(tmp_path / "m.tflite", "ADD", [(1, 2, 2, 3), (1, 1, 1, 3)], (1, 2, 2, 3)))
    assert (found.macs, found.uncounted, found.parameters) == (0, ("ADD",), 3)
    own = tflite(tmp_path / "own.tflite", [T((1, 4)), T((1, 4))], [("Mine", [0], [1])], [0], [1])
    assert cost.of_file(own).uncounted == ("CUSTOM Mine",)


CONV = (T((1, 4, 4, 3)), T((5, 1, 1, 3), held=True), T((1, 4, 4, 5)))
# (type of the data, of the weights, of the result, what is multiplied, bytes read, of weights, written)
WIDTHS = [
    ("FLOAT32", "FLOAT32", "FLOAT32", "float32", 192, 60, 320),
    ("FLOAT16", "FLOAT16", "FLOAT16", "float16", 96, 30, 160),
    ("INT8", "INT8", "INT8", "int8", 48, 15, 80),
    ("UINT8", "UINT8", "UINT8", "int8", 48, 15, 80),
    ("INT16", "INT8", "INT16", "int16", 96, 15, 160),
    ("FLOAT32", "INT8", "FLOAT32", "int8", 192, 15, 320),  # hybrid: data is quantized on the way in
    ("FLOAT32", "INT4", "FLOAT32", "int8", 192, 8, 320),  # 15 values of four bits
]


@pytest.mark.parametrize(("data", "weights", "result", "arithmetic", "read", "held", "written"), WIDTHS)
def test_bytes_are_as_wide_as_the_types(
    tmp_path: Path,
    *,
    data: str,
    weights: str,
    result: str,
    arithmetic: str,
    read: int,
    held: int,
    written: int,
) -> None:
    tensors = [T(CONV[0].shape, data), T(CONV[1].shape, weights, held=True), T(CONV[2].shape, result)]
    path = tflite(tmp_path / "m.tflite", tensors, [("CONV_2D", [0, 1], [2])], [0], [2])
    (operator,) = cost.of_file(path).operators
    assert (operator.read_bytes, operator.weight_bytes, operator.written_bytes) == (read, held, written)
    assert (operator.arithmetic, operator.parameters, operator.macs) == (arithmetic, 15, 4 * 4 * 5 * 3)


def test_what_is_done_on_loading_is_no_part_of_an_inference(tmp_path: Path) -> None:
    """Weights held in float16 behind a DEQUANTIZE, as ``--precision fp16`` writes them."""
    tensors = [CONV[0], T((5, 1, 1, 3), "FLOAT16", held=True), T((5, 1, 1, 3)), CONV[2]]
    ops = [("DEQUANTIZE", [1], [2]), ("CONV_2D", [0, 2], [3])]
    found = cost.of_file(tflite(tmp_path / "m.tflite", tensors, ops, [0], [3]))
    unpack, conv = found.operators
    assert (unpack.moved_bytes, unpack.parameters, unpack.intensity) == (0, 15, None)
    assert (conv.weight_bytes, conv.parameters, conv.arithmetic) == (60, 0, "float32")
    assert (found.parameters, found.unpacked_bytes, found.bytes_moved) == (15, 60, 192 + 60 + 320)
    assert found.peak_activation_bytes == 192 + 320  # the float32 weights are no activations


def test_shared_weights_and_views(tmp_path: Path) -> None:
    """Weights of two operators are parameters once and read twice; another shape moves nothing."""
    square = T((3, 1, 1, 3), held=True)
    tensors = [CONV[0], square, T((1, 4, 4, 3)), T((1, 4, 4, 3)), T((16, 3)), T((2,), "INT32", held=True)]
    ops = [("CONV_2D", [0, 1], [2]), ("CONV_2D", [2, 1], [3]), ("RESHAPE", [3, 5], [4])]
    found = cost.of_file(tflite(tmp_path / "m.tflite", tensors, ops, [0], [4]))
    assert [o.parameters for o in found.operators] == [9, 0, 0]
    assert [o.weight_bytes for o in found.operators] == [36, 36, 0]
    assert [o.moved_bytes for o in found.operators] == [192 + 36 + 192, 192 + 36 + 192, 0]
    assert found.bytes_moved == 840


def test_bodies_of_control_flow_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    tensors = [T((1,), "INT32"), T((1, 4)), T((1, 4))]
    path = tflite(tmp_path / "m.tflite", tensors, [("IF", [0, 1], [2])], [0, 1], [2], bodies=2)
    found = cost.of_file(path)
    assert (found.uncounted, found.left_out) == (("IF",), ("2 subgraphs that the first one calls",))


def test_an_open_shape_is_one_clear_error(tmp_path: Path) -> None:
    tensors = [T((1, 1, 4, 3), signature=(-1, -1, 4, 3)), T((1, 1, 4, 3))]
    path = tflite(tmp_path / "m.tflite", tensors, [("RELU", [0], [1])], [0], [1])
    with pytest.raises(FootsegError, match=r"leaves the shape of net/t0;x open.*one fixed input size"):
        cost.of_file(path)
    batch = [T((1, 4, 4, 3), signature=(-1, 4, 4, 3)), T((1, 4, 4, 3))]  # an open batch is one image
    path = tflite(tmp_path / "m.tflite", batch, [("RELU", [0], [1])], [0], [1])
    assert cost.of_file(path).bytes_moved == 2 * 192


def test_the_summary_is_what_a_line_of_results_has(tmp_path: Path) -> None:
    found = cost.of_file(tflite(tmp_path / "m.tflite", CONV, [("CONV_2D", [0, 1], [2])], [0], [2]))
    assert found.summary() == {
        "parameters": 15,
        "macs": 240,
        "flops": 480,
        "flops_tf_benchmark": 480,
        "uncounted": [],
        "peak_activation_bytes": 512,
        "bytes_moved": 572,
    }


def test_broken_tflite_is_one_clear_error(tmp_path: Path) -> None:
    whole = one(tmp_path / "m.tflite", *TFLITE_CASES[0][:3]).read_bytes()
    messages = []
    for end in range(8, len(whole) // 2, 4):
        cut = tmp_path / "cut.tflite"
        cut.write_bytes(whole[:end])
        with pytest.raises(FootsegError, match=r"cut\.tflite is damaged .*export it again") as error:
            cost.of_file(cut)
        messages.append(str(error.value))
    assert messages
    (tmp_path / "text.tflite").write_text("not a model at all")
    with pytest.raises(FootsegError, match=r"not a \.tflite file"):
        cost.of_file(tmp_path / "text.tflite")
    with pytest.raises(FootsegError, match="neither"):
        cost.of_file(tmp_path / "m.keras")
    with pytest.raises(FootsegError, match="no such file"):
        cost.of_file(tmp_path / "none.tflite")


def onnx_model(
    path: Path, op: str, shape: tuple[Any, ...], weights: tuple[int, ...], **attributes: Any
) -> Path:
    """An operator with weights and a ReLU behind it."""
    nodes = [(op, ["x", "w"], ["y"], attributes), ("Relu", ["y"], ["z"], {})]
    return onnx_file(path, nodes, {"x": shape}, {"w": ("FLOAT", weights)}, ["z"])


@pytest.mark.parametrize(
    ("op", "shape", "weights", "attributes", "macs", "in_benchmark"),
    [
        ("Conv", (1, 3, 8, 8), (8, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}, 4 * 4 * 8 * 27, True),
        ("Conv", (1, 6, 4, 4), (6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}, 4 * 4 * 6 * 9, False),
        ("ConvTranspose", (1, 5, 2, 2), (5, 7, 3, 3), {"strides": [2, 2]}, 2 * 2 * 5 * 9 * 7, False),
        ("Gemm", (1, 10), (4, 10), {"transB": 1}, 40, True),
        ("MatMul", (3, 5), (5, 7), {}, 3 * 5 * 7, True),
    ],
)
def test_onnx_operator_by_hand(
    tmp_path: Path,
    *,
    op: str,
    shape: tuple[int, ...],
    weights: tuple[int, ...],
    attributes: dict[str, Any],
    macs: int,
    in_benchmark: bool,
) -> None:
    found = cost.of_file(onnx_model(tmp_path / "m.onnx", op, shape, weights, **attributes))
    assert (found.macs, found.flops_tf_benchmark) == (macs, 2 * macs if in_benchmark else 0)
    assert found.uncounted == ("Relu",)
    first, relu = found.operators
    result = 4 * math.prod(first.output_shape)
    assert (first.read_bytes, first.weight_bytes) == (4 * math.prod(shape), 4 * math.prod(weights))
    assert first.written_bytes == relu.read_bytes == relu.written_bytes == result
    assert (first.arithmetic, relu.arithmetic, relu.intensity) == ("float32", "", 0)
    # At the ReLU its input and both ends of the graph live.
    assert found.live_bytes == 4 * math.prod(shape) + 2 * result


def quantize(source: str, to: str) -> tuple[str, list[str], list[str], dict[str, Any]]:
    return ("QuantizeLinear", [source, "scale", "zero"], [to], {})


def dequantize(source: str, to: str) -> tuple[str, list[str], list[str], dict[str, Any]]:
    return ("DequantizeLinear", [source, "scale", "zero"], [to], {})


QDQ = {"scale": ("FLOAT", ()), "zero": ("INT8", ()), "w": ("INT8", (5, 3, 1, 1))}


def test_onnx_between_dequantize_and_quantize_is_in_integers(tmp_path: Path) -> None:
    nodes = [
        quantize("x", "xq"), dequantize("xq", "xd"), dequantize("w", "wd"),
        ("Conv", ["xd", "wd"], ["y"], {}), quantize("y", "yq"), dequantize("yq", "z"),
    ]  # fmt: skip
    found = cost.of_file(onnx_file(tmp_path / "m.onnx", nodes, {"x": (1, 3, 4, 4)}, QDQ, ["z"]))
    conv = found.operators[3]
    assert (conv.arithmetic, conv.parameters, conv.macs) == ("int8", 15, 240)
    assert (conv.read_bytes, conv.weight_bytes, conv.written_bytes) == (48, 15, 80)
    # Of the five others the first and the last are left: pixels in (192 and a scale to 48), logits out.
    assert [o.moved_bytes for o in found.operators] == [192 + 5 + 48, 0, 0, 143, 0, 80 + 5 + 320]
    assert found.parameters == 15


def test_onnx_integer_weights_of_a_float_operator_are_unpacked_on_loading(tmp_path: Path) -> None:
    nodes = [dequantize("w", "wd"), ("Conv", ["x", "wd"], ["y"], {})]
    found = cost.of_file(onnx_file(tmp_path / "m.onnx", nodes, {"x": (1, 3, 4, 4)}, QDQ, ["y"]))
    unpack, conv = found.operators
    assert (unpack.moved_bytes, unpack.parameters, found.unpacked_bytes) == (0, 15, 60)
    assert (conv.arithmetic, conv.weight_bytes, conv.moved_bytes) == ("float32", 60, 192 + 60 + 320)


def test_onnx_integer_operators_by_hand(tmp_path: Path) -> None:
    """QLinearConv and MatMulInteger: scales and zero points are no parameters."""
    scales = ["scale", "zero"]
    nodes = [
        quantize("x", "xq"),
        ("QLinearConv", ["xq", *scales, "w", *scales, *scales], ["yq"], {}),
        ("MatMulInteger", ["yq", "m"], ["z"], {}),
    ]
    weights = {**QDQ, "m": ("INT8", (4, 7))}
    found = cost.of_file(onnx_file(tmp_path / "m.onnx", nodes, {"x": (1, 3, 4, 4)}, weights, ["z"]))
    assert [o.macs for o in found.operators] == [0, 240, 5 * 4 * 4 * 7]
    assert [o.parameters for o in found.operators] == [0, 15, 28]
    assert [o.arithmetic for o in found.operators] == ["", "int8", "int8"]
    assert found.operators[2].moved_bytes == 80 + 28 + 4 * 140


def test_onnx_shapes_put_together_move_nothing(tmp_path: Path) -> None:
    nodes = [
        ("Relu", ["x"], ["y"], {}), ("Shape", ["y"], ["s"], {}),
        ("Concat", ["s", "one"], ["t"], {"axis": 0}), ("Reshape", ["y", "t"], ["z"], {}),
    ]  # fmt: skip
    path = onnx_file(tmp_path / "m.onnx", nodes, {"x": (1, 8)}, {"one": ("INT64", (1,))}, ["z"])
    found = cost.of_file(path)
    assert [o.moved_bytes for o in found.operators] == [64, 0, 0, 0]
    assert found.parameters == 0


def test_onnx_graphs_inside_of_operators_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    import onnx

    make, floats = onnx.helper, onnx.TensorProto.FLOAT
    result = [make.make_tensor_value_info("b", floats, (1, 4))]
    body = make.make_graph([make.make_node("Abs", ["x"], ["b"])], "body", [], result)
    nodes = [
        ("ReduceMax", ["x"], ["m"], {"keepdims": 0}),
        ("Greater", ["m", "zero"], ["c"], {}),
        ("If", ["c"], ["z"], {"then_branch": body, "else_branch": body}),
    ]
    path = onnx_file(tmp_path / "m.onnx", nodes, {"x": (1, 4)}, {"zero": ("FLOAT", ())}, ["z"])
    assert cost.of_file(path).left_out == ("2 graphs inside of operators",)


def test_files_and_keras_agree_on_the_work(tiny_run: Path, tiny_artifacts: dict[str, Path]) -> None:
    """Export folds normalisation away and keeps every MAC; int8 .tflite has one more for each value that is
    thinned out."""
    keras = pytest.importorskip("keras")
    layers = cost.cost_of_keras(keras.models.load_model(tiny_run / "model.keras", compile=False))
    operators = read(tiny_artifacts["int8"]).operators
    thinned = sum(math.prod(operator.shape) for operator in operators if operator.name.endswith("/thinned"))
    assert thinned == (4 * 4 * 16) + (2 * 2 * 32) + (1 * 1 * 64)  # before three projections, a quarter each
    expected = dict.fromkeys(tiny_artifacts, layers.macs) | {"int8": layers.macs + thinned}
    found = {recipe: cost.of_file(path) for recipe, path in tiny_artifacts.items()}
    assert {recipe: one.macs for recipe, one in found.items()} == expected
    for recipe, kind in (("onnx", "float32"), ("onnx fp16", "float16"), ("onnx int8", "int8")):
        assert {o.arithmetic for o in found[recipe].operators if o.macs} == {kind}
        assert found[recipe].parameters == found["onnx"].parameters


def test_onnx_unknown_operators_leave_bytes_unknown(tmp_path: Path) -> None:
    """No inference goes through an operator of somebody's own; the MACs before it still count."""
    conv = ("Conv", ["x", "w"], ["y"], {})
    own = ("Mine", ["y"], ["z"], {"domain": "mine"})
    path = onnx_file(
        tmp_path / "m.onnx", [conv, own], {"x": (1, 3, 4, 4)}, {"w": ("FLOAT", (5, 3, 1, 1))}, ["z"]
    )
    found = cost.of_file(path)
    assert (found.macs, found.uncounted) == (240, ("Mine",))
    assert (found.bytes_moved, found.peak_activation_bytes, found.intensity) == (None, None, None)
    assert found.operators[0].moved_bytes == 192 + 60 + 320


def test_open_or_broken_onnx_is_one_clear_error(tmp_path: Path) -> None:
    path = onnx_model(tmp_path / "m.onnx", "Conv", (1, 3, "height", 8), (8, 3, 3, 3))
    with pytest.raises(FootsegError, match="open"):
        cost.of_file(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FootsegError, match="export it again"):
        cost.of_file(path)


def test_keras_layers_by_hand() -> None:
    keras = pytest.importorskip("keras")
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, 2, padding="same")(image)  # 4*4*8*27 = 3456
    x = layers.SeparableConv2D(4, 3, padding="same")(x)  # 4*4*8*9 = 1152 and 4*4*8*4 = 512
    x = layers.DepthwiseConv2D(3, padding="same")(x)  # 4*4*4*9 = 576
    x = layers.Conv2DTranspose(2, 2, 2)(x)  # 4*4*4*4*2 = 512
    x = layers.ReLU()(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(3)(x))  # 8*8*2*3 = 384
    found = cost.cost_of_keras(model)
    assert found.macs == 3456 + 1152 + 512 + 576 + 512 + 384
    assert found.flops_tf_benchmark == 2 * (3456 + 512 + 384)
    assert found.uncounted == ("Flatten", "ReLU")
    assert found.parameters == model.count_params() == sum(o.parameters for o in found.operators)


def test_keras_refuses_what_it_cannot_count() -> None:
    keras = pytest.importorskip("keras")
    image = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="open shape"):
        cost.cost_of_keras(keras.Model(image, keras.layers.Conv2D(8, 3)(image)))
    image, shared = keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 3, padding="same", name="twice")
    with pytest.raises(ValueError, match="twice is used 2 times"):
        cost.cost_of_keras(keras.Model(image, shared(shared(image))))


def test_fast_linknet_of_the_thesis() -> None:
    """0.310, 0.377 and 0.188 G at 256x256 and two classes; the digits beyond are our own count, by layer."""
    pytest.importorskip("keras")
    from footseg.networks import build

    found = cost.cost_of_keras(build("fast_linknet"))
    assert found.parameters == 1_810_818
    assert (found.macs, found.flops, found.flops_tf_benchmark) == (188_452_864, 376_905_728, 309_854_208)
