"""A dataclass from the JSON object that stands for it, every field held against its type."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

# What JSON has for a type of Python, and its name in a message.
PLAIN: dict[Any, tuple[Any, str]] = {
    str: ((str,), "a text"),
    Path: ((str,), "a text"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    list: ((list,), "a list"),
    dict: ((dict,), "an object"),
}


def read_object(kind: Any, record: Mapping[str, Any], prefix: str = "") -> Any:
    """The dataclass ``kind`` of ``record``. Lists are tuples in it; of a path only the "name" is written.

    Args:
        kind: a dataclass of texts, numbers, mappings, tuples and other dataclasses, or None where it allows.
        record: what json.loads gave.
        prefix: stands before a field's name in messages.

    Raises:
        ValueError: a field is missing, unknown or of another type (it is named).
    """
    kinds = get_type_hints(kind)
    fields = {"name" if kinds[f.name] is Path else f.name: f for f in dataclasses.fields(kind)}
    if unknown := sorted(set(record) - set(fields)):
        raise ValueError(f"its field '{prefix}{unknown[0]}' is unknown")
    for key, f in fields.items():
        if key not in record and f.default is f.default_factory is dataclasses.MISSING:
            raise ValueError(f"it has no field '{prefix}{key}'")
    return kind(
        **{fields[key].name: _read(kinds[fields[key].name], record[key], prefix + key) for key in record}
    )


def _read(kind: Any, value: Any, name: str) -> Any:
    """What ``value`` stands for where ``kind`` is expected."""
    if kind in PLAIN:
        types, words = PLAIN[kind]
        if not isinstance(value, types) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"its field '{name}' is {json.dumps(value):.40}, expected {words}")
        return Path(value) if kind is Path else value
    if dataclasses.is_dataclass(kind):
        return read_object(kind, _read(dict, value, name), f"{name}.")
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):  # X | None, all of them
        return None if value is None else _read(inner[0], value, name)
    if origin is tuple:
        items = enumerate(_read(list, value, name))
        return tuple(_read(inner[0], item, f"{name}[{i}]") for i, item in items)
    if origin in (dict, Mapping):
        return {key: _read(inner[1], item, f"{name}.{key}") for key, item in _read(dict, value, name).items()}
    return value  # Any
