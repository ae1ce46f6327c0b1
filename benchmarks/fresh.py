"""Fresh processes that files are measured in: started, asked and ended from here; ``worker`` is one."""

import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from footseg import children
from footseg.android_harness.errors import ending
from footseg.errors import FootsegError

# Seconds that a worker may take for an answer, and for each run ten times as long as its first inference.
PATIENCE = 120.0
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class FreshProcess:
    """A process of footseg.benchmarks.worker, asked from this one.

    ``hello`` is what it said of its start: runtime, runtime_version, load_ms, first_inference_ms. Every
    question raises FootsegError with what ended the process, if it died or hung.
    """

    def __init__(self, process: "subprocess.Popen[str]", path: Path, stderr: IO[str]) -> None:
        self._process, self._path, self._stderr = process, path, stderr
        self.hello = self._answer(PATIENCE)

    def run(self, times: int, clock: str = "wall") -> list[float]:
        """Milliseconds of ``times`` inferences by ``clock``, "wall" or "cpu" (of this process)."""
        return self._ask(f"{clock} {times}", PATIENCE + times * self.hello["first_inference_ms"] / 100)

    def run_by_both(self, times: int) -> list[tuple[float, float]]:
        """Milliseconds of ``times`` inferences by the clock on the wall, and of processor time."""
        pairs = self._ask(f"both {times}", PATIENCE + times * self.hello["first_inference_ms"] / 100)
        return [(wall, processor) for wall, processor in pairs]

    def memory(self) -> float:
        """MB that loading and running the file have added to the process at most."""
        return self._ask("memory", PATIENCE)

    def multiply(self, times: int) -> list[float]:
        """GFLOP/s of each of ``times`` matrix products, on one thread."""
        return self._ask(f"multiply {times}", PATIENCE)

    def profile(self, times: int) -> list[dict[str, Any]]:
        """The fields of each OperatorTime over ``times`` inferences."""
        return self._ask(f"profile {times}", PATIENCE + times * self.hello["first_inference_ms"] / 100)

    def _ask(self, line: str, patience: float) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; reading its answer says how
        return self._answer(patience)

    def _answer(self, patience: float) -> Any:
        assert self._process.stdout is not None
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            self._process.kill()

        watch = threading.Timer(patience, give_up)
        watch.daemon = True
        watch.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watch.cancel()
        if line:
            return json.loads(line)
        code = self._process.wait()
        if expired.is_set():
            raise FootsegError(
                f"the process measuring {self._path} gave no answer in {patience:g} s and was ended: "
                "the machine may be too busy or too small for this file"
            )
        self._stderr.seek(0)
        last = (self._stderr.read().strip().splitlines() or ["it said nothing"])[-1]
        if code == 1:  # the worker's own one-line error, or Python's
            raise FootsegError(last)
        raise FootsegError(
            f"the process measuring {self._path} came to its end early, {ending(code)}: {last}; "
            "the file may be damaged or too large for this machine's memory"
        )


@contextmanager
def workers(
    paths: Sequence[Path], order: Sequence[int], threads: int = 1, pin: Sequence[int] = ()
) -> Iterator[list[FreshProcess]]:
    """A worker for each file, started in ``order``; all are started before any is waited for.

    Args:
        paths: .tflite or .onnx files.
        order: indices of ``paths``, all of them.
        threads: of the runtime.
        pin: cores that the processes keep to; none: wherever the system puts them.

    Raises:
        FootsegError: a file cannot be loaded or run once.
    """
    with ExitStack() as stack:
        processes = {i: stack.enter_context(_process(paths[i], threads, pin)) for i in order}
        yield [FreshProcess(processes[i][0], path, processes[i][1]) for i, path in enumerate(paths)]


@contextmanager
def worker(path: Path, threads: int = 1, pin: Sequence[int] = ()) -> Iterator[FreshProcess]:
    """A worker with ``path`` loaded.

    Raises:
        FootsegError: as ``workers``.
    """
    with workers([path], [0], threads, pin) as (only,):
        yield only


@contextmanager
def _process(
    path: Path, threads: int, pin: Sequence[int]
) -> Iterator[tuple["subprocess.Popen[str]", IO[str]]]:
    """A process of footseg.benchmarks.worker and its stderr; killed at the end, whatever that was."""
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:
        process = subprocess.Popen(
            [
                *children.command("footseg.benchmarks.worker"),
                str(path),
                str(threads),
                ",".join(map(str, pin)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=_environment(),
        )
        try:
            yield process, stderr
        finally:
            process.kill()
            process.wait()
            for pipe in filter(None, (process.stdin, process.stdout)):
                with suppress(BrokenPipeError):  # a request that the dead process never read
                    pipe.close()


def _environment() -> dict[str, str]:
    """This process's own, with numpy's matrix products on one thread and made for this processor.

    A kernel that the environment forces on OpenBLAS, as some do for results that repeat, would calibrate
    another processor: Haswell's reached 128 GFLOP/s on one that does 246.
    """
    kept = {name: value for name, value in children.environment().items() if name != "OPENBLAS_CORETYPE"}
    return kept | dict.fromkeys(BLAS_THREADS, "1")
