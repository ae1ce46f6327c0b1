"""Photographs as people have them: junk for metadata, turns, more than 8 bits, several pictures, names."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from footseg.data.folder import images_by_name, left_out
from footseg.data.images import read_image
from footseg.data.labels import unnamed
from footseg.data.masks import read_mask
from footseg.data.opening import IMAGE_SUFFIXES, BadFileError, open_image
from footseg.data.stripping import bare

# Smooth and different everywhere, so that a wrong turn shows and JPEG keeps it within a few levels.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ROWS, COLUMNS = np.mgrid[:24, :36]
PHOTO = np.stack([ROWS * 9, COLUMNS * 6, 200 - ROWS * 4 - COLUMNS * 2], -1).astype(np.uint8)
TURNED = np.rot90(PHOTO, -1)


def exif(orientation: int | None = 6) -> bytes:
    """EXIF as cameras write it: a maker, dates, fractions, a place, an embedded block."""
    tags = Image.Exif()
    tags[0x010F], tags[0x0110], tags[0x0132] = "Maker", "Model 9", "2026:01:01 10:00:00"
    tags[0x011A], tags[0x011B] = 72.0, 72.0
    if orientation:
        tags[0x0112] = orientation
    tags.get_ifd(0x8769).update({0x829A: 0.01, 0x9286: b"comment", 0xA002: 36, 0xA003: 24})
    tags.get_ifd(0x8825).update({1: "N", 2: (59.0, 20.0, 1.0)})
    return tags.tobytes()


def saved(suffix: str, **options: object) -> bytes:
    stored = io.BytesIO()
    form = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF"}[suffix]
    Image.fromarray(PHOTO).save(stored, form, **({"quality": 100, "lossless": True} | options))
    return stored.getvalue()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_random_damage_to_exif_never_costs_the_pixels(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    whole, block = saved(suffix, exif=exif()), exif().removeprefix(b"Exif\0\0")
    start = whole.index(block)
    path = tmp_path / f"a{suffix}"
    for _ in range(120):
        data = bytearray(whole)
        for at in rng.integers(start, start + len(block), rng.integers(1, 9)):
            data[at] = rng.integers(256)
        if suffix == ".png":  # its own sum is right again, as after a program that wrote junk
            at = start - 8
            end = start + len(block)
            data[end : end + 4] = struct.pack(">I", zlib.crc32(bytes(data[at + 4 : end])))
        path.write_bytes(data)
        image = read_image(path)
        assert sorted(image.shape[:2]) == [24, 36]
        upright = np.rot90(image, 1) if image.shape[0] == 36 else image
        # One of the eight turns of the photograph, whatever the damage made of the orientation.
        assert min(np.abs(upright[::y, ::x].astype(int) - PHOTO).mean() for y in (1, -1) for x in (1, -1)) < 3


@pytest.mark.parametrize(
    "kind", [b"eXIf", b"iCCP", b"iTXt", b"zTXt", b"tEXt", b"pHYs", b"gAMA", b"tIME", b"acTL"]
)
def test_a_png_block_of_junk_is_left_aside(tmp_path: Path, kind: bytes) -> None:
    whole, junk = saved(".png"), os.urandom(40)
    chunk = struct.pack(">I", len(junk)) + kind + junk + struct.pack(">I", zlib.crc32(kind + junk))
    for path, data in (
        (tmp_path / "whole.png", whole[:33] + chunk + whole[33:]),
        (tmp_path / "sum.png", whole[:33] + chunk[:-1] + b"\0" + whole[33:]),
    ):
        path.write_bytes(data)
        np.testing.assert_array_equal(read_image(path), PHOTO)


@pytest.mark.parametrize("kind", [b"EXIF", b"XMP ", b"ICCP", b"junk"])
def test_a_webp_block_of_junk_is_left_aside(tmp_path: Path, kind: bytes) -> None:
    whole = saved(".webp", exif=exif())
    junk = os.urandom(40)
    body = whole[8:] + kind + struct.pack("<I", len(junk)) + junk
    (tmp_path / "a.webp").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp"), TURNED)


def test_a_tiff_tag_of_a_wrong_type_is_left_aside(tmp_path: Path) -> None:
    whole = saved(".tif", exif=exif())
    at = whole.index(struct.pack("<HH", 0x0132, 2))
    for kind in range(1, 14):
        (tmp_path / "a.tif").write_bytes(whole[: at + 2] + struct.pack("<H", kind) + whole[at + 4 :])
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), TURNED)


def test_what_is_left_aside_is_said_and_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = saved(".png")
    junk = b"x" * 9
    chunk = struct.pack(">I", len(junk)) + b"pHYs" + junk + b"\0\0\0\0"
    (tmp_path / "a.png").write_bytes(whole[:33] + chunk + whole[33:])
    read_image(tmp_path / "a.png")
    assert capsys.readouterr().err == f"note: {tmp_path / 'a.png'}: its metadata is damaged: read without\n"


def test_a_turn_that_is_lost_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = saved(".jpg", exif=exif())
    start = whole.index(b"Exif\0\0") + 6
    (tmp_path / "a.jpg").write_bytes(whole[: start + 8] + b"\0\0" + whole[start + 10 :])
    assert read_image(tmp_path / "a.jpg").shape == (24, 36, 3)
    assert "a.jpg: its EXIF is damaged: whether it is to be turned is not known" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_without_metadata_the_pixels_are_the_same(suffix: str) -> None:
    data = saved(suffix, exif=exif(None), **({"dpi": (72, 72)} if suffix != ".webp" else {}))
    stripped = bare(data)
    assert b"Maker" in data
    assert len(stripped) < len(data) or suffix == ".tif"
    images = [np.array(Image.open(io.BytesIO(each))) for each in (data, stripped)]
    np.testing.assert_array_equal(*images)
    for length in range(0, len(data), 7):  # cut anywhere: no error of its own
        bare(data[:length])


KINDS: dict[str, dict[str, Any]] = {
    "JPEG": {}, "PNG": {}, "WEBP": {}, "BMP": {}, "TIFF": {}, "GIF": {}, "PNG of a palette": {"mode": "P"},
    "TIFF of a palette": {"mode": "P"}, "PNG of grey": {"mode": "L"}, "PNG with alpha": {"mode": "RGBA"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_damage_anywhere_is_an_image_or_one_clear_error(tmp_path: Path, kind: str) -> None:
    stored, rng = io.BytesIO(), np.random.default_rng(5)
    Image.fromarray(PHOTO).convert(KINDS[kind].get("mode", "RGB")).save(stored, kind.split(maxsplit=1)[0])
    path, ends = tmp_path / "a.png", set()
    for _ in range(60):
        data = bytearray(stored.getvalue())
        for at in rng.integers(0, min(len(data), 400), rng.integers(1, 5)):
            data[at] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data))] if rng.random() < 0.2 else data)
        for read in (read_image, lambda path: read_mask(path, unnamed(2))):
            try:
                ends.add(str(read(path).dtype))
            except BadFileError as error:
                assert str(path) in str(error)
                ends.add("error")
    assert "error" in ends
    assert ends <= {"uint8", "error"}


class TestTurns:
    @pytest.mark.parametrize("orientation", [6, 8, 3, 2, 5])
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
    def test_exif_of_any_format(self, tmp_path: Path, suffix: str, orientation: int) -> None:
        (tmp_path / f"a{suffix}").write_bytes(saved(suffix, exif=exif(orientation)))
        expected = {
            6: TURNED, 8: np.rot90(PHOTO), 3: PHOTO[::-1, ::-1], 2: PHOTO[:, ::-1], 5: PHOTO.swapaxes(0, 1)
        }[orientation]  # fmt: skip
        image = read_image(tmp_path / f"a{suffix}")
        assert image.shape == expected.shape
        assert np.abs(image.astype(int) - expected).mean() < 3  # JPEG's chroma is at half the size

    @pytest.mark.parametrize("value", [0, 9, 255])
    def test_an_orientation_that_is_none(self, tmp_path: Path, value: int) -> None:
        (tmp_path / "a.png").write_bytes(saved(".png", exif=exif(value)))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PHOTO)


class TestBits:
    GREY = PHOTO[..., 1]

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_16_bits_that_hold_8(self, tmp_path: Path, suffix: str) -> None:
        Image.fromarray(self.GREY.astype(np.uint16)).save(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}")[..., 0], self.GREY)

    def test_32_bits_that_hold_8(self, tmp_path: Path) -> None:
        Image.fromarray(self.GREY.astype(np.int32)).save(tmp_path / "a.tif")
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], self.GREY)

    def test_floats_to_1_and_to_255(self, tmp_path: Path) -> None:
        for scale in (1.0, 255.0):
            Image.fromarray((self.GREY / scale).astype(np.float32)).save(tmp_path / "a.tif")
            image = read_image(tmp_path / "a.tif")
            assert np.abs(image[..., 0].astype(int) - self.GREY).max() <= 1  # of rounding

    def test_a_declared_white(self, tmp_path: Path) -> None:
        ten = self.GREY.astype(np.uint16) * 4
        Image.fromarray(ten).save(tmp_path / "a.tif", tiffinfo={281: 1023})
        assert np.abs(read_image(tmp_path / "a.tif")[..., 0].astype(int) - self.GREY).max() <= 1

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            ((GREY.astype(np.uint16) * 4), "largest value is 840"),
            ((GREY.astype(np.uint16) * 16), "largest value is 3360"),
            ((GREY.astype(np.int32) * 1000), "values from 0 to 210000"),
            ((GREY.astype(np.int32) - 50), "values from -50"),
            ((GREY.astype(np.float32) / 100), "float image with values from 0 to 2.1"),
            (np.where(GREY > 90, np.nan, 0.5).astype(np.float32), "NaN"),
        ],
        ids=["10 bits", "12 bits", "20 bits", "negative", "float to 2", "NaN"],
    )
    def test_what_is_not_plain_is_refused(self, tmp_path: Path, array: np.ndarray, words: str) -> None:
        Image.fromarray(array).save(tmp_path / "a.tif")
        with pytest.raises(BadFileError, match=words) as error:
            read_image(tmp_path / "a.tif")
        assert "convert it to 8 bits" in str(error.value)

    def test_colour_of_16_bits_of_which_10_are_used(self, tmp_path: Path) -> None:
        def png(values: np.ndarray) -> bytes:
            rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
            header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
            chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
            return b"\x89PNG\r\n\x1a\n" + b"".join(
                struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
                for kind, data in chunks
            )

        path = tmp_path / "a.png"
        path.write_bytes(png(PHOTO.astype(np.uint16) * 257))
        np.testing.assert_array_equal(read_image(path), PHOTO)
        path.write_bytes(png(PHOTO.astype(np.uint16) * 4))
        with pytest.raises(BadFileError, match="16 bits whose values are all below 16384"):
            read_image(path)


class TestFolder:
    def test_suffixes_of_what_pillow_reads(self, tmp_path: Path) -> None:
        names = ["a.jfif", "b.jpe", "c.JPG", "d.gif", *(["e.avif"] if features.check("avif") else [])]
        for name in names:
            Image.fromarray(PHOTO).save(tmp_path / name)
        assert list(images_by_name(tmp_path)) == [name[0] for name in names]
        assert {Path(name).suffix.lower() for name in names} <= set(IMAGE_SUFFIXES)
        assert np.abs(read_image(tmp_path / names[-1]).astype(int) - PHOTO).mean() < 8

    def test_what_is_left_out_is_said(self, tmp_path: Path) -> None:
        for name in ("a.jpg", "b.xml", "c.xml", "d", "._a.jpg", "Thumbs.db"):
            (tmp_path / name).write_bytes(b"")
        for name in ("more", "x.jpg"):
            (tmp_path / name).mkdir()
        assert list(images_by_name(tmp_path)) == ["a"]
        assert (
            left_out(tmp_path)
            == "1 file without a suffix, 2 files of kind .xml, the folder more, the folder x.jpg"
        )

    def test_accents_whole_and_apart_are_one_name(self, tmp_path: Path) -> None:
        for name in ("caf\u00e9.jpg", "cafe\u0301.png"):
            (tmp_path / name).write_bytes(b"")
        assert [len(paths) for paths in images_by_name(tmp_path).values()] == [2]

    def test_links_to_nothing_and_in_circles(self, tmp_path: Path) -> None:
        (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
        (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
        for name, words in (
            ("gone.jpg", "a link to a file that is not there"),
            ("loop.jpg", "cannot be read"),
        ):
            with pytest.raises(BadFileError, match=words):
                open_image(tmp_path / name)

    @pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".webp"])
    def test_of_several_pictures_the_first_is_read_and_that_is_said(
        self, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first, other = Image.fromarray(PHOTO), Image.fromarray(255 - PHOTO)
        path = tmp_path / f"a{suffix}"
        first.save(
            path, save_all=True, append_images=[other], **({"lossless": True} if suffix == ".webp" else {})
        )
        assert np.abs(read_image(path).astype(int) - PHOTO).mean() < 16  # a GIF has 256 colours
        assert capsys.readouterr().err == f"note: {path}: it has 2 pictures: only the first is used\n"

    def test_a_text_bomb_is_no_reason(self, tmp_path: Path) -> None:
        text = PngImagePlugin.PngInfo()
        text.add_text("comment", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
        Image.fromarray(PHOTO).save(tmp_path / "a.png", pnginfo=text)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PHOTO)
