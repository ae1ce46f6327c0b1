"""What a search can aim at: scores that are to be large, costs that are to be small, and limits of costs.

Costs are known before training, the cheap ones first: the network is built, then its int8 file made, then
that file run. What each is worth: parameters and MACs are exact and say least about a phone; size and
instructions are exact, too, for the runtime that is installed here; latency is this machine's and moves with
its load.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

from footseg.errors import FootsegError, check_known
from footseg.search.records import SearchSettings, Trial, load_settings

SHARE: Mapping[str, float] = MappingProxyType({"": 1})
COUNT: Mapping[str, float] = MappingProxyType({"": 1, "k": 10**3, "M": 10**6, "G": 10**9})
BYTES: Mapping[str, float] = MappingProxyType(
    {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20}
)
MILLISECONDS: Mapping[str, float] = MappingProxyType({"": 1, "us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3})

# Options of networks that change neither layers nor their shapes: dropout does nothing in an inference.
FREE_OPTIONS = ("dropout", "encoder_weights")

LIMIT = re.compile(r"\s*(\S+?)\s*(<=|≤|=<|<)\s*(\d[\d_]*\.?\d*(?:e[-+]?\d+)?|\.\d+)\s*([^\W\d_]*)\s*", re.I)


@dataclass(frozen=True)
class Goal:
    """A figure of a trial: ``name`` is what commands and records call it, ``title`` is for people.

    ``units`` are what a limit of it may be given in, and how many of its own unit ("" for a plain number)
    each is. ``known`` says how: "computed" from the network, "measured" on this machine, "emulated".
    ``of_file`` says that it is the int8 file's, which has to be made for it.
    """

    name: str
    title: str
    unit: str
    known: str
    units: Mapping[str, float]
    of_file: bool = False


SCORES = {
    goal.name: goal
    for goal in (
        Goal("iou", "validation IoU", "", "measured", SHARE),
        Goal("boundary_f", "validation boundary F", "", "measured", SHARE),
    )
}
# In the order in which they are asked for.
COSTS = {
    goal.name: goal
    for goal in (
        Goal("parameters", "parameters", "parameters", "computed", COUNT),
        Goal("macs", "multiply-accumulates", "MACs", "computed", COUNT),
        Goal("size", "int8 file", "bytes", "computed", BYTES, of_file=True),
        Goal("arm", "int8 instructions, Cortex-A76", "instructions", "emulated", COUNT, of_file=True),
        Goal("latency", "int8 latency, this machine", "ms", "measured", MILLISECONDS, of_file=True),
    )
}
GOALS = SCORES | COSTS


def settings_of(folder: Path) -> SearchSettings:
    """Read ``search.json``, whose goals must be known.

    Raises:
        FootsegError: as ``records.load_settings``, or a goal that is none.
    """
    settings = load_settings(folder)
    for name in (settings.objective, *settings.against):
        if name not in GOALS:
            raise FootsegError(
                f"{folder} is a search for {name!r:.40}, which this footseg does not know "
                f"({', '.join(GOALS)}): search in another folder"
            )
    return settings


def costs_in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The costs named, each once, cheap ones first.

    Raises:
        ValueError: one is no cost; the nearest is suggested.
    """
    chosen = set(names)
    for name in sorted(chosen):
        _check_cost(name)
    return tuple(name for name in COSTS if name in chosen)


def shown(name: str, value: float, digits: int = 4) -> str:
    """A figure for people: "0.7432", "214.4 kB", "17.1 M", "5.31 ms"."""
    goal = GOALS[name]
    if goal.units is SHARE:
        return f"{value:.{digits}f}"
    if goal.units is MILLISECONDS:
        return f"{value:.{digits}g} ms"
    factor, prefix = thousands(value)
    unit = prefix + ("B" if goal.units is BYTES else "")
    return f"{value / factor:.{digits}g} {unit}".rstrip()


def thousands(value: float) -> tuple[float, str]:
    """The largest power of a thousand in ``value``, and its prefix: (1e6, "M") of 17 100 000."""
    powers = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
    return next(((factor, prefix) for factor, prefix in powers if abs(value) >= factor), (1.0, ""))


# ---- limits


@dataclass(frozen=True)
class Limit:
    """A cost may be ``most`` and no more; where ``strict``, less than that. In the cost's own unit."""

    name: str
    most: float
    strict: bool = False

    def met(self, value: float) -> bool:
        """Whether a cost is within it."""
        return value < self.most if self.strict else value <= self.most

    @property
    def amount(self) -> str:
        """What it allows, for people."""
        return shown(self.name, self.most, 12)

    def __str__(self) -> str:
        return f"{self.name}{'<' if self.strict else '<='}{self.amount.replace(' ', '')}"


@dataclass(frozen=True)
class Broken:
    """A limit and the cost that is over it."""

    limit: Limit
    value: float

    @property
    def excess(self) -> float:
        """How far it is over, as a share of the limit: 0.1 is a tenth too much."""
        return self.value / self.limit.most - 1

    def __str__(self) -> str:
        over = f"{100 * self.excess:.3g} % over" if self.excess else "not below"
        return f"{self.limit.name} {self.amount} is {over} {self.limit}"

    @property
    def amount(self) -> str:
        """The cost, in as many digits as it takes to see that it is not the limit."""
        texts = [shown(self.limit.name, self.value, digits) for digits in (4, 6, 9, 12)]
        apart = [text for text in texts if text != self.limit.amount]
        return (apart or texts)[0]


