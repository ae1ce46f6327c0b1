"""How far measured times are from what a core could do at best."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg import files
from footseg.benchmarks import places
from footseg.benchmarks.cost.roofline import Bound
from footseg.benchmarks.measurement import Measurement
from footseg.errors import FootsegError
from footseg.terminal import aligned, wrapped


@dataclass(frozen=True)
class Distance:
    """One file in one place: median latency there, the bound of the core described, milliseconds.

    ``share`` is bound / latency: 1 is the bound itself, 0.5 twice its time; caches can make it more than 1.
    """

    file: str
    where: str
    latency_ms: float
    bound_ms: float
    share: float


def distances(limits: Sequence[tuple[Path, Bound]], measured: Sequence[Measurement]) -> list[Distance]:
    """Of each file every place where it was timed on one thread: a bound is of one core.

    Raises:
        FootsegError: a file was timed nowhere on one thread.
    """
    latest = [m for m in places.latest(measured) if m.latency and m.threads == 1]
    found = []
    for path, limit in limits:
        digest = files.sha256(path)
        own = [(m, m.latency.median_ms) for m in latest if m.latency and m.artifact.sha256 == digest]
        if not own:
            raise FootsegError(
                f"the results have no time of {path.name} on one thread: footseg bench {path} --out RESULTS"
            )
        found += [
            Distance(path.name, places.device_key(m).words, ms, limit.ms, limit.share_of_bound(ms))
            for m, ms in own
        ]
    return found


def as_text(found: Sequence[Distance], core: str, columns: int) -> str:
    """Lines for a terminal."""
    rows = [
        (row.file, f"{row.latency_ms:.3f}", f"{row.bound_ms:.3f}", f"{row.share:.0%}", row.where)
        for row in found
    ]
    heads = ("file", "measured ms", "bound ms", "of the bound", "measured on")
    note = f"the bound is computed for {core}: whether that describes the device is for you to know"
    return "\n".join([aligned(heads, rows, left=(0, 4)), wrapped(note, columns)])
