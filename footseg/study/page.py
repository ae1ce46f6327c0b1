"""The page of a compression study: what each recipe costs, what it saves, and which one to take for a budget.

Everything is read from files that other commands left: measurements, evaluations, runs with the steps of
their compression, sensitivities. What is missing is said on the page.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from footseg import run as runs_
from footseg.benchmarks import figures, places, results_file
from footseg.benchmarks.figures import Cell
from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.pages import charts, page
from footseg.benchmarks.pages.charts import Mark
from footseg.benchmarks.pages.page import Responsive, Tile
from footseg.benchmarks.pages.report_tables import Column, Table
from footseg.errors import FootsegError
from footseg.evaluate import SavedEvaluation
from footseg.grouping import grouped
from footseg.run import Run
from footseg.study import layers, recipes
from footseg.study.recipes import Budget, Point, Ranged
from footseg.terminal import counted

# Losses of IoU that the table of winners has a row for.
LOSSES = (0.005, 0.01, 0.02)
# A recipe that loses more than this against the best is named under the charts and not drawn: it would press
# all others into a line.
FAR_BELOW = 0.1
# Colours by the last step of retraining; its name in the legend.
SERIES = {
    "": (0, "quantized after training, or not at all"),
    "prune": (1, "pruned or clustered"),
    "cluster": (1, "pruned or clustered"),
    "cut": (2, "channels removed"),
    "qat": (3, "quantization-aware training"),
}
RADIUS = 6.0
# So many charts are large, and have names.
LARGE = 2
TITLE = "footseg compression study"


def write_study(
    results: Path,
    out: Path,
    *,
    runs: Sequence[Path] = (),
    evaluations: Sequence[Path] = (),
    sensitivity: Sequence[Path] = (),
    baseline: str | None = None,
    budget: Budget = recipes.WITHIN_A_HUNDREDTH,
    title: str = TITLE,
) -> Path:
    """Write the page to ``out``; returns ``out``.

    Args:
        results: ``results.jsonl`` of footseg bench. Of several measurements of one file the last counts; of
            several machines or thread counts the one with the most files.
        out: the .html file.
        runs: runs that the files were exported from, compressed or not.
        evaluations: folders of footseg evaluate, matched to files by their SHA-256.
        sensitivity: JSON files of the export's sensitivity.
        baseline: name or SHA-256 of the fp32 file to hold all others against; else that of each training.
        budget: what the headline's winner may take.
        title: the page's title.

    Raises:
        FootsegError: a file cannot be read, no such baseline, or the disk is full.
    """
    stored = results_file.read(results)
    everything = [m for m in places.latest(stored.measurements) if m.latency is not None]
    if not everything:
        raise FootsegError(f"{results} holds no latency: footseg bench ARTIFACT --out {results} measures it")
    groups = places.by_device(everything)
    device, measured = max(groups, key=lambda group: len(group[1]))
    evaluated, other = page.comparable([SavedEvaluation.load(path) for path in evaluations], measured)
    trained = [runs_.load(path) for path in runs]
    points = recipes.gather(measured, evaluated, trained, baseline)
    drawn = _near(points)
    return page.write(
        Path(__file__).parent / "study.html.j2",
        out,
        title=title,
        headline=_headline(points, budget),
        tiles=_tiles(points, budget),
        compared=_compared(measured, trained, evaluated, device),
        recipes=_table(points, page.boundary_px(evaluated)),
        in_turns=all(point.in_turns for point in points if point.ratio),
        confidence=_confidence(measured),
        seeds=any(len(point.seeds) > 1 for point in points),
        warnings=[point.warning for point in points if point.slower],
        charts=_charts(points, drawn),
        legend=_legend(drawn),
        not_drawn=[point.label for point in points if point.iou and point not in drawn],
        winners=_winners(points, budget),
        no_slower=recipes.SLOWER,
        choices=[_choice(number, point) for number, point in enumerate(points, start=1) if point.loss],
        layers=[layers.layers(run, trained) for run in trained if run.compression],
        sensitivities=[layers.sensitivity(path) for path in sensitivity],
        missing=_missing(points, trained, evaluated, other, [name for name, _ in groups if name != device])
        + [f"Left out: {line}." for line in stored.left_out],
        artifacts=page.artifact_provenance(measured),
        facts=page.facts(measured, trained, evaluated),
        commands=[run.command for run in trained if run.command],
    )


# --- words at the head ---------------------------------------------------------------------------


def _headline(points: Sequence[Point], budget: Budget) -> str:
    best = budget.winner(points)
    count = counted(len(points), "recipe")
    if best is None:
        lost = any(point.loss for point in points)
        why = f"none is within the budget ({budget.words()})" if lost else "their loss of IoU is not known"
        return f"{count} compared: {why}."
    gain = best.smaller.get("gzip")
    words = [f"{best.label} is the one to take: {figures.mb(best.gzip_bytes)} MB to download"]
    if gain and not best.is_baseline:
        words.append(f", {gain:.1f} times smaller than fp32")
    if best.ratio and not best.is_baseline:
        words.append(f", at {best.ratio.value:.2f} times its latency")
    if best.loss and not best.is_baseline:
        way = "less" if best.loss.value >= 0 else "more"
        words.append(f" and {abs(best.loss.value):.4f} {way} IoU")
    return "".join(words) + f". The budget: {budget.words()}."


def _tiles(points: Sequence[Point], budget: Budget) -> list[Tile]:
    """Of the headline's winner."""
    best = budget.winner(points)
    if best is None:
        return []
    tiles = []
    if best.iou:
        tiles.append(Tile(f"{best.iou.value:.4f}", "IoU", "of the foreground, over all pixels", "measured"))
    tiles.append(Tile(figures.mb(best.gzip_bytes), "MB", "to download, gzip", "computed"))
    if "gzip" in best.smaller:
        tiles.append(Tile(f"{best.smaller['gzip']:.1f}", "times", "smaller than fp32, both gzip", "computed"))
    if best.ratio:
        how = "measured, in turns" if best.in_turns else "measured, one after the other"
        tiles.append(Tile(f"{best.ratio.value:.2f}", "of fp32", "latency", how))
    return tiles


