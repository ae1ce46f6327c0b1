"""Tables for a terminal: what stands in them, what is left out, and that places never share one."""

import dataclasses
import itertools
from typing import Any

import pytest

from footseg import terminal
from footseg.benchmarks import table
from footseg.benchmarks.measurement import (  # fmt: skip
    ColdStart,
    Energy,
    Instructions,
    Latency,
    Measurement,
    OperatorTime,
    Relative,
    SpeedAgainstPeak,
)
from footseg.runtime import Delegation
from tests.test_measurement import AGREEMENT, a_measurement, android, emulated

FP32 = "ab" * 32
INT8 = "cd" * 32


def named(line: Measurement, name: str, recipe: str, sha256: str, **changes: Any) -> Measurement:
    artifact = dataclasses.replace(
        line.artifact, path=line.artifact.path.with_name(name), recipe=recipe, sha256=sha256
    )
    return dataclasses.replace(line, artifact=artifact, **changes)


def against_fp32(ratio: float, low: float | None, high: float | None) -> Relative:
    return Relative("a_fp32.tflite", FP32, ratio, 96, (), low, high, low and 0.99, 16)


def cells(text: str) -> dict[str, dict[str, str]]:
    """The cells of a table by file and heading, read by position as a person does."""
    lines = text.splitlines()[1:]
    end = next((i for i, line in enumerate(lines) if ":" in line or line.startswith("masks ")), len(lines))
    first = next(i for i, line in enumerate(lines) if line.startswith("file"))
    heads, rows = lines[: first + 1], lines[first + 1 : end]
    width = max(map(len, lines[:end]))
    padded = [line.ljust(width) for line in (*heads, *rows)]
    gaps = [i for i in range(width - 1) if all(line[i : i + 2] == "  " for line in padded)]
    edges = [0, *(gap + 2 for gap in gaps if gap + 1 not in gaps), width]
    split = [[line[a:b].strip() for a, b in itertools.pairwise(edges)] for line in padded]
    names = [" ".join(filter(None, part)) for part in zip(*split[: first + 1], strict=True)]
    return {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in split[first + 1 :]}


def test_a_table_of_this_machine() -> None:
    fp32 = named(a_measurement(), "a_fp32.tflite", "fp32", FP32, relative=against_fp32(1.0, 1.0, 1.0))
    int8 = named(
        a_measurement(), "a_int8.tflite", "int8", INT8, relative=against_fp32(0.512, 0.501, 0.524),
        calibration=SpeedAgainstPeak("float32 512x512", 20.5, (20.0, 21.0), 0.43),
        delegation=Delegation(66, 64, 3),
        latency=Latency.of([10.0, 11.0, 14.0, 15.0]),
    )  # fmt: skip
    text = table.as_table([fp32, int8])
    assert text.splitlines()[0] == "measured on A core, 2 cores, Linux 6, 1 thread"
    found = cells(text)
    assert found["a_fp32.tflite"] == {
        "MB": "7.18", "gzip MB": "6.58", "M MACs": "0.000", "median ms": "5.10", "p90 ms": "5.18",
        "x fp32": "1", "of peak": "-", "cold ms": "29.0", "peak MB": "28.7", "dele- gated": "all",
    }  # fmt: skip
    assert found["a_int8.tflite"]["x fp32"] == "0.51 [0.50, 0.52]"
    assert found["a_int8.tflite"]["of peak"] == "43%"
    assert found["a_int8.tflite"]["dele- gated"] == "64/66 in 3"
    notes = text.splitlines()[5:]
    assert notes == [
        "x fp32: latency over that of a_fp32.tflite, run in turns in 16 fresh starts, with its 99% interval",
        table.PEAK,
        "a_int8.tflite: noisy: the middle half of 4 runs spreads over 28% of the median; let the machine "
        "come to rest and measure",
        "  again",
    ]


@pytest.mark.parametrize(
    ("relative", "shown"),
    [
        (against_fp32(0.512, 0.501, 0.524), "0.51 [0.50, 0.52]"),
        (against_fp32(1.004, 0.98, 1.02), "1.00 [0.98, 1.02] ~"),
        # Two decimals would say [1.00, 1.01], which seems to hold 1.
        (against_fp32(1.004, 1.001, 1.007), "1.004 [1.001, 1.007] ~"),
        (against_fp32(0.9876, None, None), "0.988"),
        (None, "-"),
    ],
)
def test_a_ratio_and_whether_it_is_one(relative: Relative | None, shown: str) -> None:
    line = named(a_measurement(), "b.tflite", "int8", INT8, relative=relative)
    other = named(a_measurement(), "c.tflite", "fp32", "ef" * 32, relative=against_fp32(2.0, 1.9, 2.1))
    assert cells(table.as_table([line, other]))["b.tflite"]["x fp32"] == shown


