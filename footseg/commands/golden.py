"""``footseg golden``: photographs, tensors and masks to test an app by, and an app's own against them."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from footseg.commands._command import Arguments, Command, Output, out_folder
from footseg.commands._shared import threads_argument
from footseg.terminal import table

if TYPE_CHECKING:
    from footseg.export.golden_check import Found


def _make_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("file", type=Path, metavar="FILE", help="a .tflite or .onnx file")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    threads_argument(sub)


def _make(args: Arguments) -> Output:
    from footseg.export import golden

    record = golden.make(args.file, args.out, args.threads)
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    names = ", ".join(case.name for case in record.cases)
    made = f"{len(record.cases)} photographs ({names}) with tensor, output and mask; {size / 1e6:.1f} MB"
    return Output(dataclasses.asdict(record), f"{args.out}: {made}")


def _check_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("golden", type=Path, metavar="DIR", help="folder that footseg golden make wrote")
    sub.add_argument("app", type=Path, metavar="APP", help="folder with what an app made of its photographs")


def _check(args: Arguments) -> Output:
    from footseg.export import golden_check

    report = golden_check.check(args.golden, args.app)
    rows = [_cells(one) for one in report.found if one.status != "not given"]
    lines = [table(("photograph", "step", "", "largest", "on average"), rows)]
    lines += [one.text for one in report.found if one.text]
    lines += [f"{step}: {guess}" for step, guess in report.guesses.items()]
    lines.append(f"first wrong: {report.first}" if report.first else "all that the app gave is right")
    document = {**dataclasses.asdict(report), "first": report.first, "ok": report.ok}
    return Output(document, "\n".join(lines), ok=report.ok)


def _cells(one: "Found") -> tuple[str, ...]:
    """A row of the table."""
    if one.status == "unreadable":
        return one.case, one.step, one.status, "", ""
    if one.step == "mask":
        return one.case, one.step, one.status, "", f"{100 * one.mean:.3f}% of pixels"
    unit = " of 255" if one.step == "input" else ""
    return one.case, one.step, one.status, f"{one.largest:.3g}{unit}", f"{one.mean:.3g}{unit}"


COMMANDS = (
    Command(
        ("golden", "make"), "write test vectors of a file for an app", _make_arguments, _make, out_folder
    ),
    Command(("golden", "check"), "hold an app's tensors and masks against them", _check_arguments, _check),
)
