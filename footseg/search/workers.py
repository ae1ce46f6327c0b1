"""Trials in processes of this machine: ``footseg.search.worker``, started, fed and ended from here."""

import dataclasses
import math
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from footseg import children
from footseg.data.threads import cores
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


@dataclass(frozen=True)
class Feed:
    """A search as whoever runs its trials sees it; all is called in the thread that runs them.

    ``folder`` is the search's. ``next_trial`` gives the number of the next trial (None: nothing more for now,
    ask again when one has ended), ``ended`` is told the number of one that came to its end, whatever that
    was, ``crashed`` that of one whose process died, and the reason; ``tick`` is called about five times a
    second. At ``until``, of ``time.monotonic()``, trials are cut short.
    """

    folder: Path
    next_trial: Callable[[], int | None]
    ended: Callable[[int], None]
    crashed: Callable[[int, str], None]
    tick: Callable[[], None]
    until: float = math.inf


def run_local(
    feed: Feed,
    *,
    count: int,
    lock: int,
    function: str = worker.FUNCTION,
    patience: float = PATIENCE,
    memory: int = 0,
) -> None:
    """Have ``count`` processes run trials until there is nothing more to do, or it is ``feed.until``.

    Trials that are cut short, then or by an exception, are told of in nothing: their records stay "running",
    their runs can be resumed. ``workers/K.log`` in the folder has what process K printed.

    Args:
        feed: the search.
        count: processes.
        lock: a descriptor that the processes hold until they end.
        function: "module:name" of what is called with ``feed.folder`` and a number.
        patience: seconds that an interrupted trial is waited for before it is killed.
        memory: bytes beyond which a process is replaced after its trial; 0: a share of this machine's.

    Raises:
        FootsegError: raised by a trial, which ends all; or workers cannot be started.
        KeyboardInterrupt: Ctrl-C; a second one kills the processes at once.
    """
    feed = dataclasses.replace(feed, tick=throttled(feed.tick))
    pool = _Processes(feed, count, lock, function, memory or _memory_share(count))
    try:
        pool.work()
    except BaseException as error:
        done, _ = pool.stop(patience)
        if isinstance(error, KeyboardInterrupt):
            for number in done:
                feed.ended(number)
        raise
    done, errors = pool.stop(patience, feed.tick)
    for number in done:
        feed.ended(number)
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


class _Processes:
    """The workers by their slot, 1 to ``count``."""

    def __init__(self, feed: Feed, count: int, lock: int, function: str, memory: int) -> None:
        self._feed, self._count, self._lock, self._function = feed, count, lock, function
        self._memory = memory
        self._env = environment(count)
        self._processes: dict[int, _Process] = {}
        self._again: list[int] = []  # numbers whose worker died before it began
        self._false_starts = 0  # in a row
        self._dry = False
        (feed.folder / LOGS).mkdir(parents=True, exist_ok=True)
        for slot in range(1, count + 1):
            _log(feed.folder, slot).write_bytes(b"")

    def work(self) -> None:
        """Until there is nothing more to do, or it is ``feed.until``."""
        while (left := self._feed.until - time.monotonic()) > 0:
            self._hand_out()
            if not self._busy():
                return
            self._feed.tick()
            for slot in self._speaking(min(TICK, left)):
                self._take(slot)

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

    def _hand_out(self) -> None:
        for slot in range(1, self._count + 1):
            process = self._processes.get(slot)
            if process is not None and process.number is not None:
                continue
            if not self._again and self._dry:
                return
            number = self._again.pop() if self._again else self._feed.next_trial()
            if number is None:
                self._dry = True
                return
            if process is None:
                process = self._processes[slot] = self._start(slot)
            process.give(number)

    def _start(self, slot: int) -> _Process:
        try:
            return _Process(self._feed.folder, slot, self._lock, self._function, self._env)
        except OSError as error:
            raise FootsegError(f"a worker of the search cannot be started ({error.strerror})") from error

    def _take(self, slot: int) -> None:
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
            self._feed.ended(number)
        elif process.number is None:
            self._end(slot)
        elif process.ready:
            number, self._dry = self._freed(slot), False
            self._feed.crashed(number, _reason(kind, said, self._end(slot), process.log))
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
