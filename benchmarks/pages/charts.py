"""Charts of points and of lines, as SVG text: pure functions of their data."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from footseg.benchmarks.pages.svg import (
    CHARACTER,
    LINE,
    Axes,
    Box,
    Scale,
    draw_frame,
    element,
    line,
    picture,
    text,
)

LARGEST_RADIUS = 20
SMALLEST_RADIUS = 4
# Kept free on both sides of a line, in pixels, where a label can do without.
LINE_AIR = 2
# Of more lines the points are whole pixels: a page of 300 trials stays small.
FEW_LINES = 9


@dataclass(frozen=True)
class Mark:
    """One thing as a circle of classes ``kind``, with ``note`` under its label.

    ``y`` None: its height is not known, and it is a tick at the bottom. ``trial`` is its number where the
    page's script shows one thing in several charts, and tells equal choices apart.
    """

    x: float
    y: float | None
    kind: str
    label: str = ""
    note: str = ""
    title: str = ""
    radius: float = SMALLEST_RADIUS
    trial: int | None = None

    @property
    def spread(self) -> float:
        """A place of its own among equal ones."""
        return 0.0 if self.trial is None else spread_of(self.trial)


@dataclass(frozen=True)
class LimitLine:
    """A line that is not to be crossed, at ``value`` of x, or of y where it lies ``across``."""

    value: float
    words: str
    across: bool = False


@dataclass(frozen=True)
class Curve:
    """One line of classes ``kind``: ``y`` over ``x``, in order; ``label`` at its right end.

    ``ends`` draws a dot where it was ended early.
    """

    x: Sequence[float]
    y: Sequence[float]
    kind: str
    label: str = ""
    title: str = ""
    trial: int | None = None
    ends: bool = False


def spread_of(trial: int) -> float:
    """A place of its own for each trial among equal ones, in [-0.5, 0.5): multiples of the golden ratio."""
    return (trial * 0.6180339887) % 1 - 0.5


# --- points --------------------------------------------------------------------------------------


def scatter(
    marks: Sequence[Mark],
    x: Scale,
    y: Scale,
    *,
    width: int,
    height: int,
    stairs: Sequence[tuple[float, float]] = (),
    limit: LimitLine | None = None,
    inset: float = 0.0,
) -> str:
    """Marks over two scales, in drawing order: what matters goes last. Labels of those that have one.

    Args:
        marks: the marks.
        x, y: scales; charts side by side, whose y has no title, have their headings outside.
        width, height: in pixels.
        stairs: corners, by growing x, of the limit of what was reached: level from each to the next one's x.
        limit: a line that is not to be crossed.
        inset: air inside the frame for marks at the ends of ``x``, in pixels.
    """
    frame = Box(58, 34 if y.title else 10, width - 14, height - 46)
    axes = Axes(frame, x if y.title else replace(x, title=""), y, inset)
    parts, lines = draw_frame(axes), []
    if limit:
        box, drawn = _draw_limit(limit, axes)
        lines.append(box.grown(LINE_AIR))
        parts += drawn
    if stairs:
        boxes = stairs_of([(axes.x(x), axes.y(y)) for x, y in stairs], frame)
        lines += [box.grown(LINE_AIR) for box in boxes]
        d = "".join(f"M{box.left:.1f} {box.bottom:.1f}L{box.right:.1f} {box.top:.1f}" for box in boxes)
        parts.append(element("path", "front", d=d))
    parts += [_draw_mark(mark, axes) for mark in marks]
    named = [mark for mark in marks if mark.label]
    # Unnamed marks are in the way of labels, too, as long as there is a way around them.
    others = [mark for mark in marks if not mark.label and mark.y is not None]
    if len(others) < width / 10:
        lines += [_box(_circle(mark, axes)) for mark in others]
    circles = [_circle(mark, axes) for mark in named]
    for mark, box, circle in zip(named, place_labels(named, circles, frame, lines), circles, strict=True):
        parts += _draw_label(mark, box, circle)
    return picture(width, height, f"{y.title or 'Score'} over {x.title}", parts)


def bubbles(
    marks: Sequence[Mark],
    *,
    width: int,
    height: int,
    x_label: str,
    y_label: str,
    radius: float = LARGEST_RADIUS,
    x_log: bool = False,
) -> str:
    """Marks with y zoomed to the data (0.02 wide at least, inside 0 to 1), the front stronger, on a line.

    Args:
        marks: the marks; their radii count against the largest one.
        width, height: in pixels.
        x_label, y_label: names of the axes.
        radius: of the largest circle, in pixels.
        x_log: x logarithmic and zoomed to the data, for what spans more than a factor of a few; else from 0.

    Raises:
        ValueError: no marks.
    """
    if not marks:
        raise ValueError("a bubble chart needs a point or more")
    points = [(mark.x, mark.y or 0.0) for mark in marks]
    best = pareto(points)
    largest = max(mark.radius for mark in marks)
    drawn = [
        replace(
            mark,
            kind=f"{mark.kind} best" if i in best else mark.kind,
            radius=max(SMALLEST_RADIUS, radius * mark.radius / largest),
        )
        for i, mark in enumerate(marks)
    ]
    # The largest circle must fit inside the frame, wherever it stands.
    air = radius / (width - 72)
    xs = [x for x, _ in points]
    low, high = log_span(xs, 1.5 * air) if x_log else (0.0, max(xs) * (1 + 2.5 * air))
    return scatter(
        # Large circles first, so that a small one is never hidden.
        sorted(drawn, key=lambda mark: -mark.radius),
        Scale(x_label, low, high, log=x_log),
        Scale(y_label, *span([y for _, y in points], 0.02, (0, 1.01))),
        width=width,
        height=height,
        stairs=[points[i] for i in best],
    )


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (x, y) that no other betters, less x and more y being better, by growing x."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def span(values: Sequence[float], least: float, limits: tuple[float, float]) -> tuple[float, float]:
    """A range around ``values``, at least ``least`` wide and inside ``limits``, with air above and below.

    The least width keeps a difference that means nothing from filling the whole height.
    """
    low, high = min(values), max(values)
    room = max(0.25 * (high - low), (least - (high - low)) / 2)
    return max(limits[0], low - room), min(limits[1], high + room)


def log_span(values: Sequence[float], air: float) -> tuple[float, float]:
    """A range around ``values`` of a factor of 1.5 at least, with a share of ``air`` on both sides."""
    low, high = min(values), max(values)
    room = max(math.log(1.5) / 2, math.log(high / low) / 2 * (1 + 2 * air))
    middle = math.sqrt(low * high)
    return middle / math.exp(room), middle * math.exp(room)


def stairs_of(corners: Sequence[tuple[float, float]], frame: Box) -> list[Box]:
    """The limit of what was reached: level from each point to the next better one's x, then up to it."""
    steps = []
    for (x, y), (next_x, next_y) in itertools.pairwise([*corners, (frame.right, corners[-1][1])]):
        steps += [Box(x, y, next_x, y), Box(next_x, next_y, next_x, y)]
    return steps