def test_a_file_against_its_own_copy_shows_what_was_found() -> None:
    base = named(a_measurement(), "a.tflite", "fp32", FP32, relative=against_fp32(1.0, 1.0, 1.0))
    copy = named(a_measurement(), "b.tflite", "fp32", FP32, relative=against_fp32(1.004, 0.98, 1.02))
    text = table.as_table([base, copy])
    found = cells(text)
    assert (found["a.tflite"]["x fp32"], found["b.tflite"]["x fp32"]) == ("1", "1.00 [0.98, 1.02] ~")
    assert "x fp32: latency over that of a_fp32.tflite, run in turns in 16 fresh starts" in text
    assert table.MARKS["alike"] in text
    wide = dataclasses.replace(copy, relative=against_fp32(1.004, 0.9, 1.2))
    text = table.as_table([base, wide])
    assert cells(text)["b.tflite"]["x fp32"] == "1.00 [0.90, 1.20] ?"
    assert table.MARKS["cannot tell"] in text
    assert table.MARKS["alike"] not in text


def test_a_busy_machine_is_said_to_have_been_so() -> None:
    waiting = Latency.of([5.0] * 4, processor_ms=[2.0] * 4)
    text = table.as_table([a_measurement(latency=waiting)])
    assert "a file waited up to 60% of its time for a processor" in text
    assert "waited" not in table.as_table([a_measurement(latency=waiting, threads=2)])
    assert "waited" not in table.as_table([a_measurement()])


def test_what_is_not_fp32_is_not_called_so() -> None:
    first = named(a_measurement(), "a_fp32.tflite", "fp16", FP32, relative=against_fp32(1.0, 1.0, 1.0))
    text = table.as_table(
        [first, named(a_measurement(), "b.tflite", "int8", INT8, relative=against_fp32(2, 1.9, 2.1))]
    )
    assert "x fp32" not in text
    assert "x first: latency over that of a_fp32.tflite" in text


def test_columns_in_which_nobody_looked_are_left_out() -> None:
    bare = a_measurement(relative=None, delegation=None, peak_memory_mb=None, cold_start=None)
    assert table.as_table([bare]).splitlines()[1:] == [
        "                gzip      M  median   p90",
        "file        MB    MB   MACs      ms    ms",
        "a.tflite  7.18  6.58  0.000    5.10  5.18",
    ]


def test_a_table_of_an_emulated_core_holds_no_time() -> None:
    fp32 = named(emulated(), "a_fp32.tflite", "fp32", FP32)
    counts = Instructions("cortex-a76", (80_000_000,), 80_000_000, 32_000_000, 24_000_000, 24_000_000, 0.0)
    agreement = dataclasses.replace(AGREEMENT, pixels_equal=0.9999999, iou=0.92)
    int8 = named(emulated(), "a_int8.tflite", "int8", INT8, instructions=counts, agreement=agreement)
    text = table.as_table([fp32, int8])
    assert (
        text.splitlines()[0]
        == "emulated on Cortex-A76, 1 core, QEMU 7.2.22 user mode, 1 thread: instruction counts, no times"
    )
    assert " ms" not in text
    found = cells(text)
    assert found["a_int8.tflite"] == {
        "MB": "7.18", "M MACs": "0.000", "instruc- tions, M": "80.0", "vector": "40%", "load, store": "30%",
        "other": "30%", "x fp32": "0.200",
        "pixels equal %": "99.9999",  # rounded down: 100 is said only of all
        "IoU there": "0.9200", "IoU here": "0.9300",
    }  # fmt: skip
    assert found["a_fp32.tflite"]["x fp32"] == "1.000"
    assert text.splitlines()[5:] == ["masks compared on 124 images of feet, split test"]  # said once
    all_equal = dataclasses.replace(int8, agreement=dataclasses.replace(AGREEMENT, pixels_equal=1.0))
    assert cells(table.as_table([all_equal]))["a_int8.tflite"]["pixels equal %"] == "100"


