"""``footseg describe``: what a file says of itself, and a copy of it that says what it is."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from footseg.commands._command import Arguments, Command, Output, out_folder, say
from footseg.errors import FootsegError
from footseg.terminal import WIDTH, aligned, wrapped

if TYPE_CHECKING:
    from footseg.graphs.ends import Ends
    from footseg.graphs.metadata import Metadata


def _describe_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("file", type=Path, metavar="FILE", help="a .tflite, ours or not")
    labels = sub.add_mutually_exclusive_group()
    labels.add_argument("--classes", nargs="+", metavar="NAME", help="write a copy with these labels")
    labels.add_argument("--labels", type=Path, metavar="TXT", help="the same, from a file: a label a line")
    sub.add_argument("--out", type=Path, metavar="NEW", help="where the copy goes, as new.tflite")
    sub.add_argument(
        "--mean", type=float, default=0.0, metavar="X", help="a float input takes (pixel - mean) / std (0)"
    )
    sub.add_argument("--std", type=float, default=255.0, metavar="X", help="see --mean (255)")
    sub.add_argument(
        "--force", action="store_true", help="replace what FILE says of itself, and a file that NEW is"
    )


def _describe(args: Arguments) -> Output:
    classes = _labels(args.labels) if args.labels else args.classes
    if (classes is None) != (args.out is None):
        raise ValueError("a described copy needs --classes or --labels, and --out NEW.tflite")
    if classes is None:
        return _report(args.file)
    from footseg.clients import RUNS
    from footseg.export.describe import describe_file

    made, said = describe_file(args.file, args.out, classes, mean=args.mean, std=args.std, replace=args.force)
    for row in made.clients:
        if row.client == "mediapipe" and row.verdict != RUNS:
            say(f"{args.out.name}: {row.title}: {row.verdict}, {row.why}")
    return Output(said.to_json(), f"{made.path}  {said.text}")


def _labels(path: Path) -> list[str]:
    """The lines of a file of labels; empty ones at its end do not count."""
    try:
        return path.read_text(encoding="utf-8-sig").rstrip().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FootsegError(f"labels cannot be read from {path} ({error}): give a text file") from error


def _report(path: Path) -> Output:
    from footseg import artifact
    from footseg.graphs import ends, metadata

    source = artifact.load(path)
    if source.format != "tflite":
        raise FootsegError(f"{path} is no .tflite, which describe reads: footseg cost reads both")
    said = metadata.read(path)
    try:
        found = ends.read(path)
    except FootsegError as error:
        found = None
        say(f"what {path.name} gives cannot be told: {error}")
    document = {"file": path.name, "sha256": source.sha256, **asdict(said)}
    document["ends"] = asdict(found) if found else None
    return Output(document, f"{path.name}\n{aligned(('', ''), _rows(said, found), left=(0, 1))}")


def _rows(said: "Metadata", found: "Ends | None") -> list[tuple[str, str]]:
    """What a file says, and what its graph tells, for people."""
    rows = [("says", said.text or "nothing")]
    if found:
        rows += [("takes", found.input.text)]
        rows += [("gives", f"{found.output.name} ({found.output.type}): {found.output.text}")]
    rows += [
        ("labels", ", ".join(said.labels) or "none"),
        ("normalization", f"(pixel - {said.mean[0]:g}) / {said.std[0]:g}" if said.mean else "none"),
        ("activation", said.activation or "not said"),
        ("runs from", f"TensorFlow Lite {said.runtime}" if said.runtime else "not said"),
    ]
    if ours := said.ours:
        rows += [
            ("made by", f"footseg {ours.footseg}, {ours.network} {ours.recipe}".rstrip()),
            ("made of", ours.parent),
            *zip(("fed with", *[""] * 9), wrapped(ours.feeding, WIDTH - 20).splitlines(), strict=False),
        ]
    return rows


COMMANDS = (
    Command(
        ("describe",),
        "print what a .tflite says of itself, or write a copy with labels and metadata",
        _describe_arguments,
        _describe,
        out_folder,
    ),
)
