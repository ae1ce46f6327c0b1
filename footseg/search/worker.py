"""One process that runs trials: ``python -m footseg.search.worker FOLDER CHANNEL LOCK FUNCTION``.

``footseg.search.workers`` starts it in a session of its own and speaks with it over CHANNEL, the descriptor
of a pipe: numbers of trials come in, an answer goes out for each (below). Libraries print, so that is neither
stdin nor stdout. LOCK is a descriptor that is held for as long as this process lives. FUNCTION is
"module:name" of what is called with the folder and a number.
"""

import gc
import os
import pickle
import pkgutil
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from footseg.errors import FootsegError

FUNCTION = "footseg.search.trial:run_trial"
# What a worker says: READY once, when it has imported what it needs; then for each number one of the others.
# ENDED comes with the memory of the process in bytes, CRASHED with a reason, ERROR with an exception that
# ends the whole search. After anything but READY and ENDED the process ends.
READY, ENDED, CRASHED, ERROR, INTERRUPTED = "ready", "ended", "crashed", "error", "interrupted"
Answer = tuple[str, Any]
# Seconds that a trial has to remove its temporary files when nobody listens any more.
GRACE = 0.5


class Worker:
    """Runs trials as their numbers come, until it is interrupted or nobody listens any more."""

    def __init__(self, channel: Connection) -> None:
        """Listen to ``channel``, and to SIGINT even where a shell's background has it ignored."""
        self._channel = channel
        self._numbers: SimpleQueue[int | None] = SimpleQueue()
        self._working = self._over = False
        signal.signal(signal.SIGINT, self._interrupt)
        threading.Thread(target=self._listen, daemon=True).start()

    def serve(self, folder: Path, name: str) -> None:
        """Import the function ``name`` and call it for each number."""
        function, trouble = self._do(partial(pkgutil.resolve_name, name))
        # What is imported by now stays, and need not be searched for garbage: after each trial that took
        # 0.2 s of the processor, as long as freeing the trial's graph does.
        gc.freeze()
        self._channel.send(trouble or (READY, None))
        while not trouble and not self._over and (number := self._numbers.get()) is not None:
            trouble = self._do(partial(function, folder, number))[1]
            self._channel.send(trouble or (ENDED, memory()))

    def _do(self, work: Callable[[], Any]) -> tuple[Any, Answer | None]:
        """What ``work`` gives, or the answer that says why it gave nothing."""
        try:
            self._working = True
            if self._over:
                raise KeyboardInterrupt
            result = work()
            self._working = False
            return result, None
        except BaseException as error:
            self._working = False
            answer = outcome(error)
            if answer[0] == CRASHED and self._over:  # a library may make anything of a KeyboardInterrupt
                return None, (INTERRUPTED, None)
            if answer[0] == CRASHED:
                traceback.print_exc()
            return None, answer

    def _interrupt(self, number: int, frame: Any) -> None:
        """SIGINT: leave the trial as Ctrl-C would; when it says its answer, or is idle, just end."""
        self._over = True
        self._numbers.put(None)
        if self._working:
            raise KeyboardInterrupt

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._numbers.put(self._channel.recv())
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(GRACE)
        end()


def outcome(error: BaseException) -> Answer:
    """What an exception of a trial means: the end of the search (FootsegError), or of this trial only."""
    if isinstance(error, KeyboardInterrupt) or getattr(error, "interrupted", False):
        return INTERRUPTED, None
    if isinstance(error, FootsegError):
        return ERROR, sendable(error)
    return CRASHED, " ".join(f"{type(error).__name__}: {error}".split())


def sendable(error: BaseException) -> BaseException:
    """``error`` if it survives a pipe, else a FootsegError of its text."""
    with suppress(Exception):
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    return FootsegError(str(error))


def memory() -> int:
    """Bytes of memory that this process holds; where the system does not tell, the most it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * os.sysconf("SC_PAGE_SIZE")


def end() -> None:
    """End this process and all that its trials have started, at once.

    TensorFlow's own end takes a second, and at times it crashes; nothing is left to be done.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.killpg(0, signal.SIGKILL)


def main(arguments: Sequence[str]) -> None:
    """Work until the end."""
    folder, channel, lock, function = arguments
    for descriptor in (int(channel), int(lock)):
        os.set_inheritable(descriptor, False)
    with suppress(BrokenPipeError):  # nobody listens any more
        Worker(Connection(int(channel))).serve(Path(folder), function)
    end()


if __name__ == "__main__":
    main(sys.argv[1:])
