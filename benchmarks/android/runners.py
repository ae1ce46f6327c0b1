"""The two programs that time a file on a phone: our own runner, and Google's benchmark_model.

Both answer the same three questions: how long does a file take, how does that compare with another file,
and what does an inference take from the battery. Accuracy is always asked of our own runner: benchmark_model
makes no masks.
"""

import dataclasses
import math
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from footseg import comparison
from footseg.android_harness import benchmark_model, energy
from footseg.android_harness.benchmark_output import Timing, parse
from footseg.android_harness.conditions import Conditions
from footseg.android_harness.errors import HarnessError
from footseg.android_harness.runner import Plan, Said
from footseg.android_harness.session import Session
from footseg.artifact import Artifact
from footseg.benchmarks import profiles
from footseg.benchmarks.android.request import PhoneJob, PhoneRequest
from footseg.benchmarks.measurement import ColdStart, Latency, OperatorTime, SpeedAgainstPeak

# Fresh starts whose median cold start counts, and the inferences of each: the last tells how long one takes.
COLD_STARTS = 5
COLD_RUNS = 3
# Warm-up: so long that the clock has risen, which takes phones some tenths of a second.
WARMUP_SECONDS = 0.5
WARMUP_RUNS = (3, 100)
# Inferences with the profiler on.
PROFILED = 30
# Of a comparison: turns of each file in a start at most, and inferences of a turn.
TURNS = 16
TURN = 4
# Seconds that any start may take, and for its inferences ten times as long as they took before.
PATIENCE = 300.0
# What our runner multiplies, for lines that tell of it.
PRODUCT = "float32 matrix product 96x96x128 on one thread, in the runner"


@dataclass(frozen=True)
class Pushed:
    """A file and the path that it has on the phone."""

    artifact: Artifact
    remote: str


@dataclass(frozen=True)
class Timed:
    """What timing one file gave."""

    latency: Latency
    cold_start: ColdStart | None
    peak_memory_mb: float | None = None
    profile: tuple[OperatorTime, ...] = ()
    gflops: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    def calibration(self, macs: int, threads: int) -> SpeedAgainstPeak | None:
        """The share of the processor's own speed at matrix products; None where that was not measured."""
        if not self.gflops:
            return None
        return SpeedAgainstPeak.of(PRODUCT, self.gflops, self.latency, macs, threads)


# The ratios of each round, of each fresh start, as ``comparison.interval`` takes them.
Starts = list[list[float]]


class Runner(Protocol):
    """A program on a phone that times files."""

    runtime: str
    version: str

    @classmethod
    def on(cls, session: Session, job: PhoneJob, cores: tuple[int, ...]) -> "Runner":
        """Ready on a phone, to run on these cores (none: the system chooses).

        Raises:
            HarnessError: it is nowhere on the phone, or does not start there.
        """
        ...

    def time(self, file: Pushed) -> Timed:
        """Cold starts, latency, memory and, where asked for, operators of one file."""
        ...

    def in_turns(self, file: Pushed, baseline: Pushed) -> Starts:
        """The file's time over the baseline's, the two run in turns."""
        ...

    def energy(self, file: Pushed, gauge: energy.Gauge, before: Conditions, work: "Work") -> energy.Fuel:
        """What an inference takes from the battery."""
        ...


@dataclass(frozen=True)
class Work:
    """Steady work beside the fuel gauge: seconds of rest before it, its seconds, ms of an inference."""

    idle_s: float
    busy_s: float
    inference_ms: float

    @property
    def inferences(self) -> int:
        """How many fill ``busy_s``."""
        return max(1, math.ceil(1e3 * self.busy_s / self.inference_ms))

    @property
    def limit_s(self) -> float:
        """Seconds after which it is given up."""
        return PATIENCE + self.idle_s + 10 * self.busy_s


