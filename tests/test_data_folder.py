"""The folder contract, dataset.toml, and a split as arrays in memory or mapped."""

import errno
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg.data import folder
from footseg.data.folder import DataSet, load_split, open_data, pairs
from footseg.data.images import IGNORE, write_image, write_mask
from footseg.data.labels import default_colours
from footseg.errors import FootsegError


def add(path: Path, split: str, name: str, foot: int = 10, size: tuple[int, int] = (20, 30)) -> None:
    """A photograph of one grey and a mask whose first ``foot`` columns are foot."""
    rng = np.random.default_rng(zlib.crc32(f"{split}/{name}".encode()))
    mask = np.zeros(size, np.uint8)
    mask[:, :foot] = 1
    write_image(path / split / "images" / f"{name}.png", np.full((*size, 3), rng.integers(256), np.uint8))
    write_mask(path / split / "masks" / f"{name}.png", mask)


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    path = tmp_path / "set"
    for name in ("b", "a", "c"):
        add(path, "train", name)
    add(path, "val", "d")
    return open_data(path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "footseg"


class TestOpen:
    def test_defaults(self, data: DataSet) -> None:
        assert data.classes == ("background", "foot")
        assert data.colours == default_colours(2)
        assert data.splits == ("train", "val")

    def test_no_folder_no_split_no_images(self, tmp_path: Path) -> None:
        with pytest.raises(FootsegError, match="no such folder"):
            open_data(tmp_path / "none")
        with pytest.raises(FootsegError, match=r"no folder train, val or test.*DIR/train/images"):
            open_data(tmp_path)
        (tmp_path / "train" / "images").mkdir(parents=True)
        with pytest.raises(FootsegError, match="no images"):
            open_data(tmp_path)

    def test_description(self, data: DataSet) -> None:
        (data.path / "dataset.toml").write_text(
            'classes = ["floor", "shoe", "sock"]\ncolours = [[0, 0, 0], "#e63c5a", "#0000FF"]'
        )
        again = open_data(data.path)
        assert again.classes == ("floor", "shoe", "sock")
        assert again.colours == ((0, 0, 0), (230, 60, 90), (0, 0, 255))

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("classes = [", "not valid TOML"),
            ('classes = ["one"]', "2 to 255 different names"),
            ('classes = ["a", "a"]', "2 to 255 different names"),
            ("classes = 3", "2 to 255 different names"),
            ('colours = ["#000000"]', "2 classes need 2 colours, got 1"),
            ("colours = 5", "2 classes need 2 colours, got 5"),
            ('colours = ["#000000", "#12"]', r'"#rrggbb", got \'#12\''),
            ('colours = ["#000000", "#zzzzzz"]', "got '#zzzzzz'"),
            ("colours = [[0, 0, 0], [0, 0, 256]]", "from 0 to 255"),
            ("colors = 1", "unknown key colors; known: classes, colours, "),
        ],
    )
    def test_wrong_description_is_one_line(self, data: DataSet, text: str, words: str) -> None:
        (data.path / "dataset.toml").write_text(text)
        with pytest.raises(FootsegError, match=words) as error:
            open_data(data.path)
        assert "dataset.toml" in str(error.value)
        assert "\n" not in str(error.value)

    def test_colours_are_all_different(self) -> None:
        assert len(set(default_colours(21))) == 21
        assert len(default_colours(255)) == 255
        assert default_colours(3)[0] == (0, 0, 0)


class TestPairs:
    def test_sorted_and_matched(self, data: DataSet) -> None:
        (data.path / "train" / "images" / "._a.png").write_text("left by macOS")
        (data.path / "train" / "images" / "notes.txt").write_text("not an image")
        found = pairs(data, "train")
        assert [pair.name for pair in found] == ["a", "b", "c"]
        assert found[0].mask == data.path / "train" / "masks" / "a.png"

    def test_no_such_split(self, data: DataSet) -> None:
        with pytest.raises(FootsegError, match="no split 'test': it has train, val"):
            pairs(data, "test")

    def test_missing_masks_are_named_up_to_five(self, data: DataSet) -> None:
        for number in range(7):
            add(data.path, "train", f"x{number}")
            (data.path / "train" / "masks" / f"x{number}.png").unlink()
        with pytest.raises(FootsegError, match=r"7 of 10 images .*: x0.png, .*x4.png, and 2 more; add"):
            pairs(data, "train")

    def test_a_name_twice(self, data: DataSet) -> None:
        shutil.copy(data.path / "train/images/a.png", data.path / "train/images/a.jpg")
        with pytest.raises(FootsegError, match=r"unique .*a\.jpg, a\.png"):
            pairs(data, "train")


