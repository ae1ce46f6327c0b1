"""Every network learns on TensorFlow and JAX alike, and becomes a .tflite and an .onnx that say the same."""

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import runtime
from tests import one_step
from tests.kinds import each_network

tf = pytest.importorskip("tensorflow", reason="trains and converts: pip install '.[train]'")
keras = pytest.importorskip("keras", reason="makes the networks: pip install '.[train]'")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="compares JAX with TensorFlow"
)

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Taken:
    """A network after one step, its loss before it, and the weights that did not move."""

    network: Any
    loss: float
    unmoved: list[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module", autouse=True)
def jax_process(folder: Path, request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str] | None"]:
    """The steps that tests will ask of JAX, in a process of its own that works while the other tests do."""
    asked = [
        item.callspec.params["name"]
        for item in request.session.items
        if getattr(item, "function", None) is test_a_step_on_jax_is_that_on_tensorflow
    ]
    if not asked or not _has("jax"):
        yield None
        return
    for name in asked:
        one_step.tiny(name).save(folder / f"{name}.keras")
    # Compiling takes nearly all of the time, and what it compiles runs once: as little of it as may be.
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    xla = f"{os.environ.get('XLA_FLAGS', '')} {quick}"
    flags = {"KERAS_BACKEND": "jax", "XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.one_step", str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | flags, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def taken(folder: Path) -> Callable[[str], Taken]:
    """One step on TensorFlow; without graphs, which take 30 times as long to make as to run once."""

    @functools.cache
    def take(name: str) -> Taken:
        path = folder / f"{name}.keras"
        network = keras.saving.load_model(path, compile=False) if path.exists() else one_step.tiny(name)
        return Taken(network, *one_step.one_step(network, eagerly=True))

    return take


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("name", each_network())
def test_a_step_on_tensorflow_moves_every_weight(name: str, taken: Callable[[str], Taken]) -> None:
    # Cross-entropy of three classes at random weights is about log 3, and the IoU loss at most 1.
    assert 0.3 < taken(name).loss < 5
    assert moved(taken(name).unmoved)


def moved(unmoved: list[str]) -> bool:
    """Whether all moved that must: a bias that batch normalisation takes away again has no gradient."""
    return all(path.endswith("/bias") for path in unmoved)


# test_enet exports ENet, whose graph takes longest to convert; MobileSeg's is the next.
@pytest.mark.parametrize("name", each_network("enet", "mobileseg"))
def test_tflite_says_what_keras_says(name: str, taken: Callable[[str], Taken], tmp_path: Path) -> None:
    from footseg.export import freeze, tflite

    path = tmp_path / f"{name}.tflite"
    path.write_bytes(tflite.convert(freeze.freeze(lowered(taken(name).network), tmp_path / "saved_model")))
    tflite.check_graph(path)
    assert_says_the_same(path, taken(name).network)


@pytest.mark.parametrize("name", each_network("enet"))
def test_onnx_says_what_keras_says(name: str, taken: Callable[[str], Taken], tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx", reason="writes ONNX: pip install '.[onnx]'")
    pytest.importorskip("onnxruntime", reason="runs ONNX: pip install '.[onnx]'")
    from footseg.export import onnx

    path = tmp_path / f"{name}.onnx"
    path.write_bytes(onnx.convert(lowered(taken(name).network)))
    assert_says_the_same(path, taken(name).network)


def lowered(network: Any) -> Any:
    from footseg.export.lowering import lower

    return lower(network)


def assert_says_the_same(path: Path, network: Any) -> None:
    from footseg.export.precisions import PRECISIONS

    expected = one_step.logits(network)
    found = runtime.load(path).logits(one_step.images())
    assert found.shape == expected.shape == (one_step.BATCH, *one_step.SIZE, 3)
    # As an export is held to, where the reasons stand.
    difference = np.abs(found - expected) / expected.std()
    assert difference.max() < PRECISIONS["fp32"].tolerance.logit_max
    assert difference.mean() < PRECISIONS["fp32"].tolerance.logit_mean


# Last: what JAX found has been worked out meanwhile.


@pytest.fixture(scope="module")
def on_jax(jax_process: "subprocess.Popen[str] | None") -> dict[str, Any]:
    if jax_process is None:
        pytest.skip("trains on JAX: pip install '.[dev]'")
    output, errors = jax_process.communicate()
    assert jax_process.returncode == 0, errors[-2000:]
    document = json.loads(output.splitlines()[-1])
    assert document["backend"] == "jax"
    return document["networks"]


@pytest.mark.parametrize("name", each_network())
def test_a_step_on_jax_is_that_on_tensorflow(
    name: str, on_jax: dict[str, Any], taken: Callable[[str], Taken]
) -> None:
    # The same weights, images and masks, sums in another order: up to 6e-7 apart.
    assert on_jax[name]["loss"] == pytest.approx(taken(name).loss, rel=1e-5)
    assert moved(on_jax[name]["unmoved"])
