"""Golden vectors of a file: small photographs, the tensor, the output and the mask, to test an app by.

A folder that Kotlin, Swift and JavaScript read without a library of ours: PNG files, raw numbers
(little-endian, row by row), and ``golden.json`` that says what they are. The photographs are drawn here, and
their bytes are the same each time. ``docs/pixels.md`` is what makes one of the other.
"""

import dataclasses
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from footseg import __version__, files, predict, records, runtime, strangers
from footseg.data import shapes
from footseg.data.images import Letterbox, Size, letterbox, read_image, write_mask
from footseg.description import Description
from footseg.errors import FootsegError, check_known
from footseg.graphs.ends import OUTPUTS
from footseg.segmenter import FileSegmenter

RECORD = "golden.json"
FORMAT = 1
STEPS = ("input", "output", "mask")
# What a record may name: a file beside it or in a folder there, none elsewhere.
FILE_NAME = re.compile(r"(\w+/)?\w+\.\w+")
TYPES = ("float32", "float16", "uint8", "int8")
ORIENTATION = 0x0112
"""The EXIF tag."""
UPRIGHT, TURNED = 1, 6
# What is left over between runtimes where nothing is wrong: float32 sums in another order, and ties.
ARITHMETIC, TIES = 1e-3, 1e-3


@dataclass(frozen=True)
class Tensor:
    """What the numbers of a raw file are. An integer stands for (integer - ``zero_point``) * ``scale``."""

    shape: tuple[int, ...]
    type: str
    text: str
    scale: float = 1.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        check_known("no type", self.type, TYPES)
        if not all(side > 0 for side in self.shape):
            raise ValueError(f"a tensor of shape {self.shape} holds nothing")

    def real(self, path: Path) -> np.ndarray:
        """The numbers of a raw file, float32, as what they stand for.

        Raises:
            FootsegError: there are more or fewer bytes.
        """
        held, kind = path.read_bytes(), np.dtype(self.type).newbyteorder("<")
        expected = int(np.prod(self.shape)) * kind.itemsize
        if len(held) != expected:
            raise FootsegError(
                f"{path} has {len(held)} bytes, not the {expected} of {self.type} {self.shape}"
                f"{_hint(len(held) / expected, kind.itemsize)}"
            )
        values = np.frombuffer(held, kind).reshape(self.shape).astype(np.float32)
        return values if kind.kind == "f" else (values - self.zero_point) * np.float32(self.scale)


@dataclass(frozen=True)
class Limit:
    """How far an app may be from a golden vector, and why so far."""

    value: float
    reason: str


@dataclass(frozen=True)
class Case:
    """One photograph and all that becomes of it.

    ``photograph``, ``input``, ``output`` and ``mask`` are files beside ``golden.json``. ``orientation`` is
    what EXIF says in the photograph's file; ``source`` is its (height, width) when upright, and the place in
    the input follows from that.
    """

    name: str
    text: str
    photograph: str
    orientation: int
    source: Size
    top: int
    left: int
    height: int
    width: int
    input: str
    output: str
    mask: str

    def __post_init__(self) -> None:
        for name in ("photograph", *STEPS):
            if not FILE_NAME.fullmatch(getattr(self, name)):
                raise ValueError(
                    f"its field '{name}' is {getattr(self, name)!r:.60}, expected a file beside it"
                )


@dataclass(frozen=True)
class Golden:
    """The record of a folder; ``gives`` names what the output is, ``limits`` are by step."""

    format: int
    file: str
    sha256: str
    size: Size
    classes: int
    gives: str
    input: Tensor
    output: Tensor
    limits: Mapping[str, Limit]
    cases: tuple[Case, ...]
    footseg: str

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format}, not {FORMAT}")
        check_known("no output", self.gives, OUTPUTS)
        for step in STEPS:
            check_known("no step", step, self.limits)


def load(folder: Path) -> Golden:
    """The record of a folder of golden vectors.

    Raises:
        FootsegError: there is none, or it is damaged or of another version.
    """
    return records.read(
        Golden, folder / RECORD, "record of golden vectors", "make them with footseg golden make"
    )


def make(path: Path, out: Path, threads: int = 1) -> Golden:
    """Write the golden vectors of a ``.tflite`` or ``.onnx`` file; the folder appears when it is whole.

    Raises:
        FootsegError: the file cannot be run, or ``out`` holds anything but earlier golden vectors.
    """
    if out.exists() and not (out / RECORD).is_file() and (out.is_file() or any(out.iterdir())):
        raise FootsegError(f"{out} holds something else: give a new or empty folder")
    strangers.check(path)
    segmenter = runtime.load(path, threads)
    if not isinstance(segmenter, FileSegmenter):
        raise FootsegError(f"{path} goes into no app: give the .tflite or .onnx file that does")
    with files.atomic_path(out) as temporary:
        cases, moved = [], []
        for name, text, stored, orientation in photographs(segmenter.size):
            (temporary / name).mkdir(parents=True)
            (temporary / name / "photograph.png").write_bytes(_png(stored, orientation))
            case, by_one = _case(segmenter, temporary, name, text, orientation)
            cases.append(case)
            moved.append(by_one)
        found = Golden(
            format=FORMAT,
            file=path.name,
            sha256=files.sha256(path),
            size=segmenter.size,
            classes=segmenter.classes,
            gives=segmenter.ends.output.name,
            input=_input(segmenter),
            output=Tensor((1, *segmenter.size, segmenter.channels), "float32", segmenter.ends.output.text),
            limits=_limits(segmenter, *np.max(moved, axis=0).tolist()),
            cases=tuple(cases),
            footseg=__version__,
        )
        files.write_json(temporary / RECORD, dataclasses.asdict(found))
    return found


# ---- the photographs


