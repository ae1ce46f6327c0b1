"""A data set: its folder on disk, and one split of it as arrays."""

import hashlib
import os
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from footseg import files
from footseg.data.images import (
    IMAGE_SUFFIXES,
    BadFileError,
    Size,
    read_image,
    read_mask,
)
from footseg.data.resizing import Rule
from footseg.data.threads import each
from footseg.errors import FootsegError

SPLITS = ("train", "val", "test")
DEFAULT_CLASSES = ("background", "foot")
LAYOUT = "DIR/train/images/NAME.jpg with DIR/train/masks/NAME.png, and val and test likewise"
NAMED = 5
"""How many bad files an error names; footseg data check lists all."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class DataSet:
    """A data set's folder, the names of its classes and their colours (RGB, 0 to 255)."""

    path: Path
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]

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
    classes, colours = description(path / "dataset.toml")
    data = DataSet(path, classes, colours)
    if not data.splits:
        raise FootsegError(f"{path} has no folder train, val or test: arrange it as {LAYOUT}")
    if not any(images_by_name(path / split / "images") for split in data.splits):
        raise FootsegError(f"no images in {path}/{{{','.join(data.splits)}}}/images: arrange it as {LAYOUT}")
    return data


def images_by_name(folder: Path) -> dict[str, list[Path]]:
    """The image files of a folder by their name before the suffix; {} where there is no folder."""
    found: dict[str, list[Path]] = defaultdict(list)
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            # macOS leaves "._NAME.jpg" beside files on foreign disks: they are no images.
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
                found[path.stem].append(path)
    return dict(found)


def pairs(data: DataSet, split: str) -> list[Pair]:
    """The photographs of a split with their masks, sorted by name.

    Raises:
        FootsegError: no such split, no images, an image without a mask, a name twice.
    """
    if split not in data.splits:
        raise FootsegError(f"{data.path} has no split {split!r}: it has {', '.join(data.splits)}")
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


# ---- dataset.toml


def description(path: Path) -> tuple[tuple[str, ...], tuple[Colour, ...]]:
    """Names and colours of the classes in a ``dataset.toml``; background and foot where there is none.

    Raises:
        FootsegError: it is wrong.
    """
    if not path.is_file():
        return DEFAULT_CLASSES, default_colours(len(DEFAULT_CLASSES))
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FootsegError(f"{path} is not valid TOML: {error}") from error
    if unknown := content.keys() - {"classes", "colours"}:
        raise FootsegError(f"{path}: unknown key {', '.join(sorted(unknown))}; known: classes, colours")
    classes = content.get("classes", list(DEFAULT_CLASSES))
    if (
        not isinstance(classes, list)
        or not all(isinstance(name, str) and name for name in classes)
        or not 2 <= len(set(classes)) == len(classes) <= 255
    ):
        raise FootsegError(
            f'{path}: classes must be 2 to 255 different names, like ["background", "foot"], got {classes!r}'
        )
    if "colours" not in content:
        return tuple(classes), default_colours(len(classes))
    colours = content["colours"]
    if not isinstance(colours, list) or len(colours) != len(classes):
        count = len(colours) if isinstance(colours, list) else repr(colours)
        raise FootsegError(f"{path}: {len(classes)} classes need {len(classes)} colours, got {count}")
    return tuple(classes), tuple(_colour(path, colour) for colour in colours)


def _colour(path: Path, value: Any) -> Colour:
    if isinstance(value, str) and value.startswith("#") and len(value) == 7:
        try:
            red, green, blue = ImageColor.getrgb(value)[:3]
            return red, green, blue
        except ValueError:
            pass
    if isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value):
        return value[0], value[1], value[2]
    raise FootsegError(f'{path}: a colour is [red, green, blue] from 0 to 255 or "#rrggbb", got {value!r}')


