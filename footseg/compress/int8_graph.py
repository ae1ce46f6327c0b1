"""What becomes of a network in int8: which layers are written otherwise, which tensors share a range."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from footseg.compress.fold import CONVOLUTIONS as WEIGHTED
from footseg.compress.fold import affine, foldable
from footseg.graphs.graph import leading_to
from footseg.graphs.keras import Call, calls, users

IMAGE = "image_int8"
# Between the two halves of a PReLU; any slope but 0 and 1 will do, and this is where ENet's begin.
SLOPE = 0.25

# Without a bias, or with one of zeros, the converter leaves a transposed convolution before ReLU in float.
NO_ZERO = 1e-12

# What each kind of operation is in int8, by its class: a layer's or that of keras.ops.
SILENT = {
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    *("GaussianDropout", "GaussianNoise", "Identity"),
}
INTERPOLATES = {"UpSampling2D", "Resizing"}
# They copy, move, or interpolate: what comes out has the scale of what goes in.
MOVES = {
    *SILENT,
    *INTERPOLATES,
    *("Concatenate", "Cropping2D", "ExpandDims", "Flatten", "GetItem", "MaxPooling2D", "Pad"),
    *("Permute", "Reshape", "Split", "Squeeze", "Transpose", "ZeroPadding2D"),
}
# They compute, and XNNPACK has them in int8 (average pooling only as a convolution).
COMPUTES = {
    *("Add", "Subtract", "Multiply", "LeakyReLU", "LeakyRelu"),
    *("AveragePooling2D", "GlobalAveragePooling2D", "Mean"),
}
FIXED = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}
KINDS: Mapping[str, Any] = {
    **dict.fromkeys(MOVES, "moves"),
    **dict.fromkeys(COMPUTES, "computes"),
    **dict.fromkeys(("ReLU", "Relu", "Relu6"), "rectifies"),
    **dict.fromkeys(("Minimum", "Maximum"), "follows"),
    "Sigmoid": FIXED["sigmoid"],
    "Tanh": FIXED["tanh"],
}
ACTIVATIONS: Mapping[str, Any] = {
    "linear": "moves",
    "relu": "rectifies",
    "relu6": "rectifies",
    "leaky_relu": "computes",
    **FIXED,
}
POSITIONS = "Ceil"

NO_FORM = "int8 has no form of {} that XNNPACK runs"
EXACT = "decides where max-unpooling puts its values, which int8 would change at near-ties"


@dataclass(frozen=True)
class Prepared:
    """A network as int8 will compute it, still in float, with the same outputs.

    ``folded`` has the batch normalisation of each convolution that takes one in, whose kernel is still
    without its factor; ``norms`` and ``slopes`` name the BatchNormalization and PReLU layers that a 1x1
    depthwise convolution now computes; ``constant`` names layers whose kernel is never trained.
    """

    model: keras.Model
    folded: Mapping[str, str]
    norms: tuple[str, ...]
    slopes: tuple[str, ...]
    constant: frozenset[str]


@dataclass(frozen=True)
class Outputs:
    """How the output of each operation of a prepared network is rounded, by name.

    ``group`` is the number of the range that an output belongs to; ``observed`` ones set it, others follow
    it. ``fixed`` are known ranges, by group. ``left_out`` says why an operation stays in float.
    """

    group: Mapping[str, int]
    observed: frozenset[str]
    fixed: Mapping[int, tuple[float, float]]
    left_out: Mapping[str, str]


def prepare(model: keras.Model) -> Prepared:
    """Write what int8 cannot run, or XNNPACK not in int8, as what they can. The outputs stay the same.

    - BatchNormalization with no convolution before it, and Rescaling: a 1x1 depthwise convolution.
    - AveragePooling2D without padding: a depthwise convolution.
    - ReLU that no operation before it can take in: that of a 1x1 depthwise convolution that changes nothing.
    - PReLU: LeakyReLU and what is missing, which is a multiple of the negative part in each channel.

    Batch normalisation after a convolution is folded; only the factor is left to be multiplied to the kernel.

    Raises:
        ValueError: not a functional model.
    """
    rewriter = _Rewriter(model)
    copy = keras.models.clone_model(model, clone_function=rewriter.clone, call_function=rewriter.call)
    norms, slopes, constant = rewriter.norms, rewriter.slopes, rewriter.constant
    made = Prepared(copy, rewriter.folded, tuple(norms), tuple(slopes), frozenset(constant))
    _set_weights(made, model)
    return made


class _Rewriter:
    """What ``keras.models.clone_model`` asks for each operation of a model, and what was made otherwise."""

    def __init__(self, model: keras.Model) -> None:
        graph = _Int8Graph.of(model)
        self.folded, self.exact, self.unfused = foldable(model), graph.exact, graph.unfused
        self.norms: list[str] = []
        self.slopes: list[str] = []
        self.constant: list[str] = []
        self._sources = {operation.name: operation for operation in model.operations}
        self._image: Any = None

    def clone(self, operation: Any) -> Any:
        """The operation in its place."""
        config, name = operation.get_config(), operation.name
        if isinstance(operation, layers.Layer):
            config = config | {"dtype": "float32"}
        if name in self.folded.values():
            return layers.Activation("linear", name=name)
        if type(operation) in WEIGHTED:
            fits = config["activation"] in ("linear", "relu", "relu6")
            biased = operation.use_bias or name in self.folded
            return type(operation).from_config(
                config | {"use_bias": biased} | ({} if fits else {"activation": "linear"})
            )
        if type(operation) is layers.BatchNormalization and _is_map(operation):
            self.norms.append(name)
            return _pixelwise(name)
        if type(operation) is layers.Rescaling and name not in self.exact and _is_map(operation):
            self.constant.append(name)
            return _pixelwise(name, trainable=False)
        if name not in self.exact and _pools_like_convolution(operation):
            self.constant.append(name)
            return layers.DepthwiseConv2D(
                operation.pool_size, operation.strides, padding=operation.padding, name=name, trainable=False
            )
        return type(operation).from_config(config)

    def call(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """What the operation in its place gives."""
        args, kwargs = keras.tree.map_structure(self._int8, (args, kwargs))
        name = operation.name
        source = self._sources[name]
        if (
            type(source) is layers.PReLU
            and name not in self.exact
            and _is_map(source)
            and _by_channel(source)
        ):
            self.slopes.append(name)
            return _prelu(args[0], name)
        if name in self.unfused:
            self.constant.append(f"{name}_input")
            return operation(_pixelwise(f"{name}_input", trainable=False)(args[0]))
        # Another layer in its place takes the tensor alone: batch normalisation is called with a mask, too.
        y = operation(*args, **kwargs) if type(operation) is type(source) else operation(args[0])
        if type(source) in WEIGHTED and source.activation is not operation.activation:
            y = layers.Activation(source.get_config()["activation"], name=f"{name}_activation")(y)
        return y

    def _int8(self, x: Any) -> Any:
        """The image is quantized once, whoever takes it."""
        made_by = x._keras_history.operation if isinstance(x, keras.KerasTensor) else None
        if not isinstance(made_by, layers.InputLayer):
            return x
        if self._image is None:
            self._image = layers.Activation("linear", name=IMAGE)(x)
        return self._image


def outputs(prepared: Prepared) -> Outputs:
    """How each output of a prepared network is rounded."""
    graph = _Int8Graph.of(prepared.model)
    groups = _Groups()
    group: dict[str, Any] = {}
    observed: set[str] = set()
    for call in graph.calls:
        name, how = call.operation.name, graph.kinds[id(call)]
        given, made = [id(x) for x in call.inputs], [id(x) for x in call.outputs]
        if name == IMAGE:
            if graph.only_float(call):
                continue
            groups.fix(made[0], (0.0, 1.0))
            group[name] = made[0]
        elif isinstance(how, tuple):
            groups.fix(made[0], how)
            group[name] = made[0]
        elif how == "moves":
            tied = [x for x in given if len(given) == 1 or not groups.is_fixed(x)]
            groups.tie([*tied, *made])
            if len(tied) < len(given) or _interpolates(call.operation):
                group[name] = made[0]
        elif not graph.goes_on_unrounded(call):
            group[name] = made[0]
            observed.add(name)
    numbers = {root: number for number, root in enumerate(dict.fromkeys(map(groups.root, group.values())))}
    return Outputs(
        group={name: numbers[groups.root(tensor)] for name, tensor in group.items()},
        observed=frozenset(observed),
        fixed={numbers[root]: ends for root, ends in groups.fixed.items() if root in numbers},
        left_out=graph.left_out(),
    )


class _Groups:
    """Tensors, by id, that share a range."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}
        self.fixed: dict[int, tuple[float, float]] = {}

    def root(self, tensor: int) -> int:
        while (parent := self.parent.get(tensor, tensor)) != tensor:
            tensor = parent
        return tensor

    def tie(self, tensors: list[int]) -> None:
        first, *others = (self.root(tensor) for tensor in tensors)
        for other in others:
            if self.root(other) != first:
                self.parent[self.root(other)] = first

    def fix(self, tensor: int, ends: tuple[float, float]) -> None:
        self.fixed[self.root(tensor)] = ends

    def is_fixed(self, tensor: int) -> bool:
        return self.root(tensor) in self.fixed


