"""The page stands alone, closes what it opens, escapes what it is given and places what belongs together."""

import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from footseg.artifact import Artifact
from footseg.benchmarks import figures, results_file
from footseg.benchmarks.measurement import (
    Agreement,
    ColdStart,
    Energy,
    Instructions,
    Latency,
    Measurement,
    OperatorTime,
    Relative,
    SpeedAgainstPeak,
)
from footseg.benchmarks.pages import bars, pictures, report
from footseg.benchmarks.pages import page as pages
from footseg.errors import FootsegError
from footseg.run import Run
from footseg.runtime import Delegation

NASTY = 'foot"><script>alert(1)</script>'
VOID = {"wbr", "meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page holds; fails on a tag that is closed out of order or left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.pieces: list[str] = []
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
            self.pieces.append(data)


def sha(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def measured(name: str, recipe: str, ms: float, **changes: Any) -> Measurement:
    form = name.rsplit(".", 1)[-1]
    fields: dict[str, Any] = {
        "kind": "measured",
        "created": "2025-01-01T00:00:00+00:00",
        "device": {"cpu": "A core", "cores": 2, "architecture": "x86_64", "system": "Linux 6"},
        "artifact": Artifact(
            Path(name),
            form,
            sha256=sha(name),
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


PIXEL = {
    "cpu": "2 x Cortex-X1 2.85 GHz + 4 x Cortex-A55 1.80 GHz",
    "cores": 6,
    "architecture": "arm64-v8a",
    "system": "Android 14",
    "model": "Google Pixel 7",
    "serial": "2A081",
    "soc": "Tensor G2",
    "android": "14",
    "build": "google/panther/panther:14",
    "kernel": None,
}


def on_phone(name: str, recipe: str, ms: float, **changes: Any) -> Measurement:
    """As our own runner measures it on two big cores, masks compared."""
    conditions = {
        "pinned_cores": [6, 7],
        "governor": "sched_pixel",
        "thermal_before": "NONE",
        "thermal_after": "LIGHT" if recipe == "int8" else "NONE",
        "throttled": recipe == "int8",
        "battery": 80,
        "charging": None,
        "notes": ["the clock could not be fixed"],
    }
    fields: dict[str, Any] = {
        "device": PIXEL,
        "conditions": conditions,
        "agreement": Agreement("feet", "test", 124, 0.999951, 0.0042, 0.7398, 0.61, 0.7402, 0.6104, 3.0),
        "energy": Energy(21.25, 30.0, "current times voltage over 30 s"),
        "delegation": None,
    }
    return measured(name, recipe, ms, **{**fields, **changes})


def emulated(name: str, recipe: str, millions: int, core: str = "cortex-a72", **changes: Any) -> Measurement:
    """46 % vector, 31 % load and store, the rest other."""
    total = millions * 1_000_000
    vector, load_store = total * 46 // 100, total * 31 // 100
    counts = (vector, load_store, total - vector - load_store)
    fields: dict[str, Any] = {
        "kind": "emulated",
        "device": {
            "cpu": f"emulated {core.title()}",
            "cores": 1,
            "architecture": "aarch64",
            "system": "QEMU 7.2 user mode",
        },
        "instructions": Instructions(core, (total, total + 10, total), total, *counts, 10 / total),
        "latency": None,
        "cold_start": None,
        "peak_memory_mb": None,
        "delegation": None,
    }
    return measured(name, recipe, 1.0, **{**fields, **changes})


def over(name: str, ratio: float, low: float, high: float) -> Relative:
    return Relative(name, sha(name), ratio, 75, (), low, high, 0.95, 5)


def words(folder: Path, *lines: Measurement, **options: Any) -> str:
    """The text of the page of these lines."""
    out = report.write_report(results(folder, *lines), folder / "r.html", **options)
    return spaced(out.read_text(encoding="utf-8"))


def spaced(markup: str) -> str:
    """The text of a page, one space between what stands in elements of its own."""
    return " ".join(" ".join(Page(markup.replace("<wbr>", "")).pieces).split())


def results(folder: Path, *lines: Measurement) -> Path:
    path = folder / "results.jsonl"
    for line in lines:
        results_file.append_line(path, line)
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
    outside = [address for address in parsed.addresses if not address.startswith("#")]
    assert outside
    assert all(address.startswith("data:image/jpeg;base64,") for address in outside)
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
        "0.490 times the latency of a-fp32.tflite, 0.0029 less IoU." in text
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


def test_a_point_alone_is_no_plot(tmp_path: Path) -> None:
    lines = [measured("a.tflite", "fp32", 5.0), measured("b.tflite", "int8", 3.0)]
    scored = [evaluation(tmp_path / m.artifact.name, m.artifact.sha256, 0.74) for m in lines]
    one = words(tmp_path / "one", lines[0], evaluations=scored[:1])
    assert "0.7400" in one
    assert "Accuracy against" not in one
    both = words(tmp_path / "both", *lines, evaluations=scored)
    assert "Accuracy against latency" in both
    assert "Accuracy against size" in both


def test_a_photograph_with_its_masks_stands_at_the_head(tmp_path: Path) -> None:
    line = measured("a_int8.tflite", "int8", 5.0)
    folder = evaluation(tmp_path / "e", line.artifact.sha256, 0.74)
    scores = [{"name": name, "iou": iou} for name, iou in (("low", 0.2), ("middle", 0.6), ("high", 0.9))]
    for i, name in enumerate(("low", "middle", "high")):
        for kind in ("image", "truth", "prediction", "error"):
            made = Image.new("RGB", (16, 16), (40 * i, 40 * len(kind), 90))
            made.save(folder / "samples" / f"{name}_{kind}.jpg")
    record = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(record | {"per_image": scores}))
    out = report.write_report(results(tmp_path, line), tmp_path / "r.html", evaluations=[folder])
    head, main = out.read_text(encoding="utf-8").split("<main>")
    first = head[head.index('<div class="first">') : head.index("</header>")]
    assert "photo ground truth int8 0.600 errors of int8 middle, of the sample images" in spaced(first)
    assert main.count("0.600") == 0  # a picture stands once on a page
    assert "one of them is at the head of the page" in main


def test_what_names_have_in_common_stands_once(tmp_path: Path) -> None:
    names = ("net_256x256_fp32.tflite", "net_256x256_int8_in-uint8_out-mask.tflite")
    lines = [measured(name, recipe, 5.0) for name, recipe in zip(names, ("fp32", "int8"), strict=True)]
    text = report.write_report(results(tmp_path, *lines), tmp_path / "r.html").read_text(encoding="utf-8")
    (table,) = re.findall(r'aria-label="Artifacts on .*?</table>', text, re.DOTALL)
    assert "file net_256x256_\u2026" in spaced(f"<div {table}</div>")
    assert [f'title="{name}"' in table for name in names] == [True, True]
    assert "int8_in-uint8_out-mask.tflite int8" in spaced(f"<div {table}</div>")
    assert table.count("net_") == 3  # over the names, and in two titles


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


def test_a_page_never_replaces_results(tmp_path: Path) -> None:
    path = results(tmp_path, measured("a.tflite", "fp32", 5.0))
    earlier = tmp_path / "earlier.jsonl"
    earlier.write_bytes(path.read_bytes())
    for out in (path, earlier):
        with pytest.raises(ValueError, match="would replace these results"):
            report.write_report(path, out, baseline=earlier)
    assert results_file.read_all(path) == results_file.read_all(earlier)


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


# --- hosts, phones, emulated cores ---------------------------------------------------------------


def sections(text: str) -> dict[str, str]:
    """The markup of each section under its title."""
    parts = re.split(r"<h2>(.*?)</h2>", text, flags=re.DOTALL)[1:]
    return {spaced(title): body for title, body in zip(parts[::2], parts[1::2], strict=True)}


def test_kinds_and_places_never_share_a_section(tmp_path: Path) -> None:
    lines = [
        measured("a.tflite", "fp32", 5.0),
        on_phone("a.tflite", "fp32", 9.87),
        on_phone("a.tflite", "fp32", 19.9, conditions={"pinned_cores": [0, 1]}),
        emulated("a.tflite", "fp32", 412),
        emulated("a.tflite", "fp32", 293, "cortex-a76"),
    ]
    text = report.write_report(results(tmp_path, *lines), tmp_path / "r.html").read_text()
    found = sections(text)
    assert list(found)[:5] == [
        "Measured on a host: A core 1 thread",
        "Measured on a phone: Google Pixel 7 1 thread, cores 6-7",
        "Measured on a phone: Google Pixel 7 1 thread, cores 0-1",
        "Emulated: Cortex-A72",
        "Emulated: Cortex-A76",
    ]
    figures = ("5.00", "9.87", "19.9", "412.0", "293.0")
    for body, own in zip(list(found.values())[:5], figures, strict=True):
        assert [figure for figure in figures if f">{figure}<" in body or f">{figure} <" in body] == [own]


def test_a_phone_says_what_it_is_and_what_held(tmp_path: Path) -> None:
    text = words(tmp_path, on_phone("a.tflite", "fp32", 9.87), on_phone("b.tflite", "int8", 5.0))
    for fact in (
        "Google Pixel 7, 2 x Cortex-X1 2.85 GHz + 4 x Cortex-A55 1.80 GHz, 6 cores, Android 14, "
        "serial 2A081, 1 thread, on cores 6-7 only",
        "SoC Tensor G2",
        "build google/panther/panther:14",
        "governor sched_pixel",
        "thermal status after NONE; LIGHT",
        "battery, % 80",
        "runner LiteRT 2.3.0",
        "b.tflite: the device throttled while it was measured",
        "The clock could not be fixed.",
        "estimated",
        "Energy is an estimate: current times voltage over 30 s.",
        "21.2",
    ):
        assert fact in text
    assert text.count("The clock could not be fixed") == 1
    # What the phone does not tell is left out.
    assert "kernel" not in text
    assert "None" not in text


def test_two_runners_of_one_phone_are_told_apart(tmp_path: Path) -> None:
    mean = Latency.of([11.0, 11.1, 11.2], 5, runs_per_sample=50)
    google = on_phone("b.tflite", "int8", 1.0, runtime="benchmark_model", latency=mean, agreement=None)
    text = words(tmp_path, on_phone("a.tflite", "fp32", 9.87), google)
    assert "11.1 mean of 50 throttled" in text  # the 90th percentile of means is none of runs
    assert not re.search(r"~\d", text)  # no ratio across runners


def test_emulated_lines_have_counts_and_never_a_time(tmp_path: Path) -> None:
    lines = [emulated("a.tflite", "fp32", 400), emulated("b.tflite", "int8", 180)]
    text = words(tmp_path, *lines)
    assert text.startswith(
        "footseg report footseg report b.tflite segments an image in 180.0 million instructions"
    )
    assert "emulated on Cortex-A72: instructions of one inference" in text
    # 46, 31 and 23 % of 180 M; 180 / 400.
    assert "180.0 0.450 82.8 46% 55.8 31% 41.4 23%" in text
    assert f"180.0 M · 0.45 {figures.TIMES} fp32" in text
    assert not re.search(r"\d\s*ms\b|latency", text)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [measured("a.tflite", "fp32", 5.0)],
            "a.tflite segments an image in 5.00 ms from a file of 7.18 MB.",
        ),
        (
            [measured("a.tflite", "fp32", 5.0), on_phone("a.tflite", "fp32", 9.87)],
            "a.tflite segments an image in 9.87 ms on Google Pixel 7 with an IoU of 0.740 "
            "from a file of 7.18 MB.",
        ),
        (
            [emulated("a.tflite", "fp32", 400), measured("a.tflite", "fp32", 5.0)],
            "a.tflite segments an image in 5.00 ms on A core from a file of 7.18 MB.",
        ),
        (
            [measured("a.tflite", "fp32", 5.0, latency=None)],
            "a.tflite segments an image with 188.5 million multiply-accumulates from a file of 7.18 MB.",
        ),
        (
            [measured("a.tflite", "fp32", 5.0, relative=over("b.tflite", 0.99, 0.97, 1.02))],
            "a.tflite segments an image in 5.00 ms from a file of 7.18 MB: "
            "its latency is not told apart from that of b.tflite.",
        ),
    ],
)
def test_the_headline_is_true_of_every_mix(tmp_path: Path, lines: list[Measurement], expected: str) -> None:
    out = report.write_report(results(tmp_path, *lines), tmp_path / "r.html").read_text()
    assert spaced(re.findall(r"<h1>(.*?)</h1>", out, re.DOTALL)[0]) == expected


