"""What a Keras network of somebody else's takes and gives, read from its graph where that tells it.

Shapes tell neither the range of the pixels nor what a channel means; the first and the last operations often
do. What they do not tell is assumed, and said to be so (``Reading.assumed``).
"""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from footseg.errors import FootsegError
from footseg.foreign.ends import NOTHING, Ends, Reading
from footseg.graphs.keras import Call, calls, functional

# Scales below are for pixels of 0 to 255, above for those of 0 to 1; means likewise, the other way round.
LARGEST_SCALE_OF_BYTES = 1 / 60
LARGEST_MEAN_OF_FLOATS = 2.0
ENDS = {"sigmoid", "softmax"}
REORDERING = {"GetItem", "Split", "Stack", "Concatenate", "Flip"}


def read(model: keras.Model, said: Ends = NOTHING) -> Reading:
    """What ``model`` takes and gives; what is said of it is not looked for.

    Raises:
        FootsegError: it has no graph, several images in or maps out, or what it gives cannot be told or is
            nothing that can be trained on (classes).
    """
    check(model)
    found = said.range or _range(model)
    usual = "bgr" if found == "caffe" else "rgb"
    assumed = () if found else ("range",)
    if said.order is None and found != "caffe":
        assumed = (*assumed, "order")
    return Reading(found or "0-1", said.order or usual, said.gives or _gives(model), assumed)


def check(model: keras.Model) -> None:
    """Make sure that ``model`` has a graph with one image in and one map out.

    Raises:
        FootsegError: it has none, or another number of these.
    """
    if not hasattr(functional(model), "_nodes_by_depth"):
        raise FootsegError(
            f"{model.name} is a {type(model).__name__}, whose layers Keras keeps no graph of: build it as "
            "keras.Model(inputs, outputs), or as a Sequential with an Input"
        )
    images, maps = len(model.inputs), len(model.outputs)
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4 or shape[3] != 3:
        raise FootsegError(f"{model.name} takes {shape}: footseg feeds images (batch, height, width, 3)")
    if (images, maps) != (1, 1):
        raise FootsegError(
            f"{model.name} has {images} inputs and {maps} outputs: footseg takes networks of one image in, "
            "one map out; make one of the outputs that you want: keras.Model(model.input, output)"
        )


# ---- the first operations


def _range(model: keras.Model) -> str | None:
    """The range that the first operation on the pixels is made for; None where none tells."""
    if "int" in str(model.inputs[0].dtype):
        return "0-255"
    for call in _first(model):
        numbers = _scale_and_mean(call)
        if numbers is None:
            return None
        scale, mean = numbers
        if scale is not None and scale != 1:
            return "0-255" if scale <= LARGEST_SCALE_OF_BYTES else "0-1" if scale >= 0.5 else None
        if mean is not None and mean != 0:
            return "0-255" if mean > LARGEST_MEAN_OF_FLOATS else "0-1"
    return None


def _first(model: keras.Model) -> Iterator[Call]:
    """The operations on the pixels, one after the other, as long as each is the only one on what it takes.

    Channels that are taken apart and put together in another order are still the pixels.
    """
    graph = functional(model)
    every, pixels = calls(graph), {id(graph.inputs[0])}
    while True:
        using = [call for call in every if pixels.intersection(map(id, call.inputs))]
        if len(using) == 1 and isinstance(using[0].operation, keras.Model):
            yield from _first(using[0].operation)
            return
        if len(using) != 1 and not (using and all(_kind(call) in REORDERING for call in using)):
            return
        if _kind(using[0]) not in REORDERING:
            yield using[0]
        pixels = {id(tensor) for call in using for tensor in call.outputs}


def _kind(call: Call) -> str:
    return type(call.operation).__name__


def _scale_and_mean(call: Call) -> tuple[float | None, float | None] | None:
    """By how much an operation scales pixels and what mean it takes off; None: it does neither."""
    operation, number = call.operation, _constant(call)
    match _kind(call):
        case "Rescaling":
            return float(np.max(np.abs(operation.scale))), None
        case "Normalization":
            return _normalization(operation)
        case "Divide" | "TrueDivide" if number:
            return 1 / number, None
        case "Multiply":
            return number, None
        case "Subtract" | "Add":
            return None, number
    return (None, None) if _kind(call) in {"ZeroPadding2D", "Cast", "Identity", "Reshape"} else None


def _normalization(layer: Any) -> tuple[float | None, float | None]:
    """Scale and mean of a Normalization that has seen data; its mean tells more where it is large."""
    mean = float(np.max(np.abs(keras.ops.convert_to_numpy(layer.mean))))
    deviation = math.sqrt(np.max(keras.ops.convert_to_numpy(layer.variance)))
    has_learnt = mean != 0 or deviation != 1
    scale = 1 / max(deviation, 1e-7) if has_learnt and mean <= LARGEST_MEAN_OF_FLOATS else None
    return scale, mean


def _constant(call: Call) -> float | None:
    """The largest magnitude of the constant that an operation works with, if it has one."""
    given = keras.tree.flatten([call.args, call.kwargs])
    constants = [x for x in given if not isinstance(x, (keras.KerasTensor, str, slice, type(None)))]
    numbers = [x for x in constants if x is not ...]
    return float(np.max(np.abs(keras.ops.convert_to_numpy(numbers[0])))) if numbers else None


# ---- the last operation


def _gives(model: keras.Model) -> str:
    """A name of ``GIVES``."""
    graph = functional(model)
    (output,) = keras.tree.flatten(graph.outputs)
    end, one = ending(last(graph)), output.shape[-1] == 1
    if "int" in str(output.dtype) or end == "classes":
        raise FootsegError(
            f"{model.name} gives the numbers of classes, from which nothing can be trained or converted: "
            "give the network without its argmax"
        )
    if end in ENDS:
        return "foreground" if one else "probabilities"
    if one:
        raise FootsegError(
            f"{model.name} gives one channel, and not by a sigmoid: a logit, a probability, or a class? "
            "Say it with --gives logit or --gives foreground, or end it with a sigmoid"
        )
    return "logits"


def last(graph: Any) -> Call:
    """The call that makes the output, behind those that pass values on; of a model inside, its own last."""
    makers = {id(tensor): call for call in calls(graph) for tensor in call.outputs}
    call = makers[id(keras.tree.flatten(graph.outputs)[0])]
    while isinstance(call.operation, keras.Model) or passes_on(call.operation):
        if isinstance(call.operation, keras.Model):
            return last(functional(call.operation))
        call = makers[id(call.inputs[0])]
    return call


def resized(call: Call, graph: Any) -> bool:
    """Whether what ``call`` makes is brought to another size before it leaves ``graph``."""
    (output,) = keras.tree.flatten(graph.outputs)
    return call.outputs[0].shape[1:3] != output.shape[1:3]


def passes_on(operation: Any) -> bool:
    """Whether an operation leaves it to what is before it what a channel means."""
    kind = type(operation).__name__
    linear = kind == "Activation" and operation.activation is keras.activations.linear
    return linear or kind in {"Cast", "Identity", "Resizing", "Reshape", "UpSampling2D", "Resize"}


def ending(call: Call) -> str:
    """ "sigmoid", "softmax" or "classes" where a call ends a network with one; else "" ."""
    kind = type(call.operation).__name__
    if kind in ("Argmax", "ArgMax", "Greater", "GreaterEqual", "Round"):
        return "classes"
    if kind.lower() in ENDS:
        return kind.lower()
    activation = getattr(call.operation, "activation", None)
    name = getattr(activation, "__name__", type(activation).__name__).lower()
    return name if name in ENDS else ""
