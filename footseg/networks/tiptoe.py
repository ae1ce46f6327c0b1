"""TipToe: our own network, for the fewest instructions on an Arm core at FastLinkNet's accuracy.

Not of a paper; found by ``footseg search`` in the space ``tiptoe``. What it is made of: inverted residuals
(Sandler et al. 2018, MobileNetV2, arXiv:1801.04381), depthwise 5x5 kernels where maps are small (Howard et
al. 2019, MobileNetV3, arXiv:1905.02244), and a thin feature pyramid (Lin et al. 2017, arXiv:1612.03144) in
place of LinkNet's decoder.

Where the instructions of an int8 file go on an emulated Cortex-A76 (256x256), and what follows from it:

* FastLinkNet spends most of them on maps of 64x64 and more; here those have 16 and 24 channels.
* Channels are multiples of 8, which is what a kernel for Arm works out at a time.
* A last bilinear step from half of the resolution took 8 %; the classifier makes squares of 4x4 pixels
  instead, which export turns into one 1x1 convolution. It does without a map at half of the resolution.
* 5x5 kernels in stage 2, too, cost 9 %: it has 3x3.
"""

import keras
from keras import layers

from footseg.networks import _blocks as blocks

# At 256x256 and two classes.
REFERENCE = {
    "title": "TipToe",
    "paper": "none: found by footseg search",
    "paper_figures": {},
    "parameters": 132_490,
    "trainable_parameters": 127_690,
    "macs": 55.498e6,
    "flops_tf_benchmark": 92.373e6,
}

STAGES = ("stage1_out", "stage2_out", "stage3_out", "stage4_out")
ENCODER = ("stem", "stage")

STEM = 16
# Channels of the stages; the first is at a quarter of the resolution, each later one at half of the last.
CHANNELS = (24, 32, 56, 80)
KERNEL2 = 3
ACTIVATIONS = ("relu", "relu6", "hard_swish")


