"""One way to do the same thing to many files at once."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many processor cores this process may use (a container often has fewer than the machine)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(function: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
    """``function`` of every item, in their order, by threads (Pillow and hashlib work outside the GIL).

    A progress bar named ``what`` runs on a terminal. What ``function`` raises is raised here.
    """
    return run_on(ThreadPoolExecutor(cores()), function, items, what)


def run_on(
    executor: Executor, function: Callable[[Item], Result], items: Iterable[Item], what: str
) -> list[Result]:
    """As ``each``, on this executor, which is shut down afterwards."""
    items = list(items)
    try:
        done = executor.map(function, items)
        return list(tqdm(done, desc=what, total=len(items), disable=None, leave=False, unit="file"))
    finally:
        # After an error or Ctrl-C nobody wants the thousands of jobs that have not begun.
        executor.shutdown(cancel_futures=True)
