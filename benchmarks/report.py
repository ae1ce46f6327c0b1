"""The page: results, evaluations and runs in, one self-contained ``report.html`` out.

Everything is inlined (style, charts as SVG, pictures as base64), so the page opens from disk, without a
network, on a phone too. Numbers of different devices or thread counts stand in tables of their own.
"""

import base64
import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks import charts, page
from benchmarks.measurement import Measurement, read_all
from benchmarks.page import Evaluation
from footseg import run as runs_
from footseg.errors import FootsegError
from footseg.run import Run

# Of the page's 3 MB; base64 makes a third more of it. Picture rows beyond are left out, and counted.
PICTURE_BYTES = 1_900_000
# An artifact this much below the best IoU can still be the one to ship if it is faster: the loss that
# quantization is allowed.
SHIPPABLE_LOSS = 0.01
SERIES = {"fp32": 0, "int8": 1, "fp16": 2}
OTHER_SERIES = 3


@dataclass(frozen=True)
class Tile:
    """One of the large figures at the head of the page; ``kind`` says where it comes from."""

    value: str
    unit: str
    name: str
    kind: str


@dataclass(frozen=True)
class Row:
    """One artifact on one device; an empty string is a figure that nobody has taken."""

    name: str
    recipe: str
    runtime: str
    size: str
    iou: str
    boundary_f: str
    latency: str
    p90: str
    note: str
    ratio: str
    cold_start: str
    memory: str
    delegated: str


@dataclass(frozen=True)
class CostRow:
    """What one file costs on any machine, and how far it strays from the network it was made of."""

    name: str
    input: str
    gzip: str
    zstd: str
    parameters: str
    macs: str
    flops: str
    benchmark_flops: str
    equal_pixels: str
    logit_difference: str
    iou_difference: str


@dataclass(frozen=True)
class Group:
    """The artifacts measured on one device with one number of threads."""

    device: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    plot: "tuple[Markup, Markup] | None"


