"""``.keras`` files, loaded once it is known what is in them: of any size, any age, with code or without."""

import zipfile
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from footseg import files, records
from footseg.errors import FootsegError, first_line, require
from footseg.quiet import quiet

# Bytes that a .keras file may unpack to: the largest network here, the teacher, has 0.12 GB.
LARGEST_MODEL = 4_000_000_000


def load_keras(path: Path) -> Any:
    """The model in a ``.keras`` file, as its maker left it.

    Raises:
        FootsegError: no such file, no archive, one that is too large, or a model that Keras cannot load or
            that brings code of its own.
        MissingExtraError: Keras is not installed.
    """
    with quiet():
        keras = require("keras", "train")
    if not path.is_file():
        raise FootsegError(f"no such file: {path}")
    check_archive(path)
    try:
        with quiet():
            return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises a different kind for each part that is missing.
        why = _of_keras_2(path) or _foreign(path) or first_line(error)
        raise FootsegError(f"Keras cannot load {path}: {why}") from error


def check_archive(path: Path) -> None:
    """Make sure that a ``.keras`` file is an archive of a size that a network may have.

    Raises:
        FootsegError: it is none, or unpacks to more than ``LARGEST_MODEL``, as one of 3 MB may to 13 GB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise FootsegError(
            f"{path} is not a Keras model or was cut off: take another copy, or train again"
        ) from error
    if unpacked > LARGEST_MODEL:
        raise FootsegError(
            f"{path} unpacks to {unpacked / 1e9:.1f} GB, and a network may have {LARGEST_MODEL / 1e9:.0f} "
            "here: take another copy"
        )


def _of_keras_2(path: Path) -> str:
    """What to do about a ``.keras`` file of Keras 2, which Keras 3 cannot read; "" for others."""
    try:
        with zipfile.ZipFile(path) as archive:
            version = files.parse_json(archive.read("metadata.json").decode()).get("keras_version", "")
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile):
        return ""
    if not str(version).startswith("2."):
        return ""
    return (
        f"it is of Keras {version}: save it there as an .h5 file, load that with keras.saving.load_model of "
        "Keras 3, and save it as .keras"
    )


class _Part(TypedDict):
    """What the ``config.json`` of a ``.keras`` file says of the model or of a layer."""

    class_name: str
    module: NotRequired[str | None]
    config: dict[str, Any]


def _foreign(path: Path) -> str:
    """What of a ``.keras`` file is none of Keras's own, or runs code of its own; "" where nothing is."""
    try:
        with zipfile.ZipFile(path) as archive:
            model = records.of(_Part, files.parse_json(archive.read("config.json").decode()))
        layers = records.of(list[_Part], model["config"].get("layers", []))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return ""
    parts = [("the model", model), *((f"layer {layer['config'].get('name')!r}", layer) for layer in layers)]
    found = [
        f"{name} is a {part['class_name']}"
        for name, part in parts
        if part["class_name"] == "Lambda" or not (part.get("module") or "").startswith("keras")
    ]
    own = "which only the code that made it can load: build it of Keras's own layers"
    return f"{', '.join(found)}, {own}" if found else ""
