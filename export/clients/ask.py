"""How a client is asked to run a file."""

import contextlib
import dataclasses
import errno
import json
import os
import re
import signal
import site
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from footseg import files
from footseg.errors import FootsegError
from footseg.export.clients.known import DRIVERS, SWIFTSHADER, Client

SCRIPTS = Path(__file__).parent / "scripts"
# For the start of a runtime or a browser, and for each image: ten times what was seen on two busy cores,
# TensorFlow's 9 s and SwiftShader's 3 s for an image of 256x256.
START_SECONDS, IMAGE_SECONDS = 90.0, 30.0
# What LiteRT's GPU delegate prints of operators that it does not take.
REFUSED = re.compile(r"^([A-Z][A-Z0-9_]+): (.*)$", re.MULTILINE)
SPLIT = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+)")
# What it prints where Vulkan has no driver, and then nothing of it in its error.
NO_ADAPTER = "No adapters found"


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
    """A client could not open or run a file; the text says why, in the client's own words.

    The other fields are those of ``Answer``.
    """

    def __init__(
        self,
        text: str,
        refused: Mapping[str, str] | None = None,
        accelerated: int | None = None,
        fallen: int | None = None,
    ) -> None:
        super().__init__(text)
        self.refused, self.accelerated, self.fallen = refused or {}, accelerated, fallen


@dataclass(frozen=True)
class _Done:
    """How a process ended: its exit code (negative: the signal that ended it) and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def ask(client: Client, file: Path, images: np.ndarray, *, home: Path) -> Answer:
    """Have a client run ``file`` on uint8 ``images`` (N, H, W, 3), which have the file's size.

    ``home`` is the folder of the clients' environments. Its process and all that this starts end with this
    function, however that ends.

    Raises:
        ClientError: it ended without an answer: its last line is the reason, or the signal that ended it,
            or how long it was waited for.
    """
    # A short name: Chromium's socket lies below it, and a socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="c", ignore_cleanup_errors=True) as folder:
        given, out = Path(folder) / "images.npy", Path(folder) / "out.npy"
        np.save(given, images)
        words = [
            argument.format_map({"modules": str(home / client.modules)}) for argument in client.arguments
        ]
        script = str(SCRIPTS / client.script)
        done = _run(
            [python(client, home), script, str(file.absolute()), str(given), str(out), *words],
            Path(folder),
            environment(client, Path(folder)),
            START_SECONDS + IMAGE_SECONDS * len(images),
        )
        split = SPLIT.search(done.stderr)
        fell: dict[str, Any] = {
            "refused": dict(REFUSED.findall(_refusals(done.stderr))),
            "accelerated": int(split[1]) if split else None,
            "fallen": int(split[2]) if split else None,
        }
        if done.returncode or not out.is_file():
            if files.is_full(Path(folder)):  # where it writes, and where what it says is kept
                with files.disk_errors(out):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise ClientError(reason(done, fell["refused"]), **fell)
        try:
            return dataclasses.replace(answer(done.stdout, out), **fell)
        except ClientError as error:
            raise ClientError(str(error), **fell) from error


def answer(stdout: str, out: Path) -> Answer:
    """What a client gave: the version in the last line that it printed, and the array in ``out``.

    Raises:
        ClientError: one of them cannot be read.
    """
    try:
        version = str(files.parse_json(stdout.strip().splitlines()[-1])["version"])
        return Answer(np.load(out, allow_pickle=False), version)
    # Damaged text is one of the first three, a damaged array any of the others.
    except (ValueError, LookupError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ClientError(f"what it gave cannot be read ({error})") from error


def _run(command: Sequence[str], folder: Path, variables: Mapping[str, str], seconds: float) -> _Done:
    """Run a command in a folder and a session of its own, which ends with it.

    Its input ends where this process is killed: scripts end themselves then.

    Raises:
        ClientError: it did not end within ``seconds``, or could not be started.
    """
    with (folder / "stdout").open("w+b") as out, (folder / "stderr").open("w+b") as err:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=err, cwd=folder, env=dict(variables),
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ClientError(f"{command[0]} cannot be started ({error.strerror})") from error
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise ClientError(f"no answer within {seconds:.0f} s") from error
        finally:
            # A browser outlives the script that started it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
        return _Done(code, *said)


def python(client: Client, home: Path) -> str:
    """The interpreter that runs a client's script."""
    return str(home / client.environment / "bin" / "python") if client.environment else sys.executable


def environment(client: Client, folder: Path) -> dict[str, str]:
    """The variables of a client's process, to which ``folder`` is home: what it leaves there goes with it.

    Seen without that: ONNX Runtime, OpenVINO, matplotlib and Keras write to the user's home, the first two
    an identifier of the machine. Scripts import what lies beside them, never from the user's folder: they
    start in another. A Vulkan driver that the user names is used; else SwiftShader, which runs on the
    processor.
    """
    # As it is for processes of footseg: it would hide what lies beside a script.
    dropped = {"PYTHONSAFEPATH", *(("PYTHONPATH",) if client.environment else ())}
    found = {name: value for name, value in os.environ.items() if name not in dropped}
    found |= {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONUSERBASE": site.getuserbase()}
    found |= {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA", "STATE")}
    found |= {"ORT_DISABLE_TELEMETRY": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if client.environment:
        found["PYTHONNOUSERSITE"] = "1"
    driver = SWIFTSHADER.path() if SWIFTSHADER in client.needs else None
    if driver is not None and not set(DRIVERS) & set(found):
        described = {"library_path": str(driver), "api_version": "1.0.5"}
        icd = folder / "icd.json"
        icd.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": described}), encoding="utf-8")
        found["VK_ICD_FILENAMES"] = str(icd)
    return found


def reason(done: _Done, refused: Mapping[str, str]) -> str:
    """Why a client gave nothing: operators that it refused, its last line, or the signal that ended it."""
    if refused:
        return "; ".join(f"{kind}: {why.rstrip('.')}" for kind, why in refused.items())
    if done.returncode < 0:
        number = -done.returncode
        return f"its process was ended by {signal.Signals(number).name} ({signal.strsignal(number)})"
    if NO_ADAPTER in done.stderr:
        return "no GPU: Vulkan has no driver that it can use (see VK_ICD_FILENAMES)"
    # LiteRT and OpenVINO say where in their sources an error is, and on the next line which.
    log = re.sub(r"ERROR: \[\S+\]\n└ |(\w+Error: )?Exception from \S+:\n", "", done.stderr)
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"\S*(Error|Exception)\b", line)]
    return re.sub(r"^\w*(Error|Exception): ", "", (errors or lines or ["it said nothing"])[-1])[:300]


def _refusals(log: str) -> str:
    """The lines in which LiteRT's GPU delegate lists what it does not take."""
    _, marked, rest = log.partition("not supported by GPU delegate:\n")
    return rest.split(" operations will run on the GPU")[0] if marked else ""
