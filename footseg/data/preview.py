"""A contact sheet of a data set: each photograph beside itself with its mask painted on."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from footseg.data.folder import DataSet, Pair, images_by_name, open_data, pairs, read_pair, say_left_out
from footseg.data.images import IGNORE, letterbox, letterbox_mask, overlay, write_image
from footseg.data.labels import Colour
from footseg.data.opening import BadFileError
from footseg.data.threads import each
from footseg.errors import FootsegError

WIDTH = 1680
"""Of the sheet, in pixels; its height follows from the number of photographs."""

PAPER, INK, FAINT, ALARM = (250, 250, 248), (32, 34, 38), (120, 124, 130), (190, 30, 45)
MARGIN, GAP, INSET, CAPTION, HEADER = 36, 20, 3, 26, 104


@dataclass(frozen=True)
class _Shown:
    """One photograph and its overlay, or why there is none."""

    name: str
    share: float = 0.0
    image: np.ndarray | None = None
    painted: np.ndarray | None = None
    problem: str = ""


def preview(data_dir: Path, out: Path, split: str = "train", count: int = 24) -> Path:
    """Draw ``count`` photographs, evenly spaced over a split, with their masks. Returns ``out``.

    A pair that cannot be read has its tile too, which says why.

    Raises:
        FootsegError: as ``open_data`` and ``pairs``, or ``out`` is among the images or masks of the split.
        ValueError: a count below 1, or a suffix other than .jpg and .png.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if any((data_dir / split / kind).resolve() in out.resolve().parents for kind in ("images", "masks")):
        raise FootsegError(f"{out} is among the data set's own files: give --out another place")
    data = open_data(data_dir)
    found = pairs(data, split)
    for part in ("images", "masks"):
        say_left_out(data.path / split / part)
    count = min(count, len(found))
    chosen = [found[index * len(found) // count] for index in range(count)]
    columns, side = _grid(count)
    tiles = each(lambda pair: _tile(data, pair, side), chosen, "preview")

    rows = math.ceil(count / columns)
    height = HEADER + rows * (side + CAPTION + GAP) + MARGIN - GAP
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    _header(ImageDraw.Draw(sheet), data, split, tiles)
    for number, tile in enumerate(tiles):
        left = MARGIN + (number % columns) * (2 * side + INSET + GAP)
        _draw(sheet, tile, left, HEADER + (number // columns) * (side + CAPTION + GAP), side)
    write_image(out, np.asarray(sheet), quality=92)
    return out


def _grid(count: int) -> tuple[int, int]:
    """How many pairs a row, and the side of a photograph: few are shown large, many small."""
    columns = min(max(round(math.sqrt(count * 0.6)), 2 if count > 1 else 1), 6)
    return columns, ((WIDTH - 2 * MARGIN + GAP) // columns - GAP - INSET) // 2


def _tile(data: DataSet, pair: Pair, side: int) -> _Shown:
    try:
        image, mask = read_pair(pair, data.labels)
    except BadFileError as error:
        return _Shown(pair.name, problem=f"{error.path.name}: {error.problem}")
    labelled = mask[mask != IGNORE]
    small, box = letterbox(image, (side, side))
    painted = small.copy()
    inside = letterbox_mask(mask, (side, side))[box.place]
    painted[box.place] = overlay(small[box.place], inside, data.colours, alpha=0.45)
    around = np.ones((side, side), bool)
    around[box.place] = False
    small[around] = painted[around] = np.array(PAPER) - 14
    return _Shown(pair.name, float(np.mean(labelled > 0)) if labelled.size else 0.0, small, painted)


def _draw(sheet: Image.Image, tile: _Shown, left: int, top: int, side: int) -> None:
    pen = ImageDraw.Draw(sheet)
    width = 2 * side + INSET
    if tile.image is None or tile.painted is None:
        pen.rectangle((left, top, left + width - 1, top + side - 1), fill=(244, 232, 230))
        for line, text in enumerate(_wrap(tile.problem, width - 40, _font(16))[:6]):
            pen.text((left + 20, top + 20 + 22 * line), text, fill=ALARM, font=_font(16))
        share = "cannot be used"
    else:
        sheet.paste(Image.fromarray(tile.image), (left, top))
        sheet.paste(Image.fromarray(tile.painted), (left + side + INSET, top))
        share = _percent(tile.share)
    right = left + width
    pen.text((right, top + side + 6), share, fill=INK, font=_font(15), anchor="ra")
    room = width - pen.textlength(share, _font(15)) - 16
    pen.text((left, top + side + 6), _cut(tile.name, room, _font(15)), fill=FAINT, font=_font(15))


def _header(pen: ImageDraw.ImageDraw, data: DataSet, split: str, tiles: list[_Shown]) -> None:
    counts = "  ·  ".join(
        f"{part} {len(images_by_name(data.path / part / 'images'))}" for part in data.splits
    )
    pen.text((MARGIN, 24), data.path.resolve().name, fill=INK, font=_font(32))
    usable = [tile.share for tile in tiles if tile.image is not None]
    what = data.classes[1] if len(data.classes) == 2 else "labelled"
    about = f"{len(tiles)} of {split}"
    if usable:
        about += f", {what} {_percent(float(np.mean(usable)))} on average"
    pen.text((MARGIN, 66), f"{counts}      shown: {about}", fill=FAINT, font=_font(17))
    x = WIDTH - MARGIN
    for name, colour in reversed(list(zip(data.classes, data.colours, strict=True))[1:9]):
        x -= int(pen.textlength(name, _font(17)))
        pen.text((x, 34), name, fill=INK, font=_font(17))
        _swatch(pen, x - 26, 36, colour)
        x -= 50


def _swatch(pen: ImageDraw.ImageDraw, x: int, y: int, colour: Colour) -> None:
    pen.rounded_rectangle((x, y, x + 17, y + 17), radius=4, fill=colour)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _cut(text: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, its middle left out where it is too wide."""
    if font.getlength(text) <= width:
        return text
    keep = len(text)
    while keep > 2 and font.getlength(_middle_out(text, keep)) > width:
        keep -= 1
    return _middle_out(text, keep)


def _middle_out(text: str, keep: int) -> str:
    return f"{text[: keep // 2]}...{text[len(text) - keep // 2 :]}"


def _wrap(text: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
