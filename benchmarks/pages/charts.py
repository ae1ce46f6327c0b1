"""Charts as SVG text: pure functions of their data, coloured by the page's style sheet.

Colours are classes (``series-0`` ...), so that light and dark, and colours that the colour-blind can tell
apart, are decided in one place (report.css); every mark is labelled as well, so colour is never alone.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

FONT = 12
# Mean width of a character of a bold system sans-serif at FONT px, on the wide side: labels must not touch.
CHARACTER = 7.6
LINE = 15
LARGEST_RADIUS = 20
SMALLEST_RADIUS = 4
# Kept free on both sides of a line, in pixels, where a label can do without.
LINE_AIR = 2


@dataclass(frozen=True)
class Bubble:
    """One mark: ``area`` is drawn as the circle's area, ``note`` under the label, ``title`` on hovering."""

    label: str
    x: float
    y: float
    area: float
    series: int
    note: str = ""
    title: str = ""


@dataclass(frozen=True)
class Curve:
    """One line: ``y`` over ``x``, in order."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    series: int


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def grown(self, by: float) -> "Box":
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def overlap(self, other: "Box") -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


@dataclass(frozen=True)
class Axes:
    """A plot's frame: data ranges, their ticks and the pixels that they are drawn to."""

    frame: Box
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_log: bool = False

    def x(self, value: float) -> float:
        low, high = self.x_range
        if self.x_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.frame.left + (value - low) / (high - low) * (self.frame.right - self.frame.left)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.frame.bottom - (value - low) / (high - low) * (self.frame.bottom - self.frame.top)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from ``low`` to ``high``, ``most`` at most."""
    if not low < high:
        raise ValueError(f"ticks need low < high, not {low} and {high}")
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    while (high - low) / step > most - 1:
        # 1, 2, 5, 10 ...: from a 2 on by 2.5, else by 2
        step *= 2.5 if f"{step:e}".startswith("2") else 2
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high`` for a logarithmic axis: 1, 2, 5 and 10, or fewer of a decade."""
    if not 0 < low < high:
        raise ValueError(f"logarithmic ticks need 0 < low < high, not {low} and {high}")
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        found = [round(step * 10.0**decade, 12) for decade in decades for step in steps]
        found = [value for value in found if low <= value <= high]
        if len(found) <= most:
            break
    return found


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


def bubbles(
    points: Sequence[Bubble],
    *,
    width: int,
    height: int,
    x_label: str,
    y_label: str,
    radius: float = LARGEST_RADIUS,
    x_log: bool = False,
    front: bool = False,
) -> str:
    """A bubble chart, y zoomed to the data (0.02 wide at least, inside 0 to 1), its labels kept apart.

    Args:
        points: the marks.
        width, height: in pixels.
        x_label, y_label: names of the axes.
        radius: of the largest circle.
        x_log: x logarithmic and zoomed to the data, for what spans more than a factor of a few; else from 0.
        front: draw the line of the points that none betters, and those points stronger.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("a bubble chart needs a point or more")
    frame = Box(58, 34, width - 14, height - 46)
    xs = [point.x for point in points]
    # The largest circle must fit inside the frame, wherever it stands.
    air = radius / (frame.right - frame.left)
    x_range = log_span(xs, 1.5 * air) if x_log else (0, max(xs) * (1 + 2.5 * air))
    axes = Axes(frame, x_range, span([point.y for point in points], 0.02, (0, 1.01)), x_log)
    radii = _radii(points, radius)
    circles = [(axes.x(point.x), axes.y(point.y), r) for point, r in zip(points, radii, strict=True)]
    best = pareto([(point.x, point.y) for point in points]) if front else []
    parts = draw_frame(axes, x_label, y_label, y_format=lambda v: f"{v:.3f}")
    stairs = stairs_of([circles[i][:2] for i in best], frame) if best else []
    if stairs:
        parts.append(draw_stairs(stairs))
    # Large circles first, so that a small one is never hidden.
    for i in sorted(range(len(points)), key=lambda i: -radii[i]):
        (x, y, r), point = circles[i], points[i]
        kind = f"bubble best series-{point.series}" if i in best else f"bubble series-{point.series}"
        parts.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}">'
            f"<title>{escape(point.title or point.label)}</title></circle>"
        )
    boxes = place_labels(points, circles, frame, [s.grown(LINE_AIR) for s in stairs])
    for point, box, circle in zip(points, boxes, circles, strict=True):
        parts += draw_label(point, box, circle)
    return svg(width, height, f"{y_label} over {x_label}", parts)


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


def curves(
    lines: Sequence[Curve],
    *,
    width: int,
    height: int,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    mark: tuple[float, float] | None = None,
) -> str:
    """Lines with their last values named at the right; ``mark`` rings one point. Y from 0 unless ``y_range``.

    Raises:
        ValueError: no line with two finite points or more.
    """
    finite = [_finite(line) for line in lines]
    finite = [line for line in finite if len(line.x) > 1]
    if not finite:
        raise ValueError("a line chart needs a line of two points or more")
    longest = max(len(_ending(line)) for line in finite)
    frame = Box(48, 34, width - 18 - CHARACTER * longest, height - 46)
    xs = [x for line in finite for x in line.x]
    top = max(y for line in finite for y in line.y)
    axes = Axes(frame, (min(xs), max(xs)), y_range or (0, 1.05 * top or 1))
    parts = draw_frame(axes, x_label, y_label, x_whole=True)
    for line in finite:
        path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
        parts.append(f'<polyline class="curve series-{line.series}" points="{path}"/>')
    for line, y in zip(finite, _apart([axes.y(line.y[-1]) for line in finite], LINE), strict=True):
        parts.append(
            f'<text class="label series-{line.series}" x="{frame.right + 8:.1f}" y="{y + 4:.1f}">'
            f"{escape(_ending(line))}</text>"
        )
    if mark:
        parts.append(f'<circle class="mark" cx="{axes.x(mark[0]):.1f}" cy="{axes.y(mark[1]):.1f}" r="5"/>')
    return svg(width, height, f"{y_label} over {x_label}", parts)


def svg(width: int, height: int, name: str, parts: Sequence[str]) -> str:
    """An SVG element of these parts, with ``name`` for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{escape(name)}">'
        + "".join(parts)
        + "</svg>"
    )


