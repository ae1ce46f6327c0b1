"""A search's folder with made-up trials of all kinds: what its tables and its page are tested on."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from footseg.search import records
from footseg.search.records import SearchSettings, Trial
from footseg.training import logbook

EPOCHS = 20
# Learning rate and dropout as in the thesis's space, its three losses, and how wide the network is.
SPACE: dict[str, Any] = {
    "learning_rate": {"log_uniform": [1e-5, 1e-1]},
    "loss": {
        "choice": [
            {"value": ["ce"]},
            {"value": ["iou"]},
            {
                "value": ["ce", "distill:{weight}"],
                "temperature": {"log_uniform": [1, 100]},
                "weight": {"uniform": [0, 10]},
            },
        ]
    },
    "weight_decay": {"uniform": [0, 0.5]},
    "batch": {"choice": [8, 16, 32]},
}
VALUES: dict[str, Any] = {
    "network": "fast_linknet", "data": "data/feet", "epochs": EPOCHS, "teacher": "runs/teacher",
}  # fmt: skip
LOSSES = (["ce"], ["iou"], ["ce", "distill"])


def a_search(folder: Path, count: int = 60, *, epochs: int = EPOCHS, seed: int = 0, **changes: Any) -> Path:
    """Write a search of ``count`` trials: about half of them finished, the others of every kind."""
    settings: dict[str, Any] = {
        "space": SPACE, "values": {**VALUES, "epochs": epochs}, "against": ("size", "arm"),
        "limits": ("size<=400kB",), "stop": "median", "data_fingerprint": "feet:0123456789abcdef",
    }  # fmt: skip
    records.save_settings(folder, SearchSettings(**(settings | changes)))
    rng = np.random.default_rng(seed)
    for number in range(count):
        records.save_trial(folder, a_trial(folder, number, rng, epochs))
    return folder


def a_trial(folder: Path, number: int, rng: np.random.Generator, epochs: int) -> Trial:
    """One trial, and the history of its run where it was trained."""
    loss = int(rng.integers(3))
    point: dict[str, float | int] = {
        "learning_rate": float(10 ** rng.uniform(-5, -1)),
        "loss": loss,
        "weight_decay": float(rng.uniform(0, 0.5)),
        "batch": int(rng.integers(3)),
    }
    values: dict[str, Any] = {
        "learning_rate": point["learning_rate"], "loss": LOSSES[loss], "weight_decay": point["weight_decay"],
        "batch": (8, 16, 32)[int(point["batch"])],
    }  # fmt: skip
    if loss == 2:
        point["temperature@loss=2"] = values["temperature"] = float(10 ** rng.uniform(0, 2))
        point["weight@loss=2"] = float(rng.uniform(0, 10))
        values["loss"] = ["ce", f"distill:{point['weight@loss=2']}"]
    kilobytes = float(rng.uniform(80, 450))
    costs = {"size": round(1e3 * kilobytes), "arm": round(1e5 * kilobytes * rng.uniform(0.8, 1.2))}
    base: dict[str, Any] = {"costs": costs, "worker": "0", "created": "2025-01-01T00:00:00+00:00"}
    if kilobytes > 400:
        reason = f"size {kilobytes:.1f} kB is over size<=400kB"
        return Trial(number, point, values, "refused", reason, **base, seconds=0.4)
    away = abs(math.log10(point["learning_rate"]) + 2.6)
    top = (
        0.78 - 0.09 * away**1.6 + 0.04 * (loss == 1) + 0.05 * math.log10(kilobytes / 80) + rng.normal(0, 0.01)
    )
    if point["learning_rate"] > 0.05:
        done = {"epochs_done": 2, "seconds": 9.0}
        return Trial(
            number, point, values, "failed", "the loss is NaN in epoch 3: it diverged", **base, **done
        )
    if number % 23 == 11:
        return Trial(number, point, values, "failed", "signal 9: perhaps out of memory", **base, seconds=3.0)
    stopped = top < 0.68 and number > 4
    status = "running" if number % 29 == 28 else "stopped" if stopped else "finished"
    ran = max(1, epochs // 4) if stopped else epochs // 2 if status == "running" else epochs
    curve = [
        max(0.0, top * (1 - math.exp(-(epoch + 1) / (0.15 * epochs))) + rng.normal(0, 0.008))
        for epoch in range(ran)
    ]
    _history(records.run_folder(folder, number), curve)
    why = f"epoch {ran}: {max(curve):.4f} is below the median of 0.6712" if stopped else ""
    scores = {"iou": round(max(curve), 4)} if status != "running" else {}
    return Trial(number, point, values, status, why, scores, epochs_done=ran, seconds=4.5 * ran, **base)


def _history(run: Path, curve: list[float]) -> None:
    run.mkdir(parents=True)
    others = dict.fromkeys(logbook.HISTORY, 1.0)
    history = [{**others, "epoch": epoch, "val_iou": iou} for epoch, iou in enumerate(curve, start=1)]
    (run / "history.csv").write_text(logbook.history_csv(history), encoding="utf-8")
