"""U-Net: double convolutions, four poolings, encoder maps concatenated to the decoder's.

Paper: O. Ronneberger, P. Fischer, T. Brox, U-Net: convolutional networks for biomedical image segmentation,
2015, arXiv:1505.04597.

Deviations: "same" padding instead of cropped skips, so that the logits have the size of the image, and
normalisation after the convolutions, neither of which the paper has. With ``base=8`` it is U-Net-B (batch)
and U-Net-G (group normalisation) of W. Wang, K. Yu et al., Recurrent U-Net for resource-constrained
segmentation, 2019, arXiv:1906.04913, whose code, against the text, normalises the encoder only:
``decoder_norm=False``. Convolutions have biases, as in that code and in the paper.
"""

import math

import keras
from keras import layers

from footseg.networks import _blocks as blocks

RECURRENT = "Wang, Yu et al. 2019, Recurrent U-Net, arXiv:1906.04913"

# At 256x256 and two classes.
REFERENCE = {
    "title": "U-Net",
    "paper": "Ronneberger, Fischer and Brox 2015, arXiv:1505.04597",
    "paper_figures": {},
    "parameters": 31_055_362,
    "trainable_parameters": 31_043_586,
    "macs": 48.2e9,
    "variants": {
        "U-Net-B": {
            "options": {"base": 8, "decoder_norm": False},
            "paper": RECURRENT,
            "parameters": 487_810,
            "trainable_parameters": 486_818,
            "macs": 0.766e9,
        },
        "U-Net-G": {
            "options": {"base": 8, "norm": "group", "decoder_norm": False},
            "paper": RECURRENT,
            "parameters": 486_818,
            "trainable_parameters": 486_818,
            "macs": 0.766e9,
        },
        "U-Net-G, normalised everywhere": {
            "options": {"base": 8, "norm": "group"},
            "paper": RECURRENT,
            "parameters": 487_298,
            "trainable_parameters": 487_298,
            "macs": 0.766e9,
        },
    },
}

STAGES = ("encoder1_2_relu", "encoder2_2_relu", "encoder3_2_relu", "encoder4_2_relu", "centre_2_relu")
ENCODER = ("encoder", "centre")

LEVELS = 4


def unet(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    *,
    base: int = 64,
    norm: str = "batch",
    decoder_norm: bool = True,
    dropout: float = 0.0,
) -> keras.Model:
    """Build U-Net: (N, H, W, 3) in [0, 1] -> logits (N, H, W, classes).

    Args:
        input_shape: H and W multiples of 16.
        classes: number of classes, background included.
        base: channels of the first level; each of the four levels below has twice those of the one above.
        norm: "batch", or "group": of min(8, channels) groups, the largest divisor of 8 where 8 is none.
        decoder_norm: whether the decoder's convolutions are normalised, too.
        dropout: rate of the spatial dropout before the classifier.

    Raises:
        ValueError: an option out of its range, or a size that the strides do not divide.
    """
    return assemble(
        "unet", input_shape, classes, base=base, norm=norm, decoder_norm=decoder_norm, dropout=dropout
    )


def assemble(
    name: str,
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    base: int,
    norm: str = "batch",
    decoder_norm: bool = True,
    dropout: float,
) -> keras.Model:
    """U-Net under any name, which is that of its model and in its messages.

    Raises:
        ValueError: as ``unet``.
    """
    blocks.check_choice(name, "norm", norm, ("batch", "group"))
    blocks.check_dropout(dropout)
    blocks.check_input_shape(name, input_shape, 2**LEVELS)
    if base < 1:
        raise ValueError(f"{name} with base {base} leaves its first level without channels: use 1 or more")

    image = keras.Input(input_shape, name="image")
    x, skips = image, []
    for level in range(LEVELS):
        x = _double(x, base << level, norm, f"encoder{level + 1}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"encoder{level + 1}_pool")(x)
    x = _double(x, base << LEVELS, norm, "centre")
    for level in reversed(range(LEVELS)):
        block = f"decoder{level + 1}"
        x = layers.Conv2DTranspose(base << level, 2, 2, name=f"{block}_up")(x)
        x = layers.Concatenate(name=f"{block}_skip")([skips[level], x])
        x = _double(x, base << level, norm if decoder_norm else "", block)
    x = layers.Conv2D(classes, 1, name="classifier")(blocks.drop(x, dropout))
    return keras.Model(image, x, name=name)


def _double(x: keras.KerasTensor, channels: int, norm: str, name: str) -> keras.KerasTensor:
    """Twice: 3x3 convolution, normalisation (none where ``norm`` is ""), ReLU."""
    for part in ("1", "2"):
        x = layers.Conv2D(channels, 3, padding="same", name=f"{name}_{part}_conv")(x)
        if norm == "batch":
            x = blocks.batch_norm(x, f"{name}_{part}_norm")
        elif norm == "group":
            x = layers.GroupNormalization(math.gcd(8, channels), name=f"{name}_{part}_norm")(x)
        x = layers.ReLU(name=f"{name}_{part}_relu")(x)
    return x
