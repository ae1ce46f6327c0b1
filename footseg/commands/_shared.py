"""Arguments that several commands take."""

import argparse
import dataclasses
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from footseg import run
from footseg.commands._command import Arguments, say
from footseg.foreign.ends import GIVES, NOTHING, ORDERS, RANGES, Ends
from footseg.training import config


def add_option(group: Any, option: "dataclasses.Field[Any]", kind: Any, *, with_default: bool = True) -> None:
    """A flag for one field of TrainConfig; an absent flag leaves no trace, so that the file can win."""
    flag = "--" + option.name.replace("_", "-")
    text = option.metadata["help"]
    keywords: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text}
    if with_default and option.default not in ("", dataclasses.MISSING):
        default = option.default
        shown = " ".join(str(part) for part in default) if isinstance(default, tuple) else default
        keywords["help"] = f"{text} (default {shown})".replace("%", "%%")
    if kind == dict[str, Any]:
        group.add_argument(flag, action=Pairs, metavar="NAME=VALUE", **keywords)
    elif kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **keywords)
    elif kind == tuple[int, int]:
        group.add_argument(flag, type=int, nargs="+", metavar="PIXELS", action=Size, **keywords)
    elif kind == tuple[str, ...]:
        group.add_argument(flag, nargs="+", metavar="NAME", **keywords)
    else:
        group.add_argument(flag, type=kind, metavar=option.name.upper()[:1], **keywords)


def training_options(sub: argparse.ArgumentParser, title: str, description: str) -> None:
    """A flag for each field of TrainConfig but the network, under a heading of their own."""
    group = sub.add_argument_group(title, description)
    hints = get_type_hints(config.TrainConfig)
    for option in dataclasses.fields(config.TrainConfig):
        if option.name != "network":
            add_option(group, option, hints[option.name])


def given_training_options(args: Arguments) -> dict[str, Any]:
    """The fields of TrainConfig that the command line gave, the network among them."""
    names = {option.name for option in dataclasses.fields(config.TrainConfig)}
    return {name: value for name, value in vars(args).items() if name in names}


class Pairs(argparse.Action):
    """Collects NAME=VALUE."""

    def __call__(
        self, parser: Any, namespace: Arguments, values: Any, option_string: str | None = None
    ) -> None:
        name, value = parse_pair(parser, option_string, values)
        setattr(namespace, self.dest, {**getattr(namespace, self.dest, {}), name: value})


def parse_pair(parser: argparse.ArgumentParser, option: str | None, text: str) -> tuple[str, Any]:
    """NAME=VALUE; a value that is JSON (a number, true, a list) is read as such, else as text."""
    name, equals, value = text.partition("=")
    if not equals:
        parser.error(f"{option} takes NAME=VALUE, not {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


class Size(argparse.Action):
    """One number for a square, or height and width."""

    def __call__(
        self, parser: Any, namespace: Arguments, values: Any, option_string: str | None = None
    ) -> None:
        if len(values) > 2:
            parser.error(f"{option_string} takes one number or a height and a width")
        setattr(namespace, self.dest, (values[0], values[-1]))


def resumed(words: str, begun: str) -> Callable[[Arguments], str]:
    """How ``footseg WORDS --resume`` goes on with what is in --out, once the record ``begun`` is there."""

    def go_on(args: Arguments) -> str:
        if not (args.out / begun).is_file():
            return "run the command again"
        return f"go on with: footseg {words} --resume --out {shlex.quote(str(args.out))}"

    return go_on


def size_argument(sub: argparse.ArgumentParser) -> None:
    """--size, one number or two."""
    sub.add_argument(
        "--size", type=int, nargs="+", action=Size, default=(256, 256), metavar="PIXELS",
        help="height and width, or one number for both (default 256)",
    )  # fmt: skip


def ends_arguments(sub: argparse.ArgumentParser) -> None:
    """What a ``.keras`` file of somebody else's takes and gives, where it does not tell."""
    group = sub.add_argument_group(
        "a .keras file of your own in place of a run",
        "What it takes and gives is read from its layers, or tried on validation images, and said.",
    )
    group.add_argument("--takes", choices=RANGES, help="the range of its pixels")
    group.add_argument("--order", choices=ORDERS, help="the order of their colours")
    group.add_argument("--gives", choices=GIVES, help="what its output is")
    group.add_argument(
        "--input-size", type=int, nargs="+", action=Size, metavar="PIXELS",
        help="height and width, or one number for both, where it takes any",
    )  # fmt: skip


def ends_given(args: Arguments) -> Ends:
    """What ``ends_arguments`` found."""
    return Ends(args.takes, args.order, args.gives, args.input_size)


def run_folder(path: Path, args: Arguments) -> Path:
    """The folder of a run: ``path``, or what becomes of it if it is a ``.keras`` file.

    Raises:
        ValueError: such a file without ``--data``, or what is said of one, said of a run.
        FootsegError: the network cannot be taken in.
    """
    ends = ends_given(args)
    if not _is_keras(path, ends):
        return path
    if not getattr(args, "data", None):
        raise ValueError(f"{path.name} does not say what it was trained on: give --data DIR, too")
    from footseg.foreign.adopt import adopted

    return adopted(path, Path(args.data), ends, say=say)


def keras_ends(path: Path, args: Arguments, data: Path | None = None) -> Ends:
    """What a ``.keras`` file outside of a run takes and gives, tried on ``data`` where it does not tell.

    Raises:
        ValueError: what is said of one, said of another file.
        FootsegError: the file cannot be read, or does not tell what it gives.
    """
    ends = ends_given(args)
    if not _is_keras(path, ends) or run.exists(path.parent):
        return ends
    from footseg.foreign.adopt import told

    return told(path, data, ends, say=say)


def _is_keras(path: Path, ends: Ends) -> bool:
    if path.suffix == ".keras":
        return True
    if ends != NOTHING:
        raise ValueError(f"--takes, --order, --gives and --input-size are for a .keras file, not for {path}")
    return False


def threads_argument(sub: argparse.ArgumentParser) -> None:
    """--threads of the runtime."""
    sub.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the runtime (default 1)")


def no_arguments(sub: argparse.ArgumentParser) -> None:
    """For commands that take none but the common ones."""
