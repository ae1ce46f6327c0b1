"""What an architecture costs: known before it is trained, and kept in the search's folder.

Nothing heavy is imported with this module; a cost that nobody asks for needs nothing installed.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from footseg import doctor, files, networks, provenance, records
from footseg.errors import FootsegError, check_installed
from footseg.export.precisions import PRECISIONS
from footseg.search import goals
from footseg.search.goals import Limit
from footseg.training.config import TrainConfig

FOLDER = "costs"
CORE = "cortex-a76"


def check(wanted: Collection[str]) -> None:
    """Make sure that these costs can be had here, before anything begins.

    The first time that instructions are asked for, their runner is made: seconds, and a download.

    Raises:
        ValueError: one is no cost; the nearest is suggested.
        FootsegError: a tool is missing, or Keras is to run on a backend that exports nothing.
        MissingExtraError: a package is not installed.
    """
    names = goals.costs_in_order(wanted)
    if of_file := [name for name in names if goals.COSTS[name].of_file]:
        for package, extra in PRECISIONS["int8"].needs.items():
            check_installed(package, extra)
        backend, source = doctor.keras_backend()
        if backend != "tensorflow":
            others = [name for name, goal in goals.COSTS.items() if not goal.of_file]
            raise FootsegError(
                f"{' and '.join(of_file)} of an int8 file can be known with Keras on TensorFlow only, not on "
                f"{backend or 'an unknown backend'} (by {source}): set KERAS_BACKEND=tensorflow, or ask for "
                f"{' and '.join(others)}"
            )
    if "arm" in names:
        from footseg.benchmarks.arm import tools

        tools()


def costs(
    folder: Path,
    config: TrainConfig,
    classes: Sequence[str],
    wanted: Collection[str],
    limits: Sequence[Limit] = (),
) -> dict[str, float]:
    """The costs ``wanted`` and those that ``limits`` are of, in the order of ``goals.COSTS``.

    They end with the first that breaks a limit, so that no file is made of a network that has too many
    parameters, and none is run that is too large. What was found out is kept in ``folder``/costs by
    architecture, where dropout and the like do not count, and by the versions of all packages.

    ``parameters`` are those of the Keras network, ``macs`` as ``footseg cost`` counts them. ``size`` (bytes)
    is that of the int8 file that ``footseg export`` will make, to the byte. ``arm`` are the instructions of
    one inference of it on an emulated Cortex-A76, the same each time. ``latency`` (ms) is its processor time
    on one thread of this machine, taken by one process at a time in ``folder``. Trainings beside it still
    take part of the caches and of the memory's speed: where latency decides, measure the winners again when
    the machine is idle, and let all machines of a cluster be of one kind.

    Raises:
        ValueError: one is no cost, or the network cannot be built with these options.
        FootsegError: no data to calibrate with, or the network cannot be exported or run.
        MissingExtraError: a package is not installed.
    """
    kept = _KnownCosts(folder / FOLDER, _described(config, len(classes)))
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="footseg-costs-") as temporary:
        network = _Network(config, len(classes), Path(temporary))
        for name in goals.costs_in_order({*wanted, *(limit.name for limit in limits)}):
            found[name] = kept.cost(name, network)
            if goals.broken(limits, found):
                break
    return found


@dataclass(frozen=True)
class _Network:
    """A network without training, built and exported when that is first asked for."""

    config: TrainConfig
    classes: int
    folder: Path

    @cached_property
    def model(self) -> Any:
        """The Keras network."""
        options = networks.architecture(self.config.network_options)
        return networks.build(self.config.network, (*self.config.size, 3), self.classes, **options)

    @cached_property
    def file(self) -> Path:
        """Its int8 file."""
        from footseg.export.untrained import int8_file

        return int8_file(self.model, Path(self.config.data), self.folder / "int8.tflite")


def _arm(network: _Network) -> float:
    from footseg.benchmarks.arm import measure_all

    (line,) = measure_all([network.file], [CORE], images=1, inferences=1)
    assert line.instructions is not None  # as in every emulated measurement
    return line.instructions.total


def _macs(network: _Network) -> float:
    from footseg.benchmarks.cost import cost_of_keras

    return cost_of_keras(network.model).macs


def _latency(network: _Network) -> float:
    from footseg.benchmarks.host import quick_latency

    return round(quick_latency(network.file), 4)


MEASURES: Mapping[str, Callable[[_Network], float]] = {
    "parameters": lambda network: network.model.count_params(),
    "macs": _macs,
    "size": lambda network: network.file.stat().st_size,
    "arm": _arm,
    "latency": _latency,
}


def _described(config: TrainConfig, classes: int) -> dict[str, Any]:
    """All that costs follow from, the options of the network by what they are where nobody gave them."""
    values = dataclasses.asdict(config)
    values["network_options"] = networks.options(config.network) | config.network_options
    return {
        "architecture": goals.architecture(values),
        "classes": classes,
        "versions": provenance.versions(),
    }


@dataclass(frozen=True)
class _Costs:
    """What is read of a record of costs."""

    costs: dict[str, float]


@dataclass(frozen=True)
class _KnownCosts:
    """What is known of the costs that follow from ``described``."""

    folder: Path
    described: Mapping[str, Any]

    @property
    def record(self) -> Path:
        """Its file."""
        plain = json.dumps(self.described, sort_keys=True)
        return self.folder / f"{hashlib.sha256(plain.encode()).hexdigest()[:16]}.json"

    def known(self) -> dict[str, float]:
        """All costs that are known by now."""
        if not self.record.is_file():
            return {}
        mend = "remove it, and they are found out again"
        return records.read(_Costs, self.record, "record of costs", mend).costs

    def cost(self, name: str, network: _Network) -> float:
        """One cost, found out where it is not known."""
        if name != "latency" or name in self.known():
            return self._cost(name, network)
        _ = network.file  # Made before the lock is taken, which is for the clock alone.
        with self._alone():
            return self._cost(name, network)

    def _cost(self, name: str, network: _Network) -> float:
        known = self.known()
        if name in known:
            return known[name]
        value = MEASURES[name](network)
        # Read again: other processes write here, too.
        files.write_json(self.record, {**self.described, "costs": self.known() | {name: value}})
        return value

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of whoever measures time in this folder; it goes with the process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
