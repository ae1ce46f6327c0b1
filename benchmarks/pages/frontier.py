"""What a search for the smallest file found, as a picture: ``python -m benchmarks.pages.frontier RECORD``.

RECORD is the ``..._auto_frontier.json`` that ``footseg export --auto`` leaves beside its file. Above, every
mixture tried: loss of IoU over bytes, the limit, the chosen one. Below, what each operator costs when it
alone is quantized, and what became of it.
"""

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from footseg import files, records
from footseg.benchmarks.pages import bars, charts
from footseg.benchmarks.pages.charts import LimitLine, Mark
from footseg.benchmarks.pages.page import HERE
from footseg.benchmarks.pages.svg import CHARACTER, Axes, Box, Scale, line, picture, text
from footseg.mixtures import Frontier, Mixture, QuantizationCost, Sensitivity
from footseg.terminal import counted

WIDTH, HEIGHT = 1060, 460
# Of a row of the lower chart; above all rows their headings, below them the ticks.
ROW, TOP, BOTTOM = 17, 34, 30
# Classes of points within the limit and beyond it.
WITHIN, BEYOND = "bubble series-0", "bubble series-1"
CHOSEN = "chosen"


def write(record: Path, out: Path | None = None) -> Path:
    """Draw a record as an SVG file that needs no other file; returns its path (``record`` with .svg).

    Raises:
        FootsegError: no such record, or none of a search; a full disk.
    """
    out = record.with_suffix(".svg") if out is None else out
    mend = "give the ..._auto_frontier.json of an export"
    files.write_text(out, page(records.read(Frontier, record, "record of a search", mend)))
    return out


def page(record: Frontier) -> str:
    """Both charts under a headline, as the text of an SVG file."""
    upper, lower = frontier(record), sensitivities(record)
    below = TOP + ROW * len(record.sensitivities[0].costs) + BOTTOM
    reference = record.reference
    chosen = record.best
    loss = f"IoU {-chosen.iou_loss:+.4f} ± {chosen.iou_loss_error:.4f} from {reference['iou']:.4f}"
    head = [
        f"{record.file}: {chosen.name}",
        f"{chosen.bytes / 1e6:.2f} MB, fp32 {reference['bytes'] / 1e6:.2f} MB; {loss} on "
        f"{reference['images']} images of {reference['split']}, by which it was chosen: others may lose more",
        _speed(record),
    ]
    words = "".join(
        text("axis" if number else "label", 14, 24 + 20 * number, said) for number, said in enumerate(head)
    )
    top = 20 * len(head) + 30
    height = top + HEIGHT + 30 + below
    style = (HERE / "page.css").read_text(encoding="utf-8")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}"><style>{escape(style, quote=False)}</style>'
        f'<rect width="100%" height="100%" style="fill: var(--paper)"/>{words}'
        f'<svg y="{top}" width="{WIDTH}" height="{HEIGHT}">{upper}</svg>'
        f'<svg y="{top + HEIGHT + 30}" width="{WIDTH}" height="{below}">{lower}</svg></svg>\n'
    )


def frontier(record: Frontier) -> str:
    """Loss of IoU over megabytes of every point tried, with the limit, the front and the chosen one."""
    marks = _marks(record)
    losses = [0.0, record.max_loss, *(mark.y or 0.0 for mark in marks)]
    air = 0.08 * (max(losses) - min(losses)) or 0.001
    sure = f", {record.margin:g} x standard error included" if record.margin else ""
    front = charts.pareto([(mark.x, -(mark.y or 0.0)) for mark in marks])
    return charts.scatter(
        marks,
        Scale("megabytes", *charts.log_span([mark.x for mark in marks], 0.05), log=True),
        Scale("IoU lost", min(losses) - air, max(losses) + air),
        width=WIDTH,
        height=HEIGHT,
        stairs=[(marks[i].x, marks[i].y or 0.0) for i in front],
        limit=LimitLine(record.max_loss, f"allowed: {record.max_loss:g}{sure}", across=True),
    )


def _marks(record: Frontier) -> list[Mark]:
    """A mark for each point and one for fp32, those with labels first: labels are placed in that order."""
    points, reference = record.points, record.reference
    marks = [_mark(point, number == record.chosen) for number, point in enumerate(points)]
    marks.append(Mark(reference["bytes"] / 1e6, 0.0, WITHIN, "fp32"))
    return sorted(marks, key=lambda mark: not mark.label)


