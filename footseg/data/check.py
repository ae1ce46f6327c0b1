"""Look through a data set for everything that would stop a training or falsify its score, and mend masks."""

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import fft

from footseg import files
from footseg.data.folder import SPLITS, Colour, DataSet, Pair, check_sizes, images_by_name, open_data
from footseg.data.images import FIX_FLAG, IGNORE, BadFileError, open_image, read_image, read_mask, write_mask
from footseg.data.threads import each

ORIGINALS = "masks_original"
SHOWN = 10
"""Findings of one kind in a text; the JSON has all."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong ("error": training would stop or its score be false) or odd ("warning")."""

    level: str
    kind: str
    split: str
    file: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.level}: {self.file}: {self.message}; {self.fix}"


@dataclass(frozen=True)
class CheckReport:
    """All findings, errors first; ``counts`` of images and ``shares`` of labelled pixels by split and class.

    ``ignored`` is the share of all pixels that are ignored (255).
    """

    path: Path
    classes: tuple[str, ...]
    findings: tuple[Finding, ...]
    counts: dict[str, int]
    shares: dict[str, dict[str, float]]
    ignored: dict[str, float]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What has to be mended."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What deserves a look."""
        return tuple(finding for finding in self.findings if finding.level == "warning")

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {**asdict(self), "path": str(self.path), "ok": self.ok}

    def to_text(self) -> str:
        """The report for a reader: each split in a line, then the findings, of each kind the first few."""
        lines = [f"{self.path}: {len(self.errors)} errors, {len(self.warnings)} warnings"]
        for split, count in self.counts.items():
            shares = ", ".join(f"{name} {share:.1%}" for name, share in self.shares[split].items())
            ignored = f", {self.ignored[split]:.1%} ignored" if self.ignored[split] else ""
            lines.append(f"  {split:5} {count:6} images   {shares}{ignored}")
        by_kind: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            by_kind[finding.kind].append(finding)
        for kind, findings in by_kind.items():
            lines += [str(finding) for finding in findings[:SHOWN]]
            if len(findings) > SHOWN:
                lines.append(
                    f"  and {len(findings) - SHOWN} more of this kind ({kind}): --json lists them all"
                )
        return "\n".join(lines)


# ---- checking


@dataclass(frozen=True)
class _Seen:
    """What one pair showed. ``pixels`` tells equal images, ``look`` near ones; None where unreadable."""

    split: str
    file: str
    findings: tuple[Finding, ...]
    pixels: str | None = None
    look: np.ndarray | None = None
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))


def check(data_dir: Path) -> CheckReport:
    """Read every image and mask of a data set and say what is wrong, each with what to do about it.

    Raises:
        FootsegError: as ``open_data``: there is no data set to check.
    """
    data = open_data(data_dir)
    findings: list[Finding] = []
    jobs: list[tuple[str, Pair]] = []
    counts: dict[str, int] = {}
    for split in SPLITS:
        found, whole = _names(data, split)
        findings += found
        jobs += [(split, pair) for pair in whole]
        if split in data.splits:
            counts[split] = len(images_by_name(data.path / split / "images"))

    seen = each(partial(_inspect, data), jobs, "check")
    findings += [finding for one in seen for finding in one.findings]
    findings += _same_pixels(seen) + _same_look(seen)
    histograms = {
        split: sum((s.histogram for s in seen if s.split == split), np.zeros(256)) for split in counts
    }
    findings += _absent(data, histograms)
    return CheckReport(
        path=data.path,
        classes=data.classes,
        findings=tuple(sorted(findings, key=lambda finding: (finding.level, finding.file))),
        counts=counts,
        shares={split: _shares(data, histogram) for split, histogram in histograms.items()},
        ignored={split: float(h[IGNORE] / max(h.sum(), 1)) for split, h in histograms.items()},
    )


def _names(data: DataSet, split: str) -> tuple[list[Finding], list[Pair]]:
    """What the file names of a split show, and the pairs that can be looked into."""
    folder = data.path / split
    images, masks = images_by_name(folder / "images"), images_by_name(folder / "masks")
    if not images:
        fix = "training needs train and val, evaluation needs test"
        return [Finding("warning", "split", split, split, "has no images", fix)], []
    findings = []
    for name in sorted(images.keys() | masks.keys()):
        for part, paths in (("images", images.get(name, [])), ("masks", masks.get(name, []))):
            if len(paths) > 1:
                also = ", ".join(path.name for path in paths[1:])
                file = f"{split}/{part}/{paths[0].name}"
                findings.append(
                    Finding("error", "name twice", split, file, f"also there as {also}", "keep one of them")
                )
        if name not in masks:
            fix = f"add {split}/masks/{name}.png or remove the image"
            file = f"{split}/images/{images[name][0].name}"
            findings.append(Finding("error", "no mask", split, file, "has no mask", fix))
        if name not in images:
            fix = "add the image or remove the mask: it is not used"
            file = f"{split}/masks/{masks[name][0].name}"
            findings.append(Finding("warning", "no image", split, file, "has no image", fix))
    return findings, [Pair(n, images[n][0], masks[n][0]) for n in sorted(images.keys() & masks.keys())]


