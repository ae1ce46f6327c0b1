"""``footseg verify``: exported files on other people's runtimes."""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from footseg.commands._command import Arguments, Command, Output, out_folder, say
from footseg.commands._shared import threads_argument
from footseg.export.clients import install, known
from footseg.terminal import counted, percent, table

if TYPE_CHECKING:
    from footseg.verifications import Row, Verified

# 3 s an image on a GPU that a processor plays, and a minute or so with all clients.
IMAGES = 8


def _verify_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("files", type=Path, nargs="+", metavar="FILE", help=".tflite or .onnx files")
    sub.add_argument(
        "--on", nargs="+", default=[], metavar="CLIENT",
        help="; ".join([*(f"{one.name}: {one.title}" for one in known.CLIENTS), "default: all there"]),
    )  # fmt: skip
    sub.add_argument(
        "--data", type=Path, metavar="DIR", help="images to verify on (default: those of the file's run)"
    )
    sub.add_argument(
        "--against", type=Path, metavar="RUN|FILE",
        help="a run or model file to hold the files against (default: the network of the file's run)",
    )  # fmt: skip
    sub.add_argument(
        "--images", type=int, default=IMAGES, metavar="N", help=f"so many, evenly spaced ({IMAGES})"
    )
    sub.add_argument(
        "--out", type=Path, metavar="PAGE.html", help="a page with the worst images, and PAGE.json"
    )
    threads_argument(sub)


def _verify(args: Arguments) -> Output:
    from footseg.export.clients.subjects import subjects
    from footseg.export.clients.verifying import chosen, verify_files

    if args.out and args.out.suffix != ".html":
        raise ValueError(f"--out {args.out} must end in .html: it is a page")
    clients = chosen(args.files, args.on)
    given = subjects(
        args.files,
        data=args.data,
        against=args.against,
        images=args.images,
        threads=args.threads,
        say=say,
    )
    found = verify_files(given, clients, say)
    record = found.record
    if args.out:
        from footseg.benchmarks.pages import verified

        verified.write(verified.record(record, found.shown), args.out)
    lines = ["\n".join(_text(file)) for file in record.files]
    if not args.on:
        lacks = [(client.title, install.missing(client)) for client in known.CLIENTS]
        lines += [f"not asked: {title}, {lack}" for title, lack in lacks if lack]
    lines += [str(args.out)] if args.out else []
    return Output(dataclasses.asdict(record), "\n\n".join(lines), ok=record.ok)


def _text(file: "Verified") -> Iterator[str]:
    """A file's table, and what speaks against each client that is not ok."""
    images = counted(file.images, "image")
    yield f"{file.file} against {file.reference}, on {images} of {file.data}/{file.split}"
    heads = (
        "client", "version", "= CPU", "= reference", "logits max", "mean", "IoU", "boundary F", ""
    )  # fmt: skip
    yield table(heads, [_cells(row) for row in file.rows])
    for row in file.rows:
        if row.why or row.note:
            yield f"{row.title}: {row.why or row.note}"
        if row.fallen:
            kinds = "; ".join(f"{kind}: {why.rstrip('.')}" for kind, why in row.refused.items())
            yield f"{row.title}: {counted(row.fallen, 'operator')} fell back to the CPU ({kinds})"
        if row.failures and row.worst:
            worst = ", ".join(f"{name} ({share:.1%} of its pixels)" for name, share in row.worst.items())
            yield f"{row.title}: worst on {worst}"


def _cells(row: "Row") -> tuple[str, ...]:

    def logits(value: float | None) -> str:
        return "-" if value is None else f"{value:.2g}"

    return (
        row.title + (" (simulated)" if row.simulated else ""),
        row.version,
        percent(row.equal_cpu),
        percent(row.equal_reference),
        logits(row.logit_max),
        logits(row.logit_mean),
        *("-" if figure is None else f"{figure.difference:+.4f}" for figure in (row.iou, row.boundary_f)),
        row.status + ("" if row.operators is None else f", reads {counted(row.operators, 'operator')}"),
    )


COMMANDS = (
    Command(
        ("verify",), "hold exported files against their network in other people's runtimes",
        _verify_arguments, _verify, out_folder,
    ),
)  # fmt: skip
