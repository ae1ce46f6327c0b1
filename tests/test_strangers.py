"""Files of others that are made to harm: they end in one line, and the process lives."""

import json
import math
import os
import signal
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from footseg import artifact, run, strangers
from footseg.benchmarks.pages import page
from footseg.data.images import read_image
from footseg.data.opening import BadFileError
from footseg.data.preview import preview
from footseg.errors import FootsegError
from footseg.foreign import loading
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


def test_a_keras_file_that_unpacks_to_gigabytes_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "LARGEST_MODEL", 100_000_000)  # a tenth of a second instead of ten
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.writestr(f"model.weights{number}.h5", bytes(60_000_000))
    assert path.stat().st_size < 200_000
    with pytest.raises(FootsegError, match=r"bomb\.keras unpacks to 0\.1 GB, and a network may have 0"):
        loading.check_archive(path)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    pipe, loop = tmp_path / "pipe.jpg", tmp_path / "loop.jpg"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(BadFileError, match="a folder, a pipe or a device, no file; give image files"):
            read_image(path)
    with pytest.raises(BadFileError, match=r"loop\.jpg: "):
        read_image(loop)


def test_an_image_has_a_limit_which_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wide.png"
    Image.new("1", (11_000, 10_001)).save(path)  # 13 kB
    with pytest.raises(BadFileError, match=r"110\.0 million pixels, more than 110; scale it down"):
        read_image(path)
    monkeypatch.setenv("FOOTSEG_MAX_MEGAPIXELS", "0.5")
    Image.new("L", (1000, 501)).save(path)
    with pytest.raises(
        BadFileError, match=r"0\.5 million pixels, more than 0\.5; scale it down first, or set FOOTSEG"
    ):
        read_image(path)
    monkeypatch.setenv("FOOTSEG_MAX_MEGAPIXELS", "0.6")
    assert read_image(path).shape == (501, 1000, 3)
    monkeypatch.setenv("FOOTSEG_MAX_MEGAPIXELS", "many")
    with pytest.raises(FootsegError, match="FOOTSEG_MAX_MEGAPIXELS is 'many': set it to a number"):
        read_image(path)


@pytest.mark.parametrize("name", ["../../ESCAPED", "/etc/passwd", "a b", "", "x" * 101])
def test_a_network_is_a_name_and_no_path(tiny_run: Path, tmp_path: Path, name: str) -> None:
    record = json.loads((tiny_run / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record | {"network": name}))
    with pytest.raises(FootsegError, match=r"no record of a run .its field 'network' is .*expected a name"):
        run.load(tmp_path)


def test_a_page_replaces_no_network(tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    model.write_bytes(b"PK weights of a night")
    with pytest.raises(
        FootsegError, match=r"model\.keras is no page, and stays as it is: give --out another"
    ):
        page.write(page.HERE / "verify.html.j2", model)
    assert model.read_bytes() == b"PK weights of a night"


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_preview_replaces_no_photograph(tiny_data: Path, kind: str) -> None:
    own = next((tiny_data / "train" / kind).iterdir())
    before = own.read_bytes()
    with pytest.raises(FootsegError, match="is among the data set's own files: give --out another place"):
        preview(tiny_data, own)
    assert own.read_bytes() == before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_sidecar_holds_numbers(tmp_path: Path, value: float) -> None:
    """Else a finished measurement of it could not be written."""
    path = tmp_path / "file.tflite"
    path.write_bytes(b"x")
    digest = artifact.load(path).sha256
    artifact.Artifact(path, "tflite", digest, details={"deep": [{"in": value}]}).save_sidecar()
    with pytest.raises(
        FootsegError, match=r"json is no sidecar .*it holds NaN or infinity.: export the file"
    ):
        artifact.load(path)
