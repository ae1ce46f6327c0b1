"""Latency, cold start, memory and size of artifacts on the machine at hand, each in a fresh process."""

import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from benchmarks.measurement import ColdStart, Latency, Measurement, Relative
from footseg import artifact, provenance, runtime
from footseg.errors import FootsegError

# Warm-up goes in batches of this many runs and ends when a batch's median is no longer faster, to
# this factor, than the one before it (caches filled, clock frequency up).
WARMUP_BATCH = 5
WARMUP_GAIN = 0.98
# Runs that one file makes in a row in a comparison: the first, in caches the other file has just used,
# is thrown away; the median of the others stands for the turn.
TURN = 6


def measure(
    path: Path, threads: int = 1, *, runs: int = 50, min_seconds: float = 1.0, max_warmup: int = 50
) -> Measurement:
    """Measure one artifact.

    Args:
        path: a .tflite (run by LiteRT) or .onnx (run by ONNX Runtime) file.
        threads: of the runtime, 1 or more.
        runs: inferences timed at least, after warm-up.
        min_seconds: time that they take at least: a fast network is run more often.
        max_warmup: inferences thrown away at most before the clock runs.

    Raises:
        FootsegError: no such file, not a model, or the process that ran it died.
        ValueError: fewer than one thread or run.
    """
    if threads < 1 or runs < 1:
        raise ValueError(f"threads and runs must be 1 or more, not {threads} and {runs}")
    facts = artifact.load(path)
    with _worker(path, threads) as worker:
        warmup_runs = _warm_up(worker, max_warmup)
        samples = _sample(worker, runs, min_seconds)
        memory = worker.close()
    return Measurement.of_file(
        facts,
        kind="measured",
        device=provenance.machine(),
        runtime=worker.hello["runtime"],
        runtime_version=worker.hello["runtime_version"],
        threads=threads,
        latency=Latency.of(samples, warmup_runs),
        cold_start=ColdStart(worker.hello["load_ms"], worker.hello["first_inference_ms"]),
        peak_memory_mb=round(memory["peak_memory_mb"], 2),
        delegation=runtime.delegation(path, threads) if facts.format == "tflite" else None,
    )


def measure_all(
    paths: Sequence[Path], threads: int = 1, *, rounds: int = 15, **options: Any
) -> list[Measurement]:
    """Measure each artifact, then all of them in turns against the first fp32 .tflite (else the first).

    ``options`` are those of ``measure``. Nothing is compared when there is one file only.

    Raises:
        FootsegError, ValueError: as ``measure``.
    """
    measured = [measure(path, threads, **options) for path in tqdm(paths, desc="bench", disable=None)]
    if len(measured) < 2:
        return measured
    fp32 = [i for i, m in enumerate(measured) if (m.artifact.format, m.artifact.recipe) == ("tflite", "fp32")]
    baseline = fp32[0] if fp32 else 0
    order = [baseline, *(i for i in range(len(paths)) if i != baseline)]
    ratios = dict(zip(order, compare([paths[i] for i in order], threads, rounds), strict=True))
    return [dataclasses.replace(m, relative=ratios[i]) for i, m in enumerate(measured)]


def compare(paths: Sequence[Path], threads: int = 1, rounds: int = 15) -> tuple[Relative, ...]:
    """Latency of each artifact over that of the first one (itself 1), the files run in turns.

    Each file is loaded once in a process of its own. In a round each has one turn, in alternating
    order (A B, B A, ...), so that a slow drift of the machine's speed cancels; the ratio is the median over
    the rounds of the turns' ratios. Other processes wait meanwhile and take no time.

    Raises:
        FootsegError, ValueError: as ``measure``.
    """
    if len(paths) < 2 or rounds < 1:
        raise ValueError(
            f"compare needs two paths or more and one round or more, not {len(paths)} and {rounds}"
        )
    facts = artifact.load(paths[0])
    turns: list[list[float]] = [[] for _ in paths]
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(path, threads)) for path in paths]
        for worker in workers:
            _warm_up(worker, 2 * WARMUP_BATCH)
        forth = list(range(len(paths)))
        for turn in tqdm(range(rounds), desc="compare", disable=None):
            for i in forth if turn % 2 == 0 else reversed(forth):
                turns[i].append(statistics.median(workers[i].run(TURN)[1:]))
    return tuple(
        Relative(
            to=facts.name,
            to_sha256=facts.sha256,
            ratio=statistics.median(ratios),
            rounds=rounds,
            ratios=ratios,
        )
        for own in turns
        for ratios in [tuple(a / b for a, b in zip(own, turns[0], strict=True))]
    )


class _Worker:
    """The other end of benchmarks.worker: asks for runs, and tells what killed the process if it died."""

    def __init__(self, process: "subprocess.Popen[str]", path: Path, stderr: IO[str]) -> None:
        self._process, self._path, self._stderr = process, path, stderr
        self.hello = self._answer()

    def run(self, times: int) -> list[float]:
        """Milliseconds of ``times`` inferences."""
        return self._ask(f"{times}\n")

    def close(self) -> dict[str, float]:
        """End the process; its peak memory."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._answer()

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; reading its answer says how
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._stderr.seek(0)
        last = (self._stderr.read().strip().splitlines() or ["it said nothing"])[-1]
        if code == 1:  # the worker's own one-line error, or Python's
            raise FootsegError(last)
        died = f"was killed by {signal.Signals(-code).name}" if code < 0 else "ended early"
        raise FootsegError(
            f"the process measuring {self._path} {died} (exit code {code}): {last}; "
            "the file may be damaged or too large for this machine's memory"
        )


@contextmanager
def _worker(path: Path, threads: int) -> Iterator[_Worker]:
    """A worker with ``path`` loaded; killed at the end if it has not ended by itself."""
    root = str(Path(__file__).resolve().parents[1])
    python_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", str(path), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "PYTHONPATH": python_path},
        )
        try:
            yield _Worker(process, path, stderr)
        finally:
            process.kill()
            process.wait()
            for pipe in filter(None, (process.stdin, process.stdout)):
                with suppress(BrokenPipeError):  # a request that the dead process never read
                    pipe.close()


def _warm_up(worker: _Worker, most: int) -> int:
    """Run until the time no longer falls, or ``most`` runs; the number of runs made."""
    done, before = 0, float("inf")
    while done < most:
        batch = min(WARMUP_BATCH, most - done)
        now = statistics.median(worker.run(batch))
        done += batch
        if now > WARMUP_GAIN * before:
            break
        before = now
    return done


def _sample(worker: _Worker, runs: int, min_seconds: float) -> list[float]:
    """At least ``runs`` samples that took at least ``min_seconds`` together."""
    start = time.monotonic()
    samples = worker.run(runs)
    while time.monotonic() - start < min_seconds:
        samples += worker.run(runs)
    return samples