def test_a_table_of_a_phone() -> None:
    conditions = {"throttled": True, "notes": ["the battery saver is on"]}
    ours = android(conditions=conditions, relative=against_fp32(0.5, 0.48, 0.53))
    google = android(
        runtime="benchmark_model", energy=None, agreement=None, cold_start=ColdStart(3.25, 1.0),
        latency=Latency.of([5.0], 5, 50),
        conditions={"throttled": False, "notes": ["the battery saver is on"]},
    )  # fmt: skip
    text = table.as_table([named(ours, "a.tflite", "int8", INT8), named(google, "b.tflite", "int8", INT8)])
    found = cells(text)
    assert found["a.tflite"] == {
        "runner": "LiteRT", "MB": "7.18", "median ms": "5.10", "p90 ms": "5.18", "cold ms": "29.0",
        "x fp32": "0.50 [0.48, 0.53]", "peak MB": "28.7", "mJ est.": "12.5", "IoU there": "0.9310",
        "- IoU here": "+0.0010", "throt- tled": "yes",
    }  # fmt: skip
    assert found["b.tflite"]["runner"] == "benchmark_model"
    assert (found["b.tflite"]["mJ est."], found["b.tflite"]["throt- tled"]) == ("-", "-")
    notes = text.splitlines()[5:]
    assert "the battery saver is on" in notes  # of both, said once
    assert "a.tflite: the device throttled while it was measured: times are too long" in notes
    assert "b.tflite: the median is of means over 50 runs" in notes
    assert "a.tflite: mJ are an estimate: an estimate" in notes


def test_places_never_share_a_table() -> None:
    lines = [
        a_measurement(), a_measurement(threads=2), emulated(), android(),
        android(conditions={}),  # not held on the big cores
        android(device={**android().device, "serial": "XYZ"}),
        a_measurement(device={**a_measurement().device, "system": "Linux 7"}),
        a_measurement(),
    ]  # fmt: skip
    lines = [dataclasses.replace(line, profile=()) for line in lines]
    tables = table.as_table(lines).split("\n\n")
    assert len(tables) == 7
    assert len({each.splitlines()[0] for each in tables}) == 7
    assert [each.count("a.tflite  ") for each in tables] == [2, 1, 1, 1, 1, 1, 1]


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    one, two = a_measurement(relative=None), a_measurement(relative=None)
    there = dataclasses.replace(two.artifact, path=two.artifact.path.parent / "deep" / "a.tflite")
    assert "deep/a.tflite" in table.as_table([one, dataclasses.replace(two, artifact=there)])


def test_tables_fit_a_terminal() -> None:
    name = "fast_linknet_256x256_int8w.tflite"
    relative = against_fp32(0.512, 0.501, 0.524)
    phone = android(runtime="benchmark_model", conditions={"throttled": True}, relative=relative)
    host = a_measurement(relative=relative, calibration=android().calibration)
    lines = [named(line, name, "int8", INT8) for line in (host, emulated(), phone)]
    text = table.as_table(lines)
    assert max(map(len, text.splitlines())) <= terminal.WIDTH
    assert f"\n{name} " in text  # whole where there is room for it
    assert "fast_l...int8w.tflite  benchmark_model" in text
    # Names that would look alike stay whole, for all their length.
    twins = [named(phone, f"{end * 40}_int8w.tflite", "int8", INT8) for end in ("a" * 9 + "b", "a" * 9 + "c")]
    assert all(twin.artifact.name in table.as_table(twins) for twin in twins)


def test_operators_from_the_slowest_down() -> None:
    rows = (
        OperatorTime("first", "CONV_2D", 1.0, 20),
        OperatorTime("x" * 100, "CONV_2D", 2.5, 20),
        OperatorTime("last", "ADD", 0.5, 20),
    )
    text = table.profile(a_measurement(profile=rows))
    long = "x" * 13 + "..." + "x" * 28  # shortened to 44
    assert text.splitlines() == [
        "a.tflite, measured on A core, 2 cores, Linux 6, 1 thread: operators, 4.000 ms in all",
        " " * 44 + "                         with those",
        "operator" + " " * 36 + "  kind        ms  share       above",
        long + "  CONV_2D  2.500  62.5%       62.5%",
        "first" + " " * 39 + "  CONV_2D  1.000  25.0%       87.5%",
        "last" + " " * 40 + "  ADD      0.500  12.5%      100.0%",
    ]
    assert table.profile(a_measurement()) == ""
    assert table.as_table([a_measurement(), a_measurement(profile=rows)]).endswith(f"\n\n{text}")


def test_many_operators_are_summed_up_beyond_the_slowest() -> None:
    rows = tuple(OperatorTime(f"op{i}", "ADD", 2.0 if i < 12 else 0.5, 20) for i in range(20))
    lines = table.profile(a_measurement(profile=rows)).splitlines()
    assert len(lines) == 3 + 12 + 1
    assert lines[-1].split() == ["8", "others", "4.000", "14.3%", "100.0%"]


def test_energy_is_called_an_estimate() -> None:
    text = table.as_table([android(energy=Energy(0.0123, 30.0, "the whole phone's"))])
    assert cells(text)["a.tflite"]["mJ est."] == "0.0123"
    assert "mJ are an estimate: the whole phone's" in text
    text = table.as_table([android(energy=Energy(0.0123, 30.0, "an estimate, of the whole phone"))])
    assert "mJ are an estimate: of the whole phone" in text
