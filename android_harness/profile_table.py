"""The operator profile that benchmark_model prints: a table of text, or lines with commas.

Columns are those of TensorFlow's StatsCalculator: node type, start (older builds), first, mean, share, share
so far, memory, times called, name. Types of XNNPACK hold commas themselves, "Convolution (NHWC, F32) GEMM":
columns are found from the numbers, not from the commas.
"""

import re
from dataclasses import dataclass

NUMBER = r"-?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|nan|inf)"
GAP = r"(?:,\s*|\s+)"
TIMES = rf"(?P<first>{NUMBER}){GAP}(?P<mean>{NUMBER}){GAP}(?P<share>{NUMBER})%"
END = rf"{GAP}{NUMBER}%{GAP}{NUMBER}{GAP}(?P<called>\d+)(?:{GAP}(?P<name>\S.*?))?\s*$"
ROW = re.compile(rf"^\s*(?P<node>\S.*?){GAP}{TIMES}{END}")
ROW_WITH_START = re.compile(rf"^\s*(?P<node>\S.*?){GAP}{NUMBER}{GAP}{TIMES}{END}")


@dataclass(frozen=True)
class ProfiledOperator:
    """One operator of the graph, or one step of a delegate, over the runs of one process."""

    node: str  # "CONV_2D", "TfLiteXNNPackDelegate", "Convolution (NHWC, F32) IGEMM"
    name: str  # the tensors it makes
    first_ms: float
    mean_ms: float
    share: float  # 0 to 1, of all of its table
    called: int  # times in an inference


def tables(text: str) -> tuple[tuple[ProfiledOperator, ...], tuple[ProfiledOperator, ...], tuple[str, ...]]:
    """Operators of the runs and steps inside of delegates, in run order; and what was passed over, in words.

    The profile of the initialization is not one of inference; a subgraph's is already part of its caller's.
    """
    initialization = inside = has_start = False
    section, subgraph, subgraphs = "", False, 0
    own: list[ProfiledOperator] = []
    within: list[ProfiledOperator] = []
    for line in text.splitlines():
        if "Profiling Info for" in line:
            initialization, inside, subgraph = "Initialization" in line, False, False
        elif "Delegate internal:" in line:
            inside, subgraph = True, False
        elif re.search(r"(Primary|Sub)graph .*profile:", line, re.IGNORECASE):
            subgraph = "primary" not in line.lower()
            subgraphs += subgraph
        elif title := re.search(r"=== (.+?) ===", line):
            section = title[1].strip("= ")
        elif "node type" in line:
            has_start = "start" in line
        elif initialization or subgraph or section != "Run Order":
            continue
        elif operator := _row(line, has_start):
            (within if inside else own).append(operator)
    notes = (f"operators of {subgraphs} subgraphs are part of those that call them",) if subgraphs else ()
    return tuple(own), tuple(within), notes


def _row(line: str, has_start: bool) -> ProfiledOperator | None:
    match = (ROW_WITH_START if has_start else ROW).match(line)
    if match is None:
        return None
    return ProfiledOperator(
        node=match["node"],
        name=re.sub(r"^\[(.*)\](?::\d+)?$", r"\1", match["name"] or ""),
        first_ms=float(match["first"]),
        mean_ms=float(match["mean"]),
        share=float(match["share"]) / 100,
        called=int(match["called"]),
    )
