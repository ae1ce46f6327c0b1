"""What a search shows: the table of a terminal, the end of a command, and the budget that it goes on with."""

import contextlib
import dataclasses
import io
import json
import re
from pathlib import Path

import pytest

from footseg.cli import main
from footseg.commands import searching
from footseg.search import live, records
from footseg.search.loop import SearchBudget
from footseg.search.records import SearchSettings, Trial
from tests.test_search import good, work_of

WIDTHS = {f"network_options.blocks{stage}": {"integer": [1, 3]} for stage in (2, 3, 4)}
SPACE = {"learning_rate": {"log_uniform": [1e-4, 1e-1]}, **WIDTHS}


class Terminal(io.StringIO):
    """What is written to it stays."""

    def isatty(self) -> bool:
        return True


def trial(number: int, status: str, iou: float = 0.0) -> Trial:
    scores = {"iou": iou} if status in records.SCORED else {}
    point = dict.fromkeys(SPACE, 1)
    return Trial(number, {**point, "learning_rate": 0.001}, {}, status, scores=scores)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name, value in (("COLUMNS", "60"), ("LINES", "40"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    return Terminal()


def drawn(terminal: Terminal, folder: Path, budget: SearchBudget, trials: list[Trial]) -> list[str]:
    """The lines of the table on a terminal as standard error, without colours and the like."""
    with contextlib.redirect_stderr(terminal):
        return _drawn(terminal, folder, budget, trials)


def _drawn(terminal: Terminal, folder: Path, budget: SearchBudget, trials: list[Trial]) -> list[str]:
    view = live.LiveTable(SearchSettings(SPACE, {"epochs": 2}), folder, budget)
    view.began([])
    view.tick(trials)
    view.done()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).splitlines()


def test_in_a_narrow_terminal_the_options_are_cut_and_nothing_else(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = drawn(terminal, tmp_path, SearchBudget(9), [trial(0, "finished", 0.75), trial(1, "running")])
    assert not capsys.readouterr().out, "standard output may be the file of --json"
    assert max(map(len, lines)) <= 60
    assert [line for line in lines if re.match(r"0000           0\.7500  learning rate 0\.001 .*…$", line)]
    assert [line for line in lines if re.match(r"0001     0/2    -  learning rate 0\.001 .*…$", line)]


def test_a_table_without_rows_is_not_shown(terminal: Terminal, tmp_path: Path) -> None:
    text = "\n".join(drawn(terminal, tmp_path, SearchBudget(9), [trial(0, "finished", 0.75)]))
    assert "best so far" in text
    assert "running" not in text


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        (SearchBudget(4), "about 50 s left"),  # two trials of 25 s
        (SearchBudget(None, minutes=2), "about 1 min 10 s left"),
        (SearchBudget(4, minutes=1), "about 10 s left"),
        (SearchBudget(None, minutes=0.5), "about 0 s left"),
    ],
)
def test_the_time_left_is_that_of_the_budget_that_ends_first(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: SearchBudget, left: str
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    clock = iter([0.0, *[50.0] * 99])
    monkeypatch.setattr("footseg.search.live.time.monotonic", lambda: next(clock))
    trials = [trial(0, "finished", 0.75), trial(1, "failed"), trial(2, "running")]
    assert drawn(terminal, tmp_path, budget, trials)[0].endswith(left)


def test_a_command_that_leaves_trials_open_says_how_to_go_on(tmp_path: Path) -> None:
    settings = SearchSettings(SPACE, {})
    whole = live.conclusion(settings, tmp_path, [trial(0, "finished", 0.75)], [])
    assert "footseg search --resume" not in whole
    for trials in ([trial(0, "finished", 0.75), trial(1, "running")], [trial(0, "drawn")]):
        text = live.conclusion(settings, tmp_path, trials, [])
        assert "1 to go on" in text
        assert "running" not in text
        assert text.splitlines()[-1] == f"go on:  footseg search --resume --out {tmp_path}"


def test_a_resumed_search_has_the_budget_that_was_given_last(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_work", lambda args, lock: work_of(good))
    monkeypatch.setattr(searching, "TRIALS", 7)
    space = tmp_path / "space.toml"
    space.write_text("learning_rate = { log_uniform = [1e-3, 1e-2] }")
    out = tmp_path / "out"
    begin = ["fast_linknet", "--data", str(tiny_data), "--space", str(space)]

    def trials_after(*words: str) -> int:
        assert main(["search", *words, "--out", str(out), "--json"]) == 0
        return len(json.loads(capsys.readouterr().out)["trials"])

    assert trials_after(*begin, "--trials", "2") == 2
    assert trials_after("--resume") == 2
    assert trials_after("--resume", "--minutes", "5") == 2
    assert trials_after("--resume", "--trials", "4") == 4
    assert trials_after("--resume") == 4
    # Begun by minutes only, and resumed without: not for ever.
    records.save_settings(out, dataclasses.replace(records.load_settings(out), trials=None))
    assert trials_after("--resume") == 7
