"""The figures of a measurement: what each is called, and how it is written on a page and in a terminal."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import paired
from footseg.benchmarks import places, shown
from footseg.benchmarks.measurement import Agreement, Instructions, Measurement, OperatorTime
from footseg.grouping import grouped
from footseg.terminal import with_interval

TIMES = "\N{MULTIPLICATION SIGN}"
# Behind a ratio whose interval includes 1, in a terminal.
ALIKE, UNKNOWN = "~", "?"
# What is said of it, by the ratio's verdict.
APART = {"alike": "not told apart", "cannot tell": "cannot tell"}


@dataclass(frozen=True)
class Cell:
    """A figure, ``small`` after it, more ``below`` it, and a ``badge`` in words, its ``why`` on hovering.

    ``share``, in [0, 1], is drawn as a bar before it.
    """

    text: str = ""
    small: str = ""
    below: str = ""
    badge: str = ""
    why: str = ""
    share: float | None = None


Members = Sequence[Measurement]


@dataclass(frozen=True)
class Figure:
    """A column of a table: ``cell`` writes a measurement's among those of its table, "" where nobody looked.

    ``head`` and ``unit`` stand over it on a page, ``short`` in a terminal, in two lines; a terminal writes it
    as ``plain`` does where that is not as on a page.
    """

    head: str
    unit: str
    cell: Callable[[Measurement, Members], Cell | str]
    short: str = ""
    plain: Callable[[Measurement, Members], str] | None = None
    strong: bool = False

    def of(self, m: Measurement, members: Members) -> Cell:
        """As a page shows it."""
        found = self.cell(m, members)
        return Cell(found) if isinstance(found, str) else found

    def words(self, m: Measurement, members: Members) -> str:
        """As a terminal shows it."""
        return self.plain(m, members) if self.plain else self.of(m, members).text


# --- words ---------------------------------------------------------------------------------------


def ms(milliseconds: float) -> str:
    """Three figures at least: 0.123, 2.73, 27.3, 273."""
    return f"{milliseconds:.{max(0, min(3, 2 - math.floor(math.log10(milliseconds))))}f}"


def mb(size: float | None) -> str:
    """Bytes as MB of 10^6 bytes, to 10 kB; those below 100 kB to 0.1 kB; nothing where it is not known."""
    return "" if size is None else f"{size / 1e6:.2f}" if size >= 1e5 else f"{size / 1e6:.4f}"


def millions(count: float) -> str:
    """Counts in millions, with three figures at least."""
    value = count / 1e6
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def known(value: float | None, form: str) -> str:
    """The figure in ``form``, or nothing where it is not known."""
    return "" if value is None else form.format(value)


def ratio_words(ratio: float, low: float | None, high: float | None) -> tuple[str, str]:
    """A ratio and its interval, "" without one, with the places that a terminal shows."""
    value, bracket, ends = with_interval(ratio, low, high).partition(" [")
    return value, f"[{ends}" if bracket else ""


def equal_pixels(share: float) -> str:
    """In percent; of 3 of a million one sees that they differ, and what is less than all is never 100."""
    return f"{math.floor(share * 1e6) / 1e4:.4f}%"


def said_once(notes: Iterable[tuple[str, str]], files: int) -> list[tuple[str, str]]:
    """Each of (note, file) once, with the names of its files; of those that all ``files`` have with none."""
    return [
        ("" if len(names) == files else ", ".join(dict.fromkeys(names)), note)
        for note, names in grouped(notes).items()
    ]


def longest(m: Measurement, most: int) -> tuple[list[tuple[int, OperatorTime]], list[OperatorTime]]:
    """The ``most`` operators that take longest with their places in the order, and the others."""
    ranked = sorted(enumerate(m.profile, start=1), key=lambda one: one[1].ms, reverse=True)
    return ranked[:most], [row for _, row in ranked[most:]]


def images_of(found: Agreement) -> str:
    """The images that were compared, in words."""
    return "/".join(word for word in (Path(found.data).name, found.split) if word) + f", {found.images}"


def throttled(m: Measurement) -> bool:
    """Whether the device slowed itself down while it was measured."""
    return bool(m.conditions.get("throttled"))


# --- how they are written ------------------------------------------------------------------------


def _part(name: str, write: Callable[[Any], Cell | str]) -> Callable[[Measurement, Members], Any]:
    """Of a part of the measurement that may not be there."""
    return lambda m, _: write(getattr(m, name)) if getattr(m, name) else ""


def _cost(key: str, write: Callable[[float], str]) -> Callable[[Measurement, Members], str]:
    return lambda m, _: write(m.cost[key]) if m.cost.get(key) is not None else ""


def _check(key: str, form: str) -> Callable[[Measurement, Members], str]:
    return lambda m, _: known(m.artifact.verification.get(key), form)


def _strayed(figure: str) -> Callable[[Measurement, Members], Cell]:
    """A figure minus the Keras network's, with its interval where export had one."""

    def cell(m: Measurement, _: Members) -> Cell:
        text = known(m.artifact.verification.get(figure), "{:+z.4f}")
        found = paired.decisions(m.artifact.verification).get(figure)
        if found is None:
            return Cell(text)
        why = f"whether it is within {found.limit:g}, at {found.confidence:.1%} on {found.images} images"
        return Cell(text, below=f"[{found.ends}]", badge="" if found.clear else found.verdict, why=why)

    return cell