def photographs(size: Size) -> Iterator[tuple[str, str, np.ndarray, int]]:
    """For an input of ``size``: name, what it is for, pixels uint8 (H, W, 3) as stored, orientation."""
    height, width = size
    noise = np.random.default_rng(0).integers(-20, 21, (int(height * 2.4) | 1, int(width * 2.1) | 1, 3))
    portrait = np.clip(_drawn(2, *noise.shape[:2]) + noise, 0, 255).astype(np.uint8)
    turned = _drawn(3, int(height * 1.43) | 1, int(width * 1.09) | 1)
    yield "same", "of the input's size: colours and range alone", _drawn(0, height, width), UPRIGHT
    landscape = _drawn(1, int(height * 1.31) | 1, int(width * 1.77) | 1)
    yield "landscape", "larger, wide: shrunk and letterboxed", landscape, UPRIGHT
    # More than twice as large: some programs halve such pictures first.
    yield (
        "portrait",
        "much larger, high, noisy: what a kernel without antialiasing gets wrong",
        portrait,
        UPRIGHT,
    )
    # Orientation 6 shows the stored rows as columns, from right to left.
    yield "turned", "stored lying, upright by EXIF", turned[:, ::-1].swapaxes(0, 1), TURNED
    yield (
        "small",
        "smaller than the input: enlarged",
        _drawn(4, int(height * 0.41), int(width * 0.29)),
        UPRIGHT,
    )
    yield "thin", "one pixel wide", _drawn(5, int(height * 1.13) | 1, 1), UPRIGHT


def _drawn(index: int, height: int, width: int) -> np.ndarray:
    image, _ = shapes.draw(0, index, (max(height, 16), max(width, 16)))
    left = (image.shape[1] - width) // 2
    return image[:height, left : left + width]


def _png(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    if orientation != UPRIGHT:
        exif[ORIENTATION] = orientation
    written = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(written, "PNG", exif=exif)
    return written.getvalue()


# ---- what becomes of them


def _case(
    segmenter: FileSegmenter, folder: Path, name: str, text: str, orientation: int
) -> tuple[Case, tuple[float, float]]:
    """Write the vectors of a photograph; with how far output and mask move as its pixels do by one level."""
    image = read_image(folder / name / "photograph.png")
    canvas, box = letterbox(image, segmenter.size)
    values = segmenter.values(canvas[None])
    mask = predict.segment(segmenter, image)
    (folder / name / "input.bin").write_bytes(_raw(segmenter.fed(canvas[None])))
    (folder / name / "output.bin").write_bytes(_raw(values))
    write_mask(folder / name / "mask.png", mask)
    other = segmenter.values(_by_one(canvas, box)[None])
    enlarged = predict.enlarged(segmenter.ends, segmenter.ends.logits(other)[0], box)
    case = Case(
        name, text, f"{name}/photograph.png", orientation,
        box.source, box.top, box.left, box.height, box.width,
        *(f"{name}/{step}" for step in ("input.bin", "output.bin", "mask.png")),
    )  # fmt: skip
    largest, _ = differences(segmenter.ends.output.name, other, values)
    return case, (largest, float((enlarged != mask).mean()))


def differences(gives: str, values: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """How far an output is from another: at most and on average; of masks both are the share of pixels."""
    if gives == "mask":
        share = float((values != wanted).mean())
        return share, share
    difference = np.abs(values - wanted)
    return float(difference.max()), float(difference.mean())


def _by_one(canvas: np.ndarray, box: Letterbox) -> np.ndarray:
    """The canvas with each of the photograph's pixels up, down or not by one level."""
    moved = canvas.astype(int)
    moved[box.place] += np.random.default_rng(1).integers(-1, 2, (box.height, box.width, 3))
    return np.clip(moved, 0, 255).astype(np.uint8)


def _raw(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def _input(segmenter: FileSegmenter) -> Tensor:
    """What the input takes; pixels of a uint8 input stand for [0, 1] as everywhere."""
    kind = segmenter.ends.input.type
    text = Description("", (), segmenter.size, kind.replace("float16", "float32")).feeding
    shape = (1, *segmenter.size, 3)
    if kind in ("float32", "float16"):
        return Tensor(shape, kind, text)
    scale, zero_point = 0.0, 0
    if isinstance(segmenter, runtime.TfliteSegmenter):
        scale, zero_point = segmenter.input["quantization"]
    return Tensor(shape, kind, text, float(scale) or 1 / 255, int(zero_point))


def _limits(segmenter: FileSegmenter, output: float, mask: float) -> dict[str, Limit]:
    input_ = _input(segmenter)
    code = 255 * input_.scale if input_.type == "int8" else 0.0
    return {
        "input": Limit(
            1.01 + code,
            "levels of 255: another order of rounding moves a pixel by one"
            + (", and a code is as coarse as the rest" if code else ""),
        ),
        "output": Limit(
            max(output, ARITHMETIC),
            "what this file's output moved at most when each pixel was moved by up to one level (of a mask "
            f"the share of its pixels), and at least {ARITHMETIC:g} for sums in another order",
        ),
        "mask": Limit(
            max(mask, TIES),
            "share of the pixels of a photograph: what these moves turned at most, and at least "
            f"{TIES:g} for ties; one pixel is always allowed",
        ),
    }


def _hint(ratio: float, itemsize: int) -> str:
    """Why there may be so many times the bytes."""
    hints = {
        4 / 3: "four channels: leave out alpha",
        1 / itemsize: "one byte a number: another type",
        4 / itemsize: "four bytes a number: another type",
        1 / 3: "one channel of three",
    }
    found = [text for known, text in hints.items() if known != 1 and abs(ratio - known) < 1e-9]
    return f" ({found[0]})" if found else ""
