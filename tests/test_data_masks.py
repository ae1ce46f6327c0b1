"""Masks that could be read in two ways: read as they were meant, or refused with what to write to be read."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from footseg.data.labels import Labels, read_labels, unnamed
from footseg.data.masks import look, read_mask
from footseg.data.opening import BadFileError
from footseg.errors import FootsegError

FOOT = np.zeros((40, 60), np.uint8)
FOOT[10:30, 20:40] = 1
THREE = FOOT.copy()
THREE[15:20, 25:30] = 2
VOC = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 255: (224, 224, 192)}


def labels(folder: Path, text: str) -> Labels:
    (folder / "dataset.toml").write_text(text)
    return read_labels(folder / "dataset.toml")


def indexed(array: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(array).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([level for index in range(256) for level in colours.get(index, (7, 7, 7))])
    return image


def refused(path: Path, by: Labels) -> BadFileError:
    with pytest.raises(BadFileError) as error:
        read_mask(path, by)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return error.value


class TestPalettes:
    BLACK_RED = 'colours = ["#000000", "#ff0000"]'

    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".gif"])
    def test_colours_of_the_description_decide_not_the_order(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"m{suffix}"
        indexed(1 - FOOT, {0: (255, 0, 0), 1: (0, 0, 0)}).save(path)
        assert Image.open(path).mode == "P"
        np.testing.assert_array_equal(read_mask(path, labels(tmp_path, self.BLACK_RED)), FOOT)

    def test_what_quantize_writes(self, tmp_path: Path) -> None:
        colours = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
        path = tmp_path / "m.png"
        Image.fromarray(colours[THREE]).quantize(3).save(path)
        assert not np.array_equal(np.array(Image.open(path)), THREE)
        text = 'classes = ["a", "b", "c"]\ncolours = ["#000000", "#ff0000", "#0000ff"]'
        np.testing.assert_array_equal(read_mask(path, labels(tmp_path, text)), THREE)
        assert refused(path, unnamed(3)).kind == "palette"

    def test_index_15_of_voc(self, tmp_path: Path) -> None:
        voc = FOOT * 15
        voc[:3] = 255
        indexed(voc, VOC).save(tmp_path / "m.png")
        text = 'classes = ["background", "person"]\ncolours = ["#000000", "#c08080"]'
        expected = FOOT.copy()
        expected[:3] = 255  # the void border, whatever its colour
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", labels(tmp_path, text)), expected)
        assert "colours = [...]" in refused(tmp_path / "m.png", unnamed(2)).fix

    def test_black_that_is_not_the_first_is_asked_about(self, tmp_path: Path) -> None:
        path = tmp_path / "m.png"
        indexed(1 - FOOT, {0: (255, 255, 255), 1: (0, 0, 0)}).save(path)
        bad = refused(path, unnamed(2))
        assert (bad.kind, "colours = [...] in dataset.toml" in bad.fix) == ("palette", True)
        text = 'colours = ["#ffffff", "#000000"]'
        np.testing.assert_array_equal(read_mask(path, labels(tmp_path, text)), 1 - FOOT)

    def test_colours_only_to_paint_with_leave_indices_alone_and_that_is_said(self, tmp_path: Path) -> None:
        indexed(FOOT, VOC).save(tmp_path / "m.png")
        mask = look(tmp_path / "m.png", labels(tmp_path, 'colours = ["#000000", "#00ff00"]'))
        np.testing.assert_array_equal(mask.classes, FOOT)
        assert "read by index" in mask.notes[0]

    def test_a_colour_that_is_not_named_among_others_is_asked_about(self, tmp_path: Path) -> None:
        indexed(THREE, {0: (255, 0, 0), 1: (0, 0, 0), 2: (9, 9, 90)}).save(tmp_path / "m.png")
        bad = refused(tmp_path / "m.png", labels(tmp_path, self.BLACK_RED))
        assert 'ignore = ["#09095a"]' in bad.fix
        expected = np.array([1, 0, 255], np.uint8)[THREE]
        both = labels(tmp_path, f'{self.BLACK_RED}\nignore = "#09095a"')
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", both), expected)

    def test_a_grey_palette_that_an_optimizer_made_of_indices(self, tmp_path: Path) -> None:
        given = np.array([1, 0, 2], np.uint8)[THREE]  # stored in another order
        indexed(given, {0: (1, 1, 1), 1: (0, 0, 0), 2: (255, 255, 255)}).save(tmp_path / "m.png")
        expected = np.array([0, 1, 255], np.uint8)[THREE]
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", unnamed(2)), expected)


class TestValues:
    def test_one_stray_pixel_does_not_make_255_ignored(self, tmp_path: Path) -> None:
        drawn = FOOT * 255
        drawn[0, 0] = 1
        Image.fromarray(drawn).save(tmp_path / "m.png")
        bad = refused(tmp_path / "m.png", unnamed(2))
        assert (bad.kind, "and 1 of a class" in bad.problem) == ("0/255", True)
        assert "ignore = 255" in bad.fix

    def test_background_and_an_ignored_region(self, tmp_path: Path) -> None:
        Image.fromarray(FOOT * 255).save(tmp_path / "m.png")
        said = labels(tmp_path, "ignore = 255")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", said), FOOT * 255)

    @pytest.mark.parametrize("value", [0.98, np.nan, np.inf])
    def test_fractions_are_no_indices(self, tmp_path: Path, value: float) -> None:
        Image.fromarray(np.where(FOOT, np.float32(value), np.float32(0))).save(tmp_path / "m.tif")
        assert refused(tmp_path / "m.tif", unnamed(2)).kind == "values"

    @pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint16])
    def test_whole_numbers_of_any_kind_are(self, tmp_path: Path, dtype: type) -> None:
        Image.fromarray(THREE.astype(dtype)).save(tmp_path / "m.tif")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.tif", unnamed(3)), THREE)

    @pytest.mark.parametrize("bits", [2, 4])
    def test_grey_of_few_bits_is_not_stretched(self, tmp_path: Path, bits: int) -> None:
        # Pillow writes few bits for palettes only: its header is made grey, and the palette taken out.
        stored = io.BytesIO()
        indexed(THREE, {}).save(stored, "PNG", bits=bits)
        data = bytearray(stored.getvalue())
        palette = data.index(b"PLTE") - 4
        end = palette + 12 + int.from_bytes(data[palette : palette + 4], "big")
        del data[palette:end]
        data[25] = 0
        data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
        (tmp_path / "m.png").write_bytes(data)
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", unnamed(3)), THREE)

    def test_a_tiff_that_calls_white_zero(self, tmp_path: Path) -> None:
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        directory[262] = 0
        Image.fromarray(FOOT).save(tmp_path / "m.tif", tiffinfo=directory)
        data = (tmp_path / "m.tif").read_bytes()
        at = data.index((262).to_bytes(2, "little") + (3).to_bytes(2, "little"))
        (tmp_path / "m.tif").write_bytes(data[: at + 8] + b"\0\0" + data[at + 10 :])
        assert refused(tmp_path / "m.tif", unnamed(2)).kind == "inverted"

    @pytest.mark.parametrize("suffix", [".tif", ".gif", ".png"])
    def test_several_pictures_are_no_mask(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"m{suffix}"
        image, other = indexed(FOOT, VOC), indexed(1 - FOOT, VOC)
        image.save(path, save_all=True, append_images=[other])
        assert refused(path, unnamed(2)).kind == "frames"

    @pytest.mark.parametrize(("suffix", "options"), [(".webp", {}), (".tif", {"compression": "jpeg"})])
    def test_lossy_files_of_any_kind_are_no_indices(self, tmp_path: Path, suffix: str, options: dict) -> None:
        Image.fromarray(FOOT).save(tmp_path / f"m{suffix}", **options)
        assert refused(tmp_path / f"m{suffix}", unnamed(2)).kind == "jpeg"

    def test_an_orientation_of_its_own_turns_a_mask(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(FOOT).save(tmp_path / "m.png", exif=exif)
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", unnamed(2)), np.rot90(FOOT, -1))


class TestDescription:
    CLASSES = 'classes = ["background", "left foot", "right foot", "sock"]\n'

    def test_merge_ignore_and_pairs(self, tmp_path: Path) -> None:
        mask = np.array([[0, 1, 2, 3, 11, 255]], np.uint8)
        Image.fromarray(mask).save(tmp_path / "m.png")
        found = labels(
            tmp_path,
            self.CLASSES + 'ignore = 11\nmerge = { background = ["background", "sock"] }\n'
            'flip_pairs = [["left foot", "right foot"]]',
        )
        assert found.classes == ("background", "left foot", "right foot")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", found), [[0, 1, 2, 0, 255, 255]])
        table = found.mirrored()
        assert table is not None
        np.testing.assert_array_equal(table[:4], [0, 2, 1, 3])

    def test_an_ignored_class_closes_the_ranks(self, tmp_path: Path) -> None:
        """ADE20K calls 0 "other objects": its first class is 1."""
        Image.fromarray(THREE).save(tmp_path / "m.png")
        found = labels(tmp_path, 'classes = ["other", "wall", "floor"]\nignore = ["other"]')
        assert found.classes == ("wall", "floor")
        expected = np.array([255, 0, 1], np.uint8)[THREE]
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", found), expected)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('colours = ["#112233", "#112233"]', "'background' and 'foot' have one colour, #112233"),
            ("ignore = 1.5", "ignore is an index, a class, a colour"),
            ('ignore = ["foot"]', "background is left"),
            ('merge = { a = ["nobody"] }', "'nobody' is none of classes"),
            ('merge = "a"', "merge is a table"),
            ('merge = { a = ["background", "foot"] }', "a is left: a network tells 2"),
            ('flip_pairs = [["foot", "hand"]]', "'hand' is none of its classes"),
            ('flip_pairs = [["foot", "foot"]]', "more than once"),
            ('flip_pairs = ["foot"]', "list of pairs"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, text: str, words: str) -> None:
        with pytest.raises(FootsegError, match=words) as error:
            labels(tmp_path, text)
        assert "dataset.toml" in str(error.value)

    def test_a_byte_order_mark(self, tmp_path: Path) -> None:
        (tmp_path / "dataset.toml").write_bytes(b"\xef\xbb\xbf" + b'classes = ["a", "b"]')
        assert read_labels(tmp_path / "dataset.toml").classes == ("a", "b")
