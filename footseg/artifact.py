"""An artifact: one shippable file and the JSON sidecar that says what it is.

Everything downstream (bench, report, an app's build script) needs only these two files.
"""

import dataclasses
import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from footseg import files, records
from footseg.clients import Standing
from footseg.errors import FootsegError
from footseg.graphs import onnx
from footseg.graphs.ends import End

# As a file's name ends, by the format that is asked for. Core ML's is a folder.
SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "coreml": ".mlpackage"}
FORMATS = tuple(SUFFIXES)


def file_name(
    network: str,
    size: tuple[int, ...],
    precision: str,
    format_: str = "tflite",
    *,
    takes: str = "float32",
    gives: str = "logits",
    target: str = "any",
) -> str:
    """What an exported file is called: "fast_linknet_256x256_int8_in-uint8_out-mask.tflite".

    ``size`` begins with (H, W). Ends other than float32 in, logits out are named: files that differ in them
    stand side by side, as do those for processors alone (``target`` "cpu": "..._cpu.tflite").
    """
    ends = ("" if takes == "float32" else f"_in-{takes}") + ("" if gives == "logits" else f"_out-{gives}")
    alone = "" if target == "any" else f"_{target}"
    return f"{network}_{size[0]}x{size[1]}_{precision}{ends}{alone}{SUFFIXES[format_]}"


class Verification(TypedDict, total=False):
    """Of what the export check measured the figures that are shown; ``paired.decisions`` reads the others."""

    images: int
    split: str
    logit_max: float
    logit_mean: float
    logit_max_absolute: float
    pixels_equal: float
    iou: float
    boundary_f: float
    against: str


@dataclass(frozen=True)
class Artifact:
    """One exported file.

    ``input_shape`` is (1, H, W, 3); ``input`` and ``output`` say what the file takes and gives, their names
    are empty where the sidecar is older than that (then float32 RGB in [0, 1], and logits, or codes of them).
    ``recipe`` is the precision ("fp32", "fp16", "int8", ...) and ``details`` what became of its operators;
    ``parameters`` counts those of the Keras network it came from; ``parent`` is the SHA-256 of that
    ``model.keras`` and ``run`` its folder. ``verification`` holds what the export check measured, ``speed``
    its time over that of the fp32 file, ``clients`` where it runs, a row for each client. A file without a
    sidecar (somebody else's) has empty fields and can still be measured.

    Raises:
        ValueError: a figure of ``verification`` is none (it is named).
    """

    path: Path
    format: str
    sha256: str
    network: str = ""
    network_options: dict[str, Any] = field(default_factory=dict)
    input_shape: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    input: End = field(default_factory=End)
    output: End = field(default_factory=End)
    recipe: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    parameters: int = 0
    parent: str = ""
    run: str = ""
    verification: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    speed: dict[str, Any] = field(default_factory=dict)
    clients: tuple[Standing, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""

    def __post_init__(self) -> None:
        records.of(Verification, self.verification)

    @property
    def name(self) -> str:
        """The file's name, which is what tables and plots show."""
        return self.path.name

    def save_sidecar(self) -> Path:
        """Write ``NAME.tflite.json`` beside the file; returns its path."""
        path = sidecar_path(self.path)
        files.write_json(path, {**dataclasses.asdict(self), "path": self.path.name})
        return path


def format_of(path: Path) -> str:
    """The format of a file by its name, "" where it is none of ours."""
    return next((name for name, suffix in SUFFIXES.items() if path.suffix == suffix), "")


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of ``path`` stands."""
    return path.with_name(path.name + ".json")


def load(path: Path) -> Artifact:
    """Read an artifact and its sidecar, if it has one.

    Raises:
        FootsegError: no such file, an unknown kind of file, or a sidecar that is damaged or of another file.
    """
    kind = format_of(path)
    if not (path.is_dir() if kind == "coreml" else path.is_file()):
        raise FootsegError(f"no such file: {path}")
    if not kind:
        raise FootsegError(f"{path} is neither .tflite nor .onnx: export a run first (footseg export RUN)")
    if kind == "onnx" and importlib.util.find_spec("onnx"):
        onnx.check_whole(path)
    digest = files.sha256(path)
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        return Artifact(path=path, format=kind, sha256=digest)
    found = records.read(Artifact, sidecar, "sidecar of an artifact", "export the file again", path=path)
    if found.sha256 != digest:
        raise FootsegError(
            f"{path} is not the file its sidecar {sidecar.name} describes (SHA-256 differs): export it again"
        )
    try:
        json.dumps(dataclasses.asdict(found), default=str, allow_nan=False)
    except ValueError as error:  # a line of results could not hold it, after all has been measured
        raise FootsegError(
            f"{sidecar} is no sidecar of an artifact (it holds NaN or infinity): export the file again"
        ) from error
    return found
