"""Costs worked out by hand on small graphs, and FastLinkNet's, exact, from three kinds of file."""

from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from benchmarks import cost
from footseg.errors import FootsegError

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
]


def tflite(path: Path, op: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> Path:
    """A .tflite of one operator: input 1 is float weights, one-dimensional input 0 an output shape."""
    model = schema.ModelT()
    model.version = 3
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, op)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    graph = schema.SubGraphT()
    empty = schema.BufferT()
    model.buffers, graph.tensors = [empty], []
    for index, shape in enumerate([*inputs, output]):
        tensor = schema.TensorT()
        tensor.shape, tensor.name = list(shape), f"t{index}".encode()
        is_shape = len(shape) == 1
        tensor.type = schema.TensorType.INT32 if is_shape else schema.TensorType.FLOAT32
        if index == 1 or is_shape:
            buffer = schema.BufferT()
            buffer.data = [0] * 16
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = list(range(len(inputs))), [len(inputs)]
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [len(inputs)]
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


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
    found = cost.cost_of_tflite(tflite(tmp_path / "m.tflite", op, inputs, output))
    assert (found.macs, found.flops) == (macs, 2 * macs)
    assert found.flops_tf_benchmark == (2 * macs if in_benchmark else 0)
    assert found.uncounted == ()
    weights = inputs[1]
    assert found.operators == (cost.OperatorCost(0, op, output, macs, found.parameters),)
    expected = 1
    for side in weights:
        expected *= side
    assert found.parameters == expected  # the int32 output shape of TRANSPOSE_CONV is no parameter


def test_tflite_names_what_it_does_not_count(tmp_path: Path) -> None:
    found = cost.cost_of_tflite(
        tflite(tmp_path / "m.tflite", "ADD", [(1, 2, 2, 3), (1, 1, 1, 3)], (1, 2, 2, 3))
    )
    assert (found.macs, found.uncounted, found.parameters) == (0, ("ADD",), 3)


def test_broken_tflite_is_one_clear_error(tmp_path: Path) -> None:
    whole = tflite(tmp_path / "m.tflite", *TFLITE_CASES[0][:3]).read_bytes()
    messages = []
    for end in range(8, len(whole) // 2, 4):
        cut = tmp_path / "cut.tflite"
        cut.write_bytes(whole[:end])
        with pytest.raises(FootsegError, match=r"cut\.tflite is damaged .*export it again") as error:
            cost.cost_of_tflite(cut)
        messages.append(str(error.value))
    assert messages
    (tmp_path / "text.tflite").write_text("not a model at all")
    with pytest.raises(FootsegError, match=r"not a \.tflite file"):
        cost.of_file(tmp_path / "text.tflite")
    with pytest.raises(FootsegError, match="neither"):
        cost.of_file(tmp_path / "m.keras")


def onnx_model(
    path: Path, op: str, shape: tuple[Any, ...], weights: tuple[int, ...], **attributes: Any
) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    size = 1
    for side in weights:
        size *= side
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"], **attributes), helper.make_node("Relu", ["y"], ["z"])],
        "g",
        [helper.make_tensor_value_info("x", floats, shape)],
        [helper.make_tensor_value_info("z", floats, None)],
        [helper.make_tensor("w", floats, weights, [0.0] * size)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


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


def test_open_or_broken_onnx_is_one_clear_error(tmp_path: Path) -> None:
    path = onnx_model(tmp_path / "m.onnx", "Conv", (1, 3, "height", 8), (8, 3, 3, 3))
    with pytest.raises(FootsegError, match="open"):
        cost.cost_of_onnx(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FootsegError, match="export it again"):
        cost.cost_of_onnx(path)


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