def _compared(
    measured: Sequence[Measurement],
    trained: Sequence[Run],
    evaluated: Mapping[str, SavedEvaluation],
    device: str,
) -> list[tuple[str, list[str]]]:
    """What the figures are of: network, training, test set, machine."""
    networks = {
        " ".join([m.artifact.network, *(f"{k}={v}" for k, v in m.artifact.network_options.items())])
        + f" at {' x '.join(str(side) for side in m.artifact.input_shape[1:3])}"
        for m in measured
        if m.artifact.network
    }
    seeds = sorted({run.seed for run in trained})
    found = {
        "network": networks,
        "trained on": {Path(run.data).name for run in trained},
        "seeds": {", ".join(map(str, seeds))} if seeds else set(),
        "IoU and boundary F on": {evaluation.test_set for evaluation in evaluated.values()},
        "latency on": {device},
    }
    return [(name, sorted(values)) for name, values in found.items() if values]


def _confidence(measured: Sequence[Measurement]) -> str:
    """Of the intervals of ratios; "" where no line has one."""
    found = {m.relative.confidence for m in measured if m.relative and m.relative.confidence}
    return " or ".join(f"{share:.0%}" for share in sorted(found))


def _missing(
    points: Sequence[Point],
    trained: Sequence[Run],
    evaluated: Mapping[str, SavedEvaluation],
    other: Sequence[SavedEvaluation],
    devices: Sequence[str],
) -> list[str]:
    """What the page would show if it had been given it."""
    without = [name for point in points if not point.iou for name in point.files]
    orphans = [name for point in points if not point.runs for name in point.files]
    used = {name for point in points for name in point.runs}
    idle = [run.path.name for run in trained if run.path.name not in used]
    unread = [run.path.name for run in trained if run.compression and not layers.layers_file(run).is_file()]
    sets = sorted({evaluation.test_set for evaluation in other})
    said = [
        ("No evaluation, so no IoU and no place in a chart (footseg evaluate FILE): ", without),
        ("The run is not among those given, so the steps before export are not known: ", orphans),
        ("Runs of which no file was measured: ", idle),
        ("Compressed runs without layers.json: ", unread),
        (
            "Runs of several data sets, whose validation IoUs cannot be compared; on the test set they "
            "differ by their data, too: ",
            _data_sets(trained),
        ),
        ("Evaluations on another test set or size, which cannot be compared: ", sets),
        ("Measurements on another machine or number of threads are in the results and not here: ", devices),
    ]
    lines = [text + ", ".join(names) + "." for text, names in said if names]
    if not any(point.is_baseline for point in points):
        why = "No fp32 file of an uncompressed run was measured: nothing to hold the recipes against."
        lines.insert(0, why)
    elif evaluated and not any(point.loss for point in points):
        lines.insert(0, "The fp32 file has no evaluation: losses of IoU are not known.")
    return lines


