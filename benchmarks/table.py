"""Measurements as aligned lines for a terminal: a table for each device, kind and number of threads."""

import itertools
import math
from collections.abc import Sequence

from footseg import comparison
from footseg.benchmarks import busy, places
from footseg.benchmarks.figures import ALIKE, EMULATED, HOST, PHONE, UNKNOWN, longest, said_once, throttled
from footseg.benchmarks.measurement import Measurement
from footseg.grouping import grouped
from footseg.terminal import WIDTH, aligned, shortened, wrapped

# Characters of a file's name that must be left of it.
NAME = 16
# Operators shown by themselves: of FastLinkNet's 67 the first 12 take 70 % of the time.
OPERATORS = 12

# What the mark behind a ratio says, by its verdict.
MARKS = {
    "alike": f"{ALIKE} not told apart: alike within {comparison.ALIKE - 1:.0%}",
    "cannot tell": f"{UNKNOWN} nobody can tell: its interval is too wide (--seconds makes it narrower)",
}
PEAK = "of peak: operations a second over those of a float32 matrix product in the same run; int8 can do more"


def as_table(measured: Sequence[Measurement]) -> str:
    """The tables, each headed by what it is, with the words on noise and conditions below; then the profiles.

    Columns in which nobody looked are left out. Files of one name are told apart by their folders.
    """
    tables = [_table(words, members) for words, members in places.by_device(measured)]
    return "\n\n".join([*tables, *filter(None, map(profile, measured))])


def _table(words: str, members: Sequence[Measurement]) -> str:
    m, names, anchor = members[0], _names(members), _anchor(members)
    columns = EMULATED if m.kind == "emulated" else PHONE if m.on_phone else HOST
    cells = {
        column.short.format(anchor=anchor): [column.words(m, members) for m in members] for column in columns
    }
    kept = {head: column for head, column in cells.items() if any(column)}
    rows = [[cell or "-" for cell in row] for row in zip(*kept.values(), strict=True)]
    heads = ("file", *kept)
    figures = aligned(heads, [(name, *row) for name, row in zip(names, rows, strict=True)])
    if excess := max(0, max(map(len, figures.splitlines())) - WIDTH):
        most = max(map(len, names)) - excess
        short = [shortened(name, most) for name in names]
        if most >= NAME and len(set(short)) == len(set(names)):
            figures = aligned(heads, [(name, *row) for name, row in zip(short, rows, strict=True)])
    head = f"{m.kind} on {words.removeprefix('emulated ')}"
    head += ": instruction counts, no times" if m.kind == "emulated" else ""
    return "\n".join([head, figures, *map(wrapped, _notes(members, names))])


def profile(m: Measurement) -> str:
    """The operators of a measurement from the slowest down: milliseconds, share and share with those above.

    Beyond the first OPERATORS they are summed up; empty where no operator was timed.
    """
    total = math.fsum(row.ms for row in m.profile)
    if not total:
        return ""
    shown, rest = longest(m, OPERATORS)
    sums = itertools.accumulate(row.ms for _, row in shown)
    rows = [
        (
            shortened(row.name, 44),
            shortened(row.op, 36),
            f"{row.ms:.3f}",
            f"{row.ms / total:.1%}",
            f"{cumulated / total:.1%}",
        )
        for (_, row), cumulated in zip(shown, sums, strict=True)
    ]
    if rest:
        ms = math.fsum(row.ms for row in rest)
        rows.append((f"{len(rest)} others", "", f"{ms:.3f}", f"{ms / total:.1%}", "100.0%"))
    place = places.device_key(m).words
    head = f"{m.artifact.name}, {m.kind} on {place}: operators, {total:.3f} ms in all"
    heads = ("operator", "kind", "ms", "share", "with those\nabove")
    return f"{wrapped(head)}\n{aligned(heads, rows, left=range(2))}"


def _names(members: Sequence[Measurement]) -> list[str]:
    """With the folder where files in several have one name."""
    folders = grouped((m.artifact.name, m.artifact.path.parent.name) for m in members)
    return [
        f"{m.artifact.path.parent.name}/" * (len(set(folders[m.artifact.name])) > 1) + m.artifact.name
        for m in members
    ]


def _anchor(members: Sequence[Measurement]) -> str:
    """What the files were run in turns with: bench takes the first fp32 .tflite, else the first file."""
    recipes = {m.artifact.sha256: m.artifact.recipe for m in members}
    held_against = [m.relative for m in members if m.relative]
    return (
        "first" if any(recipes.get(found.to_sha256, "fp32") != "fp32" for found in held_against) else "fp32"
    )


# --- words below ---------------------------------------------------------------------------------


def _notes(members: Sequence[Measurement], names: Sequence[str]) -> list[str]:
    """What must be known to read the figures; what holds for all files is said once."""
    told = ((note, name) for m, name in zip(members, names, strict=True) for note in _words(m))
    # One file's notes have its name, too.
    said = said_once(told, len(members) if len(members) > 1 else 0)
    common = [note for who, note in said if not who]
    own = [f"{who}: {note}" for who, note in said if who]
    anchor = _anchor(members)
    compared = dict.fromkeys(f"x {anchor}: {how}" for how in map(_how_compared, members) if how)
    marks = {m.relative.verdict for m in members if m.relative and not m.is_base}
    meant = [MARKS[verdict] for verdict in MARKS if verdict in marks]
    agreed = dict.fromkeys(filter(None, map(_what_agreed, members)))
    peak = [PEAK] if any(m.calibration for m in members) and not members[0].on_phone else []
    return [*compared, *meant, *_other_work(members), *peak, *agreed, *common, *own]


def _what_agreed(m: Measurement) -> str:
    """Of what the share of equal pixels and the IoU are: of a few images it is not that of the split."""
    found = m.agreement
    if found is None:
        return ""
    images = "1 image" if found.images == 1 else f"{found.images} images"
    split = f", split {found.split}" if found.split else ""
    return f"masks compared on {images} of {found.data}{split}"


def _words(m: Measurement) -> list[str]:
    slowed = "the device throttled while it was measured: times are too long" if throttled(m) else ""
    noise = m.latency.note if m.latency and m.latency.noisy else ""
    means = ""
    if m.latency and m.latency.runs_per_sample > 1:
        means = f"the median is of means over {m.latency.runs_per_sample} runs"
    energy = f"mJ are an estimate: {m.energy.note.removeprefix('an estimate, ')}" if m.energy else ""
    return [note for note in (noise, slowed, means, energy, *(m.conditions.get("notes") or ())) if note]


def _how_compared(m: Measurement) -> str:
    found = m.relative
    if found is None or m.is_base:
        return ""
    if found.confidence is None:
        return f"latency over that of {found.to}, run in turns"
    return (
        f"latency over that of {found.to}, run in turns in {found.starts} fresh starts, with its "
        f"{found.confidence:.0%} interval"
    )


def _other_work(members: Sequence[Measurement]) -> list[str]:
    """The line on a machine that had other work, if it had."""
    waited = max(map(busy.waited, members))
    if waited <= comparison.BUSY:
        return []
    return [
        f"the machine was busy: a file waited up to {waited:.0%} of its time for a processor, so latencies "
        "are too long; ratios are of processor time, which that touches less"
    ]
