"""Twins in tf_keras: the same numbers on both sides, for every network and for layers that none has."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="makes the networks: pip install '.[train]'")
tf_keras = pytest.importorskip("tf_keras", reason="holds the twins: pip install '.[compress]'")

from footseg import networks  # noqa: E402
from footseg.compress.twin import KerasOperation, copy_weights, to_keras, to_tf_keras  # noqa: E402
from footseg.errors import FootsegError  # noqa: E402
from tests.kinds import each_variant  # noqa: E402

layers, ops = keras.layers, keras.ops

# Of the outputs' range. In float64 both sides agree to the last bit for every network here; in float32 the
# fused batch normalisation of tf_keras rounds otherwise, and 53 of them in a row make 1.5e-6 of that.
ROUNDING = 3e-6


def randomised(model: Any) -> Any:
    """``model`` with other weights everywhere: fresh statistics and biases would hide what is mixed up."""
    numbers = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            randomised(layer)
            continue
        for weight in layer.weights:
            shape = tuple(weight.shape)
            if "kernel" in weight.name:
                inputs = shape[:2] if isinstance(layer, layers.DepthwiseConv2D) else shape[:-1]
                values = numbers.normal(0, (1.5 / np.prod(inputs)) ** 0.5, shape)  # keeps the signal's size
            elif weight.name in ("gamma", "variance", "moving_variance"):
                values = numbers.uniform(0.7, 1.4, shape)
            elif weight.name == "count":
                continue
            else:
                values = numbers.normal(0, 0.1, shape)
            weight.assign(values)
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


def images(model: Any) -> list[np.ndarray]:
    """Two examples of each input."""
    numbers = np.random.default_rng(1)
    return [numbers.uniform(-1, 1, (2, *x.shape[1:])).astype("float32") for x in model.inputs]


def outputs(model: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    """What it gives at inference, output by output."""
    results = model(given if len(given) > 1 else given[0], training=False)
    return [np.asarray(result, "float32") for result in keras.tree.flatten(results)]


def assert_equal_outputs(model: Any, *others: Any, within: float = ROUNDING) -> None:
    given = images(model)
    expected = outputs(model, given)
    assert all(1e-2 < np.ptp(one) < 1e4 for one in expected), "the signal vanishes or explodes"
    for other in others:
        for one, two in zip(expected, outputs(other, given), strict=True):
            assert one.shape == two.shape
            np.testing.assert_allclose(two, one, rtol=0, atol=within * np.ptp(one))


def values(model: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def assert_same(one: Any, two: Any) -> None:
    """Two Keras 3 models: the same graph, settings (but initialisers, which are spent) and weights."""

    def settings(part: Any) -> Any:
        if isinstance(part, dict):
            # Keras writes a layer's default of training down for some calls and not for others.
            spoken = {key: x for key, x in part.items() if (key, x) != ("training", False)}
            kept = {key: settings(x) for key, x in spoken.items() if not key.endswith("_initializer")}
            return {**kept, "axis": -1} if kept.get("axis") in (3, [3], [-1]) else kept  # of an image
        return [settings(x) for x in part] if isinstance(part, list) else part

    ours, theirs = (settings(json.loads(model.to_json())["config"]) for model in (one, two))
    assert ours == theirs
    assert [weight.path for weight in one.weights] == [weight.path for weight in two.weights]
    assert all(map(np.array_equal, values(one), values(two)))


def there_and_back(model: Any) -> tuple[Any, Any]:
    """The twin, and what becomes of it in Keras 3, after what must hold for all of them has been seen to."""
    settings, weights = model.to_json(), values(model)
    twin = to_tf_keras(model)
    back = to_keras(twin)
    assert model.to_json() == settings
    assert all(map(np.array_equal, values(model), weights))

    assert isinstance(twin, tf_keras.Model)
    assert isinstance(back, keras.Model)
    assert {operation.name for operation in model.operations} == {layer.name for layer in twin.layers}
    assert len(model.trainable_variables) == len(twin.trainable_variables) == len(back.trainable_variables)
    assert_equal_outputs(model, twin)
    return twin, back


# ---- networks


def smallest(name: str, options: dict[str, Any]) -> Any:
    """The network at a quarter of its width, if it has such an option, for the smallest image it takes."""
    known = networks.options(name)
    options = {**({"width": 0.25} if "width" in known else {"base": 8} if "base" in known else {}), **options}
    for size in (32, 64, 128):
        try:
            return networks.build(name, (size, size, 3), 3, **options)
        except ValueError:
            continue
    raise AssertionError(f"{name} takes no image of 128x128")


@pytest.mark.parametrize(("name", "variant"), each_variant())
def test_every_network_has_a_twin(name: str, variant: str) -> None:
    model = randomised(smallest(name, networks.variants(name)[variant]["options"]))
    assert_same(there_and_back(model)[1], model)


@pytest.mark.parametrize(
    ("name", "top"),
    [
        ("MobileNetV2", True),
        pytest.param("ResNet50", False, marks=pytest.mark.slow),
        pytest.param("EfficientNetB0", True, marks=pytest.mark.slow),
    ],
)
def test_networks_of_keras_have_twins(name: str, top: bool) -> None:
    build = getattr(keras.applications, name)
    # Logits, because a softmax of random weights is flat.
    model = build(
        input_shape=(64, 64, 3), weights=None, include_top=top, classes=7, classifier_activation=None
    )
    model = randomised(model)
    assert_same(there_and_back(model)[1], model)


# ---- layers and graphs


def test_layers_that_no_network_here_has() -> None:
    image, words, vector = keras.Input((8, 8, 6)), keras.Input((5, 6)), keras.Input((6,))
    normalised = layers.Normalization()
    normalised.build((None, 8, 8, 6))
    results = [
        layer(image)
        for layer in (
            layers.Conv2D(6, (3, 2), groups=2, dilation_rate=2, activation="gelu", kernel_regularizer="l2"),
            layers.Conv2D(6, 3, kernel_constraint=keras.constraints.MaxNorm(2.0, axis=[0, 1, 2])),
            layers.SeparableConv2D(5, 3, strides=2, padding="same", depth_multiplier=2),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu6"),
            layers.Conv2DTranspose(4, 3, strides=3, padding="same", output_padding=(2, 1)),
            layers.ReLU(max_value=0.6, negative_slope=0.1, threshold=0.3),
            layers.LeakyReLU(negative_slope=0.1),
            layers.PReLU(shared_axes=[1, 2]),
            layers.Softmax(axis=[1, 2]),
            layers.BatchNormalization(axis=1, center=False),
            layers.LayerNormalization(axis=[2, 3], epsilon=1e-2),
            layers.GroupNormalization(3),
            layers.UpSampling2D((2, 3), interpolation="bicubic"),
            layers.Resizing(5, 13, interpolation="bilinear"),
            layers.Resizing(5, 13, crop_to_aspect_ratio=True),
            layers.ZeroPadding2D(((1, 2), (0, 3))),
            layers.Cropping2D(((1, 2), (0, 3))),
            layers.CenterCrop(4, 5),
            layers.Rescaling([1.0, 2, 3, 4, 5, 6], -0.3),
            normalised,
            layers.Normalization(mean=0.1, variance=3.0, invert=True),
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.AveragePooling2D(3, 2, padding="same"),
            layers.Permute((3, 1, 2)),
        )
    ]
    results += [layers.GRU(4)(words), layers.MultiHeadAttention(2, 3)(words, value=words, key=words)]
    results += [layers.Dense(5, activation="silu")(vector), layers.Dot(axes=1)([vector, vector])]
    model = randomised(keras.Model([image, words, vector], results))
    assert_same(there_and_back(model)[1], model)


def test_what_only_training_sees_is_the_same() -> None:
    image = keras.Input((8, 8, 6))
    x = layers.Dropout(0.5, noise_shape=(None, 1, 1, 6), seed=3, name="drop")(image)
    x = layers.SpatialDropout2D(0.2, name="spatial")(x)
    x = layers.Conv2D(4, 1, kernel_regularizer=keras.regularizers.L1L2(0.1, 0.2), name="conv")(x)
    x = layers.BatchNormalization(momentum=0.7, name="norm")(x)
    model = randomised(keras.Model(image, x))
    twin, back = there_and_back(model)
    assert_same(back, model)  # a rate of 0.1, not the float32 nearest to it that tf_keras keeps
    assert twin.get_layer("drop").get_config()["noise_shape"] == (None, 1, 1, 6)
    assert twin.get_layer("spatial").rate == 0.2
    assert twin.get_layer("norm").momentum == 0.7
    kernel = np.abs(twin.get_layer("conv").kernel.numpy())
    assert float(twin.losses[0]) == pytest.approx(0.1 * kernel.sum() + 0.2 * (kernel**2).sum(), rel=1e-5)


def test_operations_run_in_the_twin_and_come_back() -> None:
    image, other = keras.Input((4, 6, 8), name="image"), keras.Input((4, 6, 8), name="other")
    constant = np.arange(8, dtype="float32")
    first, second = ops.split(ops.reshape(image, (-1, 8, 3, 8)), 2, axis=1)
    x = 1.5 - ops.minimum(ops.ceil(ops.relu(first - second)), 0.5) * constant
    x = ops.concatenate([x, ops.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)), constant_values=2.0)], axis=1)
    y = ops.softmax(ops.image.resize(x, (4, 6), interpolation="bilinear")[:, ::2, 1:] / 7, axis=-1)
    z = (
        ops.transpose(ops.stack([image, other]), (1, 0, 2, 3, 4))
        + ops.mean(other, axis=2, keepdims=True)[:, None]
    )
    model = keras.Model({"image": image, "other": other}, {"small": y, "mixed": z})
    twin, given = to_tf_keras(model), dict(zip(("image", "other"), images(model), strict=True))
    back = to_keras(twin)
    for name, value in model(given).items():
        np.testing.assert_allclose(twin(given)[name].numpy(), value, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(back(given)[name], value)
    assert_same(back, model)
    assert any(isinstance(layer, KerasOperation) for layer in twin.layers)


def test_an_operation_may_be_called_at_several_places_and_in_several_models() -> None:
    image = keras.Input((4,), name="image")
    x = layers.Dense(4, name="first")(image)
    scale = type(ops.multiply(x, 2.0)._keras_history.operation)(name="scale")
    model = keras.Model(image, scale(scale(x, 2.0), 3.0), name="twice")
    twin = to_tf_keras(randomised(model))
    assert [layer.name for layer in twin.layers] == ["image", "first", "scale", "scale_call1"]
    assert_equal_outputs(model, twin, to_keras(twin))
    # A part of a model calls its operations anew: there it is their first call.
    part_in = model.get_layer("first").output
    there_and_back(keras.Model(part_in, ops.relu(part_in), name="before"))
    whole = keras.Model(image, layers.Dense(2, name="last")(ops.relu(part_in)), name="whole")
    there_and_back(randomised(keras.Model(part_in, whole.output, name="part")))


def test_shared_layers_models_within_models_and_arguments_of_calls() -> None:
    shared = layers.Conv2D(6, 3, padding="same", name="shared")
    steps = keras.Sequential([keras.Input((8, 8, 6)), layers.Dense(6, name="dense")], name="steps")
    inner_in = keras.Input((8, 8, 6))
    inner_out = layers.BatchNormalization(name="norm")(shared(inner_in))
    inner = keras.Model(inner_in, [inner_out, ops.relu(inner_out)], name="inner")
    image, other = keras.Input((8, 8, 6), name="image"), keras.Input((8, 8, 6), name="other")
    x = shared(layers.Add(name="sum")([shared(image), steps(other)]))
    # Frozen statistics, as in fine-tuning: an argument of the call, not a setting.
    first, second = inner(x, training=False)
    third, _ = inner(other)
    model = randomised(keras.Model([image, other], [layers.Concatenate(name="all")([first, second]), third]))
    twin, back = there_and_back(model)
    assert_equal_outputs(model, back, within=0)
    assert twin.get_layer("inner").get_layer("shared") is twin.get_layer("shared")
    given = images(model)
    assert back.get_layer("inner")._inbound_nodes[0].arguments.kwargs["training"] is False
    # With the batch's statistics, as in training, it would be another tenth of the range.
    trained = twin(given, training=True)[0].numpy()
    np.testing.assert_allclose(trained, outputs(model, given)[0], rtol=0, atol=1e-5)


def test_what_is_random_in_training_is_so_in_the_twin_and_nowhere_else() -> None:
    image = keras.Input((8, 8, 4), name="image")
    x = layers.RandomFlip("horizontal", name="flip")(image)
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.SpatialDropout2D(0.5, name="channels")(x)
    x = layers.GaussianNoise(0.5, name="noise")(x)
    x = layers.Dropout(0.5, name="always")(x, training=True)  # Keras 3.15 overrules it at inference
    twin, back = there_and_back(keras.Model(image, x))
    given = np.ones((64, 8, 8, 4), "float32")
    np.testing.assert_array_equal(twin(given, training=False), given)
    np.testing.assert_array_equal(twin.predict(given, verbose=0), given)
    np.testing.assert_array_equal(back(given, training=False), given)
    for name in ("dropout", "channels", "always"):
        alone = tf_keras.Model(twin.get_layer(name).input, twin.get_layer(name).output)
        # Whole channels, 256 of them: a half is ten standard deviations from none and from all.
        assert 0.2 < np.mean(alone(given, training=True).numpy() == 0) < 0.8
    noisy = tf_keras.Model(twin.get_layer("noise").input, twin.get_layer("noise").output)
    assert np.std(noisy(given, training=True).numpy()) == pytest.approx(0.5, rel=0.1)  # of 16,384 numbers
    ramp = np.broadcast_to(np.arange(8, dtype="float32")[None, None, :, None], (64, 8, 8, 4))
    flip = tf_keras.Model(twin.input, twin.get_layer("flip").output)
    assert {float(row[0, 0, 0]) for row in flip(ramp, training=True).numpy()} == {0.0, 7.0}


def test_a_sequential_model_gets_a_functional_twin() -> None:
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm")],
        name="steps",
    )
    twin = to_tf_keras(randomised(model))
    assert (twin.name, [layer.name for layer in twin.layers][1:]) == ("steps", ["conv", "norm"])
    assert_equal_outputs(model, twin, to_keras(twin))
    with pytest.raises(ValueError, match="Sequential"):
        to_tf_keras(keras.Sequential([layers.Dense(2)]))


def test_what_is_frozen_stays_frozen() -> None:
    image = keras.Input((8,))
    x = layers.Dense(4, name="free")(layers.BatchNormalization(name="frozen", trainable=False)(image))
    inner = keras.Model(image, layers.Dense(3, name="inside")(x), name="inner")
    outer_in = keras.Input((8,))
    model = keras.Model(outer_in, layers.Dense(2, name="last")(inner(outer_in)))
    twin, _ = there_and_back(randomised(model))
    assert not twin.get_layer("inner").get_layer("frozen").trainable
    assert twin.get_layer("inner").get_layer("free").trainable
    inner.trainable = False
    twin, _ = there_and_back(model)
    assert [v.name for v in twin.trainable_variables] == ["last/kernel:0", "last/bias:0"]
    inner.get_layer("inside").trainable = True  # Keras 3 trains it all the same
    twin, _ = there_and_back(model)
    assert len(twin.trainable_variables) == 4
    # tf_keras does not: what Keras 3 makes of it must not either.
    twin.get_layer("inner").trainable = False
    twin.get_layer("inner").get_layer("inside").trainable = True
    assert len(twin.trainable_variables) == len(to_keras(twin).trainable_variables) == 2
    model.trainable = False
    assert there_and_back(model)[0].trainable_variables == []


def few_layers() -> Any:
    """What networks are made of, ENet's plain operations among it: (N, 8, 8, 3) to (N, 8, 8, 2)."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="conv")(image)
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(layers.BatchNormalization(name="norm")(x))
    first, second = ops.split(ops.reshape(x, (-1, 32, 2, 8)), 2, axis=2)
    x = ops.reshape(ops.concatenate([first - second, ops.minimum(second, 1.0)], axis=2), (-1, 8, 8, 8))
    x = layers.SpatialDropout2D(0.1, name="dropout")(layers.Resizing(8, 8, name="resize")(x))
    return keras.Model(image, layers.Conv2D(2, 1, name="classifier")(x), name="few")


