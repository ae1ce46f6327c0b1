"""TipToe: our own network, for the fewest instructions on an Arm core at FastLinkNet's accuracy.

Not of a paper. What it is made of: residual convolutions (He et al. 2016, ResNet, arXiv:1512.03385) where
maps are large, separable ones (Howard et al. 2017, MobileNet, arXiv:1704.04861) with 5x5 kernels where they
are small, and a thin feature pyramid (Lin et al. 2017, arXiv:1612.03144) in place of LinkNet's decoder.

Its shape follows from instructions of int8 kernels, counted block by block on an emulated Cortex-A76:

* Whole 3x3 convolutions do 10 multiply-accumulates an instruction (at 1/8 and 1/16 of the resolution, 32 and
  56 channels), inverted residuals of MobileNetV2 5, separable 5x5 ones 2 to 3. So stages 2 and 3 have whole
  ones: on composited images 0.625 validation IoU after 8 epochs, where inverted residuals of the same number
  of instructions had 0.596 and FastLinkNet 0.612.
* At 1/32 bytes are what is dear: a whole convolution of 80 channels takes 60 kB, a separable one 10 kB.
* A quarter of the resolution is the largest map that is worked on: one separable block there costs as much
  as two whole ones at 1/16.
* A last bilinear step from half of the resolution took 1.5 million of 18; the classifier makes squares of 4x4
  pixels instead, which export turns into one 1x1 convolution.
"""

from dataclasses import dataclass
from typing import TypeAlias

import keras
from keras import layers

from footseg.networks import _blocks as blocks

Tensor: TypeAlias = keras.KerasTensor

# At 256x256 and two classes.
REFERENCE = {
    "title": "TipToe",
    "paper": "none: our own",
    "paper_figures": {},
    "parameters": 195_386,
    "trainable_parameters": 192_538,
    "macs": 88.324e6,
    "flops_tf_benchmark": 165.544e6,
}

STAGES = ("stage1_out", "stage2_out", "stage3_out", "stage4_out")
ENCODER = ("stem", "stage")

STEM = 16
# Channels of the stages; the first is at a quarter of the resolution, each later one at half of the last.
CHANNELS = (24, 40, 64, 96)
CHOICES: dict[str, tuple[object, ...]] = {
    "downscale": (1, 2, 4),
    "first_stride": (1, 2),
    "whole": (1, 2, 3, 4),
    "kernel": (3, 5),
    "head": (2, 4),
    "activation": ("relu", "relu6", "hard_swish"),
}


