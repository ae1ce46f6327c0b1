"""The few pieces that several networks share."""

import math
from collections.abc import Collection

import keras
from keras import layers

from footseg.errors import did_you_mean


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


def check_choice(network: str, option: str, value: object, choices: Collection[object]) -> None:
    """Refuse a value that is none of the option's choices.

    Raises:
        ValueError: the choices are listed, the nearest first.
    """
    if value not in choices:
        hint = did_you_mean(str(value), map(str, choices))
        raise ValueError(f"{network} has no {option} {value!r}: {hint}")


def check_dropout(dropout: float) -> None:
    """Refuse a rate outside [0, 1).

    Raises:
        ValueError: it is.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a rate in [0, 1), not {dropout}")


def scaled(channels: int, width: float, network: str, *, thinnest: int | None = None) -> int:
    """``channels`` times the width multiplier, in steps of 4 so that a decoder's quarter is whole.

    ``thinnest`` is the fewest channels that any layer of the network has, where that is not this one: the
    width that the error asks for is then enough for all.

    Raises:
        ValueError: the multiplier leaves a layer without channels.
    """
    least = min(channels, thinnest or channels)
    if not least * width > 2 or not math.isfinite(width):  # 2 is rounded to no step of 4
        raise ValueError(
            f"{network} with width {width} leaves a layer of {least} channels with none: "
            f"use at least {math.ceil(2000.001 / least) / 1000}"
        )
    return round(channels * width / 4) * 4


def shrink(image: keras.KerasTensor, downscale: int) -> keras.KerasTensor:
    """The image at 1/``downscale`` of its resolution: the mean of each square of pixels."""
    return layers.AveragePooling2D(downscale, name="downscale")(image) if downscale > 1 else image


def enlarge(logits: keras.KerasTensor, downscale: int) -> keras.KerasTensor:
    """Logits back at the image's resolution, bilinearly; what ``shrink`` took is not brought back."""
    if downscale == 1:
        return logits
    return layers.UpSampling2D(downscale, interpolation="bilinear", name="logits")(logits)


def batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch normalisation with a statistics window for short runs.

    Momentum 0.9 (Keras's default is 0.99): with 30 steps an epoch the running statistics would
    otherwise trail the weights by several epochs and spoil early validation.
    """
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)


def conv_bn_relu(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, *, stride: int = 1, bias: bool = False
) -> keras.KerasTensor:
    """Convolution, batch normalisation, ReLU."""
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=bias, name=f"{name}_conv")(x)
    return layers.ReLU(name=f"{name}_relu")(batch_norm(x, f"{name}_bn"))


def up_bn_relu(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, *, stride: int = 2, bias: bool = False
) -> keras.KerasTensor:
    """Transposed convolution, batch normalisation, ReLU."""
    x = layers.Conv2DTranspose(filters, kernel, stride, padding="same", use_bias=bias, name=f"{name}_up")(x)
    return layers.ReLU(name=f"{name}_relu")(batch_norm(x, f"{name}_bn"))


def linknet_decoder(
    x: keras.KerasTensor, filters: int, name: str, *, stride: int = 2, bias: bool = False
) -> keras.KerasTensor:
    """LinkNet's decoder block m -> n: 1x1 to m/4, 3x3 transposed, 1x1 to n (Chaurasia 2017, figure 2)."""
    quarter = x.shape[-1] // 4
    x = conv_bn_relu(x, quarter, 1, f"{name}_reduce", bias=bias)
    x = up_bn_relu(x, quarter, 3, f"{name}_mid", stride=stride, bias=bias)
    return conv_bn_relu(x, filters, 1, f"{name}_expand", bias=bias)


def add_skip(x: keras.KerasTensor, skip: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """LinkNet's link: the encoder's map of the same size and channels is added, then ReLU."""
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, skip]))


def linknet_tail(
    x: keras.KerasTensor, filters: int, classes: int, dropout: float, *, bias: bool = False
) -> keras.KerasTensor:
    """LinkNet's end: a quarter of the resolution to logits at the whole of it (Chaurasia 2017, figure 1)."""
    x = up_bn_relu(x, filters, 3, "tail1", bias=bias)
    x = conv_bn_relu(x, filters, 3, "tail2", bias=bias)
    return layers.Conv2DTranspose(classes, 2, 2, padding="same", name="classifier")(drop(x, dropout))


def drop(x: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """Spatial dropout (whole channels) before the classifier; no layer where the rate is 0."""
    return layers.SpatialDropout2D(dropout, name="dropout")(x) if dropout else x
