"""``footseg export``: from a run to verified files."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from footseg import clients, files
from footseg.artifact import FORMATS, Artifact
from footseg.commands._command import Arguments, Command, Output, out_folder, say
from footseg.commands._shared import ends_arguments, run_folder, threads_argument
from footseg.errors import require
from footseg.export.precisions import ESTIMATORS, INTEGER_ENDS, IO, PRECISIONS, TARGETS
from footseg.graphs.ends import OUTPUTS
from footseg.terminal import table, wrapped

if TYPE_CHECKING:
    from footseg.export.auto import AutoConfig


def _export_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", type=Path, metavar="RUN", help="folder of a run, or a .keras file")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="artifacts and sidecars go there")
    sub.add_argument("--to", nargs="+", choices=FORMATS, default=["tflite"], help="default: tflite")
    sub.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=["fp32"], metavar="P",
        help=f"{', '.join(PRECISIONS)} (default: fp32)",
    )  # fmt: skip
    sub.add_argument(
        "--auto", type=float, metavar="LOSS",
        help="instead: the smallest mixture of precisions that loses at most so much IoU, as 0.005",
    )  # fmt: skip
    sub.add_argument(
        "--sensitivity", action="store_true", help="instead: what each operator costs when it alone is int8"
    )
    sub.add_argument(
        "--images", type=int, default=128, metavar="N",
        help="validation images that --auto and --sensitivity score on (128)",
    )  # fmt: skip
    sub.add_argument(
        "--margin", type=float, default=1.0, metavar="X",
        help="standard errors of the loss that must fit into --auto's, too (1)",
    )  # fmt: skip
    sub.add_argument("--fast", action="store_true", help="--auto tries only what runs in integers")
    sub.add_argument("--no-speed", action="store_true", help="do not time the files against fp32")
    sub.add_argument(
        "--no-clients", action="store_true", help="do not try the files in other people's runtimes"
    )
    sub.add_argument(
        "--data", type=Path, metavar="DIR", help="data set to verify on (default: the run's own)"
    )
    sub.add_argument("--calibration", type=int, default=64, metavar="N", help="training images for int8 (64)")
    sub.add_argument("--seed", type=int, default=0, help="which training images (default 0)")
    sub.add_argument(
        "--ranges", choices=ESTIMATORS, default="minmax",
        help="how ranges of activations and weights are estimated (default: minmax)",
    )  # fmt: skip
    sub.add_argument(
        "--keep", nargs="+", default=[], metavar="TENSOR",
        help="operators that stay in float, by the names of their outputs, as --sensitivity gives them",
    )  # fmt: skip
    sub.add_argument(
        "--io", choices=IO, default="float32",
        help="what the files take: float32 in [0, 1]; uint8, pixels; int8, the codes of "
        f"{' and '.join(INTEGER_ENDS)} files, as their logits then are, too (default: float32)",
    )  # fmt: skip
    sub.add_argument(
        "--output", choices=OUTPUTS, default="logits",
        help="what they give: logits; probabilities; foreground, that of the second of two classes; mask, "
        "the numbers of the classes (default: logits)",
    )  # fmt: skip
    sub.add_argument(
        "--for", choices=TARGETS, default="any", dest="made_for",
        help="any: GPUs run it, too (default); cpu: what is faster without them, NAME_cpu.tflite",
    )  # fmt: skip
    threads_argument(sub)
    ends_arguments(sub)


def _export(args: Arguments) -> Output:
    require("tensorflow", "train")
    args.run = run_folder(args.run, args)
    if args.auto is not None:
        return _export_auto(args)
    if args.sensitivity:
        return _export_sensitivity(args)
    from footseg import paired
    from footseg.export.pipeline import export_run

    artifacts = export_run(
        args.run,
        args.out,
        formats=tuple(args.to),
        precisions=tuple(args.precision),
        data_dir=args.data,
        calibration_count=args.calibration,
        seed=args.seed,
        threads=args.threads,
        io=args.io,
        output=args.output,
        made_for=args.made_for,
        ranges=args.ranges,
        keep=tuple(args.keep),
        speed=not args.no_speed,
        say=say,
    )
    if not args.no_clients:
        from footseg.export.clients.verifying import checked

        artifacts = checked(artifacts, args.data, say)
    doubts = [paired.doubts(paired.decisions(artifact.verification)) for artifact in artifacts]
    lines = [
        f"{artifact.path}  {files.size(artifact.path) / 1e6:.2f} MB, "
        + ("verified" if artifact.verification else "converted, not run")
        + (f", but {doubt}" if doubt else "")
        for artifact, doubt in zip(artifacts, doubts, strict=True)
    ]
    told = ["\n".join([line, *_where(artifact)]) for line, artifact in zip(lines, artifacts, strict=True)]
    return Output([dataclasses.asdict(artifact) for artifact in artifacts], "\n".join(told))


def _where(artifact: Artifact) -> list[str]:
    """Where a file runs and where not, for people."""
    return [wrapped(f"  {line}", indent=4) for line in clients.summary(artifact.clients)]


def _export_auto(args: Arguments) -> Output:
    from footseg.benchmarks.pages import frontier
    from footseg.export.auto import auto

    if args.made_for != "any":
        raise ValueError(f"--for {args.made_for} is not for --auto, whose files run anywhere: leave it out")
    found = auto(args.run, args.out, _auto_config(args, args.auto), say)
    page = frontier.write(found.record)
    return Output(dataclasses.asdict(found.frontier), f"{found.artifact.path}\n{found.record}\n{page}")


def _auto_config(args: Arguments, max_loss: float) -> "AutoConfig":
    from footseg.export.auto import AutoConfig

    same = ("images", "margin", "fast", "io", "output", "ranges", "seed", "threads")
    given = {name: getattr(args, name) for name in same}
    return AutoConfig(max_loss, data_dir=args.data, calibration_count=args.calibration, **given)


def _export_sensitivity(args: Arguments) -> Output:
    from footseg.export.auto import costs

    found, saved = costs(args.run, args.out, _auto_config(args, 0.0), say)
    rows = [
        (cost.layer, f"{cost.iou_loss:+.4f}", f"{cost.logit_error:.4f}", f"{cost.bytes_saved:,}", cost.kind)
        for cost in found.ranked()
    ]
    heads = ("layer", "IoU lost", "logit error", "bytes saved", "operator")
    return Output(found.to_json(), f"{table(heads, rows)}\n{saved}")


COMMANDS = (
    Command(
        ("export",),
        "write verified .tflite, .onnx and .mlpackage files of a run",
        _export_arguments,
        _export,
        out_folder,
    ),
)
