"""Mixtures of precisions, and what each operator costs when quantized alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from footseg import records, runtime
from footseg.errors import FootsegError
from footseg.export import freeze, mix, quantize, sensitivity, tflite
from footseg.export.sensitivity import QuantizationCost, Reference, Sensitivity
from footseg.export.verify import Sample
from tests.canonical import canonical

keras = pytest.importorskip("keras", reason="makes the networks: pip install '.[train]'")
pytest.importorskip("tensorflow", reason="converts the networks: pip install '.[train]'")
pytest.importorskip("ai_edge_quantizer", reason="quantizes: pip install '.[compress]'")

NOISE = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three 1x1 convolutions; "loud" gives one channel of thousands that "last" does not look at.

    Activations have one range a tensor: with the loud channel in it, 8 bits leave the others next to
    nothing. That costs "loud", which writes the tensor, and "last", which reads it, not "calm".
    """
    initial = keras.initializers.RandomNormal(stddev=0.5, seed=3)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(32, 1, activation="relu", kernel_initializer=initial, name="calm")(image)
    x = keras.layers.Conv2D(64, 1, activation="relu", kernel_initializer=initial, name="loud")(x)
    x = keras.layers.Conv2D(2, 1, kernel_initializer=initial, name="last")(x)
    model = keras.Model(image, x, name="net")
    kernel, bias = model.get_layer("loud").get_weights()
    bias[0] = 2000.0
    model.get_layer("loud").set_weights([kernel, bias])
    kernel, bias = model.get_layer("last").get_weights()
    kernel[0, 0, 0] = 0.0
    model.get_layer("last").set_weights([kernel, bias])
    folder = tmp_path_factory.mktemp("network")
    path = folder / "fp32.tflite"
    path.write_bytes(tflite.convert(freeze.freeze(model, folder / "saved_model")))
    return path


@pytest.fixture(scope="module")
def mixer(network: Path) -> mix.Mixer:
    return mix.calibrated(network, NOISE)


@pytest.fixture(scope="module")
def against(network: Path) -> Reference:
    """The network is right by definition: its own classes are the masks."""
    masks = runtime.load(network).logits(NOISE).argmax(axis=-1).astype(np.uint8)
    assert 0.1 < masks.mean() < 0.9
    return sensitivity.reference(network, Sample("val", tuple("abcdef"), NOISE, masks))


@pytest.fixture(scope="module")
def measured(mixer: mix.Mixer, against: Reference) -> dict[str, Sensitivity]:
    return {level: sensitivity.measure(mixer, against, level) for level in ("int8", "int4")}


def test_all_operators_in_int8_are_the_int8_file(mixer: mix.Mixer, network: Path) -> None:
    everything = {operator.output: "int8" for operator in mixer.operators}
    assert mixer(everything) == quantize.quantize(network, "int8", NOISE)
    canonical(mixer(everything))
    assert [operator.layer for operator in mixer.operators] == ["calm", "loud", "output"]


def test_ranges_of_weights_are_those_of_quantize(mixer: mix.Mixer, network: Path) -> None:
    weights = next(
        tensor
        for tensor in runtime.interpreter(network).get_tensor_details()
        if "loud" in tensor["name"] and tensor["shape"].size == 4 and tensor["shape"][1] == 1
    )
    wide = np.full((64, 1, 1, 1), 50.0, np.float32)
    limits = {weights["name"]: {"min": -wide, "max": wide}}
    wider = mix.calibrated(network, NOISE, weight_ranges=limits)
    everything = {operator.output: "int8" for operator in mixer.operators}
    assert wider(everything) == quantize.quantize(network, "int8", NOISE, weight_ranges=limits)
    assert wider(everything) != mixer(everything)


def test_dead_activations_are_not_to_be_quantized(network: Path) -> None:
    # Of black images every tensor has one value.
    assert mix.calibrated(network, np.zeros_like(NOISE)).operators == ()


