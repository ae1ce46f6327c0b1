"""Golden vectors: what they hold, that the page alone makes them, and that an app's mistakes are named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from footseg.cli import main
from footseg.data.images import Letterbox, read_image
from footseg.data.resizing import KERNELS, Rule
from footseg.errors import FootsegError
from footseg.export import golden, golden_check
from footseg.export.ends import Asked, with_ends
from footseg.export.golden import Golden, Tensor
from tests.test_pixels import mask as mask_of_page
from tests.test_pixels import place as place_of_page
from tests.test_pixels import tensor as tensor_of_page
from tests.test_pixels import upright

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def vectors(tiny_artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("golden") / "vectors"
    assert main(["golden", "make", str(tiny_artifacts["fp32"]), "--out", str(out)]) == 0
    return out


@pytest.fixture
def record(vectors: Path) -> Golden:
    return golden.load(vectors)


@pytest.fixture
def app(vectors: Path, tmp_path: Path) -> Path:
    """What an app that does everything right wrote."""
    out = tmp_path / "app"
    shutil.copytree(vectors, out)
    (out / golden.RECORD).unlink()
    return out


def ours(image: np.ndarray, rule: Rule = Rule("ours")) -> np.ndarray:  # noqa: B008 - frozen
    return rule.canvas(image, (64, 64))[0].astype(np.float32) / 255


def rewritten(record: Golden, vectors: Path, app: Path, make: Callable[[np.ndarray], np.ndarray]) -> None:
    """Let the app make its tensors in another way; it wrote nothing else."""
    for case in record.cases:
        values = make(read_image(vectors / case.photograph))
        (app / case.input).write_bytes(np.ascontiguousarray(values, "<f4").tobytes())
        (app / case.output).unlink()
        (app / case.mask).unlink()


def test_the_page_alone_makes_them(vectors: Path) -> None:
    """Read as an app reads them: JSON, PNG and raw numbers, and the code of tests.test_pixels."""
    record = json.loads((vectors / "golden.json").read_text())
    assert (record["format"], record["gives"], record["classes"], record["size"]) == (
        1,
        "logits",
        2,
        [64, 64],
    )
    sources = {}
    for case in record["cases"]:
        stored = np.array(Image.open(vectors / case["photograph"]))
        image = upright(stored, case["orientation"])
        sources[case["name"]] = image.shape[:2]
        assert list(image.shape[:2]) == case["source"]
        assert place_of_page(image.shape[:2], (64, 64)) == tuple(
            case[name] for name in ("top", "left", "height", "width")
        )
        given = np.frombuffer((vectors / case["input"]).read_bytes(), "<f4").reshape(record["input"]["shape"])
        np.testing.assert_array_equal(tensor_of_page(image, (64, 64)), given)
        logits = np.frombuffer((vectors / case["output"]).read_bytes(), "<f4").reshape(
            record["output"]["shape"]
        )
        mask = np.array(Image.open(vectors / case["mask"]))
        # The same sums in another order: of 50,000 pixels none lies that near to a tie.
        assert (mask_of_page(logits[0], image.shape[:2]) != mask).mean() <= 1e-4
    assert sources["same"] == (64, 64)
    assert sources["thin"][1] == 1
    assert sources["landscape"][1] > sources["landscape"][0] > 64
    assert min(sources["portrait"]) > 2 * 64
    assert max(sources["small"]) < 64
    assert sources["turned"] == upright(np.array(Image.open(vectors / "turned/photograph.png")), 6).shape[:2]


def test_the_same_file_gives_the_same_bytes(
    vectors: Path, tiny_artifacts: dict[str, Path], tmp_path: Path
) -> None:
    assert main(["golden", "make", str(tiny_artifacts["fp32"]), "--out", str(tmp_path / "again")]) == 0
    names = {path.relative_to(vectors) for path in vectors.rglob("*") if path.is_file()}
    assert len(names) == 1 + 4 * 6
    assert names == {
        p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()
    }
    assert all((vectors / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)


@pytest.mark.parametrize("kind", ["onnx", "int8"])
def test_files_of_one_network_have_one_tensor(
    kind: str, tiny_artifacts: dict[str, Path], vectors: Path, tmp_path: Path
) -> None:
    made = golden.make(tiny_artifacts[kind], tmp_path / "vectors")
    for case in made.cases:
        assert (tmp_path / "vectors" / case.input).read_bytes() == (vectors / case.input).read_bytes()
    report = golden_check.check(vectors, tmp_path / "vectors")
    assert {one.status for one in report.found if one.step == "input"} == {"right"}
    if kind == "onnx":  # float32 on both sides
        assert report.ok


def test_files_of_pixels_and_masks(tiny_float: Path, tmp_path: Path) -> None:
    """Pixels are the canvas as it is; masks are held against each other by the share of their pixels."""
    path = tmp_path / "a.tflite"
    path.write_bytes(with_ends(tiny_float.read_bytes(), Asked("uint8", "mask")))
    made = golden.make(path, tmp_path / "vectors")
    assert (made.gives, made.input.type, made.output.shape) == ("mask", "uint8", (1, 64, 64, 1))
    assert "black is 0, white 255" in made.input.text
    same = read_image(tmp_path / "vectors/same/photograph.png")
    assert (tmp_path / "vectors/same/input.bin").read_bytes() == same.tobytes()
    assert golden_check.check(tmp_path / "vectors", tmp_path / "vectors").ok
    shutil.copytree(tmp_path / "vectors", tmp_path / "app")
    classes = made.output.real(tmp_path / "app/same/output.bin")
    (tmp_path / "app/same/output.bin").write_bytes((1 - classes).tobytes())
    report = golden_check.check(tmp_path / "vectors", tmp_path / "app")
    (wrong,) = (one for one in report.found if one.step == "output" and one.status == "differs")
    assert (wrong.case, wrong.largest, wrong.mean) == ("same", 1.0, 1.0)
    assert made.limits["output"].value < 0.1


def test_what_is_right_is_said_to_be(app: Path, vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(app / "thin")
    assert main(["golden", "check", str(vectors), str(app)]) == 0
    printed = capsys.readouterr().out
    assert "all that the app gave is right" in printed
    assert "thin" not in printed


def test_a_level_more_or_less_is_within_the_limit(record: Golden, vectors: Path, app: Path) -> None:
    def noisy(image: np.ndarray) -> np.ndarray:
        return ours(image) + np.random.default_rng(0).integers(-1, 2, (64, 64, 3)) / np.float32(255)

    rewritten(record, vectors, app, noisy)
    assert golden_check.check(vectors, app).ok


IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def slow(*values: object) -> object:
    """One of those that take a second each."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        slow(lambda image: ours(image)[..., ::-1], ("BGR",)),
        slow(lambda image: ours(image) * 255, ("0 to 255",)),
        slow(lambda image: ours(image) / 255, ("divided by 255 twice",)),
        (lambda image: (ours(image) - IMAGENET[0]) / IMAGENET[1], ("ImageNet",)),
        slow(lambda image: ours(image)[::-1], ("upside down",)),
        slow(lambda image: ours(image).transpose(2, 0, 1), ("channels first",)),
        (lambda image: ours(image, Rule("", padding=0)), ("padded in black",)),
        slow(lambda image: ours(image, Rule("", "bilinear")), ("bilinear without antialiasing",)),
        slow(lambda image: ours(image, Rule("", "align_corners")), ("align-corners",)),
        (lambda image: ours(image, Rule("", "halved")), ("halved",)),
        (
            lambda image: ours(image, Rule("", "nearest", stretch=True))[..., ::-1] * 2 - 1,
            ("stretched", "the nearest pixel", "BGR", "-1 to 1"),
        ),
    ],
)
def test_mistakes_of_tensors_are_named_alone_and_together(
    make: Callable[[np.ndarray], np.ndarray], named: tuple[str, ...], record: Golden, vectors: Path, app: Path
) -> None:
    rewritten(record, vectors, app, make)
    report = golden_check.check(vectors, app)
    assert (report.ok, report.first) == (False, "input")
    text = report.guesses["input"]
    assert all(name in text for name in named), text
    # Nothing else is named.
    assert text.count(" and ") == len(named) - 1
    assert "nothing is left" in text


