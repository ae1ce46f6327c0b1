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

# What is drawn of an image besides masks and their differences, with what stands under it.
CAPTIONS = {"image": "photo", "truth": "ground truth", "reference": "reference"}
# So many clients that gave one mask are named under it.
CAPTIONED = 3


@dataclass(frozen=True)
class ClientPicture:
    """An image that a client got wrong: ``pictures`` are JPEGs in base64, by what they show."""

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
        verified=[(list(sections(recorded)), gallery(recorded))],
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
    """A section for each file."""
    for file in recorded.files:
        images = counted(file.images, "image")
        yield Section(
            file.file,
            f"Against {file.reference}, on {images} of {file.data}/{file.split}.",
            _table(file),
            tuple(f"{row.title}: {said}" for row in file.rows for said in _said(row)),
        )


def _table(file: Verified) -> Table:
    def column(kind: str, head: str, unit: str, cells: Iterable[str]) -> Column:
        return Column(kind, head, unit, tuple(map(Cell, cells)))

    rows, kind = file.rows, page.ON_IMAGES
    columns = [
        Column("", "verdict", "", tuple(_status(row) for row in rows)),
        column(kind, "IoU", "difference", (_signed(row.iou) for row in rows)),
        column(kind, "as the reference", "pixels", (_share(row.equal_reference) for row in rows)),
        column(kind, "as on this CPU", "pixels", (_share(row.equal_cpu) for row in rows)),
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
    return "" if found is None else f"{found.difference:+z.4f}"


def _operators(row: Row) -> str:
    if row.accelerated is None:
        return ""
    return f"{row.accelerated} of {row.accelerated + (row.fallen or 0)}"


def _said(row: Row) -> Iterator[str]:
    """What is to be said of a client below the table."""
    if row.why or row.note:
        yield row.why or row.note
    yield from (f"{kind}: {why.rstrip('.')}" for kind, why in row.refused.items() if why not in row.why)


def gallery(recorded: Recorded) -> Gallery | None:
    """The worst images of all files, a row each, every picture once; None without any.

    Clients that gave one mask share it. What is beyond the page's budget is left out and counted.
    """
    clients = {(file.file, row.client): row for file in recorded.files for row in file.rows}
    _, short = page.short_names([file.file for file in recorded.files])
    files_ = dict(zip((file.file for file in recorded.files), short, strict=True))
    told = [(one, row) for one in recorded.pictures if (row := clients.get((one.file, one.client)))]
    # Images that a client fails on first.
    images = grouped((one.name, (one, row)) for one, row in sorted(told, key=lambda each: each[1].ok))
    rows = [(name, _row(drawn, files_ if len(files_) > 1 else {})) for name, drawn in images.items()]
    if not rows:
        return None
    kept = within(rows, PICTURE_BYTES // 2)
    return Gallery(
        "The worst images",
        "Where a client's mask differs most from the reference's, with the share of pixels that differ. "
        "Orange was taken for foreground by the client alone, blue by the reference alone.",
        kept,
        len(rows) - len(kept),
    )


def _row(drawn: Sequence[tuple[ClientPicture, Row]], files_: Mapping[str, str]) -> tuple[ShownPicture, ...]:
    """One image: the photo, the truth and the reference, then mask and differences of each client."""
    named = [
        (one.pictures[kind], _caption(kind, row, files_.get(one.file, "")), _differing(kind, one.name, row))
        for kinds in (("image", "truth", "reference"), ("mask", "error"))
        for one, row in drawn
        for kind in kinds
        # A mask without foreground is the photograph again.
        if kind in one.pictures and (kind == "image" or one.pictures[kind] != one.pictures.get("image"))
    ]
    return tuple(
        ShownPicture(
            f"data:image/jpeg;base64,{picture}",
            _first(list(dict.fromkeys(caption for caption, _ in said))),
            ", ".join(dict.fromkeys(figure for _, figure in said if figure)),
        )
        for picture, said in grouped(
            (picture, (caption, figure)) for picture, caption, figure in named
        ).items()
    )


def _caption(kind: str, row: Row, file: str) -> str:
    client = f"{row.title}, {file}" if file else row.title
    return {"mask": client, "error": f"differences, {client}"}.get(kind) or CAPTIONS.get(kind, kind)


def _first(captions: Sequence[str]) -> str:
    more = len(captions) - CAPTIONED
    return "; ".join(captions[:CAPTIONED]) + (f" and {more} more" if more > 0 else "")


def _differing(kind: str, name: str, row: Row) -> str:
    return f"{row.worst[name]:.2%}" if kind == "error" and name in row.worst else ""


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
