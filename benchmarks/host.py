"""Latency, cold start, memory and size of artifacts on the machine at hand, each in fresh processes.

A comparison asks one question, whether two files take the same time, and answers it with an interval; see
footseg/comparison.py for the statistics, benchmarks/experiments/trials.py for how often it is wrong. What
was measured on the way (FastLinkNet against itself, 12 to 24 starts, deviation of their log ratio):

    least of a turn 0.4 %, median of a turn 0.5 %: whatever disturbs an inference makes it longer
    both files on one core 0.4 %, where the system puts them 0.6 %
    beside four busy processes on two cores: processor time 0.2 to 0.9 %, the clock on the wall 3 to 10 %; so
        files on one thread are compared by processor time, but not on more, of which some only wait
"""

import dataclasses
import math
import os
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from footseg import artifact, comparison, provenance, runtime
from footseg.android_harness import ask
from footseg.benchmarks import fresh, places
from footseg.benchmarks.fresh import FreshProcess
from footseg.benchmarks.measurement import (
    ColdStart,
    Latency,
    Measurement,
    OperatorTime,
    Relative,
    SpeedAgainstPeak,
)
from footseg.benchmarks.worker import SIDE

# Warm-up goes in batches of this many runs and ends when a batch's median is no longer faster, to
# this factor, than the one before it (caches filled, clock frequency up).
WARMUP_BATCH = 5
WARMUP_GAIN = 0.98
# Fresh processes whose median cold start counts: a single one met a busy moment too often.
COLD_STARTS = 3
# A runtime starts as many threads as it is asked for, also more than the system has left for all.
MOST_THREADS = 1024
# Products of matrices before and after the timed runs, some milliseconds each.
PRODUCTS = 10
# Of a comparison: starts, rounds of each at most, inferences of a turn.
STARTS = 16
ROUNDS = 8
TURN = 4
SECONDS = 10.0
# Of a quick look: fresh processes, and inferences that warm each of them up.
QUICK_STARTS = 3
QUICK_WARMUP = 10


def measure(
    path: Path,
    threads: int = 1,
    *,
    runs: int = 50,
    min_seconds: float = 1.0,
    max_warmup: int = 50,
    profile: bool = False,
    pin: Sequence[int] = (),
) -> Measurement:
    """Measure one artifact.

    Args:
        path: a .tflite (run by LiteRT) or .onnx (run by ONNX Runtime) file.
        threads: of the runtime, 1 or more.
        runs: inferences timed at least, after warm-up.
        min_seconds: time that they take at least: a fast network is run more often.
        max_warmup: inferences thrown away at most before the clock runs.
        profile: whether the time of each operator is asked for, in runs of its own.
        pin: cores that the process keeps to; none: wherever the system puts it.

    Raises:
        FootsegError: no such file, not a model, or the process that ran it died or hung.
        ValueError: fewer than one thread or run, or a core that this process may not use.
    """
    _check(threads, pin, runs=runs)
    facts = artifact.load(path)
    hellos = [_hello(path, threads, pin) for _ in range(COLD_STARTS - 1)]
    with fresh.worker(path, threads, pin) as worker:
        hellos.append(worker.hello)
        warmup_runs = _warm_up(worker, max_warmup)
        memory = worker.memory()  # before the matrices, which are none of the file's
        before = worker.multiply(PRODUCTS)
        samples = _sample(worker, runs, min_seconds)
        gflops = before + worker.multiply(PRODUCTS)
        rows = worker.profile(runs) if profile else []
    measured = Measurement.of_file(
        facts,
        kind="measured",
        device=provenance.machine(),
        runtime=worker.hello["runtime"],
        runtime_version=worker.hello["runtime_version"],
        threads=threads,
        latency=Latency.of(
            [wall for wall, _ in samples], warmup_runs, processor_ms=[own for _, own in samples]
        ),
        cold_start=_cold_start(hellos),
        peak_memory_mb=round(memory, 2),
        delegation=runtime.delegation(path, threads) if facts.format == "tflite" else None,
        profile=tuple(OperatorTime(**row) for row in rows),
        conditions=_conditions(pin, rows, [wall for wall, _ in samples]),
    )
    return dataclasses.replace(measured, calibration=_calibration(measured, gflops))


