"""The process that a file is measured in: MODEL THREADS [CORE,CORE...].

Fresh, so that cold start and peak memory are the file's own; without TensorFlow, as an app would be.
It keeps to the cores named, loads the file, runs it once and prints one JSON line on what that took. Then it
answers each line of standard input with one of JSON, until there are no more:

    wall N      the milliseconds that each of N inferences took by the clock on the wall
    cpu N       the milliseconds of processor time that each took in this process
    both N      the pair of these of each
    memory      MB that loading and running the file have added to the process at most until now
    multiply N  GFLOP/s, in processor time, of each of N products of float32 matrices of ``SIDE`` x ``SIDE``
    profile N   the fields of each OperatorTime over N inferences; see benchmarks/profiles.py
"""

import gc
import importlib.metadata
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from footseg import runtime
from footseg.benchmarks import profiles
from footseg.errors import FootsegError, require

# Importing these is the app's own start, not the file's: it happens before the clock runs.
RUNTIMES = {
    ".tflite": ("LiteRT", "ai-edge-litert", "ai_edge_litert.interpreter", "train"),
    ".onnx": ("ONNX Runtime", "onnxruntime", "onnxruntime", "onnx"),
}
CLOCKS = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}
# Rows and columns of the matrices multiplied: three of 1 MB stay in a processor's cache, and one product
# (0.27 GFLOP, some milliseconds) is long for the clock and short for the patience.
SIDE = 512


def main(path: Path, threads: int, cores: tuple[int, ...] = ()) -> None:
    """Serve the protocol of the module's docstring."""
    answer = _own_stdout()
    if cores:
        os.sched_setaffinity(0, cores)
    if path.suffix not in RUNTIMES:
        raise FootsegError(f"{path} is neither .tflite nor .onnx, and no other is timed: footseg export RUN")
    name, package, module, extra = RUNTIMES[path.suffix]
    require(module, extra)
    before, _ = _memory_bytes()
    load_ms, model = _timed(lambda: runtime.opened(path, threads))
    infer = runtime.inference(model)
    first_ms, _ = _timed(infer)
    answer(
        {
            "runtime": name,
            "runtime_version": importlib.metadata.version(package),
            "load_ms": load_ms,
            "first_inference_ms": first_ms,
        }
    )
    gc.disable()
    for line in sys.stdin:
        match line.split():
            case ["memory"]:
                answer((_memory_bytes()[1] - before) / 1e6)
            case ["multiply", times]:
                answer(_multiply(int(times)))
            case ["profile", times]:
                answer(profiles.rows(model, threads, int(times)))
            case ["both", times]:
                answer([_timed_by_both(infer) for _ in range(int(times))])
            case [clock, times]:
                answer([_timed(infer, CLOCKS[clock])[0] for _ in range(int(times))])


def _timed(work: Callable[[], Any], clock: Callable[[], int] = time.perf_counter_ns) -> tuple[float, Any]:
    """Milliseconds that ``work`` took, to 0.1 microseconds, and what it returned."""
    start = clock()
    result = work()
    return round((clock() - start) / 1e6, 4), result


def _timed_by_both(work: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds by the clock on the wall and of processor time."""
    wall, (processor, _) = _timed(lambda: _timed(work, CLOCKS["cpu"]))
    return wall, processor


def _multiply(times: int) -> list[float]:
    """GFLOP/s (10^9 additions and multiplications a second) of each product, after one as warm-up.

    In processor time, which is that of the one thread: a busy machine's products would look slow.
    """
    left, right = np.random.default_rng(0).random((2, SIDE, SIDE), dtype=np.float32)
    product = np.empty_like(left)
    taken = [_timed(lambda: np.matmul(left, right, out=product), CLOCKS["cpu"])[0] for _ in range(times + 1)]
    return [round(2 * SIDE**3 / (ms * 1e6), 3) for ms in taken[1:]]


def _memory_bytes() -> tuple[int, int]:
    """Resident memory now and at its peak.

    Linux's ru_maxrss is no use here: a process starts with its parent's peak (seen: 776 MB in a child that
    never held more than 14), while VmHWM begins with the process. macOS's ru_maxrss does too.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        now, peak = (int(lines[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
        return now, peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak, peak


def _own_stdout() -> Callable[[Any], None]:
    """A printer of JSON lines; whatever a native library prints on standard output goes to standard error."""
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value: Any) -> None:
        stdout.write(json.dumps(value) + "\n")
        stdout.flush()

    return answer


if __name__ == "__main__":
    try:
        main(
            Path(sys.argv[1]),
            int(sys.argv[2]),
            tuple(map(int, filter(None, "".join(sys.argv[3:]).split(",")))),
        )
    except FootsegError as error:
        sys.exit(str(error))
