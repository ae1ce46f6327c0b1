"""``footseg bench`` and ``report``: from files to measurements to a page."""

import argparse
from pathlib import Path

from footseg.benchmarks.targets import KINDS, RUNNERS
from footseg.commands._command import Arguments, Command, Output, out_folder, say


def _bench_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT", help=".tflite or .onnx files")
    sub.add_argument(
        "--on", action="append", metavar="WHERE",
        help="; ".join([*(kind.help for kind in KINDS.values()), "may be repeated"]),
    )  # fmt: skip
    sub.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append a line an artifact to this file")

    def option(flag: str, **keywords: object) -> None:
        """One that leaves no trace where it is not given, so that each place keeps its own default."""
        group.add_argument(flag, default=argparse.SUPPRESS, **keywords)  # type: ignore[arg-type]

    group = sub.add_argument_group("how to measure")
    option("--threads", type=int, metavar="N", help="of the runtime (host, android; default 1)")
    option("--runs", type=int, metavar="N", help="inferences timed at least (host, android; default 50)")
    option(
        "--seconds", type=float, metavar="S",
        help="that comparing a file with the fp32 one may take (host: 10, android: 20)",
    )  # fmt: skip
    option("--profile", action="store_true", help="time each operator, too (host, android)")
    option(
        "--pin", metavar="CORES",
        help="run on these processor cores, as 4-7 or 4,5 (host, android); or of a phone big (its fastest "
        "cluster, often one core), middle or little",
    )  # fmt: skip
    group = sub.add_argument_group("accuracy where it runs (arm, android)")
    option("--data", type=Path, metavar="DIR", help="data set whose masks are compared with the host's")
    option("--split", metavar="NAME", help="of the data set (default test)")
    option("--images", type=int, metavar="N", help="of the split (arm: 8; android: all)")
    group = sub.add_argument_group("phones (android)")
    option(
        "--runner", choices=RUNNERS,
        help=f"what times the file: {', or '.join(RUNNERS.values())} (default: footseg)",
    )  # fmt: skip
    option("--benchmark-model", metavar="PATH", help="Google's tool, here or on the phone")
    option("--gpu", action="store_true", help="with its GPU delegate (benchmark_model only)")
    option(
        "--no-xnnpack", dest="xnnpack", action="store_false", help="without XNNPACK (benchmark_model only)"
    )
    option("--no-cool", dest="cool", action="store_false", help="do not wait for the phone to cool down")
    option("--no-energy", dest="energy", action="store_false", help="do not read the battery's fuel gauge")
    group = sub.add_argument_group("against stored results")
    group.add_argument(
        "--gate",
        type=Path,
        metavar="BASELINE.jsonl",
        help="hold the results against these; exit 1 if one is worse or could not be checked, 3 if nobody "
        "can tell of one",
    )
    option(
        "--allow", type=float, metavar="RATIO",
        help="now / then of time, instructions and bytes that is all right (default 1.05)",
    )  # fmt: skip
    option("--allow-iou", type=float, metavar="LOSS", help="IoU that may be lost (default 0.005)")
    group.add_argument(
        "--allow-unknown",
        action="store_true",
        help="exit 0 also where nothing is worse but of some figure nobody can tell (else 3)",
    )


def _bench(args: Arguments) -> Output:
    from footseg.benchmarks import bench, gate_table, table
    from footseg.benchmarks import gate as gate_

    # Flags leave no trace where they are not given.
    known = sorted(set().union(*(kind.options for kind in KINDS.values())))
    options = {name: getattr(args, name) for name in known if hasattr(args, name)}
    limits = {name: getattr(args, name) for name in ("allow", "allow_iou") if hasattr(args, name)}
    baseline = None
    if args.gate:
        baseline = gate_.baseline(args.gate, out=args.out, **limits)
    elif limits or args.allow_unknown:
        flag = "--" + next(iter(limits), "allow_unknown").replace("_", "-")
        raise ValueError(f"{flag} means nothing without --gate BASELINE.jsonl")
    found = bench.bench(args.artifacts, args.on or ["host"], out=args.out, say=say, **options)
    text = table.as_table(found.measured)
    document: object = [measurement.to_json() for measurement in found.measured]
    passed, unsure = not found.failures, False
    if baseline is not None:
        gate = gate_.check(found.measured, baseline, **limits)
        text += "\n\n" + gate_table.as_text(gate)
        document = {"measurements": document, "gate": gate.to_json()}
        passed = passed and gate.ok
        unsure = gate.undecided and not args.allow_unknown
    return Output(document, text, ok=passed, unsure=unsure)


def _report_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "results", type=Path, metavar="RESULTS", help="results.jsonl of footseg bench, or a search's folder"
    )
    sub.add_argument(
        "--run", type=Path, nargs="+", default=[], metavar="RUN", help="training curves of these"
    )
    sub.add_argument(
        "--evaluation", type=Path, nargs="+", default=[], metavar="DIR", help="accuracy and pictures of these"
    )
    sub.add_argument(
        "--verified", type=Path, nargs="+", default=[], metavar="PAGE.json",
        help="what footseg verify --out found, as a part of the page",
    )  # fmt: skip
    sub.add_argument("--baseline", type=Path, metavar="FILE.jsonl", help="compare with these earlier results")
    sub.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )
    sub.add_argument("--title", help="heading of the page")


def _report(args: Arguments) -> Output:
    title = {"title": args.title} if args.title else {}
    if args.results.is_dir():
        for name in ("run", "evaluation", "verified", "baseline"):
            if getattr(args, name):
                raise ValueError(
                    f"--{name} means nothing with a folder: a search's page has all of its own runs"
                )
        from footseg.search.page import write_search_page

        out = write_search_page(args.results, args.out, **title)
        return Output({"report": str(out)}, str(out))
    from footseg.benchmarks.pages.report import write_report

    out = write_report(
        args.results,
        args.out,
        runs=args.run,
        evaluations=args.evaluation,
        verified=args.verified,
        baseline=args.baseline,
        say=say,
        **title,
    )
    return Output({"report": str(out)}, str(out))


COMMANDS = (
    Command(
        ("bench",), "measure artifacts on this machine, an emulated Arm processor or a phone",
        _bench_arguments, _bench,
    ),
    Command(
        ("report",), "make a page of measurements, or of a search", _report_arguments, _report, out_folder
    ),
)  # fmt: skip
