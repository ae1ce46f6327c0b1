"""A teacher's cached answers: when they may be, that they are its own, and training on with them."""

from pathlib import Path

import keras
import numpy as np
import pytest

from footseg import files, networks, run
from footseg.data import folder
from footseg.errors import FootsegError
from footseg.runtime import to_float
from footseg.training import lessons
from footseg.training.config import TrainConfig, from_values
from footseg.training.distill import Teacher
from footseg.training.sampling import Pool
from footseg.training.train import train
from tests.conftest import train_one_epoch

PLAIN = {"flip": 0.0, "affine": 0.0, "zoom_out": 0.0, "colour": 0.0, "hue": 0.0}


def config_of(data: Path, **options: object) -> TrainConfig:
    base = {
        "network": "unet",
        "network_options": {"base": 4},
        "size": 32,
        "batch": 5,
        "steps": 2,
        "epochs": 2,
    }
    return from_values({"data": str(data), **base, "loss": ["ce", "distill"], **options})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    keras.utils.set_random_seed(7)
    networks.build("unet", (32, 32, 3), 2, base=6).save(path)
    return path


def test_answers_are_cached_where_nothing_is_augmented_and_logits_are_all() -> None:
    feet = Path("feet")
    assert lessons.may_be_cached(config_of(feet, **PLAIN))
    assert lessons.may_be_cached(config_of(feet, **PLAIN, loss=["regression"]))
    for name in PLAIN:
        assert not lessons.may_be_cached(config_of(feet, **(PLAIN | {name: 0.1})))
    assert not lessons.may_be_cached(config_of(feet, **PLAIN, paste=0.5))
    assert not lessons.may_be_cached(config_of(feet, **PLAIN, loss=["distill", "hint"]))
    assert not lessons.may_be_cached(config_of(feet, **PLAIN, loss=["attention"]))


def test_cached_answers_are_the_teachers_in_memory_and_in_a_file(
    teacher: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    network = keras.saving.load_model(teacher, compile=False)
    pool = Pool((folder.load_split(folder.open_data(tiny_data), "train", (32, 32)),))
    inside = lessons.teacher_logits(Teacher(network), "abc", pool, config_of(tiny_data))
    assert inside.dtype == np.float16
    given = network.predict(to_float(pool.splits[0].images), verbose=0)
    # Half a unit in the last of float16's eleven bits, of logits that other batches round otherwise.
    np.testing.assert_allclose(inside, given, rtol=2**-11 + 1e-5, atol=1e-5)

    pool = Pool(pool.splits * 12)  # 288 images of 4096 bytes: more than a megabyte
    small = config_of(tiny_data, memory_limit_mb=1)
    mapped = lessons.teacher_logits(Teacher(network), "abc", pool, small)
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped[:24], inside)
    np.testing.assert_array_equal(mapped[264:], inside)
    monkeypatch.setattr(lessons, "_fill", lambda *_: pytest.fail("they were in the file"))
    again = lessons.teacher_logits(Teacher(network), "abc", pool, small)
    np.testing.assert_array_equal(again, mapped)


@pytest.mark.slow
def test_a_run_with_cached_answers_resumes_to_the_bit_and_knows_its_teacher(
    teacher: Path, tiny_data: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "teacher.keras"
    moved.write_bytes(teacher.read_bytes())
    config = config_of(tiny_data, **PLAIN, teacher=str(moved))
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(config, whole)
    train_one_epoch(config, halves)
    train(config, halves, resume=True)
    first, again = (
        keras.saving.load_model(path / "model.keras", compile=False).get_weights() for path in (whole, halves)
    )
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert run.load(whole).parents == {"teacher": files.sha256(teacher)}

    train_one_epoch(config, tmp_path / "third")
    networks.build("unet", (32, 32, 3), 2, base=5).save(moved)
    with pytest.raises(FootsegError, match=r"is not the teacher that .* began with"):
        train(config, tmp_path / "third", resume=True)
