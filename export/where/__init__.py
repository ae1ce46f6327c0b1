"""Where a file runs: what each client that apps have makes of it, computed from the file; nothing is run.

``facts.py`` reads a ``.tflite``, ``rules.py`` has what stands against an operator, ``tflite.py`` and
``onnx.py`` what each client makes of a file. What no rule knows is "not known", never "runs".
"""

import dataclasses
from pathlib import Path
from typing import Any

from footseg import provenance, runtime
from footseg.clients import CHECKED, RUNS, UNKNOWN, Standing
from footseg.errors import FootsegError

# Which client runs a file on the processor where it is made, and the package that it is in.
PROCESSOR = {
    ".tflite": ("cpu", "ai-edge-litert"),
    ".onnx": ("ort", "onnxruntime"),
    runtime.COREML: ("coreml", "coremltools"),
}


def of_file(path: Path) -> tuple[Standing, ...]:
    """A row for each client that takes this kind of file, ours or not; none for other kinds.

    Raises:
        FootsegError: no such file, or a damaged one.
        MissingExtraError: the package onnx is not installed.
    """
    from footseg.export.where import facts, onnx, tflite

    if path.suffix == runtime.COREML:
        return (Standing("coreml", "Core ML", UNKNOWN, UNKNOWN, "on macOS and iOS alone"),)
    if not path.is_file():
        raise FootsegError(f"no such file: {path}")
    if path.suffix == ".tflite":
        read = facts.read(path)
        try:
            return tflite.standings(read)
        # An operator without the inputs that it must have.
        except (IndexError, KeyError, TypeError) as error:
            raise FootsegError(f"{path} is damaged ({error!r}): export it again") from error
    return onnx.standings(path) if path.suffix == ".onnx" else ()


def of_verified(path: Path) -> tuple[Standing, ...]:
    """The same of a file that was verified here, by LiteRT, ONNX Runtime or Core ML on the processor.

    Raises:
        FootsegError: no such file, or a damaged one.
    """
    if path.suffix == runtime.COREML and not runtime.ON_A_MAC:
        return of_file(path)
    client, package = PROCESSOR[path.suffix]
    ran: dict[str, Any] = {"verdict": RUNS, "basis": CHECKED, "version": provenance.versions()[package]}
    if client == "cpu":
        found = runtime.delegation(path)
        ran["partitions"], ran["operators"] = found.partitions, found.outside
        if found.outside:
            ran["why"] = (
                f"outside of XNNPACK: {', '.join(f'{n} {kind}' for kind, n in found.outside.items())}"
            )
    return tuple(dataclasses.replace(one, **ran) if one.client == client else one for one in of_file(path))