def _data_sets(trained: Sequence[Run]) -> list[str]:
    """Each data set with its runs, where there are several."""
    sets = grouped((run.data_words, run.path.name) for run in trained)
    told = [f"{data} ({', '.join(names)})" for data, names in sets.items()]
    return told if len(told) > 1 else []


# --- table, charts, winners ----------------------------------------------------------------------


def _table(points: Sequence[Point], boundary_px: Any) -> Table:
    computed, there = "computed; x: times smaller than fp32", "measured on the machine above"

    def column(
        kind: str, head: str, unit: str, cell: Callable[[Point], Cell], strong: bool = False
    ) -> Column:
        return Column(kind, head, unit, tuple(map(cell, points)), strong)

    def size(name: str, of: str) -> Column:
        return column(computed, name, "MB", lambda point: _size(point, name, getattr(point, of)))

    within = f"within {boundary_px} px" if boundary_px else ""
    common, names = page.short_names([point.files[0] for point in points])
    # First what a phone has room for.
    return Table(
        "Recipes",
        [
            (p.label, f"{len(p.seeds)} seeds" if len(p.seeds) > 1 else name)
            for p, name in zip(points, names, strict=True)
        ],
        [
            column(page.ON_IMAGES, "IoU lost", "to fp32", _loss, strong=True),
            column(there, "latency", "over fp32's", _ratio, strong=True),
            replace(size("gzip", "gzip_bytes"), strong=True),
            size("file", "file_bytes"),
            size("zstd", "zstd_bytes"),
            column(page.ON_IMAGES, "IoU", "", lambda p: _ranged(p.iou, "{:.4f}")),
            column(page.ON_IMAGES, "boundary F", within, lambda p: Cell(_value(p.boundary_f, "{:.4f}"))),
            column(there, "latency", "ms", _latency),
            column("computed", "MACs", "M", lambda p: Cell(figures.millions(p.macs))),
        ],
        numbered=True,
        head="recipe",
        under=common,
    )


def _size(point: Point, name: str, bytes_: float | None) -> Cell:
    smaller = "" if point.is_baseline else figures.known(point.smaller.get(name), "{:.1f}x")
    return Cell(figures.mb(bytes_), below=smaller)


def _loss(point: Point) -> Cell:
    return Cell() if point.is_baseline else _ranged(point.loss, "{:+.4f}")


def _ratio(point: Point) -> Cell:
    found = _ranged(point.ratio, "{:.2f}")
    mark = "~" if found.text and not point.in_turns else ""
    return replace(found, text=mark + found.text, badge="slower" if point.slower else "")


def _latency(point: Point) -> Cell:
    return Cell(figures.ms(point.latency_ms), badge="noisy" if point.noisy else "", why=point.noisy)


