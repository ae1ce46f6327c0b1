"""Shared values that stay shared in an int8 file.

Clustering gives a kernel a few values. The file's weights have each output channel's normalisation folded in
and are quantized with a scale for each channel, from that channel's largest weight: the same shared value
becomes another code in every channel, and the file packs as if it had never been clustered. With each
channel's scale taken from the largest value of the whole kernel instead, times what was folded into the
channel, one shared value is one code in all of them. FastLinkNet, 86 % of its weights zero, 16 values:
0.421 MB after gzip instead of 0.465, and the same IoU.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from footseg.export.mix import layer
from footseg.graphs.tflite import read

# The axes of a Keras kernel, in the order of the file's weights: output channels, height, width, inputs.
AXES = {"CONV_2D": (3, 0, 1, 2), "TRANSPOSE_CONV": (2, 0, 1, 3)}
# How far folded weights may be from a channel's factor times its shared values, as a share of the largest:
# they are products of two float32 (6e-8 each), and what was not only scaled is off by far more.
ROUNDING = 1e-5
# Steps of symmetric int8 on each side of 0, and how many ranges are tried.
STEPS, REACHES = 127, 256
# What rounding may move a channel's weights by, as a share of their norm: about what its own range would, for
# normally distributed weights (half a step of 3 deviations / 127). No channel of that FastLinkNet is beyond.
LOSS = 0.01


def clustered_kernels(model: Any) -> dict[str, np.ndarray]:
    """The kernels of a Keras 3 model whose weights share values, by layer name."""
    from footseg.compress.kept import Kept
    from footseg.compress.kernels import values_of

    held = Kept.of(model).layers
    return {
        name: values_of(model.get_layer(name)) for name, found in held.items() if found.groups is not None
    }


def weight_ranges(path: Path, kernels: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """The range {"min", "max"} of each output channel of weights that share values, by tensor name.

    ``path`` is the fp32 file, ``kernels`` as ``clustered_kernels`` gives them. Weights that are not their
    kernel times a factor for each channel are left out.
    """
    if not kernels:
        return {}
    graph, found = read(path), {}
    for operator in graph.operators:
        kernel = kernels.get(layer(operator.name))
        if kernel is None or operator.op not in AXES:
            continue
        weights = graph.tensors[operator.inputs[1]]
        values = np.frombuffer(weights.data or b"", np.float32).reshape(weights.shape or ())
        widest = _widest(values, kernel.transpose(AXES[operator.op]))
        if widest is not None:
            found[weights.name] = {"min": -widest, "max": widest}
    return found


def _widest(weights: np.ndarray, kernel: np.ndarray) -> np.ndarray | None:
    """The kernel's range times each channel's factor, (channels, 1, 1, 1); None if they have none.

    A channel that would lose too much, as it has only small values, gets the range of its own largest weight.
    """
    if weights.shape != kernel.shape:
        return None
    axes = (1, 2, 3)
    squares = (kernel**2).sum(axes, keepdims=True)
    factor = (weights * kernel).sum(axes, keepdims=True) / np.where(squares > 0, squares, 1)
    if np.abs(weights - factor * kernel).max() > ROUNDING * np.abs(weights).max():
        return None
    reach = _reach(kernel)
    lost = ((_rounded(kernel, reach / STEPS) - kernel) ** 2).sum(axes, keepdims=True)
    own = np.abs(weights).max(axes, keepdims=True)
    return np.where(lost <= LOSS**2 * squares, np.abs(factor) * reach, own).astype(np.float32)


def _reach(kernel: np.ndarray) -> float:
    """The range, from the kernel's largest value to twice that, whose steps meet its values best."""
    values, counts = np.unique(np.abs(kernel), return_counts=True)
    reaches = np.linspace(values[-1], 2 * values[-1], REACHES)
    if not values[-1]:
        return 0.0
    errors = [(((_rounded(values, reach / STEPS) - values) ** 2) * counts).sum() for reach in reaches]
    return float(reaches[np.argmin(errors)])


def _rounded(values: np.ndarray, step: float) -> np.ndarray:
    return np.rint(values / step) * step if step else values
