"""Masks drawn on photographs without their EXIF orientation, where sizes cannot tell: square, or upside down.

An outline that was drawn on what is to be seen lies on edges of the photograph. So each mask is laid on its
photograph as it is, and turned as the photograph was; the data set as a whole says which fits. Of 335 masks
of feet, clothes, streets and vessels none fitted better by 180 degrees, mirrored or, squares of them, by 90.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from footseg.data.masks import Mask
from footseg.data.opening import TURNS

SIDE = 256
"""Pixels of the longer side at which they are compared."""
BETTER = 1.15
"""How much steeper, in the middle of all such photographs, edges are under the turned outlines."""
SHARE = 0.7
"""How many must say so. In the four sets the middle of masks that had been turned was 1.7 to 3.3."""
ADVICE = "look at footseg data preview; turn these masks, or take the orientation away"


def fits_turned(picture: Image.Image, mask: Mask, orientation: int) -> float | None:
    """How much steeper the edges of a ``picture`` are under the mask's outline if it is turned.

    The picture is RGB and upright, of the size of the mask. None where it had no turn, the mask has one of
    its own, or shows no outline.
    """
    if orientation not in TURNS or mask.oriented:
        return None
    width, height = (max(1, round(side * SIDE / max(picture.size))) for side in picture.size)
    grey = np.asarray(picture.convert("L").resize((width, height), Image.Resampling.BOX), np.float32)
    labels = Image.fromarray(mask.classes).resize((width, height), Image.Resampling.NEAREST)
    edges = ndimage.gaussian_gradient_magnitude(grey, 1.0, mode="nearest")
    as_is, turned = (_under(edges, np.asarray(m)) for m in (labels, labels.transpose(TURNS[orientation])))
    return turned / as_is if as_is and turned else None


def _under(edges: np.ndarray, mask: np.ndarray) -> float:
    """The mean of ``edges`` along the outline of a mask, both (h, w)."""
    outline = ndimage.maximum_filter(mask, 3) != ndimage.minimum_filter(mask, 3)
    return float(edges[outline].mean()) if outline.any() else 0.0


def drawn_unturned(ratios: Sequence[float]) -> str:
    """What the ratios of a split say where its masks were drawn on unturned photographs; else ""."""
    better = sum(ratio > 1 for ratio in ratios)
    if not ratios or np.median(ratios) <= BETTER or better < SHARE * len(ratios):
        return ""
    return (
        f"{better} of {len(ratios)} masks whose photograph has an EXIF orientation that sizes do not show "
        "fit it better unturned"
    )
