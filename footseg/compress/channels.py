"""Which channels of a functional Keras network stand or fall together.

Every channel of every tensor belongs to a class. A convolution makes new ones; an activation passes them on;
an addition ties those that it adds, a concatenation lays them side by side. What is left once the whole graph
was walked are classes whose members can only be removed together (Li et al. 2017, arXiv:1608.08710, section
3.3, for residual blocks; Fang et al. 2023, DepGraph, arXiv:2301.12900, for graphs of any kind). What is not
known here locks the channels that reach it, and says why.

Channels are the last axis. A tensor's channels are an array of class numbers, and may name a class twice: so
flattening or a depthwise multiplier need no rules of their own anywhere else.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from footseg.graphs.keras import Call, calls, functional

Ids = NDArray[np.int64]

INPUT = "the network's input and output"
# Layers and operations of keras.ops that leave each channel in its place.
PASSING = {
    "Abs", "Absolute", "ActivityRegularization", "AlphaDropout", "AveragePooling2D", "BatchNormalization",
    "Ceil", "Clip", "Cropping2D", "Dropout", "ELU", "Elu", "Exp", "Floor", "GaussianDropout",
    "GaussianNoise", "Gelu", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "HardSigmoid", "HardSilu",
    "Identity", "LeakyReLU", "LeakyRelu", "Log", "MaxPooling2D", "Negative", "PReLU", "ReLU", "Relu",
    "Relu6", "Rescaling", "Resize", "Resizing", "Round", "Sigmoid", "Sign", "Silu", "Softplus",
    "SpatialDropout2D", "Sqrt", "Square", "Tanh", "UpSampling2D", "ZeroPadding2D",
}  # fmt: skip
MAKING = {"Conv2D", "Conv2DTranspose", "Dense", "SeparableConv2D"}
MERGING = {"Add", "Average", "Divide", "Maximum", "Minimum", "Multiply", "Subtract", "TrueDivide"}
REDUCING = {"Max", "Mean", "Min", "Sum"}
ACTIVATIONS = {
    "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "linear",
    "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh",
}  # fmt: skip


@dataclass(frozen=True)
class Use:
    """One call of an operation: the classes of each input's channels and of its output's."""

    operation: Any
    inputs: tuple[Ids, ...]
    output: Ids
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]
    makes: bool

    @property
    def name(self) -> str:
        """The operation's, as the network has it."""
        return self.operation.name


@dataclass(frozen=True)
class Channels:
    """The classes 0 to ``count`` - 1 of a network; ``locked`` says of some why they cannot be removed."""

    uses: tuple[Use, ...]
    count: int
    locked: dict[int, str]

    @property
    def makers(self) -> dict[str, Ids]:
        """The operations that make channels, by name, and the classes of their output."""
        return {use.name: use.output for use in self.uses if use.makes}


def channels(model: keras.Model) -> Channels:
    """Walk the graph of a functional model.

    Raises:
        ValueError: a subclassed model, or an open shape between input and output (the layer is named).
    """
    model = functional(model)
    walk = _Walk()
    for call in calls(model):
        walk.visit(call)
    for tensor in model.outputs:
        walk.lock(walk.of[id(tensor)], INPUT)
    return walk.result()


def known(operation: Any) -> str:
    """The class name of one of Keras's own operations; "" for all others, whatever their name."""
    kind = type(operation)
    return kind.__name__ if kind.__module__.startswith("keras.src.") else ""


class _UnknownError(Exception):
    """What an operation does to the channels is not known; the text says what it is."""


