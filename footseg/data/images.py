"""One photograph or one mask: between disk and array, and between its own size and a network's."""

import functools
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from footseg import files
from footseg.errors import FootsegError

IGNORE = 255
"""The mask value of a pixel that counts neither in the loss nor in a score."""

FIX_FLAG = "footseg data check DIR --fix"

PADDING = 128
"""Mid grey, 0.5 after scaling to [0, 1]: the canvas around a letterboxed photograph."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif")

MEGAPIXELS = "FOOTSEG_MAX_MEGAPIXELS"
"""The environment variable that sets how large an image may be."""

LARGEST_MEGAPIXELS = 110
"""A 108-megapixel phone's; predicting one takes 3 GB. A PNG of 50 kB may unpack to any number."""

# Ours is checked in open_image, in one sentence; Pillow's would warn in its own words from 89 million on.
Image.MAX_IMAGE_PIXELS = None

Size = tuple[int, int]
"""(height, width) in pixels."""

Colours = Sequence[tuple[int, int, int]]
"""One RGB colour a class, 0 to 255; the first belongs to the background and is not painted."""


class BadFileError(FootsegError):
    """An image or mask that cannot be used: ``kind`` in a word, the ``problem``, and how to ``fix`` it."""

    def __init__(self, path: Path, kind: str, problem: str, fix: str) -> None:
        super().__init__(f"{path}: {problem}; {fix}")
        self.path, self.kind, self.problem, self.fix = path, kind, problem, fix


# ---- reading


def read_image(path: Path) -> np.ndarray:
    """Read a photograph as uint8 (H, W, 3) RGB, turned upright by its EXIF orientation.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB; transparency is laid on white. Colour profiles
    are not applied: neither does the phone that will feed the network.

    Raises:
        BadFileError: unreadable or truncated ("unreadable").
    """
    return _rgb(ImageOps.exif_transpose(open_image(path)))


def read_mask(path: Path, classes: int) -> np.ndarray:
    """Read a mask as uint8 (H, W): each pixel a class index in [0, classes), or 255 = ignored.

    The indices of a palette PNG are its mask. A mask of only 0 and 255 is taken for a black and white
    drawing of the foreground, not for one without any and with ignored pixels.

    Raises:
        BadFileError: "unreadable", "jpeg" (lossy: indices change), "colour" (more than one channel),
            "0/255", or "index" (an index of no class).
    """
    image, bad = open_image(path), functools.partial(BadFileError, path)
    if image.format == "JPEG":
        lossy = "a JPEG mask: lossy compression changes class indices"
        raise bad("jpeg", lossy, f"{FIX_FLAG}, or export it as PNG")
    if len(image.getbands()) > 1:
        channels = f"a mask of {len(image.getbands())} channels ({image.mode}), not of class indices"
        raise bad("colour", channels, f"{FIX_FLAG}, or export it as a single-channel PNG")
    indices = np.array(image)
    values = np.unique(indices)
    if np.array_equal(values, (0, IGNORE)):
        drawing = "a black and white mask (0 and 255), but 255 means ignored"
        raise bad("0/255", drawing, f"{FIX_FLAG} turns 255 into class 1")
    unknown = values[(values >= classes) & (values != IGNORE) | (values < 0)]
    if unknown.size:
        named = ", ".join(f"{value:g}" for value in unknown[:5]) + (", ..." if unknown.size > 5 else "")
        known = f"where there are {classes} classes (0 to {classes - 1}, and 255 = ignored)"
        fix = "correct the mask, or name all classes in dataset.toml"
        raise bad("index", f"class index {named} {known}", fix)
    return indices.astype(np.uint8)


def open_image(path: Path) -> Image.Image:
    """Open and decode an image file; a JPEG's missing end is only seen by decoding it.

    Raises:
        BadFileError: unreadable or truncated ("unreadable").
    """
    bad = functools.partial(BadFileError, path, "unreadable")
    again = "copy it again from its source, or remove it"
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise bad("a folder, a pipe or a device, no file", "give image files")
        # From memory: Pillow leaves the file of a damaged image open.
        image = Image.open(io.BytesIO(path.read_bytes()))
        if image.width * image.height > most_pixels():
            raise bad(
                f"{image.width * image.height / 1e6:.1f} million pixels, more than {most_pixels() / 1e6:g}",
                f"scale it down first, or set {MEGAPIXELS}",
            )
        image.load()
    except FileNotFoundError as error:
        raise bad("no such file", "check the path") from error
    except UnidentifiedImageError as error:
        heic = "save it as JPEG first (on an iPhone: Settings, Camera, Formats, Most Compatible)"
        fix = heic if path.suffix.lower() in (".heic", ".heif") else again
        raise bad("not an image that can be read", fix) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, MemoryError) as error:
        # Pillow lets each of these out of a damaged file, depending on the format and the place.
        raise bad(f"damaged or cut off ({error or type(error).__name__})", again) from error
    return image


def most_pixels() -> int:
    """How many pixels an image may have.

    Raises:
        FootsegError: the environment variable is no positive number.
    """
    given = os.environ.get(MEGAPIXELS, str(LARGEST_MEGAPIXELS))
    try:
        limit = float(given)
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise FootsegError(f"{MEGAPIXELS} is {given!r}: set it to a number of million pixels, as 200")
    return int(limit * 1e6)


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bit(np.array(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _eight_bit(grey: np.ndarray) -> np.ndarray:
    """16-bit integers, or floats in [0, 1] or [0, 255], as uint8."""
    if grey.dtype.kind == "f":
        grey = np.nan_to_num(grey)
        return np.clip(grey * (255 if grey.max() <= 1 else 1), 0, 255).round().astype(np.uint8)
    return (np.clip(grey, 0, 65535) // 256).astype(np.uint8)


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


def encode(array: np.ndarray, suffix: str, quality: int = 90) -> bytes:
    """A file's bytes of uint8 (H, W, 3) or (H, W) as JPEG or PNG, by the suffix.

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
    Image.fromarray(array).save(encoded, formats[suffix.lower()], quality=quality)
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
