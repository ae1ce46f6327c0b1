"""What a search found, on a few trials whose front, best and savings can be worked out by hand."""

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest

from footseg.errors import FootsegError
from footseg.search import records, tables
from footseg.search.records import SearchSettings, Trial
from tests.search_folder import SPACE, VALUES, a_search


def a_folder(folder: Path, *trials: Trial, **changes: Any) -> Path:
    settings: dict[str, Any] = {"space": SPACE, "values": VALUES, "against": ("size",)}
    records.save_settings(folder, SearchSettings(**(settings | changes)))
    for trial in trials:
        records.save_trial(folder, trial)
    return folder


def a_trial(number: int, status: str = "finished", iou: float | None = None, **changes: Any) -> Trial:
    fields: dict[str, Any] = {
        "point": {"learning_rate": 1e-3, "loss": 0, "weight_decay": 0.1, "batch": 1},
        "values": {"learning_rate": 1e-3, "loss": ["ce"], "weight_decay": 0.1, "batch": 16},
        "scores": {} if iou is None else {"iou": iou},
        "epochs_done": 20,
        "seconds": 100.0,
    }
    return Trial(number, **{"status": status, **fields, **changes})


def columns(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / tables.CSV).read_text(encoding="utf-8"))))


# Size in bytes: 1 is best, 0 smaller and worse, 3 the smallest; 2 is larger and worse than 1. What is left
# is no trial that can be compared: refused, failed, running, or without the cost.
FIVE = (
    a_trial(0, iou=0.70, costs={"size": 200}),
    a_trial(1, iou=0.75, costs={"size": 300}),
    a_trial(2, iou=0.74, costs={"size": 400}),
    a_trial(3, "stopped", iou=0.50, costs={"size": 100}, epochs_done=5, seconds=30.0),
    a_trial(
        4, "refused", costs={"size": 900}, epochs_done=0, seconds=0.5, reason="size 900B is over size<=500B"
    ),
    a_trial(
        5, "failed", costs={"size": 50}, epochs_done=2, seconds=10.0, reason="the loss is NaN, in epoch 3"
    ),
    a_trial(6, "running", costs={"size": 50}),
    a_trial(7, iou=0.60),
)


def test_front_and_best(tmp_path: Path) -> None:
    found = tables.load(a_folder(tmp_path, *FIVE))
    assert found.best == 1
    assert found.front == (1, 0, 3)
    assert [trial.number for trial in found.scored] == [1, 2, 0, 7, 3]


def test_without_costs_the_front_is_the_best_and_its_equals(tmp_path: Path) -> None:
    found = tables.load(a_folder(tmp_path, *FIVE, a_trial(8, iou=0.75), against=()))
    assert found.front == (1, 8)
    assert found.best == 1


