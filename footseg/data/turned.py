"""Masks drawn on photographs without their EXIF orientation, where sizes cannot tell: square, or upside down.

An outline that was drawn on what is to be seen lies on edges of the photograph. So each mask is laid on its
photograph as it is, and turned as the photograph was; the data set as a whole says which fits.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from footseg.data.opening import TURNS

SIDE = 256
"""Pixels of the longer side at which they are compared."""
BETTER = 1.15
"""How much steeper, in the middle of all such photographs, edges are under the turned outlines."""
SHARE = 0.7
"""How many of them must say so."""


def fits_turned(picture: Image.Image, classes: np.ndarray, orientation: int) -> float | None:
    """How much steeper the edges of a ``picture`` are under its mask's outline if that is turned.

    The picture is RGB and upright. The mask is uint8 (H, W), of its size. None where there is no outline.
    """
    width, height = (max(1, round(side * SIDE / max(picture.size))) for side in picture.size)
    grey = np.asarray(picture.convert("L").resize((width, height), Image.Resampling.BOX), np.float32)
    mask = Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST)
    edges = ndimage.gaussian_gradient_magnitude(grey, 1.0, mode="nearest")
    as_is, turned = (_under(edges, np.asarray(one)) for one in (mask, mask.transpose(TURNS[orientation])))
    return turned / as_is if as_is and turned else None


def _under(edges: np.ndarray, mask: np.ndarray) -> float:
    """The mean of ``edges`` along the outline of a mask, both (h, w)."""
    outline = ndimage.maximum_filter(mask, 3) != ndimage.minimum_filter(mask, 3)
    return float(edges[outline].mean()) if outline.any() else 0.0


def drawn_unturned(ratios: Sequence[float]) -> bool:
    """Whether the ratios of a data set say that its masks were drawn on unturned photographs."""
    return bool(ratios) and bool(np.median(ratios) > BETTER and np.mean(np.array(ratios) > 1) >= SHARE)
