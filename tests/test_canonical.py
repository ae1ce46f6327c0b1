"""Every ``.tflite`` that is written is one plain flatbuffer; and what says so notices where it is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from footseg.export import half, plain
from footseg.export.ends import Asked, with_ends
from footseg.graphs.ends import OUTPUTS
from tests.canonical import canonical, faults
from tests.small_graphs import packed


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_export_writes_is_canonical(precision: str, tiny_artifacts: dict[str, Path]) -> None:
    canonical(tiny_artifacts[precision])


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("inputs", ["float32", "uint8"])
def test_files_with_other_ends_are(inputs: str, output: str, tiny_artifacts: dict[str, Path]) -> None:
    canonical(with_ends(tiny_artifacts["fp16"].read_bytes(), Asked(inputs, output)))


def test_a_simulation_of_half_precision_is(tiny_artifacts: dict[str, Path]) -> None:
    simulation = half.half(tiny_artifacts["fp32"].read_bytes())
    assert simulation is not None
    canonical(simulation)


Change = Callable[[Any], None]


def _weights(model: Any) -> Any:
    """The first tensor that holds something."""
    return next(tensor for tensor in model.subgraphs[0].tensors if tensor.buffer)


def _unused_buffer(model: Any) -> None:
    model.buffers.append(schema.BufferT())


def _unused_tensor(model: Any) -> None:
    tensor = schema.TensorT()
    tensor.name, tensor.shape = b"idle", [1]
    model.subgraphs[0].tensors.append(tensor)


def _full_first_buffer(model: Any) -> None:
    model.buffers[0].data = np.zeros(4, np.uint8)


def _data_outside(model: Any) -> None:
    """As ai-edge-quantizer writes files of megabytes."""
    buffer = model.buffers[_weights(model).buffer]
    buffer.offset, buffer.size, buffer.data = 16, len(buffer.data), None


def _one_code(model: Any) -> None:
    """As ai-edge-quantizer writes what it adds: QUANTIZE, whose older code is ADD's then."""
    model.operatorCodes[0].deprecatedBuiltinCode = 0


def _high_version(model: Any) -> None:
    model.operatorCodes[0].version += 1


def _open_shape(model: Any) -> None:
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    tensor.shapeSignature = [-1, *tensor.shape[1:]]


def _cut_weights(model: Any) -> None:
    buffer = model.buffers[_weights(model).buffer]
    buffer.data = buffer.data[:-1]


def _two_of_a_name(model: Any) -> None:
    first, second, *_ = model.subgraphs[0].tensors
    second.name = first.name


def _scales_along_another_side(model: Any) -> None:
    tensors = model.subgraphs[0].tensors
    tensor = next(t for t in tensors if t.quantization and t.quantization.scale is not None
                  and len(t.quantization.scale) > 1 and len(t.shape) == 4)  # fmt: skip
    tensor.quantization.quantizedDimension = 1


def _no_zero_points(model: Any) -> None:
    tensors = model.subgraphs[0].tensors
    tensor = next(t for t in tensors if t.quantization is not None and t.quantization.scale is not None)
    tensor.quantization.zeroPoint = None


def _turned_round(model: Any) -> None:
    model.subgraphs[0].operators = model.subgraphs[0].operators[::-1]


def _strange_signature(model: Any) -> None:
    model.signatureDefs[0].outputs[0].tensorIndex = 1


def _promise(model: Any) -> None:
    plain.set_metadata(model, plain.RUNTIME, b"1.0.0".ljust(plain.RUNTIME_BYTES, b"\0"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_unused_buffer, "nothing uses buffer"),
        (_unused_tensor, "nothing touches the tensors"),
        (_full_first_buffer, "buffer 0 holds something"),
        (_data_outside, "outside of the flatbuffer"),
        (_one_code, "has the codes"),
        (_high_version, "has version"),
        (_open_shape, "has an open shape"),
        (_cut_weights, "bytes"),
        (_two_of_a_name, "not of one tensor alone"),
        (_scales_along_another_side, "scales along 1"),
        (_no_zero_points, "0 zero points"),
        (_turned_round, "before they are written"),
        (_strange_signature, "names other Outputs"),
        (_promise, "min_runtime_version 1.0.0"),
    ],
)
def test_each_fault_is_noticed(change: Change, said: str, tiny_artifacts: dict[str, Path]) -> None:
    model = schema.ModelT.InitFromPackedBuf(tiny_artifacts["int8"].read_bytes())
    change(model)
    assert any(said in fault for fault in faults(packed(model)))


def test_what_nothing_uses_is_left_out(tiny_artifacts: dict[str, Path]) -> None:
    whole = plain.pack(plain.unpack(tiny_artifacts["int8"].read_bytes()))
    model = plain.unpack(whole)
    _unused_tensor(model)
    _unused_buffer(model)
    graph = model.subgraphs[0]
    graph.tensors.insert(0, graph.tensors.pop())
    graph.inputs, graph.outputs = graph.inputs + 1, graph.outputs + 1
    for operator in graph.operators:
        operator.inputs, operator.outputs = operator.inputs + 1, operator.outputs + 1
    for entry in (*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs):
        entry.tensorIndex += 1
    assert plain.pack(model) == whole