def _compared(key: str, form: str, minus: str = "") -> Callable[[Measurement, Members], str]:
    """Of an agreement, or what its ``key`` has more than ``minus``."""

    def write(found: Agreement) -> str:
        there, here = getattr(found, key), getattr(found, minus) if minus else 0
        return "" if there is None or here is None else form.format(there - here)

    return _part("agreement", write)


def _latency(m: Measurement, members: Members) -> Cell:
    """What was measured, and where that was noisy what headline and plots have instead."""
    if not m.latency:
        return Cell(badge="throttled" if throttled(m) else "")
    found = shown.latency(m, members)
    instead = f"{ms(found.ms)} by its ratio" if found and found.how else ""
    means = m.latency.runs_per_sample
    # The 90th percentile of means is not that of runs.
    small = f"[{ms(m.latency.p90_ms)}]" if means == 1 else f"mean of {means}"
    badges = [name for name, said in (("noisy", m.latency.noisy), ("throttled", throttled(m))) if said]
    return Cell(ms(m.latency.median_ms), small, below=instead, badge=", ".join(badges), why=m.latency.note)


def _ratio(m: Measurement, members: Members) -> Cell:
    """Against fp32: run in turns where bench did so, else (marked ~) of medians taken one after another."""
    found = m.relative
    if m.is_base or (not found and places.is_fp32(m.artifact)):
        return Cell("1")
    if found:
        value, ends = ratio_words(found.ratio, found.low, found.high)
        return Cell(value, below=ends, badge=APART.get(found.verdict, ""))
    own, base = shown.latency(m, members), _base_latency(m, members)
    return Cell(f"~{own.ms / base.ms:.2f}") if own and base else Cell()


def _base_latency(m: Measurement, members: Members) -> shown.Shown | None:
    """That of fp32, on the same runner: another one of the same format has another overhead."""
    same = [other for other in members if other.runtime == m.runtime or m.artifact.format == "onnx"]
    fp32 = next((other for other in same if places.is_fp32(other.artifact) and other.latency), None)
    return shown.latency(fp32, members) if fp32 else None


def _in_turns(m: Measurement, _: Members) -> str:
    if m.relative is None or m.is_base:
        return "1" if m.relative else ""
    mark = {"alike": f" {ALIKE}", "cannot tell": f" {UNKNOWN}"}.get(m.relative.verdict, "")
    return with_interval(m.relative.ratio, m.relative.low, m.relative.high) + mark


def _delegated(m: Measurement, _: Members) -> str:
    found = m.delegation
    if found is None:
        return ""
    if (found.delegated, found.partitions) == (found.operators, 1):
        return "all"
    return f"{found.delegated}/{found.operators} in {found.partitions}"


def _instructions(head: str, short: str, amount: Callable[[Instructions], int]) -> Figure:
    """A kind of instructions, in a terminal its share only."""

    def share(found: Instructions) -> str:
        return f"{amount(found) / found.total:.0%}"

    cell = _part("instructions", lambda found: Cell(millions(amount(found)), share(found)))
    return Figure(head, "M", cell, short, _part("instructions", share))


# --- the figures ---------------------------------------------------------------------------------
# fmt: off

# Of the file.
SIZE = Figure("size", "MB", lambda m, _: mb(m.file_bytes), "\nMB")
GZIP = Figure("gzip", "MB", lambda m, _: mb(m.gzip_bytes), "gzip\nMB")
MACS = Figure("MACs", "M", _cost("macs", millions), "M\nMACs")
FILE = (
    SIZE, MACS, GZIP,
    Figure("zstd", "MB", lambda m, _: mb(m.zstd_bytes)),
    Figure("parameters", "", lambda m, _: f"{m.artifact.parameters or m.cost['parameters']:,}"),
    Figure("FLOPs", f"M, 2 {TIMES} MACs", _cost("flops", millions)),
    Figure("FLOPs", "M, TensorFlow's rule", _cost("flops_tf_benchmark", millions)),
    Figure("activations", "MB at peak", _cost("peak_activation_bytes", mb)),
    Figure("moved", "MB", _cost("bytes_moved", mb)),
    Figure("intensity", "FLOPs a byte", lambda m, _: f"{m.cost['flops'] / m.cost['bytes_moved']:.1f}"
           if m.cost.get("bytes_moved") else ""),
)
VERIFIED = (
    Figure("IoU", "minus Keras's", _strayed("iou")),
    Figure("equal pixels", "", lambda m, _: equal_pixels(share)
           if (share := m.artifact.verification.get("pixels_equal")) is not None else ""),
    Figure("logits differ", "at most", _check("logit_max_absolute", "{:.2g}")),
    Figure("boundary F", "minus Keras's", _strayed("boundary_f")),
)

