"""Look through a data set for everything that would stop a training or falsify its score."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import fft

from footseg.data.folder import SPLITS, DataSet, Pair, check_sizes, images_by_name, open_data
from footseg.data.images import FIX_FLAG, IGNORE, BadFileError, read_image, read_mask
from footseg.data.threads import each
from footseg.grouping import grouped

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
        for kind, findings in grouped((finding.kind, finding) for finding in self.findings).items():
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
    groups = grouped((one.pixels, one) for one in seen if one.pixels)
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
