"""``footseg reproduce``: published results anew."""

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import Any

from footseg.commands._command import Arguments, Command, Output, out_folder, say
from footseg.commands._shared import threads_argument
from footseg.errors import require


def _thesis_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="everything goes there; see tables/"
    )
    for name, text in (
        ("feet", "photographs with masks, or RGBA cut-outs, to cut feet from"),
        ("floors", "photographs of floors to paste them on"),
        ("real", "data set whose test split is the real one"),
    ):
        sub.add_argument(f"--{name}", type=Path, default=argparse.SUPPRESS, metavar="DIR", help=text)
    sub.add_argument(
        "--preset",
        default=argparse.SUPPRESS,
        help="quick: minutes on two cores (the default); full: as the thesis",
    )
    sub.add_argument("--students", nargs="+", default=[], metavar="NAME", help="only these (default: all)")
    threads_argument(sub)
    options = sub.add_argument_group(
        "options", "Each has its value from the preset. A folder that was begun keeps its own."
    )
    for name, kind, text in (
        ("count", int, "composited images, all parts together"),
        ("size", int, "their height and width, and the networks'"),
        ("epochs", int, "of each network"),
        ("steps", int, "an epoch"),
        ("batch", int, "images a step"),
        ("learning_rate", float, "of Adam"),
        ("teacher_base", int, "channels of the teacher, a U-Net, at full resolution"),
        ("temperature", float, "T of the distillation"),
        ("seed", int, "of images, weights, order and calibration"),
    ):
        flag = "--" + name.replace("_", "-")
        sub_options: dict[str, Any] = {"type": kind, "default": argparse.SUPPRESS, "help": text}
        options.add_argument(flag, metavar=name.upper()[:1], **sub_options)
    options.add_argument(
        "--loss", nargs="+", default=argparse.SUPPRESS, metavar="NAME", help="of the students: ce distill:1"
    )


def _thesis(args: Arguments) -> Output:
    require("tensorflow", "train")
    from footseg.reproduce.settings import ReproductionSettings
    from footseg.reproduce.thesis import reproduce

    names = {option.name for option in dataclasses.fields(ReproductionSettings)}
    given = {name: value for name, value in vars(args).items() if name in names}
    # It takes the many networks of one process for one network that is traced again and again.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    document = reproduce(args.out, given, students=args.students, threads=args.threads, say=say)
    page = args.out / "tables" / "README.md"
    return Output(document, f"{page.read_text(encoding='utf-8')}\n{page}")


COMMANDS = (
    Command(
        ("reproduce", "thesis"),
        "train and measure all of the thesis's networks, ours beside its figures",
        _thesis_arguments,
        _thesis,
        out_folder,
    ),
)
