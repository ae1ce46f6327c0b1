"""Hold an exported file against the Keras network it came from, on real images. Part of every export.

Logits differ by rounding, so each precision has limits of its own; see ``precisions``. Logits and pixels are
held to them plainly, on up to ``IMAGES`` images. IoU and boundary F hang on which images these happen to be,
so their differences have intervals over images (``footseg.paired``). A file is refused if a whole interval is
beyond the limit, and passes if both are within. Where one cannot tell, twice as many images of the split are
taken, again and again; if all are used and still nobody can tell, the file passes, and that is said, unless
it lost so much on these very images (``RUINED`` limits) that it does not matter how others would do.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from footseg import metrics, paired, runtime
from footseg.data.folder import DataSet, Pair, open_data, pairs, read_pair
from footseg.data.images import IGNORE, letterbox, letterbox_mask
from footseg.data.labels import Labels
from footseg.errors import FootsegError
from footseg.evaluate import evenly_spaced
from footseg.export.precisions import PRECISIONS, Tolerance
from footseg.paired import Decision, Difference

# Enough that one odd photograph does not decide, and a second or two of work at 256x256.
IMAGES = 32
# Limits that a difference may be of where nobody can tell: two of eight objects gone are 25 of int8's.
RUINED = 5
WORST = 3


@dataclass(frozen=True)
class Sample:
    """Images uint8 (N, H, W, 3) and masks uint8 (N, H, W) at a network's size, and where they come from."""

    split: str
    names: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class More:
    """Further images of a sample's split, in rounds, each of as many as were there before it.

    ``reference`` gives the logits, float32 (N, H, W, classes), of the Keras network for images. Nothing is
    read before it is asked for.
    """

    split: str
    size: tuple[int, int]
    labels: Labels
    rounds: tuple[tuple[Pair, ...], ...]
    reference: Callable[[np.ndarray], np.ndarray]

    def read(self, round_: Sequence[Pair]) -> Iterator[Sample]:
        """The images of a round, ``IMAGES`` at a time."""
        for start in range(0, len(round_), IMAGES):
            yield _read(round_[start : start + IMAGES], self.split, self.size, self.labels)


@dataclass(frozen=True)
class Verification:
    """How far an exported file is from its Keras network.

    ``logit_max`` and ``logit_mean`` are the largest and the mean absolute difference of logits, each divided
    by ``logit_scale``, the standard deviation of the Keras logits; ``logit_max_absolute`` and
    ``logit_mean_absolute`` are the same undivided. ``pixels_equal`` is the share of pixels with the same
    class. ``worst`` names the images with most pixels of another class (then the largest logit difference),
    and that share. All these are of ``images`` images. ``iou`` and ``boundary_f`` are exported minus Keras,
    of these and of those that were taken to decide; ``decisions`` are theirs, by these names.
    """

    images: int
    split: str
    logit_scale: float
    logit_max: float
    logit_mean: float
    logit_max_absolute: float
    logit_mean_absolute: float
    pixels_equal: float
    iou: Difference
    boundary_f: Difference
    worst: tuple[tuple[str, float], ...]
    decisions: Mapping[str, Decision] = field(default_factory=dict)

    def summary(self) -> str:
        """One line for people."""
        doubts = paired.doubts(self.decisions)
        return (
            f"logits {self.logit_max_absolute:.2g} apart at most, {self.logit_mean_absolute:.2g} on average; "
            f"{self.pixels_equal:.2%} of pixels equal; IoU {self.iou.value:+.4f}, boundary F "
            f"{self.boundary_f.value:+.4f}"
            + (f" on {self.iou.images} images" if self.iou.images > self.images else "")
            + (f"; {doubts}" if doubts else "")
        )

    def to_json(self) -> dict[str, Any]:
        """Its fields, ready for a sidecar; ``iou`` and ``boundary_f`` are numbers there."""
        return dataclasses.asdict(self) | {"iou": self.iou.value, "boundary_f": self.boundary_f.value}


# What is allowed on top to a network that remembers where maxima stood (max-unpooling): it moves a value by
# a pixel wherever rounding turns two nearly equal neighbours around, few pixels but by any amount. Seen in
# ENets, max and mean: in fp32 0.92 and 9.4e-5 (random weights; a trained one had none in 48 photographs), in
# fp16 0.18 and 4.6e-4 (trained), 2.3 and 1.7e-3 (24 steps of training). Red and blue swapped: mean 0.27.
POSITIONS_MAX = 5.0
POSITIONS_MEAN = 2e-3