# Chosen greedily so that any two lie far apart to normal, deuteranopic and protanopic eyes alike (Machado
# et al. 2009, CIE76 in Lab): at least 58 for 4 classes, 31 for 8, 17 for 20. Blue stands out on skin.
# fmt: off
PALETTE: tuple[Colour, ...] = (
    (0, 0, 0), (0, 158, 224), (230, 159, 0), (20, 20, 245), (95, 245, 200), (140, 80, 35), (140, 20, 110),
    (20, 65, 185), (155, 245, 140), (20, 230, 245), (185, 80, 110), (200, 140, 65), (230, 245, 20),
    (215, 125, 110), (80, 125, 245), (200, 80, 155), (230, 230, 95), (80, 80, 245), (185, 50, 170),
    (245, 140, 200), (110, 230, 155),
)
# fmt: on


def default_colours(classes: int) -> tuple[Colour, ...]:
    """A colour for each class, black for the background; beyond 20 classes they come again."""
    return tuple(PALETTE[index and 1 + (index - 1) % (len(PALETTE) - 1)] for index in range(classes))


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
    digest = fingerprint(found, len(data.classes))
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
        cache = cache_folder() / f"{digest}-{size[0]}x{size[1]}{''.join(ways)}"
        if not cache.is_dir():
            with files.atomic_path(cache) as temporary:
                temporary.mkdir()
                arrays = {name: new_file(temporary / f"{name}.npy", shape) for name, shape in wanted.items()}
                _decode(data, split, found, ways, arrays)
                del arrays
        arrays = {name: np.load(cache / f"{name}.npy", mmap_mode="r") for name in wanted}
    ours, *others = ((arrays[f"images{way}"], arrays.get(f"masks{way}", arrays["masks"])) for way in ways)
    return Split(names, *ours, digest, tuple(others))


def fingerprint(found: Sequence[Pair], classes: int) -> str:
    """SHA-256 over the names and bytes of all files and the number of classes, in hex."""
    paths = [path for pair in found for path in (pair.image, pair.mask)]
    digests = each(files.sha256, paths, "fingerprint")
    lines = [f"{path.name} {digest}" for path, digest in zip(paths, digests, strict=True)]
    return hashlib.sha256("\n".join([f"{classes} classes", *lines]).encode()).hexdigest()


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


def _decode(
    data: DataSet,
    split: str,
    found: Sequence[Pair],
    ways: Mapping[str, Rule],
    arrays: Mapping[str, np.ndarray],
) -> None:
    size = arrays["masks"].shape[1], arrays["masks"].shape[2]

    def decode(index: int) -> str | None:
        try:
            image, mask = read_pair(found[index], len(data.classes))
        except BadFileError as error:
            return str(error)
        for way, rule in ways.items():
            arrays[f"images{way}"][index], _ = rule.canvas(image, size)
            if f"masks{way}" in arrays:
                arrays[f"masks{way}"][index] = rule.mask(mask, size)
        return None

    bad = [problem for problem in each(decode, range(len(found)), f"load {split}") if problem]
    if bad:
        raise FootsegError(
            f"{len(bad)} of {len(found)} pairs of {data.path / split} cannot be used: "
            f"{shorten(bad, ' | ')} (all of them: footseg data check {data.path})"
        )


def read_pair(pair: Pair, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph and its mask, of the same size.

    Raises:
        BadFileError: one of them cannot be used, or their sizes differ ("size").
    """
    image, mask = read_image(pair.image), read_mask(pair.mask, classes)
    check_sizes(pair, image, mask)
    return image, mask


def check_sizes(pair: Pair, image: np.ndarray, mask: np.ndarray) -> None:
    """Hold a mask against its photograph.

    Raises:
        BadFileError: their sizes differ ("size").
    """
    (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape[:2]
    if (height, width) == (mask_height, mask_width):
        return
    fix = "label the photograph at its own size"
    if (height, width) == (mask_width, mask_height):
        fix = "turn the mask by 90 degrees: it was drawn on the photograph without its EXIF orientation"
    raise BadFileError(
        pair.mask, "size", f"the mask is {mask_width}x{mask_height}, its photograph {width}x{height}", fix
    )
