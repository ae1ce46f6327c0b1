"""The page of a search: whole, small, true of what is in the folder, and drawn where the values are."""

import dataclasses
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from footseg import cli
from footseg import run as runs
from footseg.benchmarks.pages import charts
from footseg.benchmarks.pages.charts import Curve, LimitLine, Mark
from footseg.benchmarks.pages.svg import Scale
from footseg.errors import FootsegError
from footseg.run import duration
from footseg.search import page as search
from footseg.search import page_charts, page_plots, records, tables
from tests.search_folder import VALUES, a_search
from tests.test_report import NASTY, Page, training_run


def text_of(folder: Path) -> str:
    out = folder.parent / "page.html"
    assert search.write_search_page(folder, out) == out
    return out.read_text(encoding="utf-8")


def words_of(folder: Path) -> str:
    return spaced(text_of(folder))


def spaced(text: str) -> str:
    """The words, with a space where a tag is."""
    return " ".join(" ".join(Page(text).pieces).split())


def section(text: str, name: str) -> str:
    found = re.search(rf'<section id="{name}">.*?</section>', text, re.DOTALL)
    return found.group() if found else ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_search(tmp_path_factory.mktemp("search") / "feet", 60)


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return text_of(folder)


# --- the page ------------------------------------------------------------------------------------


def test_page_stands_alone(text: str) -> None:
    page = Page(text)
    assert all(address.startswith("#") for address in page.addresses)
    assert "http" not in text.split("</style>")[1]
    assert page.tags.count("h1") == 1
    anchors = {address for address in page.addresses if address.startswith("#")}
    assert anchors
    assert all(f'id="{anchor[1:]}"' in text for anchor in anchors)


def test_page_says_what_was_found(folder: Path, text: str) -> None:
    found = tables.load(folder)
    words = spaced(text)
    best = found.by_number(found.best or 0)
    assert (
        f"Trial {best.number} is the best of {len(found.scored)}: validation IoU {best.scores['iou']:.4f}"
        in words
    )
    counts = {status: sum(t.status == status for t in found.trials) for status in records.ENDED}
    assert all(counts.values())
    assert f"{counts['stopped']} stopped, {counts['failed']} failed, {counts['refused']} refused" in words
    assert f"{len(found.front)} trials that no other betters" in words
    for number in found.front:
        assert f"footseg export {folder}/trials/{number:04d} --out" in words
    assert f"footseg search --resume --out {folder}" in words
    for said in (
        "validation split, on which the trials were chosen",
        "computed",
        "emulated",
        "seed 0",
        "median",
    ):
        assert said in words


def test_provenance_is_that_of_the_search_and_of_the_best_run(tmp_path: Path) -> None:
    folder = a_search(tmp_path / "feet", 1, seed=3)
    path = records.run_folder(folder, 0)
    shutil.rmtree(path)
    run = dataclasses.replace(
        runs.load(training_run(path)), versions={"keras": "3.15"}, machine={"cpu": "A core"}, backend="jax"
    )
    run.save()
    words = words_of(folder)
    assert "temperature: 1 to 100, logarithmic (with loss ce + distill)" in words
    assert "batch: 8 or 16 or 32" in words
    assert "feet:0123456789abcdef" in words
    assert "versions keras 3.15" in words
    assert "best trial trained by A core, jax" in words


def test_stopped_trials_can_go_on(tmp_path: Path) -> None:
    folder = a_search(tmp_path / "feet", 5, against=())
    trial = dataclasses.replace(
        records.load_trial(folder, 0), status="stopped", scores={"iou": 0.9}, epochs_done=5
    )
    records.save_trial(folder, trial)
    assert f"footseg train --resume --out {folder}/trials/0000" in words_of(folder)


def test_every_trial_has_a_row_the_best_first(folder: Path, text: str) -> None:
    table = section(text, "trials")
    rows = [int(number) for number in re.findall(r'<tr data-t="(\d+)">', table)]
    scored = [trial.number for trial in tables.load(folder).scored]
    assert rows[: len(scored)] == scored
    assert sorted(rows) == list(range(60))


def test_failures_are_grouped_by_reason(folder: Path, text: str) -> None:
    lost = Page(section(text, "lost")).text
    diverged = [t for t in tables.load(folder).trials if "diverged" in t.reason]
    assert len(diverged) > 1
    assert lost.count("it diverged") == 1
    assert "trials " + ", ".join(str(trial.number) for trial in diverged) in lost
    # Their figures differ, so one stands for all.
    refused = [t for t in tables.load(folder).trials if t.status == "refused"]
    assert f"{refused[0].reason} (the first of {len(refused)} alike)" in lost


