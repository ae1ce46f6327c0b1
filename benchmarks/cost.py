"""What one inference costs, computed from the file itself and never measured.

One multiply-accumulate (MAC) is one multiplication whose product is added to a sum. Per operator, for
a batch of one, padding counted as if it were data (runtimes differ in whether they skip it):

    convolution              output elements x kh x kw x input channels of a group
    depthwise convolution    output elements x kh x kw
    dense, matrix product    output elements x inner dimension
    transposed convolution   input elements x kh x kw x output channels: each input value is
                             multiplied once with the whole kernel of its channel. Counting from the
                             output side would multiply by the stride squared the work that no
                             kernel does, for most taps of a strided one fall between the inputs.

Three figures come of it, because published ones follow three rules and a figure means nothing without
its rule: ``macs``; ``flops`` = 2 x MACs; ``flops_tf_benchmark``, what TensorFlow's benchmark_model
printed with --show_flops (and the thesis quotes): 2 x MACs of ordinary convolutions and matrix products
only, neither transposed nor depthwise convolutions.

All else (activations, pooling, resizing, additions, normalisation) is not counted but named.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footseg.errors import FootsegError, require

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]


@dataclass(frozen=True)
class OperatorCost:
    """One operator of the graph: its index in execution order, its name in the file's own words."""

    index: int
    op: str
    output_shape: Shape
    macs: int
    parameters: int


@dataclass(frozen=True)
class Cost:
    """Cost of one inference.

    ``parameters`` are the values stored in the file; a network's normalisation is folded into its
    convolutions on export, so a file has fewer than the Keras model. ``uncounted`` names the operators
    that add nothing to the MACs.
    """

    parameters: int
    macs: int
    flops: int
    flops_tf_benchmark: int
    operators: tuple[OperatorCost, ...]
    uncounted: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """The totals without the operators, for a line of results."""
        return {
            "parameters": self.parameters,
            "macs": self.macs,
            "flops": self.flops,
            "flops_tf_benchmark": self.flops_tf_benchmark,
            "uncounted": list(self.uncounted),
        }


@dataclass(frozen=True)
class _Counted:
    """An operator's MACs and whether TensorFlow's benchmark rule counts it; None: no rule for it."""

    macs: int | None
    in_tf_benchmark: bool = False


def of_file(path: Path) -> Cost:
    """Cost of a .tflite or .onnx file.

    Raises:
        FootsegError: as ``cost_of_tflite`` and ``cost_of_onnx``, or neither of the two suffixes.
    """
    readers = {".tflite": cost_of_tflite, ".onnx": cost_of_onnx}
    if path.suffix not in readers:
        raise FootsegError(f"{path} is neither .tflite nor .onnx: its cost cannot be read")
    return readers[path.suffix](path)


def _total(parameters: int, counted: Iterable[tuple[str, Shape, int, _Counted]]) -> Cost:
    operators, uncounted, benchmark = [], set(), 0
    for index, (op, shape, own, cost) in enumerate(counted):
        operators.append(OperatorCost(index, op, shape, cost.macs or 0, own))
        if cost.macs is None:
            uncounted.add(op)
        if cost.in_tf_benchmark:
            benchmark += 2 * (cost.macs or 0)
    macs = sum(operator.macs for operator in operators)
    return Cost(parameters, macs, 2 * macs, benchmark, tuple(operators), tuple(sorted(uncounted)))


# --- .tflite -------------------------------------------------------------------------------------


def cost_of_tflite(path: Path) -> Cost:
    """Cost of a .tflite file, read from its flatbuffer; nothing is run.

    Only the first subgraph is walked: the others are bodies of control flow, whose number of turns the
    file does not say, and the operator that calls them is named as uncounted.

    Raises:
        FootsegError: not a whole .tflite file, or a tensor whose shape the file leaves open.
    """
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    if not schema.Model.ModelBufferHasIdentifier(data, 0):
        raise FootsegError(f"{path} is not a .tflite file: export it again")
    try:
        return _cost_of_model(path, schema, schema.Model.GetRootAs(data, 0))
    except (struct.error, IndexError, TypeError, AttributeError, ValueError) as error:
        # A flatbuffer has no length or checksum; a cut file shows as an offset that leads outside.
        raise FootsegError(f"{path} is damaged ({error}): export it again") from error


