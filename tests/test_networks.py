"""Every network there is, against its own reference figures; a new file is tested by existing."""

import itertools
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from footseg import networks
from footseg.benchmarks.cost import cost_of_keras
from tests.kinds import KINDS

pytest.importorskip("keras", reason="makes the networks: pip install '.[train]'")

NAMES = networks.names()
VARIANTS = [(name, variant) for name in NAMES for variant in networks.variants(name)]


def trainable(network: Any) -> int:
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_figures_are_those_of_the_reference(name: str, variant: str) -> None:
    figures = networks.variants(name)[variant]
    network = networks.build(name, **figures["options"])
    assert network.count_params() == figures["parameters"]
    assert trainable(network) == figures["trainable_parameters"]
    cost = cost_of_keras(network)
    assert cost.flops == 2 * cost.macs
    for rule in ("macs", "flops_tf_benchmark"):
        assert getattr(cost, rule) == pytest.approx(figures.get(rule, getattr(cost, rule)), rel=0.01)


@pytest.mark.heavy
def test_some_have_every_kind_of_layer_that_others_have() -> None:
    """What makes it enough for quick tests to try these."""

    def kinds(name: str, variant: str) -> set[str]:
        network = networks.build(name, (128, 128, 3), **networks.variants(name)[variant]["options"])
        return {kind(operation) for operation in network.operations}

    some = set.union(*(kinds(*one) for one in KINDS))
    for one in VARIANTS:
        assert kinds(*one) <= some, one


def kind(operation: Any) -> str:
    """Its class, how its kernel lies, and the activation in it."""
    words = [type(operation).__name__]
    height, width = getattr(operation, "kernel_size", (1, 1))
    words += ["asymmetric"] if height != width else []
    words += ["dilated"] if max(getattr(operation, "dilation_rate", (1,))) > 1 else []
    activation = getattr(operation, "activation", None)
    return " ".join([*words, activation.__name__ if activation else ""])


# ---- figures of other options, counted from the papers' layer tables


class Count:
    """Adds up layers: weights, biases, and the normalisations' channels."""

    def __init__(self) -> None:
        self.weights = self.normalised = 0

    def conv(
        self, inputs: int, outputs: int, kernel: int = 1, *, bias: bool = False, norm: bool = True
    ) -> None:
        self.weights += kernel * kernel * inputs * outputs + outputs * bias
        self.normalised += outputs * norm

    def depthwise(self, channels: int, *, norm: bool = True) -> None:
        self.weights += 9 * channels
        self.normalised += channels * norm

    @property
    def trainable(self) -> int:
        return self.weights + 2 * self.normalised

    @property
    def all(self) -> int:
        """With the moving mean and variance of batch normalisation."""
        return self.weights + 4 * self.normalised

    def decoder(self, inputs: int, outputs: int, *, bias: bool) -> None:
        quarter = inputs // 4
        self.conv(inputs, quarter, bias=bias)
        self.conv(quarter, quarter, 3, bias=bias)
        self.conv(quarter, outputs, bias=bias)

    def tail(self, inputs: int, channels: int, *, bias: bool) -> None:
        self.conv(inputs, channels, 3, bias=bias)
        self.conv(channels, channels, 3, bias=bias)


def linknet_count(width: float, first_stride: int, classes: int, *, separable: bool) -> Count:
    count = Count()
    widths = [int(width * channels) for channels in (64, 128, 256, 512)]
    count.conv(3, widths[0], 7)

    def three(inputs: int, outputs: int) -> None:
        if separable:
            count.depthwise(inputs, norm=False)
        count.conv(inputs, outputs, 1 if separable else 3)

    for inputs, outputs in zip([widths[0], *widths], widths, strict=False):
        three(inputs, outputs)
        for _ in range(3):
            three(outputs, outputs)
        if inputs != outputs:
            count.conv(inputs, outputs)
    if first_stride == 2:
        count.conv(widths[0], widths[0])
    for inputs, outputs in zip(widths, [widths[0], *widths], strict=False):
        count.decoder(inputs, outputs, bias=not separable)
    count.tail(widths[0], int(32 * width), bias=not separable)
    count.conv(int(32 * width), classes, 2, norm=False)
    count.weights += classes
    return count


