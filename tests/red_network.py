"""A network whose masks are known beforehand, red is foot, and data sets drawn for it."""

from pathlib import Path

import numpy as np
import pytest

from footseg.data.images import write_image, write_mask

SIZE = 32


def red_network(path: Path, size: int = SIZE, classes: int = 2, weight: float = 1.0) -> Path:
    """An ONNX file whose logit of class 1 is red - 1/2, of the others 0 (a matrix product of each pixel)."""
    onnx = pytest.importorskip("onnx", reason="the test network is an ONNX file: pip install '.[onnx]'")
    pytest.importorskip("onnxruntime", reason="runs the test network: pip install '.[onnx]'")
    kernel, bias = np.zeros((3, classes), np.float32), np.zeros(classes, np.float32)
    kernel[0, 1], bias[1] = weight, -weight / 2
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["image", "kernel"], ["product"]),
            onnx.helper.make_node("Add", ["product", "bias"], ["mask"]),
        ],
        "red",
        [value("image", onnx.TensorProto.FLOAT, [1, size, size, 3])],
        [value("mask", onnx.TensorProto.FLOAT, [1, size, size, classes])],
        [onnx.numpy_helper.from_array(kernel, "kernel"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def red_image(mask: np.ndarray) -> np.ndarray:
    """What the red network sees as ``mask``: class 1 red, all else blue."""
    return np.where((mask == 1)[..., None], (255, 0, 0), (0, 0, 255)).astype(np.uint8)


def block(top: int, left: int, height: int, width: int, size: int = SIZE) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def write_data(folder: Path, pairs: dict[str, tuple[np.ndarray, np.ndarray]], split: str = "test") -> Path:
    """A data set of (seen by the red network, truth) masks."""
    for name, (seen, truth) in pairs.items():
        write_image(folder / split / "images" / f"{name}.png", red_image(seen))
        write_mask(folder / split / "masks" / f"{name}.png", truth)
    return folder
