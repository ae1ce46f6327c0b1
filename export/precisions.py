"""What exported files can be: precisions, types of their ends, estimators of ranges; a row of a table each.

The command line takes its choices from these tables, so nothing heavy is imported here. In ``PRECISIONS`` the
order is that of exporting.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CONVERTER = {"tensorflow": "train", "ai_edge_litert": "train"}


@dataclass(frozen=True)
class Tolerance:
    """The largest differences that verification allows, in units of ``verify.Verification``.

    ``pixels_differ`` is the share of pixels that may have another class.
    """

    logit_max: float
    logit_mean: float
    pixels_differ: float
    iou: float
    boundary_f: float


@dataclass(frozen=True)
class Precision:
    """What the numbers of an exported file are.

    Weights are by channel and symmetric where they are integers; their sum is always that of the fp32 file's
    operators. ``weights`` is what they are stored in, where the quantizer can; ``activations`` what an
    operator computes on. The ranges of integer activations are set by images if ``calibrated``, else found
    anew in each inference. ``integer_ends`` says whether input and output may be integers. ``needs`` are the
    packages that make such a ``.tflite``, with the extras that bring them. ``formats`` are those that there
    is a way to.
    """

    about: str
    weights: str
    activations: str
    tolerance: Tolerance
    calibrated: bool = False
    integer_ends: bool = False
    formats: tuple[str, ...] = ("tflite",)
    needs: Mapping[str, str] = field(default_factory=lambda: CONVERTER | {"ai_edge_quantizer": "compress"})

    @property
    def rounds_weights(self) -> bool:
        """Whether weights are integers, whose ranges an estimator sets."""
        return self.weights.startswith("int")


# Dividing logit differences by the logits' spread makes one limit fit trained and barely trained networks
# alike: rounding grows with the values that are rounded. Seen, as the largest of five FastLinkNets (random
# weights at 256x256; 36 and 48 steps of training at 64x64, the former also at a quarter of the width, IoU
# 0.13 to 0.38; IoU 0.63 at 128x128; up to 32 images each; int8 with float and with int8 ends):
#   fp32  max 3.5e-6  mean 4.6e-7  differ 0       IoU 0       boundary F 0
#   fp16  max 2.7e-3  mean 4.8e-4  differ 1.5e-4  IoU 0.0002  boundary F 0.0006
#   int8  max 0.65    mean 0.019   differ 0.010   IoU 0.0046  boundary F 0.006
# all of int8's worst but boundary F at a quarter of the width; the trained network: 0.11, 0.009, 0.003.
# The others, on three FastLinkNets (IoU 0.76 at 256x256; 24 drawn feet at 64x64 and a quarter of the width,
# 60 and 12 epochs), 8 to 32 images, with the widest ranges and, in brackets, the worst estimator of weights:
#   int8w    max 0.09 (0.23)  mean 0.009 (0.024)  differ 0.003 (0.010)  IoU 0.0001 (0.005)  boundary F 0.002
#   int16x8  max 0.25 (0.27)  mean 0.013 (0.026)  differ 0.005 (0.011)  IoU 0.0022 (0.007)  boundary F 0.002
#   dynamic  max 0.10 (0.24)  mean 0.010 (0.024)  differ 0.004 (0.010)  IoU 0.0006 (0.005)  boundary F 0.002
#   int4w    max 1.24 (1.41)  mean 0.15  (0.18)   differ 0.054 (0.069)  IoU 0.019  (0.026)  boundary F 0.035
# int4w's at a quarter of the width; the first network: 0.60, 0.036, 0.005, 0.003, 0.001.
# As .onnx on ONNX Runtime, the worse of a FastLinkNet and a TipToe at 256x256 (IoU 0.72): 32 photographs on
# x86 with VNNI, in brackets 4 on an emulated processor: a Cortex-A76, which has float16; x86 without VNNI:
#   fp16  max 5.8e-3 (9.0e-3)  mean 4.7e-4 (8.6e-4)  differ 1.0e-4 (1.5e-4)
#   int8  max 0.20   (0.55)    mean 0.012  (0.022)   differ 0.0025 (0.0020)
# Red and blue swapped moved the five by max 0.67 to 1.8, mean 0.013 (random weights) and 0.034 to 0.10.
PRECISIONS: Mapping[str, Precision] = {
    "fp32": Precision(
        "as it was trained",
        weights="float32",
        activations="float32",
        # The same arithmetic in another order: 30 times what was seen leaves room for other processors and
        # deeper networks, and is a thousandth of what the mildest planted fault does. A pixel may tie.
        tolerance=Tolerance(logit_max=1e-4, logit_mean=1e-5, pixels_differ=1e-4, iou=1e-3, boundary_f=2e-3),
        formats=("tflite", "onnx", "coreml"),
        needs=CONVERTER,
    ),
    "fp16": Precision(
        "weights in 16 bits, float arithmetic",
        weights="float16",
        activations="float32",
        # fp16 keeps 11 bits: each weight moves by up to 4.9e-4 of itself, in random directions.
        tolerance=Tolerance(logit_max=2e-2, logit_mean=2e-3, pixels_differ=1e-3, iou=2e-3, boundary_f=5e-3),
        formats=("tflite", "onnx", "coreml"),
    ),
    "int8": Precision(
        "weights and activations in 8 bits, integer arithmetic, ranges by calibration",
        weights="int8",
        activations="int8",
        calibrated=True,
        integer_ends=True,
        formats=("tflite", "onnx"),
        # 8 bits at each of some 70 tensors. The largest difference is that of a single pixel, brighter than
        # any in calibration, and says little; the mean is the sharp one. IoU: what the project promises of
        # int8. Boundary F moves twice as much, because the pixels that change lie on outlines.
        tolerance=Tolerance(logit_max=1.0, logit_mean=0.03, pixels_differ=0.02, iou=0.01, boundary_f=0.02),
    ),
    "int8w": Precision(
        "weights in 8 bits, float arithmetic",
        weights="int8",
        activations="float32",
        # Weights alone are rounded, to the same 8 bits.
        tolerance=Tolerance(logit_max=0.5, logit_mean=0.03, pixels_differ=0.02, iou=0.01, boundary_f=0.02),
    ),
    "int16x8": Precision(
        "weights in 8 bits, activations in 16, integer arithmetic, ranges by calibration",
        weights="int8",
        activations="int16",
        calibrated=True,
        # The weights' error again; and a pixel brighter than any in calibration is cut off, as in int8.
        tolerance=Tolerance(logit_max=1.0, logit_mean=0.03, pixels_differ=0.02, iou=0.01, boundary_f=0.02),
    ),
    "int4w": Precision(
        "weights of convolutions in 4 bits, others' in 8, float arithmetic",
        weights="int4",
        activations="float32",
        # 15 levels for each weight: what that loses is to be known, not promised. Twice what was seen, so
        # that it stops what is useless; and faults of conversion are caught in the fp32 file that this one
        # is made from.
        tolerance=Tolerance(logit_max=3.0, logit_mean=0.35, pixels_differ=0.12, iou=0.05, boundary_f=0.1),
    ),
    "dynamic": Precision(
        "weights in 8 bits, activations too, by ranges found anew in each inference",
        weights="int8",
        activations="int8",
        # Weights and activations in 8 bits, as in int8, but ranges are each image's own: nothing is cut off.
        tolerance=Tolerance(logit_max=0.5, logit_mean=0.03, pixels_differ=0.02, iou=0.01, boundary_f=0.02),
    ),
}

# What a file may take. "float32" is a drop-in for the fp32 file; "uint8" are pixels, which every precision
# takes; "int8" are the network's own codes, of its logits, too, and only the precisions of INTEGER_ENDS have
# them.
IO = ("float32", "uint8", "int8")
INTEGER_ENDS = tuple(name for name, row in PRECISIONS.items() if row.integer_ends)
# What a .tflite is for: phones' GPUs as well, or processors alone, where some fused forms are faster.
TARGETS = ("any", "cpu")


@dataclass(frozen=True)
class Estimator:
    """How ranges of weights and of activations are found, and what the quantizer calls the former."""

    weights: str = "minmax"
    activations: str = "minmax"
    algorithm: str = "MIN_MAX_UNIFORM_QUANT"


# Activations: the widest seen in calibration, but for "average", which moves them 5 % of the way to those of
# each new image. Weights: their extremes, but for "octav" (clipping by Sakr et al. 2022, equation 6) and
# "mse" (clipping for a normal distribution of their spread).
ESTIMATORS: Mapping[str, Estimator] = {
    "minmax": Estimator(),
    "average": Estimator(activations="average"),
    "octav": Estimator(weights="octav", algorithm="OCTAV"),
    "mse": Estimator(weights="mse", algorithm="MSE"),
}
