"""Feet cut out of photographs with masks, ready to be laid on another floor.

A mask's edge is never quite the foot's: what lies just outside has colours of the old floor. So each
cut-out gets a soft edge from the colours on both sides, and inside it the foot's own colour continued
outwards, as if the old floor had never been there.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from scipy import ndimage

from footseg.data.folder import (
    SPLITS,
    Pair,
    images_by_name,
    pairs_in,
    read_pair,
    say_left_out,
)
from footseg.data.images import IGNORE
from footseg.data.labels import Labels, read_labels
from footseg.data.legs import find_legs
from footseg.data.opening import open_image
from footseg.errors import FootsegError

FRAGMENT = 0.25
"""Of the largest part's area: a smaller part is a strap or a heel of the nearest larger one."""
SMALLEST = 0.002
"""Of the photograph's area, and at least 80 pixels: smaller feet show nothing when enlarged."""
EDGE = 2.5
"""Pixels on either side of the mask's outline in which the cut-out's own outline is looked for."""
ROOM = 12
"""Pixels around a cut-out, in which its background's colours are looked for."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Source:
    """A photograph with feet: its name for the manifest, and its mask (None: its own transparency)."""

    name: str
    image: Path
    mask: Path | None


@dataclass(frozen=True)
class Feet:
    """Photographs with feet by split, or all under "" where the folder has no splits."""

    labels: Labels
    parts: dict[str, list[Source]]


@dataclass(frozen=True)
class Cutout:
    """One foot, or several that stand together.

    ``pixels`` uint8 (h, w, 6): RGB, opacity, class, and how near the foot is to the ground it stands on.
    ``left`` and ``top`` place it in its photograph; ``cut`` (n, 2) are x, y in the photograph where the
    photograph's border cuts it, and ``out`` (2,) points over that border, (0, 0) where it is whole.
    ``points`` (n, 2) are x, y of pixels evenly spread over its feet, ``length`` is the diagonal of one foot's
    bounding box in pixels, and ``feet`` how many there are.
    """

    component: str
    pixels: np.ndarray
    left: int
    top: int
    cut: np.ndarray
    out: np.ndarray
    points: np.ndarray
    length: float
    feet: int = 1


@dataclass(frozen=True)
class Person:
    """All cut-outs of one photograph.

    ``figure`` is all its feet with the legs above them (class 0), where these could be told from the
    background; ``ground`` is the mean colour of what was around the feet, if known.
    """

    feet: tuple[Cutout, ...]
    figure: Cutout | None
    ground: tuple[float, float, float] | None


# ---- finding


def parts_of(folder: Path, find: Callable[[Path], list[Item]]) -> dict[str, list[Item]]:
    """What ``find`` finds by split, or under "" where ``folder`` has no folder train, val or test.

    Raises:
        FootsegError: no such folder.
    """
    if not folder.is_dir():
        raise FootsegError(f"no such folder: {folder}")
    splits = [split for split in SPLITS if (folder / split).is_dir()]
    return {split: find(folder / split) for split in splits} if splits else {"": find(folder)}


def find_feet(folder: Path) -> Feet:
    """The photographs with masks, or with transparency, in a data set or a folder.

    Raises:
        FootsegError: neither is there, or an image has no mask.
    """
    folder = Path(folder)
    parts = parts_of(folder, lambda part: _sources(folder, part))
    places = [folder, folder.parent] if folder.name in SPLITS else [folder]
    described = [path for place in places if (path := place / "dataset.toml").is_file()]
    return Feet(read_labels(described[0] if described else folder / "dataset.toml"), parts)


def _sources(root: Path, folder: Path) -> list[Source]:
    for part in (folder / "images", folder / "masks") if (folder / "images").is_dir() else (folder,):
        say_left_out(part)
    if (folder / "images").is_dir():
        found: list[tuple[Path, Path | None]] = [(pair.image, pair.mask) for pair in pairs_in(folder)]
    else:
        images = [path for paths in images_by_name(folder).values() for path in paths]
        if not any(open_image(path).image.has_transparency_data for path in images):
            raise FootsegError(
                f"no masks for the feet in {folder}: give a folder with images/ and masks/, a data set of "
                "such folders, or a folder of pictures with a transparent background"
            )
        found = [(path, None) for path in images]
    return [Source(image.relative_to(root).as_posix(), image, mask) for image, mask in found]


# ---- preparing


def prepare(source: Source, labels: Labels, longest: int) -> Person:
    """Cut the feet out of a photograph, scaled down so that none is longer than ``longest`` pixels.

    Ignored pixels are never part of a cut-out. A photograph without feet gives a person without cut-outs.

    Raises:
        BadFileError: image or mask cannot be used.
    """
    image, mask = _read(source, labels)
    foot = (mask > 0) & (mask != IGNORE)
    if not foot.any():
        return Person((), None, None)
    rows, columns = (np.flatnonzero(foot.any(axis)) for axis in (1, 0))
    scale = longest / max(np.ptp(rows) + 1, np.ptp(columns) + 1)
    if scale < 1:
        size = tuple(max(1, round(extent * scale)) for extent in (mask.shape[1], mask.shape[0]))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
        mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    ground = image[ndimage.binary_dilation(mask > 0, iterations=20) & (mask == 0)]
    parts = _feet(mask)
    feet = [_cut(image, mask, [part], part, str(number)) for number, part in enumerate(parts)]
    figure = None
    if source.mask is not None and parts and not (mask == IGNORE).any():
        shape = find_legs(image, np.any(parts, axis=0))
        figure = None if shape is None else _cut(image, mask, parts, shape, "figure")
    known = source.mask is not None and len(ground) > 0
    return Person(
        tuple(foot for foot in feet if foot is not None),
        figure,
        tuple(ground.mean(0).tolist()) if known else None,
    )


def _read(source: Source, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    if source.mask is not None:
        return read_pair(Pair(source.name, source.image, source.mask), labels)
    opened = open_image(source.image)
    opened.say()
    rgba = np.asarray(opened.upright().convert("RGBA"))
    return rgba[..., :3], (rgba[..., 3] >= 128).astype(np.uint8)


def _feet(mask: np.ndarray) -> list[np.ndarray]:
    """The mask's feet as bool (h, w): connected parts, each with the fragments that belong to it."""
    foot = (mask > 0) & (mask != IGNORE)
    labels, count = ndimage.label(foot, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    smallest = max(80, SMALLEST * mask.size)
    large = [n for n in range(count) if areas[n] >= max(smallest, FRAGMENT * areas.max())]
    feet = [labels == n + 1 for n in large]
    for n in set(range(count)) - set(large):
        if feet and areas[n] >= 10:
            fragment = labels == n + 1
            around = ndimage.binary_dilation(fragment, iterations=max(3, round(0.03 * min(mask.shape))))
            touches = [int((around & foot).sum()) for foot in feet]
            if max(touches):
                feet[int(np.argmax(touches))] |= fragment
    return feet


def _cut(
    image: np.ndarray, mask: np.ndarray, feet: list[np.ndarray], inside: np.ndarray, component: str
) -> Cutout | None:
    """Cut ``inside`` out, in which ``feet`` are; None where it goes over more borders than can be hidden."""
    cut, out = _cut_by_border(inside)
    if out is None:
        return None
    box = _box(inside)
    part = inside[box]
    # Another foot's colour is no floor's: it must not count as the background.
    elsewhere = (mask[box] > 0) & ~part
    colour, alpha = matte(image[box], part, elsewhere)
    alpha[mask[box] == IGNORE] = 0
    nearest = ndimage.distance_transform_edt(~part, return_distances=False, return_indices=True)
    classes = mask[box][tuple(nearest)]
    standing = np.max([_standing(foot[box]) for foot in feet], axis=0)
    seen = np.any(feet, axis=0)
    spread = np.argwhere(seen)[:: max(1, seen.sum() // 64)]
    return Cutout(
        component,
        pixels=np.dstack([colour, alpha, classes, standing]),
        left=int(box[1].start),
        top=int(box[0].start),
        cut=cut,
        out=out,
        points=(spread[:, ::-1] + 0.5).astype(np.float32),
        length=float(np.median([np.hypot(*np.ptp(np.argwhere(foot), axis=0)) for foot in feet])) + 1,
        feet=len(feet),
    )


def _box(inside: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of a shape, with room for the matte to see its background."""
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    return (
        slice(max(0, rows[0] - ROOM), min(inside.shape[0], rows[-1] + 1 + ROOM)),
        slice(max(0, columns[0] - ROOM), min(inside.shape[1], columns[-1] + 1 + ROOM)),
    )


def _cut_by_border(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Where the photograph's border cuts a foot (n, 2), and the direction out; None: on opposite sides."""
    height, width = inside.shape
    sides = (
        ((0, -1), inside[0], lambda at: (at, np.zeros_like(at))),
        ((0, 1), inside[-1], lambda at: (at, np.full_like(at, height))),
        ((-1, 0), inside[:, 0], lambda at: (np.zeros_like(at), at)),
        ((1, 0), inside[:, -1], lambda at: (np.full_like(at, width), at)),
    )
    points, outward = [np.zeros((0, 2), np.float32)], []
    for direction, line, place in sides:
        if line.any():
            at = np.flatnonzero(line).astype(np.float32)
            points.append(np.stack(place(np.append(at, at[-1] + 1)), -1))
            outward.append(direction)
    total = np.sum(outward, 0) if outward else np.zeros(2)
    if len(outward) > 2 or (outward and not total.any()):
        return np.concatenate(points), None
    return np.concatenate(points), (total / max(float(np.hypot(*total)), 1)).astype(np.float32)


def matte(image: np.ndarray, inside: np.ndarray, elsewhere: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour uint8 (h, w, 3) and opacity uint8 (h, w) of what ``inside`` marks, free of its background.

    Within ``EDGE`` pixels of the outline a pixel is as opaque as its colour lies on the way from the
    background's to the foot's, each taken nearby; where the two colours are alike, as the outline,
    smoothed, says. ``elsewhere`` is neither foot nor background.
    """
    colour = image.astype(np.float32)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1, "edge"))[1:-1, 1:-1].astype(np.float32)
    away = ndimage.distance_transform_edt(~inside).astype(np.float32)
    # Pixels at the rim are mixed with the floor: they count only where a strap has no others.
    foot = _nearby(colour, inside * (np.clip(depth - 2, 0, 3) ** 2 + 1e-3 * depth**2))
    ground = _nearby(colour, (~inside & ~elsewhere) * np.clip(away - 1, 0, 4) ** 2)

    # A mask drawn by superpixels has steps: its outline is smoothed first, and moved half a pixel inwards.
    outline = np.clip(ndimage.gaussian_filter(inside.astype(np.float32), 1.2, mode="nearest") * 2 - 0.6, 0, 1)
    way = foot - ground
    length = (way**2).sum(-1)
    share = ((colour - ground) * way).sum(-1) / np.maximum(length, 1)
    trust = length / (length + 40.0**2)
    alpha = trust * np.clip(share * 1.2 - 0.15, 0, 1) + (1 - trust) * outline
    alpha = np.where(depth > EDGE, 1, np.where(away > EDGE - 1, 0, alpha))
    alpha = ndimage.gaussian_filter(alpha, 0.5, mode="nearest")

    # Near the outline, and outside of it, the foot's own colour goes on.
    own = np.clip((depth - 1.5) / 1.5, 0, 1)[..., None]
    clean = colour * own + foot * (1 - own)
    return np.clip(clean, 0, 255).round().astype(np.uint8), (np.clip(alpha, 0, 1) * 255).round().astype(
        np.uint8
    )


def _nearby(colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weighted mean colour around each pixel; where none is near, that of the nearest one."""
    weight = weight.astype(np.float32)
    if not weight.any():
        return np.broadcast_to(colour.mean((0, 1)), colour.shape)
    total = ndimage.gaussian_filter(weight, 2.0, mode="nearest")
    mean = np.empty_like(colour)
    for channel in range(3):
        blurred = ndimage.gaussian_filter(colour[..., channel] * weight, 2.0, mode="nearest")
        mean[..., channel] = blurred / np.maximum(total, 1e-6)
    far = total < 1e-3
    if far.any():
        nearest = ndimage.distance_transform_edt(far, return_distances=False, return_indices=True)
        mean = mean[tuple(nearest)]
    return mean


def _standing(inside: np.ndarray) -> np.ndarray:
    """How near to the ground each pixel of a foot is, uint8 (h, w): 255 where the sole stands.

    In a photograph of somebody standing, that is the lower rim of the foot, but not a heel's arch: a
    column's lowest pixel counts the less the further it lies above a line between lower columns.
    """
    columns = np.flatnonzero(inside.any(0))
    lowest = inside.shape[0] - 1 - inside[::-1, columns].argmax(0)
    height = np.ptp(np.flatnonzero(inside.any(1))) + 1
    gap = _hull(columns, lowest) - lowest
    rows = np.arange(inside.shape[0])[:, None]
    above = np.maximum(lowest - rows, 0)
    weight = np.zeros(inside.shape, np.float32)
    weight[:, columns] = np.exp(-above / (0.12 * height)) * np.exp(-gap / (0.08 * height))
    return (weight * inside * 255).round().astype(np.uint8)


def _hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The upper convex hull of points with rising ``x``, at each ``x`` (rows grow downwards: the ground)."""
    chain: list[int] = []
    for i in range(len(x)):
        while len(chain) > 1:
            a, b = chain[-2], chain[-1]
            if (y[b] - y[a]) * (x[i] - x[a]) > (y[i] - y[a]) * (x[b] - x[a]):
                break
            chain.pop()
        chain.append(i)
    return np.interp(x, x[chain], y[chain])


# ---- keeping


def save(path: Path, person: Person) -> None:
    """Write a person's cut-outs to an .npz file."""
    arrays: dict[str, Any] = {}
    simple = []
    for number, cutout in enumerate(_all(person)):
        values = {field.name: getattr(cutout, field.name) for field in fields(cutout)}
        arrays |= {f"{number}.{name}": v for name, v in values.items() if isinstance(v, np.ndarray)}
        simple.append({name: v for name, v in values.items() if not isinstance(v, np.ndarray)})
    about = {"cutouts": simple, "feet": len(person.feet), "ground": person.ground}
    np.savez(path, about=np.array(json.dumps(about)), **arrays)


def load(path: Path) -> Person:
    """Read what ``save`` wrote."""
    with np.load(path) as stored:
        about = json.loads(str(stored["about"]))
        arrays: list[dict[str, Any]] = [{} for _ in about["cutouts"]]
        for key in set(stored.files) - {"about"}:
            number, _, name = key.partition(".")
            arrays[int(number)][name] = stored[key]
    cutouts = [Cutout(**simple, **more) for simple, more in zip(about["cutouts"], arrays, strict=True)]
    feet, rest = cutouts[: about["feet"]], cutouts[about["feet"] :]
    return Person(tuple(feet), rest[0] if rest else None, about["ground"] and tuple(about["ground"]))


def _all(person: Person) -> list[Cutout]:
    return [*person.feet, *([person.figure] if person.figure else [])]
