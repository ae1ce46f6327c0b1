"""The kernels that pruning and clustering work on, and which of them a user's patterns mean."""

import difflib
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

# What TFMOT can prune and cluster, of what segmentation networks are made of.
KINDS = frozenset({"Conv2D", "Conv2DTranspose", "Dense", "SeparableConv2D"})
DEPTHWISE = "depthwise: few weights, each of which the network needs"
# A separable convolution's kernel is the pointwise one, which holds nearly all of its weights.
ATTRIBUTES = ("pointwise_kernel", "kernel", "depthwise_kernel")


@dataclass(frozen=True)
class Selection:
    """What is asked of each layer, which of them a pattern named, and why the others are left out."""

    asked: dict[str, Any]
    named: frozenset[str]
    left_out: dict[str, str]


def kernel_of(layer: Any) -> Any:
    """The variable that is the kernel of a Keras 3 or tf_keras layer; None where there is none."""
    found = (getattr(layer, name, None) for name in ATTRIBUTES)
    return next((kernel for kernel in found if kernel is not None), None)


def values_of(layer: keras.Layer) -> np.ndarray:
    """The numbers of a Keras 3 layer's kernel."""
    return keras.ops.convert_to_numpy(kernel_of(layer))


def output_axes(layer: Any) -> tuple[int, ...]:
    """The axes of a layer's kernel that are its output channels, counted from the last one.

    Kernels are (h, w, in, out), of transposed convolutions (h, w, out, in), of depthwise ones (h, w, in,
    multiplier) with in * multiplier channels out, of dense layers (in, out).
    """
    return {"Conv2DTranspose": (-2,), "DepthwiseConv2D": (-2, -1)}.get(type(layer).__name__, (-1,))


def with_kernels(model: Any) -> dict[str, Any]:
    """The layers of a model that have a kernel, by name, in order; a TFMOT wrapper gives what it wraps."""
    layers = [getattr(layer, "layer", layer) for layer in model.layers]
    return {layer.name: layer for layer in layers if kernel_of(layer) is not None}


def select(model: keras.Model, default: Any, layers: Mapping[str, Any], skip: Iterable[str]) -> Selection:
    """What is asked of the layers of ``model``: ``default``, or what the last pattern of ``layers`` says.

    Patterns are of names, with ``*``, ``?`` and ``[...]``. What is 0 or matches ``skip`` is left out.

    Raises:
        ValueError: a pattern that no layer matches, or none that can be compressed; nothing is left.
    """
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    asked: dict[str, Any] = {name: default for name, kind in kinds.items() if kind in KINDS}
    left_out = {layer.name: reason for layer in model.layers if (reason := _why_not(layer))}
    named: set[str] = set()
    for pattern, value in layers.items():
        matched = _matched(pattern, kinds, model.name)
        possible = asked.keys() & set(matched)
        if not possible:
            first = matched[0]
            why = left_out.get(first, "it has no kernel")
            raise ValueError(
                f"{pattern!r} names no layer that can be compressed: {first} ({kinds[first]}) cannot, {why}"
            )
        asked.update(dict.fromkeys(possible, value))
        named |= possible
    skipped = {name for pattern in skip for name in _matched(pattern, kinds, model.name)}
    off = [name for name, value in asked.items() if name in skipped or value == 0]
    left_out.update(dict.fromkeys(off, "asked for"))
    chosen = {name: value for name, value in asked.items() if name not in off}
    if not chosen:
        raise ValueError(
            f"no layer of {model.name} is left to compress: it needs one of {', '.join(sorted(KINDS))} "
            "that is not skipped"
        )
    return Selection(chosen, frozenset(named & chosen.keys()), left_out)


def _why_not(layer: keras.Layer) -> str:
    """Why a layer with weights of more than one axis is none to compress; "" where it is one."""
    kind = type(layer).__name__
    if kind in KINDS:
        return ""
    if hasattr(layer, "layers"):
        return "a model inside the model: its layers are not reached"
    if kind == "DepthwiseConv2D":
        return DEPTHWISE
    large = any(len(weight.shape) > 1 for weight in layer.weights)
    return f"{kind}: pruning and clustering are for {', '.join(sorted(KINDS))}" if large else ""


def _matched(pattern: str, names: Iterable[str], model: str) -> list[str]:
    names = list(names)
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        (nearest,) = difflib.get_close_matches(pattern, names, n=1, cutoff=0.0)
        raise ValueError(f"no layer of {model} matches {pattern!r}: the nearest is {nearest!r}")
    return found
