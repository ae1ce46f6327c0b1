"""SavedModel to ``.tflite``, fp32 or with fp16 weights."""

import os
from pathlib import Path

from export.conversion import conversion
from footseg import runtime
from footseg.errors import FootsegError

# They work out shapes while the network runs: each splits the XNNPACK partition, and neither static int8 nor
# the GPU delegates of phones take them.
SHAPE_OPERATORS = {"SHAPE", "STRIDED_SLICE", "PACK"}


def convert(saved_model: Path, half: bool = False) -> bytes:
    """A ``.tflite`` of a SavedModel; with ``half`` its weights are kept as fp16 (arithmetic stays fp32).

    Raises:
        FootsegError: the converter refused the network; what it printed is in the error's notes.
    """
    with conversion("conversion to TFLite"):
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(saved_model))
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()


def check_graph(path: Path) -> None:
    """Make sure that no shape arithmetic is left in a ``.tflite``.

    Raises:
        FootsegError: there is; the operators are named.
    """
    left = [
        f"{node['op_name']} (operator {node['index']})"
        for node in runtime.interpreter(path)._get_ops_details()
        if node["op_name"] in SHAPE_OPERATORS
    ]
    if left:
        raise FootsegError(
            f"{path.name} works out shapes while it runs: {', '.join(left)}; give the network a fixed "
            "input size and layers that know their output's"
        )
