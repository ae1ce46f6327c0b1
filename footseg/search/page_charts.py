"""Parallel coordinates as SVG text: an axis a parameter and a line a trial.

A trial's colour is its class, by the fifth that its score is in (``shade-0`` the worst, ``shade-4`` the best)
or ``best``; ``data-t`` holds its number, by which the page's script shows one trial in all charts at once.
Lines come in drawing order: what matters goes last, so that it is on top.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from footseg.benchmarks.pages.charts import Curve, spread_of
from footseg.benchmarks.pages.svg import Axes, Box, Scale, draw_x_axis, element, fitted, line, picture

# Of a row where axes lie: title, axis, ticks.
LANE = 64
# So many axes stand side by side; more lie one above the other.
MOST_UPRIGHT = 9


def parallel(scales: Sequence[Scale], lines: Sequence[Curve], *, width: int, upright: bool) -> str:
    """Parallel coordinates: a line leaves out axes where its trial has no value, dashed beyond them.

    Args:
        scales: of the axes, from the left or the top.
        lines: with a value for each scale, NaN where there is none.
        width: in pixels.
        upright: axes stand side by side; else they lie one above the other, for many axes or a phone.
    """
    height = 420 if upright else LANE * len(scales) + 6
    place = _upright(len(scales), width, height) if upright else _lying(width)
    parts = [_through(one, scales, place) for one in lines]
    parts.append('<g class="axes">')
    for index, scale in enumerate(scales):
        parts += (
            _upright_axis(scale, place, index, len(scales), width)
            if upright
            else _lying_axis(scale, place, index)
        )
    parts.append("</g>")
    return picture(width, height, "Parameters and score of each trial", parts)


@dataclass(frozen=True)
class _Slot:
    """Pixels of a share on an axis: x = x0 + i * step_x + share * along_x, and so for y."""

    start: tuple[float, float]
    step: tuple[float, float]
    along: tuple[float, float]

    def __call__(self, index: int, share: float) -> tuple[float, float]:
        return (
            self.start[0] + index * self.step[0] + share * self.along[0],
            self.start[1] + index * self.step[1] + share * self.along[1],
        )


def _upright(count: int, width: int, height: int) -> _Slot:
    return _Slot((16, height - 14), ((width - 90) / max(1, count - 1), 0), (0, -(height - 52)))


def _lying(width: int) -> _Slot:
    # Half a word at an end of the axis would be cut off.
    return _Slot((14, 24), (0, LANE), (width - 28, 0))


def _through(one: Curve, scales: Sequence[Scale], place: _Slot) -> str:
    """Solid from axis to axis, dashed over those left out."""
    spread = spread_of(one.trial or 0)
    known = [
        (index, place(index, scale.share(value, spread)))
        for index, (scale, value) in enumerate(zip(scales, one.y, strict=True))
        if not math.isnan(value)
    ]
    if not known:
        return ""
    solid, gaps = "M{:.0f} {:.0f}".format(*known[0][1]), ""
    for (before, (x1, y1)), (index, (x2, y2)) in itertools.pairwise(known):
        solid += f"{'L' if index == before + 1 else 'M'}{x2:.0f} {y2:.0f}"
        if index > before + 1:
            gaps += f"M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}"
    drawn = element("path", f"curve {one.kind}", one.title, data_t=one.trial, d=solid)
    return drawn + (element("path", f"curve {one.kind} gap", data_t=one.trial, d=gaps) if gaps else "")


def _upright_axis(scale: Scale, place: _Slot, index: int, count: int, width: int) -> list[str]:
    (x, bottom), (_, top) = place(index, 0), place(index, 1)
    room = (width - 90) / max(1, count - 1)
    last = index == count - 1
    anchor, at = ("", 0.0) if index == 0 else (" end", width - 2.0) if last else (" middle", x)
    wide = room / 2 + 70 if last else room
    parts = [line("base", x, bottom, x, top), fitted(f"label{anchor}", at, 14, scale.title, wide - 8)]
    for share, words in scale.ticks(7):
        y = place(index, share)[1]
        parts += [line("base", x - 3, y, x + 3, y), fitted("tick", x + 7, y + 4, words, room - 12)]
    return parts


def _lying_axis(scale: Scale, place: _Slot, index: int) -> list[str]:
    (left, y), (right, _) = place(index, 0), place(index, 1)
    axes = Axes(Box(left, y, right, y), replace(scale, title=""))
    return [*draw_x_axis(axes), fitted("label", left, y - 9, scale.title, right - left)]
