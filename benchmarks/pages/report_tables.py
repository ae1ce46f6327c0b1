"""The report's tables: columns of figures, each under the words that say what kind of figures they are.

A column that would be empty is left out. Figures of different places never meet in one table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg.benchmarks import places
from footseg.benchmarks.measurement import Agreement, Instructions, Measurement
from footseg.benchmarks.pages import page
from footseg.benchmarks.pages.page import Evaluation

PHOTOGRAPHS = "measured on photographs"
COMPUTED = "computed from the file"


@dataclass(frozen=True)
class Cell:
    """A figure, ``small`` after it, more ``below`` it, and a ``badge`` in words, its ``why`` on hovering."""

    text: str = ""
    small: str = ""
    below: str = ""
    badge: str = ""
    why: str = ""


@dataclass(frozen=True)
class Column:
    """Figures of one ``kind`` under a heading; ``first`` of its kind in the table, ``strong`` in bold."""

    kind: str
    head: str
    unit: str
    cells: tuple[Cell, ...]
    strong: bool = False
    first: bool = False


@dataclass(frozen=True)
class Table:
    """``rows`` are names with what stands below them; a plot's numbers are theirs where ``numbered``."""

    name: str
    rows: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    numbered: bool = False

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """Each kind with the number of its columns."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if column.first:
                found.append((column.kind, 0))
            found[-1] = (column.kind, found[-1][1] + 1)
        return found


def table(
    name: str, rows: Sequence[tuple[str, str]], columns: Sequence[Column], numbered: bool = False
) -> Table:
    """The table of those columns that hold anything."""
    full: list[Column] = []
    for column in columns:
        if any(cell.text or cell.badge for cell in column.cells):
            first = not full or full[-1].kind != column.kind
            full.append(
                Column(column.kind, column.head, column.unit, column.cells, column.strong, first=first)
            )
    return Table(name, tuple(rows), tuple(full), numbered)


def short_place(m: Measurement) -> str:
    """The device's name without its details."""
    cpu = str(m.device.get("cpu") or "an unknown device")
    return str(m.device.get("model") or cpu.removeprefix("emulated "))


# --- one place -----------------------------------------------------------------------------------


def measured(
    name: str, members: Sequence[Measurement], evaluated: Mapping[str, Evaluation], numbered: bool = False
) -> Table:
    """Clock times and memory of the files on one device."""
    there = f"measured on {short_place(members[0])}"

    def column(
        kind: str, head: str, unit: str, cell: Callable[[Measurement], Cell], strong: bool = False
    ) -> Column:
        return Column(kind, head, unit, tuple(cell(m) for m in members), strong)

    return table(
        name,
        [_row(m) for m in members],
        [
            column("computed", "size", "MB", lambda m: Cell(page.mb(m.file_bytes))),
            *_accuracy(members, evaluated),
            column(there, "latency", "median [p90] ms", _latency, strong=True),
            column(there, f"{page.TIMES} fp32", "[interval]", lambda m: _ratio(m, members)),
            column(there, "cold start", "load + first, ms", _cold_start),
            column(there, "memory", "MB at peak", lambda m: Cell(page.known(m.peak_memory_mb, "{:.1f}"))),
            column(there, "of peak", "share", _share),
            column(there, "delegated", "in partitions", _delegated),
            column("estimated", "energy", "mJ an inference", _energy),
        ],
        numbered,
    )


def emulated(
    name: str, members: Sequence[Measurement], evaluated: Mapping[str, Evaluation], numbered: bool = False
) -> Table:
    """Instructions of the files on one emulated core; whatever else a line holds, no time."""
    there = f"emulated on {short_place(members[0])}: instructions of one inference"

    def column(head: str, unit: str, cell: Callable[[Instructions], str], strong: bool = False) -> Column:
        cells = (Cell(cell(m.instructions)) if m.instructions else Cell() for m in members)
        return Column(there, head, unit, tuple(cells), strong)

    def part(head: str, amount: Callable[[Instructions], int]) -> Column:
        return Column(there, head, "M", tuple(_part(m.instructions, amount) for m in members))

    ratios = tuple(Cell(page.known(places.instruction_ratio(m, members), "{:.3f}")) for m in members)
    sizes = tuple(Cell(page.mb(m.file_bytes)) for m in members)
    return table(
        name,
        [_row(m) for m in members],
        [
            Column("computed", "size", "MB", sizes),
            *_accuracy(members, evaluated),
            column("in all", "M", lambda i: millions(i.total), strong=True),
            Column(there, f"{page.TIMES} fp32", "", ratios),
            part("vector", lambda i: i.vector),
            part("load, store", lambda i: i.load_store),
            part("other", lambda i: i.other),
            column("spread", "of repetitions", lambda i: f"{i.spread:.0e}" if i.spread else "0"),
        ],
        numbered,
    )


