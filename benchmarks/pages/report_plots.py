"""The report's charts: accuracy against what it costs, ratios, instructions and operators."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from footseg.benchmarks import figures, places
from footseg.benchmarks.figures import images_of, millions
from footseg.benchmarks.measurement import Measurement, OperatorTime, Relative
from footseg.benchmarks.pages import bars, charts, page
from footseg.benchmarks.pages.bars import Bar, Whisker
from footseg.benchmarks.pages.charts import Mark
from footseg.benchmarks.pages.page import Plot
from footseg.benchmarks.pages.report_tables import short_place
from footseg.evaluate import SavedEvaluation
from footseg.grouping import grouped

SERIES = {"fp32": "series-0", "int8": "series-1", "fp16": "series-2"}
OTHER_SERIES = "series-3"
# Colour classes of the parts of a bar of instructions, which are not those of precisions.
PARTS = (("vector", "part-0"), ("load, store", "part-1"), ("other", "part-2"))
# So many names a plot has room for; beyond, its marks are numbered as the table's rows.
NAMES, NARROW_NAMES = 8, 4
# Operators shown by themselves.
OPERATORS = 12
# Rows of bars need no more to be read.
ROWS_WIDE = 720


@dataclass(frozen=True)
class Accuracy:
    """IoU of files, all on the same photographs; ``words`` say on which, and where it was measured."""

    words: str
    iou: Mapping[str, float]

    def of(self, sha256: str) -> float | None:
        """Of a file; None where nobody looked."""
        return self.iou.get(sha256)


@dataclass(frozen=True)
class CostAxis:
    """What accuracy is held against: ``cost`` of a file, in ``unit``, None where nobody measured it.

    ``note`` is what must be known of it.
    """

    title: str
    label: str
    unit: str
    cost: Callable[[Measurement], float | None]
    note: str = ""


@dataclass(frozen=True)
class Profile:
    """The operators of one file, longest first."""

    name: str
    picture: Markup
    caption: str


def accuracy(members: Sequence[Measurement], evaluated: Mapping[str, SavedEvaluation]) -> Accuracy | None:
    """What ``footseg evaluate`` found, and where it was not run, what the lines' own agreement says.

    Of lines that were compared on several sets of photographs those on the most frequent one count.
    """
    found = {
        m.artifact.sha256: iou
        for m in members
        if (iou := page.metric(evaluated, m.artifact.sha256, "iou")) is not None
    }
    if found:
        return Accuracy(f"measured on {next(iter(evaluated.values())).test_set}", found)
    scored = [m for m in members if m.agreement and m.agreement.iou is not None]
    sets = Counter(images_of(m.agreement) for m in scored if m.agreement)
    if not sets:
        return None
    chosen = sets.most_common(1)[0][0]
    return Accuracy(
        f"{scored[0].kind} on {short_place(scored[0])}, with {chosen} images",
        {
            m.artifact.sha256: m.agreement.iou
            for m in scored
            if m.agreement and m.agreement.iou is not None and images_of(m.agreement) == chosen
        },
    )


def labels(members: Sequence[Measurement]) -> list[str]:
    """The shortest names that tell the files of one table apart."""
    _, short = page.short_names([m.artifact.name for m in members])
    ways = (
        [_precision(m) for m in members],
        [f"{_precision(m)}, {m.runtime}" for m in members],
        short,
        [f"{name}, {m.runtime}" for name, m in zip(short, members, strict=True)],
    )
    return next((names for names in ways if len(set(names)) == len(names)), ways[-1])


def _row_labels(members: Sequence[Measurement]) -> list[str]:
    """The names, with the numbers of the table's rows where it has them."""
    names = labels(members)
    return [f"{i} {name}" for i, name in enumerate(names, start=1)] if numbered(members) else names


def numbered(members: Sequence[Measurement]) -> bool:
    """Whether a plot of these shows numbers on a phone, so that the table must have them."""
    return len(members) > 1 and (
        len(members) > NARROW_NAMES or any(len(name) > 24 for name in labels(members))
    )


