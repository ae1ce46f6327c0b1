"""``footseg cost``: what an inference costs and which clients run it, computed from the files."""

import argparse
import dataclasses
from pathlib import Path

from footseg import clients
from footseg.commands._command import Arguments, Command, Output, say


def _cost_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("artifacts", type=Path, nargs="+", metavar="FILE", help=".tflite or .onnx files")
    sub.add_argument("--layers", action="store_true", help="a line for each operator, too")
    sub.add_argument(
        "--core", metavar="CORE",
        help="least time on one core: a name as cortex-a76, or ghz=2.4,gbps=20,simd=128,pipes=2,dot=1, or "
        "both (cortex-a76,ghz=2.0)",
    )  # fmt: skip
    sub.add_argument(
        "--results", type=Path, metavar="FILE.jsonl",
        help="how far the times measured there (footseg bench) are from that least time",
    )  # fmt: skip


def _cost(args: Arguments) -> Output:
    if args.results and args.core is None:
        raise ValueError("--results needs --core: describe the core that the times were measured on")
    from footseg.benchmarks.cost import distance, of_file, roofline, table
    from footseg.benchmarks.results_file import Stored, read
    from footseg.export import where

    core = roofline.core_of(args.core) if args.core is not None else None
    measured = read(args.results) if args.results else Stored((), ())
    for line in measured.left_out:
        say(f"left out: {line}")
    files = []
    for path in args.artifacts:
        cost = of_file(path)
        files.append((path.name, cost, roofline.bound(cost, core) if core else None))
    standings = [(path, where.of_file(path)) for path in args.artifacts]
    parts = [
        table.totals(files),
        *(f"where {path.name} runs\n{clients.text(found, table.COLUMNS)}" for path, found in standings),
    ]
    if args.layers:
        parts += [f"{name}\n{table.layers(cost, limit)}" for name, cost, limit in files]
    document = [
        {**table.document(*file), "clients": [dataclasses.asdict(one) for one in found]}
        for file, (_, found) in zip(files, standings, strict=True)
    ]
    if args.results:
        limits = [(path, limit) for path, (*_, limit) in zip(args.artifacts, files, strict=True) if limit]
        found = distance.distances(limits, measured.measurements)
        parts.insert(1, distance.as_text(found, args.core, table.COLUMNS))
        for path, entry in zip(args.artifacts, document, strict=True):
            entry["measured"] = [dataclasses.asdict(one) for one in found if one.file == path.name]
    return Output(document, "\n\n".join(parts))


COMMANDS = (
    Command(
        ("cost",),
        "compute what an inference costs and where files run, from the files",
        _cost_arguments,
        _cost,
    ),
)
