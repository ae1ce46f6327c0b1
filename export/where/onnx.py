"""What each client makes of an ``.onnx``, computed from the file."""

from collections.abc import Sequence
from pathlib import Path

from footseg.clients import COMPUTED, NOT, RUNS, UNKNOWN, Standing
from footseg.errors import require
from footseg.export.where.facts import shown
from footseg.graphs import onnx
from footseg.graphs.graph import Graph

# Opset: the first ONNX Runtime that has it, by the matrix in its documentation (reference/compatibility).
RELEASES = {
    12: "1.3.0", 13: "1.6.0", 14: "1.8.0", 15: "1.10.0", 16: "1.11.0", 17: "1.12.0", 18: "1.14.0",
    19: "1.15.0", 20: "1.17.0", 21: "1.18.0", 22: "1.20.0", 23: "1.22.0",
}  # fmt: skip
OLDEST = "1.2.0"  # has opset 11, and all before it from 7 on
# Operators that files of all networks here have, which both ran (ONNX Runtime 1.31, OpenVINO 2026.4.1).
KNOWN = frozenset(
    (
        *("Add", "AveragePool", "Cast", "Ceil", "Clip", "Concat", "Constant", "Conv", "ConvTranspose"),
        *("DepthToSpace", "DequantizeLinear", "MaxPool", "Min", "Mul", "Neg", "PRelu", "Pad"),
        *("QuantizeLinear", "Relu", "Reshape", "Resize", "Split", "Squeeze", "Sub", "Transpose"),
    )
)
TYPES = ("float32", "float16", "uint8")
MOBILE = "its package has a selection of operators, ended with 1.18; onnxruntime-android has all of them"


def standings(path: Path) -> tuple[Standing, ...]:
    """Of each client that takes ``.onnx``, what it makes of a file.

    Raises:
        FootsegError: not an ONNX file.
        MissingExtraError: the package onnx is not installed.
    """
    graph = onnx.read(path)
    opsets, outside = _said(path)
    unknown, opset = _unknown(graph, opsets), opsets.get("", 0)
    since = OLDEST if opset < min(RELEASES) else RELEASES.get(opset, "")
    if outside:
        verdict, why = NOT, f"{outside} weights lie in other files, which are not looked at"
    else:
        verdict, why = (UNKNOWN, f"not seen there yet: {', '.join(unknown)}") if unknown else (RUNS, "")
    return (
        _standing("ort", "ONNX Runtime", verdict, why, since, (f"opset {opset}",)),
        _standing("ort-mobile", "ONNX Runtime Mobile", UNKNOWN, MOBILE),
        _standing("openvino", "OpenVINO", verdict, why),
    )


def _standing(
    client: str, title: str, verdict: str, why: str, since: str = "", asking: Sequence[str] = ()
) -> Standing:
    ran = verdict == RUNS
    return Standing(
        client,
        title,
        verdict,
        UNKNOWN if verdict == UNKNOWN else COMPUTED,
        why,
        since=since if ran else "",
        asking=tuple(asking) if ran and since else (),
    )


def _said(path: Path) -> tuple[dict[str, int], int]:
    """The versions of operators by domain, and how many weights the file keeps elsewhere."""
    model = require("onnx", "onnx").load(path, load_external_data=False)
    outside = sum(tensor.data_location == tensor.EXTERNAL for tensor in model.graph.initializer)
    return {entry.domain: entry.version for entry in model.opset_import}, outside


def _unknown(graph: Graph, opsets: dict[str, int]) -> list[str]:
    """What no rule knows: operators, types of values, an opset."""
    kinds = {shown(operator.op) for operator in graph.operators if operator.op not in KNOWN}
    types = {
        tensor.kind
        for operator in graph.operators
        for key in operator.outputs
        if (tensor := graph.tensors[key]).stored is None and not operator.on_loading
        and tensor.kind not in (*TYPES, "unknown")
    }  # fmt: skip
    opset = opsets.get("", 0)
    newer = [f"opset {opset}"] if not 7 <= opset <= max(RELEASES) else []
    return [*sorted(kinds), *sorted(types), *newer]
