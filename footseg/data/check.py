"""Look through a data set for everything that would stop a training or falsify its score."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from footseg.data.duplicates import Looks, duplicates, looks
from footseg.data.findings import CheckReport, Finding
from footseg.data.folder import (
    OTHER_NAMES,
    SPLITS,
    DataSet,
    Pair,
    check_sizes,
    images_by_name,
    left_out,
    open_data,
)
from footseg.data.images import FIX_FLAG, IGNORE, rgb
from footseg.data.labels import Colour
from footseg.data.masks import look, two_palettes
from footseg.data.opening import BadFileError, open_image
from footseg.data.threads import each
from footseg.data.turned import ADVICE, drawn_unturned, fits_turned
from footseg.grouping import grouped


@dataclass(frozen=True)
class _Seen:
    """What one pair showed; ``looks`` is None where the photograph cannot be read.

    ``turned`` is how much better the mask fits the unturned photograph, None where that is no question.
    """

    split: str
    pair: Pair
    findings: tuple[Finding, ...]
    looks: Looks | None = None
    palette: Mapping[int, Colour] = field(default_factory=dict)
    turned: float | None = None
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))


def check(data_dir: Path) -> CheckReport:
    """Read every image and mask of a data set and say what is wrong, each with what to do about it.

    Raises:
        FootsegError: as ``open_data``: there is no data set to check.
    """
    data = open_data(data_dir)
    findings: list[Finding] = [*_folders(data), *_sides(data)]
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
    findings += duplicates([one.looks for one in seen if one.looks])
    findings += [*_palettes(data, seen), *_turned(seen)]
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


# ---- names


def _folders(data: DataSet) -> Iterator[Finding]:
    """Folders that are splits under another name, or none."""
    for folder in sorted(path for path in data.path.iterdir() if path.is_dir()):
        meant = OTHER_NAMES.get(folder.name.lower())
        if meant and meant not in data.splits:
            fix = f"rename it to {meant}"
            yield Finding(
                "error", "split name", meant, folder.name, f"is not read: the split is {meant}", fix
            )
        elif folder.name not in SPLITS and (folder / "images").is_dir():
            fix = "move its files into train, val or test, or take it away"
            yield Finding(
                "warning", "left out", folder.name, folder.name, "is none of the splits: not read", fix
            )


def _sides(data: DataSet) -> Iterator[Finding]:
    """Classes of a left and a right that mirroring would confuse."""
    for name, other in data.labels.sides():
        yield Finding(
            "warning",
            "left and right",
            "",
            "dataset.toml",
            f"training mirrors photographs, and {name!r} would stay {name!r} there",
            f'write flip_pairs = [["{name}", "{other}"]], or train with --flip 0',
        )


def _names(data: DataSet, split: str) -> tuple[list[Finding], list[Pair]]:
    """What the file names of a split show, and the pairs that can be looked into."""
    folder = data.path / split
    findings = [
        Finding(
            "warning", "left out", split, f"{split}/{part}", f"not read: {found}", "move them, if unwanted"
        )
        for part in ("images", "masks")
        if (found := left_out(folder / part))
    ]
    images, masks = images_by_name(folder / "images"), images_by_name(folder / "masks")
    if not images:
        fix = "training needs train and val, evaluation needs test"
        return [*findings, Finding("warning", "split", split, split, "has no images", fix)], []
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


# ---- pairs


def _inspect(data: DataSet, job: tuple[str, Pair]) -> _Seen:
    split, pair = job
    findings: list[Finding] = []

    def found(level: str, kind: str, path: Path, message: str, fix: str) -> None:
        file = str(path.relative_to(data.path))
        findings.append(Finding(level, kind, split, file, message, fix))

    picture = mask = turned = opened = None
    try:
        opened = open_image(pair.image)
        picture = rgb(opened)
    except BadFileError as bad:
        found("error", bad.kind, bad.path, bad.problem, bad.fix)
    try:
        mask = look(pair.mask, data.labels)
        if picture is not None:
            check_sizes(pair, (picture.height, picture.width), mask)
            turned = fits_turned(picture, mask, opened.orientation if opened else 1)
    except BadFileError as bad:
        found("error", bad.kind, bad.path, bad.problem, bad.fix)
    if mask is not None and (odd := _empty(mask.counts)):
        found("warning", "empty", pair.mask, *odd)
    for path, notes in ((pair.image, opened and opened.notes), (pair.mask, mask and mask.notes)):
        for text in notes or ():
            found("warning", "odd file", path, text, "fine if that is meant, else save it anew")
    seen = None
    if picture is not None:
        seen = looks(split, str(pair.image.relative_to(data.path)), pair.image, picture)
    return _Seen(
        split,
        pair,
        tuple(findings),
        seen,
        palette={} if mask is None else mask.palette,
        turned=turned,
        **({} if mask is None else {"histogram": mask.counts}),
    )


def _empty(counts: np.ndarray) -> tuple[str, str] | None:
    if not counts[1:].any():
        return "all background", "fine if nothing is to be seen in the image, else label it"
    if not counts[:IGNORE].any():
        return "every pixel is ignored (255)", f"if 255 means foreground, {FIX_FLAG}; else remove the pair"
    return None


# ---- the set as a whole


def _palettes(data: DataSet, seen: Sequence[_Seen]) -> Iterator[Finding]:
    """An index that has another colour in another mask."""
    if bad := two_palettes((one.pair.mask, one.palette) for one in seen):
        file = bad.path.relative_to(data.path)
        yield Finding("error", bad.kind, file.parts[0], str(file), bad.problem, bad.fix)


def _turned(seen: Sequence[_Seen]) -> Iterator[Finding]:
    """Splits whose masks fit their photographs better without the orientation that these have."""
    for split, ratios in grouped((one.split, one.turned) for one in seen if one.turned is not None).items():
        if message := drawn_unturned(ratios):
            yield Finding("warning", "turned", split, f"{split}/masks", message, ADVICE)


def _absent(data: DataSet, histograms: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    for split, histogram in histograms.items():
        if histogram.any() and not histogram[:IGNORE].any():
            fix = "label some of its images, or take the split away"
            yield Finding("error", "nothing labelled", split, split, "every pixel is ignored (255)", fix)
            continue
        for index, name in enumerate(data.classes):
            if histogram.any() and not histogram[index]:
                fix = "add images that show it, or take it out of dataset.toml"
                yield Finding(
                    "warning", "absent class", split, split, f"no pixel of class {index} ({name})", fix
                )


def _shares(data: DataSet, histogram: np.ndarray) -> dict[str, float]:
    labelled = histogram[: len(data.classes)]
    return dict(zip(data.classes, (labelled / max(labelled.sum(), 1)).tolist(), strict=True))