@dataclass(frozen=True)
class Picture:
    """An inlined picture and what stands under it."""

    source: str
    caption: str
    figure: str = ""


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures, each row one photograph; ``omitted`` rows did not fit into the page."""

    title: str
    text: str
    rows: tuple[tuple[str, tuple[Picture, ...]], ...]
    omitted: int = 0


def write_report(
    results: Path,
    out: Path,
    runs: Sequence[Path] = (),
    evaluations: Sequence[Path] = (),
    title: str = "footseg report",
) -> Path:
    """Write the page to ``out``; returns ``out``.

    Args:
        results: ``results.jsonl`` of footseg bench. Of several measurements of one file on one device the
            last is shown.
        out: the .html file.
        runs: run folders, for the training curves and the provenance.
        evaluations: folders of footseg evaluate, matched to artifacts by the SHA-256 of the model.
        title: the page's title.

    Raises:
        FootsegError: results, a run or an evaluation cannot be read, or the disk is full.
    """
    measured = read_all(results)
    latest = page.latest(measured)
    evaluated, other = page.comparable([Evaluation.load(path) for path in evaluations], latest)
    trained = [runs_.load(path) for path in runs]
    groups = [_group(device, members, evaluated) for device, members in page.by_device(latest)]
    return page.write(
        "report.html.j2",
        out,
        title=title,
        headline=_headline(latest, evaluated),
        tiles=_tiles(latest, evaluated),
        groups=groups,
        costs=_costs(latest),
        uncounted=sorted({op for m in latest for op in m.cost["uncounted"] if m.artifact.format == "tflite"}),
        test_set=next(iter(evaluated.values())).test_set if evaluated else "",
        boundary_px=page.boundary_px(evaluated),
        omitted_lines=len(measured) - len(latest),
        other_test_sets=sorted({evaluation.test_set for evaluation in other}),
        galleries=list(_galleries(latest, evaluated)),
        trainings=[_training(run) for run in trained],
        artifacts=page.artifact_provenance(latest),
        facts=page.facts(latest, trained, evaluated),
        commands=[run.command for run in trained if run.command],
    )


# --- headline ------------------------------------------------------------------------------------


def _best(latest: Sequence[Measurement], evaluated: Mapping[str, Evaluation]) -> Measurement:
    """The fastest artifact whose IoU is within SHIPPABLE_LOSS of the best; without evaluations the fastest.

    Only the first device and thread count of the results are looked at.
    """
    members = [m for m in latest if page.device_key(m) == page.device_key(latest[0])]
    ious = {m.artifact.sha256: page.metric(evaluated, m.artifact.sha256, "iou") for m in members}
    known = [iou for iou in ious.values() if iou is not None]
    if known:
        members = [m for m in members if (ious[m.artifact.sha256] or 0) >= max(known) - SHIPPABLE_LOSS]
    return min(members, key=lambda m: m.latency.median_ms)


def _headline(latest: Sequence[Measurement], evaluated: Mapping[str, Evaluation]) -> str:
    best = _best(latest, evaluated)
    iou = page.metric(evaluated, best.artifact.sha256, "iou")
    words = [f"{best.artifact.name} segments an image in {page.ms(best.latency.median_ms)} ms"]
    if iou is not None:
        words.append(f"with an IoU of {iou:.3f}")
    words.append(f"from a file of {page.mb(best.file_bytes)} MB")
    sentence = " ".join(words)
    relative = best.relative
    if relative and relative.to_sha256 != best.artifact.sha256:
        sentence += f": {relative.ratio:.2f} times the latency of {relative.to}"
        base = page.metric(evaluated, relative.to_sha256, "iou")
        if iou is not None and base is not None:
            difference = iou - base
            way = "less" if difference < 0 else "more"
            sentence += f", {abs(difference):.4f} {way} IoU"
    return sentence + "."


def _tiles(latest: Sequence[Measurement], evaluated: Mapping[str, Evaluation]) -> list[Tile]:
    best = _best(latest, evaluated)
    iou = page.metric(evaluated, best.artifact.sha256, "iou")
    tiles = []
    if iou is not None:
        test_set = evaluated[best.artifact.sha256].test_set
        tiles.append(Tile(f"{iou:.3f}", "IoU", "of the foot, over all pixels", f"measured on {test_set}"))
    machine = f"measured on {best.device.get('cpu')}"
    return [
        *tiles,
        Tile(page.ms(best.latency.median_ms), "ms", f"median latency, {page.threads(best.threads)}", machine),
        Tile(page.mb(best.file_bytes), "MB", "file size", "computed"),
        Tile(f"{best.cost['macs'] / 1e6:.0f}", "M MACs", "for one inference", "computed"),
    ]


# --- tables and plot -----------------------------------------------------------------------------


def _group(device: str, members: Sequence[Measurement], evaluated: Mapping[str, Evaluation]) -> Group:
    notes = [f"{m.artifact.name}: {m.latency.note}" for m in members if m.latency.noisy]
    return Group(
        device=device,
        rows=tuple(_row(m, members, evaluated) for m in members),
        notes=tuple(notes),
        plot=_plot(members, evaluated),
    )


def _row(m: Measurement, members: Sequence[Measurement], evaluated: Mapping[str, Evaluation]) -> Row:
    sha256 = m.artifact.sha256
    delegation = m.delegation
    return Row(
        name=m.artifact.name,
        recipe=m.artifact.recipe,
        runtime=f"{m.runtime} {m.runtime_version}",
        size=page.mb(m.file_bytes),
        iou=page.known(page.metric(evaluated, sha256, "iou"), "{:.4f}"),
        boundary_f=page.known(page.metric(evaluated, sha256, "boundary_f"), "{:.4f}"),
        latency=page.ms(m.latency.median_ms),
        p90=page.ms(m.latency.p90_ms),
        note=m.latency.note,
        ratio=_ratio(m, members),
        cold_start=f"{m.cold_start.load_ms:.0f} + {m.cold_start.first_inference_ms:.1f}",
        memory=f"{m.peak_memory_mb:.1f}",
        delegated=(
            f"{delegation.delegated} of {delegation.operators} in {delegation.partitions}"
            if delegation
            else ""
        ),
    )


def _costs(latest: Sequence[Measurement]) -> list[CostRow]:
    """One row a file, however many devices it was measured on."""
    return [
        CostRow(
            name=m.artifact.name,
            input=" x ".join(str(side) for side in m.artifact.input_shape),
            gzip=page.mb(m.gzip_bytes),
            zstd="" if m.zstd_bytes is None else page.mb(m.zstd_bytes),
            parameters=f"{m.artifact.parameters or m.cost['parameters']:,}",
            macs=f"{m.cost['macs'] / 1e6:.1f}",
            flops=f"{m.cost['flops'] / 1e6:.1f}",
            benchmark_flops=f"{m.cost['flops_tf_benchmark'] / 1e6:.1f}",
            # Four decimals: 3 pixels of a million are not "100 %".
            equal_pixels=page.known(m.artifact.verification.get("pixels_equal"), "{:.4%}"),
            logit_difference=page.known(m.artifact.verification.get("logit_max_absolute"), "{:.2g}"),
            iou_difference=page.known(m.artifact.verification.get("iou"), "{:+.4f}"),
        )
        for m in {m.artifact.sha256: m for m in latest}.values()
    ]


def _ratio(m: Measurement, members: Sequence[Measurement]) -> str:
    """Against fp32: run in turns where bench did so, else (marked ~) of medians taken one after another."""
    if m.relative:
        return f"{m.relative.ratio:.2f}"
    fp32 = [
        other for other in members if other.artifact.recipe == "fp32" and other.artifact.format == "tflite"
    ]
    return f"~{m.latency.median_ms / fp32[0].latency.median_ms:.2f}" if fp32 else ""


def _plot(
    members: Sequence[Measurement], evaluated: Mapping[str, Evaluation]
) -> "tuple[Markup, Markup] | None":
    points = []
    for m in members:
        iou = page.metric(evaluated, m.artifact.sha256, "iou")
        if iou is None:
            continue
        figures = f"{page.ms(m.latency.median_ms)} ms, IoU {iou:.4f}, {page.mb(m.file_bytes)} MB"
        points.append(
            charts.Bubble(
                label=_short_name(m),
                x=m.latency.median_ms,
                y=iou,
                area=m.file_bytes,
                series=SERIES.get(m.artifact.recipe, OTHER_SERIES),
                note=f"{page.mb(m.file_bytes)} MB",
                title=f"{m.artifact.name}: {figures}",
            )
        )
    if not points:
        return None
    return page.both(
        charts.bubbles,
        points,
        height=420,
        narrow_height=360,
        x_label="latency, ms (measured)",
        y_label="IoU of the foot (measured)",
    )


def _short_name(m: Measurement) -> str:
    """Precision and format where the sidecar tells, which is enough within one network's table."""
    form = {"tflite": "TFLite", "onnx": "ONNX"}[m.artifact.format]
    return f"{form} {m.artifact.recipe}" if m.artifact.recipe else m.artifact.name


