"""ENet: bottleneck blocks, early downsampling, a small decoder that unpools with the encoder's indices.

Paper: A. Paszke, A. Chaurasia, S. Kim, E. Culurciello, ENet: a deep neural network architecture for
real-time semantic segmentation, 2016, arXiv:1606.02147.

As in its released code (e-lab/ENet-training): a quarter of a block's output channels inside it, biases on
the middle convolutions, 5x1 and 1x5 without normalisation between, ReLU in the decoder. Deviation:
batch normalisation keeps a momentum of 0.9.

The thesis's ENet is ten times larger in size and FLOPs than the paper's. ``internal_scale=1`` is the simplest
change that explains both; ``unpool="add"`` is a decoder without indices, as phones of its day could run.
"""

from dataclasses import dataclass, replace

import keras
from keras import layers, ops

from footseg.networks import _blocks as blocks
from footseg.networks._unpool import Positions, max_pool, max_unpool

# At 256x256 and two classes; a parameter count is Keras's, with the statistics of batch normalisation.
REFERENCE = {
    "title": "ENet",
    "paper": "Paszke et al. 2016, arXiv:1606.02147",
    "paper_figures": {"parameters": 0.37e6, "flops": 3.83e9, "at": "640x360"},
    "parameters": 371_558,
    "trainable_parameters": 363_206,
    "macs": 472.4e6,
    "flops_tf_benchmark": 0.935e9,
    "variants": {
        "as in the thesis": {
            "options": {"internal_scale": 1, "unpool": "add"},
            "paper": "Demborg 2018, table 4.2",
            "paper_figures": {
                "size_mb": 15,
                "flops_tf_benchmark": 10.38e9,
                "iou": 0.9117,
                "latency_ms": 1045,
            },
            "parameters": 3_569_630,
            "trainable_parameters": 3_553_118,
            "macs": 4.66e9,
            "flops_tf_benchmark": 9.22e9,
        },
    },
}

STAGES = ("initial_out", "bottleneck1_4_out", "bottleneck2_8_out", "bottleneck3_8_out")
ENCODER = ("initial", "bottleneck1", "bottleneck2", "bottleneck3")

UNPOOLS = ("indices", "add")
INTERNAL_SCALES = (1, 4)
ACTIVATIONS = ("prelu", "relu")
# Channels after the initial block (its pooled image's 3 included), stage 1, stages 2 and 3.
WIDTHS = (16, 64, 128)
# Kernel and dilation of the middle convolutions of bottlenecks 2.1 to 2.8, and again of 3.1 to 3.8 (the
# paper's table 1); 5 stands for 5x1 then 1x5.
MIDDLES = ((3, 1), (3, 2), (5, 1), (3, 4), (3, 1), (3, 8), (5, 1), (3, 16))


def enet(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    *,
    unpool: str = "indices",
    internal_scale: int = 4,
    activation: str = "prelu",
    width: float = 1.0,
    dropout: float = 0.1,
) -> keras.Model:
    """Build ENet: (N, H, W, 3) in [0, 1] -> logits (N, H, W, classes).

    Args:
        input_shape: H and W multiples of 8.
        classes: number of classes, background included.
        unpool: how the decoder enlarges: "indices" puts values where the encoder's maxima stood (the paper),
            "add" resizes bilinearly and adds the encoder's map of that size (the thesis).
        internal_scale: 4 (the paper) or 1: how many times fewer channels there are inside a bottleneck.
        activation: "prelu" (the paper) or "relu", of the encoder; the decoder's is ReLU.
        width: multiplies every channel count.
        dropout: rate of the spatial dropout in the encoder's bottlenecks; the first five have a tenth of it.

    Raises:
        ValueError: an option out of its range, or a size that the strides do not divide.
    """
    blocks.check_choice("enet", "unpool", unpool, UNPOOLS)
    blocks.check_choice("enet", "internal_scale", internal_scale, INTERNAL_SCALES)
    blocks.check_choice("enet", "activation", activation, ACTIVATIONS)
    blocks.check_dropout(dropout)
    blocks.check_input_shape("enet", input_shape, 8)
    initial, first, second = (
        blocks.scaled(channels, width, "enet", thinnest=min(WIDTHS)) for channels in WIDTHS
    )
    block = _Bottleneck(unpool, internal_scale, activation, dropout)
    gentle = replace(block, dropout=dropout / 10)
    decoder = replace(block, activation="relu", dropout=0)

    image = keras.Input(input_shape, name="image")
    x = layers.Conv2D(initial - 3, 3, 2, padding="same", name="initial_conv")(image)
    x = layers.Concatenate(name="initial_concat")([x, layers.MaxPooling2D(2, name="initial_pool")(image)])
    x = block.activate(blocks.batch_norm(x, "initial_bn"), "initial_out")

    x, half = gentle.down(x, first, "bottleneck1_0")
    for index in range(1, 5):
        x = gentle.keep(x, f"bottleneck1_{index}")
    x, quarter = block.down(x, second, "bottleneck2_0")
    for stage in (2, 3):
        for index, (kernel, dilation) in enumerate(MIDDLES, start=1):
            x = block.keep(x, f"bottleneck{stage}_{index}", kernel, dilation)

    x = decoder.up(x, first, quarter, "bottleneck4_0")
    for index in (1, 2):
        x = decoder.keep(x, f"bottleneck4_{index}")
    x = decoder.up(x, initial, half, "bottleneck5_0")
    x = decoder.keep(x, "bottleneck5_1")
    x = layers.Conv2DTranspose(classes, 2, 2, padding="same", name="classifier")(x)
    return keras.Model(image, x, name="enet")


