"""What can go wrong outside the program, said in one line that tells the reader what to do next.

A wrong argument in Python is a ValueError; FootsegError is for the world: files, tools, packages.
Only ``footseg.cli.main`` catches it.
"""

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from types import ModuleType

from footseg import installation


class FootsegError(Exception):
    """A failure the user can mend; its text is the one line that is printed."""


class MissingExtraError(FootsegError):
    """A package that this command needs is not installed."""


def first_line(error: BaseException) -> str:
    """What an error says, without the pages of native detail below it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or say which extra of footseg brings it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Only a missing top package means "not installed"; a package that fails to import one of
        # its own parts is broken, and its own message says more than ours would.
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise _missing(package, extra) from error


def check_installed(package: str, extra: str) -> None:
    """As ``require``, without importing anything: for work that begins much later.

    Raises:
        MissingExtraError: the package is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise _missing(package, extra)


def _missing(package: str, extra: str) -> MissingExtraError:
    return MissingExtraError(
        f"this needs the package {package}, which is not installed: {installation.command(extra)}"
    )


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a ``name`` that is none of those ``known``; ``what`` is the error's first words: "no network".

    Raises:
        ValueError: the nearest is suggested.
    """
    known = list(known)
    if name not in known:
        raise ValueError(f"{what} {name!r}: {did_you_mean(name, known)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one first, else the whole list."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}? (known: {', '.join(known)})"
    return f"known: {', '.join(known)}"
