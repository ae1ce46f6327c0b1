"""Google's benchmark_model on a device: finding it, its command line, a run of it.

There are two programs of this name. The older one drives TensorFlow Lite's interpreter; the one of LiteRT 2
drives a CompiledModel and has other flags (``use_cpu``, ``use_npu``, ``use_profiler``). It gives no raw
samples: a sample is the mean of a process. Flags are those of their sources and README; neither program could
be run here. What a build does not know it leaves aside with a warning, which is an error here: where a flag
was not read, something else was measured.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from footseg.android_harness.ask import Shell, ask
from footseg.android_harness.benchmark_output import Interface, Timing, parse, refuse_start
from footseg.android_harness.errors import HarnessError

# Where people put it; the first that may be executed is taken.
PLACES = (
    "/data/local/tmp/benchmark_model",
    "/data/local/tmp/*benchmark_model*",
    "/data/local/tmp/*/*benchmark_model*",
    "/data/benchmark*/*benchmark_model*",
)


@dataclass(frozen=True)
class Options:
    """What the tool is asked to do. None leaves a choice to its build.

    Raises:
        ValueError: values that cannot be meant.
    """

    threads: int = 1
    xnnpack: bool | None = None  # False: TensorFlow Lite's own kernels
    gpu: bool = False
    warmup_runs: int = 1
    warmup_secs: float = 0.5  # at least so long, however many runs that is
    runs: int = 50
    min_secs: float = 1.0
    max_secs: float = 150.0
    profile: bool = False  # each operator's time; slows the run down a little
    cores: tuple[int, ...] = ()  # (): as the system likes

    def __post_init__(self) -> None:
        smallest = {"threads": 1, "runs": 1, "warmup_runs": 0, "warmup_secs": 0, "min_secs": 0, "max_secs": 0}
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")


def mask(cores: Sequence[int]) -> str:
    """The affinity mask that ``taskset`` takes: hexadecimal, without 0x; core 0 is its lowest bit.

    Raises:
        ValueError: no cores, or a negative one.
    """
    if not cores or min(cores) < 0:
        raise ValueError(f"a mask needs cores from 0 on, got {list(cores)}")
    return f"{sum(1 << core for core in set(cores)):x}"


@dataclass(frozen=True)
class Tool:
    """The program on the device. ``flags`` are those it knows; empty where it did not tell them."""

    path: str
    interface: Interface = "Interpreter"
    flags: frozenset[str] = frozenset()


def find(device: Shell) -> str | None:
    """The path of the tool on a device; None where none is.

    Raises:
        HarnessError: there is one that may not be executed; or of the device.
    """
    told = 'if [ -x "$f" ]; then echo "x $f"; else echo "- $f"; fi'
    loop = f'for f in {" ".join(PLACES)}; do if [ -f "$f" ]; then {told}; fi; done'
    answer = ask(device, {"tool": loop})["tool"]
    lines = (re.search(r"([x-]) (/.*benchmark_model.*)$", line) for line in answer)
    found = [(match[1], match[2].strip()) for match in lines if match]
    for state, path in found:
        if state == "x":
            return path
    for _, path in found:
        if path.endswith("/benchmark_model"):
            raise HarnessError(f"{path} may not be executed: adb shell chmod 755 {path}")
    return None


def look(device: Shell, path: str) -> Tool:
    """Which of the two programs this is and what flags it knows, by its help.

    A flag's value that cannot be read makes every build print its help and end.

    Raises:
        HarnessError: it does not start; or of the device.
    """
    said = device.shell([path, "--num_runs=help"], timeout=30, check=False)
    text = _log(said.stdout, said.stderr)
    refuse_start(text, said.returncode, (path,))
    flags = frozenset(re.findall(r"^\s*--(\w+)=", text, re.MULTILINE))
    compiled = "use_npu" in flags and "enable_op_profiling" not in flags
    return Tool(path, "CompiledModel" if compiled else "Interpreter", flags)


def arguments(tool: Tool, model: str, options: Options) -> list[str]:
    """The command that measures ``model`` (a path on the device).

    Raises:
        HarnessError: this build knows no flag for an option that was asked for.
    """
    wanted = _common(model, options)
    wanted |= _compiled(options) if tool.interface == "CompiledModel" else _interpreter(options)
    unknown = [name for name in wanted if tool.flags and name not in tool.flags]
    for name in OPTIONAL & set(unknown):
        del wanted[name]
        unknown.remove(name)
    if unknown:
        raise HarnessError(
            f"{tool.path} ({tool.interface}) knows no --{' and no --'.join(unknown)}: leave that option"
            " out or use another build of the tool"
        )
    pinned = ["taskset", mask(options.cores)] if options.cores else []
    return [*pinned, tool.path, *(f"--{name}={value}" for name, value in wanted.items())]


# Without it a build prints its profile as a table, which is read as well.
OPTIONAL = frozenset({"op_profiling_output_mode"})


def _common(model: str, options: Options) -> dict[str, str]:
    """Flags of both programs."""
    return {
        "graph": model,
        "num_threads": str(options.threads),
        "warmup_runs": str(options.warmup_runs),
        "warmup_min_secs": f"{options.warmup_secs:g}",
        "num_runs": str(options.runs),
        "min_secs": f"{options.min_secs:g}",
        "max_secs": f"{options.max_secs:g}",
    }


def _interpreter(options: Options) -> dict[str, str]:
    flags: dict[str, str] = {}
    if options.gpu:
        flags["use_gpu"] = "true"
    if options.xnnpack is not None:
        flags["use_xnnpack"] = str(options.xnnpack).lower()
    if options.profile:
        flags |= {"enable_op_profiling": "true", "op_profiling_output_mode": "csv"}
    return flags


def _compiled(options: Options) -> dict[str, str]:
    asked = {"xnnpack": options.xnnpack is not None, "profile": options.profile}
    if any(asked.values()):
        names = ", ".join(name for name, is_asked in asked.items() if is_asked)
        raise HarnessError(
            f"this benchmark_model is LiteRT 2's CompiledModel tool, which knows no option for {names}: leave"
            " that out or use TensorFlow Lite's"
        )
    return {"use_gpu": "true"} if options.gpu else {"use_cpu": "true"}


def run(device: Shell, tool: Tool, model: str, options: Options, *, timeout: float | None = None) -> Timing:
    """Measure ``model`` with one process of the tool.

    Args:
        device: where tool and model are.
        tool: of ``look``, or one whose flags are not known.
        model: its path on the device.
        options: what to measure.
        timeout: seconds; by default what ``options`` allow and a minute for the rest.

    Raises:
        HarnessError: the tool failed, left a flag aside, or did not use the delegate that was asked for.
    """
    command = arguments(tool, model, options)
    limit = timeout or 2 * options.max_secs + 60
    said = device.shell(command, timeout=limit, check=False)
    timing = parse(_log(said.stdout, said.stderr), returncode=said.returncode, command=command)
    return _used(timing, options, command)


def _used(timing: Timing, options: Options, command: Sequence[str]) -> Timing:
    """The timing with notes on the delegates, if it is of what was asked for."""
    shares = {delegate.name: delegate.share for delegate in timing.delegates}
    notes = list(timing.notes)
    for name, asked in (("GPU", options.gpu), ("XNNPACK", options.xnnpack)):
        share = shares.get(name, "not told")
        instead = name == "GPU" and share == "not told" and shares.get("XNNPACK") == "all"
        if asked and (share == "none" or instead):
            raise HarnessError(
                f"the {name} delegate ran nothing of this model, the time is not its own: measure without",
                command=command,
            )
        if asked and share == "part":
            notes.append(f"the {name} delegate ran a part of the model, the rest ran without it")
        if asked and share == "not told":
            notes.append(f"the tool does not tell how much of the model its {name} delegate ran")
    if options.xnnpack is False and shares.get("XNNPACK", "none") != "none":
        raise HarnessError("XNNPACK ran although it was switched off; use another build", command=command)
    return dataclasses.replace(timing, notes=tuple(notes))


def _log(stdout: str, stderr: str) -> str:
    """Builds differ in which of the two they write their log to."""
    return f"{stdout}\n{stderr}".replace("\r", "")
