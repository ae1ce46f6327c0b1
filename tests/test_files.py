"""Files and records: whole or not at all, and read back as they were written."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from footseg import artifact, files, run
from footseg.errors import FootsegError, MissingExtraError, did_you_mean, require


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"old": 1}
    assert names(tmp_path) == ["figures.json"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for name in ("first", "second"):
        with files.atomic_path(path) as folder:
            folder.mkdir()
            (folder / name).touch()
    assert names(path) == ["second"]
    assert names(tmp_path) == ["out"]


def test_a_file_replaces_neither_a_folder_nor_a_device(tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)  # as a device, no file
    for path, word in ((folder, "is a folder: give the name of a file"), (pipe, "is no file that could be")):
        with pytest.raises(FootsegError, match=word):
            files.write_text(path, "x")
    assert folder.is_dir()
    assert pipe.is_fifo()
    assert names(tmp_path) == ["folder", "pipe"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_names_what_was_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with (
        pytest.raises(files.DiskFullError, match=rf"disk is full.*{path} was not written; free some space"),
        files.atomic_path(path) as folder,
    ):
        folder.mkdir()
        with files.atomic_path(folder / "inner.json"), Path("/dev/full").open("w") as full:
            full.write("x")
    assert names(tmp_path) == []


def test_an_artifact_reads_back_and_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"weights")
    made = artifact.Artifact(
        path,
        "tflite",
        files.sha256(path),
        "fast_linknet",
        {"width": 0.5},
        (1, 64, 64, 3),
        ("background", "foot"),
    )
    made.save_sidecar()
    assert artifact.load(path) == made
    path.write_bytes(b"other weights")
    with pytest.raises(FootsegError, match="not the file its sidecar"):
        artifact.load(path)


def test_somebody_elses_file_has_no_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"weights")
    assert artifact.load(path).format == "onnx"
    assert artifact.load(path).classes == ()
    with pytest.raises(FootsegError, match=r"neither \.tflite nor \.onnx"):
        artifact.load(files_with_suffix(path, ".keras"))


def files_with_suffix(path: Path, suffix: str) -> Path:
    other = path.with_suffix(suffix)
    other.write_bytes(b"")
    return other


def test_a_run_reads_back(tmp_path: Path) -> None:
    made = run.Run(
        tmp_path, "finished", "fast_linknet", {}, (64, 64, 3), ("background", "foot"), ((0, 0, 0), (1, 2, 3)),
        10, "feet", "abc", 0,
    )  # fmt: skip
    made.save()
    assert run.load(tmp_path) == made
    with pytest.raises(FootsegError, match=r"no model\.keras yet"):
        run.load_trained(tmp_path)
    assert dataclasses.replace(made, seed=1) != made


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match="is not a run"):
        run.load(tmp_path)
    with pytest.raises(FootsegError, match="no such folder"):
        run.load(tmp_path / "nowhere")


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install .*\[train\]"):
        require("no_such_package_here", "train")


def test_the_nearest_name_is_suggested() -> None:
    assert did_you_mean("enett", ["enet", "unet"]).startswith("did you mean 'enet'?")
    assert did_you_mean("zzz", ["enet", "unet"]) == "known: enet, unet"


DEEP = ("[" * 100_000, "[" * 100_000 + "]" * 100_000, "[" * 300 + "]" * 300, '{"a":' * 300 + "1" + "}" * 300)


@pytest.mark.parametrize("text", [*DEEP, "9" * 5000, "", "\ufffe", "{"])
def test_what_is_no_json_is_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(FootsegError, match=r"run\.json is not valid JSON \(.*\); make it anew"):
        files.read_json(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 300 + "]" * 300, "9" * 5000, ""])
def test_what_is_no_toml_is_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"a = {text}")
    with pytest.raises(FootsegError, match=r"config\.toml is not valid TOML: "):
        files.read_toml(path)
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(FootsegError, match=r"config\.toml is not valid TOML: "):
        files.read_toml(path)


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    model.write_text("one")
    with files.unchanged(model) as digest:
        assert digest == files.sha256(model)
    with pytest.raises(FootsegError, match="was replaced while it was read"), files.unchanged(model):
        files.write_text(model, "two")
    with pytest.raises(FootsegError, match="was replaced"), files.unchanged(model, digest):
        pass
