"""Floors to stand on: pictures of any size, repeated where they tile, seen by a tilted camera."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from footseg.data.images import Size, read_image
from footseg.data.opening import IMAGE_SUFFIXES

Rng = np.random.Generator


@dataclass(frozen=True)
class Floor:
    """A picture uint8 (h, w, 3), and whether its opposite edges fit together."""

    pixels: np.ndarray
    seamless: bool


def find_pictures(folder: Path) -> list[Path]:
    """All image files in a folder and the folders in it, sorted."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    ]


def prepare(path: Path, longest: int) -> np.ndarray:
    """Read a picture, scaled down to ``longest`` pixels a side: uint8 (h, w, 3).

    Raises:
        BadFileError: unreadable.
    """
    image = Image.fromarray(read_image(path))
    image.thumbnail((longest, longest), Image.Resampling.BOX)
    return np.asarray(image)


def tiles(pixels: np.ndarray) -> bool:
    """Whether a picture's opposite edges differ no more than its neighbouring rows and columns do."""
    levels = pixels.astype(np.float32)
    for axis in (0, 1):
        seam = np.abs(np.take(levels, 0, axis) - np.take(levels, -1, axis)).mean()
        if seam > 2 * np.abs(np.diff(levels, axis=axis)).mean() + 3:
            return False
    return True


def view(rng: Rng, floor: Floor, size: Size, roll: float) -> tuple[np.ndarray, np.ndarray]:
    """A camera's picture of a floor, uint8 (h, w, 3), and the homography (3, 3) from it to the floor.

    Tiles are repeated and seen from straight above to lying 60 degrees aslant, the camera turned by
    ``roll``; a picture that does not tile is taken as it was photographed, a part of it.
    """
    height, width = floor.pixels.shape[:2]
    unit = min(size)
    repeated = floor.seamless or min(height, width) < unit / 2
    if repeated:
        # Output pixels for one of the floor's: enlarged much more, a floor looks out of focus.
        zoom = rng.uniform(0.75, 1.6) * np.clip(unit / 256, 0.5, 2) * (128 / max(128, min(height, width) / 2))
        tilt, turn = np.radians(rng.triangular(0, 50, 62)), rng.uniform(0, 2 * np.pi)
        if rng.random() < 0.5:  # joints of tiles and planks often run along or across the view
            turn = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.08)
    else:
        zoom = unit / min(height, width) * rng.uniform(1, 2)
        tilt, turn, roll = rng.uniform(0, 0.3), rng.normal(0, 0.1), 0.0
    homography = camera(size, zoom, tilt, turn, roll, focal=rng.uniform(1.2, 3))
    span = _span(homography, size)
    slack = np.maximum((width, height) - (span[1] - span[0]), 0)
    offset = rng.random(2) * ((width, height) if repeated else slack) - span[0]
    homography = np.array([[1, 0, offset[0]], [0, 1, offset[1]], [0, 0, 1]]) @ homography
    if rng.random() < 0.5:
        homography = np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1]]) @ homography
    return sample(floor, homography, size), homography


def camera(size: Size, zoom: float, tilt: float, turn: float, roll: float, focal: float) -> np.ndarray:
    """Homography (3, 3) from a picture's pixels to a floor's, that of the picture's middle at (0, 0).

    The camera looks down, ``tilt`` radians from the vertical, its ``focal`` length in units of the
    shorter side; in the middle, across the view, the floor is enlarged ``zoom`` times.
    """
    unit = min(size)
    cos, sin = np.cos, np.sin
    middle = np.array([[1 / unit, 0, -size[1] / 2 / unit], [0, 1 / unit, -size[0] / 2 / unit], [0, 0, 1]])
    rolled = np.array([[cos(roll), sin(roll), 0], [-sin(roll), cos(roll), 0], [0, 0, 1]])
    ground = np.array([[1, 0, 0], [0, cos(tilt), -focal * sin(tilt)], [0, sin(tilt), focal * cos(tilt)]])
    # What the axis of the camera meets lies at y = -tan(tilt): moved to the origin, then scaled.
    origin = np.array([[1, 0, 0], [0, 1, np.tan(tilt)], [0, 0, 1]])
    scale = focal * cos(tilt) * unit / zoom
    turned = np.array([[cos(turn), -sin(turn), 0], [sin(turn), cos(turn), 0], [0, 0, 1]])
    return turned @ np.diag([scale, scale, 1]) @ origin @ ground @ rolled @ middle


def _span(homography: np.ndarray, size: Size) -> np.ndarray:
    """The least and the greatest x, y (2, 2) on the floor that the picture shows."""
    corners = np.array([(0, 0, 1), (size[1], 0, 1), (0, size[0], 1), (size[1], size[0], 1)]) @ homography.T
    places = corners[:, :2] / corners[:, 2:]
    return np.stack([places.min(0), places.max(0)])


def sample(floor: Floor, homography: np.ndarray, size: Size) -> np.ndarray:
    """The floor through a homography from picture to floor: uint8 (h, w, 3).

    Beyond its edges it is repeated, mirrored where it does not tile. Where the floor is shrunk it is
    averaged first.
    """
    span = _span(homography, size)
    shrunk = np.sqrt(np.prod(np.maximum(span[1] - span[0], 1)) / (size[0] * size[1]))
    factor = max(1, round(float(shrunk)))
    start = np.floor(span[0] / factor).astype(int) - 2
    stop = np.ceil(span[1] / factor).astype(int) + 3
    source = floor.pixels
    if factor > 1:
        source = np.asarray(Image.fromarray(source).reduce(factor))
    columns, rows = (
        _wrapped(np.arange(a, b), extent, floor.seamless)
        for a, b, extent in zip(start, stop, source.shape[1::-1], strict=True)
    )
    patch = Image.fromarray(source[rows[:, None], columns])
    to_patch = np.array([[1 / factor, 0, -start[0]], [0, 1 / factor, -start[1]], [0, 0, 1]]) @ homography
    coefficients = (to_patch / to_patch[2, 2]).ravel()[:8]
    return np.asarray(
        patch.transform(
            (size[1], size[0]), Image.Transform.PERSPECTIVE, coefficients.tolist(), Image.Resampling.BILINEAR
        )
    )


def _wrapped(at: np.ndarray, extent: int, seamless: bool) -> np.ndarray:
    if seamless:
        return at % extent
    folded = at % (2 * extent)
    return np.where(folded < extent, folded, 2 * extent - 1 - folded)
