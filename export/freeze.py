"""The trained network as a SavedModel with one fixed input, which every converter starts from."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from footseg import runtime
from footseg.errors import FootsegError, require
from footseg.export.conversion import conversion
from footseg.foreign.loading import load_keras

INPUT = "image"
OUTPUT = "logits"
SIGNATURE = "serving_default"


def load_network(path: Path) -> Any:
    """Read a ``model.keras`` and lower it for inference (see ``footseg.export.lowering``).

    Raises:
        FootsegError: Keras runs on another backend than TensorFlow, whose converters this needs, or cannot
            read the file.
        MissingExtraError: TensorFlow or Keras is not installed.
    """
    with conversion(f"loading {path}"):
        keras_on_tensorflow()
        from footseg.export.lowering import lower

        return lower(load_keras(path))


def keras_on_tensorflow() -> Any:
    """The module Keras.

    Raises:
        FootsegError: it runs on another backend than TensorFlow, whose converters this needs.
        MissingExtraError: TensorFlow or Keras is not installed.
    """
    require("tensorflow", "train")
    keras = require("keras", "train")
    if keras.backend.backend() != "tensorflow":
        raise FootsegError(
            f"export needs Keras on TensorFlow, not on {keras.backend.backend()}: run it again with "
            "KERAS_BACKEND=tensorflow (a run trained on any backend can be exported)"
        )
    return keras


def remembers_positions(model: Any) -> bool:
    """Whether ``model`` unpools to where maxima stood, which ``footseg.networks._unpool`` finds with ceil."""
    return any(type(operation).__name__ == "Ceil" for operation in model.operations)


def serving_function(model: Any) -> Any:
    """A tf.function of ``model`` in inference mode: ``image`` float32 (1, H, W, 3) in, {"logits": ...} out.

    The batch is fixed: with a free one the converter works output shapes out inside the graph (SHAPE,
    STRIDED_SLICE and PACK at each transposed convolution), which splits FastLinkNet into 7 XNNPACK
    partitions and costs a quarter more time.
    """
    import tensorflow as tf

    height, width, channels = model.inputs[0].shape[1:]
    spec = tf.TensorSpec((1, height, width, channels), tf.float32, name=INPUT)
    return tf.function(lambda image: {OUTPUT: model(image, training=False)}, input_signature=[spec])


def freeze(model: Any, folder: Path) -> Path:
    """Write ``model`` as a SavedModel into ``folder``; returns the folder.

    Raises:
        FootsegError: Keras cannot trace the network.
    """
    with conversion("freezing the network"):
        import keras

        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", serving_function(model))
        archive.write_out(os.fspath(folder), verbose=False)
    return folder


def loaded(saved_model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What a SavedModel of one image in, one map of logits out gives for uint8 (N, H, W, 3) images.

    Raises:
        FootsegError: TensorFlow cannot load or run it.
    """
    running = f"running {saved_model}"
    with conversion(running):
        import tensorflow as tf

        network = tf.saved_model.load(os.fspath(saved_model))
        call = network.signatures[SIGNATURE]
        (name,) = call.structured_input_signature[1]

    def logits(images: np.ndarray) -> np.ndarray:
        # The network is named here, for its signature alone does not keep its weights.
        with conversion(running):
            assert network is not None
            return np.concatenate(
                [next(iter(call(**{name: runtime.to_float(one[None])}).values())).numpy() for one in images]
            )

    return logits
