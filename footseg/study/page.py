"""The page of a compression study: what each recipe costs, what it saves, and which one to take for a budget.

Everything is read from files that other commands left: measurements, evaluations, runs with the steps of
their compression, sensitivities. What is missing is said on the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from markupsafe import Markup

from footseg import files
from footseg import run as runs_
from footseg.benchmarks import places
from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.pages import charts, page
from footseg.benchmarks.pages.page import Evaluation
from footseg.benchmarks.results_file import read_all
from footseg.compress import sizes
from footseg.compress.sizes import LayerSize
from footseg.errors import FootsegError
from footseg.run import Run
from footseg.study import recipes
from footseg.study.recipes import Figure, Point, winner

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
TITLE = "footseg compression study"
# Operators of a sensitivity that are drawn; the others cost less than the last of these.
BARS = 20


@dataclass(frozen=True)
class Budget:
    """What a recipe may take: bytes of its download (gzip), latency over fp32's, loss of IoU.

    Where nothing else is said it must not be slower than fp32: a file that is little smaller and twenty times
    slower, as dynamic int8 was, is nobody's choice.
    """

    max_bytes: float | None = None
    max_latency: float | None = recipes.SLOWER
    max_loss: float | None = 0.01

    def words(self) -> str:
        """As a phrase: "a loss of at most 0.01 IoU, a download of at most 0.45 MB, no slower than fp32"."""
        latency = f"at most {self.max_latency:g} times the latency of fp32" if self.max_latency else ""
        parts = [
            f"a loss of at most {self.max_loss:g} IoU" if self.max_loss is not None else "",
            f"a download of at most {page.mb(self.max_bytes)} MB" if self.max_bytes is not None else "",
            "no slower than fp32" if self.max_latency == recipes.SLOWER else latency,
        ]
        return ", ".join(part for part in parts if part) or "no limit"

    def winner(self, points: Sequence[Point], by: str | None = None) -> Point | None:
        """The best recipe within it, as ``recipes.winner``."""
        return winner(
            points,
            max_bytes=self.max_bytes,
            max_latency=self.max_latency,
            max_loss=self.max_loss,
            by=by,
        )


WITHIN_A_HUNDREDTH = Budget()


@dataclass(frozen=True)
class Row:
    """One recipe in the table; an empty string is a figure that nobody has taken."""

    number: int
    label: str
    detail: str
    iou: str
    iou_range: str
    boundary_f: str
    loss: str
    loss_range: str
    sizes: tuple[tuple[str, str], ...]
    ratio: str
    ratio_range: str
    latency: str
    macs: str
    slower: bool


@dataclass(frozen=True)
class Bar:
    """One line of bars: each a share of its width, 0 to 1, and the words beside it."""

    name: str
    note: str
    bars: tuple[tuple[float, str], ...]
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layers:
    """A compressed run: its steps in words and its layers."""

    title: str
    summary: str
    steps: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]
    bars: tuple[Bar, ...]


def write_study(
    results: Path,
    out: Path,
    *,
    runs: Sequence[Path] = (),
    evaluations: Sequence[Path] = (),
    sensitivity: Sequence[Path] = (),
    baseline: str | None = None,
    budget: Budget = WITHIN_A_HUNDREDTH,
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
    everything = [m for m in places.latest(read_all(results)) if m.latency is not None]
    if not everything:
        raise FootsegError(f"{results} holds no latency: footseg bench ARTIFACT --out {results} measures it")
    groups = places.by_device(everything)
    device, measured = max(groups, key=lambda group: len(group[1]))
    evaluated, other = page.comparable([Evaluation.load(path) for path in evaluations], measured)
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
        rows=[_row(number, point) for number, point in enumerate(points, start=1)],
        boundary_px=page.boundary_px(evaluated),
        in_turns=all(point.in_turns for point in points if point.ratio),
        seeds=any(len(point.seeds) > 1 for point in points),
        warnings=[point.warning for point in points if point.slower],
        charts=_charts(points, drawn),
        legend=_legend(drawn),
        not_drawn=[point.label for point in points if point.iou and point not in drawn],
        winners=_winners(points, budget),
        no_slower=recipes.SLOWER,
        choices=[_choice(number, point) for number, point in enumerate(points, start=1) if point.loss],
        layers=[_layers(run) for run in trained if run.compression],
        sensitivities=[_sensitivity(path) for path in sensitivity],
        missing=_missing(points, trained, evaluated, other, [name for name, _ in groups if name != device]),
        artifacts=page.artifact_provenance(measured),
        facts=page.facts(measured, trained, evaluated),
        commands=[run.command for run in trained if run.command],
    )


# --- words at the head ---------------------------------------------------------------------------


def _headline(points: Sequence[Point], budget: Budget) -> str:
    best = budget.winner(points)
    count = f"{len(points)} recipe{'s' if len(points) != 1 else ''}"
    if best is None:
        lost = any(point.loss for point in points)
        why = f"none is within the budget ({budget.words()})" if lost else "their loss of IoU is not known"
        return f"{count} compared: {why}."
    gain = best.smaller.get("gzip")
    words = [f"{best.label} is the one to take: {page.mb(best.gzip_bytes)} MB to download"]
    if gain and not best.is_baseline:
        words.append(f", {gain:.1f} times smaller than fp32")
    if best.ratio and not best.is_baseline:
        words.append(f", at {best.ratio.value:.2f} times its latency")
    if best.loss and not best.is_baseline:
        way = "less" if best.loss.value >= 0 else "more"
        words.append(f" and {abs(best.loss.value):.4f} {way} IoU")
    return "".join(words) + f". The budget: {budget.words()}."


def _tiles(points: Sequence[Point], budget: Budget) -> list[tuple[str, str, str, str]]:
    """Figure, unit, name and kind of the headline's winner."""
    best = budget.winner(points)
    if best is None:
        return []
    tiles = []
    if best.iou:
        tiles.append((f"{best.iou.value:.4f}", "IoU", "of the foreground, over all pixels", "measured"))
    tiles.append((page.mb(best.gzip_bytes), "MB", "to download, gzip", "computed"))
    if "gzip" in best.smaller:
        tiles.append((f"{best.smaller['gzip']:.1f}", "times", "smaller than fp32, both gzip", "computed"))
    if best.ratio:
        how = "measured, in turns" if best.in_turns else "measured, one after the other"
        tiles.append((f"{best.ratio.value:.2f}", "of fp32", "latency", how))
    return tiles


