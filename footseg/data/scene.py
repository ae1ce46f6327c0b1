"""One image of feet on a floor, made the way a picture comes about.

A floor seen by a camera, shadows where the feet stand, feet in the floor's light, each where the image's
border hides what its photograph cut, then the camera's blur, noise and compression.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from footseg.data import floors
from footseg.data.cutouts import Cutout, Person
from footseg.data.floors import Floor
from footseg.data.images import Size

ENLARGED = 1.5
"""A foot is enlarged no further: it would look out of focus on a sharp floor."""
TRIES = 12
"""Places tried for a cut-out; the best is taken if none is good."""

Rng = np.random.Generator
Standing = tuple[str, Person, tuple[Cutout, ...]]
"""A photograph's name, whom it shows, and the cut-outs of it that an image shows."""


def compose(
    rng: Rng,
    floor: Floor,
    people: Sequence[Standing],
    size: Size,
    mirrored: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Stand people's feet on a floor: image uint8 (h, w, 3), mask uint8 (h, w), and what was done.

    A mask's pixel has a foot's class where feet cover half of it or more; ``mirrored`` uint8 (256,) is what
    each class becomes in a foot that is mirrored, None where all stay.
    """
    roll = rng.uniform(-np.pi, np.pi) if rng.random() < 0.25 else rng.normal(0, 0.15)
    ground, homography = floors.view(rng, floor, size, roll)
    canvas = ground.astype(np.float32)
    canvas *= _light(rng, size)[..., None]
    cover = np.zeros(size, np.float32)
    classes = np.zeros(size, np.uint8)
    placed = _place_all(rng, people, size, roll)
    # Whoever stands lower in the picture (as the camera is held) stands nearer.
    down = np.array([-np.sin(roll), np.cos(roll)])
    placed.sort(key=lambda one: float(_lowest(one.matrix, one.cutout) @ down))
    level = canvas.mean((0, 1))
    canvas *= _shadows(rng, placed, size)[..., None]
    for one in placed:
        _paste(canvas, cover, classes, one, _gain(rng, one.ground, level), mirrored)

    image, quality = _camera(rng, canvas)
    record = {
        "floor_homography": np.round(homography, 6).tolist(),
        "feet": [one.record for one in placed],
        "jpeg_quality": quality,
    }
    return image, np.where(cover >= 0.5, classes, 0).astype(np.uint8), record


@dataclass(frozen=True)
class _Placed:
    """A cut-out and the matrix (2, 3) from its photograph to the image."""

    cutout: Cutout
    matrix: np.ndarray
    ground: tuple[float, float, float] | None
    record: dict[str, Any]


def _place_all(rng: Rng, people: Sequence[Standing], size: Size, roll: float) -> list[_Placed]:
    """Find each person a place: well visible, cut sides hidden by the image's border, few feet hidden."""
    number = sum(foot.feet for _, _, feet in people for foot in feet)
    largest = {1: 1.0, 2: 0.85, 3: 0.65}.get(number, 0.55)
    length = np.exp(rng.uniform(np.log(0.27), np.log(largest))) * min(size)
    occupied = np.zeros(size, bool)
    placed = []
    for name, person, feet in people:
        own = length * rng.uniform(0.85, 1.15) / float(np.median([foot.length for foot in feet]))
        scale = min(own, ENLARGED)
        mirrored = bool(rng.random() < 0.5)
        preferred = rng.random() < 0.6
        best: tuple[float, np.ndarray, float] | None = None
        for attempt in range(TRIES):
            turn = roll + (rng.normal(0, 0.12) if attempt < TRIES / 2 else 0)
            flush = preferred and attempt < TRIES / 2  # long legs enlarged may be longer than the image
            linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            linear = linear @ np.diag([-1.0 if mirrored else 1.0, 1.0])
            matrix = _aimed(linear, feet, rng.uniform(0.12, 0.88, 2) * size[::-1], size, flush)
            score = _score(matrix, feet, occupied)
            if best is None or score > best[0]:
                best = score, matrix, turn
            if score >= 1:
                break
        assert best is not None
        _, matrix, turn = best
        for foot in feet:
            _occupy(occupied, matrix, foot)
            record = {
                "source": name,
                "component": foot.component,
                "matrix": np.round(matrix, 4).tolist(),
                "scale": round(scale, 4),
                "rotation": round(float(np.degrees(turn)), 2),
                "mirrored": mirrored,
            }
            placed.append(_Placed(foot, matrix, person.ground, record))
    return placed


def _aimed(
    linear: np.ndarray, feet: Sequence[Cutout], aim: np.ndarray, size: Size, flush: bool
) -> np.ndarray:
    """A matrix (2, 3) that brings the feet's middle to ``aim``, or as near as their cut sides allow.

    Where a photograph's border cut them, the image's border must hide it: they are moved out over it.
    ``flush``: no further out than that, so that as much of them is seen as can be.
    """
    points = np.concatenate([foot.points for foot in feet])
    middle = (points.min(0) + points.max(0)) / 2
    matrix = np.column_stack([linear, aim - linear @ middle])
    cut = np.concatenate([foot.cut for foot in feet])
    if not len(cut):
        return matrix
    # All cut feet of a person are cut on the same side. How far along the way out does each end leave?
    out = linear @ next(foot.out for foot in feet if len(foot.cut))
    out = np.where(np.abs(out) < 1e-6, 1e-6, out / np.hypot(*out))
    limits = np.array([(-2.0, -2.0), (size[1] + 2.0, size[0] + 2.0)])
    steps = (limits[:, None] - _through(matrix, cut)) / out
    enter, leave = steps.min(0).max(1), steps.max(0).min(1)
    if (met := leave > enter).any():
        step = float(leave[met].max())
        matrix[:, 2] += out * (step if flush else max(step, 0))
    return matrix


def _score(matrix: np.ndarray, feet: Sequence[Cutout], occupied: np.ndarray) -> float:
    """At least 1 where the feet are well visible and hide little of what stands there."""
    shares, hidden = [], []
    for foot in feet:
        at, inside = _pixels(matrix, foot, occupied.shape)
        shares.append(inside.mean())
        hidden.append(occupied[at[:, 1], at[:, 0]].mean() if len(at) else 1.0)
    good = max(shares) >= 0.6 and np.mean(shares) >= 0.5 and max(hidden) <= 0.2
    return float(good) + float(np.mean(shares)) / 2 - float(np.mean(hidden)) / 2


def _occupy(occupied: np.ndarray, matrix: np.ndarray, foot: Cutout) -> None:
    at, _ = _pixels(matrix, foot, occupied.shape)
    reach = max(2, round(0.06 * foot.length * _scale(matrix)))
    for x, y in at:
        occupied[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = True


def _pixels(matrix: np.ndarray, foot: Cutout, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The image's pixels x, y (n, 2) under a foot's points, and which of its points lie in the image."""
    at = np.floor(_through(matrix, foot.points)).astype(int)
    inside = np.all((at >= 0) & (at < (size[1], size[0])), 1)
    return at[inside], inside


def _through(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _scale(matrix: np.ndarray) -> float:
    """How many times a matrix (2, 3) enlarges lengths."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def _lowest(matrix: np.ndarray, foot: Cutout) -> np.ndarray:
    """Where the lowest point of a foot stands in the image."""
    return _through(matrix, foot.points[foot.points[:, 1].argmax()][None])[0]


# ---- light


def _light(rng: Rng, size: Size) -> np.ndarray:
    """How bright each pixel of the floor is lit, float32 (h, w): it falls off, and has blotches."""
    angle = rng.uniform(0, 2 * np.pi)
    rows = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, size[1], dtype=np.float32)
    light = 1 + rng.uniform(0, 0.25) * (
        columns * np.float32(np.cos(angle)) + rows * np.float32(np.sin(angle))
    )
    coarse = Image.fromarray(rng.standard_normal((5, 5), np.float32))
    light += rng.uniform(0, 0.09) * np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))
    return light * np.float32(rng.uniform(0.75, 1.1))


