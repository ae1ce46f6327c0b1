"""What an architecture costs: the figures of the file that a trained run exports, before it is trained."""

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from footseg import run as runs
from footseg.benchmarks import arm, host
from footseg.errors import FootsegError, MissingExtraError
from footseg.search import costs, goals
from footseg.search.goals import parse_limit
from footseg.training.config import TrainConfig, from_values

CLASSES = ("background", "foot")
ALL = tuple(goals.COSTS)


def small(data: Path, **options: Any) -> TrainConfig:
    """The architecture of ``tiny_run``."""
    return from_values(
        {
            "network": "fast_linknet",
            "data": str(data),
            "size": [64, 64],
            "network_options": {"width": 0.25, **options},
        }
    )


@pytest.fixture(scope="module")
def folder(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search's folder with all costs of one architecture."""
    made = tmp_path_factory.mktemp("search")
    costs.costs(made, small(tiny_data), CLASSES, ALL)
    return made


def record(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "costs").glob("*.json")
    return json.loads(path.read_text())


def refuse(name: str, *args: Any, **options: Any) -> Any:
    raise AssertionError(f"{name} was asked for")


def test_they_are_those_of_the_trained_file(
    folder: Path, tiny_run: Path, tiny_artifacts: dict[str, Path]
) -> None:
    found = record(folder)["costs"]
    assert tuple(found) == ALL
    assert found["parameters"] == runs.load(tiny_run).parameters
    # To the byte and to the instruction: nothing in them is left to chance.
    assert found["size"] == tiny_artifacts["int8"].stat().st_size
    (line,) = arm.measure_all([tiny_artifacts["int8"]], images=2, inferences=1)
    assert line.instructions is not None
    assert found["arm"] == line.instructions.total
    # A clock on a busy machine: half and double of what the longer measurement has for its fastest and its
    # median inference.
    samples = sorted(host.measure(tiny_artifacts["int8"], runs=200, min_seconds=0).latency.samples_ms)
    assert samples[0] / 2 < found["latency"] < samples[len(samples) // 2] * 2


def test_macs_by_hand(tmp_path: Path, tiny_data: Path) -> None:
    """FastLinkNet has 188.45 M at 256x256 (``footseg networks``), so a sixteenth of these at 64x64."""
    config = from_values({"network": "fast_linknet", "data": str(tiny_data), "size": [64, 64]})
    assert costs.costs(tmp_path, config, CLASSES, ["macs"]) == {"macs": 188_452_864 / 16}


def test_what_is_known_is_not_asked_for_again(
    folder: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = record(folder)
    monkeypatch.setattr("footseg.networks.build", refuse)
    assert costs.costs(folder, small(tiny_data), CLASSES, ["arm", "size"]) == {
        name: before["costs"][name] for name in ("size", "arm")
    }
    # What an inference does not see, and a default that is written out.
    same = small(tiny_data, dropout=0.9, first_stride=1)
    assert costs.costs(folder, same, CLASSES, ALL) == before["costs"]
    assert record(folder) == before
    for other in (
        small(tiny_data, first_stride=2),
        from_values({**vars(small(tiny_data)), "size": [96, 96]}),
    ):
        with pytest.raises(AssertionError, match="fast_linknet was asked for"):
            costs.costs(folder, other, CLASSES, ["parameters"])
    with pytest.raises(AssertionError, match="fast_linknet was asked for"):
        costs.costs(folder, small(tiny_data), (*CLASSES, "sock"), ["parameters"])


def test_a_broken_limit_ends_it(
    folder: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    made = {name: lambda network, name=name: asked.append(name) for name in ("size", "arm", "latency")}
    monkeypatch.setattr(costs, "MEASURES", {**costs.MEASURES, **made})
    few = [parse_limit("latency<=1s"), parse_limit("parameters<100k")]
    found = costs.costs(tmp_path, small(tiny_data), CLASSES, ["arm"], few)
    assert found == {"parameters": record(folder)["costs"]["parameters"]}
    assert asked == []  # no file was made, none was run
    assert record(tmp_path)["costs"] == found
    # Of what was known before it ends there, too; and limits are asked for without being wanted.
    assert tuple(costs.costs(folder, small(tiny_data), CLASSES, ["arm"], [parse_limit("size<=1kB")])) == (
        "size",
    )
    assert asked == []


def test_one_process_at_a_time_measures_time(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, done = [], threading.Event()
    monkeypatch.setattr(costs._Network, "file", Path("ready.tflite"))
    monkeypatch.setattr(costs, "MEASURES", {"latency": lambda network: measured.append(network) or 1.5})

    def work() -> None:
        assert costs.costs(tmp_path, small(tiny_data), CLASSES, ["latency"]) == {"latency": 1.5}
        done.set()

    (tmp_path / "costs").mkdir()
    descriptor = os.open(tmp_path / "costs" / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    waiting = [threading.Thread(target=work) for _ in range(2)]
    for thread in waiting:
        thread.start()
    assert not done.wait(0.3)
    assert measured == []
    os.close(descriptor)
    for thread in waiting:
        thread.join(10)
    assert done.is_set()
    # The second found what the first had measured meanwhile.
    assert len(measured) == 1


def test_what_cannot_be_built_or_calibrated(tmp_path: Path, tiny_data: Path) -> None:
    with pytest.raises(ValueError, match="fast_linknet has no option 'widht': did you mean 'width'"):
        costs.costs(tmp_path, small(tiny_data, widht=1.0), CLASSES, ["macs"])
    with pytest.raises(FootsegError, match="none"):
        costs.costs(tmp_path, small(tmp_path / "none"), CLASSES, ["size"])
    with pytest.raises(ValueError, match="no cost 'energy'"):
        costs.costs(tmp_path, small(tiny_data), CLASSES, ["energy"])
    assert not list(tmp_path.glob("costs/*.json"))


def without_qemu(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    monkeypatch.setenv("PATH", str(empty))


def without_quantizer(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ai_edge_quantizer" else real(name)
    )


def on_jax(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")


@pytest.mark.parametrize(
    ("break_it", "wanted", "kind", "message"),
    [
        (without_qemu, "arm", FootsegError, "qemu-aarch64, aarch64-linux-gnu-gcc, .*not found: make arm"),
        (
            without_quantizer, "size", MissingExtraError,
            r"this needs the package ai_edge_quantizer, which is not installed: pip install .*\[compress\]",
        ),
        (
            on_jax, "latency", FootsegError,
            r"Keras on TensorFlow only, not on jax \(by KERAS_BACKEND\): set KERAS_BACKEND=tensorflow",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_before_anything_begins(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[pytest.MonkeyPatch, Path], None],
    wanted: str,
    kind: type[Exception],
    message: str,
) -> None:
    costs.check(ALL)
    break_it(monkeypatch, tmp_path)
    with pytest.raises(kind, match=message) as caught:
        costs.check([wanted])
    assert "\n" not in str(caught.value)
    costs.check(["parameters", "macs"])  # These need none of it.


def test_unknown_costs_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no cost 'latancy': did you mean 'latency'"):
        costs.check(["latancy"])
    with pytest.raises(ValueError, match="iou is a score, not a cost"):
        costs.check(["iou"])


def test_to_check_imports_nothing_heavy() -> None:
    code = (
        "import sys; from footseg.search import costs; costs.check(['size', 'arm', 'latency']); "
        "print(*{'tensorflow', 'keras', 'ai_edge_quantizer', 'hyperopt'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
