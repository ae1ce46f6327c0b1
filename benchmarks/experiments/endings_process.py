"""A footseg command in a process of its own, ended from outside, and what it leaves: for ``endings``."""

import contextlib
import io
import json
import os
import signal
import subprocess
import time
import tomllib
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from footseg import children, files, temporary

# Of a trial's folder: where its commands have their temporary files, and what they said.
TEMPORARY, SAID = "tmp", "said"
MARK = "FOOTSEG_ENDINGS"
# Seconds that a process may take to be gone, and a command to end by itself.
GONE, PATIENCE = 5.0, 600.0


class Started:
    """A command at work in ``folder``, with temporary files in ``folder/tmp`` and one thread a library."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.file = folder / SAID / f"{self.mark}.txt"
        for made in (folder / TEMPORARY, self.file.parent):
            made.mkdir(parents=True, exist_ok=True)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
        own = {"TMPDIR": str(folder / TEMPORARY), MARK: self.mark, **threads}
        self._began = time.monotonic()
        self.process = self.start([*children.command("footseg"), *words], {**children.environment(), **own})

    def start(self, words: list[str], env: dict[str, str]) -> "subprocess.Popen[bytes]":
        """Start it in a session of its own."""
        with self.file.open("wb") as said:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, cwd=self.folder,
                env=env, start_new_session=True,
            )  # fmt: skip

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def close(self) -> None:
        """What is to be done once it has ended."""

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def said(self) -> str:
        """What it wrote on standard error."""
        return self.file.read_text(encoding="utf-8", errors="replace")

    def waited(self, seconds: float) -> bool:
        """Wait until it is so old; whether it is still at work then."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, seconds - self.seconds))
        return self.process.poll() is None

    def ended(self, patience: float) -> int:
        """Its exit code, waited for; one that does not come is that of SIGKILL."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(patience)
        self.process.kill()
        return self.process.wait()

    def ended_by(self, number: int, after: float, patience: float) -> int:
        """Send a signal ``after`` seconds of its life; its exit code, that of SIGKILL if none comes."""
        if self.waited(after):
            self.send(number)
        return self.ended(patience)

    def orphans(self, patience: float) -> list[str]:
        """The command lines of what it started and what is alive after so many seconds; they are killed."""
        until = time.monotonic() + patience
        while (left := list(self._alive())) and time.monotonic() < until:
            time.sleep(0.1)
        for pid, _ in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return [words for _, words in left]

    def _alive(self) -> Iterator[tuple[int, str]]:
        """Processes that have the mark in their environment, or work in the folder."""
        for proc in Path("/proc").glob("[0-9]*"):
            try:
                words = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                marked = self.mark.encode() in (proc / "environ").read_bytes()
                inside = (proc / "cwd").readlink().is_relative_to(self.folder)
            except OSError:
                continue
            if words and (marked or inside):  # the dead have no command line
                yield int(proc.name), words[:200]

    def leftovers(self) -> list[str]:
        """Temporary files and locks in the folder, by their path there."""
        found = [*self.folder.rglob(f"*{temporary.SUFFIX}"), *self.folder.rglob(".*.lock")]
        found += (self.folder / TEMPORARY).iterdir()
        return sorted({str(path.relative_to(self.folder)) for path in found})


def same_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file that has its name, by its path in the folder."""
    return {str(path.relative_to(folder)): files.sha256(path) for path in _named(folder)}


def unreadable(folder: Path) -> list[str]:
    """Files that have their name and are not whole, as far as their kind tells."""
    return [str(path.relative_to(folder)) for path in _named(folder) if not _is_whole(path)]


def _is_whole(path: Path) -> bool:
    try:
        return READERS.get(path.suffix, bool)(path.read_bytes())
    except Exception:  # whatever a reader makes of a broken file
        return False


def _named(folder: Path) -> Iterator[Path]:
    """The files of a folder but for temporary ones and locks."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        # Events for TensorBoard are appended, and read as far as they go.
        hidden = {TEMPORARY, SAID, "tensorboard", "lock"} & set(parts) or path.suffix == ".lock"
        if path.is_file() and not hidden and not any(part.endswith(temporary.SUFFIX) for part in parts):
            yield path


def _picture(data: bytes) -> bool:
    Image.open(io.BytesIO(data)).load()
    return True


def _archive(data: bytes) -> bool:
    return zipfile.ZipFile(io.BytesIO(data)).testzip() is None


def _lines(data: bytes) -> bool:
    return all(isinstance(json.loads(line), dict) for line in data.splitlines()) and data.endswith(b"\n")


READERS: Mapping[str, Callable[[bytes], bool]] = {
    ".json": lambda data: json.loads(data) is not None,
    ".jsonl": _lines,
    ".toml": lambda data: bool(tomllib.loads(data.decode())),
    ".csv": lambda data: data.endswith(b"\n"),
    ".keras": _archive,
    ".npz": _archive,
    ".png": _picture,
    ".jpg": _picture,
    ".tflite": lambda data: data[4:8] == b"TFL3",
    ".html": lambda data: data.rstrip().endswith(b"</html>"),
    ".log": lambda data: True,
}
