"""Composited data: no foot and no floor in two parts, exact masks, clean edges, the same files for a seed."""

import errno
import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from footseg.cli import main
from footseg.data import composite, cutouts, floors, synth
from footseg.data.check import check
from footseg.data.composite import write_composites
from footseg.data.cutouts import Cutout, Person, Source, matte, prepare
from footseg.data.floors import Floor
from footseg.data.folder import open_data
from footseg.data.images import read_image, write_image, write_mask
from footseg.data.labels import unnamed
from footseg.data.masks import read_mask
from footseg.data.scene import compose
from footseg.data.synth import SynthConfig, counts_of
from footseg.errors import FootsegError

SIZE = (64, 64)
FEW = {"train": 5, "val": 3, "test": 3}


def digests(path: Path) -> dict[str, str]:
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.rglob("*")
        if file.is_file()
    }


def photograph(folder: Path, name: str, colour: tuple[int, int, int], mask: np.ndarray) -> None:
    """A foot of one colour on a green floor, noisy, so that no two files are the same."""
    rng = np.random.default_rng(sum(map(ord, name)))
    image = np.where(mask[..., None] > 0, np.array(colour), (40, 160, 60)) + rng.normal(
        0, 3, (*mask.shape, 3)
    )
    write_image(folder / "images" / f"{name}.png", image.clip(0, 255).astype(np.uint8))
    write_mask(folder / "masks" / f"{name}.png", mask)


def shown(folder: Path, mask: np.ndarray) -> Source:
    """The photograph of a red foot where ``mask`` has one."""
    photograph(folder, "a", (200, 0, 0), mask)
    return Source("a", folder / "images/a.png", folder / "masks/a.png")


def two_feet(shift: int = 0, kind: int = 1) -> np.ndarray:
    mask = np.zeros((80, 80), np.uint8)
    mask[30:60, 12 + shift : 30 + shift] = kind
    mask[34:64, 44 + shift : 62 + shift] = kind
    return mask