def agreement(name: str, members: Sequence[Measurement]) -> Table:
    """Outputs in one place against this machine's; no columns where nobody compared any."""
    found = [m for m in members if m.agreement]
    kind = f"{members[0].kind} on {short_place(members[0])}"

    def column(head: str, unit: str, cell: Callable[[Agreement], str]) -> Column:
        cells = (Cell(cell(m.agreement)) if m.agreement else Cell() for m in found)
        return Column(kind, head, unit, tuple(cells))

    return table(
        name,
        [_row(m) for m in found],
        [
            column("images", "", images_of),
            # Four decimals: 3 pixels of a million are not "100 %".
            column("equal pixels", "to the host's", lambda a: f"{a.pixels_equal:.4%}"),
            column("logits differ", "at most", lambda a: page.known(a.logit_max_absolute, "{:.2g}")),
            column("IoU", "", lambda a: page.known(a.iou, "{:.4f}")),
            column("IoU", "minus the host's", lambda a: _minus(a.iou, a.host_iou)),
            column("boundary F", _within(found), lambda a: page.known(a.boundary_f, "{:.4f}")),
            column("boundary F", "minus the host's", lambda a: _minus(a.boundary_f, a.host_boundary_f)),
        ],
    )


def images_of(found: Agreement) -> str:
    """The images that were compared, in words."""
    return "/".join(word for word in (Path(found.data).name, found.split) if word) + f", {found.images}"


def millions(count: float) -> str:
    """Counts in millions, with three figures at least."""
    value = count / 1e6
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _row(m: Measurement) -> tuple[str, str]:
    runtime = f"{m.runtime} {m.runtime_version}".strip()
    return m.artifact.name, " · ".join(word for word in (m.artifact.recipe, runtime) if word)


def _accuracy(members: Sequence[Measurement], evaluated: Mapping[str, Evaluation]) -> list[Column]:
    px = page.boundary_px(evaluated)

    def figures(name: str) -> tuple[Cell, ...]:
        return tuple(
            Cell(page.known(page.metric(evaluated, m.artifact.sha256, name), "{:.4f}")) for m in members
        )

    return [
        Column(PHOTOGRAPHS, "IoU", "", figures("iou")),
        Column(PHOTOGRAPHS, "boundary F", f"within {page.word(px)} px" if px else "", figures("boundary_f")),
    ]


def _latency(m: Measurement) -> Cell:
    if not m.latency:
        return Cell(badge="throttled" if m.conditions.get("throttled") else "")
    means = m.latency.runs_per_sample
    # The 90th percentile of means is not that of runs.
    small = f"[{page.ms(m.latency.p90_ms)}]" if means == 1 else f"mean of {means}"
    badges = [name for name, said in (("noisy", m.latency.noisy), ("throttled", throttled(m))) if said]
    return Cell(page.ms(m.latency.median_ms), small, badge=", ".join(badges), why=m.latency.note)


def throttled(m: Measurement) -> bool:
    """Whether the device slowed itself down while it was measured."""
    return bool(m.conditions.get("throttled"))


def _ratio(m: Measurement, members: Sequence[Measurement]) -> Cell:
    """Against fp32: run in turns where bench did so, else (marked ~) of medians taken one after another."""
    if m.is_base:
        return Cell("1")
    if relative := m.relative:
        if relative.low is None or relative.high is None:
            return Cell(f"{relative.ratio:.2f}")
        badge = "" if relative.different else "not told apart"
        ends = f"[{relative.low:.3f}, {relative.high:.3f}]"
        return Cell(f"{relative.ratio:.3f}", below=ends, badge=badge)
    if places.is_fp32(m.artifact):
        return Cell("1")
    base = next(
        (
            other.latency
            for other in members
            # Another runner of the same format has another overhead.
            if places.is_fp32(other.artifact)
            and other.latency
            and (other.runtime == m.runtime or m.artifact.format == "onnx")
        ),
        None,
    )
    return Cell(f"~{m.latency.median_ms / base.median_ms:.2f}") if m.latency and base else Cell()


