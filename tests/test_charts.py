"""Charts as SVG: bars as long as their amounts, points where their values are, labels that keep apart."""

import re
from pathlib import Path

import pytest

from footseg import run as runs
from footseg.benchmarks.pages import bars, charts, training_curves
from footseg.benchmarks.pages.svg import Box, Scale, fit, ticks
from tests.test_report import NASTY, Page, training_run

# --- bars ----------------------------------------------------------------------------------------


def test_bars_are_as_long_as_their_amounts() -> None:
    rows = [bars.Bar("a", ((30, "part-0"), (70, "part-1")), "note"), bars.Bar("b", ((25, "part-0"),))]
    svg = bars.bars(rows, width=400, name=NASTY, legend=[("one", "part-0")])
    Page(svg)
    drawn = re.findall(r'class="bar part-\d" x="([\d.]+)" y="\d+" width="([\d.]+)"', svg)
    # The legend's square, then 30, 70 and 25 % of 400 px, each a pixel short.
    assert drawn == [("0.0", "10"), ("0.0", "119.0"), ("120.0", "279.0"), ("0.0", "99.0")]
    half = bars.bars(rows[1:], width=400, name="x", longest=50)
    assert 'width="199.0"' in half


def test_an_interval_stands_where_its_ratio_is() -> None:
    rows = [
        bars.Whisker("a", 0.5, 0.45, 0.55, "series-0", "0.500 [0.450, 0.550]"),
        bars.Whisker("b", 1.1, 0.95, 1.25, "series-1", "1.100, not told apart"),
    ]
    svg = bars.intervals(rows, width=432, name="ratios", x_label="ratio")
    Page(svg)
    (a, _), (b, _) = [
        (float(x), y) for x, y in re.findall(r'<circle class="dot[^"]*" cx="([\d.]+)" cy="(\d+)"', svg)
    ]
    # The axis runs from 0.45 to 1.25 and a twentieth of that on both sides, over 400 px.
    assert a == pytest.approx(16 + 400 * (0.5 - 0.41) / 0.88, abs=0.06)  # pixels are written to a tenth
    assert b == pytest.approx(16 + 400 * (1.1 - 0.41) / 0.88, abs=0.06)
    assert re.findall(r'class="(dot[^"]*) series-(\d)"', svg) == [("dot", "0"), ("dot hollow", "1")]
    assert len(re.findall(r'class="whisker', svg)) == 2


def test_ratios_far_apart_get_a_logarithmic_axis() -> None:
    rows = [bars.Whisker(str(r), r, None, None, "series-0") for r in (0.1, 1.0, 10.0)]
    svg = bars.intervals(rows, width=400, name="ratios", x_label="ratio")
    left, middle, right = [float(x) for x in re.findall(r'<circle class="dot[^"]*" cx="([\d.]+)"', svg)]
    assert middle - left == pytest.approx(right - middle, abs=0.2)  # pixels are written to a tenth


def test_a_long_label_gives_way_in_its_middle() -> None:
    assert fit("short", 200) == "short"
    cut = fit("convolution of the first stage, tensor 17", 130)
    assert cut.startswith("convolution")
    assert cut.endswith("or 17")
    assert len(cut) <= 20  # 130 px / 7, rounded up
    narrow = bars.intervals(
        [
            bars.Whisker(
                "a name of some length",
                1,
                0.9,
                1.1,
                "series-0",
                "1.000 [0.900, 1.100], not told apart",
                "1.000",
            )
        ],
        width=340,
        name="x",
        x_label="ratio",
    )
    assert "a name of some length</text>" in re.sub(r"<title>[^<]*</title>", "", narrow)
    assert "[0.900" not in narrow


def test_bars_refuse_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="longer than nothing"):
        bars.bars([bars.Bar("a", ())], width=300, name="x")
    with pytest.raises(ValueError, match="a ratio or more"):
        bars.intervals([], width=300, name="x", x_label="ratio")


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
    assert ticks(low, high, most) == pytest.approx(expected, abs=1e-9)  # decimal fractions in binary


def test_the_tick_of_a_single_value_is_in_the_unit_of_the_axis() -> None:
    assert Scale("MACs, millions", 3e6, 3e6, factor=1e6).ticks(5) == [(0.5, "3")]


