"""How a command is ended from outside: by Ctrl-C, SIGTERM or a closed terminal, all of them cleanly."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

# Seconds after which a KeyboardInterrupt that something has swallowed is raised once more.
AGAIN = 0.25


@dataclass
class Asked:
    """Whether an end was asked for: whatever error comes after that may be what a library made of it."""

    yes: bool = False


@contextlib.contextmanager
def heeded() -> Iterator[Asked]:
    """Let Ctrl-C, SIGTERM and a closed terminal end the block as a KeyboardInterrupt.

    Else what is in sessions of its own (an emulator, a runner on a phone) would run on, and its files stay.
    One that is swallowed, as by a callback in the middle of an import, is raised again until it is heeded.
    A signal that is ignored (nohup, a job in a shell's background) stays so.
    """
    asked = Asked()

    def end(number: int, frame: FrameType | None) -> None:
        asked.yes = True
        if "SIGALRM" in ours:
            signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
        raise KeyboardInterrupt

    def again(number: int, frame: FrameType | None) -> None:
        if not _is_ending(sys.exception()):
            raise KeyboardInterrupt

    handlers = {"SIGINT": end, "SIGTERM": end, "SIGHUP": end, "SIGALRM": again}
    ours = {name: signal.getsignal(getattr(signal, name)) for name in handlers if _is_free(name)}
    unraisable = sys.unraisablehook
    try:
        sys.unraisablehook = lambda told: None if _is_ending(told.exc_value) else unraisable(told)
        for name in ours:
            signal.signal(getattr(signal, name), handlers[name])
        yield asked
    finally:
        if "SIGALRM" in ours:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for name, before in ours.items():
            signal.signal(getattr(signal, name), before)
        sys.unraisablehook = unraisable


def _is_free(name: str) -> bool:
    """Whether a signal does what it does by default, and this thread may change that."""
    if not hasattr(signal, name) or threading.current_thread() is not threading.main_thread():
        return False
    usual: tuple[Any, ...] = (signal.SIG_DFL, signal.default_int_handler)
    return signal.getsignal(getattr(signal, name)) in usual


def _is_ending(error: BaseException | None) -> bool:
    """Whether an error is a KeyboardInterrupt, or came while one was dealt with."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