@dataclass(frozen=True)
class _Bottleneck:
    """The three kinds of bottleneck (the paper's figure 2b), as the options shape them.

    Each adds a branch (1x1 to fewer channels, a middle convolution, 1x1 back, dropout) to its input, which
    changes size with it. A ``memory`` is what ``up`` needs of the ``down`` of its size: the maxima's
    positions, or that block's input.
    """

    unpool: str
    internal_scale: int
    activation: str
    dropout: float

    def keep(self, x: keras.KerasTensor, name: str, kernel: int = 3, dilation: int = 1) -> keras.KerasTensor:
        """Same size, same channels."""
        y = self._reduce(x, x.shape[-1], name)
        inner = y.shape[-1]
        if kernel == 5:
            y = layers.Conv2D(inner, (5, 1), padding="same", use_bias=False, name=f"{name}_column")(y)
            y = layers.Conv2D(inner, (1, 5), padding="same", name=f"{name}_row")(y)
        else:
            y = layers.Conv2D(inner, kernel, padding="same", dilation_rate=dilation, name=f"{name}_middle")(y)
        return self._join(x, self._expand(y, x.shape[-1], name), name)

    def down(
        self, x: keras.KerasTensor, channels: int, name: str
    ) -> tuple[keras.KerasTensor, "Positions | keras.KerasTensor"]:
        """Half the size, ``channels`` channels; and the memory for ``up``."""
        memory: Positions | keras.KerasTensor = x
        if self.unpool == "indices":
            pooled, memory = max_pool(x, f"{name}_pool")
        else:
            pooled = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
        pooled = ops.pad(pooled, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))
        y = self._reduce(x, channels, name, stride=2)
        y = layers.Conv2D(y.shape[-1], 3, padding="same", name=f"{name}_middle")(y)
        return self._join(pooled, self._expand(y, channels, name), name), memory

    def up(
        self, x: keras.KerasTensor, channels: int, memory: "Positions | keras.KerasTensor", name: str
    ) -> keras.KerasTensor:
        """Twice the size, ``channels`` channels."""
        y = self._reduce(x, channels, name)
        y = layers.Conv2DTranspose(y.shape[-1], 3, 2, padding="same", name=f"{name}_middle")(y)
        y = self._expand(y, channels, name)
        x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
        x = blocks.batch_norm(x, f"{name}_project_bn")
        if isinstance(memory, Positions):
            return self._join(max_unpool(x, memory), y, name)
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_resize")(x)
        return self._join(layers.Add(name=f"{name}_skip")([x, memory]), y, name)

    def activate(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """ReLU, or PReLU with a slope for each channel that starts at 0.25 (He et al. 2015)."""
        if self.activation == "relu":
            return layers.ReLU(name=name)(x)
        quarter = keras.initializers.Constant(0.25)
        return layers.PReLU(alpha_initializer=quarter, shared_axes=[1, 2], name=name)(x)

    def _reduce(self, x: keras.KerasTensor, channels: int, name: str, stride: int = 1) -> keras.KerasTensor:
        """To the block's inner channels; with a stride, by non-overlapping patches."""
        x = layers.Conv2D(
            channels // self.internal_scale, stride, stride, use_bias=False, name=f"{name}_reduce_conv"
        )(x)
        return self.activate(blocks.batch_norm(x, f"{name}_reduce_bn"), f"{name}_reduce_act")

    def _expand(self, x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
        """From the middle convolution's output to the branch's end."""
        x = self.activate(blocks.batch_norm(x, f"{name}_middle_bn"), f"{name}_middle_act")
        x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = blocks.batch_norm(x, f"{name}_expand_bn")
        return layers.SpatialDropout2D(self.dropout, name=f"{name}_dropout")(x) if self.dropout else x

    def _join(self, x: keras.KerasTensor, branch: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return self.activate(layers.Add(name=f"{name}_add")([x, branch]), f"{name}_out")
