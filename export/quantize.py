"""The fp32 ``.tflite`` in fewer bits, by ai-edge-quantizer: see ``precisions`` for what each one is."""

import hashlib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footseg import runtime
from footseg.data.folder import open_data, pairs
from footseg.data.images import letterbox, read_image
from footseg.errors import check_known, require
from footseg.export.conversion import conversion
from footseg.export.ends import Asked
from footseg.export.freeze import INPUT, SIGNATURE
from footseg.export.portable import portable
from footseg.export.precisions import ESTIMATORS, INTEGER_ENDS, PRECISIONS
from footseg.graphs.graph import Graph, Operator, leading_to
from footseg.graphs.tflite import read

# Operators with weights, by the quantizer's names, and those whose weights it can keep in 4 bits.
WEIGHTED = ("CONV_2D", "CONV_2D_TRANSPOSE", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
FOUR_BITS = ("CONV_2D", "FULLY_CONNECTED")
FLOAT = Asked()
# How much wider than seen the ranges of activations are: see ``statistics``.
WIDER = 1.0001
# The largest code of 16 bits, and how near to a whole number TFLite takes an exponent of two for one.
INT16, NEAR_POWER = 32767, 1e-3
# What the quantizer calls otherwise than the runtime does.
NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}


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
        ValueError: a ``count`` below 1.
        FootsegError: no such data set, no training split, a damaged image.
    """
    if count < 1:
        raise ValueError(f"calibration needs at least one image, not {count}: 64 is a good number")
    found = pairs(open_data(data_dir), "train")
    drawn = np.random.default_rng(seed).choice(len(found), size=min(count, len(found)), replace=False)
    chosen = [found[index] for index in drawn]
    return Calibration(
        names=tuple(pair.name for pair in chosen),
        images=np.stack([letterbox(read_image(pair.image), size)[0] for pair in chosen]),
        seed=seed,
    )


def check_options(precision: str, ends: Asked = FLOAT, ranges: str = "minmax") -> None:
    """Refuse options before work begins.

    Raises:
        ValueError: an unknown precision or ranges, or integer ends of a precision that works in float.
    """
    check_known("unknown precision", precision, PRECISIONS)
    check_known("unknown ranges", ranges, ESTIMATORS)
    if ends.of(precision) != ends:
        raise ValueError(
            f"{precision} files take float32 or uint8, not {ends.input}: that is for "
            f"{' and '.join(INTEGER_ENDS)}"
        )


def quantize(
    path: Path,
    precision: str,
    images: np.ndarray | None = None,
    *,
    ends: Asked = FLOAT,
    ranges: str = "minmax",
    keep: Collection[str] = (),
    weight_ranges: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    target: str = "any",
    threads: int = 1,
) -> bytes:
    """The fp32 ``.tflite`` at ``path`` in another precision.

    ``images``, uint8 (N, H, W, 3), calibrate the precisions that are ``calibrated``; the others need none.
    Of its ``ends`` only integer codes are made here, all others are float32 (see ``export.ends.with_ends``).
    ``ranges`` is how ranges are estimated (of ``ESTIMATORS``) and ``keep`` names the output tensors of
    operators that stay in float. ``weight_ranges`` are {"min", "max"} by name of weight tensors, in place of
    their extremes (see ``footseg.export.shared``). ``target`` is what the file is for (see
    ``footseg.export.portable``).

    Raises:
        ValueError: as ``check_options``; no images for a precision that needs some, or of another size or
            type; an unknown target; a name in ``keep`` that is no operator's output.
        FootsegError: the quantizer refused the network.
    """
    check_options(precision, ends, ranges)
    graph = read(path)
    if strangers := set(keep) - {operator.name for operator in graph.operators}:
        raise ValueError(
            f"no operator of {path.name} has the output {', '.join(sorted(strangers))}: "
            "keep takes names of tensors of the fp32 file"
        )
    if precision == "fp32":
        return portable(path.read_bytes(), target)
    calibrated = PRECISIONS[precision].calibrated
    if calibrated:
        _check_images(graph, precision, images)
    with conversion(f"quantization of {path.name} to {precision}"):
        quantizer = require("ai_edge_quantizer.quantizer", "compress")
        manager = recipe(precision, ranges)
        kept = [operator for operator in graph.operators if operator.name in keep]
        if calibrated:
            set_ends(manager, ends)
            kept += before_positions(graph) + variances(graph)
            kept += float_ends(graph, ends)
        _leave_in_float(manager, kept)
        measured = None
        if calibrated and images is not None:
            measured = statistics(path, manager, images, ranges, threads)
            if PRECISIONS[precision].activations == "int16":
                measured = off_powers_of_two(measured)
            measured |= {name: dict(limits) for name, limits in (weight_ranges or {}).items()}
            _leave_in_float(manager, dead(graph, measured))
        done = quantizer.Quantizer(str(path), manager.get_quantization_recipe()).quantize(
            measured, enable_progress_bar=False, enable_progress_report=False
        )
        return portable(bytes(done.quantized_model), target)


def _check_images(graph: Graph, precision: str, images: np.ndarray | None) -> None:
    if images is None or not len(images):
        raise ValueError(f"{precision} needs calibration images and got none: 64 is a good number")
    expected = (graph.tensors[graph.inputs[0]].shape or ())[1:]
    if images.ndim != 4 or images.shape[1:] != expected or images.dtype != np.uint8:
        raise ValueError(
            f"calibration images must be uint8 (N, {', '.join(map(str, expected))}), got {images.dtype} "
            f"{images.shape}: letterbox them to the network's size"
        )


def estimators(precision: str, ranges: str) -> dict[str, str]:
    """How a precision's ranges are found: of "weights" and "activations", where it rounds them at all."""
    row, estimator = PRECISIONS[precision], ESTIMATORS[ranges]
    found = {"weights": estimator.weights} if row.rounds_weights else {}
    return found | ({"activations": estimator.activations} if row.calibrated else {})


