"""Charts of many trials, as SVG text: each trial is a mark or a line, the same in all of them.

A trial's colour is its class, by the fifth that its score is in (``shade-0`` the worst, ``shade-4`` the best)
or ``best``; ``data-t`` holds its number, by which the page's script shows one trial in all charts at once.
Marks come in drawing order: what matters goes last, so that it is on top. As in charts.py, all words that
are needed stand in the picture; the rest is in ``<title>``.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from footseg.benchmarks.pages import charts
from footseg.benchmarks.pages.bars import fit
from footseg.benchmarks.pages.charts import Axes, Box, Bubble, svg

RADIUS = 4
# Of a row of `parallel` where its axes lie: title, axis, ticks.
LANE = 64
# So many axes stand side by side; more lie one above the other.
MOST_UPRIGHT = 9
# Share of its slot that the trials of one choice are spread over.
SPREAD = 0.55
# More lines than this are drawn thinner, so that the words between them can be read.
DENSE = 120


@dataclass(frozen=True)
class Scale:
    """How a parameter or a figure lies along an axis.

    ``names`` are those of a choice, whose values are indices into it. Else values lie from ``low`` to
    ``high``; what lies beyond is drawn at the end. With ``step`` there are few values, a slot for each.
    """

    title: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    names: tuple[str, ...] = ()
    whole: bool = False
    step: float = 0.0

    @property
    def slots(self) -> int:
        """Of how many values each has a place of its own; 0 where they are too many."""
        return len(self.names) or (round((self.high - self.low) / self.step) + 1 if self.step else 0)

    def share(self, value: float, spread: float = 0.0) -> float:
        """Where ``value`` is, in [0, 1]; ``spread`` in [-0.5, 0.5] tells equal choices apart."""
        if self.slots:
            index = value if self.names else (value - self.low) / self.step
            return (index + 0.5 + SPREAD * spread) / self.slots
        if not self.low < self.high:
            return 0.5
        inside = min(max(value, self.low), self.high)
        if self.log:
            return math.log(inside / self.low) / math.log(self.high / self.low)
        return (inside - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Where to write what: all names, else ``most`` round numbers or fewer."""
        if self.names:
            return [(self.share(index), name) for index, name in enumerate(self.names)]
        if self.slots:
            values = [self.low + index * self.step for index in range(self.slots)]
            return [(self.share(value), number(value)) for value in values[:: math.ceil(self.slots / most)]]
        if not self.low < self.high:
            return [(0.5, number(self.low))]
        place = charts.log_ticks if self.log and self.high >= 10 * self.low else charts.ticks
        # Round numbers (1, 2, 5 times a power of ten) may all lie outside: one mark alone tells no scale.
        for more in (0, 2, 4):
            found = [v for v in place(self.low, self.high, most + more) if not self.whole or v == round(v)]
            if len(found) > 1:
                break
        return [(self.share(value), number(value)) for value in found]


@dataclass(frozen=True)
class Mark:
    """One trial as a point. ``y`` None: it has no score, and is a tick at the bottom."""

    number: int
    kind: str
    x: float
    y: float | None
    title: str
    hollow: bool = False


@dataclass(frozen=True)
class Line:
    """One trial as a line: a value for each axis or epoch, None where it has none there."""

    number: int
    kind: str
    values: tuple[float | None, ...]
    title: str
    ends: bool = False
    """Whether it was ended early: a dot is drawn where."""


def number(value: float, digits: int = 4) -> str:
    """Short: 0.25, 300, 1e-6, 2.5e6."""
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e")


def floor(scores: Sequence[float]) -> float:
    """The least score worth a place on an axis: a few very bad ones would press all others together.

    Tukey's fence below the lower quartile, where anything is beyond it.
    """
    ordered = sorted(scores)
    low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    fence = low - 1.5 * max(high - low, 0.02)
    return next(score for score in ordered if score >= fence)


# --- points --------------------------------------------------------------------------------------


