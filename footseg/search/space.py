"""A search's space: its labels, what a point means, and how hyperopt draws one.

A *point* says for each label that is active what was drawn: the number itself for a range, the index of the
branch for a choice. Equal points are equal trainings: ``values`` reads nothing else, and what hyperopt draws
is brought onto the range's own values first. Labels are ``NAME`` at the top and ``NAME@PARENT=INDEX`` below
branch INDEX of the choice labelled PARENT.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from footseg.errors import require
from footseg.search.parameters import Branch, Choice, Parameter, Range, Space
from footseg.search.records import Point
from footseg.search.space_file import load, names, nested, option_of, parse, placeholders, without_teacher

__all__ = [
    "Branch", "Choice", "Label", "Parameter", "Point", "Range", "Space", "count", "labels", "load", "names",
    "options", "parse", "point_of", "shown", "to_hyperopt", "vals_of", "values", "without_teacher",
]  # fmt: skip


@dataclass(frozen=True)
class Label:
    """One thing that is drawn; below a branch, only where its ``parent`` (a label and an index) was."""

    name: str
    title: str
    parameter: Parameter
    parent: tuple[str, int] | None = None


def labels(space: Space) -> tuple[Label, ...]:
    """All labels, a choice before those below it, in the order of the file."""
    found = list(_walk(space.parameters, None, ""))
    return tuple(
        Label(label, title, parameter, parent)
        for (label, parameter, parent, _), title in zip(found, _titles(found), strict=True)
    )


# Label, parameter, parent, and where it is in words: "loss ce + distill".
_Found = tuple[str, Parameter, tuple[str, int] | None, str]


def _walk(
    parameters: Mapping[str, Parameter], parent: tuple[str, int] | None, where: str
) -> Iterator[_Found]:
    for name, parameter in parameters.items():
        if isinstance(parameter, Choice) and parameter.fixed:
            continue
        label = _label(name, parent)
        yield label, parameter, parent, where
        if isinstance(parameter, Choice):
            for index, branch in enumerate(parameter.branches):
                yield from _walk(branch.parameters, (label, index), f"{_short(name)} {branch.title}")


def _label(name: str, parent: tuple[str, int] | None) -> str:
    return f"{name}@{parent[0]}={parent[1]}" if parent else name


def _short(name: str) -> str:
    return name.removeprefix("network_options.").replace("_", " ")


def _titles(found: Sequence[_Found]) -> list[str]:
    """Short where that is unique, else with its place, else the label itself."""
    kinds: tuple[Callable[[_Found], str], ...] = (
        lambda one: _short(_name(one)),
        lambda one: f"{_short(_name(one))} ({one[3] or _name(one)})",
        lambda one: one[0],
    )
    offers = [[kind(one) for one in found] for kind in kinds]
    return [
        next(titles[k] for titles in offers[:-1] if titles.count(titles[k]) == 1)
        if any(titles.count(titles[k]) == 1 for titles in offers[:-1])
        else offers[-1][k]
        for k in range(len(found))
    ]


def _name(found: _Found) -> str:
    label, _, parent, _ = found
    return label.removesuffix(f"@{parent[0]}={parent[1]}") if parent else label


def options(space: Space) -> frozenset[str]:
    """All options that a space sets, anywhere, those of the network as ``network_options.NAME``."""
    return frozenset(filter(option_of, _names(space.parameters)))


def _names(parameters: Mapping[str, Parameter]) -> Iterator[str]:
    for name, parameter in parameters.items():
        yield name
        for branch in parameter.branches if isinstance(parameter, Choice) else ():
            yield from _names(branch.parameters)


def count(space: Space) -> int | None:
    """How many points there are; None where infinitely many."""
    return _product(space.parameters)


def _product(parameters: Mapping[str, Parameter]) -> int | None:
    total = 1
    for parameter in parameters.values():
        if isinstance(parameter, Range):
            here = parameter.count
        else:
            below = [_product(branch.parameters) for branch in parameter.branches]
            here = None if None in below else sum(number for number in below if number)
        if here is None:
            return None
        total *= here
    return total


# ---- what a point means


def values(space: Space, point: Point) -> dict[str, Any]:
    """The training options that a point means, as plain values, those of the network in a table.

    Raises:
        ValueError: the point is of another space.
    """
    known = {label.name for label in labels(space)}
    if strange := sorted(set(point) - known):
        raise ValueError(f"the point has {strange[0]!r}, which this space has not: it is of another search")
    drawn = _drawn(space.parameters, point, None)
    return nested({name: value for name, value in drawn.items() if option_of(name)})


def _drawn(
    parameters: Mapping[str, Parameter], point: Point, parent: tuple[str, int] | None
) -> dict[str, Any]:
    """Values by name, of what fills braces, too."""
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        label = _label(name, parent)
        if isinstance(parameter, Range):
            found[name] = _of(point, label)
        else:
            index = 0 if parameter.fixed else int(_of(point, label))
            branch = parameter.branches[index]
            below = _drawn(branch.parameters, point, (label, index))
            found |= below
            found[name] = _filled(branch.value, below)
    return found


def _of(point: Point, label: str) -> float | int:
    if label not in point:
        raise ValueError(f"the point has no {label!r}: it is of another search")
    return point[label]


def _filled(value: Any, found: Mapping[str, Any]) -> Any:
    """``value`` with the names in braces filled in; numbers in full, as they are read back."""
    if isinstance(value, list):
        return [_filled(item, found) for item in value]
    for name in placeholders(value):
        value = value.replace(f"{{{name}}}", str(found[name]))
    return value


def shown(space: Space, point: Point) -> dict[str, float | int | str]:
    """A point for people: by title, the number or the title of the branch."""
    found: dict[str, float | int | str] = {}
    for label in labels(space):
        if label.name not in point:
            continue
        drawn = point[label.name]
        if isinstance(label.parameter, Choice):
            branch = label.parameter.branches[int(drawn)]
            number = isinstance(branch.value, int | float) and not isinstance(branch.value, bool)
            found[label.title] = branch.value if number else branch.title
        else:
            found[label.title] = drawn
    return found


# ---- hyperopt


def to_hyperopt(space: Space) -> dict[str, Any]:
    """The space as hyperopt's expressions, by name.

    Steps are drawn as their indices, whose intervals are all of width 1 (hyperopt's own ``quniform`` from low
    to high gives the ends half of their share, and its values are multiples of the step, whatever ``low``).
    """
    return _expressions(space.parameters, None)


def _expressions(parameters: Mapping[str, Parameter], parent: tuple[str, int] | None) -> dict[str, Any]:
    hp = require("hyperopt", "search").hp
    found = {}
    for name, parameter in parameters.items():
        label = _label(name, parent)
        if isinstance(parameter, Range):
            found[name] = _range_expression(hp, label, parameter)
        elif not parameter.fixed:
            below = [
                _expressions(branch.parameters, (label, k)) for k, branch in enumerate(parameter.branches)
            ]
            found[name] = hp.choice(label, below)
    return found


def _range_expression(hp: Any, label: str, span: Range) -> Any:
    if span.log and span.whole:
        return hp.qloguniform(label, math.log(span.low - 0.5), math.log(span.high + 0.5), 1)
    if span.log:
        return hp.loguniform(label, math.log(span.low), math.log(span.high))
    if span.count is not None:
        return hp.quniform(label, -0.5, span.count - 0.5, 1)
    return hp.uniform(label, span.low, span.high)


def point_of(space: Space, vals: Mapping[str, Any]) -> dict[str, float | int]:
    """The point that hyperopt drew: ``vals`` of a trial's misc, a list of one or no number for each label."""
    return {
        label.name: _plain(label.parameter, vals[label.name][0])
        for label in labels(space)
        if len(vals.get(label.name, ()))
    }


def vals_of(space: Space, point: Point) -> dict[str, list[float | int]]:
    """The ``vals`` that hyperopt would have drawn for a point: the inverse of ``point_of``."""
    return {
        label.name: [_coded(label.parameter, point[label.name])] if label.name in point else []
        for label in labels(space)
    }


def _plain(parameter: Parameter, drawn: Any) -> float | int:
    """What was drawn as a plain number within the range: rounding may put hyperopt's just outside."""
    if isinstance(parameter, Choice):
        return int(drawn)
    low, high = parameter.ends
    if _by_index(parameter):
        steps = parameter.count or 1
        return parameter.nth(min(max(round(float(drawn)), 0), steps - 1))
    value = min(max(float(drawn), low), high)
    return int(value) if parameter.whole else value


def _coded(parameter: Parameter, value: float | int) -> float | int:
    if isinstance(parameter, Choice):
        return int(value)
    return float(parameter.index(value)) if _by_index(parameter) else float(value)


def _by_index(span: Range) -> bool:
    return span.count is not None and not span.log
