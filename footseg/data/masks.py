"""Read a mask: each pixel's class, where a file can be read in one way only.

An index says a class, unless the file's own palette says another. Where both can be meant, nothing is
guessed: the error says what to write in ``dataset.toml``.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from footseg.data.images import FIX_FLAG, IGNORE, Size
from footseg.data.labels import Colour, Labels, hexed
from footseg.data.opening import BadFileError, Opened, open_image

STRAY = 0.02
"""Pixels of classes for one of 255, below which a mask is a black and white drawing with a few strays."""

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class Mask:
    """A mask: ``stored`` values (H, W), and the class that ``table`` makes of each (None: they are classes).

    ``counts`` (256,) are its pixels of each class, and of 255. ``palette`` has the colours of the indices
    that were read as they are. ``oriented`` is whether the file had an orientation of its own.
    """

    stored: Image.Image | np.ndarray
    table: np.ndarray | None
    counts: np.ndarray
    palette: Mapping[int, Colour] = field(default_factory=dict)
    oriented: bool = False
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def classes(self) -> np.ndarray:
        """Each pixel's class or 255, uint8 (H, W); made when it is asked for, which a check need not do."""
        values = np.asarray(self.stored)
        return values if self.table is None else self.table[values]

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        width, height = self.stored.size if isinstance(self.stored, Image.Image) else self.stored.shape[::-1]
        return height, width


def read_mask(path: Path, labels: Labels) -> np.ndarray:
    """Read a mask as uint8 (H, W): each pixel a class of ``labels``, or 255 = ignored.

    Raises:
        BadFileError: as ``look``.
    """
    return look(path, labels).classes


def look(path: Path, labels: Labels) -> Mask:
    """Read a mask, and what it shows of how it was made. It is turned by its own orientation.

    A mask of 0 and 255, with next to nothing of a class, is taken for a black and white drawing of the
    foreground unless ``dataset.toml`` says that 255 is ignored.

    Raises:
        BadFileError: "unreadable", "jpeg" (lossy: indices change), "frames" (several pictures), "inverted" (a
            TIFF that calls white 0), "colour" (more than one channel), "palette" (its order is not that of
            the classes), "values" (no whole numbers), "0/255", or "index" (an index of no class).
    """
    opened, bad = open_image(path), functools.partial(BadFileError, path)
    if opened.lossy:
        lossy = f"a {opened.image.format or 'lossy'} mask: lossy compression changes class indices"
        raise bad("jpeg", lossy, f"{FIX_FLAG}, or export it as PNG")
    if opened.frames > 1:
        raise bad("frames", f"a mask of {opened.frames} pictures", "export one picture of class indices")
    if "I" in opened.raw.partition(";")[2]:
        raise bad("inverted", "a TIFF in which 0 is white", "export it as a PNG of class indices")
    image = opened.upright()
    if len(image.getbands()) > 1:
        channels = f"a mask of {len(image.getbands())} channels ({image.mode}), not of class indices"
        raise bad("colour", channels, f"{FIX_FLAG}, or export it as a single-channel PNG")
    table, notes = labels.table(), opened.notes
    palette: dict[int, Colour] = {}
    stored: Image.Image | np.ndarray = image
    drawing = image.mode != "P"
    if image.mode == "P" or (image.mode == "L" and _step(opened) == 1):
        counts = np.array(image.histogram())
    else:
        stored = _indices(path, opened, image, labels)
        counts = np.bincount(stored.ravel(), minlength=256)
    if image.mode == "P":
        table, palette, said = _by_palette(path, image, counts, labels)
        notes, drawing = notes + said, palette.get(IGNORE) == WHITE
    found = _classes(path, counts, table, labels, bool(palette), drawing)
    same = all(table[value] == value for value in np.flatnonzero(counts))
    classes = None if same else table.astype(np.uint8)
    return Mask(stored, classes, found, palette, opened.orientation != 1, notes)


def _step(opened: Opened) -> int:
    """What Pillow has multiplied the stored values of 2 and 4 bits by."""
    return {"L;2": 85, "L;4": 17}.get(opened.raw, 1)


def _indices(path: Path, opened: Opened, image: Image.Image, labels: Labels) -> np.ndarray:
    """The stored values as uint8 (H, W), those beyond that only where they are ignored."""
    values = np.asarray(image)
    if values.dtype == np.uint8:
        step = _step(opened)
        return values if step == 1 else values // step
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.round(values))).all():
        raise BadFileError(
            path,
            "values",
            "a mask of numbers that are no indices (fractions, NaN or infinity)",
            "export it as a PNG of class indices",
        )
    unique = np.unique(values)
    for value in unique[(unique < 0) | (unique > 255)]:
        if labels.of_index.get(int(value)) != IGNORE:
            raise _no_class(path, [int(value)], labels)
        values = np.where(values == value, IGNORE, values)
    return values.astype(np.uint8)


