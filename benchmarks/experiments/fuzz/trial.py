"""One command on one damaged file, in a process of its own, and the judgement of how it ended.

The process is forked from one that has imported footseg and the packages that it loads, and started none of
their threads: a command begins within milliseconds, and a crash of a library ends nobody else.
"""

import importlib
import json
import os
import pkgutil
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from footseg.benchmarks.experiments.fuzz.cases import Mutant
from footseg.errors import FootsegError

SECONDS, BYTES = 60, 4 * 10**9
# Above this a process is ended before it takes the machine's memory.
ENDED_AT = 6 * 10**9
KNOWN_CODES = (0, 1, 2, 3)
UNREADABLE = "what it wrote cannot be read:"
# What is loaded before the fork: packages of others, and all of footseg that loads without more of them.
HEAVY = ("tensorflow", "keras", "hyperopt", "tensorboardX")
PACKAGES = (
    "numpy", "PIL.Image", "scipy.ndimage", "jinja2", "ai_edge_litert.interpreter",
    "ai_edge_litert.schema_py_generated", "onnx", "onnxruntime", *HEAVY,
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit ``code``, negative for a signal, its seconds, peak memory and last words."""

    code: int
    seconds: float
    bytes: int
    said: str

    @property
    def finding(self) -> str:
        """What is wrong with it, in a word or two; "" where nothing is."""
        found = {
            "hang": self.seconds >= SECONDS,
            "memory": self.bytes > BYTES,
            f"signal {-self.code}": self.code < 0,
            "unreadable result": UNREADABLE in self.said,
            "traceback": "Traceback (most recent call last)" in self.said,
            "warning": re.search(r"(?m)^\s*\w*Warning:|: \w*Warning: ", self.said) is not None,
            f"exit code {self.code}": self.code not in KNOWN_CODES,
            "no word": self.code != 0 and not self.said.strip(),
        }
        return next((name for name, wrong in found.items() if wrong), "")


@dataclass
class Running:
    """A process that was started: its number, its folder, since when, the most memory seen."""

    process: int
    folder: Path
    since: float
    peak: int = 0


def prepare(*, light: bool = False) -> None:
    """Import what commands load, without starting a thread of it; ``light``: without what trains.

    Raises:
        RuntimeError: a thread was started, which no fork takes with it.
    """
    os.environ |= {
        "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    for name in PACKAGES[: -len(HEAVY) if light else None]:
        importlib.import_module(name)
    import footseg

    for module in pkgutil.walk_packages(footseg.__path__, "footseg."):
        keras = r"compress|footseg\.export\.\w" + (r"|graphs\.keras|networks|training" if light else "")
        if not re.search(f"__main__|experiments|scripts|{keras}", module.name):
            importlib.import_module(module.name)
    if (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
        raise RuntimeError(f"{threads} threads run where none may: a package starts some when it is imported")


def start(mutant: Mutant, corpus: Path) -> Running:
    """Fork a process that runs the mutant's command in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="footseg-fuzz-"))
    process = os.fork()
    if process == 0:
        code = 70
        try:
            code = _run(mutant, corpus, folder)
        finally:
            os._exit(code)
    return Running(process, folder, time.monotonic())


def poll(running: Running) -> Ended | None:
    """How it ended; None while it runs within its limits."""
    seconds = time.monotonic() - running.since
    number, status, used = os.wait4(running.process, os.WNOHANG)
    if number == 0:
        running.peak = max(running.peak, _resident(running.process))
        if seconds < SECONDS and running.peak < ENDED_AT:
            return None
        _kill(running.process)
        _, status, used = os.wait4(running.process, 0)
    _kill(running.process)  # whatever of its session is left
    said = "".join((running.folder / name).read_text(errors="replace") for name in ("out", "err"))
    shutil.rmtree(running.folder, ignore_errors=True)
    peak = max(running.peak, used.ru_maxrss * 1024)  # of its own children, too
    return Ended(os.waitstatus_to_exitcode(status), round(seconds, 2), peak, said[-3000:])


def end(running: Running) -> None:
    """End it at once, with all that it started."""
    _kill(running.process)
    os.waitpid(running.process, 0)
    shutil.rmtree(running.folder, ignore_errors=True)


def _kill(process: int) -> None:
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _resident(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize()


# ---- in the forked process


def _run(mutant: Mutant, corpus: Path, folder: Path) -> int:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number, name, how in ((0, os.devnull, os.O_RDONLY), (1, "out", os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(folder / name, how, 0o600), number)
    os.dup2(os.open(folder / "err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    work = folder / "work"
    work.mkdir()
    os.environ |= {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder)}
    tempfile.tempdir = None
    for name in mutant.case.needed:
        source = corpus / name
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, work / name)
    os.chdir(work)
    Path(mutant.file).parent.mkdir(parents=True, exist_ok=True)
    Path(mutant.file).write_bytes(mutant.data)
    before = time.time()
    code = _call(mutant)
    sys.stdout.flush()
    if code == 0 and (wrong := unreadable(work, before, mutant.file)):
        print(UNREADABLE, wrong, file=sys.stderr)  # noqa: T201
    sys.stderr.flush()
    return code


def _call(mutant: Mutant) -> int:
    """The exit code that the whole process would have."""
    import traceback

    from footseg.android_harness.errors import HarnessError
    from footseg.cli import main

    try:
        if isinstance(mutant.command, str):
            return main(mutant.command.split())
        mutant.command(Path(mutant.file))
        return 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        if not isinstance(mutant.command, str) and isinstance(error, FootsegError | HarnessError):
            print(error, file=sys.stderr)  # noqa: T201
            return 1
        traceback.print_exc()
        return 1


def unreadable(folder: Path, since: float, damaged: str) -> str:
    """What a command that was content wrote and what no longer reads; "" where all does."""
    from footseg.benchmarks import results_file

    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or path.stat().st_mtime < since or name == damaged:
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".toml":
                tomllib.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".jsonl":
                results_file.read_all(path)
            elif path.suffix == ".html" and not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
                return f"{name} has no end"
        except (ValueError, RecursionError, FootsegError) as error:
            return f"{name} ({error})"
    return ""
