"""Files of others that are made to harm: they end in one line, and the process lives."""

import signal
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from footseg import artifact, runtime, strangers
from footseg.errors import FootsegError
from tests.small_graphs import T, tflite


def test_a_crash_of_the_runtime_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "harm.tflite"
    path.write_bytes(b"\0\0\0\0TFL3")

    def child(*_: Any, **__: Any) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.CompletedProcess([], -signal.SIGSEGV)

    monkeypatch.setattr(subprocess, "run", child)
    with pytest.raises(FootsegError, match=r"harm.tflite ends LiteRT by signal 11: it is damaged"):
        strangers.check(path)


def test_a_file_of_ours_is_not_asked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.tflite"
    path.write_bytes(b"x")
    asked = []
    monkeypatch.setattr(subprocess, "run", lambda words, **_: asked.append(words) or _done())
    strangers.check(path)
    assert len(asked) == 1
    found = artifact.load(path)
    artifact.Artifact(path, "tflite", found.sha256, created="2026-01-01").save_sidecar()
    strangers.check(path)
    assert len(asked) == 1
    path.write_bytes(b"y")  # its sidecar is of another file then
    strangers.check(path)
    assert len(asked) == 2


def _done() -> "subprocess.CompletedProcess[bytes]":
    return subprocess.CompletedProcess([], 0)


def test_a_file_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    tensors = [T((1, 20_000, 20_000, 3)), T((1, 20_000, 20_000, 3))]
    path = tflite(tmp_path / "huge.tflite", tensors, [("RELU", [0], [1])], [0], [1])
    assert path.stat().st_size < 2000
    with pytest.raises(FootsegError, match=r"huge\.tflite asks for a tensor of 4\.5 GB, and may have 4"):
        strangers.check(path)


def test_a_keras_file_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("model.weights.h5", "w", force_zip64=True) as part,
    ):
        for _ in range(4100):
            part.write(bytes(1_000_000))
    assert path.stat().st_size < 5_000_000
    with pytest.raises(FootsegError, match=r"bomb.keras unpacks to 4.1 GB, and a network may have 4"):
        runtime.check_archive(path)
