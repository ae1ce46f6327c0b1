"""Graphs made by hand for the runner: one convolution from an image to logits, float or int8."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.small_graphs import packed


@dataclass(frozen=True)
class Numbers:
    """How real numbers stand in a tensor: scale 0 for float32."""

    scale: float = 0.0
    zero_point: int = 0

    def store(self, values: np.ndarray) -> np.ndarray:
        if not self.scale:
            return values.astype(np.float32)
        return np.clip(np.rint(values / self.scale) + self.zero_point, -128, 127).astype(np.int8)


FLOAT = Numbers()
# What an 8-bit picture has: 256 values from 0 to 1.
PIXELS = Numbers(1 / 255, -128)


def convolution(
    path: Path,
    weights: np.ndarray,
    *,
    side: int = 16,
    numbers: Numbers = FLOAT,
    logits: Numbers | None = None,
    shape: Sequence[int] | None = None,
) -> Path:
    """A .tflite of one convolution, weights (classes, k, k, channels), of an image (1, side, side, channels).

    ``shape`` is what the file says of its input instead.
    """

    classes = weights.shape[0]
    graph, model = schema.SubGraphT(), schema.ModelT()
    model.buffers, graph.tensors = [schema.BufferT()], []
    kernel_numbers = Numbers(float(np.abs(weights).max()) / 127, 0) if numbers.scale else FLOAT

    def tensor(name: str, shape: Sequence[int], numbers: Numbers, values: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.shape, made.name = list(shape), name.encode()
        made.type = schema.TensorType.INT8 if numbers.scale else schema.TensorType.FLOAT32
        if numbers.scale:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [numbers.scale], [numbers.zero_point]
        if values is not None:
            if values.dtype == np.int32:
                made.type = schema.TensorType.INT32
            buffer = schema.BufferT()
            buffer.data = np.ascontiguousarray(values).view(np.uint8).ravel()
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    image = tensor("image", shape or (1, side, side, weights.shape[3]), numbers)
    kernel = tensor("kernel", weights.shape, kernel_numbers, kernel_numbers.store(weights))
    zeros = np.zeros(classes, np.int32 if numbers.scale else np.float32)
    bias = tensor("bias", (classes,), Numbers(numbers.scale * kernel_numbers.scale), zeros)
    out = tensor("logits", (1, side, side, classes), logits or numbers)
    options, operator = schema.Conv2DOptionsT(), schema.OperatorT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    operator.inputs, operator.outputs = [image, kernel, bias], [out]
    graph.inputs, graph.outputs, graph.operators = [image], [out], [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    path.write_bytes(packed(model))
    return path


def identity(channels: int = 3) -> np.ndarray:
    """Weights of a convolution that changes nothing: each channel becomes a logit."""
    return np.eye(channels).reshape(channels, 1, 1, channels)


def random(classes: int = 2, kernel: int = 3, channels: int = 3) -> np.ndarray:
    """Weights of a convolution with something to do, always the same."""
    return np.random.default_rng(3).normal(0, 1, (classes, kernel, kernel, channels))


def pictures(count: int, side: int = 16) -> np.ndarray:
    """Images uint8 (count, side, side, 3), always the same; the first has every value of a pixel."""
    images = np.random.default_rng(4).integers(0, 256, (count, side, side, 3), np.uint8)
    images.reshape(count, -1)[0, :256] = np.arange(256)
    return images