# --- pictures ------------------------------------------------------------------------------------


def _galleries(latest: Sequence[Measurement], evaluated: Mapping[str, Evaluation]) -> Iterator[Gallery]:
    columns = _columns(latest, evaluated)
    if not columns:
        return
    names = _picture_names(next(iter(columns.values())).path / "samples")
    rows = [_sample_row(name, columns) for name in names]
    kept = _within([row for row in rows if row[1]], PICTURE_BYTES // 2)
    yield Gallery(
        "Sample images",
        "Evenly spaced in the test set, neither chosen nor left out for how they look. "
        "Under each mask: the IoU on that image.",
        kept,
        len(rows) - len(kept),
    )
    best = evaluated.get(_best(latest, evaluated).artifact.sha256)
    if best is None:
        return
    worst = [_worst_row(name, best) for name in _picture_names(best.path / "worst")]
    worst.sort(key=lambda row: _image_iou(best, row[0]))
    kept = _within(worst, PICTURE_BYTES // 2)
    if kept:
        yield Gallery(
            "The worst images",
            f"Where {best.record['model']} fails most, worst first. In the last picture orange was taken "
            "for a foot and is none, blue was missed.",
            kept,
            len(worst) - len(kept),
        )


def _columns(latest: Sequence[Measurement], evaluated: Mapping[str, Evaluation]) -> dict[str, Evaluation]:
    """The models to show side by side, by heading: the fp32 and int8 .tflite, else the first two."""
    found: dict[str, Evaluation] = {}
    for m in sorted(latest, key=lambda m: (m.artifact.format != "tflite", m.artifact.recipe != "fp32")):
        evaluation = evaluated.get(m.artifact.sha256)
        if evaluation and (m.artifact.format, m.artifact.recipe) in (("tflite", "fp32"), ("tflite", "int8")):
            found.setdefault(m.artifact.recipe, evaluation)
    return found or {e.record["model"]: e for e in list(evaluated.values())[:2]}


def _picture_names(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix("_image.jpg") for path in folder.glob("*_image.jpg"))


def _sample_row(name: str, columns: Mapping[str, Evaluation]) -> tuple[str, tuple[Picture, ...]]:
    first = next(iter(columns.values()))
    pictures = [
        _picture(first.path / "samples" / f"{name}_image.jpg", "photo"),
        _picture(first.path / "samples" / f"{name}_truth.jpg", "ground truth"),
    ]
    for heading, evaluation in columns.items():
        path = evaluation.path / "samples" / f"{name}_prediction.jpg"
        if path.is_file():
            pictures.append(_picture(path, heading, _image_iou(evaluation, name)))
    return name, tuple(pictures)


def _worst_row(name: str, evaluation: Evaluation) -> tuple[str, tuple[Picture, ...]]:
    folder = evaluation.path / "worst"
    captions = {"image": "photo", "truth": "ground truth", "prediction": "prediction", "error": "errors"}
    found = {kind: folder / f"{name}_{kind}.jpg" for kind in captions}
    return name, tuple(
        _picture(path, captions[kind], _image_iou(evaluation, name) if kind == "prediction" else "")
        for kind, path in found.items()
        if path.is_file()
    )


def _picture(path: Path, caption: str, figure: str = "") -> Picture:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FootsegError(f"{path} cannot be read ({error}): evaluate the model again") from error
    return Picture("data:image/jpeg;base64," + base64.b64encode(data).decode(), caption, figure)


def _image_iou(evaluation: Evaluation, name: str) -> str:
    rows = evaluation.record.get("per_image", [])
    return next((f"{row['iou']:.3f}" for row in rows if row["name"] == name), "")


def _within(
    rows: Sequence[tuple[str, tuple[Picture, ...]]], budget: int
) -> tuple[tuple[str, tuple[Picture, ...]], ...]:
    """As many rows from the first on as fit into ``budget`` bytes of pictures."""
    kept = []
    for row in rows:
        budget -= sum(len(picture.source) for picture in row[1])
        if budget < 0:
            break
        kept.append(row)
    return tuple(kept)


# --- training and provenance ---------------------------------------------------------------------


def _training(run: Run) -> dict[str, Any]:
    """Curves of one run and the sentence over them."""
    history = _history(run.history)
    plots = []
    if len(history.get("epoch", ())) > 1:
        epochs = history["epoch"]
        losses = [
            charts.Curve(label, epochs, history[key], series)
            for label, key, series in (("train", "loss", 0), ("val", "val_loss", 1))
            if key in history
        ]
        if losses:
            plots.append(_both(losses, x_label="epoch", y_label="loss"))
        if "val_iou" in history:
            iou = history["val_iou"]
            best = max(range(len(iou)), key=lambda i: iou[i] if math.isfinite(iou[i]) else -1)
            line = charts.Curve("val", epochs, iou, 2)
            plots.append(
                _both(
                    [line],
                    x_label="epoch",
                    y_label="validation IoU (ring: the weights kept)",
                    y_range=(0, 1),
                    mark=(epochs[best], iou[best]),
                )
            )
    config = run.config.read_text(encoding="utf-8") if run.config.is_file() else ""
    best_iou = run.best.get("val_iou")
    text = (
        f"{run.network}, {run.parameters:,} parameters, {run.epochs_done} epochs in {_duration(run.seconds)}"
    )
    if best_iou is not None:
        text += f"; best validation IoU {best_iou:.4f} after epoch {run.best.get('epoch', 0):.0f}"
    machine = run.machine.get("cpu")
    return {
        "name": run.path.name,
        "text": text + (f" (measured on {machine})" if machine else "") + ".",
        "plots": plots,
        "config": config,
    }


def _both(lines: Sequence[charts.Curve], **options: Any) -> tuple[Markup, Markup]:
    return page.both(charts.curves, lines, width=500, height=300, narrow_height=250, **options)


def _history(path: Path) -> dict[str, list[float]]:
    """The columns of history.csv; empty where a run has not ended an epoch yet."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {key: [float(row[key]) for row in rows] for key in (rows[0] if rows else ())}
    except (ValueError, TypeError) as error:
        raise FootsegError(
            f"{path} is not a history of epochs ({error}): resume or repeat the run"
        ) from error


# --- words ---------------------------------------------------------------------------------------


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