def test_a_limit_that_nothing_met_names_the_nearest(tmp_path: Path) -> None:
    folder = a_search(tmp_path / "feet", 6)
    for trial in records.load_trials(folder):
        over = dataclasses.replace(
            trial,
            status="refused",
            scores={},
            costs={"size": 500_000 - 1000 * trial.number},
            reason="too big",
        )
        records.save_trial(folder, over)
    words = words_of(folder)
    assert "No trial has a score yet: 6 refused" in words
    assert "the nearest is trial 0005" in words


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_trials_make_a_page(tmp_path: Path, count: int) -> None:
    words = words_of(a_search(tmp_path / "feet", count, seed=3))
    assert (
        "No trial was drawn yet" if count == 0 else "with a score" if count == 1 else "best of 2"
    ) in words


def test_names_are_escaped(tmp_path: Path) -> None:
    folder = a_search(tmp_path / "feet", 3, seed=3, values={**VALUES, "data": NASTY})
    trial = dataclasses.replace(records.load_trial(folder, 0), status="failed", reason=NASTY)
    records.save_trial(folder, trial)
    assert "<script>alert" not in text_of(folder)


def test_a_hundred_trials_of_fifty_epochs_are_a_small_page(tmp_path: Path) -> None:
    assert len(text_of(a_search(tmp_path / "feet", 100, epochs=50)).encode()) < 600_000


def test_stopping_early_is_said_to_spare_time(tmp_path: Path) -> None:
    folder = a_search(tmp_path / "feet", 1, seed=3)
    trial = records.load_trial(folder, 0)
    assert "saved" not in words_of(folder)
    # 60 s for 5 of 20 epochs: 180 s of 240 s saved.
    records.save_trial(folder, dataclasses.replace(trial, status="stopped", epochs_done=5, seconds=60.0))
    assert "saved by stopping early 75% about 3 min 00 s" in words_of(folder)


def test_a_folder_that_is_no_search_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match="is not a search"):
        search.write_search_page(tmp_path, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


# --- the command ---------------------------------------------------------------------------------


def test_report_takes_a_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = a_search(tmp_path / "feet", 5), tmp_path / "page.html"
    assert cli.main(["report", str(folder), "--out", str(out), "--title", "Of feet"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert "<title>Of feet</title>" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize("flag", ["--run", "--evaluation", "--baseline"])
def test_flags_of_measurements_mean_nothing_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    folder = a_search(tmp_path / "feet", 1)
    code = cli.main(["report", str(folder), flag, "x", "--out", str(tmp_path / "page.html")])
    assert code != 0
    assert f"{flag} means nothing with a folder" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


# --- charts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "value", "share"),
    [
        (Scale("dropout", 0, 0.5), 0.1, 0.2),
        (Scale("rate", 1e-4, 1e-2, log=True), 1e-3, 0.5),
        (Scale("loss", names=("ce", "iou")), 1, 0.75),
        (Scale("blocks", 1, 4, whole=True, step=1), 1, 0.125),
        (Scale("width", 0.5, 1.5, step=0.25), 1.5, 0.9),
        (Scale("same", 3, 3), 3, 0.5),
        (Scale("beyond", 0, 1), 7, 1.0),
    ],
)  # fmt: skip
def test_a_value_has_its_place(scale: Scale, value: float, share: float) -> None:
    assert scale.share(value) == pytest.approx(share)


@pytest.mark.parametrize("low", [1, 1.7, 3, 6.3, 9.9])
@pytest.mark.parametrize("most", [3, 7, 12])
@pytest.mark.parametrize("log", [False, True])
def test_an_axis_has_two_marks_or_more(low: float, most: int, log: bool) -> None:
    for factor in (1.5, 3, 7.4, 20, 1e4):
        found = Scale("cost", low, factor * low, log=log).ticks(most)
        assert len(found) > 1
        assert all(0 <= share <= 1 for share, _ in found)


def test_many_steps_have_some_names() -> None:
    assert [text for _, text in Scale("width", 1, 11, whole=True, step=1).ticks(4)] == ["1", "4", "7", "10"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.7], 0.7),
        ([0.7, 0.71, 0.72, 0.73], 0.7),
        ([0.0, 0.7, 0.71, 0.72, 0.73], 0.7),
        ([0.1, 0.2, 0.6, 0.7], 0.1),
    ],
)  # fmt: skip
def test_only_what_is_far_below_falls_off_the_axis(scores: list[float], expected: float) -> None:
    # Third case: quartiles 0.70 and 0.72, fence 0.70 - 1.5 * 0.02 = 0.67.
    assert page_plots.floor(scores) == expected


def drawn(svg: str, kind: str, trial: int) -> str:
    found = re.search(rf'<path class="{kind}" data-t="{trial}" d="([^"]*)"', svg)
    return found.group(1) if found else ""


