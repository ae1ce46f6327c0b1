"""A study of made-up measurements: what belongs together, who wins, and what the page says of it."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from footseg import files
from footseg import run as runs
from footseg.benchmarks import results_file
from footseg.benchmarks.measurement import Measurement, Relative
from footseg.benchmarks.pages import charts, page, svg
from footseg.errors import FootsegError
from footseg.evaluate import SavedEvaluation
from footseg.runtime import Delegation
from footseg.study import page as study
from footseg.study import recipes
from footseg.study.recipes import Budget, Point, Ranged
from tests.test_report import NASTY, Page, evaluation, measured, results, sha, training_run

PRUNE = {"method": "prune", "settings": {"sparsity": 0.7}}
CLUSTER = {"method": "cluster", "settings": {"clusters": 16}}
CUT = {"method": "cut", "settings": {"share": 0.5}}
QAT = {"method": "qat", "settings": {}}

# Recipe: compression, precision, MB of file, gzip and zstd, latency over fp32's, IoU lost, share of MACs.
RECIPES: dict[
    str, tuple[tuple[dict[str, Any], ...], str, tuple[float, float, float], float, float, float]
] = {
    "fp32": ((), "fp32", (7.18, 6.58, 6.52), 1.0, 0.0, 1.0),
    "fp16": ((), "fp16", (3.61, 3.21, 3.19), 0.99, 0.0002, 1.0),
    "int8": ((), "int8", (2.07, 1.86, 1.84), 0.47, 0.0021, 1.0),
    "int8w": ((), "int8w", (2.05, 1.75, 1.73), 1.01, 0.0012, 1.0),
    "int4w": ((), "int4w", (1.41, 1.12, 1.10), 1.03, 0.0235, 1.0),
    "dynamic": ((), "dynamic", (2.05, 1.76, 1.74), 19.8, 0.0031, 1.0),
    "int16x8": ((), "int16x8", (2.1, 1.9, 1.88), 14.9, 0.0008, 1.0),
    "p70": ((PRUNE,), "fp32", (7.18, 2.81, 2.71), 1.0, 0.0064, 1.0),
    "p70-int8": ((PRUNE,), "int8", (2.07, 0.93, 0.88), 0.47, 0.0082, 1.0),
    "dc": ((PRUNE, CLUSTER), "fp32", (7.18, 0.79, 0.71), 1.0, 0.0098, 1.0),
    "dc-int8": ((PRUNE, CLUSTER), "int8", (2.07, 0.44, 0.42), 0.47, 0.0121, 1.0),
    "cut": ((CUT,), "fp32", (2.91, 2.66, 2.64), 0.58, 0.0134, 0.5),
    "cut-int8": ((CUT,), "int8", (0.88, 0.77, 0.76), 0.29, 0.0166, 0.5),
    "qat": ((QAT,), "int8", (2.07, 1.85, 1.83), 0.46, -0.0011, 1.0),
    "broken": ((CUT, PRUNE), "int8", (0.88, 0.4, 0.39), 0.29, 0.4021, 0.5),
}


def a_run(folder: Path, done: tuple[dict[str, Any], ...], seed: int, root: str = "") -> Path:
    """A run whose model.keras is a few bytes of its own, compressed by ``steps``."""
    training_run(folder)
    (folder / "model.keras").write_text(f"{folder.name} {seed}")
    made = dataclasses.replace(runs.load(folder), seed=seed, parameters=10_184)
    if done:
        figures = {"val_iou_before": 0.7615, "val_iou_after": 0.7583, "layers": {"conv1": {"sparsity": 0.7}}}
        left = {"left_out": {"stem_depthwise": "depthwise: too few weights", "head": "the last layer"}}
        steps = tuple({**step, "parent": root, **figures, **left} for step in done)
        made = dataclasses.replace(made, compression=steps)
        rows = [
            {"name": "conv1", "kind": "Conv2D", "weights": 9408, "zeros": 6585, "distinct": 16}
            | {"huffman_bytes": 2584, "float_bytes": 37632},
            {"name": "stem_depthwise", "kind": "DepthwiseConv2D", "weights": 576, "zeros": 0, "distinct": 576}
            | {"huffman_bytes": 2304, "float_bytes": 2304},
        ]
        files.write_json(folder / "layers.json", rows)
    made.save()
    return folder


def a_study(
    folder: Path, seeds: tuple[int, ...] = (0,), names: Mapping[str, Any] = RECIPES
) -> dict[str, Any]:
    """The arguments of write_study for the recipes ``names``, one of each for each seed."""
    lines: list[Measurement] = []
    found: dict[str, list[Path]] = {"runs": [], "evaluations": []}
    for seed in seeds:
        folders: dict[str, Path] = {}
        for name, (steps, recipe, _, ratio, lost, macs) in names.items():
            key = "-".join(step["method"] for step in steps) or "plain"
            root = files.sha256(folders["plain"] / "model.keras") if steps else ""
            if key not in folders:
                folders[key] = a_run(folder / f"s{seed}-{key}", steps, seed, root)
            parent = files.sha256(folders[key] / "model.keras")
            line = a_line(name, seed, recipe, parent, macs, RECIPES[name][2], ratio)
            iou = 0.75 + 0.01 * seed - lost * (1 + seed / 10)
            figures = {"iou": iou, "boundary_f": max(0.1, 0.62 - 2 * lost), "boundary_tolerance_px": 3}
            where = folder / f"e{seed}-{name}"
            found["evaluations"].append(evaluation(where, line.artifact.sha256, iou, metrics=figures))
            lines.append(line)
        found["runs"] += folders.values()
    return {"results": results(folder, *lines), **found}


def a_line(
    name: str, seed: int, recipe: str, parent: str, macs: float, mb: tuple[float, ...], ratio: float
) -> Measurement:
    line = measured(f"s{seed}-{name}.tflite", recipe, 5.3 * ratio)
    slow = recipe in ("dynamic", "int16x8")
    base = "s0-fp32.tflite"
    relative = Relative(base, sha(base), ratio, 3, (), 0.985 * ratio, 1.015 * ratio, 0.99, 8)
    return dataclasses.replace(
        line,
        artifact=dataclasses.replace(line.artifact, parent=parent, run=f"s{seed}"),
        relative=relative,
        cost={**line.cost, "macs": int(line.cost["macs"] * macs)},
        file_bytes=int(1e6 * mb[0]),
        gzip_bytes=int(1e6 * mb[1]),
        zstd_bytes=int(1e6 * mb[2]),
        delegation=Delegation(66, 10 if slow else 66, 5 if slow else 1),
    )


def a_sensitivity(path: Path, operators: int = 24) -> Path:
    costs = [
        {
            "index": i,
            "kind": "CONV_2D",
            "output": f"t{i}",
            "layer": f"encoder_{i}",
            "iou_loss": 0.01 / (i + 1),
        }
        | {"logit_error": 0.2 / (i + 1), "bytes_saved": 30_000 - 1000 * i, "snr_db": None}
        for i in range(operators)
    ]
    record = {"level": "int8", "file": "s0-fp32.tflite", "split": "val", "images": 60, "costs": costs}
    record |= {"iou": 0.8, "measured_on": ""}
    files.write_json(path, record)
    return path


def gathered(arguments: Mapping[str, Any], baseline: str | None = None) -> dict[str, Point]:
    """The points of a study by label."""
    lines = results_file.read_all(arguments["results"])
    evaluated, _ = page.comparable([SavedEvaluation.load(path) for path in arguments["evaluations"]], lines)
    trained = [runs.load(path) for path in arguments["runs"]]
    return {point.label: point for point in recipes.gather(lines, evaluated, trained, baseline)}


# --- recipes -------------------------------------------------------------------------------------


def test_a_recipe_is_named_by_its_steps_and_held_against_fp32(tmp_path: Path) -> None:
    points = gathered(a_study(tmp_path))
    assert next(iter(points)) == "fp32"
    assert points["fp32"].is_baseline
    assert points["fp32"].loss == Ranged(0, 0, 0)
    deep = points["prune 70% → cluster 16 → int8"]
    assert deep.loss
    assert deep.loss.value == pytest.approx(0.0121, abs=1e-12)  # decimal fractions in binary
    assert deep.smaller["file"] == pytest.approx(7.18 / 2.07, rel=1e-6)  # bytes are whole
    assert deep.smaller["gzip"] == pytest.approx(6.58 / 0.44, rel=1e-6)
    assert deep.smaller["zstd"] == pytest.approx(6.52 / 0.42, rel=1e-6)
    assert deep.in_turns
    assert deep.ratio
    assert (deep.ratio.low, deep.ratio.high) == pytest.approx((0.985 * 0.47, 1.015 * 0.47))
    assert {"cut 50% → fp32", "cut 50% → int8", "QAT → int8", "int8w"} < set(points)
    sizes = [point.gzip_bytes for point in points.values()][1:]
    assert sizes == sorted(sizes, reverse=True)


def test_seeds_of_one_recipe_are_one_point(tmp_path: Path) -> None:
    points = gathered(
        a_study(tmp_path, (0, 1, 2), {name: RECIPES[name] for name in ("fp32", "int8", "dc-int8")})
    )
    assert list(points) == ["fp32", "int8", "prune 70% → cluster 16 → int8"]
    int8 = points["int8"]
    assert int8.seeds == (0, 1, 2)
    assert int8.loss
    # Each to its own seed's fp32: 0.0021 times 1.0, 1.1 and 1.2.
    found = (int8.loss.low, int8.loss.value, int8.loss.high)
    assert found == pytest.approx((0.0021, 0.00231, 0.00252), abs=1e-12)  # decimal fractions in binary


def test_equal_recipes_of_one_seed_keep_apart(tmp_path: Path) -> None:
    arguments = a_study(tmp_path, (0,), {"fp32": RECIPES["fp32"]})
    parent = files.sha256(tmp_path / "s0-plain" / "model.keras")
    for name in ("int8-average", "int8-minmax"):
        results_file.append_line(
            arguments["results"], a_line(name, 0, "int8", parent, 1, RECIPES["int8"][2], 0.5)
        )
    assert set(gathered(arguments)) == {"fp32", "int8 (s0-int8-average)", "int8 (s0-int8-minmax)"}


def test_what_ran_against_another_file_is_a_ratio_of_medians(tmp_path: Path) -> None:
    arguments = a_study(tmp_path, (0,), {name: RECIPES[name] for name in ("fp32", "int8")})
    points = gathered(arguments, "s0-int8.tflite")
    assert points["int8"].is_baseline
    assert points["fp32"].ratio
    assert points["fp32"].ratio.value == pytest.approx(1 / 0.47)  # of two latencies
    assert not points["fp32"].in_turns
    with pytest.raises(FootsegError, match=r"did you mean 's0-int8.tflite'"):
        gathered(arguments, "s0-int9.tflite")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"method": "prune", "settings": {"sparsity": 0.7, "block": "1x1"}}, "prune 70%"),
        ({"method": "prune", "settings": {"sparsity": 0.7, "block": "1x4"}}, "prune 70% in 1x4"),
        ({"method": "cut", "settings": {"share": 0.25}}, "cut 25%"),
        ({"method": "melt", "settings": {"heat": 3}}, "melt"),
        ({"method": "prune"}, "prune"),
    ],
)
def test_words_of_a_step(step: dict[str, Any], words: str) -> None:
    assert recipes.step_words(step) == words


# --- winners -------------------------------------------------------------------------------------


def test_the_winner_is_the_best_in_what_has_no_limit(tmp_path: Path) -> None:
    points = list(gathered(a_study(tmp_path)).values())

    def won(by: str | None = None, **limits: float) -> str:
        best = Budget(**{**dict.fromkeys(("max_loss", "max_bytes", "max_latency")), **limits}).winner(
            points, by
        )
        return best.label if best else "none"

    assert won() == "QAT → int8"  # the highest IoU
    assert won(max_loss=0.005) == "int8w"  # the smallest download
    assert won(max_loss=0.005, max_latency=1.0, by="bytes") == "QAT → int8"
    assert won(max_loss=0.01) == "prune 70% → cluster 16 → fp32"
    assert won(max_loss=0.01, by="latency") == "QAT → int8"
    assert won(max_loss=0.02) == "prune 70% → cluster 16 → int8"
    assert won(max_loss=0.02, by="latency") == "cut 50% → int8"
    assert won(max_bytes=1e6) == "prune 70% → int8"  # the highest IoU of those below
    assert won(max_bytes=1e6, max_loss=0.02) == "cut 50% → int8"  # the fastest
    assert won(max_bytes=0.8e6, max_loss=0.02, max_latency=0.5) == "prune 70% → cluster 16 → int8"
    assert won(max_bytes=1e5) == "none"
    with pytest.raises(ValueError, match="by must be loss, bytes or latency, not 'size'"):
        won(by="size")


def test_what_was_not_measured_wins_nothing(tmp_path: Path) -> None:
    point = next(iter(gathered(a_study(tmp_path, (0,), {"fp32": RECIPES["fp32"]})).values()))
    unknown = dataclasses.replace(point, loss=None, ratio=None)
    no_limit = Budget(None, None, None)
    assert no_limit.winner([unknown]) is None
    assert Budget(None, None, 1.0).winner([unknown]) is None
    assert no_limit.winner([unknown], by="bytes") == unknown


# --- the page ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with all that a study can have."""
    folder = tmp_path_factory.mktemp("study")
    arguments = a_study(folder)
    out = study.write_study(
        out=folder / "deep" / "study.html",
        sensitivity=[a_sensitivity(folder / "sensitivity.json")],
        title=NASTY,
        **arguments,
    )
    return out.read_text(encoding="utf-8")


