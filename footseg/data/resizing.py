"""How other programs bring a photograph to a network's size, each rule from its definition.

Ours is ``images.letterbox``, which ``docs/pixels.md`` specifies. These are for training on pixels that such
programs give, for measuring what they cost, and for naming the one that an app used. All are separable: a
matrix for the rows and one for the columns, with the taps of a kernel in each of their rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image
from scipy import sparse

from footseg.data.images import IGNORE, PADDING, Letterbox, Size, resize
from footseg.errors import check_known


def bilinear(source: int, target: int) -> sparse.csr_array:
    """Two taps around a pixel's centre, however much it shrinks: OpenCV's INTER_LINEAR, Skia's linear."""
    return _two_taps(_centres(source, target), source)


def align_corners(source: int, target: int) -> sparse.csr_array:
    """Two taps, the centres of the corner pixels laid on each other."""
    return _two_taps(np.arange(target) * ((source - 1) / max(target - 1, 1)), source)


def nearest(source: int, target: int) -> sparse.csr_array:
    """The pixel that a pixel's centre falls into."""
    chosen = np.minimum(np.floor(_centres(source, target) + 0.5), source - 1).astype(int)
    return sparse.csr_array((np.ones(target), (np.arange(target), chosen)), shape=(target, source))


def area(source: int, target: int) -> sparse.csr_array:
    """The mean over a pixel's area: OpenCV's INTER_AREA."""
    edges = np.arange(target + 1) * (source / target)
    pixels = np.arange(source)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return sparse.csr_array(np.maximum(covered, 0) * (target / source))


def _centres(source: int, target: int) -> np.ndarray:
    """Where the centres of ``target`` pixels lie, counted in pixels of ``source`` from the first centre."""
    return (np.arange(target) + 0.5) * (source / target) - 0.5


def _two_taps(positions: np.ndarray, source: int) -> sparse.csr_array:
    positions = np.clip(positions, 0, source - 1)
    lower = np.floor(positions).astype(int)
    upper, weight = np.minimum(lower + 1, source - 1), positions - lower
    rows = np.arange(len(positions))
    taps = np.concatenate([1 - weight, weight]), (np.tile(rows, 2), np.concatenate([lower, upper]))
    return sparse.csr_array(taps, shape=(len(positions), source))


def _separable(
    taps: Callable[[int, int], sparse.csr_array], array: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Rows, then columns, in float32; pixels are rounded once, at the end."""
    rows, columns = (
        taps(*sizes).astype(np.float32) for sizes in zip(array.shape[:2], (height, width), strict=True)
    )
    high = (rows @ array.reshape(len(array), -1).astype(np.float32)).reshape(height, *array.shape[1:])
    wide = columns @ high.swapaxes(0, 1).reshape(array.shape[1], -1)
    result = wide.reshape(width, height, *array.shape[2:]).swapaxes(0, 1)
    return np.floor(result + 0.5).clip(0, 255).astype(np.uint8) if array.dtype == np.uint8 else result


def _halved(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means of 2x2 pixels as long as both sides shrink twice or more, then two taps: Skia's mipmaps.

    What Chromium's canvas does, seen on photographs of 640x480: within two levels.
    """
    while array.shape[0] >= 2 * height and array.shape[1] >= 2 * width:
        array = _separable(area, array, array.shape[0] // 2, array.shape[1] // 2)
    return _separable(bilinear, array, height, width)


KERNELS: Mapping[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "antialiased": partial(resize, how=Image.Resampling.BILINEAR),
    "lanczos": partial(resize, how=Image.Resampling.LANCZOS),
    "halved": _halved,
    **{taps.__name__: partial(_separable, taps) for taps in (bilinear, align_corners, nearest, area)},
}
"""What scales uint8 (H, W, 3), or float32 (H, W), to a height and a width. The first is ours."""


@dataclass(frozen=True)
class Rule:
    """A way from a photograph to a canvas: the kernel's name, stretched or letterboxed in ``padding``."""

    name: str
    kernel: str = "antialiased"
    stretch: bool = False
    padding: int = PADDING

    def place(self, source: Size, size: Size) -> Letterbox:
        """Where a photograph of size ``source`` comes to lie."""
        return Letterbox.stretched(source, size) if self.stretch else Letterbox.fit(source, size)

    def canvas(self, image: np.ndarray, size: Size) -> tuple[np.ndarray, Letterbox]:
        """A uint8 photograph (H, W, 3) as a canvas (h, w, 3), and where it lies in it."""
        box = self.place((image.shape[0], image.shape[1]), size)
        return box.around(KERNELS[self.kernel](image, box.height, box.width), self.padding), box

    def mask(self, mask: np.ndarray, size: Size) -> np.ndarray:
        """The mask (H, W) of such a photograph as a canvas (h, w), 255 around it."""
        box = self.place((mask.shape[0], mask.shape[1]), size)
        return box.around(resize(mask, box.height, box.width, Image.Resampling.NEAREST), IGNORE)


RULES = {
    rule.name: rule
    for rule in (
        Rule("bilinear", "bilinear"),
        Rule("nearest", "nearest"),
        Rule("area", "area"),
        Rule("stretch", "bilinear", stretch=True),
    )
}
"""What training may draw from: the kernels that clients have, and what MediaPipe does with a photograph."""


def rule(name: str) -> Rule:
    """The rule of this name.

    Raises:
        ValueError: there is none.
    """
    check_known("no resizing", name, RULES)
    return RULES[name]