def mobileseg_count(width: float, decoder: str, classes: int) -> Count:
    count = Count()

    def w(channels: int) -> int:
        return int(width * channels)

    count.conv(3, w(32), 3)
    channels = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    for inputs, outputs in itertools.pairwise(channels):
        count.depthwise(w(inputs))
        count.conv(w(inputs), w(outputs))
    for inputs in (1024, 512, 256, 128):
        count.decoder(w(inputs), w(inputs // 2), bias=False)
    count.tail(w(64), w(32), bias=False)
    count.conv(w(32), classes, 1 if decoder == "M1" else 2, norm=False)
    count.weights += classes
    return count


def unet_count(base: int, classes: int, *, decoder_norm: bool) -> Count:
    count = Count()
    levels = [base * 2**level for level in range(5)]
    for inputs, outputs in zip([3, *levels], levels, strict=False):
        count.conv(inputs, outputs, 3, bias=True)
        count.conv(outputs, outputs, 3, bias=True)
    for channels in levels[:-1]:
        count.conv(2 * channels, channels, 2, bias=True, norm=False)
        count.conv(2 * channels, channels, 3, bias=True, norm=decoder_norm)
        count.conv(channels, channels, 3, bias=True, norm=decoder_norm)
    count.conv(base, classes, bias=True, norm=False)
    return count


def product(**choices: Iterable[Any]) -> list[dict[str, Any]]:
    """Every combination of options."""
    found: list[dict[str, Any]] = [{}]
    for name, values in choices.items():
        found = [{**one, name: value} for one in found for value in values]
    return found


@pytest.mark.parametrize("options", product(width=(0.25, 0.5), first_stride=(1, 2)))
def test_parameters_of_linknets_options(options: dict[str, Any]) -> None:
    for name in ("linknet", "fast_linknet"):
        network = networks.build(name, (128, 128, 3), 5, **options)
        count = linknet_count(**options, classes=5, separable=name == "fast_linknet")
        assert (network.count_params(), trainable(network)) == (count.all, count.trainable)


@pytest.mark.parametrize("options", product(width=(0.25, 0.75), decoder=("M1", "M2")))
def test_parameters_of_mobilesegs_options(options: dict[str, Any]) -> None:
    network = networks.build("mobileseg", (64, 64, 3), 5, **options)
    count = mobileseg_count(**options, classes=5)
    assert (network.count_params(), trainable(network)) == (count.all, count.trainable)


@pytest.mark.parametrize(
    "options", product(base=(4, 12), norm=("batch", "group"), decoder_norm=(True, False))
)
def test_parameters_of_unets_options(options: dict[str, Any]) -> None:
    network = networks.build("unet", (32, 32, 3), 5, **options)
    count = unet_count(options["base"], 5, decoder_norm=options["decoder_norm"])
    # Group normalisation keeps no statistics.
    everything = count.all if options["norm"] == "batch" else count.trainable
    assert (network.count_params(), trainable(network)) == (everything, count.trainable)


def test_the_formulas_give_the_published_figures() -> None:
    """Without this, formula and network could be wrong alike."""
    assert linknet_count(1, 1, 11, separable=False).all == 11_547_371
    assert linknet_count(1, 1, 19, separable=False).trainable == 11_536_691
    assert linknet_count(1, 2, 2, separable=True).trainable == 1_803_330
    assert mobileseg_count(1, "M1", 2).trainable == 4_544_258
    assert unet_count(8, 2, decoder_norm=False).trainable == 486_818
    assert unet_count(16, 2, decoder_norm=False).trainable == 1_943_106
    assert unet_count(64, 2, decoder_norm=True).trainable == pytest.approx(31.04e6, rel=1e-3)


def test_groups_are_eight_or_as_many_as_divide_the_channels() -> None:
    def groups(base: int) -> list[int]:
        network = networks.build("unet", (16, 16, 3), base=base, norm="group")
        return [network.get_layer(f"{place}_1_norm").groups for place in ("encoder1", "encoder2", "centre")]

    assert [groups(8), groups(4), groups(12)] == [[8, 8, 8], [4, 8, 8], [4, 8, 8]]


def test_the_encoder_of_mobileseg_is_mobilenet() -> None:
    network = networks.build("mobileseg", (64, 64, 3))
    encoder = [
        layer for layer in network.layers if layer.name.startswith(networks.encoder_prefixes("mobileseg"))
    ]
    assert sum(layer.count_params() for layer in encoder) == 3_228_864


def test_conv_weights_of_fast_linknet() -> None:
    network = networks.build("fast_linknet")
    kernels = [v for v in network.trainable_variables if v.name == "kernel"]
    assert sum(int(np.prod(v.shape)) for v in kernels) == networks.reference("fast_linknet")["conv_weights"]


@pytest.mark.parametrize("name", ["fast_linknet", "mobileseg"])
def test_the_resolution_multiplier_changes_sizes_and_nothing_else(name: str) -> None:
    whole, half, quarter = (networks.build(name, (128, 256, 3), width=0.25, downscale=d) for d in (1, 2, 4))
    shapes = [[(w.path, w.shape) for w in network.weights] for network in (whole, half, quarter)]
    assert shapes[0] == shapes[1] == shapes[2]
    deepest = networks.stages(name)[-1]
    sizes = [network.get_layer(deepest).output.shape[1:3] for network in (whole, half, quarter)]
    assert sizes == [(4, 8), (2, 4), (1, 2)]
    assert whole.output_shape == half.output_shape == quarter.output_shape == (None, 128, 256, 2)


def test_width_scales_every_layer() -> None:
    network = networks.build("fast_linknet", (64, 64, 3), width=0.5)
    assert network.get_layer("encoder4_b_2_pointwise").filters == 256
    assert network.get_layer("stem_conv").filters == 32


# ---- what every network keeps to


@pytest.mark.parametrize("name", NAMES)
def test_every_size_that_the_strides_divide_and_no_other(name: str) -> None:
    with pytest.raises(ValueError, match="both sides must be multiples of") as error:
        networks.build(name, (250, 131, 3))
    step = int(re.search(r"multiples of (\d+)", str(error.value)).group(1))
    nearest = [max(1, round(side / step)) * step for side in (250, 131)]
    assert f"{name} cannot take 250x131" in str(error.value)
    assert f"the nearest is {nearest[0]}x{nearest[1]}" in str(error.value)
    for size in ((step, 3 * step), (2 * step, step)):
        network = networks.build(name, (*size, 3), 3)
        assert network.input_shape == (None, *size, 3)
        assert network.output_shape == (None, *size, 3)
        assert network.input.name == "image"
    with pytest.raises(ValueError, match="3 channels, not 4"):
        networks.build(name, (step, step, 4))


@pytest.mark.parametrize("name", NAMES)
def test_layers_have_the_names_that_training_asks_for(name: str) -> None:
    network = networks.build(name, (64, 64, 3), 3)
    assert [layer for layer in network.layers if layer.weights][-1].name == "classifier"
    assert network.get_layer("classifier").output.shape[-1] == 3
    assert network.name == name
    prefixes = networks.encoder_prefixes(name)
    heights = []
    for stage in networks.stages(name):
        assert stage.startswith(prefixes)
        heights.append(network.get_layer(stage).output.shape[1])
    assert heights == sorted(heights, reverse=True)
    encoder = [layer.name.startswith(prefixes) for layer in network.layers if layer.weights]
    assert True in encoder
    assert False in encoder
    for prefix in prefixes:
        assert any(layer.name.startswith(prefix) for layer in network.layers)


@pytest.mark.parametrize("name", NAMES)
def test_options_are_those_of_the_signature(name: str) -> None:
    with pytest.raises(ValueError, match="did you mean 'dropout'"):
        networks.build(name, dropuot=0.5)
    with pytest.raises(ValueError, match="takes a number as dropout, not 'much'"):
        networks.build(name, dropout="much")
    with pytest.raises(ValueError, match=r"dropout is a rate in \[0, 1\), not 1"):
        networks.build(name, dropout=1)


@pytest.mark.parametrize("name", [name for name in NAMES if "width" in networks.options(name)])
def test_a_width_that_leaves_a_layer_without_channels(name: str) -> None:
    for width in (0.01, 0.0, -1.0, float("nan")):
        with pytest.raises(
            ValueError, match=rf"{name} with width .* leaves a layer of \d+ channels with none"
        ):
            networks.build(name, (64, 64, 3), width=width)


@pytest.mark.parametrize("name", ["linknet", "fast_linknet", "mobileseg"])
def test_the_width_that_the_error_asks_for_is_enough(name: str) -> None:
    with pytest.raises(ValueError, match="use at least") as error:
        networks.build(name, (64, 64, 3), width=0.01)
    least = float(str(error.value).rsplit(" ", 1)[-1])
    network = networks.build(name, (64, 64, 3), width=least)
    assert min(layer.filters for layer in network.layers if hasattr(layer, "filters")) >= 1


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("unet", {"base": 0}, "without channels: use 1 or more"),
        ("emilseg", {"base": -3}, "without channels"),
        ("unet", {"base": 8.5}, "takes a whole number as base"),
        ("unet", {"norm": "layer"}, "no norm 'layer': known: batch, group"),
        ("unet", {"decoder_norm": 1}, "takes true or false as decoder_norm"),
        ("linknet", {"first_stride": 3}, "no first_stride 3: known: 1, 2"),
        ("linknet", {"width": True}, "takes a number as width"),
        ("fast_linknet", {"downscale": 3}, "no downscale 3: known: 1, 2, 4"),
        ("mobileseg", {"decoder": "m1"}, "did you mean 'M1'"),
        ("mobileseg", {"downscale": 0}, "no downscale 0"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        networks.build(name, (64, 64, 3), **options)


def test_unknown_network_suggests_the_nearest() -> None:
    for ask in (networks.build, networks.reference, networks.stages, networks.encoder_prefixes):
        with pytest.raises(ValueError, match="did you mean 'fast_linknet'"):
            ask("fastlinknet")


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="two classes or more"):
        networks.build("fast_linknet", classes=1)


def test_a_network_beyond_all_memory_is_a_line() -> None:
    with pytest.raises(
        ValueError, match=r"tiptoe with width=500000000000\.0 needs more memory than there is"
    ):
        networks.build("tiptoe", (64, 64, 3), width=5e11)