def tiptoe(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    *,
    width: float = 1.0,
    downscale: int = 1,
    first_stride: int = 2,
    blocks1: int = 0,
    blocks2: int = 2,
    blocks3: int = 2,
    blocks4: int = 3,
    whole: int = 3,
    kernel: int = 5,
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
        blocks1: residual blocks of stage 1 after the convolution that leads to it, 0 or more; ``blocks2``,
            ``blocks3`` and ``blocks4`` likewise.
        whole: 1 to 4, the last stage with whole 3x3 convolutions; stage 1 and those after it have separable
            ones.
        kernel: 3 or 5, of the separable convolutions after stage 1.
        decoder: channels of the pyramid's upper levels; the lowest has those of stage 1.
        head: 2 or 4: height and width of the squares of pixels that the classifier makes of one of the map;
            what is left to the image's resolution is bilinear.
        activation: relu, relu6 or hard_swish.
        dropout: rate of the spatial dropout before the classifier.

    Raises:
        ValueError: an option out of its range, or a size that the strides do not divide.
    """
    given = (downscale, first_stride, whole, kernel, head, activation)
    for (option, choices), value in zip(CHOICES.items(), given, strict=True):
        blocks.check_choice("tiptoe", option, value, choices)
    counts = (blocks1, blocks2, blocks3, blocks4)
    _check_counts(counts, decoder)
    blocks.check_dropout(dropout)
    blocks.check_input_shape("tiptoe", input_shape, 16 * first_stride * downscale)
    stride = 2 * first_stride * downscale  # of the map that the classifier sees
    if stride < head:
        raise ValueError(f"tiptoe with first_stride {first_stride} needs head {stride}, not {head}")

    stem, *channels = (blocks.scaled(n, width, "tiptoe", thinnest=STEM) for n in (STEM, *CHANNELS))
    block, image = _Block(whole, kernel, activation), keras.Input(input_shape, name="image")
    x = block.whole(blocks.shrink(image, downscale), stem, 3, "stem", stride=2)
    maps = []
    for stage, (filters, count) in enumerate(zip(channels, counts, strict=True), start=1):
        x = block.stage(x, stage, filters, count, first_stride if stage == 1 else 2)
        maps.append(x)
    x = block.active(_pointwise(maps.pop(), decoder, "top"), "top")
    for level, filters in ((3, decoder), (2, decoder), (1, channels[0])):
        x = block.up(x, maps.pop(), filters, f"up{level}")
    x = blocks.drop(x, dropout)
    x = layers.Conv2DTranspose(classes, head, head, padding="same", name="classifier")(x)
    return keras.Model(image, blocks.enlarge(x, stride // head), name="tiptoe")


def _check_counts(counts: tuple[int, ...], decoder: int) -> None:
    for stage, count in enumerate(counts, start=1):
        if count < 0:
            raise ValueError(f"tiptoe takes a blocks{stage} of 0 or more, not {count}")
    if decoder < 1:
        raise ValueError(f"tiptoe takes a decoder of 1 channel or more, not {decoder}")


@dataclass(frozen=True)
class _Block:
    """The network's parts, as its options shape them; with ``residual`` an input is added before the end."""

    last_whole: int
    kernel: int
    activation: str

    def stage(self, x: Tensor, stage: int, channels: int, count: int, stride: int) -> Tensor:
        """A convolution that leads to the stage, and ``count`` residual ones."""
        convolution = self.whole if 1 < stage <= self.last_whole else self.separable
        size = 3 if stage <= self.last_whole else self.kernel
        x = convolution(x, channels, size, f"stage{stage}_down", stride=stride)
        for number in range(count):
            x = convolution(x, channels, size, f"stage{stage}_{number}", residual=True)
        return layers.Activation("linear", name=f"stage{stage}_out")(x)

    def whole(
        self, x: Tensor, channels: int, kernel: int, name: str, *, stride: int = 1, residual: bool = False
    ) -> Tensor:
        """Convolution, normalised."""
        y = layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return self._end(x, blocks.batch_norm(y, f"{name}_bn"), name, residual)

    def separable(
        self, x: Tensor, channels: int, kernel: int, name: str, *, stride: int = 1, residual: bool = False
    ) -> Tensor:
        """Depthwise and 1x1, each normalised."""
        y = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_dw_conv")(x)
        y = self.active(blocks.batch_norm(y, f"{name}_dw_bn"), f"{name}_dw")
        return self._end(x, _pointwise(y, channels, f"{name}_pw"), name, residual)

    def up(self, x: Tensor, skip: Tensor, channels: int, name: str) -> Tensor:
        """One level of the pyramid: twice the resolution, the encoder's map of it added, 3x3 separable.

        Channels are made fewer before the map is made larger, which costs a quarter of the other order.
        """
        if x.shape[-1] != channels:
            x = _pointwise(x, channels, f"{name}_narrow")
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_up")(x)
        x = layers.Add(name=f"{name}_sum")([x, _pointwise(skip, channels, f"{name}_lateral")])
        return self.separable(self.active(x, f"{name}_sum"), channels, 3, name)

    def active(self, x: Tensor, name: str) -> Tensor:
        """The activation."""
        if self.activation == "hard_swish":
            return layers.Activation("hard_swish", name=f"{name}_act")(x)
        return layers.ReLU(6.0 if self.activation == "relu6" else None, name=f"{name}_act")(x)

    def _end(self, x: Tensor, y: Tensor, name: str, residual: bool) -> Tensor:
        return self.active(layers.Add(name=f"{name}_add")([x, y]) if residual else y, name)


def _pointwise(x: Tensor, channels: int, name: str) -> Tensor:
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_conv")(x)
    return blocks.batch_norm(x, f"{name}_bn")