def _inspect(data: DataSet, job: tuple[str, Pair]) -> _Seen:
    split, pair = job
    findings: list[Finding] = []

    def error(bad: BadFileError) -> None:
        file = str(bad.path.relative_to(data.path))
        findings.append(Finding("error", bad.kind, split, file, bad.problem, bad.fix))

    image = mask = None
    try:
        image = read_image(pair.image)
    except BadFileError as bad:
        error(bad)
    try:
        mask = read_mask(pair.mask, len(data.classes))
        if image is not None:
            check_sizes(pair, image, mask)
    except BadFileError as bad:
        error(bad)
    if mask is not None and (odd := _empty(mask)):
        file = str(pair.mask.relative_to(data.path))
        findings.append(Finding("warning", "empty", split, file, *odd))
    return _Seen(
        split=split,
        file=str(pair.image.relative_to(data.path)),
        findings=tuple(findings),
        pixels=None if image is None else _pixel_digest(image),
        look=None if image is None else _perceptual_hash(image),
        histogram=np.bincount(mask.ravel() if mask is not None else [], minlength=256),
    )


def _empty(mask: np.ndarray) -> tuple[str, str] | None:
    if not mask.any():
        return "all background", "fine if nothing is to be seen in the image, else label it"
    if (mask == IGNORE).all():
        return "every pixel is ignored (255)", f"if 255 means foreground, {FIX_FLAG}; else remove the pair"
    return None


def _absent(data: DataSet, histograms: dict[str, np.ndarray]) -> list[Finding]:
    fix = "add images that show it, or take it out of dataset.toml"
    return [
        Finding("warning", "absent class", split, split, f"no pixel of class {index} ({name})", fix)
        for split, histogram in histograms.items()
        for index, name in enumerate(data.classes)
        if histogram.any() and not histogram[index]
    ]


def _shares(data: DataSet, histogram: np.ndarray) -> dict[str, float]:
    labelled = histogram[: len(data.classes)]
    return dict(zip(data.classes, (labelled / max(labelled.sum(), 1)).tolist(), strict=True))


# ---- the same image twice


def _pixel_digest(image: np.ndarray) -> str:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def _same_pixels(seen: Iterable[_Seen]) -> list[Finding]:
    groups: dict[str, list[_Seen]] = defaultdict(list)
    for one in seen:
        if one.pixels:
            groups[one.pixels].append(one)
    findings = []
    for first, *others in groups.values():
        for other in others:
            if other.split != first.split:
                message = f"the same image as {first.file}, in another split: the score would be false"
                finding = Finding("error", "leak", other.split, other.file, message, "remove one of the two")
            else:
                message, fix = f"the same image as {first.file}", "remove one of the two: it counts twice"
                finding = Finding("warning", "image twice", other.split, other.file, message, fix)
            findings.append(finding)
    return findings


HASH_SIDE = 16
NEAR_BITS = 40
"""Of 256 bits. Of 721 street photographs no two were nearer than 73; one scaled to a half or twice its size,
recompressed at quality 30 or made a fifth brighter moved by 20 at most, one cropped by 2 % by up to 55."""


def _perceptual_hash(image: np.ndarray) -> np.ndarray | None:
    """The signs of the 16x16 lowest frequencies, as given and mirrored, bool (2, 256); None if blank.

    They survive scaling, recompression and changes of brightness.
    """
    grey = Image.fromarray(image).convert("L").resize((64, 64), Image.Resampling.BOX)
    pixels = np.asarray(grey, np.float32)
    if pixels.std() < 2:
        return None
    waves = fft.dctn(pixels)[:HASH_SIDE, :HASH_SIDE]
    waves[0, 0] = 0  # the mean brightness
    mirrored = waves * np.where(np.arange(HASH_SIDE) % 2, -1, 1)
    return np.stack([waves, mirrored]).reshape(2, -1) > 0


def _same_look(seen: Sequence[_Seen]) -> list[Finding]:
    """Near duplicates across splits. Every pair is compared, 256 bits at once: 1.7 s for 10,000 images."""
    usable = [one for one in seen if one.look is not None]
    if not usable:
        return []
    bits = np.packbits(np.stack([one.look for one in usable if one.look is not None]), axis=-1).view(
        np.uint64
    )
    plain, mirrored = bits[:, 0], bits[:, 1]
    splits = np.array([one.split for one in usable])
    findings = []
    for index, one in enumerate(usable):
        earlier = np.flatnonzero(splits[:index] != one.split)
        for other_bits, how in (
            (plain, "almost the same image as"),
            (mirrored, "almost the mirror image of"),
        ):
            away = np.bitwise_count(other_bits[earlier] ^ plain[index]).sum(-1)
            for near in earlier[away <= NEAR_BITS]:
                other = usable[near]
                if other.pixels != one.pixels:
                    message = f"{how} {other.file}, in another split"
                    fix = "look at both; keep such pairs in one split, or the score is too good"
                    findings.append(Finding("warning", "near leak", one.split, one.file, message, fix))
    return findings


# ---- mending masks


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
        return Fix(
            split,
            name,
            False,
            "other masks use 255 for ignored pixels: redraw this one with 1",
        )
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
