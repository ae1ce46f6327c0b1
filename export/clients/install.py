"""The clients' environments: what of them is there, how they are made. ``make clients`` runs this."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from footseg.errors import FootsegError
from footseg.export.clients.known import CLIENTS, Client

VARIABLE = "FOOTSEG_CLIENTS"
STAMP = "footseg.json"


def home() -> Path:
    """The folder of the environments: ``$FOOTSEG_CLIENTS``, or ``footseg/clients`` in the user's cache."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "footseg" / "clients"


def missing(client: Client) -> str:
    """What a client lacks here, in words with how to get it; "" where it can be asked."""
    absent = [need for need in client.needs if need.found() is None]
    if absent:
        names, packages = ", ".join(need.name for need in absent), sorted({need.package for need in absent})
        return f"{names} not found: make clients (or apt-get install {' '.join(packages)})"
    if client.environment and not _made(home() / client.environment, client.packages):
        return f"its environment is not there ({' '.join(client.packages)}): make clients"
    if client.npm and not _made(home() / "node_modules", client.npm):
        return f"{' '.join(client.npm)} is not there: make clients"
    return ""


def install(client: Client, say: Callable[[str], None]) -> None:
    """Make what a client needs but for the system's packages; what is there stays.

    Raises:
        FootsegError: pip or npm failed.
    """
    if client.environment and not _made(home() / client.environment, client.packages):
        say(f"{client.title}: {' '.join(client.packages)}")
        _make(home() / client.environment, client.packages, _environment)
    if client.npm and not _made(home() / "node_modules", client.npm):
        say(f"{client.title}: {' '.join(client.npm)}")
        _make(home() / "node_modules", client.npm, _modules)


def _made(folder: Path, packages: tuple[str, ...]) -> bool:
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8")) == list(packages)
    except (OSError, ValueError):
        return False


def _make(folder: Path, packages: tuple[str, ...], build: Callable[[Path, tuple[str, ...]], None]) -> None:
    """Build a folder beside its place, and give it its name when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    try:
        build(folder, packages)
        (folder / STAMP).write_text(json.dumps(list(packages)), encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _environment(folder: Path, packages: tuple[str, ...]) -> None:
    # In its place from the start: an environment that is moved keeps its old paths.
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *packages])


def _modules(folder: Path, packages: tuple[str, ...]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise FootsegError("npm not found, which brings LiteRT.js: apt-get install npm")
    with tempfile.TemporaryDirectory(dir=folder.parent) as prefix:
        _run([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", prefix, *packages])
        shutil.move(f"{prefix}/node_modules", folder)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise FootsegError(f"{Path(command[0]).name} failed: {last}")


def main() -> int:
    """Make all environments; returns how many could not be."""
    failed = 0
    for client in CLIENTS:
        try:
            install(client, lambda line: print(line, flush=True))  # noqa: T201
        except FootsegError as error:
            print(f"{client.title}: {error}", file=sys.stderr)  # noqa: T201
            failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
