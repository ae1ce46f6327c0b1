"""The gate: figures worked out by hand, what must not be compared, and how often noise alone closes it."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import comparison
from footseg.benchmarks import busy, gate, gate_table, results_file
from footseg.benchmarks.gate import Gate, Verdict
from footseg.benchmarks.measurement import (
    Agreement,
    Instructions,
    Latency,
    Measurement,
    Relative,
    SpeedAgainstPeak,
)
from footseg.errors import FootsegError
from tests.test_measurement import AGREEMENT, FIRST_LINE, a_measurement, android, emulated

FP32, INT8 = "32" * 32, "08" * 32


def named(line: Measurement, name: str, recipe: str, sha256: str, **changes: Any) -> Measurement:
    artifact = dataclasses.replace(line.artifact, path=Path(name), recipe=recipe, sha256=sha256)
    return dataclasses.replace(line, artifact=artifact, **changes)


def int8(
    ratio: float = 0.5, low: float | None = None, high: float | None = None, **changes: Any
) -> Measurement:
    """A file run in turns with the fp32 one; its interval is 1 % to each side unless given."""
    low, high = low or ratio / 1.01, high or ratio * 1.01
    relative = Relative("a_fp32.tflite", FP32, ratio, 96, (), low, high, 0.99, 16)
    return named(a_measurement(relative=relative, **changes), "a_int8.tflite", "int8", INT8)


def alone(latencies: list[float], gflops: list[float], **changes: Any) -> Measurement:
    """A file that was run in turns with no other."""
    calibration = SpeedAgainstPeak("float32 512x512", float(np.median(gflops)), tuple(gflops), 0.4)
    return a_measurement(relative=None, latency=Latency.of(latencies), calibration=calibration, **changes)


def counted(total: int, spread: float = 0.0, **changes: Any) -> Measurement:
    instructions = Instructions("cortex-a76", (total,), total, 0, 0, total, spread)
    return emulated(instructions=instructions, agreement=None, **changes)


def only(found: Gate, what: str) -> Verdict:
    verdicts = [verdict for verdict in found.verdicts if verdict.what == what]
    assert len(verdicts) == 1, gate_table.as_text(found)
    return verdicts[0]


# --- ratios of files run in turns ----------------------------------------------------------------


def test_intervals_of_two_ratios_are_joined_in_logarithms() -> None:
    then, now = int8(0.50, 0.49, 0.52), int8(0.55, 0.53, 0.56)
    verdict = only(gate.check([now], [then]), "latency ratio")
    # By hand: to the lower end it is how low now and how high then may be, as squares; else the other way.
    down = math.hypot(math.log(0.55 / 0.53), math.log(0.52 / 0.50))
    up = math.hypot(math.log(0.56 / 0.55), math.log(0.50 / 0.49))
    assert (verdict.then, verdict.now) == (0.50, 0.55)
    # 1e-12: logarithms and back
    assert verdict.ratio == pytest.approx(1.1, rel=1e-12)
    assert verdict.low == pytest.approx(1.1 * math.exp(-down), rel=1e-12)
    assert verdict.high == pytest.approx(1.1 * math.exp(up), rel=1e-12)
    assert f"{verdict.low:.3f} {verdict.high:.3f}" == "1.042 1.130"
    assert (verdict.outcome, verdict.failed) == ("cannot tell", False)
    assert only(gate.check([now], [then], allow=1.04), "latency ratio").outcome == "worse"


@pytest.mark.parametrize(
    ("ratio", "outcome"),
    [(0.5, "ok"), (0.51, "ok"), (0.52, "cannot tell"), (0.54, "worse"), (0.45, "better")],
)
def test_worse_is_what_lies_beyond_with_all_of_its_interval(ratio: float, outcome: str) -> None:
    # 1 % each is 1.41 % together: 1.035 to 1.065 straddles the 1.05 allowed.
    found = gate.check([int8(ratio)], [int8(0.5)])
    assert only(found, "latency ratio").outcome == outcome
    assert found.ok == (outcome != "worse")


def test_a_heated_or_newer_machine_is_no_matter_where_files_ran_in_turns() -> None:
    slow = int8(0.5, latency=Latency.of([50.0] * 20), device={**a_measurement().device, "system": "Linux 7"})
    assert only(gate.check([slow], [int8(0.5)]), "latency ratio").outcome == "ok"


def test_another_file_to_hold_it_against_is_no_baseline() -> None:
    then = int8()
    assert then.relative
    then = dataclasses.replace(then, relative=dataclasses.replace(then.relative, to="b_fp32.tflite"))
    found = gate.check([int8()], [then])
    verdict = only(found, "latency ratio")
    assert (verdict.outcome, verdict.failed, found.ok) == ("no baseline", True, False)
    assert "against b_fp32.tflite" in verdict.note


def test_a_ratio_without_an_interval_tells_nothing() -> None:
    then = int8()
    assert then.relative
    then = dataclasses.replace(then, relative=dataclasses.replace(then.relative, low=None, high=None))
    found = gate.check([int8(0.9)], [then])
    verdict = only(found, "latency ratio")
    assert (verdict.outcome, verdict.ratio, found.ok) == ("cannot tell", None, True)
    assert "measure the baseline again" in verdict.note


# --- a file by itself ----------------------------------------------------------------------------


def test_a_file_by_itself_is_held_against_the_matrix_product() -> None:
    # Half the speed in both: the machine of that day. The fastest fifteen 1 % before the rest.
    then = alone([10.0] * 5 + [10.1] * 15, [20.0] * 20)
    now = alone([22.0] * 5 + [22.22] * 15, [10.0] * 20)
    verdict = only(gate.check([now], [then]), "latency, ms")
    assert (verdict.then, verdict.now) == (10.1, 22.22)
    assert verdict.ratio == pytest.approx(1.1, rel=1e-12)
    # 2.5758 is the normal quantile of 99 %.
    width = math.sqrt(2 * math.log(1.01) ** 2 + 2 * (2.575829 * gate.START) ** 2)
    assert verdict.low == pytest.approx(1.1 * math.exp(-width), rel=1e-6)  # of the quantile's digits
    assert verdict.high == pytest.approx(1.1 * math.exp(width), rel=1e-6)
    assert "20 GFLOP/s then and 10 now" in verdict.note


def test_the_file_that_others_are_held_against_is_compared_by_itself() -> None:
    own = Relative("a.tflite", "ab" * 32, 1.0, 96, (), 1.0, 1.0, 0.99, 16)
    then = dataclasses.replace(alone([10.0] * 20, [20.0] * 20), relative=own)
    now = dataclasses.replace(alone([11.5] * 20, [20.0] * 20), relative=own)
    assert only(gate.check([now], [then]), "latency, ms").outcome == "worse"


def test_a_file_compared_alone_now_is_compared_by_itself_and_that_is_said() -> None:
    quiet = alone([10.0] * 20, [20.0] * 20)
    then = dataclasses.replace(int8(), calibration=quiet.calibration, latency=quiet.latency)
    now = dataclasses.replace(then, relative=None)
    found = gate.check([now], [then])
    assert only(found, "latency, ms").outcome == "ok"
    assert found.not_measured == ("latency of a_int8.tflite over that of a_fp32.tflite",)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"calibration": None}, "no matrix product"),
        ({"latency": Latency.of([10.0])}, "too few samples"),
        ({"conditions": {"throttled": True}}, "throttled"),
        ({"device": {**a_measurement().device, "serial": "B"}}, "another phone of this model"),
    ],
)
def test_latencies_that_cannot_be_compared(changes: dict[str, Any], word: str) -> None:
    then = alone([10.0] * 20, [20.0] * 20, device={**a_measurement().device, "serial": "A"})
    found = gate.check([dataclasses.replace(then, **changes)], [then])
    verdict = only(found, "latency, ms")
    assert (verdict.outcome, verdict.ratio, found.ok) == ("cannot tell", None, True)
    assert word in verdict.note


# --- a machine that had other work ---------------------------------------------------------------


def beside(share: float, latencies: list[float], waited: float, **changes: Any) -> Measurement:
    """As ``alone``, of processor time ``latencies``; the file waited the ``waited`` share of its time."""
    walls = [ms / (1 - waited) for ms in latencies]
    line = alone(walls, [20.0] * 20, **changes)
    return dataclasses.replace(line, latency=Latency.of(walls, processor_ms=[share * ms for ms in latencies]))


@pytest.mark.parametrize(
    ("ms", "waited_now", "waited_then", "outcome"),
    [
        (10.0, 0.6, 0.0, "ok"),  # 2.5 times as long by the clock on the wall
        (11.5, 0.0, 0.0, "worse"),
        (11.5, 0.6, 0.0, "cannot tell"),  # neighbours in the caches may have done that: 1.25
        (14.0, 0.6, 0.0, "worse"),  # but not that
        (10.0, 0.0, 0.6, "cannot tell"),  # then it may have been slowed, and is slower now
        (11.5, 0.0, 0.6, "worse"),
        (8.0, 0.6, 0.0, "better"),
        (8.0, 0.0, 0.6, "ok"),
    ],
)
def test_other_work_counts_as_far_as_it_reaches(
    ms: float, waited_now: float, waited_then: float, outcome: str
) -> None:
    found = gate.check([beside(1, [ms] * 20, waited_now)], [beside(1, [10.0] * 20, waited_then)])
    verdict = only(found, "latency, ms")
    assert verdict.outcome == outcome
    assert ("had other work" in verdict.note) is bool(waited_now or waited_then)
    assert found.undecided is (outcome == "cannot tell")


def test_two_threads_have_what_they_had_at_the_better_time() -> None:
    """1.8 processors on an idle machine, 0.9 of them beside others: by the wall that tells nothing."""
    idle = beside(1.8, [10.0] * 20, 0.0, threads=2)
    waiting = beside(1.8, [10.0] * 20, 0.5, threads=2)
    assert (busy.waited(waiting), busy.waited(waiting, idle), busy.waited(idle, waiting)) == (0, 0.5, 0)
    for now, then in ((waiting, idle), (idle, waiting)):
        verdict = only(gate.check([now], [then]), "latency, ms")
        assert (verdict.outcome, verdict.ratio) == ("cannot tell", None)
        assert "waited 50% of its time: measure again" in verdict.note


def test_a_stored_line_without_processor_time_tells_nothing_of_a_busy_machine() -> None:
    old = alone([10.0] * 20, [20.0] * 20)
    assert only(gate.check([beside(1, [10.0] * 20, 0.6)], [old]), "latency, ms").outcome == "cannot tell"
    assert only(gate.check([beside(1, [10.0] * 20, 0.0)], [old]), "latency, ms").outcome == "ok"


@pytest.mark.parametrize(
    ("ratio", "waited", "outcome"),
    [
        (0.5, 0.0, "ok"),
        (0.56, 0.0, "worse"),
        (0.5, 0.6, "cannot tell"),
        (0.56, 0.6, "cannot tell"),
        (0.7, 0.6, "worse"),
    ],
)
def test_neighbours_may_slow_one_file_of_two(ratio: float, waited: float, outcome: str) -> None:
    now = int8(ratio, latency=beside(1, [10.0] * 20, waited).latency)
    verdict = only(gate.check([now], [int8(0.5)]), "latency ratio")
    assert verdict.outcome == outcome
    assert ("had other work" in verdict.note) is bool(waited)


# --- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "allow", "outcome"),
    [
        (1_049_000_000, 1.05, "ok"), (1_050_000_000, 1.05, "cannot tell"), (1_051_000_000, 1.05, "worse"),
        (1_000_010_000, 1.00, "cannot tell"), (1_001_000_000, 1.0001, "worse"), (900_000_000, 1.05, "better"),
    ],
)  # fmt: skip
def test_instructions_repeat(total: int, allow: float, outcome: str) -> None:
    # Both repeat to 1e-5, and so 2e-5 of the quotient is noise.
    found = gate.check([counted(total, 1e-5)], [counted(1_000_000_000, 1e-5)], allow=allow)
    assert only(found, "instructions").outcome == outcome


def test_instructions_that_repeat_exactly_are_plain_ratios() -> None:
    verdict = only(gate.check([counted(1050)], [counted(1000)]), "instructions")
    assert (verdict.outcome, verdict.then, verdict.now) == ("ok", 1000, 1050)
    assert verdict.ratio == verdict.low == verdict.high == pytest.approx(1.05, rel=1e-12)
    assert only(gate.check([counted(1051)], [counted(1000)]), "instructions").outcome == "worse"


def test_instructions_of_another_runtime_are_not_compared() -> None:
    found = gate.check([counted(1000, runtime_version="2.4.0")], [counted(1000)])
    verdict = only(found, "instructions")
    assert (verdict.outcome, verdict.failed, found.ok) == ("no baseline", True, False)
    assert "2.3.0 then and 2.4.0 now" in verdict.note


def test_bytes_are_counted_once_for_each_file_and_anywhere() -> None:
    cost = {**a_measurement().cost, "peak_activation_bytes": 1000}
    then = a_measurement(cost=cost, gzip_bytes=1000)
    now = a_measurement(cost={**cost, "peak_activation_bytes": 1100}, gzip_bytes=1050, threads=2)
    found = gate.check([now, now], [then])
    assert {v.what: v.outcome for v in found.verdicts if v.what != "all"} == {
        "file bytes": "ok", "gzip bytes": "ok", "peak activation bytes": "worse",
    }  # fmt: skip
    assert only(found, "peak activation bytes").ratio == pytest.approx(1.1, rel=1e-12)
    assert not found.ok


# --- accuracy ------------------------------------------------------------------------------------


def agreeing(**changes: Any) -> Measurement:
    return emulated(agreement=dataclasses.replace(AGREEMENT, **changes))


@pytest.mark.parametrize(
    ("name", "then", "now", "outcome"),
    [
        ("iou", 0.930, 0.925, "ok"), ("iou", 0.930, 0.9249, "worse"), ("iou", 0.93, 0.94, "better"),
        ("pixels_equal", 0.99999, 0.9999, "ok"), ("pixels_equal", 0.99999, 0.9998, "worse"),
        ("pixels_equal", 1.0, 1.0, "ok"),
    ],
)  # fmt: skip
def test_accuracy_on_the_device(name: str, then: float, now: float, outcome: str) -> None:
    found = gate.check([agreeing(**{name: now})], [agreeing(**{name: then})])
    verdict = only(found, {"iou": "IoU on the device", "pixels_equal": "pixels equal"}[name])
    assert (verdict.then, verdict.now, verdict.outcome, verdict.ratio) == (then, now, outcome, None)
    assert found.ok == (outcome != "worse")


def test_the_loss_of_iou_allowed_is_the_callers() -> None:
    now, then = agreeing(iou=0.91), agreeing(iou=0.93)
    assert gate.check([now], [then], allow_iou=0.02).ok
    assert not gate.check([now], [then], allow_iou=0.019).ok


def test_accuracy_on_other_images_is_not_compared() -> None:
    found = gate.check([agreeing(images=8)], [agreeing()])
    verdict = only(found, "IoU on the device")
    assert (verdict.outcome, verdict.failed, found.ok) == ("no baseline", True, False)
    assert "feet/test, 124 images" in verdict.note


def test_accuracy_that_nobody_measured_now_is_named() -> None:
    found = gate.check([emulated(agreement=None)], [emulated()])
    assert found.ok
    assert found.not_measured == ("accuracy of a.tflite on the device",)
    masks_only = Agreement("feet", "test", 124, 0.99998)  # nothing to score
    assert gate.check([emulated(agreement=masks_only)], [emulated(agreement=masks_only)]).ok


# --- what belongs together -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"device": {**a_measurement().device, "cpu": "B core"}},
        {"device": {**a_measurement().device, "cores": 4}},
        {"device": android().device},
        {"threads": 4},
        {"runtime": "benchmark_model"},
        {"conditions": {"pinned_cores": [0]}},
    ],
)
def test_a_baseline_from_elsewhere_is_a_failure_to_check(elsewhere: dict[str, Any]) -> None:
    found = gate.check([a_measurement()], [a_measurement(**elsewhere)])
    verdict = only(found, "all")
    assert (verdict.outcome, verdict.failed, found.ok) == ("no baseline", True, False)
    assert "the baseline has it only from" in verdict.note
    assert {v.outcome for v in found.verdicts if v.what != "all"} == {"ok"}  # the bytes, which are the file's


def test_counts_are_no_baseline_for_a_clock() -> None:
    assert not gate.check([a_measurement()], [emulated()]).ok


def test_new_files_have_nothing_to_compare_with_and_old_ones_are_named() -> None:
    new = named(a_measurement(), "new.tflite", "int8", INT8)
    old = named(a_measurement(), "old.tflite", "fp32", FP32)
    found = gate.check([a_measurement(), new], [a_measurement(), old, old])
    assert found.ok
    assert only(found, "all").file == "new.tflite"
    assert only(found, "all").outcome == "no baseline"
    assert found.not_measured == ("old.tflite",)
    assert "in the baseline, not measured now: old.tflite" in gate_table.as_text(found)


@pytest.mark.parametrize("recipe", ["fp32", ""])
def test_a_file_replaced_by_one_of_another_recipe_is_not_new(recipe: str) -> None:
    fp32 = named(a_measurement(relative=None), "a_fp32.tflite", "fp32", FP32)
    small = named(a_measurement(relative=None, file_bytes=2_000_000), "a_int8.tflite", "int8", INT8)
    replaced = named(a_measurement(relative=None, file_bytes=7_000_000), "a_int8.tflite", recipe, FP32)
    found = gate.check([fp32, replaced], [fp32, small])
    assert [v.what for v in found.verdicts if v.outcome == "worse"] == ["file bytes"]
    assert not found.ok
    # Two recipes under one name, as in two folders, are two files.
    both = [named(a_measurement(relative=None), "a.tflite", kind, kind) for kind in ("fp32", "int8")]
    assert {v.outcome for v in gate.check(both, both[:1]).verdicts if v.what == "all"} == {"no baseline"}


def test_a_gate_that_compares_nothing_is_closed() -> None:
    new = named(a_measurement(), "new.tflite", "int8", INT8)
    found = gate.check([new], [a_measurement()])
    assert not found.ok
    assert "nothing was compared: measure a file that the baseline has" in gate_table.as_text(found)


def test_of_several_lines_the_last_of_the_very_file_counts() -> None:
    twin = named(counted(500), "a.tflite", "", INT8)  # the same name, another file
    found = gate.check([counted(1000)], [counted(100), counted(1000), twin])
    assert only(found, "instructions").then == 1000
    retrained = named(counted(1000), "a.tflite", "", "99" * 32)
    assert only(gate.check([retrained], [counted(100), twin]), "instructions").then == 500


def test_an_old_line_is_a_baseline_too() -> None:
    first = Measurement.from_json(FIRST_LINE)
    now = dataclasses.replace(first, schema=2, file_bytes=first.file_bytes * 2)
    found = gate.check([now], [first])
    assert only(found, "file bytes").outcome == "worse"
    assert only(found, "latency, ms").outcome == "cannot tell"


# --- limits, text, files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"measured": []}, "one line or more"), ({"baseline": []}, "one line or more"),
        ({"allow": 0.95}, "1 or more"), ({"allow": math.nan}, "1 or more"),
        ({"allow": math.inf}, "1 or more"),
        ({"allow_iou": -0.1}, "between 0 and 1"), ({"allow_iou": math.nan}, "between 0 and 1"),
    ],
)  # fmt: skip
def test_wrong_limits_are_refused(tmp_path: Path, arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        gate.check(**{"measured": [a_measurement()], "baseline": [a_measurement()], **arguments})
    if set(arguments) & {"allow", "allow_iou"}:
        with pytest.raises(ValueError, match=word):  # before the file is opened, and anything measured
            gate.baseline(tmp_path / "none.jsonl", **arguments)


def test_a_baseline_does_not_follow_what_it_guards(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    results_file.append_line(path, a_measurement())
    assert gate.baseline(path, out=tmp_path / "new.jsonl") == [a_measurement()]
    with pytest.raises(ValueError, match="give --out another name"):
        gate.baseline(path, out=tmp_path / "deep" / ".." / "baseline.jsonl")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "no such file"), ("", "holds no measurement"), ("a,b\n1,2\n", "line 1 is not a measurement"),
        ("\x89PNG", "line 1"), (json.dumps(a_measurement().to_json() | {"schema": 9}), "its schema is 9"),
        (json.dumps({"results": []}), "its schema is None"),
    ],
)  # fmt: skip
def test_what_is_no_baseline_is_one_clear_line(tmp_path: Path, text: str | None, word: str) -> None:
    path = tmp_path / "baseline.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FootsegError) as error:
        gate.baseline(path)
    assert word in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_text_and_json_say_the_same() -> None:
    fp32 = named(alone([10.0] * 20, [20.0] * 20), "a_fp32.tflite", "fp32", FP32)
    found = gate.check([fp32, int8(0.6), counted(1000)], [fp32, int8(0.5), counted(1000)])
    lines = gate_table.as_text(found).splitlines()
    assert lines[0] == "gate FAILED: 1 worse, 8 ok"
    rows = [re.split(r"  +", line.strip()) for line in lines]
    assert ["WORSE", "a_int8.tflite", "latency ratio", "0.5", "0.6", "1.20 [1.18, 1.22]", "1.05"] in rows
    assert ["ok", "a.tflite", "instructions", "1000", "1000", "1", "1.05"] in rows
    assert "A core, x86_64, 2 cores, LiteRT, 1 thread" in lines
    assert "latency ratio: over the latency of a_fp32.tflite, run in turns" in gate_table.as_text(found)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["ok"] is False
    assert [v["file"] for v in document["verdicts"] if v["outcome"] == "worse"] == ["a_int8.tflite"]
    assert set(document["verdicts"][0]) >= {
        "what", "file", "then", "now", "ratio", "low", "high", "allowed", "outcome",
    }  # fmt: skip


# --- noise ---------------------------------------------------------------------------------------
#
# Noise like that which was measured: log ratios of starts with a standard deviation of 0.4 %, one in ten
# disturbed tenfold, rounds of 1 %. By itself a file's runs are lengthened by what comes between.

TRIALS = 200


def in_turns(random: np.random.Generator, ratio: float) -> Measurement:
    """A comparison as bench makes it: 16 starts, 3 rounds each."""
    starts = 0.004 * random.standard_normal(16) * np.where(random.random(16) < 0.1, 10, 1)
    rounds = ratio * np.exp(starts[:, None] + 0.01 * random.standard_normal((16, 3)))
    found = comparison.interval(rounds.tolist())
    return int8(found.ratio, found.low, found.high)


def by_itself(random: np.random.Generator, ms: float) -> Measurement:
    """400 runs and 20 products on a machine whose speed differs by a tenth from day to day."""
    day = math.exp(0.1 * random.standard_normal())
    start = math.exp(0.005 * random.standard_normal())

    busy = random.random() / 2

    def disturbed(count: int) -> Any:
        """Times: each longer by about 1 %, and in spells of ten by a third, some more, some less."""
        spells = np.repeat(random.random(count // 10) < busy, 10)
        return 1 + np.abs(0.01 * random.standard_normal(count)) + spells * random.exponential(0.33, count)

    return alone((ms * day * start * disturbed(400)).tolist(), (20 / day / disturbed(20)).tolist())


@pytest.mark.parametrize("measure", [in_turns, by_itself])
def test_noise_alone_seldom_closes_the_gate_and_a_tenth_does(measure: Any) -> None:
    random = np.random.default_rng(0)
    closed = strict = found = 0
    for _ in range(TRIALS):
        then, now, slower = measure(random, 2.0), measure(random, 2.0), measure(random, 2.2)
        closed += not gate.check([now], [then]).ok
        strict += not gate.check([now], [then], allow=1.0).ok
        found += not gate.check([slower], [then]).ok
    assert closed <= 0.01 * TRIALS
    assert strict <= 0.05 * TRIALS  # even where nothing is allowed
    assert found >= 0.8 * TRIALS
