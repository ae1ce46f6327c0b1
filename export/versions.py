"""Which version of each operator a ``.tflite`` needs, and the oldest TensorFlow Lite that has them all.

An operator's version rises with what it is asked to do: other types, options that came later. Converters
write one number for all operators of a kind, quantizers leave the float file's, and a runtime refuses a file
whose numbers are higher than it knows, or runs what it does not know. The rules are those of TensorFlow's own
``tensorflow/compiler/mlir/lite/tools/versioning``: ``op_version.cc`` (the lowest version) and
``runtime_version.cc`` (the release that brought it), for the operators that segmentation networks have.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from footseg.graphs.tflite import names

# Types of tensors, by their numbers in the schema.
FLOAT32, FLOAT16, INT32, UINT8, INT64, BOOL, INT16, INT8, INT4 = 0, 1, 2, 3, 4, 6, 7, 9, 17


@dataclass(frozen=True)
class Signature:
    """One operator as the rules look at it.

    Types of its inputs (None: not there) and outputs, its options, the scales of its first two inputs and its
    output (0 without one), whether weights have one by channel, ranks of inputs, and whether it is grouped.
    """

    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    options: Any
    scales: tuple[float, ...]
    by_channel: bool
    ranks: tuple[int, ...]
    grouped: bool

    @property
    def first(self) -> int | None:
        """The type of the first input."""
        return self.inputs[0] if self.inputs else None

    def option(self, name: str) -> Any:
        """One of the options; 0 where the operator has none of that name."""
        return getattr(self.options, name, 0)

    @property
    def unusual(self) -> bool:
        """Whether it does what came later and no rule here tells: over four axes, masks of slices, biases.

        Then the version that the converter wrote stays.
        """
        later = ("newAxisMask", "ellipsisMask", "offset", "quantizedBiasType")
        return max(self.ranks, default=0) > 4 or any(map(self.option, later))

    @property
    def hybrid(self) -> bool:
        """Whether float values meet int8 weights, which are quantized as they come."""
        return self.inputs[:2] == (FLOAT32, INT8)


Rule = Callable[[Signature], int]


def of(found: Any, versions: Mapping[Any, int], otherwise: int = 1) -> int:
    """The version that goes with the types found."""
    return versions.get(found, otherwise)


def by_type(versions: Mapping[Any, int]) -> Rule:
    """A rule that looks at the type of the first input alone; 1 for types that it does not name."""
    return lambda use: of(use.first, versions)


def _convolution(use: Signature) -> int:
    if use.grouped:
        return 6
    if use.hybrid:
        return 5 if use.by_channel else 2
    return of(use.inputs[:2], {(INT8, INT8): 3, (INT8, INT4): 7, (INT16, INT16): 4})


def _depthwise(use: Signature) -> int:
    if use.hybrid:
        return 6 if use.by_channel else 4
    dilated = max(use.option("dilationWFactor"), use.option("dilationHFactor")) > 1
    return of(use.inputs[:2], {(INT8, INT8): 3, (INT8, INT4): 7, (INT16, INT16): 5}, 2 if dilated else 1)


def _transposed(use: Signature) -> int:
    if use.option("fusedActivationFunction"):
        return 4
    if len(use.inputs) == 4 and use.inputs[3] is not None:
        return 3
    return 2 if use.inputs[1] == INT8 else 1


def _dense(use: Signature) -> int:
    if use.hybrid and use.by_channel:
        return 12
    if len(use.inputs) == 2:
        return 6
    if use.option("keepNumDims"):
        return 5
    if use.hybrid:
        return 9 if use.option("asymmetricQuantizeInputs") else 3
    return of(use.inputs[:2], {(INT8, INT8): 4, (INT8, INT4): 10, (INT16, INT16): 7})


def _product(use: Signature) -> int:
    """Its version rises where the product of the inputs' scales is not below the output's, too."""
    rescaled = len(use.scales) == 3 and all(use.scales) and use.scales[0] * use.scales[1] >= use.scales[2]
    return of(use.first, {INT16: 4, INT64: 5}, 3 if rescaled else 2 if use.first == INT8 else 1)


def _addition(wide: int) -> Rule:
    """Of a sum or difference; ``wide`` is the version for int16 whose scales are no powers of two."""

    def rule(use: Signature) -> int:
        if use.first == INT16 and not use.option("potScaleInt16"):
            return wide
        return of(use.first, {INT64: 4, INT8: 2})

    return rule


def _resizing(*moving: str) -> Rule:
    """``moving`` are the options that came with version 3."""

    def rule(use: Signature) -> int:
        moved = any(map(use.option, moving))
        return 4 if use.first == INT16 else 3 if moved else 2 if use.first == INT8 else 1

    return rule


def _split(use: Signature) -> int:
    """What is split is the second input: the first is the axis."""
    return of(use.inputs[1], {INT8: 2, INT32: 3, INT16: 4})


def _dequantize(use: Signature) -> int:
    if use.first == INT8:
        return 5 if use.by_channel else 2
    return of(use.first, {INT4: 6, INT16: 3, FLOAT16: 3})


def _cast(use: Signature) -> int:
    types = {use.first, use.outputs[0]}
    return 5 if FLOAT16 in types else 3 if INT8 in types else 1


def _quantize(use: Signature) -> int:
    if INT4 in (use.first, use.outputs[0]):
        return 4
    return 3 if use.by_channel else 2 if use.outputs[0] == INT16 else 1


INT8_2 = by_type({INT8: 2})
WIDER = by_type({INT8: 2, INT16: 3})
WIDEST = by_type({INT8: 2, INT16: 4})
PADDED = by_type({INT8: 2, INT16: 3, BOOL: 5})

# Kind of operator: the rule of its versions, and the release of TensorFlow Lite that brought each of them.
OPERATORS: dict[str, tuple[Rule, tuple[str, ...]]] = {
    "ADD": (_addition(3), ("1.5", "1.14", "2.4", "2.6", "2.13")),
    "ARG_MAX": (INT8_2, ("1.9", "1.14", "2.9")),
    "AVERAGE_POOL_2D": (WIDER, ("1.5", "1.14", "2.3")),
    "BATCH_TO_SPACE_ND": (WIDEST, ("1.6", "1.14", "2.3", "2.12")),
    "CAST": (_cast, ("1.5", "2.7", "2.8", "2.9", "2.12", "2.15")),
    "CEIL": (by_type({}), ("1.14",)),
    "CONCATENATION": (WIDER, ("1.5", "1.14", "2.3", "2.14", "2.21")),
    "CONV_2D": (_convolution, ("1.5", "1.14", "1.14", "2.3", "2.4", "2.9", "2.11", "2.15")),
    "DEPTHWISE_CONV_2D": (_depthwise, ("1.5", "1.12", "1.14", "2.2", "2.3", "2.3", "2.11")),
    "DEPTH_TO_SPACE": (INT8_2, ("2.1", "2.5")),
    "DEQUANTIZE": (_dequantize, ("1.13.1", "1.14", "1.15", "2.2", "2.7", "2.18")),
    "DIV": (by_type({}), ("1.6",)),
    "EQUAL": (by_type({INT8: 2, INT16: 5}), ("1.14", "1.14", "2.3", "2.13", "2.21")),
    "FULLY_CONNECTED": (
        _dense,
        ("1.5", "1.10", "1.14", "1.14", "2.0", "2.1", "2.3", "2.3", "2.3", "2.11", "2.15", "2.17"),
    ),
    "GREATER": (INT8_2, ("1.14", "1.14")),
    "GREATER_EQUAL": (WIDER, ("1.14", "1.14", "2.13")),
    "HARD_SWISH": (by_type({}), ("1.15",)),
    "LEAKY_RELU": (by_type({INT16: 2}), ("1.13.1", "2.3")),
    "LOGISTIC": (WIDER, ("1.14", "1.14", "2.3")),
    "MAXIMUM": (WIDEST, ("1.14", "1.14", "2.3", "2.3")),
    "MAX_POOL_2D": (WIDER, ("1.5", "1.14", "2.3")),
    "MEAN": (WIDER, ("1.6", "1.14", "2.4")),
    "MINIMUM": (WIDEST, ("1.14", "1.14", "2.3", "2.3")),
    "MIRROR_PAD": (WIDER, ("1.13.1", "2.3", "2.12")),
    "MUL": (_product, ("1.5", "1.14", "1.15", "2.3", "2.6", "2.11", "2.13")),
    "PAD": (PADDED, ("1.5", "1.14", "2.4", "2.6", "2.20")),
    "PADV2": (PADDED, ("1.9", "1.14", "2.4", "2.6", "2.20")),
    "PRELU": (by_type({}), ("1.8",)),
    "QUANTIZE": (_quantize, ("1.14", "1.15", "2.7", "2.21")),
    "REDUCE_MAX": (WIDER, ("1.11", "1.14", "2.5")),
    "RELU": (by_type({INT8: 2, UINT8: 2, INT16: 3}), ("1.5", "2.1", "2.5")),
    "RELU6": (WIDER, ("1.5", "1.14", "2.5")),
    "RELU_N1_TO_1": (by_type({}), ("1.5",)),
    "RESHAPE": (by_type({}), ("1.5",)),
    "RESIZE_BILINEAR": (_resizing("halfPixelCenters"), ("1.7", "1.14", "2.2", "2.5")),
    "RESIZE_NEAREST_NEIGHBOR": (
        _resizing("halfPixelCenters", "alignCorners"),
        ("1.13.1", "1.14", "2.3", "2.4"),
    ),
    "SLICE": (WIDEST, ("1.14", "1.14", "1.14", "2.4", "2.5")),
    "SOFTMAX": (WIDER, ("1.5", "1.14", "2.3")),
    "SPACE_TO_BATCH_ND": (WIDEST, ("1.6", "1.14", "2.3", "2.12")),
    "SPACE_TO_DEPTH": (INT8_2, ("1.5", "1.14")),
    "SPLIT": (_split, ("1.5", "1.14", "1.14", "2.3")),
    "STRIDED_SLICE": (INT8_2, ("1.6", "1.14")),
    "SUB": (_addition(5), ("1.6", "1.14", "2.3", "2.4", "2.4")),
    "SUM": (INT8_2, ("1.10", "1.15")),
    "TANH": (WIDER, ("1.14", "1.14", "2.3")),
    "TRANSPOSE": (by_type({INT8: 2, BOOL: 3, INT16: 5}), ("1.6", "1.14", "1.15", "2.3", "2.4")),
    "TRANSPOSE_CONV": (_transposed, ("1.9", "2.2", "2.3", "2.13", "2.15")),
}


def lowest(operator: Any, code: Any, tensors: Sequence[Any]) -> int:
    """The lowest version of one operator (``OperatorT``); for kinds without a rule, the one that it has.

    ``code`` is its entry in the table of kinds, ``tensors`` are the graph's.
    """
    use = _signature(operator, tensors)
    if kind(code) not in OPERATORS or use.unusual:
        return code.version
    return OPERATORS[kind(code)][0](use)


def untold(operator: Any, code: Any, tensors: Sequence[Any]) -> bool:
    """Whether an operator does what came without a version of its own, so that none tells who has it.

    TRANSPOSE_CONV of float values and int8 weights: TensorFlow Lite 2.13 takes version 3 and fails on it.
    """
    inputs = _signature(operator, tensors).inputs
    return kind(code) == "TRANSPOSE_CONV" and inputs[1:3] == (INT8, FLOAT32)


def runtime(codes: Iterable[Any]) -> str | None:
    """The oldest release of TensorFlow Lite, as "2.3.0", that has all of these kinds in these versions.

    None where one of them is not known here: nothing is promised then.
    """
    newest, found = (0, 0, 0), False
    for code in codes:
        releases = OPERATORS[kind(code)][1] if kind(code) in OPERATORS else ()
        if not 1 <= code.version <= len(releases):
            return None
        newest, found = max(newest, numbers(releases[code.version - 1])), True
    return ".".join(map(str, newest)) if found else None


def numbers(release: str) -> tuple[int, int, int]:
    """A release as three numbers: "2.13" is (2, 13, 0)."""
    major, minor, patch = ([int(part) for part in release.split(".")] + [0])[:3]
    return major, minor, patch


def kind(code: Any) -> str:
    """What an entry of the table of kinds is called: "CONV_2D", "CUSTOM"."""
    return _kinds().get(code.builtinCode, f"operator {code.builtinCode}")


@cache
def _kinds() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return names(schema.BuiltinOperator)


def _scale(tensor: Any) -> float:
    scales = None if tensor.quantization is None else tensor.quantization.scale
    return 0.0 if scales is None or not len(scales) else float(scales[0])


def _signature(operator: Any, tensors: Sequence[Any]) -> Signature:
    inputs = [None if number < 0 else tensors[number] for number in operator.inputs]
    weights = inputs[1] if len(inputs) > 1 else inputs[0]
    scales = None if weights is None or weights.quantization is None else weights.quantization.scale
    shapes = [() if tensor is None or tensor.shape is None else tuple(tensor.shape) for tensor in inputs]
    # A convolution whose kernel is thinner than its input works on groups of channels.
    grouped = len(shapes) > 1 and len(shapes[0]) == len(shapes[1]) == 4 and shapes[1][3] != shapes[0][3]
    return Signature(
        inputs=tuple(None if tensor is None else tensor.type for tensor in inputs),
        outputs=tuple(tensors[number].type for number in operator.outputs),
        options=operator.builtinOptions,
        scales=tuple(_scale(tensors[n]) for n in (*operator.inputs[:2], operator.outputs[0]) if n >= 0),
        by_channel=scales is not None and len(scales) > 1,
        ranks=tuple(len(shape) for shape in shapes),
        grouped=grouped,
    )
