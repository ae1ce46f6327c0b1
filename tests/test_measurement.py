"""A measurement is one line that reads back as it was written, and a broken line is named."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from benchmarks import measurement, table
from benchmarks.measurement import ColdStart, Latency, Measurement, Relative
from footseg.artifact import Artifact
from footseg.errors import FootsegError
from footseg.runtime import Delegation


def a_measurement(**changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "kind": "measured",
        "created": "2025-01-01T00:00:00+00:00",
        "device": {"cpu": "A core", "cores": 2, "architecture": "x86_64", "system": "Linux 6"},
        "artifact": Artifact(
            Path("a.tflite"), "tflite", "ab" * 32, "fast_linknet", {"width": 1.0}, (1, 64, 64, 3)
        ),
        "runtime": "LiteRT",
        "runtime_version": "2.3.0",
        "threads": 1,
        "latency": Latency.of([5.0, 5.1, 5.2], 10),
        "cold_start": ColdStart(20.0, 9.0),
        "peak_memory_mb": 28.7,
        "file_bytes": 7_176_132,
        "gzip_bytes": 6_582_322,
        "cost": {"parameters": 9, "macs": 1, "flops": 2, "flops_tf_benchmark": 2, "uncounted": ["ADD"]},
        "delegation": Delegation(66, 66, 1),
        "relative": Relative("a.tflite", "ab" * 32, 1.0, 3, (0.9, 1.0, 1.1)),
        "zstd_bytes": 6_412_119,
        "versions": {"python": "3.11"},
    }
    return Measurement(**{**fields, **changes})


def test_latency_by_hand() -> None:
    # Quartiles of 1..9 are 3, 5 and 7; the 90th percentile lies a fifth of the way from 8 to 9.
    latency = Latency.of([float(i) for i in range(9, 0, -1)], 4)
    assert (latency.median_ms, latency.spread, latency.warmup_runs) == (5, 4 / 5, 4)
    assert latency.p90_ms == pytest.approx(8.2, abs=1e-12)  # interpolation rounds in the last place
    assert latency.samples_ms[0] == 9  # in the order they were made


def test_noise_is_said_aloud() -> None:
    still, shaken = Latency.of([10.0, 10.1, 10.2, 10.3]), Latency.of([10.0, 11.0, 14.0, 15.0])
    assert not still.noisy
    assert still.note == ""
    assert shaken.noisy
    assert "measure again" in shaken.note


@pytest.mark.parametrize("samples", [[], [1.0, 0.0], [1.0, float("nan")]])
def test_latency_refuses_what_is_no_sample(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="positive samples"):
        Latency.of(samples)


def test_a_line_from_before_zstd_and_rounds_still_reads(tmp_path: Path) -> None:
    old = a_measurement().to_json()
    del old["zstd_bytes"], old["relative"]["ratios"]
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(old))
    found = measurement.read_all(path)[0]
    assert found.zstd_bytes is None
    assert found.relative == Relative("a.tflite", "ab" * 32, 1.0, 3)
    assert table.as_table([found]).splitlines()[1].split()[3] == "-"


@pytest.mark.parametrize("changes", [{}, {"delegation": None, "relative": None}])
def test_a_line_reads_back_as_it_was_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    first, second = a_measurement(**changes), a_measurement(threads=2)
    measurement.append_line(path, first)
    measurement.append_line(path, second)
    assert measurement.read_all(path) == [first, second]
    assert len(path.read_text().splitlines()) == 2


def test_a_line_does_not_tell_where_the_file_lay(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    measurement.append_line(path, a_measurement(artifact=Artifact(Path("/home/me/a.tflite"), "tflite", "cd")))
    assert "/home/me" not in path.read_text()
    assert measurement.read_all(path)[0].artifact.name == "a.tflite"


def test_writers_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    long = a_measurement(latency=Latency.of([5.0] * 2000))
    writers = [
        threading.Thread(target=lambda: [measurement.append_line(path, long) for _ in range(5)])
        for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert measurement.read_all(path) == [long] * 20


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"schema": 1, "kind":', "line 2"),
        ("[]", "not a JSON object"),
        (json.dumps(a_measurement().to_json() | {"schema": 2}), "its schema is 2"),
        (json.dumps(a_measurement().to_json() | {"surprise": 1}), "surprise"),
        (json.dumps({"schema": 1}), "no field 'artifact'"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, word: str) -> None:
    path = tmp_path / "results.jsonl"
    measurement.append_line(path, a_measurement())
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(FootsegError, match="line 2 is not a measurement") as error:
        measurement.read_all(path)
    assert word in str(error.value)


def test_no_results_say_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match="footseg bench"):
        measurement.read_all(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(FootsegError, match="holds no measurement"):
        measurement.read_all(tmp_path / "empty.jsonl")


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.jsonl"
    measurement.append_line(path, a_measurement())
    before, write = path.read_bytes(), measurement.os.write
    monkeypatch.setattr(measurement.os, "write", lambda file, data: write(file, data[:100]))
    with pytest.raises(FootsegError, match="disk is full"):
        measurement.append_line(path, a_measurement())
    monkeypatch.undo()
    assert path.read_bytes() == before


def test_table_aligns_and_repeats_the_word_on_noise() -> None:
    plain = a_measurement(delegation=None, relative=None)
    shaken = a_measurement(latency=Latency.of([10.0, 11.0, 14.0, 15.0]))
    head, first, second, note = table.as_table([plain, shaken]).splitlines()
    assert head.split()[:2] == ["file", "MB"]
    assert first.split() == [
        "a.tflite",
        "7.18",
        "6.58",
        "6.41",
        "0.0",
        "5.100",
        "5.180",
        "-",
        "20.0",
        "9.0",
        "28.7",
        "-",
    ]
    assert second.split()[7:] == ["1.00", "20.0", "9.0", "28.7", "66/66", "in", "1"]
    assert head.index("median ms") + len("median ms") == first.index("5.100") + len("5.100")
    assert note.startswith("a.tflite: noisy")