def measure_all(
    paths: Sequence[Path],
    threads: int = 1,
    *,
    runs: int = 50,
    profile: bool = False,
    pin: str | Sequence[int] = (),
    seconds: float = SECONDS,
    **options: Any,
) -> list[Measurement]:
    """Measure each artifact, then all of them in turns against the first fp32 .tflite (else the first).

    Args:
        paths: of .tflite or .onnx files; one is compared with none.
        threads, runs, profile: as ``measure``.
        pin: as ``measure``, or as text, "0-3,6".
        seconds: as ``compare``.
        options: others of ``measure``.

    Raises:
        FootsegError, ValueError: as ``measure``.
    """
    pin = _cores(pin) if isinstance(pin, str) else pin
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be a number above 0, not {seconds:g}")
    options |= {"runs": runs, "profile": profile, "pin": pin}
    measured = [measure(path, threads, **options) for path in tqdm(paths, desc="bench", disable=None)]
    if len(measured) < 2:
        return measured
    baseline = places.baseline([m.artifact for m in measured])
    order = [baseline, *(i for i in range(len(paths)) if i != baseline)]
    found = compare([paths[i] for i in order], threads, seconds=seconds, pin=pin)
    ratios = dict(zip(order, found, strict=True))
    return [dataclasses.replace(m, relative=ratios[i]) for i, m in enumerate(measured)]


def quick_latency(path: Path, seconds: float = 1.0) -> float:
    """Milliseconds of one inference on one thread, in a few seconds: to sort many files beside other work.

    Of processor time, which on an idle machine is the time on the clock: the least of a turn, the median over
    the turns of each of ``QUICK_STARTS`` fresh processes, the median of these. ``seconds`` are spent on the
    inferences that count.

    Raises:
        FootsegError: as ``measure``.
    """
    found = []
    for _ in range(QUICK_STARTS):
        with fresh.worker(path) as worker:
            _warm_up(worker, QUICK_WARMUP)
            turns: list[float] = []
            until = time.monotonic() + seconds / QUICK_STARTS
            while not turns or time.monotonic() < until:
                turns.append(min(worker.run(TURN, "cpu")))
            found.append(statistics.median(turns))
    return statistics.median(found)


def compare(
    paths: Sequence[Path],
    threads: int = 1,
    *,
    seconds: float = SECONDS,
    starts: int = STARTS,
    pin: Sequence[int] = (),
    confidence: float = comparison.CONFIDENCE,
) -> tuple[Relative, ...]:
    """Latency of each artifact over that of the first one (itself 1), the files run in turns.

    Each of ``starts`` loads every file in a fresh process and goes through some rounds, in which the files
    have a turn each, there and back (A B B A), so that a slow drift of the machine's speed cancels and each
    follows itself as often as any other. Which is first is drawn anew for each start. Other processes wait
    meanwhile and take no time. The number of rounds follows from the first start's speed, the
    number of starts from the clock: neither from the ratios, which would make chance findings of them.

    Args:
        paths: the first is the one that the others are held against.
        threads: of the runtime.
        seconds: that it may take for each file after the first; the fewest starts that ``confidence`` needs
            are made however slow the files are.
        starts: of each file at most.
        pin: cores to keep to. None: on one thread each start has a core of its own, one after another.
        confidence: of the interval, 0 to 1.

    Raises:
        FootsegError, ValueError: as ``measure``.
    """
    _check(threads, pin)
    if len(paths) < 2:
        raise ValueError(f"compare needs two paths or more, not {len(paths)}")
    facts = artifact.load(paths[0])
    budget = seconds * (len(paths) - 1)
    began, rounds = time.monotonic(), 0
    made: list[list[tuple[float, ...]]] = []  # of each start, of each round: the ratio of each file
    numbers = comparison.within(budget, starts, confidence)
    for number in tqdm(numbers, desc="compare", total=starts, disable=None):
        # Two processes of one file differ also in which was started first: a coin for each start.
        order = random.sample(range(len(paths)), len(paths))
        with fresh.workers(paths, order, threads, pin or _core(number, threads)) as workers:
            # The first round fills the caches; that of the first start tells how many there is time for.
            loaded = time.monotonic()
            _round(workers, order, threads)
            warm = time.monotonic()
            rounds = rounds or int(min(max((budget / starts - (warm - began)) / (warm - loaded), 1), ROUNDS))
            made.append([_round(workers, order, threads) for _ in range(rounds)])
    files = range(len(paths))
    return tuple(Relative.of(facts, [[r[i] for r in each] for each in made], confidence) for i in files)