def _gain(rng: Rng, ground: tuple[float, float, float] | None, level: np.ndarray) -> np.ndarray:
    """What a foot's colours are multiplied by (3,), so that it seems to stand in the floor's light.

    A dark floor may be dark in bright light: brightness follows the floor's only in part, colour a little.
    """
    before = np.full(3, 110.0) if ground is None else np.maximum(ground, 12)
    brightness = np.clip((max(level.mean(), 12) / before.mean()) ** rng.uniform(0.25, 0.5), 0.6, 1.4)
    tint = (np.maximum(level, 12) / max(level.mean(), 12)) ** rng.uniform(0.05, 0.2)
    return (brightness * tint * rng.uniform(0.94, 1.06)).astype(np.float32)


def _shadows(rng: Rng, placed: Sequence[_Placed], size: Size) -> np.ndarray:
    """How much light the feet leave to each pixel of the floor, float32 (h, w).

    It is dark where soles touch the floor, narrowly and widely around; and in directed light, the same for
    all, the whole figure's shadow lies on the floor. At half size, where it costs a quarter.
    """
    half = -(-size[0] // 2), -(-size[1] // 2)
    light = np.ones(half, np.float32)
    sunny = rng.random() < 0.35
    cast = rng.uniform(0.3, 0.6) if sunny else rng.uniform(0.1, 0.3)
    cast_blur = rng.uniform(0.01, 0.02) if sunny else rng.uniform(0.05, 0.12)
    contact = rng.uniform(0.5, 0.95)
    shear = rng.uniform(-1.2, 1.2)
    squash = rng.uniform(0.1, 0.6) * rng.choice((-1, 1))
    for one in placed:
        length = one.cutout.length
        sole = float(one.cutout.points[:, 1].max())
        # In the photograph's plane: what is high above the sole lies far along the floor.
        flat = np.array([[1, -shear, shear * sole], [0, squash, sole * (1 - squash)], [0, 0, 1]])
        layers = (
            (3, flat, cast, cast_blur),
            (5, _lower(0.04 * length), 0.7 * contact, 0.05),
            (5, _lower(0.012 * length), contact, 0.015),
        )
        scale = _scale(one.matrix) / 2
        for channel, move, strength, blur in layers:
            warped = _warp(one.cutout, [channel], one.matrix @ move / 2, half)
            if warped is not None:
                layer = np.zeros(half, np.uint8)
                layer[warped[1]] = warped[0][..., 0]
                soft = Image.fromarray(layer).filter(ImageFilter.GaussianBlur(blur * length * scale))
                light *= 1 - np.asarray(soft, np.float32) * np.float32(strength / 255)
    whole = Image.fromarray(light).resize((2 * half[1], 2 * half[0]), Image.Resampling.BILINEAR)
    return np.asarray(whole)[: size[0], : size[1]]


def _lower(by: float) -> np.ndarray:
    """Moves what stands in a photograph down by so many pixels: (3, 3)."""
    return np.array([[1, 0, 0], [0, 1, by], [0, 0, 1]])


# ---- pasting


def _paste(
    canvas: np.ndarray,
    cover: np.ndarray,
    classes: np.ndarray,
    one: _Placed,
    gain: np.ndarray,
    mirrored: np.ndarray | None,
) -> None:
    """Lay a cut-out on the canvas (h, w, 3), and on the shares (h, w) and classes (h, w) of the feet."""
    warped = _warp(one.cutout, [0, 1, 2, 3], one.matrix, cover.shape)
    if warped is None:
        return
    layer, place = warped
    alpha = layer[..., 3].astype(np.float32) / 255
    kind = _warp(one.cutout, [4], one.matrix, cover.shape, nearest=True)
    assert kind is not None
    labels = kind[0][..., 0]
    if mirrored is not None and one.record["mirrored"]:
        labels = mirrored[labels]
    region = canvas[place]
    region += alpha[..., None] * (layer[..., :3] * gain - region)
    seen = cover[place] * (1 - alpha)
    classes[place] = np.where(alpha >= seen, labels, classes[place])
    cover[place] = seen + alpha


def _warp(
    foot: Cutout,
    channels: list[int],
    matrix: np.ndarray,
    size: tuple[int, ...],
    nearest: bool = False,
) -> tuple[np.ndarray, tuple[slice, slice]] | None:
    """Channels of a cut-out through a matrix (2, 3): uint8 (h, w, n) and its place; None: outside.

    One channel or four. Shrunk to less than half it is averaged first.
    """
    height, width = foot.pixels.shape[:2]
    box = np.array([(0, 0), (width, 0), (0, height), (width, height)]) + np.array((foot.left, foot.top))
    corners = _through(matrix, box)
    left, top = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int), (size[1], size[0]))
    if left >= right or top >= bottom:
        return None
    source = _channels(foot, channels)
    shrink = 1 / _scale(matrix)
    factor = 1 if nearest else max(1, int(shrink / 1.2))
    if factor > 1:
        source = source.reduce(factor)
    # From the image's region back to the cut-out's own pixels.
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    back = (
        np.diag([1 / factor, 1 / factor, 1])
        @ np.array([[1, 0, -foot.left], [0, 1, -foot.top], [0, 0, 1]])
        @ back
        @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])
    )
    how = (
        Image.Resampling.NEAREST
        if nearest
        else Image.Resampling.BILINEAR
        if shrink > 1
        else Image.Resampling.BICUBIC
    )
    region = source.transform(
        (int(right - left), int(bottom - top)), Image.Transform.AFFINE, back[:2].ravel().tolist(), how
    )
    array = np.asarray(region)
    return array.reshape(*array.shape[:2], -1), (slice(top, bottom), slice(left, right))


def _channels(foot: Cutout, channels: list[int]) -> Image.Image:
    pixels = np.ascontiguousarray(foot.pixels[..., channels])
    # RGBX, not RGBA: Pillow would multiply the colours by the opacity, and divide again, at every turn.
    mode = "L" if len(channels) == 1 else "RGBX"
    return Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())


# ---- the camera


def _camera(rng: Rng, canvas: np.ndarray) -> tuple[np.ndarray, int]:
    """Blur, colour cast, noise and the JPEG quality of the photograph: uint8 (h, w, 3)."""
    warmth, exposure = rng.normal(0, 0.04), rng.uniform(0.88, 1.15)
    canvas *= np.array([1 + warmth, 1, 1 - warmth], np.float32) * np.float32(exposure)
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
    noisy = np.asarray(image, np.float32)
    noisy = (
        noisy
        + (rng.standard_normal(noisy.shape[:2], np.float32) * np.float32(rng.uniform(0.5, 5)))[..., None]
    )
    return np.clip(noisy + 0.5, 0, 255).astype(np.uint8), int(rng.integers(60, 96))