@dataclass(frozen=True)
class _Int8Graph:
    """A functional model's uses of operations, and how each lives in int8.

    A kind is "computes", "moves", "rectifies", "float" or a fixed range; ``unfused`` names the ReLUs that
    nothing before them can take in.
    """

    calls: tuple[Call, ...]
    kinds: Mapping[int, Any]
    users: Mapping[int, list[Call]]
    makers: Mapping[int, Call]
    ends: frozenset[int]
    before: frozenset[int]
    unfused: frozenset[str] = field(default=frozenset())

    @classmethod
    def of(cls, model: keras.Model) -> "_Int8Graph":
        every = tuple(call for call in calls(model) if not call.is_input)
        makers = {id(tensor): call for call in every for tensor in call.outputs}
        kinds: dict[int, Any] = {}
        for call in every:
            kinds[id(call)] = _kind(call.operation)
            given = [makers[id(x)] for x in call.inputs if id(x) in makers]
            if kinds[id(call)] == "follows":  # XNNPACK has no int8 minimum, but need not leave float for it
                kinds[id(call)] = "float" if any(kinds[id(c)] == "float" for c in given) else "computes"
        before = _before_positions(every)
        kinds |= dict.fromkeys(before, "float")
        ends = frozenset(id(x) for x in model.outputs)
        graph = cls(every, kinds, users(every), makers, ends, before)
        unfused = frozenset(
            call.operation.name
            for call in every
            if kinds[id(call)] == "rectifies" and not graph._taken_in(call)
        )
        return dataclasses.replace(graph, unfused=unfused)

    @property
    def exact(self) -> frozenset[str]:
        """Operations that decide positions, by name."""
        return frozenset(call.operation.name for call in self.calls if id(call) in self.before)

    def goes_on_unrounded(self, call: Call) -> bool:
        """Whether ``call``'s output is never a tensor of int8: ReLU takes it up, or more float."""
        found = [user for x in call.outputs for user in self._users(x)]
        if self.kinds[id(call)] == "float":
            if self.only_float(call):
                return True
            return len(found) == 1 and self.kinds.get(id(found[0])) == "rectifies"
        return (
            self.kinds[id(call)] == "computes"
            and len(found) == 1
            and self.kinds.get(id(found[0])) == "rectifies"
            and found[0].operation.name not in self.unfused
        )

    def only_float(self, call: Call) -> bool:
        """Whether all that take ``call``'s output stay in float."""
        return all(
            self.kinds.get(id(user), "float") == "float" for x in call.outputs for user in self._users(x)
        )

    def left_out(self) -> dict[str, str]:
        """Why each operation that stays in float does."""
        return {
            call.operation.name: EXACT
            if id(call) in self.before or _kind(call.operation) == "follows"
            else NO_FORM.format(type(call.operation).__name__)
            for call in self.calls
            if self.kinds[id(call)] == "float"
        }

    def _users(self, tensor: Any) -> list[Call]:
        """Who computes with a tensor, past what does nothing in inference; the end of the model counts."""
        found: list[Call] = []
        for user in self.users.get(id(tensor), []):
            found += self._users(user.outputs[0]) if _silent(user.operation) else [user]
        return found + ([Call(None, (tensor,), ())] if id(tensor) in self.ends else [])

    def _taken_in(self, call: Call) -> bool:
        """Whether what is before a ReLU can do it on the way."""
        tensor = call.inputs[0]
        while (maker := self.makers.get(id(tensor))) is not None and _silent(maker.operation):
            tensor = maker.inputs[0]
        if maker is None or len(self._users(maker.outputs[0])) != 1:
            return maker is not None and self.kinds[id(maker)] == "float"
        bare = type(maker.operation) is layers.Conv2DTranspose and not maker.operation.use_bias
        return self.kinds[id(maker)] in ("computes", "float") and not bare


