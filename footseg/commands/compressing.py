"""``footseg compress``: steps in the order of their flags, and options of the step they follow."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

from footseg.commands._command import Arguments, Command, Output, out_folder, say
from footseg.commands._shared import add_option, ends_arguments, parse_pair, resumed, run_folder
from footseg.compress.methods import METHODS
from footseg.errors import require
from footseg.training import config

# What follows from the run that is compressed.
OF_THE_RUN = ("network", "network_options", "size", "start_from", "freeze_encoder", "precision")


def _compress_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", nargs="?", metavar="RUN", help="folder of the run to compress, or a .keras file")
    sub.add_argument("--out", type=Path, required=True, metavar="RUN2", help="folder of the compressed run")
    sub.add_argument("--resume", action="store_true", help="go on with what was begun in RUN2")
    sub.add_argument("--force", action="store_true", help="replace what is in RUN2")
    steps = sub.add_argument_group("steps", "Done in the order in which they are given.")
    for method, row in METHODS.items():
        steps.add_argument(
            f"--{method}",
            action=_AddStep,
            option=row.option,
            kind=row.kind,
            nargs=None if row.kind else 0,
            metavar=row.option.upper()[:1] or None,
            default=argparse.SUPPRESS,
            help=row.help,
        )
    of_step = sub.add_argument_group("options of the step before them")
    for flag, metavar, text in (
        ("--layer", "PATTERN=VALUE", "another value for the layers whose names match, as 'decoder*=0.5'"),
        ("--set", "NAME=VALUE", "an option of the method, or of its retraining, as block=1x4 or epochs=20"),
    ):
        of_step.add_argument(flag, action=_OfStep, metavar=metavar, default=argparse.SUPPRESS, help=text)
    of_step.add_argument(
        "--skip",
        nargs="+",
        action=_OfStep,
        metavar="PATTERN",
        default=argparse.SUPPRESS,
        help="layers to leave as they are",
    )
    options = sub.add_argument_group(
        "retraining",
        "For all steps; what is not given is as the run was trained, or the method's own default.",
    )
    hints = get_type_hints(config.TrainConfig)
    for field in dataclasses.fields(config.TrainConfig):
        if field.name not in OF_THE_RUN:
            add_option(options, field, hints[field.name], with_default=False)
    ends_arguments(sub)


class _AddStep(argparse.Action):
    """Appends a step, of the method that the flag is named after, to ``sequence``."""

    def __init__(self, *, option: str, kind: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.option, self.kind = option, kind

    def __call__(
        self, parser: Any, namespace: Arguments, values: Any, option_string: str | None = None
    ) -> None:
        options = {}
        if self.kind is not None:
            try:
                options[self.option] = self.kind(values)
            except ValueError:
                parser.error(f"{option_string} takes a number, not {values!r}")
        before = getattr(namespace, "sequence", [])
        namespace.sequence = [*before, {"method": self.dest, "options": options, "training": {}}]


class _OfStep(argparse.Action):
    """Adds an option to the last of ``sequence``."""

    def __call__(
        self, parser: Any, namespace: Arguments, values: Any, option_string: str | None = None
    ) -> None:
        steps = getattr(namespace, "sequence", [])
        if not steps:
            parser.error(f"{option_string} belongs to the step before it: give that first, as --prune 0.7")
        options = steps[-1]["options"]
        if self.dest == "skip":
            options["skip"] = [*options.get("skip", ()), *values]
            return
        name, value = parse_pair(parser, option_string, values)
        if self.dest == "set" and name in OF_THE_RUN:
            parser.error(f"--set {name}: this follows from the run that is compressed")
        if self.dest == "layer":
            options["layers"] = {**options.get("layers", {}), name: value}
        elif name in {field.name for field in dataclasses.fields(config.TrainConfig)}:
            steps[-1]["training"][name] = value
        else:
            options[name] = value


def _compress(args: Arguments) -> Output:
    for package in ("tensorflow", "keras"):
        require(package, "train")
    for package in ("tf_keras", "tensorflow_model_optimization"):
        require(package, "compress")
    from footseg.compress import pipeline
    from footseg.compress.request import from_json
    from footseg.compress.sizes import LAYERS, read_sizes

    names = {field.name for field in dataclasses.fields(config.TrainConfig)} - set(OF_THE_RUN)
    training = {name: value for name, value in vars(args).items() if name in names}
    request = None
    if args.run is None and args.resume and (training or hasattr(args, "sequence")):
        raise ValueError(
            "--resume goes on with the steps and options that were given at first: leave them out, "
            "or give RUN, too, to have them compared"
        )
    if args.run is not None:
        folder = run_folder(Path(args.run), args)
        request = from_json(
            {"run": str(folder), "steps": getattr(args, "sequence", []), "training": training}
        )
    done = pipeline.compress(
        request, args.out, resume=args.resume, force=args.force, command=args.command_line, say=say
    )
    sizes = read_sizes(args.out / LAYERS)
    document = {**dataclasses.asdict(done), "sizes": [dataclasses.asdict(size) for size in sizes]}
    return Output(document, f"{done.path}\n{pipeline.summary(done, sizes)}")


COMMANDS = (
    Command(
        ("compress",),
        "make a smaller run of a run, step by step",
        _compress_arguments,
        _compress,
        out_folder,
        resumed("compress", "compress.json"),
    ),
)
