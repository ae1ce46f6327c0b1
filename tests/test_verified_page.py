"""What other runtimes made of files, on pages: told whole, escaped, and read back as it was written."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from footseg import clients
from footseg.benchmarks.pages import page as pages
from footseg.benchmarks.pages import report, verified
from footseg.benchmarks.pages import where as wheres
from footseg.clients import CHECKED, COMPUTED, NOT, RUNS, UNKNOWN, WRONG, Standing
from footseg.errors import FootsegError
from footseg.paired import decide, of_mean
from footseg.verifications import Row, Shown, Verifications, Verified
from tests.test_report import NASTY, Page, measured, results, sha, spaced, words

FP32, INT8 = "net_64x64_fp32.tflite", "net_64x64_int8.tflite"
STANDINGS = (
    Standing("cpu", "LiteRT, CPU", RUNS, CHECKED, equal=1.0),
    Standing("gpu", "LiteRT, GPU alone", RUNS, COMPUTED),
    Standing("tflite", "TensorFlow Lite", RUNS, COMPUTED, "it says so", since="2.3.0", asking=("A 3",)),
    Standing("mediapipe", "MediaPipe", NOT, COMPUTED, f"no description {NASTY}"),
    Standing("openvino", "OpenVINO", UNKNOWN, UNKNOWN, "not seen there yet: ABS"),
)


def a_row(client: str, title: str, **changes: object) -> Row:
    loss = decide(of_mean(np.zeros(3), np.array([0.01, 0.0, 0.02])), 0.005)
    found = Row(client, title, "1.2", 3, equal_cpu=0.999, equal_reference=0.99, logit_max=0.5, iou=loss)
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def a_record(*rows: Row, file: str = FP32) -> Verifications:
    checked = Verified(file, sha(file), "fp32", "run/model.keras", "feet", "val", 3, rows)
    return Verifications((checked,), {"cpu": "A core"}, {"footseg": "1"}, "2025-01-01T00:00:00+00:00")


def shown(name: str, differ: int) -> Shown:
    """An image of 8x8 of which ``differ`` pixels have another class."""
    reference = np.zeros((8, 8), np.int64)
    mask = reference.copy()
    mask.flat[:differ] = 1
    return Shown(name, np.full((8, 8, 3), 90, np.uint8), reference.astype(np.uint8), reference, mask)


ROWS = (
    a_row("cpu", "LiteRT, CPU"),
    a_row(
        "gpu", "LiteRT, GPU alone", failures=(f"99 % {NASTY}",), worst={"one": 0.1}, accelerated=7, fallen=2
    ),
    a_row("web", "LiteRT.js", error="make clients", absent=True, equal_cpu=None, iou=None),
)


def test_a_page_and_its_record(tmp_path: Path) -> None:
    found = verified.record(a_record(*ROWS), {(FP32, "gpu"): [shown("one", 6)], (FP32, "cpu"): []})
    out = verified.write(found, tmp_path / "page.html")
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text
    assert [one[:23] for one in page.addresses] == ["data:image/jpeg;base64,"] * 3
    said = spaced(text)
    assert "1 file in other people's runtimes: 1 of 3 give the masks that they should" in said
    for part in (
        "Against run/model.keras, on 3 images of feet/val",
        "99.900%",
        "7 of 9",
        "differences, LiteRT, GPU alone 10.00%",
    ):
        assert part in said, part
    assert f"LiteRT, GPU alone: 99 % {NASTY}" in said
    assert verified.read(tmp_path / "page.json") == found


@pytest.mark.parametrize("text", ["", "[]", '{"files": [{"file": 1}]}', "{"])
def test_another_file_is_no_record(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FootsegError, match=r"a\.json .* footseg verify"):
        verified.read(tmp_path / "a.json")


def test_a_page_does_not_take_its_records_place(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the name of the record"):
        verified.write(verified.record(a_record(*ROWS), {}), tmp_path / "page.json")


def test_pictures_beyond_the_budget_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [shown(str(number), number) for number in range(1, 4)]
    found = verified.record(a_record(*ROWS), {(FP32, "gpu"): images})
    one = sum(map(len, set(found.pictures[0].pictures.values())))
    monkeypatch.setattr(verified, "PICTURE_BYTES", 2 * (2 * one + 500))
    gallery = verified.gallery(found)
    assert gallery is not None
    assert (len(gallery.rows), gallery.omitted) == (2, 1)


def test_each_picture_stands_once(tmp_path: Path) -> None:
    """Two files of three clients: the photograph once, and one mask that two clients gave."""
    rows = tuple(a_row(client, client.upper(), worst={"one": 0.1}) for client in ("cpu", "gpu", "web"))
    checked = [a_record(*rows, file=file).files[0] for file in (FP32, INT8)]
    record = dataclasses.replace(a_record(), files=tuple(checked))
    differ = {"cpu": 20, "gpu": 20, "web": 40}
    found = verified.record(
        record,
        {(file.file, row.client): [shown("one", differ[row.client])] for file in checked for row in rows},
    )
    page = Page(verified.write(found, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(page.addresses) == len(set(page.addresses))
    gallery = verified.gallery(found)
    assert gallery is not None
    ((_, pictures),) = gallery.rows
    assert [picture.caption for picture in pictures[-4::2]] == [
        "CPU, fp32.tflite; GPU, fp32.tflite; CPU, int8.tflite and 1 more",
        "WEB, fp32.tflite; WEB, int8.tflite",
    ]


def files(tmp_path: Path, *standings: tuple[Standing, ...]) -> Path:
    lines = []
    for name, recipe, found in zip((FP32, INT8), ("fp32", "int8"), standings, strict=False):
        line = measured(name, recipe, 5.0)
        lines.append(dataclasses.replace(line, artifact=dataclasses.replace(line.artifact, clients=found)))
    return results(tmp_path, *lines)


def test_the_report_says_where_files_run(tmp_path: Path) -> None:
    given = files(tmp_path, STANDINGS, STANDINGS[:2])
    text = report.write_report(given, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script" not in text
    said = spaced(text)
    assert "Where it runs" in said
    table = said[said.index("client fp32.tflite int8.tflite") :]
    assert "LiteRT, CPU runs checked, 100.000% runs checked, 100.000%" in table
    assert "TensorFlow Lite runs from 2.3 on, computed \u2013" in table
    assert "OpenVINO not known \u2013" in table
    assert f"MediaPipe (fp32.tflite) : no description {NASTY}." in table
    assert "it says so" not in table  # a file that runs needs no reason


def test_what_was_verified_stands_in_the_place_of_what_was_computed(tmp_path: Path) -> None:
    found = verified.record(a_record(*ROWS), {(FP32, "gpu"): [shown("one", 6)]})
    verified.write(found, tmp_path / "page.html")
    given = files(tmp_path, STANDINGS, STANDINGS)
    out = report.write_report(given, tmp_path / "r.html", verified=[tmp_path / "page.json"])
    said = spaced(out.read_text(encoding="utf-8"))
    assert "LiteRT, GPU alone runs wrongly checked, 99.900% runs computed" in said
    assert "On other runtimes" in said
    assert "differences, LiteRT, GPU alone 10.00%" in said


def test_a_report_of_older_files_has_no_such_part(tmp_path: Path) -> None:
    text = words(tmp_path, measured(FP32, "fp32", 5.0))
    assert "Where it runs" not in text
    assert "On other runtimes" not in text


@pytest.mark.parametrize(
    ("names", "heads"),
    [
        ([FP32], [FP32]),
        ([FP32, INT8], ["fp32.tflite", "int8.tflite"]),
        (["a_b.tflite", "a_b_c.tflite"], ["b.tflite", "b_c.tflite"]),
        (["a.tflite", "b.onnx"], ["a.tflite", "b.onnx"]),
        (["a_b", "a_b"], ["b", "b"]),
    ],
)
def test_names_lose_what_all_of_them_begin_with(names: list[str], heads: list[str]) -> None:
    assert pages.short_names(names)[1] == heads
    assert [pages.short_names(names)[0] + head for head in heads] == names


def test_a_reason_is_said_once_of_all_that_have_it() -> None:
    same = (Standing("a", "A", NOT, COMPUTED, "why"), Standing("b", "B", WRONG, COMPUTED, "why"))
    made = [measured(name, "fp32", 5.0).artifact for name in (FP32, INT8)]
    found = wheres.where([dataclasses.replace(one, clients=same) for one in made], {})
    assert found is not None
    assert found.notes == (("A; B", "why"),)
    assert clients.summary(same) == ["runs wrongly: B (why)", "does not run: A (why)"]
