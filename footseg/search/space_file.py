"""Spaces as they are written: TOML files and plain values, read and checked against what can be trained.

    learning_rate = { log_uniform = [1e-6, 1e-2] }
    epochs = { integer = [10, 50], step = 10 }
    batch = { choice = [8, 16] }
    flip = 0.5                                       # fixed for all trials
    network_options.width = { uniform = [0.25, 1.0], step = 0.05 }
    loss = { choice = [
        { value = ["ce"] },
        { value = ["ce", "distill:{weight}"], weight = { uniform = [0, 10] }, temperature = ... },
    ] }

What stands beside a ``value`` varies only with it, to any depth; a name in braces is filled in by it.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from footseg import files
from footseg.errors import FootsegError, did_you_mean
from footseg.search.parameters import Branch, Choice, Parameter, Range, Space, placeholders
from footseg.search.space_options import KINDS, SpacePlace, check_name, check_values, flat, items, networks_in
from footseg.training.config import TEACHER_TERMS, from_values

SPACES = Path(__file__).parent / "spaces"
# Kinds of ranges: whether the logarithm is uniform, whether the numbers are whole.
RANGES = {
    "uniform": (False, False),
    "log_uniform": (True, False),
    "integer": (False, True),
    "log_integer": (True, True),
}
# Of a range; with more of them a step is none.
MOST_STEPS = 10**9
WAYS = (*RANGES, "choice")


def names() -> list[str]:
    """The spaces that come with footseg."""
    return sorted(path.stem for path in SPACES.glob("*.toml"))


def load(name_or_path: str) -> dict[str, Any]:
    """The plain values of a space: one of ours by name, or a TOML file.

    Raises:
        FootsegError: no such name (the nearest is suggested) or file, or not TOML.
    """
    path = SPACES / f"{name_or_path}.toml" if name_or_path in names() else Path(name_or_path)
    if not path.exists():
        hint = did_you_mean(name_or_path, names())
        raise FootsegError(f"no space {name_or_path!r} of ours, nor such a file: {hint}")
    return files.read_toml(path)


def parse(values: Mapping[str, Any], fixed: Mapping[str, Any]) -> Space:
    """Read a space from plain values; ``fixed`` are the training options that are given beside it.

    Where networks, their options or losses occur, this imports Keras.

    Raises:
        ValueError: an unknown option, of training or of a network that it may be used with (the nearest is
            suggested); an unknown or empty range, or one outside of what the option takes; an empty choice;
            braces that nothing fills; an option that is fixed as well; a space in which nothing varies.
    """
    held = flat(fixed)
    return _space(values, SpacePlace(networks=(held["network"],) if held.get("network") else (), fixed=held))


def read(values: Mapping[str, Any]) -> Space:
    """The space of a search that was begun: ``parse`` has checked it then. Needs no Keras.

    Raises:
        ValueError: what ``parse`` raises, but for what only a network can tell.
    """
    return _space(values, SpacePlace())


def _space(values: Mapping[str, Any], place: SpacePlace) -> Space:
    parameters = _parameters(values, place)
    _check_once(parameters)
    if all(isinstance(parameter, Choice) and parameter.fixed for parameter in parameters.values()):
        raise ValueError(
            "nothing varies in this space: give at least one range, as learning_rate = "
            "{ log_uniform = [1e-4, 1e-2] }, or a choice of two values"
        )
    return Space(parameters)


def _parameters(values: Mapping[str, Any], place: SpacePlace) -> dict[str, Parameter]:
    if place.networks is not None:
        place = dataclasses.replace(place, networks=networks_in(values) or place.networks)
    found: dict[str, Parameter] = {}
    for name, given in flat(values).items():
        check_name(name, place)
        found[name] = parameter = _parameter(name, given, place)
        check_values(name, parameter, place)
    return found


def _parameter(name: str, given: Any, place: SpacePlace) -> Parameter:
    if not isinstance(given, Mapping):
        return Choice((_branch(name, given, place),))
    ways = [key for key in given if key in WAYS]
    strange = [key for key in given if key not in (*WAYS, *(("step",) if ways else ()))]
    if strange:
        raise ValueError(
            f"{place.at(name)}: no kind of range {strange[0]!r}: {did_you_mean(strange[0], WAYS)}"
        )
    if len(ways) != 1:
        raise ValueError(
            f"{place.at(name)} is {' and '.join(ways) or 'empty'}: give one of {', '.join(WAYS)}"
        )
    if ways == ["choice"]:
        return _choice(name, given, place)
    return _range(place.at(name), ways[0], given[ways[0]], given.get("step"))


def _range(where: str, way: str, ends: Any, step: Any) -> Range:
    log, whole = RANGES[way]
    if not (
        isinstance(ends, list | tuple) and len(ends) == 2 and all(_is_number(end, whole) for end in ends)
    ):
        expected = "two whole numbers" if whole else "two numbers"
        raise ValueError(f"{where}: {way} = {ends!r} is not {expected}: write {way} = [lowest, highest]")
    text = f"{where}: {way} = [{ends[0]}, {ends[1]}]"
    if ends[0] >= ends[1]:
        raise ValueError(f"{text} is empty: the lowest must come first, and be smaller")
    if log and ends[0] <= 0:
        raise ValueError(f"{text} has no logarithm: the lowest must be above 0")
    low, high = ends if whole else map(float, ends)
    if step is None:
        return Range(low, high, log, whole=whole)
    if log:
        raise ValueError(f"{text} takes no step: leave it out, or list the values as a choice")
    if _is_number(step, whole) and step > 0:
        stepped = Range(low, high, step=step if whole else float(step), whole=whole)
        if 1 < (stepped.count or 0) <= MOST_STEPS:
            return stepped
    wanted = "a whole number" if whole else "a number"
    raise ValueError(
        f"{text}, step = {step!r}: a step is {wanted} above 0, at most what the range is wide and at "
        "least a billionth of that"
    )


def _is_number(value: Any, whole: bool) -> bool:
    return type(value) is int or (not whole and type(value) is float and math.isfinite(value))


def _choice(name: str, given: Mapping[str, Any], place: SpacePlace) -> Choice:
    if not items(given):
        raise ValueError(
            f"{place.at(name)}: choice = {given['choice']!r} is no list of values: give some to choose from"
        )
    if "step" in given:
        raise ValueError(f"{place.at(name)}: a choice has no step: leave it out")
    branches = [_branch(name, item, place) for item in items(given)]
    for k, branch in enumerate(branches):
        if any(_same(name, branch, other) for other in branches[:k]):
            raise ValueError(f"{place.at(name)}: {branch.title} is there twice: leave one out")
    return Choice(tuple(_told_apart(branches)))


def _branch(name: str, item: Any, place: SpacePlace) -> Branch:
    table = item if isinstance(item, Mapping) else {"value": item}
    if "value" not in table:
        raise ValueError(f"{place.at(name)}: {dict(table)!r} has no value: write {{ value = ..., ... }}")
    value, title = table["value"], _title(table["value"])
    fills = placeholders(value)
    below = dataclasses.replace(place, above=f"{place.at(name)} {title}, ", fills=fills)
    if name == "network" and isinstance(value, str) and place.networks is not None:
        below = dataclasses.replace(below, networks=(value,))
    parameters = _parameters({key: given for key, given in table.items() if key != "value"}, below)
    for fill in fills:
        if not _fits(parameters.get(fill)):
            raise ValueError(
                f"{place.at(name)}: nothing fills {{{fill}}} in {value!r}: write {{ choice = "
                f"[ {{ value = ..., {fill or 'NAME'} = {{ uniform = [0, 1] }} }} ] }}"
            )
    return Branch(value, title, parameters)


def _fits(parameter: Parameter | None) -> bool:
    """Whether all of a parameter's values can be put into a text."""
    if isinstance(parameter, Choice):
        return all(isinstance(branch.value, str | int | float) for branch in parameter.branches)
    return parameter is not None


