"""Other ends of an ``.onnx`` than float32 in, logits out: pixels; probabilities, foreground or a mask."""

from typing import Any

import numpy as np

from footseg.errors import FootsegError
from footseg.export.ends import Asked, check_foreground
from footseg.export.onnx import checked


def with_ends(data: bytes, asked: Asked) -> bytes:
    """An ``.onnx`` that takes float32 and gives float32 logits, with the ends that are ``asked`` for.

    Pixels are cast and divided by 255, which gives the bits of ``footseg.runtime.to_float``. A mask is uint8
    (1, H, W, 1). The input keeps its name, the output is called what it is.

    Raises:
        FootsegError: the file's own ends are others, or it has not two classes for "foreground".
    """
    if not asked.put:
        return data
    import onnx

    proto = onnx.load_from_string(data)
    (image,), (output,) = proto.graph.input, proto.graph.output
    floats = onnx.TensorProto.FLOAT
    if {image.type.tensor_type.elem_type, output.type.tensor_type.elem_type} != {floats}:
        raise FootsegError("ends can be put only to a file that takes float32 and gives float32 logits")
    check_foreground(asked.output, output.type.tensor_type.shape.dim[3].dim_value)
    if asked.input == "uint8":
        _take_pixels(onnx, proto.graph)
    if asked.output != "logits":
        _give(onnx, proto.graph, asked.output)
    return checked(proto)


def _take_pixels(onnx: Any, graph: Any) -> None:
    """Scale uint8 pixels as the network takes them."""
    make, (image,) = onnx.helper.make_node, graph.input
    scaled, cast = f"{image.name}/scaled", f"{image.name}/float32"
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = scaled if name == image.name else name
    white = _constant(onnx, graph, f"{image.name}/white", np.float32(255))
    graph.node.insert(0, make("Cast", [image.name], [cast], name=cast, to=onnx.TensorProto.FLOAT))
    graph.node.insert(1, make("Div", [cast, white], [scaled], name=scaled))
    image.type.tensor_type.elem_type = onnx.TensorProto.UINT8


def _give(onnx: Any, graph: Any, name: str) -> None:
    """Put behind the logits what makes of them what is asked for."""
    make, (output,) = onnx.helper.make_node, graph.output
    logits, shape = output.name, output.type.tensor_type.shape
    if name == "probabilities":
        nodes = [make("Softmax", [logits], [name], name=name, axis=3)]
    elif name == "foreground":
        # The sigmoid of the difference of two logits is what softmax gives the second.
        weights = _constant(onnx, graph, "foreground/weights", np.array([[-1], [1]], np.float32))
        nodes = [make("MatMul", [logits, weights], ["difference"], name="difference")]
        nodes.append(make("Sigmoid", ["difference"], [name], name=name))
    else:
        nodes = [make("ArgMax", [logits], ["largest"], name="largest", axis=3, keepdims=1)]
        nodes.append(make("Cast", ["largest"], [name], name=name, to=onnx.TensorProto.UINT8))
        output.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    if name != "probabilities":
        shape.dim[3].dim_value = 1
    graph.node.extend(nodes)
    output.name = name


def _constant(onnx: Any, graph: Any, name: str, value: Any) -> str:
    graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return name
