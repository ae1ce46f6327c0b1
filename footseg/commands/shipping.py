"""``footseg export``, ``bench`` and ``report``: from a run to measured files."""

import argparse
import dataclasses
from pathlib import Path

from footseg.commands._shared import Arguments, Command, Output, load, say, threads_argument
from footseg.errors import require


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
    threads_argument(sub)


def _export(args: Arguments) -> Output:
    require("tensorflow", "train")
    artifacts = load("export:export_run")(
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
    threads_argument(sub)


def _bench(args: Arguments) -> Output:
    measured = load("benchmarks.host:measure_all")(args.artifacts, args.threads, runs=args.runs)
    if args.out:
        for measurement in measured:
            load("benchmarks.measurement:append_line")(args.out, measurement)
    text = load("benchmarks.measurement:as_table")(measured)
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
    out = load("benchmarks.report:write_report")(
        args.results, args.out, runs=args.run, evaluations=args.evaluation, title=args.title
    )
    return Output({"report": str(out)}, str(out))


COMMANDS = (
    Command(("export",), "write verified .tflite and .onnx files of a run", _export_arguments, _export),
    Command(("bench",), "measure latency, memory, size and cost of artifacts", _bench_arguments, _bench),
    Command(("report",), "make a page of measurements", _report_arguments, _report),
)
