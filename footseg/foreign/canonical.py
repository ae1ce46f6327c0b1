"""Somebody else's network as footseg has its own: flat, float32, pixels in [0, 1] in, logits out.

The network that is given stays what it was: layers are made anew and given its weights. Where nothing needs
to change, it is the network itself that comes back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from footseg.errors import FootsegError
from footseg.foreign.ends import RANGES, Reading
from footseg.foreign.reading import ENDS, ending, last, resized
from footseg.graphs.keras import Call, calls, copy_state, functional, rescaling


def canonical(model: keras.Model, reading: Reading, size: tuple[int, int] | None = None) -> keras.Model:
    """The network that gives for pixels in [0, 1] the logits of what ``model`` gives for its own.

    Sigmoid and softmax at the end are taken off, one channel becomes two. Models within the model are laid
    open, so that each of their layers can be compressed; an activation that is a layer stands behind its
    layer; whatever the precision was, it is float32.

    Args:
        model: functional or Sequential, one image in, one map out.
        reading: what it takes and gives.
        size: (height, width) where the network leaves them free.

    Raises:
        FootsegError: it is neither, or a layer cannot be made anew (it is named).
    """
    if reading.is_own and is_plain(model) and None not in model.inputs[0].shape[1:]:
        return model
    graph = functional(model)
    height, width = (
        given or free for given, free in zip(graph.inputs[0].shape[1:3], size or (None, None), strict=True)
    )
    image = keras.Input((height, width, 3), name="image")
    end = last(graph) if reading.gives in ("probabilities", "foreground") else None
    made = _Copy(stripped=end if end and ending(end) in ENDS and not resized(end, graph) else None)
    pixels = _pixels(image, reading)
    (output,) = keras.tree.flatten(made.run(graph, [pixels]))
    for old, new in made.pairs():
        if new.weights:
            copy_state(old, new)
    return keras.Model(image, _logits(output, reading, made), name=model.name)


def is_plain(model: Any) -> bool:
    """Whether a model is as footseg has its own: functional, flat, float32, one image in, one map out."""
    if not hasattr(model, "_nodes_by_depth") or isinstance(model, keras.Sequential):
        return False
    structured = isinstance(model.output, (dict, list, tuple)) or isinstance(model.input, (dict, list, tuple))
    operations = [call.operation for call in calls(model)]
    return (
        not structured
        and model.inputs[0].shape[0] is None
        and str(model.inputs[0].dtype) == "float32"
        and not any(_is_to_open(one) for one in operations)
        and all(getattr(one, "compute_dtype", "float32") == "float32" for one in operations)
    )


def _is_to_open(operation: Any) -> bool:
    """Whether an operation is several: a model, a layer with another as its activation, a Normalization."""
    is_several = isinstance(operation, keras.Model) or _layer_activation(operation) is not None
    return is_several or rescaling(operation) is not operation


@dataclass
class _Copy:
    """Operations made anew, by the identity of their originals; ``stripped`` goes without its activation."""

    stripped: Call | None = None
    made: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def run(self, graph: Any, inputs: list[Any], within: str = "") -> Any:
        """The outputs of the calls of ``graph`` on ``inputs``."""
        tensors = {id(old): new for old, new in zip(keras.tree.flatten(graph.inputs), inputs, strict=True)}
        for call in calls(graph):
            if call.is_input:
                continue
            given = [tensors[id(x)] for x in call.inputs]
            inner = functional(call.operation)
            if isinstance(inner, keras.Model):
                outputs = self.run(inner, given, f"{within}{call.operation.name}_")
            else:
                outputs = self.call(call, tensors, within)
            tensors.update(zip(map(id, call.outputs), keras.tree.flatten(outputs), strict=True))
        return keras.tree.map_structure(lambda x: tensors[id(x)], graph.outputs)

    def call(self, call: Call, tensors: dict[int, Any], within: str) -> Any:
        """One call of an operation that was made anew, without the activation that is taken off."""
        args, kwargs = keras.tree.map_structure(
            lambda x: tensors.get(id(x), x), (call.args, dict(call.kwargs))
        )
        kwargs.pop("training", None)
        is_last = self.stripped is not None and call.operation is self.stripped.operation
        if is_last and type(call.operation).__name__.lower() in {*ENDS, "activation"}:
            return tensors[id(call.inputs[0])]
        operation = self.anew(call.operation, within, plain=is_last)
        outputs = operation(*args, **kwargs)
        activation = None if is_last else _layer_activation(call.operation)
        return self.anew(activation, f"{within}{call.operation.name}_")(outputs) if activation else outputs

    def anew(self, operation: Any, within: str, plain: bool = False) -> Any:
        """The copy of an operation; ``plain``: without its activation."""
        if id(operation) not in self.made:
            self.made[id(operation)] = (operation, _anew(operation, self.name(operation.name, within), plain))
        return self.made[id(operation)][1]

    def name(self, name: str, within: str) -> str:
        """A name that no operation has yet: that of the model inside goes before it where it must."""
        found, number = name, 1
        while found in self.names:
            found, number = f"{within}{name}" if number == 1 else f"{within}{name}_{number}", number + 1
        self.names.add(found)
        return found

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Layers with weights, old and new."""
        return (pair for pair in self.made.values() if getattr(pair[0], "weights", None))


def _anew(operation: Any, name: str, plain: bool) -> Any:
    operation = rescaling(operation)
    config = operation.get_config()
    if isinstance(operation, keras.layers.Layer):
        config |= {"dtype": "float32"}
        if plain or _layer_activation(operation):
            config |= {"activation": "linear"}
    try:
        copy = type(operation).from_config(config)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise FootsegError(
            f"{operation.name} ({type(operation).__name__}) cannot be made anew: {error}; build the network "
            "of Keras's own layers and operations"
        ) from error
    copy.name = name
    return copy


def _layer_activation(operation: Any) -> Any:
    """The activation of a layer where that is a layer itself, as in ``activation=keras.layers.ReLU()``."""
    activation = getattr(operation, "activation", None)
    return activation if isinstance(activation, keras.layers.Layer) else None


def _pixels(image: Any, reading: Reading) -> Any:
    """What the network takes, of pixels RGB in [0, 1]."""
    scale, offset = map(np.array, RANGES[reading.range])
    if reading.order == "rgb" and len(set(scale)) == len(set(offset)) == 1:
        is_same = scale[0] == 1 and offset[0] == 0
        return image if is_same else keras.layers.Rescaling(scale[0], offset[0], name="pixels")(image)
    kernel = np.diag(scale)[:, :: 1 if reading.order == "rgb" else -1]
    layer = keras.layers.Conv2D(3, 1, name="pixels")  # a permutation that GPUs run, too
    made = layer(image)
    layer.set_weights([kernel[None, None], offset if reading.order == "rgb" else offset[::-1]])
    return made


def _logits(output: Any, reading: Reading, made: _Copy) -> Any:
    """Logits (N, H, W, classes) of what is left when sigmoid or softmax are off, or of what they gave."""
    if reading.gives == "logits" or (reading.gives == "probabilities" and made.stripped):
        return output
    if reading.gives != "logit" and not made.stripped:
        both = (
            output
            if reading.gives == "probabilities"
            else keras.ops.concatenate([1 - output, output], axis=-1)
        )
        return keras.ops.log(keras.ops.maximum(both, 2.0**-24))  # float32 has nothing between 1 - 2^-24 and 1
    layer = keras.layers.Conv2D(2, 1, use_bias=False, name="two_classes")
    logits = layer(output)
    layer.set_weights([np.array([[[[0.0, 1.0]]]])])
    return logits
