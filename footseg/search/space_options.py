"""Which options a space may name, and what they take: those of training, and of the networks in question."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from footseg import networks
from footseg.errors import check_known, did_you_mean
from footseg.search.parameters import Branch, Choice, Parameter, Range, placeholders
from footseg.training.config import TrainConfig, from_values

NETWORK = "network_options."
"""How the options of a network are named beside the others."""

KINDS = get_type_hints(TrainConfig)


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Training options by name, those of the network as ``network_options.NAME``.

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


def is_option(name: str) -> bool:
    """Whether a name is an option of training or of a network, not only there to fill braces."""
    return name.startswith(NETWORK) or name in KINDS


def items(given: Any) -> list[Any]:
    """What a plain parameter chooses between, where it is a choice."""
    found = given.get("choice") if isinstance(given, Mapping) else None
    return list(found) if isinstance(found, list | tuple) else []


def networks_in(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The networks that plain values may choose between, there or in their branches."""
    if isinstance(values.get("network"), str):
        return (values["network"],)
    found: list[str] = []
    for name, given in values.items():
        for item in items(given):
            value = item.get("value") if isinstance(item, Mapping) else item
            if name == "network" and isinstance(value, str):
                found.append(value)
            elif isinstance(item, Mapping):
                found += networks_in(item)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class SpacePlace:
    """Where in a space something stands.

    ``above`` is that in words; ``networks`` are those that may be trained there, None where that is not to
    be checked; ``fixed`` the options given beside the space; ``fills`` the names in braces.
    """

    above: str = ""
    networks: tuple[str, ...] | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    fills: tuple[str, ...] = ()

    def at(self, name: str) -> str:
        """The whole name of a parameter there, for messages."""
        return self.above + name


def check_name(name: str, place: SpacePlace) -> None:
    """Check that a parameter may be there.

    Raises:
        ValueError: no such option, of training or of one of the networks; fixed as well; or the data set.
    """
    if name == "data":
        raise ValueError(
            "data is in the space: a search is over one data set, because scores of two cannot be compared"
        )
    if name in place.fixed:
        raise ValueError(
            f"{place.at(name)} is in the space, and fixed as {place.fixed[name]!r}: leave one of the two out"
        )
    if name.startswith(NETWORK):
        _check_network_option(name.removeprefix(NETWORK), place)
    elif name not in KINDS and name not in place.fills:
        raise ValueError(f"{place.above}no option {name!r}: {_nearest(name, place)}")


def _check_network_option(option: str, place: SpacePlace) -> None:
    if place.networks == ():
        raise ValueError(f"{place.at(NETWORK + option)}: say which network this is an option of")
    for network in place.networks or ():
        known = networks.options(network)
        check_known(f"{place.above}{network} has no option", option, known)


def _nearest(name: str, place: SpacePlace) -> str:
    of_networks = {option for network in place.networks or () for option in networks.options(network)}
    known = {*KINDS, *place.fills}
    near = difflib.get_close_matches(name, [*known, *of_networks], n=1, cutoff=0.5)
    if near and near[0] in of_networks:
        return f"did you mean {NETWORK + near[0]!r}, which is the network's?"
    return did_you_mean(name, known)


def check_values(name: str, parameter: Parameter, place: SpacePlace) -> None:
    """Check that all that may be drawn for an option is something that it takes.

    Raises:
        ValueError: it is not.
    """
    if isinstance(parameter, Range):
        _check_range(name, parameter, place)
        return
    for branch in parameter.branches:
        for value in _filled(branch):
            _check_value(name, value, place)


def _check_range(name: str, span: Range, place: SpacePlace) -> None:
    if not span.whole and _takes_whole_only(name, place):
        raise ValueError(
            f"{place.at(name)} takes whole numbers: write {{ integer = [{span.low:.0f}, {span.high:.0f}] }}"
        )
    for drawn, end in zip(span.ends, (span.low, span.high), strict=True):
        try:
            _check_value(name, drawn, place)
        except ValueError:
            # A drawn end is a hair off the one that was written, which reads better.
            _check_value(name, end, place)
            raise


def _takes_whole_only(name: str, place: SpacePlace) -> bool:
    if name.startswith(NETWORK):
        option = name.removeprefix(NETWORK)
        return any(type(networks.options(network)[option]) is int for network in place.networks or ())
    return KINDS.get(name) in (int, tuple[int, int])


def _check_value(name: str, value: Any, place: SpacePlace) -> None:
    try:
        if name in KINDS:
            from_values({name: value})
        if place.networks is None:
            return
        if name.startswith(NETWORK):
            for network in place.networks:
                networks.check(network, {name.removeprefix(NETWORK): value})
        if name == "network":
            networks.check(value, {})
        if name == "loss":
            from footseg.training import losses  # brings Keras

            losses.parse(from_values({name: value}).loss)
    except ValueError as error:
        raise ValueError(f"{place.above}{error}") from None


def _filled(branch: Branch) -> list[Any]:
    """A branch's value, with the lowest and with the highest of what fills its braces."""
    names = placeholders(branch.value)
    if not names:
        return [branch.value]
    ends = {name: _extremes(branch.parameters[name]) for name in names}
    return [branch.filled({name: ends[name][k] for name in names}) for k in (0, -1)]


def _extremes(parameter: Parameter) -> Sequence[Any]:
    if isinstance(parameter, Choice):
        return [branch.value for branch in parameter.branches]
    return parameter.ends