# Of a clock.
LATENCY = Figure("latency", "median [p90] ms", _latency, "median\nms",
                 _part("latency", lambda found: ms(found.median_ms)), strong=True)
P90 = Figure("latency", "p90 ms", _part("latency", lambda found: ms(found.p90_ms)), "p90\nms")
RATIO = Figure(f"{TIMES} fp32", "[interval]", _ratio, "\nx {anchor}", _in_turns)
COLD_START = Figure("cold start", "load + first, ms",
                    _part("cold_start", lambda cold: f"{cold.load_ms:.0f} + {cold.first_inference_ms:.1f}"),
                    "cold\nms",
                    _part("cold_start", lambda cold: f"{cold.load_ms + cold.first_inference_ms:.1f}"))
MEMORY = Figure("memory", "MB at peak", lambda m, _: known(m.peak_memory_mb, "{:.1f}"), "peak\nMB")
OF_PEAK = Figure("of peak", "share", _part("calibration", lambda found: f"{found.share:.0%}"), "of\npeak")
DELEGATED = Figure("delegated", "in partitions",
                   _part("delegation", lambda d: f"{d.delegated} of {d.operators} in {d.partitions}"),
                   "dele-\ngated", _delegated)
ENERGY = Figure("energy", "mJ an inference", _part("energy", lambda e: f"{e.millijoules:.3g}"), "mJ\nest.")
RUNNER = Figure("runner", "", lambda m, _: m.runtime, "\nrunner")
THROTTLED = Figure("throttled", "", lambda m, _: "yes" if throttled(m) else "", "throt-\ntled")
TIMED = (LATENCY, RATIO)
LOADED = (COLD_START, MEMORY, OF_PEAK, DELEGATED)

# Of an emulated core.
INSTRUCTIONS = Figure("in all", "M", _part("instructions", lambda i: millions(i.total)),
                      "instruc-\ntions, M", strong=True)
KINDS = (
    _instructions("vector", "\nvector", lambda i: i.vector),
    _instructions("load, store", "load,\nstore", lambda i: i.load_store),
    _instructions("other", "\nother", lambda i: i.other),
)
INSTRUCTION_RATIO = Figure(f"{TIMES} fp32", "", lambda m, members: known(
    places.instruction_ratio(m, members), "{:.3f}"), "\nx fp32")
COUNTED = (
    INSTRUCTIONS, INSTRUCTION_RATIO, *KINDS,
    Figure("spread", "of repetitions",
           _part("instructions", lambda i: f"{i.spread:.0e}" if i.spread else "0")),
)

# Of its outputs.
EQUAL = Figure("equal pixels", "to the host's",
               _part("agreement", lambda a: equal_pixels(a.pixels_equal)), "pixels\nequal %",
               _part("agreement", lambda a: f"{float(equal_pixels(a.pixels_equal)[:-1]):g}"))
IOU = Figure("IoU", "", _compared("iou", "{:.4f}"), "IoU\nthere")
HOST_IOU = Figure("IoU", "the host's", _compared("host_iou", "{:.4f}"), "IoU\nhere")
MINUS_HOST = Figure("IoU", "minus the host's", _compared("iou", "{:+z.4f}", "host_iou"), "- IoU\nhere")
COMPARED = (
    Figure("images", "", _part("agreement", images_of)),
    EQUAL,
    Figure("logits differ", "at most", _compared("logit_max_absolute", "{:.2g}")),
    IOU, MINUS_HOST,
    Figure("boundary F", "{within}", _compared("boundary_f", "{:.4f}")),
    Figure("boundary F", "minus the host's", _compared("boundary_f", "{:+z.4f}", "host_boundary_f")),
)

# The tables of a terminal.
HOST = (SIZE, GZIP, MACS, LATENCY, P90, RATIO, OF_PEAK, COLD_START, MEMORY, DELEGATED)
EMULATED = (SIZE, MACS, INSTRUCTIONS, *KINDS, INSTRUCTION_RATIO, EQUAL, IOU, HOST_IOU)
PHONE = (RUNNER, SIZE, LATENCY, P90, RATIO, COLD_START, MEMORY, ENERGY, IOU, MINUS_HOST, THROTTLED)
# fmt: on
