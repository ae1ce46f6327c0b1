"""int8 of a network that was trained for it: its SavedModel holds all ranges, so nothing is calibrated."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from footseg.errors import FootsegError
from footseg.export.conversion import conversion
from footseg.export.ends import Asked
from footseg.export.portable import portable
from footseg.export.tflite import CASTS
from footseg.graphs.tflite import read

FLOAT = Asked()
# What training puts before the names of layers that it rounds.
WRAPPED = "quant_"


def convert(saved_model: Path, ends: Asked = FLOAT, target: str = "any") -> bytes:
    """The int8 ``.tflite`` of a fake-quantized SavedModel.

    Of its ``ends`` only integer codes are made here, all others are float32 (see ``export.ends.with_ends``).
    ``target`` is what the file is for (see ``footseg.export.portable``).

    Raises:
        FootsegError: no such SavedModel, or the converter refused the network.
    """
    if not (saved_model / "saved_model.pb").is_file():
        raise FootsegError(
            f"{saved_model} has no network trained for int8: make one with footseg compress --qat"
        )
    with conversion(f"conversion of {saved_model} to int8"):
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(saved_model))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.int8 if ends.integer_input else tf.float32
        converter.inference_output_type = tf.int8 if ends.integer_output else tf.float32
        return portable(converter.convert(), target)


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
