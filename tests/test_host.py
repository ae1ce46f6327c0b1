"""Files are measured in processes of their own, and whatever happens to one comes back as one line."""

import gzip
import itertools
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from footseg import runtime
from footseg.benchmarks import fresh, host, profiles
from footseg.benchmarks.experiments import trials
from footseg.benchmarks.profiles import own_names
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
    # The clock on the wall runs around that of the processor: one thread has no more than a whole one.
    assert 0 < (found.latency.processors or 0) <= 1
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
    calibration = found.calibration
    assert calibration.what.startswith("float32 matrix product 512x512x512 on one thread")
    assert len(calibration.samples_gflops) == 20
    assert calibration.gflops == statistics.median(calibration.samples_gflops) > 1
    # GFLOP in a second: those of the file's MACs over those of the matrices.
    reached = 2 * 32 * 32 * 2 * 3 / (statistics.median(found.latency.processor_ms) * 1e-3) / 1e9
    assert calibration.share == pytest.approx(reached / calibration.gflops)
    assert (found.profile, found.conditions) == ((), {})


def test_the_cold_start_is_the_median_of_fresh_processes() -> None:
    hellos = [{"load_ms": load, "first_inference_ms": load / 2, "runtime": "x"} for load in (9.0, 5.0, 6.0)]
    assert host._cold_start(hellos) == host.ColdStart(6.0, 3.0)


def test_pinned_to_a_core(onnx_file: Path) -> None:
    core = min(os.sched_getaffinity(0))
    with fresh.worker(onnx_file, 1, [core]) as worker:
        assert os.sched_getaffinity(worker._process.pid) == {core}
    assert host.measure(onnx_file, runs=1, min_seconds=0, pin=[core]).conditions == {"pinned_cores": [core]}
    with pytest.raises(ValueError, match=r"pin \[4096\]: the cores that can be used here are"):
        host.measure(onnx_file, pin=[4096])
    with pytest.raises(ValueError, match=r"by number, as 0-3 or 0,2; got 'big'"):
        host.measure_all([onnx_file], pin="big")


def test_profile_of_onnx_runtime_has_each_node(onnx_file: Path) -> None:
    found = host.measure(onnx_file, runs=5, min_seconds=0, profile=True).profile
    # The first transposition of three may be merged into the convolution, or more be added around it.
    assert "Conv" in [step.op for step in found]
    assert {step.runs for step in found} == {5}
    assert all(step.ms >= 0 for step in found)