def test_a_photograph_that_was_not_turned_is_found_out(record: Golden, vectors: Path, app: Path) -> None:
    turned = next(case for case in record.cases if case.name == "turned")
    stored = np.array(Image.open(vectors / turned.photograph))
    (app / turned.input).write_bytes(ours(stored).tobytes())
    report = golden_check.check(vectors, app)
    assert {(one.case, one.step) for one in report.found if one.status == "differs"} == {("turned", "input")}
    assert "EXIF's orientation ignored" in report.guesses["input"]


def test_what_nothing_explains_is_not_explained(record: Golden, vectors: Path, app: Path) -> None:
    rng = np.random.default_rng(0)
    rewritten(record, vectors, app, lambda image: rng.random((64, 64, 3)))
    report = golden_check.check(vectors, app)
    assert not report.ok
    assert report.guesses == {}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda v: np.exp(v) / np.exp(v).sum(-1, keepdims=True),
            "probabilities (softmax) in place of logits",
        ),
        (lambda v: v[..., ::-1], "the classes exchanged"),
        (lambda v: v.transpose(2, 0, 1), "channels first"),
    ],
)
def test_mistakes_of_outputs_are_named(
    change: Callable[[np.ndarray], np.ndarray], named: str, record: Golden, vectors: Path, app: Path
) -> None:
    for case in record.cases:
        values = change(record.output.real(vectors / case.output)[0])
        (app / case.output).write_bytes(np.ascontiguousarray(values, "<f4").tobytes())
        (app / case.mask).unlink()
    report = golden_check.check(vectors, app)
    assert (report.ok, report.first) == (False, "output")
    assert named in report.guesses["output"]
    assert {one.status for one in report.found if one.step == "input"} == {"right"}


