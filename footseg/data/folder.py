"""A data set: its folder on disk, and one split of it as arrays."""

import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from footseg import files
from footseg.data.images import IGNORE, Size, rgb
from footseg.data.labels import Colour, Labels, read_labels
from footseg.data.masks import Mask, look, two_palettes
from footseg.data.opening import IMAGE_SUFFIXES, BadFileError, open_image
from footseg.data.resizing import Rule
from footseg.data.threads import each
from footseg.data.turned import ADVICE, drawn_unturned, fits_turned
from footseg.errors import FootsegError
from footseg.grouping import grouped
from footseg.terminal import counted, note

SPLITS = ("train", "val", "test")
OTHER_NAMES = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}
"""What other programs call the splits."""
LEFT_ALONE = ("thumbs.db", "desktop.ini")
LAYOUT = "DIR/train/images/NAME.jpg with DIR/train/masks/NAME.png, and val and test likewise"
NAMED = 5
"""How many bad files an error names; footseg data check lists all."""

READING = 2
"""Raised where the same files give other arrays: decoded splits of an earlier footseg are not used then."""


@dataclass(frozen=True)
class DataSet:
    """A data set's folder, and what its masks mean."""

    path: Path
    labels: Labels

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes."""
        return self.labels.classes

    @property
    def colours(self) -> tuple[Colour, ...]:
        """A colour for each class, RGB from 0 to 255."""
        return self.labels.colours

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of train, val and test that are there."""
        return tuple(split for split in SPLITS if (self.path / split).is_dir())


@dataclass(frozen=True)
class Pair:
    """A photograph and its mask; ``name`` is the file name that both have before the suffix."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Split:
    """One split at one size: images uint8 (N, h, w, 3) RGB, masks uint8 (N, h, w), both read-only.

    ``fingerprint`` is a SHA-256 over names, file bytes and the number of classes. ``others`` are the same
    images and masks as other rules of resizing give them.
    """

    names: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    fingerprint: str
    others: tuple[tuple[np.ndarray, np.ndarray], ...] = ()


# ---- the folder


def open_data(path: Path) -> DataSet:
    """Recognise a data set, and read its ``dataset.toml`` where it has one.

    Raises:
        FootsegError: no such folder, no train, val or test in it, no images, a wrong ``dataset.toml``.
    """
    path = Path(path)
    if not path.is_dir():
        raise FootsegError(f"no such folder: {path}")
    data = DataSet(path, read_labels(path / "dataset.toml"))
    if not data.splits:
        raise FootsegError(f"{path} has no folder train, val or test{renaming(path)}: arrange it as {LAYOUT}")
    if not any(images_by_name(path / split / "images") for split in data.splits):
        raise FootsegError(f"no images in {path}/{{{','.join(data.splits)}}}/images: arrange it as {LAYOUT}")
    return data


def renaming(path: Path) -> str:
    """Which folders of ``path`` are splits under another name, in words; "" where none is."""
    found = {name: split for name, split in OTHER_NAMES.items() if (path / name).is_dir()}
    return "".join(f" (rename {name} to {split})" for name, split in found.items())


def images_by_name(folder: Path) -> dict[str, list[Path]]:
    """The image files of a folder by their name before the suffix; {} where there is no folder.

    A name is the same however its accents are stored: macOS takes é apart (NFD), others keep it whole (NFC).
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in _listed(folder):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir():
            found[unicodedata.normalize("NFC", path.stem)].append(path)
    return dict(found)


def left_out(folder: Path) -> str:
    """What of a folder ``images_by_name`` leaves out, in words; "" where that is nothing."""
    others = [path for path in _listed(folder) if path.suffix.lower() not in IMAGE_SUFFIXES or path.is_dir()]
    folders = [f"the folder {path.name}" for path in others if path.is_dir()]
    kinds = Counter(path.suffix.lower() for path in others if not path.is_dir())
    counts = [
        f"{counted(number, 'file')} {'without a suffix' if not suffix else f'of kind {suffix}'}"
        for suffix, number in sorted(kinds.items())
    ]
    return shorten([*counts, *folders])


