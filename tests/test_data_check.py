"""Every kind of finding, caused for real, and masks converted or refused."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from footseg.data import mend
from footseg.data.check import CheckReport, Finding, check
from footseg.data.folder import load_split, open_data
from footseg.data.images import write_image, write_mask
from footseg.data.labels import unnamed
from footseg.data.masks import read_mask
from footseg.data.mend import fix_masks
from footseg.data.shapes import write_shapes
from footseg.data.synth import SynthConfig
from footseg.errors import FootsegError


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(
        tmp_path_factory.mktemp("clean") / "set",
        SynthConfig({"train": 3, "val": 2, "test": 2}, size=(96, 96)),
    )


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "set"))


def only(report: CheckReport) -> Finding:
    assert len(report.findings) == 1, report.to_text()
    assert "\n" not in str(report.findings[0])
    return report.findings[0]


FOOT = np.zeros((96, 96), np.uint8)
FOOT[20:60, 30:70] = 1


class TestCheck:
    def test_a_clean_set(self, data: Path) -> None:
        report = check(data)
        assert report.ok
        assert report.findings == ()
        assert report.counts == {"train": 3, "val": 2, "test": 2}
        masks = load_split(open_data(data), "train", (96, 96)).masks
        assert report.shares["train"]["foot"] == pytest.approx((masks == 1).mean())
        assert sum(report.shares["val"].values()) == pytest.approx(1)
        assert report.ignored == {"train": 0, "val": 0, "test": 0}
        assert json.loads(json.dumps(report.to_json()))["ok"] is True

    def test_truncated_image(self, data: Path) -> None:
        path = data / "train/images/00001.jpg"
        path.write_bytes(path.read_bytes()[:-900])
        finding = only(check(data))
        assert (finding.level, finding.kind, finding.file) == (
            "error",
            "unreadable",
            "train/images/00001.jpg",
        )
        assert not check(data).ok

    @pytest.mark.parametrize(
        ("mask", "kind", "words"),
        [
            (np.zeros((96, 90), np.uint8) + FOOT[:, :90], "size", "90x96, its photograph 96x96"),
            (FOOT * 7, "index", "class index 7"),
            (FOOT * 255, "0/255", "--fix"),
            (np.stack([FOOT] * 3, -1) * 255, "colour", "--fix"),
        ],
    )
    def test_a_bad_mask(self, data: Path, mask: np.ndarray, kind: str, words: str) -> None:
        Image.fromarray(mask).save(data / "val/masks/00000.png")
        finding = only(check(data))
        assert (finding.level, finding.kind, finding.split) == ("error", kind, "val")
        assert finding.file == "val/masks/00000.png"
        assert words in str(finding)

    def test_jpeg_mask(self, data: Path) -> None:
        (data / "val/masks/00000.png").unlink()
        Image.fromarray(FOOT * 255).save(data / "val/masks/00000.jpg")
        assert only(check(data)).kind == "jpeg"

    def test_a_jpeg_called_png_is_still_one(self, data: Path) -> None:
        Image.fromarray(FOOT * 255).save(data / "val/masks/00000.png", format="JPEG")
        assert only(check(data)).kind == "jpeg"

    def test_a_mask_drawn_without_exif_orientation(self, data: Path) -> None:
        write_image(data / "val/images/00000.jpg", np.zeros((96, 60, 3), np.uint8))
        write_mask(data / "val/masks/00000.png", FOOT[:60])
        assert "EXIF" in only(check(data)).fix

    @pytest.mark.parametrize(("value", "words"), [(0, "all background"), (255, "every pixel is ignored")])
    def test_empty_masks_are_warnings(self, data: Path, value: int, words: str) -> None:
        write_mask(data / "train/masks/00002.png", np.full((96, 96), value, np.uint8))
        report = check(data)
        assert only(report).kind == "empty"
        assert words in str(report.findings[0])
        assert report.ok

    def test_missing_partners(self, data: Path) -> None:
        (data / "train/masks/00000.png").unlink()
        (data / "train/images/00001.jpg").unlink()
        report = check(data)
        assert [(f.level, f.kind) for f in report.findings] == [("error", "no mask"), ("warning", "no image")]

    def test_a_name_twice(self, data: Path) -> None:
        Image.open(data / "train/images/00000.jpg").save(data / "train/images/00000.png")
        finding = only(check(data))
        assert (finding.kind, finding.file) == ("name twice", "train/images/00000.jpg")
        assert "00000.png" in finding.message

    def test_a_missing_split_and_an_absent_class(self, data: Path) -> None:
        shutil.rmtree(data / "test")
        (data / "dataset.toml").write_text('classes = ["background", "foot", "sock"]')
        assert [(f.kind, f.split) for f in check(data).findings] == [
            ("split", "test"),
            ("absent class", "train"),
            ("absent class", "val"),
        ]

    def test_no_data_set(self, tmp_path: Path) -> None:
        with pytest.raises(FootsegError, match="no folder train"):
            check(tmp_path)


class TestSameImage:
    def test_equal_pixels_in_two_splits(self, data: Path) -> None:
        # Another file of the same pixels: bytes and names differ.
        Image.open(data / "train/images/00000.jpg").save(data / "test/images/again.png")
        shutil.copy(data / "train/masks/00000.png", data / "test/masks/again.png")
        finding = only(check(data))
        assert (finding.level, finding.kind) == ("error", "leak")
        assert (finding.file, "train/images/00000.jpg" in finding.message) == ("test/images/again.png", True)

    def test_twice_in_one_split_is_a_warning(self, data: Path) -> None:
        for part, suffix in (("images", "jpg"), ("masks", "png")):
            shutil.copy(data / f"train/{part}/00000.{suffix}", data / f"train/{part}/again.{suffix}")
        assert (only(check(data)).level, only(check(data)).kind) == ("warning", "image twice")

    @pytest.mark.parametrize("change", ["smaller", "recompressed", "brighter", "mirrored"])
    def test_near_ones_are_warnings(self, data: Path, change: str) -> None:
        image = Image.open(data / "train/images/00000.jpg")
        mask = FOOT
        if change == "smaller":
            image, mask = image.resize((60, 60)), FOOT[:60, :60]
        elif change == "brighter":
            image = image.point(lambda value: min(255, value * 1.15))
        elif change == "mirrored":
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image.save(data / "val/images/near.jpg", quality=40)
        write_mask(data / "val/masks/near.png", mask)
        finding = only(check(data))
        assert (finding.level, finding.kind, finding.file) == ("warning", "near leak", "val/images/near.jpg")
        assert ("mirror" in finding.message) == (change == "mirrored")

    def test_blank_images_do_not_look_alike(self, data: Path) -> None:
        for split, grey in (("train", 80), ("val", 90)):
            write_image(data / split / "images" / "blank.png", np.full((96, 96, 3), grey, np.uint8))
            write_mask(data / split / "masks" / "blank.png", FOOT)
        assert check(data).findings == ()

    def test_real_photographs_have_no_twins(self, shared_data: Path) -> None:
        report = check(shared_data / "ccp_footwear")
        assert report.findings == ()
        assert report.counts == {"train": 482, "val": 115, "test": 124}


class TestText:
    def test_many_findings_are_shortened(self, data: Path) -> None:
        for number in range(13):
            write_mask(data / f"train/masks/extra{number}.png", FOOT)
        text = check(data).to_text()
        assert text.count("has no image") == 10
        assert "and 3 more of this kind (no image)" in text
        assert "train      3 images" in text


class TestFix:
    def fixed(self, data: Path, mask: Image.Image, name: str = "00000.png", **options: object) -> np.ndarray:
        """Put ``mask`` in the place of the first of val, fix, and read it."""
        (data / "val/masks/00000.png").unlink()
        mask.save(data / "val/masks" / name, **options)
        before = (data / "val/masks" / name).read_bytes()
        report = fix_masks(data)
        assert [fix.done for fix in report.fixes] == [True], report.to_text()
        assert report.ok
        assert (data / "val/masks_original" / name).read_bytes() == before
        assert os.listdir(data / "val/masks_original") == [name]  # noqa: PTH208
        assert sorted(path.name for path in (data / "val/masks").iterdir()) == ["00000.png", "00001.png"]
        assert check(data).ok
        assert fix_masks(data).fixes == ()
        return read_mask(data / "val/masks/00000.png", unnamed(2))

    def test_a_right_set_is_left_alone(self, data: Path) -> None:
        report = fix_masks(data)
        assert report.fixes == ()
        assert report.to_text() == "no mask needs converting"
        assert not (data / "train/masks_original").exists()

    def test_black_and_white(self, data: Path) -> None:
        np.testing.assert_array_equal(self.fixed(data, Image.fromarray(FOOT * 255)), FOOT)

    def test_grey_rgb(self, data: Path) -> None:
        rgb = np.stack([FOOT * 255] * 3, -1)
        np.testing.assert_array_equal(self.fixed(data, Image.fromarray(rgb)), FOOT)

    def test_rgb_of_indices_keeps_ignored(self, data: Path) -> None:
        mask = FOOT.copy()
        mask[:5] = 255
        np.testing.assert_array_equal(self.fixed(data, Image.fromarray(np.stack([mask] * 3, -1))), mask)

    def test_colours_of_the_description(self, data: Path) -> None:
        (data / "dataset.toml").write_text('classes = ["a", "b"]\ncolours = ["#0a0a0a", "#e63c5a"]')
        colours = np.array([(10, 10, 10), (230, 60, 90)], np.uint8)
        np.testing.assert_array_equal(self.fixed(data, Image.fromarray(colours[FOOT])), FOOT)

    def test_jpeg_becomes_png(self, data: Path) -> None:
        mask = self.fixed(data, Image.fromarray(FOOT * 255), "00000.jpg", quality=60)
        assert (mask == FOOT).mean() > 0.999  # a corner pixel may fall to the other side

    def test_soft_edges(self, data: Path) -> None:
        disc = np.hypot(*np.mgrid[-48:48, -48:48]) < 30
        large = Image.fromarray(np.kron(disc, np.ones((8, 8))).astype(np.uint8) * 255)
        soft = large.rotate(7).resize((96, 96), Image.Resampling.BOX)  # as a drawing program smooths
        assert len(soft.getcolors()) > 20
        np.testing.assert_array_equal(self.fixed(data, soft), np.asarray(soft) > 127)

    def test_all_white_follows_the_others(self, data: Path) -> None:
        write_mask(data / "val/masks/00000.png", np.full((96, 96), 255, np.uint8))
        assert fix_masks(data).fixes == ()  # alone it is a mask of ignored pixels
        write_mask(data / "val/masks/00001.png", FOOT * 255)
        assert [fix.done for fix in fix_masks(data).fixes] == [True, True]
        assert (read_mask(data / "val/masks/00000.png", unnamed(2)) == 1).all()

    @pytest.mark.parametrize(
        ("mask", "name", "words"),
        [
            (FOOT * 7, "00000.png", "too faint"),
            (FOOT * 3, "00000.jpg", "too faint"),
            (
                np.stack([FOOT * 200, FOOT * 90, FOOT * 30], -1),
                "00000.png",
                "17.36% of its pixels have the colour of no class, as #c85a1e",
            ),
            (np.stack([FOOT * 255] * 4, -1), "00000.png", "transparency"),
            (FOOT.astype(np.uint16) * 65535, "00000.png", "16 bits"),
        ],
    )
    def test_what_cannot_be_converted_is_said_and_untouched(
        self, data: Path, mask: np.ndarray, name: str, words: str
    ) -> None:
        (data / "val/masks/00000.png").unlink()
        Image.fromarray(mask).save(data / "val/masks" / name)
        before = (data / "val/masks" / name).read_bytes()
        report = fix_masks(data)
        assert not report.ok
        assert words in report.fixes[0].message
        assert f"not converted: val/masks/{name}" in report.to_text()
        assert (data / "val/masks" / name).read_bytes() == before
        assert not (data / "val/masks_original").exists()

    def test_255_stays_where_the_set_uses_it_for_ignored(self, data: Path) -> None:
        ignoring = FOOT.copy()
        ignoring[:5] = 255
        write_mask(data / "train/masks/00000.png", ignoring)
        write_mask(data / "val/masks/00000.png", FOOT * 255)
        report = fix_masks(data)
        assert [(fix.file, fix.done) for fix in report.fixes] == [("val/masks/00000.png", False)]
        assert "ignored" in report.fixes[0].message

    def test_white_is_ambiguous_among_three_classes(self, data: Path) -> None:
        (data / "dataset.toml").write_text('classes = ["a", "b", "c"]')
        write_mask(data / "val/masks/00000.png", FOOT * 255)
        assert "which of 3 classes is white" in fix_masks(data).fixes[0].message

    def test_an_unreadable_mask_is_said(self, data: Path) -> None:
        (data / "val/masks/00000.png").write_bytes(b"nothing")
        assert "not an image" in fix_masks(data).fixes[0].message

    def test_stopped_between_two_steps_it_goes_on(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (data / "val/masks/00000.png").unlink()
        Image.fromarray(FOOT * 255).save(data / "val/masks/00000.jpg", quality=95)

        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        for target, name in ((mend, "write_mask"), (Path, "unlink")):
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(target, name, stop)
                fix_masks(data)
            assert (data / "val/masks/00000.jpg").exists()
        assert fix_masks(data).ok
        assert check(data).ok

    def test_another_original_is_never_overwritten(self, data: Path) -> None:
        write_mask(data / "val/masks_original/00000.png", FOOT)
        write_mask(data / "val/masks/00000.png", FOOT * 255)
        report = fix_masks(data)
        assert "another file of this name" in report.fixes[0].message
        np.testing.assert_array_equal(read_mask(data / "val/masks_original/00000.png", unnamed(2)), FOOT)


class TestFixObeysTheDescription:
    """What dataset.toml says of colours comes first, and nothing that is labelled goes away."""

    def fixed(self, data: Path, mask: Image.Image, text: str, name: str = "00000.png") -> np.ndarray:
        (data / "dataset.toml").write_text(text)
        (data / "val/masks/00000.png").unlink()
        mask.save(data / "val/masks" / name)
        report = fix_masks(data)
        assert report.ok, report.to_text()
        return read_mask(data / "val/masks/00000.png", open_data(data).labels)

    def refused(self, data: Path, mask: np.ndarray, text: str = "") -> str:
        (data / "dataset.toml").write_text(text)
        Image.fromarray(mask).save(data / "val/masks/00000.png")
        before = (data / "val/masks/00000.png").read_bytes()
        (fix,) = fix_masks(data).fixes
        assert not fix.done
        assert (data / "val/masks/00000.png").read_bytes() == before
        return fix.message

    def test_white_is_the_background(self, data: Path) -> None:
        text = 'colours = ["#ffffff", "#000000"]'
        mask = self.fixed(data, Image.fromarray((1 - FOOT) * 255), text)
        np.testing.assert_array_equal(mask, FOOT)

    def test_white_is_the_third_class(self, data: Path) -> None:
        text = 'classes = ["a", "b", "c"]\ncolours = ["#000000", "#808080", "#ffffff"]'
        drawn = FOOT * 255
        drawn[:5] = 128
        expected = FOOT * 2
        expected[:5] = 1
        np.testing.assert_array_equal(self.fixed(data, Image.fromarray(drawn), text), expected)

    def test_colours_that_white_is_none_of_are_not_overruled(self, data: Path) -> None:
        text = 'colours = ["#000000", "#ff0000"]'
        assert "as #ffffff: name all colours" in self.refused(data, FOOT * 255, text)

    def test_a_colour_to_ignore_stays_ignored(self, data: Path) -> None:
        drawn = np.stack([FOOT * 255, FOOT * 0, FOOT * 0], -1)
        drawn[19, 30:70] = (224, 224, 192)  # a border of one pixel
        expected = FOOT.copy()
        expected[19, 30:70] = 255
        text = 'colours = ["#000000", "#ff0000"]\nignore = ["#e0e0c0"]'
        np.testing.assert_array_equal(self.fixed(data, Image.fromarray(drawn), text), expected)

    def test_two_feet_in_two_greys_are_not_one_and_none(self, data: Path) -> None:
        drawn = FOOT * 255
        drawn[70:80, 10:20] = 100  # 1 % of the picture
        assert "the grey 100, which is no smoothed edge" in self.refused(data, drawn)

    def test_a_thin_border_does_not_become_a_class(self, data: Path) -> None:
        drawn = FOOT * 255
        drawn[19, 29:71] = drawn[60, 29:71] = 192
        assert "the grey 192" in self.refused(data, drawn)

    def test_a_label_of_one_percent_in_a_jpeg(self, data: Path) -> None:
        drawn = np.stack([FOOT * 255] * 3, -1)
        drawn[70:80, 10:20] = (0, 160, 0)
        (data / "val/masks/00000.png").unlink()
        Image.fromarray(drawn).save(data / "val/masks/00000.jpg", quality=95)
        (fix,) = fix_masks(data).fixes
        assert "have the colour of no class" in fix.message

    def test_a_palette_in_another_order(self, data: Path) -> None:
        image = Image.fromarray(np.array([(0, 0, 0), (255, 0, 0)], np.uint8)[FOOT]).quantize(2)
        image.save(data / "val/masks/00000.png")
        (data / "dataset.toml").write_text('colours = ["#000000", "#ff0000"]')
        assert check(data).ok
        assert fix_masks(data).fixes == ()

    def test_a_stray_pixel(self, data: Path) -> None:
        drawn = FOOT * 255
        drawn[0, 0] = 1
        expected = FOOT.copy()
        expected[0, 0] = 1
        np.testing.assert_array_equal(self.fixed(data, Image.fromarray(drawn), ""), expected)


class TestTheSetAsAWhole:
    def test_what_is_left_out_and_named_otherwise(self, data: Path) -> None:
        (data / "val").rename(data / "valid")
        (data / "train/images/notes.xml").write_text("")
        (data / "train/masks/old").mkdir()
        found = {(f.level, f.kind, f.file): f.message for f in check(data).findings}
        assert found["error", "split name", "valid"] == "is not read: the split is val"
        assert found["warning", "left out", "train/images"] == "not read: 1 file of kind .xml"
        assert found["warning", "left out", "train/masks"] == "not read: the folder old"

    def test_one_index_of_two_colours(self, data: Path) -> None:
        for name, second in (("00000", (255, 0, 0)), ("00001", (0, 0, 255))):
            image = Image.fromarray(FOOT).convert("P")
            image.putpalette([0, 0, 0, *second])
            image.save(data / f"val/masks/{name}.png")
        finding = only(check(data))
        assert (finding.level, finding.kind, finding.file) == ("error", "palette", "val/masks/00001.png")
        with pytest.raises(
            FootsegError, match=r"index 1 of its palette is #0000ff, and #ff0000 in 00000.png"
        ):
            load_split(open_data(data), "val", (32, 32))

    def test_nothing_labelled(self, data: Path) -> None:
        for path in (data / "val/masks").iterdir():
            write_mask(path, np.full((96, 96), 255, np.uint8))
        report = check(data)
        assert [(f.kind, f.split) for f in report.errors] == [("nothing labelled", "val")]
        with pytest.raises(FootsegError, match=r"no pixel of .*val is labelled"):
            load_split(open_data(data), "val", (32, 32))

    @pytest.mark.parametrize("orientation", [3, 6])
    def test_masks_drawn_on_unturned_photographs(
        self, data: Path, orientation: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        for path in (data / "train/images").iterdir():
            Image.open(path).save(path, exif=exif)
        finding = only(check(data))
        assert (finding.level, finding.kind, finding.file) == ("warning", "turned", "train/masks")
        assert finding.message.startswith("3 of 3 masks whose photograph has an EXIF orientation")
        load_split(open_data(data), "train", (32, 32))
        assert "3 of 3 masks whose photograph" in capsys.readouterr().err
        turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}[orientation]
        for path in (data / "train/masks").iterdir():
            Image.open(path).transpose(turn).save(path)
        assert check(data).findings == ()

    def test_left_and_right(self, data: Path) -> None:
        text = 'classes = ["background", "left foot", "right foot"]\n'
        (data / "dataset.toml").write_text(text)
        kinds = {f.kind: f.fix for f in check(data).findings}
        assert kinds["left and right"].startswith('write flip_pairs = [["left foot", "right foot"]]')
        (data / "dataset.toml").write_text(text + 'flip_pairs = [["left foot", "right foot"]]')
        assert "left and right" not in {f.kind for f in check(data).findings}