def parse_limit(text: str) -> Limit:
    """A limit as people write it: "size<=260kB", "arm <= 17.1M", "latency<=5ms", "parameters<200k".

    A plain number is in the cost's own unit (bytes, milliseconds, ones). Units may be in any case.

    Raises:
        ValueError: not such a text, no such cost (the nearest is suggested), a unit that is not of that cost,
            or nothing above 0.
    """
    match = LIMIT.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no limit: write COST<=NUMBER, as size<=260kB or arm<=17M; costs: {', '.join(COSTS)}"
        )
    name, relation, number, unit = match.groups()
    _check_cost(name)
    units = {known.casefold(): factor for known, factor in COSTS[name].units.items()}
    if unit.casefold() not in units:
        known = ", ".join(unit for unit in COSTS[name].units if unit)
        raise ValueError(f"{text!r}: {name} is not given in {unit} but in {known}, or as a plain number")
    # Decimal: as a product of floats 2.3 million is 2299999.9999999995, which 2300000 parameters are over.
    most = float(Decimal(number) * Decimal(str(units[unit.casefold()])))
    if not 0 < most < math.inf:
        raise ValueError(f"{text!r}: no network has {name} {number}: give a number above 0")
    return Limit(name, most, strict=relation == "<")


def broken(limits: Sequence[Limit], costs: Mapping[str, float]) -> tuple[Broken, ...]:
    """The limits that ``costs`` break, by name; those of costs that are not known are not broken."""
    found = (Broken(limit, costs[limit.name]) for limit in limits if limit.name in costs)
    return tuple(one for one in found if not one.limit.met(one.value))


def nearest_miss(limits: Sequence[Limit], trials: Sequence[Trial]) -> str:
    """Which limits nothing met, by how little, and which options came nearest: one line.

    "" where a trial meets them all, or none has a cost that is limited. The costs of a trial are known up to
    the first limit that it breaks, so the nearest is the one that went furthest, then the one that is least
    over its limits; how many meet each limit is counted among those whose cost is known.
    """
    rows = [trial for trial in trials if any(limit.name in trial.costs for limit in limits)]
    if not rows or any(_meets(limits, trial) for trial in rows):
        return ""
    near = min(rows, key=lambda trial: distance(limits, trial))
    nothing = (
        f"nothing of {len(rows)} points drawn meets" if len(rows) > 1 else "the one point drawn does not meet"
    )
    what = "it" if len(limits) == 1 else f"them together ({', '.join(_met(limit, rows) for limit in limits)})"
    over = "; ".join(map(str, broken(limits, near.costs)))
    return (
        f"{' and '.join(map(str, limits))}: {nothing} {what}; "
        f"the nearest is trial {near.name}{_options(near, rows)}: {over}"
    )


def distance(limits: Sequence[Limit], trial: Trial) -> float:
    """How far a trial is from meeting ``limits``: 0, it meets them, to 1, nothing is known of its costs.

    Of two trials the one that went further, to a costlier limit, is nearer, whatever it is over there.
    """
    over = _excess(limits, trial)
    return (_unknown(limits, trial) + over / (1 + over)) / (len(limits) + 1)


def architecture(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of training options those that decide what an inference costs, the network's own by their names."""
    own = values.get("network_options", {})
    top = {name: values[name] for name in ("network", "size") if name in values}
    return top | {name: value for name, value in own.items() if name not in FREE_OPTIONS}


def _meets(limits: Sequence[Limit], trial: Trial) -> bool:
    return not _unknown(limits, trial) and not broken(limits, trial.costs)


def _unknown(limits: Sequence[Limit], trial: Trial) -> int:
    return sum(limit.name not in trial.costs for limit in limits)


def _excess(limits: Sequence[Limit], trial: Trial) -> float:
    return max((one.excess for one in broken(limits, trial.costs)), default=0.0)


def _met(limit: Limit, trials: Sequence[Trial]) -> str:
    known = [trial.costs[limit.name] for trial in trials if limit.name in trial.costs]
    return f"{limit.name}: met by {sum(map(limit.met, known))} of {len(known)}"


def _options(trial: Trial, trials: Sequence[Trial]) -> str:
    """The options of its architecture that not all trials share (all of them, where there is one trial)."""
    own, others = architecture(trial.values), [architecture(other.values) for other in trials]
    differing = {k: v for k, v in own.items() if len(trials) == 1 or any(o.get(k) != v for o in others)}
    texts = [
        f"{name} {value:.4g}" if type(value) is float else f"{name} {value}"
        for name, value in differing.items()
    ]
    return f" with {', '.join(texts)}" if texts else ""


def _check_cost(name: str) -> None:
    if name in SCORES:
        raise ValueError(f"{name} is a score, not a cost: costs are {', '.join(COSTS)}")
    check_known("no cost", name, COSTS)
