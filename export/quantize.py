"""Static int8 by ai-edge-quantizer: int8 weights by channel, int8 activations by calibration."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.conversion import conversion
from export.freeze import INPUT, SIGNATURE
from footseg import runtime
from footseg.data.folder import open_data, pairs
from footseg.data.images import letterbox, read_image
from footseg.errors import require

# How the file's ends may look. "float32" is a drop-in for the fp32 file; "int8" saves an app that already has
# int8 pixels the conversion.
IO = ("float32", "int8")


@dataclass(frozen=True)
class Calibration:
    """Training images uint8 (N, H, W, 3) that set the ranges of activations, and how they were drawn."""

    names: tuple[str, ...]
    images: np.ndarray
    seed: int

    def to_json(self) -> dict[str, Any]:
        """What a sidecar keeps: enough to tell whether two files were calibrated on the same images."""
        return {
            "split": "train",
            "count": len(self.names),
            "seed": self.seed,
            "names_sha256": hashlib.sha256("\n".join(self.names).encode()).hexdigest(),
        }


def calibration(data_dir: Path, size: tuple[int, int], count: int, seed: int) -> Calibration:
    """Draw ``count`` images (all, if there are fewer) of the training split, letterboxed to ``size``.

    Never of the test split: its images would leak into the network.

    Raises:
        FootsegError: no such data set, no training split, a damaged image.
    """
    found = pairs(open_data(data_dir), "train")
    drawn = np.random.default_rng(seed).choice(len(found), size=min(count, len(found)), replace=False)
    chosen = [found[index] for index in drawn]
    return Calibration(
        names=tuple(pair.name for pair in chosen),
        images=np.stack([letterbox(read_image(pair.image), size)[0] for pair in chosen]),
        seed=seed,
    )


def check_options(io: str, count: int) -> None:
    """Refuse options before work begins.

    Raises:
        ValueError: an ``io`` other than float32 and int8, or no calibration image.
    """
    if io not in IO:
        raise ValueError(f"io is {io!r}: expected one of {', '.join(IO)}")
    if count < 1:
        raise ValueError(f"calibration needs at least one image, not {count}: 64 is a good number")


def quantize(path: Path, images: np.ndarray, io: str = "float32", threads: int = 1) -> bytes:
    """The static int8 ``.tflite`` of the fp32 one at ``path``, calibrated on ``images``, uint8 (N, H, W, 3).

    Raises:
        ValueError: as ``check_options``.
        FootsegError: the quantizer refused the network.
    """
    check_options(io, len(images))
    with conversion(f"quantization of {path.name}"):
        quantizer = require("ai_edge_quantizer.quantizer", "compress")
        from ai_edge_quantizer import calibrator
        from ai_edge_quantizer.utils import qsv_utils

        recipe = _recipe(path, io)
        # Quantizer.calibrate moves its ranges 5 % of the way to each new image: extremes are cut off and
        # the first images count most. With the widest range seen, on a FastLinkNet of IoU 0.63: largest logit
        # difference 0.11 of their spread, not 0.53; mean 0.0075, not 0.012.
        ranges = calibrator.Calibrator(
            path.read_bytes(), num_threads=threads, qsv_update_func=qsv_utils.min_max_update
        )
        samples = [{INPUT: runtime.to_float(image[None])} for image in images]
        ranges.calibrate({SIGNATURE: samples}, recipe)
        done = quantizer.Quantizer(str(path), recipe.get_quantization_recipe()).quantize(
            ranges.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False
        )
        return bytes(done.quantized_model)


def _recipe(path: Path, io: str) -> Any:
    """int8 (a RecipeManager) but for positions; with float ends, the operators at the ends stay float too."""
    from ai_edge_quantizer import recipe, recipe_manager
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    skip = AlgorithmName.NO_QUANTIZE
    kept = _before_positions(path)
    if io == "float32":
        for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            manager.add_quantization_config(".*", end, algorithm_key=skip)
        kept += _float_ends(path)
    known = {
        operator.value for operator in TFLOperationName
    }  # it leaves others in float, and refuses to be told so
    for operator, tensor in kept:
        if operator in known:
            manager.add_quantization_config(re.escape(tensor), TFLOperationName(operator), algorithm_key=skip)
    return manager


def _before_positions(path: Path) -> list[tuple[str, str]]:
    """Operators that decide where max-unpooling puts its values, each with its output tensor's name.

    They are those before a CEIL (see ``footseg.networks._unpool``). int8 makes neighbours equal, and the
    values of such windows come back a pixel off. A trained ENet at 128x128, 8 photographs, one x86 thread,
    everything in int8 and without these: largest logit difference 1.14 and 0.11 of their spread, mean 0.061
    and 0.011, pixels of another class 0.55 % and 0.17 %, time 0.62 and 0.72 of fp32's.
    """
    interpreter = runtime.interpreter(path)
    names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    nodes = [node for node in interpreter._get_ops_details() if node["op_name"] != "DELEGATE"]
    wanted: set[int] = set()
    kept = []
    for node in reversed(nodes):  # in order of execution, so that users come before makers here
        if node["op_name"] == "CEIL" or wanted.intersection(node["outputs"]):
            wanted.update(node["inputs"])
            kept.append((node["op_name"], names[node["outputs"][0]]))
    return kept


def _float_ends(path: Path) -> list[tuple[str, str]]:
    """Operators that touch input or output and are better off in float, each with its output tensor's name.

    Average pooling of the image: XNNPACK has no int8 one, so it would split the partition, and a quarter
    of the pixels is left to quantize after it. Bilinear resizing of the logits: a quarter of the values is
    left to dequantize before it, and they are rounded once instead of twice. FastLinkNet at 256x256, one
    x86 thread: 0.63 of fp32's time with both in int8, 0.53 with the pooling in float, 0.51 with both.
    """
    interpreter = runtime.interpreter(path)
    names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    image = interpreter.get_input_details()[0]["index"]
    logits = interpreter.get_output_details()[0]["index"]
    return [
        (node["op_name"], names[node["outputs"][0]])
        for node in interpreter._get_ops_details()
        if (node["op_name"] == "AVERAGE_POOL_2D" and image in node["inputs"])
        or (node["op_name"] == "RESIZE_BILINEAR" and logits in node["outputs"])
    ]
