"""``footseg search``: the best network and training within a budget."""

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from footseg import files
from footseg.commands._command import Arguments, Command, Output, out_folder, say
from footseg.commands._shared import given_training_options, resumed, training_options
from footseg.errors import require
from footseg.search.goals import COSTS, SCORES
from footseg.training import config

# Settings of a search that are flags of their own.
OWN = ("algorithm", "objective", "against", "limits", "stop")
DEFAULT_SPACE = "thesis"
# Trials where neither --trials nor --minutes says when to stop: as many as the thesis had.
TRIALS = 100
USAGE = "footseg search NETWORK --data DIR --out DIR"


def _arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("network", nargs="?", default=argparse.SUPPRESS, help="see footseg networks")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the search")
    given: dict[str, Any] = {"default": argparse.SUPPRESS}
    sub.add_argument(
        "--space", metavar="FILE.toml", help="what varies: a file, or one of ours by name (default: thesis)",
        **given,
    )  # fmt: skip
    sub.add_argument("--algorithm", metavar="A", help="tpe, random or anneal (default: tpe)", **given)
    sub.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="trials in all (default 100, or no end with --minutes; with --resume what was given last)",
    )
    sub.add_argument("--minutes", type=float, metavar="M", help="end this command after so long")
    sub.add_argument("--objective", metavar="SCORE", help=f"{' or '.join(SCORES)} (default: iou)", **given)
    sub.add_argument(
        "--against", nargs="+", metavar="COST",
        help=f"costs that are to be small, too: {' '.join(COSTS)} (of the int8 file)", **given,
    )  # fmt: skip
    sub.add_argument(
        "--limit", dest="limits", nargs="+", metavar="COST<=X",
        help="train no network above this: 'size<=260kB' 'arm<=17M' 'latency<=5ms' 'macs<=60M'", **given,
    )  # fmt: skip
    sub.add_argument(
        "--stop",
        metavar="RULE",
        help="end bad trials early: median, halving or none (default: none)",
        **given,
    )
    sub.add_argument("--workers", type=int, default=1, metavar="N", help="trials at a time (default 1)")
    sub.add_argument(
        "--spark", nargs="?", const="", metavar="MASTER",
        help="run the trials on this Apache Spark cluster (no name: spark-submit's, or this machine)",
    )  # fmt: skip
    sub.add_argument("--resume", action="store_true", help="go on with the search in DIR")
    sub.add_argument("--config", type=Path, metavar="FILE.toml", help="training options that do not vary")
    sub.add_argument("--preset", help=f"a set of them: {', '.join(sorted(config.PRESETS))}")
    training_options(sub, "training options", "Those that do not vary; as for footseg train.")


def _search(args: Arguments) -> Output:
    require("keras", "train")
    require("hyperopt", "search")
    if args.workers < 1:
        raise ValueError(f"--workers is {args.workers}: it must be 1 or more")
    from footseg.search import loop, records

    if args.resume:
        loop.check_resumable(args.out)
    asked, given = _asked(args)
    budget = loop.SearchBudget(asked.trials, args.minutes)
    loop.check(asked, budget)
    settings = loop.begin(args.out, asked, given, resume=args.resume)
    with records.lock(args.out, say=say) as lock:
        if settings.trials != asked.trials:
            settings = dataclasses.replace(settings, trials=asked.trials)
            records.save_settings(args.out, settings)
        done = loop.search(
            args.out, settings, budget, work=_work(args, lock), view=_view(args, settings, budget), say=say
        )
    return _output(args.out, settings, done)


def _asked(args: Arguments) -> tuple[Any, set[str]]:
    """The settings that the command line means, and the names of those that it gave.

    What it does not give is, on --resume, what the search was begun with.
    """
    from footseg.search import records, space

    before = records.load_settings(args.out) if args.resume else records.SearchSettings({}, {}, trials=None)
    trials = before.trials if args.trials is None else args.trials
    if trials is None and args.minutes is None:
        trials = TRIALS
    flags = given_training_options(args)
    file = config.load(args.config) if args.config else {}
    base = {**config.preset_values(args.preset), **file, **flags}
    resolved = config.from_values({**before.values, **base})
    if hasattr(args, "space") or not args.resume:
        varying = space.load(getattr(args, "space", DEFAULT_SPACE))
        if not resolved.teacher:
            varying, left_out = space.without_teacher(varying)
            if left_out:
                say(f"left out without a --teacher: {', '.join(left_out)}")
    else:
        varying = before.space
    if not resolved.network and "network" not in varying:
        raise ValueError(f"no network given: {USAGE}")
    network = {"network": resolved.network} if resolved.network else {}
    varied = space.options(space.parse(varying, {**network, **flags}))
    values = _plain(resolved, varied)
    if not args.resume:
        _check_given(values, varied)
    own: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(args).items()
        if name in OWN
    }
    settings = dataclasses.replace(
        before, space=varying, values=values, seed=resolved.seed, trials=trials,
        data_fingerprint=files.fingerprint(Path(resolved.data)), **own,
    )  # fmt: skip
    return settings, {*base, *own, *(("space",) if hasattr(args, "space") else ())} - varied


def _plain(resolved: config.TrainConfig, varied: Collection[str]) -> dict[str, Any]:
    """The training options that do not vary, as ``search.json`` gives them back: without tuples."""
    values = {name: value for name, value in dataclasses.asdict(resolved).items() if name not in varied}
    values["network_options"] = {
        name: value
        for name, value in resolved.network_options.items()
        if f"network_options.{name}" not in varied
    }
    for name in ("data", "teacher", "start_from"):  # however the search is resumed, from wherever
        if values.get(name):
            values[name] = str(Path(values[name]).resolve())
    return json.loads(json.dumps(values))


def _check_given(values: Mapping[str, Any], varied: Collection[str]) -> None:
    """What no trial could be trained with, said before there is one."""
    from footseg.data.folder import open_data
    from footseg.run import model_file
    from footseg.training.lessons import check

    if not values.get("data"):
        raise ValueError(f"no data given: {USAGE}")
    open_data(Path(values["data"]))
    for name in ("teacher", "start_from"):
        if values.get(name):
            model_file(Path(values[name]))
    if "loss" not in varied:
        check(config.from_values(values))


def _work(args: Arguments, lock: int) -> Any:
    from footseg.search.spark import run_spark
    from footseg.search.workers import run_local

    if args.spark is None:
        return functools.partial(run_local, count=args.workers, lock=lock)
    return functools.partial(run_spark, count=args.workers, master=args.spark)


def _view(args: Arguments, settings: Any, budget: Any) -> Any:
    from footseg.search import live

    if sys.stderr.isatty():
        return live.LiveTable(settings, args.out, budget)
    return live.Lines(settings, say)


def _output(out: Path, settings: Any, trials: Sequence[Any]) -> Output:
    from footseg.search import live

    document = files.read_json(out / "results.json")
    return Output(document, live.conclusion(settings, out, trials, document["front"]))


COMMANDS = (
    Command(
        ("search",),
        "find the best network and training within a budget",
        _arguments,
        _search,
        out_folder,
        resumed("search", "search.json"),
    ),
)
