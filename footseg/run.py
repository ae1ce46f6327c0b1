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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from footseg import files
from footseg.errors import FootsegError

RECORD = "run.json"
UNFINISHED = ("running", "interrupted")


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
    parents: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each model that took part: "start_from", "teacher"."""
    compression: tuple[dict[str, Any], ...] = ()
    """How the network was compressed, oldest step first: method, settings, layers, left_out, parent."""
    epochs_done: int = 0
    best: dict[str, float] = field(default_factory=dict)
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
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def history(self) -> Path:
        """The epochs' figures."""
        return self.path / "history.csv"

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished run goes on from."""
        return self.path / "checkpoint.npz"

    def save(self) -> None:
        """Write ``run.json`` atomically."""
        files.write_json(self.path / RECORD, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """What ``run.json`` holds; ``from_json`` reads it."""
        return {**dataclasses.asdict(self), "path": self.path.name}


def exists(path: Path) -> bool:
    """Whether ``path`` is the folder of a run."""
    return (path / RECORD).is_file()


def load(path: Path) -> Run:
    """Read a run's record.

    Raises:
        FootsegError: no such folder, or it is not a run.
    """
    if not path.is_dir():
        raise FootsegError(f"no such folder: {path}")
    if not exists(path):
        raise FootsegError(f"{path} is not a run (it has no {RECORD}): make one with footseg train")
    return from_json(path, files.read_json(path / RECORD))


def from_json(path: Path, record: Mapping[str, Any]) -> Run:
    """The run at ``path`` of which ``record`` is the ``run.json``; keys of other versions are left out."""
    known = {f.name for f in dataclasses.fields(Run)}
    fields = {key: value for key, value in record.items() if key in known}
    fields |= {
        "path": path,
        "input_shape": tuple(record["input_shape"]),
        "classes": tuple(record["classes"]),
        "colours": tuple(tuple(colour) for colour in record["colours"]),
        "compression": tuple(record.get("compression", ())),
    }
    return Run(**fields)


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
