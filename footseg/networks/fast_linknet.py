"""FastLinkNet: LinkNet's layout, MobileNet's separable convolutions, half the resolution.

Paper: A. Demborg, Real-time segmentation of feet on smartphone, KTH 2018, section 3.2.4; the layout is
LinkNet's (Chaurasia and Culurciello 2017, arXiv:1707.03718), the separable convolutions and the two
multipliers are MobileNet's (Howard et al. 2017, arXiv:1704.04861).

The thesis gives no layer table. What is chosen here, each as its parameter count (7.2 MB) allows:
the image is averaged 2x2, the encoder's 3x3 convolutions are depthwise + pointwise without
normalisation between, stem, projections, decoder and tail are LinkNet's own, and the logits (not the
mask) are resized back. The first block has stride 1 as in LinkNet's released code; ``first_stride=2`` is
its figure. The thesis's FLOPs lie between the two.
"""

import keras
from keras import layers

from footseg.networks import linknet as base

# At 256x256 and two classes; see ARCHITECTURE.md for how each is counted.
REFERENCE = {
    "title": "FastLinkNet",
    "paper": "Demborg 2018, Real-time segmentation of feet on smartphone, section 3.2.4",
    "paper_figures": {"size_mb": 7.2, "flops_tf_benchmark": 0.287e9, "iou": 0.9148, "latency_ms": 73},
    "parameters": 1_810_818,
    "trainable_parameters": 1_799_106,
    "conv_weights": 1_787_392,
    "macs": 188.45e6,
    "flops_tf_benchmark": 0.310e9,
    "variants": {
        "first block of stride 2": {
            "options": {"first_stride": 2},
            "parameters": 1_815_170,
            "trainable_parameters": 1_803_330,
            "macs": 0.121e9,
            "flops_tf_benchmark": 0.196e9,
        },
    },
}

STAGES = base.STAGES
ENCODER = base.ENCODER


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
        downscale: 1, 2 or 4: the network works at 1/``downscale`` of the input's resolution (MobileNet's
            resolution multiplier, as a divisor).
        first_stride: 1 (released LinkNet code) or 2 (LinkNet's figure) of the first encoder block.
        dropout: rate of the spatial dropout before the classifier.

    Raises:
        ValueError: an option out of its range, or a size that the strides do not divide.
    """
    return base.assemble(
        "fast_linknet", _separable, input_shape, classes,
        width=width, first_stride=first_stride, dropout=dropout, downscale=downscale,
    )  # fmt: skip


def _separable(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    """Depthwise 3x3 then pointwise, not normalised between, as the parameter count of the thesis allows."""
    x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    return layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_pointwise")(x)
