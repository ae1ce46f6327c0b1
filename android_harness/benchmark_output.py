"""What Google's benchmark_model prints, of the builds since 2018 and of LiteRT 2's tool of the same name.

Both print their times as ``count=... first=... avg=...`` in microseconds, for the warm-up and for the run;
older builds round the mean, newer ones give decimals and percentiles. The lines are those of the tools'
sources and of logs that people published; neither tool could be run here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from footseg.android_harness.errors import HarnessError
from footseg.android_harness.profile_table import ProfiledOperator, tables

Interface = Literal["Interpreter", "CompiledModel"]
# The tool's megabytes are 1024 x 1024 bytes.
MEBI = 1.048576


@dataclass(frozen=True)
class Runs:
    """Latency in milliseconds over the runs of one process."""

    count: int
    first_ms: float
    mean_ms: float


@dataclass(frozen=True)
class Delegate:
    """What became of a delegate: ``share`` is "all", "part" or "none" of the graph, in ``kernels`` pieces."""

    name: str
    share: str
    kernels: int | None = None
    nodes: tuple[int, int] | None = None  # delegated, of all


@dataclass(frozen=True)
class Timing:
    """All that one run of the tool told; what it did not is None or ()."""

    interface: Interface
    runs: Runs
    warmup: Runs | None = None
    init_ms: float | None = None
    first_inference_ms: float | None = None
    memory_mb: float | None = None  # MB (10^6 bytes) that loading and running added
    peak_memory_mb: float | None = None  # of the whole process, looked at from time to time
    delegates: tuple[Delegate, ...] = ()
    operators: tuple[ProfiledOperator, ...] = ()
    delegate_operators: tuple[ProfiledOperator, ...] = ()  # inside of delegates that tell
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[ProfiledOperator, ...]:
        """Operators in their order; in place of delegates, where they tell, what they did inside."""
        if not self.delegate_operators:
            return self.operators
        whose = [bool(re.search("delegate", step.node, re.IGNORECASE)) for step in self.operators]
        first = whose.index(True) if True in whose else len(whose)
        rest = [step for step, delegated in zip(self.operators, whose, strict=True) if not delegated]
        return (*rest[:first], *self.delegate_operators, *rest[first:])


def parse(text: str, *, returncode: int = 0, command: Sequence[str] = ()) -> Timing:
    """What the tool printed, of any build.

    Raises:
        HarnessError: it failed, left a flag aside, or printed no times.
    """
    text = _short_lines(text)
    _refuse(text, returncode, command)
    counted = [_runs(line) for line in re.findall(COUNT, text, re.MULTILINE)]
    if not counted or counted[-1] is None:
        raise _error("it printed no times", text, returncode, command)
    warmup = counted[-2] if len(counted) > 1 else None
    operators, inside, notes = tables(text)
    found = {name: _value(name, text) for name in VALUES}
    return Timing(
        interface="CompiledModel" if COMPILED.search(text) else "Interpreter",
        runs=counted[-1],
        warmup=warmup,
        init_ms=found["init"],
        first_inference_ms=warmup.first_ms if warmup else None,
        memory_mb=found["memory"],
        peak_memory_mb=found["peak"],
        delegates=_delegates(text),
        operators=operators,
        delegate_operators=inside,
        notes=notes,
    )


# Nothing that the tool prints is longer. A damaged line of 500,000 characters kept the patterns below busy
# for over a minute: what has gaps in it is tried from every place.
LONGEST_LINE = 2000


def _short_lines(text: str) -> str:
    return "\n".join(line[:LONGEST_LINE] for line in text.replace("\r", "").split("\n"))


# Profiles have such lines too, after the name of what they count.
COUNT = r"^(?:INFO: )?(count=.*)$"
COMPILED = re.compile(r"benchmark_litert_model|= BENCHMARK RESULTS =")
FLOAT = r"([\d.]+(?:e[+-]?\d+)?)"
# Of each, what older and newer builds and the CompiledModel tool print.
VALUES = {
    "init": (rf"Initialized session in {FLOAT} ?ms", rf"Model initialization: +{FLOAT} ms"),
    "memory": (rf"emory footprint.*\(MB\): init=\S+ overall={FLOAT}", rf"Overall footprint: +{FLOAT} MB"),
    "peak": (rf"peak memory footprint \(MB\) via .*: {FLOAT}", rf"Peak memory: +{FLOAT} MB"),
}


def _value(name: str, text: str) -> float | None:
    matches = (re.search(pattern, text) for pattern in VALUES[name])
    factor = MEBI if name in ("memory", "peak") else 1
    return next((float(match[1]) * factor for match in matches if match), None)


def _runs(line: str) -> Runs | None:
    """A line of counts, in microseconds; None for no runs. Equal times are printed once, "count=2 curr=7"."""
    has = {name: float(value) for name, value in re.findall(rf"(\w+)={FLOAT}", line)}
    if not has.get("count"):
        return None
    same = has.get("curr", 0.0)
    return Runs(int(has["count"]), has.get("first", same) / 1000, has.get("avg", same) / 1000)


APPLIED = (
    r"Explicitly applied (\S+) delegate, and the model graph will be (completely|partially)(?:.*w/ (\d+))?"
)
NOT_APPLIED = r"Though (\S+) delegate is explicitly applied, the model graph will not be executed"
REPLACED = r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions"
CREATED = r"Created TensorFlow Lite (\w+) delegate"


def _delegates(text: str) -> tuple[Delegate, ...]:
    """What the log says of each delegate, from its vaguest line to its most exact."""
    found: dict[str, Delegate] = {}
    for name in re.findall(CREATED, text):
        found[name] = Delegate(name, "not told")
    for nodes, of, long, kernels in re.findall(REPLACED, text):
        name = next((known for known in ("XNNPACK", "GPU", "NNAPI") if known.lower() in long.lower()), long)
        share = "all" if nodes == of else "part" if int(nodes) else "none"
        found[name] = Delegate(name, share, int(kernels), (int(nodes), int(of)))
    for name, share, kernels in re.findall(APPLIED, text):
        nodes_of = found[name].nodes if name in found else None
        word = "all" if share == "completely" else "part"
        found[name] = Delegate(name, word, int(kernels) if kernels else 1, nodes_of)
    for name in re.findall(NOT_APPLIED, text):
        found[name] = Delegate(name, "none", 0)
    return tuple(found.values())


# What the log says where the tool fails, and what to do; the first that fits is told.
STARTING = {
    r"not executable.*|Exec format error": "it is built for another processor than this device's",
    r"CANNOT LINK EXECUTABLE.*|error while loading shared libraries.*": "a library that it needs is missing",
    r".*(?:not found|No such file or directory).*": "it is not there: push it first",
    r".*[Pp]ermission denied.*": "it may not be executed: chmod 755, below /data/local/tmp",
}
RUNNING = {
    r".*taskset: .*": "it cannot be pinned to these cores: they are off or closed to the shell",
    r"Failed to parse flag.*": "it cannot read a flag",
    r"Could not open .*|Failed to mmap model.*": ("the model is not there or cannot be read"),
    r".*not a valid Flatbuffer.*|.*has model identifier.*": "the file is no .tflite model",
    r"Didn't find op for builtin opcode.*|.*unresolved custom op.*|.*Unsupported op.*": (
        "this build does not know an operator of the model: use a newer one"
    ),
    r"Failed to load model.*": "the model cannot be read",
    r"Failed to apply \S+ delegate.*": "a delegate refused the model: measure without it",
    r"Failed to create .* delegate.*": "this build or this device has no such delegate",
    r"Disallowed CPU fallback.*": "no delegate takes the whole model",
    r"Failed to read the input_layer_value_file.*|The size of .* It should be .*": (
        "a file of input values does not fit the model"
    ),
    r"Failed to allocate tensors.*|.*bad_alloc.*": "its tensors cannot be allocated",
}
# Exit codes of a shell whose program was ended by a signal.
SIGNALS = {134: "it aborted", 137: "it was killed, often for want of memory", 139: "it crashed"}


def _refuse(text: str, returncode: int, command: Sequence[str]) -> None:
    """Raise for a run that is not what was asked for."""
    unread = re.search(r"Unconsumed cmdline flags: *(.*\S)", text)
    if unread:
        raise HarnessError(
            f"benchmark_model left flags aside that its build does not know: {unread[1]}; leave these options"
            " out or use another build",
            command=command,
            returncode=returncode,
        )
    refuse_start(text, returncode, command)
    if returncode or "Benchmarking failed" in text:
        for pattern, words in RUNNING.items():
            if line := re.search(pattern, text):
                raise _error(f"{words} ({line[0].strip()[:160]})", text, returncode, command)
        raise _error(SIGNALS.get(returncode, f"it ended with code {returncode}"), text, returncode, command)


def refuse_start(text: str, returncode: int, command: Sequence[str]) -> None:
    """Raise for a program that did not start: 126 and 127 are a shell's codes for that.

    Only then: "not found" also stands in the log of a run that looked for OpenCL.

    Raises:
        HarnessError: it did not start.
    """
    text = _short_lines(text)
    for pattern, words in STARTING.items():
        line = re.search(pattern, text)
        if line and (returncode in (126, 127) or "CANNOT LINK" in line[0]):
            raise _error(f"{words} ({line[0].strip()[:160]})", text, returncode, command)
    if returncode in SIGNALS or returncode in (126, 127):
        raise _error(SIGNALS.get(returncode, "it cannot be started"), text, returncode, command)


def _error(why: str, text: str, returncode: int, command: Sequence[str]) -> HarnessError:
    last = [line.strip() for line in text.splitlines() if line.strip()][-1:]
    end = f"; the last it said: {last[0][:160]}" if last and last[0][:160] not in why else ""
    return HarnessError(
        f"benchmark_model failed: {why}{end}", command=command, returncode=returncode, stderr=text
    )
