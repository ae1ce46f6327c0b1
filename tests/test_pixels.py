"""docs/pixels.md in plain numpy, as somebody writes it who has read that page alone; and that it is ours."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from footseg.data.images import Letterbox, letterbox, read_image
from footseg.predict import enlarge_argmax
from footseg.runtime import to_float

ROOT = Path(__file__).resolve().parents[1]

# ---- the page: nothing of footseg and nothing of Pillow


def place(source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Steps 2 of the page: top, left, height, width."""
    scale = min(size[0] / source[0], size[1] / source[1])
    # Python's round: halves to the even number, as the page says.
    height, width = (min(max(round(side * scale), 1), most) for side, most in zip(source, size, strict=True))
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def taps(source: int, target: int) -> list[tuple[int, np.ndarray]]:
    """Step 3: for each pixel of the target the first pixel of the source that counts, and the weights."""
    step = source / target
    reach = max(step, 1.0)
    found = []
    for pixel in range(target):
        centre = (pixel + 0.5) * step
        first = max(int(centre - reach + 0.5), 0)
        last = min(int(centre + reach + 0.5), source)
        distances = np.abs((np.arange(first, last) - centre + 0.5) / reach)
        weights = np.maximum(1 - distances, 0)
        found.append((first, weights / weights.sum()))
    return found


def shrink(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Step 3: columns first, then rows, in whole numbers, rounded to 8 bits after each."""
    for axis, target in ((1, width), (0, height)):
        if image.shape[axis] == target:
            continue
        lines = np.moveaxis(image, axis, 0).astype(np.int64)
        new = np.empty((target, *lines.shape[1:]), np.uint8)
        for pixel, (first, weights) in enumerate(taps(len(lines), target)):
            codes = [math.floor(weight * 2**22 + 0.5) for weight in weights]
            total = sum(code * lines[first + n] for n, code in enumerate(codes)) + 2**21
            new[pixel] = np.clip(total >> 22, 0, 255)
        image = np.moveaxis(new, 0, axis)
    return image


def tensor(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Steps 2 to 5: float32 (1, h, w, 3) of an upright photograph uint8 (H, W, 3)."""
    top, left, height, width = place((image.shape[0], image.shape[1]), size)
    canvas = np.full((*size, 3), 128, np.uint8)
    canvas[top : top + height, left : left + width] = shrink(image, height, width)
    return (canvas.astype(np.float32) / np.float32(255))[None]


def mask(logits: np.ndarray, source: tuple[int, int]) -> np.ndarray:
    """Steps 6 to 8: uint8 (H, W) of logits float32 (h, w, classes)."""
    top, left, height, width = place(source, (logits.shape[0], logits.shape[1]))
    planes = logits[top : top + height, left : left + width]
    for axis, target in ((1, source[1]), (0, source[0])):
        lines = np.moveaxis(planes, axis, 0).astype(np.float64)
        new = [np.tensordot(w, lines[n : n + len(w)], 1) for n, w in taps(len(lines), target)]
        planes = np.moveaxis(np.stack(new).astype(np.float32), 0, axis)
    return planes.argmax(axis=-1).astype(np.uint8)  # of equal ones the first


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Step 1, by the table of the page."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    vertical, horizontal = {
        1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)
    }[orientation]  # fmt: skip
    return image[::vertical, ::horizontal]


# ---- ours


SIZES = [
    ((300, 400), (96, 128)),  # landscape, shrunk by no whole number
    ((641, 480), (256, 256)),  # portrait, odd
    ((37, 23), (96, 96)),  # enlarged
    ((200, 1), (64, 64)),  # one pixel wide: enlarged to itself and shrunk at once
    ((1, 300), (64, 96)),
    ((64, 96), (64, 96)),  # nothing to scale
    ((3, 2), (5, 5)),  # 3.33 to 3 columns
    ((1, 1), (8, 6)),
    ((5, 10), (5, 5)),  # half of 5 is 2.5, and halves go to the even number
]


@pytest.mark.parametrize(("source", "size"), SIZES)
def test_the_tensor_is_the_pages_bit_for_bit(source: tuple[int, int], size: tuple[int, int]) -> None:
    image = np.random.default_rng(sum(source)).integers(0, 256, (*source, 3), np.uint8)
    canvas, _ = letterbox(image, size)
    np.testing.assert_array_equal(tensor(image, size)[0], to_float(canvas))


@pytest.mark.parametrize(("source", "size"), SIZES)
@pytest.mark.parametrize("classes", [2, 5])
def test_the_mask_is_the_pages(source: tuple[int, int], size: tuple[int, int], classes: int) -> None:
    logits = np.random.default_rng(classes).normal(size=(*size, classes)).astype(np.float32)
    ours = enlarge_argmax(logits, Letterbox.fit(source, size))
    # Sums of doubles in another order may differ in the last bit of a float32: one pixel in ten thousand
    # of logits that are noise lies that near to a tie, and none of these did.
    assert (mask(logits, source) != ours).mean() <= 1e-4


def test_of_equal_logits_the_first_class_wins() -> None:
    logits = np.zeros((4, 4, 3), np.float32)
    logits[..., 1:] = 1.0
    assert (enlarge_argmax(logits, Letterbox.fit((9, 7), (4, 4))) == 1).all()
    assert (mask(logits, (9, 7)) == 1).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_the_pages_table_says(orientation: int, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    written = io.BytesIO()
    Image.fromarray(stored).save(written, "PNG", exif=exif)
    (tmp_path / "turned.png").write_bytes(written.getvalue())
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), upright(stored, orientation))


# ---- the figures of the page


def test_the_costs_are_those_measured() -> None:
    scores = json.loads((ROOT / "benchmarks/results/resizing.json").read_text())["cut"]["scores"]["test"]
    plain, drawn = scores["ours alone"], scores["kernels drawn"]
    wanted = [
        [
            name,
            f"{100 * row['equal']['mean']:.2f}%",
            *(f"{round(row[lost]['mean'], 4) + 0:.4f}" for lost in ("iou_lost", "boundary_f_lost")),
            *(
                f"{one[name]['iou']['mean']:.3f} ± {one[name]['iou']['deviation']:.3f}"
                for one in (plain, drawn)
            ),
        ]
        for name, row in plain.items()
    ]
    _, _, after = (ROOT / "docs/pixels.md").read_text().partition("| resizing |")
    lines = after.partition("\n\n")[0].splitlines()[2:]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] == wanted
