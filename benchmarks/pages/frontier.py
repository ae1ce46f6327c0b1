"""What a search for the smallest file found, as a picture: ``python -m benchmarks.pages.frontier RECORD``.

RECORD is the ``..._auto_frontier.json`` that ``footseg export --auto`` leaves beside its file. Above, every
mixture tried: loss of IoU over bytes, the limit, the chosen one. Below, what each operator costs when it
alone is quantized, and what became of it.
"""

import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from footseg import files
from footseg.benchmarks.pages import charts
from footseg.benchmarks.pages.charts import Axes, Box, Bubble
from footseg.errors import FootsegError

WIDTH, HEIGHT, ROW = 1060, 460, 17
# Points of the chart: within the limit, beyond it.
WITHIN, BEYOND = 0, 1
RADIUS = 4.5
CHOSEN = "chosen"

Record = Mapping[str, Any]


def write(record: Path, out: Path | None = None) -> Path:
    """Draw a record as an SVG file that needs no other file; returns its path (``record`` with .svg).

    Raises:
        FootsegError: no such record, or none of a search; a full disk.
    """
    out = record.with_suffix(".svg") if out is None else out
    found = files.read_json(record)
    if not isinstance(found, dict) or not {"points", "chosen", "reference", "sensitivities"} <= set(found):
        raise FootsegError(f"{record} is no record of a search: give the ..._auto_frontier.json of an export")
    files.write_text(out, page(found))
    return out


def page(record: Record) -> str:
    """Both charts under a headline, as the text of an SVG file."""
    upper, lower = frontier(record), sensitivities(record)
    bars = lower_height(record)
    reference = record["reference"]
    chosen = record["points"][record["chosen"]]
    loss = f"IoU {-chosen['iou_loss']:+.4f} ± {chosen['iou_loss_error']:.4f} from {reference['iou']:.4f}"
    head = [
        f"{record['file']}: {chosen['name']}",
        f"{chosen['bytes'] / 1e6:.2f} MB, fp32 {reference['bytes'] / 1e6:.2f} MB; {loss} on "
        f"{reference['images']} images of {reference['split']}, by which it was chosen: others may lose more",
        _speed(record),
    ]
    text = "".join(
        f'<text class="{"axis" if line else "label"}" x="14" y="{24 + 20 * line}">{escape(words)}</text>'
        for line, words in enumerate(head)
    )
    top = 20 * len(head) + 30
    height = top + HEIGHT + 30 + bars
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}"><style>{escape(style, quote=False)}</style>'
        f'<rect width="100%" height="100%" style="fill: var(--paper)"/>{text}'
        f'<svg y="{top}" width="{WIDTH}" height="{HEIGHT}">{upper}</svg>'
        f'<svg y="{top + HEIGHT + 30}" width="{WIDTH}" height="{bars}">{lower}</svg></svg>\n'
    )


