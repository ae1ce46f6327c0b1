"""Training through the real command line: what it leaves, what it refuses, and that a killed run goes on."""

import csv
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import run
from footseg.cli import main
from footseg.data.images import write_mask
from footseg.errors import FootsegError
from footseg.training.config import from_values, load, resolve
from footseg.training.logbook import EpochRow
from footseg.training.step import TrainingStep
from footseg.training.train import _out_of_patience, train
from tests.conftest import TINY

# A figure that depends on the clock, which no resume can repeat.
TIMED = ("images_per_second", "seconds")
# Few layers: a whole command takes half of the time that it takes with a small FastLinkNet.
OPTIONS = {"width": 0.5, "blocks2": 0, "blocks3": 0, "blocks4": 0, "dropout": 0.2}


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    options = [word for name, value in OPTIONS.items() for word in ("--network-options", f"{name}={value}")]
    return [
        sys.executable, "-m", "footseg", "train", "tiptoe", "--data", str(data), "--out", str(out),
        "--size", "64", "--batch", "8", "--epochs", "4", "--ema", "0.5", "--learning-rate", "0.005",
        *options, *more,
    ]  # fmt: skip


def history(path: Path) -> list[dict[str, str]]:
    with (path / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(file)]


def wait_for_epoch(epochs: int, out: Path, process: "subprocess.Popen[str]", seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not run.exists(out) or run.load(out).epochs_done < epochs:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{out} did not get through {epochs} epochs"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(arguments(tiny_data, out), check=True, capture_output=True, timeout=300)
    return out


def test_a_run_holds_what_is_promised(whole: Path, tiny_data: Path) -> None:
    record = run.load(whole)
    assert record.status == "finished"
    assert record.epochs_done == 4
    assert record.classes == ("background", "foot")
    assert record.network_options == OPTIONS
    assert record.command.startswith("footseg train tiptoe")
    rows = history(whole)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert record.best["val_iou"] == pytest.approx(max(float(row["val_iou"]) for row in rows), abs=1e-8)
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert "epochs = 4" in (whole / "config.toml").read_text()
    assert (whole / "samples" / "epoch_0004.jpg").stat().st_size > 1000
    assert list((whole / "tensorboard").glob("events.out.tfevents.*"))
    assert not record.checkpoint.exists(), "a finished run needs no checkpoint"
    assert not [p for p in whole.iterdir() if p.name.startswith(".")], "no temporary files are left"


def test_the_saved_model_scores_what_the_history_says(whole: Path, tiny_data: Path) -> None:
    from footseg.evaluate import evaluate

    # The same weights on the same images: only the order of float32 sums can differ, on pixels that are ties,
    # of which ten in 32768 move the IoU of some thousand pixels by this at most.
    iou = evaluate(whole, tiny_data, "val").metrics["iou"]
    assert iou == pytest.approx(run.load(whole).best["val_iou"], abs=5e-3)


@pytest.mark.slow
def test_a_run_killed_twice_ends_with_the_same_history_and_weights(
    whole: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for epochs_before_kill in (1, 2):
        more = ["--resume"] if epochs_before_kill > 1 else []
        with subprocess.Popen(arguments(tiny_data, out, *more), stderr=subprocess.PIPE, text=True) as process:
            wait_for_epoch(epochs_before_kill, out, process)
            process.send_signal(signal.SIGKILL)
    assert run.load(out).status == "running"
    subprocess.run(
        [sys.executable, "-m", "footseg", "train", "--resume", "--out", str(out)],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert history(out) == history(whole)
    first, again = (np.concatenate([w.ravel() for w in weights(path)]) for path in (whole, out))
    np.testing.assert_array_equal(first, again)


def weights(path: Path) -> list[np.ndarray]:
    import keras

    return keras.saving.load_model(path / "model.keras", compile=False).get_weights()


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_cleanly_with_the_best_weights(tiny_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(
        arguments(tiny_data, out, "--epochs", "500"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for_epoch(1, out, process)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("footseg: stopped after")
    assert "the best weights" in last
    assert f"go on with: footseg train --resume --out {out}" in last
    assert "Traceback" not in stderr
    assert run.load(out).status == "interrupted"
    assert weights(out)


def test_a_finished_run_is_not_overwritten_without_force(
    whole: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    before = (copy / "model.keras").read_bytes()
    words = arguments(tiny_data, copy)[3:]
    assert main(words) == 1
    assert capsys.readouterr().err.strip() == (
        f"footseg: {copy} is a finished run: choose another --out, or replace it with --force"
    )
    # With --force, but with a mistake: still nothing is lost.
    assert main([*words, "--force", "--size", "65"]) == 1
    assert "nearest is 64x64" in capsys.readouterr().err
    assert (copy / "model.keras").read_bytes() == before
    assert main(["train", "--resume", "--out", str(copy)]) == 0
    assert "nothing to resume" in capsys.readouterr().err


def test_force_never_replaces_what_is_not_a_run(tiny_data: Path, tmp_path: Path) -> None:

    (tmp_path / "thesis.docx").touch()
    config = from_values({"network": "fast_linknet", "data": str(tiny_data), **TINY})
    with pytest.raises(FootsegError, match="is not a run"):
        train(config, tmp_path, force=True)
    assert (tmp_path / "thesis.docx").exists()


def test_early_stopping_counts_epochs_without_a_better_score() -> None:
    rows = [{"val_iou": score} for score in (0.1, 0.5, 0.4, 0.5)]
    assert _out_of_patience(rows, 2)
    assert not _out_of_patience(rows, 3)
    assert not _out_of_patience(rows, 0)
    assert not _out_of_patience([], 1)


@pytest.mark.usefixtures("two_layers")
def test_whoever_asks_may_stop_a_run_after_an_epoch_and_go_on(tiny_data: Path, tmp_path: Path) -> None:
    config = from_values({"network": "fast_linknet", "data": str(tiny_data), **TINY})
    lines: list[str] = []
    asked: list[list[float]] = []

    def stop(history: Sequence[EpochRow]) -> str:
        asked.append([row["epoch"] for row in history])
        assert len(list(csv.reader((tmp_path / "run" / "history.csv").open()))) == 1 + len(history)
        return "bad" if len(history) == 2 else ""

    record = train(config, tmp_path / "run", stop=stop, say=lines.append)
    assert asked == [[1], [1, 2]]
    assert (record.status, record.epochs_done) == ("interrupted", 2)
    assert run.load(tmp_path / "run") == record
    assert lines[-1] == "stopped after 2 epochs: bad"

    # Whoever goes on is asked about the epoch that was the last.
    assert train(config, tmp_path / "run", resume=True, stop=stop).epochs_done == 2
    assert asked[2:] == [[1, 2]]
    record = train(config, tmp_path / "run", resume=True, stop=lambda history: asked.append([]) or "")
    assert (record.status, record.epochs_done) == ("finished", 4)
    assert len(asked) == 3 + 2, (
        "after the second epoch and the third; after the last there is nothing to stop"
    )

    assert train(config, tmp_path / "whole").status == "finished"
    assert history(tmp_path / "run") == history(tmp_path / "whole")


@pytest.mark.usefixtures("two_layers")
def test_a_loss_that_is_no_number_ends_the_run_with_advice(tiny_data: Path, tmp_path: Path) -> None:
    """The weights overflow in the first steps, as float32 does at any rate near its limit."""
    options = {
        "network": "fast_linknet",
        "data": str(tiny_data),
        **TINY,
        "learning_rate": 1e30,
        "warmup": 0.0,
    }
    with pytest.raises(
        FootsegError,
        match=r"(loss became (nan|inf)|weight became infinite.*) in epoch 1, step (\d) "
        r"\(step \3 of the run\), at learning rate (1e\+30|9\.\d+e\+29): start anew with "
        r"--learning-rate 3\.3e\+29 or "
        r"--clip 1; no epoch was whole",
    ):
        train(from_values(options), tmp_path / "run")
    assert run.load(tmp_path / "run").status == "interrupted"


@pytest.mark.usefixtures("two_layers", "no_number_in_step_5")
def test_what_was_good_before_a_loss_became_no_number_is_kept(tiny_data: Path, tmp_path: Path) -> None:
    config = from_values({"network": "fast_linknet", "data": str(tiny_data), **TINY})
    out = tmp_path / "run"
    with pytest.raises(FootsegError) as caught:
        train(config, out)
    rate = config.learning_rate * (1 + np.cos(np.pi * (4 - 1) / 11)) / 2  # 12 steps in all, 1 of them warm-up
    assert f"the loss became nan in epoch 2, step 2 (step 5 of the run), at learning rate {rate:.3g}" in str(
        caught.value
    )
    assert (
        f"the best weights (epoch 1, validation IoU {run.load(out).best['val_iou']:.4f}) are in {out}"
        in str(caught.value)
    )
    assert run.load(out).status == "interrupted"
    assert len(history(out)) == 1
    assert all(np.isfinite(w).all() for w in weights(out))
    # The checkpoint is the first epoch's, and the same step is a number the second time: the run goes on.
    assert train(config, out, resume=True).epochs_done == 4


@pytest.mark.usefixtures("two_layers")
def test_weights_that_broke_in_the_last_step_of_an_epoch_reach_no_checkpoint(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TrainingStep.train

    def breaking(self: TrainingStep, *batch: object) -> float:
        loss = real(self, *batch)
        if int(self.step) == 6:
            variable = self.trainable_variables[0]
            variable.assign(variable * np.inf)
        return loss

    monkeypatch.setattr(TrainingStep, "train", breaking)
    config = from_values({"network": "fast_linknet", "data": str(tiny_data), **TINY})
    out = tmp_path / "run"
    with pytest.raises(FootsegError, match="a weight became infinite or no number in epoch 2, step 3"):
        train(config, out)
    with np.load(out / "checkpoint.npz") as saved:
        assert all(np.isfinite(saved[name]).all() for name in saved if name != "history")


def test_resuming_on_other_data_is_refused(whole: Path, tiny_data: Path, tmp_path: Path) -> None:

    out, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(whole, out)
    shutil.copytree(tiny_data, data)
    record = (out / "run.json").read_text().replace('"finished"', '"running"')
    (out / "run.json").write_text(record)
    removed = sorted((data / "train" / "images").iterdir())[0]
    removed.unlink()
    (data / "train" / "masks" / f"{removed.stem}.png").unlink()
    config = from_values(load(out / "config.toml") | {"data": str(data)})
    with pytest.raises(FootsegError, match="fingerprint differs"):
        train(config, out, resume=True)


def begun(data: Path, out: Path, **more: Any) -> None:
    """A run of one epoch of four, which can go on."""
    config = from_values({"network": "fast_linknet", "data": str(data), **TINY} | more)
    assert train(config, out, stop=lambda history: "enough").epochs_done == 1


@pytest.mark.usefixtures("two_layers")
def test_a_run_goes_on_from_any_folder_and_with_moved_data(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_data, tmp_path / "here" / "feet")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    begun(Path("feet"), tmp_path / "run")
    monkeypatch.chdir(tmp_path / "there")
    resumed = tmp_path / "run" / "config.toml"
    config = resolve(preset=None, file=None, flags={}, resumed=resumed)
    assert train(config, tmp_path / "run", resume=True, stop=lambda history: "enough").epochs_done == 1
    # An earlier footseg wrote the path as it was typed.
    resumed.write_text(re.sub('data = ".*"', 'data = "feet"', resumed.read_text(), count=1))
    assert resolve(preset=None, file=None, flags={}, resumed=resumed).data == str(tmp_path / "here" / "feet")

    (tmp_path / "here" / "feet").rename(tmp_path / "moved")
    config = resolve(preset=None, file=None, flags={"data": "../moved"}, resumed=resumed)
    record = train(config, tmp_path / "run", resume=True)
    assert (record.status, record.epochs_done) == ("finished", TINY["epochs"])
    assert record.data == str(tmp_path / "moved")
    assert load(resumed)["data"] == str(tmp_path / "moved")


@pytest.mark.usefixtures("two_layers")
def test_what_an_epoch_means_must_not_change_within_a_history(tiny_data: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(tiny_data, data)
    begun(data, out)
    config = from_values(load(out / "config.toml"))
    (data / "dataset.toml").write_text('classes = ["foot", "background"]')
    with pytest.raises(FootsegError, match=r"the classes foot, background, .* began with background, foot"):
        train(config, out, resume=True)
    (data / "dataset.toml").write_text('flip_pairs = [["background", "foot"]]')
    with pytest.raises(FootsegError, match="has flip_pairs"):
        train(config, out, resume=True)
    (data / "dataset.toml").unlink()
    mask = min((data / "val" / "masks").iterdir())
    before = mask.read_bytes()
    write_mask(mask, np.ones((64, 64), np.uint8))
    with pytest.raises(FootsegError, match=r"the validation images of .* are not those of"):
        train(config, out, resume=True)
    mask.write_bytes(before)
    assert train(config, out, resume=True).status == "finished"


@pytest.mark.usefixtures("two_layers")
def test_a_run_records_what_mirroring_swapped(tiny_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    (data / "dataset.toml").write_text('flip_pairs = [["background", "foot"]]')
    begun(data, tmp_path / "run")
    assert run.load(tmp_path / "run").flip_pairs == (("background", "foot"),)
