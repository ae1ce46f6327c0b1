"""Rewrite layers into ones that mean the same and run faster on phones. Needs Keras on TensorFlow."""

from typing import Any

import keras
import tensorflow as tf

# XNNPACK works out 8 output channels at a time on Arm and 16 on AVX-512.
NARROW = 8


class PixelConvolution(keras.layers.Conv2DTranspose):
    """A transposed convolution whose kernel is its stride, as a 1x1 convolution and depth_to_space.

    The patches do not overlap, so each input pixel makes its own k x k outputs: exactly a 1x1 convolution
    to k * k * filters channels, laid out in space. As a transposed convolution, FastLinkNet's classifier (2
    output channels) leaves most lanes idle: 11 % of the network's time on one x86 core, 2 % like this.
    """

    def call(self, inputs: Any) -> Any:
        """As ``keras.layers.Conv2DTranspose``: (N, h, w, c) to (N, h * k, w * k, filters)."""
        block = self.kernel_size[0]
        kernel = tf.transpose(self.kernel, (3, 0, 1, 2))
        kernel = tf.reshape(kernel, (1, 1, inputs.shape[-1], block * block * self.filters))
        outputs = tf.nn.conv2d(inputs, kernel, 1, "VALID")
        if self.use_bias:
            # Before depth_to_space, where the converter merges it into the convolution.
            outputs = tf.nn.bias_add(outputs, tf.tile(self.bias, [block * block]))
        return self.activation(tf.nn.depth_to_space(outputs, block))


def lower(model: keras.Model) -> keras.Model:
    """A copy of a functional ``model`` in float32, with narrow transposed convolutions rewritten.

    float32 because a network trained in mixed_float16 does not convert.
    """
    copy = keras.models.clone_model(model, clone_function=_lowered)
    copy.set_weights(model.get_weights())
    return copy


def _lowered(operation: keras.Operation) -> keras.Operation:
    """A layer in float32, or an operation of ``keras.ops``, whose type is that of what it is given."""
    config = operation.get_config()
    if isinstance(operation, keras.layers.Layer):
        config |= {"dtype": "float32"}
    kind = PixelConvolution if _is_narrow_pixel_convolution(operation) else type(operation)
    return kind.from_config(config)


def _is_narrow_pixel_convolution(layer: keras.Operation) -> bool:
    """Wide ones fill their lanes already, and int8 would have to leave depth_to_space in float."""
    return (
        type(layer) is keras.layers.Conv2DTranspose
        and layer.kernel_size == layer.strides
        and len(set(layer.strides)) == 1
        and layer.filters < NARROW
        and layer.dilation_rate == (1, 1)
        and layer.output_padding is None
        and layer.data_format == "channels_last"
    )
