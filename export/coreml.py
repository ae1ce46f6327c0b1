"""The trained network as ``.mlpackage``, Core ML's folder of a model: an image goes in, logits come out.

Core ML runs on macOS and iOS alone. Elsewhere such a file is converted and looked at, and not run.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from footseg.description import Description
from footseg.errors import FootsegError, require
from footseg.export.conversion import conversion
from footseg.export.freeze import INPUT, OUTPUT, serving_function

NOT_RUN = "converted, not run: Core ML is on macOS and iOS alone"
# The first with ML programs; operators of our networks ask for none that is newer.
TARGET = "iOS15"
CONVOLUTIONS = ("conv", "conv_transpose")
# What a weight may differ by, over the largest of its tensor: of float16 half of its last bit.
CLOSE = {"fp32": 1e-6, "fp16": 2**-11}


def convert(network: Any, precision: str, said: Description, path: Path) -> None:
    """Write an ``.mlpackage`` at ``path``, in fp32 or fp16 (weights and arithmetic), that says what it is.

    The image, RGB pixels of an app's buffer, is scaled in the file; logits are a float32 array (1, H, W,
    classes).

    Raises:
        FootsegError: the converter refused the network.
        MissingExtraError: coremltools is not installed.
    """
    with conversion("conversion to Core ML"):
        tools = require("coremltools", "coreml")
        height, width = said.size
        image = tools.ImageType(
            name=INPUT, shape=(1, height, width, 3), scale=1 / 255,
            color_layout=tools.colorlayout.RGB,
        )  # fmt: skip
        converted = tools.convert(
            [serving_function(network).get_concrete_function()],
            source="tensorflow",
            convert_to="mlprogram",
            inputs=[image],
            compute_precision=tools.precision.FLOAT16 if precision == "fp16" else tools.precision.FLOAT32,
            minimum_deployment_target=getattr(tools.target, TARGET),
            skip_model_load=True,
        )
        spec = converted.get_spec()
        tools.utils.rename_feature(spec, spec.description.output[0].name, OUTPUT)
        model = tools.models.MLModel(spec, weights_dir=converted.weights_dir, skip_model_load=True)
        _describe(model, dataclasses.replace(said, input="uint8"))
        model.save(str(path))
        for file in path.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)  # it writes some for its user alone


def _describe(model: Any, said: Description) -> None:
    """Say in a model what it is, where Xcode shows it and where apps read it."""
    model.short_description, model.author, model.version = said.text, "footseg", said.footseg
    model.input_description[INPUT], model.output_description[OUTPUT] = said.feeding, said.reading
    model.user_defined_metadata["classes"] = "\n".join(said.channels)
    model.user_defined_metadata["footseg"] = said.to_bytes().decode()


def check(path: Path, precision: str, classes: int, weights: Sequence[np.ndarray]) -> dict[str, Any]:
    """Look at what was written; returns its operators by kind, and how many weights were compared.

    ``weights`` are those of all convolutions, (out, in, h, w), or (in, out, h, w) of transposed ones, as an
    ``.onnx`` of the network has them.

    Raises:
        FootsegError: its ends, its scale or a weight is not what it must be.
    """
    with conversion(f"reading {path.name}"):
        tools = require("coremltools", "coreml")
        model = tools.models.MLModel(str(path), skip_model_load=True)
        spec = model.get_spec()
        function = spec.mlProgram.functions["main"]
        operators = function.block_specializations[function.opset].operations
        held = _weights(tools, model)
    wrong = [*_wrong_ends(spec, classes), *_wrong_weights(held, weights, CLOSE[precision])]
    if wrong:
        raise FootsegError(f"{path.name} is not its Keras network: {'; '.join(wrong)}")
    kinds = Counter(operator.type for operator in operators if operator.type != "const")
    return {"target": TARGET, "operators": dict(kinds), "weights_compared": len(held)}


def _wrong_ends(spec: Any, classes: int) -> list[str]:
    """What of input and output is not as it must be."""
    inputs, outputs = spec.description.input, spec.description.output
    if len(inputs) != 1 or len(outputs) != 1:
        return [f"it has {len(inputs)} inputs and {len(outputs)} outputs"]
    image, logits = inputs[0].type.imageType, outputs[0].type.multiArrayType
    shape = [1, image.height, image.width, classes]
    return [
        text
        for right, text in (
            ((inputs[0].name, outputs[0].name) == (INPUT, OUTPUT), "its ends have other names"),
            (image.colorSpace == image.RGB, "it does not take an RGB image"),
            (list(logits.shape) == shape, f"it gives {list(logits.shape)}, not {shape}"),
            (logits.dataType == logits.FLOAT32, "it does not give float32"),
        )
        if not right
    ]


def _weights(tools: Any, model: Any) -> list[np.ndarray]:
    """The weights of convolutions, by operator."""
    found = tools.optimize.coreml.get_weights_metadata(model, weight_threshold=0)
    return [
        np.asarray(tensor.val, np.float32)
        for name, tensor in found.items()
        if any(
            operator.op_type in CONVOLUTIONS and operator.params_name_mapping.get("weight") == name
            for operator in tensor.child_ops
        )
    ]


def _wrong_weights(held: Sequence[np.ndarray], given: Sequence[np.ndarray], close: float) -> list[str]:
    """Whether each tensor is one of those that are given, and none is missing."""
    left = list(given)
    for tensor in held:
        at = next((i for i, one in enumerate(left) if _same(tensor, one, close)), None)
        if at is None:
            return [f"weights {tensor.shape} are none of the network's"]
        del left[at]
    return [f"{len(left)} of {len(given)} weights are missing"] if left else []


def _same(a: np.ndarray, b: np.ndarray, close: float) -> bool:
    return a.shape == b.shape and float(np.abs(a - b).max()) <= close * float(np.abs(b).max())