def aligned(values: np.ndarray, box: Letterbox) -> np.ndarray:
    planes = [
        KERNELS["align_corners"](np.ascontiguousarray(p), *box.source)
        for p in np.moveaxis(values[box.place], -1, 0)
    ]
    return np.argmax(planes, axis=0).astype(np.uint8)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (
            lambda values, box: KERNELS["nearest"](
                values[box.place].argmax(-1).astype(np.uint8), *box.source
            ),
            "nearest",
        ),
        (aligned, "align-corners"),
        (lambda values, box: 255 * mask_of_page(values, box.source), "255 for the foreground"),
        (lambda values, box: 1 - mask_of_page(values, box.source), "the classes exchanged"),
        (lambda values, box: mask_of_page(values, box.source)[:, ::-1], "mirrored"),
    ],
)
def test_mistakes_of_masks_are_named(
    make: Callable[[np.ndarray, Letterbox], np.ndarray], named: str, record: Golden, vectors: Path, app: Path
) -> None:
    for case in record.cases:
        values = record.output.real(vectors / case.output)[0]
        mask = make(values, Letterbox.fit(case.source, (64, 64)))
        Image.fromarray(np.ascontiguousarray(mask)).save(app / case.mask)
    report = golden_check.check(vectors, app)
    assert (report.ok, report.first) == (False, "mask")
    assert named in report.guesses["mask"]


def test_masks_may_be_bytes_or_colours_and_follow_their_own_output(
    record: Golden, vectors: Path, app: Path
) -> None:
    """An app whose network differs but whose masks are those of what it got has one fault, not two."""
    for number, case in enumerate(record.cases):
        values = -record.output.real(vectors / case.output)
        (app / case.output).write_bytes(values.tobytes())
        mask = mask_of_page(values[0], case.source)
        if number % 2:
            (app / case.mask).unlink()
            (app / case.mask).with_suffix(".bin").write_bytes(mask.tobytes())
        else:
            Image.fromarray(np.repeat(mask[..., None], 3, 2)).convert("RGBA").save(app / case.mask)
    report = golden_check.check(vectors, app)
    assert {one.status for one in report.found if one.step == "mask"} == {"right"}
    assert report.first == "output"


def test_what_follows_from_a_wrong_tensor_is_no_fault_of_its_own(
    record: Golden, vectors: Path, app: Path
) -> None:
    for case in record.cases:
        (app / case.input).write_bytes((vectors / case.input).read_bytes()[::-1])
        values = record.output.real(vectors / case.output) + 3
        (app / case.output).write_bytes(values.tobytes())
    report = golden_check.check(vectors, app)
    assert {one.status for one in report.found if one.step == "output"} == {"follows"}
    assert set(report.guesses) <= {"input"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("input.bin", b"\0" * (64 * 64 * 3), "12288 bytes, not the 49152 of float32 .*one byte a number"),
        ("input.bin", b"\0" * (64 * 64 * 16), r"four channels: leave out alpha"),
        ("input.bin", b"\xff" * (64 * 64 * 12), "has NaN or infinity"),
        ("output.bin", b"", "0 bytes, not the 32768"),
        ("mask.png", b"no picture", "not an image that can be read"),
        ("mask.png", Image.new("L", (64, 64)), r"is 64x64, its photograph 83x113 \(not enlarged to it\)"),
        ("mask.png", Image.new("L", (83, 113)), r"is 113x83, its photograph 83x113 \(turned: "),
    ],
)
def test_what_cannot_be_compared_is_said_and_the_rest_goes_on(
    name: str, content: bytes | Image.Image, words: str, vectors: Path, app: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = app / "landscape" / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.save(path)
    assert main(["golden", "check", str(vectors), str(app)]) == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    assert np.char.count(captured.out, " right") >= 17
    assert re.search(words, captured.out)


def test_bad_input_is_one_clear_line(
    vectors: Path, tiny_run: Path, tiny_artifacts: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for words, message in (
        (
            ["check", str(vectors), str(tmp_path)],
            "has none of same/input.bin, same/output.bin, same/mask.png",
        ),
        (["check", str(tmp_path), str(vectors)], "no such file: "),
        (
            ["make", str(tiny_run), "--out", str(tmp_path / "x")],
            "goes into no app: give the .tflite or .onnx",
        ),
        (["make", str(tiny_artifacts["fp32"]), "--out", str(tmp_path / "mine")], "holds something else"),
    ):
        assert main(["golden", *words]) == 1
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    assert not (tmp_path / "x").exists()


def test_integers_stand_for_real_numbers(tmp_path: Path) -> None:
    codes = np.array([[[[-128, 0, 127]]]], np.int8)
    (tmp_path / "input.bin").write_bytes(codes.tobytes())
    real = Tensor((1, 1, 1, 3), "int8", "", scale=1 / 255, zero_point=-128).real(tmp_path / "input.bin")
    np.testing.assert_allclose(real.ravel(), [0, 128 / 255, 1], rtol=1e-6)
    with pytest.raises(FootsegError, match=r"3 bytes, not the 12 of float32 \(1, 1, 1, 3\)"):
        Tensor((1, 1, 1, 3), "float32", "").real(tmp_path / "input.bin")


def test_a_tensor_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match=r"\(1, 64, 0, 2\) holds nothing"):
        golden.Tensor((1, 64, 0, 2), "float32", "logits")
