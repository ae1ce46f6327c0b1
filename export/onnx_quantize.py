"""The fp32 ``.onnx`` in fewer bits, by ONNX Runtime's own tools: see ``precisions`` for what each one is."""

import tempfile
from pathlib import Path

import numpy as np

from footseg import runtime
from footseg.errors import require
from footseg.export.conversion import conversion
from footseg.export.freeze import INPUT
from footseg.export.onnx import checked
from footseg.export.precisions import ESTIMATORS
from footseg.export.quantize import before_positions
from footseg.graphs.onnx import read


def quantize(
    path: Path, precision: str, images: np.ndarray | None = None, *, ranges: str = "minmax"
) -> bytes:
    """The fp32 ``.onnx`` at ``path`` in another precision, with the same float32 ends.

    ``images``, uint8 (N, H, W, 3), calibrate int8; ``ranges`` is a row of ``ESTIMATORS``.

    Raises:
        ValueError: ``ranges`` that clip weights, or int8 without images.
        FootsegError: ONNX Runtime refused the network, or wrote a graph that ONNX's checker rejects.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    check_ranges(ranges)
    if precision == "fp32":
        return path.read_bytes()
    if precision == "int8" and (images is None or not len(images)):
        raise ValueError("int8 needs calibration images and got none: 64 is a good number")
    with conversion(f"{path.name} in {precision}"):
        require("onnxruntime", "onnx")
        return half(path) if images is None or precision == "fp16" else integers(path, images, ranges)


def check_ranges(ranges: str) -> None:
    """Refuse an estimator that ONNX Runtime's quantizer does not have.

    Raises:
        ValueError: one that clips weights.
    """
    if ESTIMATORS[ranges].weights != "minmax":
        able = " or ".join(name for name, row in ESTIMATORS.items() if row.weights == "minmax")
        raise ValueError(
            f"ONNX Runtime's quantizer clips no weights, as {ranges} asks: take {able} for .onnx"
        )


def half(path: Path) -> bytes:
    """Weights and arithmetic in float16, between ends in float32, which is what apps have at hand.

    A Resize's factors stay float32, as ONNX asks. On processors without float16 ONNX Runtime computes in
    float32, and the rounded weights are all that is left of it.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = OnnxModel(convert_float_to_float16(onnx.load(path), keep_io_types=True))
    model.topological_sort()  # It puts its Casts last.
    return checked(model.model)


def integers(path: Path, images: np.ndarray, ranges: str) -> bytes:
    """int8 weights by channel, uint8 activations, as QuantizeLinear and DequantizeLinear around operators.

    Activations are unsigned: ONNX Runtime gives the same pixels as with signed ones, in 0.66 (FastLinkNet)
    and 0.48 (TipToe) of the time on x86, 1.04 and 1.03 of the instructions on an emulated Cortex-A76, 0.92
    and 0.97 on a Cortex-A53. Weights keep 8 bits: x86 processors without VNNI add pairs of products in 16
    bits that overflow, which costs 0.02 and 0.07 % of the pixels (an emulated Haswell); 7 bits
    (``reduce_range``) avoid it, and cost 0.03 and 0.02 % everywhere else.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    average = ESTIMATORS[ranges].activations == "average"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        quantize_static(
            str(path),
            str(out),
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[operator.name for operator in before_positions(read(path))],
            # The mean of the images' extremes.
            extra_options={"CalibMovingAverage": average},
        )
        return checked(onnx.load(out))


class _Reader:
    """Calibration images, one after the other, as the quantizer asks for them."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input of the network; None behind the last."""
        image = next(self._images, None)
        return None if image is None else {INPUT: runtime.to_float(image[None])}
