"""Verification catches what really goes wrong in conversions: each fault is planted in a converted file."""

import contextlib
import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from footseg import artifact, paired, runtime
from footseg.errors import FootsegError
from footseg.export import freeze, quantize, tflite, verify
from footseg.export.precisions import PRECISIONS
from footseg.export.verify import Sample, Verification
from footseg.paired import Difference
from tests.runs import save_run

tf = pytest.importorskip("tensorflow", reason="converts the networks: pip install '.[train]'")


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> Any:
    return freeze.load_network(tiny_run / "model.keras")


@pytest.fixture(scope="module")
def sample(tiny_data: Path) -> Sample:
    return verify.sample(tiny_data, (64, 64))


@pytest.fixture(scope="module")
def expected(tiny_run: Path, sample: Sample) -> np.ndarray:
    return runtime.load(tiny_run).logits(sample.images)


def tflite_of(function: Callable[[Any], Any], *trackable: Any) -> bytes:
    """``function`` of an image as a .tflite; unlike export, whatever it does is converted."""
    spec = tf.TensorSpec((1, 64, 64, 3), tf.float32, name="image")
    concrete = tf.function(function, input_signature=[spec]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], *trackable)
    return converter.convert()


# ---- planted faults


def right(model: Any) -> bytes:
    return tflite_of(lambda image: model(image, training=False), tf.Module())


def batch_norm_in_training_mode(model: Any) -> bytes:
    """As a model called without ``training=False`` may be traced: each image has statistics of its own."""
    import keras

    def by_batch(layer: Any) -> Any:
        copy = type(layer).from_config(layer.get_config())
        if isinstance(layer, keras.layers.BatchNormalization):
            copy.call = lambda x, **_: tf.nn.batch_normalization(
                x, *tf.nn.moments(x, (0, 1, 2)), copy.beta, copy.gamma, copy.epsilon
            )
        return copy

    copy = keras.models.clone_model(model, clone_function=by_batch)
    copy.set_weights(model.get_weights())
    return tflite_of(lambda image: copy(image, training=False))


def unfrozen_weights(model: Any) -> bytes:
    """The second argument that the converter's documents ask for leaves the weights outside the file."""
    return tflite_of(lambda image: model(image, training=False), model)


def red_and_blue_swapped(model: Any) -> bytes:
    return tflite_of(lambda image: model(tf.gather(image, [2, 1, 0], axis=-1), training=False), tf.Module())


def pixels_in_0_to_255(model: Any) -> bytes:
    return tflite_of(lambda image: model(image / 255, training=False), tf.Module())


def one_class_zeroed(model: Any) -> bytes:
    return tflite_of(lambda image: model(image, training=False) * [1.0, 0.0], tf.Module())