def scatter(
    marks: Sequence[Mark],
    scale: Scale,
    *,
    width: int,
    height: int,
    y_range: tuple[float, float],
    y_label: str,
    x_label: str = "",
    line: Sequence[tuple[float, float]] = (),
) -> str:
    """A point a trial over one parameter; hollow where it was ended early, a tick where it has no score.

    ``line`` is drawn as stairs behind them: best so far.
    """
    axes = _axes(width, height, y_range, 30 if y_label else 10)
    parts = _frame(axes, scale, x_label, y_label)
    for kind, group in itertools.groupby((m for m in marks if m.y is None), key=lambda mark: mark.kind):
        parts.append(f'<g class="lost {kind}">')
        for mark in group:
            x = axes.x(scale.share(mark.x, spread_of(mark.number)))
            d = f"M{x:.1f} {axes.frame.bottom - 1:.1f}v-9"
            parts.append(f'<path data-t="{mark.number}" d="{d}">{_title(mark)}</path>')
        parts.append("</g>")
    if line:
        at = [(axes.x(scale.share(x)), axes.y(y)) for x, y in line]
        corners = "".join(f"H{x:.1f}V{y:.1f}" for x, y in at[1:])
        parts.append(
            f'<path class="sofar" d="M{at[0][0]:.1f} {at[0][1]:.1f}{corners}H{axes.frame.right:.1f}"/>'
        )
    parts += _dots([mark for mark in marks if mark.y is not None], axes, scale)
    return svg(width, height, f"{y_label or 'Score'} over {x_label or scale.title}", parts)


def front(
    marks: Sequence[Mark],
    names: Mapping[int, str],
    scale: Scale,
    *,
    width: int,
    height: int,
    y_range: tuple[float, float],
    y_label: str,
    x_label: str,
    limit: tuple[float, str] | None = None,
) -> str:
    """Scores over a cost; ``names`` are those of the trials on the front, ``limit`` a value and its words."""
    axes = _axes(width, height, y_range)
    parts = _frame(axes, scale, x_label, y_label)
    frame = axes.frame
    lines: list[Box] = []
    if limit:
        x = axes.x(scale.share(limit[0]))
        lines.append(Box(x - 2, frame.top, x + 2, frame.bottom))
        end = x > (frame.left + frame.right) / 2
        parts.append(f'<path class="limit" d="M{x:.1f} {frame.top:.1f}V{frame.bottom:.1f}"/>')
        parts.append(
            f'<text class="tick limited{" end" if end else ""}" x="{x + (-6 if end else 6):.1f}" '
            f'y="{frame.bottom - 8:.1f}">{escape(limit[1])}</text>'
        )
    places = {
        m.number: (axes.x(scale.share(m.x)), axes.y(_inside(m.y, y_range)), RADIUS + 1.0)
        for m in marks
        if m.y is not None
    }
    on = [mark for mark in marks if mark.number in names and mark.number in places]
    best = charts.pareto([(mark.x, mark.y or 0.0) for mark in on])
    if best:
        stairs = charts.stairs_of([places[on[i].number][:2] for i in best], frame)
        lines += [stair.grown(charts.LINE_AIR) for stair in stairs]
        parts.append(charts.draw_stairs(stairs))
    parts += _dots([mark for mark in marks if mark.number in places], axes, scale)
    # The other marks are in the way of labels, too, as long as there is a way around them.
    others = [Box(x - r, y - r, x + r, y + r) for n, (x, y, r) in places.items() if n not in names]
    if len(others) < width / 10:
        lines += others
    bubbles = [Bubble(names[m.number], m.x, m.y or 0.0, 1.0, 0) for m in on]
    circles = [places[mark.number] for mark in on]
    for point, box, circle in zip(
        bubbles, charts.place_labels(bubbles, circles, frame, lines), circles, strict=True
    ):
        parts += charts.draw_label(point, box, circle)
    return svg(width, height, f"{y_label} over {x_label}", parts)


def spread_of(trial: int) -> float:
    """A place of its own for each trial among equal ones, in [-0.5, 0.5): multiples of the golden ratio."""
    return (trial * 0.6180339887) % 1 - 0.5


def _axes(width: int, height: int, y_range: tuple[float, float], top: int = 30) -> Axes:
    """X in shares of a scale: that knows logarithms and choices."""
    return Axes(Box(50, top, width - 16, height - 44), (-0.02, 1.02), y_range)


def _frame(axes: Axes, scale: Scale, x_label: str, y_label: str) -> list[str]:
    frame = axes.frame
    room = frame.right - frame.left
    parts = [f'<text class="axis" x="{frame.left - 44:.1f}" y="14">{escape(y_label)}</text>'] * bool(y_label)
    for value in charts.ticks(*axes.y_range, most=6):
        y = axes.y(value)
        parts.append(f'<path class="grid" d="M{frame.left:.1f} {y:.1f}H{frame.right:.1f}"/>')
        parts.append(f'<text class="tick end" x="{frame.left - 8:.1f}" y="{y + 4:.1f}">{value:g}</text>')
    found = scale.ticks(max(3, int(room / 70)))
    slot = room / len(found) if scale.slots else room
    for share, text in found:
        x = axes.x(share)
        parts.append(f'<path class="grid" d="M{x:.1f} {frame.bottom:.1f}v5"/>')
        shown = _fitted(text, slot - 4)
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{frame.bottom + 19:.1f}">{shown}</text>')
    parts.append(f'<path class="base" d="M{frame.left:.1f} {frame.bottom:.1f}H{frame.right:.1f}"/>')
    if x_label:
        y = frame.bottom + 37
        parts.append(f'<text class="axis end" x="{frame.right:.1f}" y="{y:.1f}">{escape(x_label)}</text>')
    return parts


