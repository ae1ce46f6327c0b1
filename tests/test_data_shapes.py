"""Drawn feet: the same for a seed whoever draws them, with masks that fit, and never over other files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from footseg.data import shapes, synth
from footseg.data.check import check
from footseg.data.folder import load_split, open_data
from footseg.data.images import read_image
from footseg.data.shapes import draw, write_shapes
from footseg.data.synth import SynthConfig
from footseg.errors import FootsegError


def digests(path: Path) -> dict[str, str]:
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.rglob("*")
        if file.is_file()
    }


class TestDraw:
    def test_deterministic_by_seed_and_index(self) -> None:
        image, mask = draw(3, 5, (64, 96))
        again, mask_again = draw(3, 5, (64, 96))
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(mask, mask_again)
        assert (image.shape, image.dtype, mask.shape, mask.dtype) == (
            (64, 96, 3),
            np.uint8,
            (64, 96),
            np.uint8,
        )
        for other in (draw(4, 5, (64, 96)), draw(3, 6, (64, 96))):
            assert (other[0] != image).mean() > 0.5

    def test_every_picture_shows_a_foot_and_a_floor(self) -> None:
        masks = [draw(0, index, (64, 64))[1] for index in range(60)]
        assert all(set(np.unique(mask)) == {0, 1} for mask in masks)
        shares = np.array([mask.mean() for mask in masks])
        assert shares.min() > 0.01
        assert shares.max() < 0.7
        assert 0.08 < shares.mean() < 0.25

    def test_mask_lies_on_the_drawn_foot(self) -> None:
        """A square of half the picture covers pixels 16 to 47, in the mask as in the colours."""
        canvas = shapes._Canvas((64, 64))
        square = np.array([(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)])
        canvas.polygon(square, np.array((255, 255, 255)), 1.0, True)
        canvas.polygon(square * 0.5, np.array((9, 9, 9)), 1.0, False)
        foot = canvas.layer("foot") >= 0.5
        rows, columns = np.nonzero(foot)
        assert (rows.max(), columns.max()) == (47, 47)
        assert not foot[:24, :24].any()  # what lies on a foot hides it
        np.testing.assert_array_equal(foot, canvas.layer("colour")[..., 0] >= 0.5)

    def test_pictures_differ_in_what_they_show(self) -> None:
        images = np.stack([draw(1, index, (32, 32))[0] for index in range(40)])
        means = images.reshape(40, -1, 3).mean(1)
        assert (means.std(0) > 15).all()

    def test_too_small(self) -> None:
        with pytest.raises(ValueError, match="at least 16x16"):
            draw(0, 0, (15, 64))


class TestWrite:
    def test_a_clean_data_set(self, tmp_path: Path) -> None:
        out = write_shapes(
            tmp_path / "set", SynthConfig({"train": 4, "val": 2, "test": 2}, seed=1, size=(48, 64))
        )
        report = check(out)
        assert report.ok
        assert report.counts == {"train": 4, "val": 2, "test": 2}
        split = load_split(open_data(out), "train", (48, 64))
        _, mask = draw(1, 2, (48, 64))
        np.testing.assert_array_equal(split.masks[2], mask)

    def test_splits_share_no_picture_and_grow_in_place(self, tmp_path: Path) -> None:
        small = digests(write_shapes(tmp_path / "a", SynthConfig({"train": 2, "val": 2}, size=(32, 32))))
        large = digests(write_shapes(tmp_path / "b", SynthConfig({"train": 3, "val": 2}, size=(32, 32))))
        assert small.items() < large.items()
        assert len(set(large.values())) == len(large)

    def test_the_number_of_workers_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(synth, "IMAGES_A_WORKER", 1)
        alone = write_shapes(tmp_path / "one", SynthConfig({"train": 4}, seed=2, size=(32, 32), workers=1))
        several = write_shapes(tmp_path / "two", SynthConfig({"train": 4}, seed=2, size=(32, 32), workers=2))
        assert digests(alone) == digests(several)
        assert len(digests(alone)) == 8

    def test_a_folder_with_something_in_it_needs_force(self, tmp_path: Path) -> None:
        out = write_shapes(tmp_path / "set", SynthConfig({"train": 1}, size=(32, 32)))
        before = digests(out)
        with pytest.raises(FootsegError, match=r"not empty.*--force"):
            write_shapes(out, SynthConfig({"train": 1}, seed=9, size=(32, 32)))
        assert digests(out) == before
        write_shapes(out, SynthConfig({"val": 1}, seed=9, size=(32, 32), force=True))
        assert [path.name for path in out.iterdir()] == ["val"]

    def test_force_never_replaces_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "holiday.txt").write_text("mine")
        with pytest.raises(FootsegError, match=r"holiday\.txt"):
            write_shapes(tmp_path, SynthConfig({"train": 1}, size=(32, 32), force=True))
        assert (tmp_path / "holiday.txt").read_text() == "mine"

    def test_an_empty_folder_is_fine_and_a_file_is_not(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        out = write_shapes(tmp_path / "empty", SynthConfig({"test": 1}, size=(32, 32)))
        assert read_image(out / "test/images/00000.jpg").shape == (32, 32, 3)
        (tmp_path / "file").write_text("")
        with pytest.raises(FootsegError, match="is a file"):
            write_shapes(tmp_path / "file", SynthConfig({"test": 1}))

    def test_stopped_it_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(shapes, "write_mask", stop)
        with pytest.raises(KeyboardInterrupt):
            write_shapes(tmp_path / "set", SynthConfig({"train": 3}, size=(32, 32)))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("counts", [{}, {"train": 0}, {"train": -1, "val": 2}, {"training": 3}])
    def test_wrong_counts(self, tmp_path: Path, counts: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="counts must give"):
            write_shapes(tmp_path / "set", SynthConfig(counts))