@pytest.fixture(scope="module")
def planted(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """The file of a fault, made once."""
    folder = tmp_path_factory.mktemp("planted")

    def file(fault: Callable[[Any], bytes]) -> Path:
        path = folder / f"{fault.__name__}.tflite"
        if not path.is_file():
            path.write_bytes(fault(model))
        return path

    return file


def test_a_faithful_file_passes(planted: Callable[[Any], Path], expected: np.ndarray, sample: Sample) -> None:
    """So that the faults below fail for their fault and not for the way their file was made."""
    found = verify.verify(expected, planted(right), sample, "fp32")
    assert found.pixels_equal == 1.0
    assert found.images == 8
    assert found.split == "val"


# int8 has the widest limits but for int4w, which is made from an fp32 file that passed those of fp32.
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(
    "fault",
    [
        batch_norm_in_training_mode,
        unfrozen_weights,
        red_and_blue_swapped,
        pixels_in_0_to_255,
        one_class_zeroed,
    ],
)
def test_a_planted_fault_is_caught(
    fault: Callable[[Any], bytes],
    precision: str,
    planted: Callable[[Any], Path],
    expected: np.ndarray,
    sample: Sample,
) -> None:
    with pytest.raises(FootsegError, match=rf"{fault.__name__}\.tflite does not do .* mean logit difference"):
        verify.verify(expected, planted(fault), sample, precision)


def apart(value: float) -> Difference:
    """The same on each of four images."""
    return Difference(value, 0.0, 0.0, 4)


def test_the_error_names_measure_value_limit_and_the_three_worst_images() -> None:
    found = Verification(
        images=4,
        split="val",
        logit_scale=1.0,
        logit_max=0.5,
        logit_mean=0.25,
        logit_max_absolute=0.5,
        logit_mean_absolute=0.25,
        pixels_equal=1.0,
        iou=apart(0.0),
        boundary_f=apart(-0.5),
        worst=(("b", 0.5), ("a", 0.25), ("d", 0.0)),
    )
    with pytest.raises(FootsegError) as caught:
        verify.check(found, PRECISIONS["int8"].tolerance, "net.tflite")
    text = str(caught.value)
    assert "net.tflite" in text
    assert "mean logit difference 0.25 (limit 0.03)" in text
    assert "; difference in boundary F 0.5 (limit 0.02; -0.5000 to -0.5000 on 4 images)" in text
    assert "b (50.0% of its pixels), a (25.0% of its pixels), d (0.0% of its pixels)" in text
    assert "largest logit" not in text


@pytest.mark.parametrize(
    ("iou", "last", "refused"),
    [
        # Nobody can tell of one image, but five limits of 0.01 lost on it are lost.
        (Difference(-0.051, math.inf, 0.0, 1), True, True),
        (Difference(-0.049, math.inf, 0.0, 1), True, False),
        (Difference(-0.051, math.inf, 0.0, 1), False, False),  # More images are taken.
        # Two of eight objects gone: the interval reaches up to the limit.
        (Difference(-0.25, 0.16, -1.15, 8), True, True),
    ],
)
def test_what_is_ruined_is_refused_however_few_the_images(iou: Difference, last: bool, refused: bool) -> None:
    found = Verification(iou.images, "val", 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, iou, apart(0.0), ())
    assert verify.paired.decide(iou, 0.01).verdict == "cannot tell"
    error = pytest.raises(FootsegError, match="difference in IoU") if refused else contextlib.nullcontext()
    with error:
        verify.check(found, PRECISIONS["int8"].tolerance, "net.tflite", last=last)


@pytest.mark.parametrize("measure", ["logit_max", "logit_mean", "pixels_equal", "iou", "boundary_f"])
def test_a_measure_that_is_no_number_fails(measure: str) -> None:
    good = Verification(4, "val", 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, apart(0.0), apart(0.0), ())
    verify.check(good, PRECISIONS["fp32"].tolerance, "net.tflite")
    wrong = apart(float("nan")) if measure in ("iou", "boundary_f") else float("nan")
    with pytest.raises(FootsegError):
        verify.check(
            dataclasses.replace(good, **{measure: wrong}), PRECISIONS["fp32"].tolerance, "net.tflite"
        )


def test_a_precision_without_limits_is_refused(tmp_path: Path, sample: Sample) -> None:
    with pytest.raises(ValueError, match="no tolerance for precision 'fp8'"):
        verify.verify(np.zeros(()), tmp_path / "x.tflite", sample, "fp8")


# ---- the measures, by hand


def by_hand(masks: list[list[int]]) -> Sample:
    """Images of one row; the pixels do not matter."""
    truth = np.array(masks, np.uint8)[:, None, :]
    return Sample("val", tuple("abcd"[: len(truth)]), np.zeros((*truth.shape, 3), np.uint8), truth)


def logits_of(values: list[list[float]]) -> np.ndarray:
    """Two classes; ``values`` is the logit of class 1, class 0 has its negative."""
    row = np.array(values, np.float32)[:, None, :]
    return np.stack([-row, row], axis=-1)


def test_measures_of_two_small_images() -> None:
    on = by_hand([[0, 0, 1, 1], [1, 1, 1, 255]])
    keras = logits_of([[-1, -1, 1, 1], [1, 1, 1, 1]])
    exported = logits_of([[-1, 1, 1, 1], [1, 1, 1, -1]])
    found = verify.compare(keras, exported, on)
    # Two of 8 pixels moved by 2 in both logits; the logits are +-1, so their deviation is 1.
    assert found.logit_scale == 1.0
    assert found.logit_max == found.logit_max_absolute == 2.0
    assert found.logit_mean == found.logit_mean_absolute == 0.5
    # One of the 7 pixels that are not padding changed its class.
    assert found.pixels_equal == pytest.approx(6 / 7)
    # Keras finds the 5 feet's pixels exactly; the exported file one more: 5 / 6.
    assert found.iou.value == pytest.approx(5 / 6 - 1)
    assert found.worst == (("a", 0.25), ("b", 0.0))


def test_where_the_logits_are_no_numbers_the_pixels_differ() -> None:
    on = by_hand([[0, 1]])
    keras = logits_of([[-1, 1]])
    found = verify.compare(keras, np.full_like(keras, np.nan), on)
    assert found.logit_max == np.inf
    assert found.pixels_equal == 0.0


def test_logits_of_other_images_are_refused() -> None:
    on = by_hand([[0, 1]])
    with pytest.raises(ValueError, match="must be of the same images"):
        verify.compare(logits_of([[0, 1]]), logits_of([[0, 1, 2]]), on)


# ---- the sample


def test_the_sample_is_evenly_spaced_over_the_validation_split(tiny_data: Path) -> None:
    every = verify.sample(tiny_data, (64, 64), count=100)
    assert len(every.names) == 8
    some = verify.sample(tiny_data, (32, 32), count=3)
    # Places 0, 3.5 (to the even one) and 7 of eight.
    assert some.names == (every.names[0], every.names[4], every.names[7])
    assert some.images.shape == (3, 32, 32, 3)
    assert some.masks.shape == (3, 32, 32)


def test_without_validation_images_training_ones_are_taken_and_never_test_ones(
    tiny_data: Path, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        (tmp_path / split).symlink_to(tiny_data / split)
    assert verify.sample(tmp_path, (64, 64)).split == "train"
    (tmp_path / "train").unlink()
    with pytest.raises(FootsegError, match=r"neither val nor train .* pass --data DIR"):
        verify.sample(tmp_path, (64, 64))


def test_a_data_set_that_is_gone_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match=r"moved is gone, .*: pass --data DIR"):
        verify.sample(tmp_path / "moved", (64, 64))


def test_further_images_come_in_rounds_of_as_many_as_before(tmp_path: Path) -> None:
    data = feet(tmp_path, 21)
    on = verify.sample(data, (SIDE, SIDE), 4)
    more = verify.more(data, on, first_channel)
    assert [len(round_) for round_ in more.rounds] == [4, 8, 5]
    taken = [on.names, *([pair.name for pair in round_] for round_ in more.rounds)]
    assert sorted(itertools.chain(*taken)) == [f"{i:03}" for i in range(21)]
    assert [pair.name for pair in more.rounds[0]] == ["001", "006", "014", "019"]
    (part,) = more.read(more.rounds[1])
    assert (len(part.names), part.images.shape, part.split) == (8, (8, SIDE, SIDE, 3), "val")
    assert verify.more(data, verify.sample(data, (SIDE, SIDE), 21), first_channel).rounds == ()


# ---- what is decided, and on how many images

SIDE = 64


def feet(folder: Path, count: int, shaved: Sequence[int] = ()) -> Path:
    """A data set: a foot is the right half of an image, red is 255 in it.

    Of ``shaved`` rows of an image the first two pixels of the foot are as good as none: red is 128 there.
    """
    for split, number in (("train", 1), ("val", count)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(number):
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[:, SIDE // 2 :] = 1
            image = np.zeros((SIDE, SIDE, 3), np.uint8)
            image[..., 0] = 255 * mask
            image[: shaved[index] if split == "val" and shaved else 0, SIDE // 2 : SIDE // 2 + 2, 0] = 128
            Image.fromarray(image).save(folder / split / "images" / f"{index:03}.png")
            Image.fromarray(mask).save(folder / split / "masks" / f"{index:03}.png")
    return folder


def first_channel(images: np.ndarray) -> np.ndarray:
    """The network: a foot is where red is 127 or more; logits of +-1 next to 0 and 255."""
    red = images[..., 0].astype(np.float32) / 127.5 - 0.996
    return np.stack([-red, red], axis=-1)


class Stricter:
    """The file: a foot is where red is 130 or more."""

    @staticmethod
    def logits(images: np.ndarray) -> np.ndarray:
        return first_channel(images) + np.array([0.01, -0.01], np.float32)


def verified(
    data: Path, monkeypatch: pytest.MonkeyPatch, read: list[Sequence[Any]] | None = None
) -> Verification:
    """``Stricter`` held against the network as an int8 file; ``read`` gets the rounds taken."""
    monkeypatch.setattr(runtime, "load", lambda path, threads: Stricter)
    on = verify.sample(data, (SIDE, SIDE))
    more = verify.more(data, on, first_channel)
    if read is not None:
        rounds = verify.More.read
        monkeypatch.setattr(
            verify.More, "read", lambda self, round_: read.append(round_) or rounds(self, round_)
        )
    path = Path("net.tflite")
    return verify.verify(first_channel(on.images), path, on, "int8", further=more)


def test_a_file_that_a_few_images_speak_against_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that there are, eight of 64x64: boundary F is further apart than its limit, perhaps by chance."""
    found = verified(feet(tmp_path, 8, [3, 0, 9, 0, 0, 1, 0, 0]), monkeypatch)
    assert found.boundary_f.value == pytest.approx(-0.0219, abs=5e-4)
    decided = found.decisions["boundary_f"]
    assert (decided.verdict, decided.images, decided.limit) == ("cannot tell", 8, 0.02)
    assert decided.low < -0.02 < decided.high
    assert "; cannot tell on 8 images whether boundary F is within 0.02 (-0." in found.summary()
    json.dumps(found.to_json(), allow_nan=False)


def test_a_file_that_is_worse_on_all_of_eight_images_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        FootsegError, match=r"difference in boundary F 0\.\d+ \(limit 0\.02; .* on 8 images\)"
    ):
        verified(feet(tmp_path, 8, [20, 24, 28, 20, 24, 28, 20, 24]), monkeypatch)


def test_a_file_within_its_limits_needs_no_further_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Sequence[Any]] = []
    found = verified(feet(tmp_path, 70, [1, 0] * 35), monkeypatch, read)
    assert read == []
    assert {decision.verdict for decision in found.decisions.values()} == {"within"}
    assert {decision.images for decision in found.decisions.values()} == {found.images} == {32}
    # Rounds of 32 and 6 could have followed.
    assert found.decisions["iou"].confidence == pytest.approx(1 - 0.01 / 3)


def test_where_one_cannot_tell_twice_as_many_images_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boundary F is 0.012 apart, and on 32 images its interval ends beyond 0.02."""
    read: list[Sequence[Any]] = []
    found = verified(feet(tmp_path, 200, [0, 0, 3, 1] * 50), monkeypatch, read)
    decided = found.decisions["boundary_f"]
    assert (decided.verdict, decided.images) == ("within", 128)
    assert found.boundary_f.value == decided.difference == pytest.approx(-0.0116, abs=0.002)
    assert found.summary().endswith(" on 128 images")
    assert [len(round_) for round_ in read] == [32, 64]
    # Logits and pixels are held on the first 32.
    assert found.images == 32


def test_a_file_that_is_worse_by_little_is_refused_once_there_are_images_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boundary F is 0.026 apart, its interval half as wide with four times as many images."""
    read: list[Sequence[Any]] = []
    with pytest.raises(FootsegError, match=r"difference in boundary F 0\.02\d+ \(.* on 256 images\)"):
        verified(feet(tmp_path, 600, [0, 2, 4] * 200), monkeypatch, read)
    assert [len(round_) for round_ in read] == [32, 64, 128]


def red_threshold(shift: float) -> Any:
    """A Keras network that does what ``first_channel`` and (``shift`` 0.01) ``Stricter`` do."""
    keras = pytest.importorskip("keras")
    image = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0] = -2, 2
    model.set_weights([kernel, np.array([0.996 + shift, -0.996 - shift], np.float32)])
    return model


@pytest.mark.parametrize(
    ("shaved", "verdict"), [([3, 0, 9, 0, 0, 1, 0, 0], "cannot tell"), ([20, 24] * 4, "beyond")]
)
def test_the_command_says_what_it_could_not_tell(
    shaved: list[int],
    verdict: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from footseg.cli import main

    data, out = feet(tmp_path / "data", 8, shaved), tmp_path / "out"
    run = save_run(tmp_path / "run", red_threshold(0.0), network="red", data=f"{data}")
    stricter = tflite.convert(freeze.freeze(red_threshold(0.01), tmp_path / "stricter"))
    monkeypatch.setattr(
        quantize, "quantize", lambda whole, to, *_, **__: stricter if to == "int8" else whole.read_bytes()
    )

    code = main(["export", str(run.path), "--out", str(out), "--precision", "fp32", "int8", "--no-speed"])
    said = capsys.readouterr()
    name = "red_64x64_int8.tflite"
    if verdict == "beyond":
        assert code == 1
        assert f"{name} does not do what its Keras network does: " in said.err
        assert not (out / name).exists()
        return
    assert code == 0
    fp32, int8 = (line for line in said.out.splitlines() if " MB, verified" in line)
    assert fp32.endswith(" MB, verified")
    assert " MB, verified, but cannot tell on 8 images whether " in int8
    assert "cannot tell on 8 images whether boundary F is within 0.02 (-0." in said.err
    found = artifact.load(out / name).verification
    decided = paired.decisions(found)["boundary_f"]
    assert (decided.verdict, decided.images, decided.limit) == ("cannot tell", 8, 0.02)
    assert decided.difference == found["boundary_f"] == pytest.approx(-0.0219, abs=5e-4)
