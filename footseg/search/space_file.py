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
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from footseg import networks
from footseg.config import TrainConfig, from_values
from footseg.errors import FootsegError, did_you_mean
from footseg.search.parameters import Branch, Choice, Parameter, Range, Space

SPACES = Path(__file__).parent / "spaces"
NETWORK = "network_options."
# Kinds of ranges: whether the logarithm is uniform, whether the numbers are whole.
RANGES = {
    "uniform": (False, False),
    "log_uniform": (True, False),
    "integer": (False, True),
    "log_integer": (True, True),
}
KINDS = (*RANGES, "choice")


def names() -> list[str]:
    """The spaces that come with footseg."""
    return sorted(path.stem for path in SPACES.glob("*.toml"))


def load(name_or_path: str) -> dict[str, Any]:
    """The plain values of a space: of a TOML file, or of one of ours by name.

    Raises:
        FootsegError: no such file or name (the nearest is suggested), or not TOML.
    """
    ours = SPACES / f"{name_or_path}.toml"
    path = ours if name_or_path in names() else Path(name_or_path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        hint = did_you_mean(name_or_path, names())
        raise FootsegError(f"no space {name_or_path!r}, nor a file of that name: {hint}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FootsegError(f"{path} is not valid TOML: {error}") from error


# ---- names of options


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the network beside the others, as ``network_options.NAME``.

    Raises:
        ValueError: one is there in both ways of writing it, or ``network_options`` is no table.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name != "network_options":
            inner = {name: value}
        elif isinstance(value, Mapping):
            inner = {NETWORK + option: below for option, below in value.items()}
        else:
            raise ValueError(f"network_options = {value!r} is not a table: write network_options.width = ...")
        for key, below in inner.items():
            if key in found:
                raise ValueError(f"{key} is there twice: leave one out")
            found[key] = below
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of ``flat``: training options as ``config.from_values`` takes them."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith(NETWORK):
            found.setdefault("network_options", {})[name.removeprefix(NETWORK)] = value
        else:
            found[name] = value
    return found


def option_of(name: str) -> bool:
    """Whether a name is a training option or one of a network, not only there to fill braces."""
    return name.startswith(NETWORK) or name in get_type_hints(TrainConfig)


def placeholders(value: Any) -> list[str]:
    """The names in braces of a text or of a list of texts."""
    if isinstance(value, list):
        return [name for item in value for name in placeholders(item)]
    return re.findall(r"\{([^{}]*)\}", value) if isinstance(value, str) else []


# ---- reading


@dataclass(frozen=True)
class _Place:
    """Where in a space something stands: ``above`` in words, the networks it may be trained with there."""

    above: str
    networks: tuple[str, ...]
    fixed: Mapping[str, Any]
    fills: tuple[str, ...] = ()

    def at(self, name: str) -> str:
        return f"{self.above}{name}"


def parse(values: Mapping[str, Any], fixed: Mapping[str, Any]) -> Space:
    """Read a space from plain values; ``fixed`` are the training options that are given beside it.

    Raises:
        ValueError: an unknown option, of training or of a network that it may be used with (the nearest is
            suggested), an unknown or empty range or one outside of what the option allows, an empty choice,
            braces that nothing fills, an option that is fixed as well, a space in which nothing varies.
    """
    held = flat(fixed)
    network = (held["network"],) if held.get("network") else ()
    parameters = _parameters(values, _Place("", network, held))
    _check_once(parameters)
    if all(isinstance(parameter, Choice) and parameter.fixed for parameter in parameters.values()):
        raise ValueError(
            "nothing varies in this space: give at least one range, as learning_rate = "
            "{ log_uniform = [1e-4, 1e-2] }, or a choice of two values"
        )
    return Space(parameters)


def _parameters(values: Mapping[str, Any], place: _Place) -> dict[str, Parameter]:
    place = dataclasses.replace(place, networks=_networks(values) or place.networks)
    found: dict[str, Parameter] = {}
    for name, given in flat(values).items():
        _check_name(name, place)
        found[name] = parameter = _parameter(name, given, place)
        for value in _extremes(parameter):
            _check_value(name, value, place)
    return found


def _networks(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The networks that plain values may choose between, there or in their branches."""
    given = values.get("network")
    if isinstance(given, str):
        return (given,)
    found: list[str] = []
    for parameter in values.values():
        for item in _items(parameter):
            value = item.get("value") if isinstance(item, Mapping) else item
            if parameter is given and isinstance(value, str):
                found.append(value)
            elif isinstance(item, Mapping):
                found += _networks(item)
    return tuple(dict.fromkeys(found))


def _items(given: Any) -> list[Any]:
    """What a plain parameter chooses between, where it is a choice."""
    items = given.get("choice") if isinstance(given, Mapping) else None
    return items if isinstance(items, list) else []


def _parameter(name: str, given: Any, place: _Place) -> Parameter:
    if not isinstance(given, Mapping):
        return Choice((_branch(name, given, place),))
    kinds = [key for key in given if key in KINDS]
    if len(kinds) > 1:
        raise ValueError(f"{place.at(name)} is both {' and '.join(kinds)}: leave one out")
    strange = [key for key in given if key not in KINDS and (key != "step" or not kinds)]
    if strange:
        raise ValueError(
            f"{place.at(name)}: no kind of range {strange[0]!r}: {did_you_mean(strange[0], KINDS)}"
        )
    if not kinds:
        raise ValueError(f"{place.at(name)} is an empty table: give one of {', '.join(KINDS)}")
    if kinds == ["choice"]:
        return _choice(name, given, place)
    return _range(place.at(name), kinds[0], given[kinds[0]], given.get("step", 0))


def _range(where: str, kind: str, ends: Any, step: Any) -> Range:
    log, whole = RANGES[kind]
    expected = "two whole numbers" if whole else "two numbers"
    if not (isinstance(ends, list | tuple) and len(ends) == 2 and all(_number(end, whole) for end in ends)):
        raise ValueError(f"{where}: {kind} = {ends!r} is not {expected}: write {kind} = [lowest, highest]")
    low, high = ends if whole else (float(ends[0]), float(ends[1]))
    text = f"{where}: {kind} = [{ends[0]}, {ends[1]}]"
    if low >= high:
        raise ValueError(f"{text} is empty: the lowest must come first and be smaller")
    if log and low <= 0:
        raise ValueError(f"{text}: logarithms want a lowest number above 0")
    if not _number(step, whole) or step < 0 or step > high - low or (log and step):
        wanted = "takes no step" if log else f"wants a step above 0 and at most {high - low:g}"
        raise ValueError(f"{text}, step = {step!r}: this range {wanted}{' (whole)' * whole}")
    return Range(low, high, log, step if whole else float(step), whole)


def _number(value: Any, whole: bool) -> bool:
    return type(value) is int or (not whole and type(value) is float and math.isfinite(value))


def _choice(name: str, given: Mapping[str, Any], place: _Place) -> Choice:
    where, items = place.at(name), given["choice"]
    if not isinstance(items, list | tuple) or not items:
        raise ValueError(f"{where}: choice = {items!r} has nothing to choose from: give a list of values")
    if "step" in given:
        raise ValueError(f"{where}: a choice has no step: leave it out")
    branches = [_branch(name, item, place) for item in items]
    for k, branch in enumerate(branches):
        same = [other for other in branches[:k] if other == branch or _same(name, other, branch)]
        if same:
            raise ValueError(f"{where}: {branch.title} is there twice: leave one out")
    return Choice(tuple(_told_apart(branches)))


def _same(name: str, one: Branch, other: Branch) -> bool:
    """Whether two branches mean the same training: 1 and 1.0, "ce" and ["ce"]."""
    values = [branch.value for branch in (one, other)]
    if name in get_type_hints(TrainConfig):
        values = [getattr(from_values({name: value}), name) for value in values]
    return values[0] == values[1] and one.parameters == other.parameters


def _told_apart(branches: Sequence[Branch]) -> Iterator[Branch]:
    titles = [branch.title for branch in branches]
    for k, branch in enumerate(branches):
        earlier = titles[:k].count(branch.title)
        yield dataclasses.replace(branch, title=f"{branch.title} ({earlier + 1})") if earlier else branch


def _branch(name: str, item: Any, place: _Place) -> Branch:
    if isinstance(item, Mapping) and "value" not in item:
        raise ValueError(f"{place.at(name)}: {dict(item)!r} has no value: write {{ value = ..., ... }}")
    value = item["value"] if isinstance(item, Mapping) else item
    others = (
        {key: below for key, below in item.items() if key != "value"} if isinstance(item, Mapping) else {}
    )
    title, fills = _title(value), tuple(placeholders(value))
    below = dataclasses.replace(place, above=f"{place.at(name)} {title}, ", fills=fills)
    if name == "network":
        below = dataclasses.replace(below, networks=(value,))
    parameters = _parameters(others, below)
    for fill in fills:
        if fill not in parameters:
            raise ValueError(
                f"{place.at(name)}: nothing fills {{{fill}}} in {value!r}: write "
                f"{{ value = ..., {fill or 'NAME'} = {{ uniform = [0, 1] }} }}"
            )
    return Branch(value, title, parameters)


def _title(value: Any) -> str:
    if isinstance(value, list):
        return (" + " if isinstance(value[0], str) else "x").join(map(_title, value)) if value else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return re.sub(r":?\{[^{}]*\}", "", str(value)) or str(value)


# ---- checks


def _check_name(name: str, place: _Place) -> None:
    """That there is such an option, in all networks that it may be used with."""
    if name in place.fixed:
        raise ValueError(
            f"{place.at(name)} is in the space, and fixed as {place.fixed[name]!r}: leave one of the two out"
        )
    if name == "data":
        raise ValueError("data: a search is over one data set, as others give other scores: use --data")
    if name in get_type_hints(TrainConfig) or name in place.fills:
        return
    option = name.removeprefix(NETWORK)
    if option != name and not place.networks:
        raise ValueError(f"{place.at(name)}: give the network that this is an option of")
    lacking = [network for network in place.networks if option not in networks.options(network)]
    if option != name and not lacking:
        return
    known = [*get_type_hints(TrainConfig), *place.fills]
    if option == name and place.networks and not lacking:
        raise ValueError(f"no option {place.at(name)!r}: it is the network's, so write {NETWORK}{name}")
    if option == name:
        raise ValueError(f"no option {place.at(name)!r}: {did_you_mean(name, known)}")
    hint = did_you_mean(option, networks.options(lacking[0]))
    raise ValueError(f"{place.at(name)}: {lacking[0]} has no option {option!r}: {hint}")


def _extremes(parameter: Parameter) -> list[Any]:
    """Values that stand for all of a parameter: the ends of a range, each branch without braces."""
    if isinstance(parameter, Range):
        return list(parameter.ends)
    return [branch.value for branch in parameter.branches if not placeholders(branch.value)]


def _check_value(name: str, value: Any, place: _Place) -> None:
    if name.startswith(NETWORK):
        for network in place.networks:
            networks.check(network, {name.removeprefix(NETWORK): value})
    elif name in get_type_hints(TrainConfig):
        try:
            from_values({name: value})
        except ValueError as error:
            raise ValueError(f"{place.above}{error}") from None


def _check_once(parameters: Mapping[str, Parameter]) -> set[str]:
    """That no name can be drawn twice for one trial; returns all names."""
    seen: set[str] = set()
    for name, parameter in parameters.items():
        own = {name}
        for branch in parameter.branches if isinstance(parameter, Choice) else ():
            below = _check_once(branch.parameters)
            if name in below:
                raise ValueError(
                    f"{name} is a parameter of its own branch {branch.title}: leave it out there"
                )
            own |= below
        if twice := sorted(seen & own):
            raise ValueError(f"{twice[0]} can be drawn twice for one trial: leave one of the two out")
        seen |= own
    return seen


# ---- teachers


def without_teacher(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A space's plain values without the losses that need a teacher, and the titles of those left out.

    A branch that has a teacher of its own stays.

    Raises:
        ValueError: no loss would be left.
    """
    from footseg.losses import TEACHER_TERMS  # brings Keras

    left_out: list[str] = []

    def taught(item: Any) -> bool:
        value = item.get("value") if isinstance(item, Mapping) else item
        terms = value if isinstance(value, list) else [value]
        own = isinstance(item, Mapping) and "teacher" in item
        return not own and any(str(term).partition(":")[0] in TEACHER_TERMS for term in terms)

    def kept(name: str, given: Any) -> Any:
        items = _items(given)
        if not items:
            return given
        if name == "loss":
            left_out.extend(
                _title(item["value"] if isinstance(item, Mapping) else item) for item in items if taught(item)
            )
            items = [item for item in items if not taught(item)]
            if not items:
                raise ValueError("every loss of the space needs a teacher: give one with --teacher RUN")
        return {
            **given,
            "choice": [everywhere(item) if isinstance(item, Mapping) else item for item in items],
        }

    def everywhere(table: Mapping[str, Any]) -> dict[str, Any]:
        return {name: kept(name, given) for name, given in table.items()}

    return everywhere(values), tuple(left_out)