def say_left_out(folder: Path) -> None:
    """Say on standard error what of a folder is not read."""
    if found := left_out(folder):
        note(f"{folder}: left out: {found}")


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, without what desktops hide there."""
    if not folder.is_dir():
        return []
    # macOS leaves "._NAME.jpg" beside files on foreign disks: they are no images.
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in shown if path.name.lower() not in LEFT_ALONE)


def pairs(data: DataSet, split: str) -> list[Pair]:
    """The photographs of a split with their masks, sorted by name.

    Raises:
        FootsegError: no such split, no images, an image without a mask, a name twice.
    """
    if split not in data.splits:
        here = ", ".join(data.splits)
        raise FootsegError(f"{data.path} has no split {split!r}: it has {here}{renaming(data.path)}")
    return pairs_in(data.path / split)


def pairs_in(folder: Path) -> list[Pair]:
    """The photographs in ``folder``/images with their masks in ``folder``/masks, sorted by name.

    Raises:
        FootsegError: no images, an image without a mask, a name twice.
    """
    images, masks = images_by_name(folder / "images"), images_by_name(folder / "masks")
    if not images:
        raise FootsegError(f"no images in {folder / 'images'}: arrange the data as {LAYOUT}")
    if missing := [images[name][0].name for name in images if name not in masks]:
        raise FootsegError(
            f"{len(missing)} of {len(images)} images in {folder / 'images'} have no mask in ../masks: "
            f"{shorten(missing)}; add the masks or remove the images"
        )
    if twice := [
        path.name
        for found in (images, masks)
        for name in images
        for path in found[name]
        if len(found[name]) > 1
    ]:
        raise FootsegError(
            f"names in {folder} must be unique without their suffix, these are not: {shorten(twice)}; "
            "rename or remove one of each"
        )
    return [Pair(name, images[name][0], masks[name][0]) for name in sorted(images)]


def shorten(names: Sequence[str], separator: str = ", ") -> str:
    """The first five names, and how many more there are."""
    more = f"{separator}and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + more


# ---- a split as arrays


def load_split(
    data: DataSet, split: str, size: Size, memory_limit: int = 2 << 30, rules: Sequence[Rule] = ()
) -> Split:
    """Decode a split once, letterboxed to ``size`` = (height, width), and by each of ``rules``, too.

    Arrays of more than ``memory_limit`` bytes live in files in the user's cache folder, mapped into memory
    and found again by the next call.

    Raises:
        FootsegError: as ``pairs``, or files that cannot be used: all are counted, the first few named.
    """
    found = pairs(data, split)
    names = tuple(pair.name for pair in found)
    for part in ("images", "masks"):
        say_left_out(data.path / split / part)
    before = _stamps(found)
    digest = fingerprint(found, data.labels)
    shapes = {"images": (len(found), *size, 3), "masks": (len(found), *size)}
    # Of ours and of each rule, by the names of their files; a mask depends on the place alone.
    ways = {"": Rule("ours"), **{f"-{rule.name}": rule for rule in rules}}
    wanted = {
        f"{what}{way}": shape
        for way, rule in ways.items()
        for what, shape in shapes.items()
        if what == "images" or not way or rule.stretch
    }
    if sum(int(np.prod(shape)) for shape in wanted.values()) <= memory_limit:
        arrays = {name: np.empty(shape, np.uint8) for name, shape in wanted.items()}
        _decode(data, split, found, ways, arrays)
        for array in arrays.values():
            array.flags.writeable = False
    else:
        cache = cache_folder() / f"{digest}-{size[0]}x{size[1]}{''.join(ways)}-{READING}"
        if not cache.is_dir():
            with files.atomic_path(cache) as temporary:
                temporary.mkdir()
                arrays = {name: new_file(temporary / f"{name}.npy", shape) for name, shape in wanted.items()}
                _decode(data, split, found, ways, arrays)
                del arrays
        arrays = {name: np.load(cache / f"{name}.npy", mmap_mode="r") for name in wanted}
    if _stamps(found) != before:
        raise FootsegError(f"{data.path / split} was changed while it was read: run the command again")
    ours, *others = ((arrays[f"images{way}"], arrays.get(f"masks{way}", arrays["masks"])) for way in ways)
    return Split(names, *ours, digest, tuple(others))


def _stamps(found: Sequence[Pair]) -> list[tuple[int, ...]]:
    """What changes when a file does; fewer where one is gone."""
    stats = [path.stat() for pair in found for path in (pair.image, pair.mask) if path.exists()]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def fingerprint(found: Sequence[Pair], labels: Labels) -> str:
    """SHA-256 over the names and bytes of all files and what ``labels`` makes of them, in hex.

    Raises:
        FootsegError: a file cannot be read.
    """
    paths = [path for pair in found for path in (pair.image, pair.mask)]
    digests = each(_sha256, paths, "fingerprint")
    lines = [f"{path.name} {digest}" for path, digest in zip(paths, digests, strict=True)]
    first = f"{len(labels.classes)} classes"
    if not labels.plain:
        first += f" {sorted(labels.of_index.items())}"
    if labels.of_colour and any(map(_may_have_palette, (pair.mask for pair in found))):
        first += f" {sorted(labels.of_colour.items())}"
    return hashlib.sha256("\n".join([first, *lines]).encode(errors="surrogateescape")).hexdigest()


def _sha256(path: Path) -> str:
    try:
        return files.sha256(path)
    except OSError:  # said in a sentence when it is decoded, with all others that cannot be
        return ""


def _may_have_palette(mask: Path) -> bool:
    """Whether a mask may be read by its colours; of a PNG byte 25 says so."""
    if mask.suffix.lower() != ".png":
        return True
    try:
        with mask.open("rb") as file:
            return file.read(26)[25:] == b"\3"
    except OSError:
        return False


def cache_folder() -> Path:
    """Where decoded splits that are too large for memory are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "footseg"