def frontier(record: Record, *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """Loss of IoU over megabytes of every point tried, with the limit, the front and the chosen one."""
    marks = _marks(record)
    frame = Box(66, 34, width - 14, height - 46)
    axes = Axes(frame, charts.log_span([mark.x for mark in marks], 0.05), _losses(record, marks), x_log=True)
    circles = [(axes.x(mark.x), axes.y(mark.y), RADIUS) for mark in marks]
    limit = Box(frame.left, axes.y(record["max_loss"]), frame.right, axes.y(record["max_loss"]))
    sure = f", {record['margin']:g} x standard error included" if record["margin"] else ""
    allowed = f"allowed: {record['max_loss']:g}{sure}"
    parts = [
        *charts.draw_frame(axes, "megabytes", "IoU lost", y_format=lambda value: f"{value:.4g}"),
        charts.draw_stairs(
            charts.stairs_of([circles[i][:2] for i in charts.pareto([(m.x, -m.y) for m in marks])], frame)
        ),
        f'<path class="leader" stroke-dasharray="5 4" d="M{frame.left} {limit.top:.1f}H{frame.right}"/>',
        f'<text class="tick end" x="{frame.right}" y="{limit.top - 5:.1f}">{allowed}</text>',
    ]
    for mark, (x, y, r) in zip(marks, circles, strict=True):
        parts.append(
            f'<circle class="bubble series-{mark.series}" cx="{x:.1f}" cy="{y:.1f}" r="{r}">'
            f"<title>{escape(mark.title)}</title></circle>"
        )
        if mark.label.startswith(CHOSEN):
            parts.append(f'<circle class="mark" style="fill: none" cx="{x:.1f}" cy="{y:.1f}" r="8"/>')
    boxes = charts.place_labels(marks, circles, frame, [limit.grown(charts.LINE_AIR)])
    for mark, box, circle in zip(marks, boxes, circles, strict=True):
        if mark.label:
            parts += charts.draw_label(mark, box, circle)
    return charts.svg(width, height, "loss of IoU over bytes", parts)


def _marks(record: Record) -> list[Bubble]:
    """A mark for each point and one for fp32, those with labels first: labels are placed in that order."""
    points, reference = record["points"], record["reference"]
    marks = [_mark(point, _label(point, number == record["chosen"])) for number, point in enumerate(points)]
    marks.append(Bubble("fp32", reference["bytes"] / 1e6, 0.0, 1.0, WITHIN, title="fp32"))
    return sorted(marks, key=lambda mark: not mark.label)


def _losses(record: Record, marks: Sequence[Bubble]) -> tuple[float, float]:
    """The range of losses shown: all points and the limit, with air."""
    losses = [0.0, record["max_loss"], *(mark.y for mark in marks)]
    air = 0.08 * (max(losses) - min(losses)) or 0.001
    return min(losses) - air, max(losses) + air


def sensitivities(record: Record, *, width: int = WIDTH) -> str:
    """A row for each operator: IoU lost and error of the logits when it alone is quantized, at each level."""
    measured: Sequence[Record] = record["sensitivities"]
    rows: Sequence[Record] = measured[0]["costs"]
    height = lower_height(record)
    levels = record["points"][record["chosen"]]["levels"]
    names = 14 + charts.CHARACTER * max(len(_row_name(row)) for row in rows)
    middle = (names + width - 70) / 2
    frames = {
        "iou_loss": Box(names + 14, 34, middle - 14, height - 30),
        "logit_error": Box(middle + 14, 34, width - 70, height - 30),
    }
    titles = {
        "iou_loss": "IoU lost when it alone is quantized",
        "logit_error": "error of the logits, in their standard deviations",
    }
    parts = [f'<text class="axis" x="{width - 60}" y="14">chosen</text>']
    for measure, frame in frames.items():
        parts += _bars(measured, rows, measure, frame, titles[measure])
    for number, found in enumerate(measured):
        x = 14 + 60 * number
        parts.append(f'<rect class="series-{number}" {_fill(number)} x="{x}" y="5" width="10" height="10"/>')
        parts.append(f'<text class="tick" x="{x + 14}" y="14">{escape(found["level"])}</text>')
    for number, row in enumerate(rows):
        y = 34 + ROW * number + 12
        level = levels.get(row["output"], measured[0]["level"])
        kind = "tick" if row["output"] not in levels else "label"
        parts.append(f'<text class="tick end" x="{names:.1f}" y="{y}">{escape(_row_name(row))}</text>')
        parts.append(f'<text class="{kind}" x="{width - 60}" y="{y}">{escape(level)}</text>')
    return charts.svg(width, height, "what each operator costs", parts)


def lower_height(record: Record) -> int:
    """Pixels that ``sensitivities`` needs."""
    return 34 + ROW * len(record["sensitivities"][0]["costs"]) + 30


def _bars(
    measured: Sequence[Record], rows: Sequence[Record], measure: str, frame: Box, title: str
) -> list[str]:
    """One column of bars: those of each level under one another in the row of their operator."""
    values = [cost[measure] for found in measured for cost in found["costs"]]
    low, high = min(0.0, *values), max(0.0, *values)
    axes = Axes(frame, (low, high if high > low else low + 1e-6), (0, 1))
    place = {row["output"]: frame.top + ROW * number for number, row in enumerate(rows)}
    parts = [f'<text class="axis" x="{frame.left:.1f}" y="14">{escape(title)}</text>']
    for value in charts.ticks(*axes.x_range, most=5):
        x = axes.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {frame.top}V{frame.bottom}"/>')
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{frame.bottom + 16}">{value:g}</text>')
    thick = (ROW - 4) / len(measured)
    for number, found in enumerate(measured):
        for cost in found["costs"]:
            ends = sorted((axes.x(0), axes.x(cost[measure])))
            y = place[cost["output"]] + 2 + thick * number
            parts.append(
                f'<rect class="series-{number}" {_fill(number)} x="{ends[0]:.1f}" y="{y:.1f}" '
                f'width="{max(0.5, ends[1] - ends[0]):.1f}" height="{thick - 0.5:.1f}">'
                f"<title>{escape(cost['layer'])} in {found['level']}: {cost[measure]:+.5f}</title></rect>"
            )
    parts.append(f'<path class="base" d="M{axes.x(0):.1f} {frame.top}V{frame.bottom}"/>')
    return parts


def _fill(number: int) -> str:
    return f'style="fill: var(--series-{number})"'


def _row_name(row: Record) -> str:
    return f"{row['layer']} {row['kind'].lower()}"


def _label(point: Record, chosen: bool) -> str:
    """Whole networks at one level and the chosen point are named, the many mixtures are not."""
    name = "" if ";" in point["name"] else point["name"]
    if not chosen:
        return name
    return f"{CHOSEN}: {name}" if name else CHOSEN


def _mark(point: Record, label: str) -> Bubble:
    title = f"{point['name']}: {point['bytes'] / 1e6:.3f} MB, IoU {-point['iou_loss']:+.4f}; {_pieces(point)}"
    series = WITHIN if point["fits"] else BEYOND
    return Bubble(label, point["bytes"] / 1e6, point["iou_loss"], 1.0, series, title=title)


def _pieces(point: Record) -> str:
    taken = f"{point['delegated']} of {point['operators']} operators in XNNPACK"
    return f"{taken}, in {point['partitions']} piece{'s' if point['partitions'] != 1 else ''}"


def _speed(record: Record) -> str:
    """How fast the chosen file is, and in how many pieces XNNPACK runs it."""
    pieces, speed = _pieces(record["points"][record["chosen"]]), record["speed"]
    if not speed:
        return pieces
    slower = ": slower than fp32" if speed["ratio"] > 1 else ""
    return f"{pieces}; {speed['ratio']:.2f} of fp32's time where it was made (measured){slower}"


if __name__ == "__main__":
    write(*(Path(argument) for argument in sys.argv[1:3]))