def recipe(precision: str, ranges: str) -> Any:
    """The RecipeManager of a precision for all operators that the library can quantize so."""
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    row = PRECISIONS[precision]
    clipped = row.rounds_weights and ESTIMATORS[ranges].weights != "minmax"
    manager = RecipeManager()
    configure(manager, TFLOperationName.ALL_SUPPORTED, precision, ranges)
    # By operator, since estimators of weights refuse those without; the last one that matches holds.
    for kind in WEIGHTED:
        four = row.weights == "int4" and kind in FOUR_BITS
        if four or clipped:
            configure(manager, TFLOperationName(kind), precision, ranges, 4 if four else 8)
    return manager


def configure(
    manager: Any, operation: Any, precision: str, ranges: str, weight_bits: int = 8, scope: str = ".*"
) -> None:
    """Add to a RecipeManager that operators of one kind (TFLOperationName) are to be in a precision.

    ``scope`` is a regular expression of their outputs (see ``scope_of``).

    Raises:
        ValueError: the library has no such operator, or not in this precision.
    """
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    row, estimator = PRECISIONS[precision], ESTIMATORS[ranges if operation.value in WEIGHTED else "minmax"]
    algorithm = AlgorithmName[estimator.algorithm]
    if row.calibrated:
        bits = 16 if row.activations == "int16" else 8
        manager.add_static_config(scope, operation, bits, weight_bits, algorithm_key=algorithm)
    elif row.activations == "int8":
        manager.add_dynamic_config(scope, operation, weight_bits, algorithm_key=algorithm)
    elif row.weights == "float16":
        manager.add_weight_only_config(scope, operation, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)
    else:
        manager.add_weight_only_config(scope, operation, weight_bits, algorithm_key=algorithm)


def scope_of(output: str) -> str:
    """The regular expression that only the operator with this output tensor matches."""
    return f"^{re.escape(output)};"


def statistics(path: Path, manager: Any, images: np.ndarray, ranges: str, threads: int) -> Any:
    """The range of each tensor on the calibration images.

    Quantizer.calibrate moves its ranges 5 % of the way to each new image ("average"): extremes are cut off
    and the first images count most. With the widest range seen, on a FastLinkNet of IoU 0.63: largest logit
    difference 0.11 of their spread, not 0.53; mean 0.0075, not 0.012.

    Pixels are 255ths and their means quarters of these: with a scale of just 1/255 a mean lies halfway
    between two codes in 1 of 4 cases, and the last bit of a float decides. So ranges of activations are a
    ten-thousandth wider. On 124 photographs MediaPipe, whose pixels are a bit off, gave FastLinkNet's int8
    file 99.82 % of LiteRT's pixels without that, and all of them with it.
    """
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    update = (
        qsv_utils.moving_average_update
        if ESTIMATORS[ranges].activations == "average"
        else qsv_utils.min_max_update
    )
    found = calibrator.Calibrator(path.read_bytes(), num_threads=threads, qsv_update_func=update)
    found.calibrate({SIGNATURE: [{INPUT: runtime.to_float(image[None])} for image in images]}, manager)
    measured = found.get_model_qsvs()
    graph = read(path)
    activations = {graph.tensors[key].name for key in graph.inputs} | {op.name for op in graph.operators}
    for name in activations & measured.keys():
        for limit in ("min", "max"):
            measured[name][limit] = measured[name][limit] * np.float32(WIDER)
    return measured


