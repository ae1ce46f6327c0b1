"""What a client is, and how it is asked to run a file."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from footseg.errors import FootsegError

SCRIPTS = Path(__file__).parent / "scripts"
# For the start of a runtime or a browser, and for each image. SwiftShader takes 3 s an image of 256x256.
START_SECONDS, IMAGE_SECONDS = 300, 30
# What LiteRT's GPU delegate prints of operators that it does not take.
REFUSED = re.compile(r"^([A-Z][A-Z0-9_]+): (.*)$", re.MULTILINE)
SPLIT = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+)")


@dataclass(frozen=True)
class Need:
    """A program or library of the system that a client needs: where it may be, and Debian's package."""

    name: str
    package: str
    paths: tuple[str, ...]

    def found(self) -> Path | None:
        """Where it is; None where it is not."""
        for path in self.paths:
            place = Path(path) if Path(path).is_absolute() else Path(shutil.which(path) or "")
            if place.is_file():
                return place
        return None


@dataclass(frozen=True)
class Client:
    """A runtime of other people's.

    ``name`` is its name on the command line, ``title`` in tables. ``script`` (of scripts/) runs a file in
    ``environment``, a Python of its own made of ``packages``, or in ours where that is empty; ``arguments``
    follow its file names, with {modules} and {shape} filled in. ``npm`` are packages of node_modules. What it
    gives is an array like the file's output, or ``masks``.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    script: str
    arguments: tuple[str, ...] = ()
    environment: str = ""
    packages: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    masks: bool = False


@dataclass(frozen=True)
class Answer:
    """What a client gave: ``values`` (N, ...) of N images, its version, and what fell off an accelerator.

    ``refused`` has a kind of operator and the client's reason for each that an accelerator did not take;
    ``accelerated`` and ``fallen`` count operators, None where the client does not say.
    """

    values: np.ndarray
    version: str
    refused: Mapping[str, str] = field(default_factory=dict)
    accelerated: int | None = None
    fallen: int | None = None


class ClientError(FootsegError):
    """A client could not open or run a file; the text says why, in the client's own words."""


def ask(client: Client, file: Path, images: np.ndarray, *, home: Path, shape: Sequence[int]) -> Answer:
    """Have a client run ``file`` on uint8 ``images`` (N, H, W, 3), which have the file's size.

    ``home`` is the folder of the clients' environments, ``shape`` that of the file's output.

    Raises:
        ClientError: it ended without an answer; its last line is the reason, or the signal that ended it.
    """
    with tempfile.TemporaryDirectory(prefix="footseg-client-") as folder:
        given, out = Path(folder) / "images.npy", Path(folder) / "out.npy"
        np.save(given, images)
        filled = {"modules": str(home / "node_modules"), "shape": ",".join(map(str, shape))}
        words = [argument.format_map(filled) for argument in client.arguments]
        command = [
            python(client, home),
            str(SCRIPTS / client.script),
            str(file),
            str(given),
            str(out),
            *words,
        ]
        limit = START_SECONDS + IMAGE_SECONDS * len(images)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False,
                timeout=limit, env=environment(client, Path(folder)), stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ClientError(f"no answer within {limit} s") from error
        accelerated = SPLIT.search(done.stderr)
        refused = dict(REFUSED.findall(_block(done.stderr)))
        if done.returncode or not out.is_file():
            raise ClientError(reason(done, refused))
        facts: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return Answer(
            values=np.load(out),
            version=facts["version"],
            refused=refused,
            accelerated=int(accelerated[1]) if accelerated else None,
            fallen=int(accelerated[2]) if accelerated else None,
        )


def python(client: Client, home: Path) -> str:
    """The interpreter that runs a client's script."""
    return str(home / client.environment / "bin" / "python") if client.environment else sys.executable


def environment(client: Client, folder: Path) -> dict[str, str]:
    """The variables of a client's process; ``folder`` is for what they name.

    Python's own path stays ours. A Vulkan driver that the user names is used; else SwiftShader, which runs
    on the processor. ONNX Runtime writes no identifier of this machine.
    """
    found = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH" or not client.environment
    }
    found |= {"ORT_DISABLE_TELEMETRY": "1", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONNOUSERSITE": "1"}
    driver = next((need.found() for need in client.needs if "swiftshader" in need.name), None)
    if driver is not None and "VK_ICD_FILENAMES" not in found:
        described = {"library_path": str(driver), "api_version": "1.0.5"}
        icd = folder / "icd.json"
        icd.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": described}), encoding="utf-8")
        found["VK_ICD_FILENAMES"] = str(icd)
    return found


def reason(done: "subprocess.CompletedProcess[str]", refused: Mapping[str, str]) -> str:
    """Why a client gave nothing: operators that it refused, its last line, or the signal that ended it."""
    if refused:
        return "; ".join(f"{kind}: {why.rstrip('.')}" for kind, why in refused.items())
    if done.returncode < 0:
        return f"its process was ended by signal {-done.returncode}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or "error" in line]
    return (errors or lines or ["it said nothing"])[-1][:300]


def _block(log: str) -> str:
    """The lines in which LiteRT's GPU delegate lists what it does not take."""
    _, marked, rest = log.partition("not supported by GPU delegate:\n")
    return rest.split(" operations will run on the GPU")[0] if marked else ""
