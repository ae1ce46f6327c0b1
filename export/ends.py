"""What an app puts into a file and what it gets out: pixels in, masks out, where the app wants them so.

A file as the converter writes it takes float32 in [0, 1] and gives logits. Each other end is a few operators
more, put into the graph in front of and behind the network, of kinds that XNNPACK and GPUs run. What they
cost: ``benchmarks/experiments/ends.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footseg import runtime
from footseg.description import Description
from footseg.errors import FootsegError, check_known
from footseg.export import metadata, plain
from footseg.export.precisions import INTEGER_ENDS, IO
from footseg.export.surgery import add_constant, add_operator, of_kind, tensor_like
from footseg.export.versions import FLOAT32, INT32, UINT8
from footseg.graphs.ends import OUTPUTS

# The scale of pixels: 1/255 in 16 bits, so that a pixel of 8 bits times it is exact in float32, and so is 255
# times it. Divided by that, a pixel is what footseg.runtime.to_float makes of it, to the last bit. Scaled by
# 1/255 itself, 126 of the 256 are a bit off; averages of pixels that lie on the edge between two codes of an
# int8 file then fall to the other side: a FastLinkNet had another class in 0.19 % of the pixels.
SCALE = float(np.float32(round(2**23 / 255) / 2**23))
# How far probabilities may be off: XNNPACK's LOGISTIC and SOFTMAX were within 4e-6 of numpy's.
CLOSE = 2e-5
# Logits that are nearer to each other, in their standard deviations, are one: the difference is rounding's.
# Differences are taken before logits are enlarged, and are then rounded otherwise: of 7.5 million pixels of
# an int8 FastLinkNet 170 became another class, all of them with logits within 4e-8.
TIE = 1e-6


@dataclass(frozen=True)
class Asked:
    """The ends that a file is to have: what it takes, a type of ``IO``, and what it gives, of ``OUTPUTS``.

    Raises:
        ValueError: an unknown one.
    """

    input: str = "float32"
    output: str = "logits"

    def __post_init__(self) -> None:
        check_known("unknown io", self.input, IO)
        check_known("unknown output", self.output, OUTPUTS)

    @property
    def put(self) -> bool:
        """Whether operators are put to what the converter and the quantizer write."""
        return self.input == "uint8" or self.output != "logits"

    @property
    def integer_input(self) -> bool:
        """Whether the quantizer leaves integer codes at the input."""
        return self.input == "int8"

    @property
    def integer_output(self) -> bool:
        """Whether it leaves them at the output: logits are codes beside an input of codes."""
        return self.integer_input and self.output == "logits"

    def of(self, precision: str) -> "Asked":
        """The ends of a file in a precision: those without integer ends take float32 in place of codes."""
        able = precision in INTEGER_ENDS or not self.integer_input
        return self if able else Asked("float32", self.output)


def check_foreground(output: str, classes: int) -> None:
    """Refuse one channel for any number of classes but two.

    Raises:
        FootsegError: it is asked for, and there are not two.
    """
    if output == "foreground" and classes != 2:
        raise FootsegError(
            f"foreground is one channel, which says all of two classes, and this network has {classes}: ask "
            "for probabilities or mask"
        )


def finished(data: bytes, asked: Asked, said: Description) -> bytes:
    """A ``.tflite`` as it leaves: with the ends asked for (see ``with_ends``), and what it says of itself."""
    return metadata.describe(with_ends(data, asked), said)


def with_ends(data: bytes, asked: Asked) -> bytes:
    """A ``.tflite`` that gives float32 logits, with the ends that are ``asked`` for.

    For pixels it must take float32; codes at the input are the quantizer's work and left as they are.

    Raises:
        FootsegError: the file's own ends are others, or it has not two classes for "foreground".
    """
    if not asked.put:
        return data
    pixels = asked.input == "uint8"
    model = plain.unpack(data)
    (graph,) = model.subgraphs
    image, logits = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    if logits.type != FLOAT32 or (pixels and image.type != FLOAT32):
        raise FootsegError("ends can be put only to a file that takes float32 and gives float32 logits")
    classes = logits.shape[-1]
    check_foreground(asked.output, classes)
    if pixels:
        _take_pixels(model, graph)
    if asked.output == "probabilities":
        _give_probabilities(model, graph, classes)
    elif asked.output == "foreground":
        _give_foreground(model, graph)
    elif asked.output == "mask":
        _give_mask(model, graph, classes)
    for signature in model.signatureDefs or ():
        (entry,) = signature.outputs
        entry.name = asked.output.encode()
    return plain.pack(model)


def _take_pixels(model: Any, graph: Any) -> None:
    """Make pixels floats in [0, 1]: DEQUANTIZE and DIV; see ``SCALE``."""
    from ai_edge_litert import schema_py_generated as schema

    (old,) = graph.inputs
    first = graph.operators[0]
    pixels, scaled = tensor_like(graph, old, b"_pixels"), tensor_like(graph, old, b"_scaled")
    tensor = graph.tensors[pixels]
    tensor.type = UINT8
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [SCALE], [0]
    white = add_constant(model, graph, b"white", np.array([255 * SCALE], np.float32), FLOAT32)
    add_operator(model, graph, schema.BuiltinOperator.DEQUANTIZE, [pixels], [scaled], before=first)
    options = schema.DivOptionsT()
    add_operator(
        model, graph, schema.BuiltinOperator.DIV, [scaled, white], [old], options=options, before=first
    )
    graph.inputs = [pixels]
    _rename(model, "inputs", old, pixels)


def _give_probabilities(model: Any, graph: Any, classes: int) -> None:
    """Softmax; of two classes the sigmoids of their differences, which are the same numbers.

    XNNPACK's softmax over two channels takes 0.7 of an int8 FastLinkNet's time.
    """
    from ai_edge_litert import schema_py_generated as schema

    if classes == 2:
        _mix(model, graph, np.array([[1.0, -1.0], [-1.0, 1.0]], np.float32))
        _append(model, graph, schema.BuiltinOperator.LOGISTIC, b"_probabilities")
        return
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    _append(model, graph, schema.BuiltinOperator.SOFTMAX, b"_probabilities", options)


def _give_foreground(model: Any, graph: Any) -> None:
    """The sigmoid of the difference of two logits: what softmax gives the second of them."""
    from ai_edge_litert import schema_py_generated as schema

    _mix(model, graph, np.array([[-1.0, 1.0]], np.float32))
    _append(model, graph, schema.BuiltinOperator.LOGISTIC, b"_foreground")


def _give_mask(model: Any, graph: Any, classes: int) -> None:
    """The number of the largest logit, of equal ones the first, as float32: the only type that all apps take.

    Of two classes their difference between 0 and 1, rounded up, which XNNPACK and GPUs run. Of more ARG_MAX,
    which runs outside of XNNPACK and on no GPU.
    """
    from ai_edge_litert import schema_py_generated as schema

    if classes == 2:
        _mix(model, graph, np.array([[-1.0, 1.0]], np.float32))
        one = add_constant(model, graph, b"one", np.ones(1, np.float32), FLOAT32)
        _append(model, graph, schema.BuiltinOperator.RELU, b"_higher")
        _append(model, graph, schema.BuiltinOperator.MINIMUM, b"_cut", schema.MaximumMinimumOptionsT(), one)
        _append(model, graph, schema.BuiltinOperator.CEIL, b"_mask")
        return
    (old,) = graph.outputs
    axis = add_constant(model, graph, b"axis_of_classes", np.array([3], np.int32), INT32)
    shape = [*graph.tensors[old].shape[:3], 1]
    whole, numbers, new = (tensor_like(graph, old, suffix) for suffix in (b"_whole", b"_numbers", b"_mask"))
    graph.tensors[whole].type = INT32
    graph.tensors[whole].shape = graph.tensors[numbers].shape = shape[:3]
    graph.tensors[new].shape = shape
    options, cast, view = schema.ArgMaxOptionsT(), schema.CastOptionsT(), schema.ReshapeOptionsT()
    options.outputType, cast.inDataType, cast.outDataType, view.newShape = INT32, INT32, FLOAT32, shape
    sides = add_constant(model, graph, b"shape_of_mask", np.array(shape, np.int32), INT32)
    add_operator(model, graph, schema.BuiltinOperator.ARG_MAX, [old, axis], [whole], options=options)
    add_operator(model, graph, schema.BuiltinOperator.CAST, [whole], [numbers], options=cast)
    add_operator(model, graph, schema.BuiltinOperator.RESHAPE, [numbers, sides], [new], options=view)
    _ends_with(model, graph, new)


def _mix(model: Any, graph: Any, weights: np.ndarray) -> None:
    """Make the output's channels sums of what they were, by ``weights`` (new, old).

    A 1x1 convolution does it, in front of those last operators that treat each channel alike: the fewer
    values there, the less work. An int8 FastLinkNet's mask then takes 1.02 of its logits' time, 1.10 behind
    them; a TipToe's 1.06 and 1.15.
    """
    from ai_edge_litert import schema_py_generated as schema

    moved, place = _alike(model, graph)
    channels = len(weights)
    for operator in moved:
        tensor = graph.tensors[operator.outputs[0]]
        tensor.shape, tensor.shapeSignature = [*tensor.shape[:3], channels], None
        if hasattr(operator.builtinOptions, "blockSize"):
            # Channels are in blocks, pixel by pixel.
            blocks = operator.builtinOptions.blockSize**2
            weights = np.kron(np.eye(blocks, dtype=np.float32), weights)
            channels = len(weights)
    name = graph.tensors[place].name
    kernel = add_constant(model, graph, name + b"_weights", weights[:, None, None, :], FLOAT32)
    bias = add_constant(model, graph, name + b"_zeros", np.zeros(channels, np.float32), FLOAT32)
    new = tensor_like(graph, place, b"_differences")
    graph.tensors[new].shape = [*graph.tensors[place].shape[:3], channels]
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    kind = schema.BuiltinOperator.CONV_2D
    before = moved[-1] if moved else None
    add_operator(model, graph, kind, [place, kernel, bias], [new], options=options, before=before)
    if before is None:
        _ends_with(model, graph, new)
    else:
        before.inputs = [new, *before.inputs[1:]]


def _alike(model: Any, graph: Any) -> tuple[Sequence[Any], int]:
    """The last operators, last first, that move or weigh all channels alike, and the tensor before them."""
    kinds = ("RESIZE_BILINEAR", "DEPTH_TO_SPACE")
    makers = {operator.outputs[0]: operator for kind in kinds for operator in of_kind(model, graph, kind)}
    (tensor,) = graph.outputs
    found: list[Any] = []
    while operator := makers.get(tensor):
        read = operator.inputs[0]
        users = [other for other in graph.operators if read in other.inputs]
        if graph.tensors[read].type != FLOAT32 or len(users) > 1:
            break
        found.append(operator)
        tensor = read
    return found, tensor


def _append(model: Any, graph: Any, kind: int, suffix: bytes, options: Any = None, *constants: int) -> None:
    """Put an operator behind the output, of which and of ``constants`` it makes one of the same shape."""
    (old,) = graph.outputs
    new = tensor_like(graph, old, suffix)
    add_operator(model, graph, kind, [old, *constants], [new], options=options)
    _ends_with(model, graph, new)


def _ends_with(model: Any, graph: Any, new: int) -> None:
    """Make a tensor the output."""
    (old,) = graph.outputs
    graph.outputs = [new]
    _rename(model, "outputs", old, new)


def _rename(model: Any, side: str, old: int, new: int) -> None:
    """Let the signature name the new tensor."""
    for signature in model.signatureDefs or ():
        for entry in getattr(signature, side):
            if entry.tensorIndex == old:
                entry.tensorIndex = new


def expected(logits: np.ndarray, output: str) -> np.ndarray:
    """What a file with an ``output`` gives where one with logits gives these, float32 (N, H, W, classes)."""
    if output == "logits":
        return logits
    if output == "mask":
        return logits.argmax(axis=-1)[..., None].astype(np.float32)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities[..., 1:] if output == "foreground" else probabilities


def hold(path: Path, base: Path, images: np.ndarray, threads: int = 1) -> dict[str, float]:
    """Hold a file with other ends against the one with logits that it was made of, on uint8 ``images``.

    Returns:
        What a sidecar keeps: "largest_difference" of its values to those expected, and the shares
        "pixels_equal" in class and "ties" (pixels whose two largest logits are one, see ``TIE``).

    Raises:
        FootsegError: they are not the same but for rounding.
    """
    segmenter, logits = runtime.load(path, threads), runtime.load(base, threads).logits(images)
    output = segmenter.ends.output.name
    values = segmenter.values(images)
    equal = segmenter.logits(images).argmax(axis=-1) == logits.argmax(axis=-1)
    largest = np.sort(logits, axis=-1)
    ties = largest[..., -1] - largest[..., -2] <= TIE * float(logits.std())
    away = np.abs(values - expected(logits, output))
    if output == "mask":
        away = away * ~ties[..., None]
    limit = {"logits": 0.0, "mask": 0.0}.get(output, CLOSE)
    if not (float(away.max()) <= limit and (equal | ties).all()):
        raise FootsegError(
            f"{path.name} does not give the {output} that its logits say: {away.max():.2g} apart "
            f"at most (limit {limit:g}), {(equal | ties).mean():.4%} of pixels equal: take logits, and "
            "report what network it is"
        )
    return {
        "largest_difference": float(away.max()),
        "pixels_equal": float(equal.mean()),
        "ties": float(ties.mean()),
    }
