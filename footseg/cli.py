"""The command tree: reads arguments, calls the one function that does the work, prints what it found.

Nothing heavy is imported here; a command's work is imported when the command is called. The outer
packages (export, benchmarks) are named as strings, because footseg does not depend on them.
"""

import argparse
import contextlib
import dataclasses
import importlib
import json
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from footseg import __version__, config, files
from footseg.errors import FootsegError, require
from footseg.quiet import native_quiet

Arguments = argparse.Namespace


@dataclass(frozen=True)
class Output:
    """What a command found: ``document`` for --json, ``text`` for people, ``ok`` for the exit code."""

    document: Any
    text: str
    ok: bool = True


@dataclass(frozen=True)
class Command:
    """One command: its words, its help, its arguments and its work."""

    words: tuple[str, ...]
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    work: Callable[[Arguments], Output]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 done, 1 a clear error, 2 wrong usage, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Before any import of TensorFlow: its start-up notes bury the messages that matter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    args = parser().parse_args(arguments)
    args.command_line = shlex.join(["footseg", *arguments])
    try:
        quietly = contextlib.nullcontext() if args.debug else native_quiet()
        with quietly, files.disk_errors(Path(getattr(args, "out", None) or ".")):
            output: Output = args.work(args)
        text = json.dumps(output.document, indent=2, default=str) if args.json else output.text
        if text:
            print(text, flush=True)  # noqa: T201
        return 0 if output.ok else 1
    except (FootsegError, ValueError) as error:
        if args.debug:
            traceback.print_exc()
        elif _is_ours(error):
            say(f"footseg: {' '.join(str(error).split())}")
        else:
            raise
        return 130 if getattr(error, "interrupted", False) else 1
    except KeyboardInterrupt:
        say("footseg: interrupted")
        return 130
    except BrokenPipeError:  # footseg ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> argparse.ArgumentParser:
    """The whole command tree."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    top = argparse.ArgumentParser(
        "footseg", description="Real-time segmentation on phones: train, compress, export, measure, ship."
    )
    top.add_argument("--version", action="version", version=f"footseg {__version__}")
    listed: dict[str, Any] = {"title": "commands", "metavar": "COMMAND", "required": True}
    groups: dict[tuple[str, ...], Any] = {(): top.add_subparsers(**listed)}
    for words, text in GROUPS.items():
        group = groups[words[:-1]].add_parser(words[-1], help=text, description=text)
        groups[words] = group.add_subparsers(**listed)
    for command in COMMANDS:
        sub = groups[command.words[:-1]].add_parser(
            command.words[-1], parents=[common], help=command.help, description=command.help
        )
        command.add_arguments(sub)
        sub.set_defaults(work=command.work)
    return top


def say(line: str) -> None:
    """Progress and errors go to standard error, so that standard output stays a document."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def _is_ours(error: Exception) -> bool:
    """Whether an error is a message for the user: ours, or a ValueError that our own code raised.

    A ValueError from the depths of another package is a fault in footseg and keeps its traceback.
    """
    if isinstance(error, FootsegError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    here = Path(__file__).resolve().parents[1]
    ours = [here / package for package in ("footseg", "export", "benchmarks", "android_harness")]
    return bool(frames) and any(Path(frames[-1].filename).resolve().is_relative_to(p) for p in ours)


def _load(name: str) -> Any:
    """A function named "module:function", imported now."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


# ---- demo, doctor, networks


def _demo_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--data", type=Path, metavar="DIR", help="your own photographs (default: drawn feet)")
    sub.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="default: demo")
    sub.add_argument("--seed", type=int, default=0, help="of the drawings, the training and the calibration")


def _demo(args: Arguments) -> Output:
    report = _load("footseg.demo:demo")(args.out, data=args.data, seed=args.seed, command=main, say=say)
    return Output({"report": str(report)}, f"\nOpen {report} in a browser, or send it to your phone.")


def _doctor(args: Arguments) -> Output:
    findings = _load("footseg.doctor:diagnose")()
    width = max(len(f.name) for f in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:8}{finding.name:{width}}  {finding.detail}")
        if finding.fix:
            lines.append(f"{'':8}{'':{width}}  -> {finding.fix}")
    healthy = all(f.status == "ok" for f in findings if f.required)
    return Output([dataclasses.asdict(f) for f in findings], "\n".join(lines), ok=healthy)


def _networks_arguments(sub: argparse.ArgumentParser) -> None:
    _size_argument(sub)


def _networks(args: Arguments) -> Output:
    require("keras", "train")
    networks, cost_of = importlib.import_module("footseg.networks"), _load("benchmarks.cost:cost_of_keras")
    rows = []
    for name in networks.names():
        for variant, figures in networks.variants(name).items():
            try:
                cost = cost_of(networks.build(name, (*args.size, 3), **figures["options"]))
            except ValueError as error:  # a size that its strides do not allow
                say(f"left out: {error}")
                continue
            rows.append(
                {
                    "name": name,
                    "variant": variant,
                    "options": figures["options"],
                    "paper": figures.get("paper", networks.reference(name)["paper"]),
                    "published": figures.get("paper_figures", {}),
                    "size": list(args.size),
                    "megabytes": cost.parameters * 4 / 1e6,
                    **cost.summary(),
                }
            )
    heads = ("network", "parameters", "MB fp32", "MACs", "FLOPs (2 MAC)", "FLOPs (TF tool)", "published")
    cells = [
        (
            " ".join([row["name"], *(f"{option}={value}" for option, value in row["options"].items())]),
            f"{row['parameters']:,}",
            f"{row['megabytes']:.2f}",
            *(f"{row[rule] / 1e9:.3f} G" for rule in ("macs", "flops", "flops_tf_benchmark")),
            _published(row["published"]),
        )
        for row in rows
    ]
    return Output(rows, f"at {args.size[0]}x{args.size[1]}, two classes\n" + _table(heads, cells))


def _published(figures: Mapping[str, Any]) -> str:
    """What a paper says of a network's size and work; "at" is the input it says it of, where not 256x256."""
    words = {
        "parameters": (1e6, "M parameters"),
        "size_mb": (1, "MB"),
        "macs": (1e9, "G MACs"),
        "flops": (1e9, "G FLOPs"),
        "flops_tf_benchmark": (1e9, "G (TF tool)"),
    }
    said = [f"{figures[key] / unit:.4g} {word}" for key, (unit, word) in words.items() if key in figures]
    return ", ".join(said) + (f" at {figures['at']}" if "at" in figures else "")


# ---- data


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
    _size_argument(sub)
    sub.add_argument("--seed", type=int, default=0, help="the same seed makes the same images")
    sub.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw")
    sub.add_argument("--force", action="store_true", help="replace the folder")


def _synth(args: Arguments) -> Output:
    if bool(args.feet) != bool(args.floors):
        given, other = ("--feet", "--floors") if args.feet else ("--floors", "--feet")
        raise FootsegError(f"{given} needs {other} DIR too: feet are cut from one and laid on the other")
    counts = _synth_counts(args)
    rest = (counts, args.seed, tuple(args.size), args.workers, args.force)
    if args.feet:
        _load("footseg.data.composite:write_composites")(args.out, args.feet, args.floors, *rest)
    else:
        _load("footseg.data.shapes:write_shapes")(args.out, *rest)
    return Output(
        {"data": str(args.out), "images": counts},
        f"{sum(counts.values())} images in {args.out}: "
        + ", ".join(f"{n} {split}" for split, n in counts.items()),
    )


def _synth_counts(args: Arguments) -> dict[str, int]:
    """Images by split: --count divided, or --train, --val and --test."""
    named = {split: getattr(args, split) for split in DRAWN}
    if args.count is None:
        return {split: DRAWN[split] if count is None else count for split, count in named.items()}
    if any(count is not None for count in named.values()):
        raise FootsegError("give --count N, or --train, --val and --test, not both")
    return _load("footseg.data.composite:counts_of")(args.count)


def _check_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("data", type=Path, metavar="DIR", help="folder of the data set")
    sub.add_argument(
        "--fix", action="store_true", help="convert masks that can be converted; originals are kept"
    )


def _check(args: Arguments) -> Output:
    fixed = _load("footseg.data.check:fix_masks")(args.data) if args.fix else None
    report = _load("footseg.data.check:check")(args.data)
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
    out = _load("footseg.data.preview:preview")(args.data, args.out, args.split, args.count)
    return Output({"preview": str(out)}, f"{out}")


# ---- train, evaluate, predict


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
    options = sub.add_argument_group("options", "Each is also a key of the TOML file.")
    hints = get_type_hints(config.TrainConfig)
    for option in dataclasses.fields(config.TrainConfig):
        if option.name != "network":
            _add_option(options, option, hints[option.name])


def _add_option(group: Any, option: "dataclasses.Field[Any]", kind: Any) -> None:
    """A flag for one field of TrainConfig; an absent flag leaves no trace, so that the file can win."""
    flag = "--" + option.name.replace("_", "-")
    text = option.metadata["help"]
    keywords: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text}
    if option.default not in ("", dataclasses.MISSING):
        default = option.default
        shown = " ".join(str(part) for part in default) if isinstance(default, tuple) else default
        keywords["help"] = f"{text} (default {shown})".replace("%", "%%")
    if kind == dict[str, Any]:
        group.add_argument(flag, action=_Pairs, metavar="NAME=VALUE", **keywords)
    elif kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **keywords)
    elif kind == tuple[int, int]:
        group.add_argument(flag, type=int, nargs="+", metavar="PIXELS", action=_Size, **keywords)
    elif kind == tuple[str, ...]:
        group.add_argument(flag, nargs="+", metavar="NAME", **keywords)
    else:
        group.add_argument(flag, type=kind, metavar=option.name.upper()[:1], **keywords)


