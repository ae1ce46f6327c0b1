"""Every network there is, against its own reference figures; a new file is tested by existing."""

import numpy as np
import pytest

from footseg import networks

NAMES = networks.names()


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_reference(name: str) -> None:
    reference = networks.reference(name)
    network = networks.build(name)
    assert network.count_params() == reference["parameters"]
    trainable = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    assert trainable == reference["trainable_parameters"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 64), (64, 128)])
def test_logits_have_the_size_of_the_image(name: str, size: tuple[int, int]) -> None:
    network = networks.build(name, (*size, 3), 3)
    assert network.output_shape == (None, *size, 3)
    assert network.input.name == "image"


@pytest.mark.parametrize("name", NAMES)
def test_a_size_that_strides_do_not_divide_gets_the_nearest_that_they_do(name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot take 250x130.*nearest is 256x128"):
        networks.build(name, (250, 130, 3))


@pytest.mark.parametrize("name", NAMES)
def test_options_are_those_of_the_signature(name: str) -> None:
    with pytest.raises(ValueError, match="did you mean 'width'"):
        networks.build(name, widht=0.5)
    assert "width" in networks.options(name)


def test_conv_weights_of_fast_linknet() -> None:
    network = networks.build("fast_linknet")
    kernels = [v for v in network.trainable_variables if v.name == "kernel"]
    assert sum(int(np.prod(v.shape)) for v in kernels) == networks.reference("fast_linknet")["conv_weights"]


# A stride of 2 in the first block adds a 64 -> 64 projection (4096) and its normalisation (4 * 64);
# resolution and dropout have no parameters.
@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"first_stride": 2}, 1_810_818 + 4096 + 4 * 64),
        ({"downscale": 1}, 1_810_818),
        ({"dropout": 0.5}, 1_810_818),
    ],
)
def test_parameters_of_the_options(options: dict[str, float], parameters: int) -> None:
    assert networks.build("fast_linknet", (128, 128, 3), **options).count_params() == parameters


def test_width_scales_every_layer() -> None:
    network = networks.build("fast_linknet", (64, 64, 3), width=0.5)
    assert network.get_layer("encoder4_b_2_pointwise").filters == 256
    assert network.get_layer("stem_conv").filters == 32
    with pytest.raises(ValueError, match="use at least"):
        networks.build("fast_linknet", (64, 64, 3), width=0.01)


def test_unknown_network_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'fast_linknet'"):
        networks.build("fastlinknet")


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="two classes or more"):
        networks.build("fast_linknet", classes=1)