def _same(name: str, one: Branch, other: Branch) -> bool:
    """Whether two branches mean the same training: 1 and 1.0, "ce" and ["ce"]."""
    first, second = (
        getattr(from_values({name: branch.value}), name) if name in KINDS else branch.value
        for branch in (one, other)
    )
    return first == second and one.parameters == other.parameters


def _told_apart(branches: Sequence[Branch]) -> Iterator[Branch]:
    """The same value with other parameters gets a number: ce, ce (2)."""
    titles = [branch.title for branch in branches]
    for k, branch in enumerate(branches):
        earlier = titles[:k].count(branch.title)
        yield dataclasses.replace(branch, title=f"{branch.title} ({earlier + 1})") if earlier else branch


def _title(value: Any) -> str:
    """A value for people: "ce + distill" for ["ce", "distill:{weight}"], "256x128" for [256, 128]."""
    if isinstance(value, list | tuple) and value:
        return (" + " if isinstance(value[0], str) else "x").join(map(_title, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return re.sub(r":?\{[^{}]*\}", "", str(value)) or repr(value)


def _check_once(parameters: Mapping[str, Parameter]) -> set[str]:
    """Check that no name can be drawn twice for one trial; returns all names."""
    seen: set[str] = set()
    for name, parameter in parameters.items():
        branches = parameter.branches if isinstance(parameter, Choice) else ()
        below = set().union(*(_check_once(branch.parameters) for branch in branches))
        if twice := sorted((seen | {name}) & below | seen & {name}):
            raise ValueError(f"{twice[0]} can be drawn twice for one trial: leave one of the two out")
        seen |= {name} | below
    return seen


def without_teacher(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A space's plain values without the losses that need a teacher, and the titles of those left out.

    What stands beside a ``teacher`` of the space's own stays.

    Raises:
        ValueError: no loss would be left.
    """
    left_out: list[str] = []

    def taught(item: Any) -> bool:
        table = item if isinstance(item, Mapping) else {"value": item}
        value = table.get("value")
        terms = value if isinstance(value, list) else [value]
        named = {str(term).partition(":")[0] for term in terms}
        return "teacher" not in table and bool(named & set(TEACHER_TERMS))

    def kept(name: str, given: Any) -> Any:
        if name == "network_options" and isinstance(given, Mapping):
            return everywhere(given)
        rest = items(given)
        if not rest:
            return given
        if name == "loss":
            left_out.extend(_title(i["value"] if isinstance(i, Mapping) else i) for i in rest if taught(i))
            rest = [item for item in rest if not taught(item)]
            if not rest:
                raise ValueError("every loss of this space needs a teacher: give one with --teacher RUN")
        return {**given, "choice": [everywhere(i) if isinstance(i, Mapping) else i for i in rest]}

    def everywhere(table: Mapping[str, Any]) -> dict[str, Any]:
        if "teacher" in table:
            return dict(table)
        return {name: kept(name, given) for name, given in table.items()}

    return everywhere(values), tuple(dict.fromkeys(left_out))