class _Pairs(argparse.Action):
    """Collects NAME=VALUE; a value that is JSON (a number, true, a list) is read as such, else as text."""

    def __call__(
        self, parser: Any, namespace: Arguments, values: Any, option_string: str | None = None
    ) -> None:
        name, equals, value = values.partition("=")
        if not equals:
            parser.error(f"{option_string} takes NAME=VALUE, not {values!r}")
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = value
        setattr(namespace, self.dest, {**getattr(namespace, self.dest, {}), name: parsed})


class _Size(argparse.Action):
    """One number for a square, or height and width."""

    def __call__(
        self, parser: Any, namespace: Arguments, values: Any, option_string: str | None = None
    ) -> None:
        if len(values) > 2:
            parser.error(f"{option_string} takes one number or a height and a width")
        setattr(namespace, self.dest, (values[0], values[-1]))


def _size_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--size", type=int, nargs="+", action=_Size, default=(256, 256), metavar="PIXELS",
        help="height and width, or one number for both (default 256)",
    )  # fmt: skip


def _train(args: Arguments) -> Output:
    require("keras", "train")
    require("tensorboardX", "train")
    names = {option.name for option in dataclasses.fields(config.TrainConfig)}
    flags = {name: value for name, value in vars(args).items() if name in names}
    resolved = config.resolve(
        preset=args.preset,
        file=args.config,
        flags=flags,
        resumed=args.out / "config.toml" if args.resume else None,
    )
    run = _load("footseg.train:train")(
        resolved, args.out, resume=args.resume, force=args.force, distribute=args.distribute,
        command=args.command_line, say=say if not sys.stderr.isatty() else lambda line: None,
    )  # fmt: skip
    text = (
        f"{run.path}: {run.network}, {run.epochs_done} epochs in {run.seconds / 60:.1f} min, "
        f"best validation IoU {run.best['val_iou']:.4f} (epoch {run.best['epoch']:.0f})"
    )
    return Output(dataclasses.asdict(run), text)