def _round(workers: Sequence[FreshProcess], order: Sequence[int], threads: int) -> tuple[float, ...]:
    """The time of each worker's file over the first one's, after a turn of each in ``order`` and one back."""
    clock = "cpu" if threads == 1 else "wall"
    turns: list[list[float]] = [[] for _ in workers]
    for i in (*order, *reversed(order)):
        turns[i].append(min(workers[i].run(TURN, clock)))
    return tuple(comparison.round_ratio(own, turns[0]) for own in turns)


def _core(number: int, threads: int) -> tuple[int, ...]:
    """The core that the files of start ``number`` share; none with several threads or no way to choose."""
    if threads > 1 or not hasattr(os, "sched_getaffinity"):
        return ()
    cores = sorted(os.sched_getaffinity(0))
    return (cores[number % len(cores)],)


def _cores(text: str) -> tuple[int, ...]:
    """The cores that ``text`` names by their numbers."""
    found = ask.cores(text)
    if found is None:
        raise ValueError(f"cores of this machine are named by number, as 0-3 or 0,2; got {text!r}")
    return found


def _check(threads: int, pin: Sequence[int], runs: int = 1) -> None:
    if threads < 1 or runs < 1:
        raise ValueError(f"threads and runs must be 1 or more, not {threads} and {runs}")
    if threads > MOST_THREADS:
        raise ValueError(
            f"threads must be {MOST_THREADS} or fewer, not {threads}: this machine has {os.cpu_count()} cores"
        )
    if not pin:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("this system cannot keep a process to its cores: measure without pinning")
    allowed = os.sched_getaffinity(0)
    if not set(pin) <= allowed:
        raise ValueError(f"pin {list(pin)}: the cores that can be used here are {sorted(allowed)}")


def _hello(path: Path, threads: int, pin: Sequence[int]) -> dict[str, Any]:
    """What a fresh process says of its start."""
    with fresh.worker(path, threads, pin) as worker:
        return worker.hello


def _cold_start(hellos: Sequence[dict[str, Any]]) -> ColdStart:
    names = [field.name for field in dataclasses.fields(ColdStart)]
    return ColdStart(**{name: statistics.median(hello[name] for hello in hellos) for name in names})


def _conditions(
    pin: Sequence[int], rows: Sequence[dict[str, Any]], samples: Sequence[float]
) -> dict[str, Any]:
    found: dict[str, Any] = {"pinned_cores": list(pin)} if pin else {}
    if rows:
        steps, latency = sum(row["ms"] for row in rows), statistics.median(samples)
        note = f"the steps of the profile add up to {steps:.3f} ms, {steps / latency:.0%} of the latency"
        found["notes"] = [note]
    return found


def _calibration(measured: Measurement, gflops: Sequence[float]) -> SpeedAgainstPeak:
    """The share of this processor's speed at matrix products, on as many cores, that the file reached."""
    assert measured.latency is not None
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    what = (
        f"float32 matrix product {SIDE}x{SIDE}x{SIDE} on one thread, numpy with {blas['name']} "
        f"{blas.get('version', '')}".rstrip()
    )
    return SpeedAgainstPeak.of(what, gflops, measured.latency, measured.cost["macs"], measured.threads)


def _warm_up(worker: FreshProcess, most: int) -> int:
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


def _sample(worker: FreshProcess, runs: int, min_seconds: float) -> list[tuple[float, float]]:
    """At least ``runs`` samples by both clocks, that took at least ``min_seconds`` together."""
    start = time.monotonic()
    samples = worker.run_by_both(runs)
    while time.monotonic() - start < min_seconds:
        samples += worker.run_by_both(runs)
    return samples