def tolerance(precision: str, positions: bool) -> Tolerance:
    """The limits of a precision; ``positions`` says that the network remembers where maxima stood.

    Raises:
        ValueError: none for this ``precision``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"no tolerance for precision {precision!r}: known are {', '.join(PRECISIONS)}")
    limits = PRECISIONS[precision].tolerance
    if not positions:
        return limits
    return dataclasses.replace(
        limits,
        logit_max=limits.logit_max + POSITIONS_MAX,
        logit_mean=limits.logit_mean + POSITIONS_MEAN,
    )


def sample(data_dir: Path, size: tuple[int, int], count: int = IMAGES) -> Sample:
    """Up to ``count`` images evenly spaced over the validation split, where there is none the training split.

    Only these are read, so a large data set costs no more than a small one. Test images stay unseen.

    Raises:
        FootsegError: the data set is not there or has neither split, or a file is damaged.
    """
    data, split = _split(data_dir)
    found = pairs(data, split)
    chosen = [found[i] for i in evenly_spaced(len(found), count)]
    read = _read(chosen, split, size, data.labels)
    if not metrics.labelled(read.masks).any():
        raise FootsegError(
            f"no pixel of {len(chosen)} images of {data_dir / split} is labelled: all are ignored (255), and "
            "an export is checked on labels: pass --data DIR"
        )
    return read


def more(data_dir: Path, on: Sample, reference: Callable[[np.ndarray], np.ndarray]) -> More:
    """The images of a split that its sample ``on`` lacks, each round evenly spaced; see ``More``.

    Raises:
        FootsegError: as ``sample``.
    """
    data = open_data(data_dir)
    left = [pair for pair in pairs(data, on.split) if pair.name not in on.names]
    taken, rounds = len(on.names), []
    while left:
        chosen = {left[i].name for i in evenly_spaced(len(left), taken)}
        rounds.append(tuple(pair for pair in left if pair.name in chosen))
        left = [pair for pair in left if pair.name not in chosen]
        taken *= 2
    return More(on.split, on.masks.shape[1:3], data.labels, tuple(rounds), reference)


def _split(data_dir: Path) -> tuple[DataSet, str]:
    """A data set, and the split of it to check on."""
    if not data_dir.is_dir():
        raise FootsegError(
            f"the data set {data_dir} is gone, and an export is checked on real images: pass --data DIR"
        )
    data = open_data(data_dir)
    split = next((name for name in ("val", "train") if name in data.splits), None)
    if split is None:
        raise FootsegError(f"{data_dir} has neither val nor train to check an export on: pass --data DIR")
    return data, split


def _read(chosen: Sequence[Pair], split: str, size: tuple[int, int], labels: Labels) -> Sample:
    read = [read_pair(pair, labels) for pair in chosen]
    return Sample(
        split=split,
        names=tuple(pair.name for pair in chosen),
        images=np.stack([letterbox(image, size)[0] for image, _ in read]),
        masks=np.stack([letterbox_mask(mask, size) for _, mask in read]),
    )


def verify(
    expected: np.ndarray,
    path: Path,
    on: Sample,
    precision: str,
    threads: int = 1,
    positions: bool = False,
    further: More | None = None,
) -> Verification:
    """Run the file at ``path`` on the sample and hold it against ``expected``, the Keras logits.

    For ``positions`` see ``tolerance``. Of ``further`` images as many rounds are taken as it needs to
    decide.

    Raises:
        FootsegError: the file cannot be run, or is out of tolerance: the measure, its value, the limit and
            the images that differ most are named.
        ValueError: no tolerance for this ``precision``.
    """
    limits = tolerance(precision, positions)
    segmenter = runtime.load(path, threads)
    found, scores = _compare(expected, segmenter.logits(on.images), on)
    rounds = further.rounds if further else ()
    # Each round is one more chance to be wrong: for each figure, that all are right holds with the confidence
    # of one.
    confidence = 1 - (1 - paired.CONFIDENCE) / (1 + len(rounds))
    found = check(found, limits, path.name, confidence, last=not rounds)
    for number, round_ in enumerate(rounds, start=1):
        if further is None or all(decision.clear for decision in found.decisions.values()):
            break
        for part in further.read(round_):
            masks = _masks(further.reference(part.images), segmenter.logits(part.images))
            scores = scores.with_more(_Scores.of(part.masks, *masks, len(further.labels.classes)))
        found = dataclasses.replace(found, iou=scores.iou, boundary_f=scores.boundary_f)
        found = check(found, limits, path.name, confidence, last=number == len(rounds))
    return found


def check(
    verification: Verification,
    tolerance: Tolerance,
    name: str,
    confidence: float = paired.CONFIDENCE,
    *,
    last: bool = True,
) -> Verification:
    """Hold what was measured against its limits; returns it with its decisions, at a ``confidence``.

    ``last`` says that no more images will be taken.

    Raises:
        FootsegError: one or more are exceeded, those with an interval beyond doubt or by ``RUINED``
            limits on the last images.
    """
    measured = {
        "largest logit difference": (verification.logit_max, tolerance.logit_max),
        "mean logit difference": (verification.logit_mean, tolerance.logit_mean),
        "share of pixels of another class": (1 - verification.pixels_equal, tolerance.pixels_differ),
    }
    decisions = {
        "iou": paired.decide(verification.iou, tolerance.iou, confidence),
        "boundary_f": paired.decide(verification.boundary_f, tolerance.boundary_f, confidence),
    }
    # Written so that NaN fails, too.
    failed = [
        f"{what} {value:.3g} (limit {limit:g})"
        for what, (value, limit) in measured.items()
        if not value <= limit
    ] + [
        f"difference in {paired.FIGURES[figure]} {abs(found.difference):.3g} (limit {found.limit:g}; "
        f"{found.ends} on {found.images} images)"
        for figure, found in decisions.items()
        if found.verdict == paired.BEYOND
        or (last and not found.clear and abs(found.difference) > RUINED * found.limit)
    ]
    if failed:
        images = ", ".join(f"{image} ({share:.1%} of its pixels)" for image, share in verification.worst)
        raise FootsegError(
            f"{name} does not do what its Keras network does: {'; '.join(failed)}; logit differences are in "
            f"standard deviations of the Keras logits; most different on {images}"
        )
    return dataclasses.replace(verification, decisions=decisions)


def compare(keras: np.ndarray, exported: np.ndarray, on: Sample) -> Verification:
    """Measure the differences of two float arrays of logits (N, H, W, classes) of the same images.

    Logits that are no numbers count as infinitely far off. Padding (mask 255) is left out of the masks'
    measures: what a network says of it is cut away.

    Raises:
        ValueError: the shapes differ.
    """
    return _compare(keras, exported, on)[0]


@dataclass(frozen=True)
class _Scores:
    """What two networks score on the same images: confusion (2, N, classes, classes), outlines (2, N)."""

    confusion: np.ndarray
    outlines: np.ndarray

    @classmethod
    def of(cls, truth: np.ndarray, before: np.ndarray, after: np.ndarray, classes: int) -> "_Scores":
        """Of masks (N, H, W); images without a labelled pixel are left out."""
        labelled = metrics.labelled(truth)
        truth, both = truth[labelled], (before[labelled], after[labelled])
        return cls(
            np.stack([metrics.confusion_per_image(truth, masks, classes) for masks in both]),
            np.stack([metrics.boundary_f_per_image(truth, masks) for masks in both]),
        )

    def with_more(self, other: "_Scores") -> "_Scores":
        """Of these images and others."""
        return _Scores(
            np.concatenate([self.confusion, other.confusion], axis=1),
            np.concatenate([self.outlines, other.outlines], axis=1),
        )

    @property
    def iou(self) -> Difference:
        """After minus before."""
        return paired.of_iou(*self.confusion)

    @property
    def boundary_f(self) -> Difference:
        """After minus before."""
        return paired.of_mean(*self.outlines)


def _masks(keras: np.ndarray, exported: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes, uint8 (N, H, W), that two arrays of logits tell."""
    before = keras.argmax(axis=-1).astype(np.uint8)
    # A pixel without a number has no class: it is counted as one that the network did not say.
    finite = np.isfinite(exported).all(axis=-1)
    after = np.where(finite, exported.argmax(axis=-1), (before + 1) % keras.shape[-1]).astype(np.uint8)
    return before, after