def _circle(mark: Mark, axes: Axes) -> tuple[float, float, float]:
    return axes.x(mark.x, mark.spread), axes.y(mark.y or 0.0), float(mark.radius)


def _box(circle: tuple[float, float, float]) -> Box:
    x, y, radius = circle
    return Box(x, y, x, y).grown(radius)


def _draw_mark(mark: Mark, axes: Axes) -> str:
    x, y, radius = _circle(mark, axes)
    if mark.y is None:
        d = f"M{x:.1f} {axes.frame.bottom - 1:.1f}v-9"
        return element("path", f"lost {mark.kind}", mark.title, data_t=mark.trial, d=d)
    title = mark.title or mark.label
    return element("circle", mark.kind, title, data_t=mark.trial, cx=x, cy=y, r=radius)


def _draw_limit(limit: LimitLine, axes: Axes) -> tuple[Box, list[str]]:
    """Where it lies, and it with its words: over its right end, or beside its lower end."""
    frame = axes.frame
    if limit.across:
        y = axes.y(limit.value)
        box = Box(frame.left, y, frame.right, y)
        words = text("tick limited end", box.right, y - 5, limit.words)
    else:
        x = axes.x(limit.value)
        box = Box(x, frame.top, x, frame.bottom)
        end, away = (" end", -6) if x > (frame.left + frame.right) / 2 else ("", 6)
        words = text(f"tick limited{end}", x + away, frame.bottom - 8, limit.words)
    return box, [line("limit", box.left, box.top, box.right, box.bottom), words]


# --- labels --------------------------------------------------------------------------------------


def place_labels(
    marks: Sequence[Mark],
    circles: Sequence[tuple[float, float, float]],
    frame: Box,
    lines: Sequence[Box] = (),
) -> list[Box]:
    """A box for each label, near its circle, on no circle, line or other label where that can be had."""
    taken = [*map(_box, circles), *lines]
    placed: list[Box] = []
    for mark, (x, y, radius) in zip(marks, circles, strict=True):
        wide = CHARACTER * max(len(mark.label), len(mark.note))
        high = LINE * (2 if mark.note else 1)

        def cost(box: Box, x: float = x, y: float = y) -> tuple[float, float]:
            middle = ((box.left + box.right) / 2, (box.top + box.bottom) / 2)
            area = (box.right - box.left) * (box.bottom - box.top)
            outside = area - box.overlap(frame)
            covered = sum(box.overlap(other) for other in taken)
            # A label under another cannot be read; one over a line can.
            hidden = sum(box.overlap(other) for other in placed)
            return (round(2 * outside + covered + 4 * hidden), math.dist(middle, (x, y)))

        placed.append(min(_candidates(x, y, radius, wide, high), key=cost))
    return placed


