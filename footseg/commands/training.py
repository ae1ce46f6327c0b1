"""``footseg train``, ``evaluate`` and ``predict``."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from footseg.commands._command import Arguments, Command, Output, out_folder, say
from footseg.commands._shared import (
    ends_arguments,
    given_training_options,
    keras_ends,
    resumed,
    threads_argument,
    training_options,
)
from footseg.errors import require
from footseg.run import RECORD
from footseg.terminal import counted
from footseg.training import config


def _train_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("network", nargs="?", default=argparse.SUPPRESS, help="see footseg networks")
    sub.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    sub.add_argument("--config", type=Path, metavar="FILE.toml", help="options from a file; flags win")
    sub.add_argument("--preset", help=f"a set of options: {', '.join(sorted(config.PRESETS))}")
    sub.add_argument("--resume", action="store_true", help="go on with the unfinished run in RUN")
    sub.add_argument("--force", action="store_true", help="replace the run in RUN")
    sub.add_argument(
        "--distribute", action="store_true",
        help="use all GPUs, and all processes where KERAS_DISTRIBUTION_* are set (KERAS_BACKEND=jax)",
    )  # fmt: skip
    training_options(sub, "options", "Each is also a key of the TOML file.")


def _train(args: Arguments) -> Output:
    require("keras", "train")
    require("tensorboardX", "train")
    from footseg.training.train import train

    resolved = config.resolve(
        preset=args.preset,
        file=args.config,
        flags=given_training_options(args),
        resumed=args.out / "config.toml" if args.resume else None,
    )
    run = train(
        resolved, args.out, resume=args.resume, force=args.force, distribute=args.distribute,
        command=args.command_line, say=say if not sys.stderr.isatty() else lambda line: None,
    )  # fmt: skip
    text = (
        f"{run.path}: {run.network}, {counted(run.epochs_done, 'epoch')} in {run.seconds / 60:.1f} min, "
        f"best validation IoU {run.score('val_iou'):.4f} (epoch {run.score('epoch'):.0f})"
    )
    return Output(dataclasses.asdict(run), text)


def _run_folder(args: Arguments) -> Path | None:
    """The run's; of several processes that train one run together, the first one's only, which writes it."""
    first = os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "0") == "0"
    return out_folder(args) if first else None


def _evaluate_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL", help=".keras, .tflite, .onnx or a run's folder")
    sub.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data set")
    sub.add_argument("--split", default="test", help="train, val or test (default: test)")
    sub.add_argument("--out", type=Path, metavar="DIR", help="scores an image, and pictures, go there")
    threads_argument(sub)
    ends_arguments(sub)


def _evaluate(args: Arguments) -> Output:
    from footseg.data.folder import shorten
    from footseg.evaluate import evaluate

    ends = keras_ends(args.model, args, args.data)
    evaluation = evaluate(args.model, args.data, args.split, args.out, threads=args.threads, ends=ends)
    scores = evaluation.metrics
    text = (
        f"{evaluation.model} on {evaluation.images} images of {evaluation.data}/{evaluation.split}: "
        f"IoU {scores['iou']:.4f} (mean over images {scores['iou_per_image']:.4f}), "
        f"boundary F {scores['boundary_f']:.4f} (within {scores['boundary_tolerance_px']} px), "
        f"pixel accuracy {scores['pixel_accuracy']:.4f}"
    )
    if evaluation.unlabelled:
        text += f"; left out, as no pixel of them is labelled: {shorten(evaluation.unlabelled)}"
    worst = ", ".join(f"{row.name} ({row.iou:.2f})" for row in evaluation.per_image[:3])
    return Output(evaluation.to_json(), f"{text}\nworst: {worst}")


def _predict_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL", help=".keras, .tflite, .onnx or a run's folder")
    sub.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="photographs, or folders of them")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="masks and overlays go there")
    threads_argument(sub)
    ends_arguments(sub)


def _predict(args: Arguments) -> Output:
    from footseg.predict import foreground, predict

    ends = keras_ends(args.model, args)
    done = predict(args.model, args.images, args.out, threads=args.threads, ends=ends)
    what = foreground(args.model)
    lines = [f"{item.overlay}  {what} on {item.foot_share:.1%} of the pixels" for item in done]
    return Output([dataclasses.asdict(item) for item in done], "\n".join(lines))


COMMANDS = (
    Command(
        ("train",),
        "train a network on a data set",
        _train_arguments,
        _train,
        _run_folder,
        resumed("train", RECORD),
    ),
    Command(("evaluate",), "score a model on a data set", _evaluate_arguments, _evaluate, out_folder),
    Command(
        ("predict",), "write masks and overlays of photographs", _predict_arguments, _predict, out_folder
    ),
)
