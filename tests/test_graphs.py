"""What the readers of files give, and that a damaged file is one clear error."""

import random
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from footseg.errors import FootsegError
from footseg.graphs import onnx, tflite
from footseg.graphs.graph import Quantization, leading_to
from tests.small_graphs import T, onnx_file, packed
from tests.small_graphs import tflite as tflite_file

TENSORS = [T((1, 4, 4, 3), "INT8"), T((5, 1, 1, 3), "INT8", held=True), T((1, 4, 4, 5), "INT8"), T((1, 2))]


def a_file(path: Path) -> Path:
    ops = [("CONV_2D", [0, 1, -1], [2]), ("ADD", [2, 2], [3])]
    return tflite_file(path, TENSORS, ops, [0], [3])


def test_a_tflite_as_a_graph(tmp_path: Path) -> None:
    graph = tflite.read(a_file(tmp_path / "m.tflite"))
    conv, add = graph.operators
    assert (conv.op, conv.name, conv.shape) == ("CONV_2D", "net/t2;x", (1, 4, 4, 5))
    assert (conv.inputs, conv.reads, conv.outputs) == ((0, 1, None), (0, 1), (2,))
    assert (conv.code, conv.version, conv.options) == (schema.BuiltinOperator.CONV_2D, 1, {})
    assert add.options["fusedActivationFunction"] == 0
    assert (graph.inputs, graph.outputs) == ((0,), (3,))
    weights = graph.tensors[1]
    assert (weights.kind, weights.bits, weights.stored, weights.bytes) == ("int8", 8, 15, 15)
    assert weights.quantization == Quantization((1.0,), (0,), 0)
    assert weights.data is not None
    assert bytes(weights.data) == bytes(15)
    assert (graph.tensors[3].data, graph.tensors[3].quantization, graph.tensors[3].bytes) == (None, None, 8)
    assert [graph.gives_float(operator) for operator in graph.operators] == [False, True]


def test_weights_behind_the_flatbuffer(tmp_path: Path) -> None:
    """As ai-edge-quantizer writes large files: buffers of an offset and a size."""
    model = schema.ModelT.InitFromPackedBuf(a_file(tmp_path / "m.tflite").read_bytes())
    values = np.arange(15, dtype=np.int8)
    buffer = model.buffers[model.subgraphs[0].tensors[1].buffer]
    buffer.data, buffer.offset, buffer.size = None, 4096, len(values)
    path = tmp_path / "large.tflite"
    path.write_bytes(packed(model).ljust(4096, b"\0") + values.tobytes())
    weights = tflite.read(path).tensors[1]
    assert weights.data is not None
    assert (bytes(weights.data), weights.stored) == (values.tobytes(), 15)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FootsegError, match=r"large\.tflite is damaged .*4111 of 4110.*export it again"):
        tflite.read(path)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_one_clear_error_or_another_graph(tmp_path: Path, seed: int) -> None:
    whole = bytearray(a_file(tmp_path / "m.tflite").read_bytes())
    draw, path = random.Random(seed), tmp_path / "damaged.tflite"
    refused = 0
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(3):
            data[draw.randrange(8, len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            tflite.read(path)
        except FootsegError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert refused > 10  # a half of them, about


def test_an_onnx_as_a_graph(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    nodes = [("Conv", ["x", "w"], ["y"], {"strides": [2, 2]}), ("Clip", ["y", "", "top"], ["z"], {})]
    weights = {"w": ("FLOAT", (5, 3, 1, 1)), "top": ("FLOAT", ())}
    graph = onnx.read(onnx_file(tmp_path / "m.onnx", nodes, {"x": (1, 3, 4, 4)}, weights, ["z"]))
    conv, clip = graph.operators
    assert (conv.op, conv.name, conv.shape, conv.version) == ("Conv", "y", (1, 5, 2, 2), 17)
    assert (conv.options, conv.code) == ({"strides": [2, 2]}, None)
    assert (clip.inputs, clip.reads) == (("y", None, "top"), ("y", "top"))
    assert (graph.inputs, graph.outputs) == (("x",), ("z",))
    assert (graph.tensors["w"].stored, graph.tensors["y"].stored, graph.tensors["y"].bytes) == (60, None, 80)


def test_what_leads_to_a_tensor(tmp_path: Path) -> None:
    """0 -> 1 -> 2 -> 4 and 0 -> 3 -> 4."""
    ops = [("ABS", [0], [1]), ("ABS", [1], [2]), ("ABS", [0], [3]), ("ADD", [2, 3], [4])]
    path = tflite_file(tmp_path / "m.tflite", [T((1, 4))] * 5, ops, [0], [4])
    operators = tflite.read(path).operators
    assert leading_to(operators, [4]) == {0, 1, 2, 3}
    assert leading_to(operators, [2]) == {0, 1}
    assert leading_to(operators, [4], given=[1]) == {1, 2, 3}