@pytest.mark.parametrize("wrong", [{"objective": "speed"}, {"against": ("\ud800",)}])
def test_a_search_for_what_nobody_knows_is_a_line(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(FootsegError, match=r"is a search for '.*', which this footseg does not know"):
        tables.load(a_folder(tmp_path, *FIVE, **wrong))


def test_a_point_of_another_space_is_a_line(tmp_path: Path) -> None:
    trial = a_trial(0, iou=0.5)
    found = tables.load(
        a_folder(tmp_path, dataclasses.replace(trial, point={**trial.point, "loss": 7}), against=())
    )
    with pytest.raises(ValueError, match="a point has branch 7 of"):
        tables.as_csv(found)


def test_scores_that_are_no_numbers_do_not_count(tmp_path: Path) -> None:
    found = tables.load(a_folder(tmp_path, a_trial(0, iou=float("nan")), a_trial(1, iou=0.1), against=()))
    assert found.best == 1
    assert found.front == (1,)


def test_time_saved_is_what_the_stopped_would_have_taken(tmp_path: Path) -> None:
    found = tables.load(a_folder(tmp_path, *FIVE))
    # 30 s for 5 of 20 epochs: 6 s an epoch, 15 epochs left.
    assert tables.seconds_saved(found.settings, found.trials) == pytest.approx(90.0)
    assert tables.seconds(found.trials) == pytest.approx(5 * 100 + 30 + 0.5 + 10)


def test_epochs_may_vary_and_have_a_default() -> None:
    given = SearchSettings(space=SPACE, values=VALUES)
    assert tables.epochs_of(given, a_trial(0)) == 20
    assert tables.epochs_of(given, a_trial(0, values={"epochs": 7})) == 7
    assert tables.epochs_of(SearchSettings(space=SPACE, values={}), a_trial(0)) == 155


def test_options_by_default_go_without_saying() -> None:
    values = {"network": "tiptoe", "loss": ["ce", "iou"], "size": [64, 64], "epochs": 155, "teacher": ""}
    assert tables.chosen(SearchSettings(space=SPACE, values=values)) == {
        "network": "tiptoe",
        "size": [64, 64],
    }


def test_csv_has_a_row_a_trial(tmp_path: Path) -> None:
    distilled = a_trial(
        8, iou=0.71, costs={"size": 250.0},
        point={"learning_rate": 2e-6, "loss": 2, "temperature@loss=2": 4.5, "weight@loss=2": 0.25,
               "weight_decay": 0.3, "batch": 0},
    )  # fmt: skip
    tables.write(a_folder(tmp_path, *FIVE, distilled))
    found = columns(tmp_path)
    assert list(found[0]) == [
        "number", "status", "reason", "iou", "size", "learning rate", "loss", "temperature", "weight",
        "weight decay", "batch", "epochs_done", "seconds", "run",
    ]  # fmt: skip
    assert [row["number"] for row in found] == [str(number) for number in range(9)]
    assert found[0] == {
        "number": "0", "status": "finished", "reason": "", "iou": "0.7", "size": "200",
        "learning rate": "0.001", "loss": "ce", "temperature": "", "weight": "", "weight decay": "0.1",
        "batch": "16", "epochs_done": "20", "seconds": "100.0", "run": "trials/0000",
    }  # fmt: skip
    assert (found[5]["status"], found[5]["iou"]) == ("failed", "")
    assert found[5]["reason"] == "the loss is NaN, in epoch 3"
    assert (found[8]["loss"], found[8]["temperature"], found[8]["weight"]) == ("ce + distill", "4.5", "0.25")


def test_a_parameter_never_takes_one_of_our_columns(tmp_path: Path) -> None:
    space = {"size": {"choice": [128, 256]}, "seed": {"integer": [1, 3]}}
    point = {"size": 1, "seed": 2}
    tables.write(a_folder(tmp_path, a_trial(0, iou=0.5, point=point, costs={"size": 10}), space=space))
    assert (columns(tmp_path)[0]["size"], columns(tmp_path)[0]["option size"]) == ("10", "256")


def test_json_says_it_all(tmp_path: Path) -> None:
    tables.write(a_folder(tmp_path, *FIVE, limits=("size<=500B",)))
    found = json.loads((tmp_path / tables.JSON).read_text(encoding="utf-8"))
    assert found["version"] == tables.VERSION
    assert (found["best"], found["front"]) == (1, [1, 0, 3])
    assert found["settings"]["limits"] == ["size<=500B"]
    assert found["figures"]["size"]["known"] == "computed"
    assert (found["seconds"], found["seconds_saved"]) == (540.5, 90.0)
    assert found["trials"][3]["status"] == "stopped"
    assert found["trials"][3]["run"] == "trials/0003"
    assert found["trials"][0]["parameters"]["loss"] == "ce"
    # Eight trials of one point: nothing can be said of any parameter.
    assert {each["share"] for each in found["importance"]} == {None}
    assert [each["title"] for each in found["importance"]][:2] == ["learning rate", "loss"]


def test_importance_of_many_trials_is_there(tmp_path: Path) -> None:
    tables.write(a_search(tmp_path / "search", 60))
    found = json.loads((tmp_path / "search" / tables.JSON).read_text(encoding="utf-8"))
    shares = {each["title"]: each["share"] for each in found["importance"]}
    # The made-up score is a parabola of the learning rate and little else.
    assert max(shares, key=lambda title: shares[title] or 0) == "learning rate"


def test_a_search_without_trials_has_tables(tmp_path: Path) -> None:
    tables.write(a_folder(tmp_path))
    assert (tmp_path / tables.CSV).read_text(encoding="utf-8") == ""
    assert json.loads((tmp_path / tables.JSON).read_text(encoding="utf-8"))["best"] is None


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match="is not a search"):
        tables.load(tmp_path)
