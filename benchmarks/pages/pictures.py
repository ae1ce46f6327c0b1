"""The report's photographs, inlined: one at its head, the samples and worst images of the evaluations."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg.benchmarks import figures
from footseg.benchmarks.measurement import Measurement
from footseg.errors import FootsegError
from footseg.evaluate import SavedEvaluation, picture_name

# Of the page's 3 MB; base64 makes a third more of it. ShownPicture rows beyond are left out, and counted.
PICTURE_BYTES = 1_900_000


@dataclass(frozen=True)
class ShownPicture:
    """An inlined picture and what stands under it."""

    source: str
    caption: str
    figure: str = ""


# Of one photograph, with its name.
Row = tuple[str, tuple[ShownPicture, ...]]


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures, each row one photograph; ``omitted`` rows did not fit into the page."""

    title: str
    text: str
    rows: tuple[Row, ...]
    omitted: int = 0


def first_of(
    latest: Sequence[Measurement], evaluated: Mapping[str, SavedEvaluation], best: str
) -> Gallery | None:
    """One sample for the head of the page: its masks by the models, and the errors of ``best`` (SHA-256).

    It is the one with the middle IoU, so that it flatters no model. None where nothing was evaluated.

    Raises:
        FootsegError: a picture cannot be read.
    """
    columns = _columns(latest, evaluated)
    of = evaluated.get(best) or next(iter(columns.values()), None)
    if of is None:
        return None
    names = _picture_names(of.path / "samples")
    known = sorted((iou, name) for name in names if (iou := of.image_iou(name)) is not None)
    if not known:
        return None
    name = known[len(known) // 2][1]
    _, pictures = _sample_row(name, columns)
    errors = of.path / "samples" / f"{name}_error.jpg"
    if errors.is_file():
        heading = next((head for head, shown in columns.items() if shown is of), of.model)
        pictures += (_picture(errors, f"errors of {heading}"),)
    kept = within([(name, pictures)], PICTURE_BYTES // 4)
    text = (
        f"{name}, of the sample images the one with the middle IoU. Among the errors orange was taken for "
        "foreground and is none, blue was missed."
    )
    return Gallery("", text, kept) if kept else None


def galleries(
    latest: Sequence[Measurement],
    evaluated: Mapping[str, SavedEvaluation],
    best: str,
    first: Gallery | None = None,
) -> Iterator[Gallery]:
    """The evenly spaced samples of the models side by side, then the worst images of ``best`` (SHA-256).

    A sample that stands at the head of the page, ``first``, is not shown again.

    Raises:
        FootsegError: a picture cannot be read.
    """
    columns = _columns(latest, evaluated)
    if not columns:
        return
    shown = [name for name, _ in first.rows] if first else []
    names = _picture_names(next(iter(columns.values())).path / "samples")
    rows = [_sample_row(name, columns) for name in names if name not in shown]
    kept = within([row for row in rows if row[1]], PICTURE_BYTES // 2)
    if rows:
        yield Gallery(
            "Sample images",
            "Evenly spaced in the test set, neither chosen nor left out for how they look"
            + ("; one of them is at the head of the page. " if shown else ". ")
            + "Under each mask: the IoU on that image.",
            kept,
            len(rows) - len(kept),
        )
    evaluation = evaluated.get(best)
    if evaluation is None:
        return
    worst = [_worst_row(name, evaluation) for name in _picture_names(evaluation.path / "worst")]
    worst.sort(key=lambda row: _image_iou(evaluation, row[0]))
    kept = within(worst, PICTURE_BYTES // 2)
    if kept:
        yield Gallery(
            "The worst images",
            f"Where {evaluation.model} fails most, worst first. In the last picture orange was "
            "taken for foreground and is none, blue was missed.",
            kept,
            len(worst) - len(kept),
        )


def _columns(
    latest: Sequence[Measurement], evaluated: Mapping[str, SavedEvaluation]
) -> dict[str, SavedEvaluation]:
    """The models to show side by side, by heading: the fp32 and int8 .tflite, else the first two."""
    found: dict[str, SavedEvaluation] = {}
    for m in sorted(latest, key=lambda m: (m.artifact.format != "tflite", m.artifact.recipe != "fp32")):
        evaluation = evaluated.get(m.artifact.sha256)
        if evaluation and (m.artifact.format, m.artifact.recipe) in (("tflite", "fp32"), ("tflite", "int8")):
            found.setdefault(m.artifact.recipe, evaluation)
    return found or {e.model: e for e in list(evaluated.values())[:2]}


def _picture_names(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix("_image.jpg") for path in folder.glob("*_image.jpg"))


def _sample_row(name: str, columns: Mapping[str, SavedEvaluation]) -> Row:
    samples = next(iter(columns.values())).path / "samples"
    found = {
        heading: of.path / "samples" / picture_name(name, "prediction") for heading, of in columns.items()
    }
    return name, (
        _picture(samples / picture_name(name, "image"), "photo"),
        _picture(samples / picture_name(name, "truth"), "ground truth"),
        *(_picture(p, head, _image_iou(columns[head], name)) for head, p in found.items() if p.is_file()),
    )


def _worst_row(name: str, evaluation: SavedEvaluation) -> Row:
    captions = {"image": "photo", "truth": "ground truth", "prediction": "prediction", "error": "errors"}
    found = {kind: evaluation.path / "worst" / picture_name(name, kind) for kind in captions}
    ious = {"prediction": _image_iou(evaluation, name)}
    return name, tuple(
        _picture(path, captions[kind], ious.get(kind, "")) for kind, path in found.items() if path.is_file()
    )


def _picture(path: Path, caption: str, figure: str = "") -> ShownPicture:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FootsegError(f"{path} cannot be read ({error}): evaluate the model again") from error
    return ShownPicture("data:image/jpeg;base64," + base64.b64encode(data).decode(), caption, figure)


def _image_iou(evaluation: SavedEvaluation, name: str) -> str:
    return figures.known(evaluation.image_iou(name), "{:.3f}")


def within(rows: Sequence[Row], budget: int) -> tuple[Row, ...]:
    """As many rows from the first on as fit into ``budget`` bytes of pictures."""
    kept = []
    for row in rows:
        budget -= sum(len(picture.source) for picture in row[1])
        if budget < 0:
            break
        kept.append(row)
    return tuple(kept)