def _ranged(figure: Ranged | None, form: str) -> Cell:
    """With its range where it has one."""
    if figure is None or figure.low == figure.high:
        return Cell(_value(figure, form))
    return Cell(_value(figure, form), below=f"{form.format(figure.low)} to {form.format(figure.high)}")


def _value(figure: Ranged | None, form: str) -> str:
    return form.format(figure.value) if figure else ""


def _near(points: Sequence[Point]) -> list[Point]:
    ious = [point.iou.value for point in points if point.iou]
    return [point for point in points if point.iou and point.iou.value >= max(ious) - FAR_BELOW]


def _series(point: Point) -> tuple[int, str]:
    return SERIES.get(point.methods[-1] if point.methods else "", SERIES[""])


def _legend(points: Sequence[Point]) -> list[tuple[int, str]]:
    return sorted({_series(point) for point in points})


def _charts(points: Sequence[Point], drawn: Sequence[Point]) -> list[Responsive]:
    """The main two charts with names, then three small ones with the numbers of the table."""
    download, latency = "download, MB gzip (computed)", "latency over fp32's (measured)"
    wanted = [
        ("iou", "gzip_bytes", "IoU (measured)", download),
        ("iou", "ratio", "IoU (measured)", latency),
        ("iou", "file_bytes", "IoU (measured)", "file, MB"),
        ("boundary_f", "gzip_bytes", "boundary F (measured)", download),
        ("boundary_f", "file_bytes", "boundary F (measured)", "file, MB"),
    ]
    numbers = {point.label: str(number) for number, point in enumerate(points, start=1)}
    made = []
    for place, (y, x, y_label, x_label) in enumerate(wanted):
        marks = [
            Mark(_x(point, x), getattr(point, y).value, f"bubble series-{_series(point)[0]}", point.label)
            for point in drawn
            if getattr(point, x) is not None and getattr(point, y) is not None
        ]
        # A point alone says no more than the table.
        if len(marks) > 1:
            numbered = [replace(mark, label=numbers[mark.label], title=mark.label) for mark in marks]
            made.append(_chart(marks, numbered, place < LARGE, x_label=x_label, y_label=y_label))
    return made


def _x(point: Point, name: str) -> float:
    value = getattr(point, name)
    return value.value if isinstance(value, Ranged) else value / 1e6


def _chart(named: Sequence[Mark], numbered: Sequence[Mark], large: bool, **labels: str) -> Responsive:
    options: dict[str, Any] = {**labels, "radius": RADIUS, "x_log": True}
    width, height = (page.WIDE, 440) if large else (500, 340)
    return (
        Markup(charts.bubbles(named if large else numbered, width=width, height=height, **options)),
        Markup(charts.bubbles(numbered, width=page.NARROW, height=320, **options)),
    )


def _winners(points: Sequence[Point], budget: Budget) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Rows of the table of winners: the budget, then what is smallest and what is fastest within it."""
    if not any(point.loss for point in points):
        return []
    budgets = [Budget(max_loss=loss) for loss in LOSSES]
    if budget not in budgets:
        budgets.insert(0, budget)
    goals = {"smallest": "bytes", "fastest": "latency"}
    return [
        (each.words(), [(name, *_told(each.winner(points, by))) for name, by in goals.items()])
        for each in budgets
    ]


def _told(point: Point | None) -> tuple[str, str]:
    if point is None:
        return "none", ""
    told = [
        f"{figures.mb(point.gzip_bytes)} MB",
        f"{point.ratio.value:.2f} of the latency" if point.ratio else "",
        f"{point.loss.value:+.4f} IoU lost" if point.loss else "",
    ]
    return point.label, ", ".join(filter(None, told))


def _choice(number: int, point: Point) -> dict[str, Any]:
    """What the page's own control chooses from."""
    return {
        "number": number,
        "label": point.label,
        "told": _told(point)[1],
        "loss": point.loss.value if point.loss else None,
        "bytes": point.gzip_bytes,
        "latency": point.ratio.value if point.ratio else None,
    }