def _compared(
    measured: Sequence[Measurement], trained: Sequence[Run], evaluated: Mapping[str, Evaluation], device: str
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


def _missing(
    points: Sequence[Point],
    trained: Sequence[Run],
    evaluated: Mapping[str, Evaluation],
    other: Sequence[Evaluation],
    devices: Sequence[str],
) -> list[str]:
    """What the page would show if it had been given it."""
    without = [name for point in points if not point.iou for name in point.files]
    orphans = [name for point in points if not point.runs for name in point.files]
    used = {name for point in points for name in point.runs}
    idle = [run.path.name for run in trained if run.path.name not in used]
    unread = [run.path.name for run in trained if run.compression and not _layers_file(run).is_file()]
    sets = sorted({evaluation.test_set for evaluation in other})
    said = [
        ("No evaluation, so no IoU and no place in a chart (footseg evaluate FILE): ", without),
        ("The run is not among those given, so the steps before export are not known: ", orphans),
        ("Runs of which no file was measured: ", idle),
        ("Compressed runs without layers.json: ", unread),
        ("Evaluations on another test set or size, which cannot be compared: ", sets),
        ("Measurements on another machine or number of threads are in the results and not here: ", devices),
    ]
    lines = [text + ", ".join(names) + "." for text, names in said if names]
    if not any(point.is_baseline for point in points):
        lines.insert(
            0, "No fp32 file of an uncompressed run was measured: nothing to hold the recipes against."
        )
    elif evaluated and not any(point.loss for point in points):
        lines.insert(0, "The fp32 file has no evaluation: losses of IoU are not known.")
    return lines


# --- table, charts, winners ----------------------------------------------------------------------


def _row(number: int, point: Point) -> Row:
    detail = f"{len(point.seeds)} seeds" if len(point.seeds) > 1 else point.files[0]
    zstd = "" if point.zstd_bytes is None else page.mb(point.zstd_bytes)
    figures = {"file": page.mb(point.file_bytes), "gzip": page.mb(point.gzip_bytes), "zstd": zstd}
    return Row(
        number=number,
        label=point.label,
        detail=detail,
        iou=_value(point.iou, "{:.4f}"),
        iou_range=_range(point.iou, "{:.4f}"),
        boundary_f=_value(point.boundary_f, "{:.4f}"),
        loss="" if point.is_baseline else _value(point.loss, "{:+.4f}"),
        loss_range=_range(point.loss, "{:+.4f}"),
        sizes=tuple(
            (size, "" if point.is_baseline else page.known(point.smaller.get(kind), "{:.1f}x"))
            for kind, size in figures.items()
        ),
        ratio=("" if point.in_turns else "~") + _value(point.ratio, "{:.2f}") if point.ratio else "",
        ratio_range=_range(point.ratio, "{:.2f}"),
        latency=page.ms(point.latency_ms),
        macs=f"{point.macs / 1e6:.1f}",
        slower=point.slower,
    )


def _value(figure: Figure | None, form: str) -> str:
    return form.format(figure.value) if figure else ""


def _range(figure: Figure | None, form: str) -> str:
    if figure is None or figure.low == figure.high:
        return ""
    return f"{form.format(figure.low)} to {form.format(figure.high)}"


def _near(points: Sequence[Point]) -> list[Point]:
    ious = [point.iou.value for point in points if point.iou]
    return [point for point in points if point.iou and point.iou.value >= max(ious) - FAR_BELOW]


def _series(point: Point) -> tuple[int, str]:
    return SERIES.get(point.methods[-1] if point.methods else "", SERIES[""])


def _legend(points: Sequence[Point]) -> list[tuple[int, str]]:
    return sorted({_series(point) for point in points})


def _charts(points: Sequence[Point], drawn: Sequence[Point]) -> list[tuple[Markup, Markup]]:
    """The main two charts with names, then three small ones with the numbers of the table."""
    numbers = {point.label: str(number) for number, point in enumerate(points, start=1)}
    download, latency = "download, MB gzip (computed)", "latency over fp32's (measured)"
    wanted = [
        ("iou", "gzip_bytes", "IoU (measured)", download, True),
        ("iou", "ratio", "IoU (measured)", latency, True),
        ("iou", "file_bytes", "IoU (measured)", "file, MB", False),
        ("boundary_f", "gzip_bytes", "boundary F (measured)", download, False),
        ("boundary_f", "file_bytes", "boundary F (measured)", "file, MB", False),
    ]
    made = []
    for y, x, y_label, x_label, large in wanted:
        bubbles = [
            (
                charts.Bubble(point.label, _x(point, x), getattr(point, y).value, 1, _series(point)[0]),
                numbers[point.label],
            )
            for point in drawn
            if getattr(point, x) is not None and getattr(point, y) is not None
        ]
        if bubbles:
            made.append(_chart(bubbles, large, x_label=x_label, y_label=y_label))
    return made


def _x(point: Point, name: str) -> float:
    value = getattr(point, name)
    return value.value if isinstance(value, Figure) else value / 1e6


def _chart(bubbles: Sequence[tuple[charts.Bubble, str]], large: bool, **labels: str) -> tuple[Markup, Markup]:
    options: dict[str, Any] = {**labels, "radius": RADIUS, "x_log": True, "front": True}
    named = [bubble for bubble, _ in bubbles]
    numbered = [
        charts.Bubble(number, bubble.x, bubble.y, 1, bubble.series, title=bubble.label)
        for bubble, number in bubbles
    ]
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
    return [
        (
            each.words(),
            [
                ("smallest", *_told(each.winner(points, "bytes"))),
                ("fastest", *_told(each.winner(points, "latency"))),
            ],
        )
        for each in budgets
    ]


def _told(point: Point | None) -> tuple[str, str]:
    if point is None:
        return "none", ""
    figures = [
        f"{page.mb(point.gzip_bytes)} MB",
        f"{point.ratio.value:.2f} of the latency" if point.ratio else "",
        f"{point.loss.value:+.4f} IoU lost" if point.loss else "",
    ]
    return point.label, ", ".join(figure for figure in figures if figure)


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


# --- layers --------------------------------------------------------------------------------------


def _layers_file(run: Run) -> Path:
    return run.path / "layers.json"


def _layers(run: Run) -> Layers:
    title = " → ".join(recipes.step_words(step) for step in run.compression)
    rows = _layer_rows(_layers_file(run)) if _layers_file(run).is_file() else ()
    summary = ""
    if rows:
        whole = sizes.total(rows, max(run.parameters, sum(row.weights for row in rows)))
        kernels = sum(row.weights for row in rows)
        summary = (
            f"{whole.zeros / kernels:.1%} of the kernels' weights are zero; "
            f"{page.mb(whole.float_bytes)} MB as floats, {page.mb(whole.huffman_bytes)} MB Huffman-coded: "
            f"{whole.float_bytes / whole.huffman_bytes:.1f} times smaller"
        )
    return Layers(
        title=f"{title} ({run.path.name})",
        summary=summary,
        steps=tuple(_step(step) for step in run.compression),
        bars=tuple(_layer_bar(row) for row in rows),
    )


def _layer_rows(path: Path) -> tuple[LayerSize, ...]:
    known = {field.name for field in fields(LayerSize)}
    try:
        return tuple(
            LayerSize(**{name: value for name, value in row.items() if name in known})
            for row in files.read_json(path)
        )
    except (TypeError, AttributeError) as error:
        raise FootsegError(f"{path} is no list of layers ({error}): compress the run again") from error


def _layer_bar(row: LayerSize) -> Bar:
    zeros, left = row.zeros / max(1, row.weights), row.huffman_bytes / max(1, row.float_bytes)
    shared = row.distinct <= sizes.MOST_SHARED and row.distinct < row.weights - row.zeros
    return Bar(
        name=row.name,
        note=f"{row.kind} · {row.weights:,}",
        bars=((zeros, f"{zeros:.0%}"), (left, f"{row.huffman_bytes / 1e3:.1f} kB")),
        cells=(str(row.distinct) if shared else "not shared", f"{left:.0%}"),
    )


def _step(step: Mapping[str, Any]) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """A step's words, its IoU before and after, and the layers left out by reason."""
    before, after = step.get("val_iou_before"), step.get("val_iou_after")
    known = before is not None and after is not None
    iou = f"validation IoU {before:.4f} → {after:.4f}" if known else ""
    reasons: dict[str, list[str]] = {}
    for name, why in (step.get("left_out") or {}).items():
        reasons.setdefault(str(why), []).append(name)
    count = len(step.get("layers") or {})
    text = ", ".join(filter(None, [f"{count} layer{'s' if count > 1 else ''}" if count else "", iou]))
    return recipes.step_words(step), text, tuple((why, ", ".join(names)) for why, names in reasons.items())


# --- sensitivity ---------------------------------------------------------------------------------


def _sensitivity(path: Path) -> dict[str, Any]:
    """Title, bars and rest of one sensitivity, the dearest operators first."""
    record = files.read_json(path)
    costs = record.get("costs") if isinstance(record, dict) else None
    if not isinstance(costs, list):
        raise FootsegError(f"{path} is no record of a sensitivity (it has no costs): measure it anew")
    ranked = sorted(costs, key=lambda cost: (-_number(cost, "iou_loss"), -_number(cost, "logit_error")))
    most = max((_number(cost, "iou_loss") for cost in ranked), default=0.0) or 1.0
    noise = max((_number(cost, "logit_error") for cost in ranked), default=0.0) or 1.0
    bars = [
        Bar(
            name=str(cost.get("layer") or cost.get("output") or cost.get("index", "?")),
            note=str(cost.get("kind", "")).lower().replace("_", " "),
            bars=(
                (max(0.0, _number(cost, "iou_loss") / most), f"{_number(cost, 'iou_loss'):+.4f}"),
                (_number(cost, "logit_error") / noise, f"{_number(cost, 'logit_error'):.3f}"),
            ),
            cells=(f"{_number(cost, 'bytes_saved') / 1e3:.1f}",),
        )
        for cost in ranked
    ]
    on = ", ".join(str(record[key]) for key in ("file", "split") if record.get(key))
    images = f", {record['images']} images" if record.get("images") else ""
    return {
        "title": f"Sensitivity to {record.get('level', 'quantization')}",
        "on": on + images,
        "bars": bars[:BARS],
        "rest": len(bars) - BARS if len(bars) > BARS else 0,
    }


def _number(cost: Mapping[str, Any], name: str) -> float:
    value = cost.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