def _evaluate_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL", help=".keras, .tflite, .onnx or a run's folder")
    sub.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data set")
    sub.add_argument("--split", default="test", help="train, val or test (default: test)")
    sub.add_argument("--out", type=Path, metavar="DIR", help="scores an image, and pictures, go there")
    _threads_argument(sub)


def _evaluate(args: Arguments) -> Output:
    evaluation = _load("footseg.evaluate:evaluate")(
        args.model, args.data, args.split, args.out, threads=args.threads
    )
    scores = evaluation.metrics
    text = (
        f"{evaluation.model} on {evaluation.images} images of {evaluation.data}/{evaluation.split}: "
        f"IoU {scores['iou']:.4f} (mean over images {scores['iou_per_image']:.4f}), "
        f"boundary F {scores['boundary_f']:.4f} (within {scores['boundary_tolerance_px']} px), "
        f"pixel accuracy {scores['pixel_accuracy']:.4f}"
    )
    worst = ", ".join(f"{row.name} ({row.iou:.2f})" for row in evaluation.per_image[:3])
    return Output(evaluation.to_json(), f"{text}\nworst: {worst}")


def _predict_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL", help=".keras, .tflite, .onnx or a run's folder")
    sub.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="photographs, or folders of them")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="masks and overlays go there")
    _threads_argument(sub)


def _predict(args: Arguments) -> Output:
    done = _load("footseg.predict:predict")(args.model, args.images, args.out, threads=args.threads)
    lines = [f"{item.overlay}  foot on {item.foot_share:.1%} of the pixels" for item in done]
    return Output([dataclasses.asdict(item) for item in done], "\n".join(lines))


# ---- export, bench, report


def _export_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="artifacts and sidecars go there")
    sub.add_argument(
        "--to", nargs="+", choices=("tflite", "onnx"), default=["tflite"], help="default: tflite"
    )
    sub.add_argument(
        "--precision", nargs="+", choices=("fp32", "fp16", "int8"), default=["fp32"], help="default: fp32"
    )
    sub.add_argument(
        "--data", type=Path, metavar="DIR", help="data set to verify on (default: the run's own)"
    )
    sub.add_argument("--calibration", type=int, default=64, metavar="N", help="training images for int8 (64)")
    sub.add_argument("--seed", type=int, default=0, help="which training images (default 0)")
    sub.add_argument(
        "--io", choices=("float32", "int8"), default="float32", help="input and output of int8 files"
    )
    _threads_argument(sub)


