"""The page: results, evaluations and runs in, one self-contained ``report.html`` out.

Everything is inlined (style, charts as SVG, pictures as base64), so the page opens from disk, without a
network, on a phone too. What was measured on a phone, what on a host and what an emulator counted stand in
sections of their own, as do different numbers of threads. The tables are report_tables.py's, the charts
report_plots.py's, the headline report_head.py's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import run as runs_
from footseg.benchmarks import figures, places, results_file, shown
from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.pages import page, report_baseline, report_head, report_plots, report_tables
from footseg.benchmarks.pages import verified as verified_
from footseg.benchmarks.pages import where as where_
from footseg.benchmarks.pages.page import Plot
from footseg.benchmarks.pages.pictures import first_of, galleries
from footseg.benchmarks.pages.report_plots import Accuracy, CostAxis, Profile
from footseg.benchmarks.pages.report_tables import Table, short_place
from footseg.benchmarks.pages.training_curves import training
from footseg.evaluate import SavedEvaluation
from footseg.grouping import grouped

# So many values of a condition are written out; of more numbers the range.
VALUES = 3
# Facts of a device with a name that is not said by putting spaces into it.
FACTS = {
    "soc": "SoC",
    "android": "Android",
    "thermal_before": "thermal status before",
    "thermal_after": "thermal status after",
    "celsius_before": "°C before",
    "celsius_after": "°C after",
    "cooled_seconds": "cooled down for, s",
    "battery": "battery, %",
}
# Where some latencies follow from ratios.
NOISY = (
    "Where a median was noisy, headline and plots have the ratio times the latency of another file instead, "
    "as it stands below the median in the table."
)
# Of the facts, what stands in the section's own words.
SAID = {"cpu", "cores", "system", "model", "notes", "throttled", "pinned_cores"}


@dataclass(frozen=True)
class Section:
    """All that is known of one place with one number of threads, which is its title's ``detail``."""

    anchor: str
    title: str
    detail: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    table: Table
    plots: tuple[Plot, ...]
    agreement: Table
    profiles: tuple[Profile, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def write_report(
    results: Path,
    out: Path,
    runs: Sequence[Path] = (),
    evaluations: Sequence[Path] = (),
    verified: Sequence[Path] = (),
    baseline: Path | None = None,
    title: str = "footseg report",
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the page to ``out``; returns ``out``.

    Args:
        results: ``results.jsonl`` of footseg bench. Of several measurements of one file in one place the
            last is shown.
        out: the .html file.
        runs: run folders, for the training curves and the provenance.
        evaluations: folders of footseg evaluate, matched to artifacts by the SHA-256 of the model.
        verified: records of footseg verify, matched to artifacts by SHA-256 in the table of where files run.
        baseline: earlier results, to compare these with.
        title: the page's title.
        say: told of lines of the results that cannot be read; they are named on the page, too.

    Raises:
        FootsegError: results, a run, an evaluation or a record cannot be read, or the disk is full.
        ValueError: the page would replace the results or the baseline.
    """
    for kept in filter(None, (results, baseline)):
        if out.resolve() == kept.resolve():
            raise ValueError(f"--out {out} would replace these results by the page: give it another name")
    stored = results_file.read(results)
    for line in stored.left_out:
        say(f"left out: {line}")
    measured = stored.measurements
    latest = places.latest(measured)
    evaluated, other = page.comparable([SavedEvaluation.load(path) for path in evaluations], latest)
    trained = [runs_.load(path) for path in runs]
    recorded = [verified_.read(path) for path in verified]
    groups = [members for _, members in places.by_device(latest)]
    sections = [_section(f"place-{i}", members, evaluated) for i, members in enumerate(groups, start=1)]
    head = report_head.Head.of(groups, evaluated)
    first = first_of(latest, evaluated, head.best.artifact.sha256)
    rows = grouped((file.sha256, row) for one in recorded for file in one.files for row in file.rows)
    where = where_.where((m.artifact for m in report_tables.files_of(latest)), rows)
    return page.write(
        page.HERE / "report.html.j2",
        out,
        title=title,
        headline=head.sentence(len(groups) > 1),
        tiles=head.tiles(),
        parts=_parts(sections, baseline is not None, where),
        sections=sections,
        against=report_baseline.against(latest, baseline) if baseline else None,
        costs=report_tables.costs(latest, report_plots.numbered(report_tables.files_of(latest))),
        strayed=report_tables.verification(latest),
        size_plot=_size_plot(latest, groups, evaluated),
        moved=any("bytes_moved" in m.cost for m in latest),
        uncounted=sorted({op for m in latest for op in m.cost["uncounted"] if m.artifact.format == "tflite"}),
        omitted_lines=len(measured) - len(latest),
        left_out=stored.left_out,
        other_test_sets=sorted({evaluation.test_set for evaluation in other}),
        where=where,
        verified=[(list(verified_.sections(one)), verified_.gallery(one)) for one in recorded],
        first=first,
        galleries=list(galleries(latest, evaluated, head.best.artifact.sha256, first)),
        trainings=[training(run) for run in trained],
        artifacts=page.artifact_provenance(latest),
        facts=page.facts(latest, trained, evaluated),
        commands=[run.command for run in trained if run.command],
    )


def _parts(
    sections: Sequence[Section], against: bool, where: where_.Where | None
) -> list[tuple[str, str, str]]:
    """Anchors, titles and details of what a page of several parts has; of a short one none."""
    if len(sections) == 1 and not against:
        return []
    baseline = [("baseline", "Against the baseline", "")] if against else []
    own = [(section.anchor, section.title, section.detail) for section in sections]
    runs = [("where", "Where it runs", "")] if where else []
    return [*own, *baseline, ("cost", "Cost and verification", ""), *runs]


# --- sections ------------------------------------------------------------------------------------


def _section(
    anchor: str, members: Sequence[Measurement], evaluated: Mapping[str, SavedEvaluation]
) -> Section:
    device = places.device_key(members[0]).words
    emulated = members[0].kind == "emulated"
    many = report_plots.numbered(members)
    make = report_tables.emulated if emulated else report_tables.measured
    found = report_plots.accuracy(members, evaluated)
    title, lead = _heading(members, device)
    if scored := next(
        (evaluated[m.artifact.sha256] for m in members if m.artifact.sha256 in evaluated), None
    ):
        lead += f" Accuracy is that on {scored.test_set}."
    return Section(
        anchor=anchor,
        title=title,
        detail="" if emulated else places.device_key(members[0]).how,
        lead=lead,
        facts=_facts(members),
        table=make(f"Artifacts on {device}", members, evaluated, many),
        plots=tuple(plot for plot in _plots(members, found, emulated) if plot),
        agreement=report_tables.agreement(f"Outputs on {device}", members),
        profiles=() if emulated else tuple(report_plots.profiles(members)),
        notes=(*(() if emulated else _notes(members)), *_conditions(members)),
        warnings=tuple(dict.fromkeys(_warnings(members))),
    )


def _heading(members: Sequence[Measurement], device: str) -> tuple[str, str]:
    first = members[0]
    if first.kind == "emulated":
        return (
            f"Emulated: {short_place(first)}",
            f"Instructions of one inference, counted on {device}. There is no time in this section.",
        )
    what = "a phone" if first.on_phone else "a host"
    timed = "Latency, start and memory were measured" if any(m.latency for m in members) else "Measured"
    return f"Measured on {what}: {short_place(first)}", f"{timed} on {device}."


def _plots(members: Sequence[Measurement], found: Accuracy | None, emulated: bool) -> list[Plot | None]:
    if emulated:
        counted = CostAxis(
            "Accuracy against instructions",
            "millions of instructions of one inference (emulated)",
            "M instructions",
            lambda m: m.instructions.total / 1e6 if m.instructions else None,
        )
        return [report_plots.pareto(members, found, counted), report_plots.instructions(members)]
    found_ms = {id(m): one for m in members if (one := shown.latency(m, members))}
    clocked = CostAxis(
        "Accuracy against latency",
        "latency, ms (measured)",
        "ms",
        lambda m: found_ms[id(m)].ms if id(m) in found_ms else None,
        NOISY if any(one.how for one in found_ms.values()) else "",
    )
    return [report_plots.pareto(members, found, clocked), report_plots.ratios(members)]


def _size_plot(
    latest: Sequence[Measurement],
    groups: Sequence[Sequence[Measurement]],
    evaluated: Mapping[str, SavedEvaluation],
) -> Plot | None:
    """Of each file once; without evaluations the accuracy of the first place that measured any."""
    known = (report_plots.accuracy(members, evaluated) for members in ([latest] if evaluated else groups))
    size = CostAxis("Accuracy against size", "file size, MB (computed)", "MB", lambda m: m.file_bytes / 1e6)
    return report_plots.pareto(report_tables.files_of(latest), next(filter(None, known), None), size)


def _facts(members: Sequence[Measurement]) -> tuple[tuple[str, str], ...]:
    """The device and what held while it ran; a fact that differs between files has several values."""
    told = (fact for m in members for fact in {**m.device, **m.conditions}.items())
    found = grouped((name, value) for name, value in told if name not in SAID and page.word(value))
    runtimes = dict.fromkeys(f"{m.runtime} {m.runtime_version}".strip() for m in members)
    if set(found) <= {"architecture"}:
        return ()
    facts = [(FACTS.get(name, name.replace("_", " ")), _values(values)) for name, values in found.items()]
    return (*facts, ("runner", "; ".join(runtimes)))


def _values(values: Sequence[Any]) -> str:
    words = list(dict.fromkeys(map(page.word, values)))
    if len(words) > VALUES and all(isinstance(value, int | float) for value in values):
        return f"{page.word(min(values))} to {page.word(max(values))}"
    return "; ".join(words)


def _notes(members: Sequence[Measurement]) -> Iterable[str]:
    """What the calibrated and the estimated figures rest on."""
    loops = grouped((c.what, c.gflops) for m in members if (c := m.calibration))
    if loops:
        reached = "; ".join(f"{what} at {_range(speeds)} GFLOP/s" for what, speeds in loops.items())
        yield (
            f"Share of peak: FLOPs (2 {figures.TIMES} MACs) over latency, against what the core reached in "
            f"the same run: {reached}."
        )
    yield from (
        f"Energy is an estimate: {note.removeprefix('an estimate, ').rstrip('.')}."
        for note in dict.fromkeys(m.energy.note for m in members if m.energy)
    )


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _warnings(members: Sequence[Measurement]) -> Iterable[str]:
    _, names = page.short_names([m.artifact.name for m in members])
    spreads = [
        f"{name} ({m.latency.spread:.0%})"
        for name, m in zip(names, members, strict=True)
        if m.latency and m.latency.noisy and m.kind == "measured"
    ]
    if spreads:
        derived = any(found.how for m in members if (found := shown.latency(m, members)))
        yield (
            "Noisy medians, with the share of each that the middle half of its runs spreads over: "
            f"{', '.join(spreads)}. "
            f"{NOISY + ' ' if derived else ''}Let the machine come to rest and measure again."
        )
    for m in members:
        if figures.throttled(m):
            yield f"{m.artifact.name}: the device throttled while it was measured; its times are too long."


def _conditions(members: Sequence[Measurement]) -> Iterable[str]:
    """What was noted while it ran; what holds for all files is said once."""
    told = []
    for m in members:
        notes = m.conditions.get("notes") or ()
        told += [(str(note), m.artifact.name) for note in ([notes] if isinstance(notes, str) else notes)]
    for names, note in figures.said_once(told, len(members)):
        said = note.rstrip(".")
        yield f"{names}: {said}." if names else f"{said[:1].upper()}{said[1:]}."
