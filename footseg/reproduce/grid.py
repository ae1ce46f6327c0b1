"""Figures 4.1 and 4.2: a row an image; photograph, truth and each network's mask beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from footseg.data.images import read_image, write_image
from footseg.errors import FootsegError
from footseg.evaluate import SavedEvaluation, picture_name

PAPER, INK, FAINT = (250, 250, 248), (32, 34, 38), (120, 124, 130)
CELL, GAP, MARGIN, TITLE, HEAD, CAPTION = 192, 8, 24, 54, 30, 24


@dataclass(frozen=True)
class GridColumn:
    """A network's name and the folder of its evaluation."""

    title: str
    evaluation: Path


def write_grid(out: Path, title: str, columns: Sequence[GridColumn]) -> Path:
    """Draw the images that all evaluations kept as samples; each mask with its image's IoU below it.

    Raises:
        FootsegError: an evaluation is missing, or they are not of the same images.
        ValueError: no columns.
    """
    if not columns:
        raise ValueError("a grid needs an evaluation or more")
    evaluations = [SavedEvaluation.load(column.evaluation) for column in columns]
    names = evaluations[0].samples
    if any(evaluation.samples != names for evaluation in evaluations):
        raise FootsegError(f"the evaluations beside {columns[0].evaluation} are not of the same images")
    width = 2 * MARGIN + (2 + len(columns)) * (CELL + GAP) - GAP
    height = TITLE + HEAD + len(names) * (CELL + CAPTION) + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, 20), title, fill=INK, font=ImageFont.load_default(20))
    heads = ("photograph", "truth", *(column.title for column in columns))
    for number, head in enumerate(heads):
        pen.text((_left(number), TITLE + 6), head, fill=INK, font=ImageFont.load_default(15))
    for row, name in enumerate(names):
        top = TITLE + HEAD + row * (CELL + CAPTION)
        kinds = [(columns[0], "image"), (columns[0], "truth"), *((c, "prediction") for c in columns)]
        for number, (column, kind) in enumerate(kinds):
            picture = read_image(column.evaluation / "samples" / picture_name(name, kind))
            sheet.paste(_fitted(picture), (_left(number), top))
        captions = (name, "", *(f"IoU {e.image_iou(name) or 0:.2f}" for e in evaluations))
        for number, caption in enumerate(captions):
            place = (_left(number), top + CELL + 3)
            pen.text(place, caption, fill=FAINT, font=ImageFont.load_default(13))
    write_image(out, np.asarray(sheet), quality=92)
    return out


def _left(number: int) -> int:
    return MARGIN + number * (CELL + GAP)


def _fitted(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    scale = CELL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR)
