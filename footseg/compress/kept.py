"""What earlier compression made of a network's kernels, and keeping it while later steps train them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from footseg.compress.kernels import values_of, with_kernels
from footseg.errors import FootsegError

# A kernel is pruned from this share of zeros on: training leaves none by itself.
PRUNED = 0.2
# A kernel is clustered where it has at most so many values, and fewer than this share of its weights.
MOST_VALUES, VALUES_PER_WEIGHT = 256, 0.25


@dataclass(frozen=True, eq=False)
class Held:
    """What holds in one kernel.

    ``zero`` is true where it must be zero; ``groups`` numbers its weights from 0, the same number for those
    that must be equal (None: free). Both have the kernel's shape.
    """

    zero: np.ndarray
    groups: np.ndarray | None


@dataclass(frozen=True)
class Kept:
    """Zeros that stay zero and weights that stay equal, by layer."""

    layers: Mapping[str, Held]

    @classmethod
    def of(cls, model: keras.Model) -> "Kept":
        """What holds in the kernels of a Keras 3 ``model`` with 20 % zeros or more, or few shared values."""
        held = {name: _held(values_of(layer)) for name, layer in with_kernels(model).items()}
        return cls({name: found for name, found in held.items() if found is not None})

    def project(self, variables: Mapping[str, Any]) -> None:
        """Give kernels, ``tf.Variable`` by layer, the nearest values that hold: zeros, and means of groups.

        For use after an optimizer's step, also inside a ``tf.function``. Layers not given are passed over.
        """
        for name in self.layers.keys() & variables.keys():
            _project(variables[name], self.layers[name])

    def check(self, model: keras.Model) -> None:
        """Hold a Keras 3 ``model`` to it, bit for bit.

        Raises:
            FootsegError: layers that lost zeros or shared values; all are named.
        """
        layers = with_kernels(model)
        lost = [
            f"{name} {why}" for name, held in self.layers.items() if (why := _broken(layers.get(name), held))
        ]
        if lost:
            raise FootsegError(
                f"{model.name} lost what earlier compression had made: {'; '.join(lost)}. "
                "Retrain it with footseg compress, which keeps zeros and shared values"
            )


def _held(values: np.ndarray) -> Held | None:
    zero = values == 0
    found, groups = np.unique(values, return_inverse=True)
    if len(found) <= MOST_VALUES and len(found) < VALUES_PER_WEIGHT * values.size:
        return Held(zero, groups.reshape(values.shape).astype(np.int32))
    return Held(zero, None) if zero.mean() >= PRUNED else None


def _project(variable: Any, held: Held) -> None:
    import tensorflow as tf

    with tf.init_scope():  # captured by a tf.function, not written into its graph
        used = tf.constant(~held.zero, variable.dtype)
    if held.groups is None:
        variable.assign(variable * used)
        return
    with tf.init_scope():
        groups = tf.constant(held.groups)
        counts = tf.constant(np.bincount(held.groups.ravel()), tf.float64)
    # float64: a float32 sum of 100,000 equal numbers is off by up to 1e-3, at every step anew.
    # bincount: 1 ms for 600,000 weights where unsorted_segment_sum takes 56.
    weights = tf.cast(tf.reshape(variable, [-1]), tf.float64)
    sums = tf.math.bincount(tf.reshape(groups, [-1]), weights, minlength=len(counts), dtype=tf.float64)
    means = tf.cast(sums / counts, variable.dtype)
    variable.assign(tf.gather(means, groups) * used)


def _broken(layer: keras.Layer | None, held: Held) -> str:
    """What a layer lost, in words; "" where all holds."""
    if layer is None:
        return "(no such layer any more)"
    values = values_of(layer)
    if values.shape != held.zero.shape:
        return f"(its kernel is {values.shape} now, not {held.zero.shape})"
    if lost := int(np.count_nonzero(values[held.zero])):
        return f"({lost} of {np.count_nonzero(held.zero)} zeros)"
    if held.groups is not None:
        numbers, first = np.unique(held.groups, return_index=True)
        if (values != values.ravel()[first][held.groups]).any():
            return f"({len(np.unique(values))} values instead of {len(numbers)})"
    return ""