def _kind(operation: Any) -> Any:
    """What an operation is in int8, by itself: a word of ``KINDS``, "float" for those it does not have."""
    if type(operation) in WEIGHTED:
        return "computes"
    if not type(operation).__module__.startswith("keras.") or _unusual(operation):
        return "float"
    if isinstance(operation, layers.Activation):
        return ACTIVATIONS.get(operation.get_config()["activation"], "float")
    return KINDS.get(type(operation).__name__, "float")


def _unusual(operation: Any) -> bool:
    """Whether an operation is of a kind that int8 has, but with settings that it does not."""
    if isinstance(operation, layers.ReLU):
        usual = operation.max_value in (None, 6)
        return not usual or bool(operation.negative_slope) or bool(operation.threshold)
    if type(operation).__name__ == "Pad":
        return operation.mode != "constant" or bool(operation.get_config().get("constant_values"))
    return False


def _before_positions(every: tuple[Call, ...]) -> frozenset[int]:
    """Calls that decide where max-unpooling puts its values: those before a ceil, and it.

    ``export.quantize`` leaves the same ones in float, for the same reason: int8 makes neighbours equal, and
    the values of such windows come back a pixel off.
    """
    ceils = [x for call in every if type(call.operation).__name__ == POSITIONS for x in call.outputs]
    image = [x for call in every if call.operation.name == IMAGE for x in call.outputs]
    return frozenset(id(every[index]) for index in leading_to(every, ceils, given=image))


