"""Networks of other people: read, made like ours, scored on the ranges that fit, and refused in one line."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from footseg import artifact, cli, evaluate, run, runtime
from footseg.errors import FootsegError
from footseg.foreign import adopt
from footseg.foreign.canonical import canonical
from footseg.foreign.ends import RANGES, Ends, Reading
from footseg.foreign.reading import read
from tests import others

TABLE = Path(__file__).parents[1] / "docs" / "keras.md"
OWN = "0-1 rgb logits"
# What each takes and gives, and what of that nothing tells; or why it is refused.
READ = {
    "logits_of_two_classes": OWN,
    "softmax_in_the_convolution": "0-1 rgb probabilities",
    "softmax_layer": "0-1 rgb probabilities",
    "softmax_operation_of_three_classes": "0-1 rgb probabilities",
    "softmax_then_upsampling": "0-1 rgb probabilities",
    "softmax_of_a_separable_convolution": "0-1 rgb probabilities",
    "sigmoid_of_one_channel": "0-1 rgb foreground",
    "sigmoid_layer_of_one_channel": "0-1 rgb foreground",
    "sigmoid_then_upsampling": "0-1 rgb foreground",
    "sigmoids_of_three_channels": "0-1 rgb probabilities",
    "one_channel_without_a_sigmoid": "gives one channel, and not by a sigmoid.*--gives logit",
    "classes_by_argmax": "gives the numbers of classes.*without its argmax",
    "maps_of_half_the_size": OWN,
    "a_dict_of_one_output": OWN,
    "a_list_of_one_output": OWN,
    "two_outputs": "1 inputs and 2 outputs.*keras.Model",
    "rescaling_by_255": "0-255 rgb logits",
    "rescaling_to_plus_minus_one": "0-255 rgb logits",
    "rescaling_of_unit_pixels": OWN,
    "pixels_divided_by_255": "0-255 rgb logits",
    "pixels_minus_mean_over_deviation": "0-255 rgb logits",
    "normalization_of_known_mean": "0-255 rgb logits",
    "normalization_that_was_adapted": "0-255 rgb logits",
    "caffe_preprocessing_inside": "0-255 rgb logits",
    "uint8_pixels": "0-255 rgb logits",
    "int32_pixels": "0-255 rgb logits",
    "float16_pixels": OWN,
    "a_dict_of_one_input": OWN,
    "grey_images": "takes .*64, 1.*: footseg feeds images",
    "batches_of_four": OWN,
    "images_of_any_size": OWN,
    "a_sequential_model": OWN,
    "a_model_inside": OWN,
    "a_model_inside_called_twice": OWN,
    "a_layer_called_twice": OWN,
    "a_transposed_convolution_called_twice": OWN,
    "a_layer_as_activation": OWN,
    "a_leaky_layer_as_activation": OWN,
    "attention_of_several_heads": OWN,
    "mixed_float16": OWN,
    "mixed_float16_inside": OWN,
    "cropping": OWN,
    "a_slice_of_channels": OWN,
    "convolutions_in_groups": OWN,
    "dropout_and_random_flips": OWN,
    "mobilenet_v2_inside": "0-255 rgb foreground",
    "a_class_of_its_own": "Keras keeps no graph of",
}
TAKEN = [name for name, said in READ.items() if len(said.split()) == 3]
REFUSED = [name for name in READ if name not in TAKEN]
# Half precision keeps 11 bits: of outputs of the order of one, a thousandth.
ROUNDING = {"mixed_float16": 2e-3, "mixed_float16_inside": 2e-3, "float16_pixels": 2e-3}


def test_every_network_is_looked_at() -> None:
    assert READ.keys() == others.BUILDERS.keys()


def listed() -> dict[str, str]:
    """What the page says of each network, by the name of its builder."""
    rows = [
        line[2:-2].split(" | ") for line in TABLE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "
    ]
    return {name.replace(" ", "_"): said for name, said in rows if name.replace(" ", "_") in READ}


def test_the_page_lists_every_network() -> None:
    assert listed().keys() == READ.keys()


def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (4, others.SIZE, others.SIZE, 3), dtype=np.uint8)


def given(network: Any, found: Reading) -> Any:
    """What the network itself takes for ``pixels``."""
    values = found.of_pixels(runtime.to_float(pixels()))
    kind = str(network.inputs[0].dtype)
    values = np.rint(values).astype(kind) if "int" in kind else values
    return {"photo": values} if network.inputs[0].name == "photo" else values


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", TAKEN)
def test_a_network_like_ours_gives_what_it_gave(name: str) -> None:
    network = others.build(name)
    before = network.get_weights()
    found = read(network)
    assert f"{found.range} {found.order} {found.gives}" == READ[name]
    assert found.summary() == listed()[name]
    assert ("range" in found.assumed) == (found.range == "0-1" and name != "rescaling_of_unit_pixels")
    ours = canonical(network, found, (others.SIZE, others.SIZE))
    assert ours.input_shape == (None, others.SIZE, others.SIZE, 3)
    logits = np.asarray(ours(runtime.to_float(pixels()), training=False))
    (theirs,) = keras.tree.flatten(network(given(network, found), training=False))
    theirs = np.asarray(theirs, "float32")
    assert np.ptp(theirs) > 0.01, "there is nothing to compare"
    within = ROUNDING.get(name, 1e-6) * max(1.0, np.ptp(theirs))
    if name == "sigmoids_of_three_channels":
        logits = 1 / (1 + np.exp(-logits))
    elif found.gives == "probabilities":
        logits = softmax(logits)
    elif found.gives == "foreground":
        logits = softmax(logits)[..., 1:]
    np.testing.assert_allclose(logits, theirs, rtol=0, atol=within)
    # It stays what it was, and what became of it can be read once more.
    assert all(map(np.array_equal, network.get_weights(), before))
    assert read(ours).is_own
    assert canonical(ours, read(ours)) is ours


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(FootsegError, match=READ[name]) as error:
        read(others.build(name))
    assert "\n" not in str(error.value)
    assert listed()[name] == f"refused: {str(error.value).partition(' ')[2]}"


@pytest.mark.parametrize(("kind", "order"), [(kind, order) for kind in RANGES for order in ("rgb", "bgr")])
def test_ranges_and_orders_that_are_said(kind: str, order: str) -> None:
    network = others.build("logits_of_two_classes")
    found = read(network, Ends(range=kind, order=order))
    assert found.assumed == ()
    ours = canonical(network, found)
    theirs = np.asarray(network(given(network, found), training=False))
    # A factor of up to 255 is put into another layer than that which adds, in float32.
    np.testing.assert_allclose(
        ours(runtime.to_float(pixels()), training=False), theirs, rtol=0, atol=2e-6 * np.ptp(theirs)
    )


def test_pixels_of_each_range_by_hand() -> None:
    orange = np.array([[1.0, 0.5, 0.0]], "float32")
    for kind, order, expected in (
        ("0-1", "bgr", [0, 0.5, 1]),
        ("0-255", "rgb", [255, 127.5, 0]),
        ("tf", "rgb", [1, 0, -1]),
        ("torch", "rgb", [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, -0.406 / 0.225]),
        ("caffe", "bgr", [-103.939, 127.5 - 116.779, 255 - 123.68]),
    ):
        found = Reading(kind, order, "logits").of_pixels(orange)
        np.testing.assert_allclose(found, [expected], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def bytes_and_bgr(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network that takes 0 to 255 BGR, gives one probability, and says neither."""
    inside = keras.saving.load_model(tiny_run / "model.keras", compile=False)
    swap = layers_of(3, np.eye(3)[:, ::-1] / 255)
    last = layers_of(1, np.array([[-1.0], [1.0]]), activation="sigmoid")
    image = keras.Input(inside.input_shape[1:])
    path = tmp_path_factory.mktemp("foreign") / "my net (2).keras"
    keras.Model(image, last(inside(swap(image)))).save(path)
    return path