def words_of(text: str) -> str:
    """The page's text; cells of a row stand together."""
    return " ".join(Page(text).text.split())


def test_page_stands_alone(whole: str) -> None:
    parsed = Page(whole)
    assert parsed.addresses == []
    assert not re.search(r"https?:|@import|url\(|@font-face", whole)
    assert NASTY not in whole
    # What the control chooses from cannot end the script it stands in.
    choices = re.search(r'id="choices">(.*?)</script>', whole, re.DOTALL)
    assert choices
    assert len(json.loads(choices[1])) == len(RECIPES)


def test_page_says_what_was_found(whole: str) -> None:
    text = words_of(whole)
    assert (
        "prune 70% → cluster 16 → fp32 is the one to take: 0.79 MB to download, 8.3 times smaller than fp32, "
        "at 1.00 times its latency and 0.0098 less IoU. "
        "The budget: a loss of at most 0.01 IoU, no slower than fp32." in text
    )
    for figure in ("0.7379", "+0.0121", "2.07 3.5x", "0.44 15.0x", "0.42 15.5x", "0.47 0.46 to 0.48", "94.2"):
        assert figure in text
    for figure in ("feet/test, 124 images", "A core, 2 cores, Linux 6, 1 thread", "fast_linknet at 64 x 64"):
        assert figure in text
    assert "dynamic is slower than fp32: 19.80 times; 56 of 66 operators run outside XNNPACK" in text
    assert text.count("is slower than fp32") == 2
    assert "Too far below the others to be drawn: cut 50% → prune 70% → int8." in text


