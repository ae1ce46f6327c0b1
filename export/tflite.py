"""SavedModel to fp32 ``.tflite``, and what a ``.tflite`` holds."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import runtime
from footseg.errors import FootsegError
from footseg.export.conversion import conversion

# They work out shapes while the network runs: each splits the XNNPACK partition, and neither static int8 nor
# the GPU delegates of phones take them.
SHAPE_OPERATORS = {"SHAPE", "STRIDED_SLICE", "PACK"}


# Where each operator with weights has them among its inputs.
WEIGHTS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "TRANSPOSE_CONV": 1, "FULLY_CONNECTED": 1}
# They only turn one type into another.
CASTS = {"QUANTIZE", "DEQUANTIZE"}


@dataclass(frozen=True)
class Contents:
    """The number formats in a ``.tflite``, counted in operators by kind.

    ``weights``: type of weights ("float32", "int4", ...) to kind to number; ``floats``: operators that give
    float32, conversions left out.
    """

    weights: dict[str, dict[str, int]]
    floats: dict[str, int]


def convert(saved_model: Path) -> bytes:
    """An fp32 ``.tflite`` of a SavedModel.

    Raises:
        FootsegError: the converter refused the network; what it printed is in the error's notes.
    """
    with conversion("conversion to TFLite"):
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(saved_model))
        return converter.convert()


def check_graph(path: Path) -> None:
    """Make sure that no shape arithmetic is left in a ``.tflite``.

    Raises:
        FootsegError: there is; the operators are named.
    """
    left = [
        f"{node['op_name']} (operator {node['index']})"
        for node in runtime.interpreter(path)._get_ops_details()
        if node["op_name"] in SHAPE_OPERATORS
    ]
    if left:
        raise FootsegError(
            f"{path.name} works out shapes while it runs: {', '.join(left)}; give the network a fixed "
            "input size and layers that know their output's"
        )


def contents(path: Path) -> Contents:
    """What types the weights and results of a ``.tflite`` have; read from the flatbuffer, as the interpreter
    calls 4 bits int8.

    Raises:
        FootsegError: not a whole ``.tflite``.
    """
    runtime.interpreter(path)  # Checks every offset, which the schema's reader does not.
    from ai_edge_litert import schema_py_generated as schema

    def names(kind: Any) -> dict[int, str]:
        return {value: name for name, value in vars(kind).items() if isinstance(value, int)}

    kinds, types = names(schema.BuiltinOperator), names(schema.TensorType)
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    graph = model.subgraphs[0]
    # Codes below 127 stood in a byte-wide field before version 3a of the schema.
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    operators = [(kinds[codes[operator.opcodeIndex]], operator) for operator in graph.operators]
    stored = {op.outputs[0]: op.inputs[0] for kind, op in operators if kind == "DEQUANTIZE"}

    def type_of(tensor: int) -> str:
        return types[graph.tensors[stored.get(tensor, tensor)].type].lower()

    weights: dict[str, Counter[str]] = {}
    for kind, operator in operators:
        if kind in WEIGHTS:
            weights.setdefault(type_of(operator.inputs[WEIGHTS[kind]]), Counter())[kind] += 1
    floats = Counter(
        kind
        for kind, operator in operators
        if kind not in CASTS and graph.tensors[operator.outputs[0]].type == schema.TensorType.FLOAT32
    )
    return Contents({kind: dict(count) for kind, count in weights.items()}, dict(floats))
