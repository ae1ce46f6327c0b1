"""The few pieces that several networks share."""

import keras
from keras import layers


def check_input_shape(network: str, input_shape: tuple[int, int, int], multiple: int) -> None:
    """Refuse an input size that the network's strides do not divide.

    Raises:
        ValueError: with the nearest size that would work.
    """
    height, width, channels = input_shape
    if channels != 3:
        raise ValueError(f"{network} takes RGB images of 3 channels, not {channels}")
    nearest = tuple(max(multiple, round(side / multiple) * multiple) for side in (height, width))
    if nearest != (height, width):
        raise ValueError(
            f"{network} cannot take {height}x{width}: both sides must be multiples of {multiple}; "
            f"the nearest is {nearest[0]}x{nearest[1]}"
        )


def scaled(channels: int, width: float, network: str) -> int:
    """``channels`` times the width multiplier, in steps of 4 so that a decoder's quarter is whole.

    Raises:
        ValueError: the multiplier leaves a layer without channels.
    """
    number = round(channels * width / 4) * 4
    if number < 4:
        least = 2.000001 / channels
        raise ValueError(
            f"{network} with width {width} leaves a layer of {channels} channels with none: "
            f"use at least {least:.3f}"
        )
    return number


def batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch normalisation with a statistics window for short runs.

    Momentum 0.9 (Keras's default is 0.99): with 30 steps an epoch the running statistics would
    otherwise trail the weights by several epochs and spoil early validation.
    """
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)


def conv_bn_relu(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, *, stride: int = 1
) -> keras.KerasTensor:
    """Convolution, batch normalisation, ReLU."""
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.ReLU(name=f"{name}_relu")(batch_norm(x, f"{name}_bn"))


def up_bn_relu(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, *, stride: int = 2
) -> keras.KerasTensor:
    """Transposed convolution, batch normalisation, ReLU."""
    x = layers.Conv2DTranspose(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_up")(x)
    return layers.ReLU(name=f"{name}_relu")(batch_norm(x, f"{name}_bn"))


def linknet_decoder(x: keras.KerasTensor, filters: int, name: str, *, stride: int = 2) -> keras.KerasTensor:
    """LinkNet's decoder block m -> n: 1x1 to m/4, 3x3 transposed, 1x1 to n (Chaurasia 2017, figure 2).

    No biases: batch normalisation follows each convolution.
    """
    quarter = x.shape[-1] // 4
    x = conv_bn_relu(x, quarter, 1, f"{name}_reduce")
    x = up_bn_relu(x, quarter, 3, f"{name}_mid", stride=stride)
    return conv_bn_relu(x, filters, 1, f"{name}_expand")
