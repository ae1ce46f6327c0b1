"""Folding batch normalisation: by hand, what must stay, and every network of the project."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras")
import keras
from keras import layers, ops

from footseg import networks
from footseg.compress.fold import affine, along_outputs, foldable
from tests.kinds import each_network

# Small, and for all variants, whose own options come on top.
SMALL = {
    "emilseg": {"base": 4},
    "enet": {"width": 0.5},
    "fast_linknet": {"width": 0.25},
    "linknet": {"width": 0.125},
    "mobileseg": {"width": 0.25},
    "unet": {"base": 4},
}


def trained(model: keras.Model, seed: int = 0) -> keras.Model:
    """``model`` with batch statistics unlike those of a new one, which change nothing."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.get_weights()[-1].shape
            drawn = ([rng.uniform(0.5, 1.5, shape)] * layer.scale) + (
                [rng.normal(0, 0.3, shape)] * layer.center
            )
            layer.set_weights([*drawn, rng.normal(0, 0.3, shape), rng.uniform(0.5, 2, shape)])
    return model


def difference(one: keras.Model, other: keras.Model, seed: int = 1) -> float:
    """The largest difference of two models' outputs, in standard deviations of the first's."""
    images = np.random.default_rng(seed).random((2, *one.input_shape[1:]), np.float32)
    outputs = [np.asarray(model(images, training=False)) for model in (one, other)]
    return float(np.abs(outputs[0] - outputs[1]).max() / outputs[0].std())


def norms(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


def fold(model: keras.Model) -> keras.Model:
    """A new model with the normalisation that is ``foldable`` in the convolutions before it."""
    folded = foldable(model)

    def clone(operation: Any) -> Any:
        biased = {"use_bias": True} if operation.name in folded else {}
        return type(operation).from_config(operation.get_config() | biased)

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if operation.name in folded.values() else operation(*args, **kwargs)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in copy.layers:
        if not layer.weights:
            continue
        weights = model.get_layer(layer.name).get_weights()
        if layer.name in folded:
            factor, offset = affine(model.get_layer(folded[layer.name]))
            kernel, bias = weights if len(weights) > 1 else (*weights, 0.0)
            weights = [kernel * along_outputs(factor, layer), bias * factor + offset]
        layer.set_weights(weights)
    return copy


def test_fold_by_hand() -> None:
    """Kernel 3, bias 1; mean 2, deviation 0.5, gamma 5, beta 7: factor 10, so 30 x + 10 - 20 + 7."""
    image = keras.Input((1, 1, 1))
    x = layers.Conv2D(1, 1, name="conv")(image)
    model = keras.Model(image, layers.BatchNormalization(epsilon=1e-3, name="norm")(x))
    model.get_layer("conv").set_weights([np.full((1, 1, 1, 1), 3.0), np.ones(1)])
    model.get_layer("norm").set_weights([np.full(1, v) for v in (5.0, 7.0, 2.0, 0.25 - 1e-3)])
    folded = fold(model)
    assert [layer.name for layer in folded.layers[1:]] == ["conv"]
    kernel, bias = folded.get_layer("conv").get_weights()
    assert kernel.item() == pytest.approx(30, rel=1e-6)
    assert bias.item() == pytest.approx(-3, rel=1e-5)
    assert model.get_layer("conv").get_weights()[1].item() == 1


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2DTranspose(5, 3, 2, padding="same", use_bias=False),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        layers.Dense(5),
        layers.Conv2D(6, 3, groups=3, dilation_rate=2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_fold_kinds_of_layers(layer: layers.Layer) -> None:
    """Output channels on other axes of the kernel, and normalisation without a scale or an offset."""
    image = keras.Input((8, 8, 3))
    for settings in ({}, {"scale": False}, {"center": False}):
        made = type(layer).from_config(layer.get_config())
        model = trained(keras.Model(image, layers.BatchNormalization(**settings)(made(image))))
        folded = fold(model)
        assert not norms(folded)
        # Rounding of float32: some 1e-7 of the largest values, which are a few standard deviations.
        assert difference(model, folded) < 1e-5


def test_fold_leaves_what_cannot_be_folded() -> None:
    """An activation between, a second user, a shared layer, no convolution, another axis."""
    image = keras.Input((8, 8, 4))
    shared = layers.Conv2D(4, 1, name="shared")
    x = layers.BatchNormalization(name="alone")(image)
    x = layers.BatchNormalization(name="activated")(layers.Conv2D(4, 1, activation="relu")(x))
    y = layers.Conv2D(4, 3, padding="same", name="twice")(x)
    x = layers.BatchNormalization(name="second_user")(y) + ops.ceil(y)
    x = layers.BatchNormalization(name="of_shared")(shared(x)) + shared(image)
    x = layers.BatchNormalization(axis=1, name="of_rows")(layers.Conv2D(4, 1)(x))
    x = layers.BatchNormalization(name="folded")(layers.Conv2D(4, 1, name="last")(x))
    model = trained(keras.Model(image, ops.concatenate([x, x * 2])))
    assert foldable(model) == {"last": "folded"}
    folded = fold(model)
    assert norms(folded) == [name for name in norms(model) if name != "folded"]
    assert difference(model, folded) < 1e-5


def test_fold_refuses_subclassed_models() -> None:
    """Keras keeps no graph of them."""

    class Own(keras.Model):
        pass

    with pytest.raises(ValueError, match="Own, not a functional model"):
        foldable(Own(name="own"))


@pytest.mark.parametrize("name", each_network())
def test_fold_every_network(name: str) -> None:
    """Outputs as before; what is left has no convolution before it."""
    for variant in networks.variants(name).values():
        options = {**SMALL.get(name, {}), **variant["options"]}
        size = 128 if options.get("first_stride") == 2 else 64
        model = trained(networks.build(name, (size, size, 3), 2, **options))
        folded = fold(model)
        assert norms(folded) == (["initial_bn"] if name == "enet" else [])
        # Up to a hundred layers, each rounded to 6e-8 of itself: 5e-6 at most was seen.
        assert difference(model, folded) < 1e-4