class TestLoad:
    def test_arrays(self, data: DataSet) -> None:
        split = load_split(data, "train", (16, 32))
        assert split.names == ("a", "b", "c")
        assert (split.images.shape, split.images.dtype) == ((3, 16, 32, 3), np.uint8)
        assert (split.masks.shape, split.masks.dtype) == ((3, 16, 32), np.uint8)
        # 20x30 into 16x32 is scaled by 0.8 to 16x24: padding, 10 * 0.8 columns of foot, floor, padding.
        expected = [IGNORE] * 4 + [1] * 8 + [0] * 16 + [IGNORE] * 4
        np.testing.assert_array_equal(split.masks[1, 8], expected)
        with pytest.raises(ValueError, match="read-only"):
            split.images[0] = 0

    def test_beyond_the_limit_it_is_mapped_and_found_again(
        self, data: DataSet, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inside = load_split(data, "train", (16, 32), memory_limit=3 * 16 * 32 * 4)
        assert not cache.exists()
        mapped = load_split(data, "train", (16, 32), memory_limit=3 * 16 * 32 * 4 - 1)
        assert isinstance(mapped.images, np.memmap)
        np.testing.assert_array_equal(mapped.images, inside.images)
        np.testing.assert_array_equal(mapped.masks, inside.masks)
        assert mapped.fingerprint == inside.fingerprint
        assert [path.name for path in cache.iterdir()] == [f"{inside.fingerprint}-16x32-{folder.READING}"]

        monkeypatch.setattr(folder, "_decode", lambda *_: pytest.fail("decoded again"))
        again = load_split(data, "train", (16, 32), memory_limit=0)
        np.testing.assert_array_equal(again.masks, inside.masks)

    def test_fingerprint_follows_names_bytes_and_classes(self, data: DataSet, tmp_path: Path) -> None:
        def now() -> str:
            return load_split(open_data(data.path), "train", (8, 8)).fingerprint

        first = now()
        assert first == now()
        shutil.copytree(data.path, tmp_path / "copy")
        assert load_split(open_data(tmp_path / "copy"), "train", (8, 8)).fingerprint == first
        (data.path / "dataset.toml").write_text('classes = ["a", "b", "c"]')
        more_classes = now()
        add(data.path, "train", "a", foot=11)
        other_bytes = now()
        for part in ("images", "masks"):
            (data.path / "train" / part / "c.png").rename(data.path / "train" / part / "e.png")
        assert len({first, more_classes, other_bytes, now()}) == 4

    def test_all_bad_files_are_found_and_nothing_is_left(self, data: DataSet, cache: Path) -> None:
        image = data.path / "train/images/a.png"
        image.write_bytes(image.read_bytes()[:60])
        add(data.path, "train", "e", size=(30, 20))
        write_mask(data.path / "train/masks/e.png", np.zeros((20, 30), np.uint8))
        write_mask(data.path / "train/masks/b.png", np.full((20, 30), 9, np.uint8))
        with pytest.raises(FootsegError, match="3 of 4 pairs") as error:
            load_split(data, "train", (8, 8), memory_limit=0)
        text = str(error.value)
        assert all(words in text for words in ("a.png: damaged", "class index 9", "the mask is 30x20"))
        assert "EXIF" in text  # the sizes are each other's, turned
        assert "footseg data check" in text
        assert "\n" not in text
        assert list(cache.iterdir()) == []

    @pytest.mark.skipif(
        not hasattr(os, "posix_fallocate"), reason="the system cannot reserve room on the disk"
    )
    def test_full_disk_is_said_before_decoding(
        self, data: DataSet, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(FootsegError, match="disk is full"):
            load_split(data, "train", (8, 8), memory_limit=0)
        assert list(cache.iterdir()) == []


def test_a_set_that_is_changed_while_it_is_read_is_refused(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = folder._decode

    def decode(*arguments: Any) -> None:
        real(*arguments)
        path = pairs(data, "train")[0].mask
        path.write_bytes(path.read_bytes())  # as data check --fix and data synth --force do

    monkeypatch.setattr(folder, "_decode", decode)
    with pytest.raises(FootsegError, match="train was changed while it was read: run the command again"):
        load_split(data, "train", (32, 32))


def test_real_photographs(shared_data: Path) -> None:
    split = load_split(open_data(shared_data / "ccp_footwear"), "val", (64, 64))
    assert split.images.shape == (115, 64, 64, 3)
    assert set(np.unique(split.masks)) == {0, 1}