def _cold_start(m: Measurement) -> Cell:
    cold = m.cold_start
    return Cell(f"{cold.load_ms:.0f} + {cold.first_inference_ms:.1f}") if cold else Cell()


def _share(m: Measurement) -> Cell:
    return Cell(f"{m.calibration.share:.0%}") if m.calibration else Cell()


def _delegated(m: Measurement) -> Cell:
    found = m.delegation
    return Cell(f"{found.delegated} of {found.operators} in {found.partitions}") if found else Cell()


def _energy(m: Measurement) -> Cell:
    return Cell(f"{m.energy.millijoules:.3g}") if m.energy else Cell()


def _part(found: Instructions | None, amount: Callable[[Instructions], int]) -> Cell:
    return Cell(millions(amount(found)), f"{amount(found) / found.total:.0%}") if found else Cell()


def _minus(there: float | None, here: float | None) -> str:
    return "" if there is None or here is None else f"{there - here:+.4f}"


def _within(members: Sequence[Measurement]) -> str:
    found = {m.agreement.boundary_tolerance_px for m in members if m.agreement}
    pixels = [page.word(size) for size in found if size is not None]
    return f"within {pixels[0]} px" if len(pixels) == 1 else ""


# --- any machine ---------------------------------------------------------------------------------


def files_of(latest: Sequence[Measurement]) -> list[Measurement]:
    """A measurement of each file, however many devices it was measured on."""
    return list({m.artifact.sha256: m for m in latest}.values())


def costs(latest: Sequence[Measurement], numbered: bool = False) -> Table:
    """What each file costs on any machine, and how far it strays from the network it was made of."""
    files = files_of(latest)
    verified = "measured against Keras on export"

    def column(kind: str, head: str, unit: str, cell: Callable[[Measurement], str]) -> Column:
        return Column(kind, head, unit, tuple(Cell(cell(m)) for m in files))

    def cost(head: str, unit: str, key: str) -> Column:
        return column(COMPUTED, head, unit, lambda m: page.known(_scaled(m.cost.get(key)), "{:.1f}"))

    def check(head: str, unit: str, key: str, form: str) -> Column:
        return column(verified, head, unit, lambda m: page.known(m.artifact.verification.get(key), form))

    return table(
        "Cost and verification",
        [(m.artifact.name, " x ".join(str(side) for side in m.artifact.input_shape)) for m in files],
        [
            column(COMPUTED, "size", "MB", lambda m: page.mb(m.file_bytes)),
            column(COMPUTED, "gzip", "MB", lambda m: page.mb(m.gzip_bytes)),
            column(COMPUTED, "zstd", "MB", lambda m: page.mb(m.zstd_bytes) if m.zstd_bytes else ""),
            column(
                COMPUTED, "parameters", "", lambda m: f"{m.artifact.parameters or m.cost['parameters']:,}"
            ),
            cost("MACs", "M", "macs"),
            cost("FLOPs", f"M, 2 {page.TIMES} MACs", "flops"),
            cost("FLOPs", "M, TensorFlow's rule", "flops_tf_benchmark"),
            column(COMPUTED, "activations", "MB at peak", lambda m: _megabytes(m, "peak_activation_bytes")),
            column(COMPUTED, "moved", "MB", lambda m: _megabytes(m, "bytes_moved")),
            column(COMPUTED, "intensity", "FLOPs a byte", _intensity),
            check("equal pixels", "", "pixels_equal", "{:.4%}"),
            check("logits differ", "at most", "logit_max_absolute", "{:.2g}"),
            check("IoU", "minus Keras's", "iou", "{:+.4f}"),
        ],
        numbered,
    )


def _scaled(value: float | None) -> float | None:
    return None if value is None else value / 1e6


def _megabytes(m: Measurement, key: str) -> str:
    size = m.cost.get(key)
    return page.mb(size) if size else ""


def _intensity(m: Measurement) -> str:
    moved = m.cost.get("bytes_moved")
    return f"{m.cost['flops'] / moved:.1f}" if moved else ""