def test_a_tile_says_what_the_table_says(tmp_path: Path) -> None:
    line = measured("a.tflite", "fp32", 5.0)
    text = words(tmp_path, dataclasses.replace(line, cost={**line.cost, "macs": 1_240_000}))
    assert "1.240 M MACs" in text
    assert " 7.18 1.240 1.86" in text


def test_a_ratio_brings_its_interval_and_says_when_it_tells_nothing(tmp_path: Path) -> None:
    lines = [
        measured("a.tflite", "fp32", 5.0),
        measured("b.tflite", "fp16", 5.1, relative=over("a.tflite", 1.004, 0.992, 1.016)),
        measured("c.tflite", "int8", 2.5, relative=over("a.tflite", 0.493, 0.482, 0.504)),
    ]
    out = report.write_report(results(tmp_path, *lines), tmp_path / "r.html").read_text()
    text = spaced(out)
    assert "1.00 [0.99, 1.02] not told apart" in text
    assert "0.49 [0.48, 0.50] 2.07 20 + 9.4" in text
    assert text.count("hollow") == 1  # the caption
    assert out.count('class="dot hollow series-2"') == 2  # on a wide screen and on a phone
    assert "95% confidence" in text


def test_what_verification_decided_is_shown(tmp_path: Path) -> None:
    line = measured("a_int8.tflite", "int8", 1.0)
    decided = {
        "images": 64, "difference": -0.0219, "low": -0.0394, "high": -0.0044, "confidence": 0.995,
        "limit": 0.02, "verdict": "cannot tell",
    }  # fmt: skip
    clear = {**decided, "difference": -0.0012, "low": -0.002, "high": 0.0001, "verdict": "within"}
    found = {"iou": -0.0012, "boundary_f": -0.0219, "decisions": {"iou": clear, "boundary_f": decided}}
    text = words(
        tmp_path,
        dataclasses.replace(line, artifact=dataclasses.replace(line.artifact, verification=found)),
        measured("old_fp32.tflite", "fp32", 1.0),
    )
    assert "-0.0012 [-0.0020 to +0.0001] \u2013 \u2013 -0.0219 [-0.0394 to -0.0044] cannot tell" in text
    # A file of before there were intervals.
    assert text.count("-0.0012") == 2
    markup = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert 'title="whether it is within 0.02, at 99.5% on 64 images"' in markup


