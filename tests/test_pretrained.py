"""Encoders filled from files: MobileSeg's gives what Keras's MobileNet gives, and a wrong file is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import networks
from footseg.errors import FootsegError

keras = pytest.importorskip("keras", reason="makes the networks: pip install '.[train]'")
h5py = pytest.importorskip("h5py", reason="reads the files: pip install '.[train]'")

from footseg.networks import _pretrained  # noqa: E402  (needs Keras)

SIZE = (64, 96, 3)  # not square, and 32 divides it
WIDTH = 0.25


def mobilenet(width: float = WIDTH, *, top: bool = False) -> Any:
    """Keras's own, with weights drawn: those it starts with make every normalisation an identity."""
    shape = (32, 32, 3) if top else SIZE
    network = keras.applications.MobileNet(shape, alpha=width, include_top=top, weights=None)
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return network


@pytest.fixture(scope="module")
def theirs() -> Any:
    return mobilenet()


def keras_2(network: Any, path: Path) -> Path:
    """A file as Keras 2 wrote them, mobilenet_2_5_224_tf_no_top.h5 for one."""
    with h5py.File(path, "w") as root:
        root.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        root.attrs["backend"] = b"tensorflow"
        for layer in network.layers:
            group = root.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = np.array(weight)
    return path


def saved(network: Any, path: Path) -> Path:
    network.save_weights(path) if path.name.endswith(".weights.h5") else network.save(path)
    return path


def features(network: Any, images: np.ndarray) -> np.ndarray:
    output = network.get_layer("conv_pw_13_relu").output
    return np.array(keras.Model(network.input, output)(images, training=False))


WRITERS: dict[str, Callable[[Any, Path], Path]] = {
    "mobilenet_2_5_224_tf_no_top.h5": keras_2,
    "mobilenet.weights.h5": saved,
    "mobilenet.keras": saved,
    "model.h5": saved,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_encoder_gives_what_keras_gives(name: str, theirs: Any, tmp_path: Path) -> None:
    path = WRITERS[name](theirs, tmp_path / name)
    ours = networks.build("mobileseg", SIZE, width=WIDTH, encoder_weights=str(path))
    images = np.random.default_rng(1).random((2, *SIZE), dtype=np.float32)
    expected = features(theirs, 2 * images - 1)
    assert expected.std() > 0.1
    np.testing.assert_allclose(features(ours, images), expected, atol=1e-5)
    # Random weights do not, so the file was read.
    assert np.abs(features(networks.build("mobileseg", SIZE, width=WIDTH), images) - expected).max() > 0.1


def test_a_file_with_a_classifier_will_do(tmp_path: Path) -> None:
    whole = mobilenet(top=True)
    path = keras_2(whole, tmp_path / "mobilenet_2_5_224_tf.h5")
    ours = networks.build("mobileseg", SIZE, width=WIDTH, encoder_weights=str(path))
    np.testing.assert_array_equal(
        ours.get_layer("conv_pw_13").get_weights()[0], whole.get_layer("conv_pw_13").get_weights()[0]
    )


def test_a_network_of_our_own_lends_its_encoder_only(tmp_path: Path) -> None:
    before = networks.build("mobileseg", (64, 64, 3), 2, width=WIDTH, decoder="M1")
    path = saved(before, tmp_path / "model.keras")
    after = networks.build("mobileseg", SIZE, 5, width=WIDTH, encoder_weights=str(path))

    def kernel(network: Any, layer: str) -> np.ndarray:
        return network.get_layer(layer).get_weights()[0]

    np.testing.assert_array_equal(kernel(after, "conv1"), kernel(before, "conv1"))
    assert not np.array_equal(kernel(after, "decoder4_mid_up"), kernel(before, "decoder4_mid_up"))


# ---- files that do not fit


def fill(path: Path, width: float = WIDTH) -> None:
    networks.build("mobileseg", SIZE, width=width, encoder_weights=str(path))


def test_another_width_names_the_layer_and_both_shapes(theirs: Any, tmp_path: Path) -> None:
    path = keras_2(theirs, tmp_path / "quarter.h5")
    said = (
        r"quarter\.h5 does not fit mobileseg: its layer conv1 has weights of 3x3x3x8, the network's of "
        r"3x3x3x16; give the network the width that the file was made with"
    )
    with pytest.raises(FootsegError, match=said):
        fill(path, width=0.5)


def test_another_network_names_the_layer_that_is_missing(tmp_path: Path) -> None:
    path = saved(networks.build("unet", (16, 16, 3), base=4), tmp_path / "unet.keras")
    with pytest.raises(
        FootsegError, match=r"unet\.keras does not fit .* no layer conv1 \(of 3x3x3x8\); it has \w+"
    ):
        fill(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match=r"no such file of weights: .*gone\.h5"):
        fill(tmp_path / "gone.h5")
    for name in ("text.h5", "text.weights.h5", "text.keras"):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(FootsegError, match=rf"{name} is not a file of Keras weights .* or is damaged"):
            fill(tmp_path / name)
    whole = saved(networks.build("unet", (16, 16, 3), base=4), tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FootsegError, match=r"cut\.keras is not a file of Keras weights"):
        fill(tmp_path / "cut.keras")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FootsegError, match=r"folder is not a run"):
        fill(tmp_path / "folder")


