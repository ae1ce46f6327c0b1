"""One file here is one network: its module name is its name on the command line.

A network module holds a function of the module's own name,
``(input_shape=(256, 256, 3), classes=2, *, <options>) -> keras.Model``, functional, channels last, from
images (N, H, W, 3) in [0, 1] to logits (N, H, W, classes), and

``REFERENCE``  its title, its paper and what that says ("paper_figures": parameters, size_mb, macs, flops,
               flops_tf_benchmark, and "at", the input size of them where it is not 256x256), and what it is
               tested against at 256x256 with two classes (parameters and trainable_parameters exactly, macs
               and flops_tf_benchmark to 1 %); "variants" has the same, by name, of other "options";
``STAGES``     names of the layers that end its encoder's stages, from the shallowest (highest resolution) to
               the deepest: what a student is compared with its teacher at;
``ENCODER``    how the names of its encoder's layers begin: what ``freeze_encoder`` freezes.

Its last layer with weights is named "classifier": the only one whose shapes depend on the classes. An option
``encoder_weights`` fills layers and changes none.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from footseg.errors import check_known

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


def architecture(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide a network's layers, without the file that its first weights came from.

    For whatever builds a trained network anew: that file may be gone.
    """
    return {option: value for option, value in chosen.items() if option != "encoder_weights"}


def reference(name: str) -> Mapping[str, Any]:
    """The paper and the published figures of a network, for tests and tables."""
    return _module(name).REFERENCE


def variants(name: str) -> Mapping[str, Mapping[str, Any]]:
    """The reference figures of a network and of its named variants; "" is the network with no options."""
    own = {"options": {}, **reference(name)}
    named = own.pop("variants", {})
    return {"": own, **named}


def stages(name: str) -> tuple[str, ...]:
    """Names of the layers that end the encoder's stages, from shallow to deep; the last is the bottleneck."""
    return _module(name).STAGES


def encoder_prefixes(name: str) -> tuple[str, ...]:
    """What the names of the encoder's layers begin with."""
    return _module(name).ENCODER


def build(
    name: str,
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    **chosen: Any,
) -> "keras.Model":
    """Build a network with random weights, or those of its option ``encoder_weights``.

    Raises:
        ValueError: no such network or option (the nearest is suggested), a value of the wrong kind, or an
            input size that its strides do not allow (the nearest that they do is given).
        FootsegError: a file of weights that is not there or does not fit.
    """
    check(name, chosen)
    if classes < 2:
        raise ValueError(f"{name} needs two classes or more (background counts), not {classes}")
    try:
        return _builder(name)(input_shape, classes, **chosen)
    except Exception as error:  # of a backend's own kind, or Python's
        if not (
            isinstance(error, MemoryError) or "OOM" in str(error) or "out of memory" in str(error).lower()
        ):
            raise
        asked = ", ".join(f"{option}={value}" for option, value in chosen.items()) or "these options"
        raise ValueError(f"{name} with {asked} needs more memory than there is: make it smaller") from error


def check(name: str, chosen: Mapping[str, Any]) -> None:
    """Check options as far as that can be done without building the network.

    Raises:
        ValueError: no such network or option (the nearest is suggested), or a value of the wrong kind.
    """
    known = options(name)
    for option, value in chosen.items():
        check_known(f"{name} has no option", option, known)
        _check_kind(name, option, value, known[option])


def _check_kind(name: str, option: str, value: object, default: object) -> None:
    """A value must be of its default's kind; a whole number will do for a number, true for none of them."""
    kind = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
        words = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
        raise ValueError(f"{name} takes {words[type(default)]} as {option}, not {value!r}")


def _module(name: str) -> ModuleType:
    check_known("no network", name, names())
    return importlib.import_module(f"{__name__}.{name}")


def _builder(name: str) -> Callable[..., "keras.Model"]:
    return getattr(_module(name), name)