def test_page_names_the_winners(whole: str) -> None:
    text = words_of(whole)
    assert (
        "a loss of at most 0.02 IoU, no slower than fp32 smallest prune 70% → cluster 16 → int8 "
        "0.44 MB, 0.47 of the latency, +0.0121 IoU lost fastest cut 50% → int8" in text
    )


def test_a_cut_tells_channels_and_no_zeros(tmp_path: Path) -> None:
    arguments = a_study(tmp_path, names={name: RECIPES[name] for name in ("fp32", "cut")})
    folder = tmp_path / "s0-cut"
    made = runs.load(folder)
    layers = {"stem_conv": {"channels_before": 64, "channels": 48}}
    step = {**made.compression[0], "layers": layers, "macs_before": 188_500_000, "macs_after": 94_200_000}
    dataclasses.replace(made, compression=(step,)).save()
    row = {"kind": "Conv2D", "zeros": 0, "huffman_bytes": 36_864, "float_bytes": 36_864}
    full = [{"name": name, "weights": 9216, "distinct": 9216, **row} for name in ("stem_conv", "head_conv")]
    files.write_json(folder / "layers.json", full)
    text = words_of(study.write_study(out=tmp_path / "s.html", **arguments).read_text(encoding="utf-8"))
    assert "188.5 to 94.2 M MACs, 1 layer with fewer channels. 0.0737 MB as floats" in text
    assert (
        "layer channelsbefore → after weightsnow stem_convConv2D 64 → 48 9,216 head_convConv2D all kept"
        in text
    )
    assert not re.search(
        r"zeros|coded|\b0%|100%", text.partition("stem_convConv2D")[2].partition("Provenance")[0]
    )


