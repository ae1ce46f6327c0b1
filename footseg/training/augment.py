"""Augmentation in two halves: ``sample`` draws the numbers, ``apply`` moves the pixels.

The numbers (an affine map, a colour map and whether to paste, 21 floats an image) are drawn with numpy
from a seed, so the random stream is the same on every backend and after a resume. The pixels are moved
with ``keras.ops`` inside the compiled training step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from footseg.data.images import IGNORE

Tensor = Any

# ITU-R BT.601 luma: what saturation turns the image towards.
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Augmentation:
    """How strongly to augment. ``Augmentation(0, 0, 0, 0, 0)`` changes nothing.

    ``flip`` is the probability of mirroring left to right. ``affine`` is the side of the corner
    cells as a share of the image: 1/3 is the thesis's (section 3.1.1), 0 leaves the geometry alone.
    ``zoom_out`` lets the sampled corners leave the image by up to this share of its side, which the
    thesis does not do: its median zoom of 1.5 never shows the network an object smaller than in the
    data. ``colour`` is the half-width of brightness, contrast and saturation changes (0.3: 0.7 to
    1.3 times), ``hue`` that of a rotation about the grey axis, in turns.
    """

    flip: float = 0.5
    affine: float = 1 / 3
    zoom_out: float = 0.0
    colour: float = 0.3
    hue: float = 0.02
    paste: float = 0.0

    def __post_init__(self) -> None:
        limits = {"flip": 1.0, "affine": 0.5, "zoom_out": 0.5, "colour": 1.0, "hue": 0.5, "paste": 1.0}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"augmentation {name} is between 0 and {most}, not {getattr(self, name)}")


def sample(
    augmentation: Augmentation,
    count: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    mirrored: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Draw ``count`` augmentations for images of ``size`` (H, W).

    ``mirrored`` uint8 (256,) is the class that each becomes in a mirrored image; None where all stay.

    Returns:
        ``affine`` (count, 8): output pixel -> source pixel, in the order of Keras's ``affine_transform``;
        ``colour`` (count, 3, 4): RGB in [0, 1] -> RGB, the last column added;
        ``paste`` (count,): 1 where the next image's foreground is pasted in, where anything is pasted at all;
        ``classes`` (count, 256): the class that each becomes, where any is ``mirrored`` into another.
    """
    affine, flipped = _affine(augmentation, count, size, rng)
    drawn = {
        "affine": affine.astype(np.float32),
        "colour": _colour(augmentation, count, rng).astype(np.float32),
    }
    if augmentation.paste:
        drawn["paste"] = (rng.uniform(size=count) < augmentation.paste).astype(np.float32)
    if mirrored is not None:
        drawn["classes"] = np.where(flipped[:, None], mirrored, np.arange(256)).astype(np.int32)
    return drawn