def sensitivities(record: Frontier) -> str:
    """A row for each operator: IoU lost and error of the logits when it alone is quantized, at each level."""
    measured = record.sensitivities
    rows = measured[0].costs
    bottom = TOP + ROW * len(rows)
    levels = record.best.levels
    names = 14 + CHARACTER * max(len(_row_name(row)) for row in rows)
    middle = (names + WIDTH - 70) / 2
    parts = [
        *bars.draw_legend([(found.level, f"series-{i}") for i, found in enumerate(measured)], 14),
        *_bars(measured, "iou_loss", Box(names + 14, TOP, middle - 14, bottom)),
        *_bars(measured, "logit_error", Box(middle + 14, TOP, WIDTH - 70, bottom)),
        text("axis", names + 14, 11, "IoU lost when it alone is quantized"),
        text("axis", middle + 14, 11, "error of the logits, in their standard deviations"),
        text("axis", WIDTH - 60, 11, "chosen"),
    ]
    for number, row in enumerate(rows):
        y = TOP + ROW * number + 12
        parts.append(text("tick end", names, y, _row_name(row)))
        kind = "label" if row.output in levels else "tick"
        parts.append(text(kind, WIDTH - 60, y, levels.get(row.output, measured[0].level)))
    return picture(WIDTH, bottom + BOTTOM, "what each operator costs", parts)


def _bars(measured: Sequence[Sensitivity], measure: str, frame: Box) -> list[str]:
    """One column of bars: those of each level under one another in the row of their operator."""
    values = [getattr(cost, measure) for found in measured for cost in found.costs]
    low, high = min(0.0, *values), max(0.0, *values)
    axes = Axes(frame, Scale(measure, low, high if high > low else low + 1e-6))
    top = {row.output: frame.top + ROW * number + 2 for number, row in enumerate(measured[0].costs)}
    parts = []
    for share, words in axes.x_scale.ticks(5):
        x = axes.x_of(share)
        parts.append(line("grid", x, frame.top, x, frame.bottom))
        parts.append(text("tick middle", x, frame.bottom + 16, words))
    thick = (ROW - 4) / len(measured)
    for number, found in enumerate(measured):
        for cost in found.costs:
            left, right = sorted((axes.x(0), axes.x(getattr(cost, measure))))
            y, wide = top[cost.output] + thick * number, max(0.5, right - left)
            title = f"{cost.layer} in {found.level}: {getattr(cost, measure):+.5f}"
            parts.append(bars.draw_bar(f"series-{number}", left, y, wide, thick - 0.5, title))
    return [*parts, line("base", axes.x(0), frame.top, axes.x(0), frame.bottom)]


def _row_name(row: QuantizationCost) -> str:
    return f"{row.layer} {row.kind.lower()}"


def _mark(point: Mixture, chosen: bool) -> Mark:
    title = f"{point.name}: {point.bytes / 1e6:.3f} MB, IoU {-point.iou_loss:+.4f}; {_pieces(point)}"
    kind = (WITHIN if point.fits else BEYOND) + " ringed" * chosen
    return Mark(point.bytes / 1e6, point.iou_loss, kind, _label(point, chosen), title=title)


def _label(point: Mixture, chosen: bool) -> str:
    """Whole networks at one level and the chosen point are named, the many mixtures are not."""
    name = "" if ";" in point.name else point.name
    if not chosen:
        return name
    return f"{CHOSEN}: {name}" if name else CHOSEN


def _pieces(point: Mixture) -> str:
    taken = f"{point.delegated} of {point.operators} operators in XNNPACK"
    return f"{taken}, in {counted(point.partitions, 'piece')}"


def _speed(record: Frontier) -> str:
    """How fast the chosen file is, and in how many pieces XNNPACK runs it."""
    pieces, speed = _pieces(record.best), record.speed
    if not speed:
        return pieces
    # A record from before there was a verdict has the ratio alone.
    verdict = speed.get("verdict", "slower" if speed["ratio"] > 1 else "")
    said = {"slower": ": slower than fp32", "cannot tell": ": nobody can tell whether it is slower"}
    ratio = f"{speed['ratio']:.2f} of fp32's time where it was made (measured)"
    return f"{pieces}; {ratio}{said.get(verdict, '')}"


if __name__ == "__main__":
    write(*(Path(argument) for argument in sys.argv[1:3]))
