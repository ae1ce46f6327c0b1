"""The bridge to tf_keras, which TensorFlow Model Optimization needs: a network's twin there, and back.

Layers become the class of the same name with the same settings; a plain ``keras.ops`` operation becomes a
small layer that runs it. Training differs in two things: tf_keras's batch normalisation takes the unbiased
variance of a batch into its moving one, n / (n - 1) times what Keras 3 takes; and a layer that somebody
called with ``training=False`` stays at that, which Keras 3.15 overrules when the model is called with True.
"""

import functools
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from footseg.errors import FootsegError, require
from footseg.graphs.keras import Call, calls
from footseg.grouping import grouped

tf_keras: Any = require("tf_keras", "compress")

# What a setting is called in tf_keras, by the class of the layer.
RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}, "InputLayer": {"batch_shape": "batch_input_shape"}}
# What tf_keras does where it does not know a setting.
WITHOUT = {"data_format": "channels_last"}
# In tf_keras's configurations, but no settings of what is computed.
RECORDS = ("batch_input_shape", "query_shape", "key_shape", "value_shape", "implementation", "rng_type")


class NoTwinError(Exception):
    """Why a layer cannot be rebuilt; these are gathered into one FootsegError that names all layers."""


@tf_keras.utils.register_keras_serializable("footseg")
class KerasOperation(tf_keras.layers.Layer):
    """Runs one Keras 3 operation (``keras.ops``) at its one place in a tf_keras model.

    Args:
        operation: the operation and its arguments as JSON (``_written``): a text, because tf_keras would take
            objects that Keras 3 wrote for its own.
    """

    def __init__(self, operation: str, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.operation = operation
        self._run, self._arguments = _read(operation, self.name)

    def call(self, inputs: Any) -> Any:
        """The operation of these tensors, which are in the order in which its arguments hold them."""
        args, kwargs = _filled(self._arguments, inputs)
        return self._run.call(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Settings, as ``__init__`` takes them."""
        return {**super().get_config(), "operation": self.operation}


def to_tf_keras(model: keras.Model) -> Any:
    """The tf_keras twin of a functional Keras 3 ``model``, which stays as it is.

    Layer names, weights and what of them is trained are the same, outputs but for rounding (in float32 up to
    1.5e-6 of their range, with the 53 batch normalisations of ResNet50; in float64 nothing). A network of
    mixed precision gets a float32 twin; a Sequential one a functional twin; models inside the model become
    models inside the twin.

    Raises:
        ValueError: not a functional model.
        FootsegError: layers that tf_keras does not have, or not with these settings; all are named.
    """
    return _Way(keras, tf_keras).rebuilt(model)


def to_keras(twin: Any) -> keras.Model:
    """The Keras 3 model of a functional tf_keras one: ``to_tf_keras`` backwards.

    Raises:
        ValueError: not a functional model of tf_keras.
        FootsegError: layers that Keras 3 does not have (wrappers, too); all are named.
    """
    return _Way(tf_keras, keras).rebuilt(twin)


def copy_weights(source: Any, target: Any) -> None:
    """Give every layer of ``target`` the weights of the layer of its name in ``source``.

    Each may be a model of Keras 3 or of tf_keras. Layers without weights need no partner.

    Raises:
        FootsegError: layers with weights that one of the two does not have, or of other shapes; they are
            named, and ``target`` is as it was.
    """
    given, wanted = dict(_weighted(source)), dict(_weighted(target))
    alone = [name for name in {**given, **wanted} if name not in given or name not in wanted]
    pairs = {name: _paired(given[name].weights, wanted[name].weights) for name in wanted if name in given}
    unlike = [name for name, found in pairs.items() if found is None]
    if alone or unlike:
        problems = [f"only one has {', '.join(alone)}"] if alone else []
        problems += [f"the shapes differ in {', '.join(unlike)}"] if unlike else []
        raise FootsegError(
            f"weights cannot go from {source.name} to {target.name} layer by layer: {'; '.join(problems)}"
        )
    for name, found in pairs.items():
        for one, other in found or ():
            other.assign(_numbers(one))
        if hasattr(wanted[name], "finalize_state"):  # Normalization computes with a copy of its weights
            wanted[name].finalize_state()


def _weighted(model: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    """Layers with weights by name; those of a model inside the model by both names."""
    for layer in model.layers:
        if isinstance(layer, (keras.Model, tf_keras.Model)):
            yield from _weighted(layer, f"{within}{layer.name}/")
        elif layer.weights:
            yield within + layer.name, layer


def _paired(given: Sequence[Any], wanted: Sequence[Any]) -> list[tuple[Any, Any]] | None:
    """Variables that belong together: by name where names are the same, else by order; None: other shapes."""
    if len(given) != len(wanted):
        return None
    named = {_leaf(variable): variable for variable in given}
    if len(named) == len(given) and named.keys() == {_leaf(variable) for variable in wanted}:
        given = [named[_leaf(variable)] for variable in wanted]
    pairs = list(zip(given, wanted, strict=True))
    return pairs if all(tuple(one.shape) == tuple(other.shape) for one, other in pairs) else None


def _leaf(variable: Any) -> str:
    return variable.name.rpartition("/")[2].removesuffix(":0")


def _numbers(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable) if isinstance(variable, keras.Variable) else variable.numpy()


@dataclass(frozen=True)
class _Way:
    """From one package to the other; ``made`` is what became of each layer or operation, by its identity."""

    source: Any
    target: Any
    made: dict[int, Any] = field(default_factory=dict)

    def rebuilt(self, model: Any) -> Any:
        """A model of ``target``."""
        graph = self.graph(model)
        if graph is None:
            here, kind = self.source.__name__, type(model)
            raise ValueError(
                f"only a functional model of {here} can be rebuilt in {self.target.__name__}, not a "
                f"{kind.__name__} (of {kind.__module__}): build it as {here}.Model(inputs, outputs)"
            )
        met = dict.fromkeys(self.make(graph))  # a shared layer is met more than once
        problems = grouped((reason, name) for name, reason in met)
        if problems:
            listed = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in problems.items())
            advice = (
                "take wrappers off first (strip_pruning, strip_clustering)"
                if self.target is keras
                else "build them of layers and settings that tf_keras has, or of operations of keras.ops"
            )
            raise FootsegError(f"no twin of {model.name} in {self.target.__name__}: {listed}; {advice}")
        twin = self.wired(graph, model.name)
        copy_weights(model, twin)
        twin.trainable = model.trainable
        _copy_trainable(model, twin)
        return twin

    def graph(self, model: Any) -> Any:
        """What holds the calls of a functional or sequential model; None for whatever else."""
        graph = model._functional if isinstance(model, keras.Sequential) else model
        if not isinstance(model, self.source.Model) or not hasattr(graph, "_nodes_by_depth"):
            return None
        # With a call of its own a class computes something else than its graph.
        return graph if type(graph).call.__module__.startswith(f"{self.source.__name__}.") else None

    def make(self, graph: Any) -> Iterator[tuple[str, str]]:
        """Make what is called; yields the names of layers that have no twin, and why."""
        every = calls(graph)
        for call in every:
            operation, inner = call.operation, self.graph(call.operation)
            try:
                if inner is not None:
                    yield from self.make(inner)
                elif isinstance(operation, KerasOperation):
                    self.made[id(operation)] = functools.partial(_call_operation, operation)
                elif not isinstance(operation, self.source.layers.Layer):
                    self.made[id(call.outputs[0])] = _operation_layer(call, every)
                elif id(operation) not in self.made:
                    self.made[id(operation)] = self.counterpart(operation)
            except NoTwinError as reason:
                yield operation.name, f"{type(operation).__name__}: {reason}"

    def wired(self, graph: Any, name: str) -> Any:
        """A model of ``target`` that calls what was made as ``graph`` calls its own."""
        tensors: dict[int, Any] = {}

        def there(structure: Any) -> Any:
            return keras.tree.map_structure(lambda x: tensors.get(id(x), x), structure)

        for call in calls(graph):
            operation, inner = call.operation, self.graph(call.operation)
            if inner is not None and id(operation) not in self.made:
                self.made[id(operation)] = self.wired(inner, operation.name)
            called = self.made.get(id(operation)) or self.made[id(call.outputs[0])]
            args, kwargs = there((call.args, _arguments(call)))
            try:
                outputs = called.output if call.is_input else called(*args, **kwargs)
            except (TypeError, ValueError) as error:
                raise FootsegError(
                    f"no twin of {name} in {self.target.__name__}: {operation.name} "
                    f"({type(operation).__name__}) cannot be called there as it is here: {error}"
                ) from error
            tensors.update(zip(map(id, call.outputs), keras.tree.flatten(outputs), strict=True))
        return self.target.Model(there(graph.input), there(graph.output), name=name)

    def counterpart(self, layer: Any) -> Any:
        """A new layer of the class of the same name with the same settings, its initialisers left out."""
        cls: Any = type(layer)
        kind = cls.__name__
        if getattr(self.source.layers, kind, None) is not cls:
            raise NoTwinError(f"a class of its own, of {cls.__module__}")
        twin = getattr(self.target.layers, kind, None)
        if twin is None:
            raise NoTwinError(f"{self.target.__name__} has none")
        names = RENAMED.get(kind, {})
        if self.target is keras:
            names = {theirs: ours for ours, theirs in names.items()}
        defaults, known = _settings(cls), _settings(twin)
        settings: dict[str, Any] = {}
        for key, given in layer.get_config().items():
            name = names.get(key, key)
            if name.endswith("_initializer"):  # the weights are copied
                continue
            value = self.value(name, given, layer)
            if name in known or key in names:
                settings[name] = value
            elif name not in RECORDS and value not in (defaults.get(key), WITHOUT.get(key), None, False):
                raise NoTwinError(f"{key}={value!r}, which {self.target.__name__} does not know")
        try:
            made = twin(**settings)
        except (TypeError, ValueError) as error:
            raise NoTwinError(f"settings that {self.target.__name__} refuses: {error}") from error
        kept = made.get_config()
        for name, value in settings.items():  # a class may take what its parent knows, and lose it
            if name not in kept and value not in (known[name], WITHOUT.get(name)):
                raise NoTwinError(f"{name}={value!r}, which {self.target.__name__} loses")
        return made

    def value(self, name: str, value: Any, layer: Any) -> Any:
        """A setting as ``target`` takes it."""
        value = _plain(value)
        if name == "dtype":
            return _full(value)
        if name == "axis" and self.target is keras:
            return _axis(value, layer)
        if name == "activation" or name.endswith("_activation"):
            if not isinstance(value, str):
                raise NoTwinError(f"a function of its own as {name}")
            if not _same_activation(value):
                raise NoTwinError(f"{name}={value!r}, which {self.target.__name__} does not compute likewise")
        if isinstance(value, dict) and "class_name" in value:
            for suffix in ("regularizer", "constraint"):
                kind = getattr(getattr(self.target, f"{suffix}s"), value["class_name"], None)
                if name.endswith(suffix) and kind is not None:
                    return kind(**value["config"])
            raise NoTwinError(f"a {value['class_name']} as {name}, which cannot be carried over")
        return value


def _arguments(call: Call) -> dict[str, Any]:
    """The named arguments of a call, but for a ``training`` that nobody asked for.

    Keras 3.15 writes the default of a layer's ``call`` down as if it had been given (False for Dropout, True
    for RandomFlip) and overrules it with the model's own; tf_keras would hold to it: dropout would never act,
    and random layers would at inference.
    """
    if "training" not in call.kwargs:
        return dict(call.kwargs)
    default = inspect.signature(call.operation.call).parameters["training"].default
    unasked = call.kwargs["training"] in (True, None, default)
    return {name: given for name, given in call.kwargs.items() if name != "training" or not unasked}


def _copy_trainable(source: Any, target: Any, frozen: bool = False) -> None:
    """Layer by layer. A model inside freezes its layers in tf_keras; in Keras 3 their own flags decide."""
    partners = {layer.name: layer for layer in target.layers}
    for layer in source.layers:
        if isinstance(layer, (keras.Model, tf_keras.Model)):
            held = isinstance(layer, tf_keras.Model) and not layer.trainable
            _copy_trainable(layer, partners[layer.name], frozen or held)
        elif layer.name in partners:  # an operation is no layer of a Keras 3 model
            partners[layer.name].trainable = layer.trainable and not frozen


@functools.cache
def _settings(kind: Any) -> Mapping[str, Any]:
    """What a layer's class and its parents take, each with its default."""
    found: dict[str, Any] = {}
    for cls in inspect.getmro(kind):
        if "__init__" not in vars(cls):
            continue
        parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(parameter.name, parameter.default)
        hands_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if cls.__name__ == "Layer" or not hands_on:
            break
    return found


def _plain(value: Any) -> Any:
    """``value`` of Python's own types; of a number that went through float32, the shortest that does."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):  # tf_keras has a list of its own
        return (list if isinstance(value, list) else tuple)(map(_plain, value))
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, float) and float(np.float32(value)) == value:
        return float(str(np.float32(value)))
    return value


def _full(dtype: Any) -> str:
    """The name of a dtype, or of that of a policy's weights; whole where it is a half."""
    name = dtype["config"]["name"] if isinstance(dtype, dict) else str(dtype)
    if "_from_" in name:
        raise NoTwinError(f"quantized, {name}")
    return "float32" if name.startswith("mixed_") or name in ("float16", "bfloat16") else name


def _axis(axis: Any, layer: Any) -> Any:
    """tf_keras lists even one axis, and counts from the front as soon as it knows how many there are."""
    axes = keras.tree.flatten(axis)
    if len(axes) > 1:
        return axes
    last = len(keras.tree.flatten(layer.get_input_at(0))[0].shape) - 1
    return -1 if axes == [last] else axes[0]


@functools.cache
def _same_activation(name: str) -> bool:
    """Whether this name means the same function in both packages: hard_sigmoid, for one, does not."""
    x = tf.reshape(tf.linspace(-8.0, 8.0, 256), (16, 16))
    try:
        ours = keras.ops.convert_to_numpy(keras.activations.get(name)(keras.ops.convert_to_tensor(x.numpy())))
        theirs = tf_keras.activations.get(name)(x).numpy()
    except (TypeError, ValueError):  # one of them does not know it, or no layer can use it
        return False
    return bool(np.allclose(ours, theirs, atol=1e-6))


def _operation_layer(call: Call, every: Sequence[Call]) -> Callable[..., Any]:
    """What runs, in a tf_keras model, a call of a plain Keras 3 operation."""
    operation = call.operation
    if not type(operation).__module__.startswith("keras."):
        raise NoTwinError(f"a class of its own, of {type(operation).__module__}")
    if keras.backend.backend() != "tensorflow":
        raise NoTwinError("a plain operation, which needs KERAS_BACKEND=tensorflow")
    made = [other.outputs for other in every if other.operation is operation]
    earlier = made.index(call.outputs)
    name = f"{operation.name}_call{earlier}" if earlier else operation.name
    layer = KerasOperation(_written(call), name=name)

    def run(*args: Any, **kwargs: Any) -> Any:
        return layer([x for x in keras.tree.flatten([args, kwargs]) if hasattr(x, "_keras_history")])

    return run


def _call_operation(layer: Any, inputs: Any) -> Any:
    """What a ``KerasOperation`` runs, called on Keras 3 tensors."""
    operation, arguments = _read(layer.operation, layer.name)
    args, kwargs = _filled(arguments, inputs)
    return operation(*args, **kwargs)


def _written(call: Call) -> str:
    """An operation and the arguments of one call of it, as JSON."""
    try:
        parts = [call.operation, [call.args, call.kwargs]]
        return json.dumps([keras.saving.serialize_keras_object(part) for part in parts])
    except (TypeError, ValueError, NotImplementedError) as error:
        raise NoTwinError(f"arguments that cannot be written down: {error}") from error


def _read(written: str, name: str) -> tuple[Any, Any]:
    """A new operation and its arguments; Keras 3 tensors hold the places of tensors."""
    operation, arguments = map(keras.saving.deserialize_keras_object, json.loads(written))
    operation.name = name
    return operation, arguments


def _filled(arguments: Any, tensors: Any) -> Any:
    """``arguments`` with ``tensors`` in the places that are held for them."""
    waiting = iter(keras.tree.flatten(tensors))
    leaves = keras.tree.flatten(arguments)
    filled = [next(waiting) if isinstance(leaf, keras.KerasTensor) else leaf for leaf in leaves]
    return keras.tree.pack_sequence_as(arguments, filled)
