"""Trials in processes of this machine: ``footseg.search.worker``, started, fed and ended from here."""

import math
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

from footseg import children
from footseg.errors import FootsegError
from footseg.search import worker

LOGS = "workers"
# Seconds between two ticks, and those that an interrupted trial may take to leave its run whole.
TICK, PATIENCE = 0.2, 30.0
# So many workers that die before they have begun, one after another, are no accident.
STARTS = 3
# Workers may fill so much of the memory before they are replaced: TensorFlow gives back little of it.
MEMORY_SHARE = 0.6
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
# What a dead worker has said.
DEAD = "dead"


def run_local(
    next_trial: Callable[[], int | None],
    ended: Callable[[int], None],
    crashed: Callable[[int, str], None],
    *,
    folder: Path,
    count: int,
    lock: int,
    until: float | None,
    tick: Callable[[], None],
    function: str = worker.FUNCTION,
    patience: float = PATIENCE,
    memory: int = 0,
) -> None:
    """Have ``count`` processes run trials until there is nothing more to do, or it is ``until``.

    All callbacks are called in this thread. Trials that are cut short, at ``until`` or by an exception, are
    in none of them: their records stay "running", their runs can be resumed.

    Args:
        next_trial: the number of the next trial; None: nothing more for now, ask again when one has ended.
        ended: told the number of a trial that came to its end, whatever that was.
        crashed: told the number of a trial whose process died, and the reason.
        folder: of the search; ``workers/K.log`` in it has what process K printed.
        lock: a descriptor that the processes hold until they end.
        until: ``time.monotonic()`` at which trials are interrupted.
        tick: called about five times a second.
        function: "module:name" of what is called with ``folder`` and a number.
        patience: seconds that an interrupted trial is waited for before it is killed.
        memory: bytes beyond which a process is replaced after its trial; 0: a share of this machine's.

    Raises:
        FootsegError: raised by a trial, which ends all; or workers cannot be started.
        KeyboardInterrupt: Ctrl-C; a second one kills the processes at once.
    """
    pool = _Pool(folder, count, lock, function, memory or _memory_share(count))
    try:
        pool.work(next_trial, ended, crashed, throttled(tick), until)
    except BaseException as error:
        done, _ = pool.stop(patience)
        if isinstance(error, KeyboardInterrupt):
            for number in done:
                ended(number)
        raise
    done, errors = pool.stop(patience, throttled(tick))
    for number in done:
        ended(number)
    if errors:
        raise errors[0]


class _Process:
    """A worker. ``number`` is the trial that it has, None when idle; ``ready`` once it began to work."""

    def __init__(self, folder: Path, slot: int, lock: int, function: str, env: dict[str, str]) -> None:
        self.number: int | None = None
        self.ready = False
        self.log = _log(folder, slot)
        self.channel, theirs = multiprocessing.Pipe()
        command = [*children.command("footseg.search.worker"), str(folder)]
        with theirs, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(lock), function],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(), lock),
                env=env,
                start_new_session=True,
            )

    def give(self, number: int) -> None:
        """Have it run a trial."""
        self.number = number
        with suppress(OSError):  # it has died; its silence will say so
            self.channel.send(number)

    def answer(self) -> worker.Answer:
        """The next thing that it says, waited for."""
        try:
            return self.channel.recv()
        except (EOFError, OSError):
            return DEAD, None

    def interrupt(self) -> None:
        """As Ctrl-C would; it says what became of its trial."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Kill it, with all that it has started; its exit code, that of its own death where it was dead."""
        with suppress(ProcessLookupError, PermissionError):  # macOS: not allowed, where it is dead
            os.killpg(self._process.pid, signal.SIGKILL)
        self.channel.close()
        return self._process.wait()


