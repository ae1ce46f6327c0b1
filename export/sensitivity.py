"""Which operators cost how much when they alone are quantized.

Everything else stays in float, so that the loss is the operator's own: of its weights, and of rounding what
it reads and writes. A network is a long way from additive, but the order is what a search needs first
(``export.auto``); the measure is IoU on real images. Differences of IoU below ``TIE`` come of a few pixels
that might have gone either way; among such the noise on the logits decides, which is smooth, and whose power
adds up over operators (Pandey et al. 2023, "A Practical Mixed Precision Algorithm for Post-Training
Quantization", section 3, ranks by it alone).
"""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from footseg import files, metrics, paired, records, runtime
from footseg.data.images import IGNORE
from footseg.errors import FootsegError
from footseg.export import mix, verify
from footseg.export.conversion import conversion
from footseg.export.freeze import INPUT, SIGNATURE
from footseg.mixtures import QuantizationCost, Sensitivity

# Tensors are held against each other on so many images: signal-to-noise ratios settle at once.
TENSOR_IMAGES = 4


@dataclass(frozen=True)
class Score:
    """What a file gives on a sample, held against the fp32 file; units as in ``QuantizationCost``.

    ``iou_loss_error`` is the standard error of the loss that comes of having no more images than these, by
    the jackknife (``footseg.paired``).
    """

    iou: float
    iou_loss: float
    iou_loss_error: float
    logit_error: float


@dataclass(frozen=True)
class Reference:
    """The fp32 file on a sample: logits (N, H, W, classes), their standard deviation, confusion and IoU.

    ``confusion`` is (N, classes, classes), one matrix for each image.
    """

    sample: verify.Sample
    logits: np.ndarray
    spread: float
    confusion: np.ndarray
    iou: float

    def score(self, file: Path, threads: int = 1) -> Score:
        """Run a file on the sample.

        Raises:
            FootsegError: it cannot be run.
        """
        logits = runtime.load(file, threads).logits(self.sample.images)
        confusion = _confusion(self.sample, logits)
        iou = _iou(confusion)
        return Score(
            iou=iou,
            iou_loss=self.iou - iou,
            iou_loss_error=paired.of_iou(self.confusion, confusion).error,
            logit_error=float(np.sqrt(np.mean(np.square(logits - self.logits)))) / self.spread,
        )


def reference(fp32: Path, sample: verify.Sample, threads: int = 1) -> Reference:
    """The fp32 ``.tflite`` on a sample, which all else is held against.

    Raises:
        FootsegError: it cannot be run, or the sample's masks hold nothing but padding.
    """
    if (sample.masks == IGNORE).all():
        raise FootsegError(
            "the masks to measure a loss of IoU on are empty: pass --data with labelled images"
        )
    logits = runtime.load(fp32, threads).logits(sample.images)
    confusion = _confusion(sample, logits)
    return Reference(sample, logits, float(logits.std()) or 1.0, confusion, _iou(confusion))


def measure(
    mixer: mix.Mixer, against: Reference, level: str = "int8", *, threads: int = 1, saved: Path | None = None
) -> Sensitivity:
    """Measure each operator of the mixer's network by itself at a level of ``footseg.export.mix.LEVELS``.

    What is measured is kept in the file ``saved`` after each operator, and not measured again if nothing has
    changed since.

    Raises:
        ValueError: a level that no operator has.
        FootsegError: the network cannot be quantized or run, or a full disk.
    """
    operators = [operator for operator in mixer.operators if level in operator.levels]
    if not operators or level == "float":
        raise ValueError(
            f"no operator of {mixer.path.name} can be in {level!r}: see footseg.export.mix.LEVELS"
        )
    key = _key(mixer, against, level)
    costs = _kept(saved, key)

    def so_far() -> Sensitivity:
        known = [costs[operator.output] for operator in operators if operator.output in costs]
        sample = against.sample
        return Sensitivity(
            level, mixer.path.name, sample.split, len(sample.names), against.iou, key, tuple(known)
        )

    missing = [operator for operator in operators if operator.output not in costs]
    if missing:
        whole = len(mixer({}))
        tensors = tensor_errors(mixer, {o.output: level for o in operators}, against.sample.images)
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "alone.tflite"
        for operator in tqdm(missing, desc=f"{level} alone", unit="operator", disable=None):
            data = mixer({operator.output: level})
            alone.write_bytes(data)
            score = against.score(alone, threads)
            snr, cosine = tensors.get(operator.output, (None, None))
            costs[operator.output] = QuantizationCost(
                operator.index,
                operator.kind,
                operator.output,
                operator.layer,
                score.iou_loss,
                score.logit_error,
                whole - len(data),
                snr,
                cosine,
            )
            if saved:
                files.write_json(saved, so_far().to_json())
    return so_far()


def tensor_errors(
    mixer: mix.Mixer, levels: Mapping[str, str], images: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Of each tensor of a mixture: signal-to-noise ratio in decibels, cosine similarity to its float self."""
    mixed = mixer(levels)
    with conversion(f"comparison of {mixer.path.name} with its quantized self"):
        from ai_edge_quantizer import model_validator
        from ai_edge_quantizer.utils.validation_utils import ValidationErrorMetric as Metric

        compared = model_validator.compare_model(
            mixer.path.read_bytes(),
            mixed,
            {SIGNATURE: [{INPUT: runtime.to_float(image[None])} for image in images[:TENSOR_IMAGES]]},
            [Metric.SNR, Metric.COSINE_SIMILARITY],
            compare_fns=None,
            num_threads=1,
        ).get_all_tensor_results()
    return {
        name: (10 * float(np.log10(max(values["snr"], 1e-12))), float(values["cosine_similarity"]))
        for name, values in compared.items()
    }


def _confusion(sample: verify.Sample, logits: np.ndarray) -> np.ndarray:
    predicted = logits.argmax(axis=-1).astype(np.uint8)
    return metrics.confusion_per_image(sample.masks, predicted, logits.shape[-1])


def _iou(confusion: np.ndarray) -> float:
    return metrics.scores(confusion.sum(axis=0))["iou"]


def _key(mixer: mix.Mixer, against: Reference, level: str) -> str:
    """What the figures depend on, as a digest: network, ranges, images, masks, library."""
    from importlib.metadata import version

    digest = hashlib.sha256()
    for part in (
        mixer.path.read_bytes(),
        repr(
            (
                mixer.ends.input,
                mixer.ends.output,
                mixer.ranges,
                level,
                version("ai-edge-quantizer"),
                version("ai-edge-litert"),
            )
        ).encode(),
        repr(sorted((name, str(value)) for name, value in mixer.statistics.items())).encode(),
        against.sample.images.tobytes(),
        against.sample.masks.tobytes(),
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _kept(saved: Path | None, key: str) -> dict[str, QuantizationCost]:
    """What an earlier measurement of the same left behind, by output tensor."""
    if saved is None or not saved.is_file():
        return {}
    found = records.read(Sensitivity, saved, "record of a sensitivity", "measure it anew", strict=True)
    return {cost.output: cost for cost in found.costs} if found.measured_on == key else {}