def test_accuracy_there_is_shown_with_its_difference(tmp_path: Path) -> None:
    text = words(tmp_path, on_phone("a.tflite", "fp32", 9.87), on_phone("b.tflite", "int8", 11.0))
    # 0.7398 - 0.7402, 0.6100 - 0.6104
    assert "feet/test, 124 99.9951% 0.0042 0.7398 -0.0004 0.6100 -0.0004" in text
    assert "IoU: measured on Google Pixel 7, with feet/test, 124 images." in text
    assert "0.740 IoU measured on Google Pixel 7" in text


def test_evaluations_come_before_what_the_lines_say(tmp_path: Path) -> None:
    line = on_phone("a.tflite", "fp32", 9.87)
    other = on_phone("b.tflite", "int8", 12.0)
    scored = [evaluation(tmp_path / m.artifact.name, m.artifact.sha256, 0.7431) for m in (line, other)]
    text = words(tmp_path, line, other, evaluations=scored)
    assert "IoU: measured on feet/test, 124 images." in text
    assert "0.743 IoU measured on feet/test" in text


def test_accuracy_on_other_photographs_is_in_no_plot(tmp_path: Path) -> None:
    few = Agreement("feet", "test", 8, 1.0, iou=0.9)
    lines = [on_phone(f"{i}.tflite", "fp32", 9.0 + i) for i in range(2)]
    lines.append(on_phone("few.tflite", "fp32", 5.0, agreement=few))
    out = report.write_report(results(tmp_path, *lines), tmp_path / "r.html").read_text()
    titles = re.findall(r"<title>([^<]*, IoU [^<]*)</title>", out)
    assert {title.split(",")[0] for title in titles} == {"0.tflite", "1.tflite"}