class OwnRunner:
    """Our runner, by LiteRT's CompiledModel on the processor with XNNPACK; one sample is one inference."""

    runtime = "LiteRT"

    def __init__(self, session: Session, request: PhoneRequest, cores: tuple[int, ...], version: str) -> None:
        self.session, self.request, self.cores, self.version = session, request, cores, version

    @classmethod
    def on(cls, session: Session, job: PhoneJob, cores: tuple[int, ...]) -> "OwnRunner":
        """The one that the session has pushed."""
        assert job.kit is not None
        return cls(session, job.request, cores, job.kit.litert_version)

    def time(self, file: Pushed) -> Timed:
        """Cold starts first: their last inferences tell how many fill the time that was asked for."""
        colds = [self._run(self._plan(file, runs=COLD_RUNS)) for _ in range(COLD_STARTS)]
        each_ms = statistics.median(cold.samples_ms[0][-1] for cold in colds)
        runs = max(self.request.runs, math.ceil(1e3 * self.request.min_seconds / each_ms))
        plan = self._plan(
            file,
            warmup=_warmup(each_ms),
            runs=runs,
            calibrate=True,
            profile=PROFILED * self.request.profile,
        )
        said = self._run(plan, (plan.warmup + runs + plan.profile) * each_ms)
        peaks = [cold.peak_memory_mb for cold in colds if cold.peak_memory_mb is not None]
        notes = {
            "LiteRT runs parts of this file outside of XNNPACK": said.fully_accelerated is False,
            "no profile: LiteRT told of other steps in each inference": _is_uneven(said, plan.profile),
        }
        return Timed(
            latency=Latency.of(said.samples_ms[0], plan.warmup),
            cold_start=ColdStart(
                statistics.median(cold.load_ms[0] for cold in colds),
                statistics.median(cold.first_ms[0] for cold in colds),
            ),
            peak_memory_mb=round(statistics.median(peaks), 2) if peaks else None,
            profile=_steps(said, file.artifact.path, plan.profile),
            gflops=tuple(speed for speed in said.gflops if speed > 0),
            notes=tuple(note for note, holds in notes.items() if holds),
        )

    def in_turns(self, file: Pushed, baseline: Pushed) -> Starts:
        """Both files in one process, A B B A, which is first drawn anew for each start.

        The number of turns follows from the speed of the start before, that of starts from the clock: neither
        from the ratios, which would make chance findings of them.
        """
        pair_ms = 0.0  # a turn of each

        def start(first: bool) -> list[float]:
            nonlocal pair_ms
            pair = (file, baseline) if first else (baseline, file)
            budget_ms = 1e3 * self.request.seconds / self.request.starts
            turns = int(min(max(budget_ms / pair_ms, 2), TURNS)) // 2 * 2 if pair_ms else 2
            plan = Plan(
                models=tuple(one.remote for one in pair),
                threads=self.request.threads,
                warmup=TURN,
                rounds=turns,
                turn=TURN,
                pin=self.cores,
            )
            said = self._run(plan, (turns + 1) * pair_ms)  # warming is as long as a turn
            pair_ms = TURN * sum(statistics.median(samples) for samples in said.samples_ms)
            own, other = said.samples_ms if first else reversed(said.samples_ms)
            return [comparison.round_ratio(own[i : i + 2], other[i : i + 2]) for i in range(0, turns, 2)]

        return _within(self.request, start)

    def energy(self, file: Pushed, gauge: energy.Gauge, before: Conditions, work: Work) -> energy.Fuel:
        """One start of many inferences; its loading is left out."""
        plan = self._plan(file, runs=work.inferences)
        log = self.session.remote("energy.log")
        command = energy.beside(
            self.session.command(plan), gauge, log, idle_s=work.idle_s, limit_s=work.limit_s
        )
        said = self.session.run(plan, timeout=work.limit_s, command=command)
        text = self.session.device.shell(["cat", log]).stdout
        skip_s = (said.load_ms[0] + said.first_ms[0]) / 1e3
        return energy.fuel(energy.read(text), plan.runs, before, skip_s=skip_s)

    def images(self, file: Pushed, **options: Any) -> Said:
        """Run the file on images; ``options`` are those of ``Plan`` that name them."""
        return self.session.run(self._plan(file, **options), timeout=10 * PATIENCE)

    def _plan(self, file: Pushed, **options: Any) -> Plan:
        return Plan((file.remote,), threads=self.request.threads, pin=self.cores, **options)

    def _run(self, plan: Plan, expected_ms: float = 0.0) -> Said:
        return self.session.run(plan, timeout=PATIENCE + 10 * expected_ms / 1e3)


