"""LinkNet: ResNet-18 encoder, light decoders, encoder maps added to the decoder's.

Paper: A. Chaurasia, E. Culurciello, LinkNet: exploiting encoder representations for efficient semantic
segmentation, 2017, arXiv:1707.03718. The encoder is ResNet-18 (He et al. 2016, arXiv:1512.03385).

The paper and its released code disagree on the first encoder block, whose stride is 1 in the code (the
deepest map has 1/32 of the resolution) and 2 in the paper's figure (1/64); ``first_stride`` is either. The
thesis built the figure: only so are its FLOPs 1.75 G.

Convolutions of decoder and tail have biases though batch normalisation follows, as in the released code;
FastLinkNet and MobileSeg, which borrow the decoder, have none. Deviation: spatial dropout before the
classifier, whose rate the thesis searches (section 3.4).
"""

from collections.abc import Callable

import keras
from keras import layers

from footseg.networks import _blocks as blocks

Convolution = Callable[[keras.KerasTensor, int, int, str], keras.KerasTensor]

# At 256x256 and two classes; a parameter count is Keras's, with the statistics of batch normalisation.
REFERENCE = {
    "title": "LinkNet",
    "paper": "Chaurasia and Culurciello 2017, arXiv:1707.03718",
    "paper_figures": {"parameters": 11.5e6, "flops": 21.2e9, "at": "640x360"},
    "parameters": 11_546_210,
    "trainable_parameters": 11_534_498,
    "macs": 2.683e9,
    "flops_tf_benchmark": 5.132e9,
    "variants": {
        "as in the thesis": {
            "options": {"first_stride": 2},
            "paper": "Demborg 2018, section 3.2.2",
            "paper_figures": {"size_mb": 45, "flops_tf_benchmark": 1.75e9, "iou": 0.9145, "latency_ms": 234},
            "parameters": 11_550_562,
            "trainable_parameters": 11_538_722,
            "macs": 0.967e9,
            "flops_tf_benchmark": 1.755e9,
        },
    },
}

STAGES = ("stem_relu", "encoder1_b_out", "encoder2_b_out", "encoder3_b_out", "encoder4_b_out")
ENCODER = ("stem_", "encoder")

WIDTHS = (64, 128, 256, 512)
TAIL = 32


def linknet(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    *,
    width: float = 1.0,
    first_stride: int = 1,
    dropout: float = 0.1,
) -> keras.Model:
    """Build LinkNet: (N, H, W, 3) in [0, 1] -> logits (N, H, W, classes).

    Args:
        input_shape: H and W multiples of 32 * ``first_stride``.
        classes: number of classes, background included.
        width: multiplies every channel count.
        first_stride: 1 (released code) or 2 (paper's figure, thesis) of the first encoder block.
        dropout: rate of the spatial dropout before the classifier.

    Raises:
        ValueError: an option out of its range, or a size that the strides do not divide.
    """
    return assemble(
        "linknet", _full, input_shape, classes,
        width=width, first_stride=first_stride, dropout=dropout, decoder_bias=True,
    )  # fmt: skip


def assemble(
    name: str,
    convolution: Convolution,
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float,
    first_stride: int,
    dropout: float,
    downscale: int = 1,
    decoder_bias: bool = False,
) -> keras.Model:
    """LinkNet's layout with any ``convolution(x, filters, stride, name)`` in its encoder's 3x3 places.

    Raises:
        ValueError: as ``linknet``; ``name`` is the network that the message names.
    """
    blocks.check_choice(name, "first_stride", first_stride, (1, 2))
    blocks.check_choice(name, "downscale", downscale, (1, 2, 4))
    blocks.check_dropout(dropout)
    blocks.check_input_shape(name, input_shape, 32 * downscale * first_stride)
    *widths, tail = (blocks.scaled(channels, width, name, thinnest=TAIL) for channels in (*WIDTHS, TAIL))

    image = keras.Input(input_shape, name="image")
    x = blocks.conv_bn_relu(blocks.shrink(image, downscale), widths[0], 7, "stem", stride=2)
    x = layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)

    skips = []
    strides = (first_stride, 2, 2, 2)
    for stage, (channels, stride) in enumerate(zip(widths, strides, strict=True), start=1):
        skips.append(x)
        x = _residual(x, convolution, channels, stride, f"encoder{stage}_a")
        x = _residual(x, convolution, channels, 1, f"encoder{stage}_b")

    for stage in (4, 3, 2, 1):
        skip = skips[stage - 1]
        block = f"decoder{stage}"
        x = blocks.linknet_decoder(x, skip.shape[-1], block, stride=strides[stage - 1], bias=decoder_bias)
        x = blocks.add_skip(x, skip, block)

    x = blocks.linknet_tail(x, tail, classes, dropout, bias=decoder_bias)
    return keras.Model(image, blocks.enlarge(x, downscale), name=name)


def _residual(
    x: keras.KerasTensor, convolution: Convolution, channels: int, stride: int, name: str
) -> keras.KerasTensor:
    """ResNet-18's basic block; a projection where the shape changes."""
    y = blocks.batch_norm(convolution(x, channels, stride, f"{name}_1"), f"{name}_1_bn")
    y = layers.ReLU(name=f"{name}_1_relu")(y)
    y = blocks.batch_norm(convolution(y, channels, 1, f"{name}_2"), f"{name}_2_bn")
    if stride != 1 or x.shape[-1] != channels:
        x = layers.Conv2D(channels, 1, stride, use_bias=False, name=f"{name}_project_conv")(x)
        x = blocks.batch_norm(x, f"{name}_project_bn")
    return blocks.add_skip(y, x, name)


def _full(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    return layers.Conv2D(channels, 3, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
