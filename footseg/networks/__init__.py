"""One file here is one network: its module name is its name on the command line.

A network module holds a function of the module's own name,
``(input_shape=(256, 256, 3), classes=2, *, <options>) -> keras.Model``, functional, channels last, from
images (N, H, W, 3) in [0, 1] to logits (N, H, W, classes), and
``REFERENCE``, the figures it is tested against.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from footseg.errors import did_you_mean

if TYPE_CHECKING:
    import keras


def names() -> list[str]:
    """The networks there are, by listing the files of this folder (nothing is imported)."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def options(name: str) -> dict[str, Any]:
    """The options of a network and their defaults.

    Raises:
        ValueError: no such network; the nearest name is suggested.
    """
    parameters = inspect.signature(_builder(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def reference(name: str) -> Mapping[str, Any]:
    """The paper and the published figures of a network, for tests and tables."""
    _builder(name)
    return importlib.import_module(f"{__name__}.{name}").REFERENCE


def build(
    name: str,
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    **chosen: Any,
) -> "keras.Model":
    """Build a network with random weights.

    Raises:
        ValueError: no such network or option (the nearest is suggested), or an input size that its
            strides do not allow (the nearest that they do is given).
    """
    known = options(name)
    for option in chosen:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}: {did_you_mean(option, known)}")
    if classes < 2:
        raise ValueError(f"{name} needs two classes or more (background counts), not {classes}")
    return _builder(name)(input_shape, classes, **chosen)


def _builder(name: str) -> Callable[..., "keras.Model"]:
    if name not in names():
        raise ValueError(f"no network {name!r}: {did_you_mean(name, names())}")
    return getattr(importlib.import_module(f"{__name__}.{name}"), name)