class _Walk:
    """Union-find over the channels, as the graph is walked."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.locked: dict[int, str] = {}
        self.of: dict[int, Ids] = {}  # the channels of a Keras tensor, by its id
        self.uses: list[Use] = []
        self.first: dict[str, Use] = {}

    def fresh(self, count: int) -> Ids:
        start = len(self.parents)
        self.parents += range(start, start + count)
        return np.arange(start, start + count)

    def root(self, member: int) -> int:
        while self.parents[member] != member:
            self.parents[member] = member = self.parents[self.parents[member]]
        return member

    def tie(self, one: Ids, other: Ids) -> None:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            self.parents[self.root(b)] = self.root(a)

    def lock(self, ids: Ids, reason: str) -> None:
        for member in ids.tolist():
            self.locked.setdefault(member, reason)

    def visit(self, call: Call) -> None:
        operation = call.operation
        tensors = call.inputs
        inputs = [self.of[id(tensor)] for tensor in tensors]
        widths = [tensor.shape[-1] if len(tensor.shape) > 1 else 1 for tensor in call.outputs]
        try:
            output, makes = self._output(call, inputs)
            if set(widths) != {len(output)}:
                raise _UnknownError(f"gives {widths} channels, not {len(output)}")
        except _UnknownError as unknown:
            reason = _reason(operation, unknown)
            for ids in inputs:
                self.lock(ids, reason)
            outputs = [self.fresh(_fixed(width, operation.name)) for width in widths]
            for ids in outputs:
                self.lock(ids, INPUT if type(operation) is keras.layers.InputLayer else reason)
            makes = known(operation) in MAKING
        else:
            outputs = [output] * len(widths)
        for tensor, ids in zip(call.outputs, outputs, strict=True):
            self.of[id(tensor)] = ids
        use = Use(
            operation,
            tuple(inputs),
            outputs[0],
            tuple(_inner_shape(tensor, operation.name) for tensor in tensors),
            _inner_shape(call.outputs[0], operation.name),
            makes,
        )
        self.uses.append(use)
        if use.name in self.first:  # a layer that is used again has the same weights
            before = self.first[use.name]
            for one, other in zip((*before.inputs, before.output), (*use.inputs, use.output), strict=True):
                self.tie(one, other)
        self.first.setdefault(use.name, use)

    def _output(self, call: Call, inputs: list[Ids]) -> tuple[Ids, bool]:
        """The channels of a call's output, and whether the call makes any of them."""
        operation, kind = call.operation, known(call.operation)
        if not inputs or getattr(operation, "data_format", None) == "channels_first":
            raise _UnknownError("has its channels on another axis")
        rank = len(call.inputs[0].shape)
        if kind in MAKING:
            if getattr(operation, "groups", 1) != 1:
                raise _UnknownError(f"has {operation.groups} groups, whose channels stay together")
            ids = self.fresh(_fixed(call.outputs[0].shape[-1], operation.name))
            try:
                _check_activation(operation)
            except _UnknownError as unknown:  # of its output; what it is given can go
                self.lock(ids, _reason(operation, unknown))
            return ids, True
        if kind == "Pad":
            return self._pad(operation, inputs[0], rank)
        rule = _RULES.get(kind)
        if rule is None:
            raise _UnknownError("does something else with channels than is known here")
        return rule(self, call, inputs, rank), False

    def _pad(self, operation: Any, inputs: Ids, rank: int) -> tuple[Ids, bool]:
        """Channels before and after: new ones, which hold a constant."""
        if len(operation.pad_width) != rank:
            raise _UnknownError("pads axes that are not listed")
        front, back = operation.pad_width[-1]
        if (front or back) and operation.mode != "constant":
            raise _UnknownError(f"pads channels by {operation.mode}")
        return np.concatenate([self.fresh(front), inputs, self.fresh(back)]), bool(front or back)

    def result(self) -> Channels:
        """The classes, numbered by the order in which their first member was made."""
        roots = np.array([self.root(member) for member in range(len(self.parents))], np.int64)
        distinct, numbers = np.unique(roots, return_inverse=True)
        locked: dict[int, str] = {}
        for member, reason in self.locked.items():
            locked.setdefault(int(numbers[member]), reason)
        uses = tuple(
            Use(
                use.operation,
                tuple(numbers[ids] for ids in use.inputs),
                numbers[use.output],
                use.input_shapes,
                use.output_shape,
                use.makes,
            )
            for use in self.uses
        )
        return Channels(uses, len(distinct), locked)


# ---- one rule for each kind of operation: (walk, call, inputs, rank) -> the output's channels


