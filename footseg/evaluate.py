"""How good a model file is on one split of a data set, with the pictures that show where it fails.

Photographs go through the same letterbox as in training and are scored at the model's own input size, so
that the figures of ``.keras``, ``.tflite`` and ``.onnx`` can be held against each other.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image
from tqdm import tqdm

from footseg import class_names, files, metrics, provenance, records, run, runtime, strangers
from footseg.data.folder import Split, load_split, open_data
from footseg.data.images import IGNORE, overlay, write_image
from footseg.data.labels import Colour
from footseg.errors import FootsegError
from footseg.foreign.ends import NOTHING, Ends
from footseg.terminal import note

WORST = 6
# Logits are wanted only until their argmax: 16 images of 256x256 and two classes are 8 MB.
CHUNK = 16
# Long enough to judge an outline by, small enough for six in a self-contained page.
PICTURE_PX = 256
# Vermilion and sky blue (Okabe and Ito): told apart with every common kind of colour blindness.
FALSE_POSITIVE: Colour = (213, 94, 0)
FALSE_NEGATIVE: Colour = (86, 180, 233)

RECORD, TABLE, SAMPLES_FOLDER, WORST_FOLDER = "metrics.json", "per_image.csv", "samples", "worst"


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image, all in [0, 1]; the shares are of its pixels that are not ignored."""

    name: str
    iou: float
    boundary_f: float
    pixel_accuracy: float
    foot_share_truth: float
    foot_share_predicted: float


@dataclass(frozen=True)
class Picture:
    """One image uint8 (H, W, 3) with its true and its predicted mask, uint8 (H, W)."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """A model's scores on a split.

    ``metrics`` has the figures of ``metrics.scores`` over all pixels of the split (``per_class`` by class
    name) and, as means over images, ``iou_per_image`` and ``boundary_f``, the latter with its
    ``boundary_tolerance_px``. ``per_image`` begins with the worst; images without a labelled pixel have no
    score and are ``unlabelled``. ``size`` is (height, width).
    """

    model: str
    sha256: str
    data: str
    data_fingerprint: str
    split: str
    images: int
    size: tuple[int, int]
    metrics: dict[str, Any]
    per_image: tuple[ImageScore, ...]
    unlabelled: tuple[str, ...]
    versions: dict[str, str]
    colours: tuple[Colour, ...] = field(repr=False)
    samples: tuple[Picture, ...] = field(repr=False, compare=False)
    worst: tuple[Picture, ...] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """What ``metrics.json`` holds: everything but the pictures, which it names."""
        record = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("colours", "per_image")
        }
        return record | {
            "size": list(self.size),
            "samples": [picture.name for picture in self.samples],
            "worst": [picture.name for picture in self.worst],
            "per_image": [asdict(row) for row in self.per_image],
        }

    def save(self, out: Path) -> None:
        """Write metrics.json, per_image.csv, samples/ and worst/ to the folder ``out``.

        An earlier evaluation there is replaced as a whole.

        Raises:
            FootsegError: ``out`` holds something else, or the disk is full.
        """
        check_out(out)
        with files.atomic_path(out) as folder:
            folder.mkdir()
            files.write_json(folder / RECORD, self.to_json())
            files.write_text(folder / TABLE, _table(self.per_image))
            for name, pictures in ((SAMPLES_FOLDER, self.samples), (WORST_FOLDER, self.worst)):
                for picture in pictures:
                    for kind, pixels in draw(picture, self.colours).items():
                        write_image(folder / name / picture_name(picture.name, kind), pixels)


def picture_name(name: str, kind: str) -> str:
    """The file of a picture of an image; a name that is too long for a disk loses its end."""
    ending = f"_{kind}.jpg"
    return files.cut(name, files.NAME_BYTES - len(ending)) + ending


class Figures(TypedDict, total=False):
    """Those of an evaluation's ``metrics`` that others read."""

    pixel_accuracy: float
    iou: float
    iou_per_image: float
    boundary_f: float
    boundary_tolerance_px: float


@dataclass(frozen=True)
class ImageIou:
    """What others read of an ``ImageScore``."""

    name: str
    iou: float


