"""Files are measured in a process of their own, and whatever happens to it comes back as one line."""

import gzip
import os
import signal
import sys
from pathlib import Path

import pytest

from benchmarks import host
from footseg.errors import FootsegError

ONNX_SIDE = 32


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmentation network of one 1x1 convolution between two transpositions, as exports have them."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
        helper.make_node("Transpose", ["y"], ["logits"], perm=[0, 2, 3, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", floats, (1, ONNX_SIDE, ONNX_SIDE, 3))],
        [helper.make_tensor_value_info("logits", floats, (1, ONNX_SIDE, ONNX_SIDE, 2))],
        [helper.make_tensor("w", floats, (2, 3, 1, 1), [0.5] * 6)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("host") / "tiny.onnx"
    onnx.save(model, path)
    return path


def test_measure_fills_every_field(onnx_file: Path) -> None:
    found = host.measure(onnx_file, threads=1, runs=20, min_seconds=0)
    assert (found.kind, found.runtime, found.threads) == ("measured", "ONNX Runtime", 1)
    assert len(found.latency.samples_ms) == 20
    assert 0 < found.latency.median_ms <= found.latency.p90_ms
    assert 5 <= found.latency.warmup_runs <= 50
    assert found.cold_start.load_ms > 0
    assert found.cold_start.first_inference_ms > 0
    assert found.file_bytes == onnx_file.stat().st_size > found.gzip_bytes > 0
    assert found.gzip_bytes == len(gzip.compress(onnx_file.read_bytes(), 9, mtime=0))
    assert 0 < (found.zstd_bytes or 0) < found.file_bytes
    assert found.cost["macs"] == ONNX_SIDE * ONNX_SIDE * 2 * 3
    assert found.delegation is None
    assert found.device["cores"] >= 1
    # The file holds six weights; a parent's memory, or the runtime's import, would be tens of MB.
    # (ONNX Runtime's own arenas and thread pool take a few.)
    assert 0 < found.peak_memory_mb < 30


def test_min_seconds_makes_more_runs(onnx_file: Path) -> None:
    found = host.measure(onnx_file, runs=5, min_seconds=0.2, max_warmup=5)
    assert len(found.latency.samples_ms) > 5
    assert len(found.latency.samples_ms) % 5 == 0


def test_peak_memory_is_not_the_parents(onnx_file: Path) -> None:
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert host.measure(onnx_file, runs=1, min_seconds=0).peak_memory_mb < 30


def test_compare_runs_in_turns_and_knows_a_file_from_itself(onnx_file: Path) -> None:
    base, same = host.compare([onnx_file, onnx_file], rounds=9)
    assert base.ratio == 1
    assert (same.to, same.rounds) == ("tiny.onnx", 9)
    assert base.ratios == (1.0,) * 9
    assert same.ratio == sorted(same.ratios)[4]
    # Microseconds of work beside a busy neighbour: within a factor of two is all that always holds.
    assert 0.5 < same.ratio < 2


def test_measure_all_compares_with_the_first(onnx_file: Path) -> None:
    alone = host.measure_all([onnx_file], runs=2, min_seconds=0)
    assert alone[0].relative is None
    both = host.measure_all([onnx_file, onnx_file], rounds=2, runs=2, min_seconds=0)
    assert [m.relative.rounds for m in both if m.relative] == [2, 2]


def test_what_cannot_be_measured_is_one_line(onnx_file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(onnx_file.read_bytes()[:100])
    half = tmp_path / "half.tflite"
    half.write_bytes(b"\x1c\0\0\0TFL3" + bytes(500))
    for path, word in [(cut, "cut.onnx"), (half, "half.tflite"), (tmp_path / "no.onnx", "no such file")]:
        with pytest.raises(FootsegError, match=word) as error:
            host.measure(path)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="threads and runs"):
        host.measure(onnx_file, threads=0)
    with pytest.raises(ValueError, match="two paths"):
        host.compare([onnx_file])


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (
            "import os, sys; print('so it ends', file=sys.stderr, flush=True); os.kill(os.getpid(), 11)",
            "SIGSEGV",
        ),
        ("import os, sys; print('so it ends', file=sys.stderr, flush=True); os._exit(9)", "exit code 9"),
    ],
)
def test_a_crash_names_signal_and_last_words(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, word: str
) -> None:
    """A stand-in for Python that dies as a native library would."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(FootsegError, match=word) as error:
        host.measure(onnx_file)
    assert "so it ends" in str(error.value)


def test_a_death_between_two_requests_is_told(onnx_file: Path) -> None:
    with host._worker(onnx_file, 1) as worker:
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        with pytest.raises(FootsegError, match="SIGKILL"):
            worker.run(1)
