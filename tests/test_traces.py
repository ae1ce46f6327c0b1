"""What commands leave behind: what they say that they write, and nothing else; and whom they ask: nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOMES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "HOME", "TMPDIR")
# Python imports this module first, in every process: it notes each connection to another than this machine's
# own sockets. Those of native libraries are not seen so.
NOTES = """
import os, socket, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        if event == "socket.getaddrinfo" or arguments[0].family != socket.AF_UNIX:
            open(os.environ["CONNECTIONS"], "a").write(f"{event} {arguments[1:]}\\n")
sys.addaudithook(note)
"""


class Household:
    """Folders of a user who has none yet, in which commands run."""

    def __init__(self, folder: Path) -> None:
        self.work, self.connections = folder / "work", folder / "connections"
        self.homes = {name: folder / name.lower() for name in HOMES}
        (folder / "python").mkdir()
        (folder / "python" / "sitecustomize.py").write_text(NOTES)
        for path in (self.work, *self.homes.values()):
            path.mkdir()
        paths = os.pathsep.join([str(folder / "python"), str(ROOT)])
        kept = {name: value for name, value in os.environ.items() if name != "KERAS_HOME"}
        self.environment = kept | {name: str(path) for name, path in self.homes.items()}
        self.environment |= {"PYTHONPATH": paths, "CONNECTIONS": str(self.connections)}

    def run(self, *words: object) -> None:
        """Run a command to its end."""
        command = [sys.executable, "-P", "-m", "footseg", *map(str, words)]
        done = subprocess.run(
            command, cwd=self.work, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def check(self, *written: str) -> None:
        """Nobody was asked, and nothing is there but what was ``written`` into the current folder."""
        assert not self.connections.exists(), self.connections.read_text()
        left = [str(path) for home in self.homes.values() for path in home.rglob("*")]
        assert left == []
        assert sorted(path.name for path in self.work.iterdir()) == sorted(written)


@pytest.fixture
def household(tmp_path: Path) -> Household:
    return Household(tmp_path)


def test_connections_are_seen(household: Household) -> None:
    words = [sys.executable, "-c", "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"]
    subprocess.run(words, env=household.environment, check=True)
    with pytest.raises(AssertionError, match=r"socket\.connect"):
        household.check()


def test_evaluating_and_measuring_leave_no_more_than_they_say(
    household: Household, tiny_artifacts: dict[str, Path], tiny_data: Path
) -> None:
    files = tiny_artifacts["fp32"], tiny_artifacts["onnx"]
    household.run("evaluate", files[1], "--data", tiny_data, "--out", "scores")
    household.run("bench", *files, "--seconds", "0.5", "--runs", "5", "--out", "results.jsonl")
    household.check("scores", "results.jsonl")


@pytest.mark.slow
def test_training_compressing_and_exporting_leave_no_more_than_they_say(
    household: Household, tiny_run: Path, tiny_data: Path
) -> None:
    small = ("--size", "64", "--batch", "8", "--epochs", "1", "--network-options", "width=0.25")
    household.run("train", "fast_linknet", "--data", tiny_data, *small, "--out", "run")
    household.run("compress", tiny_run, "--prune", "0.5", "--set", "epochs=1", "--out", "pruned")
    household.run(
        "export", tiny_run, "--to", "tflite", "onnx", "--precision", "fp32", "int8", "--no-clients",
        "--out", "files",
    )  # fmt: skip
    household.check("run", "pruned", "files")
