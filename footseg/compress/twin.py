"""The bridge to tf_keras, which TensorFlow Model Optimization needs: a network's twin there, and the way back.

Layers become the class of the same name with the same settings, plain ``keras.ops`` operations one small
layer that runs them. Training differs in one thing: tf_keras's batch normalisation averages the unbiased
variance (n / (n - 1) of Keras 3's) into its statistics.
"""

import functools
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from footseg.errors import FootsegError, require

tf_keras: Any = require("tf_keras", "compress")


class NoTwinError(Exception):
    """Why a layer cannot be rebuilt; gathered into one FootsegError that names all of them."""


# What a setting is called on the other side, by the class of the layer.
RENAMED = {
    "LeakyReLU": {"negative_slope": "alpha"},
    "InputLayer": {"batch_shape": "batch_input_shape"},
}
# In a layer's configuration, but no setting of it.
RECORDS = frozenset({"batch_input_shape", "dynamic", "ragged", "build_config"})


@tf_keras.utils.register_keras_serializable("footseg")
class KerasOperation(tf_keras.layers.Layer):
    """Runs one Keras 3 operation (``keras.ops``) at one place of a tf_keras model.

    Args:
        operation: the operation and its arguments, as ``_described`` writes them: JSON, because tf_keras would
            take what Keras 3 serializes for objects of its own.
    """

    def __init__(self, operation: str, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.operation = operation
        self._run, self._arguments = _revived(operation, self.name)

    def call(self, inputs: Any) -> Any:
        """The operation of the tensors, in the order in which its arguments hold them."""
        args, kwargs = _filled(self._arguments, keras.tree.flatten(inputs))
        return self._run.call(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Settings, as ``__init__`` takes them."""
        return {**super().get_config(), "operation": self.operation}


def to_tf_keras(model: keras.Model) -> Any:
    """The tf_keras twin of a functional Keras 3 ``model``: float32, same names, weights and outputs (1e-6).

    Models inside it become models inside the twin; a Sequential one becomes a functional one.

    Raises:
        ValueError: not a functional model.
        FootsegError: layers that tf_keras does not have, or not with these settings; all are named.
    """
    return _rebuilt(model, keras, tf_keras)


def to_keras(twin: Any) -> keras.Model:
    """The Keras 3 model of a functional tf_keras one; ``to_tf_keras`` backwards.

    Raises:
        ValueError: not a functional tf_keras model.
        FootsegError: layers that Keras 3 does not have (a wrapper of TFMOT, too); all are named.
    """
    return _rebuilt(twin, tf_keras, keras)


def copy_weights(source: Any, target: Any) -> None:
    """Set the weights of every layer of ``target`` to those of the layer of its name in ``source``.

    Each may be a Keras 3 or a tf_keras model; layers without weights need no partner.

    Raises:
        FootsegError: layers with weights that only one of them has, or of other shapes; all are named, and
            ``target`` is as it was.
    """
    given, wanted = dict(_weighted(source)), dict(_weighted(target))
    alone = sorted(given.keys() ^ wanted.keys())
    if alone:
        raise FootsegError(
            f"weights cannot be copied from {source.name} to {target.name}: only one has {', '.join(alone)}"
        )
    pairs = {name: _paired(given[name].weights, wanted[name].weights) for name in wanted}
    unlike = [name for name, found in pairs.items() if found is None]
    if unlike:
        raise FootsegError(
            f"weights cannot be copied from {source.name} to {target.name}: "
            f"other shapes in {', '.join(unlike)}"
        )
    for name, found in pairs.items():
        for one, other in found or ():
            other.assign(_numbers(one))
        if hasattr(wanted[name], "finalize_state"):  # Normalization computes with a copy of its weights
            wanted[name].finalize_state()


def _weighted(model: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    """Layers with weights, by name; inside a model of a model by both names."""
    for layer in model.layers:
        if hasattr(layer, "layers") and isinstance(layer, (keras.Model, tf_keras.Model)):
            yield from _weighted(layer, f"{within}{layer.name}/")
        elif layer.weights:
            yield within + layer.name, layer


def _paired(given: Sequence[Any], wanted: Sequence[Any]) -> list[tuple[Any, Any]] | None:
    """Variables that belong together: by name where the names are the same ones, else by order."""
    if len(given) != len(wanted):
        return None
    by_name = {_leaf(variable): variable for variable in given}
    if len(by_name) == len(given) and by_name.keys() == {_leaf(variable) for variable in wanted}:
        given = [by_name[_leaf(variable)] for variable in wanted]
    found = list(zip(given, wanted, strict=True))
    return found if all(tuple(one.shape) == tuple(other.shape) for one, other in found) else None


def _leaf(variable: Any) -> str:
    return variable.name.rpartition("/")[2].removesuffix(":0")


def _numbers(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable) if isinstance(variable, keras.Variable) else variable.numpy()


def _graph(model: Any, package: Any) -> Any:
    """What holds the nodes of a functional or sequential ``model`` of ``package``; None where it is neither."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if not isinstance(model, package.Model) or not hasattr(graph, "_nodes_by_depth"):
        return None
    call = type(graph).call  # of a class of its own, with a call of its own, the nodes say nothing
    return graph if call.__module__.partition(".")[0] == package.__name__ else None


def _rebuilt(model: Any, source: Any, target: Any) -> Any:
    """``model`` made anew in the package ``target``, with its weights and what of it is trained."""
    graph = _graph(model, source)
    if graph is None:
        raise ValueError(
            f"only a functional model of {source.__name__} can be rebuilt in {target.__name__}, not "
            f"{type(model).__module__}.{type(model).__qualname__}: make it as {source.__name__}.Model(inputs, outputs)"
        )
    made: dict[int, Any] = {}
    reasons = list(_made(graph, source, target, made))
    if reasons:
        raise FootsegError(
            f"{model.name} cannot be rebuilt in {target.__name__}: {'; '.join(dict.fromkeys(reasons))}. "
            "Use layers and settings that both packages have, or plain keras.ops operations"
        )
    twin = _wired(graph, source, target, made)
    copy_weights(graph, twin)
    _copy_trainable(graph, twin)
    return twin


def _nodes(graph: Any) -> Iterator[tuple[Any, Any]]:
    """The calls of a graph in an order in which they can be made, each with what was called."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            yield node, node.operation if hasattr(node, "operation") else node.layer


def _arguments(node: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call."""
    if hasattr(node, "arguments"):
        return node.arguments.args, node.arguments.kwargs
    return tuple(node.call_args), dict(node.call_kwargs)


def _made(graph: Any, source: Any, target: Any, made: dict[int, Any]) -> Iterator[str]:
    """Put what each node calls into ``made``, by its identity (of the node, for an operation); yields why not."""
    for node, operation in _nodes(graph):
        inner = _graph(operation, source)
        if inner is not None:
            yield from _made(inner, source, target, made)
            continue
        layer = isinstance(operation, source.layers.Layer)
        key = id(operation if layer else node)
        try:
            if key in made:
                continue
            if isinstance(operation, KerasOperation):
                made[key] = functools.partial(_call_operation, operation)
            elif layer:
                made[key] = _counterpart(operation, source, target)
            else:
                made[key] = _operation_layer(operation, node, graph)
        except NoTwinError as reason:
            yield f"{operation.name} ({type(operation).__name__}) {reason}"


def _wired(graph: Any, source: Any, target: Any, made: dict[int, Any]) -> Any:
    """A model of ``target`` that calls what was ``made`` as ``graph`` calls its own."""
    tensors: dict[int, Any] = {}

    def moved(structure: Any) -> Any:
        return keras.tree.map_structure(lambda x: tensors.get(id(x), x), structure)

    for node, operation in _nodes(graph):
        if node.is_input:
            outputs = made[id(operation)].output
        else:
            inner = _graph(operation, source)
            if inner is not None and id(operation) not in made:
                made[id(operation)] = _wired(inner, source, target, made)
            args, kwargs = moved(_arguments(node))
            called = made[id(operation)] if id(operation) in made else made[id(node)]
            try:
                outputs = called(*args, **kwargs)
            except (TypeError, ValueError) as error:
                raise FootsegError(
                    f"{graph.name} cannot be rebuilt in {target.__name__}: {operation.name} "
                    f"({type(operation).__name__}) is called with what its twin does not take: {error}"
                ) from error
        old, new = keras.tree.flatten(node.outputs), keras.tree.flatten(outputs)
        tensors.update((id(x), y) for x, y in zip(old, new, strict=True))
    return target.Model(moved(graph.input), moved(graph.output), name=graph.name)


def _copy_trainable(source: Any, target: Any) -> None:
    """From the outside inwards: setting it on a model sets it on all of its layers."""
    target.trainable = source.trainable
    partners = {layer.name: layer for layer in target.layers}
    for layer in source.layers:
        if hasattr(layer, "layers"):
            _copy_trainable(layer, partners[layer.name])
        elif layer.name in partners:
            partners[layer.name].trainable = layer.trainable


def _counterpart(layer: Any, source: Any, target: Any) -> Any:
    """A new layer of the class of the same name and with the same settings."""
    kind = type(layer).__name__
    if getattr(source.layers, kind, None) is not type(layer):
        raise NoTwinError(f"is of a class of its own ({type(layer).__module__})")
    if not hasattr(target.layers, kind):
        raise NoTwinError(f"has no counterpart in {target.__name__}")
    twin = getattr(target.layers, kind)
    names = RENAMED.get(kind, {})
    if target is keras:
        names = {theirs: ours for ours, theirs in names.items()}
    defaults, known = _settings(type(layer)), _settings(twin)
    settings: dict[str, Any] = {}
    for key, value in layer.get_config().items():
        name = names.get(key, key)
        if name.endswith("_initializer"):  # the weights are copied
            continue
        value = _value(name, value, source, target)  # noqa: PLW2901
        if name in known or key in names:
            # tf_keras lists one axis where Keras 3 takes a number.
            alone = isinstance(known.get(name), int) and isinstance(value, (list, tuple)) and len(value) == 1
            settings[name] = value[0] if alone else value
        elif name not in RECORDS and value != defaults.get(key):
            raise NoTwinError(f"has {key}={value!r}, which {target.__name__} does not know")
    return twin(**settings)


@functools.cache
def _settings(kind: type) -> Mapping[str, Any]:
    """What can be given to a layer's class, its parents' arguments included, and the defaults."""
    found: dict[str, Any] = {}
    for cls in kind.__mro__:
        if "__init__" not in vars(cls):
            continue
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(parameter.name, parameter.default)
        if cls.__name__ == "Layer" or all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return found


def _value(name: str, value: Any, source: Any, target: Any) -> Any:
    """A setting as the other package takes it."""
    if isinstance(value, (np.generic, np.ndarray)):  # tf_keras gives 6.0 as a float32 array
        value = np.asarray(value)
        # The shortest number that is this float32: 0.1, not 0.10000000149.
        return float(str(value[()])) if value.ndim == 0 and value.dtype.kind == "f" else value.tolist()
    if name == "dtype":
        return _full(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if name == "activation" or name.endswith("_activation"):
        if not isinstance(value, str) or not _same_activation(value):
            raise NoTwinError(f"has {name}={value!r}, which {target.__name__} does not compute")
        return value
    if isinstance(value, dict) and "class_name" in value:
        for suffix in ("regularizer", "constraint"):
            kind = getattr(getattr(target, f"{suffix}s"), value["class_name"], None)
            if name.endswith(suffix) and kind is not None:
                return kind(**value["config"])
        raise NoTwinError(f"holds a {value['class_name']} as {name}, which cannot be carried over")
    return value


def _full(dtype: Any) -> str:
    """The name of a dtype or of a policy's weights, whole where it is a half."""
    name = dtype["config"]["name"] if isinstance(dtype, dict) else str(dtype or "float32")
    return "float32" if name.startswith("mixed_") or name in ("float16", "bfloat16") else name


@functools.cache
def _same_activation(name: str) -> bool:
    """Whether an activation of this name is the same function in both: hard_sigmoid, for one, is not."""
    x = np.linspace(-8, 8, 256, dtype="float32").reshape(16, 16)
    try:
        ours = keras.ops.convert_to_numpy(keras.activations.get(name)(x))
        theirs = np.asarray(tf_keras.activations.get(name)(x))
    except (ValueError, TypeError):
        return False
    return bool(np.allclose(ours, theirs, atol=1e-6))


def _operation_layer(operation: Any, node: Any, graph: Any) -> Callable[..., Any]:
    """What calls a plain Keras 3 operation inside a tf_keras model."""
    if not type(operation).__module__.startswith("keras."):
        raise NoTwinError(f"is of a class of its own ({type(operation).__module__})")
    if keras.backend.backend() != "tensorflow":
        raise NoTwinError("is a plain operation, which needs KERAS_BACKEND=tensorflow")
    calls = [other for other, called in _nodes(graph) if called is operation]
    name = operation.name if calls[0] is node else f"{operation.name}_{calls.index(node)}"
    args, kwargs = _arguments(node)
    try:
        described = json.dumps(
            {
                "operation": keras.saving.serialize_keras_object(operation),
                "arguments": keras.saving.serialize_keras_object([args, kwargs]),
            }
        )
        layer = KerasOperation(described, name=name)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise NoTwinError(f"cannot be written down: {error}") from error

    def call(*args: Any, **kwargs: Any) -> Any:
        given = [x for x in keras.tree.flatten([args, kwargs]) if tf_keras.backend.is_keras_tensor(x)]
        return layer(given if len(given) > 1 else given[0])

    return call


def _call_operation(layer: Any, inputs: Any) -> Any:
    """Call the operation of a ``KerasOperation`` on Keras 3 tensors."""
    operation, arguments = _revived(layer.operation, layer.name)
    args, kwargs = _filled(arguments, keras.tree.flatten(inputs))
    return operation(*args, **kwargs)


def _revived(described: str, name: str) -> tuple[Any, Any]:
    """A new operation and its arguments, in which Keras 3 tensors hold the places of tensors."""
    parts = json.loads(described)
    operation = keras.saving.deserialize_keras_object(parts["operation"])
    operation.name = name
    return operation, keras.saving.deserialize_keras_object(parts["arguments"])


def _filled(arguments: Any, tensors: Sequence[Any]) -> Any:
    """``arguments`` with ``tensors`` in the places that are held for them."""
    waiting = iter(tensors)
    leaves = keras.tree.flatten(arguments)
    filled = [next(waiting) if isinstance(leaf, keras.KerasTensor) else leaf for leaf in leaves]
    return keras.tree.pack_sequence_as(arguments, filled)
