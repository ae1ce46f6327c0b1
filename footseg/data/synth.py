"""What the two ways of making a data set share: what is asked for, where it goes, who draws it."""

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from footseg.data.folder import SPLITS
from footseg.data.images import Size
from footseg.errors import FootsegError

THESIS = {"train": 43_896, "val": 12_960, "test": 14_168}
"""Images of the thesis's synthetic data set (section 3.1): the shares of the parts."""
IMAGES_A_WORKER = 100
"""A process takes about as long to start as to draw these."""
RECORDS = ("synth.json", "manifest.jsonl")
"""What stands beside a composited data set: how it was made, and what is in each image."""


@dataclass(frozen=True)
class SynthConfig:
    """A data set to make: ``counts`` of pictures by split, like {"train": 600, "val": 100}, of one ``size``.

    The files are the same whatever the number of ``workers`` (processes, for hundreds of pictures); ``force``
    replaces a data set that is there.

    Raises:
        ValueError: an unknown split, a negative count, all counts 0, or a side below 16 pixels.
    """

    counts: Mapping[str, int]
    seed: int = 0
    size: Size = (256, 256)
    workers: int = 1
    force: bool = False

    def __post_init__(self) -> None:
        counts = self.counts
        if counts.keys() - set(SPLITS) or min(counts.values(), default=0) < 0 or not sum(counts.values()):
            got = ", ".join(f"{count} {split}" for split, count in counts.items())
            raise ValueError(
                f"counts must give {', '.join(SPLITS)} pictures, at least one in all, got {got or 'none'}"
            )
        check_size(self.size)

    def free_folder(self, out: Path) -> Path:
        """``out``, if the data set may be written there.

        Raises:
            FootsegError: it is a file, or not empty (``force``: or holds anything but a data set).
        """
        out = Path(out)
        if out.exists() and not out.is_dir():
            raise FootsegError(f"{out} is a file: give the name of a new folder")
        there = {path.name for path in out.iterdir()} if out.is_dir() else set()
        if there and not self.force:
            raise FootsegError(f"{out} is not empty: give another folder, or --force to replace it")
        if foreign := there - {*SPLITS, "dataset.toml", *RECORDS}:
            # A mistyped --out must not cost anybody a folder of other things.
            raise FootsegError(
                f"{out} holds more than a data set ({min(foreign)}): --force does not replace it"
            )
        return out

    def executor(self, jobs: int) -> Executor:
        """One of ``workers`` processes, fewer (or a thread) where starting them would take longer."""
        workers = min(self.workers, jobs // IMAGES_A_WORKER)
        if workers <= 1:
            return ThreadPoolExecutor(1)
        # "spawn": forking a process in which TensorFlow runs can hang it.
        return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent)


def end_with_parent() -> None:
    """Let this worker end when the process that started it has, however that was.

    A pool's workers wait for jobs on a pipe that they hold open themselves: they would wait for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def check_size(size: Size) -> None:
    """Refuse a picture too small to show a foot.

    Raises:
        ValueError: a side below 16 pixels.
    """
    if min(size) < 16:
        raise ValueError(f"a picture needs at least 16x16 pixels to show a foot, got {size}")


def counts_of(count: int) -> dict[str, int]:
    """Divide ``count`` images among the parts as the thesis does, at least one each from three up.

    Raises:
        ValueError: fewer than one image.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1 image, got {count}")
    return dict(zip(SPLITS, shares(count, SPLITS), strict=True))


def shares(count: int, splits: Sequence[str]) -> list[int]:
    """``count`` in whole shares, as the thesis's ``splits``, by the largest remainders.

    None is 0 if there is enough for all.
    """
    weights = np.array([THESIS[split] for split in splits])
    exact = weights * count / sum(weights)
    if count >= len(weights):
        exact = np.maximum(exact, 1)
        exact = 1 + (exact - 1) * (count - len(weights)) / max((exact - 1).sum(), 1e-9)
    whole = np.floor(exact + 1e-9).astype(int)
    largest = np.argsort(whole - exact, kind="stable")[: count - whole.sum()]
    whole[largest] += 1
    return whole.tolist()
