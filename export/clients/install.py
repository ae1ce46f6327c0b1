"""The clients' environments: what of them is there, how they are made. ``make clients`` runs this."""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from footseg import installation
from footseg.errors import FootsegError
from footseg.export.clients import known
from footseg.export.clients.known import Client

VARIABLE = "FOOTSEG_CLIENTS"
# In each folder that is whole: the packages that it was made of.
STAMP = "footseg.json"
MODULES = "node_modules"


@dataclass(frozen=True)
class Lack:
    """What a client lacks, and how to get it."""

    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}: {self.fix}"


def home() -> Path:
    """The folder of the environments: ``$FOOTSEG_CLIENTS``, or ``footseg/clients`` in the user's cache."""
    if given := os.environ.get(VARIABLE):
        return Path(given).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "footseg" / "clients"


def missing(client: Client) -> Lack | None:
    """What a client lacks here; None where it can be asked. Nothing is imported or started for it."""
    if not _lives_here(client):
        return Lack(f"there is none on {platform.system()}", "run footseg verify on a Mac")
    if absent := [need for need in client.needs if not need.met]:
        names, debian = ", ".join(need.name for need in absent), sorted({need.package for need in absent})
        return Lack(f"{names} not found", f"make clients, or apt-get install {' '.join(debian)}")
    if client.extra and any(importlib.util.find_spec(name) is None for name in client.packages):
        return Lack(f"{' '.join(client.packages)} is not installed", installation.command(client.extra))
    for folder, packages in _folders(client):
        if not _made(folder, packages):
            return Lack(f"{' '.join(packages)} is not installed in {folder}", "make clients")
    return None


def _lives_here(client: Client) -> bool:
    """Whether there is such a client on this system at all."""
    return client.system in ("", platform.system())


def install(client: Client) -> bool:
    """Make what a client needs but for the system's packages; what is there stays, and then this is False.

    Whatever ends it early, what it leaves does not count as made, and the next time makes it anew.

    Raises:
        FootsegError: pip or npm failed or is not there, or no Python that the packages run on.
    """
    made = False
    for folder, packages in _folders(client):
        if _made(folder, packages):
            continue
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            if folder.name == MODULES:
                _npm(folder, packages)
            else:
                _pip(folder, packages, _python(client))
            # Last, and at once: a folder without it is none.
            (folder / STAMP).write_text(json.dumps(list(packages)), encoding="utf-8")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        made = True
    return made


def _folders(client: Client) -> list[tuple[Path, tuple[str, ...]]]:
    """The folders that a client needs, and the packages in each."""
    own = [(home() / client.environment, client.packages)] if client.environment else []
    return own + ([(home() / client.modules, client.npm)] if client.npm else [])


def _made(folder: Path, packages: tuple[str, ...]) -> bool:
    """Whether a folder is whole, of these packages, and its Python is still there."""
    try:
        whole = json.loads((folder / STAMP).read_text(encoding="utf-8")) == list(packages)
    except (OSError, ValueError):
        return False
    return whole and (folder.name == MODULES or (folder / "bin" / "python").is_file())


def _python(client: Client) -> str:
    """A Python that a client's packages have wheels for.

    Raises:
        FootsegError: there is none.
    """
    newest = client.newest_python
    if newest is None or sys.version_info[:2] <= newest:
        return sys.executable
    older = [f"python{newest[0]}.{minor}" for minor in range(newest[1], 8, -1)]
    found = next(filter(None, map(shutil.which, older)), None)
    if found is None:
        version = ".".join(map(str, newest))
        raise FootsegError(f"it has no wheels for a Python newer than {version}: install Python {version}")
    return found


def _pip(folder: Path, packages: tuple[str, ...], interpreter: str) -> None:
    # In its place from the start: an environment that is moved keeps its old paths.
    _run([interpreter, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-input", *packages])


def _npm(folder: Path, packages: tuple[str, ...]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise FootsegError("npm not found, which brings packages of JavaScript: apt-get install npm")
    with tempfile.TemporaryDirectory(dir=folder.parent) as prefix:
        options = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", prefix]
        _run([npm, "install", *options, *packages])
        shutil.move(f"{prefix}/{MODULES}", folder)


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        errors = [line for line in lines if line.startswith("ERROR")]
        raise FootsegError(f"{Path(command[0]).name} failed: {(errors or lines)[-1]}")


def main(say: Callable[[str], None] = print) -> int:
    """Make all environments, a line each; returns 1 where a client of this system cannot be asked then."""
    failed = 0
    for client in known.CLIENTS:
        began = time.monotonic()
        try:
            made = install(client)
        except FootsegError as error:
            lack: Lack | str | None = str(error)
        else:
            lack = missing(client)
        failed += lack is not None and _lives_here(client)
        state = f"made in {time.monotonic() - began:.0f} s" if lack is None and made else "there"
        say(f"{client.title}: {f'not installed: {lack}' if lack else state}")
    return int(failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main(lambda line: print(line, flush=True)))  # noqa: T201
    except KeyboardInterrupt:
        sys.exit(130)
