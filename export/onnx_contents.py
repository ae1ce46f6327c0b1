"""What an ``.onnx`` holds, what ONNX Runtime makes of it here, and what its accelerators on phones take."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from footseg.errors import require
from footseg.export.conversion import conversion
from footseg.export.tflite import Contents, kinds_of_weights
from footseg.graphs.onnx import read

# Where each operator with weights has them among its inputs.
WEIGHTS = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
QUANTIZE, DEQUANTIZE, CAST = "QuantizeLinear", "DequantizeLinear", "Cast"
# The accelerators by their names, and the lists of what they take in the wheel of ONNX Runtime.
ACCELERATORS = {
    "NNAPI": ("check_nnapi_partitions", ()),
    "Core ML": ("check_coreml_partitions", ("coreml_supported_mlprogram_ops.md",)),
}


def contents(path: Path) -> Contents:
    """The types of weights, and the operators that ONNX Runtime computes in float on this machine.

    Which these are only the runtime knows: it joins operators between DequantizeLinear and QuantizeLinear
    to ones in integers where it has them. Of transposed convolutions it has none.

    Raises:
        FootsegError: ONNX Runtime cannot load the file.
    """
    graph = read(path)
    return Contents(kinds_of_weights(graph, WEIGHTS, DEQUANTIZE), floats(path))


def weights(path: Path) -> list[np.ndarray]:
    """The weights of an fp32 file's convolutions, operator by operator, as they lie there: output channels
    first, of transposed ones second.

    Raises:
        FootsegError: not an ONNX file.
    """
    with conversion(f"reading {path.name}"):
        onnx = require("onnx", "onnx")
        graph = onnx.load(path).graph
        held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        return [held[node.input[1]] for node in graph.node if node.op_type in ("Conv", "ConvTranspose")]


def floats(path: Path) -> dict[str, int]:
    """The operators on float32 or float16, by kind, of the graph that ONNX Runtime runs; casts left out.

    Raises:
        FootsegError: ONNX Runtime cannot load the file.
    """
    graph = _optimized(path).graph
    known = {value.name for value in graph.input}
    found: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type == QUANTIZE:
            continue
        if node.op_type == DEQUANTIZE or known.intersection(node.input):
            known.update(node.output)
            found[node.op_type] += node.op_type not in (DEQUANTIZE, CAST)
    return dict(+found)


def accelerated(path: Path) -> dict[str, dict[str, Any]]:
    """What ONNX Runtime's accelerators on phones take of a file, by its own lists: computed, not run.

    For each: ``operators`` of the file, how many of them are ``taken``, in how many ``parts``, and the kinds
    ``outside``.
    """
    with conversion(f"{path.name} for ONNX Runtime's accelerators"):
        checker = require("onnxruntime.tools.mobile_helpers.usability_checker", "onnx")
        from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo

        model = ModelProtoWithShapeInfo(path).model_with_shape_info
        found = {}
        for name, (check, arguments) in ACCELERATORS.items():
            taken = getattr(checker, check)(model, True, *arguments)
            found[name] = {
                "operators": taken.num_nodes,
                "taken": taken.num_supported_nodes,
                "parts": taken.num_partitions,
                "outside": sorted(kind.rpartition(":")[2] for kind in taken.unsupported_ops),
            }
        return found


def _optimized(path: Path) -> Any:
    """The graph as ONNX Runtime runs it, but for the layouts of this processor."""
    with conversion(f"loading {path.name}"), tempfile.TemporaryDirectory() as folder:
        onnxruntime, onnx = require("onnxruntime", "onnx"), require("onnx", "onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)
