"""What runs on an Arm processor: the runner, compiled here, with LiteRT and all the libraries that they need.

Everything is made once and kept under ``~/.cache/footseg/arm`` (``$XDG_CACHE_HOME`` if set), in a folder
named by what it was made of.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg.android_harness.adb import find_adb
from footseg.android_harness.errors import HarnessError, run

SOURCES = Path(__file__).parent / "native"
PACKAGES = Path(__file__).parent / "packages.txt"
CROSS = "aarch64-linux-gnu-"
PACKAGE = "ai-edge-litert"
LIBRARY = "libLiteRt.so"
LOADER = "ld-linux-aarch64.so.1"
# Names a file to take LiteRT from, where nothing can be downloaded.
VARIABLE = "FOOTSEG_LITERT_AARCH64"
# Runs on every 64-bit Arm processor; LiteRT's own kernels choose by what the processor can.
RUNNER_FLAGS = ("-O3", "-march=armv8-a", "-lm", "-ldl")
PLUGIN_FLAGS = ("-O2", "-shared", "-fPIC", "-fvisibility=hidden")
AARCH64 = 183  # e_machine of an ELF file
COMPILE_SECONDS = 120
DOWNLOAD_SECONDS = 600
# Of the folder in which a kit is made, and how old one is that nobody makes any more.
MAKING = ".making-"
STALE_SECONDS = 3600


@dataclass(frozen=True)
class Need:
    """Something that must be installed; ``path`` is None where it is not."""

    name: str
    package: str  # of Debian
    use: str
    path: Path | None


@dataclass(frozen=True)
class Kit:
    """What is needed to run the runner on an Arm processor; all files stand in one folder.

    Start it as ``loader --library-path FOLDER runner ...``, with ``library`` as its ``--library``.
    """

    runner: Path
    plugin: Path  # counts instructions; of this machine's architecture, for QEMU
    library: Path  # libLiteRt.so
    loader: Path
    libraries: tuple[Path, ...]  # the shared libraries that the runner and LiteRT need
    litert_version: str


def needs() -> tuple[Need, ...]:
    """What ``--on arm`` and ``--on android`` are built on, and where it is."""

    def program(name: str) -> Path | None:
        found = shutil.which(name)
        return Path(found) if found else None

    return (
        Need("qemu-aarch64", "qemu-user", "emulates Arm processors", program("qemu-aarch64")),
        Need(f"{CROSS}gcc", "gcc-aarch64-linux-gnu", "compiles the Arm runner", program(f"{CROSS}gcc")),
        Need("gcc", "gcc", "compiles the counter of instructions", program("gcc")),
        Need(
            "libc.so for aarch64", "libc6-dev-arm64-cross", "is what the runner runs on", _shared("libc.so")
        ),
        Need(
            "libstdc++.so.6 for aarch64", "libstdc++6-arm64-cross", "is LiteRT's", _shared("libstdc++.so.6")
        ),
        Need("adb", "adb", "reaches Android phones", _adb()),
    )


def _adb() -> Path | None:
    """Where ``adb`` finds its program, which need not be in the PATH; None where it does not."""
    try:
        return Path(find_adb())
    except HarnessError:
        return None


def require(*names: str) -> None:
    """Make sure that needs are met.

    Raises:
        HarnessError: they are not; all missing packages are named.
    """
    missing = [need for need in needs() if need.name in names and need.path is None]
    if missing:
        packages = " ".join(sorted({need.package for need in missing}))
        raise HarnessError(
            f"{', '.join(need.name for need in missing)} not found: make arm (or apt-get install {packages})"
        )


def prepare() -> Kit:
    """The kit, made if it is not there yet (seconds, and a download of about 15 MB).

    Raises:
        HarnessError: a compiler is missing, LiteRT cannot be downloaded, the disk is full.
    """
    require(*(need.name for need in needs() if need.name not in ("adb", "qemu-aarch64")))
    version = litert_version()
    given = Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
    folder = _cache() / _key(version, given)
    _sweep(folder.parent)
    if not folder.is_dir():
        _make(folder, version, given)
    shared = sorted(path for path in folder.iterdir() if ".so" in path.name)
    own = {LIBRARY, LOADER, "count.so"}
    return Kit(
        runner=folder / "runner",
        plugin=folder / "count.so",
        library=folder / LIBRARY,
        loader=folder / LOADER,
        libraries=tuple(path for path in shared if path.name not in own),
        litert_version=version,
    )


def litert_version() -> str:
    """The version of LiteRT that is installed here, which the one for Arm must have too.

    Raises:
        HarnessError: none is installed.
    """
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise HarnessError(f"{PACKAGE} is not installed: pip install {PACKAGE}") from error


def compile_c(compiler: str, source: Path, out: Path, flags: Sequence[str]) -> Path:
    """Compile one C file.

    Raises:
        HarnessError: the compiler is missing or fails.
    """
    # Libraries stand after the source that asks for them.
    run([compiler, "-std=gnu11", "-o", str(out), str(source), *flags], timeout=COMPILE_SECONDS)
    return out


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "footseg" / "arm"


def _key(version: str, given: Path | None) -> str:
    """A name that changes with anything that the kit is made of."""
    digest = hashlib.sha256(repr((version, RUNNER_FLAGS, PLUGIN_FLAGS)).encode())
    for path in sorted(SOURCES.glob("*.c")):
        digest.update(path.read_bytes())
    digest.update(Path(__file__).read_bytes())
    for compiler in (f"{CROSS}gcc", "gcc"):
        digest.update(run([compiler, "--version"], timeout=COMPILE_SECONDS).stdout.encode())
    if given:
        try:
            digest.update(given.read_bytes())
        except OSError as error:
            raise HarnessError(
                f"{VARIABLE} names {given}, which cannot be read ({error.strerror}): "
                f"name the aarch64 wheel of {PACKAGE} {version} or its {LIBRARY}"
            ) from error
    return f"{version}-{digest.hexdigest()[:16]}"


def _make(folder: Path, version: str, given: Path | None) -> None:
    """Make the kit beside where it is to be, then move it there: it is there whole or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=MAKING) as temporary:
            made = Path(temporary) / "kit"
            made.mkdir()
            _take_library(given or _download(version, Path(temporary)), version, made / LIBRARY)
            compile_c(f"{CROSS}gcc", SOURCES / "runner.c", made / "runner", RUNNER_FLAGS)
            compile_c("gcc", SOURCES / "count.c", made / "count.so", PLUGIN_FLAGS)
            _take_shared(made)
            try:
                made.rename(folder)
            except OSError:
                # Another process was faster, and made the same.
                if not folder.is_dir():
                    raise
    except OSError as error:
        raise HarnessError(
            f"the Arm runner cannot be made in {folder.parent} ({error.strerror}): free space there, or set "
            "XDG_CACHE_HOME to another folder"
        ) from error


