"""Zeros and shared values, kept through training: against projections worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from footseg.compress.kept import Kept
from footseg.compress.kernels import kernel_of, with_kernels
from footseg.errors import FootsegError
from tests.retraining import kernel, little, set_kernel


def pruned_and_shared() -> np.ndarray:
    """A kernel of "conv" (216 weights) with zero, -0.5, 0.25 and 2 in turn: 54 of each."""
    return np.resize(np.float32([0, -0.5, 0.25, 2]), (3, 3, 3, 8))


def test_what_counts_as_made() -> None:
    model = little()
    assert Kept.of(model).layers == {}  # random weights: nothing to keep
    set_kernel(model, "conv", pruned_and_shared())
    up = kernel(model, "up").ravel()
    up[:38] = 0  # of 192: 19.8 %, too few to have been pruned
    set_kernel(model, "up", up.reshape(2, 2, 6, 8))
    head = np.linspace(1, 2, 12)
    head[:3] = 0  # of 12: 25 %
    set_kernel(model, "head", head.reshape(6, 2))
    separable = np.resize(np.float32([1, 2]), (1, 1, 8, 8))
    set_kernel(model, "separable", separable)

    kept = Kept.of(model)
    assert list(kept.layers) == ["conv", "separable", "head"]
    assert kept.layers["head"].groups is None
    assert kept.layers["head"].zero.sum() == 3
    groups = kept.layers["conv"].groups
    assert groups is not None
    assert groups.ravel()[:4].tolist() == [1, 0, 2, 3]  # the values in ascending order: -0.5, 0, 0.25, 2
    assert not kept.layers["separable"].zero.any()


def test_projection_by_hand() -> None:
    model = little()
    set_kernel(model, "conv", pruned_and_shared())
    set_kernel(model, "head", [[0, 1], [0, 3], [0, 5], [7, 8], [9, 10], [11, 12]])
    kept = Kept.of(model)
    change = np.zeros(216, np.float32)
    change[[0, 1, 2, 4]] = [100, 54, -5.4, 7]  # zeros move, -0.5 by 54 / 54, 0.25 by -5.4 / 54
    conv = tf.Variable(pruned_and_shared() + change.reshape(3, 3, 3, 8))
    head = tf.Variable(np.arange(12, dtype=np.float32).reshape(6, 2))
    other = tf.Variable([1.0, 2.0])

    @tf.function
    def after_step() -> None:
        kept.project({"conv": conv, "head": head, "other": other})

    after_step()
    # float32 holds 0.15 to 1e-8; the other values are exact.
    assert conv.numpy().ravel()[:4] == pytest.approx([0, 0.5, 0.15, 2], abs=1e-7)
    assert (conv.numpy() == np.resize(conv.numpy().ravel()[:4], (3, 3, 3, 8))).all()
    assert head.numpy().tolist() == [[0, 1], [0, 3], [0, 5], [6, 7], [8, 9], [10, 11]]
    assert other.numpy().tolist() == [1, 2]


def test_projection_of_what_holds_changes_nothing() -> None:
    """A mean of many equal float32 numbers must not drift: it is taken at every step."""
    values = np.resize(np.float32([0.1, -0.3, 0.7]), 300_000)
    model = little()
    held = Kept.of(model)
    from footseg.compress import kept as module

    found = module._held(values)
    assert found is not None
    variable = tf.Variable(values)
    for _ in range(3):
        Kept({"a": found}).project({"a": variable})
    assert (variable.numpy() == values).all()
    assert held.layers == {}


def test_project_and_check() -> None:
    model = little()
    set_kernel(model, "conv", pruned_and_shared())
    set_kernel(model, "head", [[0, 1], [0, 3], [0, 5], [7, 8], [9, 10], [11, 12]])
    kept = Kept.of(model)
    kept.check(model)
    drifted = little()
    with pytest.raises(FootsegError) as failure:
        kept.check(drifted)
    assert "conv (54 of 54 zeros)" in str(failure.value)
    assert "head (3 of 3 zeros)" in str(failure.value)

    mended = keras.models.clone_model(drifted)
    mended.set_weights(drifted.get_weights())
    kept.project({name: kernel_of(layer).value for name, layer in with_kernels(mended).items()})
    kept.check(mended)
    assert (kernel(mended, "up") == kernel(drifted, "up")).all()
    assert mended.get_layer("conv").get_weights()[1].tolist() == [0] * 8

    merged = np.where(pruned_and_shared() == 2, 0.25, pruned_and_shared())
    set_kernel(mended, "conv", merged)
    kept.check(mended)  # fewer values are as good: equal weights are still equal
    merged[0, 0, 0, 1] = 0.75
    set_kernel(mended, "conv", merged)
    with pytest.raises(FootsegError, match=r"conv \(4 values instead of 4\)"):
        kept.check(mended)
