"""Reading whatever a camera or a labelling tool leaves, letterboxing it, and painting masks."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from footseg import files
from footseg.data.images import (
    IGNORE,
    PADDING,
    Letterbox,
    letterbox,
    letterbox_mask,
    overlay,
    read_image,
    unletterbox_logits,
    write_image,
    write_mask,
)
from footseg.data.labels import unnamed
from footseg.data.masks import read_mask
from footseg.data.opening import BadFileError
from footseg.errors import FootsegError

# Left half red, right half blue: enough to see a wrong turn or a swapped channel.
HALVES = np.zeros((4, 6, 3), np.uint8)
HALVES[:, :3, 0] = HALVES[:, 3:, 2] = 255


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def ramp(height: int, width: int) -> np.ndarray:
    """Smooth, different along both axes and in each channel, so that a shifted pixel shows."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return (np.stack([x, y, (x + y) / 2], -1) * 255).astype(np.uint8)


class TestReadImage:
    def test_rgb_as_it_is(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", Image.fromarray(HALVES))
        image = read_image(path)
        np.testing.assert_array_equal(image, HALVES)
        assert image.dtype == np.uint8
        assert image.flags.writeable

    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    def test_exif_orientation_is_applied(self, tmp_path: Path, name: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: show it a quarter clockwise
        path = save(tmp_path / name, Image.fromarray(HALVES), exif=exif)
        np.testing.assert_array_equal(read_image(path), np.rot90(HALVES, -1))

    @pytest.mark.parametrize(
        ("array", "expected"),
        [
            (np.full((2, 3), 200, np.uint8), 200),
            (np.full((2, 3), 200 * 256, np.uint16), 200),
            (np.full((2, 3), 65535, np.uint16), 255),
        ],
        ids=["grey", "16-bit", "16-bit white"],
    )
    def test_grey_becomes_three_channels(self, tmp_path: Path, array: np.ndarray, expected: int) -> None:
        image = read_image(save(tmp_path / "a.png", Image.fromarray(array)))
        np.testing.assert_array_equal(image, np.full((2, 3, 3), expected))

    def test_float_tiff_in_0_to_1(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)))
        np.testing.assert_array_equal(read_image(path)[0, :, 0], [0, 128, 255])

    def test_cmyk_jpeg(self, tmp_path: Path) -> None:
        cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # magenta and yellow ink: red
        red, green, blue = read_image(save(tmp_path / "a.jpg", cmyk, quality=100))[4, 4]
        assert red > 250
        assert max(green, blue) < 5  # JPEG rounds by a level or two

    def test_palette(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", Image.fromarray(HALVES).convert("P", palette=Image.Palette.ADAPTIVE))
        np.testing.assert_array_equal(read_image(path), HALVES)

    def test_transparency_lies_on_white(self, tmp_path: Path) -> None:
        rgba = np.zeros((1, 2, 4), np.uint8)
        rgba[0, 0] = (10, 20, 30, 255)
        image = read_image(save(tmp_path / "a.png", Image.fromarray(rgba)))
        np.testing.assert_array_equal(image[0], [(10, 20, 30), (255, 255, 255)])

    def test_12_megapixels(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.jpg", Image.new("RGB", (4032, 3024), "green"))
        assert read_image(path).shape == (3024, 4032, 3)

    def test_truncated_jpeg_is_named(self, tmp_path: Path) -> None:
        whole = io.BytesIO()
        Image.fromarray(ramp(200, 200)).save(whole, "JPEG")
        path = tmp_path / "cut.jpg"
        path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        Image.open(path).close()  # its header is whole: only decoding shows the cut
        with pytest.raises(BadFileError, match=r"cut\.jpg.*cut off.*copy it again") as error:
            read_image(path)
        assert error.value.kind == "unreadable"
        assert "\n" not in str(error.value)

    @pytest.mark.filterwarnings("ignore:Truncated File Read")  # Pillow's own, before its error
    @pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif"])
    def test_every_format_cut_at_any_place_is_one_clear_error(self, tmp_path: Path, suffix: str) -> None:
        whole = (save(tmp_path / f"whole{suffix}", Image.fromarray(ramp(40, 40)))).read_bytes()
        path = tmp_path / f"cut{suffix}"
        for share in (0.0, 0.01, 0.1, 0.5, 0.9):
            path.write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(BadFileError, match="cut"):
                read_image(path)

    def test_no_such_file_and_no_image(self, tmp_path: Path) -> None:
        with pytest.raises(FootsegError, match="no such file"):
            read_image(tmp_path / "none.jpg")
        for name, hint in (("text.jpg", "copy it again"), ("phone.heic", "save it as JPEG")):
            (tmp_path / name).write_text("hello")
            with pytest.raises(FootsegError, match=hint):
                read_image(tmp_path / name)


class TestReadMask:
    def test_indices_and_ignored(self, tmp_path: Path) -> None:
        mask = np.array([[0, 1, 2], [255, 0, 1]], np.uint8)
        write_mask(tmp_path / "m.png", mask)
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", unnamed(3)), mask)

    def test_palette_mask_gives_its_indices(self, tmp_path: Path) -> None:
        image = Image.fromarray(np.array([[0, 1, 1]], np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 255, 0, 0])
        np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", image), unnamed(2)), [[0, 1, 1]])

    def test_one_bit_mask(self, tmp_path: Path) -> None:
        path = save(tmp_path / "m.png", Image.fromarray(np.array([[False, True]])))
        mask = read_mask(path, unnamed(2))
        np.testing.assert_array_equal(mask, [[0, 1]])
        assert mask.dtype == np.uint8

    @pytest.mark.parametrize(
        ("array", "name", "kind", "words"),
        [
            (np.zeros((4, 4), np.uint8), "m.jpg", "jpeg", "JPEG mask.*--fix"),
            (np.zeros((4, 4, 3), np.uint8), "m.png", "colour", r"3 channels \(RGB\).*--fix"),
            (np.array([[0, 255]], np.uint8), "m.png", "0/255", "255 means ignored.*--fix"),
            (np.array([[0, 1, 2, 7, 255]], np.uint8), "m.png", "index", r"index 2, 7 where.*0 to 1"),
            (np.array([[0, 300]], np.uint16), "m.png", "index", "index 300"),
        ],
    )
    def test_what_is_no_mask_says_how_to_mend_it(
        self, tmp_path: Path, array: np.ndarray, name: str, kind: str, words: str
    ) -> None:
        path = save(tmp_path / name, Image.fromarray(array))
        with pytest.raises(BadFileError, match=words) as error:
            read_mask(path, unnamed(2))
        assert error.value.kind == kind
        assert str(path) in str(error.value)

    def test_a_foot_pixel_makes_255_mean_ignored(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "m.png", np.array([[0, 1, 255]], np.uint8))
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", unnamed(2)), [[0, 1, 255]])


class TestLetterbox:
    @pytest.mark.parametrize(
        ("source", "size", "place"),
        [
            ((100, 200), (64, 64), (16, 0, 32, 64)),
            ((200, 100), (64, 64), (0, 16, 64, 32)),
            ((64, 64), (64, 64), (0, 0, 64, 64)),
            ((3, 10_000), (256, 256), (127, 0, 1, 256)),
            ((10_000, 3), (256, 128), (0, 63, 256, 1)),
            ((1, 1), (32, 48), (0, 8, 32, 32)),
            ((3024, 4032), (256, 256), (32, 0, 192, 256)),
        ],
    )
    def test_place(self, source: tuple[int, int], size: tuple[int, int], place: tuple[int, ...]) -> None:
        box = Letterbox.fit(source, size)
        assert (box.top, box.left, box.height, box.width) == place

    def test_padding_is_grey_and_ignored(self) -> None:
        canvas, box = letterbox(np.zeros((10, 20, 3), np.uint8), (20, 20))
        mask = letterbox_mask(np.ones((10, 20), np.uint8), (20, 20))
        inside = np.zeros((20, 20), bool)
        inside[box.place] = True
        assert box.place == (slice(5, 15), slice(0, 20))
        assert (canvas[inside] == 0).all()
        assert (canvas[~inside] == PADDING).all()
        assert (mask[inside] == 1).all()
        assert (mask[~inside] == IGNORE).all()

    def test_own_size_changes_nothing(self) -> None:
        image = ramp(31, 17)
        canvas, _ = letterbox(image, (31, 17))
        np.testing.assert_array_equal(canvas, image)

    def test_shrinking_is_antialiased(self) -> None:
        stripes = np.zeros((64, 64, 3), np.uint8)
        stripes[:, ::2] = 255
        canvas, _ = letterbox(stripes, (16, 16))
        # A stripe a pixel wide averages to grey; a sampling without antialiasing gives 0 or 255.
        assert abs(int(canvas[8, 8, 0]) - 128) < 20

    @pytest.mark.parametrize("source", [(48, 80), (80, 48), (300, 500), (37, 41)])
    def test_coordinates_come_back(self, source: tuple[int, int]) -> None:
        """A ramp through the letterbox and back is the same ramp: no shift, no stretch, along both axes."""
        image = ramp(*source)
        canvas, box = letterbox(image, (64, 96))
        back = unletterbox_logits(canvas.astype(np.float32), box)
        assert back.shape == image.shape
        assert back.dtype == np.float32
        inner = np.s_[source[0] // 8 : -source[0] // 8, source[1] // 8 : -source[1] // 8]
        # Rounding to 8 bits twice costs up to 1 level; half a pixel's shift in the canvas would be 2 to 4.
        assert np.abs(back - image)[inner].max() < 1.5

    def test_image_and_mask_stay_aligned(self) -> None:
        image = np.zeros((90, 160, 3), np.uint8)
        mask = np.zeros((90, 160), np.uint8)
        image[20:50, 70:120], mask[20:50, 70:120] = 255, 1
        canvas, _ = letterbox(image, (64, 64))
        boxed = letterbox_mask(mask, (64, 64))
        np.testing.assert_array_equal(boxed == 1, (canvas[..., 0] > 128))

    def test_wrong_sizes(self) -> None:
        _, box = letterbox(ramp(10, 10), (8, 8))
        with pytest.raises(ValueError, match="got"):
            unletterbox_logits(np.zeros((9, 8, 2), np.float32), box)
        with pytest.raises(ValueError, match="at least 1 pixel"):
            Letterbox.fit((0, 5), (8, 8))


class TestOverlay:
    def test_background_is_left_alone_and_classes_are_painted(self) -> None:
        image = np.full((40, 40, 3), 100, np.uint8)
        mask = np.zeros((40, 40), np.uint8)
        mask[10:30, 10:30] = 1
        painted = overlay(image, mask, ((0, 0, 0), (200, 0, 40)), alpha=0.5)
        np.testing.assert_array_equal(painted[mask == 0], image[mask == 0])
        np.testing.assert_array_equal(painted[20, 20], (150, 50, 70))  # half photograph, half colour
        np.testing.assert_array_equal(painted[10, 20], (200, 0, 40))  # the outline
        assert (image == 100).all()

    def test_ignored_pixels_are_hatched(self) -> None:
        image = np.full((40, 40, 3), 200, np.uint8)
        painted = overlay(image, np.full((40, 40), IGNORE, np.uint8), ((0, 0, 0), (200, 0, 40)))
        assert len(np.unique(painted)) == 2
        assert painted.max() < 200
        assert (painted == painted[..., :1]).all()

    def test_a_class_without_colour_and_another_size(self) -> None:
        image = np.zeros((4, 4, 3), np.uint8)
        with pytest.raises(ValueError, match="class 2"):
            overlay(image, np.full((4, 4), 2), ((0, 0, 0), (1, 2, 3)))
        with pytest.raises(ValueError, match="one size"):
            overlay(image, np.zeros((4, 5), np.uint8), ((0, 0, 0), (1, 2, 3)))


class TestWrite:
    def test_png_is_exact_and_jpeg_near(self, tmp_path: Path) -> None:
        image = ramp(32, 32)
        write_image(tmp_path / "a.png", image)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
        write_image(tmp_path / "a.jpg", image, quality=95)
        assert Image.open(tmp_path / "a.jpg").format == "JPEG"

    def test_wrong_arguments(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"\.jpg or \.png"):
            write_image(tmp_path / "a.gif", ramp(4, 4))
        with pytest.raises(ValueError, match="float64"):
            write_image(tmp_path / "a.png", np.zeros((4, 4, 3)))
        with pytest.raises(ValueError, match=r"\.png"):
            write_mask(tmp_path / "a.jpg", np.zeros((4, 4), np.uint8))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
    def test_full_disk_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_image(tmp_path / "a.png", ramp(8, 8))
        before = files.sha256(tmp_path / "a.png")

        def full(path: Path, data: bytes) -> int:
            with open("/dev/full", "wb", buffering=0) as device:  # noqa: PTH123 (a device, not a file)
                return device.write(data)

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(FootsegError, match="disk is full"):
            write_image(tmp_path / "a.png", ramp(9, 9))
        assert files.sha256(tmp_path / "a.png") == before
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_real_photographs_and_masks(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "ccp_footwear" / "val"
    path = min((folder / "images").iterdir())
    mask = read_mask(folder / "masks" / f"{path.stem}.png", unnamed(2))
    assert read_image(path).shape == (*mask.shape, 3)
    assert set(np.unique(mask)) == {0, 1}
    cut = shutil.copy(path, tmp_path / "cut.jpg")
    cut.write_bytes(cut.read_bytes()[:-2000])
    with pytest.raises(BadFileError):
        read_image(cut)
