"""Training on several devices and processes, through the real command on the JAX backend."""

import csv
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from footseg.data.shapes import write_shapes
from footseg.data.synth import SynthConfig
from footseg.errors import FootsegError
from footseg.training import distribution
from footseg.training.distribution import Team

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed: pip install '.[dev]'"
)
TIMED = ("images_per_second", "seconds")


# ---- a process alone


def test_alone_a_team_changes_nothing() -> None:
    team = Team()
    array = np.arange(4)
    assert team.leads
    assert team.part(8) == slice(0, 8)
    assert team.sum(array) is array
    assert team.leader(lambda: 3) == 3
    assert team.copy_of_leader({"a": array})["a"] is array
    team.check_same("the data", "anything")
    with pytest.raises(FootsegError, match="as it was"):
        team.everywhere(lambda: (_ for _ in ()).throw(FootsegError("as it was")))


def test_parts_make_up_the_joint_batch() -> None:
    batch = np.arange(12)
    parts = [batch[Team(3, index).part(12)] for index in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), batch)
    assert {len(part) for part in parts} == {4}


def test_without_the_flag_or_variables_nobody_is_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(distribution.ADDRESSES, raising=False)
    with distribution.team(7, distribute=False) as team:
        assert team == Team()


@pytest.mark.parametrize("how", ["flag", "variables"])
def test_another_backend_is_refused_with_what_to_say(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    if keras.backend.backend() == "jax":
        pytest.skip("this is the JAX backend, which can")
    monkeypatch.delenv(distribution.ADDRESSES, raising=False)
    if how == "variables":
        monkeypatch.setenv(distribution.ADDRESSES, "127.0.0.1:1")
    with pytest.raises(ValueError, match=r"this is tensorflow: .* KERAS_BACKEND=jax"):  # noqa: SIM117
        with distribution.team(8, distribute=how == "flag"):
            pass


@pytest.mark.parametrize(
    ("count", "index", "message"),
    [
        (None, "0", "KERAS_DISTRIBUTION_NUM_PROCESSES is None"),
        ("2", "first", "KERAS_DISTRIBUTION_PROCESS_ID is 'first'"),
        ("2", "2", "PROCESS_ID is 2: with KERAS_DISTRIBUTION_NUM_PROCESSES=2 it is less"),
    ],
)
def test_wrong_variables_are_named(
    count: str | None, index: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(distribution.INDEX, index)
    monkeypatch.delenv(distribution.COUNT, raising=False)
    if count is not None:
        monkeypatch.setenv(distribution.COUNT, count)
    with pytest.raises(ValueError, match=message):
        distribution._check_variables()


# ---- two processes on loopback, each with one CPU


def start(data: Path, out: Path, cache: Path, *more: str, **variables: str) -> "subprocess.Popen[str]":
    size = ["--size", "32", "--batch", "8", "--epochs", "2", "--steps", "2"]
    recipe = ["--ema", "0.5", "--learning-rate", "0.01", "--warmup", "0", "--paste", "0.5"]
    network = ["--network-options", "base=2", "--network-options", "dropout=0.2"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    return subprocess.Popen(
        [
            sys.executable, "-m", "footseg", "train", "unet", "--data", str(data), "--out", str(out),
            *size, *recipe, *network, *more,
        ],
        env=environment
        | {
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            # Most of the time goes into compiling: 45 s of one core each without these, 8 to 20 s with them.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def together(data: Path, outs: tuple[Path, Path], cache: Path, *more: str) -> list[tuple[int, str]]:
    """Exit code and standard error of two processes that know each other, each with one of ``outs``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [
        start(
            data, out, cache, *more,
            **{
                distribution.ADDRESSES: address,
                distribution.COUNT: "2",
                distribution.INDEX: str(index),
            },
        )
        for index, out in enumerate(outs)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=600)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, error) for process, error in zip(processes, errors, strict=True)]


def weights(run: Path) -> dict[str, np.ndarray]:
    import keras

    network = keras.saving.load_model(run / "model.keras", compile=False)
    return {weight.path: np.asarray(weight) for weight in network.weights}


def history(run: Path) -> list[dict[str, float]]:
    with (run / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if k not in TIMED} for row in csv.DictReader(file)]


@needs_jax
@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    data = write_shapes(
        tmp_path / "feet", SynthConfig({"train": 16, "val": 11, "test": 1}, seed=1, size=(32, 32))
    )
    cache = tmp_path / "compiled"
    alone = start(data, tmp_path / "alone", cache, "--distribute")
    assert alone.wait(600) == 0, alone.communicate()[1]
    outs = (tmp_path / "first", tmp_path / "second")
    for code, error in together(data, outs, cache):
        assert code == 0, error
    assert not outs[1].exists(), "only process 0 writes"
    record = json.loads((outs[0] / "run.json").read_text())
    assert (record["status"], record["epochs_done"]) == ("finished", 2)

    # The same sums over the batch in another order: float32 holds 6e-8, and the statistics of a batch
    # normalisation divide by deviations far below 1. Adam makes steps of 0.01 of gradients of any size, so a
    # gradient that is all rounding moves its weight either way: a few do, and the loss by less than 1 %.
    for one, two in zip(history(tmp_path / "alone"), history(outs[0]), strict=True):
        for name in ("epoch", "learning_rate", "loss", "val_loss"):
            assert one[name] == pytest.approx(two[name], rel=1e-2), name
        # Masks of four steps are a few pixels: of 11264 a hundredth may tie.
        assert one["val_pixel_accuracy"] == pytest.approx(two["val_pixel_accuracy"], abs=1e-2)
    expected, given = weights(tmp_path / "alone"), weights(outs[0])
    assert expected.keys() == given.keys()
    # A bias before batch normalisation has no effect: its gradient is nothing but what rounding leaves of 0.
    learned = [path for path in expected if "_conv/bias" not in path]
    one, two = (np.concatenate([found[path].ravel() for path in learned]) for found in (expected, given))
    # A hundredth of one step. Of half a batch alone the steps would go other ways nearly everywhere.
    assert np.mean(np.abs(one - two) < 1e-4) > 0.98
    # Not equal because nothing was learned: what began as zeros is far from it.
    moved = max(np.abs(weight).max() for path, weight in expected.items() if path.endswith("/beta"))
    assert moved > 1e-3


@needs_jax
@pytest.mark.slow
def test_what_one_process_cannot_do_stops_both(tmp_path: Path) -> None:
    data = write_shapes(
        tmp_path / "feet", SynthConfig({"train": 8, "val": 2, "test": 1}, seed=1, size=(32, 32))
    )
    outs = (tmp_path / "run", tmp_path / "run")
    for code, error in together(data, outs, tmp_path / "compiled", "--batch", "7"):
        assert code == 1
        assert "batch = 7 cannot be shared by 2 devices: give 6 or 8" in error
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.docx").touch()
    first, second = together(data, (tmp_path / "taken", tmp_path / "free"), tmp_path / "compiled")
    assert (first[0], second[0]) == (1, 1)
    assert "taken exists and is not a run" in first[1]
    assert "process 0 stopped: " in second[1]
