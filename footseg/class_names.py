"""Classes by their names: what models and data sets call them, and whether they speak of the same."""

from collections.abc import Sequence
from pathlib import Path

from footseg import artifact as artifacts
from footseg import run as runs
from footseg.errors import FootsegError
from footseg.graphs import metadata
from footseg.terminal import note


def of_model(path: Path) -> tuple[str, ...]:
    """The names of a model's classes: its run's, else its sidecar's, else its own; () where nothing says.

    What says it and is damaged, or a sidecar of another file, is said on standard error, and names nothing.
    """
    try:
        return _of_model(path)
    except FootsegError as error:
        note(f"class names are not known: {error}")
        return ()


def _of_model(path: Path) -> tuple[str, ...]:
    if path.is_dir() and runs.exists(path):
        return runs.load(path).classes
    if path.name == "model.keras" and runs.exists(path.parent):
        return runs.load(path.parent).classes
    if artifacts.sidecar_path(path).is_file():
        return artifacts.load(path).classes
    if path.suffix == ".tflite" and path.is_file():
        said = metadata.read(path)
        return said.ours.classes if said.ours else said.labels
    return ()


def compared(model: Path, theirs: Sequence[str], data: Path, ours: Sequence[str]) -> str:
    """What is to be said of the names of a model's and a data set's classes, as many; "" where they agree.

    Raises:
        FootsegError: one name has two numbers: pixels of one class would count as the other's.
    """
    if not theirs or len(theirs) != len(ours) or list(theirs) == list(ours):
        return ""
    named = f"{model} has the classes {', '.join(theirs)}, {data} has {', '.join(ours)}"
    if any(name in ours and ours.index(name) != number for number, name in enumerate(theirs)):
        raise FootsegError(
            f"{named}: the same names in another order; "
            "number the classes of both alike (dataset.toml and masks)"
        )
    return f"{named}: they are compared by their numbers"
