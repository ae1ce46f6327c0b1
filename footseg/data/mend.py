"""Mend masks that cannot be used as they are; the originals are kept."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from footseg import files
from footseg.data.folder import Colour, DataSet, images_by_name, open_data
from footseg.data.images import IGNORE, BadFileError, open_image, read_mask, write_mask
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
    kinds = each(lambda mask: _kind(mask[1], len(data.classes)), masks, "look at masks")
    bad = [(*mask, kind) for mask, kind in zip(masks, kinds, strict=True) if kind not in ("", "ignores")]
    if "0/255" not in kinds:
        bad = [one for one in bad if one[2] != "all 255"]
    return FixReport(tuple(each(partial(_fix, data, "ignores" in kinds), bad, "convert masks")))


def _kind(path: Path, classes: int) -> str:
    """What is wrong with a mask; of the right ones, whether it shows that 255 means ignored in this set."""
    try:
        mask = read_mask(path, classes)
    except BadFileError as bad:
        return bad.kind
    if (mask == IGNORE).all():
        return "all 255"
    return "ignores" if (mask == IGNORE).any() else ""


def _fix(data: DataSet, ignores: bool, job: tuple[str, Path, str]) -> Fix:
    split, path, kind = job
    name = str(path.relative_to(data.path))
    if kind in ("0/255", "all 255") and ignores:
        return Fix(split, name, False, "other masks use 255 for ignored pixels: redraw this one with 1")
    try:
        mask = _convert(path, data.colours)
        target = path.with_suffix(".png")
        if target != path and target.exists() and not np.array_equal(read_mask(target, 256), mask):
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


LOSSY_TOLERANCE = 64
LOSSY_SHARE = 0.97
"""Of a lossy mask this share of pixels must lie within this distance of a class's colour, of 255; the
rest are its edges. A photograph in the place of a mask does not pass."""


def _convert(path: Path, colours: Sequence[Colour]) -> np.ndarray:
    """Class indices out of colours or black and white, or ``_CannotConvertError`` with the reason."""
    image = open_image(path)
    if image.mode.startswith("I") or image.mode == "F":
        raise _CannotConvertError(
            "a mask of 16 bits with values that are no classes: export it as 8-bit indices"
        )
    if image.has_transparency_data and image.getextrema()[-1] != (255, 255) and image.mode != "P":
        raise _CannotConvertError("a mask with transparency: export it without")
    pixels = np.array(image if image.mode in ("L", "1", "P") else image.convert("RGB"))
    grey = pixels if pixels.ndim == 2 else pixels[..., 0] if (pixels == pixels[..., :1]).all() else None
    two, lossless = len(colours) == 2, image.format != "JPEG"
    if grey is not None and lossless:
        values = np.unique(grey)
        if np.isin(values, (0, IGNORE)).all():
            if not two:
                raise _CannotConvertError(f"which of {len(colours)} classes is white? export class indices")
            return (grey == IGNORE).astype(np.uint8)
        if pixels.ndim == 3 and np.isin(values, (*range(len(colours)), IGNORE)).all():
            return grey.copy()
    palettes = [np.array(colours, np.int16)]
    if two:
        palettes.append(np.array([(0, 0, 0), (255, 255, 255)], np.int16))
    rgb = (pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)).astype(np.int16)
    # Blended edges are safe between two classes only: between more, a blend can have the colour of a third.
    tolerance, share = (LOSSY_TOLERANCE, LOSSY_SHARE) if two or not lossless else (0, 1.0)
    best = max((_nearest(rgb, palette, tolerance) for palette in palettes), key=lambda result: result[1])
    if best[1] < share:
        raise _CannotConvertError(
            f"{1 - best[1]:.0%} of its pixels have the colour of no class: "
            "give the colours in dataset.toml, or export class indices"
        )
    if not best[0].any() and rgb.any():
        raise _CannotConvertError("too faint to tell the classes apart: export it as a PNG of class indices")
    return best[0]


def _nearest(rgb: np.ndarray, palette: np.ndarray, tolerance: int) -> tuple[np.ndarray, float]:
    """The class of the nearest colour, uint8 (H, W), and the share of pixels within ``tolerance``."""
    away = np.stack([np.abs(rgb - colour).max(-1) for colour in palette])
    return away.argmin(0).astype(np.uint8), float((away.min(0) <= tolerance).mean())
