"""What other people's runtimes made of files: the page of ``footseg verify --out``, and the report's part."""

import base64
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from footseg import files, records
from footseg.benchmarks import figures
from footseg.benchmarks.figures import Cell
from footseg.benchmarks.pages import page
from footseg.benchmarks.pages.pictures import PICTURE_BYTES, Gallery, ShownPicture, within
from footseg.benchmarks.pages.report_tables import Column, Table
from footseg.data.images import IGNORE, encode
from footseg.data.labels import default_colours
from footseg.evaluate import Picture, draw
from footseg.grouping import grouped
from footseg.paired import Decision
from footseg.terminal import counted, percent
from footseg.verifications import Row, Shown, Verifications, Verified

# What is drawn of an image, with what stands under it.
CAPTIONS = {
    "image": "photo", "truth": "ground truth", "reference": "reference", "mask": "client",
    "error": "differences",
}  # fmt: skip


@dataclass(frozen=True)
class ClientPicture:
    """An image that a client got wrong: ``pictures`` are JPEGs in base64, by the names of ``CAPTIONS``."""

    file: str
    client: str
    name: str
    pictures: Mapping[str, str]


@dataclass(frozen=True)
class Recorded(Verifications):
    """What one ``footseg verify`` found, with the pictures of it."""

    pictures: tuple[ClientPicture, ...] = ()


@dataclass(frozen=True)
class Section:
    """One file on its clients."""

    title: str
    lead: str
    table: Table
    notes: tuple[str, ...]
    gallery: Gallery | None


def record(found: Verifications, shown: Mapping[tuple[str, str], Sequence[Shown]]) -> Recorded:
    """What was found, with the worst images of each (file, client) drawn."""
    drawn = tuple(
        ClientPicture(file, client, one.name, _drawn(one))
        for (file, client), images in shown.items()
        for one in images
    )
    given = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return Recorded(**given, pictures=drawn)


def write(recorded: Recorded, out: Path) -> Path:
    """Write a page of what was found to ``out``, and the record beside it, as .json; returns ``out``.

    Raises:
        FootsegError: the disk is full.
        ValueError: the page would take the record's name.
    """
    if out.suffix == ".json":
        raise ValueError(f"--out {out} is the name of the record beside the page: give it as .html")
    concerned = [row for file in recorded.files for row in file.rows if row.status != "not concerned"]
    fine, asked = sum(row.ok for row in concerned), len(concerned)
    page.write(
        page.HERE / "verify.html.j2",
        out,
        title="footseg verify",
        headline=f"{counted(len(recorded.files), 'file')} in other people's runtimes: "
        f"{fine} of {asked} give the masks that they should",
        tiles=[],
        verified=list(sections(recorded)),
        facts=_facts(recorded),
        commands=[],
        artifacts=[],
    )
    files.write_json(out.with_suffix(".json"), dataclasses.asdict(recorded))
    return out


def read(path: Path) -> Recorded:
    """What ``write`` left beside a page.

    Raises:
        FootsegError: no such file, or another one.
    """
    return records.read(
        Recorded, path, "record of footseg verify", "run footseg verify --out PAGE.html again"
    )