def test_iou_on_other_data_is_no_comparison(tmp_path: Path) -> None:
    arguments = a_study(tmp_path, names={name: RECIPES[name] for name in ("fp32", "cut")})
    folder = tmp_path / "s0-cut"
    made = runs.load(folder)
    same = words_of(study.write_study(out=tmp_path / "same.html", **arguments).read_text(encoding="utf-8"))
    assert "validation IoU 0.7615 → 0.7583" in same
    assert "cannot be compared" not in same
    # The step is one of before there were data sets in steps: its parent is among the runs.
    dataclasses.replace(made, data="data/floors", data_fingerprint="f2").save()
    text = words_of(study.write_study(out=tmp_path / "s.html", **arguments).read_text(encoding="utf-8"))
    assert "0.7615 → 0.7583" not in text
    assert (
        "validation IoU 0.7615 on feet f1, 0.7583 on floors f2: other images, so the two cannot be compared"
        in text
    )
    assert "feet f1 (s0-plain), floors f2 (s0-cut)" in text
    step = {**made.compression[0], "data_before": "a 1", "data_after": "b 2"}
    assert runs.iou_words(step).startswith("validation IoU 0.7615 on a 1, 0.7583 on b 2: ")
    assert runs.iou_words({**step, "data_after": "a 1"}) == "validation IoU 0.7615 -> 0.7583"


