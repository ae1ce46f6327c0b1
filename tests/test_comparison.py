"""The interval of a ratio holds what it says: worked out by hand, and by counting all draws of signs."""

import itertools
import json
import math
import os
import random
import statistics
import sys
from pathlib import Path

import pytest

from footseg import comparison
from footseg.benchmarks import cost
from footseg.benchmarks.experiments import busy_machine, busy_training, coverage, trials
from footseg.comparison import interval
from footseg.errors import FootsegError


def test_a_round_is_the_geometric_mean_of_its_turns() -> None:
    # 2/1 and 9/2: the root of 9
    assert comparison.round_ratio([2, 9], [1, 2]) == pytest.approx(3)
    assert comparison.round_ratio([1, 2], [2, 9]) == pytest.approx(1 / 3)


def test_with_as_few_starts_as_there_may_be_the_interval_is_their_range() -> None:
    ratios = [1.00, 1.01, 1.02, 1.03, 1.05, 1.06, 1.07, 1.08]
    found = interval([[ratio] for ratio in ratios])
    assert (found.low, found.high) == (pytest.approx(1.00), pytest.approx(1.08))
    assert found.confidence == 0.99
    assert not found.different
    assert interval([[ratio + 0.01] for ratio in ratios]).different
    assert interval([[0.99 / ratio] for ratio in ratios]).different


def test_a_start_counts_once_however_many_rounds_it_has() -> None:
    few = [[1.01 + i / 100] for i in range(8)]
    # The median of many rounds of a start is what it gave with one; a burst in one of them is passed over.
    many = [[*rounds * 4, 3.0] for rounds in few]
    assert interval(many) == interval(few)


def test_the_ratio_is_the_median_of_the_means_of_pairs() -> None:
    logs = [0.0, 0.01, 0.02, 0.05, 0.06, 0.07, 0.08, 0.30]
    pairs = [(a + b) / 2 for i, a in enumerate(logs) for b in logs[i:]]
    assert math.log(interval([[math.exp(x)] for x in logs]).ratio) == pytest.approx(statistics.median(pairs))


@pytest.mark.parametrize(("starts", "least"), [(8, 0), (10, 3), (12, 7), (16, 19), (20, 37)])
def test_the_cut_is_that_of_the_tables_of_the_signed_rank_test(starts: int, least: int) -> None:
    """Two-sided 0.01: for example Wilcoxon and Wilcox (1964)."""
    assert comparison._cut(starts, 0.99) == least


@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_of_all_draws_of_the_signs_as_many_leave_out_1_as_allowed(confidence: float) -> None:
    """Nine starts of files that are alike: any of the 512 signs could have come of the coin."""
    sizes = [0.001, 0.002, 0.004, 0.007, 0.011, 0.016, 0.02, 0.05, 0.9]
    found = [
        interval([[math.exp(s * x)] for s, x in zip(signs, sizes, strict=True)], confidence)
        for signs in itertools.product((-1, 1), repeat=len(sizes))
    ]
    alarms = sum(not each.low <= 1 <= each.high for each in found)
    assert 0 < alarms / 512 <= 1 - confidence


def test_a_start_disturbed_does_not_hide_five_per_cent() -> None:
    rng = random.Random(0)
    logs = [math.log(1.05) + rng.gauss(0, 0.01) for _ in range(15)]
    found = interval([[math.exp(x)] for x in [*logs, -0.5]])
    assert found.different
    assert found.low < 1.05 < found.high


def test_starts_end_before_one_more_would_take_too_long() -> None:
    """Each start takes 3 s: ten fit into 30 s, and 8 are made however few fit."""
    for seconds, most, made in ((30.0, 16, 10), (29.9, 16, 9), (3.0, 16, 8), (300.0, 16, 16)):
        now = [0.0]
        numbers = []
        for number in comparison.within(seconds, most, 0.99, clock=lambda now=now: now[0]):
            numbers.append(number)
            now[0] += 3
        assert numbers == list(range(made))
    with pytest.raises(ValueError, match="starts must be 8 or more for 99%, got 7"):
        next(comparison.within(30, 7))


@pytest.mark.parametrize("ratio", [math.nan, math.inf, 0.0, -1.0])
def test_a_ratio_that_is_no_positive_number_is_refused(ratio: float) -> None:
    """An interval of NaN would leave out 1 and call the files different."""
    with pytest.raises(ValueError, match="ratios must be positive numbers"):
        interval([[1.0]] * 8 + [[1.0, ratio]])
    with pytest.raises(ValueError, match="times must be positive numbers"):
        comparison.round_ratio([1.0, ratio], [1.0, 1.0])