def _cost_of_model(path: Path, schema: Any, model: Any) -> Cost:
    graph = model.Subgraphs(0)
    ops = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}

    def shape(index: int) -> Shape:
        tensor = graph.Tensors(index)
        signature = tensor.ShapeSignatureAsNumpy() if not tensor.ShapeSignatureIsNone() else ()
        if any(side < 0 for side in signature[1:]):
            raise FootsegError(
                f"{path} leaves the shape of {tensor.Name().decode()} open: its cost is not fixed; "
                "export with one fixed input size"
            )
        return tuple(int(side) for side in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()

    def values(index: int) -> int:
        """Number of weights that tensor ``index`` holds: 0 for activations, shapes and indices."""
        tensor = graph.Tensors(index)
        buffer = model.Buffers(tensor.Buffer())
        stored = buffer.DataLength() or buffer.Size()
        quantization = tensor.Quantization()
        quantized = quantization is not None and quantization.ScaleLength() > 0
        is_weight = quantized or "FLOAT" in types[tensor.Type()]
        return math.prod(shape(index)) if stored and is_weight else 0

    def name(operator: Any) -> str:
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Codes below 127 stood in a byte-wide field before version 3a of the schema.
        builtin = ops[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        return builtin if builtin != "CUSTOM" else f"CUSTOM {code.CustomCode().decode()}"

    def walk() -> Iterator[tuple[str, Shape, int, _Counted]]:
        claimed: set[int] = set()
        for position in range(graph.OperatorsLength()):
            operator = graph.Operators(position)
            inputs = [i for i in operator.InputsAsNumpy() if i >= 0] if operator.InputsLength() else []
            own = sum(values(i) for i in inputs if i not in claimed)
            claimed.update(inputs)
            output = shape(operator.Outputs(0))
            op = name(operator)
            yield op, output, own, _tflite_macs(op, [shape(i) for i in inputs], output)

    operators = list(walk())
    return _total(sum(own for _, _, own, _ in operators), operators)


def _tflite_macs(op: str, inputs: Sequence[Shape], output: Shape) -> _Counted:
    match op:
        case "CONV_2D":  # weights (Cout, kh, kw, Cin of a group)
            return _Counted(math.prod(output) * math.prod(inputs[1][1:]), in_tf_benchmark=True)
        case "DEPTHWISE_CONV_2D":  # weights (1, kh, kw, Cout)
            return _Counted(math.prod(output) * math.prod(inputs[1][1:3]))
        case "TRANSPOSE_CONV":  # output shape, weights (Cout, kh, kw, Cin), input
            return _Counted(math.prod(inputs[2]) * math.prod(inputs[1][:3]))
        case "FULLY_CONNECTED":  # weights (units, inputs)
            return _Counted(math.prod(output) * inputs[1][-1], in_tf_benchmark=True)
        case "BATCH_MATMUL":
            return _Counted(math.prod(inputs[0]) * output[-1], in_tf_benchmark=True)
    return _Counted(None)


# --- .onnx ---------------------------------------------------------------------------------------


def cost_of_onnx(path: Path) -> Cost:
    """Cost of a .onnx file, by ONNX's own shape inference; nothing is run.

    Raises:
        FootsegError: not an ONNX file, or a shape that inference leaves open.
        MissingExtraError: the package onnx is not installed.
    """
    onnx = require("onnx", "onnx")
    try:
        model = onnx.load(path, load_external_data=False)
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # protobuf's own errors share no base class
        raise FootsegError(f"{path} is not a whole .onnx file ({error}): export it again") from error
    if not graph.node:
        raise FootsegError(f"{path} holds no ONNX graph: export it again")

    weights = {tensor.name: tensor for tensor in graph.initializer}
    shapes: dict[str, Shape] = {name: tuple(tensor.dims) for name, tensor in weights.items()}
    for info in (*graph.input, *graph.value_info, *graph.output):
        shapes.setdefault(info.name, tuple(d.dim_value for d in info.type.tensor_type.shape.dim))

    def walk() -> Iterator[tuple[str, Shape, int, _Counted]]:
        claimed: set[str] = set()
        for node in graph.node:
            own = sum(_onnx_values(onnx, weights.get(name)) for name in _weight_inputs(node) - claimed)
            claimed.update(node.input)
            counted = _onnx_macs(node, shapes)
            if counted.macs == 0:
                raise FootsegError(
                    f"{path} leaves a shape around {node.name or node.op_type} open: its cost is not fixed; "
                    "export with one fixed input size"
                )
            yield node.op_type, shapes.get(node.output[0], ()), own, counted

    operators = list(walk())
    return _total(sum(own for _, _, own, _ in operators), operators)


def _weight_inputs(node: "onnx.NodeProto") -> set[str]:
    """Inputs that can be weights: not scales and zero points, not a Resize's region and factors."""
    if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Resize", "Upsample"):
        return {node.input[0]}
    return set(node.input)


def _onnx_values(onnx: Any, tensor: "onnx.TensorProto | None") -> int:
    if tensor is None or tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL):
        return 0  # shapes, axes and flags
    return math.prod(tensor.dims)


def _onnx_macs(node: "onnx.NodeProto", shapes: Mapping[str, Shape]) -> _Counted:
    def size(name: str) -> int:
        return math.prod(shapes[name]) if shapes.get(name) else 0

    match node.op_type:
        case "Conv":  # weights (Cout, Cin of a group, kh, kw)
            weights, group = shapes.get(node.input[1], ()), _attribute(node, "group", 1)
            depthwise = group > 1 and weights[1:2] == (1,)
            return _Counted(size(node.output[0]) * math.prod(weights[1:]), in_tf_benchmark=not depthwise)
        case "ConvTranspose":  # weights (Cin, Cout of a group, kh, kw)
            return _Counted(size(node.input[0]) * math.prod(shapes.get(node.input[1], (0, 0))[1:]))
        case "Gemm":
            inner = shapes.get(node.input[0], (0, 0))[0 if _attribute(node, "transA", 0) else 1]
            return _Counted(size(node.output[0]) * inner, in_tf_benchmark=True)
        case "MatMul":
            return _Counted(size(node.output[0]) * shapes.get(node.input[0], (0,))[-1], in_tf_benchmark=True)
    return _Counted(None)


def _attribute(node: "onnx.NodeProto", name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


# --- Keras ---------------------------------------------------------------------------------------


def cost_of_keras(model: Any) -> Cost:
    """Cost of a built functional or sequential Keras model, read from its layers by their class names.

    ``parameters`` is Keras's own count, moving statistics included.

    Raises:
        ValueError: a shape is open, or a layer is used more than once (its cost is then the file's to
            tell: export the model and ask ``of_file``).
    """
    operators = list(_keras_layers(model))
    return _total(model.count_params(), operators)


def _keras_layers(model: Any) -> Iterator[tuple[str, Shape, int, _Counted]]:
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        if len(layer._inbound_nodes) != 1:  # layer.output would silently be that of the first use
            raise ValueError(
                f"layer {layer.name} is used {len(layer._inbound_nodes)} times in {model.name}: "
                "export the model and count the file instead"
            )
        if hasattr(layer, "layers"):
            yield from _keras_layers(layer)
            continue
        output = tuple(layer.output.shape[1:])
        inputs = tuple(layer.input.shape[1:]) if hasattr(layer.input, "shape") else ()  # several: a list
        if None in output or None in inputs:
            raise ValueError(
                f"layer {layer.name} has the open shape {output}: build with a fixed input_shape"
            )
        own = layer.count_params()
        parts = _keras_macs(layer, kind, inputs, output)
        for position, (op, counted) in enumerate(parts):
            yield op, output, own if position == 0 else 0, counted


def _keras_macs(layer: Any, kind: str, inputs: Shape, output: Shape) -> list[tuple[str, _Counted]]:
    """The operators a layer stands for. A SeparableConv2D is two: TensorFlow's rule counts one of them."""
    match kind:
        case "Conv2D":  # kernel (kh, kw, Cin of a group, Cout)
            macs = math.prod(output) * math.prod(layer.kernel.shape[:3])
            return [(kind, _Counted(macs, in_tf_benchmark=True))]
        case "DepthwiseConv2D":
            return [(kind, _Counted(math.prod(output) * math.prod(layer.kernel_size)))]
        case "SeparableConv2D":  # pointwise kernel (1, 1, Cmid, Cout)
            *_, middle, filters = layer.pointwise_kernel.shape
            positions = math.prod(output) // filters
            return [
                ("SeparableConv2D depthwise", _Counted(positions * middle * math.prod(layer.kernel_size))),
                ("SeparableConv2D pointwise", _Counted(positions * middle * filters, in_tf_benchmark=True)),
            ]
        case "Conv2DTranspose":
            return [(kind, _Counted(math.prod(inputs) * math.prod(layer.kernel_size) * layer.filters))]
        case "Dense":
            return [(kind, _Counted(math.prod(output) * inputs[-1], in_tf_benchmark=True))]
    return [(kind, _Counted(None))]
