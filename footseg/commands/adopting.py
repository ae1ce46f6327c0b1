"""``footseg adopt``: a run of a Keras network that somebody else made and trained."""

import argparse
import dataclasses
from pathlib import Path

from footseg.commands._command import Arguments, Command, Output, out_folder, say
from footseg.commands._shared import ends_arguments, ends_given
from footseg.errors import require


def _adopt_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL.keras", help="a trained Keras network")
    sub.add_argument("--data", type=Path, required=True, metavar="DIR", help="data set of its classes")
    sub.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    ends_arguments(sub)


def _adopt(args: Arguments) -> Output:
    require("keras", "train")
    from footseg.foreign.adopt import adopt

    done = adopt(args.model, args.out, args.data, ends_given(args), command=args.command_line, say=say)
    text = f"{done.path}  validation IoU {done.score('val_iou'):.3f}, {done.parameters:,} parameters"
    return Output(dataclasses.asdict(done), text)


COMMANDS = (
    Command(
        ("adopt",),
        "make a run of a Keras network of your own",
        _adopt_arguments,
        _adopt,
        out_folder,
    ),
)