def _dots(marks: Iterable[Mark], axes: Axes, scale: Scale) -> list[str]:
    parts = []
    for kind, group in itertools.groupby(marks, key=lambda mark: mark.kind):
        parts.append(f'<g class="{kind}">')
        for mark in group:
            x = axes.x(scale.share(mark.x, spread_of(mark.number)))
            y = axes.y(_inside(mark.y, axes.y_range))
            radius = RADIUS + 1.5 if mark.kind == "best" else RADIUS
            parts.append(
                f'<circle class="{"trial hollow" if mark.hollow else "trial"}" data-t="{mark.number}" '
                f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{_title(mark)}</circle>'
            )
        parts.append("</g>")
    return parts


def _inside(value: float | None, limits: tuple[float, float]) -> float:
    return min(max(value or 0.0, limits[0]), limits[1])


def _title(thing: Mark | Line) -> str:
    return f"<title>{escape(thing.title)}</title>" if thing.title else ""


def _fitted(text: str, pixels: float) -> str:
    short = fit(text, pixels)
    return escape(short) if short == text else f"{escape(short)}<title>{escape(text)}</title>"


# --- lines ---------------------------------------------------------------------------------------


def curves(
    lines: Sequence[Line],
    *,
    width: int,
    height: int,
    y_range: tuple[float, float],
    y_label: str,
    label: tuple[float, str] | None = None,
) -> str:
    """A thin line a trial over its epochs; ``label`` names a value at the right edge.

    Points are whole pixels, each told from the one before: a page of 300 trials stays small.
    """
    epochs = max(len(line.values) for line in lines)
    scale = Scale("epoch", 1, max(epochs, 2), whole=True)
    room = charts.CHARACTER * len(label[1]) if label else 0
    axes = Axes(Box(50, 30, width - 16 - room, height - 44), (0, 1), y_range)
    parts = _frame(axes, scale, "epoch", y_label)
    for kind, group in _grouped(lines):
        parts.append(f'<g class="{kind}">')
        for line in group:
            at = [
                (round(axes.x(scale.share(epoch))), round(axes.y(_inside(value, y_range))))
                for epoch, value in enumerate(line.values, start=1)
                if value is not None and math.isfinite(value)
            ]
            parts += _course(line, at)
        parts.append("</g>")
    if label:
        x, y = axes.frame.right + 8, axes.y(_inside(label[0], y_range)) + 4
        parts.append(f'<text class="label best" x="{x:.1f}" y="{y:.1f}">{escape(label[1])}</text>')
    return svg(width, height, f"{y_label} over epochs", parts)


def _grouped(lines: Sequence[Line]) -> Iterator[tuple[str, list[Line]]]:
    """Neighbours of one class together, and that class."""
    dense = " dense" if len(lines) > DENSE else ""
    for kind, group in itertools.groupby(lines, key=lambda line: line.kind):
        yield kind if kind == "best" else kind + dense, list(group)


def _course(line: Line, at: Sequence[tuple[int, int]]) -> list[str]:
    if not at:
        return []
    steps = " ".join(f"{x2 - x1} {y2 - y1}" for (x1, y1), (x2, y2) in itertools.pairwise(at))
    drawn = []
    if steps:
        d = f"M{at[0][0]} {at[0][1]}l{steps}"
        drawn.append(f'<path class="line" data-t="{line.number}" d="{d}">{_title(line)}</path>')
    if line.ends or not steps:
        x, y = at[-1]
        drawn.append(f'<circle class="trial" data-t="{line.number}" cx="{x}" cy="{y}" r="2.5"/>')
    return drawn


