"""The report's tables: columns of figures, each under the words that say what kind of figures they are.

A column that would be empty is left out. Figures of different places never meet in one table.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from footseg.benchmarks import figures
from footseg.benchmarks.figures import Cell, Figure
from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.pages import page
from footseg.evaluate import SavedEvaluation


@dataclass(frozen=True)
class Column:
    """Figures of one ``kind`` under a heading, ``strong`` in bold."""

    kind: str
    head: str
    unit: str
    cells: tuple[Cell, ...]
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """``rows`` are names, under ``head``, with what stands below them; ``under`` all of those begins this.

    A plot's numbers are those of the rows where it is ``numbered``; then rows are anchors, too.
    """

    name: str
    rows: Sequence[tuple[str, str]]
    columns: Sequence[Column]
    numbered: bool = False
    head: str = "file"
    under: str = ""

    @property
    def common(self) -> str:
        """What all names of files begin with: it stands once over them."""
        return page.short_names([name for name, _ in self.rows])[0] if self.head == "file" else ""

    @property
    def names(self) -> list[str]:
        """Of the rows, without what they have in common."""
        return [name.removeprefix(self.common) for name, _ in self.rows]

    @property
    def kinds(self) -> list[tuple[str, list[Column]]]:
        """The columns that hold anything, neighbours of one kind together."""
        full = [column for column in self.columns if any(cell != Cell() for cell in column.cells)]
        return [(kind, list(found)) for kind, found in itertools.groupby(full, lambda one: one.kind)]

    @property
    def heads(self) -> list[str]:
        """Of the columns that hold anything."""
        return [column.head for _, found in self.kinds for column in found]


def columns(kind: str, of: Sequence[Figure], members: Sequence[Measurement]) -> list[Column]:
    """Figures of one kind."""
    return [
        Column(kind, one.head, one.unit, tuple(one.of(m, members) for m in members), one.strong) for one in of
    ]


def short_place(m: Measurement) -> str:
    """The device's name without its details."""
    cpu = str(m.device.get("cpu") or "an unknown device")
    return str(m.device.get("model") or cpu.removeprefix("emulated "))


def measured(
    name: str,
    members: Sequence[Measurement],
    evaluated: Mapping[str, SavedEvaluation],
    numbered: bool = False,
) -> Table:
    """Clock times and memory of the files on one device; first what a phone has room for."""
    there = f"measured on {short_place(members[0])}"
    found = [
        *columns(there, figures.TIMED, members),
        *_accuracy(members, evaluated),
        *columns("computed", [figures.SIZE], members),
        *columns(there, figures.LOADED, members),
        *columns("estimated", [figures.ENERGY], members),
    ]
    return Table(name, _rows(members), found, numbered)


def emulated(
    name: str,
    members: Sequence[Measurement],
    evaluated: Mapping[str, SavedEvaluation],
    numbered: bool = False,
) -> Table:
    """Instructions of the files on one emulated core; whatever else a line holds, no time."""
    there = f"emulated on {short_place(members[0])}: instructions of one inference"
    found = [
        *columns(there, figures.COUNTED, members),
        *_accuracy(members, evaluated),
        *columns("computed", [figures.SIZE], members),
    ]
    return Table(name, _rows(members), found, numbered)


def agreement(name: str, members: Sequence[Measurement]) -> Table:
    """Outputs in one place against this machine's; no columns where nobody compared any."""
    found = [m for m in members if m.agreement]
    within = [replace(one, unit=one.unit.format(within=_within(found))) for one in figures.COMPARED]
    kind = f"{members[0].kind} on {short_place(members[0])}"
    return Table(name, _rows(found), columns(kind, within, found))


def costs(latest: Sequence[Measurement], numbered: bool = False) -> Table:
    """What each file costs on any machine."""
    files = files_of(latest)
    rows = [(m.artifact.name, " x ".join(str(side) for side in m.artifact.input_shape)) for m in files]
    return Table("Cost", rows, columns("computed from the file", figures.FILE, files), numbered)


def verification(latest: Sequence[Measurement]) -> Table:
    """How far each file strays from the network it was made of; no columns where no sidecar tells."""
    files = files_of(latest)
    rows = [(m.artifact.name, m.artifact.recipe) for m in files]
    return Table("Verification", rows, columns("measured against Keras on export", figures.VERIFIED, files))


def files_of(latest: Sequence[Measurement]) -> list[Measurement]:
    """A measurement of each file, however many devices it was measured on."""
    return list({m.artifact.sha256: m for m in latest}.values())


def _rows(members: Sequence[Measurement]) -> list[tuple[str, str]]:
    runtimes = [f"{m.runtime} {m.runtime_version}".strip() for m in members]
    return [
        (m.artifact.name, " · ".join(word for word in (m.artifact.recipe, runtime) if word))
        for m, runtime in zip(members, runtimes, strict=True)
    ]


def _accuracy(members: Sequence[Measurement], evaluated: Mapping[str, SavedEvaluation]) -> list[Column]:
    px = page.boundary_px(evaluated)

    def column(head: str, unit: str, name: str) -> Column:
        found = (page.metric(evaluated, m.artifact.sha256, name) for m in members)
        return Column(page.ON_IMAGES, head, unit, tuple(Cell(figures.known(f, "{:.4f}")) for f in found))

    within = f"within {page.word(px)} px" if px else ""
    return [column("IoU", "", "iou"), column("boundary F", within, "boundary_f")]


def _within(members: Sequence[Measurement]) -> str:
    found = {m.agreement.boundary_tolerance_px for m in members if m.agreement}
    pixels = [page.word(size) for size in found if size is not None]
    return f"within {pixels[0]} px" if len(pixels) == 1 else ""
