"""Mend masks that cannot be used as they are; the originals are kept."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from footseg import files
from footseg.data.folder import DataSet, images_by_name, open_data
from footseg.data.images import IGNORE, write_mask
from footseg.data.labels import Colour, Labels, hexed, unnamed
from footseg.data.masks import BLACK, WHITE, look, read_mask
from footseg.data.opening import BadFileError, open_image
from footseg.data.threads import each

ORIGINALS = "masks_original"


@dataclass(frozen=True)
class Fix:
    """What became of one mask that could not be used."""

    split: str
    file: str
    done: bool
    message: str


@dataclass(frozen=True)
class FixReport:
    """What became of all masks that could not be used."""

    fixes: tuple[Fix, ...]

    @property
    def ok(self) -> bool:
        """Whether all of them could be converted."""
        return all(fix.done for fix in self.fixes)

    def to_json(self) -> list[dict[str, Any]]:
        """The fixes as plain values."""
        return [asdict(fix) for fix in self.fixes]

    def to_text(self) -> str:
        """What was converted, and each mask that could not be with the reason."""
        if not self.fixes:
            return "no mask needs converting"
        left = [fix for fix in self.fixes if not fix.done]
        done = f"{len(self.fixes) - len(left)} of {len(self.fixes)} masks converted"
        originals = f" (originals in {ORIGINALS})" if len(left) < len(self.fixes) else ""
        return "\n".join([done + originals, *(f"not converted: {fix.file}: {fix.message}" for fix in left)])


def fix_masks(data_dir: Path) -> FixReport:
    """Convert the masks that can be: 0/255 to 0/1, colours of ``dataset.toml`` or black and white to indices.

    The original is kept beside, in ``masks_original``; each mask is replaced atomically, and a
    stopped run can simply be started again. Masks that are right are left alone.

    Raises:
        FootsegError: as ``open_data``, or the disk is full.
    """
    data = open_data(data_dir)
    masks = [
        (split, path)
        for split in data.splits
        for paths in images_by_name(data.path / split / "masks").values()
        for path in paths
    ]
    kinds = each(lambda mask: _kind(mask[1], data.labels), masks, "look at masks")
    bad = [(*mask, kind) for mask, kind in zip(masks, kinds, strict=True) if kind not in ("", "ignores")]
    if "0/255" not in kinds:
        bad = [one for one in bad if one[2] != "all 255"]
    return FixReport(tuple(each(partial(_fix, data, "ignores" in kinds), bad, "convert masks")))


def _kind(path: Path, labels: Labels) -> str:
    """What is wrong with a mask; of the right ones, whether it shows that 255 means ignored in this set."""
    try:
        counts = look(path, labels).counts
    except BadFileError as bad:
        return bad.kind
    if labels.ignores_255:
        return "ignores"
    if not counts[:IGNORE].any():
        return "all 255"
    return "ignores" if counts[IGNORE] else ""


def _fix(data: DataSet, ignores: bool, job: tuple[str, Path, str]) -> Fix:
    split, path, kind = job
    name = str(path.relative_to(data.path))
    if kind in ("0/255", "all 255") and ignores:
        why = "other masks use 255 for ignored pixels: redraw this one with 1"
        return Fix(split, name, False, f"{why}, or write ignore = 255 in dataset.toml")
    try:
        mask = _convert(path, data.labels)
        target = path.with_suffix(".png")
        if target != path and target.exists() and not np.array_equal(read_mask(target, _ANY), mask):
            raise _CannotConvertError(f"{target.name} is another mask of this name: remove one of the two")
        _keep(path, data.path / split / ORIGINALS / path.name)
    except BadFileError as problem:
        return Fix(split, name, False, f"{problem.problem}; {problem.fix}")
    except _CannotConvertError as reason:
        return Fix(split, name, False, str(reason))
    write_mask(target, mask)
    if target != path:
        path.unlink()
    return Fix(split, name, True, f"converted; the original is {split}/{ORIGINALS}/{path.name}")


class _CannotConvertError(Exception):
    """Why a mask cannot be converted."""


def _keep(path: Path, original: Path) -> None:
    """Copy a mask aside, unless it is there already."""
    if original.exists():
        if files.sha256(original) != files.sha256(path):
            raise _CannotConvertError(f"{ORIGINALS}/{original.name} is another file of this name: move it")
        return
    with files.atomic_path(original) as temporary:
        shutil.copy2(path, temporary)


_ANY = unnamed(255)

LOSSY_TOLERANCE = 64
LOSSY_SHARE = 0.97
"""Of a lossy mask this share of pixels must lie within this distance of a class's colour, of 255; the
rest are its edges. A photograph in the place of a mask does not pass."""
SHADES = 8
"""So many greys between black and white are edges that a drawing program has smoothed, where none of them has
more than a quarter of these pixels: a border or a thing that was drawn has one grey."""


def _convert(path: Path, labels: Labels) -> np.ndarray:
    """Class indices out of colours or black and white, or ``_CannotConvertError`` with the reason.

    What ``dataset.toml`` says of colours comes first; a colour that it does not name is never guessed.
    """
    opened = open_image(path)
    image = opened.upright()
    if image.mode.startswith("I") or image.mode == "F" or ";16" in opened.raw:
        raise _CannotConvertError(
            "a mask of 16 bits or of fractions, with values that are no classes: export it as 8-bit indices"
        )
    if opened.frames > 1:
        raise _CannotConvertError(f"it has {opened.frames} pictures: export one")
    if image.has_transparency_data and image.getextrema()[-1] != (255, 255) and image.mode != "P":
        raise _CannotConvertError("a mask with transparency: export it without")
    if image.mode == "P" and not labels.coloured:
        raise _CannotConvertError(
            "its palette has another order than the classes, or more colours: say which colour is which "
            "class, colours = [...] in dataset.toml"
        )
    pixels = np.array(image if image.mode in ("L", "1") else image.convert("RGB"))
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)
    if opened.lossy:
        return _nearest(rgb, labels)
    named = _named(labels)
    converted = _exactly(rgb, named)
    if converted is not None:
        return converted
    if (rgb == rgb[..., :1]).all():
        grey, table = rgb[..., 0], labels.table()
        values = np.unique(grey)
        if pixels.ndim == 3 and (table[values] >= 0).all() and not np.isin(values, (0, IGNORE)).all():
            return table.astype(np.uint8)[grey]  # three equal channels of class indices
        if not labels.coloured:
            return _of_greys(grey, len(labels.classes))
    raise _unnamed(rgb, named)


def _named(labels: Labels) -> dict[Colour, int]:
    """The class of each colour: as ``dataset.toml`` says, else as footseg paints."""
    painted = {} if labels.coloured else {colour: index for index, colour in enumerate(labels.colours)}
    return painted | dict(labels.of_colour)


def _exactly(rgb: np.ndarray, named: Mapping[Colour, int]) -> np.ndarray | None:
    """The class of each colour, uint8 (H, W); None where a pixel has a colour that is not ``named``."""
    codes = (rgb.astype(np.uint32) << (16, 8, 0)).sum(-1)
    values, places = np.unique(codes, return_inverse=True)
    colours = [(int(value) >> 16, int(value) >> 8 & 255, int(value) & 255) for value in values]
    if not all(colour in named for colour in colours):
        return None
    return np.array([named[colour] for colour in colours], np.uint8)[places].reshape(rgb.shape[:2])


def _unnamed(rgb: np.ndarray, named: Mapping[Colour, int]) -> _CannotConvertError:
    """That a drawing has a colour that none of ``named`` is."""
    known = np.zeros(rgb.shape[:2], bool)
    for colour in named:
        known |= (rgb == np.array(colour, np.uint8)).all(-1)
    red, green, blue = rgb[~known][0].tolist()
    first = hexed((red, green, blue))
    return _CannotConvertError(
        f"{(~known).mean():.2%} of its pixels have the colour of no class, as {first}: name all colours in "
        f'dataset.toml (ignore = ["{first}"] leaves one out), or export class indices'
    )


def _of_greys(grey: np.ndarray, classes: int) -> np.ndarray:
    """Classes of a lossless drawing in black, white and greys, uint8 (H, W)."""
    if classes > 2:
        raise _CannotConvertError(
            f"which of {classes} classes is white? say it, colours = [...] in dataset.toml, or export class "
            "indices"
        )
    values, counts = np.unique(grey, return_counts=True)
    if np.isin(values, (0, 1, IGNORE)).all():  # a stray pixel of class 1 is one of the foreground
        return (grey > 0).astype(np.uint8)
    if values.max() <= LOSSY_TOLERANCE:
        raise _CannotConvertError("too faint to tell the classes apart: export it as a PNG of class indices")
    between = (values > 0) & (values < IGNORE)
    if between.sum() < SHADES or counts[between].max() > counts[between].sum() / 4 or _solid(grey):
        named = ", ".join(map(str, values[between][:5]))
        raise _CannotConvertError(
            f"besides black and white it has the grey {named}, which is no smoothed edge: say what it is, "
            "colours and ignore in dataset.toml, or export class indices"
        )
    return (grey > 127).astype(np.uint8)


def _solid(grey: np.ndarray) -> bool:
    """Whether greys far from black and white are more than edges: 5 pixels thick, or many."""
    middle = (grey > LOSSY_TOLERANCE) & (grey < IGNORE - LOSSY_TOLERANCE)
    thick = ndimage.binary_erosion(middle, np.ones((5, 5)))
    return bool(thick.any() or middle.mean() > 1 - LOSSY_SHARE)


def _nearest(rgb: np.ndarray, labels: Labels) -> np.ndarray:
    """The class of the nearest colour in a lossy mask, uint8 (H, W)."""
    palettes = [_named(labels)]
    if not labels.coloured and len(labels.classes) == 2:
        palettes.append({BLACK: 0, WHITE: 1})
    best, away = min((_distances(rgb, palette) for palette in palettes), key=lambda found: found[1].mean())
    unlike = away > LOSSY_TOLERANCE
    if unlike.mean() > 1 - LOSSY_SHARE or ndimage.binary_erosion(unlike, np.ones((5, 5))).any():
        raise _CannotConvertError(
            f"{unlike.mean():.2%} of its pixels have the colour of no class: "
            "give the colours in dataset.toml, or export class indices"
        )
    if not best.any() and rgb.any():
        raise _CannotConvertError("too faint to tell the classes apart: export it as a PNG of class indices")
    return best


def _distances(rgb: np.ndarray, named: Mapping[Colour, int]) -> tuple[np.ndarray, np.ndarray]:
    """The class of the nearest colour, uint8 (H, W), and how far away that is, of 255."""
    signed = rgb.astype(np.int16)
    away = np.stack([np.abs(signed - np.array(colour, np.int16)).max(-1) for colour in named])
    return np.array(list(named.values()), np.uint8)[away.argmin(0)], away.min(0)