def new_file(path: Path, shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """An array in a new file that has its room on the disk.

    Without the room a write into the mapped memory kills the process (SIGBUS) when the disk is full.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


@dataclass(frozen=True)
class _Decoded:
    """What came of a pair: what is wrong with it, or the colours of its mask's palette and what is odd."""

    problem: str
    palette: Mapping[int, Colour] = field(default_factory=dict)
    notes: tuple[tuple[Path, str], ...] = ()
    turned: float | None = None


def _decode(
    data: DataSet,
    split: str,
    found: Sequence[Pair],
    ways: Mapping[str, Rule],
    arrays: Mapping[str, np.ndarray],
) -> None:
    size = arrays["masks"].shape[1], arrays["masks"].shape[2]

    def decode(index: int) -> _Decoded:
        pair = found[index]
        try:
            read = read_both(pair, data.labels)
        except BadFileError as error:
            return _Decoded(str(error))
        for way, rule in ways.items():
            arrays[f"images{way}"][index], _ = rule.canvas(read.image, size)
            if f"masks{way}" in arrays:
                arrays[f"masks{way}"][index] = rule.mask(read.mask.classes, size)
        return _Decoded("", read.mask.palette, read.notes, read.turned)

    done = each(decode, range(len(found)), f"load {split}")
    for text, names in grouped((text, path.name) for one in done for path, text in one.notes).items():
        note(f"{data.path / split}: {shorten(names)}: {text}")
    if said := drawn_unturned([one.turned for one in done if one.turned is not None]):
        note(f"{data.path / split}: {said}; {ADVICE}")
    if bad := [one.problem for one in done if one.problem]:
        raise FootsegError(
            f"{len(bad)} of {len(found)} pairs of {data.path / split} cannot be used: "
            f"{shorten(bad, ' | ')} (all of them: footseg data check {data.path})"
        )
    if unlike := two_palettes((pair.mask, one.palette) for pair, one in zip(found, done, strict=True)):
        raise unlike
    if all((mask == IGNORE).all() for mask in arrays["masks"]):
        raise FootsegError(
            f"no pixel of {data.path / split} is labelled: all are ignored (255), and there is nothing to "
            "learn from or to score; label some, or take the split away"
        )


def read_pair(pair: Pair, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """A photograph and its mask, of the same size.

    Raises:
        BadFileError: one of them cannot be used, or their sizes differ ("size").
    """
    read = read_both(pair, labels)
    for path, text in read.notes:
        note(f"{path}: {text}")
    return read.image, read.mask.classes


@dataclass(frozen=True)
class Read:
    """A pair with all that is known of it: ``notes`` say what is odd, each with the file's path.

    ``turned`` is how much better the mask fits if it is turned as its photograph was, see ``turned.py``.
    """

    image: np.ndarray
    mask: Mask
    notes: tuple[tuple[Path, str], ...]
    turned: float | None


def read_both(pair: Pair, labels: Labels) -> Read:
    """A photograph and its mask, of the same size.

    Raises:
        BadFileError: as ``read_pair``.
    """
    opened = open_image(pair.image)
    picture, mask = rgb(opened), look(pair.mask, labels)
    check_sizes(pair, (picture.height, picture.width), mask)
    said = [(pair.image, text) for text in opened.notes] + [(pair.mask, text) for text in mask.notes]
    turned = fits_turned(picture, mask, opened.orientation)
    return Read(np.array(picture), mask, tuple(said), turned)


def check_sizes(pair: Pair, size: Size, mask: Mask) -> None:
    """Hold a mask against its photograph's ``size``.

    Raises:
        BadFileError: their sizes differ ("size").
    """
    (height, width), (mask_height, mask_width) = size, mask.size
    if (height, width) == (mask_height, mask_width):
        return
    fix = "label the photograph at its own size"
    if (height, width) == (mask_width, mask_height):
        fix = "turn the mask by 90 degrees: it was drawn on the photograph without its EXIF orientation"
        if mask.oriented:
            fix = "take the mask's own EXIF orientation away: it turns the mask"
    raise BadFileError(
        pair.mask, "size", f"the mask is {mask_width}x{mask_height}, its photograph {width}x{height}", fix
    )