def _pass(walk: _Walk, call: Call, inputs: list[Ids], rank: int) -> Ids:
    operation = call.operation
    _check_activation(operation)
    if len(inputs) != 1 or _arrays(call):
        raise _UnknownError("is given more than one tensor")
    if known(operation) == "BatchNormalization" and operation.axis not in (-1, rank - 1):
        raise _UnknownError(f"normalises axis {operation.axis}, not the channels")
    if known(operation) == "Rescaling" and np.ndim(operation.scale) + np.ndim(operation.offset):
        raise _UnknownError("scales each channel by a number that is no weight")
    return inputs[0]


def _merge(walk: _Walk, call: Call, inputs: list[Ids], rank: int) -> Ids:
    """Tied channel by channel; a single channel is spread over all of them and tied to none."""
    if _arrays(call) or len({len(tensor.shape) for tensor in call.inputs}) != 1:
        raise _UnknownError("merges tensors of several ranks, or a constant")
    widest = max(inputs, key=len)
    for ids in inputs:
        if len(ids) > 1 or len(widest) == 1:
            walk.tie(widest, ids)
    return widest


def _concatenate(walk: _Walk, call: Call, inputs: list[Ids], rank: int) -> Ids:
    if call.operation.axis % rank == rank - 1:
        return np.concatenate(inputs)
    for ids in inputs[1:]:
        walk.tie(inputs[0], ids)
    return inputs[0]


def _other_axes(walk: _Walk, call: Call, inputs: list[Ids], rank: int) -> Ids:
    """Splits and means over other axes than the channels'."""
    axes = call.operation.axis
    listed: Sequence[int] = (axes,) if isinstance(axes, int) else (axes or range(rank))
    if any(axis % rank == rank - 1 for axis in listed):
        raise _UnknownError("works across the channels")
    return inputs[0]


def _depthwise(walk: _Walk, call: Call, inputs: list[Ids], rank: int) -> Ids:
    _check_activation(call.operation)
    return np.repeat(inputs[0], call.operation.depth_multiplier)


def _reshape(walk: _Walk, call: Call, inputs: list[Ids], rank: int) -> Ids:
    """Rows of C channels read as rows of another length: a multiple of C repeats, a divisor ties some."""
    (ids,), width = inputs, call.outputs[0].shape[-1]
    if width and width % len(ids) == 0:
        return np.tile(ids, width // len(ids))
    if width and len(ids) % width == 0:
        walk.tie(np.tile(ids[:width], len(ids) // width), ids)
        return ids[:width]
    raise _UnknownError(f"reads {len(ids)} channels as {width}")


_Rule = Callable[[_Walk, Call, list[Ids], int], Ids]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(PASSING | {"Activation"}, _pass),
    **dict.fromkeys(MERGING, _merge),
    **dict.fromkeys(REDUCING | {"Split"}, _other_axes),
    "Concatenate": _concatenate,
    "DepthwiseConv2D": _depthwise,
    "Flatten": _reshape,
    "Reshape": _reshape,
}


# ---- pieces


def _reason(operation: Any, unknown: _UnknownError) -> str:
    return f"{operation.name} ({type(operation).__name__}) {unknown}"


def _check_activation(operation: Any) -> None:
    """Softmax and its like tell channels apart by all of the others."""
    activation = getattr(operation, "activation", None)
    if activation is None or type(activation).__name__ in PASSING:
        return
    name = getattr(activation, "__name__", type(activation).__name__)
    if name not in ACTIVATIONS:
        raise _UnknownError(f"has the activation {name}, which may work across channels")


def _arrays(call: Call) -> list[Any]:
    """Constants with axes among a call's arguments."""
    found: Iterable[Any] = keras.tree.flatten((call.args, call.kwargs))
    return [x for x in found if not isinstance(x, keras.KerasTensor) and len(getattr(x, "shape", ())) > 0]


def _inner_shape(tensor: Any, name: str) -> tuple[int, ...]:
    """A tensor's shape without its batch."""
    return tuple(_fixed(side, name) for side in tensor.shape[1:])


def _fixed(side: int | None, name: str) -> int:
    if side is None:
        raise ValueError(f"layer {name} has an open shape: build the network with a fixed input_shape")
    return side