def sections(recorded: Recorded) -> Iterator[Section]:
    """A section for each file; pictures beyond a page's budget are left out and counted."""
    pictures = grouped(((one.file, one.client), one) for one in recorded.pictures)
    for file in recorded.files:
        images = counted(file.images, "image")
        yield Section(
            file.file,
            f"Against {file.reference}, on {images} of {file.data}/{file.split}.",
            _table(file),
            tuple(f"{row.title}: {said}" for row in file.rows for said in _said(row)),
            _gallery(file, pictures, PICTURE_BYTES // (2 * len(recorded.files))),
        )


def _table(file: Verified) -> Table:
    def column(kind: str, head: str, unit: str, cells: Iterable[str]) -> Column:
        return Column(kind, head, unit, tuple(map(Cell, cells)))

    rows, kind = file.rows, page.ON_IMAGES
    columns = [
        Column("", "verdict", "", tuple(_status(row) for row in rows)),
        column(kind, "as on this CPU", "pixels", (_share(row.equal_cpu) for row in rows)),
        column(kind, "as the reference", "pixels", (_share(row.equal_reference) for row in rows)),
        column(kind, "IoU", "difference", (_signed(row.iou) for row in rows)),
        column(kind, "boundary F", "difference", (_signed(row.boundary_f) for row in rows)),
        column(kind, "logits", "largest, in std", (figures.known(row.logit_max, "{:.2g}") for row in rows)),
        column("said by the runtime", "accelerated", "operators", (_operators(row) for row in rows)),
    ]
    titles = [(row.title, row.version + (" simulated" if row.simulated else "")) for row in rows]
    return Table(f"{file.file} on its clients", titles, columns, head="client")


def _status(row: Row) -> Cell:
    return Cell(row.status) if row.ok else Cell(badge=row.status, why=row.why)


def _share(value: float | None) -> str:
    return "" if value is None else percent(value)


def _signed(found: Decision | None) -> str:
    return "" if found is None else f"{found.difference:+.4f}"


def _operators(row: Row) -> str:
    if row.accelerated is None:
        return ""
    return f"{row.accelerated} of {row.accelerated + (row.fallen or 0)}"


def _said(row: Row) -> Iterator[str]:
    """What is to be said of a client below the table."""
    if row.why or row.note:
        yield row.why or row.note
    yield from (f"{kind}: {why.rstrip('.')}" for kind, why in row.refused.items() if why not in row.why)


def _gallery(
    file: Verified, pictures: Mapping[tuple[str, str], Sequence[ClientPicture]], budget: int
) -> Gallery | None:
    rows = [
        (
            f"{row.title}: {one.name}",
            tuple(_shown(one, kind, row) for kind in CAPTIONS if kind in one.pictures),
        )
        for row in sorted(file.rows, key=lambda row: row.ok)  # those that fail first
        for one in pictures.get((file.file, row.client), ())
    ]
    if not rows:
        return None
    kept = within(rows, budget)
    return Gallery(
        "The worst images",
        "Where a client's mask differs most from the reference's. In the last picture orange was taken for "
        "foreground by the client alone, blue by the reference alone.",
        kept,
        len(rows) - len(kept),
    )


def _shown(one: ClientPicture, kind: str, row: Row) -> ShownPicture:
    caption = row.title if kind == "mask" else CAPTIONS.get(kind, kind)
    figure = f"{row.worst[one.name]:.2%}" if kind == "error" and one.name in row.worst else ""
    return ShownPicture(f"data:image/jpeg;base64,{one.pictures[kind]}", caption, figure)


def _drawn(one: Shown) -> dict[str, str]:
    """The pictures of an image, small: differences are those of the client's mask from the reference's."""
    ignored = one.truth == IGNORE
    truth, reference, mask = (
        np.where(ignored, IGNORE, classes).astype(np.uint8)
        for classes in (one.truth, one.reference, one.mask)
    )
    known = [int(classes[~ignored].max(initial=1)) for classes in (truth, reference, mask)]
    colours = default_colours(max(known) + 1)
    drawn = draw(Picture(one.name, one.image, reference, mask), colours)
    named = {
        "image": drawn["image"], "truth": draw(Picture(one.name, one.image, truth, mask), colours)["truth"],
        "reference": drawn["truth"], "mask": drawn["prediction"], "error": drawn["error"],
    }  # fmt: skip
    return {kind: base64.b64encode(encode(pixels, ".jpg")).decode() for kind, pixels in named.items()}


def _facts(recorded: Recorded) -> list[tuple[str, list[str]]]:
    machine = ", ".join(page.word(value) for value in recorded.machine.values())
    versions = [f"{name} {version}" for name, version in recorded.versions.items()]
    hashes = [f"{file.file} {file.sha256}" for file in recorded.files]
    return [
        ("verified on", [machine]), ("verified at", [recorded.created]),
        ("files", hashes), ("versions", versions),
    ]  # fmt: skip
