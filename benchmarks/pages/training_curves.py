"""A training run in the report: its curves and the sentence over them."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from footseg.benchmarks.pages import charts, page
from footseg.errors import FootsegError
from footseg.run import Run, duration


def training(run: Run) -> dict[str, Any]:
    """Name, sentence, plots and configuration of one run.

    Raises:
        FootsegError: its history cannot be read.
    """
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


def _both(lines: Sequence[charts.Curve], **options: Any) -> tuple[Markup, Markup]:
    return page.both(charts.curves, lines, width=500, heights=(300, 250), **options)


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