def test_an_unknown_level_or_operator_is_refused(mixer: mix.Mixer) -> None:
    first = mixer.operators[0].output
    with pytest.raises(ValueError, match="cannot be in 'int3': it has float, fp16, int8w, int8, int4"):
        mixer({first: "int3"})
    with pytest.raises(ValueError, match="'nobody' cannot be in 'int8': it has no level"):
        mixer({"nobody": "int8"})
    with pytest.raises(ValueError, match="calibration needs images"):
        mix.calibrated(mixer.path, NOISE[:0])


def test_the_planted_operators_cost_most(measured: dict[str, Sensitivity]) -> None:
    costs = {cost.layer: cost for cost in measured["int8"].costs}
    assert {cost.layer for cost in measured["int8"].ranked()[:2]} == {"loud", "output"}
    assert measured["int8"].iou == 1.0
    for layer in ("loud", "output"):
        # Steps of 2000 / 255, where the other channels reach some 3: nothing but the bias is left.
        assert costs[layer].logit_error > 0.5 > 20 * costs["calm"].logit_error
        assert costs[layer].iou_loss > costs["calm"].iou_loss


def test_four_bits_save_half_a_byte_a_weight(measured: dict[str, Sensitivity]) -> None:
    four, eight = ({c.layer: c.bytes_saved for c in measured[level].costs} for level in ("int4", "int8"))
    assert four["loud"] - eight["loud"] == 32 * 64 // 2


def test_a_measurement_goes_on_where_it_stopped(
    mixer: mix.Mixer,
    against: Reference,
    measured: dict[str, Sensitivity],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved = tmp_path / "int8.json"
    record = measured["int8"].to_json()
    record["costs"] = record["costs"][:2]
    saved.write_text(json.dumps(record))
    scored: list[Path] = []
    score = Reference.score
    monkeypatch.setattr(
        Reference, "score", lambda self, *given: scored.append(given[0]) or score(self, *given)
    )
    assert sensitivity.measure(mixer, against, saved=saved) == measured["int8"]
    assert len(scored) == 1
    assert records.read(Sensitivity, saved, "record") == measured["int8"]
    # Of other masks nothing that was measured holds.
    other = Sample("val", tuple("abcdef"), NOISE, 1 - against.sample.masks)
    sensitivity.measure(mixer, sensitivity.reference(mixer.path, other), saved=saved)
    assert len(scored) == 1 + 3


def test_ties_of_iou_are_ranked_by_the_logits() -> None:
    def cost(layer: str, iou_loss: float, logit_error: float) -> QuantizationCost:
        return QuantizationCost(0, "CONV_2D", layer, layer, iou_loss, logit_error, 0)

    # In steps of 0.0005: 2, then 0 for the others, a gain being no better than none.
    costs = (cost("c", -0.01, 0.3), cost("b", 0.0002, 0.5), cost("a", 0.0009, 0.1))
    ranked = Sensitivity("int8", "f", "val", 1, 0.5, "", costs).ranked()
    assert [c.layer for c in ranked] == ["a", "b", "c"]


def test_masks_of_padding_only_are_refused(network: Path) -> None:
    empty = Sample("val", tuple("abcdef"), NOISE, np.full(NOISE.shape[:3], 255, np.uint8))
    with pytest.raises(FootsegError, match="are empty"):
        sensitivity.reference(network, empty)


@pytest.mark.parametrize(
    ("output", "layer"),
    [
        ("net_1/stem_relu_1/Relu;net_1/stem_bn_1/batchnorm/add_1;net_1/stem_conv_1/convolution", "stem_conv"),
        ("net_1/a_depthwise_1/depthwise1", "a_depthwise"),
        ("net_1/out_1/Relu;net_1/add_1/Add", "out"),
        ("net/block_1/Add", "block_1"),
        ("StatefulPartitionedCall_1:0", "output"),
    ],
)
def test_tensors_are_named_after_layers(output: str, layer: str) -> None:
    assert mix.layer(output) == layer
