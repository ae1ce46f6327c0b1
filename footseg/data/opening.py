"""Open an image file of anybody's: its pixels, how they are stored, and what is odd about it.

Metadata never decides whether pixels can be read: what is junk is left aside, and said.
"""

import functools
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError, features

from footseg.data.stripping import bare
from footseg.errors import FootsegError
from footseg.terminal import counted, note

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif"),
    *((".avif",) if features.check("avif") else ()),
)

MEGAPIXELS = "FOOTSEG_MAX_MEGAPIXELS"
"""The environment variable that sets how large an image may be."""

LARGEST_MEGAPIXELS = 110
"""A 108-megapixel phone's; predicting one takes 3 GB. A PNG of 50 kB may unpack to any number."""

# Ours is checked in open_image, in one sentence; Pillow's would warn in its own words from 89 million on.
Image.MAX_IMAGE_PIXELS = None
# What Pillow says of damaged metadata names no file, and takes two lines for it.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

ORIENTATION = 0x0112
"""The EXIF tag that says how a photograph is to be turned: 1 (not at all) to 8."""

EMPTY_EXIF = 32
"""More bytes of EXIF than these hold something."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Several pictures in one file that are no animation and no stack: a phone's photograph and its preview.
ONE_PICTURE = ("MPO", "JPEG")


class BadFileError(FootsegError):
    """An image or mask that cannot be used: ``kind`` in a word, the ``problem``, and how to ``fix`` it."""

    def __init__(self, path: Path, kind: str, problem: str, fix: str) -> None:
        super().__init__(f"{path}: {problem}; {fix}")
        self.path, self.kind, self.problem, self.fix = path, kind, problem, fix


@dataclass(frozen=True)
class Opened:
    """A decoded image file, its pixels as they are stored.

    ``orientation`` is EXIF's, 1 to 8; ``raw`` is what Pillow calls the stored layout ("RGB;16B"), "" where it
    has no name for it; ``top`` is the value of white that the file declares, None where it does not;
    ``frames`` counts pictures, of which ``image`` is the first; ``notes`` say what is odd.
    """

    path: Path
    image: Image.Image
    orientation: int
    raw: str
    top: int | None
    lossy: bool
    frames: int
    notes: tuple[str, ...] = ()

    def upright(self) -> Image.Image:
        """The image as its orientation says it is to be seen."""
        turn = TURNS.get(self.orientation)
        return self.image if turn is None else self.image.transpose(turn)

    def say(self) -> None:
        """Each of ``notes`` on standard error, in a line that names the file."""
        for text in self.notes:
            note(f"{self.path}: {text}")


def open_image(path: Path) -> Opened:
    """Open and decode an image file; a JPEG's missing end is only seen by decoding it.

    Raises:
        BadFileError: unreadable or truncated ("unreadable").
    """
    bad = functools.partial(BadFileError, path, "unreadable")
    again = "copy it again from its source, or remove it"
    data = _bytes(path)
    try:
        return _decoded(path, data)
    except BadFileError:
        raise
    except Exception as error:  # Pillow lets anything out of a damaged file, depending on format and place
        whole = bare(data)
        if whole != data:
            try:
                return _decoded(path, whole, "its metadata is damaged: read without")
            except Exception:
                pass
        if isinstance(error, UnidentifiedImageError):
            heic = "save it as JPEG first (on an iPhone: Settings, Camera, Formats, Most Compatible)"
            fix = heic if path.suffix.lower() in (".heic", ".heif") else again
            raise bad("not an image that can be read", fix) from error
        raise bad(f"damaged or cut off ({error or type(error).__name__})", again) from error


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


def _bytes(path: Path) -> bytes:
    bad = functools.partial(BadFileError, path, "unreadable")
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise bad("a folder, a pipe or a device, no file", "give image files")
        return path.read_bytes()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise bad("a link to a file that is not there", "restore it, or remove the link") from error
        raise bad("no such file", "check the path") from error
    except OSError as error:  # no right to it, links in a circle, a failing disk
        raise bad(f"it cannot be read ({error.strerror})", "make it readable, or remove it") from error


def _decoded(path: Path, data: bytes, *notes: str) -> Opened:
    # From memory: Pillow leaves the file of a damaged image open.
    image = Image.open(io.BytesIO(data))
    if image.width * image.height > most_pixels():
        raise BadFileError(
            path,
            "unreadable",
            f"{image.width * image.height / 1e6:.1f} million pixels, more than {most_pixels() / 1e6:g}",
            f"scale it down first, or set {MEGAPIXELS}",
        )
    raw, format_, frames = _raw(image), image.format or "", _frames(data, image)
    lossy = _lossy(image, data)
    image.load()
    _ = image.has_transparency_data  # a palette that is missing raises here, not where it is wanted
    said = list(notes)
    try:
        found = image.getexif()
        orientation = found.get(ORIENTATION, 1)
        if not found and len(image.info.get("exif", b"")) > EMPTY_EXIF:
            said = [*said, "its EXIF is damaged: whether it is to be turned is not known"]
    except Exception:  # as of pixels: whatever the junk makes Pillow raise
        orientation, said = 1, [*said, "its metadata is damaged: read without"]
    if orientation not in TURNS:  # also a text or a tuple
        orientation = 1
    if frames > 1 and format_ not in ONE_PICTURE:
        said.append(f"it has {counted(frames, 'picture')}: only the first is used")
    return Opened(path, image, orientation, raw, _top(image, raw), lossy, frames, tuple(said))


def _raw(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _frames(data: bytes, image: Image.Image) -> int:
    if image.format == "PNG":  # which it says in its head
        return int(getattr(image, "n_frames", 1))
    if image.format not in ("GIF", "TIFF", "WEBP", "AVIF"):
        return 1
    try:  # counting moves through the file: another object, so that the first picture stays the one to load
        return int(getattr(Image.open(io.BytesIO(data)), "n_frames", 1))
    except Exception:  # what comes after the first picture is damaged, and not needed
        return 1


def _lossy(image: Image.Image, data: bytes) -> bool:
    if image.format == "WEBP":
        return b"VP8L" not in bare(data)[12:34]  # the first chunk, or the one behind the header of features
    return image.format in ("JPEG", "MPO", "AVIF", "JPEG2000") or image.info.get("compression") == "jpeg"


def _top(image: Image.Image, raw: str) -> int | None:
    """The value of white that a TIFF declares, in bits a sample or as its largest value."""
    if raw.startswith("I;12"):
        return 4095
    tags: Any = getattr(image, "tag_v2", {})
    try:
        given = tags.get(281)  # MaxSampleValue
    except Exception:
        return None
    value = given[0] if isinstance(given, tuple) and given else given
    return value if isinstance(value, int) and 0 < value < 65535 else None