@pytest.fixture(scope="module")
def feet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten photographs of two feet each."""
    folder = tmp_path_factory.mktemp("feet")
    for number in range(10):
        photograph(folder, f"{number:02d}", (200, 20 * number, 30), two_feet(number % 5))
    return folder


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine floors in folders of folders."""
    folder = tmp_path_factory.mktemp("floors")
    rng = np.random.default_rng(0)
    for number in range(9):
        pixels = np.clip(rng.normal(90 + 10 * number, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
        write_image(folder / f"kind{number % 2}" / f"{number}.png", pixels)
    return folder


def manifest(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def out(feet: Path, ground: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("out") / "set"
    write_composites(path, feet, ground, SynthConfig(FEW, seed=3, size=SIZE))
    return path


class TestDataSet:
    def test_is_a_clean_data_set(self, out: Path) -> None:
        report = check(out)
        assert report.ok
        assert report.counts == FEW
        assert open_data(out).classes == ("background", "foot")

    def test_no_foot_and_no_floor_is_in_two_parts(self, out: Path) -> None:
        used: dict[str, tuple[set[str], set[str]]] = {split: (set(), set()) for split in FEW}
        for line in manifest(out):
            sources, grounds = used[line["image"].split("/")[0]]
            sources |= {foot["source"] for foot in line["feet"]}
            grounds.add(line["floor"])
        about = json.loads((out / "synth.json").read_text())["parts"]
        for split, (sources, grounds) in used.items():
            assert sources and sources <= set(about[split]["feet"])
            assert grounds and grounds <= set(about[split]["floors"])
        for kind, number in (("feet", 10), ("floors", 9)):
            everywhere = [name for part in about.values() for name in part[kind]]
            assert len(everywhere) == len(set(everywhere)) == number  # all are used, none twice

    def test_manifest_names_every_image_and_its_bytes(self, out: Path) -> None:
        lines = manifest(out)
        assert {line["image"] for line in lines} == {str(p.relative_to(out)) for p in out.glob("*/images/*")}
        for line in lines:
            assert hashlib.sha256((out / line["image"]).read_bytes()).hexdigest() == line["sha256"]
            assert 1 <= len(line["feet"]) <= 4

    def test_same_files_for_one_worker_and_three(
        self, out: Path, feet: Path, ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(synth, "IMAGES_A_WORKER", 1)
        write_composites(tmp_path / "set", feet, ground, SynthConfig(FEW, seed=3, size=SIZE, workers=3))
        assert digests(tmp_path / "set") == digests(out)

    def test_a_longer_part_begins_with_the_shorter_one(
        self, out: Path, feet: Path, ground: Path, tmp_path: Path
    ) -> None:
        write_composites(tmp_path / "set", feet, ground, SynthConfig({**FEW, "train": 6}, seed=3, size=SIZE))
        more = digests(tmp_path / "set")
        for name, digest in digests(out).items():
            assert "/" not in name or more[name] == digest

    def test_another_seed_makes_other_images(
        self, out: Path, feet: Path, ground: Path, tmp_path: Path
    ) -> None:
        write_composites(tmp_path / "set", feet, ground, SynthConfig(FEW, seed=4, size=SIZE))
        other, own = digests(tmp_path / "set"), digests(out)
        assert not any(other[name] == digest for name, digest in own.items() if "/images/" in name)

    def test_stopped_it_leaves_what_was_there(
        self, out: Path, feet: Path, ground: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(composite, "encode", stop)
        before, beside = digests(out), sorted(out.parent.iterdir())
        with pytest.raises(KeyboardInterrupt):
            write_composites(out, feet, ground, SynthConfig(FEW, size=SIZE, force=True))
        assert digests(out) == before
        assert sorted(out.parent.iterdir()) == beside

    def test_a_full_disk_is_said(
        self, feet: Path, ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(composite, "encode", full)
        with pytest.raises(FootsegError, match=r"the disk is full .*: .*set was not written"):
            write_composites(tmp_path / "set", feet, ground, SynthConfig(FEW, size=SIZE))
        assert list(tmp_path.iterdir()) == []

    def test_force_replaces_a_composited_set(self, feet: Path, ground: Path, tmp_path: Path) -> None:
        out = tmp_path / "set"
        write_composites(out, feet, ground, SynthConfig({"train": 2}, size=SIZE))
        with pytest.raises(FootsegError, match=r"not empty.*--force"):
            write_composites(out, feet, ground, SynthConfig({"train": 1}, size=SIZE))
        write_composites(out, feet, ground, SynthConfig({"train": 1}, size=SIZE, force=True))
        assert len(manifest(out)) == 1
        assert not (out / "val").exists()


class TestParts:
    def test_shares_are_the_thesis_s(self) -> None:
        assert counts_of(71_024) == {"train": 43_896, "val": 12_960, "test": 14_168}
        assert counts_of(3) == {"train": 1, "val": 1, "test": 1}
        assert counts_of(1) == {"train": 1, "val": 0, "test": 0}
        for count in range(1, 60):
            assert sum(counts_of(count).values()) == count

    def test_own_splits_are_kept(self, feet: Path, ground: Path, tmp_path: Path) -> None:
        for split, names in (("train", ["00", "01", "02"]), ("val", ["03"])):
            for name in names:
                photograph(tmp_path / "feet" / split, name, (200, 9, 30), two_feet(int(name)))
        (tmp_path / "feet" / "dataset.toml").write_text('classes = ["floor", "shoe"]')
        about = write_composites(
            tmp_path / "set",
            tmp_path / "feet",
            ground,
            SynthConfig({"train": 2, "val": 2, "test": 0}, size=SIZE),
        )
        assert about["parts"]["train"]["feet"] == [f"train/images/0{n}.png" for n in range(3)]
        assert about["parts"]["val"]["feet"] == ["val/images/03.png"]
        assert open_data(tmp_path / "set").classes == ("floor", "shoe")
        with pytest.raises(FootsegError, match=r"feet/test: add some.*--test 0"):
            write_composites(tmp_path / "no", tmp_path / "feet", ground, SynthConfig(FEW, size=SIZE))

    def test_feet_that_are_mirrored_swap_their_sides(self, ground: Path, tmp_path: Path) -> None:
        for number in range(4):
            photograph(tmp_path / "feet", f"{number}", (200, 9, 30), two_feet(number))
        text = 'classes = ["floor", "left foot", "right foot"]\nflip_pairs = [["left foot", "right foot"]]\n'
        (tmp_path / "feet" / "dataset.toml").write_text(text)
        config = SynthConfig({"train": 8, "val": 0, "test": 0}, size=(48, 48), workers=1)
        write_composites(tmp_path / "set", tmp_path / "feet", ground, config)
        data = open_data(tmp_path / "set")
        assert data.labels.flip_pairs == ((1, 2),)
        seen = set()
        for line in manifest(tmp_path / "set"):
            mask = read_mask(
                tmp_path / "set" / line["image"].replace("images", "masks").replace("jpg", "png"), data.labels
            )
            sides = {2 if foot["mirrored"] else 1 for foot in line["feet"]}
            assert set(np.unique(mask)) - {0} <= sides
            seen |= set(np.unique(mask))
        assert seen == {0, 1, 2}

    def test_one_photograph_under_two_names_stays_in_one_part(self, ground: Path, tmp_path: Path) -> None:
        for number in range(3):
            photograph(tmp_path / "feet", f"{number}", (200, 9, 30), two_feet(number))
        for part in ("images", "masks"):
            copy = tmp_path / "feet" / part / "copy.png"
            copy.write_bytes((tmp_path / "feet" / part / "1.png").read_bytes())
        for seed in range(4):
            about = write_composites(
                tmp_path / "set",
                tmp_path / "feet",
                ground,
                SynthConfig(FEW, seed=seed, size=(32, 32), force=True),
            )
            where = {name: split for split, part in about["parts"].items() for name in part["feet"]}
            assert len(where) == 4
            assert where["images/1.png"] == where["images/copy.png"]

    def test_the_same_floor_in_two_splits_is_refused(self, feet: Path, ground: Path, tmp_path: Path) -> None:
        for split in ("train", "val"):
            (tmp_path / split).mkdir()
            (tmp_path / split / f"{split}.png").write_bytes((ground / "kind0" / "0.png").read_bytes())
        with pytest.raises(FootsegError, match=r"val/val\.png in val is the same file as train/train\.png"):
            write_composites(tmp_path / "set", feet, tmp_path, SynthConfig({"train": 1, "val": 1}, size=SIZE))


class TestBadInput:
    def run(self, capsys: pytest.CaptureFixture[str], *words: object) -> str:
        assert main(["data", "synth", *map(str, words), "--size", "32", "--workers", "1"]) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    def test_of_the_command(
        self, feet: Path, ground: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        both = ("--feet", feet, "--floors", ground)
        assert "--floors needs --feet" in self.run(capsys, out, "--floors", ground)
        assert "--feet needs --floors" in self.run(capsys, out, "--feet", feet)
        assert "at least 1 image, got 0" in self.run(capsys, out, *both, "--count", 0)
        assert "not both" in self.run(capsys, out, *both, "--count", 9, "--val", 1)
        assert "no such folder" in self.run(capsys, out, "--feet", tmp_path / "x", "--floors", ground)
        assert not out.exists()

    def test_of_the_folders(
        self, feet: Path, ground: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out, empty = tmp_path / "out", tmp_path / "empty"
        empty.mkdir()
        assert "no pictures of floors" in self.run(capsys, out, "--feet", feet, "--floors", empty)
        assert "no masks for the feet" in self.run(
            capsys, out, "--feet", ground / "kind0", "--floors", ground
        )
        photograph(tmp_path / "none", "a", (0, 0, 0), np.zeros((40, 40), np.uint8))
        line = self.run(capsys, out, "--feet", tmp_path / "none", "--floors", ground)
        assert "the masks of all 1 photographs are empty" in line
        for name in ("a", "b"):
            photograph(tmp_path / "two", name, (200, 0, 0), two_feet())
        line = self.run(capsys, out, "--feet", tmp_path / "two", "--floors", ground)
        assert "2 different photographs with feet" in line
        assert "at least 3" in line
        (tmp_path / "two" / "images" / "b.png").write_bytes(b"no image")
        assert "b.png" in self.run(capsys, out, "--feet", tmp_path / "two", "--floors", ground)
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "floor.jpg").write_bytes(b"no image")
        assert "floor.jpg" in self.run(capsys, out, "--feet", feet, "--floors", tmp_path / "bad")
        assert not out.exists()


class TestCutouts:
    def test_edge_has_none_of_the_old_floor(self) -> None:
        """A red foot, photographed over a green floor with a soft edge, and a mask one pixel too large."""
        rows, columns = np.mgrid[:60, :60]
        away = np.hypot(rows - 30, columns - 30)
        cover = np.clip(15 - away + 0.5, 0, 1)[..., None]
        image = (cover * (200, 30, 30) + (1 - cover) * (30, 200, 30)).astype(np.uint8)
        colour, alpha = matte(image, away <= 16, np.zeros((60, 60), bool))
        seen = alpha > 0
        # The foot's red and green are 200 and 30; the floor's part is below 5 % everywhere.
        assert np.abs(colour[seen].astype(int) - (200, 30, 30)).max() <= 0.05 * 170
        # And it is the foot that is cut out, not the mask: within 2 % of its 707 pixels.
        assert alpha.sum() / 255 == pytest.approx(np.pi * 15**2, rel=0.02)

    def test_outline_decides_where_colours_are_alike(self) -> None:
        image = np.full((40, 40, 3), 90, np.uint8)
        inside = np.zeros((40, 40), bool)
        inside[10:30, 10:30] = True
        _, alpha = matte(image, inside, np.zeros((40, 40), bool))
        assert ((alpha >= 128) == inside).mean() > 0.95  # the square's rim of 76 is 4.75 % of the pixels
        assert (alpha[14:26, 14:26] == 255).all()
        assert (alpha[:6] == 0).all()

    def test_ignored_pixels_are_never_pasted(self, tmp_path: Path) -> None:
        mask = two_feet()
        mask[30:60, 30:36] = 255
        person = prepare(shown(tmp_path, mask), unnamed(2), 100)
        assert len(person.feet) == 2
        left = min(person.feet, key=lambda foot: foot.left)
        ignored = left.pixels[30 - left.top : 60 - left.top, 30 - left.left : 36 - left.left]
        assert ignored.size and not ignored[..., 3].any()

    def test_transparent_pictures(self, tmp_path: Path) -> None:
        pixels = np.zeros((50, 50, 4), np.uint8)
        pixels[10:40, 10:30] = (10, 20, 200, 255)
        Image.fromarray(pixels).save(tmp_path / "foot.png")
        (source,) = cutouts.find_feet(tmp_path).parts[""]
        person = prepare(source, unnamed(2), 100)
        (foot,) = person.feet
        assert person.ground is None and person.figure is None
        np.testing.assert_array_equal(foot.pixels[25 - foot.top, 20 - foot.left, :5], (10, 20, 200, 255, 1))

    def test_fragments_belong_to_their_foot_and_specks_to_none(self, tmp_path: Path) -> None:
        mask = two_feet()
        mask[20:28, 14:24] = 1  # a strap, 2 pixels above the left foot
        mask[2:4, 70:72] = 1
        first, second = prepare(shown(tmp_path, mask), unnamed(2), 100).feet
        for foot, ends in ((first, (20, 60)), (second, (34, 64))):
            rows = foot.points[:, 1]
            assert ends[0] < rows.min() < ends[0] + 2
            assert ends[1] - 2 < rows.max() < ends[1]

    def test_a_large_photograph_is_scaled_down(self, tmp_path: Path) -> None:
        mask = np.kron(two_feet(), np.ones((4, 4), np.uint8))
        person = prepare(shown(tmp_path, mask), unnamed(2), 50)
        # Both feet together are 200 pixels wide, and a foot 120 high: 30 after scaling by a quarter.
        assert [round(foot.length) for foot in person.feet] == [35, 35]  # hypot(30, 18)

    @pytest.mark.parametrize(
        ("cut", "out"), [("top", (0, -1)), ("bottom", (0, 1)), ("left", (-1, 0)), ("right", (1, 0))]
    )
    def test_border_that_cuts_a_foot(self, cut: str, out: tuple[int, int], tmp_path: Path) -> None:
        mask = np.zeros((40, 50), np.uint8)
        rows = {"top": slice(0, 9), "bottom": slice(31, 40)}.get(cut, slice(15, 25))
        columns = {"left": slice(0, 9), "right": slice(41, 50)}.get(cut, slice(15, 25))
        mask[rows, columns] = 1
        (foot,) = prepare(shown(tmp_path, mask), unnamed(2), 100).feet
        np.testing.assert_array_equal(foot.out, out)
        ends = {"top": (15, 25, 0), "bottom": (15, 25, 40), "left": (15, 25, 0), "right": (15, 25, 50)}[cut]
        along, across = foot.cut.T if cut in ("top", "bottom") else foot.cut.T[::-1]
        assert (along.min(), along.max(), *np.unique(across)) == ends

    def test_cut_on_opposite_sides_it_is_left_out(self, tmp_path: Path) -> None:
        mask = two_feet()
        mask[:, 12:30] = 1
        (right,) = prepare(shown(tmp_path, mask), unnamed(2), 100).feet
        assert right.points[:, 0].min() > 44

    def test_kept_and_read_again(self, feet: Path, tmp_path: Path) -> None:
        person = prepare(cutouts.find_feet(feet).parts[""][0], unnamed(2), 100)
        cutouts.save(tmp_path / "a.npz", person)
        again = cutouts.load(tmp_path / "a.npz")
        assert again.ground == person.ground
        for one, other in zip(person.feet, again.feet, strict=True):
            np.testing.assert_array_equal(one.pixels, other.pixels)
            np.testing.assert_array_equal(one.points, other.points)
            assert (one.left, one.top, one.length) == (other.left, other.top, other.length)


def square(kind: int = 1, cut: bool = False, grey: int = 255) -> Cutout:
    """An opaque square, 20 pixels a side; ``cut`` by its photograph's upper border."""
    pixels = np.zeros((20, 20, 6), np.uint8)
    pixels[..., :3], pixels[..., 3], pixels[..., 4], pixels[-3:, :, 5] = grey, 255, kind, 255
    at = np.stack(np.meshgrid(np.arange(1, 20, 3), np.arange(1, 20, 3)), -1).reshape(-1, 2) + 0.5
    ends = np.array([(x, 0) for x in range(21)], np.float32) if cut else np.zeros((0, 2), np.float32)
    out = np.array((0, -1) if cut else (0, 0), np.float32)
    return Cutout("0", pixels, 0, 0, ends, out, at.astype(np.float32), float(np.hypot(20, 20)))


def through(matrix: Any, points: Any) -> np.ndarray:
    """Points x, y (n, 2) of a photograph in the image, by a foot's ``matrix`` (2, 3) of the manifest."""
    return np.asarray(points) @ np.asarray(matrix)[:, :2].T + np.asarray(matrix)[:, 2]


def from_the_middle(matrix: Any) -> np.ndarray:
    """How far each pixel of the image is from a square's middle, along its sides: 10 is the rim."""
    back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))
    columns, rows = np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    own = through(back[:2], np.stack([columns.ravel(), rows.ravel()], -1))
    return np.abs(own - 10).max(1).reshape(SIZE)


class TestCompose:
    def test_mask_is_where_the_feet_cover_half(self) -> None:
        """White squares on a black floor: nothing else is bright but noise, blur and compression."""
        black = Floor(np.zeros((32, 32, 3), np.uint8), True)
        for seed in range(12):
            person = Person((square(),), None, (110.0, 110.0, 110.0))
            image, mask, _ = compose(np.random.default_rng(seed), black, [("a", person, person.feet)], SIZE)
            bright = image.mean(-1)
            # Half of the foot's own brightness, wherever the gain has put it.
            foot = bright >= np.median(bright[mask == 1]) / 2
            rim = np.pad(np.abs(np.diff(mask.astype(int), axis=0)), ((0, 1), (0, 0))) + np.pad(
                np.abs(np.diff(mask.astype(int), axis=1)), ((0, 0), (0, 1))
            )
            # The camera's blur moves the edge by less than a pixel: only there may the two differ.
            assert ((foot != mask) & (rim == 0)).sum() <= 0.15 * rim.astype(bool).sum()
            assert mask.any()

    def test_classes_are_kept_and_the_nearer_foot_hides_the_other(self) -> None:
        people = [
            (name, Person((one,), None, None), (one,))
            for name, one in zip("ab", (square(1), square(2)), strict=True)
        ]
        floor, both = Floor(np.zeros((32, 32, 3), np.uint8), True), 0
        for seed in range(30):
            _, mask, record = compose(np.random.default_rng(seed), floor, people, SIZE)
            expected, sure = np.zeros(SIZE, np.uint8), np.ones(SIZE, bool)
            for foot in record["feet"]:  # the nearest last
                away = from_the_middle(foot["matrix"])
                both += ((expected > 0) & (away < 8)).sum()
                expected[away < 10] = {"a": 1, "b": 2}[foot["source"]]
                # Cut-out and image have pixels: half of each, at no more than 1.5 times, is open at the rim.
                sure &= np.abs(away - 10) > 2
            np.testing.assert_array_equal(mask[sure], expected[sure])
        assert both > 100, "some must hide others, or this proves nothing"

    def test_who_stands_lower_stands_nearer(self) -> None:
        people = [(name, Person((square(),), None, None), (square(),)) for name in "abc"]
        floor, clear = Floor(np.zeros((32, 32, 3), np.uint8), True), 0
        for seed in range(20):
            feet = compose(np.random.default_rng(seed), floor, people, SIZE)[2]["feet"]
            turn = np.radians(np.median([foot["rotation"] for foot in feet]))  # the camera's, about
            soles = [through(foot["matrix"], [(10, 20)])[0] @ (-np.sin(turn), np.cos(turn)) for foot in feet]
            # The camera's turn is known to some 0.2 radians: of 40 pixels beside each other 8.
            assert all(after > before - 8 for before, after in itertools.pairwise(soles))
            clear += sum(after > before + 8 for before, after in itertools.pairwise(soles))
        assert clear > 5

    def test_what_a_photograph_cut_lies_at_the_border(self) -> None:
        """The cut side of 21 points must lie outside the image, wherever the foot is."""
        foot = square(cut=True)
        floor = Floor(np.zeros((32, 32, 3), np.uint8), True)
        for seed in range(40):
            people = [("a", Person((foot,), None, None), (foot,))]
            (placed,) = compose(np.random.default_rng(seed), floor, people, SIZE)[2]["feet"]
            ends = through(placed["matrix"], foot.cut)
            assert not np.all((ends > 0) & (ends < 64), 1).any()

    def test_long_legs_never_push_the_feet_out(self) -> None:
        """A figure twice as long as the image: its feet are seen none the less."""
        pixels = np.zeros((130, 20, 6), np.uint8)
        pixels[..., :4], pixels[110:, :, 4] = 255, 1
        foot = square(cut=True)
        legs = replace(foot, pixels=pixels, points=foot.points + np.float32((0, 110)))
        people = [("a", Person((foot,), legs, None), (legs,))]
        floor = Floor(np.zeros((32, 32, 3), np.uint8), True)
        for seed in range(20):
            assert compose(np.random.default_rng(seed), floor, people, SIZE)[1].any()

    def test_a_shadow_lies_under_the_sole(self) -> None:
        """Below it the floor is darker than elsewhere, beside the same floor without feet."""
        floor, left = Floor(np.full((32, 32, 3), 150, np.uint8), True), []
        for seed in range(20):
            people = [("a", Person((square(),), None, None), (square(),))]
            image, mask, record = compose(np.random.default_rng(seed), floor, people, SIZE)
            bare, _, _ = compose(np.random.default_rng(seed), floor, [], SIZE)
            light = image.mean(-1) / bare.mean(-1)
            below = through(record["feet"][0]["matrix"], [(x, 21.5) for x in range(5, 16)]).astype(int)
            columns, rows = below[((below >= 0) & (below < 64)).all(1)].T
            near = light[rows, columns][mask[rows, columns] == 0]
            left += [np.median(near) / np.median(light[mask == 0])] if len(near) else []
        # At the sole a contact shadow takes half of the light and more, blurred over its edge.
        assert np.median(left) < 0.8

    def test_brightness_follows_the_floor_in_part(self) -> None:
        def brightness(level: int, seed: int) -> float:
            foot = square(grey=100)
            people = [("a", Person((foot,), None, (100.0,) * 3), (foot,))]
            floor = Floor(np.full((32, 32, 3), level, np.uint8), True)
            image, mask, _ = compose(np.random.default_rng(seed), floor, people, SIZE)
            return float(image[mask == 1].mean())

        for seed in range(10):
            dark, same, bright = (brightness(level, seed) for level in (40, 100, 200))
            assert dark < same < bright
            assert bright < 2 * same  # never the whole way
            assert dark > 0.4 * same
        # On a floor like its own it keeps its brightness: what camera and light do at random evens out.
        assert np.mean([brightness(100, seed) for seed in range(20)]) == pytest.approx(100, rel=0.1)

    def test_a_foot_may_leave_the_image_but_is_seen(self, feet: Path) -> None:
        person = prepare(cutouts.find_feet(feet).parts[""][0], unnamed(2), 100)
        floor = Floor(np.full((32, 32, 3), 90, np.uint8), True)
        masks = np.stack(
            [
                compose(np.random.default_rng(n), floor, [("a", person, person.feet)], SIZE)[1]
                for n in range(40)
            ]
        )
        assert masks.any((1, 2)).all()
        rims = masks[:, 0].any(1) | masks[:, -1].any(1) | masks[:, :, 0].any(1) | masks[:, :, -1].any(1)
        assert 0.1 < rims.mean() < 0.9


class TestFloors:
    def test_seam(self) -> None:
        rows, columns = np.mgrid[:64, :64] * (2 * np.pi / 64)
        tile = (127 + 60 * np.sin(3 * rows) * np.cos(2 * columns)).astype(np.uint8)
        assert floors.tiles(np.dstack([tile] * 3))
        slope = np.dstack([(rows * 40).astype(np.uint8)] * 3)
        assert not floors.tiles(slope)

    @pytest.mark.parametrize("seamless", [True, False])
    def test_beyond_its_edge_it_is_repeated_or_mirrored(self, seamless: bool) -> None:
        pixels = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], 24, 0).repeat(3, 2)
        shown = floors.sample(Floor(pixels, seamless), np.eye(3), (24, 48))[..., 0]
        np.testing.assert_array_equal(shown[:, :24], pixels[..., 0])
        again = pixels[..., 0] if seamless else pixels[:, ::-1, 0]
        np.testing.assert_array_equal(shown[:, 24:], again)

    def test_camera_straight_above_only_scales(self) -> None:
        homography = floors.camera((64, 96), zoom=2, tilt=0, turn=0, roll=0, focal=1.5)
        middle, right = (homography @ (x, 32, 1) for x in (48, 58))
        np.testing.assert_allclose(middle[:2] / middle[2], 0, atol=1e-9)
        np.testing.assert_allclose(right[:2] / right[2], (5, 0), atol=1e-9)  # 10 pixels, twice enlarged

    def test_a_tilted_camera_sees_further_at_the_top(self) -> None:
        homography = floors.camera((64, 64), zoom=1, tilt=np.pi / 4, turn=0, roll=0, focal=1.5)
        top, middle, bottom = (homography @ (32, y, 1) for y in (0, 32, 64))
        top, middle, bottom = (point[1] / point[2] for point in (top, middle, bottom))
        assert middle == pytest.approx(0, abs=1e-9)
        assert middle - top > bottom - middle > 0


def test_legs_are_found_or_refused() -> None:
    """Dark legs from the upper border to two shoes, on a light floor; then on one of their own colour."""
    from footseg.data.legs import find_legs

    rng = np.random.default_rng(0)
    foot, leg = np.zeros((120, 120), bool), np.zeros((120, 120), bool)
    for left in (25, 70):
        foot[80:100, left : left + 24] = True
        leg[0:80, left + 4 : left + 20] = True
    for floor, found in ((210, True), (40, False)):
        image = np.full((120, 120, 3), floor) + rng.normal(0, 6, (120, 120, 3))
        image[leg] = (40, 42, 60) if found else 40
        image[foot] = (150, 40, 30)
        image = np.clip(image, 0, 255).astype(np.uint8)
        figure = find_legs(image, foot)
        assert (figure is not None) == found
        if figure is not None:
            both = leg | foot
            # A pixel's rim around 2 x 250 pixels of outline is all that may differ: 0.95 is half of it.
            assert (figure & both).sum() / (figure | both).sum() > 0.9
            assert (figure & foot).sum() == foot.sum()


def test_real_photographs(shared_data: Path, tmp_path: Path) -> None:
    """The cut-outs of street photographs on real floors pass the check, near duplicates included."""
    small = tmp_path / "feet"
    for kind in ("images", "masks"):
        (small / kind).mkdir(parents=True)
        for path in sorted((shared_data / "ccp_footwear/train" / kind).iterdir())[:30]:
            (small / kind / path.name).write_bytes(path.read_bytes())
    (tmp_path / "floors").mkdir()
    for path in sorted((shared_data / "floors/train").iterdir())[::20]:
        (tmp_path / "floors" / path.name).write_bytes(path.read_bytes())
    counts = {"train": 24, "val": 8, "test": 8}
    write_composites(tmp_path / "set", small, tmp_path / "floors", SynthConfig(counts, size=(128, 128)))
    report = check(tmp_path / "set")
    assert report.findings == ()
    assert 0.02 < report.shares["train"]["foot"] < 0.4
    assert any(foot["component"] == "figure" for line in manifest(tmp_path / "set") for foot in line["feet"])
    for line in manifest(tmp_path / "set")[:5]:
        assert read_image(tmp_path / "set" / line["image"]).shape == (128, 128, 3)
        name = line["image"].replace("images", "masks").replace(".jpg", ".png")
        assert read_mask(tmp_path / "set" / name, unnamed(2)).any()