def test_a_mixed_precision_network_gets_a_float32_twin() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = randomised(few_layers())
    finally:
        keras.config.set_dtype_policy(before)
    full = few_layers()
    copy_weights(half, full)
    twin = to_tf_keras(half)
    assert {layer.dtype for layer in twin.layers} == {"float32"}
    assert {layer.dtype_policy.name for layer in to_keras(twin).layers} == {"float32"}
    assert_equal_outputs(full, twin)
    assert half.compute_dtype == "float16"


# ---- what twins are for


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_twin_can_be_cloned_saved_and_pruned(tmp_path: Path) -> None:
    prune = pytest.importorskip("tensorflow_model_optimization").sparsity.keras
    model = randomised(few_layers())
    twin = to_tf_keras(model)
    clone = tf_keras.models.clone_model(twin)
    copy_weights(model, clone)
    twin.save(tmp_path / "twin.h5")
    twin.save(tmp_path / "saved", save_format="tf")
    loaded = tf_keras.models.load_model(tmp_path / "twin.h5", compile=False)
    restored = tf_keras.models.load_model(tmp_path / "saved", compile=False)
    assert_equal_outputs(model, clone, loaded, restored)
    assert_same(to_keras(loaded), model)

    wrapped = tf_keras.models.clone_model(
        clone,
        clone_function=lambda layer: (
            prune.prune_low_magnitude(layer) if type(layer) is tf_keras.layers.Conv2D else layer
        ),
    )
    with pytest.raises(FootsegError, match=r"prune_low_magnitude_conv.*strip_pruning"):
        to_keras(wrapped)
    assert_same(to_keras(prune.strip_pruning(wrapped)), model)


