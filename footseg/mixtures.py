"""Mixtures of precisions: what each operator costs, which mixtures were tried, and the records of both.

``footseg.export.sensitivity`` and ``footseg.export.auto`` measure and write them; pages read them.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

from footseg.records import AnyNumber

# Differences of IoU below this come of a few pixels that might have gone either way.
TIE = 5e-4


@dataclass(frozen=True)
class QuantizationCost:
    """What one operator costs and saves when it alone is quantized.

    ``iou_loss`` is fp32's IoU minus its own; ``logit_error`` the root mean square of the logits' difference,
    in standard deviations of fp32's logits; ``bytes_saved`` fp32's bytes minus its own. ``snr_db`` and
    ``cosine`` are of the operator's output in the file where all are quantized, and so hold the errors of
    those before it, too; None where the library compares nothing.
    """

    index: int
    kind: str
    output: str
    layer: str
    iou_loss: float
    logit_error: float
    bytes_saved: int
    snr_db: AnyNumber | None = None
    cosine: AnyNumber | None = None


@dataclass(frozen=True)
class Sensitivity:
    """The costs of all operators at one level, in order of execution, and what they were measured on."""

    level: str
    file: str
    split: str
    images: int
    iou: float
    measured_on: str
    costs: tuple[QuantizationCost, ...]

    def ranked(self) -> tuple[QuantizationCost, ...]:
        """The costs, dearest first: by IoU lost in steps of ``TIE``, then by the error of the logits."""
        return tuple(
            sorted(self.costs, key=lambda c: (-max(0, round(c.iou_loss / TIE)), -c.logit_error, c.index))
        )

    def to_json(self) -> dict[str, Any]:
        """Its fields, ready for a file."""
        return asdict(self)


@dataclass(frozen=True)
class Mixture:
    """One mixture that was tried.

    ``levels`` names the output tensors of operators that are not in int8, with their level; ``iou_loss`` and
    ``logit_error`` are as in ``QuantizationCost``, ``iou_loss_error`` is the standard error of the first,
    infinite on a single image; ``delegated`` of ``operators`` run in XNNPACK, in ``partitions`` pieces.
    ``packed`` counts bytes as they are downloaded, of the chosen point and of whole networks at one level: to
    pack one with zstandard takes longer than to measure it.
    """

    name: str
    levels: dict[str, str]
    bytes: int
    iou: float
    iou_loss: float
    iou_loss_error: AnyNumber
    logit_error: float
    operators: int
    delegated: int
    partitions: int
    fits: bool
    packed: dict[str, int] = field(default_factory=dict)


class Fp32(TypedDict):
    """Of the fp32 file that all mixtures are held against: what it gives, on what, its bytes."""

    iou: float
    bytes: int
    split: str
    images: int


class SpeedRecord(TypedDict, total=False):
    """Of the chosen file: its time over fp32's, and what export makes of it, as "slower"."""

    ratio: float
    verdict: str


@dataclass(frozen=True)
class Frontier:
    """The record of a search for the smallest file; ``chosen`` is the index of a point."""

    file: str
    network: str
    max_loss: float
    margin: float
    reference: Fp32
    chosen: int
    points: tuple[Mixture, ...]
    sensitivities: tuple[Sensitivity, ...]
    speed: SpeedRecord
    seconds: float = 0.0
    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.chosen < len(self.points):
            raise ValueError(f"its field 'chosen' is {self.chosen}, expected the index of one of its points")
        if not self.sensitivities or not self.sensitivities[0].costs:
            raise ValueError("its field 'sensitivities' is empty, expected the costs of operators")
        known = {cost.output for cost in self.sensitivities[0].costs}
        others = {cost.output for found in self.sensitivities for cost in found.costs} - known
        if others:
            raise ValueError(
                f"its field 'sensitivities' has the costs of {min(others)!r} at a later level only"
            )

    @property
    def best(self) -> Mixture:
        """The point that was chosen."""
        return self.points[self.chosen]
