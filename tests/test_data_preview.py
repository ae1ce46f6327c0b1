"""The contact sheet: its size, its pictures, and its tiles for what cannot be shown."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from footseg.data.preview import GAP, HEADER, INSET, MARGIN, PAPER, WIDTH, _cut, _font, _grid, preview
from footseg.data.shapes import write_shapes
from footseg.data.synth import SynthConfig
from footseg.errors import FootsegError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(
        tmp_path_factory.mktemp("data") / "set", SynthConfig({"train": 5, "val": 1}, size=(64, 80))
    )


def sheet(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize("count", [1, 2, 6, 24, 60, 500])
def test_tiles_fill_the_width(count: int) -> None:
    columns, side = _grid(count)
    used = columns * (2 * side + INSET + GAP) - GAP
    assert WIDTH - 2 * MARGIN - 2 * columns < used <= WIDTH - 2 * MARGIN
    assert side > 120  # 500 are still to be made out


def test_few_are_shown_large() -> None:
    sides = [_grid(count)[1] for count in (1, 4, 12, 24, 60)]
    assert sides == sorted(sides, reverse=True)


def test_photograph_and_overlay_side_by_side(data: Path, tmp_path: Path) -> None:
    out = preview(data, tmp_path / "sheet.png", count=5)
    assert out == tmp_path / "sheet.png"
    pixels = sheet(out)
    _, side = _grid(5)
    assert pixels.shape[1] == WIDTH
    photograph = pixels[HEADER : HEADER + side, MARGIN : MARGIN + side]
    painted = pixels[HEADER : HEADER + side, MARGIN + side + INSET : MARGIN + 2 * side + INSET]
    different = (photograph != painted).any(-1)
    assert 0.01 < different.mean() < 0.6  # only the foot is painted
    # Painting moves the colour towards the class's blue.
    assert (painted - photograph)[different][:, 2].mean() > 10


def test_jpeg_and_more_than_there_are(data: Path, tmp_path: Path) -> None:
    out = preview(data, tmp_path / "sheet.jpg", "val", count=50)
    assert Image.open(out).format == "JPEG"
    assert sheet(out).shape[0] == sheet(preview(data, tmp_path / "one.png", "val", count=1)).shape[0]


def test_a_bad_pair_has_a_tile_that_says_so(data: Path, tmp_path: Path) -> None:
    path = data / "val" / "images" / "00000.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    pixels = sheet(preview(data, tmp_path / "sheet.png", "val"))
    path.write_bytes(whole)
    assert (np.abs(pixels - (190, 30, 45)).sum(-1) < 30).any()  # red words
    assert tuple(pixels[HEADER + 5, MARGIN + 5]) == (244, 232, 230)
    assert tuple(pixels[5, 5]) == PAPER


def test_long_names_are_cut_in_the_middle() -> None:
    short = _cut("IMG_20240101_123456_a_very_long_name_of_a_photograph", 150, _font(15))
    assert short.startswith("IMG_")
    assert short.endswith("graph")
    assert _font(15).getlength(short) <= 150
    assert _cut("short", 150, _font(15)) == "short"


def test_wrong_arguments(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        preview(data, tmp_path / "a.png", count=0)
    with pytest.raises(ValueError, match=r"\.jpg or \.png"):
        preview(data, tmp_path / "a.pdf")
    with pytest.raises(FootsegError, match="no split 'test'"):
        preview(data, tmp_path / "a.png", "test")
    assert list(tmp_path.iterdir()) == []