@dataclass(frozen=True, kw_only=True)
class SavedEvaluation:
    """The folder of an evaluation: what its ``metrics.json`` says that others read; ``samples`` are names."""

    path: Path
    model: str = ""
    sha256: str
    data: str
    data_fingerprint: str
    split: str
    images: int
    size: tuple[int, int]
    metrics: Figures
    samples: tuple[str, ...] = ()
    per_image: tuple[ImageIou, ...] = ()

    @classmethod
    def load(cls, path: Path) -> "SavedEvaluation":
        """Read the evaluation in folder ``path``.

        Raises:
            FootsegError: it is none, or its record is damaged or one of an older footseg.
        """
        if not (path / RECORD).is_file():
            raise FootsegError(
                f"{path} is not an evaluation (no {RECORD}): footseg evaluate MODEL --out {path}"
            )
        return records.read(
            cls, path / RECORD, "record of an evaluation", "evaluate the model again", path=path
        )

    @property
    def test_set(self) -> str:
        """What it was evaluated on, in words."""
        return f"{Path(self.data).name}/{self.split}, {self.images} images"

    @property
    def key(self) -> tuple[str, str, tuple[int, ...]]:
        """Evaluations can be compared when these agree."""
        return self.data_fingerprint, self.split, self.size

    def score(self, name: str) -> float:
        """One of ``metrics``.

        Raises:
            FootsegError: the record has none of that name.
        """
        what = f"{self.path / RECORD} is no record of an evaluation"
        return records.figure(self.metrics, "metrics", name, what, "evaluate the model again")

    def image_iou(self, name: str) -> float | None:
        """The IoU of one image; None where the record has none."""
        return next((row.iou for row in self.per_image if row.name == name), None)


def evaluate(
    model: Path,
    data_dir: Path,
    split: str = "test",
    out: Path | None = None,
    *,
    samples: int = 6,
    threads: int = 1,
    ends: Ends = NOTHING,
) -> Evaluation:
    """Score a ``.keras``, ``.tflite`` or ``.onnx`` file, or a run's folder, on a split of a data set.

    ``samples`` evenly spaced images, the same ones for every model, and the six worst are kept as pictures.
    With ``out`` everything is written there (see ``Evaluation.save``). ``ends`` is for ``runtime.load``.

    Raises:
        FootsegError: model or data cannot be used, they differ in their number of classes, the model
            yields numbers that are none, or ``out`` holds something else.
    """
    if samples < 0:
        raise ValueError(f"samples is {samples}: expected 0 or more")
    if out is not None:
        check_out(out)
    data = open_data(data_dir)
    strangers.check(model)
    with files.unchanged(_file(model)) as digest:
        segmenter = runtime.load(model, threads, ends)
    if segmenter.classes != len(data.classes):
        raise FootsegError(
            f"{model} tells {segmenter.classes} classes apart, {data_dir} has {len(data.classes)} "
            f"({', '.join(data.classes)}): evaluate it on data like that it was trained on"
        )
    if said := class_names.compared(model, class_names.of_model(model), data_dir, data.classes):
        note(said)
    loaded = load_split(data, split, segmenter.size)
    predicted = predict_split(segmenter, loaded.images)
    figures, per_image = score_masks(loaded.names, loaded.masks, predicted, data.classes)
    scored = {row.name for row in per_image}
    order = [loaded.names.index(row.name) for row in per_image[:WORST]]
    result = Evaluation(
        model=_name(model),
        sha256=digest,
        data=data_dir.resolve().name,
        data_fingerprint=loaded.fingerprint,
        split=split,
        images=len(loaded.names),
        size=segmenter.size,
        metrics=figures,
        per_image=per_image,
        unlabelled=tuple(name for name in loaded.names if name not in scored),
        versions=provenance.versions(),
        colours=data.colours,
        samples=tuple(_pictures(loaded, predicted, evenly_spaced(len(loaded.names), samples))),
        worst=tuple(_pictures(loaded, predicted, order)),
    )
    if out is not None:
        result.save(out)
    return result


def _file(model: Path) -> Path:
    """What a model is loaded from."""
    return run.model_file(model) if model.is_dir() and model.suffix != runtime.COREML else model


def check_out(out: Path) -> None:
    """Make sure that nothing but an earlier evaluation would be replaced.

    Raises:
        FootsegError: ``out`` is a file, or a folder with anything else in it.
    """
    if out.exists() and not out.is_dir():
        raise FootsegError(f"{out} is a file: give a folder to write the evaluation to")
    own = {RECORD, TABLE, SAMPLES_FOLDER, WORST_FOLDER}
    if out.is_dir() and (others := sorted(path.name for path in out.iterdir() if path.name not in own)):
        raise FootsegError(f"{out} holds more than an evaluation ({others[0]}): give a new or empty folder")


def predict_split(segmenter: runtime.Segmenter, images: np.ndarray) -> np.ndarray:
    """The likeliest class of each pixel: images uint8 (N, H, W, 3) to uint8 (N, H, W).

    Raises:
        FootsegError: the model yields NaN or infinity.
    """
    predicted = np.empty(images.shape[:3], np.uint8)
    with tqdm(total=len(images), desc="evaluate", unit="image", disable=None) as bar:
        for start in range(0, len(images), CHUNK):
            chunk = slice(start, start + CHUNK)
            predicted[chunk] = np.argmax(finite_logits(segmenter, images[chunk]), axis=-1)
            bar.update(len(images[chunk]))
    return predicted