def pareto(members: Sequence[Measurement], found: Accuracy | None, axis: CostAxis) -> Plot | None:
    """Accuracy over the cost of each file, the front drawn; None where fewer than two files have both.

    A point alone in a plot would say no more than the table.
    """
    named, numbers = [], []
    for number, (m, label) in enumerate(zip(members, labels(members), strict=True), start=1):
        value, iou = axis.cost(m), found.of(m.artifact.sha256) if found else None
        if value is None or iou is None:
            continue
        size = f"{figures.mb(m.file_bytes)} MB"
        words = f"{m.artifact.name}, {m.runtime}: {value:.4g} {axis.unit}, IoU {iou:.4f}, {size}"
        mark = Mark(value, iou, f"bubble {_series(m)}", label, size, words, math.sqrt(m.file_bytes))
        named.append(mark)
        numbers.append(replace(mark, label=str(number), note=""))
    if len(named) < 2 or found is None:
        return None
    values = [mark.x for mark in named]
    many = numbered(members)
    options: dict[str, Any] = {
        "x_label": axis.label,
        "y_label": "IoU of the foreground",
        "x_log": max(values) > 8 * min(values),
    }
    wide = numbers if len(named) > NAMES or max(len(mark.label) for mark in named) > 40 else named
    narrow = numbers if many else named
    told = "Numbers are those of the table."
    caption = (
        f"IoU: {found.words}. Up and to the left is better; no file betters those on the dashed line. "
        "The circle's area is the file's size; the vertical axis is zoomed to the data."
    )
    caption = " ".join(filter(None, (caption, axis.note)))
    return Plot(
        axis.title,
        (
            Markup(charts.bubbles(wide, width=page.WIDE, height=420, **options)),
            Markup(charts.bubbles(narrow, width=page.NARROW, height=360, radius=14, **options)),
        ),
        f"{caption} {told}" if wide is numbers else caption,
        told if many and wide is named else "",
    )


def ratios(members: Sequence[Measurement]) -> Plot | None:
    """Latency over that of the file it was run in turns with; None where none was."""
    known = [
        (m, label, m.relative)
        for m, label in zip(members, _row_labels(members), strict=True)
        if m.relative and not m.is_base
    ]
    if not known:
        return None
    name = "latency over that of " + " or ".join(dict.fromkeys(found.to for _, _, found in known))
    caption = "Run in turns, so that drift of the machine cancels; left of 1 is faster."
    if sure := {found.confidence for _, _, found in known if found.confidence}:
        caption += (
            f" The whisker holds the true ratio with {max(sure):.0%} confidence; where it crosses 1 "
            "the two are not told apart and the dot is hollow."
        )
    rows = list(itertools.starmap(_interval, known))
    picture = page.both(bars.intervals, rows, width=ROWS_WIDE, name=name, x_label="ratio (measured)")
    return Plot(name[0].upper() + name[1:], picture, caption)


def _interval(m: Measurement, label: str, found: Relative) -> Whisker:
    value, ends = figures.ratio_words(found.ratio, found.low, found.high)
    apart = "" if found.different is not False else ", not told apart"
    return Whisker(
        label,
        found.ratio,
        found.low,
        found.high,
        _series(m),
        note=f"{value} {ends}".rstrip() + apart,
        short=value + apart,
        title=f"{m.artifact.name} over {found.to}, {found.rounds} rounds in {found.starts} starts",
    )


def instructions(members: Sequence[Measurement]) -> Plot | None:
    """A stacked bar of instructions for each file on one emulated core; None where none were counted."""
    rows = []
    for m, label in zip(members, _row_labels(members), strict=True):
        if not (found := m.instructions):
            continue
        ratio = places.instruction_ratio(m, members)
        note = f"{millions(found.total)} M" + (f" · {ratio:.2f} {figures.TIMES} fp32" if ratio else "")
        amounts = (found.vector, found.load_store, found.other)
        title = f"{m.artifact.name}: " + ", ".join(
            f"{name} {millions(amount)} M" for (name, _), amount in zip(PARTS, amounts, strict=True)
        )
        parts = tuple((amount, kind) for amount, (_, kind) in zip(amounts, PARTS, strict=True))
        rows.append(Bar(label, parts, note, title))
    if not rows:
        return None
    picture = page.both(bars.bars, rows, width=ROWS_WIDE, name="instructions of one inference", legend=PARTS)
    return Plot(
        "Instructions of one inference",
        picture,
        "Millions, emulated. Counts say how much work a core is given, not how long it takes: no time "
        "follows from them.",
    )