def test_a_profile_whose_inferences_differ_is_refused(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the times of one operator would be taken for another's."""
    one, two = [("a", "Conv", 1.0)], [("a", "Conv", 1.0), ("b", "Relu", 2.0)]
    monkeypatch.setattr(profiles, "_onnx_runtime", lambda model, threads, runs: iter([two, one]))
    with pytest.raises(FootsegError, match=r"tiny\.onnx takes other steps in each inference"):
        profiles.rows(runtime.load(onnx_file), 1, 2)


def test_profile_of_litert_has_the_names_of_the_file(tmp_path: Path) -> None:
    path = trials.network(tmp_path / "convolutions.tflite", 3)
    found = host.measure(path, runs=20, min_seconds=0, profile=True)
    # Tensors are numbered as they are made: the image, then weights, bias and output of each convolution.
    assert [step.name for step in found.profile] == ["t3", "t6", "t9", "t12", "t15"]
    assert {step.op.split()[0] for step in found.profile} == {"Convolution"}
    # The three in the middle do the same and each eleven times as much as the first.
    assert found.conditions["notes"][0].startswith("the steps of the profile add up to 0.")
    first, *middle, _ = (step.ms for step in found.profile)
    assert min(middle) > first
    # The steps are nearly all that an inference consists of; a busy neighbour can double either of them.
    assert 0.3 < sum(step.ms for step in found.profile) / found.latency.median_ms < 3


def test_steps_of_a_delegate_get_the_names_of_operators() -> None:
    operators = [("CONV_2D", "conv"), ("ADD", "sum"), ("RESIZE_BILINEAR", "up")]
    tags = [
        "Convert (NC)",
        "Fully Connected (NC, F32) GEMM",
        "Add (ND)",
        "Clamp (NC)",
        "Resize Bilinear (NHWC)",
    ]
    assert own_names(tags, operators) == ["Convert (NC)", "conv", "sum", "sum", "up"]
    # An operator that has no step: nobody knows what became of it, so nothing is said of any.
    assert own_names(tags, [*operators, ("SOFTMAX", "soft")]) == tags
    # A ReLU that went into the operator before it has no step.
    merged = [operators[0], ("RELU", "relu"), *operators[1:]]
    assert own_names(tags, merged) == ["Convert (NC)", "conv", "sum", "sum", "up"]
    # Outside the delegate a step has the name of the operator's kind.
    assert own_names(["CONV_2D", "Add (ND)"], operators[:2]) == ["conv", "sum"]


def test_min_seconds_makes_more_runs(onnx_file: Path) -> None:
    found = host.measure(onnx_file, runs=5, min_seconds=0.2, max_warmup=5)
    assert len(found.latency.samples_ms) > 5
    assert len(found.latency.samples_ms) % 5 == 0


def test_peak_memory_is_not_the_parents(onnx_file: Path) -> None:
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert host.measure(onnx_file, runs=1, min_seconds=0).peak_memory_mb < 30


def test_compare_runs_in_turns_and_knows_a_file_from_itself(onnx_file: Path) -> None:
    base, same = host.compare([onnx_file, onnx_file], seconds=0)
    # No time at all: the fewest starts that 99 % needs, of one round each.
    assert (same.to, same.starts, same.rounds, same.confidence) == ("tiny.onnx", 8, 8, 0.99)
    assert (base.ratio, base.low, base.high, base.ratios) == (1, 1, 1, (1.0,) * 8)
    assert base.different is False
    # With 8 starts the interval is from the least to the largest of them.
    assert (same.low, same.high) == pytest.approx((min(same.ratios), max(same.ratios)))
    assert same.low < same.ratio < same.high
    # Microseconds of processor time beside a busy neighbour: within a factor of two is all that always holds.
    assert 0.5 < same.ratio < 2


def test_compare_finds_a_file_with_twice_the_work(tmp_path: Path) -> None:
    few, more = (trials.network(tmp_path / f"{n}.tflite", n) for n in (2, 5))
    # Two starts are enough for 50 %.
    _, found = host.compare([few, more], seconds=0, confidence=0.5)
    assert (found.starts, found.different) == (2, True)
    # Five convolutions in the middle against two, the same at both ends: 2 to 2.5, with what else there is.
    assert 1.5 < found.ratio < 2.7


def test_rounds_there_and_back_take_each_worker_alike() -> None:
    """A machine that gets slower with each inference: the ratio of two files that are alike stays 1."""

    class Slowing:
        clock = itertools.count(100)

        def run(self, times: int, clock: str) -> list[float]:
            asked.append((times, clock))
            return [next(self.clock) for _ in range(times)]

    asked: list[tuple[int, str]] = []
    ratios = host._round([Slowing(), Slowing(), Slowing()], [2, 0, 1], threads=1)
    # 108 of 120 there and back for each: nearly the same geometric mean.
    assert ratios == pytest.approx((1, 1, 1), abs=0.01)
    assert asked == [(host.TURN, "cpu")] * 6
    host._round([Slowing()], [0], threads=2)
    assert asked[-1] == (host.TURN, "wall")


def test_measure_all_compares_with_the_first(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def compare(paths: list[Path], threads: int, **options: object) -> list[host.Relative]:
        asked.append((paths, threads, options))
        return [host.Relative("tiny.onnx", "", ratio, 1) for ratio in (1.0, 1.5)]

    monkeypatch.setattr(host, "compare", compare)
    monkeypatch.setattr(host, "COLD_STARTS", 1)
    assert host.measure_all([onnx_file], runs=2, min_seconds=0)[0].relative is None
    assert not asked
    both = host.measure_all([onnx_file, onnx_file], runs=2, min_seconds=0, seconds=3)
    assert [m.relative.ratio for m in both if m.relative] == [1, 1.5]
    assert asked == [([onnx_file, onnx_file], 1, {"seconds": 3, "pin": ()})]


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
    with pytest.raises(ValueError, match="threads must be 1024 or fewer, not 1000000"):
        host.measure(onnx_file, threads=1_000_000)
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds must be a number above 0"):
            host.measure_all([onnx_file], seconds=seconds)
    with pytest.raises(ValueError, match="two paths"):
        host.compare([onnx_file])
    with pytest.raises(ValueError, match="starts must be 8 or more"):
        host.compare([onnx_file, onnx_file], starts=7)


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
    with fresh.worker(onnx_file, 1) as worker:
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        with pytest.raises(FootsegError, match="SIGKILL"):
            worker.run(1)


def test_a_worker_that_hangs_is_ended(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for Python that loads for ever."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(fresh, "PATIENCE", 0.3)
    began = time.monotonic()
    with pytest.raises(FootsegError, match=r"tiny\.onnx gave no answer in 0\.3 s and was ended"):
        host.measure(onnx_file)
    assert time.monotonic() - began < 10  # of 600 that it would sleep


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_running(onnx_file: Path, sent: signal.Signals) -> None:
    """Ctrl-C, and what leaves this program no time to clean up: the workers then see their input end."""
    code = f"from pathlib import Path; from benchmarks import host; p = Path({str(onnx_file)!r}); "
    code += "host.compare([p, p], seconds=100, starts=1000)"
    root = Path(__file__).resolve().parents[1]
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        workers = waited_for(lambda: [pid for pid in children.read_text().split() if is_a_worker(pid)])
        process.send_signal(sent)
        assert process.wait(timeout=30) != 0
        waited_for(lambda: not any(is_a_worker(pid) for pid in workers))
    finally:
        process.kill()
        process.wait()


def waited_for(condition: Callable[[], Any]) -> Any:
    """What ``condition`` gives once that is true; half a minute is far more than it takes."""
    end = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def is_a_worker(pid: str) -> bool:
    """Whether process ``pid`` is there and runs footseg.benchmarks.worker."""
    try:
        return b"footseg.benchmarks.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
