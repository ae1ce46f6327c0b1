"""Charts of one row a thing, as SVG text: stacked bars, and ratios with their intervals.

The words stand above each bar, not beside it: so the same drawing does for a wide screen and for a phone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from footseg.benchmarks.pages.svg import (
    FIGURE,
    LETTER,
    Axes,
    Box,
    Scale,
    draw_x_axis,
    element,
    fit,
    line,
    picture,
    text,
)

# Of one row: words, then the bar, then air.
ROW, WORDS, BAR = 38, 14, 9
LEGEND = 26
AXIS = 43
# Half of what stands at a tick needs that much beside the frame.
MARGIN = 16
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
class Whisker:
    """A ratio and the interval that holds the true one, where there is one.

    ``short`` is what stands at the right instead of ``note`` where that would cut the label off.
    """

    label: str
    ratio: float
    low: float | None
    high: float | None
    kind: str
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
    parts = draw_legend(legend)
    for number, row in enumerate(rows):
        y = top + ROW * number
        parts += _words(row.label, row.note, row.title, y, width)
        at = 0.0
        for amount, kind in row.parts:
            wide = width * amount / scale
            # Half a pixel of paper on both sides: parts of one bar stay apart without colour, too.
            parts.append(draw_bar(kind, at, y + WORDS + 5, max(0.5, wide - 1), BAR))
            at += wide
    return picture(width, top + ROW * len(rows), name, parts)


def intervals(rows: Sequence[Whisker], *, width: int, name: str, x_label: str) -> str:
    """A dot for each ratio and a whisker for its interval, around a line at 1; hollow where 1 is inside.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("an interval chart needs a ratio or more")
    axes = Axes(Box(MARGIN, 0, width - MARGIN, ROW * len(rows)), _ratio_scale(rows, x_label))
    parts = draw_x_axis(axes)
    for number, row in enumerate(rows):
        y, low, high = ROW * number, *map(axes.x, row.ends)
        cut = fit(row.label, _room(row.note, width)) != row.label
        parts += _words(row.label, row.short if cut and row.short else row.note, row.title, y, width)
        y += WORDS + 9
        hollow = " hollow" if row.ends[0] <= 1 <= row.ends[1] else ""
        whisker = f"M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 4}v8M{high:.1f} {y - 4}v8"
        parts += [
            line("grid", axes.frame.left, y, axes.frame.right, y),
            line("base", axes.x(1), y - 7, axes.x(1), y + 7),
            element("path", f"whisker {row.kind}", d=whisker),
            element("circle", f"dot{hollow} {row.kind}", cx=axes.x(row.ratio), cy=y, r=4),
        ]
    return picture(width, ROW * len(rows) + AXIS, name, parts)


def draw_bar(kind: str, left: float, top: float, width: float, height: float, title: str = "") -> str:
    """A bar of a class."""
    return element("rect", f"bar {kind}", title, x=left, y=top, width=width, height=height)


def draw_legend(legend: Sequence[tuple[str, str]], x: float = 0.0) -> list[str]:
    """Names and classes of bars, side by side at the top."""
    parts = []
    for name, kind in legend:
        parts += [draw_bar(kind, x, 2, 10, 10), text("tick", x + 15, 11, name)]
        x += 15 + LETTER * len(name) + 14
    return parts


def share_of(amount: float, whole: float) -> str:
    """62%, and 0.4% for what is less than one."""
    percent = 100 * amount / whole if whole else math.nan
    return f"{percent:.0f}%" if percent >= 0.95 else f"{percent:.1f}%"


def _room(note: str, width: float) -> float:
    """Pixels beside a note."""
    return width - FIGURE * len(note) - 12


def _words(label: str, note: str, title: str, y: float, width: int) -> list[str]:
    shown = fit(label, _room(note, width))
    return [text("", 0, y + 12, shown, title or label), text("note end", width, y + 12, note)]


def _ratio_scale(rows: Sequence[Whisker], x_label: str) -> Scale:
    """From the least to the greatest, 1 among them, with air; a hundredth on both sides at least."""
    ends = [1.0, *(end for row in rows for end in row.ends)]
    low, high = min(ends), max(ends)
    if high / low > LOGARITHMIC:
        room = (high / low) ** 0.05
        return Scale(x_label, low / room, high * room, log=True)
    room = max(0.05 * (high - low), 0.01)
    return Scale(x_label, low - room, high + room)
