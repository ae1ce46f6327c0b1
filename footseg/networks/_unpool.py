"""Max-pooling that remembers where each maximum stood, and the unpooling that puts values back there.

A 2x2 window is two decisions between pairs: which row holds the maximum, and which pixel of each row. So
an index is no number but two maps of 0 and 1, made of operators that TFLite, its XNNPACK delegate and ONNX
have, on tensors of at most four axes. ``tf.nn.max_pool_with_argmax`` needs TFLite's Flex operators, and
comparisons (EQUAL), SIGN and slices with a stride stay outside XNNPACK: each splits the network once more.
"""

from typing import NamedTuple

import keras
from keras import layers, ops


class Positions(NamedTuple):
    """Where the maximum of each 2x2 window of an (N, H, W, C) map stands, the first of equals; 1 is yes.

    Constants to the gradient, as ceil's derivative is 0 in every backend.
    """

    right: keras.KerasTensor  # (N, H*W/2, 1, C): of a row's pair, the right one holds the pair's maximum
    below: keras.KerasTensor  # (N, H/2, 1, W/2*C): of a window, the lower row does


def max_pool(x: keras.KerasTensor, name: str) -> tuple[keras.KerasTensor, Positions]:
    """2x2 max-pooling with stride 2 of (N, H, W, C), H and W even: the pooled map and the positions."""
    _, height, width, channels = x.shape
    row = layers.MaxPooling2D((1, 2), name=f"{name}_row")(x)
    left, right = _pairs(x, height * width // 2, channels)
    above, below = _pairs(row, height // 2, width // 2 * channels)
    pooled = layers.MaxPooling2D((2, 1), name=name)(row)
    return pooled, Positions(_second(left, right), _second(above, below))


def max_unpool(x: keras.KerasTensor, positions: Positions) -> keras.KerasTensor:
    """(N, h, w, C) to (N, 2h, 2w, C): each value where its window's maximum stood, zeros around it.

    Badrinarayanan et al. 2017 (SegNet), figure 3. Exact: values are multiplied by 0 or 1, and what is
    subtracted from one is 0 or itself.
    """
    _, height, width, channels = x.shape
    rows = _place(ops.reshape(x, (-1, height, 1, width * channels)), positions.below)
    pixels = _place(ops.reshape(rows, (-1, 2 * height * width, 1, channels)), positions.right)
    return ops.reshape(pixels, (-1, 2 * height, 2 * width, channels))


def _place(x: keras.KerasTensor, second: keras.KerasTensor) -> keras.KerasTensor:
    """(N, P, 1, C) to pairs (N, P, 2, C): in the second place where ``second`` is 1, else in the first."""
    moved = x * second
    return ops.concatenate([x - moved, moved], axis=2)


def _pairs(x: keras.KerasTensor, count: int, channels: int) -> list[keras.KerasTensor]:
    """``count`` pairs of neighbours of ``channels`` values: firsts and seconds, both (N, count, 1, C)."""
    return ops.split(ops.reshape(x, (-1, count, 2, channels)), 2, axis=2)


def _second(first: keras.KerasTensor, second: keras.KerasTensor) -> keras.KerasTensor:
    """1 where ``second`` is larger, else 0. Exact: ceil makes 1 of the smallest difference."""
    return ops.minimum(ops.ceil(ops.relu(second - first)), 1.0)
