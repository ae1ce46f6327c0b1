"""Weights from another run: all, all but the head, or a clear no; and an encoder that stays as it is."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from footseg import files, networks, run
from footseg.errors import FootsegError
from footseg.training.config import TrainConfig, from_values
from footseg.training.finetune import freeze, start_from
from footseg.training.train import train
from tests.conftest import TINY, train_one_epoch
from tests.runs import save_run

OPTIONS = {"width": 0.25, "dropout": 0.0}
ONE_STEP = TINY | {"epochs": 1, "steps": 1}


def build(classes: int = 2, **options: float) -> keras.Model:
    return networks.build("fast_linknet", (64, 64, 3), classes, **(OPTIONS | options))


def weights(network: keras.Model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}


def config_of(data: Path, **options: object) -> TrainConfig:
    return from_values({"network": "fast_linknet", "data": str(data), **ONE_STEP, **options})


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with statistics that are not those of a new one."""
    network = build()
    rng = np.random.default_rng(3)
    for layer in network.layers:
        layer.set_weights([np.abs(w + rng.normal(0, 0.1, w.shape)) + 0.01 for w in layer.get_weights()])
    path = tmp_path_factory.mktemp("parent") / "parent.keras"
    network.save(path)
    return path


def test_the_same_network_takes_all_weights(parent: Path) -> None:
    network = build()
    assert start_from(network, parent) == f"starts from the weights of {parent}"
    theirs = weights(keras.saving.load_model(parent, compile=False))
    for name, ours in weights(network).items():
        for one, other in zip(ours, theirs[name], strict=True):
            np.testing.assert_array_equal(one, other)


def test_other_classes_get_a_new_head_and_it_is_said(parent: Path) -> None:
    network = build(classes=5)
    before = weights(network)["classifier"]
    said = start_from(network, parent)
    assert said == f"starts from the weights of {parent}; starts new, for other classes: classifier"
    theirs = weights(keras.saving.load_model(parent, compile=False))
    for name, ours in weights(network).items():
        for one, other in zip(ours, before if name == "classifier" else theirs[name], strict=True):
            np.testing.assert_array_equal(one, other)


def test_classes_are_compared_by_name(tmp_path: Path) -> None:
    trained = save_run(tmp_path / "run", build()).path
    network, data = build(), Path("feet")
    before = network.get_weights()
    with pytest.raises(FootsegError, match=r"background, foot, feet has foot, background: the same names in"):
        start_from(network, trained, ("foot", "background"), data)
    for one, other in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    said = start_from(network, trained, ("background", "shoe"), data)
    assert said.endswith("feet has background, shoe: they are compared by their numbers")
    assert (
        start_from(network, trained, ("background", "foot"), data) == f"starts from the weights of {trained}"
    )


def test_what_does_not_fit_is_named(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match=r"layer 'stem_conv' .* has weights of shapes \[\(7, 7, 3, 16\)\]"):
        start_from(build(width=0.5), parent)
    # Other classes excuse the head only.
    with pytest.raises(FootsegError, match="layer 'stem_conv'"):
        start_from(build(classes=3, width=0.5), parent)
    other = networks.build("mobileseg", (64, 64, 3), 2, width=0.25)
    with pytest.raises(FootsegError, match=r"is another network \(fast_linknet\) than mobileseg.* a layer '"):
        start_from(other, parent)
    with pytest.raises(FootsegError, match="no such file"):
        start_from(build(), tmp_path / "gone.keras")
    with pytest.raises(FootsegError, match="is not a run"):
        start_from(build(), tmp_path)


def test_only_the_encoder_is_frozen(parent: Path) -> None:
    network = build()
    freeze(network, config_of(Path("feet"), start_from=str(parent)))
    frozen = {layer.name for layer in network.layers if not layer.trainable}
    learning = {layer.name for layer in network.layers if layer.trainable and layer.weights}
    assert {"stem_conv", "stem_bn", "encoder1_a_1_depthwise", "encoder4_b_2_bn"} <= frozen
    assert {"decoder4_reduce_conv", "tail1_up", "classifier"} <= learning
    assert not any(name.startswith(networks.encoder_prefixes("fast_linknet")) for name in learning)
    with pytest.raises(ValueError, match="an encoder of random weights: give the run to start_from"):
        freeze(network, config_of(Path("feet")))


@pytest.fixture(scope="module")
def tuned(parent: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs with a frozen encoder; after the first the parent is gone."""
    folder = tmp_path_factory.mktemp("tuned")
    moved, out = folder / "moved.keras", folder / "run"
    shutil.copy(parent, moved)
    config = config_of(
        tiny_data, start_from=str(moved), freeze_encoder=True, epochs=2, steps=2, ema=0.9, weight_decay=0.1
    )
    train_one_epoch(config, out)
    moved.unlink()
    train(config, out, resume=True)
    return out


@pytest.mark.slow
def test_a_frozen_encoder_stays_bit_for_bit_and_the_rest_learns(tuned: Path, parent: Path) -> None:
    before = weights(keras.saving.load_model(parent, compile=False))
    trained = keras.saving.load_model(tuned / "model.keras", compile=False)
    same = {
        name
        for name, after in weights(trained).items()
        if all((one == other).all() for one, other in zip(before[name], after, strict=True))
    }
    encoder = {name for name in before if name.startswith(networks.encoder_prefixes("fast_linknet"))}
    assert encoder
    assert same == encoder
    assert all(layer.trainable for layer in trained.layers)


@pytest.mark.slow
def test_a_run_says_what_it_started_from_and_resumes_without_it(tuned: Path, parent: Path) -> None:
    record = run.load(tuned)
    assert (record.status, record.epochs_done) == ("finished", 2)
    assert record.parents == {"start_from": files.sha256(parent)}
    assert json.loads((tuned / "run.json").read_text())["parents"]["start_from"] == files.sha256(parent)


def test_a_frozen_encoder_is_not_in_the_optimizer(parent: Path) -> None:
    from footseg.training.distill import Course
    from footseg.training.step import TrainingStep

    config = config_of(Path("feet"), start_from=str(parent))
    network = build()
    freeze(network, config)
    step = TrainingStep(network, Course(config, 1))
    held = {tuple(v.shape) for v in step.optimizer.variables}
    assert (7, 7, 3, 16) not in held  # stem_conv, the only kernel of this shape
    assert tuple(network.get_layer("tail2_conv").kernel.shape) in held