def profiles(members: Sequence[Measurement]) -> list[Profile]:
    """The operators of each file that was profiled, drawn to one scale."""
    found = [(m, label) for m, label in zip(members, labels(members), strict=True) if m.profile]
    rows = [_operators(m) for m, _ in found]
    longest = max((bar.total for bar_rows in rows for bar in bar_rows), default=0.0)
    if not longest:
        return []

    def draw(m: Measurement, operators: Sequence[Bar]) -> Markup:
        name = f"operators of {m.artifact.name}"
        return Markup(bars.bars(operators, width=page.NARROW, name=name, longest=longest))

    return [
        Profile(label, draw(m, operators), _kinds_of_operators(m))
        for (m, label), operators in zip(found, rows, strict=True)
    ]


def _precision(m: Measurement) -> str:
    """Precision and format where the sidecar tells, which is enough within one network's table."""
    form = {"tflite": "TFLite", "onnx": "ONNX"}.get(m.artifact.format, m.artifact.format)
    return f"{form} {m.artifact.recipe}" if m.artifact.recipe else m.artifact.name


def _series(m: Measurement) -> str:
    """The colour class of its precision."""
    return SERIES.get(m.artifact.recipe, OTHER_SERIES)


def _operators(m: Measurement) -> list[Bar]:
    """The longest operators, each with its place in the order, and the rest in one bar."""
    whole = sum(row.ms for row in m.profile)
    longest, rest = figures.longest(m, OPERATORS)

    def note(ms: float) -> str:
        return f"{_time(ms)} ms · {bars.share_of(ms, whole)}"

    kind = _series(m)
    shown = [
        Bar(f"{i} {_operator_name(row)}", ((row.ms, kind),), note(row.ms), f"{i}: {row.op}, {row.name}")
        for i, row in longest
    ]
    if rest:
        ms = sum(row.ms for row in rest)
        # No bar: it would be the longest of all and say nothing of any operator.
        shown.append(Bar(f"{len(rest)} others together", (), note(ms)))
    return shown


def _time(ms: float) -> str:
    return figures.ms(ms) if ms > 0 else "0"


def _operator_name(row: OperatorTime) -> str:
    """Type and layer; the type alone where the name says no more."""
    kind, layer = _type_of(row), _layer(row.name)
    return kind if layer.lower().startswith(kind.lower()) else f"{kind}, {layer}"


def _type_of(row: OperatorTime) -> str:
    """Of "Convolution (NHWC, F32) IGEMM" what comes before data layout and algorithm."""
    return row.op.split(" (")[0]


def _layer(name: str) -> str:
    """Of "network/tail1_relu/Relu;network/tail1_conv/Conv2D", one operator made of several, "tail1_relu"."""
    parts = name.partition(";")[0].split("/")
    return parts[1] if len(parts) > 2 else parts[0]


def _kinds_of_operators(m: Measurement) -> str:
    whole = sum(row.ms for row in m.profile)
    kinds = grouped((_type_of(row), row.ms) for row in m.profile)
    longest = sorted(((kind, sum(times)) for kind, times in kinds.items()), key=lambda one: -one[1])
    most = ", ".join(f"{kind} {bars.share_of(ms, whole)}" for kind, ms in longest[:4])
    runs = max(row.runs for row in m.profile)
    # The profiler takes time of its own, and what it does not see is in the latency.
    quiet = m.latency if m.latency and not m.latency.noisy else None
    share = f", {bars.share_of(whole, quiet.median_ms)} of the latency" if quiet else ""
    sums = f"{len(m.profile)} operators, {_time(whole)} ms in all{share}"
    return f"{sums}; medians of {runs} runs. By type: {most}."
