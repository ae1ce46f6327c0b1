"""int8 of a network that was trained for it: its SavedModel holds all ranges, so nothing is calibrated."""

import os
from pathlib import Path

import numpy as np

from export.conversion import conversion
from footseg import runtime
from footseg.errors import FootsegError

ENDS = ("QUANTIZE", "DEQUANTIZE")


def convert(saved_model: Path, io: str = "float32") -> bytes:
    """The int8 ``.tflite`` of a fake-quantized SavedModel, with ends of type ``io``: float32, int8 or uint8.

    Raises:
        ValueError: another ``io``.
        FootsegError: the converter refused the network.
    """
    with conversion(f"conversion of {saved_model} to int8"):
        import tensorflow as tf

        types = {"float32": tf.float32, "int8": tf.int8, "uint8": tf.uint8}
        if io not in types:
            raise ValueError(f"io is {io!r}: expected one of {', '.join(types)}")
        converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(saved_model))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = types[io]
        return converter.convert()


def islands(path: Path) -> tuple[str, ...]:
    """Operators of a ``.tflite`` that compute in float, as "name (operator number)"; conversions do not count."""
    interpreter = runtime.interpreter(path)
    floats = {t["index"] for t in interpreter.get_tensor_details() if t["dtype"] == np.float32}
    return tuple(
        f"{node['op_name']} (operator {node['index']})"
        for node in interpreter._get_ops_details()
        if node["op_name"] not in (*ENDS, "DELEGATE") and floats.intersection(node["outputs"])
    )


def check_islands(path: Path) -> None:
    """Make sure that all of a ``.tflite`` computes in int8.

    Raises:
        FootsegError: operators that do not; they are named.
    """
    if left := islands(path):
        raise FootsegError(f"{path.name} still computes in float: {', '.join(left)}")