class _Pool:
    """The workers by their slot, 1 to ``count``."""

    def __init__(self, folder: Path, count: int, lock: int, function: str, memory: int) -> None:
        self._folder, self._count, self._lock, self._function = folder, count, lock, function
        self._memory = memory
        self._env = environment(count)
        self._processes: dict[int, _Process] = {}
        self._again: list[int] = []  # numbers whose worker died before it began
        self._false_starts = 0  # in a row
        self._dry = False
        (folder / LOGS).mkdir(parents=True, exist_ok=True)
        for slot in range(1, count + 1):
            _log(folder, slot).write_bytes(b"")

    def work(
        self,
        next_trial: Callable[[], int | None],
        ended: Callable[[int], None],
        crashed: Callable[[int, str], None],
        tick: Callable[[], None],
        until: float | None,
    ) -> None:
        """Until there is nothing more to do, or it is ``until``."""
        deadline = math.inf if until is None else until
        while (left := deadline - time.monotonic()) > 0:
            self._hand_out(next_trial)
            if not self._busy():
                return
            tick()
            for slot in self._speaking(min(TICK, left)):
                self._take(slot, ended, crashed)

    def stop(
        self, patience: float, tick: Callable[[], None] = lambda: None
    ) -> tuple[list[int], list[FootsegError]]:
        """End all; gives the trials that came to their end before they were interrupted, and errors."""
        done: list[int] = []
        errors: list[FootsegError] = []
        until = time.monotonic() + patience
        try:
            for slot, process in list(self._processes.items()):
                if process.ready and process.number is not None:
                    process.interrupt()
                else:
                    self._end(slot)
            while self._processes and time.monotonic() < until:
                tick()
                for slot in self._speaking(TICK):
                    kind, said = self._processes[slot].answer()
                    if kind == worker.ENDED:
                        done.append(self._freed(slot))
                    if kind == worker.ERROR:
                        errors.append(said)
                    self._end(slot)
        finally:
            for slot in list(self._processes):
                self._end(slot)
        return done, errors

    def _hand_out(self, next_trial: Callable[[], int | None]) -> None:
        for slot in range(1, self._count + 1):
            process = self._processes.get(slot)
            if process is not None and process.number is not None:
                continue
            if not self._again and self._dry:
                return
            number = self._again.pop() if self._again else next_trial()
            if number is None:
                self._dry = True
                return
            if process is None:
                process = self._processes[slot] = self._start(slot)
            process.give(number)

    def _start(self, slot: int) -> _Process:
        try:
            return _Process(self._folder, slot, self._lock, self._function, self._env)
        except OSError as error:
            raise FootsegError(f"a worker of the search cannot be started ({error.strerror})") from error

    def _take(self, slot: int, ended: Callable[[int], None], crashed: Callable[[int, str], None]) -> None:
        """Do what the next thing that a worker says asks for."""
        process = self._processes[slot]
        kind, said = process.answer()
        if kind == worker.ERROR:
            raise said
        if kind == worker.READY:
            process.ready, self._false_starts = True, 0
        elif kind == worker.ENDED:
            number, self._dry = self._freed(slot), False
            if said > self._memory:
                self._end(slot)
            ended(number)
        elif process.number is None:
            self._end(slot)
        elif process.ready:
            number, self._dry = self._freed(slot), False
            crashed(number, _reason(kind, said, self._end(slot), process.log))
        else:
            self._again.append(self._freed(slot))
            self._false_starts += 1
            reason = _reason(kind, said, self._end(slot), process.log)
            if kind == worker.CRASHED or self._false_starts == STARTS:
                raise FootsegError(f"a worker of the search could not begin: {reason}")

    def _freed(self, slot: int) -> int:
        """The number that a worker has come to the end of."""
        process = self._processes[slot]
        number, process.number = process.number, None
        assert number is not None
        return number

    def _end(self, slot: int) -> int:
        return self._processes.pop(slot).end()

    def _busy(self) -> bool:
        return any(process.number is not None for process in self._processes.values())

    def _speaking(self, seconds: float) -> list[int]:
        """The slots of the workers that have said something, waited for."""
        slots = {process.channel: slot for slot, process in self._processes.items()}
        return [slots[channel] for channel in wait(list(slots), seconds)]  # type: ignore[index]


def _log(folder: Path, slot: int) -> Path:
    return folder / LOGS / f"{slot}.log"


def _reason(kind: str, said: str | None, code: int, log: Path) -> str:
    """Why a trial crashed: the exception, or how its process ended."""
    if kind == worker.CRASHED:
        why = str(said)
    elif kind == worker.INTERRUPTED:
        why = "its worker was interrupted"
    elif code == -signal.SIGKILL:
        why = "its worker was ended by signal 9: perhaps out of memory"
    else:
        why = f"its worker ended by signal {-code}" if code < 0 else f"its worker ended with exit code {code}"
    return f"{why} (see {log.parent.name}/{log.name})"


def environment(count: int) -> dict[str, str]:
    """This process's own; the cores are shared out where it does not say otherwise.

    A GPU's memory is taken as it is needed: the first TensorFlow to come would take all of it.
    """
    threads = str(max(1, cores() // count))
    shared = dict.fromkeys(THREADS, threads) | {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    return {**shared, **children.environment(), "PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_share(count: int) -> int:
    """Bytes for each of ``count`` workers."""
    return int(MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / count)


def throttled(tick: Callable[[], None]) -> Callable[[], None]:
    """``tick``, but nothing where it was called less than TICK seconds ago."""
    due = 0.0

    def sometimes() -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + TICK
            tick()

    return sometimes
