"""A run: the folder of one training run, and the only thing that export and evaluate need of it.

RUN/model.keras      best weights by validation IoU, float32, inference-ready
    config.toml      the resolved configuration
    run.json         Run below: what it is and what made it
    history.csv      one row an epoch
    samples/         validation masks as training went on
    tensorboard/     event files
    checkpoint.npz   everything needed to go on; removed when the run has finished
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from footseg import files, records
from footseg.errors import FootsegError

RECORD, HISTORY = "run.json", "history.csv"
# Of networks, their own and others', as modules and files are named.
NETWORK_NAME = re.compile(r"\w{1,100}", re.ASCII)
# The largest number that training computes with.
FLOAT32 = 3.5e38
UNFINISHED = ("running", "interrupted")


class Best(TypedDict, total=False):
    """The figures of the epoch with the highest validation IoU; none before the first that counts."""

    epoch: float
    val_iou: float
    val_pixel_accuracy: float
    val_loss: records.AnyNumber


class Settings(TypedDict, total=False):
    """Those settings of a method that say in a word what it did, among its others."""

    sparsity: float
    block: str
    clusters: int
    share: float


class Compression(TypedDict):
    """One step of ``footseg compress``: with what it was done, to which model, and what came of it.

    ``parent`` is the SHA-256 of that model; ``val_iou_after`` is there once the step is done. ``layers`` and
    ``left_out`` are by the layer's name: what was reached, and why it was left as it was. ``data_before`` and
    ``data_after`` are the data sets, with fingerprints, on whose validation split the IoUs were found.
    """

    method: str
    settings: NotRequired[Settings]
    parent: str
    val_iou_before: float
    val_iou_after: NotRequired[float]
    data_before: NotRequired[str]
    data_after: NotRequired[str]
    macs_before: NotRequired[int]
    macs_after: NotRequired[int]
    layers: NotRequired[dict[str, dict[str, Any]]]
    left_out: NotRequired[dict[str, str]]


def iou_words(step: Compression, arrow: str = "->") -> str:
    """Validation IoU before and after a step, in words; of two data sets it is no comparison."""
    before, after = step["val_iou_before"], step.get("val_iou_after")
    if after is None:
        return ""
    then, now = step.get("data_before", ""), step.get("data_after", "")
    if then == now:
        return f"validation IoU {before:.4f} {arrow} {after:.4f}"
    then, now = (data or "data not known" for data in (then, now))
    told = f"validation IoU {before:.4f} on {then}, {after:.4f} on {now}"
    return f"{told}: other images, so the two cannot be compared"


@dataclass(frozen=True)
class Run:
    """What ``run.json`` says. ``status`` is running, interrupted or finished."""

    path: Path
    status: str
    network: str
    network_options: dict[str, Any]
    input_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    parameters: int
    data: str
    data_fingerprint: str
    seed: int
    validation_fingerprint: str = ""
    """Of the images that its epochs were scored on; empty in runs of an earlier footseg."""
    flip_pairs: tuple[tuple[str, str], ...] = ()
    """The classes that were swapped wherever an image was mirrored."""
    parents: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each model that took part: "start_from", "teacher"."""
    compression: tuple[Compression, ...] = ()
    """How the network was compressed, oldest step first."""
    epochs_done: int = 0
    best: Best = field(default_factory=Best)
    seconds: float = 0.0
    command: str = ""
    backend: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    created: str = ""

    @property
    def model(self) -> Path:
        """The best weights."""
        return self.path / "model.keras"

    @property
    def data_words(self) -> str:
        """The data set by its folder's name and its fingerprint."""
        return f"{Path(self.data).name} {self.data_fingerprint}"

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def history(self) -> Path:
        """The epochs' figures."""
        return self.path / HISTORY

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished run goes on from."""
        return self.path / "checkpoint.npz"

    def score(self, name: str) -> float:
        """A figure of ``best``.

        Raises:
            FootsegError: the record has none.
        """
        what = f"{self.path / RECORD} is no record of a trained run"
        return records.figure(self.best, "best", name, what, "train it anew")

    def save(self) -> None:
        """Write ``run.json`` atomically."""
        files.write_json(self.path / RECORD, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """What ``run.json`` holds."""
        return {**dataclasses.asdict(self), "path": self.path.name}


def exists(path: Path) -> bool:
    """Whether ``path`` is the folder of a run."""
    return (path / RECORD).is_file()


def load(path: Path) -> Run:
    """Read a run's record.

    Raises:
        FootsegError: no such folder, it is not a run, or its record is damaged.
    """
    if not path.is_dir():
        raise FootsegError(f"no such folder: {path}")
    if not exists(path):
        raise FootsegError(f"{path} is not a run (it has no {RECORD}): make one with footseg train")
    what, mend = "record of a run", "train it anew"
    found = records.read(Run, path / RECORD, what, mend, path=path)
    if not NETWORK_NAME.fullmatch(found.network):  # files are named after it
        raise FootsegError(
            f"{path / RECORD} is no {what} (its field 'network' is {found.network!r:.60}, expected a name of "
            f"letters, digits and _): {mend}"
        )
    return found


def read_history(path: Path, *needed: str) -> dict[str, list[float]]:
    """The columns of a ``history.csv``, by name; none before the first epoch has ended.

    Raises:
        FootsegError: a column of ``needed`` is not there, or a figure is no number (it is named).
    """
    if not path.is_file():
        return {}
    return records.checked(
        lambda: _columns(path.read_text(encoding="utf-8").splitlines(), needed),
        f"{path} is no history of epochs",
        "resume or repeat the run",
    )


def _columns(lines: Sequence[str], needed: Sequence[str]) -> dict[str, list[float]]:
    heads, *rows = [line.split(",") for line in lines] or [[]]
    for name in needed:
        if name not in heads:
            raise ValueError(f"it has no column '{name}'")
    columns: dict[str, list[float]] = {name: [] for name in heads}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(heads):
            raise ValueError(f"its line {number} has {len(row)} figures, expected {len(heads)}")
        for name, text in zip(heads, row, strict=True):
            value = _figure(text, f"its '{name}' in line {number}")
            if name == "epoch" and not math.isfinite(value):
                raise ValueError(f"its 'epoch' in line {number} is {text!r:.40}, which is none")
            columns[name].append(value)
    return columns


def _figure(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{what} is {text!r:.40}, expected a number") from None
    if FLOAT32 < abs(value) < math.inf:  # a training that went wrong has infinity and NaN
        raise ValueError(f"{what} is {text!r:.40}, which no figure of a training can be")
    return value


def load_trained(path: Path) -> Run:
    """Read a run that has weights to use.

    Raises:
        FootsegError: as ``load``, or training has not yet written ``model.keras``.
    """
    run = load(path)
    if not run.model.is_file():
        raise FootsegError(
            f"{path} has no model.keras yet: finish it with footseg train --resume --out {path}"
        )
    return run


def model_file(path: Path) -> Path:
    """The best weights of a run's folder; the path of a file is itself.

    Raises:
        FootsegError: as ``load_trained``, or no such file.
    """
    if path.is_dir():
        return load_trained(path).model
    if not path.is_file():
        raise FootsegError(f"no such file: {path}")
    return path


def duration(seconds: float) -> str:
    """45 s, 12 min 05 s, 3 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