class BenchmarkModel:
    """Google's tool; one sample is the mean of one process, for it tells no more."""

    runtime = "benchmark_model"

    def __init__(
        self, session: Session, request: PhoneRequest, cores: tuple[int, ...], tool: benchmark_model.Tool
    ) -> None:
        self.session, self.request, self.cores, self.tool = session, request, cores, tool
        kind = "GPU" if request.gpu else "" if request.xnnpack else "without XNNPACK"
        self.runtime = f"benchmark_model ({kind})" if kind else "benchmark_model"
        # The tool does not tell its version: the same bytes are the same build.
        said = session.device.shell(["sha256sum", tool.path], check=False).stdout.split()
        self.version = f"{tool.interface}, sha256 {said[0][:12]}" if said else tool.interface

    @classmethod
    def on(cls, session: Session, job: PhoneJob, cores: tuple[int, ...]) -> "BenchmarkModel":
        """The file that was given, here or on the phone, else the one that is found there."""
        wanted = job.request.benchmark_model
        if wanted and Path(wanted).is_file():
            path: str | None = session.program(Path(wanted), "benchmark_model")
        else:
            path = wanted or benchmark_model.find(session.device)
        if path is None:
            raise HarnessError(
                "no benchmark_model on the phone: give --benchmark-model FILE, Google's tool for Android "
                "arm64"
            )
        return cls(session, job.request, cores, benchmark_model.look(session.device, path))

    def time(self, file: Pushed) -> Timed:
        """As many processes as our own runner makes cold starts, and one more for operators."""
        found = [self._run(file) for _ in range(COLD_STARTS)]
        profiled = self._run(file, profile=True) if self.request.profile else None
        count = round(statistics.median(timing.runs.count for timing in found))
        loads = [timing.init_ms for timing in found if timing.init_ms is not None]
        firsts = [t.first_inference_ms for t in found if t.first_inference_ms is not None]
        memory = [timing.memory_mb for timing in found if timing.memory_mb is not None]
        cold = ColdStart(statistics.median(loads), statistics.median(firsts)) if loads and firsts else None
        notes = {note for timing in (*found, *filter(None, [profiled])) for note in timing.notes}
        notes |= {f"delegate {d.name}: {d.share} of the graph" for timing in found for d in timing.delegates}
        return Timed(
            latency=Latency.of(
                [timing.runs.mean_ms for timing in found],
                round(statistics.median(timing.warmup.count if timing.warmup else 0 for timing in found)),
                runs_per_sample=count,
            ),
            cold_start=cold,
            peak_memory_mb=round(statistics.median(memory), 2) if memory else None,
            profile=tuple(
                OperatorTime(step.name or step.node, step.node, step.mean_ms, profiled.runs.count)
                for step in (profiled.steps if profiled else ())
                if profiled
            ),
            notes=tuple(sorted(notes)),
        )

    def in_turns(self, file: Pushed, baseline: Pushed) -> Starts:
        """Processes of the two in turns; which is first is drawn anew for each pair."""

        def start(first: bool) -> list[float]:
            pair = (file, baseline) if first else (baseline, file)
            means = [self._run(one).runs.mean_ms for one in pair]
            own, other = means if first else reversed(means)
            return [comparison.round_ratio([own], [other])]

        return _within(self.request, start)

    def energy(self, file: Pushed, gauge: energy.Gauge, before: Conditions, work: Work) -> energy.Fuel:
        """One process of the tool that does nothing else; its loading is left out."""
        log = self.session.remote("energy.log")
        options = dataclasses.replace(
            self._options(), runs=work.inferences, min_secs=0.0, warmup_runs=1, warmup_secs=0.0
        )
        command = benchmark_model.arguments(self.tool, file.remote, options)
        beside = energy.beside(command, gauge, log, idle_s=work.idle_s, limit_s=work.limit_s)
        said = self.session.device.shell(beside, timeout=work.limit_s, check=False)
        timing = parse(f"{said.stdout}\n{said.stderr}", returncode=said.returncode, command=command)
        text = self.session.device.shell(["cat", log]).stdout
        inferences = timing.runs.count + (timing.warmup.count if timing.warmup else 0)
        return energy.fuel(energy.read(text), inferences, before, skip_s=(timing.init_ms or 0.0) / 1e3)

    def _options(self, **options: Any) -> benchmark_model.Options:
        # LiteRT 2's tool has no such flag, and the GPU's delegate is asked for instead of XNNPACK.
        silent = self.request.gpu or (self.tool.interface == "CompiledModel" and self.request.xnnpack)
        return benchmark_model.Options(
            threads=self.request.threads,
            xnnpack=None if silent else self.request.xnnpack,
            gpu=self.request.gpu,
            runs=self.request.runs,
            min_secs=self.request.min_seconds,
            max_secs=max(PATIENCE / 2, 2 * self.request.min_seconds),
            cores=self.cores,
            **options,
        )

    def _run(self, file: Pushed, **options: Any) -> Timing:
        return benchmark_model.run(self.session.device, self.tool, file.remote, self._options(**options))


# Those of ``targets.RUNNERS``.
RUNNERS: Mapping[str, type[Runner]] = {"footseg": OwnRunner, "benchmark_model": BenchmarkModel}


def _warmup(each_ms: float) -> int:
    least, most = WARMUP_RUNS
    return int(min(max(1e3 * WARMUP_SECONDS / each_ms, least), most))


def _within(request: PhoneRequest, start: Callable[[bool], list[float]]) -> Starts:
    """Fresh starts until the time is up; a coin for each tells whether the file goes first."""
    numbers = comparison.within(request.seconds, request.starts, request.confidence)
    return [start(random.random() < 0.5) for _ in numbers]


def _is_uneven(said: Said, runs: int) -> bool:
    """Whether the steps of the profile cannot be those of ``runs`` inferences all alike."""
    return runs > 0 and len(said.profile) % runs > 0


def _steps(said: Said, path: Path, runs: int) -> tuple[OperatorTime, ...]:
    """The median of each step over ``runs`` inferences, by the file's own name for it where that is found."""
    if not runs or _is_uneven(said, runs):
        return ()
    steps = len(said.profile) // runs
    tags = [tag for tag, _ in said.profile[:steps]]
    names = profiles.own_names(tags, profiles.operators(path))
    return tuple(
        OperatorTime(name, tag, statistics.median(us for _, us in said.profile[i::steps]) / 1e3, runs)
        for i, (name, tag) in enumerate(zip(names, tags, strict=True))
    )
