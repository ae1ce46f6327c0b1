"""``footseg cost`` as its user meets it."""

import json
from pathlib import Path

import pytest

from footseg import artifact
from footseg.benchmarks import cost, results_file
from footseg.benchmarks.cost import roofline
from footseg.benchmarks.cost import table as cost_table
from footseg.benchmarks.measurement import Latency
from tests.small_graphs import T, tflite
from tests.test_cli import footseg, one_line
from tests.test_measurement import a_measurement


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A convolution of 16,384 MACs and an ABS; 17,408 bytes move."""
    tensors = [T((1, 16, 16, 4)), T((16, 2, 2, 4), held=True), T((1, 8, 8, 16)), T((1, 8, 8, 16))]
    ops = [("CONV_2D", [0, 1], [2]), ("ABS", [2], [3])]
    return tflite(tmp_path / "small.tflite", tensors, ops, [0], [3])


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_totals_and_layers_for_people(model: Path) -> None:
    text = footseg("cost", model, "--layers", "--core", "ghz=1,gbps=1").stdout
    totals, bounds, clients, layers = text.split("\n\n")
    heads, row, *notes = totals.splitlines()
    assert dict(zip(cells(heads), cells(row), strict=True)) == {
        "file": "small.tflite", "parameters": "256", "M MACs": "0.016", "M FLOPs": "0.033",
        "M TF rule": "0.033", "peak MB": "0.01", "moved MB": "0.0", "FLOP/B": "1.9",
    }  # fmt: skip
    assert notes[0].startswith("computed from the files; nothing was run")
    assert notes[-1] == "no MACs counted in: ABS"
    heads, row, core, warning = bounds.splitlines()
    assert dict(zip(cells(heads), cells(row), strict=True)) == {
        "file": "small.tflite", "bound ms": "0.017", "compute ms": "0.004", "memory ms": "0.017",
        "bound by memory": "100%",
    }  # fmt: skip
    assert core.startswith(
        "least times on one ghz=1,gbps=1, computed: 1 GHz, 1 GB/s, MACs a cycle: float32 4,"
    )
    assert "caches" in warning
    assert clients.splitlines()[0] == "where small.tflite runs"
    assert cells(clients.splitlines()[2]) == ["LiteRT, CPU", "not known", "no rule knows ABS 1"]
    lines = [cells(line) for line in layers.splitlines()]
    assert lines[0] == ["small.tflite"]
    columns = ["layer", "operator", "output", "M MACs", "parameters", "KB moved", "FLOP/B", "ms", "bound by"]
    assert lines[1] == columns
    # 2 x 16,384 / 9,216 = 3.6; 9,216 bytes at 10^9 a second: 0.009 ms
    assert lines[2] == ["t2", "CONV_2D", "1x8x8x16", "0.02", "256", "9.2", "3.6", "0.009", "memory float32"]
    assert lines[3] == ["t3", "ABS", "1x8x8x16", "-", "-", "8.2", "-", "0.008", "memory"]
    assert lines[4] == ["in all", "0.02", "256", "17.4", "1.9", "0.017"]


def test_the_document_has_all_figures(model: Path) -> None:
    (found,) = json.loads(footseg("cost", model, "--json", "--core", "cortex-a76").stdout)
    assert (found["file"], found["kind"], found["macs"]) == ("small.tflite", "computed", 16384)
    assert (found["bytes_moved"], found["live_bytes"]) == (17408, 12288)
    assert found["peak_activation_bytes"] == 12288
    assert sum(o["moved_bytes"] for o in found["operators"]) == found["bytes_moved"]
    # 16,384 MACs at 8 x 2.35e9 in a second
    assert found["bound"]["compute_ms"] == pytest.approx(16384 / (8 * 2.35e6))
    assert found["bound"]["core"]["name"] == "cortex-a76"
    assert [o["bound_by"] for o in found["operators"]] == ["compute", "memory"]
    (plain,) = json.loads(footseg("cost", model, "--json").stdout)
    assert "bound" not in plain


def test_how_far_measured_times_are_from_the_bound(model: Path, tmp_path: Path) -> None:
    """1,024 + 16,384 bytes at 10^9 a second are 0.017408 ms: a quarter of 0.069632."""
    results = tmp_path / "results.jsonl"
    facts = artifact.load(model)
    for threads, ms in ((1, 0.069632), (2, 0.01)):
        line = a_measurement(artifact=facts, threads=threads, latency=Latency.of([ms]), relative=None)
        results_file.append_line(results, line)
    text = footseg("cost", model, "--core", "ghz=1,gbps=1", "--results", results).stdout
    heads, row, note = text.split("\n\n")[2].splitlines()
    assert dict(zip(cells(heads), cells(row), strict=True)) == {
        "file": "small.tflite", "measured ms": "0.070", "bound ms": "0.017", "of the bound": "25%",
        "measured on": "A core, 2 cores, Linux 6, 1 thread",
    }  # fmt: skip
    assert "computed for ghz=1,gbps=1" in note
    (found,) = json.loads(
        footseg("cost", model, "--core", "ghz=1,gbps=1", "--results", results, "--json").stdout
    )
    assert [one["share"] for one in found["measured"]] == [pytest.approx(0.25)]


def test_times_of_other_files_tell_nothing(model: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    results_file.append_line(results, a_measurement())
    done = footseg("cost", model, "--core", "ghz=1,gbps=1", "--results", results, code=1)
    assert "the results have no time of small.tflite on one thread" in one_line(done)
    done = footseg("cost", model, "--results", results, code=1)
    assert "--results needs --core" in one_line(done)


def test_lines_fit_a_terminal(tmp_path: Path) -> None:
    """110 columns, with the longest names there are and the largest figures of a network of this kind."""
    tensors = [T((1, 1024, 1024, 64)), T((64, 3, 3, 64), held=True), T((1, 1024, 1024, 64))]
    path = tflite(tmp_path / f"{'long' * 20}.tflite", tensors, [("CONV_2D", [0, 1], [2])], [0], [2])
    found = cost.of_file(path)
    for core in (None, *roofline.CORES.values()):
        bound = roofline.bound(found, core) if core else None
        for text in (cost_table.totals([(path.name, found, bound)]), cost_table.layers(found, bound)):
            assert max(map(len, text.splitlines())) <= 110, text


def test_a_real_network_adds_up(tiny_artifacts: dict[str, Path]) -> None:
    """int8 moves fewer bytes than float32, whose weights, held in float16, are float32 when they are read."""
    found = {recipe: cost.of_file(tiny_artifacts[recipe]) for recipe in ("fp32", "fp16", "int8", "onnx")}
    a76 = roofline.CORES["cortex-a76"]
    bounds = {recipe: roofline.bound(one, a76) for recipe, one in found.items()}
    macs = found["fp32"].macs
    assert {one.macs for recipe, one in found.items() if recipe != "int8"} == {macs}
    assert macs < found["int8"].macs < 1.001 * macs  # what thins out before its projections
    assert found["fp16"].bytes_moved == found["fp32"].bytes_moved
    # Without scales and the float ends: a quarter, and some.
    assert 1 / 4 < (found["int8"].bytes_moved or 0) / (found["fp32"].bytes_moved or 1) < 1 / 2
    # A76: 32 int8 MACs a cycle against 8 of float32.
    ratio = 4 * macs / found["int8"].macs
    assert bounds["fp32"].compute_ms == pytest.approx(ratio * bounds["int8"].compute_ms)
    for recipe, bound in bounds.items():
        assert max(bound.compute_ms, bound.memory_ms) <= bound.ms <= bound.compute_ms + bound.memory_ms, (
            recipe
        )
        one = found[recipe]
        assert sum(o.parameters for o in one.operators) == one.parameters
        assert one.peak_activation_bytes >= one.live_bytes > 0  # type: ignore[operator]
        assert max(o.live_bytes or 0 for o in one.operators) == one.live_bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.tflite"], "no such file: none.tflite"),
        (["model.keras"], "neither .tflite nor .onnx"),
        (["--core", "cortexa76", "none.tflite"], "did you mean cortex-a76"),
    ],
)
def test_mistakes_are_one_clear_line(arguments: list[str], message: str) -> None:
    assert message in one_line(footseg("cost", *arguments, code=1))