def _candidates(x: float, y: float, radius: float, wide: float, high: float) -> list[Box]:
    """Boxes right, left, above and below a circle, at growing distance."""
    boxes = []
    for gap in (6, 18, 32, 48, 66, 86):
        reach = radius + gap
        for shift in (0.0, -0.9 * reach, 0.9 * reach):
            for left in (x + reach, x - reach - wide):
                boxes.append(Box(left, y + shift - high / 2, left + wide, y + shift + high / 2))
            for top in (y - reach - high, y + reach):
                boxes.append(Box(x + shift - wide / 2, top, x + shift + wide / 2, top + high))
    return boxes


def _draw_label(mark: Mark, box: Box, circle: tuple[float, float, float]) -> list[str]:
    """The text, and a thin line to the circle where the text stands away from it."""
    x, y, radius = circle
    parts = []
    near = (min(max(x, box.left), box.right), min(max(y, box.top), box.bottom))
    distance = math.dist(near, (x, y))
    if distance > radius + 10:
        share = radius / distance
        parts.append(line("leader", x + (near[0] - x) * share, y + (near[1] - y) * share, *near))
    # Towards the circle the text is flush, so that it is seen to belong there.
    if box.left >= x:
        anchor, at = "", box.left
    elif box.right <= x:
        anchor, at = " end", box.right
    else:
        anchor, at = " middle", (box.left + box.right) / 2
    parts.append(text(f"label{anchor}", at, box.top + 12, mark.label))
    if mark.note:
        parts.append(text(f"tick{anchor}", at, box.top + 26, mark.note))
    return parts


# --- lines ---------------------------------------------------------------------------------------


def curves(
    lines: Sequence[Curve],
    x: Scale,
    y: Scale,
    *,
    width: int,
    height: int,
    ring: tuple[float, float] | None = None,
) -> str:
    """Lines with their labels at the right; ``ring`` marks one point. What is no number is left out.

    Raises:
        ValueError: no lines.
    """
    if not lines:
        raise ValueError("a line chart needs a line or more")
    room = CHARACTER * max(len(curve.label) for curve in lines)
    axes = Axes(Box(58, 34, width - 18 - room, height - 46), x, y)
    digits = 1 if len(lines) <= FEW_LINES else 0
    drawn = [(curve, at) for curve in lines if (at := _points(curve, axes, digits))]
    parts = [*draw_frame(axes), *itertools.chain.from_iterable(itertools.starmap(_draw_curve, drawn))]
    named = [(curve, at[-1][1]) for curve, at in drawn if curve.label]
    for (curve, _), baseline in zip(named, apart([y for _, y in named], LINE), strict=True):
        parts.append(text(f"label {curve.kind}", axes.frame.right + 8, baseline + 4, curve.label))
    if ring:
        parts.append(element("circle", "mark", cx=axes.x(ring[0]), cy=axes.y(ring[1]), r=5))
    return picture(width, height, f"{y.title} over {x.title}", parts)


def _points(curve: Curve, axes: Axes, digits: int) -> list[tuple[float, float]]:
    return [
        (round(axes.x(x), digits), round(axes.y(y), digits))
        for x, y in zip(curve.x, curve.y, strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]


def _draw_curve(curve: Curve, at: Sequence[tuple[float, float]]) -> list[str]:
    """The line, each point told from the one before; a dot where it ended early or has one point only."""
    steps = " ".join(f"{x2 - x1:.4g} {y2 - y1:.4g}" for (x1, y1), (x2, y2) in itertools.pairwise(at))
    parts = []
    if steps:
        d = f"M{at[0][0]:g} {at[0][1]:g}l{steps}"
        parts.append(element("path", f"curve {curve.kind}", curve.title, data_t=curve.trial, d=d))
    if curve.ends or not steps:
        x, y = at[-1]
        parts.append(element("circle", f"trial {curve.kind}", data_t=curve.trial, cx=x, cy=y, r=2.5))
    return parts


def apart(positions: Sequence[float], least: float) -> list[float]:
    """The positions, moved down where one is nearer than ``least`` to the one above it."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = list(positions)
    for above, below in itertools.pairwise(order):
        moved[below] = max(moved[below], moved[above] + least)
    return moved
