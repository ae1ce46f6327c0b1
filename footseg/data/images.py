"""One photograph or one mask: between disk and array, and between its own size and a network's."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from scipy import ndimage

from footseg import files
from footseg.data.opening import BadFileError, Opened, open_image

IGNORE = 255
"""The mask value of a pixel that counts neither in the loss nor in a score."""

FIX_FLAG = "footseg data check DIR --fix"

PADDING = 128
"""Mid grey, 0.5 after scaling to [0, 1]: the canvas around a letterboxed photograph."""

Size = tuple[int, int]
"""(height, width) in pixels."""

Colours = Sequence[tuple[int, int, int]]
"""One RGB colour a class, 0 to 255; the first belongs to the background and is not painted."""


# ---- reading


def read_image(path: Path) -> np.ndarray:
    """Read a photograph as uint8 (H, W, 3) RGB, turned upright by its EXIF orientation.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB; transparency is laid on white. Colour profiles
    are not applied: neither does the phone that will feed the network. What is odd about the file is said
    on standard error.

    Raises:
        BadFileError: unreadable or truncated ("unreadable"), or of values that nothing says how to show
            ("values").
    """
    opened = open_image(path)
    opened.say()
    return np.array(rgb(opened))


def rgb(opened: Opened) -> Image.Image:
    """The RGB picture of ``read_image``.

    Raises:
        BadFileError: as ``read_image``.
    """
    image = opened.upright()
    try:
        if image.mode.startswith("I") or image.mode == "F":
            image = Image.fromarray(_eight_bit(opened.path, np.array(image), opened.top))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image if image.mode == "RGB" else image.convert("RGB")
    except BadFileError:
        raise
    except Exception as error:  # whatever a palette's or a transparency's junk makes Pillow raise
        raise BadFileError(opened.path, "unreadable", f"damaged ({error})", "copy it again") from error
    # Pillow keeps the upper byte of 16 bits; where only lower ones are used, little or nothing is left.
    if ";16" in opened.raw and np.asarray(image).max() < DARK >> 8:
        raise _unclear(opened.path, f"a colour image of 16 bits whose values are all below {DARK}")
    return image


DARK = 1 << 14
"""Below this, 16 bits may be a dark photograph, or hold one of 10, 12 or 14 bits: nothing in it tells."""


def _eight_bit(path: Path, grey: np.ndarray, top: int | None) -> np.ndarray:
    """Integers of up to 16 bits, or floats in [0, 1] or [0, 255], as uint8; ``top`` is a declared white."""
    if not np.isfinite(grey).all():
        raise _unclear(path, "an image with values that are no numbers (NaN or infinity)")
    low, high = grey.min(), grey.max()
    if grey.dtype.kind == "f":
        whole = high > 1 and (grey == np.round(grey)).all()
        if low < 0 or high > 255 or (1 < high < 32 and not whole):
            raise _unclear(path, f"a float image with values from {low:g} to {high:g}")
        return (grey * (255 if high <= 1 else 1)).round().astype(np.uint8)
    if low < 0 or high > 65535:
        raise _unclear(path, f"an image with values from {low} to {high}")
    if top is not None and high <= top:
        return (grey.astype(np.uint32) * 255 // top).astype(np.uint8)
    if high <= 255:
        return grey.astype(np.uint8)
    if high < DARK:
        raise _unclear(path, f"an image of more than 8 bits whose largest value is {high}")
    return (grey >> 8).astype(np.uint8)


def _unclear(path: Path, what: str) -> BadFileError:
    return BadFileError(
        path, "values", f"{what}: nothing says which of them is white", "convert it to 8 bits a channel"
    )


# ---- between a photograph's own size and a network's


@dataclass(frozen=True)
class Letterbox:
    """Where a photograph of size ``source`` lies in a canvas of size ``size``; both (height, width)."""

    source: Size
    size: Size
    top: int
    left: int
    height: int
    width: int

    @classmethod
    def fit(cls, source: Size, size: Size) -> "Letterbox":
        """The largest centred place with the photograph's aspect ratio, never thinner than one pixel."""
        if min(*source, *size) < 1:
            raise ValueError(f"sizes must be at least 1 pixel, got source {source} and size {size}")
        scale = min(size[0] / source[0], size[1] / source[1])
        height, width = (
            min(max(round(extent * scale), 1), limit) for extent, limit in zip(source, size, strict=True)
        )
        return cls(source, size, (size[0] - height) // 2, (size[1] - width) // 2, height, width)

    @classmethod
    def stretched(cls, source: Size, size: Size) -> "Letterbox":
        """The whole canvas, whatever becomes of the photograph's aspect ratio."""
        return cls(source, size, 0, 0, *size)

    @property
    def place(self) -> tuple[slice, slice]:
        """The photograph's rows and columns in the canvas."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def around(self, inside: np.ndarray, padding: int) -> np.ndarray:
        """A canvas (h, w, ...) of ``padding`` with ``inside`` (height, width, ...) in its place."""
        canvas = np.full((*self.size, *inside.shape[2:]), padding, inside.dtype)
        canvas[self.place] = inside
        return canvas


def letterbox(image: np.ndarray, size: Size) -> tuple[np.ndarray, Letterbox]:
    """Scale uint8 (H, W, 3) into a uint8 canvas (h, w, 3): antialiased bilinear, centred, grey around."""
    box = Letterbox.fit(_height_width(image), size)
    return box.around(resize(image, box.height, box.width, Image.Resampling.BILINEAR), PADDING), box


def letterbox_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """Scale a uint8 mask (H, W) into (h, w) as ``letterbox`` does its photograph: nearest, 255 around."""
    box = Letterbox.fit(_height_width(mask), size)
    return box.around(resize(mask, box.height, box.width, Image.Resampling.NEAREST), IGNORE)


def unletterbox_logits(logits: np.ndarray, box: Letterbox) -> np.ndarray:
    """Bring logits (h, w, C) back to the photograph: float32 (H, W, C), bilinear, the padding cut away.

    Raises:
        ValueError: the logits are not of the canvas's size.
    """
    if logits.ndim != 3 or _height_width(logits) != box.size:
        raise ValueError(f"logits must be {(*box.size, 'C')} as the letterbox is, got {logits.shape}")
    inside = np.asarray(logits[box.place], np.float32)
    result = np.empty((*box.source, logits.shape[2]), np.float32)
    for channel in range(logits.shape[2]):
        result[..., channel] = resize(inside[..., channel], *box.source, Image.Resampling.BILINEAR)
    return result


def unletterbox_mask(mask: np.ndarray, box: Letterbox) -> np.ndarray:
    """Bring a mask uint8 (h, w) back to the photograph: uint8 (H, W), nearest, the padding cut away.

    Raises:
        ValueError: the mask is not of the canvas's size.
    """
    if mask.shape != box.size:
        raise ValueError(f"the mask must be {box.size} as the letterbox is, got {mask.shape}")
    return resize(mask[box.place], *box.source, Image.Resampling.NEAREST)


def _height_width(array: np.ndarray) -> Size:
    return array.shape[0], array.shape[1]


def resize(array: np.ndarray, height: int, width: int, how: Image.Resampling) -> np.ndarray:
    """Pillow's resize: pixel centres at half coordinates, antialiased where it shrinks (except nearest)."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize((width, height), how))


# ---- showing and writing


def overlay(image: np.ndarray, mask: np.ndarray, colours: Colours, alpha: float = 0.5) -> np.ndarray:
    """Paint a mask (H, W) on its uint8 photograph (H, W, 3).

    Classes from 1 up get a veil of their colour, ``alpha`` in [0, 1] dense, and a solid outline;
    ignored pixels are hatched in grey.

    Raises:
        ValueError: image and mask differ in size, or a class has no colour.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image {image.shape[:2]} and mask {mask.shape} must be of one size")
    known = mask != IGNORE
    if known.any() and int(mask[known].max()) >= len(colours):
        raise ValueError(f"the mask has class {int(mask[known].max())}, but there are {len(colours)} colours")
    paint = np.zeros((256, 3), np.float32)
    paint[: len(colours)] = np.array(colours)
    density = np.zeros(256, np.float32)
    density[1 : len(colours)] = alpha

    indices = mask.astype(np.uint8)
    veil = density[indices]
    line = max(1, round(min(mask.shape) / 250))
    if not known.all():
        rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
        paint[IGNORE] = 90
        veil[~known] = np.where((rows + columns) // (2 * line) % 3 == 0, 0.75, 0.3)[~known]
    inner = ndimage.minimum_filter(indices, size=2 * line + 1) != indices
    outer = ndimage.maximum_filter(indices, size=2 * line + 1) != indices
    veil[(inner | outer) & known & (indices > 0)] = 1.0
    painted = veil > 0
    veil = veil[painted][:, None]
    result = image.copy()
    result[painted] = (image[painted] * (1 - veil) + paint[indices[painted]] * veil).round()
    return result


def write_image(path: Path, array: np.ndarray, quality: int = 90) -> None:
    """Write uint8 (H, W, 3) or (H, W) as JPEG or PNG, by the suffix, atomically.

    Raises:
        ValueError: another suffix or another kind of array.
        FootsegError: the disk is full.
    """
    files.write_bytes(path, encode(array, path.suffix, quality))


def encode(array: np.ndarray, suffix: str, quality: int = 90, comment: str = "") -> bytes:
    """A file's bytes of uint8 (H, W, 3) or (H, W) as JPEG or PNG, by the suffix, with a comment in ASCII.

    Raises:
        ValueError: another suffix or another kind of array.
    """
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
    if suffix.lower() not in formats:
        raise ValueError(f"an image is written as .jpg or .png, got {suffix!r}")
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"an image is uint8 (H, W, 3) or (H, W), got {array.dtype} {array.shape}")
    # Encoded in memory first: Pillow's own file writing hides the reason when the disk is full.
    encoded = io.BytesIO()
    text = PngImagePlugin.PngInfo()
    if comment:
        text.add_text("Comment", comment)
    options: dict[str, Any] = {"pnginfo": text} if suffix.lower() == ".png" else {"quality": quality}
    if comment and suffix.lower() != ".png":
        options["comment"] = comment.encode()
    Image.fromarray(array).save(encoded, formats[suffix.lower()], **options)
    return encoded.getvalue()


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write uint8 class indices (H, W) as a single-channel PNG, atomically.

    Raises:
        ValueError: a suffix other than .png, or another kind of array.
        FootsegError: the disk is full.
    """
    if path.suffix.lower() != ".png" or mask.ndim != 2:
        raise ValueError(f"a mask is (H, W) in a .png file, got {mask.shape} and {path.name!r}")
    write_image(path, mask)