def test_a_recipe_alone_is_no_chart(tmp_path: Path) -> None:
    one = a_study(tmp_path, names={"fp32": RECIPES["fp32"]})
    assert "<svg" not in study.write_study(out=tmp_path / "s.html", **one).read_text(encoding="utf-8")


def test_page_tells_layers_and_sensitivity(whole: str) -> None:
    text = words_of(whole)
    assert "prune 70% → cluster 16 (s0-prune-cluster)" in text
    assert "1 layer, validation IoU 0.7615 → 0.7583" in text
    assert "Left out (depthwise: too few weights): stem_depthwise." in text
    assert "conv1Conv2D 9,408 70% 2.6 kB 16 7%" in text
    assert "stem_depthwiseDepthwiseConv2D 576 0% 2.3 kB not shared 100%" in text
    assert "Sensitivity to int8" in text
    assert "encoder_0conv 2d +0.0100 0.200 30.0" in text
    assert "4 more operators cost no more" in text


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    arguments = a_study(tmp_path, (0,), {name: RECIPES[name] for name in ("fp32", "int8", "p70", "dc")})
    *evaluations, _ = arguments["evaluations"]
    plain, pruned, deep = arguments["runs"]
    (pruned / "layers.json").unlink()
    stray = a_run(tmp_path / "stray", (), 5)
    elsewhere = {"cpu": "Another", "cores": 8, "architecture": "arm64", "system": "Linux 6"}
    results_file.append_line(arguments["results"], measured("phone.tflite", "fp32", 9.0, device=elsewhere))
    evaluations.append(evaluation(tmp_path / "other", "x", 0.5, data_fingerprint="f2", data="floors"))
    text = words_of(
        study.write_study(
            arguments["results"],
            tmp_path / "study.html",
            runs=[plain, pruned, stray],
            evaluations=evaluations,
        ).read_text()
    )
    assert deep.name not in text.split("Provenance")[0]
    assert "No evaluation, so no IoU and no place in a chart (footseg evaluate FILE): s0-dc.tflite." in text
    assert "The run is not among those given, so the steps before export are not known: s0-dc.tflite." in text
    assert "Runs of which no file was measured: stray." in text
    assert "Compressed runs without layers.json: s0-prune." in text
    assert "which cannot be compared: floors/test, 124 images." in text
    assert "are in the results and not here: Another, 8 cores, Linux 6, 1 thread." in text


