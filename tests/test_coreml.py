"""A network as ``.mlpackage``: converted and looked at everywhere, run on a Mac, which a fake is here."""

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from footseg import artifact, description, files, runtime
from footseg.cli import main
from footseg.errors import FootsegError
from footseg.export import where
from footseg.export.clients import install, known
from footseg.export.clients.ask import SCRIPTS

SIDE, CLASSES = 16, 2
FEET = description.Description("net", ("background", "foot"), (SIDE, SIDE), recipe="fp16", parent="ab" * 32)


@pytest.fixture(scope="module")
def network() -> Any:
    keras = pytest.importorskip("keras", reason="builds a network: pip install '.[train]'")
    pytest.importorskip("coremltools", reason="converts to Core ML: pip install '.[coreml]'")
    pytest.importorskip("tf2onnx", reason="the weights to compare with: pip install '.[coreml]'")
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    x = keras.layers.BatchNormalization()(keras.layers.DepthwiseConv2D(3, padding="same")(x))
    return keras.Model(image, keras.layers.Conv2DTranspose(CLASSES, 3, 2, padding="same")(x))


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    from footseg.export import onnx, onnx_contents

    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    path.write_bytes(onnx.convert(network))
    return onnx_contents.weights(path)


@pytest.fixture(scope="module")
def package(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from footseg.export import coreml

    path = tmp_path_factory.mktemp("coreml") / "net_16x16_fp16.mlpackage"
    coreml.convert(network, "fp16", FEET, path)
    return path


# ---- what is written


def test_a_package_takes_an_image_and_says_what_it_is(package: Path) -> None:
    import coremltools

    spec = coremltools.utils.load_spec(str(package))
    (image,), (logits,) = spec.description.input, spec.description.output
    assert (image.name, logits.name) == ("image", "logits")
    assert (image.type.imageType.height, image.type.imageType.width) == (SIDE, SIDE)
    assert list(logits.type.multiArrayType.shape) == [1, SIDE, SIDE, CLASSES]
    assert spec.specificationVersion == 6  # ML programs' first: iOS 15, macOS 12
    said = dict(spec.description.metadata.userDefined)
    assert said["classes"] == "background\nfoot"
    ours = description.read(said["footseg"].encode())
    assert (ours.input, ours.parent, ours.recipe) == ("uint8", FEET.parent, "fp16")
    assert image.shortDescription == ours.feeding
    assert all(part.stat().st_mode & 0o444 == 0o444 for part in package.rglob("*"))


def test_its_weights_are_held_against_the_networks(package: Path, weights: list[np.ndarray]) -> None:
    from footseg.export import coreml

    found = coreml.check(package, "fp16", CLASSES, weights)
    assert found["weights_compared"] == len(weights) == 3
    assert {"conv": 2, "conv_transpose": 1}.items() <= found["operators"].items()
    assert found["target"] == "iOS15"
    # A hundredth on one of the weights, one that is missing, one too many, and other ends.
    off = [weights[0] * np.float32(1.01), *weights[1:]]
    with pytest.raises(FootsegError, match=r"is not its Keras network: weights \(4, 3, 3, 3\) are none of"):
        coreml.check(package, "fp16", CLASSES, off)
    with pytest.raises(FootsegError, match="1 of 4 weights are missing"):
        coreml.check(package, "fp16", CLASSES, [*weights, weights[0]])
    with pytest.raises(FootsegError, match=r"it gives \[1, 16, 16, 2\], not \[1, 16, 16, 3\]"):
        coreml.check(package, "fp16", 3, weights)


def test_what_float16_rounds_is_not_passed_for_fp32(package: Path, weights: list[np.ndarray]) -> None:
    from footseg.export import coreml

    with pytest.raises(FootsegError, match="are none of the network's"):
        coreml.check(package, "fp32", CLASSES, weights)


@pytest.mark.slow
def test_export_says_converted_not_run(tiny_run: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("coremltools", reason="converts to Core ML: pip install '.[coreml]'")
    out = tmp_path / "out"
    command = ["export", str(tiny_run), "--out", str(out), "--to", "coreml", "--precision", "fp16", "int8"]
    assert main(command) == 0
    text = capsys.readouterr()
    assert "Core ML is written in fp32, fp16 only: none in int8" in text.err
    path = out / "fast_linknet_64x64_fp16.mlpackage"
    assert sorted(out.iterdir()) == [path, artifact.sidecar_path(path)]
    found = artifact.load(path)
    assert (found.format, found.recipe, found.input.name) == ("coreml", "fp16", "uint8")
    assert found.sha256 == files.sha256(path)
    if not runtime.ON_A_MAC:
        assert f"{path}  {files.size(path) / 1e6:.2f} MB, converted, not run" in text.out
        assert found.verification == {}
        assert found.details["weights_compared"] == 51
        (standing,) = found.clients
        assert (standing.client, standing.verdict) == ("coreml", "not known")
    (path / "Data" / "more").write_text("x")
    with pytest.raises(FootsegError, match="is not the file its sidecar"):
        artifact.load(path)


# ---- a folder as a file


def test_the_hash_of_a_folder_is_that_of_sha256sum(tmp_path: Path) -> None:
    folder = tmp_path / "a.mlpackage"
    (folder / "Data").mkdir(parents=True)
    (folder / "Manifest.json").write_text("{}")
    (folder / "Data" / "weights").write_bytes(b"abc")
    assert files.size(folder) == 5
    listing = "sha256sum $(find . -type f | sed 's|^./||' | LC_ALL=C sort) | sha256sum"
    if shutil.which("sha256sum"):
        done = subprocess.run(["sh", "-c", listing], cwd=folder, capture_output=True, text=True, check=True)
        assert files.sha256(folder) == done.stdout.split()[0]
    before = files.sha256(folder)
    (folder / "Data" / "weights").rename(folder / "Data" / "other")
    assert files.sha256(folder) != before


# ---- where there is no Mac


@pytest.mark.skipif(runtime.ON_A_MAC, reason="a Mac runs it")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["cost"], "is neither .tflite nor .onnx: its cost cannot be read"),
        (["bench"], "is neither .tflite nor .onnx"),
        (["evaluate", "--data", "{data}"], "runs on macOS and iOS alone: give the .tflite or .onnx"),
        (["verify", "--data", "nowhere", "--on", "coreml"], "runs on macOS and iOS alone"),
    ],
)
def test_commands_meet_a_package_with_a_clear_line(
    command: list[str],
    words: str,
    tiny_data: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.mlpackage").mkdir()
    assert main([command[0], "net.mlpackage", *(word.format(data=tiny_data) for word in command[1:])]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert [path.name for path in tmp_path.iterdir()] == ["net.mlpackage"]


@pytest.mark.skipif(runtime.ON_A_MAC, reason="a Mac runs it")
def test_the_client_is_said_to_be_on_a_mac(tmp_path: Path) -> None:
    (client,) = known.named(["coreml"])
    lack = install.missing(client)
    assert str(lack) == f"there is none on {platform.system()}: run footseg verify on a Mac"
    (standing,) = where.of_verified(tmp_path / "net.mlpackage")
    assert standing.basis == "not known"


# ---- a Mac, as far as one can be played


class FakeModel:
    """Core ML's Python model: logits that are red and green, from an image as Pillow has it."""

    def __init__(self, path: str, compute_units: str) -> None:
        if not Path(path, "Manifest.json").is_file():
            raise RuntimeError("Unable to load\nmore of it")
        self.units = compute_units

    def get_spec(self) -> Any:
        image = SimpleNamespace(imageType=SimpleNamespace(height=4, width=6))
        logits = SimpleNamespace(multiArrayType=SimpleNamespace(shape=[1, 4, 6, 2]))
        named = {"input": [("image", image)], "output": [("logits", logits)]}
        ends = {side: [SimpleNamespace(name=n, type=t) for n, t in found] for side, found in named.items()}
        return SimpleNamespace(description=SimpleNamespace(**ends))

    def predict(self, given: dict[str, Any]) -> dict[str, np.ndarray]:
        return {"logits": np.asarray(given["image"], np.float32)[None, ..., :2]}


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package on a machine that says it is a Mac."""
    tools = SimpleNamespace(
        models=SimpleNamespace(MLModel=FakeModel), ComputeUnit=SimpleNamespace(CPU_ONLY="cpu")
    )
    monkeypatch.setitem(sys.modules, "coremltools", tools)
    monkeypatch.setattr(runtime, "ON_A_MAC", True)
    path = tmp_path / "net.mlpackage"
    path.mkdir()
    (path / "Manifest.json").write_text("{}")
    return path


def test_on_a_mac_a_package_runs_as_every_file_does(mac: Path) -> None:
    model = runtime.load(mac)
    assert (model.size, model.classes, model.ends.output.name) == ((4, 6), 2, "logits")
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    logits = model.logits(images)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, images[..., :2])
    with pytest.raises(ValueError, match="letterbox them"):
        model.logits(images[:, :2])


def test_on_a_mac_what_is_no_model_is_named(mac: Path) -> None:
    (mac / "Manifest.json").unlink()
    with pytest.raises(FootsegError, match=r"Core ML cannot load .*net\.mlpackage \(Unable to load\)"):
        runtime.load(mac)
    with pytest.raises(FootsegError, match="no such file"):
        runtime.load(mac.with_name("none.mlpackage"))


def test_the_clients_script_asks_core_ml_image_by_image(tmp_path: Path) -> None:
    """The script itself, in a process of its own, with a stand-in for coremltools on its path."""
    (tmp_path / "coremltools.py").write_text(
        "import numpy as np\n"
        "from types import SimpleNamespace as N\n"
        "ComputeUnit = N(ALL='all')\n"
        "class MLModel:\n"
        "    def __init__(self, path, compute_units): assert compute_units == 'all'\n"
        "    def get_spec(self): return N(description=N(input=[N(name='i')], output=[N(name='o')]))\n"
        "    def predict(self, given): return {'o': np.asarray(given['i'], np.float32)[None, ..., :2]}\n"
        "models = N(MLModel=MLModel)\n"
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    np.save(tmp_path / "in.npy", images)
    command = [sys.executable, str(SCRIPTS / "coreml_.py"), "net.mlpackage", "in.npy", "out.npy"]
    environment = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["version"].startswith("macOS")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), images[..., :2])