def test_a_whole_scale_without_a_whole_number_has_no_ticks() -> None:
    """As of a history whose epochs somebody has damaged."""
    assert Scale("epoch", 0.25, 0.5, whole=True).ticks(5) == []


def test_equal_ious_do_not_fill_the_height() -> None:
    low, high = charts.span([0.7431, 0.7432], 0.02, (0, 1))
    assert high - low == pytest.approx(0.02, abs=1e-9)  # sums of decimal fractions
    assert charts.span([0.999, 1.0], 0.02, (0, 1))[1] == 1


def positions(svg: str, kind: str) -> list[tuple[float, float]]:
    found = re.findall(rf'<{kind} class="[^"]*" c?x="([\d.]+)" c?y="([\d.]+)"', svg)
    return [(float(x), float(y)) for x, y in found]


def test_bubbles_are_placed_by_value_and_sized_by_area() -> None:
    points = [
        charts.Mark(5, 0.8, "bubble series-0", "a", radius=2),
        charts.Mark(10, 0.7, "bubble series-1", "b", title=NASTY, radius=1),
    ]
    svg = charts.bubbles(points, width=700, height=400, x_label="x", y_label="y")
    Page(svg)
    (ax, ay), (bx, by) = positions(svg, "circle")
    assert ay < by  # the better one is higher up
    left = 58  # where x is 0
    assert (bx - left) / (ax - left) == pytest.approx(2, abs=0.01)  # pixels are written to a tenth
    radii = [float(r) for r in re.findall(r' r="([\d.]+)"', svg)]
    assert radii == [20, 10]  # as their radii are to the largest
    assert "script&gt;" in svg


@pytest.mark.parametrize("width", [340, 1060])
def test_labels_of_equal_artifacts_keep_apart(width: int) -> None:
    names = ["TFLite fp32", "TFLite fp16", "ONNX fp32", "TFLite int8"]
    points = [
        charts.Mark(5 + 0.01 * i, 0.743, "bubble series-0", name, "7.18 MB") for i, name in enumerate(names)
    ]
    circles = [(width - 60 + 0.1 * i, 180.0, 20.0) for i in range(4)]
    frame = Box(58, 34, width - 14, 314)
    boxes = charts.place_labels(points, circles, frame)
    for i, box in enumerate(boxes):
        assert all(box.overlap(other) == 0 for other in boxes[:i])
        assert box.left >= frame.left
        assert box.right <= frame.right
    # A label that had to move away is tied to its circle.
    assert "leader" in charts.bubbles(points, width=width, height=400, x_label="x", y_label="y")


def test_curves_skip_what_is_no_number() -> None:
    lines = [
        charts.Curve([1, 2, 3], [1.0, float("nan"), 0.5], "series-0", "train"),
        charts.Curve([1, 2, 3], [1.0, 0.7, 0.51], "series-1", "val"),
        charts.Curve([1, 2, 3], [float("nan")] * 3, "series-2", "nothing"),
    ]
    x, y = Scale("epoch", 1, 3, whole=True), Scale("loss", 0, 1)
    svg = charts.curves(lines, x, y, width=500, height=300, ring=(3, 0.5))
    Page(svg)
    assert "nan" not in svg
    steps = re.findall(r'<path class="curve [^"]*" d="M\S+ \S+l([^"]*)"', svg)
    assert [len(found.split()) // 2 for found in steps] == [1, 2]
    ends = [float(y) for y in re.findall(r'class="label[^"]*" x="[\d.]+" y="([\d.]+)"', svg)]
    assert abs(ends[0] - ends[1]) >= charts.LINE - 0.1  # pixels are written to a tenth


def test_curves_of_a_run_name_the_last_value(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run")
    losses = "".join(
        picture for plot in training_curves.training(runs.load(run))["plots"] for picture in plot
    )
    # A third of 1 and of 1.2.
    assert "train 0.333" in losses
    assert "val 0.400" in losses


def test_charts_refuse_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="a point"):
        charts.bubbles([], width=300, height=200, x_label="x", y_label="y")
    with pytest.raises(ValueError, match="a line or more"):
        charts.curves([], Scale("x"), Scale("y"), width=300, height=200)
    with pytest.raises(ValueError, match="low < high"):
        ticks(1, 1)