def apply(images: Tensor, masks: Tensor, drawn: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Augment uint8 images (N, H, W, 3) and masks (N, H, W); returns float32 in [0, 1] and int32.

    Images are sampled bilinearly with mirrored edges, masks by nearest neighbour with ``IGNORE``
    outside, so that a thing mirrored in at the edge is not taught as background.
    """
    from keras import ops

    images = ops.cast(images, "float32") / 255.0
    images = ops.image.affine_transform(
        images, drawn["affine"], interpolation="bilinear", fill_mode="reflect", data_format="channels_last"
    )
    masks = ops.image.affine_transform(
        ops.cast(masks, "float32")[..., None],
        drawn["affine"],
        interpolation="nearest",
        fill_mode="constant",
        fill_value=float(IGNORE),
        data_format="channels_last",
    )[..., 0]
    masks = ops.cast(masks, "int32")
    if "classes" in drawn:
        height, width = masks.shape[1], masks.shape[2]
        flat = ops.take_along_axis(drawn["classes"], ops.reshape(masks, (-1, height * width)), axis=1)
        masks = ops.reshape(flat, (-1, height, width))
    if "paste" in drawn:
        images, masks = _paste(images, masks, drawn["paste"])
    matrix, offset = drawn["colour"][:, :, :3], drawn["colour"][:, :, 3]
    height, width = images.shape[1], images.shape[2]
    # As one matrix product an image: 0.5 ms for 16 images where an einsum over pixels took 9.
    pixels = ops.matmul(ops.reshape(images, (-1, height * width, 3)), ops.transpose(matrix, (0, 2, 1)))
    images = ops.reshape(pixels, (-1, height, width, 3)) + offset[:, None, None, :]
    return ops.clip(images, 0.0, 1.0), masks


def _paste(images: Tensor, masks: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Copy the foreground of each image's neighbour in the batch into it, where ``chosen`` is 1.

    The seam is blended over three pixels: a hard one is an edge that the network learns to look for.
    """
    from keras import ops

    other_images, other_masks = ops.roll(images, -1, axis=0), ops.roll(masks, -1, axis=0)
    foreground = ops.logical_and(other_masks > 0, ops.not_equal(other_masks, IGNORE))
    shape = ops.cast(foreground, images.dtype)[..., None] * chosen[:, None, None, None]
    alpha = ops.average_pool(shape, 3, strides=1, padding="same")
    masks = ops.where(shape[..., 0] > 0, other_masks, masks)
    return alpha * other_images + (1 - alpha) * images, masks


def corner_affine(corners: np.ndarray) -> np.ndarray:
    """The least-squares affine through four corner points, in closed form.

    Four pairs are eight equations for six unknowns. For a rectangular target the least-squares map
    sends its corners to the parallelogram TL - r, TR + r, BL + r, BR - r with r = (TL - TR - BL + BR) / 4:
    the residual is shared evenly, where three exact corners would put all of it on the fourth.

    Args:
        corners: (N, 4, 2) source points (x, y) of the output's TL, TR, BL, BR corners, in the unit square.

    Returns:
        (N, 2, 3): (u, v, 1) in the output's unit square -> (x, y) in the source's.
    """
    tl, tr, bl, br = (corners[:, i] for i in range(4))
    residual = (tl - tr - bl + br) / 4
    origin = tl - residual
    return np.stack([tr + residual - origin, bl + residual - origin, origin], axis=-1)


def _affine(
    augmentation: Augmentation, count: int, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The maps (count, 8), and which of them mirror: bool (count,)."""
    height, width = size
    low, high = -augmentation.zoom_out, augmentation.affine
    if augmentation.affine or augmentation.zoom_out:
        near = rng.uniform(low, high, (count, 4, 2))  # distance inwards from each corner
    else:
        near = np.zeros((count, 4, 2))
    inwards = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    unit = corner_affine(np.where(inwards == 1, 1 - near, near))
    flipped = rng.uniform(size=count) < augmentation.flip
    unit[flipped, :, 2] += unit[flipped, :, 0]  # u -> 1 - u
    unit[flipped, :, 0] *= -1
    # From the unit square to pixel centres: x = (column + 0.5) / width.
    scale = np.array([width, height], float)
    linear = unit[:, :, :2] * scale[None, :, None] / scale[None, None, :]
    offset = unit[:, :, 2] * scale + linear @ np.array([0.5, 0.5]) - 0.5
    rows = np.concatenate([linear, offset[:, :, None]], axis=2)  # (N, 2, 3)
    return np.concatenate([rows.reshape(count, 6), np.zeros((count, 2))], axis=1), flipped


def _colour(augmentation: Augmentation, count: int, rng: np.random.Generator) -> np.ndarray:
    c = augmentation.colour
    brightness, contrast, saturation = rng.uniform(1 - c, 1 + c, (3, count, 1, 1))
    angle = rng.uniform(-1, 1, (count, 1, 1)) * augmentation.hue * 2 * np.pi
    grey = np.broadcast_to(LUMA, (3, 3))
    # Rodrigues' rotation about (1, 1, 1): hue turns, grey stays.
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) * axis + np.sin(angle) * cross
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * grey) @ turn
    offset = np.broadcast_to(0.5 * (1 - contrast) * brightness, (count, 3, 1))
    return np.concatenate([matrix, offset], axis=2)
