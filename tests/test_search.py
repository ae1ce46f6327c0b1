"""footseg search: what the loop keeps of its trials, and the command from its flags to its files."""

import dataclasses
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from footseg import files
from footseg.cli import main
from footseg.commands import searching
from footseg.errors import FootsegError
from footseg.search import live, loop, records
from footseg.search.loop import SearchBudget
from footseg.search.records import SearchSettings, Trial
from footseg.search.workers import Feed

SPACE = {"learning_rate": {"log_uniform": [1e-4, 1e-1]}, "batch": {"choice": [8, 16]}}
# What a trial of a real search needs here, in seconds of training.
TINY = ["--size", "64", "--epochs", "2", "--batch", "8", "--network-options", "width=0.25", "--ema", "0.5"]


class KilledError(Exception):
    """Stands for kill -9: nothing is cleaned up."""


def work_of(result: Callable[[Trial], dict[str, Any]], *, kill_after: int | None = None) -> Any:
    """Workers that train nothing: ``result`` says what becomes of a trial."""

    def work(feed: Feed) -> None:
        for count in itertools.count():
            number = feed.next_trial()
            if number is None:
                return
            if count == kill_after:
                raise KilledError
            trial = records.load_trial(feed.folder, number)
            records.save_trial(feed.folder, dataclasses.replace(trial, **result(trial)))
            feed.tick()
            feed.ended(number)

    return work


def good(trial: Trial) -> dict[str, Any]:
    """Finished, the better the nearer its learning rate is to 0.01."""
    distance = abs(math.log10(trial.point["learning_rate"]) + 2)
    return {"status": "finished", "scores": {"iou": 1 - distance / 4}, "seconds": 1.0}


def settings_of(data: Path, **changes: Any) -> SearchSettings:
    values = {"network": "fast_linknet", "data": str(data)}
    return SearchSettings(SPACE, values, data_fingerprint=files.fingerprint(data), **changes)


def run(folder: Path, settings: SearchSettings, trials: int, work: Any) -> list[Trial]:
    lines: list[str] = []
    if not records.exists(folder):
        records.save_settings(folder, settings)
    return loop.search(
        folder,
        settings,
        SearchBudget(trials),
        work=work,
        view=live.Lines(settings, lines.append),
        say=lines.append,
    )


def points(trials: list[Trial]) -> list[tuple[float, ...]]:
    return [tuple(trial.point.values()) for trial in trials]


# ---- the books


@pytest.mark.parametrize("algorithm", ["random", "tpe", "anneal"])
def test_a_killed_search_loses_no_trial_and_repeats_none(
    tiny_data: Path, tmp_path: Path, algorithm: str
) -> None:
    settings = settings_of(tiny_data, algorithm=algorithm, seed=3)
    whole = run(tmp_path / "whole", settings, 30, work_of(good))
    for kill_after in (0, 7, 1, 0, 9):
        with pytest.raises(KilledError):
            run(tmp_path / "killed", settings, 30, work_of(good, kill_after=kill_after))
    before = {t.number: t for t in records.load_trials(tmp_path / "killed") if t.status == "finished"}
    resumed = run(tmp_path / "killed", settings, 30, work_of(good))

    assert len(before) == 17  # 0 + 7 + 1 + 0 + 9
    assert [t for t in resumed if t.number in before] == list(before.values())
    assert [t.number for t in resumed] == list(range(30))
    assert len(set(points(resumed))) == 30
    # One worker and points that come of (seed, number, history): a kill changes nothing.
    assert points(resumed) == points(whole)


def test_a_trial_that_was_open_goes_on_before_new_ones(tiny_data: Path, tmp_path: Path) -> None:
    settings = settings_of(tiny_data)
    with pytest.raises(KilledError):
        run(tmp_path, settings, 9, work_of(good, kill_after=2))
    assert [t.status for t in records.load_trials(tmp_path)] == ["finished", "finished", "drawn"]
    order: list[int] = []
    run(tmp_path, settings, 4, work_of(lambda trial: (order.append(trial.number), good(trial))[1]))
    assert order == [2, 3]


def test_more_trials_may_be_asked_for_later(tiny_data: Path, tmp_path: Path) -> None:
    settings = settings_of(tiny_data, algorithm="random")
    assert len(run(tmp_path, settings, 3, work_of(good))) == 3
    assert len(run(tmp_path, settings, 5, work_of(good))) == 5
    assert len(run(tmp_path, settings, 2, work_of(good))) == 5


