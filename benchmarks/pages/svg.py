"""What all charts are made of, as SVG text: elements, scales, axes and words that fit.

Colours are classes (``series-0`` ...) that set ``--of``, so that light and dark, and colours that the
colour-blind can tell apart, are decided in one place (page.css); every mark is labelled as well, so colour is
never alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Mean width of a character of a system sans-serif at 12 px, on the wide side: bold, plain, and figures.
CHARACTER, LETTER, FIGURE = 7.6, 7.0, 6.4
# From one baseline to the next.
LINE = 15
# Share of its slot that what lies on one choice is spread over.
SPREAD = 0.55


# --- elements ------------------------------------------------------------------------------------


def element(name: str, kind: str, title: str = "", words: str = "", **attributes: object) -> str:
    """One element of class ``kind``; numbers are written to a tenth of a pixel, ``title`` shows on hovering.

    Of attributes those that are None are left out; in their names _ stands for -.
    """
    written = "".join(
        f' {key.replace("_", "-")}="{_tenths(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = escape(words) + (f"<title>{escape(title)}</title>" if title else "")
    return f'<{name} class="{kind}"{written}' + (f">{inner}</{name}>" if inner else "/>")


def text(kind: str, x: float, y: float, words: str, title: str = "") -> str:
    """Words from (x, y) on; with class ``end`` up to there, with ``middle`` around it."""
    return element("text", kind, title, words, x=x, y=y)


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """From (x1, y1) to (x2, y2)."""
    return element("path", kind, d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}")


def picture(width: int, height: int, name: str, parts: Sequence[str]) -> str:
    """An SVG element of these parts, with ``name`` for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{escape(name)}">'
        + "".join(parts)
        + "</svg>"
    )


def fit(words: str, pixels: float) -> str:
    """The words, their middle left out where they are wider than ``pixels``: both ends tell names apart."""
    room = max(4, int(pixels / LETTER))
    if len(words) <= room:
        return words
    end = (room - 1) // 3
    return f"{words[: room - 1 - end].rstrip()}…{words[len(words) - end :].lstrip()}"


def fitted(kind: str, x: float, y: float, words: str, pixels: float) -> str:
    """As ``text``, in ``pixels`` at most; what is cut shows on hovering."""
    short = fit(words, pixels)
    return text(kind, x, y, short, "" if short == words else words)


def number(value: float, digits: int = 4) -> str:
    """Short: 0.25, 300, 1e-6, 2.5e6."""
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e")


def _tenths(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else escape(str(value))


# --- scales --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """How a figure, or a parameter, lies along an axis.

    ``names`` are those of a choice, whose values are indices into it. Else values lie from ``low`` to
    ``high``; what lies beyond is drawn at the end. With ``step`` there are few values, a slot for each. Ticks
    are written in ``factor``, a unit that the title names.
    """

    title: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    names: tuple[str, ...] = ()
    whole: bool = False
    step: float = 0.0
    factor: float = 1.0

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
        """Where to write what: all names, else ``most`` round numbers or fewer, alike in their decimals."""
        if self.names:
            return [(self.share(index), name) for index, name in enumerate(self.names)]
        if self.slots:
            values = [self.low + index * self.step for index in range(self.slots)]
            return [(self.share(value), number(value)) for value in values[:: math.ceil(self.slots / most)]]
        if not self.low < self.high:
            return [(0.5, number(self.low / self.factor))]
        log = self.log and self.high >= 4 * self.low
        place = log_ticks if log else ticks
        # Round numbers (1, 2, 5 times a power of ten) may all lie outside: one mark alone tells no scale.
        for more in (0, 2, 4):
            found = place(self.low / self.factor, self.high / self.factor, most + more)
            found = [value for value in found if not self.whole or value == round(value)]
            if len(found) > 1:
                break
        words = [number(value) for value in found]
        if not log and not any("e" in word for word in words):
            digits = max((len(word.partition(".")[2]) for word in words), default=0)
            words = [f"{value:.{digits}f}" for value in found]
        return [(self.share(self.factor * value), word) for value, word in zip(found, words, strict=True)]


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


# --- axes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    def grown(self, by: float) -> "Box":
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def overlap(self, other: "Box") -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


@dataclass(frozen=True)
class Axes:
    """A plot's frame and its scales; the horizontal one begins and ends ``inset`` pixels inside the frame."""

    frame: Box
    x_scale: Scale
    y_scale: Scale = Scale("")
    inset: float = 0.0

    def x(self, value: float, spread: float = 0.0) -> float:
        return self.x_of(self.x_scale.share(value, spread))

    def y(self, value: float) -> float:
        return self.y_of(self.y_scale.share(value))

    def x_of(self, share: float) -> float:
        return self.frame.left + self.inset + share * (self.frame.width - 2 * self.inset)

    def y_of(self, share: float) -> float:
        return self.frame.bottom - share * (self.frame.bottom - self.frame.top)


def draw_frame(axes: Axes) -> list[str]:
    """Grid, ticks and the axes' names; the y axis's name stands above it, to be read without tilting."""
    frame = axes.frame
    parts = [text("axis", frame.left - 44, 14, axes.y_scale.title)] * bool(axes.y_scale.title)
    for share, words in axes.y_scale.ticks(7):
        y = axes.y_of(share)
        parts.append(line("grid", frame.left, y, frame.right, y))
        parts.append(text("tick end", frame.left - 8, y + 4, words))
    return parts + draw_x_axis(axes)


def draw_x_axis(axes: Axes) -> list[str]:
    """The line at the bottom with its ticks and its name."""
    frame, scale = axes.frame, axes.x_scale
    parts = [line("base", frame.left, frame.bottom, frame.right, frame.bottom)]
    found = scale.ticks(max(5, int(frame.width / 70)))
    slot = frame.width / len(found) if scale.slots else frame.width
    for share, words in found:
        x = axes.x_of(share)
        parts.append(line("grid", x, frame.bottom, x, frame.bottom + 5))
        parts.append(fitted("tick middle", x, frame.bottom + 19, words, slot - 4))
    return parts + [text("axis end", frame.right, frame.bottom + 38, scale.title)] * bool(scale.title)
