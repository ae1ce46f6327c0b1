"""int8 of a network that was trained for it: its SavedModel holds all ranges, so nothing is calibrated."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from footseg.errors import FootsegError
from footseg.export.conversion import conversion
from footseg.export.portable import portable
from footseg.export.precisions import ENDS
from footseg.export.tflite import CASTS
from footseg.graphs.tflite import read

# What training puts before the names of layers that it rounds.
WRAPPED = "quant_"


def convert(saved_model: Path, io: str = "float32") -> bytes:
    """The int8 ``.tflite`` of a fake-quantized SavedModel, with ends of type ``io``: float32, int8 or uint8.

    Raises:
        ValueError: another ``io``.
        FootsegError: no such SavedModel, or the converter refused the network.
    """
    if io not in ENDS:
        raise ValueError(f"io is {io!r}: expected one of {', '.join(ENDS)}")
    if not (saved_model / "saved_model.pb").is_file():
        raise FootsegError(
            f"{saved_model} has no network trained for int8: make one with footseg compress --qat"
        )
    with conversion(f"conversion of {saved_model} to int8"):
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(saved_model))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io)
        return portable(converter.convert())


def islands(path: Path, left_out: Collection[str] = ()) -> tuple[str, ...]:
    """Operators of a ``.tflite`` that compute in float, as "name (operator number)".

    Conversions do not count, nor what belongs to layers that training has ``left_out`` (their names).
    """
    graph = read(path)
    return tuple(
        f"{operator.op} (operator {index})"
        for index, operator in enumerate(graph.operators)
        if operator.op not in CASTS
        and graph.gives_float(operator)
        and not _layers(operator.name).intersection(left_out)
    )


def check_islands(path: Path, left_out: Collection[str] = ()) -> None:
    """Make sure that a ``.tflite`` computes in int8, but for the layers that training has ``left_out``.

    Raises:
        FootsegError: operators that do not; they are named.
    """
    if left := islands(path, left_out):
        raise FootsegError(f"{path.name} still computes in float: {', '.join(left)}")


def _layers(tensor: str) -> set[str]:
    """The layers that a tensor's name tells of: "net/relu/Relu;net/quant_conv/Conv2D"."""
    return {part.removeprefix(WRAPPED) for part in re.split("[/;]", tensor)}
