"""Half precision, simulated: what a GPU that computes in float16 does to a network.

Weights and every operator's result are rounded to float16 (11 bits, up to 65,504); sums inside of an operator
are still taken in float32, as some GPUs do and others do not. LiteRT's GPU accelerator computes in float32 on
the machines where files are made, so this is the one way to see it there.
"""

from typing import Any

import numpy as np

from footseg.export import plain
from footseg.export.surgery import add_operator, of_kind, tensor_like
from footseg.export.versions import FLOAT16, FLOAT32


def half(data: bytes) -> bytes | None:
    """A ``.tflite`` that rounds to float16 whatever it computes in float32; for looking, not for shipping.

    None for a file most of whose operators compute in integers: those stay as they are, whatever the few
    others do.

    Raises:
        FootsegError: a buffer lies outside of the file.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = plain.unpack(data)
    integers = floats = 0
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            stored = model.buffers[tensor.buffer].data
            if tensor.type == FLOAT32 and stored is not None and len(stored):
                with np.errstate(over="ignore"):  # beyond 65,504 is infinity, as there
                    values = np.frombuffer(bytes(stored), np.float32).astype(np.float16).astype(np.float32)
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(values.tobytes(), np.uint8)
                tensor.buffer = len(model.buffers)
                model.buffers.append(buffer)
        # What widens stored weights and integer outputs computes nothing.
        widened = {id(operator) for operator in of_kind(model, graph, "DEQUANTIZE")}
        for operator in [operator for operator in graph.operators if id(operator) not in widened]:
            in_float = any(graph.tensors[number].type == FLOAT32 for number in operator.outputs)
            floats, integers = floats + in_float, integers + (not in_float)
            operator.outputs = [
                _rounded(model, graph, operator, number) if graph.tensors[number].type == FLOAT32 else number
                for number in operator.outputs
            ]
    return plain.pack(model) if floats > integers else None


def _rounded(model: Any, graph: Any, operator: Any, number: int) -> int:
    """Let a tensor be the rounded value of a new one, which is returned."""
    from ai_edge_litert import schema_py_generated as schema

    exact, short = tensor_like(graph, number, b"/exact"), tensor_like(graph, number, b"/half")
    graph.tensors[short].type = FLOAT16
    add_operator(model, graph, schema.BuiltinOperator.CAST, [short], [number], after=operator)
    add_operator(model, graph, schema.BuiltinOperator.CAST, [exact], [short], after=operator)
    return exact