# ---- Keras's ImageNet weights


def test_imagenet_weights_are_those_of_the_width(
    theirs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def get_file(name: str, url: str, **keywords: Any) -> str:
        asked.append((name, url))
        return str(keras_2(theirs, tmp_path / name))

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    network = networks.build("mobileseg", SIZE, width=WIDTH, encoder_weights="imagenet")
    name = "mobilenet_2_5_224_tf_no_top.h5"
    folder = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet"
    assert asked == [(name, f"{folder}/{name}")]
    np.testing.assert_array_equal(
        network.get_layer("conv1").get_weights()[0], theirs.get_layer("conv1").get_weights()[0]
    )
    with pytest.raises(ValueError, match=r"for width 0\.25, 0\.5, 0\.75, 1\.0, not 0\.35"):
        networks.build("mobileseg", SIZE, width=0.35, encoder_weights="imagenet")


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keras's own downloader fails, at an address where nobody answers."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(
        FootsegError, match=r"127\.0\.0\.1.*cannot be fetched.*give its path as encoder_weights"
    ):
        _pretrained.fetch("http://127.0.0.1:9/mobilenet.h5")


# ---- runs


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="turns TensorFlow's graphs off")
def test_a_run_never_needs_the_file_again(
    theirs: Any, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after an epoch, the file gone: resumed, loaded and built at another size all the same."""
    tf = pytest.importorskip("tensorflow")
    from footseg import run as runs
    from footseg import runtime
    from footseg.training import train
    from footseg.training.config import from_values
    from tests.conftest import TINY

    weights = saved(theirs, tmp_path / "encoder.keras")
    options = {"width": WIDTH, "encoder_weights": str(weights)}
    config = from_values(
        {"network": "mobileseg", "data": str(tiny_data), **TINY, "epochs": 2, "steps": 1}
        | {"network_options": options}
    )

    def stop(line: str) -> None:
        if line.startswith("epoch 1/"):
            raise KeyboardInterrupt

    tf.config.run_functions_eagerly(True)  # two steps are not worth two compilations
    try:
        out = tmp_path / "run"
        with pytest.raises(train.TrainingInterruptedError):
            train.train(config, out, say=stop)
        weights.unlink()
        with pytest.raises(FootsegError, match="no such file of weights"):
            train.train(config, tmp_path / "new")
        record = train.train(config, out, resume=True)
    finally:
        tf.config.run_functions_eagerly(False)
    assert (record.status, record.epochs_done) == ("finished", 2)
    record, trained = runs.load(out), runtime.load(out)
    assert trained.size == (64, 64)
    elsewhere = networks.build(record.network, (96, 64, 3), 2, **record.network_options)
    elsewhere.set_weights(trained.model.get_weights())