def test_operators_are_sorted_and_the_rest_is_summed(tmp_path: Path) -> None:
    profile = tuple(OperatorTime(f"op {i}", "CONV_2D" if i % 2 else "ADD", i / 10, 20) for i in range(1, 16))
    out = report.write_report(
        results(tmp_path, measured("a.tflite", "fp32", 12.0, profile=profile)), tmp_path / "r.html"
    ).read_text()
    text = spaced(out)
    # 12 ms in all; the first three, 0.1 + 0.2 + 0.3 ms, are the rest. Types: 1 + 3 + ... + 15 = 64 of 120.
    assert "15 CONV_2D, op 15" in text
    assert "1.50 ms · 12%" in text
    assert "3 others together 0.600 ms · 5%" in text
    assert "15 operators, 12.0 ms in all, 100% of the latency; medians of 20 runs." in text
    assert "By type: CONV_2D 53%, ADD 47%." in text
    bars_drawn = [float(w) for w in re.findall(r'class="bar series-0" x="0.0" y="\d+" width="([\d.]+)"', out)]
    assert len(bars_drawn) == 12
    assert bars_drawn == sorted(bars_drawn, reverse=True)


def test_cost_is_computed_where_the_line_has_it(tmp_path: Path) -> None:
    line = measured("a.tflite", "fp32", 5.0)
    more = {"peak_activation_bytes": 2_097_152, "bytes_moved": 41_234_567}
    text = words(tmp_path, measured("b.tflite", "fp32", 5.0, cost={**line.cost, **more}), line)
    # 376 905 728 / 41 234 567
    assert "2.10 41.23 9.1" in text
    assert f"FLOPs (2 {figures.TIMES} MACs) for each byte" in text
    assert "a.tflite 1 x 64 x 64 x 3 7.18 188.5 1.86 1.79 1,810,818 376.9 309.9 \u2013 \u2013 \u2013" in text


