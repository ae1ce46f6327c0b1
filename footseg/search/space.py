"""A search's space: its labels, what a point means, and how hyperopt draws one.

A *point* says for each label that is active what was drawn: the number itself for a range, the index of the
branch for a choice. Equal points are equal trainings, because ``values`` reads nothing else, and because what
hyperopt draws is brought onto the range's own values first. Labels are ``NAME`` at the top and
``NAME@PARENT=INDEX`` below branch INDEX of the choice labelled PARENT.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from footseg.errors import require
from footseg.search.parameters import Branch, Choice, Parameter, Range, Space
from footseg.search.records import Point
from footseg.search.space_file import load, names, parse, read, without_teacher
from footseg.search.space_options import NETWORK, is_option, nested

__all__ = [
    "Branch", "Choice", "Label", "Parameter", "Point", "Range", "Space", "count", "labels", "load", "names",
    "options", "parse", "point_of", "read", "shown", "to_hyperopt", "vals_of", "values", "without_teacher",
]  # fmt: skip

# A choice's label and the index of one of its branches.
Parent = tuple[str, int]


@dataclass(frozen=True)
class Label:
    """One thing that is drawn; below a branch, only where that branch of ``parent`` was."""

    name: str
    title: str
    parameter: Parameter
    parent: Parent | None = None


def labels(space: Space) -> tuple[Label, ...]:
    """All labels, a choice before those below it, in the order of the file."""
    found = list(_walk(space.parameters))
    titles = _first_unique([[one.title for one, _ in found], [one.title + where for one, where in found]])
    return tuple(replace(one, title=title or one.name) for (one, _), title in zip(found, titles, strict=True))


def _walk(
    parameters: Mapping[str, Parameter], parent: Parent | None = None, where: str = ""
) -> Iterator[tuple[Label, str]]:
    """Labels with short titles, and the place of each in words: " (loss ce + distill)"."""
    for name, parameter in parameters.items():
        if isinstance(parameter, Choice) and parameter.fixed:
            continue
        label = _label(name, parent)
        short = name.removeprefix(NETWORK).replace("_", " ")
        yield Label(label, short, parameter, parent), where
        for index, branch in enumerate(parameter.branches if isinstance(parameter, Choice) else ()):
            yield from _walk(branch.parameters, (label, index), f" ({short} {branch.title})")


def _label(name: str, parent: Parent | None) -> str:
    return f"{name}@{parent[0]}={parent[1]}" if parent else name


def _first_unique(offers: Sequence[Sequence[str]]) -> list[str | None]:
    """For each place the first offer that no other place gets; None where there is none."""
    counts = [Counter(offer) for offer in offers]
    return [
        next((title for title, count in zip(titles, counts, strict=True) if count[title] == 1), None)
        for titles in zip(*offers, strict=True)
    ]


def options(space: Space) -> frozenset[str]:
    """All options that a space sets, anywhere, those of the network as ``network_options.NAME``."""
    return frozenset(filter(is_option, _names(space.parameters)))


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
            here = _sum([_product(branch.parameters) for branch in parameter.branches])
        if here is None:
            return None
        total *= here
    return total


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


# ---- what a point means


def values(space: Space, point: Point) -> dict[str, Any]:
    """The training options that a point means, as plain values, those of the network in a table.

    Raises:
        ValueError: the point is of another space.
    """
    active = _active(space, point)
    if strange := sorted(set(point) - set(active)):
        raise ValueError(f"the point has {strange[0]!r}, which this space draws not there: it is another's")
    drawn = _drawn(space.parameters, point, None)
    return nested({name: value for name, value in drawn.items() if is_option(name)})


def _active(space: Space, point: Point) -> list[str]:
    """The labels that a point must have.

    Raises:
        ValueError: one is not there, or a branch that there is not.
    """
    found: list[str] = []
    for node, _ in _walk(space.parameters):
        if node.parent and (node.parent[0] not in found or point[node.parent[0]] != node.parent[1]):
            continue
        if node.name not in point:
            raise ValueError(f"the point has no {node.name!r}, which this space draws: it is another's")
        drawn, parameter = point[node.name], node.parameter
        if isinstance(parameter, Choice) and drawn not in range(len(parameter.branches)):
            raise ValueError(
                f"the point has {node.name} = {drawn}, which this space has not: it is another's"
            )
        found.append(node.name)
    return found


def _drawn(parameters: Mapping[str, Parameter], point: Point, parent: Parent | None) -> dict[str, Any]:
    """Values by name, with those that only fill braces."""
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        label = _label(name, parent)
        if isinstance(parameter, Range):
            found[name] = point[label]
            continue
        index = 0 if parameter.fixed else int(point[label])
        branch = parameter.branches[index]
        below = _drawn(branch.parameters, point, (label, index))
        found |= below | {name: branch.filled(below)}
    return found


def shown(space: Space, point: Point) -> dict[str, float | int | str]:
    """A point for people: by title, the number or the title of the branch.

    Raises:
        ValueError: a branch that the space has not.
    """
    return {
        label.title: _shown(label.parameter, point[label.name])
        for label in labels(space)
        if label.name in point
    }


def _shown(parameter: Parameter, drawn: float | int) -> float | int | str:
    if isinstance(parameter, Range):
        return drawn
    if drawn not in range(len(parameter.branches)):
        raise ValueError(f"a point has branch {drawn} of {len(parameter.branches)}: it is of another space")
    branch = parameter.branches[int(drawn)]
    # A number stays one, unless another branch has the same and only their titles differ.
    number = isinstance(branch.value, int | float) and str(branch.value) == branch.title
    return branch.value if number else branch.title


# ---- hyperopt


def to_hyperopt(space: Space) -> dict[str, Any]:
    """The space as hyperopt's expressions, by name.

    Steps are drawn as their indices, each with an interval of width 1: hyperopt's ``quniform`` from low to
    high gives the ends half of their share, and multiples of the step, whatever ``low`` is.

    Raises:
        MissingExtraError: hyperopt is not installed.
    """
    return _expressions(require("hyperopt", "search").hp, space.parameters, None)


def _expressions(hp: Any, parameters: Mapping[str, Parameter], parent: Parent | None) -> dict[str, Any]:
    found = {}
    for name, parameter in parameters.items():
        label = _label(name, parent)
        if isinstance(parameter, Range):
            found[name] = _expression(hp, label, parameter)
        elif not parameter.fixed:
            below = enumerate(branch.parameters for branch in parameter.branches)
            found[name] = hp.choice(label, [_expressions(hp, inner, (label, k)) for k, inner in below])
    return found


def _expression(hp: Any, label: str, span: Range) -> Any:
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
        node.name: _plain(node.parameter, vals[node.name][0])
        for node, _ in _walk(space.parameters)
        if len(vals.get(node.name, ()))
    }


def vals_of(space: Space, point: Point) -> dict[str, list[float | int]]:
    """The ``vals`` that hyperopt would have drawn for a point: the inverse of ``point_of``."""
    return {
        node.name: [_coded(node.parameter, point[node.name])] if node.name in point else []
        for node, _ in _walk(space.parameters)
    }


def _plain(parameter: Parameter, drawn: Any) -> float | int:
    """What was drawn, as a plain number of the range: rounding may put hyperopt's on its edge or beyond."""
    if isinstance(parameter, Choice):
        return int(drawn)
    if parameter.count is not None and not parameter.log:
        return parameter.nth(min(max(round(float(drawn)), 0), parameter.count - 1))
    low, high = parameter.ends
    value = min(max(float(drawn), low), high)
    return round(value) if parameter.whole else value


def _coded(parameter: Parameter, value: float | int) -> float | int:
    if isinstance(parameter, Choice):
        return int(value)
    by_index = parameter.count is not None and not parameter.log
    return float(parameter.index(value) if by_index else value)