def layers_of(channels: int, kernel: np.ndarray, **settings: Any) -> Any:
    layer = keras.layers.Conv2D(channels, 1, use_bias=False, **settings)
    layer.build((None, None, None, len(kernel)))
    layer.set_weights([kernel[None, None]])
    return layer


def test_the_range_that_fits_is_found_on_pictures(
    bytes_and_bgr: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = run.load(tiny_run).data
    made = tmp_path / "adopted"
    assert cli.main(["adopt", str(bytes_and_bgr), "--data", data, "--out", str(made)]) == 0
    said = capsys.readouterr()
    assert "0-255 BGR fits" in said.err
    record, original = run.load_trained(made), run.load(tiny_run)
    assert (record.network, record.classes) == ("my_net_2", original.classes)
    expected = evaluate.evaluate(tiny_run, Path(data), "val").metrics["iou"]
    # By way of a 255th and back; a pixel may turn.
    assert evaluate.evaluate(made, Path(data), "val").metrics["iou"] == pytest.approx(expected, abs=1e-3)
    assert record.score("val_iou") == pytest.approx(expected, abs=1e-3)

    assert cli.main(["evaluate", str(bytes_and_bgr), "--data", data, "--split", "val"]) == 0
    assert f"IoU {expected:.3f}"[:-1] in capsys.readouterr().out


def test_what_is_said_is_not_tried(
    bytes_and_bgr: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = run.load(tiny_run).data
    words = [
        "evaluate",
        str(bytes_and_bgr),
        "--data",
        data,
        "--split",
        "val",
        "--takes",
        "0-1",
        "--order",
        "rgb",
    ]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert "fits" not in said.err
    assert "IoU 0.1" in said.out  # of 0.66 with what it takes


def test_a_network_that_needs_no_change_is_copied(tiny_run: Path, tmp_path: Path) -> None:
    model = tmp_path / "mine.keras"
    model.write_bytes((tiny_run / "model.keras").read_bytes())
    made = adopt.adopt(model, tmp_path / "run", Path(run.load(tiny_run).data), say=lambda line: None)
    assert made.model.read_bytes() == model.read_bytes()


@pytest.mark.slow
def test_a_keras_file_goes_in_where_a_run_does(
    bytes_and_bgr: Path,
    tiny_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data, files, smaller = run.load(tiny_run).data, tmp_path / "files", tmp_path / "smaller"
    model = str(bytes_and_bgr)
    words = [
        "export",
        model,
        "--data",
        data,
        "--out",
        str(files),
        "--precision",
        "fp32",
        "int8",
        "--no-clients",
    ]
    assert cli.main(words) == 0
    assert "0-255 BGR fits" in capsys.readouterr().err
    names = {path.name for path in files.glob("*.tflite")}
    assert names == {"my_net_2_64x64_fp32.tflite", "my_net_2_64x64_int8.tflite"}
    compress = ["compress", model, "--data", data, "--out", str(smaller), "--epochs", "1", "--steps", "2"]
    assert cli.main([*compress, "--prune", "0.5"]) == 0
    # The run was there already, so nothing is tried anew.
    assert "fits" not in capsys.readouterr().err
    assert run.load(smaller).compression[0]["method"] == "prune"
    study = ["study", model, str(smaller), "--data", data, "--split", "val", "--out", str(tmp_path / "study")]
    assert cli.main([*study, "--precision", "fp32"]) == 0
    assert list((tmp_path / "study").glob("*.html"))


def test_wrong_words(
    bytes_and_bgr: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(bytes_and_bgr), "--out", str(tmp_path)]) == 1
    assert "give --data DIR, too" in capsys.readouterr().err
    assert cli.main(["export", str(tiny_run), "--out", str(tmp_path), "--takes", "0-255"]) == 1
    assert "are for a .keras file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("maps_of_half_the_size", "gives maps of 32x32"),
        ("softmax_operation_of_three_classes", "3 classes apart.*has 2"),
        ("images_of_any_size", "say with --input-size"),
    ],
)
def test_what_no_run_can_be_made_of(name: str, said: str, tiny_run: Path, tmp_path: Path) -> None:
    others.build(name).save(tmp_path / "model.keras")
    with pytest.raises(FootsegError, match=said):
        adopt.adopt(
            tmp_path / "model.keras", tmp_path / "run", Path(run.load(tiny_run).data), say=lambda line: None
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("normalization_that_was_adapted", "fp32"),
        ("caffe_preprocessing_inside", "fp32"),
        ("convolutions_in_groups", "fp32"),
        ("cropping", "fp32"),
        ("a_slice_of_channels", "fp32"),
        ("a_transposed_convolution_called_twice", "fp32"),
        ("attention_of_several_heads", "fp32"),
        ("mixed_float16_inside", "fp32"),
        # Its scales are powers of two, which TFLite's SUB in 16 bits takes another way, and refuses.
        ("rescaling_of_unit_pixels", "int16x8"),
    ],
)
def test_what_becomes_of_them_is_verified(
    name: str, precision: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model, files = tmp_path / "model.keras", tmp_path / "files"
    others.build(name).save(model)
    words = ["export", str(model), "--data", run.load(tiny_run).data, "--out", str(files), "--no-clients"]
    to = ["tflite", "onnx"] if precision == "fp32" else ["tflite"]
    assert cli.main([*words, "--no-speed", "--to", *to, "--precision", precision]) == 0
    made = [artifact.load(files / f"model_64x64_{precision}.{kind}") for kind in to]
    assert all(one.verification["images"] >= 8 for one in made)
