"""What a configuration becomes: arithmetic, class weights, what is refused before anything is decoded."""

from pathlib import Path

import keras
import numpy as np
import pytest

from footseg import networks, run
from footseg.data import folder
from footseg.data.shapes import write_shapes
from footseg.data.synth import SynthConfig
from footseg.errors import FootsegError
from footseg.training import job
from footseg.training.class_weights import class_weights, count
from footseg.training.config import TrainConfig, from_values
from footseg.training.distribution import Team
from footseg.training.train import train
from tests.conftest import train_one_epoch

# The smallest network with everything that training meets, trained for a moment.
SMALL = {
    "network": "unet",
    "size": 32,
    "batch": 4,
    "steps": 2,
    "epochs": 2,
    "ema": 0.5,
    "network_options": {"base": 4, "dropout": 0.2},
}


def config_of(data: Path, **options: object) -> TrainConfig:
    return from_values({"data": str(data), **SMALL, **options})


def prepared(config: TrainConfig) -> job.Job:
    return job.prepare(config, Team(), lambda line: None, fresh=True)


def weights(path: Path) -> list[np.ndarray]:
    return keras.saving.load_model(path / "model.keras", compile=False).get_weights()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_resumes_to_the_bit_and_exports_float32(
    precision: str, tiny_data: Path, tmp_path: Path
) -> None:
    from footseg.export.pipeline import export_run

    config = config_of(tiny_data, precision=precision)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(config, whole)
    train_one_epoch(config, halves)
    train(config, halves, resume=True)
    for one, other in zip(weights(whole), weights(halves), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)
    saved = keras.saving.load_model(whole / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    (artifact,) = export_run(whole, tmp_path / "export", formats=("tflite",), precisions=("fp32",))
    assert artifact.path.is_file(), "parity with Keras is part of the export"


def test_only_the_network_that_learns_computes_in_mixed_precision(tiny_data: Path) -> None:
    made = prepared(config_of(tiny_data, precision="mixed_bfloat16"))
    assert made.step.network.get_layer("centre_1_conv").compute_dtype == "bfloat16"
    assert made.validated.get_layer("centre_1_conv").compute_dtype == "float32"
    assert {str(weight.dtype) for weight in made.step.network.weights} == {"float32"}


def test_arithmetic_is_put_back_when_building_fails() -> None:
    with pytest.raises(RuntimeError), job.arithmetic("mixed_float16"):
        assert keras.config.dtype_policy().name == "mixed_float16"
        raise RuntimeError
    assert keras.config.dtype_policy().name == "float32"


def test_class_weights_count_the_pixels_of_all_training_images(tiny_data: Path, tmp_path: Path) -> None:
    more = write_shapes(
        tmp_path / "more", SynthConfig({"train": 3, "val": 1, "test": 1}, seed=5, size=(64, 64))
    )
    config = config_of(tiny_data, class_weights=["inverse"], extra_data=[str(more)])
    made = prepared(config)
    masks = [folder.load_split(folder.open_data(d), "train", (32, 32)).masks for d in (tiny_data, more)]
    expected = class_weights(("inverse",), count(np.concatenate(masks), 2))
    assert job.weights_of_classes(config, made.pool, 2) == pytest.approx(tuple(expected))
    assert job.weights_of_classes(config_of(tiny_data), made.pool, 2) is None
    # They reach the loss: cross-entropy of one pixel of each class is no longer the plain mean.
    logits = keras.ops.convert_to_tensor(np.array([[[[2.0, 0.0], [2.0, 0.0]]]], np.float32))
    pixels = np.array([[[0, 1]]])
    surprise = np.log1p(np.exp([-2.0, 2.0]))
    only_ce = prepared(config_of(tiny_data, class_weights=["inverse"], loss=["ce"]))
    own = class_weights(("inverse",), count(masks[0], 2))
    assert float(only_ce.step.loss_of(logits, pixels)) == pytest.approx(
        (surprise * own).sum() / own.sum(), rel=1e-5
    )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    networks.build("unet", (32, 32, 3), 3, base=4).save(path)
    return path


def test_what_cannot_be_taught_is_said_before_anything_is_decoded(
    teacher: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "load_split", lambda *_: pytest.fail("data were decoded"))
    for options, message in (
        ({"loss": ["ce", "distill"]}, "loss distill needs a teacher"),
        ({"teacher": str(teacher)}, "has nothing to teach"),
        ({"teacher": str(teacher), "loss": ["distil"]}, "did you mean 'distill'"),
        ({"teacher": str(teacher), "loss": ["distill"]}, "knows 3 classes, the student learns 2"),
        ({"teacher": str(tmp_path / "gone.keras"), "loss": ["distill"]}, "no such file"),
        ({"start_from": str(tmp_path)}, "is not a run"),
        ({"freeze_encoder": True}, "an encoder of random weights"),
    ):
        with pytest.raises((FootsegError, ValueError), match=message):
            prepared(config_of(tiny_data, **options))


def test_extra_data_train_and_belong_to_the_fingerprint(tiny_data: Path, tmp_path: Path) -> None:
    more = write_shapes(
        tmp_path / "more", SynthConfig({"train": 4, "val": 1, "test": 1}, seed=5, size=(64, 64))
    )
    config = config_of(tiny_data, extra_data=[str(more)], extra_share=0.25, balance=0.5)
    out = tmp_path / "run"
    train_one_epoch(config, out)
    own = folder.load_split(folder.open_data(tiny_data), "train", (32, 32)).fingerprint
    assert run.load(out).data_fingerprint.startswith(f"{own}+")
    (removed, *_) = sorted((more / "train" / "images").iterdir())
    removed.unlink()
    (more / "train" / "masks" / f"{removed.stem}.png").unlink()
    with pytest.raises(
        FootsegError, match=rf"{more} is not what .* was trained on \(its fingerprint differs\)"
    ):
        train(config, out, resume=True)
