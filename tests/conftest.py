"""What tests share: real photographs where they are there, and small generated data everywhere."""

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import tiny_weights
from tests.phone import AdbServer, Phone

if TYPE_CHECKING:
    from footseg.android_harness.adb import Device
    from footseg.training.config import TrainConfig

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Options of training runs in tests: small in every direction, but the real network and the real path.
TINY = {
    "size": (64, 64),
    "batch": 8,
    "epochs": 4,
    "ema": 0.5,
    "learning_rate": 5e-3,
    "network_options": {"width": 0.25, "dropout": 0.0},
    # Weak, so that seconds of training give a network whose int8 masks can be held to the real tolerances.
    "weight_decay": 0.02,
    "affine": 0.1,
    "zoom_out": 0.0,
    "colour": 0.2,
}


# Files of tests that train, convert, emulate or wait for processes: make quick does without them.
HEAVY = {
    "adb", "android", "arm", "auto", "cli", "cluster", "compress", "coreml", "distill", "distribution",
    "enet", "export", "export_verify", "finetune", "foreign", "host", "job", "lessons", "network_training",
    "onnx_export", "pretrained", "prune", "qat", "quantize", "reproduce", "runtime", "search",
    "search_costs", "search_spark", "search_trial", "search_workers", "sensitivity", "shared", "step",
    "toolchain", "traces", "train", "twin",
}  # fmt: skip
# Files of tests whose numbers come from TensorFlow's or JAX's kernels: tests.kernels runs them with others.
NUMERIC = {
    "augment", "cluster", "compress", "distill", "distribution", "enet", "evaluate", "export",
    "export_verify", "finetune", "fold", "job", "lessons", "losses", "network_training", "onnx_export",
    "pretrained", "prune", "qat", "quantize", "runtime", "search_trial", "shared", "step", "structured",
    "train", "twin",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.path.stem.removeprefix("test_")
        if name in HEAVY or "tiny_artifacts" in getattr(item, "fixturenames", ()):
            item.add_marker("heavy")
        if name in NUMERIC:
            item.add_marker("numeric")


def seed() -> None:
    """Make what Keras draws (first weights, dropout) the same whatever ran before."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def seeded_module() -> None:
    seed()


@pytest.fixture(autouse=True)
def seeded() -> None:
    seed()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs that stands beside the project, never in it."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data").is_dir():
            return parent / "shared" / "data"
    pytest.skip("shared/data does not stand beside the project: this test needs its photographs")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder ``name`` that all processes of this run of tests share: whoever asks first makes it."""
    own = factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder, made = root / name, root / f"{name}.made"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn feet at 64x64: 24 to train on, 8 to validate, 8 to test."""
    from footseg.data.shapes import write_shapes
    from footseg.data.synth import SynthConfig

    config = SynthConfig({"train": 24, "val": 8, "test": 8}, seed=1, size=(64, 64))
    return once(tmp_path_factory, "feet", lambda out: write_shapes(out, config))


@pytest.fixture(scope="session")
def tiny_run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on ``tiny_data``: FastLinkNet of a quarter of the width with the weights of a file."""
    return once(tmp_path_factory, "tiny", lambda out: tiny_weights.write_run(out, tiny_data))


@pytest.fixture(scope="session")
def tiny_float(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fp32 file of ``tiny_run`` as the converter writes it, from which the others are made."""

    def convert(out: Path) -> None:
        from footseg.export import freeze, tflite

        out.mkdir()
        saved_model = freeze.freeze(freeze.load_network(tiny_run / "model.keras"), out / "saved_model")
        (out / "fp32.tflite").write_bytes(tflite.convert(saved_model))

    return once(tmp_path_factory, "float", convert) / "fp32.tflite"


@pytest.fixture(scope="session")
def tiny_artifacts(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What ``footseg export`` makes of ``tiny_run``: "fp32", ..., "onnx" (fp32), "onnx fp16", ..."""

    def export(out: Path) -> None:
        from footseg.export.pipeline import export_run

        precisions = ("fp32", "fp16", "int8")
        export_run(tiny_run, out, formats=("tflite", "onnx"), precisions=precisions, speed=False)

    out = once(tmp_path_factory, "export", export)
    tflites = {path.stem.rpartition("_")[2]: path for path in out.glob("*.tflite")}
    onnx = {f"onnx {path.stem.rpartition('_')[2]}": path for path in out.glob("*.onnx")}
    return {**tflites, "onnx": onnx.pop("onnx fp32"), **onnx}


@pytest.fixture(scope="session")
def compressed_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_run`` with 70 % of its weights pruned and 16 values for each kernel, by the real command."""

    def compress(out: Path) -> None:
        from footseg.cli import main

        steps = ["--prune", "0.7", "--set", "epochs=3", "--cluster", "16", "--set", "epochs=2"]
        assert main(["compress", str(tiny_run), "--out", str(out), *steps]) == 0

    return once(tmp_path_factory, "compressed", compress)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    """A private server of the real adb."""
    with AdbServer(tmp_path_factory.mktemp("adb")) as running:
        yield running


@pytest.fixture
def phone(server: AdbServer, tmp_path: Path) -> Iterator[Phone]:
    """A phone of ours that ``server`` knows."""
    one = Phone(tmp_path / "phone")
    with server.connected(one):
        yield one


@pytest.fixture
def device(server: AdbServer, phone: Phone) -> "Device":
    """``phone`` as the harness has it."""
    from footseg.android_harness import adb

    return adb.choose(phone.serial, env=server.env)


@pytest.fixture
def two_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers in place of every network: TensorFlow needs seconds to trace the step of a real one."""

    import keras

    from footseg import networks

    def build(name: str, shape: tuple[int, int, int], classes: int, dropout: float = 0, **_: Any) -> Any:
        image = keras.Input(shape)
        features = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
        logits = keras.layers.Conv2D(classes, 1)(keras.layers.Dropout(dropout)(features))
        return keras.Model(image, logits)

    monkeypatch.setattr(networks, "build", build)


@pytest.fixture
def no_number_in_step_5(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the fifth step is NaN: on ``tiny_data`` the second step of the second epoch."""
    from footseg.training.step import TrainingStep

    steps: list[float] = []
    real = TrainingStep.train

    def broken(self: TrainingStep, *batch: Any) -> float:
        steps.append(real(self, *batch))
        return float("nan") if len(steps) == 5 else steps[-1]

    monkeypatch.setattr(TrainingStep, "train", broken)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A job in a shell's background ignores SIGINT, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def train_one_epoch(config: "TrainConfig", out: Path) -> None:
    """Train until the first epoch is written, and leave the run as a kill would."""
    from footseg.training.train import train

    class KilledError(Exception):
        pass

    def kill(line: str) -> None:
        if line.startswith("epoch 1"):
            raise KilledError

    with pytest.raises(KilledError):
        train(config, out, say=kill)
