"""What the steps left, read into one result a network."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from footseg import files, networks
from footseg import run as runs
from footseg.benchmarks.cost import cost_of_keras
from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.results_file import read_all
from footseg.data.folder import images_by_name, open_data
from footseg.errors import FootsegError
from footseg.evaluate import SavedEvaluation
from footseg.reproduce.settings import FOLDERS
from footseg.reproduce.steps import PRECISIONS, NetworkRow, Reproduction
from footseg.steps import records

# Tables 4.1 and 4.2 are of this input size.
THESIS_SIZE = 256
MEASURES = ("test_accuracy", "test_iou", "real_accuracy", "real_iou")


@dataclass(frozen=True)
class ThesisFigures:
    """The seven figures that the thesis gives for a network; None where there is none.

    ``flops`` in billions by the thesis's rule, ``latency_ms`` (phone or host: whoever reads it must know),
    ``size_mb`` in 10^6 bytes; accuracy is that of pixels, IoU that of the foot, both in [0, 1].
    """

    flops: float | None = None
    latency_ms: float | None = None
    size_mb: float | None = None
    test_accuracy: float | None = None
    test_iou: float | None = None
    real_accuracy: float | None = None
    real_iou: float | None = None


# Demborg 2018, Tables 4.1 (ZTE Axon 7) and 4.2.
THESIS = {
    "emilseg": ThesisFigures(55.37, 4439, 85, 0.9912, 0.9860, 0.9740, 0.9814),
    "enet": ThesisFigures(10.38, 1045, 15, 0.9774, 0.9116, 0.9738, 0.9117),
    "linknet": ThesisFigures(1.75, 234, 45, 0.9797, 0.9141, 0.9724, 0.9145),
    "mobileseg": ThesisFigures(2.68, 555, 18, 0.9834, 0.9146, 0.9744, 0.9144),
    "fast_linknet": ThesisFigures(0.287, 73, 7.2, 0.9797, 0.9153, 0.9707, 0.9148),
}


@dataclass(frozen=True)
class NetworkResult:
    """One network: its figures as the thesis gives them, and what the thesis has no figure for.

    ``cost`` are parameters, MACs and FLOPs at 256x256 of the Keras network (computed); ``files`` the exported
    files by precision, each with bytes and latency or why it was refused; ``accuracy`` all scores by data.
    """

    key: str
    title: str
    network: str
    options: Mapping[str, Any]
    figures: ThesisFigures
    cost: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    accuracy: Mapping[str, Mapping[str, float]]
    training: Mapping[str, Any]


def gather(made: Reproduction) -> list[NetworkResult]:
    """The results of all networks, all of whose steps are done."""
    measured = {line.artifact.sha256: line for line in read_all(made.latencies)}
    return [_result(made, row, measured) for row in made.rows]


def made_on(made: Reproduction) -> dict[str, Any]:
    """What the figures were made of and on: settings, data, machines, versions, time."""
    trained = [runs.load(made.run(row)) for row in made.rows]
    bench, data, done = read_all(made.latencies)[0], open_data(made.data), records(made.out)
    real = SavedEvaluation.load(made.evaluation(made.rows[0], "real"))
    return {
        "settings": asdict(made.settings) | {name: _short(getattr(made.settings, name)) for name in FOLDERS},
        "images": {split: len(images_by_name(data.path / split / "images")) for split in data.splits},
        "real_images": real.images,
        "data_fingerprint": trained[0].data_fingerprint,
        "real_fingerprint": real.data_fingerprint,
        "trained_on": _distinct([run.machine | {"backend": run.backend} for run in trained]),
        "latency_on": {**bench.device, "threads": bench.threads, "runtime": bench.runtime},
        "versions": _distinct([run.versions for run in trained]),
        "minutes": round(sum(record.seconds for record in done.values()) / 60, 1),
        "finished": max(record.created for record in done.values()),
    }


def _short(path: str) -> str:
    """The last two names of a path: what it is without where it lies."""
    return "/".join(Path(path).parts[-2:])


def _distinct(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(item) for number, item in enumerate(found) if item not in found[:number]]


def _result(made: Reproduction, row: NetworkRow, measured: Mapping[str, Measurement]) -> NetworkResult:
    shape = (THESIS_SIZE, THESIS_SIZE, 3)
    cost = cost_of_keras(networks.build(row.network, shape, 2, **row.options)).summary()
    exported = {p: _file(made, row, p, measured) for p in PRECISIONS}
    accuracy = {
        what: _scores(folder)
        for what in ("composited", "real", "real_int8")
        if (folder := made.evaluation(row, what)).is_dir()
    }
    figures = ThesisFigures(
        flops=cost["flops_tf_benchmark"] / 1e9,
        latency_ms=exported["fp32"].get("latency_ms"),
        size_mb=cost["parameters"] * 4 / 1e6,
        test_accuracy=accuracy["composited"]["pixel_accuracy"],
        test_iou=accuracy["composited"]["iou"],
        real_accuracy=accuracy["real"]["pixel_accuracy"],
        real_iou=accuracy["real"]["iou"],
    )
    network, options = row.network, dict(row.options)
    training = _training(made.run(row))
    return NetworkResult(row.key, row.title, network, options, figures, cost, exported, accuracy, training)


def _file(
    made: Reproduction, row: NetworkRow, precision: str, measured: Mapping[str, Measurement]
) -> dict[str, Any]:
    path = made.artifact(row, precision)
    if not path.is_file():
        return {"refused": records(made.out)[f"export_{row.key}_{precision}"].refused}
    line = measured.get(files.sha256(path))
    if line is None or line.latency is None:
        raise FootsegError(f"{made.latencies} holds no latency of {path}: remove it and go on")
    return {
        "bytes": line.file_bytes,
        "latency_ms": line.latency.median_ms,
        "spread": line.latency.spread,
        "noisy": line.latency.noisy,
        # Over the first file that was measured, the two run in turns; absent where there was one only.
        "ratio": line.relative.ratio if line.relative else 1.0,
    }


def _scores(folder: Path) -> dict[str, float]:
    evaluation = SavedEvaluation.load(folder)
    return {name: evaluation.score(name) for name in ("pixel_accuracy", "iou", "iou_per_image", "boundary_f")}


def _training(folder: Path) -> dict[str, Any]:
    run = runs.load(folder)
    rates = runs.read_history(run.history, "images_per_second").get("images_per_second", [])
    return {
        "epochs": run.epochs_done,
        "minutes": round(run.seconds / 60, 1),
        "images_per_second": round(max(rates, default=0.0), 1),
        "best_epoch": int(run.score("epoch")),
        "val_iou": run.score("val_iou"),
    }
