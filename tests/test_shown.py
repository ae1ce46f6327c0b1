"""The latency that pages show: quiet medians as they are, noisy ones by their ratios."""

import dataclasses
import re
from pathlib import Path

import pytest

from footseg.benchmarks import shown
from footseg.benchmarks.measurement import Latency, Measurement
from footseg.benchmarks.pages import report
from footseg.benchmarks.shown import Shown
from footseg.study import page as study
from tests.test_report import emulated, evaluation, measured, on_phone, over, results, spaced

FP32, FP16, INT8 = "a_fp32.tflite", "a_fp16.tflite", "a_int8.tflite"


def a_file(name: str, ms: float, ratio: float, noisy: bool) -> Measurement:
    """Run in turns with fp32; noisy around the same median."""
    ends = (1.0, 1.0) if ratio == 1 else (0.97 * ratio, 1.03 * ratio)
    samples = [0.7 * ms, 0.9 * ms, ms, 1.2 * ms, 1.9 * ms] if noisy else [ms] * 5
    recipe = name.removesuffix(".tflite").rpartition("_")[2]
    return measured(name, recipe, ms, relative=over(FP32, ratio, *ends), latency=Latency.of(samples))


def busy(*noisy: str) -> list[Measurement]:
    """Three files; the medians of those that are ``noisy`` say another thing than their ratios."""
    ratios = {FP32: 1.0, FP16: 1.03, INT8: 0.62}
    disturbed = {FP32: 8.41, FP16: 3.9, INT8: 2.73}
    return [
        a_file(name, disturbed[name] if name in noisy else 4.4 * ratio, ratio, name in noisy)
        for name, ratio in ratios.items()
    ]


def shown_ms(members: list[Measurement]) -> list[float]:
    return [found.ms for m in members if (found := shown.latency(m, members))]


def test_a_quiet_median_is_shown_as_it_is() -> None:
    members = busy()
    assert [shown.latency(m, members) for m in members] == [Shown(4.4), Shown(4.4 * 1.03), Shown(4.4 * 0.62)]


def test_a_noisy_median_gives_way_to_the_ratio() -> None:
    members = busy(FP16)
    found = shown.latency(members[1], members)
    assert found == Shown(1.03 * 4.4, f"1.030 times that of {FP32}")
    assert shown_ms(members) == [4.4, 1.03 * 4.4, 4.4 * 0.62]


def test_a_noisy_reference_follows_from_what_was_quiet() -> None:
    members = busy(FP32, FP16)
    # int8 alone was quiet: 0.62 of fp32.
    assert shown_ms(members) == pytest.approx([4.4, 1.03 * 4.4, 0.62 * 4.4])
    found = shown.latency(members[0], members)
    assert found
    assert (found.how, found.noisy) == (f"1.613 times that of {INT8}", False)


def test_where_none_was_quiet_the_reference_is_called_noisy() -> None:
    members = busy(FP32, FP16, INT8)
    assert shown_ms(members) == pytest.approx([8.41, 1.03 * 8.41, 0.62 * 8.41])
    assert shown.latency(members[0], members) == Shown(8.41, noisy=True)
    int8 = shown.latency(members[2], members)
    assert int8
    assert (int8.how, int8.noisy) == (f"0.620 times that of {FP32}, which was noisy, too", True)


def test_without_a_ratio_or_its_reference_the_median_stays() -> None:
    alone = dataclasses.replace(a_file(FP16, 3.9, 1.03, True), relative=None)
    assert shown.latency(alone, [alone]) == Shown(3.9, noisy=True)
    lost = a_file(FP16, 3.9, 1.03, True)
    assert shown.latency(lost, [lost]) == Shown(3.9, noisy=True)
    counted = emulated(FP16, "fp16", 400)
    assert shown.latency(counted, [counted]) is None


def test_each_runner_has_its_own_reference() -> None:
    noisy = Latency.of([5.0, 9.0, 12.0, 19.0, 25.0])
    ratio = over(FP32, 0.5, 0.48, 0.52)
    ours, google = (
        (on_phone(FP32, "fp32", ms, runtime=runtime),
         on_phone(INT8, "int8", 1.0, runtime=runtime, latency=noisy, relative=ratio))
        for runtime, ms in (("LiteRT", 10.0), ("benchmark_model", 14.0))
    )  # fmt: skip
    members = [*ours, *google]
    assert shown_ms(members) == [10.0, 5.0, 14.0, 7.0]


@pytest.mark.parametrize("noisy", [(FP32, FP16, INT8), (FP32, FP16), (INT8,), ()])
def test_no_two_figures_of_a_report_contradict_each_other(tmp_path: Path, noisy: tuple[str, ...]) -> None:
    members = busy(*noisy)
    ious = dict(zip((m.artifact.sha256 for m in members), (0.745, 0.744, 0.743), strict=True))
    evaluations = [evaluation(tmp_path / f"e{i}", *one) for i, one in enumerate(ious.items())]
    page = report.write_report(results(tmp_path, *members), tmp_path / "r.html", evaluations=evaluations)
    text = page.read_text(encoding="utf-8")
    headline = spaced(re.findall(r"<h1>(.*?)</h1>", text, re.DOTALL)[0])
    tile = spaced(re.findall(r'<dl class="tiles">(.*?)</dl>', text, re.DOTALL)[0])
    drawn = {
        name: float(ms)
        for name, ms in re.findall(r"<title>(\S+), LiteRT: ([\d.]+) ms, IoU", text)
    }  # fmt: skip
    best = shown.latency(members[2], members)
    assert best
    assert f"{best.ms:.2f} ms" in headline.replace("\u00a0", " ")
    assert f"{best.ms:.2f} ms" in tile
    assert drawn[INT8] == pytest.approx(best.ms, rel=1e-3)  # written with four figures
    # As the chart of ratios has it.
    assert drawn[INT8] / drawn[FP32] == pytest.approx(0.62, rel=1e-3)
    assert drawn[FP16] / drawn[FP32] == pytest.approx(1.03, rel=1e-3)
    # It is said beside the tile, under the plot and in the table, and nowhere without need.
    assert ("its median was noisy, this is" in tile) == (INT8 in noisy)
    assert ("about" in headline) == (INT8 in noisy)
    assert ("by its ratio" in spaced(text)) == bool(noisy)
    assert (report.NOISY in text) == bool(noisy)


def test_a_study_has_the_same_latency(tmp_path: Path) -> None:
    members = busy(FP32, FP16)
    page = study.write_study(results(tmp_path, *members), tmp_path / "s.html")
    table = page.read_text(encoding="utf-8").partition("<tbody>")[2].partition("</tbody>")[0]
    rows = table.replace("<wbr>", "").split("<tr>")
    for m in members:
        latency = shown.latency(m, members)
        assert latency
        row = next(row for row in rows if f">{m.artifact.name.removeprefix('a_')}</small>" in row)
        assert f">{latency.ms:.2f}" in row
        assert ("noisy" in row) == bool(latency.how)
        assert f"its median was noisy, this is {latency.how}" in row or not latency.how