def test_measurements_alone_make_a_page(tmp_path: Path) -> None:
    arguments = a_study(tmp_path, (0,), {name: RECIPES[name] for name in ("fp32", "dc")})
    parsed = Page(study.write_study(arguments["results"], tmp_path / "study.html").read_text())
    text = " ".join(parsed.text.split())
    assert "2 recipes compared: their loss of IoU is not known." in text
    assert "svg" not in parsed.tags
    assert "script" not in parsed.tags
    assert "s0-dc.tflite" in text


def test_a_budget_of_ones_own(tmp_path: Path) -> None:
    arguments = a_study(tmp_path)
    out = tmp_path / "study.html"
    small = Budget(max_bytes=1e6, max_loss=None)
    text = words_of(study.write_study(out=out, budget=small, **arguments).read_text())
    assert "prune 70% → int8 is the one to take: 0.93 MB" in text
    assert "The budget: a download of at most 1.00 MB, no slower than fp32." in text
    fast = Budget(max_latency=0.3)
    text = words_of(study.write_study(out=out, budget=fast, **arguments).read_text())
    assert "15 recipes compared: none is within the budget (a loss of at most 0.01 IoU, " in text
    none = Budget(max_bytes=1e5, max_latency=0.5, max_loss=0.1)
    text = words_of(study.write_study(out=out, budget=none, **arguments).read_text())
    assert (
        "none is within the budget (a loss of at most 0.1 IoU, a download of at most 0.10 MB, "
        "at most 0.5 times the latency of fp32)." in text
    )


@pytest.mark.parametrize("broken", ["sensitivity", "layers"])
def test_what_cannot_be_read_is_one_line_and_no_page(tmp_path: Path, broken: str) -> None:
    arguments = a_study(tmp_path, (0,), {name: RECIPES[name] for name in ("fp32", "dc")})
    wrong = tmp_path / "sensitivity.json"
    files.write_json(wrong, {"level": "int8"})
    if broken == "layers":
        files.write_json(tmp_path / "s0-prune-cluster" / "layers.json", [{"name": "conv1"}])
        arguments["sensitivity"] = []
    else:
        arguments["sensitivity"] = [wrong]
    word = {"sensitivity": "no record of a sensitivity", "layers": "no list of layers"}[broken]
    with pytest.raises(FootsegError, match=word):
        study.write_study(out=tmp_path / "study.html", **arguments)
    assert not (tmp_path / "study.html").exists()


# --- charts --------------------------------------------------------------------------------------


def test_the_front_is_what_none_betters() -> None:
    points = [(3, 0.9), (1, 0.5), (2, 0.8), (2, 0.7), (4, 0.85), (1, 0.5)]
    assert charts.pareto(points) == [1, 2, 0]


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0.4, 7.5, 6, [0.5, 1, 2, 3, 5]),
        (0.25, 22, 10, [0.3, 0.5, 1, 2, 3, 5, 10, 20]),
        (0.9, 1.6, 5, [1, 1.5]),
        (1e-3, 1e4, 8, [1e-3, 1e-2, 0.1, 1, 10, 100, 1000, 1e4]),
    ],
)
def test_logarithmic_ticks_are_round(low: float, high: float, most: int, expected: list[float]) -> None:
    assert svg.log_ticks(low, high, most) == pytest.approx(expected)  # decimal fractions in binary


def test_a_logarithmic_chart_has_equal_steps_for_equal_factors() -> None:
    points = [charts.Mark(x, 0.7, "bubble", str(x)) for x in (0.5, 1.0, 2.0)]
    drawn = charts.bubbles(points, width=700, height=400, x_label="x", y_label="y", x_log=True)
    xs = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)  # pixels are written to a tenth
    assert drawn.count('class="bubble best') == 1
    assert drawn.count('class="front"') == 1
