"""A ``.tflite`` as a graph, read from its flatbuffer; nothing is run."""

import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from footseg.benchmarks.cost.graph import Graph, Macs, Operator, Shape, Tensor, settled
from footseg.errors import FootsegError

# Where an operator that multiplies has its data and its weights among its inputs.
DATA_AND_WEIGHTS = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
    "FULLY_CONNECTED": (0, 1),
    "BATCH_MATMUL": (0, 1),
}


def read(path: Path) -> Graph:
    """The first subgraph: the others are bodies of control flow, whose number of turns no file says.

    Raises:
        FootsegError: not a whole .tflite file, or a tensor whose shape the file leaves open.
    """
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    if not schema.Model.ModelBufferHasIdentifier(data, 0):
        raise FootsegError(f"{path} is not a .tflite file: export it again")
    try:
        return _Reader(path, schema, schema.Model.GetRootAs(data, 0)).graph()
    except (struct.error, IndexError, TypeError, AttributeError, ValueError, KeyError) as error:
        # A flatbuffer has no length or checksum; a cut file shows as an offset that leads outside.
        raise FootsegError(f"{path} is damaged ({error}): export it again") from error


class _Reader:
    """The flatbuffer's accessors, with the names of its enumerations."""

    def __init__(self, path: Path, schema: Any, model: Any) -> None:
        self.path, self.model, self.body = path, model, model.Subgraphs(0)
        self.ops = _names(schema.BuiltinOperator)
        self.types = _names(schema.TensorType)

    def graph(self) -> Graph:
        body = self.body
        tensors: dict[Any, Tensor] = {i: self.tensor(i) for i in range(body.TensorsLength())}
        operators = [self.operator(body.Operators(i), tensors) for i in range(body.OperatorsLength())]
        others = self.model.SubgraphsLength() - 1
        return Graph(
            tensors,
            settled(operators, lambda key: tensors[key].stored is not None),
            _indices(body.InputsAsNumpy, body.InputsLength),
            _indices(body.OutputsAsNumpy, body.OutputsLength),
            variables=tuple(i for i in tensors if body.Tensors(i).IsVariable()),
            left_out=(f"{others} subgraphs that the first one calls",) if others > 0 else (),
        )

    def tensor(self, index: int) -> Tensor:
        tensor = self.body.Tensors(index)
        kind = self.types[tensor.Type()]
        shape = self.shape(tensor)
        buffer = self.model.Buffers(tensor.Buffer())
        stored = buffer.DataLength() or buffer.Size()
        quantization = tensor.Quantization()
        quantized = quantization is not None and quantization.ScaleLength() > 0
        weight = stored and (quantized or "FLOAT" in kind)
        return Tensor(shape, _bits(kind), kind.lower(), stored or None, math.prod(shape) if weight else 0)

    def shape(self, tensor: Any) -> Shape:
        signature = tensor.ShapeSignatureAsNumpy() if not tensor.ShapeSignatureIsNone() else ()
        if any(side < 0 for side in signature[1:]):
            raise FootsegError(
                f"{self.path} leaves the shape of {tensor.Name().decode()} open: its cost is not fixed; "
                "export with one fixed input size"
            )
        return tuple(int(side) for side in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()

    def operator(self, operator: Any, tensors: dict[Any, Tensor]) -> Operator:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        # Codes below 127 stood in a byte-wide field before version 3a of the schema.
        op = self.ops[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        inputs = _indices(operator.InputsAsNumpy, operator.InputsLength)
        outputs = _indices(operator.OutputsAsNumpy, operator.OutputsLength)
        shape = tensors[outputs[0]].shape or ()
        name = self.body.Tensors(outputs[0]).Name()
        return Operator(
            op if op != "CUSTOM" else f"CUSTOM {code.CustomCode().decode()}",
            name.decode() if name else "",
            shape,
            inputs,
            outputs,
            _macs(op, [tensors[i].shape or () for i in inputs], shape),
            _arithmetic(op, [tensors[i].kind for i in inputs]),
        )


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _indices(values: Any, length: Any) -> tuple[int, ...]:
    """The tensors of a vector; -1 stands for an optional one that is not there."""
    return tuple(int(i) for i in values() if i >= 0) if length() else ()


def _bits(kind: str) -> int:
    """Bits of an element by the name of its type, which ends in them; strings and resources have none."""
    width = re.match(r"[A-Z]+(\d+)", kind)
    return 8 if kind == "BOOL" else int(width[1]) if width else 0


def _arithmetic(op: str, kinds: Sequence[str]) -> str:
    """What an operator multiplies in: that of its data, but int8 where floats meet integer weights.

    Such hybrid operators quantize each image's activations on the way in. Weights behind a DEQUANTIZE are
    floats here, as they are when the runtime multiplies.
    """
    if op not in DATA_AND_WEIGHTS:
        return ""
    data, weights = (kinds[position] for position in DATA_AND_WEIGHTS[op])
    if "float" in data and "int" in weights:
        return "int8"
    return "int8" if data == "uint8" else data


def _macs(op: str, inputs: Sequence[Shape], output: Shape) -> Macs:
    match op:
        case "CONV_2D":  # weights (Cout, kh, kw, Cin of a group)
            return Macs(math.prod(output) * math.prod(inputs[1][1:]), in_tf_benchmark=True)
        case "DEPTHWISE_CONV_2D":  # weights (1, kh, kw, Cout)
            return Macs(math.prod(output) * math.prod(inputs[1][1:3]))
        case "TRANSPOSE_CONV":  # output shape, weights (Cout, kh, kw, Cin), input
            return Macs(math.prod(inputs[2]) * math.prod(inputs[1][:3]))
        case "FULLY_CONNECTED":  # weights (units, inputs)
            return Macs(math.prod(output) * inputs[1][-1], in_tf_benchmark=True)
        case "BATCH_MATMUL":  # the left one may be transposed, or one for all matrices of the right
            inner = math.prod(inputs[0][-2:]) // output[-2]
            return Macs(math.prod(output) * inner, in_tf_benchmark=True)
    return Macs(None)
