"""``footseg data``: make, check and look at data sets."""

import argparse
import os
from pathlib import Path

from footseg.commands._command import Arguments, Command, Output, out_folder
from footseg.commands._shared import size_argument
from footseg.errors import FootsegError

DRAWN = {"train": 400, "val": 60, "test": 60}


def _synth_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    sub.add_argument(
        "--feet", type=Path, metavar="DIR",
        help="photographs with masks (or with transparent background) to cut feet from (default: draw feet)",
    )  # fmt: skip
    sub.add_argument("--floors", type=Path, metavar="DIR", help="pictures of floors to lay them on")
    sub.add_argument("--count", type=int, metavar="N", help="images in all, in the thesis's shares")
    for split, count in DRAWN.items():
        sub.add_argument(f"--{split}", type=int, metavar="N", help=f"images, instead of --count ({count})")
    size_argument(sub)
    sub.add_argument("--seed", type=int, default=0, help="the same seed makes the same images")
    sub.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw")
    sub.add_argument("--force", action="store_true", help="replace the folder")


def _synth(args: Arguments) -> Output:
    from footseg.data.composite import write_composites
    from footseg.data.shapes import write_shapes
    from footseg.data.synth import SynthConfig

    if bool(args.feet) != bool(args.floors):
        given, other = ("--feet", "--floors") if args.feet else ("--floors", "--feet")
        raise FootsegError(f"{given} needs {other} DIR too: feet are cut from one and laid on the other")
    counts = _synth_counts(args)
    config = SynthConfig(counts, args.seed, tuple(args.size), args.workers, args.force)
    if args.feet:
        write_composites(args.out, args.feet, args.floors, config)
    else:
        write_shapes(args.out, config)
    return Output(
        {"data": str(args.out), "images": counts},
        f"{sum(counts.values())} images in {args.out}: "
        + ", ".join(f"{n} {split}" for split, n in counts.items()),
    )


def _synth_counts(args: Arguments) -> dict[str, int]:
    """Images by split: --count divided, or --train, --val and --test."""
    from footseg.data.synth import counts_of

    named = {split: getattr(args, split) for split in DRAWN}
    if args.count is None:
        return {split: DRAWN[split] if count is None else count for split, count in named.items()}
    if any(count is not None for count in named.values()):
        raise FootsegError("give --count N, or --train, --val and --test, not both")
    return counts_of(args.count)


def _check_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("data", type=Path, metavar="DIR", help="folder of the data set")
    sub.add_argument(
        "--fix", action="store_true", help="convert masks that can be converted; originals are kept"
    )


def _check(args: Arguments) -> Output:
    from footseg.data.check import check
    from footseg.data.mend import fix_masks

    fixed = fix_masks(args.data) if args.fix else None
    report = check(args.data)
    document = report.to_json() | ({"fixed": fixed.to_json()} if fixed else {})
    text = report.to_text() if not fixed else f"{fixed.to_text()}\n\n{report.to_text()}"
    return Output(document, text, ok=report.ok)


def _preview_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("data", type=Path, metavar="DIR", help="folder of the data set")
    sub.add_argument(
        "--out", type=Path, default=Path("preview.jpg"), metavar="FILE", help="default: preview.jpg"
    )
    sub.add_argument("--split", default="train", help="train, val or test (default: train)")
    sub.add_argument("--count", type=int, default=24, metavar="N", help="images shown (default 24)")


def _preview(args: Arguments) -> Output:
    from footseg.data.preview import preview

    out = preview(args.data, args.out, args.split, args.count)
    return Output({"preview": str(out)}, f"{out}")


COMMANDS = (
    Command(
        ("data", "synth"),
        "make a data set of feet on floors, drawn or from photographs",
        _synth_arguments,
        _synth,
        out_folder,
    ),
    Command(
        ("data", "check"),
        "find what is wrong with a data set",
        _check_arguments,
        _check,
        lambda args: args.data if args.fix else None,
    ),
    Command(
        ("data", "preview"), "draw a contact sheet with overlays", _preview_arguments, _preview, out_folder
    ),
)
