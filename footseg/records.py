"""Records: typed values from the JSON that stands for them, every field held against its type.

A dataclass is read with ``read`` (a file) or ``of`` (what json.loads gave), and written as
``dataclasses.asdict`` has it. Where records of one kind differ in what they hold, a TypedDict says which
fields there may be, and what is read stays the dictionary that it is.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import (
    Annotated,
    Any,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from footseg import files
from footseg.errors import FootsegError

T = TypeVar("T")

# A float that may also be infinite or NaN, for which Python's JSON has words.
AnyNumber = Annotated[float, "NaN and infinity, too"]

# What JSON has for a type of Python, and its name in a message.
PLAIN: dict[Any, tuple[Any, str]] = {
    str: (str, "a text"),
    Path: (str, "a text"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    AnyNumber: ((int, float), "a number"),
    bool: (bool, "true or false"),
    list: ((list, tuple), "a list"),
    dict: (dict, "an object"),
}
# Whole numbers beyond this were never counted, and no float may hold them.
LARGEST = 2**63


def read(kind: type[T], path: Path, /, what: str, mend: str = "make it anew", **given: Any) -> T:
    """The ``kind`` in the JSON file ``path``; fields that it does not know are left out.

    ``what`` the file should be and how to ``mend`` it end the message where it cannot be read; ``given`` are
    fields that do not stand in the file.

    Raises:
        FootsegError: no such file, not JSON, or a field is missing or of another type (it is named).
    """
    return checked(lambda: of(kind, files.read_json(path, mend), **given), f"{path} is no {what}", mend)


def checked(work: Callable[[], T], wrong: str, mend: str) -> T:
    """What ``work`` gives; its ValueError stands between what is ``wrong`` and how to ``mend`` it.

    Raises:
        FootsegError: a ValueError.
    """
    try:
        return work()
    except ValueError as error:
        raise FootsegError(f"{wrong} ({error}): {mend}") from error


def figure(values: Mapping[str, Any], field: str, name: str, wrong: str, mend: str) -> float:
    """The number ``name`` among the ``values`` of a record's field.

    Raises:
        FootsegError: there is none; the message says what is ``wrong`` and how to ``mend`` it.
    """
    found = values.get(name)
    if not isinstance(found, int | float):
        raise FootsegError(f"{wrong} (it has no field '{field}.{name}'): {mend}")
    return found


def of(kind: type[T], value: Any, /, *, strict: bool = False, **given: Any) -> T:
    """The ``kind`` that ``value`` stands for. Lists are tuples in it; of a path only the "name" is written.

    Args:
        kind: a dataclass, a TypedDict, or a tuple or mapping of such; in it texts, numbers, mappings, tuples
            and again these, or None where it allows.
        value: what json.loads or ``dataclasses.asdict`` gave.
        strict: whether to refuse fields that a dataclass does not know, which are else left out.
        given: fields of the dataclass that are not in ``value``.

    Raises:
        ValueError: a field is missing, unknown or of another type (it is named).
    """
    found: T = _read(kind, value, "", strict, given)
    return found


def _read(kind: Any, value: Any, name: str, strict: bool, given: Mapping[str, Any]) -> Any:
    """What ``value`` stands for where ``kind`` is expected; ``name`` is where it stands."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        plain = _plain(kind, value, name)
        return Path(plain) if kind is Path else plain
    if dataclasses.is_dataclass(kind) or is_typeddict(kind):
        return _object(kind, _plain(dict, value, name), f"{name}." if name else "", strict, given)
    if origin in (Union, UnionType):  # X | None, or a number of either kind
        may_be_none = type(None) in inner
        return None if value is None and may_be_none else _read(inner[0], value, name, strict, {})
    if origin in (tuple, list):
        items = _plain(list, value, name)
        if origin is tuple and inner[-1] is not Ellipsis and len(items) != len(inner):
            raise ValueError(f"{_called(name)} has {len(items)} parts, expected {len(inner)}")
        return origin(
            _read(inner[0], item, f"{name}[{number}]", strict, {}) for number, item in enumerate(items)
        )
    if origin in (dict, Mapping):
        items = _plain(dict, value, name).items()
        return {key: _read(inner[1], item, f"{name}.{key}".lstrip("."), strict, {}) for key, item in items}
    return value  # Any


def _object(kind: Any, record: Mapping[str, Any], prefix: str, strict: bool, given: Mapping[str, Any]) -> Any:
    fields = _fields(kind)
    if strict and (unknown := sorted(set(record) - set(fields))):
        raise ValueError(f"its field '{prefix}{unknown[0]}' is unknown")
    found = dict(given)
    for key, (name, inner, required) in fields.items():
        if key in record and name not in given:
            found[name] = _read(inner, record[key], prefix + key, strict, {})
        elif required and name not in given:
            raise ValueError(f"it has no field '{prefix}{key}'")
    return {**record, **found} if is_typeddict(kind) else kind(**found)


@lru_cache
def _fields(kind: Any) -> dict[str, tuple[str, Any, bool]]:
    """By key in the JSON: a field's name, its type, and whether it must be there."""
    hints = get_type_hints(kind, include_extras=True)
    if is_typeddict(kind):
        plain = {
            key: get_args(hint)[0] if get_origin(hint) is NotRequired else hint for key, hint in hints.items()
        }
        return {key: (key, hint, key in kind.__required_keys__) for key, hint in plain.items()}
    missing = dataclasses.MISSING
    return {
        "name" if hints[f.name] is Path else f.name: (
            f.name,
            hints[f.name],
            f.default is missing and f.default_factory is missing,
        )
        for f in dataclasses.fields(kind)
    }


def _plain(kind: Any, value: Any, name: str) -> Any:
    """``value``, which must be what JSON has for ``kind``."""
    types, words = PLAIN[kind]
    right = isinstance(value, types) and (kind is bool or not isinstance(value, bool))
    if isinstance(value, int):
        right = right and abs(value) < LARGEST
    elif isinstance(value, float):
        right = right and (kind is AnyNumber or math.isfinite(value))
    if not right:
        raise ValueError(f"{_called(name)} is {json.dumps(value):.40}, expected {words}")
    return value


def _called(name: str) -> str:
    return f"its field '{name}'" if name else "it"