def _sweep(cache: Path) -> None:
    """Remove what was left half made by a process that was killed; making takes no hour."""
    for left in cache.glob(f"{MAKING}*"):
        with contextlib.suppress(FileNotFoundError):  # another process is done with it, or sweeps too
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _download(version: str, folder: Path) -> Path:
    """The aarch64 wheel of LiteRT from the Python package index."""
    command = [sys.executable, "-P", "-m", "pip", "download", f"{PACKAGE}=={version}", "--no-deps", "--quiet"]
    command += ["--platform", "manylinux_2_27_aarch64", "--only-binary=:all:", "--dest", str(folder)]
    try:
        run([*command, "--disable-pip-version-check"], timeout=DOWNLOAD_SECONDS)
    except HarnessError as error:
        raise HarnessError(
            f"{PACKAGE} {version} for aarch64 cannot be downloaded: give {VARIABLE}=FILE, a copy of that "
            f"wheel or its {LIBRARY}; pip said: {' '.join(error.stderr.split())[-300:]}",
            command=error.command,
            returncode=error.returncode,
            stderr=error.stderr,
        ) from error
    return next(folder.glob("*.whl"))


def _take_library(source: Path, version: str, out: Path) -> None:
    """Copy libLiteRt.so out of a wheel, or as it is, once it is one for aarch64."""
    mend = f"name the aarch64 wheel of {PACKAGE} {version} or its {LIBRARY} by {VARIABLE}"
    if source.suffix == ".whl":
        named = re.match(r"[^-]+-([^-]+)-", source.name)
        if not named or named[1] != version:
            raise HarnessError(f"{source.name} is not {PACKAGE} {version}, which is installed here: {mend}")
        try:
            with zipfile.ZipFile(source) as wheel:
                member = next(name for name in wheel.namelist() if name.endswith(f"/{LIBRARY}"))
                data = wheel.read(member)
        except (zipfile.BadZipFile, StopIteration) as error:
            raise HarnessError(f"{source} is cut off or has no {LIBRARY}: {mend}") from error
    else:
        data = source.read_bytes()
    if data[:4] != b"\x7fELF" or int.from_bytes(data[18:20], "little") != AARCH64:
        raise HarnessError(f"{source} holds no library for aarch64: {mend}")
    out.write_bytes(data)


def _take_shared(folder: Path) -> None:
    """Copy into ``folder`` every shared library that the files in it need, and those that these need."""
    waiting = [folder / "runner", folder / LIBRARY]
    while waiting:
        for name in _needed(waiting.pop()):
            found = _shared(name)
            if found is None:
                raise HarnessError(f"{name} for aarch64 is not found: make arm installs it")
            if not (folder / name).exists():
                waiting.append(Path(shutil.copy(found, folder / name)))


def _needed(path: Path) -> list[str]:
    """The shared libraries that an ELF file names; the loader is one of them."""
    text = run([f"{CROSS}readelf", "-d", "-l", str(path)], timeout=COMPILE_SECONDS).stdout
    interpreter = re.findall(r"interpreter: .*/([^]/]+)\]", text)
    return [*re.findall(r"\(NEEDED\).*\[(.+)\]", text), *interpreter]


def _shared(name: str) -> Path | None:
    """Where the cross compiler finds a shared library; None where it does not."""
    try:
        text = run([f"{CROSS}gcc", f"-print-file-name={name}"], timeout=COMPILE_SECONDS).stdout.strip()
    except HarnessError:
        return None
    return Path(text).resolve() if Path(text).is_absolute() else None