def _compare(keras: np.ndarray, exported: np.ndarray, on: Sample) -> tuple[Verification, _Scores]:
    """As ``compare``; also what it comes of, image by image."""
    if keras.shape != exported.shape or keras.shape[:3] != on.masks.shape:
        raise ValueError(
            f"logits {keras.shape} and {exported.shape} must be of the same images, {on.masks.shape}"
        )
    difference = np.where(np.isfinite(exported), np.abs(exported - keras), np.inf)
    scale = float(keras.std()) or 1.0
    before, after = _masks(keras, exported)
    scores = _Scores.of(on.masks, before, after, keras.shape[-1])
    valid = on.masks != IGNORE
    differ = ((before != after) & valid).sum(axis=(1, 2)) / np.maximum(valid.sum(axis=(1, 2)), 1)
    order = sorted(range(len(on.names)), key=lambda i: (differ[i], difference[i].max()), reverse=True)
    found = Verification(
        images=len(on.names),
        split=on.split,
        logit_scale=scale,
        logit_max=float(difference.max()) / scale,
        logit_mean=float(difference.mean()) / scale,
        logit_max_absolute=float(difference.max()),
        logit_mean_absolute=float(difference.mean()),
        pixels_equal=1.0 - float(((before != after) & valid).sum() / max(valid.sum(), 1)),
        iou=scores.iou,
        boundary_f=scores.boundary_f,
        worst=tuple((on.names[i], float(differ[i])) for i in order[:WORST]),
    )
    return found, scores