def test_share_of_peak_says_of_what(tmp_path: Path) -> None:
    loop = SpeedAgainstPeak("float32 matrix product", 52.3, (52.0, 52.3, 52.6), 0.31)
    text = words(tmp_path, measured("a.tflite", "fp32", 5.0, calibration=loop))
    assert "31%" in text
    assert "in the same run: float32 matrix product at 52.3 GFLOP/s." in text


def test_the_baseline_is_told_in_words(tmp_path: Path) -> None:
    stored = tmp_path / "stored.jsonl"
    for line in (emulated("a.tflite", "fp32", 400), emulated("b.tflite", "int8", 180)):
        results_file.append_line(stored, line)
    now = [
        emulated("a.tflite", "fp32", 400),
        emulated("b.tflite", "int8", 200),
        measured("a.tflite", "fp32", 5.0),
    ]
    text = words(tmp_path, *now, baseline=stored)
    # 200 / 180
    assert "b.tflite instructions worse 180,000,000 200,000,000 1.1111 1.05" in text
    assert "The gate fails." in text
    assert "not checked" in text
    good = words(tmp_path / "good", *now[:1], baseline=stored)
    assert "The gate passes." in good
    assert "a.tflite instructions ok 400,000,000 400,000,000 1 1.05" in good
    assert "stored.jsonl" in good


def test_old_lines_make_a_page(tmp_path: Path) -> None:
    record = measured("a.tflite", "fp32", 5.0, relative=Relative("b.tflite", "cd", 1.25, 15)).to_json()
    new = ("instructions", "agreement", "profile", "calibration", "conditions", "energy", "zstd_bytes")
    old = {key: value for key, value in record.items() if key not in new} | {"schema": 1}
    for name in ("low", "high", "confidence", "starts"):
        del old["relative"][name]
    del old["latency"]["runs_per_sample"]
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(old) + "\n")
    text = Page(report.write_report(path, tmp_path / "r.html").read_text()).text
    assert "1.250 times the latency of b.tflite" in text
    assert "told apart" not in text


def test_extremes_make_a_page_that_is_small_and_whole(tmp_path: Path) -> None:
    profile = tuple(OperatorTime(f"{NASTY} {i}", "CONV_2D", 0.1, 20) for i in range(200))
    names = [f"a-very-long-name-of-a-file-{NASTY}-{i}-{'x' * 80}.tflite" for i in range(20)]
    lines = [
        make(name, "int8", 5 + i, profile=profile, relative=over("other.tflite", 0.2 * (i + 1), 0.1, 5.0))
        for make in (measured, on_phone)
        for i, name in enumerate(names)
    ]
    lines += [emulated(name, "int8", 100 + i) for i, name in enumerate(names)]
    out = report.write_report(results(tmp_path, *lines), tmp_path / "r.html").read_text()
    Page(out)
    assert NASTY not in out
    assert len(out.encode()) < 1e6  # without pictures, whose budget is 2 MB
    regions = re.findall(
        r'<div class="scroll" tabindex="0" role="region" aria-label="([^"]*)">\s*<table', out
    )
    assert len(regions) == out.count("<table") == len(set(regions))
    assert not re.search(r'(?:width|x|cx)="(?:-|nan)', out)


def test_values_are_said_as_one_would(tmp_path: Path) -> None:
    values = [None, True, False, [4, 5, 6, 7, 0], [], ["USB", None], {"a": 1, "b": None}, 36.25, "x"]
    said = ["", "yes", "no", "0,4-7", "", "USB", "a 1", "36.25", "x"]
    assert [pages.word(value) for value in values] == said


def test_a_name_breaks_between_its_words() -> None:
    assert pages.breakable("a_b-c.tflite <2.62>") == "a_<wbr>b-<wbr>c<wbr>.tflite &lt;2.62&gt;"


def test_a_share_has_one_figure_at_least() -> None:
    assert [bars.share_of(part, 1000) for part in (620, 10, 9.6, 4)] == ["62%", "1%", "1%", "0.4%"]
