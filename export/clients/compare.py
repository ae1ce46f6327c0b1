"""What each client makes of a file, against LiteRT on the processor and against the network it came from."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from footseg import paired
from footseg.data.images import IGNORE
from footseg.export import half, verify
from footseg.export.clients import install
from footseg.export.clients.ask import Answer, ClientError, ask
from footseg.export.clients.known import Client
from footseg.export.precisions import PRECISIONS, Tolerance
from footseg.export.verify import Sample
from footseg.graphs.ends import Ends
from footseg.graphs.tflite import read
from footseg.terminal import percent
from footseg.verifications import Row, Shown

# The least share of pixels that must have the class that the file has on the processor. In float another
# order of sums turns none or one of a million (seen in nine runtimes), a ReLU that is dropped 0.03 of all.
# Integers are rounded otherwise by other kernels: LiteRT's own built-in ones in the place of XNNPACK turn
# 0.0009 and 0.0013 of the pixels of two int8 FastLinkNets (8 photographs), MediaPipe, OpenVINO and GPUs 0 to
# 0.0014, and all of them stay as near to the network as XNNPACK; a GPU that computes wrongly turns 0.07.
EQUAL_FLOAT, EQUAL = 0.9999, 0.998
# Below it the table says why.
NOTED = 0.999
ROUNDING = "other kernels round integers otherwise, and turn pixels on the edge between two classes"
FLOATS = ("fp32", "fp16")
# What a file of which no sidecar says its precision is held to, and a simulation of half precision.
UNKNOWN, HALF = "int8", "fp16"
# So many operators are named of those that a client reads otherwise.
NAMED = 3


@dataclass(frozen=True)
class Subject:
    """A file to be looked at: the images, and logits (N, H, W, classes) of them here and of the reference.

    ``ends`` says what it gives, in so many ``channels``; ``recipe`` is its precision, "" where nobody says;
    ``reference`` says what the reference is, ``data`` what the data set is called.
    """

    path: Path
    ends: Ends
    channels: int
    recipe: str
    data: str
    sample: Sample
    cpu: np.ndarray
    expected: np.ndarray
    reference: str


@dataclass(frozen=True)
class Compared:
    """A row, and with figures its worst images."""

    row: Row
    shown: tuple[Shown, ...] = ()


def compare(
    subject: Subject, clients: Sequence[Client], say: Callable[[str], None] = lambda line: None
) -> Iterator[Compared]:
    """A row for each of the clients that reads this kind of file, as soon as it is there.

    ``say`` gets a line of each.
    """
    for client in clients:
        if subject.path.suffix not in client.suffixes:
            continue
        found = _one(subject, client)
        row = found.row
        say(f"{subject.path.name}: {row.title}: {row.status}{row.why and f', {row.why}'}")
        yield found


def _one(subject: Subject, client: Client) -> Compared:
    row, path, images = (
        Row(client.name, client.title, simulated=client.half),
        subject.path,
        subject.sample.images,
    )
    if lacking := install.missing(client):
        return Compared(dataclasses.replace(row, error=str(lacking), absent=True))
    if client.masks and subject.channels == 1:
        why = "of one channel it makes masks with 0 for the foreground: give it logits or probabilities"
        return Compared(dataclasses.replace(row, note=why, unconcerned=True))
    with tempfile.TemporaryDirectory() as folder:
        if client.half:
            data = half.half(path.read_bytes())
            if data is None:
                why = "it computes in integers, which half precision does not touch"
                return Compared(dataclasses.replace(row, note=why, unconcerned=True))
            path = Path(folder) / path.name
            path.write_bytes(data)
        try:
            answer = ask(client, path, images, home=install.home())
            if client.reads:
                return Compared(_read(row, path, answer))
            return _judged(row, subject, answer, client)
        except ClientError as error:
            fell = {name: getattr(error, name) for name in ("refused", "accelerated", "fallen")}
            return Compared(dataclasses.replace(row, error=str(error), **fell))


def _read(row: Row, path: Path, answer: Answer) -> Row:
    """What a client that runs nothing made of a file: the operators that it found, against those in it."""
    found, there = list(map(_plain, answer.values)), [_plain(op.op) for op in read(path).operators]
    row = dataclasses.replace(row, version=answer.version, operators=len(found))
    other = [f"{a} is {b} to it" for a, b in zip(there, found, strict=False) if a != b]
    if len(found) != len(there):
        other.insert(0, f"it found {len(found)} of {len(there)} operators")
    return dataclasses.replace(row, failures=tuple(other[:NAMED]))


def _plain(kind: str) -> str:
    """A kind of operator as no two programs write it otherwise: "Conv2D" and "CONV_2D" are conv2d."""
    return str(kind).replace("_", "").lower()


def _judged(row: Row, subject: Subject, answer: Answer, client: Client) -> Compared:
    """The figures of an answer.

    Raises:
        ClientError: it is of another shape than the file's output, or has no numbers or unknown classes.
    """
    logits, on = _logits(answer.values, subject, client.masks), subject.sample
    mask, here, before = (values.argmax(axis=-1) for values in (logits, subject.cpu, subject.expected))
    valid = on.masks != IGNORE
    found = verify.compare(subject.expected, logits, on)
    # Over all clients of a file the same reference, so differences are of the same images.
    limits = _tolerance(subject.recipe, client)
    row = dataclasses.replace(
        row,
        version=answer.version,
        images=found.images,
        equal_cpu=float(((mask == here) & valid).sum() / max(valid.sum(), 1)),
        equal_reference=found.pixels_equal,
        iou=paired.decide(found.iou, limits.iou),
        boundary_f=paired.decide(found.boundary_f, limits.boundary_f),
        worst={name: share for name, share in found.worst if share},
        refused=answer.refused,
        accelerated=answer.accelerated,
        fallen=answer.fallen,
    )
    if not client.masks and subject.ends.output.name != "mask":
        distance = np.abs(logits - subject.cpu) / (float(subject.cpu.std()) or 1.0)
        row = dataclasses.replace(row, logit_max=float(distance.max()), logit_mean=float(distance.mean()))
    row = dataclasses.replace(row, failures=tuple(_failures(row, subject.recipe, client, limits)))
    if row.ok and subject.recipe not in FLOATS and (row.equal_cpu or 0) < NOTED:
        row = dataclasses.replace(row, note=ROUNDING)
    numbers = [on.names.index(name) for name in row.worst]
    shown = [Shown(on.names[i], on.images[i], on.masks[i], before[i], mask[i]) for i in numbers]
    return Compared(row, tuple(shown))


def _logits(values: np.ndarray, subject: Subject, masks: bool) -> np.ndarray:
    """What a client gave, as logits (N, H, W, classes); masks say 1 of their class and 0 of the others.

    Raises:
        ClientError: it cannot be read so.
    """
    *images, classes = subject.cpu.shape
    expected = (*images, *(() if masks else (subject.channels,)))
    # A map of classes may come without a channel of its own.
    if values.shape not in (expected, tuple(images) if subject.channels == 1 else expected):
        raise ClientError(f"it gave {values.shape}, not {expected}")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
        raise ClientError(f"it gave NaN or infinity on {wrong} of {len(values)} images")
    if not masks:
        return subject.ends.logits(values.reshape(expected).astype(np.float32))
    if values.max() >= classes:
        raise ClientError(f"it gave class {values.max()} where there are {classes}")
    return np.eye(classes, dtype=np.float32)[values]


def _tolerance(recipe: str, client: Client) -> Tolerance:
    """The limits that a client is held to against the reference: those of the export check."""
    if client.half and recipe == "fp32":
        recipe = HALF
    return PRECISIONS[recipe if recipe in PRECISIONS else UNKNOWN].tolerance


def _failures(row: Row, recipe: str, client: Client, limits: Tolerance) -> Iterator[str]:
    """Which limits a row does not hold, in words."""
    least = EQUAL_FLOAT if recipe in FLOATS and not client.half else EQUAL
    if row.equal_cpu is not None and row.equal_cpu < least:
        yield f"{percent(row.equal_cpu)} of pixels as on the CPU (at least {least:.2%})"
    if row.equal_reference is not None and 1 - row.equal_reference > limits.pixels_differ:
        least = 1 - limits.pixels_differ
        yield f"{percent(row.equal_reference)} of pixels as the reference (at least {least:.2%})"
    for figure, decision in (("iou", row.iou), ("boundary_f", row.boundary_f)):
        if decision is not None and decision.verdict == paired.BEYOND:
            yield f"{paired.FIGURES[figure]} {decision.difference:+.4f} (limit {decision.limit:g})"