def _silent(operation: Any) -> bool:
    """Whether an operation changes nothing in inference."""
    linear = isinstance(operation, layers.Activation) and operation.activation is keras.activations.linear
    return (linear and operation.name != IMAGE) or type(operation).__name__ in SILENT


def _interpolates(operation: Any) -> bool:
    return type(operation).__name__ in INTERPOLATES and operation.interpolation != "nearest"


def _is_map(layer: Any) -> bool:
    """Whether a layer takes maps (N, H, W, C) and treats its channels alike in each pixel."""
    axis = getattr(layer, "axis", -1)
    return len(layer.input.shape) == 4 and axis in (-1, 3)


def _by_channel(layer: layers.PReLU) -> bool:
    return tuple(layer.shared_axes or ()) == (1, 2)


def _pools_like_convolution(operation: Any) -> bool:
    """Whether an average pooling has no padding, whose pixels it would not count."""
    if type(operation) is not layers.AveragePooling2D or operation.data_format != "channels_last":
        return False
    pool, stride = operation.pool_size, operation.strides
    sides = operation.input.shape[1:3]
    whole = pool == stride and all(side % step == 0 for side, step in zip(sides, stride, strict=True))
    return len(set(stride)) == 1 and (operation.padding == "valid" or whole)


def _pixelwise(name: str, *, offset: bool = True, trainable: bool = True) -> layers.DepthwiseConv2D:
    """A factor for each channel, and an offset."""
    return layers.DepthwiseConv2D(1, use_bias=offset, name=name, trainable=trainable)


def _prelu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """PReLU(x) = LeakyReLU(x) + (alpha - s) / (1 - s) * (x - LeakyReLU(x)), s being LeakyReLU's slope."""
    leaky = layers.LeakyReLU(SLOPE, name=f"{name}_leaky")(x)
    negative = layers.Subtract(name=f"{name}_negative")([x, leaky])
    return layers.Add(name=name)([leaky, _pixelwise(f"{name}_slope", offset=False)(negative)])


def _set_weights(prepared: Prepared, source: keras.Model) -> None:
    """Give a prepared network the numbers of its source."""
    given = {layer.name: layer for layer in source.layers}
    for layer in prepared.model.layers:
        if layer.weights:
            layer.set_weights(_numbers(layer, prepared, given))


def _numbers(layer: keras.Layer, prepared: Prepared, given: Mapping[str, keras.Layer]) -> list[np.ndarray]:
    """The weights of one layer of a prepared network."""
    original, channels = given.get(layer.name), layer.output.shape[-1]
    if layer.name in prepared.constant:
        factor, offset = _constants(original)
        kernel = np.broadcast_to(np.reshape(factor, (1, 1, -1, 1)), layer.kernel.shape)
        return [kernel, np.broadcast_to(offset, (channels,))]
    if layer.name in prepared.norms:
        factor, offset = affine(original)
        return [factor.reshape(1, 1, -1, 1), offset]
    if original is None:
        alpha = given[layer.name.removesuffix("_slope")].get_weights()[0].reshape(1, 1, -1, 1)
        return [(alpha - SLOPE) / (1 - SLOPE)]
    weights = original.get_weights()
    if layer.name not in prepared.folded:
        return weights
    factor, offset = affine(given[prepared.folded[layer.name]])
    return [weights[0], factor * (weights[1] if original.use_bias else 0.0) + offset + NO_ZERO]


def _constants(original: keras.Layer | None) -> tuple[Any, Any]:
    """Factor and offset of a layer that became a convolution without training."""
    if isinstance(original, layers.Rescaling):
        return original.scale, original.offset
    return 1 / math.prod(original.pool_size) if original is not None else 1.0, 0.0
