"""The int8 file of a network that is not trained: as large and as fast as the trained one's.

What a file costs follows from its layers, not from the values in them, so that it can be known before hours
of training. Its masks mean nothing.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from footseg import files
from footseg.data.folder import open_data
from footseg.description import Description
from footseg.export import freeze, metadata, quantize, tflite
from footseg.export.conversion import conversion

# Only that tensors have ranges: how wide they are changes no instruction.
IMAGES = 4
# Added to the weights, as a deviation. What training begins with at exactly 0 or 1, as a branch's last
# normalisation, would leave tensors with one value, which stay in float, and biases that the file keeps once:
# a FastLinkNet of a quarter of the width had 213592 bytes without it, 224528 with it and once it was trained.
NOISE = 0.01
# As long as the hash of a trained model, which the file would name.
NO_PARENT = "0" * 64


def int8_file(network: Any, data_dir: Path, out: Path) -> Path:
    """Write the int8 ``.tflite`` that ``footseg export`` would make of ``network`` once it is trained.

    ``network`` is a functional Keras model; some training images of ``data_dir`` calibrate it.

    Raises:
        FootsegError: Keras is not on TensorFlow, no data, or a conversion that failed.
        MissingExtraError: a package that the conversion needs is not installed.
    """
    height, width, _ = network.inputs[0].shape[1:]
    images = quantize.calibration(data_dir, (height, width), IMAGES, seed=0).images
    lowered = _lowered(network)
    with tempfile.TemporaryDirectory(prefix="footseg-untrained-") as folder:
        fp32 = Path(folder) / "fp32.tflite"
        fp32.write_bytes(tflite.convert(freeze.freeze(lowered, Path(folder) / "saved_model")))
        said = Description(
            network.name, open_data(data_dir).classes, (height, width), recipe="int8", parent=NO_PARENT
        )
        files.write_bytes(out, metadata.describe(quantize.quantize(fp32, "int8", images), said))
    tflite.check_graph(out)
    return out


def _lowered(network: Any) -> Any:
    """A copy, lowered for inference, with every weight moved a little."""
    with conversion("lowering the network"):
        freeze.keras_on_tensorflow()
        from footseg.export.lowering import lower

        copy, generator = lower(network), np.random.default_rng(0)
        copy.set_weights([_disturbed(weight, generator) for weight in copy.get_weights()])
        return copy


def _disturbed(weight: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every value moved a little away from 0: variances stay above it."""
    return weight + np.abs(generator.normal(scale=NOISE, size=weight.shape)).astype(weight.dtype)
