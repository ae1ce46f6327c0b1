"""Rewrite layers into ones that mean the same and run faster on phones. Needs Keras on TensorFlow."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from footseg.graphs.keras import as_array, copy_state, rescaling

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


class GroupedConvolution(keras.layers.Conv2D):
    """A convolution in groups as one operator.

    On processors Keras hands it to XLA, in a function of its own, which no converter to ONNX opens.
    """

    def call(self, inputs: Any) -> Any:
        """As ``keras.layers.Conv2D``: (N, H, W, C) to (N, h, w, filters)."""
        outputs = tf.nn.conv2d(
            inputs, self.kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate
        )
        return self.activation(tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs)


class PlainGroupNormalization(keras.layers.GroupNormalization):
    """Group normalization on tensors of four axes, groups averaged by a 1x1 convolution.

    Keras's has five axes, which GPU delegates refuse. U-Net-G at 64x64, one x86 thread: 0.66 of the time.
    """

    def call(self, inputs: Any) -> Any:
        """As ``keras.layers.GroupNormalization``: (N, H, W, C) to the same."""
        size = inputs.shape[-1] // self.groups
        share = np.kron(np.eye(self.groups), np.full((size, size), 1 / size))[None, None]

        def means(values: Any) -> Any:
            of_channels = tf.reduce_mean(values, (1, 2), keepdims=True)
            return tf.nn.conv2d(of_channels, tf.constant(share, tf.float32), 1, "VALID")

        centred = inputs - means(inputs)
        deviation = tf.math.rsqrt(means(tf.square(centred)) + self.epsilon)
        return centred * (deviation * self.gamma) + self.beta


def lower(model: keras.Model) -> keras.Model:
    """A copy of a functional ``model`` in float32, with layers rewritten that phones have better forms of.

    float32 because a network trained in mixed_float16 does not convert.
    """
    copy = keras.models.clone_model(model, clone_function=_lowered, call_function=_called)
    for layer in copy.layers:
        if layer.weights:
            copy_state(model.get_layer(layer.name), layer)
    return copy


def without_plain_groups(model: keras.Model) -> keras.Model:
    """A lowered ``model`` with Keras's own group normalization, of five axes.

    For ONNX Runtime, which has no trouble with these, and whose logits of a U-Net-G are then 1e-5 of their
    spread from Keras's; with ``PlainGroupNormalization`` 3e-4, as it adds up maps in another order.
    """

    def own(operation: keras.Operation) -> keras.Operation:
        is_plain = isinstance(operation, PlainGroupNormalization)
        kind = keras.layers.GroupNormalization if is_plain else type(operation)
        return kind.from_config(operation.get_config())

    copy = keras.models.clone_model(model, clone_function=own, call_function=_called)
    copy.set_weights(model.get_weights())
    return copy


def _called(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
    args, kwargs = keras.tree.map_structure(as_array, (args, kwargs))
    return operation(*args, **kwargs)


def _lowered(operation: keras.Operation) -> keras.Operation:
    """A layer in float32, or an operation of ``keras.ops``, whose type is that of what it is given."""
    operation = rescaling(operation)
    config = operation.get_config()
    if isinstance(operation, keras.layers.Layer):
        config |= {"dtype": "float32"}
    kind = type(operation)
    if _is_grouped_convolution(operation):
        kind = GroupedConvolution
    if _is_narrow_pixel_convolution(operation):
        kind = PixelConvolution
    elif _is_plain_group_normalization(operation):
        kind = PlainGroupNormalization
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


def _is_grouped_convolution(layer: keras.Operation) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.groups > 1
        and layer.padding in ("same", "valid")
        and layer.data_format == "channels_last"
    )


def _is_plain_group_normalization(layer: keras.Operation) -> bool:
    """Of channels that come last, with scale and offset, as networks here have it."""
    return (
        type(layer) is keras.layers.GroupNormalization
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and layer.groups > 0
    )
