"""What each client makes of a file, against LiteRT on the processor and against the network it came from."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from footseg import metrics, runtime
from footseg.data.images import IGNORE
from footseg.export.clients import install
from footseg.export.clients.client import Answer, Client, ClientError, ask
from footseg.export.verify import Sample

# The least share of pixels that a client must give the same class as LiteRT does on the processor: integers
# are rounded otherwise on other processors, and of a thousand pixels one may lie on the edge.
EQUAL = 0.999
WORST = 3


@dataclass(frozen=True)
class Row:
    """What one client made of one file.

    ``equal_cpu`` and ``equal_network`` are shares of pixels of the class that the file has on LiteRT's CPU
    and that the network has; logit differences are against the CPU's, in standard deviations of them, None
    where the client gives masks. ``iou`` and ``boundary_f`` are the client's minus the network's.
    ``refused`` are operators that an accelerator does not take, with its reasons; ``fallen`` how many of its
    operators ran on the CPU, None where the client does not say. ``worst`` names images with the share of
    pixels that differ from the CPU's. With ``error`` there are no figures: why the client could not run the
    file, or, with ``absent``, how it is installed.
    """

    file: str
    client: str
    title: str
    version: str = ""
    images: int = 0
    equal_cpu: float | None = None
    equal_network: float | None = None
    logit_max: float | None = None
    logit_mean: float | None = None
    iou: float | None = None
    boundary_f: float | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    fallen: int | None = None
    worst: tuple[tuple[str, float], ...] = ()
    error: str = ""
    absent: bool = False

    @property
    def ok(self) -> bool:
        """Whether the client may be given the file."""
        return not self.error and self.equal_cpu is not None and self.equal_cpu >= EQUAL and not self.fallen

    def to_json(self) -> dict[str, Any]:
        """Its fields, and whether it passed."""
        return {**dataclasses.asdict(self), "ok": self.ok}


@dataclass(frozen=True)
class Subject:
    """A file to be looked at: the images, LiteRT's logits on the processor, the network's (or the same)."""

    path: Path
    sample: Sample
    cpu: np.ndarray
    network: np.ndarray


def subject(path: Path, sample: Sample, network: np.ndarray | None, threads: int = 1) -> Subject:
    """Run a file here; ``network`` are the logits of what it was made from, None where that is not at hand.

    Raises:
        FootsegError: the file cannot be run, or does not give masks.
    """
    cpu = runtime.load(path, threads).logits(sample.images)
    return Subject(path, sample, cpu, cpu if network is None else network)


def compare(
    subject: Subject, clients: Sequence[Client], say: Callable[[str], None] = lambda line: None
) -> list[tuple[Row, np.ndarray | None]]:
    """A row for each client that takes this kind of file, with the masks uint8 (N, H, W) that it gave."""
    return [_one(subject, client, say) for client in clients if subject.path.suffix in client.suffixes]


def _one(subject: Subject, client: Client, say: Callable[[str], None]) -> tuple[Row, np.ndarray | None]:
    row = Row(subject.path.name, client.name, client.title)
    if lacking := install.missing(client):
        return dataclasses.replace(row, error=lacking, absent=True), None
    say(f"{subject.path.name}: {client.title}")
    try:
        answer = ask(
            client, subject.path, subject.sample.images,
            home=install.home(), shape=(1, *subject.cpu.shape[1:]),
        )  # fmt: skip
        return _judged(row, subject, answer, client)
    except ClientError as error:
        return dataclasses.replace(row, error=str(error)), None


def _judged(row: Row, subject: Subject, answer: Answer, client: Client) -> tuple[Row, np.ndarray]:
    """The figures of an answer.

    Raises:
        ClientError: it is not of the shape that was asked for.
    """
    classes = subject.cpu.shape[-1]
    expected = subject.cpu.shape[:-1] if client.masks else subject.cpu.shape
    if answer.values.shape != expected:
        raise ClientError(f"it gave {answer.values.shape}, not {expected}")
    masks = answer.values if client.masks else _mask(answer.values, classes)
    truth, names = subject.sample.masks, subject.sample.names
    differ = ((masks != _mask(subject.cpu, classes)) & (truth != IGNORE)).mean(axis=(1, 2))
    order = np.argsort(-differ, kind="stable")[:WORST]
    logits: dict[str, float] = {}
    if not client.masks:
        distance = np.abs(answer.values - subject.cpu) / (float(subject.cpu.std()) or 1.0)
        logits = {"max": float(distance.max()), "mean": float(distance.mean())}
    before = _mask(subject.network, classes)
    return (
        dataclasses.replace(
            row,
            version=answer.version,
            images=len(names),
            equal_cpu=_equal(masks, _mask(subject.cpu, classes), truth),
            equal_network=_equal(masks, before, truth),
            iou=_iou(truth, masks, classes) - _iou(truth, before, classes),
            boundary_f=_boundary_f(truth, masks) - _boundary_f(truth, before),
            refused=answer.refused,
            fallen=answer.fallen,
            worst=tuple((names[i], float(differ[i])) for i in order if differ[i]),
            logit_max=logits.get("max"),
            logit_mean=logits.get("mean"),
        ),
        masks,
    )


def _mask(logits: np.ndarray, classes: int) -> np.ndarray:
    """Classes uint8 (N, H, W); a pixel without a number has none, and is told apart from all of them."""
    finite = np.isfinite(logits).all(axis=-1)
    return np.where(finite, logits.argmax(axis=-1), classes).astype(np.uint8)


def _equal(a: np.ndarray, b: np.ndarray, truth: np.ndarray) -> float:
    valid = truth != IGNORE
    return float(((a == b) & valid).sum() / max(valid.sum(), 1))


def _iou(truth: np.ndarray, masks: np.ndarray, classes: int) -> float:
    masks = np.where(masks < classes, masks, 0).astype(np.uint8)
    return metrics.scores(metrics.confusion(truth, masks, classes))["iou"]


def _boundary_f(truth: np.ndarray, masks: np.ndarray) -> float:
    tolerance = metrics.boundary_tolerance(*truth.shape[1:])
    return float(np.mean([metrics.boundary_f(t, m, tolerance) for t, m in zip(truth, masks, strict=True)]))