def parallel(scales: Sequence[Scale], lines: Sequence[Line], *, width: int, upright: bool) -> str:
    """Parallel coordinates: an axis a scale and a line a trial, which leaves out axes where it has no value.

    A line that goes on beyond axes that it leaves out is dashed there.

    Args:
        scales: of the axes, from the left or the top.
        lines: with a value for each scale.
        width: in pixels.
        upright: axes stand side by side; else they lie one above the other, for many axes or a phone.
    """
    height = 420 if upright else LANE * len(scales) + 6
    place = _upright(len(scales), width, height) if upright else _lying(width)
    parts = []
    for kind, group in _grouped(lines):
        parts.append(f'<g class="{kind}">')
        for line in group:
            parts.append(_through(line, _points(line, scales, place)))
        parts.append("</g>")
    parts.append('<g class="axes">')
    for index, scale in enumerate(scales):
        parts += (
            _upright_axis(scale, place, index, len(scales), width)
            if upright
            else _lying_axis(scale, place, index, width)
        )
    parts.append("</g>")
    return svg(width, height, "Parameters and score of each trial", parts)


@dataclass(frozen=True)
class _Place:
    """Pixels of a share on an axis: x = x0 + i * step_x + share * along_x, and so for y."""

    start: tuple[float, float]
    step: tuple[float, float]
    along: tuple[float, float]

    def __call__(self, index: int, share: float) -> tuple[float, float]:
        return (
            self.start[0] + index * self.step[0] + share * self.along[0],
            self.start[1] + index * self.step[1] + share * self.along[1],
        )


def _upright(count: int, width: int, height: int) -> _Place:
    return _Place((16, height - 14), ((width - 90) / max(1, count - 1), 0), (0, -(height - 52)))


def _lying(width: int) -> _Place:
    return _Place((8, 24), (0, LANE), (width - 16, 0))


def _points(line: Line, scales: Sequence[Scale], place: _Place) -> list[tuple[float, float] | None]:
    spread = spread_of(line.number)
    return [
        None if value is None else place(index, scale.share(value, spread))
        for index, (scale, value) in enumerate(zip(scales, line.values, strict=True))
    ]


def _through(line: Line, points: Sequence[tuple[float, float] | None]) -> str:
    """Solid from axis to axis, dashed over those left out."""
    known = [(index, point) for index, point in enumerate(points) if point]
    solid, gaps, last = "", "", -2
    for (before, _), (index, (x, y)) in itertools.pairwise([(-2, (0.0, 0.0)), *known]):
        solid += f"L{x:.0f} {y:.0f}" if index == before + 1 else f"M{x:.0f} {y:.0f}"
        last = index
    for (before, (x1, y1)), (index, (x2, y2)) in itertools.pairwise(known):
        if index > before + 1:
            gaps += f"M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}"
    if last < 0:
        return ""
    drawn = f'<path class="line" data-t="{line.number}" d="{solid}">{_title(line)}</path>'
    return drawn + (f'<path class="line gap" data-t="{line.number}" d="{gaps}"/>' if gaps else "")


def _upright_axis(scale: Scale, place: _Place, index: int, count: int, width: int) -> list[str]:
    (x, bottom), (_, top) = place(index, 0), place(index, 1)
    room = (width - 90) / max(1, count - 1)
    last = index == count - 1
    parts = [f'<path class="base" d="M{x:.1f} {bottom:.1f}V{top:.1f}"/>']
    anchor, at = ("", 0.0) if index == 0 else (" end", width - 2.0) if last else (" middle", x)
    wide = room if not last else room / 2 + 70
    parts.append(f'<text class="label{anchor}" x="{at:.1f}" y="14">{_fitted(scale.title, wide - 8)}</text>')
    for share, text in scale.ticks(7):
        y = place(index, share)[1]
        parts.append(f'<path class="base" d="M{x - 3:.1f} {y:.1f}h6"/>')
        parts.append(f'<text class="tick" x="{x + 7:.1f}" y="{y + 4:.1f}">{_fitted(text, room - 12)}</text>')
    return parts


def _lying_axis(scale: Scale, place: _Place, index: int, width: int) -> list[str]:
    (left, y), (right, _) = place(index, 0), place(index, 1)
    parts = [
        f'<path class="base" d="M{left:.1f} {y:.1f}H{right:.1f}"/>',
        f'<text class="label" x="{left:.1f}" y="{y - 9:.1f}">{_fitted(scale.title, width - 20)}</text>',
    ]
    found = scale.ticks(max(3, int(width / 90)))
    slot = (right - left) / max(1, len(found))
    for share, text in found:
        x = place(index, share)[0]
        shown = _fitted(text, slot - 4 if scale.slots else slot)
        near = min(max(x, left + 10), right - 12)
        parts.append(f'<path class="base" d="M{x:.1f} {y - 3:.1f}v6"/>')
        parts.append(f'<text class="tick middle" x="{near:.1f}" y="{y + 16:.1f}">{shown}</text>')
    return parts
