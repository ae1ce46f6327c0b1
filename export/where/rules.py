"""What stands against an operator on a client: a row each, with who says so. To add one is to add a row.

``KNOWN`` are the operators that files with them were seen to run with; of others nothing is promised. Seen
means: by ``footseg.export.clients``, ai-edge-litert 2.3.0 (GPU: WebGPU on SwiftShader), OpenVINO 2026.4.1,
files of all networks here in all precisions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from footseg.clients import NOT, UNKNOWN, WRONG
from footseg.export.portable import paddings
from footseg.graphs.graph import Graph, Operator

# Of the schema's padding: as much as makes the output as large as the input, over the stride.
SAME = 0
# How a rule tells an operator.
Test = Callable[[Operator, Graph], bool]


@dataclass(frozen=True)
class Rule:
    """Operators of some ``kinds`` (all, where none is named) for which ``test`` holds, on a ``client``.

    ``verdict`` is what comes of a file with one of them, ``why`` goes behind "5 TRANSPOSE_CONV: " and the
    ``source`` says what it rests on.
    """

    client: str
    kinds: tuple[str, ...]
    test: Test
    verdict: str
    why: str
    source: str

    def holds(self, client: str, operator: Operator, graph: Graph) -> bool:
        """Whether it speaks of this operator on this client."""
        named = client == self.client and (not self.kinds or operator.op in self.kinds)
        return named and self.test(operator, graph)


def beyond(version: int) -> Test:
    """Whether an operator has a higher version."""
    return lambda operator, graph: operator.version > version


# The highest versions that the GPU takes: asked with files of higher ones, which it then names in its log.
HIGHEST: Mapping[str, int] = {
    "AVERAGE_POOL_2D": 2, "CONV_2D": 6, "DEPTHWISE_CONV_2D": 6, "LOGISTIC": 2, "MAX_POOL_2D": 2, "RELU": 2,
    "RELU6": 2, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 3, "SUB": 2, "TANH": 2,
}  # fmt: skip


def _newer(operator: Operator, graph: Graph) -> bool:
    return operator.version > HIGHEST.get(operator.op, operator.version)


def _always(operator: Operator, graph: Graph) -> bool:
    return True


def _type(operator: Operator, graph: Graph, place: int) -> str:
    """The type of an input, "" where there is none."""
    key = operator.inputs[place] if place < len(operator.inputs) else None
    return "" if key is None else graph.tensors[key].kind


def _activations(operator: Operator, graph: Graph) -> set[str]:
    """The types of all that an operator reads and writes that is no constant."""
    keys = (*operator.reads, *operator.outputs)
    return {graph.tensors[key].kind for key in keys if graph.tensors[key].stored is None}


def _in_int16(operator: Operator, graph: Graph) -> bool:
    return "int16" in _activations(operator, graph)


def _of_five_axes(operator: Operator, graph: Graph) -> bool:
    keys = (*operator.reads, *operator.outputs)
    return any(len(graph.tensors[key].shape or ()) > 4 for key in keys)


def _strided_projection(operator: Operator, graph: Graph) -> bool:
    """An int8 1x1 convolution with a stride."""
    kernel = graph.tensors[operator.inputs[1]].shape or ()
    strides = (operator.options.get("strideH"), operator.options.get("strideW"))
    return _type(operator, graph, 0) == "int8" and kernel[1:3] == (1, 1) and strides != (1, 1)


def _misplaced(operator: Operator, graph: Graph) -> bool:
    """A transposed convolution whose padding GPUs begin at another place."""
    sides, kernel = ((graph.tensors[operator.reads[place]].shape or ())[1:3] for place in (2, 1))
    strides = (operator.options.get("strideH", 1), operator.options.get("strideW", 1))
    begins, taken = paddings(sides, kernel, strides)
    return operator.options.get("padding") == SAME and begins != taken


def _stretched(operator: Operator, graph: Graph) -> bool:
    """An int8 sum or product of two maps of different shapes, none of them a constant."""
    tensors = [graph.tensors[key] for key in operator.reads[:2]]
    made = all(tensor.stored is None for tensor in tensors)
    return made and tensors[0].kind == "int8" and len({tensor.shape for tensor in tensors}) > 1


def _padded_channels(operator: Operator, graph: Graph) -> bool:
    """The largest of channels that do not fill the fours that GPUs keep them in."""
    return (graph.tensors[operator.reads[0]].shape or (0,))[-1] % 4 != 0


def _fused(operator: Operator, graph: Graph) -> bool:
    return bool(operator.options.get("fusedActivationFunction"))


def _hybrid(operator: Operator, graph: Graph) -> bool:
    """Float values meet int8 weights."""
    return _type(operator, graph, 1) == "int8" and _type(operator, graph, 2) == "float32"


def _in_int4(operator: Operator, graph: Graph) -> bool:
    return any(graph.tensors[key].kind == "int4" for key in operator.reads)


GPU, OLDER, OPENVINO = "gpu", "tf213", "openvino"
MODEL_BUILDER = "LiteRT, ml_drift_delegate/tflite/model_builder.cc"
RULES = (
    Rule(
        GPU, ("TRANSPOSE_CONV",), beyond(3), NOT,
        "above version 3, which a fused activation makes it", "seen, and " + MODEL_BUILDER,
    ),
    Rule(
        GPU, ("DEQUANTIZE",), beyond(3), NOT,
        "above version 3, which scales by channel make it", "seen, and " + MODEL_BUILDER,
    ),
    Rule(GPU, (), _newer, NOT, "in a version above those that it has", "seen"),
    Rule(GPU, (), _in_int16, NOT, "in int16, which it does not compute in", "seen, and " + MODEL_BUILDER),
    Rule(GPU, (), _of_five_axes, NOT, "of more than four axes", MODEL_BUILDER),
    Rule(
        GPU, ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "GATHER_ND", "SHAPE", "WHILE", "IF"), _always, NOT,
        "an operator that it does not have", MODEL_BUILDER,
    ),
    Rule(
        GPU, ("CONV_2D",), _strided_projection, WRONG,
        "int8 1x1 with a stride, as if there were none", "docs/faults/litert_gpu_strided_projection.md",
    ),
    Rule(
        GPU, ("TRANSPOSE_CONV",), _misplaced, WRONG,
        "of maps that the stride does not divide, with padding begun at another place",
        "docs/faults/litert_gpu_transposed_odd.md",
    ),
    Rule(
        GPU, ("ADD",), _stretched, WRONG, "of int8 maps of different shapes, wrongly",
        "docs/faults/litert_gpu_sum_of_shapes.md",
    ),
    Rule(
        GPU, ("SUB", "MUL"), _stretched, UNKNOWN, "of int8 maps of different shapes: not tried, of ADD wrong",
        "seen of ADD",
    ),
    Rule(
        GPU, ("ARG_MAX",), _padded_channels, WRONG,
        "over channels that it fills up to fours with zeros, which may win", "seen",
    ),
    Rule(
        OPENVINO, ("TRANSPOSE_CONV",), _fused, WRONG, "it drops the fused activation", "seen",
    ),
    Rule(OPENVINO, ("RELU_N1_TO_1",), _always, NOT, "an operator that it does not have", "seen"),
    Rule(OPENVINO, (), _in_int4, NOT, "in int4, which it does not read", "seen"),
    Rule(
        OLDER, ("TRANSPOSE_CONV",), _hybrid, NOT, "of float values with int8 weights", "seen",
    ),
)  # fmt: skip

FLOAT = ("float32", "float16")
CODES = (*FLOAT, "int8", "uint8")
# Kind of operator: the types of values, constants aside, that it was seen to run right with.
_SEEN: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("ADD", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D"), CODES),
    **dict.fromkeys(("DEQUANTIZE", "MAX_POOL_2D", "MUL", "PAD", "QUANTIZE", "RESHAPE"), CODES),
    **dict.fromkeys(("RESIZE_BILINEAR", "SLICE", "SUB", "TRANSPOSE_CONV"), CODES),
    **dict.fromkeys(("AVERAGE_POOL_2D", "DEPTH_TO_SPACE", "LOGISTIC", "PRELU", "RELU"), FLOAT),
    **dict.fromkeys(
        ("CEIL", "DIV", "MEAN", "MINIMUM", "RELU_N1_TO_1", "RSQRT", "SPLIT", "SQUARED_DIFFERENCE"), FLOAT
    ),
}
# Clients of which it is not enough that nothing stands against a file.
KNOWN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    GPU: _SEEN,
    OPENVINO: {kind: (*types, "int16") for kind, types in _SEEN.items()} | {"ARG_MAX": ("float32", "int32")},
}


def against(client: str, operator: Operator, graph: Graph) -> Rule | None:
    """The first rule that speaks against an operator on a client."""
    return next((rule for rule in RULES if rule.holds(client, operator, graph)), None)


def known(client: str, operator: Operator, graph: Graph) -> bool:
    """Whether a client was seen to run such an operator; of those whose operators versions tell, all."""
    if client not in KNOWN:
        return True
    return _activations(operator, graph) <= set(KNOWN[client].get(operator.op, ()))