def _by_palette(
    path: Path, image: Image.Image, counts: np.ndarray, labels: Labels
) -> tuple[np.ndarray, dict[int, Colour], tuple[str, ...]]:
    """What each index means, int16 (256,); the colours of those that mean themselves; what to say of it."""
    table, stored = labels.table(), image.getpalette("RGB") or []
    colours: dict[int, Colour] = {
        index: (stored[3 * index], stored[3 * index + 1], stored[3 * index + 2])
        for index in np.flatnonzero(counts).tolist()
        if 3 * index + 2 < len(stored)
    }
    named = {
        index: labels.of_colour[colour] for index, colour in colours.items() if colour in labels.of_colour
    }
    if labels.coloured:
        # The border of VOC's masks: whatever its colour is called, 255 is ignored.
        unnamed = [index for index in colours if index not in named and index != IGNORE]
        if not unnamed:
            return _with(table, named), {}, ()
        if all(table[index] == label for index, label in named.items()):
            said = (
                f"its palette has none of the colours of dataset.toml for index {unnamed[0]}: read by index"
            )
            return table, colours, (said,)
        raise _palette_error(
            path,
            f"index {unnamed[0]} has the colour {hexed(colours[unnamed[0]])}, which dataset.toml does not "
            "name, and others stand in another order than the classes",
            f'add it there (ignore = ["{hexed(colours[unnamed[0]])}"] leaves it out)',
        )
    greys = {index: colour[0] for index, colour in colours.items() if len(set(colour)) == 1}
    if len(greys) == len(colours) and not set(greys.values()) <= {0, 255}:
        meant = {index: int(table[grey]) for index, grey in greys.items()}
        if min(meant.values()) >= 0:  # a grey mask of indices that an optimizer has made a palette of
            return _with(table, meant), {}, ()
    table = _with(table, named)
    black = next((index for index, colour in colours.items() if colour == BLACK), 0)
    if black not in (0, IGNORE) and table[black] >= 0:
        raise _palette_error(
            path,
            f"its palette has black as index {black} and {hexed(colours.get(0, WHITE))} as 0, so indices may "
            "not be classes",
            "say which colour is which class: colours = [...] in dataset.toml",
        )
    return table, {index: colour for index, colour in colours.items() if index not in named}, ()


def _with(table: np.ndarray, named: Mapping[int, int]) -> np.ndarray:
    table = table.copy()
    for index, label in named.items():
        table[index] = label
    return table


def _palette_error(path: Path, problem: str, fix: str) -> BadFileError:
    return BadFileError(path, "palette", problem, fix)


def _classes(
    path: Path,
    counts: np.ndarray,
    table: np.ndarray,
    labels: Labels,
    coloured: bool,
    drawing: bool,
) -> np.ndarray:
    """The pixels of each class; ``drawing`` is whether 255 may be the white of one."""
    used = np.flatnonzero(counts)
    if unknown := [int(value) for value in used if table[value] < 0]:
        raise _no_class(path, unknown, labels, coloured)
    found = np.bincount(table[used], counts[used], minlength=256).astype(np.int64)
    drawn, white = int(found[1:IGNORE].sum()), int(counts[IGNORE])
    if drawing and white and found[0] and drawn < STRAY * white and not labels.ignores_255:
        few = f", and {drawn} of a class" if drawn else ""
        raise BadFileError(
            path,
            "0/255",
            f"a black and white mask (0 and 255{few}), but 255 means ignored",
            f"{FIX_FLAG} turns 255 into class 1; if it is ignored, write ignore = 255 in dataset.toml",
        )
    return found


def _no_class(path: Path, unknown: list[int], labels: Labels, coloured: bool = False) -> BadFileError:
    named = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
    count = len([index for index, label in labels.of_index.items() if label != IGNORE])
    known = f"where there are {count} classes (0 to {count - 1}, and 255 = ignored)"
    fix = "correct the mask, or name all classes in dataset.toml"
    if coloured:
        fix = "say in dataset.toml which colours of its palette are which classes: colours = [...]"
    return BadFileError(path, "index", f"class index {named} {known}", fix)


def two_palettes(masks: Iterable[tuple[Path, Mapping[int, Colour]]]) -> BadFileError | None:
    """What is wrong where one index has two colours in the masks of a set: then indices are no classes."""
    seen: dict[int, tuple[Path, Colour]] = {}
    for path, palette in masks:
        for index, colour in palette.items():
            other, its = seen.setdefault(index, (path, colour))
            if its != colour:
                return _palette_error(
                    path,
                    f"index {index} of its palette is {hexed(colour)}, and {hexed(its)} in {other.name}, so "
                    "indices may not be classes",
                    "say which colour is which class: colours = [...] in dataset.toml",
                )
    return None
