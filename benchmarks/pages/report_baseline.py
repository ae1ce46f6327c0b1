"""The report's comparison with stored results: the gate's verdicts as tables, in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg.benchmarks import figures, gate
from footseg.benchmarks.figures import Cell
from footseg.benchmarks.gate import Verdict
from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.pages import page
from footseg.benchmarks.pages.report_tables import Column, Table
from footseg.benchmarks.results_file import read_all
from footseg.grouping import grouped

# Shown as a share with as many places as the page has elsewhere; IoUs are not.
PIXELS = gate.ACCURACY["pixels_equal"]


@dataclass(frozen=True)
class Against:
    """A sentence, a table with notes for each place, ``fine`` where all is right, and notes on the rest."""

    baseline: str
    summary: str
    tables: tuple[tuple[Table, list[str]], ...]
    fine: tuple[tuple[Table, list[str]], ...]
    notes: tuple[str, ...]


def against(latest: Sequence[Measurement], baseline: Path) -> Against:
    """Hold these results against those of ``baseline``, as ``footseg bench --gate`` does.

    Raises:
        FootsegError: the baseline cannot be read.
    """
    found = gate.check(latest, read_all(baseline))
    notes = _unchecked(found.verdicts)
    if found.not_measured:
        notes.append(f"In the baseline, but not measured now: {', '.join(found.not_measured)}.")
    # What has no figures has a note.
    compared = [verdict for verdict in found.verdicts if verdict.now is not None]
    fine = [verdict for verdict in compared if verdict.outcome == "ok"]
    others = [verdict for verdict in compared if verdict.outcome != "ok"]
    passes = "passes" if found.ok else "fails"
    return Against(
        baseline=baseline.name,
        summary=f"The gate {passes}. Of {len(found.verdicts)} figures: {found.counted}.",
        tables=_tables(others, "Against the baseline"),
        fine=_tables(fine, "As the baseline"),
        notes=tuple(notes),
    )


def _unchecked(verdicts: Sequence[Verdict]) -> list[str]:
    """Files without figures, those of one place and with one reason together."""
    told = grouped(((v.where, v.note), v.file) for v in verdicts if v.now is None)
    return [f"{', '.join(files)} on {where}: {note}." for (where, note), files in told.items()]


def _tables(verdicts: Sequence[Verdict], name: str) -> tuple[tuple[Table, list[str]], ...]:
    places = grouped((verdict.where, verdict) for verdict in verdicts)
    return tuple(
        (_table(name, place, found), [f"{v.file}, {v.what}: {v.note}." for v in found if v.note])
        for place, found in places.items()
    )


def _table(name: str, place: str, verdicts: Sequence[Verdict]) -> Table:
    """The verdicts on figures of one place, or of the files themselves, the worst first."""
    kind = f"measured on {place}" if place else "computed from the files"
    if "emulated" in place:
        kind = place
    ordered = sorted(verdicts, key=lambda verdict: gate.OUTCOMES.index(verdict.outcome))

    def column(head: str, unit: str, cell: Callable[[Verdict], Cell], strong: bool = False) -> Column:
        return Column(kind, head, unit, tuple(cell(verdict) for verdict in ordered), strong)

    return Table(
        f"{name}: {kind}",
        [(verdict.file, verdict.what) for verdict in ordered],
        [
            column("verdict", "", _outcome, strong=True),
            column("then", "", lambda v: Cell(_figure(v, v.then))),
            column("now", "", lambda v: Cell(_figure(v, v.now))),
            column("now / then", "[interval]", _quotient),
            column("allowed", "at most", lambda v: Cell(_allowed(v))),
        ],
    )


def _outcome(verdict: Verdict) -> Cell:
    """In words; what closes the gate is marked, too."""
    return Cell(badge=verdict.outcome, why=verdict.note) if verdict.failed else Cell(verdict.outcome)


def _quotient(verdict: Verdict) -> Cell:
    if verdict.ratio is None:
        return Cell()
    # Counts have no interval to speak of.
    value, ends = figures.ratio_words(verdict.ratio, verdict.low, verdict.high)
    return Cell(value, below=ends)


def _allowed(verdict: Verdict) -> str:
    """The quotient, or of accuracy the loss."""
    if not verdict.of_accuracy:
        return f"{verdict.allowed:g}"
    return f"-{verdict.allowed:.2%}" if verdict.what == PIXELS else f"-{verdict.allowed:g}"


def _figure(verdict: Verdict, value: float | None) -> str:
    """Counts with commas, pixels as a share with as many places as the page has elsewhere."""
    if value is None:
        return ""
    if verdict.of_accuracy:
        return figures.equal_pixels(value) if verdict.what == PIXELS else f"{value:.4f}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else page.word(float(value))
