"""What the tests of compression by retraining share: a little network of many kinds of layers, and a loop."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from footseg.compress.method import LayerChoice, Method


def little(seed: int = 0) -> keras.Model:
    """From (8, 8, 3) images to (8, 8, 2) logits; "conv" (3, 3, 3, 8), "up" (2, 2, 6, 8), "head" (6, 2)."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, 2, padding="same", name="conv")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.PReLU(shared_axes=(1, 2), name="prelu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", name="separable")(x)
    x = layers.Conv2DTranspose(6, 2, 2, name="up")(x)
    return keras.Model(image, layers.Dense(2, name="head")(x), name="little")


def retrain(
    method: Method, model: keras.Model, steps: int, rate: float = 0.01, first: int = 0, run: int | None = None
) -> tuple[Any, LayerChoice]:
    """Wrap ``model`` for ``steps`` steps and train ``run`` of them (all) from ``first`` on, as the loop."""
    import tf_keras

    choice = method.choose(model)
    wrapped = method.wrap(model, choice, steps)
    optimizer = tf_keras.optimizers.AdamW(rate)
    random = np.random.default_rng(1)
    images = tf.constant(random.random((4, 8, 8, 3), np.float32))
    masks = tf.constant(random.integers(0, 2, (4, 8, 8)))

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            logits = wrapped(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(masks, logits))
        gradients = tape.gradient(loss, wrapped.trainable_variables)
        optimizer.apply_gradients(zip(gradients, wrapped.trainable_variables, strict=True))

    for number in range(first, first + (steps if run is None else run)):
        method.before_step(wrapped, number)
        step()
    return wrapped, choice


def kernel(model: Any, name: str) -> np.ndarray:
    """The numbers of a layer's kernel in a Keras 3 model."""
    from footseg.compress.kernels import values_of

    return values_of(model.get_layer(name))


def set_kernel(model: keras.Model, name: str, values: Any) -> None:
    """Set them."""
    from footseg.compress.kernels import kernel_of

    kernel_of(model.get_layer(name)).assign(np.asarray(values, np.float32))
