"""``footseg demo``, ``doctor`` and ``networks``: where one begins."""

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from footseg.commands._command import Arguments, Command, Output, out_folder, say
from footseg.commands._shared import no_arguments, size_argument
from footseg.errors import require
from footseg.terminal import table


def _demo_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--data", type=Path, metavar="DIR", help="your own photographs (default: drawn feet)")
    sub.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="default: demo")
    sub.add_argument("--seed", type=int, default=0, help="of the drawings, the training and the calibration")


def _demo(args: Arguments) -> Output:
    from footseg.demo import demo

    report = demo(args.out, data=args.data, seed=args.seed, say=say)
    return Output({"report": str(report)}, f"\nOpen {report} in a browser, or send it to your phone.")


def _doctor(args: Arguments) -> Output:
    from footseg.android_harness.toolchain import needs
    from footseg.doctor import Diagnosis, diagnose, tool
    from footseg.export.clients import install, known

    findings = diagnose()
    for need in needs():
        findings.append(tool(need.name, need.path, need.use, need.package))
    for client in known.CLIENTS:
        lack, name = install.missing(client), f"client {client.name}"
        detail = f"optional: footseg verify --on {client.name}; {lack.what}" if lack else client.title
        findings.append(Diagnosis(name, "missing" if lack else "ok", detail, lack.fix if lack else ""))
    width = max(len(f.name) for f in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:8}{finding.name:{width}}  {finding.detail}")
        if finding.fix:
            lines.append(f"{'':8}{'':{width}}  -> {finding.fix}")
    healthy = all(f.status == "ok" for f in findings if f.required)
    return Output([dataclasses.asdict(f) for f in findings], "\n".join(lines), ok=healthy)


# What the figure counts: Keras's, a little more than what is trained, and than what a file holds.
PARAMETERS = "parameters with the means and variances of batch normalisation"


def _networks_arguments(sub: argparse.ArgumentParser) -> None:
    size_argument(sub)


def _networks(args: Arguments) -> Output:
    require("keras", "train")
    from footseg import networks
    from footseg.benchmarks.cost import cost_of_keras

    rows = []
    for name in networks.names():
        for variant, figures in networks.variants(name).items():
            try:
                cost = cost_of_keras(networks.build(name, (*args.size, 3), **figures["options"]))
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
    head = f"at {args.size[0]}x{args.size[1]}, two classes; {PARAMETERS}"
    return Output(rows, f"{head}\n{table(heads, cells)}")


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


COMMANDS = (
    Command(
        ("demo",),
        "the whole path in minutes, on drawn feet or your own photographs",
        _demo_arguments,
        _demo,
        out_folder,
    ),
    Command(("doctor",), "what is installed, what is missing, how to get it", no_arguments, _doctor),
    Command(("networks",), "the networks, with parameters and cost", _networks_arguments, _networks),
)