def test_refused_points_are_no_part_of_the_budget_failed_ones_are(tiny_data: Path, tmp_path: Path) -> None:
    def result(trial: Trial) -> dict[str, Any]:
        if trial.number % 3 == 0:
            return {"status": "refused", "reason": "too big", "costs": {"macs": 9e9}}
        return {"status": "failed", "reason": "NaN"} if trial.number % 3 == 1 else good(trial)

    trials = run(tmp_path, settings_of(tiny_data, limits=("macs<=1G",)), 8, work_of(result))
    assert [sum(t.status == s for t in trials) for s in ("finished", "failed")] == [4, 4]
    assert sum(t.status == "refused" for t in trials) == 4


def test_limits_that_nothing_meets_end_the_search_with_the_nearest_miss(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REFUSALS", 12)

    def result(trial: Trial) -> dict[str, Any]:
        return {"status": "refused", "reason": "too big", "costs": {"macs": 2e9 + 1e8 * trial.number}}

    with pytest.raises(FootsegError, match=r"macs<=1G.* 12 points.* 2 G"):
        run(tmp_path, settings_of(tiny_data, limits=("macs<=1G",)), 8, work_of(result))
    assert len(records.load_trials(tmp_path)) == 12


def test_points_that_are_all_refused_after_a_good_one_end_this_command_only(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REFUSALS", 4)
    settings = settings_of(tiny_data, algorithm="random", limits=("macs<=1G",))
    records.save_settings(tmp_path, settings)
    said: list[str] = []

    def result(trial: Trial) -> dict[str, Any]:
        return good(trial) if trial.number == 0 else {"status": "refused", "costs": {"macs": 2e9}}

    for points_drawn in (5, 9):
        trials = loop.search(
            tmp_path, settings, SearchBudget(3), work=work_of(result),
            view=live.Lines(settings, lambda line: None), say=said.append,
        )  # fmt: skip
        assert len(trials) == points_drawn
    assert said == ["the last 4 points were all over the limits: no more are drawn"] * 2


def test_limits_that_nothing_meets_so_far_are_told_early_and_the_search_is_drawn_to_them(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REFUSALS", 60)

    def result(trial: Trial) -> dict[str, Any]:
        # One in 250 points drawn at random is small enough.
        return {
            "status": "refused",
            "reason": "too big",
            "costs": {"macs": 1e13 * trial.point["learning_rate"]},
        }

    folder = tmp_path
    said: list[str] = []
    settings = settings_of(tiny_data, limits=("macs<=1G",))
    records.save_settings(folder, settings)
    with pytest.raises(FootsegError, match=r"nothing of 60 points"):
        loop.search(
            folder, settings, SearchBudget(5), work=work_of(result),
            view=live.Lines(settings, lambda line: None), say=said.append,
        )  # fmt: skip
    assert len(said) == 1
    assert re.search(
        r"nothing of 20 points drawn meets it; the nearest is .*; going on to 60 points", said[0]
    )
    rates = [t.point["learning_rate"] for t in records.load_trials(folder)]
    # Uniform in the logarithm over three decades: of 20 at random 6 or 7 are in the lowest.
    assert sum(rate < 1e-3 for rate in rates[-20:]) >= 14


def test_trials_that_all_fail_for_one_reason_end_the_search(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "FAILURES", 4)
    broken = {"status": "failed", "reason": "a.jpg is no image"}
    for trials in (4, 8):  # resumed, they get as many chances again
        with pytest.raises(FootsegError, match=f"none of {trials} trials could be .* a.jpg is no image; "):
            run(tmp_path / "one", settings_of(tiny_data), 20, work_of(lambda trial: broken))
    assert len(run(tmp_path / "one", settings_of(tiny_data), 20, work_of(good))) == 20

    def each(trial: Trial) -> dict[str, Any]:
        return {"status": "failed", "reason": f"diverged at {trial.number}"}

    with pytest.raises(FootsegError, match=r"none of 6 trials could be .* diverged at 5"):
        run(tmp_path / "other", settings_of(tiny_data), 6, work_of(each))


def test_a_trial_says_when_it_was_drawn(tiny_data: Path, tmp_path: Path) -> None:
    (trial,) = run(tmp_path, settings_of(tiny_data), 1, work_of(good))
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", trial.created)


def test_a_finite_space_ends_when_all_of_it_was_tried(tiny_data: Path, tmp_path: Path) -> None:
    few = dataclasses.replace(settings_of(tiny_data), space={"batch": {"choice": [4, 8, 16]}})
    done = {"status": "finished", "scores": {"iou": 0.5}}
    trials = run(tmp_path, few, 10, work_of(lambda trial: done))
    assert sorted(t.values["batch"] for t in trials) == [4, 8, 16]


def test_ctrl_c_says_how_to_go_on(tiny_data: Path, tmp_path: Path) -> None:
    def interrupt(trial: Trial) -> dict[str, Any]:
        if trial.number == 2:
            raise KeyboardInterrupt
        return good(trial)

    with pytest.raises(loop.SearchInterruptedError, match=r"2 trials done and 1 to go on.*--resume --out"):
        run(tmp_path, settings_of(tiny_data), 8, work_of(interrupt))
    assert json.loads((tmp_path / "results.json").read_text())["trials"]


# ---- what the algorithm is told


def trial(number: int, status: str, iou: float = 0.0, size: float = 0.0) -> Trial:
    scores = {"iou": iou} if status in records.SCORED else {}
    return Trial(number, {"x": number}, {}, status, scores=scores, costs={"size": size})


def test_failed_and_refused_points_are_told_as_the_worst_running_ones_not_at_all() -> None:
    trials = [
        trial(0, "finished", 0.75), trial(1, "failed"), trial(2, "running"), trial(3, "refused"),
        trial(4, "stopped", 0.5),
    ]  # fmt: skip
    found = loop.told(SearchSettings({}, {}), trials)
    assert found == [({"x": 0}, 0.25), ({"x": 1}, 1.0), ({"x": 3}, 1.0), ({"x": 4}, 0.5)]


def test_until_a_point_meets_the_limits_the_refused_are_told_by_how_far_they_are_over() -> None:
    settings = SearchSettings({}, {}, limits=("macs<=100", "size<=50"))
    trials = [
        Trial(0, {"x": 0}, {}, "refused", costs={"macs": 200}),  # 1 + 1/2 of 3: size is not known
        Trial(1, {"x": 1}, {}, "refused", costs={"macs": 400}),  # 1 + 3/4 of 3
        Trial(2, {"x": 2}, {}, "refused", costs={"macs": 100, "size": 100}),  # 1/2 of 3
        Trial(3, {"x": 3}, {}, "failed"),
    ]
    losses = [loss for _, loss in loop.told(settings, trials)]
    assert losses == pytest.approx([1.5 / 3, 1.75 / 3, 0.5 / 3, 1.0])  # thirds are no exact floats
    scored = Trial(4, {"x": 4}, {}, "finished", scores={"iou": 0.25}, costs={"macs": 90, "size": 40})
    assert [loss for _, loss in loop.told(settings, [*trials, scored])] == [1.0, 1.0, 1.0, 1.0, 0.75]


def test_until_a_trial_has_a_score_refused_ones_are_told_by_how_far_they_are_over() -> None:
    trials = [trial(0, "refused", size=200), trial(1, "failed", size=50), trial(2, "refused", size=400)]
    found = loop.told(SearchSettings({}, {}, limits=("size<=100",)), trials)
    # 1 over is a half, 3 over three quarters, of one limit.
    assert [loss for _, loss in found] == [1 / 4, 1.0, 3 / 8]


def test_with_several_goals_the_loss_is_the_place_among_all() -> None:
    # 0 and 1 are on the front; 2 is beaten by 1 alone, 3 by all.
    trials = [
        trial(0, "finished", 0.9, 100), trial(1, "finished", 0.8, 50), trial(2, "finished", 0.8, 60),
        trial(3, "finished", 0.7, 200), trial(4, "failed"),
    ]  # fmt: skip
    found = [loss for _, loss in loop.told(SearchSettings({}, {}, against=("size",)), trials)]
    assert found[0] < 1 and found[1] < 1
    assert 1 <= found[2] < 2 <= found[3] < found[4]


# ---- what is shown


def test_the_live_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_data: Path) -> None:
    settings = settings_of(tiny_data, against=("size",))
    files.write_text(records.run_folder(tmp_path, 2) / "history.csv", "epoch,val_iou\n1,0.25\n2,0.125\n")
    point = {"learning_rate": 1e-3, "batch": 1}
    trials = [
        Trial(0, point, {}, "finished", scores={"iou": 0.75}, costs={"size": 214_400.0}, seconds=5),
        Trial(1, point, {}, "refused", costs={"size": 9e9}),
        Trial(2, point, {"epochs": 20}, "running"),
    ]
    now = time.monotonic()
    table = live.LiveTable(settings, tmp_path, SearchBudget(4))
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    from rich.console import Console

    console = Console(width=120)
    with console.capture() as captured:
        console.print(table._drawn(trials))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    # One of four took a minute; the running one is among those that are left.
    assert lines[0] == "1 running, 1 finished, 1 refused, 1 min 00 s so far, about 3 min 00 s left"
    assert re.fullmatch(r"0002 +2/20 +0\.2500  learning rate 0\.001  batch 16", lines[3])
    assert re.fullmatch(r"0000 +0\.7500 +214\.4 kB  learning rate 0\.001  batch 16", lines[6])
    assert len(lines) == 7


# ---- beginning and going on


def test_a_folder_of_another_search_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    first = settings_of(tiny_data)
    out = tmp_path / "out"
    assert loop.begin(out, first, {"data"}, resume=False) == first
    with pytest.raises(FootsegError, match="is a search: go on with --resume"):
        loop.begin(out, first, {"data"}, resume=False)
    assert loop.begin(out, settings_of(tiny_data), {"data"}, resume=True) == first
    other = settings_of(tiny_data, algorithm="random")
    with pytest.raises(ValueError, match=r"another search: .* algorithm = 'tpe', not 'random'"):
        loop.begin(out, other, {"algorithm"}, resume=True)
    # Not given on the command line: what it was begun with counts.
    assert loop.begin(out, other, set(), resume=True) == first


def test_folders_of_other_things_stay_as_they_are(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(FootsegError, match="holds files that no search made"):
        loop.begin(tmp_path, settings_of(tiny_data), set(), resume=False)
    with pytest.raises(FootsegError, match="holds no search to resume"):
        loop.begin(tmp_path / "none", settings_of(tiny_data), set(), resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    (tmp_path / "killed" / ".search.json.abc").mkdir(parents=True)  # by a kill in its first moment
    with pytest.raises(FootsegError, match="holds no search to resume"):
        loop.begin(tmp_path / "killed", settings_of(tiny_data), set(), resume=True)
    loop.begin(tmp_path / "killed", settings_of(tiny_data), set(), resume=False)


def test_changed_data_is_noticed(tiny_data: Path, tmp_path: Path) -> None:
    before = dataclasses.replace(settings_of(tiny_data), data_fingerprint="of other files")
    loop.begin(tmp_path / "out", before, set(), resume=False)
    with pytest.raises(FootsegError, match="are not those that"):
        loop.begin(tmp_path / "out", settings_of(tiny_data), set(), resume=True)


def test_one_search_at_a_time_in_a_folder(tmp_path: Path) -> None:
    said: list[str] = []
    with (
        records.lock(tmp_path),
        pytest.raises(FootsegError, match=f"another search works in .*{os.getpid()}"),
        records.lock(tmp_path, wait=0.3, say=said.append),
    ):
        pass
    assert len(said) == 1
    with records.lock(tmp_path, wait=0):  # it was given back
        pass


# ---- the command line


def command(data: Path, out: Path, *words: str) -> list[str]:
    return ["search", "fast_linknet", "--data", str(data), "--out", str(out), *TINY, *words]


@pytest.mark.parametrize(
    ("space", "words", "message"),
    [
        ("learning_rat = { uniform = [0.1, 0.2] }", [], "did you mean 'learning_rate'"),
        ("network_options.widht = { uniform = [0.1, 0.2] }", [], "did you mean .*width"),
        ("learning_rate = { log_uniform = [0.2, 0.1] }", [], r"learning_rate.*0\.2.*0\.1"),
        ("batch = { choice = [] }", [], "batch.*choice"),
        ("batch = { choice = [4, 8] }", ["--batch", "8"], "batch"),
        ("learning_rate = ", [], "not valid TOML"),
        ("warmup = { uniform = [0, 0.5] }", ["--limit", "sise<=3MB"], "did you mean 'size'"),
        ("warmup = { uniform = [0, 0.5] }", ["--against", "arms"], "did you mean 'arm'"),
        ("warmup = { uniform = [0, 0.5] }", ["--objective", "iuo"], "did you mean 'iou'"),
        ("warmup = { uniform = [0, 0.5] }", ["--algorithm", "tep"], "did you mean 'tpe'"),
        ("warmup = { uniform = [0, 0.5] }", ["--stop", "halfing"], "did you mean 'halving'"),
        ("warmup = { uniform = [0, 0.5] }", ["--trials", "0"], "trials is 0"),
        ("warmup = { uniform = [0, 0.5] }", ["--minutes", "0"], "minutes is 0"),
        ("warmup = { uniform = [0, 0.5] }", ["--workers", "0"], "workers is 0"),
        ("warmup = { uniform = [0, 0.5] }", ["--resume"], "holds no search to resume: leave --resume out"),
        ("warmup = { uniform = [0, 0.5] }", ["--teacher", "gone"], "no such file: .*gone"),
        ("warmup = { uniform = [0, 0.5] }", ["--start-from", "gone"], "no such file: .*gone"),
        ("warmup = { uniform = [0, 0.5] }", ["--loss", "distill"], "loss distill needs a teacher"),
    ],
)
def test_bad_input_is_one_clear_line_before_anything_is_made(
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    space: str,
    words: list[str],
    message: str,
) -> None:
    file = tmp_path / "space.toml"
    file.write_text(space)
    out = tmp_path / "out"
    arguments = command(tiny_data, out, "--space", str(file), *words)
    if "--batch" not in words:
        cut = arguments.index("--batch")
        del arguments[cut : cut + 2]
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip()
    assert re.search(message, error), error
    assert len(error.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no network given: footseg search NETWORK --data DIR --out DIR"),
        (["fast_linknet"], "no data given: footseg search NETWORK"),
        (["--resume"], "holds no search to resume"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["search", *words, "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_sigterm_ends_a_search_as_ctrl_c_does(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminated(trial: Trial) -> dict[str, Any]:
        if trial.number == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return good(trial)

    monkeypatch.setattr(searching, "_work", lambda args, lock: work_of(terminated))
    space = tmp_path / "space.toml"
    space.write_text("learning_rate = { log_uniform = [1e-3, 1e-2] }")
    assert main(command(tiny_data, tmp_path / "out", "--space", str(space))) == 130
    assert "stopped with 1 trial done and 1 to go on; go on with: footseg search --resume" in (
        capsys.readouterr().err
    )
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_search_killed_and_resumed_by_the_real_command(tiny_data: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text(
        "learning_rate = { log_uniform = [1e-3, 1e-2] }\n"
        "loss = { choice = [ { value = ['ce'] }, "
        "{ value = ['ce', 'iou:{weight}'], weight = { uniform = [0, 2] } } ] }\n"
    )
    out = tmp_path / "out"
    words = ["search", "tiptoe", "--data", str(tiny_data), "--out", str(out), *TINY, "--space", str(space)]
    words += [f"--network-options={name}=0" for name in ("blocks2", "blocks3", "blocks4")]
    words += ["--trials", "2", "--algorithm", "random"]
    process = subprocess.Popen([sys.executable, "-m", "footseg", *words], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 300  # half a minute; on a machine with more to do than it has cores, minutes
    while not list(out.glob("trials/0001/history.csv")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = records.load_trials(out)
    assert main(["search", "--resume", "--out", str(out), "--trials", "2", "--json"]) == 0

    trials = records.load_trials(out)
    assert [t.status for t in trials] == ["finished"] * 2
    assert [t.point for t in trials[: len(before)]] == [t.point for t in before]
    assert trials[0] == before[0]
    assert len({json.dumps(t.point) for t in trials}) == 2
    assert all(t.epochs_done == 2 and t.scores["iou"] > 0 for t in trials)
    exported = tmp_path / "exported"
    run_of_best = out / "trials" / max(trials, key=lambda t: t.scores["iou"]).name
    assert main(["evaluate", str(run_of_best), "--data", str(tiny_data), "--json"]) == 0
    assert main(["report", str(out), "--out", str(exported / "page.html")]) == 0
    assert (exported / "page.html").stat().st_size > 10_000