def _export(args: Arguments) -> Output:
    require("tensorflow", "train")
    artifacts = _load("export:export_run")(
        args.run,
        args.out,
        formats=tuple(args.to),
        precisions=tuple(args.precision),
        data_dir=args.data,
        calibration_count=args.calibration,
        seed=args.seed,
        threads=args.threads,
        io=args.io,
        say=say,
    )
    lines = [
        f"{artifact.path}  {artifact.path.stat().st_size / 1e6:.2f} MB, verified" for artifact in artifacts
    ]
    return Output([dataclasses.asdict(artifact) for artifact in artifacts], "\n".join(lines))


def _bench_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT", help=".tflite or .onnx files")
    sub.add_argument("--on", choices=("host",), default="host", help="where to run (default: host)")
    sub.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append a line an artifact to this file")
    sub.add_argument("--runs", type=int, default=50, help="inferences timed at least (default 50)")
    _threads_argument(sub)


def _bench(args: Arguments) -> Output:
    measured = _load("benchmarks.host:measure_all")(args.artifacts, args.threads, runs=args.runs)
    if args.out:
        for measurement in measured:
            _load("benchmarks.measurement:append_line")(args.out, measurement)
    text = _load("benchmarks.measurement:as_table")(measured)
    return Output([measurement.to_json() for measurement in measured], text)


def _report_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("results", type=Path, metavar="RESULTS.jsonl", help="measurements by footseg bench")
    sub.add_argument(
        "--run", type=Path, nargs="+", default=[], metavar="RUN", help="training curves of these"
    )
    sub.add_argument(
        "--evaluation", type=Path, nargs="+", default=[], metavar="DIR", help="accuracy and pictures of these"
    )
    sub.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )
    sub.add_argument("--title", default="footseg report", help="heading of the page")


def _report(args: Arguments) -> Output:
    out = _load("benchmarks.report:write_report")(
        args.results, args.out, runs=args.run, evaluations=args.evaluation, title=args.title
    )
    return Output({"report": str(out)}, str(out))


# ---- reproduce


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
    _threads_argument(sub)
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
    names = {option.name for option in dataclasses.fields(_load("footseg.reproduce.settings:Settings"))}
    given = {name: value for name, value in vars(args).items() if name in names}
    # It takes the many networks of one process for one network that is traced again and again.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    document = _load("footseg.reproduce.thesis:reproduce")(
        args.out, given, students=args.students, threads=args.threads,
        command=_to_stderr, cost_of=_load("benchmarks.cost:cost_of_keras"), say=say,
    )  # fmt: skip
    page = args.out / "tables" / "README.md"
    return Output(document, f"{page.read_text(encoding='utf-8')}\n{page}")


def _to_stderr(words: Sequence[str]) -> int:
    """Run a command as a step of another one, whose standard output stays its own."""
    with contextlib.redirect_stdout(sys.stderr):
        return main(words)


# ---- the tree


def _threads_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the runtime (default 1)")


def _no_arguments(sub: argparse.ArgumentParser) -> None:
    """For commands that take none but the common ones."""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; all but the first and the last flush right."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    last = len(heads) - 1
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if i in (0, last) else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    )


GROUPS = {
    ("data",): "make, check and look at data sets",
    ("reproduce",): "make published results anew",
}

COMMANDS = (
    Command(
        ("demo",), "the whole path in minutes, on drawn feet or your own photographs", _demo_arguments, _demo
    ),
    Command(("doctor",), "what is installed, what is missing, how to get it", _no_arguments, _doctor),
    Command(("networks",), "the networks, with parameters and cost", _networks_arguments, _networks),
    Command(
        ("data", "synth"),
        "make a data set of feet on floors, drawn or from photographs",
        _synth_arguments,
        _synth,
    ),
    Command(("data", "check"), "find what is wrong with a data set", _check_arguments, _check),
    Command(("data", "preview"), "draw a contact sheet with overlays", _preview_arguments, _preview),
    Command(("train",), "train a network on a data set", _train_arguments, _train),
    Command(("evaluate",), "score a model on a data set", _evaluate_arguments, _evaluate),
    Command(("predict",), "write masks and overlays of photographs", _predict_arguments, _predict),
    Command(("export",), "write verified .tflite and .onnx files of a run", _export_arguments, _export),
    Command(("bench",), "measure latency, memory, size and cost of artifacts", _bench_arguments, _bench),
    Command(("report",), "make a page of measurements", _report_arguments, _report),
    Command(
        ("reproduce", "thesis"),
        "train and measure all of the thesis's networks, ours beside its figures",
        _thesis_arguments,
        _thesis,
    ),
)
