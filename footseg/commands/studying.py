"""``footseg study``: several runs on one page."""

import argparse
from pathlib import Path

from footseg.commands._command import Arguments, Command, Output, out_folder, say
from footseg.commands._shared import ends_arguments, run_folder, threads_argument
from footseg.errors import require


def _study_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="the network as it was trained, then what came of it",
    )
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="everything goes there")
    sub.add_argument("--data", type=Path, metavar="DIR", help="data set to score on (default: the run's own)")
    sub.add_argument("--split", default="test", help="train, val or test (default: test)")
    sub.add_argument(
        "--precision", nargs="+", default=["fp32", "int8"], metavar="P", help="files of each run (fp32 int8)"
    )
    sub.add_argument("--also", nargs="+", default=[], metavar="P", help="more files of the first run")
    sub.add_argument(
        "--baseline", metavar="FILE", help="fp32 file to hold others against (default: each training's)"
    )
    sub.add_argument(
        "--max-loss", type=float, default=0.01, metavar="X", help="IoU the winner may lose (0.01)"
    )
    sub.add_argument("--max-mb", type=float, metavar="MB", help="download (gzip) of the winner at most")
    sub.add_argument(
        "--max-latency", type=float, metavar="X", help="its latency over fp32's at most (default: no slower)"
    )
    sub.add_argument("--title", default="footseg compression study", help="heading of the page")
    threads_argument(sub)
    ends_arguments(sub)


def _study(args: Arguments) -> Output:
    require("tensorflow", "train")
    from footseg.study.recipes import Budget
    from footseg.study.study import study

    budget = {"max_loss": args.max_loss, "max_bytes": args.max_mb and args.max_mb * 1e6}
    if args.max_latency is not None:
        budget["max_latency"] = args.max_latency
    page = study(
        [run_folder(path, args) for path in args.runs],
        args.out,
        data=args.data,
        split=args.split,
        precisions=tuple(args.precision),
        also=tuple(args.also),
        threads=args.threads,
        baseline=args.baseline,
        budget=Budget(**budget),
        title=args.title,
        say=say,
    )
    return Output({"page": str(page)}, str(page))


COMMANDS = (
    Command(
        ("study",),
        "one page of what compression gave: size, speed, IoU",
        _study_arguments,
        _study,
        out_folder,
    ),
)