def test_a_line_leaves_out_what_a_trial_has_not() -> None:
    scales = [Scale(name, 0, 1) for name in ("a", "b", "c", "d")]
    lines = [
        Curve(range(4), (0.0, 1.0, 0.0, 1.0), "shade-0", trial=1),
        Curve(range(4), (math.nan, 0.5, 0.5, 0.5), "shade-1", trial=2),
        Curve(range(4), (0.0, math.nan, math.nan, 1.0), "best", trial=3),
    ]
    svg = page_charts.parallel(scales, lines, width=390, upright=True)
    # 390 - 90 = 300 pixels for three steps from 16; the axis is from 406 up to 38.
    assert drawn(svg, "curve shade-0", 1) == "M16 406L116 38L216 406L316 38"
    assert drawn(svg, "curve shade-1", 2) == "M116 222L216 222L316 222"
    assert drawn(svg, "curve shade-1 gap", 2) == ""
    assert drawn(svg, "curve best", 3) == "M16 406M316 38"
    assert drawn(svg, "curve best gap", 3) == "M16 406L316 38"


def test_lying_axes_are_the_same_turned() -> None:
    line = Curve(range(2), (0.0, 1.0), "best", trial=1)
    svg = page_charts.parallel([Scale("a"), Scale("b")], [line], width=216, upright=False)
    assert drawn(svg, "curve best", 1) == "M14 24L202 88"


def test_curves_end_where_training_was_stopped() -> None:
    lines = [
        Curve((1, 2), (0.2, 0.3), "shade-0", trial=4, ends=True),
        Curve((1, 2, 3, 4), (0.1, 0.5, float("nan"), 0.9), "best", trial=7),
    ]
    svg = charts.curves(lines, Scale("epoch", 1, 4), Scale("IoU"), width=226, height=180)
    # The frame is 150 wide, for three steps, and 100 high, from (58, 34).
    assert drawn(svg, "curve shade-0", 4) == "M58 114l50 -10"
    assert '<circle class="trial shade-0" data-t="4" cx="108.0" cy="104.0"' in svg
    assert 'data-t="7" cx' not in svg
    # No number, no point: from epoch 2 to epoch 4 in one step.
    assert drawn(svg, "curve best", 7) == "M58 124l50 -40 100 -40"


def test_trials_without_a_score_are_ticks() -> None:
    marks = [
        Mark(0.5, None, "failed", title="NaN", trial=1),
        Mark(0.5, 0.8, "trial shade-4 hollow", trial=2),
    ]
    svg = charts.scatter(marks, Scale("dropout"), Scale("IoU"), width=222, height=180, inset=8)
    # The frame is from (58, 34), 150 wide and 100 high.
    assert '<path class="lost failed" data-t="1" d="M133.0 133.0v-9"><title>NaN</title></path>' in svg
    assert '<circle class="trial shade-4 hollow" data-t="2" cx="133.0" cy="54.0"' in svg


def test_the_front_is_named_and_the_limit_drawn() -> None:
    marks = [
        Mark(3.0, 0.6, "trial off"),
        Mark(1.0, 0.5, "trial on", "2"),
        Mark(2.0, 0.9, "trial best", "3"),
    ]
    svg = charts.scatter(
        marks, Scale("size, kB", 0, 4), Scale("IoU"), width=222, height=180, inset=5,
        stairs=[(1.0, 0.5), (2.0, 0.9)], limit=LimitLine(4.0, "limit 4 kB"),
    )  # fmt: skip
    assert re.findall(r'<text class="label[^>]*>(\d)</text>', svg) == ["2", "3"]
    # 5 to 145 of 150 pixels from 58: the limit is at the right end of the scale.
    assert 'class="limit" d="M203.0 ' in svg
    assert "limit 4 kB" in svg
    # Level from each corner to the next one, then up to it, and on to the end of the frame.
    (stairs,) = re.findall(r'class="front" d="([^"]*)"', svg)
    assert stairs == "M98.0 84.0L133.0 84.0M133.0 84.0L133.0 44.0M133.0 44.0L208.0 44.0M208.0 44.0L208.0 44.0"


def test_costs_have_the_units_of_their_size() -> None:
    def said(name: str, *values: float) -> tuple[str, float, bool]:
        scale = page_plots.cost_scale(name, values, short=True)
        return scale.title, scale.factor, scale.log

    assert said("size", 80_000, 400_000) == ("size, kB", 1e3, False)
    assert said("size", 80_000, 4_000_000) == ("size, MB", 1e6, True)
    assert said("arm", 8e6, 17e6) == ("arm, millions", 1e6, False)
    assert said("latency", 2.0, 5.0) == ("latency, ms", 1.0, False)
    assert said("parameters", 120, 800) == ("parameters", 1.0, False)


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59.6, 725, 12_000)] == [
        "0 s",
        "1 min 00 s",
        "12 min 05 s",
        "3 h 20 min",
    ]


def test_importance_is_there_with_its_method(text: str, folder: Path) -> None:
    words = spaced(text)
    assert "first-order Sobol index" in words
    found: Any = {each.label.title: each for each in tables.load(folder).importance}
    rate = found["learning rate"]
    assert f"{100 * rate.share:.0f}% of {rate.trials} trials' variance" in words
