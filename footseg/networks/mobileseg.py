"""MobileSeg: MobileNet's encoder, LinkNet's decoder.

Paper: A. Demborg, Real-time segmentation of feet on smartphone, KTH 2018, section 3.2.3; the encoder is
MobileNet (Howard et al. 2017, arXiv:1704.04861) without its classifier, the decoder LinkNet's (Chaurasia and
Culurciello 2017, arXiv:1707.03718).

The thesis gives no layer table, and its FLOPs (2.68 G) lie between two readings that have the same size: M2,
whose last decoder keeps the resolution and whose tail is LinkNet's own, and M1, whose four decoders all
double it and which adds the encoder's map of half the resolution, too. M2 is the cheaper and the default.
Maps are added where size and channels agree, without projections.

Layers of the encoder have the names and shapes of ``keras.applications.MobileNet``, whose weights they take.
Those expect pixels in [-1, 1], which a layer of the network makes of [0, 1], always: so the network is the
same whether its weights came from a file or not. It cannot be folded into the first convolution, whose zero
padding would then stand for black instead of grey.
"""

from pathlib import Path

import keras
from keras import layers

from footseg.networks import _blocks as blocks
from footseg.networks import _pretrained as pretrained

# At 256x256 and two classes.
REFERENCE = {
    "title": "MobileSeg",
    "paper": "Demborg 2018, Real-time segmentation of feet on smartphone, section 3.2.3",
    "paper_figures": {"size_mb": 18, "flops_tf_benchmark": 2.68e9, "iou": 0.9144, "latency_ms": 555},
    "parameters": 4_570_306,
    "trainable_parameters": 4_544_450,
    "encoder_parameters": 3_228_864,
    "macs": 1.299e9,
    "flops_tf_benchmark": 2.092e9,
    "variants": {
        "M1": {
            "options": {"decoder": "M1"},
            "parameters": 4_570_114,
            "trainable_parameters": 4_544_258,
            "macs": 2.004e9,
            "flops_tf_benchmark": 3.057e9,
        },
    },
}

STAGES = ("conv_pw_1_relu", "conv_pw_3_relu", "conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu")
ENCODER = ("conv1", "conv_dw_", "conv_pw_")

# Channels and stride of the 13 separable blocks (Howard et al. 2017, table 1).
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
# Width: the name it has in Keras's files.
IMAGENET = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/mobilenet_{}_224_tf_no_top.h5"
)


def mobileseg(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    *,
    decoder: str = "M2",
    width: float = 1.0,
    downscale: int = 1,
    encoder_weights: str = "none",
    dropout: float = 0.1,
) -> keras.Model:
    """Build MobileSeg: (N, H, W, 3) in [0, 1] -> logits (N, H, W, classes).

    Args:
        input_shape: H and W multiples of 32 * ``downscale``.
        classes: number of classes, background included.
        decoder: "M2" or "M1", see above.
        width: multiplies every channel count (MobileNet's alpha).
        downscale: 1, 2 or 4: the network works at 1/``downscale`` of the input's resolution (MobileNet's
            resolution multiplier, as a divisor).
        encoder_weights: "none" for random ones, "imagenet" for Keras's (fetched where they are not yet on
            this machine), or a file or run: see ``_pretrained.fill``. Only what the network starts from.
        dropout: rate of the spatial dropout before the classifier.

    Raises:
        ValueError: an option out of its range, or a size that the strides do not divide.
        FootsegError: a file of weights that is not there or does not fit.
    """
    blocks.check_choice("mobileseg", "decoder", decoder, ("M1", "M2"))
    blocks.check_choice("mobileseg", "downscale", downscale, (1, 2, 4))
    blocks.check_dropout(dropout)
    blocks.check_input_shape("mobileseg", input_shape, 32 * downscale)

    def channels(number: int) -> int:
        return blocks.scaled(number, width, "mobileseg", thinnest=32)

    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(2.0, -1.0, name="to_signed")(blocks.shrink(image, downscale))
    x = _normalised(layers.Conv2D(channels(32), 3, 2, padding="same", use_bias=False, name="conv1")(x))
    maps = {}
    for number, (filters, stride) in enumerate(BLOCKS, start=1):
        x = _separable(x, channels(filters), stride, number)
        maps[number] = x

    for stage, filters, skip in ((4, 512, 11), (3, 256, 5), (2, 128, 3)):
        x = blocks.linknet_decoder(x, channels(filters), f"decoder{stage}")
        x = blocks.add_skip(x, maps[skip], f"decoder{stage}")
    if decoder == "M1":
        x = blocks.add_skip(blocks.linknet_decoder(x, channels(64), "decoder1"), maps[1], "decoder1")
        x = blocks.conv_bn_relu(blocks.up_bn_relu(x, channels(32), 3, "tail1"), channels(32), 3, "tail2")
        x = layers.Conv2D(classes, 1, name="classifier")(blocks.drop(x, dropout))
    else:
        x = blocks.linknet_decoder(x, channels(64), "decoder1", stride=1)
        x = blocks.linknet_tail(x, channels(32), classes, dropout)
    network = keras.Model(image, blocks.enlarge(x, downscale), name="mobileseg")

    if encoder_weights != "none":
        pretrained.fill(network, ENCODER, _file(encoder_weights, width))
    return network


def _separable(x: keras.KerasTensor, channels: int, stride: int, number: int) -> keras.KerasTensor:
    """Depthwise 3x3 and pointwise, each normalised.

    At even sizes, which are the only ones here, "same" padding at stride 2 is one row and column after the
    last, which is what Keras's MobileNet pads by a layer of its own.
    """
    depthwise = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"conv_dw_{number}")
    x = _normalised(depthwise(x), f"conv_dw_{number}")
    return _normalised(
        layers.Conv2D(channels, 1, use_bias=False, name=f"conv_pw_{number}")(x), f"conv_pw_{number}"
    )


def _normalised(x: keras.KerasTensor, name: str = "conv1") -> keras.KerasTensor:
    """Batch normalisation and MobileNet's ReLU, which ends at 6."""
    return layers.ReLU(6.0, name=f"{name}_relu")(blocks.batch_norm(x, f"{name}_bn"))


def _file(encoder_weights: str, width: float) -> Path:
    """Where the weights are that ``encoder_weights`` means."""
    if encoder_weights != "imagenet":
        return Path(encoder_weights)
    if width not in IMAGENET:
        raise ValueError(
            f"Keras has ImageNet weights of MobileNet for width {', '.join(map(str, IMAGENET))}, not {width}"
        )
    return pretrained.fetch(IMAGENET_URL.format(IMAGENET[width]))
