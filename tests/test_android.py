"""Files on phones: the real adb, the very binaries that a phone would run, and what goes wrong with them."""

import itertools
import json
import math
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from footseg.android_harness import conditions, heat, session, toolchain
from footseg.android_harness.adb import Result
from footseg.artifact import sidecar_path
from footseg.benchmarks import android
from footseg.benchmarks.android.request import PhoneRequest
from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.results_file import append_line, read_all
from footseg.cli import main
from footseg.errors import FootsegError
from tests.phone import TWO_CORES, AdbServer, Faults, Phone
from tests.test_measurement import VALIDATOR

pytestmark = pytest.mark.skipif(
    any(need.path is None for need in toolchain.needs()), reason="needs what make arm installs"
)

TEMPORARY = "/data/local/tmp"
UNPLUGGED = (
    "Current Battery Service state:\n  USB powered: false\n  status: 3\n  level: 83\n  temperature: 274\n"
)
# The least that a comparison takes: at 75 % the interval needs three fresh starts.
QUICK: dict[str, Any] = {
    "runs": 3, "min_seconds": 0.0, "starts": 3, "confidence": 0.75, "seconds": 0.0, "energy": False
}  # fmt: skip
TOOL = """\
#!/bin/sh
case $1 in
  --num_runs=help) printf '\\t--%s=\\tstring\\n' FLAGS; exit 1;;
  *model1*) us=900;;
  *) us=450;;
esac
echo "$@" >> $0.asked
echo "INFO: Initialized session in 4.5ms."
echo "INFO: count=2 first=1000 curr=1000 min=900 max=1100 avg=1000 std=10"
echo "INFO: count=50 first=$us curr=$us min=$us max=$us avg=$us std=0"
echo "INFO: Inference timings in us: Init: 4500, First inference: 1000, Inference (avg): $us"
echo "INFO: Memory footprint delta from the start of the tool (MB): init=8.0 overall=10.0"
"""
FLAGS = (
    "graph num_threads warmup_runs warmup_min_secs num_runs min_secs max_secs use_gpu use_xnnpack "
    "enable_op_profiling op_profiling_output_mode"
)


@pytest.fixture
def phone(server: AdbServer, tmp_path: Path) -> Iterator[Phone]:
    one = Phone(tmp_path / "phone", clusters=TWO_CORES)
    with server.connected(one):
        yield one


