"""One trial from its drawn point to its record: the run it leaves, kills, failures, limits, the rules."""

import dataclasses
import gc
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from footseg import cli, files, run
from footseg.cli import COMMANDS, parser
from footseg.errors import MissingExtraError
from footseg.search import costs, goals, records, trial
from footseg.search.records import SearchSettings, Trial
from footseg.search.trial import run_trial
from footseg.training.config import TrainConfig, from_values, resolve
from footseg.training.step import TrainingStep
from footseg.training.train import TrainingInterruptedError
from tests.conftest import TINY, train_one_epoch

EPOCHS = 3


@pytest.fixture
def search(tiny_data: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a search's folder with one drawn trial, number 0."""

    def make(values: dict[str, Any] | None = None, **settings: Any) -> Path:
        fixed = {"network": "fast_linknet", "data": str(tiny_data), **TINY, "epochs": EPOCHS}
        records.save_settings(tmp_path, SearchSettings({}, fixed, **settings))
        records.save_trial(tmp_path, Trial(0, {}, values or {}))
        return tmp_path

    return make


def others(
    folder: Path, score: float, *, count: int = 5, epochs: int = EPOCHS, status: str = "finished"
) -> None:
    """Trials 1 and on of constant ``score``."""
    for number in range(1, count + 1):
        records.save_trial(folder, Trial(number, {}, {}, status=status))
        write_curve(records.run_folder(folder, number), [score] * epochs)


def write_curve(out: Path, scores: list[float]) -> None:
    rows = "".join(f"{epoch},{score}\n" for epoch, score in enumerate(scores, 1))
    files.write_text(out / "history.csv", f"epoch,val_iou\n{rows}")


class KilledError(BaseException):
    """As a kill, it is caught by nothing."""


def training(scores: Iterable[float | None]) -> Callable[..., Any]:
    """In place of ``train``: epochs of these scores, on the disk before the rule is asked; None is a kill."""

    def train(config: TrainConfig, out: Path, *, stop: Callable[[list[Any]], str], **_: object) -> Any:
        done: list[float] = []
        for score in scores:
            if done and stop([{}] * len(done)):
                status = "interrupted"
                break
            if score is None:
                raise KilledError
            done.append(score)
            write_curve(out, done)
        else:
            status = "finished"
        return SimpleNamespace(path=out, status=status, epochs_done=len(done), score=lambda name: max(done))

    return train


def raising(error: BaseException) -> Callable[..., Any]:
    def raises(*args: object, **keywords: object) -> Any:
        raise error

    return raises


def test_a_teacher_is_asked_by_those_losses_only_that_need_one() -> None:
    settings = SearchSettings({}, {"network": "fast_linknet", "data": "d", "teacher": "t"})
    losses: list[list[str]] = [["ce"], ["ce", "distill:2"]]
    found = [trial.configuration(settings, Trial(0, {}, {"loss": loss})) for loss in losses]
    assert [config.teacher for config in found] == ["", "t"]


# ---- to its end


@pytest.mark.usefixtures("two_layers")
def test_a_trial_killed_at_every_moment_ends_like_one_that_was_not(
    search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = search({"learning_rate": 4e-3, "network_options": {"dropout": 0.2}}, objective="boundary_f")
    twin = tmp_path_factory.mktemp("twin")
    shutil.copytree(folder, twin, dirs_exist_ok=True)
    before_all = graphs()
    whole = run_trial(twin, 0)
    assert not [graph for graph in graphs() if graph not in before_all], "nothing of a trial stays in memory"
    assert (whole.status, whole.reason, whole.epochs_done) == ("finished", "", EPOCHS)
    made = run.load(records.run_folder(twin, 0))
    assert made.status == "finished"
    assert made.network_options == {"width": 0.25, "dropout": 0.2}
    assert whole.scores["iou"] == made.best["val_iou"]
    # The file has nine digits.
    assert whole.scores["iou"] == pytest.approx(max(curve(made.path)), rel=1e-8)
    assert 0 <= whole.scores["boundary_f"] <= 1

    with monkeypatch.context() as patch:  # while the network is built
        patch.setattr(trial, "train", raising(KilledError()))
        with pytest.raises(KilledError):
            run_trial(folder, 0)
    assert records.load_trial(folder, 0).status == "running"
    config = trial.configuration(records.load_settings(folder), records.load_trial(folder, 0))
    out = records.run_folder(folder, 0)
    train_one_epoch(config, out)  # between epochs
    left = [out.with_name(".0000.abc"), out.with_name(".0000.json.abc"), out / "samples" / ".epoch.jpg.abc"]
    for half_written in left:
        half_written.mkdir()
    before = dataclasses.replace(records.load_trial(folder, 0), seconds=1000.0)
    records.save_trial(folder, before)
    with monkeypatch.context() as patch:  # after the last epoch
        patch.setattr(trial, "evaluate", raising(KilledError()))
        with pytest.raises(KilledError):
            run_trial(folder, 0)
    assert records.load_trial(folder, 0).status == "running"
    assert not any(path.exists() for path in left)
    weights = (out / "model.keras").stat().st_mtime_ns
    with monkeypatch.context() as patch:  # nothing is trained again
        patch.setattr(TrainingStep, "train", raising(AssertionError()))
        ended = run_trial(folder, 0)
        assert run_trial(folder, 0) == ended, "a trial that has its end is left alone"
    assert (out / "model.keras").stat().st_mtime_ns == weights
    assert ended.scores == whole.scores
    assert curve(out) == curve(made.path)
    assert ended.status == "finished"
    assert ended.seconds > 1000, "the time of all goes"


def curve(out: Path) -> list[float]:
    return records.curve(out.parents[1], int(out.name))


def graphs() -> list[Any]:
    """TensorFlow's functions that were traced and are still in memory."""
    from tensorflow.python.framework.func_graph import FuncGraph

    return [thing for thing in gc.get_objects() if isinstance(thing, FuncGraph)]


@pytest.mark.usefixtures("two_layers")
def test_a_stopped_trial_is_a_run_that_the_command_line_takes_to_its_end(
    search: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    # Rungs of three epochs: after the first. Five with IoU 0.9 were there before.
    folder = search(stop="halving")
    others(folder, 0.9)
    stopped = run_trial(folder, 0)
    assert (stopped.status, stopped.epochs_done) == ("stopped", 1)
    out = records.run_folder(folder, 0)
    score = run.load(out).best["val_iou"]
    assert stopped.scores == {"iou": score}
    assert stopped.reason == (
        f"IoU {score:.4f} by epoch 1 is place 6 of the 6 trials that came so far: the first 2 go on"
    )
    assert run.load(out).status == "interrupted"

    # Killed before its end was written: what was said of it stands, though those that were better are gone.
    others(folder, 0.9, status="failed")
    records.save_trial(folder, dataclasses.replace(stopped, status="running", scores={}))
    again = run_trial(folder, 0)
    assert dataclasses.replace(again, seconds=stopped.seconds) == stopped

    assert cli.main(["train", "--resume", "--out", str(out)]) == 0
    assert f"{EPOCHS} epochs" in capsys.readouterr().out
    assert run.load(out).status == "finished"
    assert len(records.curve(folder, 0)) == EPOCHS
    assert run_trial(folder, 0) == again, "the record is of the search, and is left alone"


def test_an_epoch_is_judged_once(search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = search(stop="halving")
    others(folder, 0.0)
    monkeypatch.setattr(trial, "train", training([0.5, None]))
    with pytest.raises(KilledError):
        run_trial(folder, 0)
    # Better ones come, and the next process asks again after the same epoch.
    others(folder, 0.9)
    monkeypatch.setattr(trial, "train", training([0.5] * EPOCHS))
    assert run_trial(folder, 0).status == "finished"


@pytest.mark.parametrize(("status", "stops"), [("stopped", True), ("running", True), ("failed", False)])
def test_others_count_unless_they_failed(
    search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, status: str, stops: bool
) -> None:
    folder = search(stop="halving")
    others(folder, 0.9, status=status)
    monkeypatch.setattr(trial, "train", training([0.5] * EPOCHS))
    assert run_trial(folder, 0).status == ("stopped" if stops else "finished")


def test_running_others_are_read_again_and_ended_ones_once(
    search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = search({"epochs": 27}, stop="halving")  # judged after epochs 3 and 9
    others(folder, 0.1, count=6, epochs=3)
    others(folder, 0.1, count=5, epochs=3, status="running")
    read: list[int] = []

    def curve(folder: Path, number: int, real: Callable[..., list[float]] = records.curve) -> list[float]:
        read.append(number)
        return real(folder, number)

    def scores() -> Iterator[float]:
        yield from [0.5] * 8
        others(folder, 0.9, count=5, epochs=9, status="running")
        yield from [0.5] * 19

    monkeypatch.setattr(records, "curve", curve)
    monkeypatch.setattr(trial, "train", training(scores()))
    ended = run_trial(folder, 0)
    assert (ended.status, ended.epochs_done) == ("stopped", 9)
    assert [read.count(number) for number in range(1, 7)] == [2, 2, 2, 2, 2, 1]


# ---- failures


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"size": [65, 64]}, "nearest is 64x64"),
        ({"loss": ["ce", "distill"]}, "teacher"),
        ({"network_options": {"widht": 1.0}}, "did you mean 'width'?"),
        ({"epochs": 0}, "epochs is 0: it must be at least 1"),
        ({"start_from": "nowhere"}, "no such file: nowhere"),
    ],
)
def test_options_that_do_not_go_together_fail_the_trial(
    search: Callable[..., Path], values: dict[str, Any], reason: str
) -> None:
    ended = run_trial(search(values), 0)
    assert ended.status == "failed"
    assert reason in ended.reason
    assert "\n" not in ended.reason
    assert ended.scores == {}


@pytest.mark.usefixtures("two_layers", "no_number_in_step_5")
def test_a_trial_that_diverges_keeps_its_run_but_has_no_score(search: Callable[..., Path]) -> None:
    folder = search()
    ended = run_trial(folder, 0)
    assert re.fullmatch(
        r"the loss became nan in epoch 2, step 2 \(step 5 of the run\), at learning rate 0\.00\d+",
        ended.reason,
    )
    assert (ended.status, ended.epochs_done, ended.scores) == ("failed", 1, {})
    assert run.load_trained(records.run_folder(folder, 0)).best["epoch"] == 1
    assert run_trial(folder, 0) == ended


def too_large_for_tensorflow(*args: object, **keywords: object) -> None:
    import tensorflow as tf

    # As its allocator says after having tried for ten seconds.
    message = "OOM when allocating tensor with shape[35184372088832] and type float on CPU:0 by allocator cpu"
    raise tf.errors.ResourceExhaustedError(None, None, message)


def too_large_for_numpy(*args: object, **keywords: object) -> None:
    np.zeros(1 << 57)


@pytest.mark.parametrize("allocate", [too_large_for_tensorflow, too_large_for_numpy])
def test_a_trial_without_enough_memory_fails(
    search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, allocate: Callable[..., None]
) -> None:
    monkeypatch.setattr(trial, "train", allocate)
    ended = run_trial(search(), 0)
    assert ended.status == "failed"
    assert ended.reason.startswith("out of memory: ")


@pytest.mark.parametrize(
    "error",
    [
        files.DiskFullError("full"),
        MissingExtraError("not installed"),
        TrainingInterruptedError("stopped"),
        KeyboardInterrupt(),
        ZeroDivisionError("a mistake of ours"),
    ],
)
def test_what_is_not_the_trials_fault_goes_up_and_leaves_it_open(
    search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder = search()
    monkeypatch.setattr(trial, "train", raising(error))
    with pytest.raises(type(error)):
        run_trial(folder, 0)
    left = records.load_trial(folder, 0)
    assert (left.status, left.reason) == ("running", "")


# ---- limits, command line, memory


def test_a_network_over_a_limit_is_not_trained(
    search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = search(limits=("parameters<=1k",), against=("macs",))
    ended = run_trial(folder, 0)
    assert ended.status == "refused"
    assert ended.costs["parameters"] > 1000
    assert "macs" not in ended.costs, "the first limit decides"
    limit = goals.parse_limit("parameters<=1k")
    assert ended.reason == str(goals.Broken(limit, ended.costs["parameters"]))
    assert not records.run_folder(folder, 0).exists()
    # Killed between the costs and the end: they are not asked for again.
    records.save_trial(folder, dataclasses.replace(ended, status="running", reason=""))
    monkeypatch.setattr(costs, "costs", raising(AssertionError()))
    assert run_trial(folder, 0).reason == ended.reason


@pytest.mark.parametrize(
    "values",
    [
        {},
        {
            "extra_data": ["a", "b c"],
            "size": [96, 64],
            "network_options": {"width": 0.35, "activation": "relu", "skip": True},
            "loss": ["ce", "distill:0.30000000000000004"],
            "teacher": "runs/a teacher",
            "learning_rate": 1.2345678901234567e-05,
            "freeze_encoder": True,
            "weighting": "direct",
        },
    ],
)
def test_the_command_line_of_a_run_makes_it_again(values: dict[str, Any]) -> None:
    config = from_values({"network": "fast_linknet", "data": "feet", **values})
    program, *words = shlex.split(trial.command(config, Path("out")))
    assert program == "footseg"
    given = vars(parser(COMMANDS).parse_args(words))
    names = {option.name for option in dataclasses.fields(TrainConfig)}
    flags = {name: value for name, value in given.items() if name in names}
    assert resolve(preset=None, file=None, flags=flags) == config
    assert given["out"] == Path("out")


def test_what_varies_wins_and_network_options_come_together() -> None:
    fixed = {"network": "fast_linknet", "batch": 8, "network_options": {"width": 0.5, "dropout": 0.1}}
    drawn = {"batch": 4, "network_options": {"dropout": 0.3}}
    config = trial.configuration(SearchSettings({}, fixed), Trial(0, {}, drawn))
    assert config.batch == 4
    assert config.network_options == {"width": 0.5, "dropout": 0.3}
