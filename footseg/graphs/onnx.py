"""A ``.onnx`` as a graph, its shapes by ONNX's own inference; nothing is run."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footseg.errors import FootsegError, require
from footseg.graphs.graph import Graph, Key, Operator, Tensor, settled

if TYPE_CHECKING:
    import onnx


def read(path: Path) -> Graph:
    """The main graph: those that If, Loop and Scan carry are left out, and said to be.

    Raises:
        FootsegError: not an ONNX file.
        MissingExtraError: the package onnx is not installed.
    """
    onnx = require("onnx", "onnx")
    try:
        model = onnx.load(path, load_external_data=False)
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        if not graph.node:
            raise ValueError("it holds no ONNX graph")
        return _graph(onnx, model, graph)
    # Protobuf's own errors share no base class; names and types that are nowhere show in any.
    except Exception as error:
        raise FootsegError(f"{path} is not a whole .onnx file ({error}): export it again") from error


def _graph(onnx: Any, model: "onnx.ModelProto", graph: "onnx.GraphProto") -> Graph:
    tensors = _tensors(onnx, graph)
    versions = {opset.domain: opset.version for opset in model.opset_import}
    operators = [_operator(onnx, node, versions.get(node.domain, 1), tensors) for node in graph.node]
    bodies = sum(attribute.type == onnx.AttributeProto.GRAPH for n in graph.node for attribute in n.attribute)
    return Graph(
        tensors,
        settled(operators, tensors),
        tuple(value.name for value in graph.input if tensors[value.name].stored is None),
        tuple(value.name for value in graph.output),
        left_out=(f"{bodies} graphs inside of operators",) if bodies else (),
    )


def check_whole(path: Path) -> None:
    """Make sure that an ``.onnx`` holds its own weights: its size and its hash would be those of a shell.

    What is no whole file is for those who read it.

    Raises:
        FootsegError: they are in a file beside it.
    """
    onnx = require("onnx", "onnx")
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception:  # protobuf's own errors share no base class
        return
    outside = {
        entry.value
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if outside:
        raise FootsegError(
            f"{path} keeps its weights in {', '.join(sorted(outside))} beside it: make it one file, "
            f"onnx.save(onnx.load({str(path)!r}), 'NEW.onnx')"
        )


def _tensors(onnx: Any, graph: "onnx.GraphProto") -> dict[Key, Tensor]:
    """Every tensor that is named; those of which inference says nothing have no shape."""
    held = {tensor.name: tensor for tensor in graph.initializer}
    held |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    names = {name for node in graph.node for name in (*node.input, *node.output) if name}
    names |= {value.name for value in graph.output}
    tensors: dict[Key, Tensor] = {name: Tensor(name, None, 0, "unknown") for name in names}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sides = value.type.tensor_type.shape.dim
        known = value.type.tensor_type.HasField("shape") and all(side.dim_value > 0 for side in sides)
        shape = tuple(side.dim_value for side in sides) if known else None
        tensors[value.name] = Tensor(value.name, shape, *_type(onnx, value.type.tensor_type.elem_type))
    for name, tensor in held.items():
        bits, kind = _type(onnx, tensor.data_type)
        stored = math.ceil(math.prod(tensor.dims) * bits / 8)
        data = memoryview(tensor.raw_data) if tensor.raw_data else None
        tensors[name] = Tensor(name, tuple(tensor.dims), bits, kind, stored, data=data)
    return tensors


def _type(onnx: Any, element: int) -> tuple[int, str]:
    """Bits of an element, and its type's name as NumPy's."""
    name = onnx.TensorProto.DataType.Name(element).lower()
    name = {"float": "float32", "double": "float64", "bool": "bool8"}.get(name, name)
    width = re.search(r"\d+", name)  # the first: float8e4m3fn has 8 bits; strings have none
    return (int(width[0]) if width else 0), name


def _operator(onnx: Any, node: "onnx.NodeProto", version: int, tensors: dict[Key, Tensor]) -> Operator:
    outputs = tuple(name for name in node.output if name)
    return Operator(
        op=node.op_type,
        name=node.name or outputs[0],
        shape=tensors[outputs[0]].shape or (),
        inputs=tuple(name or None for name in node.input),
        outputs=outputs,
        options={found.name: onnx.helper.get_attribute_value(found) for found in node.attribute},
        version=version,
    )