@pytest.fixture(scope="module")
def awkward(tiny_artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fp32 file by a name that shells dislike."""
    path = tmp_path_factory.mktemp("awkward") / 'it\'s my "best" $net.tflite'
    shutil.copy(tiny_artifacts["fp32"], path)
    shutil.copy(sidecar_path(tiny_artifacts["fp32"]), sidecar_path(path))
    return path


def measured(server: AdbServer, *paths: Path, **options: Any) -> list[Measurement]:
    return list(android.measure_all(paths, env=server.env, **{**QUICK, **options}))


def left(phone: Phone) -> list[str]:
    """What of ours is on a phone."""
    return sorted(path.name for path in phone.machine.path(TEMPORARY).glob("footseg-*"))


class Gauge:
    """A fuel gauge at 4 V: 0.1 A at rest, 0.6 A while the command beside it runs; its ripples cancel."""

    def __init__(self, phone: Phone) -> None:
        self.machine, self.end = phone.machine, threading.Event()
        self.thread = threading.Thread(target=self._go)

    def _go(self) -> None:
        path = self.machine.path("/sys/class/power_supply/battery/current_now")
        for ripple in itertools.cycle(range(-3000, 3001, 1000)):
            logs = list(self.machine.path(TEMPORARY).glob("footseg-*/energy.log"))
            text = "".join(log.read_text() for log in logs if log.is_file())
            microamperes = 600_000 if "start" in text and "end" not in text else 100_000
            fresh = path.with_name("fresh")
            fresh.write_text(f"-{microamperes + ripple}\n")
            fresh.replace(path)
            if self.end.wait(0.02):
                return

    def __enter__(self) -> None:
        self.machine.write("/sys/class/power_supply/battery/voltage_now", "4000000\n")
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join()


@dataclass(frozen=True)
class Session:
    """What the session that most tests look at gave."""

    lines: list[Measurement]
    said: list[str]
    left: list[str]
    serial: str


@pytest.fixture(scope="module")
def found(
    server: AdbServer,
    awkward: Path,
    tiny_artifacts: dict[str, Path],
    tiny_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Session:
    """Two files on one phone with all that can be asked of our own runner."""
    folder = tmp_path_factory.mktemp("session")
    said: list[str] = []
    one = Phone(folder / "phone", clusters=TWO_CORES)
    with server.connected(one):
        one.machine.dumpsys("battery", UNPLUGGED)
        with Gauge(one):
            # The median time decides how many inferences fill the 2.5 s: with 10 runs one break of this
            # machine was enough to have them end in half a second.
            lines = measured(
                server, awkward, tiny_artifacts["int8"], say=said.append, pin="big", profile=True,
                data=tiny_data, energy=True, energy_s=2.5, idle_s=1.0, runs=30,
            )  # fmt: skip
        return Session(lines, said, left(one), one.serial)


def test_a_line_for_each_file_by_its_own_name(found: Session, awkward: Path, tmp_path: Path) -> None:
    names = [line.artifact.name for line in found.lines]
    assert names == [awkward.name, "fast_linknet_64x64_int8.tflite"]
    for line in found.lines:
        append_line(tmp_path / "results.jsonl", line)
        VALIDATOR.validate(json.loads(json.dumps(line.to_json())))
        assert line.kind == "measured"
        assert line.on_phone
        assert (line.runtime, line.runtime_version) == ("LiteRT", toolchain.litert_version())
        assert line.device["model"] == "Google Pixel 6"
        assert line.device["serial"] == "1A051FDF6007RM"  # the maker's: adb's is an address here
        assert line.device["clusters"] == [[0], [1]]
        assert line.cost["macs"] > 0
    # What was written is what is read: every field is of its type.
    assert [line.artifact.sha256 for line in read_all(tmp_path / "results.jsonl")] == [
        line.artifact.sha256 for line in found.lines
    ]


def test_clocks_memory_and_operators(found: Session) -> None:
    for line in found.lines:
        assert line.latency is not None
        assert len(line.latency.samples_ms) == 30
        assert 3 <= line.latency.warmup_runs <= 100
        assert line.cold_start is not None
        assert line.cold_start.load_ms > 0
        # The file itself has 0.2 to 0.5 MB, LiteRT's arena and code what comes on top.
        assert 0.2 < (line.peak_memory_mb or 0) < 100
        assert line.calibration is not None
        assert len(line.calibration.samples_gflops) == 2
        reached = 2 * line.cost["macs"] / (line.latency.median_ms * 1e6)
        assert line.calibration.share == pytest.approx(reached / line.calibration.gflops)
        assert sum("Convolution" in step.op for step in line.profile) > 10
        assert all(step.runs == 30 for step in line.profile)
        assert any("stem" in step.name for step in line.profile)  # the file's own names


def test_files_are_compared_in_turns(found: Session) -> None:
    fp32, int8 = (line.relative for line in found.lines)
    assert fp32 is not None
    assert int8 is not None
    assert (fp32.ratio, fp32.low, fp32.high) == (1, 1, 1)
    assert int8.to == found.lines[0].artifact.name
    assert int8.to_sha256 == found.lines[0].artifact.sha256
    assert (int8.starts, int8.confidence) == (3, 0.75)
    assert (int8.low or 0) <= int8.ratio <= (int8.high or 0)
    # The emulator has no vector unit for floats: integers take a quarter of the time there.
    assert int8.ratio < 0.7


def test_masks_of_the_phone_are_those_of_this_machine(found: Session) -> None:
    for line in found.lines:
        agreed = line.agreement
        assert agreed is not None
        assert (agreed.split, agreed.images) == ("test", 8)
        # Both logits of a pixel can be the same int8 code: then the last bit decides. 5 to 16 of these 32,768
        # pixels are so near, in networks trained for seconds; of float files none.
        assert agreed.pixels_equal >= (0.9999 if line.artifact.recipe == "fp32" else 0.999)
        # A pixel of 32,768 that differs moves a score by this at most.
        assert agreed.iou == pytest.approx(agreed.host_iou, abs=1e-3)
        assert agreed.boundary_f == pytest.approx(agreed.host_boundary_f, abs=1e-2)
        # Logits are of the size of 1 to 10; int8 files may differ by one step of theirs, about 0.1.
        assert agreed.logit_max_absolute is not None
        assert agreed.logit_max_absolute < (1e-4 if line.artifact.recipe == "fp32" else 0.2)


def test_conditions_are_told(found: Session) -> None:
    for line in found.lines:
        assert line.conditions["pinned_cores"] == [1]
        assert line.conditions["governor"] == "sched_pixel"
        assert line.conditions["thermal_before"] == line.conditions["thermal_after"] == "NONE"
        assert line.conditions["cooled_seconds"] < 5
        assert line.conditions["charging"] is False


def test_energy_is_that_of_the_gauge(found: Session) -> None:
    for line in found.lines:
        assert line.energy is not None, line.conditions["notes"]
        assert line.latency is not None
        inferences = math.ceil(2500 / line.latency.median_ms)
        # 0.5 A more than at rest, at 4 V. On a busy machine the gauge may still tell of the rest for half a
        # second of the 2.5.
        expected = 1000 * 0.5 * 4 * line.energy.seconds / inferences
        assert line.energy.millijoules == pytest.approx(expected, rel=0.25)
        assert "an estimate" in line.energy.note


def test_nothing_stays_on_the_phone(found: Session) -> None:
    assert found.left == []
    assert all(line.startswith(found.serial) or "this machine" in line for line in found.said)


def test_two_phones_one_noisy_one_lost(
    server: AdbServer, tiny_artifacts: dict[str, Path], tiny_data: Path, tmp_path: Path, capsys: Any
) -> None:
    """What the first gives is whole, whatever its shell writes between, and though the other goes away."""
    noise = Faults(login="*** welcome ***\n", between="W/linker: unused DT entry\n", logout="bye\n")
    noisy = Phone(tmp_path / "noisy", serial="NOISY", clusters=TWO_CORES, faults=noise)
    lost = Phone(tmp_path / "lost", clusters=TWO_CORES, properties={"ro.product.model": "Pixel 9"})
    with server.connected(noisy, lost):

        def say(line: str) -> None:
            if lost.serial in line and "latency" in line:
                threading.Timer(0.3, lost.vanish).start()

        lines: list[Measurement] = []
        with pytest.raises(FootsegError) as error:
            for line in android.measure_all(
                [tiny_artifacts["fp32"]], ["all"], env=server.env, say=say, data=tiny_data, images=3, **QUICK
            ):
                lines.append(line)
        assert left(noisy) == []
        [kept] = left(lost)
    assert [line.device["serial"] for line in lines] == ["NOISY"]
    assert lines[0].agreement is not None
    assert (lines[0].agreement.images, lines[0].agreement.pixels_equal) == (3, 1.0)
    message = str(error.value)
    assert message.startswith("1 of 2 phones could not be measured to the end")
    assert f"{lost.serial} went away" in message
    # What could not be cleaned is named, with the command that does it.
    assert f"adb -s {lost.serial} shell rm -rf {TEMPORARY}/{kept}" in capsys.readouterr().err


def test_ending_early_cleans_up(server: AdbServer, phone: Phone, tiny_artifacts: dict[str, Path]) -> None:
    """As Ctrl-C does: whoever takes the lines stops, in the middle of a long run."""
    running = threading.Event()

    def say(line: str) -> None:
        if "in turns" in line:
            running.set()

    files = [tiny_artifacts["fp32"], tiny_artifacts["int8"]]
    endless = {**QUICK, "seconds": 1000.0, "starts": 1000}
    lines = android.measure_all(files, env=server.env, say=say, **endless)
    next(lines)
    assert left(phone)
    assert running.wait(60)
    start = time.monotonic()
    lines.close()  # type: ignore[attr-defined]
    # One look a second whether it has ended, and the commands of cleaning up.
    assert time.monotonic() - start < 10
    assert left(phone) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"unauthorized": True}, "tap Allow"),
        ({"offline": True}, "offline"),
        ({"space": 1_000_000}, "has no space left"),
        ({"pushed": 1_000_000}, "went away"),
        ({"printed": 8_000}, "went away"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_phone_is_one_line(
    server: AdbServer,
    tiny_artifacts: dict[str, Path],
    tmp_path: Path,
    fault: dict[str, Any],
    words: str,
) -> None:
    one = Phone(tmp_path / "phone", clusters=TWO_CORES, faults=Faults(**fault))
    with server.connected(one):
        state = next((name for name in ("unauthorized", "offline") if name in fault), "device")
        wait_until(lambda: f"{one.serial}\t{state}" in server.adb("devices"))
        with pytest.raises(FootsegError, match=words) as error:
            measured(server, tiny_artifacts["fp32"])
        assert one.serial in str(error.value)
        assert "\n" not in str(error.value)
        if "space" in fault:
            assert left(one) == []


def wait_until(true: Callable[[], bool]) -> None:
    """For adb's server to notice; 5 s is a hundred times what it takes."""
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_no_phone_and_two_without_a_serial(
    server: AdbServer, tiny_artifacts: dict[str, Path], tmp_path: Path
) -> None:
    file = tiny_artifacts["fp32"]
    for serials in ((), ("all",)):
        with pytest.raises(FootsegError, match="adb sees no Android device: plug one in"):
            list(android.measure_all([file], serials, env=server.env))
    one, two = Phone(tmp_path / "one"), Phone(tmp_path / "two")
    with server.connected(one, two):
        with pytest.raises(FootsegError, match="2 Android devices are connected") as error:
            measured(server, file)
        assert one.serial in str(error.value)
        assert two.serial in str(error.value)
        with pytest.raises(FootsegError, match="no Android device 'pixel'"):
            list(android.measure_all([file], ["pixel"], env=server.env))


def test_the_command_says_it_in_one_line(
    server: AdbServer,
    tiny_artifacts: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    assert main(["bench", str(tiny_artifacts["fp32"]), "--on", "android", "--pin", "big"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("footseg: adb sees no Android device: plug one in")
    assert said.err.count("\n") == 1


def test_a_damaged_file_is_found_before_any_phone_is_touched(awkward: Path, tmp_path: Path) -> None:
    cut = tmp_path / "it's cut.tflite"
    cut.write_bytes(awkward.read_bytes()[:1000])
    with pytest.raises(FootsegError) as error:
        android.measure_all([cut])
    assert str(cut) in str(error.value)


def test_a_program_that_dies_on_the_phone_is_told_with_its_file(
    server: AdbServer, phone: Phone, awkward: Path
) -> None:
    """What was pushed as the runner is something else by the time it runs."""
    phone.machine.command("chmod", 'for last; do :; done; case $last in */runner) echo "$0" >"$last";; esac')
    with pytest.raises(FootsegError) as error:
        measured(server, awkward)
    assert f"the runner of {awkward} could not be started" in str(error.value)
    assert phone.serial in str(error.value)
    assert left(phone) == []


def test_what_is_carried_loads_with_pages_of_16_kib() -> None:
    """As phones with Android 15 may have: segments that are aligned to 4 KiB cannot be mapped there."""
    kit = toolchain.prepare()
    for file in (kit.runner, kit.loader, kit.library, *kit.libraries):
        command = ["aarch64-linux-gnu-readelf", "--segments", "--wide", str(file)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        loads = [line.split() for line in said.splitlines() if line.split()[:1] == ["LOAD"]]
        assert loads
        assert all(int(words[-1], 16) >= 16 * 1024 for words in loads), file.name


@pytest.mark.parametrize(
    ("code", "stderr", "words"),
    [
        (126, "sh: runner: Permission denied", "could not be started (sh: runner: Permission denied): this"),
        (127, "invalid ELF header", "could not be started (invalid ELF header): something on the device"),
        (137, "Killed", "killed by the device (Killed), most often for want of memory"),
        (
            159,
            "Bad system call",
            "used a system call that this device forbids (Bad system call): take --runner",
        ),
        (139, "", "crashed with signal 11 (it said nothing)"),
        (1, "one\ntwo", "failed with exit code 1: two"),
    ],
)
def test_how_a_program_ended(code: int, stderr: str, words: str) -> None:
    assert words in session.ended(Result("", stderr, code))


def test_phones_that_cannot_be_measured_so(
    server: AdbServer, phone: Phone, tiny_artifacts: dict[str, Path]
) -> None:
    file = tiny_artifacts["fp32"]
    with pytest.raises(FootsegError, match="has no core 7 "):
        measured(server, file, pin="7")
    with pytest.raises(FootsegError, match="no benchmark_model on the phone"):
        measured(server, file, runner="benchmark_model")
    phone.machine.set_properties(
        ro__product__cpu__abilist="armeabi-v7a,armeabi", ro__product__cpu__abi="armeabi-v7a"
    )
    with pytest.raises(
        FootsegError, match="runs armeabi-v7a programs, footseg's runner is one for arm64-v8a"
    ):
        measured(server, file)
    assert left(phone) == []


def test_what_cannot_be_meant(tiny_artifacts: dict[str, Path]) -> None:
    for options, words in [
        ({"runner": "tflite"}, "expected footseg or benchmark_model"),
        ({"threads": 0}, "threads must be 1 or more, got 0"),
        ({"pin": "fast"}, "expected big, middle, little or cores"),
        ({"gpu": True}, "--runner benchmark_model"),
        ({"runner": "benchmark_model", "gpu": True, "xnnpack": False}, "instead of XNNPACK"),
        ({"seconds": float("nan")}, "seconds must be 0 or more, got nan"),
        ({"starts": 7}, "starts must be 8 or more for 99%"),
    ]:
        with pytest.raises(ValueError, match=words):
            PhoneRequest(**options)
    for tool in ("/bin/sh", __file__):  # of this machine; no program at all
        with pytest.raises(FootsegError, match="is no program for Arm: take Google's"):
            android.measure_all([tiny_artifacts["fp32"]], runner="benchmark_model", benchmark_model=tool)
    with pytest.raises(FootsegError, match=r"onnx is no \.tflite file"):
        android.measure_all([tiny_artifacts["onnx"]])
    with pytest.raises(FootsegError, match="no such file: nowhere"):
        android.measure_all([tiny_artifacts["fp32"]], runner="benchmark_model", benchmark_model="nowhere")
    with pytest.raises(ValueError, match="at least one file"):
        android.measure_all([])


def test_benchmark_model_on_the_phone(
    server: AdbServer, phone: Phone, awkward: Path, tiny_artifacts: dict[str, Path], tiny_data: Path
) -> None:
    """A tool there that takes 0.45 ms for the first file and twice as long for the second."""
    tool = f"{TEMPORARY}/tools/benchmark_model"
    phone.machine.write(tool, TOOL.replace("FLAGS", FLAGS))
    phone.machine.path(tool).chmod(0o755)
    first, second = measured(
        server, awkward, tiny_artifacts["fp16"], runner="benchmark_model", benchmark_model=tool,
        data=tiny_data, images=2, pin="little", threads=2, runs=7,
    )  # fmt: skip
    assert first.runtime == "benchmark_model"
    assert first.runtime_version.startswith("Interpreter, sha256 ")
    assert first.latency is not None
    assert first.latency.samples_ms == (0.45,) * 5
    assert (first.latency.runs_per_sample, first.latency.warmup_runs) == (50, 2)
    assert first.cold_start is not None
    assert (first.cold_start.load_ms, first.cold_start.first_inference_ms) == (4.5, 1.0)
    assert first.peak_memory_mb == pytest.approx(10 * 1.048576, abs=0.01)
    assert second.relative is not None
    assert second.relative.ratio == pytest.approx(2)
    assert (second.relative.rounds, second.relative.starts) == (3, 3)
    assert second.agreement is not None
    assert second.agreement.pixels_equal >= 0.9999
    assert any("footseg's own runner" in note for note in second.conditions["notes"])
    assert "2 threads share one core" in first.conditions["notes"]
    asked = phone.machine.path(f"{tool}.asked").read_text().splitlines()
    assert all("--num_threads=2" in line and "--num_runs=7" in line for line in asked)
    assert all("--use_xnnpack=true" in line for line in asked)
    assert all(line.startswith("1 ") for line in phone.machine.pinned())  # the mask of core 0
    # Five of each file, three pairs.
    assert len(asked) == 5 + 5 + 3 * 2
    assert left(phone) == []


def test_a_phone_that_stays_hot_is_waited_for_once(
    server: AdbServer, phone: Phone, tiny_artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that did not cool down in time will not for the next file either."""
    limits: list[float] = []

    def hot(device: Any, *, limit_s: float, **_: object) -> heat.Cooled:
        limits.append(limit_s)
        return heat.Cooled(limit_s, False, "it is hot", conditions.conditions(device))

    monkeypatch.setattr(heat, "wait_until_cool", hot)
    tool = f"{TEMPORARY}/benchmark_model"
    phone.machine.write(tool, TOOL.replace("FLAGS", FLAGS))
    phone.machine.path(tool).chmod(0o755)
    files = [tiny_artifacts[name] for name in ("fp32", "fp16", "int8")]
    lines = measured(server, *files, runner="benchmark_model", cool=True, cool_limit_s=600.0)
    assert limits == [600, 60, 60]
    assert all("not cooled down: it is hot" in line.conditions["notes"] for line in lines)


def test_benchmark_model_from_here_with_its_gpu(
    server: AdbServer, phone: Phone, tiny_artifacts: dict[str, Path], tmp_path: Path
) -> None:
    tool = tmp_path / "my tool"
    says = (
        'echo "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the'
    )
    tool.write_text(TOOL.replace("FLAGS", FLAGS) + f'{says} delegate."\n')
    [line] = measured(
        server, tiny_artifacts["fp32"], runner="benchmark_model", benchmark_model=str(tool), gpu=True
    )
    assert line.runtime == "benchmark_model (GPU)"
    assert "delegate GPU: all of the graph" in line.conditions["notes"]
    assert left(phone) == []
