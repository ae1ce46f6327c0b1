"""What the values of masks mean: ``dataset.toml``, or background and foot where there is none.

classes = ["background", "left shoe", "right shoe", "sock"]    their indices in masks are 0, 1, 2, 3
colours = ["#000000", "#ff0000", "#00ff00", "#0000ff"]         of palettes and coloured masks; to paint with
ignore = [11, "#e0e0c0"]                     indices, colours or classes that count nowhere; 255 always does
merge = { background = ["background", "sock"] }                several classes as one, where the first stood
flip_pairs = [["left shoe", "right shoe"]]                     what mirroring a photograph swaps
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from footseg import files
from footseg.data.images import IGNORE
from footseg.errors import FootsegError

DEFAULT_CLASSES = ("background", "foot")
KEYS = ("classes", "colours", "ignore", "merge", "flip_pairs")

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Labels:
    """The classes of a data set, and how its masks tell them.

    ``classes`` are those that a network learns, with ``colours`` to paint them (RGB, 0 to 255). ``of_index``
    says which class, or 255, an index of a mask is; ``of_colour`` the same of a palette's or a picture's
    colour, as far as the data set names colours. ``ignores_255`` is whether it says itself that 255 is
    ignored. ``flip_pairs`` are classes that mirroring swaps.
    """

    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    of_index: Mapping[int, int]
    of_colour: Mapping[Colour, int] = field(default_factory=dict)
    ignores_255: bool = False
    flip_pairs: tuple[tuple[int, int], ...] = ()

    @property
    def plain(self) -> bool:
        """Whether an index of a mask is its class, and nothing but 255 is ignored."""
        return dict(self.of_index) == {index: index for index in range(len(self.classes))} | {IGNORE: IGNORE}

    @property
    def coloured(self) -> bool:
        """Whether the data set says which colour is which class."""
        return any(label != IGNORE for label in self.of_colour.values())

    def to_toml(self) -> str:
        """The ``dataset.toml`` of masks whose indices are these classes."""
        pairs = [[self.classes[one], self.classes[other]] for one, other in self.flip_pairs]
        lines = {
            "classes": json.dumps(list(self.classes), ensure_ascii=False),
            "colours": json.dumps([list(colour) for colour in self.colours]),
            **({"flip_pairs": json.dumps(pairs, ensure_ascii=False)} if pairs else {}),
        }
        return "".join(f"{key} = {value}\n" for key, value in lines.items())

    def sides(self) -> list[tuple[str, str]]:
        """Classes of a left and a right, by their names, that mirroring would confuse."""
        paired = {self.classes[index] for pair in self.flip_pairs for index in pair}
        others = ((name, re.sub(r"\bleft|left\b", "right", name)) for name in self.classes)
        return [
            (name, other)
            for name, other in others
            if other != name and other in self.classes and name not in paired
        ]

    def table(self) -> np.ndarray:
        """``of_index`` as int16 (256,), -1 where an index is none."""
        table = np.full(256, -1, np.int16)
        for index, label in self.of_index.items():
            if 0 <= index < len(table):
                table[index] = label
        return table

    def mirrored(self) -> np.ndarray | None:
        """The class that each becomes in a mirrored photograph, uint8 (256,); None where all stay."""
        if not self.flip_pairs:
            return None
        table = np.arange(256, dtype=np.uint8)
        for one, other in self.flip_pairs:
            table[one], table[other] = other, one
        return table


def unnamed(classes: int) -> Labels:
    """Of masks whose indices are their classes, so many."""
    return _labels(tuple(f"class {index}" for index in range(classes)), None)


def read_labels(path: Path) -> Labels:
    """The labels of a ``dataset.toml``; background and foot where there is none.

    Raises:
        FootsegError: it is wrong.
    """
    if not path.is_file():
        return _labels(DEFAULT_CLASSES, None)
    content = files.read_toml(path)
    if unknown := content.keys() - set(KEYS):
        raise FootsegError(f"{path}: unknown key {', '.join(sorted(unknown))}; known: {', '.join(KEYS)}")
    classes = content.get("classes", list(DEFAULT_CLASSES))
    if (
        not isinstance(classes, list)
        or not all(isinstance(name, str) and name for name in classes)
        or not 2 <= len(set(classes)) == len(classes) <= 255
    ):
        raise FootsegError(
            f'{path}: classes must be 2 to 255 different names, like ["background", "foot"], got {classes!r}'
        )
    try:
        given = _colours(content["colours"], classes) if "colours" in content else None
        ignored = _ignored(content.get("ignore", []), classes)
        merged = _merged(content.get("merge", {}), classes)
        return _with_pairs(_labels(tuple(classes), given, ignored, merged), content.get("flip_pairs", []))
    except ValueError as error:
        raise FootsegError(f"{path}: {error}") from error


def _labels(
    stored: Sequence[str],
    given: Sequence[Colour] | None,
    ignored: Sequence[int | Colour] = (),
    merged: Mapping[str, str] | None = None,
) -> Labels:
    """Of classes as masks have them, their colours if given, what is ignored, and a new name for some."""
    names = [(merged or {}).get(name, name) for name in stored]
    counted = [index for index in range(len(stored)) if index not in ignored]
    classes = tuple(dict.fromkeys(names[index] for index in counted))
    if len(classes) < 2:
        raise ValueError(
            f"of its classes {', '.join(classes) or 'none'} is left: a network tells 2 or more apart"
        )
    of_index = {index: classes.index(names[index]) for index in counted}
    colour_of = dict(zip(range(len(stored)), given or default_colours(len(stored)), strict=True))
    of_colour = {colour_of[index]: of_index.get(index, IGNORE) for index in colour_of} if given else {}
    first = [names.index(name) for name in classes] if given else range(len(classes))
    return Labels(
        classes=classes,
        colours=tuple(colour_of[index] for index in first),
        of_index=of_index | {value: IGNORE for value in (*ignored, IGNORE) if isinstance(value, int)},
        of_colour=of_colour | {value: IGNORE for value in ignored if isinstance(value, tuple)},
        ignores_255=IGNORE in ignored,
    )


def _colours(value: Any, classes: Sequence[str]) -> list[Colour]:
    if not isinstance(value, list) or len(value) != len(classes):
        count = len(value) if isinstance(value, list) else repr(value)
        raise ValueError(f"{len(classes)} classes need {len(classes)} colours, got {count}")
    colours = [_colour(colour) for colour in value]
    for colour in colours:
        if colours.count(colour) > 1:
            one, other = [name for name, its in zip(classes, colours, strict=True) if its == colour][:2]
            raise ValueError(f"{one!r} and {other!r} have one colour, {hexed(colour)}: give each its own")
    return colours


def _colour(value: Any) -> Colour:
    if isinstance(value, str) and value.startswith("#") and len(value) == 7:
        try:
            red, green, blue = ImageColor.getrgb(value)[:3]
            return red, green, blue
        except ValueError:
            pass
    if isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value):
        return value[0], value[1], value[2]
    raise ValueError(f'a colour is [red, green, blue] from 0 to 255 or "#rrggbb", got {value!r}')


def _ignored(value: Any, classes: Sequence[str]) -> list[int | Colour]:
    """Indices and colours: of an index, a class, a colour, or a list of these."""
    ignored: list[int | Colour] = []
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str) and one in classes:
            ignored.append(classes.index(one))
        elif type(one) is int and -32768 <= one <= 65535:
            ignored.append(one)
        elif isinstance(one, str | list):
            ignored.append(_colour(one))
        else:
            raise ValueError(
                f'ignore is an index, a class, a colour "#rrggbb" or a list of these, not {one!r}'
            )
    return ignored


def _merged(value: Any, classes: Sequence[str]) -> dict[str, str]:
    """The new name of each class that is merged with others."""
    form = 'merge is a table like { shoe = ["left shoe", "right shoe"] }'
    if not isinstance(value, dict) or not all(isinstance(names, list) for names in value.values()):
        raise ValueError(form)
    merged: dict[str, str] = {}
    for new, names in value.items():
        for name in names:
            if name not in classes:
                raise ValueError(f"{form}; {name!r} is none of classes ({', '.join(classes)})")
            if name in merged:
                raise ValueError(f"merge has {name!r} twice, in {merged[name]!r} and in {new!r}")
            merged[name] = new
        if new in classes and new not in names:
            raise ValueError(f"merge makes {new!r}, which is a class already: list it among those merged")
    return merged


def _with_pairs(labels: Labels, value: Any) -> Labels:
    form = 'flip_pairs is a list of pairs of classes, like [["left shoe", "right shoe"]]'
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise ValueError(form)
    names = [name for pair in value for name in pair]
    for name in names:
        if name not in labels.classes:
            raise ValueError(f"{form}; {name!r} is none of its classes ({', '.join(labels.classes)})")
        if names.count(name) > 1:
            raise ValueError(f"{form}; {name!r} is there more than once")
    index = labels.classes.index
    pairs = tuple((index(one), index(other)) for one, other in value)
    return dataclasses.replace(labels, flip_pairs=pairs)


def hexed(colour: Colour) -> str:
    """A colour as ``dataset.toml`` has it: "#e0e0c0"."""
    return "#" + bytes(colour).hex()


# Chosen greedily so that any two lie far apart to normal, deuteranopic and protanopic eyes alike (Machado
# et al. 2009, CIE76 in Lab): at least 58 for 4 classes, 31 for 8, 17 for 20. Blue stands out on skin.
# fmt: off
PALETTE: tuple[Colour, ...] = (
    (0, 0, 0), (0, 158, 224), (230, 159, 0), (20, 20, 245), (95, 245, 200), (140, 80, 35), (140, 20, 110),
    (20, 65, 185), (155, 245, 140), (20, 230, 245), (185, 80, 110), (200, 140, 65), (230, 245, 20),
    (215, 125, 110), (80, 125, 245), (200, 80, 155), (230, 230, 95), (80, 80, 245), (185, 50, 170),
    (245, 140, 200), (110, 230, 155),
)
# fmt: on


def default_colours(classes: int) -> tuple[Colour, ...]:
    """A colour for each class, black for the background; beyond 20 classes they come again."""
    return tuple(PALETTE[index and 1 + (index - 1) % (len(PALETTE) - 1)] for index in range(classes))
