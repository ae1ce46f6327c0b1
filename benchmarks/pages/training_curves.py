"""A training run in the report: its curves and the sentence over them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from footseg.benchmarks.pages import charts, page
from footseg.benchmarks.pages.charts import Curve
from footseg.benchmarks.pages.page import Responsive
from footseg.benchmarks.pages.svg import Scale
from footseg.run import Run, duration, read_history


def training(run: Run) -> dict[str, Any]:
    """Name, sentence, plots and configuration of one run.

    Raises:
        FootsegError: its history cannot be read.
    """
    history = read_history(run.history)
    plots = []
    if len(history.get("epoch", ())) > 1:
        losses = [
            _curve(history, key, label, series)
            for label, key, series in (("train", "loss", 0), ("val", "val_loss", 1))
            if key in history
        ]
        if losses:
            highest = max(filter(math.isfinite, (loss for curve in losses for loss in curve.y)), default=0.0)
            plots.append(_plot(losses, Scale("loss", 0, 1.05 * highest or 1)))
        if "val_iou" in history:
            iou = history["val_iou"]
            best = max(range(len(iou)), key=lambda i: iou[i] if math.isfinite(iou[i]) else -1)
            ring = (history["epoch"][best], iou[best])
            line = _curve(history, "val_iou", "val", 2)
            plots.append(_plot([line], Scale("validation IoU (ring: the weights kept)"), ring=ring))
    config = run.config.read_text(encoding="utf-8", errors="replace") if run.config.is_file() else ""
    best_iou = run.best.get("val_iou")
    text = (
        f"{run.network}, {run.parameters:,} parameters, {run.epochs_done} epochs in {duration(run.seconds)}"
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


def _curve(history: Mapping[str, list[float]], key: str, label: str, series: int) -> Curve:
    """Over the epochs, with the last value that is a number in its label."""
    last = next(filter(math.isfinite, reversed(history[key])), math.nan)
    return Curve(history["epoch"], history[key], f"series-{series}", f"{label} {last:.3f}")


def _plot(lines: Sequence[Curve], y: Scale, **options: Any) -> Responsive:
    epochs = lines[0].x
    x = Scale("epoch", min(epochs), max(epochs), whole=True)
    return page.both(charts.curves, lines, x, y, width=500, heights=(300, 250), **options)