def draw_frame(
    axes: Axes,
    x_label: str,
    y_label: str,
    *,
    y_format: Callable[[float], str] = lambda v: f"{v:g}",
    x_whole: bool = False,
) -> list[str]:
    """Grid, ticks and the axes' names; the y axis's name stands above it, to be read without tilting."""
    frame = axes.frame
    parts = [f'<text class="axis" x="{frame.left - 44:.1f}" y="14">{escape(y_label)}</text>']
    for value in ticks(*axes.y_range, most=7):
        y = axes.y(value)
        parts.append(f'<path class="grid" d="M{frame.left:.1f} {y:.1f}H{frame.right:.1f}"/>')
        parts.append(
            f'<text class="tick end" x="{frame.left - 8:.1f}" y="{y + 4:.1f}">{y_format(value)}</text>'
        )
    place = log_ticks if axes.x_log else ticks
    for value in place(*axes.x_range, most=max(5, int((frame.right - frame.left) / 70))):
        if x_whole and value != round(value):
            continue
        x = axes.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {frame.bottom:.1f}v5"/>')
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{frame.bottom + 19:.1f}">{value:g}</text>')
    parts.append(f'<path class="base" d="M{frame.left:.1f} {frame.bottom:.1f}H{frame.right:.1f}"/>')
    parts.append(
        f'<text class="axis end" x="{frame.right:.1f}" y="{frame.bottom + 38:.1f}">{escape(x_label)}</text>'
    )
    return parts


def draw_stairs(stairs: Sequence[Box]) -> str:
    """The line of ``stairs_of``."""
    path = "".join(f"M{s.left:.1f} {s.bottom:.1f}L{s.right:.1f} {s.top:.1f}" for s in stairs)
    return f'<path class="front" d="{path}"/>'


def _radii(points: Sequence[Bubble], radius: float) -> list[float]:
    largest = max(point.area for point in points) or 1.0
    return [max(SMALLEST_RADIUS, radius * math.sqrt(point.area / largest)) for point in points]


def place_labels(
    points: Sequence[Bubble],
    circles: Sequence[tuple[float, float, float]],
    frame: Box,
    lines: Sequence[Box] = (),
) -> list[Box]:
    """A box for each label, near its circle, on no circle, line or other label where that can be had."""
    taken = [*(Box(x - r, y - r, x + r, y + r) for x, y, r in circles), *lines]
    placed: list[Box] = []
    for point, (x, y, radius) in zip(points, circles, strict=True):
        wide = CHARACTER * max(len(point.label), len(point.note))
        high = LINE * (2 if point.note else 1)

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


def draw_label(point: Bubble, box: Box, circle: tuple[float, float, float]) -> list[str]:
    """The text, and a thin line to the circle where the text stands away from it."""
    x, y, radius = circle
    parts = []
    near = (min(max(x, box.left), box.right), min(max(y, box.top), box.bottom))
    distance = math.dist(near, (x, y))
    if distance > radius + 10:
        share = radius / distance
        start = (x + (near[0] - x) * share, y + (near[1] - y) * share)
        parts.append(f'<path class="leader" d="M{start[0]:.1f} {start[1]:.1f}L{near[0]:.1f} {near[1]:.1f}"/>')
    # Towards the circle the text is flush, so that it is seen to belong there.
    middle = (box.left + box.right) / 2
    if box.left >= x:
        anchor, at = "", box.left
    elif box.right <= x:
        anchor, at = " end", box.right
    else:
        anchor, at = " middle", middle
    parts.append(
        f'<text class="label{anchor}" x="{at:.1f}" y="{box.top + 12:.1f}">{escape(point.label)}</text>'
    )
    if point.note:
        parts.append(
            f'<text class="tick{anchor}" x="{at:.1f}" y="{box.top + 26:.1f}">{escape(point.note)}</text>'
        )
    return parts


def _finite(line: Curve) -> Curve:
    kept = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
    return Curve(line.label, [x for x, _ in kept], [y for _, y in kept], line.series)


def _ending(line: Curve) -> str:
    return f"{line.label} {line.y[-1]:.3f}"


def _apart(positions: Sequence[float], least: float) -> list[float]:
    """The positions, moved down where one is nearer than ``least`` to the one above it."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = list(positions)
    for above, below in itertools.pairwise(order):
        moved[below] = max(moved[below], moved[above] + least)
    return moved