def tiptoe(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    *,
    width: float = 1.0,
    downscale: int = 1,
    first_stride: int = 2,
    blocks2: int = 2,
    blocks3: int = 3,
    blocks4: int = 2,
    kernel: int = 5,
    expansion: int = 3,
    decoder: int = 32,
    head: int = 4,
    activation: str = "relu",
    dropout: float = 0.1,
) -> keras.Model:
    """Build TipToe: (N, H, W, 3) in [0, 1] -> logits (N, H, W, classes).

    Args:
        input_shape: H and W multiples of 16 * ``first_stride`` * ``downscale``.
        classes: number of classes, background included.
        width: multiplies every channel count of the encoder (MobileNet's alpha).
        downscale: 1, 2 or 4: the network works at 1/``downscale`` of the input's resolution.
        first_stride: 1 or 2 of stage 1, which the resolution of all later maps follows.
        blocks2: blocks of stage 2, 1 or more; ``blocks3`` and ``blocks4`` likewise.
        kernel: 3 or 5, of the depthwise convolutions of stages 3 and 4.
        expansion: of the blocks that keep the resolution, 1 or more; stage 4 has one less, and 2 at least.
        decoder: channels of the pyramid's upper levels; the lowest has those of stage 1.
        head: 2 or 4: height and width of the squares of pixels that the classifier makes of one of the map;
            what is left to the image's resolution is bilinear.
        activation: relu, relu6 or hard_swish.
        dropout: rate of the spatial dropout before the classifier.

    Raises:
        ValueError: an option out of its range, or a size that the strides do not divide.
    """
    for option, value, choices in (
        ("downscale", downscale, (1, 2, 4)),
        ("first_stride", first_stride, (1, 2)),
        ("kernel", kernel, (3, 5)),
        ("head", head, (2, 4)),
        ("activation", activation, ACTIVATIONS),
    ):
        blocks.check_choice("tiptoe", option, value, choices)
    for option, value in (
        ("blocks2", blocks2), ("blocks3", blocks3), ("blocks4", blocks4), ("expansion", expansion),
        ("decoder", decoder),
    ):  # fmt: skip
        if value < 1:
            raise ValueError(f"tiptoe takes a {option} of 1 or more, not {value}")
    blocks.check_dropout(dropout)
    blocks.check_input_shape("tiptoe", input_shape, 16 * first_stride * downscale)
    stride = 2 * first_stride * downscale  # of the map that the classifier sees
    if stride < head:
        raise ValueError(f"tiptoe with first_stride {first_stride} needs head {stride}, not {head}")

    first, *deeper = (blocks.scaled(n, width, "tiptoe", thinnest=STEM) for n in CHANNELS)
    image = keras.Input(input_shape, name="image")
    x = blocks.shrink(image, downscale)
    x = layers.Conv2D(
        blocks.scaled(STEM, width, "tiptoe"), 3, 2, padding="same", use_bias=False, name="stem_conv"
    )(x)
    x = _active(blocks.batch_norm(x, "stem_bn"), activation, "stem_act")
    x = _depthwise(x, 3, first_stride, activation, "stage1_dw")
    x = _active(_pointwise(x, first, "stage1_pw"), activation, "stage1_out")
    maps = [x]
    plans = (
        (blocks2, KERNEL2, expansion),
        (blocks3, kernel, expansion),
        (blocks4, kernel, max(2, expansion - 1)),
    )
    for stage, (channels, (count, size, factor)) in enumerate(zip(deeper, plans, strict=True), start=2):
        x = _stage(x, channels, count, size, factor, activation, f"stage{stage}")
        maps.append(x)

    x = _active(_pointwise(maps.pop(), decoder, "top"), activation, "top_act")
    for level, channels in ((3, decoder), (2, decoder), (1, first)):
        x = _raise(x, maps.pop(), channels, activation, f"up{level}")
    x = layers.Conv2DTranspose(classes, head, head, padding="same", name="classifier")(
        blocks.drop(x, dropout)
    )
    return keras.Model(image, blocks.enlarge(x, stride // head), name="tiptoe")


def _stage(
    x: keras.KerasTensor, channels: int, count: int, kernel: int, factor: int, activation: str, name: str
) -> keras.KerasTensor:
    """Inverted residuals, the first of which halves the resolution and widens by 2 only, as its map is large.

    Projections are linear (MobileNetV2, section 3.2): what ends the stage does nothing but bear its name.
    """
    for number in range(count):
        wide, stride = (2, 2) if number == 0 else (factor, 1)
        x = _inverted_residual(x, channels, kernel, stride, wide, activation, f"{name}_{number}")
    return layers.Activation("linear", name=f"{name}_out")(x)


def _inverted_residual(
    x: keras.KerasTensor, channels: int, kernel: int, stride: int, factor: int, activation: str, name: str
) -> keras.KerasTensor:
    """1x1 to ``factor`` times the channels, depthwise, 1x1 to ``channels``; added to ``x`` where it fits."""
    y = _active(_pointwise(x, x.shape[-1] * factor, f"{name}_expand"), activation, f"{name}_expand_act")
    y = _depthwise(y, kernel, stride, activation, f"{name}_dw")
    y = _pointwise(y, channels, f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 else y


def _raise(
    x: keras.KerasTensor, skip: keras.KerasTensor, channels: int, activation: str, name: str
) -> keras.KerasTensor:
    """One level of the pyramid: twice the resolution, the encoder's map of it added, 3x3 separable.

    Channels are made fewer before the map is made larger, which costs a quarter of the other order.
    """
    if x.shape[-1] != channels:
        x = _pointwise(x, channels, f"{name}_narrow")
    x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_up")(x)
    x = layers.Add(name=f"{name}_add")([x, _pointwise(skip, channels, f"{name}_lateral")])
    x = _depthwise(_active(x, activation, f"{name}_act"), 3, 1, activation, f"{name}_dw")
    return _active(_pointwise(x, channels, f"{name}_pw"), activation, f"{name}_out")


def _pointwise(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_conv")(x)
    return blocks.batch_norm(x, f"{name}_bn")


def _depthwise(
    x: keras.KerasTensor, kernel: int, stride: int, activation: str, name: str
) -> keras.KerasTensor:
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return _active(blocks.batch_norm(x, f"{name}_bn"), activation, f"{name}_act")


def _active(x: keras.KerasTensor, activation: str, name: str) -> keras.KerasTensor:
    if activation == "hard_swish":
        return layers.Activation("hard_swish", name=name)(x)
    return layers.ReLU(6.0 if activation == "relu6" else None, name=name)(x)
