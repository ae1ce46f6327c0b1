"""FastLinkNet: LinkNet's layout, MobileNet's separable convolutions, half the resolution.

Paper: A. Demborg, Real-time segmentation of feet on smartphone, KTH 2018, section 3.2.4; the layout is
LinkNet's (Chaurasia and Culurciello 2017, arXiv:1707.03718), the separable convolutions and the
resolution multiplier are MobileNet's (Howard et al. 2017, arXiv:1704.04861).

The thesis gives no layer table. What is chosen here, each as its parameter count (7.2 MB) allows:
the image is averaged 2x2, the encoder's 3x3 convolutions are depthwise + pointwise without
normalisation between, stem, projections, decoder and tail are LinkNet's own, and the logits (not the
mask) are resized back. The first block has stride 1 as in LinkNet's released code; ``first_stride=2`` is
its figure.
"""

import keras
from keras import layers

from footseg.networks import _blocks as blocks

REFERENCE = {
    "title": "FastLinkNet",
    "paper": "Demborg 2018, Real-time segmentation of feet on smartphone, section 3.2.4",
    "paper_figures": {"size_mb": 7.2, "flops_tf_benchmark": 0.287e9, "iou": 0.9148, "latency_ms": 73},
    # At 256x256 and two classes; see ARCHITECTURE.md for how each is counted.
    "parameters": 1_810_818,
    "trainable_parameters": 1_799_106,
    "conv_weights": 1_787_392,
}

WIDTHS = (64, 128, 256, 512)


def fast_linknet(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    *,
    width: float = 1.0,
    downscale: int = 2,
    first_stride: int = 1,
    dropout: float = 0.1,
) -> keras.Model:
    """Build FastLinkNet: (N, H, W, 3) in [0, 1] -> logits (N, H, W, classes).

    Args:
        input_shape: H and W multiples of 32 * ``downscale`` * ``first_stride``.
        classes: number of classes, background included.
        width: multiplies every channel count (MobileNet's alpha).
        downscale: 1 or 2: the network works at 1/``downscale`` of the input's resolution.
        first_stride: 1 (released LinkNet code) or 2 (LinkNet's figure) of the first encoder block.
        dropout: rate of the spatial dropout before the classifier.

    Raises:
        ValueError: an option out of its range, or a size that the strides do not divide.
    """
    if downscale not in (1, 2) or first_stride not in (1, 2):
        raise ValueError(f"downscale and first_stride are 1 or 2, not {downscale} and {first_stride}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a rate in [0, 1), not {dropout}")
    blocks.check_input_shape("fast_linknet", input_shape, 32 * downscale * first_stride)
    widths = [blocks.scaled(channels, width, "fast_linknet") for channels in WIDTHS]

    image = keras.Input(input_shape, name="image")
    x = layers.AveragePooling2D(downscale, name="downscale")(image) if downscale > 1 else image
    x = blocks.conv_bn_relu(x, widths[0], 7, "stem", stride=2)
    x = layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)

    skips = []
    for stage, channels in enumerate(widths, start=1):
        skips.append(x)
        stride = first_stride if stage == 1 else 2
        x = _encoder_block(x, channels, stride, f"encoder{stage}_a")
        x = _encoder_block(x, channels, 1, f"encoder{stage}_b")

    for stage in (4, 3, 2, 1):
        skip = skips[stage - 1]
        stride = first_stride if stage == 1 else 2
        x = blocks.linknet_decoder(x, skip.shape[-1], f"decoder{stage}", stride=stride)
        x = layers.Add(name=f"decoder{stage}_add")([x, skip])
        x = layers.ReLU(name=f"decoder{stage}_out")(x)

    tail = blocks.scaled(32, width, "fast_linknet")
    x = blocks.up_bn_relu(x, tail, 3, "tail1")
    x = blocks.conv_bn_relu(x, tail, 3, "tail2")
    if dropout:
        x = layers.SpatialDropout2D(dropout, name="dropout")(x)
    x = layers.Conv2DTranspose(classes, 2, 2, padding="same", name="classifier")(x)
    if downscale > 1:
        x = layers.UpSampling2D(downscale, interpolation="bilinear", name="logits")(x)
    return keras.Model(image, x, name="fast_linknet")


def _encoder_block(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    """ResNet-18's basic block with its two 3x3 convolutions separable."""
    y = _separable(x, channels, stride, f"{name}_1")
    y = layers.ReLU(name=f"{name}_1_relu")(y)
    y = _separable(y, channels, 1, f"{name}_2")
    if stride != 1 or x.shape[-1] != channels:
        x = layers.Conv2D(channels, 1, stride, use_bias=False, name=f"{name}_project_conv")(x)
        x = blocks.batch_norm(x, f"{name}_project_bn")
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([y, x]))


def _separable(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    """Depthwise 3x3 then pointwise, normalised once, as the parameter count of the thesis allows."""
    x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_pointwise")(x)
    return blocks.batch_norm(x, f"{name}_bn")