def test_weights_are_copied_by_name_whatever_the_order() -> None:
    image = keras.Input((4,))
    a, b = layers.Dense(4, name="a"), layers.Dense(4, name="b")
    source, target = keras.Model(image, b(a(image))), to_tf_keras(keras.Model(image, a(b(image))))
    randomised(source)
    copy_weights(source, target)
    np.testing.assert_array_equal(target.get_layer("a").kernel, a.kernel)
    np.testing.assert_array_equal(target.get_layer("b").kernel, b.kernel)


# ---- errors


class Subclassed(keras.Model):
    """A model that is no graph."""

    def call(self, inputs: Any) -> Any:
        """Nothing that a graph would tell."""
        return inputs


class Overridden(keras.Model):
    """A model whose graph is not what it computes."""

    def call(self, inputs: Any) -> Any:
        """Twice what the graph gives."""
        return 2 * super().call(inputs)


class Own(layers.Layer):
    """A layer that tf_keras cannot know."""

    def call(self, inputs: Any) -> Any:
        """As it comes."""
        return inputs


def twice(value: Any) -> Any:
    return 2 * value


def test_layers_without_a_twin_are_all_named() -> None:
    x = image = keras.Input((8, 8, 3))
    for layer in (
        Own(name="custom"),
        layers.Lambda(lambda value: value + 1, name="function"),
        layers.RMSNormalization(name="rms"),
        layers.Resizing(4, 4, antialias=True, name="small"),
        layers.Activation("hard_sigmoid", name="hard"),
        layers.TimeDistributed(layers.Dense(2), name="wrapper"),
        layers.Dense(2, activation=twice, name="own_activation"),
    ):
        x = layer(x)
    with pytest.raises(FootsegError) as error:
        to_tf_keras(keras.Model(image, x, name="net"))
    message = str(error.value)
    for part in ("net", "custom", "function", "rms", "small", "antialias=True", "hard_sigmoid", "wrapper"):
        assert part in message
    assert "own_activation" in message
    assert "keras.ops" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "build", [Subclassed, lambda: Overridden(x := keras.Input((3,)), layers.Dense(2)(x))]
)
def test_a_subclassed_model_is_refused_by_its_class(build: Callable[[], Any]) -> None:
    model = build()
    with pytest.raises(ValueError, match=type(model).__name__):
        to_tf_keras(model)
    with pytest.raises(ValueError, match=type(model).__name__):
        to_keras(model)


def test_weights_that_do_not_fit_are_named_and_nothing_is_copied() -> None:
    def model(width: int, last: str) -> Any:
        image = keras.Input((3,), name="image")
        x = layers.Dense(width, name="middle")(layers.Dense(3, name="first")(image))
        return keras.Model(image, layers.Dense(2, name=last)(x), name=f"net_{last}")

    target = to_tf_keras(model(4, "end"))
    before = [weight.numpy() for weight in target.weights]
    with pytest.raises(FootsegError, match=r"net_tail to net_end.*only one has tail, end.*differ in middle"):
        copy_weights(model(5, "tail"), target)
    for weight, value in zip(target.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
