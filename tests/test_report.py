"""The page stands alone, closes what it opens, escapes what it is given and places what belongs together."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import charts, measurement, pictures, report
from benchmarks.measurement import ColdStart, Latency, Measurement, Relative
from footseg.artifact import Artifact
from footseg.errors import FootsegError
from footseg.run import Run
from footseg.runtime import Delegation

NASTY = 'foot"><script>alert(1)</script>'
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page holds; fails on a tag that is closed out of order or left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def measured(name: str, recipe: str, ms: float, **changes: Any) -> Measurement:
    form = name.rsplit(".", 1)[-1]
    fields: dict[str, Any] = {
        "kind": "measured",
        "created": "2025-01-01T00:00:00+00:00",
        "device": {"cpu": "A core", "cores": 2, "architecture": "x86_64", "system": "Linux 6"},
        "artifact": Artifact(
            Path(name),
            form,
            sha256=f"{name}-sha",
            network="fast_linknet",
            input_shape=(1, 64, 64, 3),
            classes=("background", NASTY),
            recipe=recipe,
            parameters=1_810_818,
            run="runs/demo",
            verification={"pixels_equal": 0.999968, "logit_max_absolute": 0.0031, "iou": -0.0012},
        ),
        "runtime": "LiteRT",
        "runtime_version": "2.3.0",
        "threads": 1,
        "latency": Latency.of([ms] * 20, 5),
        "cold_start": ColdStart(20.0, 9.4),
        "peak_memory_mb": 28.7,
        "file_bytes": 7_176_132 if recipe == "fp32" else 2_072_448,
        "gzip_bytes": 1_860_257,
        "zstd_bytes": 1_793_004,
        "cost": {
            "parameters": 1_796_368,
            "macs": 188_452_864,
            "flops": 376_905_728,
            "flops_tf_benchmark": 309_854_208,
            "uncounted": ["ADD"],
        },
        "delegation": Delegation(66, 65, 1),
        "relative": None,
        "versions": {"python": "3.11"},
    }
    return Measurement(**{**fields, **changes})


def results(folder: Path, *lines: Measurement) -> Path:
    path = folder / "results.jsonl"
    for line in lines:
        measurement.append_line(path, line)
    return path


def evaluation(folder: Path, sha256: str, iou: float, **changes: Any) -> Path:
    """What footseg evaluate leaves, with one sample and one worst image."""
    for kind in ("image", "truth", "prediction", "error"):
        for place in ("samples", "worst"):
            (folder / place).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (90, 120, 150)).save(folder / place / f"one_{kind}.jpg")
    record = {
        "model": "m.tflite",
        "sha256": sha256,
        "data": "feet",
        "data_fingerprint": "f1",
        "split": "test",
        "images": 124,
        "size": [64, 64],
        "metrics": {"iou": iou, "boundary_f": 0.61, "boundary_tolerance_px": 3},
        "per_image": [{"name": "one", "iou": 0.345}],
    }
    (folder / "metrics.json").write_text(json.dumps(record | changes))
    return folder


def training_run(folder: Path, classes: tuple[str, ...] = ("background", "foot")) -> Path:
    folder.mkdir()
    Run(
        path=folder,
        status="finished",
        network="fast_linknet",
        network_options={},
        input_shape=(64, 64, 3),
        classes=classes,
        colours=((0, 0, 0), (0, 158, 224)),
        parameters=1_810_818,
        data="data/feet",
        data_fingerprint="f1",
        seed=7,
        epochs_done=3,
        best={"val_iou": 0.7431, "epoch": 2},
        seconds=75,
        command=f"footseg train fast_linknet --data '{NASTY}'",
    ).save()
    (folder / "config.toml").write_text(f'title = "{NASTY}"\n')
    rows = ["epoch,loss,val_loss,val_iou,val_pixel_accuracy,lr,images_per_second,seconds"]
    rows += [f"{epoch},{1 / epoch},{1.2 / epoch},{0.25 * epoch},0.9,0.001,60,10" for epoch in (1, 2, 3)]
    (folder / "history.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def page(tmp_path: Path) -> str:
    """A page with all that a page can have."""
    fp32 = measured("a-fp32.tflite", "fp32", 5.31)
    int8 = measured(
        "a-int8.tflite", "int8", 2.62, relative=Relative("a-fp32.tflite", fp32.artifact.sha256, 0.49, 15)
    )
    out = report.write_report(
        results(tmp_path, fp32, int8),
        tmp_path / "deep" / "report.html",
        runs=[training_run(tmp_path / "demo")],
        evaluations=[
            evaluation(tmp_path / "e1", fp32.artifact.sha256, 0.7431),
            evaluation(tmp_path / "e2", int8.artifact.sha256, 0.7402),
        ],
        title=NASTY,
    )
    return out.read_text(encoding="utf-8")


def test_page_stands_alone(page: str) -> None:
    parsed = Page(page)
    assert parsed.addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in parsed.addresses)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|@font-face", re.sub(r"base64,[^\"]*", "", page))
    assert "script" not in parsed.tags
    assert len(page.encode()) < 3e6


def test_page_escapes_what_it_is_given(page: str) -> None:
    assert NASTY not in page
    assert page.count("&lt;script&gt;") >= 4  # title twice, class name, command, configuration


def test_page_says_what_was_found(page: str) -> None:
    text = " ".join(Page(page).text.split())
    assert (
        "a-int8.tflite segments an image in 2.62 ms with an IoU of 0.740 from a file of 2.07 MB: "
        "0.49 times the latency of a-fp32.tflite, 0.0029 less IoU." in text
    )
    for figure in (
        "0.7431",
        "0.7402",
        "2.62 [2.62]",
        "0.49",
        "20 + 9.4",
        "65 of 66 in 1",
        "28.7",
        "188.5",
        "376.9",
    ):
        assert figure in text
    for figure in (
        "1.86 1.79",
        "309.9",
        "1,810,818",
        "99.9968%",
        "0.0031",
        "-0.0012",
        "feet/test, 124 images",
        "1 min 15 s",
    ):
        assert figure in text
    # The row of the fp32 file: its ratio is of medians, so it is marked.
    assert "~1.00" in text
    assert "measured on A core, 2 cores, Linux 6, 1 thread" in text


def test_page_shows_pictures_side_by_side(page: str) -> None:
    text = " ".join(Page(page).text.split())
    assert "photo ground truth fp32 0.345 int8 0.345" in text
    assert "photo ground truth prediction 0.345 errors" in text


def test_devices_and_threads_stand_apart(tmp_path: Path) -> None:
    other = {"cpu": "Another", "cores": 8, "architecture": "arm64", "system": "Linux 6"}
    lines = [measured("a.tflite", "fp32", 5.0), measured("a.tflite", "fp32", 3.0, threads=2)]
    lines.append(measured("a.tflite", "fp32", 9.0, device=other))
    text = report.write_report(results(tmp_path, *lines), tmp_path / "r.html").read_text()
    captions = re.findall(r'aria-label="Artifacts on ([^"]*)"', text)
    assert captions == [
        "A core, 2 cores, Linux 6, 1 thread",
        "A core, 2 cores, Linux 6, 2 threads",
        "Another, 8 cores, Linux 6, 1 thread",
    ]
    assert text.count("1,810,818") == 1  # what is computed from a file is shown once


def test_the_last_measurement_of_a_file_counts(tmp_path: Path) -> None:
    lines = [measured("a.tflite", "fp32", 5.0), measured("a.tflite", "fp32", 4.0)]
    text = Page(report.write_report(results(tmp_path, *lines), tmp_path / "r.html").read_text()).text
    assert "4.00" in text
    assert "5.00" not in text
    assert "1 earlier measurement of the same files" in text


def test_noise_is_shown(tmp_path: Path) -> None:
    shaken = measured("a.tflite", "fp32", 5.0, latency=Latency.of([5.0, 6.0, 9.0, 9.5]))
    text = report.write_report(results(tmp_path, shaken), tmp_path / "r.html").read_text()
    assert "measure again" in text
    assert 'class="noisy"' in text


def test_other_test_sets_are_named_not_mixed(tmp_path: Path) -> None:
    line = measured("a.tflite", "fp32", 5.0)
    same = evaluation(tmp_path / "e1", line.artifact.sha256, 0.74)
    other = evaluation(tmp_path / "e2", "keras-sha", 0.11, data_fingerprint="f2", data="floors")
    text = report.write_report(
        results(tmp_path, line), tmp_path / "r.html", evaluations=[other, same]
    ).read_text()
    assert "0.7400" in text
    assert "0.1100" not in text
    assert "floors/test, 124 images" in text


def test_results_alone_make_a_page(tmp_path: Path) -> None:
    bare = measured("a.onnx", "", 5.0, artifact=Artifact(Path("a.onnx"), "onnx", "cd"), delegation=None)
    parsed = Page(report.write_report(results(tmp_path, bare), tmp_path / "r.html").read_text())
    assert "svg" not in parsed.tags  # no accuracy, no plot
    assert "a.onnx segments an image in 5.00 ms from a file of" in " ".join(parsed.text.split())


def test_a_page_keeps_below_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = measured("a.tflite", "fp32", 5.0)
    folder = evaluation(tmp_path / "e1", line.artifact.sha256, 0.74)
    monkeypatch.setattr(pictures, "PICTURE_BYTES", 1000)
    out = report.write_report(results(tmp_path, line), tmp_path / "r.html", evaluations=[folder])
    parsed = Page(out.read_text())
    assert parsed.addresses == []
    assert "1 more are in the evaluation's folder" in parsed.text


@pytest.mark.parametrize("broken", ["evaluation", "history"])
def test_what_cannot_be_read_is_one_line_and_no_page(tmp_path: Path, broken: str) -> None:
    path = results(tmp_path, measured("a.tflite", "fp32", 5.0))
    run = training_run(tmp_path / "run")
    (run / "history.csv").write_text("epoch,loss\n1,high\n")
    (tmp_path / "empty").mkdir()
    arguments = {"evaluation": {"evaluations": [tmp_path / "empty"]}, "history": {"runs": [run]}}[broken]
    with pytest.raises(FootsegError, match=broken if broken == "history" else "not an evaluation"):
        report.write_report(path, tmp_path / "r.html", **arguments)
    assert not (tmp_path / "r.html").exists()


# --- charts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 5.3, 7, [0, 1, 2, 3, 4, 5]),
        (0.733, 0.756, 7, [0.735, 0.74, 0.745, 0.75, 0.755]),
        (0, 450, 6, [0, 100, 200, 300, 400]),
        (1, 60, 5, [20, 40, 60]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, most: int, expected: list[float]) -> None:
    assert charts.ticks(low, high, most) == pytest.approx(expected, abs=1e-9)  # decimal fractions in binary


def test_equal_ious_do_not_fill_the_height() -> None:
    low, high = charts.span([0.7431, 0.7432], 0.02, (0, 1))
    assert high - low == pytest.approx(0.02, abs=1e-9)  # sums of decimal fractions
    assert charts.span([0.999, 1.0], 0.02, (0, 1))[1] == 1


def positions(svg: str, kind: str) -> list[tuple[float, float]]:
    found = re.findall(rf'<{kind} class="[^"]*" c?x="([\d.]+)" c?y="([\d.]+)"', svg)
    return [(float(x), float(y)) for x, y in found]


def test_bubbles_are_placed_by_value_and_sized_by_area() -> None:
    points = [charts.Bubble("a", 5, 0.8, 4, 0), charts.Bubble("b", 10, 0.7, 1, 1, title=NASTY)]
    svg = charts.bubbles(points, width=700, height=400, x_label="x", y_label="y")
    Page(svg)
    (ax, ay), (bx, by) = positions(svg, "circle")
    assert ay < by  # the better one is higher up
    left = 58  # where x is 0
    assert (bx - left) / (ax - left) == pytest.approx(2, abs=0.01)  # pixels are written to a tenth
    radii = [float(r) for r in re.findall(r' r="([\d.]+)"', svg)]
    assert radii == [20, 10]  # a quarter of the area
    assert "script&gt;" in svg


@pytest.mark.parametrize("width", [340, 1060])
def test_labels_of_equal_artifacts_keep_apart(width: int) -> None:
    names = ["TFLite fp32", "TFLite fp16", "ONNX fp32", "TFLite int8"]
    points = [charts.Bubble(name, 5 + 0.01 * i, 0.743, 7, 0, note="7.18 MB") for i, name in enumerate(names)]
    circles = [(width - 60 + 0.1 * i, 180.0, 20.0) for i in range(4)]
    frame = charts.Box(58, 34, width - 14, 314)
    boxes = charts.place_labels(points, circles, frame)
    for i, box in enumerate(boxes):
        assert all(box.overlap(other) == 0 for other in boxes[:i])
        assert box.left >= frame.left
        assert box.right <= frame.right
    # A label that had to move away is tied to its circle.
    assert "leader" in charts.bubbles(points, width=width, height=400, x_label="x", y_label="y")


def test_curves_skip_what_is_no_number_and_name_the_last_value() -> None:
    lines = [
        charts.Curve("train", [1, 2, 3], [1.0, float("nan"), 0.5], 0),
        charts.Curve("val", [1, 2, 3], [1.0, 0.7, 0.51], 1),
    ]
    svg = charts.curves(lines, width=500, height=300, x_label="epoch", y_label="loss", mark=(3, 0.5))
    Page(svg)
    assert "nan" not in svg
    assert [len(points.split()) for points in re.findall(r'points="([^"]*)"', svg)] == [2, 3]
    ends = [float(y) for y in re.findall(r'class="label[^"]*" x="[\d.]+" y="([\d.]+)"', svg)]
    assert abs(ends[0] - ends[1]) >= charts.LINE - 0.1  # pixels are written to a tenth
    assert "train 0.500" in svg


def test_charts_refuse_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="a point"):
        charts.bubbles([], width=300, height=200, x_label="x", y_label="y")
    with pytest.raises(ValueError, match="two points"):
        charts.curves([charts.Curve("a", [1], [1], 0)], width=300, height=200, x_label="x", y_label="y")
    with pytest.raises(ValueError, match="low < high"):
        charts.ticks(1, 1)