def off_powers_of_two(measured: Any) -> Any:
    """Ranges whose scales in int16 are no powers of two, nor so near to one that TFLite takes them for it.

    ADD and SUB in int16 have a way of their own where all three scales are, which refuses an input of a
    larger scale than the output's: Rescaling(2, -1) of pixels is one. Wider by 0.3 %, of 65,536 codes.
    """
    found = {name: dict(limits) for name, limits in measured.items()}
    for limits in found.values():
        largest = max(float(np.max(np.abs(limits[limit]))) for limit in ("min", "max"))
        exponent = math.log2(largest / INT16) if largest else 0.5
        if abs(exponent - round(exponent)) < 2 * NEAR_POWER:
            for limit in ("min", "max"):
                limits[limit] = limits[limit] * np.float32(2 ** (4 * NEAR_POWER))
    return found


def dead(graph: Graph, statistics: Any) -> list[Operator]:
    """Operators that write or read a tensor with one value in all of calibration, as pruning may leave some.

    Such a tensor has no scale, and XNNPACK refuses the whole file over it.
    """

    def has_no_range(operator: Operator) -> bool:
        found = statistics.get(operator.name)
        return bool(found) and float(np.min(found["min"])) == float(np.max(found["max"]))

    tensors = {key for operator in graph.operators if has_no_range(operator) for key in operator.outputs}
    return [o for o in graph.operators if tensors.intersection(o.inputs + o.outputs)]


def _leave_in_float(manager: Any, operators: Collection[Operator]) -> None:
    """Add to a RecipeManager that these operators stay as they are."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName

    known = {operation.value for operation in TFLOperationName}
    for operator in operators:
        kind = NAMES.get(operator.op, operator.op)
        if kind in known:  # It leaves others in float, and refuses to be told so.
            manager.add_quantization_config(
                scope_of(operator.name),
                TFLOperationName(kind),
                algorithm_key=AlgorithmName.NO_QUANTIZE,
            )


def set_ends(manager: Any, ends: Asked) -> None:
    """Add to a RecipeManager which ends of the file stay float32."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName

    for end, integer in (
        (TFLOperationName.INPUT, ends.integer_input),
        (TFLOperationName.OUTPUT, ends.integer_output),
    ):
        if not integer:
            manager.add_quantization_config(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)


def before_positions(graph: Graph) -> list[Operator]:
    """Operators that decide where max-unpooling puts its values.

    They are those before a CEIL (see ``footseg.networks._unpool``). int8 makes neighbours equal, and the
    values of such windows come back a pixel off. A trained ENet at 128x128, 8 photographs, one x86 thread,
    everything in int8 and without these: largest logit difference 1.14 and 0.11 of their spread, mean 0.061
    and 0.011, pixels of another class 0.55 % and 0.17 %, time 0.62 and 0.72 of fp32's.
    """
    kinds = ("CEIL", "Ceil")  # of a .tflite and of an .onnx
    ceils = [key for operator in graph.operators if operator.op in kinds for key in operator.outputs]
    return [graph.operators[index] for index in sorted(leading_to(graph.operators, ceils))]


def variances(graph: Graph) -> list[Operator]:
    """Operators that find the deviations of group normalization, from the squares to the RSQRT.

    XNNPACK has RSQRT and SQUARED_DIFFERENCE in float only: in int8 each splits the network.
    """
    of_kind = {kind: [o for o in graph.operators if o.op == kind] for kind in ("RSQRT", "SQUARED_DIFFERENCE")}
    roots = [key for operator in of_kind["RSQRT"] for key in operator.outputs]
    given = [key for operator in of_kind["SQUARED_DIFFERENCE"] for key in operator.reads]
    return [graph.operators[index] for index in sorted(leading_to(graph.operators, roots, given))]


def float_ends(graph: Graph, ends: Asked) -> list[Operator]:
    """Operators that touch input or output and are better off in float, where the file's ends are.

    Average pooling of the image: XNNPACK has no int8 one, so it would split the partition, and a quarter
    of the pixels is left to quantize after it. Bilinear resizing of the logits: a quarter of the values is
    left to dequantize before it, and they are rounded once instead of twice. FastLinkNet at 256x256, one
    x86 thread: 0.84 of the time that both take in int8 with the pooling in float, 0.81 with both.
    """
    return [
        operator
        for operator in graph.operators
        if (
            not ends.integer_input and operator.op == "AVERAGE_POOL_2D" and graph.inputs[0] in operator.inputs
        )
        or (
            not ends.integer_output
            and operator.op == "RESIZE_BILINEAR"
            and graph.outputs[0] in operator.outputs
        )
    ]
