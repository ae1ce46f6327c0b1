"""Which channels of a network go, so that few enough multiply-accumulates stay."""

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from footseg.compress.channel_costs import Term, mac_terms, traffic_terms
from footseg.compress.channels import Channels, Ids, channels
from footseg.compress.importance import Importance, bn_importance
from footseg.errors import did_you_mean
from footseg.grouping import grouped


@dataclass(frozen=True)
class CutPlan:
    """Which channels go.

    ``layers``: channels before and after, of each layer that makes channels. ``removed``: indices of the
    output channels that go, by layer or operation. ``left_out``: why layers keep all of theirs.
    """

    layers: dict[str, tuple[int, int]]
    removed: dict[str, tuple[int, ...]]
    left_out: dict[str, str]
    macs_before: int
    macs_after: int

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries and lists."""
        return asdict(self)


def plan(
    model: keras.Model,
    keep_macs: float,
    *,
    importance: Importance | None = None,
    multiple_of: int = 8,
    least: int | None = None,
    layers: Mapping[str, float] | None = None,
    traffic: float = 0.0,
) -> CutPlan:
    """Remove the channels that are worth least per operation saved, until few enough operations are left.

    Greedy: of all groups of tied channels, the one whose next ``multiple_of`` channels lose the least
    importance per saved cost is narrowed, again and again (costs change as neighbours get narrower). The cost
    of a use is its MACs + ``traffic`` x its output elements.

    Args:
        model: functional; not changed.
        keep_macs: the share of the MACs that may stay, above 0 and at most 1.
        importance: ``bn_importance(model)`` where none is given; ``taylor_importance`` is far better.
        multiple_of: widths that are cut become multiples of it. XNNPACK works out 8 channels at a time on
            Arm, 16 on AVX-512, where a FastLinkNet with half of its MACs took 0.81 (multiples of 4), 0.69 (8)
            and 0.69 (16) of the dense one's time; with 45 % of them 0.77, 0.65 and 0.64.
        least: the fewest channels that a group may keep; ``multiple_of`` where nothing is said.
        layers: for layer names as in a shell's pattern, the share of their channels to keep: 1 leaves them
            alone, 0.5 keeps half; the greedy search decides on all others. Tied layers follow.
        traffic: MACs that moving one output element costs as much as; the more, the thinner become high
            resolutions. Worth trying on processors of slow memory: on one x86 core 30 changed the time by
            less than 1 %, and 100 was slower at equal MACs in one of two trials.

    Raises:
        ValueError: a setting out of its range, a pattern that fits no layer or one that cannot be cut,
            importance of other layers, a goal out of reach (with what limits it and what can be reached), or
            as ``channels``.
    """
    least = multiple_of if least is None else least
    _check(keep_macs, multiple_of, least, traffic)
    found = channels(model)
    groups = _groups(found, importance or bn_importance(model))
    asked = _asked(found, groups, layers or {})
    sizes = np.array([len(group.classes) for group in groups])
    start, floor = (np.zeros_like(sizes), np.zeros_like(sizes))
    for number, group in enumerate(groups):
        start[number], floor[number] = _limits(group, asked.get(number), multiple_of, least)
    counted = mac_terms(found)
    moved = [replace(term, factor=term.factor * traffic) for term in traffic_terms(found)] if traffic else []
    macs_of, cost_of = (_WidthCost.of(terms, groups, found.count) for terms in (counted, counted + moved))

    goal = keep_macs * macs_of(sizes)
    if macs_of(floor) > goal:
        raise ValueError(_out_of_reach(keep_macs, macs_of, sizes, floor, groups, asked))
    widths, steps = start, []
    while macs_of(widths) > goal:
        best, narrower = _cheapest(groups, widths, floor, multiple_of, cost_of)
        steps.append((best, widths[best], narrower))
        widths[best] = narrower
    widths = _given_back(widths, steps, lambda trial: macs_of(trial) <= goal)
    return _plan(found, groups, widths, asked, round(macs_of(sizes)), round(macs_of(widths)))


def _given_back(widths: Ids, steps: Sequence[tuple[int, int, int]], fits: Callable[[Ids], bool]) -> Ids:
    """The last of ``steps`` (group, from, to) may overshoot by far: what fits back in, the dearest first."""
    for group, wider, narrower in reversed(steps):
        trial = np.where(np.arange(len(widths)) == group, wider, widths)
        if widths[group] == narrower and fits(trial):
            widths = trial
    return widths


def _check(keep_macs: float, multiple_of: int, least: int, traffic: float) -> None:
    if not 0 < keep_macs <= 1:
        raise ValueError(f"keep_macs is a share of the MACs, above 0 and at most 1, not {keep_macs}")
    if multiple_of < 1 or least < 1 or traffic < 0:
        raise ValueError(
            "multiple_of and least are at least 1, traffic at least 0; "
            f"not {multiple_of}, {least} and {traffic}"
        )


@dataclass(frozen=True)
class _Group:
    """Classes that are in the same places of the network, the least important first.

    ``worth`` has one number more than there are classes: what the first 0, 1, 2, ... of them sum up to.
    """

    classes: Ids
    makers: tuple[str, ...]
    locked: str
    worth: NDArray[np.floating]
    comparable: bool

    def loss(self, width: int, narrower: int) -> float:
        """What is lost from ``width`` channels to fewer."""
        total = len(self.classes)
        lost = self.worth[total - narrower] - self.worth[total - width]
        left = self.worth[total] - self.worth[total - width]
        return lost if self.comparable else lost / max(left, np.finfo(float).tiny)


def _groups(found: Channels, importance: Importance) -> list[_Group]:
    places: list[list[int]] = [[] for _ in range(found.count)]
    for port, ids in enumerate(ids for use in found.uses for ids in (*use.inputs, use.output)):
        for number in ids.tolist():
            places[number].append(port)
    together = grouped(
        ((number in found.locked, tuple(where)), number) for number, where in enumerate(places)
    )
    makers: list[list[str]] = [[] for _ in range(found.count)]
    for name, ids in found.makers.items():
        for number in set(ids.tolist()):
            makers[number].append(name)

    scores = _scores(found, importance)
    groups = []
    for members in together.values():
        classes = np.array(members)[np.argsort(scores[members], kind="stable")]
        worth = np.concatenate([[0.0], np.cumsum(scores[classes])])
        first = members[0]
        groups.append(
            _Group(classes, tuple(makers[first]), found.locked.get(first, ""), worth, importance.comparable)
        )
    return groups


def _scores(found: Channels, importance: Importance) -> NDArray[np.floating]:
    """What each class is worth: the sum over the layers it is in, for it goes from all of them.

    Raises:
        ValueError: importance of a layer that is not there, or of another number of channels.
    """
    outputs = {use.name: use.output for use in found.uses}
    total = np.zeros(found.count)
    for name, values in importance.scores.items():
        if name not in outputs:
            raise ValueError(
                f"importance of a layer {name!r} that the network does not have: "
                f"{did_you_mean(name, outputs)}"
            )
        if np.shape(values) != outputs[name].shape:
            raise ValueError(
                f"importance of layer {name} has shape {np.shape(values)}, not {outputs[name].shape}"
            )
        np.add.at(total, outputs[name], values)
    return total


def _asked(found: Channels, groups: Sequence[_Group], layers: Mapping[str, float]) -> dict[int, float]:
    """The shares that patterns ask for, by group.

    Raises:
        ValueError: a share out of its range, a pattern that fits no layer, two shares for tied layers, or a
            layer that cannot be cut.
    """
    asked: dict[int, tuple[float, str]] = {}
    for pattern, share in layers.items():
        if not 0 < share <= 1:
            raise ValueError(
                f"{pattern}: the share of the channels to keep is above 0 and at most 1, not {share}"
            )
        if not fnmatch.filter(found.makers, pattern):
            raise ValueError(
                f"no layer that makes channels is called {pattern!r}: {did_you_mean(pattern, found.makers)}"
            )
        for number, group in enumerate(groups):
            names = fnmatch.filter(group.makers, pattern)
            if names and group.locked and share < 1:
                raise ValueError(f"layer {names[0]} cannot be cut: {group.locked}")
            if names and asked.setdefault(number, (share, pattern))[0] != share:
                raise ValueError(
                    f"layer {names[0]} is tied to others: {asked[number][1]} asks for {asked[number][0]} of "
                    f"their channels, {pattern} for {share}"
                )
    return {number: share for number, (share, _) in asked.items()}


def _limits(group: _Group, share: float | None, multiple_of: int, least: int) -> tuple[int, int]:
    """The widths that a group starts from and goes down to."""
    size = len(group.classes)
    narrowest = min(size, -(-least // multiple_of) * multiple_of)
    if group.locked or share == 1:
        return size, size
    if share is None:
        return size, narrowest
    width = min(size, max(narrowest, round(share * size / multiple_of) * multiple_of))
    return width, width


def _cheapest(
    groups: Sequence[_Group], widths: Ids, floor: Ids, multiple_of: int, cost_of: "_WidthCost"
) -> tuple[int, int]:
    """The group to narrow next, and its new width; there is one above its floor."""
    narrower = (widths - 1) // multiple_of * multiple_of
    candidates = np.flatnonzero((narrower >= floor) & (widths > floor))
    trial = np.repeat(widths[:, None], len(candidates), axis=1)
    trial[candidates, np.arange(len(candidates))] = narrower[candidates]
    saved = cost_of(widths) - cost_of(trial)
    lost = np.array([groups[g].loss(widths[g], narrower[g]) for g in candidates.tolist()])
    best = candidates[np.argmin(lost / np.maximum(saved, np.finfo(float).tiny))]
    return int(best), int(narrower[best])


@dataclass(frozen=True)
class _WidthCost:
    """Terms as functions of the groups' widths: ``factors`` (T,), and (T, G + 1) channels for each width.

    The last column stands for no channels at all, a factor of 1.
    """

    names: tuple[str, ...]
    factors: NDArray[np.floating]
    inputs: NDArray[np.floating]
    outputs: NDArray[np.floating]

    @classmethod
    def of(cls, terms: Sequence[Term], groups: Sequence[_Group], count: int) -> "_WidthCost":
        group_of = np.empty(count, np.int64)
        for number, group in enumerate(groups):
            group_of[group.classes] = number
        sizes = np.array([*(len(group.classes) for group in groups), 1])

        def rows(all_ids: Iterable[Ids | None]) -> NDArray[np.floating]:
            members = ([len(groups)] if ids is None else group_of[ids] for ids in all_ids)
            return np.array([np.bincount(one, minlength=len(sizes)) / sizes for one in members])

        return cls(
            tuple(term.name for term in terms),
            np.array([term.factor for term in terms], float),
            rows(term.inputs for term in terms),
            rows(term.outputs for term in terms),
        )

    def parts(self, widths: Ids) -> NDArray[np.floating]:
        """Each term at ``widths`` (G,) or (G, candidates)."""
        widths = np.concatenate([widths, np.ones_like(widths[:1])])
        factors = self.factors if widths.ndim == 1 else self.factors[:, None]
        return factors * (self.inputs @ widths) * (self.outputs @ widths)

    def __call__(self, widths: Ids) -> Any:
        return self.parts(widths).sum(axis=0)


def _out_of_reach(
    keep_macs: float,
    macs_of: _WidthCost,
    sizes: Ids,
    floor: Ids,
    groups: Sequence[_Group],
    asked: Mapping[int, float],
) -> str:
    """What can be reached, and the layers that the rest is in."""
    total, parts = macs_of(sizes), macs_of.parts(floor)
    why = {}
    for number, group in enumerate(groups):
        reason = group.locked or ("as asked" if number in asked else "the fewest channels allowed")
        why.update(dict.fromkeys(group.makers, reason))
    largest = [macs_of.names[i] for i in np.argsort(-parts)[:3]]
    reachable = np.ceil(1000 * parts.sum() / total) / 1000
    held = ", ".join(f"{name} ({why[name]})" if name in why else name for name in largest)
    return (
        f"{keep_macs:g} of the MACs cannot be reached: {reachable:g} stay, most of them in {held}; "
        f"keep {reachable:g} or more (cut {1 - reachable:g} at most), "
        "or allow fewer channels (multiple_of, least, layers)"
    )


def _plan(
    found: Channels,
    groups: Sequence[_Group],
    widths: Ids,
    asked: Mapping[int, float],
    before: int,
    after: int,
) -> CutPlan:
    gone = np.zeros(found.count, bool)
    left_out = {}
    for number, (group, width) in enumerate(zip(groups, widths.tolist(), strict=True)):
        gone[group.classes[: len(group.classes) - width]] = True
        if width == len(group.classes):
            reason = group.locked or ("left alone as asked" if number in asked else "worth more than others")
            left_out.update(dict.fromkeys(group.makers, reason))
    makers = found.makers
    return CutPlan(
        layers={name: (len(ids), int((~gone[ids]).sum())) for name, ids in makers.items()},
        removed={
            name: tuple(np.flatnonzero(gone[ids]).tolist()) for name, ids in makers.items() if gone[ids].any()
        },
        left_out={name: left_out[name] for name, ids in makers.items() if not gone[ids].any()},
        macs_before=before,
        macs_after=after,
    )