def test_what_cannot_be_told_is_refused() -> None:
    assert [comparison.fewest_starts(c) for c in (0.5, 0.95, 0.99)] == [2, 6, 8]
    with pytest.raises(ValueError, match="8 starts or more"):
        interval([[1.0]] * 7)
    with pytest.raises(ValueError, match="a round each"):
        interval([[1.0]] * 7 + [[]])
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval([[1.0]] * 9, confidence=99)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1.006, 1.3, "different"),
        (0.9, 0.994, "different"),
        (1.001, 1.03, "alike"),  # less than anybody minds
        (0.9, 0.999, "cannot tell"),
        (0.96, 1.04, "alike"),
        (0.96, 1.06, "cannot tell"),
        (0.94, 1.04, "cannot tell"),
    ],
)
def test_an_interval_says_different_alike_or_nothing(low: float, high: float, said: str) -> None:
    assert comparison.verdict(low, high) == said


# --- the trials ------------------------------------------------------------------------------------


def test_the_slower_network_has_five_per_cent_more_work(tmp_path: Path) -> None:
    few, more = (cost.of_file(trials.network(tmp_path / f"{n}.tflite", n)) for n in (20, 21))
    one = 32 * 32 * 9 * 32 * 32
    assert more.macs - few.macs == one
    assert few.macs == 20 * one + 32 * 32 * 9 * (3 * 32 + 32 * 2)


def test_trials_go_on_where_they_were_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []

    def trial(case: trials.Case, seconds: float) -> dict[str, object]:
        made.append(case.name)
        ratio = 1.05 if case.slower else 1.0
        return {
            **{"ratio": ratio, "low": ratio - 0.01, "high": ratio + 0.01, "seconds": 8.5},
            **{"different": case.slower, "starts": [[ratio, ratio + 0.001]] * 8},
        }

    monkeypatch.setattr(trials, "trial", trial)
    monkeypatch.setattr(coverage, "COMPARISONS", 60)
    out = tmp_path / "comparison.json"

    def run(*words: str) -> dict[str, object]:
        monkeypatch.setattr(sys, "argv", ["trials", "--out", str(out), *words])
        trials.main()
        return json.loads(out.read_text())

    run("--trials", "8")
    record = run("--trials", "9")
    assert made == ["same", "5 % more"] * 9
    same, slower = record["summaries"]
    assert (same["trials"], same["called_different"], same["met"]) == (9, 0, True)
    assert (slower["called_different"], slower["met"]) == (1, True)
    assert slower["macs_ratio"] == pytest.approx(1.0496, abs=5e-5)
    assert slower["ratio_over_all_trials"] == pytest.approx([1.05] * 3)
    # The second network's percentile interval of eight equal starts leaves out 1, and so does the first's.
    assert slower["called_different_by_percentile_bootstrap"] == 1
    assert same["called_different_by_percentile_bootstrap"] == 1
    # What is drawn is always the same: of 60 comparisons with 8 starts the bootstrap is wrong about thrice.
    by_way = {row["interval"]: row["leaves_out_truth"] for row in record["simulated"][:3]}
    assert by_way["signs"] <= 1 / 60 < by_way["bootstrap percentiles"]
    assert "called_different" in capsys.readouterr().err
    with pytest.raises(FootsegError, match="another settings"):
        run("--trials", "9", "--seconds", "3")


# --- a busy machine --------------------------------------------------------------------------------


def test_what_was_said_on_a_busy_machine_is_counted_as_right_or_wrong() -> None:
    said = {"same": ["alike", "different", "cannot tell"], "10 % more": ["different", "alike", "different"]}
    found = [
        {"case": case, "said": {"bench": word}, "bench": [0.9, ratio, 1.2]}
        for case, words in said.items()
        for word, ratio in zip(words, (1.0, 1.1, 1.3), strict=True)
    ]
    same, more = busy_machine.summaries(found)
    assert (same["wrong"], same["right"], same["median_ratio"]) == (1, 1, 1.1)
    assert (more["wrong"], more["right"], more["said"]) == (1, 2, {"different": 2, "alike": 1})


def test_a_load_ends_with_its_block() -> None:
    with pytest.raises(ZeroDivisionError), busy_machine.loaded("import time; time.sleep(60)") as processes:
        assert all(process.poll() is None for process in processes)
        raise ZeroDivisionError
    assert len(processes) == os.cpu_count()
    assert all(process.poll() is not None for process in processes)


def test_the_best_turn_of_training_counts() -> None:
    turns = [
        {
            "beside": beside,
            "setting": name,
            "images_per_second": 9.0 + i,
            "images_per_processor_second": 5.0 - i,
        }
        for beside in busy_training.BESIDE
        for name in busy_training.SETTINGS
        for i in range(2)
    ]
    best = busy_training.best(turns)
    assert len(best) == len(turns) / 2
    assert {(row["images_per_second"], row["images_per_processor_second"]) for row in best} == {(10, 5)}
