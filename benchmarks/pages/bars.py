"""Charts of one row a thing, as SVG text: stacked bars, and ratios with their intervals.

The words stand above each bar, not beside it: so the same drawing does for a wide screen and for a phone.
Colours are classes of report.css, as in charts.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from footseg.benchmarks.pages.charts import Axes, Box, log_ticks, svg, ticks

# Of one row: words, then the bar, then air.
ROW, WORDS, BAR = 38, 14, 9
LEGEND = 26
AXIS = 40
# Mean width of a character of a plain system sans-serif at 12 px, on the wide side: of words, and of figures.
LETTER, FIGURE = 7.0, 6.4
# Where ratios span more than this factor their axis is logarithmic.
LOGARITHMIC = 4


@dataclass(frozen=True)
class Bar:
    """One bar of ``parts``: amounts, each with a class; ``note`` at the right, ``title`` on hovering."""

    label: str
    parts: tuple[tuple[float, str], ...]
    note: str = ""
    title: str = ""

    @property
    def total(self) -> float:
        """The whole bar."""
        return sum(amount for amount, _ in self.parts)


@dataclass(frozen=True)
class Interval:
    """A ratio and the interval that holds the true one, where there is one.

    ``short`` is what stands at the right instead of ``note`` where that would cut the label off.
    """

    label: str
    ratio: float
    low: float | None
    high: float | None
    series: int
    note: str = ""
    short: str = ""
    title: str = ""

    @property
    def ends(self) -> tuple[float, float]:
        """The interval; the ratio itself twice where there is none."""
        return (
            self.ratio if self.low is None else min(self.low, self.ratio),
            self.ratio if self.high is None else max(self.high, self.ratio),
        )


def bars(
    rows: Sequence[Bar],
    *,
    width: int,
    name: str,
    longest: float | None = None,
    legend: Sequence[tuple[str, str]] = (),
) -> str:
    """Horizontal bars from one zero.

    Args:
        rows: from the top.
        width: in pixels; the height follows from the rows.
        name: for those who cannot see it.
        longest: the amount that fills the width (default: that of the longest bar), to draw several alike.
        legend: names and classes of the parts.

    Raises:
        ValueError: no rows, or only empty ones.
    """
    scale = longest or max((row.total for row in rows), default=0.0)
    if not scale > 0:
        raise ValueError("a bar chart needs a bar longer than nothing")
    top = LEGEND if legend else 0
    parts = _legend(legend)
    for number, row in enumerate(rows):
        y = top + ROW * number
        parts += _words(row.label, row.note, row.title, y, width)
        at = 0.0
        for amount, kind in row.parts:
            wide = width * amount / scale
            # Half a pixel of paper on both sides: parts of one bar stay apart without colour, too.
            parts.append(
                f'<rect class="bar {kind}" x="{at:.1f}" y="{y + WORDS + 5}" width="{max(0.5, wide - 1):.1f}" '
                f'height="{BAR}"/>'
            )
            at += wide
    return svg(width, top + ROW * len(rows), name, parts)


def intervals(rows: Sequence[Interval], *, width: int, name: str, x_label: str) -> str:
    """A dot for each ratio and a whisker for its interval, around a line at 1; hollow where 1 is inside.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("an interval chart needs a ratio or more")
    frame = Box(8, 0, width - 8, ROW * len(rows))
    axes = _ratio_axes(rows, frame)
    parts: list[str] = []
    for number, row in enumerate(rows):
        y, low, high = ROW * number, *map(axes.x, row.ends)
        cut = fit(row.label, _room(row.note, width)) != row.label
        parts += _words(row.label, row.short if cut and row.short else row.note, row.title, y, width)
        y += WORDS + 9
        inside = row.ends[0] <= 1 <= row.ends[1]
        parts += [
            f'<path class="grid" d="M{frame.left} {y}H{frame.right}"/>',
            f'<path class="base" d="M{axes.x(1):.1f} {y - 7}v14"/>',
            f'<path class="whisker series-{row.series}" d="M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 4}v8'
            f'M{high:.1f} {y - 4}v8"/>',
            f'<circle class="{"dot hollow" if inside else "dot"} series-{row.series}" '
            f'cx="{axes.x(row.ratio):.1f}" cy="{y}" r="4"/>',
        ]
    parts += _ratio_scale(axes, x_label)
    return svg(width, int(frame.bottom) + AXIS, name, parts)


def fit(text: str, pixels: float) -> str:
    """The text, its middle left out where it is wider than ``pixels``: both ends tell names apart."""
    room = max(4, int(pixels / LETTER))
    if len(text) <= room:
        return text
    end = (room - 1) // 3
    return f"{text[: room - 1 - end].rstrip()}…{text[len(text) - end :].lstrip()}"


def _room(note: str, width: float) -> float:
    """Pixels beside a note."""
    return width - FIGURE * len(note) - 12


def _words(label: str, note: str, title: str, y: float, width: int) -> list[str]:
    shown = fit(label, _room(note, width))
    return [
        f'<text x="0" y="{y + 12}">{escape(shown)}<title>{escape(title or label)}</title></text>',
        f'<text class="note end" x="{width}" y="{y + 12}">{escape(note)}</text>',
    ]


def _legend(legend: Sequence[tuple[str, str]]) -> list[str]:
    parts, x = [], 0.0
    for name, kind in legend:
        parts.append(f'<rect class="bar {kind}" x="{x:.1f}" y="2" width="10" height="10"/>')
        parts.append(f'<text class="tick" x="{x + 15:.1f}" y="11">{escape(name)}</text>')
        x += 15 + LETTER * len(name) + 14
    return parts


def _ratio_axes(rows: Sequence[Interval], frame: Box) -> Axes:
    """From the least to the greatest, 1 among them, with air; a hundredth on both sides at least."""
    ends = [1.0, *(end for row in rows for end in row.ends)]
    low, high = min(ends), max(ends)
    if high / low > LOGARITHMIC:
        room = (high / low) ** 0.05
        return Axes(frame, (low / room, high * room), (0, 1), x_log=True)
    room = max(0.05 * (high - low), 0.01)
    return Axes(frame, (low - room, high + room), (0, 1))


def _ratio_scale(axes: Axes, x_label: str) -> list[str]:
    frame = axes.frame
    parts = [f'<path class="base" d="M{frame.left} {frame.bottom}H{frame.right}"/>']
    place = log_ticks if axes.x_log else ticks
    for value in place(*axes.x_range, most=max(4, int((frame.right - frame.left) / 80))):
        x = axes.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {frame.bottom}v5"/>')
        # Half a label at the edge would be cut off.
        inside = min(max(x, frame.left + 8), frame.right - 8)
        parts.append(f'<text class="tick middle" x="{inside:.1f}" y="{frame.bottom + 18}">{value:g}</text>')
    label = fit(x_label, frame.right - frame.left)
    parts.append(f'<text class="axis end" x="{frame.right}" y="{frame.bottom + 35}">{escape(label)}</text>')
    return parts


def share_of(amount: float, whole: float) -> str:
    """62%, and 0.4% for what is less than one."""
    percent = 100 * amount / whole if whole else math.nan
    return f"{percent:.0f}%" if percent >= 0.95 else f"{percent:.1f}%"