def finite_logits(segmenter: runtime.Segmenter, images: np.ndarray) -> np.ndarray:
    """``segmenter.logits``, unless they are no numbers: their argmax would be a silent "all background".

    Raises:
        FootsegError: the model yields NaN or infinity.
    """
    logits = segmenter.logits(images)
    if not np.isfinite(logits).all():
        raise FootsegError(f"{segmenter.path} yields NaN or infinity: its weights are damaged, make it anew")
    return logits


def score_masks(
    names: Sequence[str], truth: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> tuple[dict[str, Any], tuple[ImageScore, ...]]:
    """The ``metrics`` and ``per_image`` of an Evaluation from masks uint8 (N, H, W).

    Images of which every pixel is ignored are in neither: nothing can be said of them.

    Raises:
        FootsegError: all images are such.
    """
    labelled = metrics.labelled(truth)
    if not labelled.any():
        raise FootsegError(
            "no pixel of these images is labelled: all are ignored (255), nothing can be scored"
        )
    if not labelled.all():  # a copy only where one is needed: a split may be larger than memory
        names = [name for name, its in zip(names, labelled, strict=True) if its]
        truth, predicted = truth[labelled], predicted[labelled]
    matrices = metrics.confusion_per_image(truth, predicted, len(classes))
    tolerance = metrics.boundary_tolerance(*truth.shape[1:])
    outlines = metrics.boundary_f_per_image(truth, predicted)
    pixels = np.maximum(matrices.sum(axis=(1, 2)), 1)
    columns = (
        metrics.foreground_iou(matrices),
        outlines,
        metrics.pixel_accuracy(matrices),
        matrices[:, 1:].sum(axis=(1, 2)) / pixels,
        matrices[:, :, 1:].sum(axis=(1, 2)) / pixels,
    )
    rows = [ImageScore(name, *map(float, values)) for name, *values in zip(names, *columns, strict=True)]
    figures = metrics.scores(matrices.sum(axis=0))
    figures |= {
        "per_class": dict(zip(classes, figures["per_class"], strict=True)),
        "iou_per_image": float(np.mean(columns[0])),
        "boundary_f": float(np.mean(outlines)),
        "boundary_tolerance_px": tolerance,
    }
    return figures, tuple(sorted(rows, key=lambda row: (row.iou, row.boundary_f, row.name)))


def evenly_spaced(total: int, count: int) -> list[int]:
    """``count`` indices below ``total`` from first to last, or all of them where there are fewer."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


def draw(picture: Picture, colours: Sequence[Colour]) -> dict[str, np.ndarray]:
    """Pictures uint8 of 256 px (the longer side): ``image``, ``truth``, ``prediction`` and ``error``.

    ``error`` is a grey photograph with what was taken for foreground and is none in vermilion, what was
    missed in sky blue (foreground of another class is both: vermilion); ignored pixels stay grey.
    """
    image = resize_longer(picture.image, PICTURE_PX, Image.Resampling.BILINEAR)
    truth = resize_longer(picture.truth, PICTURE_PX, Image.Resampling.NEAREST)
    prediction = resize_longer(picture.prediction, PICTURE_PX, Image.Resampling.NEAREST)
    wrong = (truth != prediction) & (truth != IGNORE)
    error = np.repeat(image.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    error[wrong & (prediction != 0)] = FALSE_POSITIVE
    error[wrong & (prediction == 0)] = FALSE_NEGATIVE
    return {
        "image": image,
        "truth": overlay(image, truth, colours),
        "prediction": overlay(image, prediction, colours),
        "error": error,
    }


def resize_longer(array: np.ndarray, longer: int, how: Image.Resampling) -> np.ndarray:
    """Scale uint8 (H, W) or (H, W, 3) so that its longer side has ``longer`` pixels."""
    scale = longer / max(array.shape[:2])
    height, width = (max(1, round(extent * scale)) for extent in array.shape[:2])
    return np.asarray(Image.fromarray(array).resize((width, height), how))


def _pictures(split: Split, predicted: np.ndarray, indices: Sequence[int]) -> Iterator[Picture]:
    for index in indices:
        # Copies, so that an Evaluation does not keep the whole split in memory.
        arrays = (split.images[index], split.masks[index], predicted[index])
        yield Picture(split.names[index], *(np.array(array) for array in arrays))


def _name(model: Path) -> str:
    return f"{model.resolve().name}/model.keras" if model.is_dir() else model.name


def _table(rows: Sequence[ImageScore]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f.name for f in fields(ImageScore)])
    for row in rows:
        name, *scores = asdict(row).values()
        writer.writerow([name, *(f"{score:.6f}" for score in scores)])
    return text.getvalue()
