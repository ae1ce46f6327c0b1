"""Training for int8: roundings by hand, files without islands of float, what is kept and what comes back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow_model_optimization")
import keras
import tensorflow as tf
import tf_keras
from keras import layers

from footseg import networks, runtime
from footseg.compress import int8_graph
from footseg.compress.kept import Kept
from footseg.compress.qat import QuantizationAware
from footseg.compress.quantizers import Follower, KernelQuantizer, RunningRange
from footseg.errors import FootsegError
from footseg.export import qat as converter
from footseg.export import tflite
from footseg.export.ends import Asked
from footseg.export.quantize import FLOAT
from footseg.graphs.tflite import read
from footseg.networks._unpool import max_pool, max_unpool
from tests.canonical import canonical
from tests.test_fold import trained

QAT = QuantizationAware()
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
SMALL_IMAGES = IMAGES[:, :32, :32]


def zoo() -> keras.Model:
    """Whatever TFMOT or XNNPACK leave in float, and what must be written otherwise."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Rescaling(2.0, -1.0, name="signed")(layers.AveragePooling2D(2, name="pool")(image))
    x = layers.BatchNormalization(name="first_bn")(
        layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")(x)
    )
    slopes = keras.initializers.RandomUniform(-0.2, 0.6, seed=0)
    x = skip = layers.PReLU(slopes, shared_axes=[1, 2], name="prelu")(x)
    x = layers.Conv2D(8, 3, padding="same", dilation_rate=2, name="dilated")(
        layers.MaxPooling2D(2, name="max")(x)
    )
    x = layers.ReLU(name="dilated_relu")(layers.BatchNormalization(name="dilated_bn")(x))
    x = layers.Conv2DTranspose(4, 3, 2, padding="same", use_bias=False, name="bare")(x)
    x = layers.Concatenate(name="concat")([layers.ReLU(name="bare_relu")(x), skip])
    x = layers.ReLU(6.0, name="alone_relu")(layers.BatchNormalization(name="alone")(x))
    x = layers.Multiply(name="gated")([x, layers.Conv2D(12, 1, activation="sigmoid", name="gate")(x)])
    x = layers.Add(name="both")([x, layers.ReLU(name="unfused")(x)])
    x = layers.Conv2DTranspose(4, 3, padding="same", name="up")(layers.SpatialDropout2D(0.1, name="drop")(x))
    x = layers.ReLU(name="up_relu")(layers.BatchNormalization(name="up_bn")(x))
    x = keras.ops.pad(keras.ops.relu(x) * 0.5 - x, ((0, 0), (0, 0), (0, 0), (0, 2)))
    x = layers.Conv2D(2, 1, name="classifier")(x)
    return trained(
        keras.Model(image, layers.UpSampling2D(2, interpolation="bilinear", name="logits")(x), name="zoo")
    )


def positions() -> keras.Model:
    """Max-unpooling, as ENet has it."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="early")(image)
    x = layers.PReLU(shared_axes=[1, 2], name="early_prelu")(layers.BatchNormalization(name="early_bn")(x))
    pooled, where = max_pool(x, "pool")
    x = layers.ReLU(name="late_relu")(layers.Conv2D(4, 3, padding="same", name="late")(pooled))
    x = layers.Conv2D(2, 1, name="classifier")(max_unpool(x, where))
    return trained(keras.Model(image, x, name="positions"))


@pytest.fixture(scope="module")
def wrapped_zoo() -> Any:
    """The zoo, wrapped and calibrated."""
    model = zoo()
    wrapped = QAT.wrap(model, QAT.choose(model), 6)
    QAT.calibrate(wrapped, SMALL_IMAGES)
    return wrapped


def alive(model: Any) -> Any:
    """``model`` with no offset of a normalisation below zero.

    Four channels of a random network may be silent behind ReLU on all images: a tensor without a range, over
    which XNNPACK refuses the file.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.center:
            layer.beta.assign(np.abs(layer.beta.numpy()))
    return model


def convert(wrapped: Any, folder: Path, ends: Asked = FLOAT) -> Path:
    """The int8 file of a wrapped network."""
    if not (folder / "saved").is_dir():
        QAT.save(wrapped, folder / "saved")
    path = folder / f"{ends.input}.tflite"
    path.write_bytes(converter.convert(folder / "saved", ends))
    canonical(path)
    return path


def fake(wrapped: Any, images: np.ndarray) -> np.ndarray:
    return wrapped(runtime.to_float(images), training=False).numpy()


def kernel_codes(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The only int8 constant of a shape in a file."""
    found = read(path).tensors.values()
    (kernel,) = (t.data for t in found if t.shape == shape and t.kind == "int8" and t.data is not None)
    return np.frombuffer(kernel, np.int8).reshape(shape)


def test_kernel_quantizer_by_hand() -> None:
    """127 steps to each channel's largest value after the factor; the gradient is the factor's alone."""
    kernel = tf.Variable(np.array([[1.27, -0.1], [0.012, 0.254]], np.float32))
    quantizer = KernelQuantizer((1,), np.array([[1.0, 10.0]], np.float32))
    layer = tf_keras.layers.Layer()
    weights = quantizer.build(None, "kernel", layer)
    # Steps 0.01 and 0.02: 0.012 is 1.2 of them, -1 is 50.
    expected = [[1.27, -1.0], [0.01, 2.54]]
    np.testing.assert_allclose(quantizer(kernel, False, weights), expected, rtol=1e-6)
    with tf.GradientTape() as tape:
        rounded = quantizer(kernel, True, weights)
    np.testing.assert_allclose(rounded, expected, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(rounded, kernel), [[1, 10], [1, 10]], rtol=1e-6)
    assert [variable.name for variable in layer.trainable_variables] == ["gamma:0"]


def test_ranges_by_hand() -> None:
    """The first batches count equally, zero is always inside, a group's range holds all of its tensors."""
    group, layer = RunningRange(0.5), tf_keras.layers.Layer()
    one, other = (group.build(None, name, layer) for name in ("one", "other"))
    group(tf.constant([1.0, 2.0]), True, one)
    assert (float(one["least"]), float(one["greatest"])) == (0, 2)
    group(tf.constant([-4.0, 4.0]), True, one)
    assert (float(one["least"]), float(one["greatest"])) == (-2, 3)  # a half, which is also 1 - momentum
    group(tf.constant([0.0, 7.0]), True, one)
    assert (float(one["least"]), float(one["greatest"])) == (-1, 5)  # the half again, no third
    group(tf.constant([-0.1, 250.0]), True, other)
    # From -1 to 250 there are 255 steps of 0.9843; zero is moved onto one of them: 0.4 is nearest to it.
    assert float(Follower(group)(tf.constant(0.4), False, {})) == 0
    assert float(Follower(group)(tf.constant(300.0), False, {})) == pytest.approx(250, abs=1)
    assert not layer.trainable_variables


def test_zoo_is_all_int8(wrapped_zoo: Any, tmp_path: Path) -> None:
    """One XNNPACK partition, no float, no shapes; the file gives what was trained, whatever its ends."""
    path = convert(wrapped_zoo, tmp_path)
    tflite.check_graph(path)
    converter.check_islands(path)
    delegation = runtime.delegation(path)
    assert (delegation.partitions, delegation.share) == (1, 1.0)
    expected = fake(wrapped_zoo, SMALL_IMAGES)
    logits = runtime.load(path).logits(SMALL_IMAGES)
    scale = np.asarray(wrapped_zoo.origin.model(runtime.to_float(SMALL_IMAGES), training=False))
    # A few roundings go the other way (ties, XNNPACK's own arithmetic): 0.004 was seen.
    assert np.abs(logits - expected).mean() / scale.std() < 0.02
    # What all the roundings cost, by ranges alone: 0.02 was seen.
    assert np.abs(expected - scale).mean() / scale.std() < 0.06
    ends = convert(wrapped_zoo, tmp_path, Asked("int8"))
    assert runtime.interpreter(ends).get_input_details()[0]["dtype"] == np.int8
    # Pixels are codes of the input as they are: nothing is rounded there.
    np.testing.assert_array_equal(runtime.load(ends).logits(SMALL_IMAGES), logits)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("fast_linknet", {"width": 0.25}, marks=pytest.mark.slow),
        pytest.param("mobileseg", {"width": 0.25}, marks=pytest.mark.slow),
        ("unet", {"base": 2}),
    ],
)
def test_networks_are_all_int8(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """The project's own: no island, and the file gives what was trained."""
    model = alive(trained(networks.build(name, (64, 64, 3), 2, **options)))
    choice = QAT.choose(model)
    assert not choice.left_out
    assert {layer.name for layer in model.layers if layer.weights} == choice.layers.keys()
    wrapped = QAT.wrap(model, choice, 6)
    QAT.calibrate(wrapped, IMAGES)
    assert len(wrapped.trainable_variables) == len(model.trainable_variables) - (18 if name == "unet" else 0)
    path = convert(wrapped, tmp_path)
    converter.check_islands(path)
    delegation = runtime.delegation(path)
    assert (delegation.partitions, delegation.share) == (1, 1.0)
    expected = fake(wrapped, IMAGES)
    # As in the zoo; 0.001 to 0.004 was seen.
    assert np.abs(runtime.load(path).logits(IMAGES) - expected).mean() / expected.std() < 0.02


def test_positions_stay_float(tmp_path: Path) -> None:
    """What decides where maxima stood is left out and named; the rest is int8."""
    model = positions()
    choice = QAT.choose(model)
    ceils = [operation.name for operation in model.operations if type(operation).__name__ == "Ceil"]
    assert set(ceils) | {"early", "early_prelu"} < choice.left_out.keys()
    assert all("max-unpooling" in reason for reason in choice.left_out.values())
    assert choice.layers.keys() == {"late", "classifier"}
    wrapped = QAT.wrap(model, choice, 6)
    QAT.calibrate(wrapped, SMALL_IMAGES)
    path = convert(wrapped, tmp_path)
    assert runtime.delegation(path).partitions == 1
    kinds = {island.split()[0] for island in converter.islands(path)}
    assert {"CONV_2D", "PRELU", "CEIL"} <= kinds
    converter.check_islands(path, choice.left_out)
    with pytest.raises(FootsegError, match=r"still computes in float: .*CEIL \(operator \d+\)"):
        converter.check_islands(path)
    expected = fake(wrapped, SMALL_IMAGES)
    assert np.abs(runtime.load(path).logits(SMALL_IMAGES) - expected).mean() / expected.std() < 0.02


def test_plain_is_the_network_that_went_in(wrapped_zoo: Any) -> None:
    """Same layers, same statistics, same numbers, as long as nothing was trained."""
    model, plain = wrapped_zoo.origin.model, QAT.plain(wrapped_zoo)
    assert [layer.name for layer in plain.layers] == [layer.name for layer in model.layers]
    for one, other in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_training_moves_weights_and_ranges_and_keeps_zeros(tmp_path: Path) -> None:
    """Six steps; then the float network, wrapped anew, has every weight, and the file every zero."""
    model = zoo()
    rng = np.random.default_rng(2)
    for name in ("dilated", "bare"):
        kernel, *bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([kernel * (rng.random(kernel.shape) > 0.7), *bias])
    shared = rng.choice([-0.3, -0.1, 0.0, 0.2], (1, 1, 12, 12)).astype(np.float32)
    model.get_layer("gate").set_weights([shared, np.zeros(12)])
    choice = QAT.choose(model)
    assert choice.layers["gate"]["codes"] == "shared"
    wrapped = QAT.wrap(model, choice, 6)
    kept, kernels = Kept.of(model), QAT.kernels(wrapped)
    before = {variable.name: variable.numpy() for variable in wrapped.variables}
    adam = tf_keras.optimizers.AdamW(1e-3)
    images, masks = runtime.to_float(SMALL_IMAGES), SMALL_IMAGES[..., 0].astype(np.int32) // 128

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            logits = wrapped(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(masks, logits))
        variables = wrapped.trainable_variables
        adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        kept.project(kernels)
        return loss

    losses = [float(step()) for _ in range(6)]
    assert losses[-1] < losses[0]
    still = [v.name for v in wrapped.trainable_variables if np.array_equal(before[v.name], v.numpy())]
    assert not still
    least = [v for v in wrapped.variables if "least" in v.name or "greatest" in v.name]
    assert sum(float(v) not in (-6.0, 6.0) for v in least) == len(least)

    plain = QAT.plain(wrapped)
    QAT.check(plain, choice)
    again = QAT.wrap(plain, choice, 6)
    names = [v.name for v in wrapped.trainable_variables]
    assert [v.name for v in again.trainable_variables] == names
    for one, other in zip(again.trainable_variables, wrapped.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=one.name)

    path = convert(wrapped, tmp_path)
    for name, shape in (("dilated", (8, 3, 3, 8)), ("bare", (4, 3, 3, 8)), ("gate", (12, 1, 1, 12))):
        kernel = np.moveaxis(model.get_layer(name).get_weights()[0], 2 if name == "bare" else 3, 0)
        assert (kernel == 0).mean() > 0.1
        codes = kernel_codes(path, shape)
        assert not codes[kernel == 0].any()
    assert len(np.unique(codes)) == 4


def test_frozen_layers_stay_frozen() -> None:
    """TFMOT's wrapper would train their kernels."""
    model = positions()
    model.get_layer("late").trainable = False
    wrapped = QAT.wrap(model, QAT.choose(model), 6)
    names = [variable.name for variable in wrapped.trainable_variables]
    assert not [name for name in names if "late" in name]
    assert len(wrapped.variables) == len({id(variable) for variable in wrapped.variables})
    assert [v for v in wrapped.variables if "late" in v.name and "kernel" in v.name]


def test_refusals(tmp_path: Path) -> None:
    """One clear line each."""
    image = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="has no layer that int8 can have"):
        QAT.choose(keras.Model(image, layers.ReLU()(image), name="empty"))
    rows = layers.Reshape((64, 3))(image)
    seen = layers.Reshape((8, 8, 3))(layers.MultiHeadAttention(1, 2, name="looks")(rows, rows))
    with pytest.raises(ValueError, match="cannot go around looks"):
        QAT.choose(keras.Model(image, layers.Conv2D(2, 1)(seen)))
    with pytest.raises(ValueError, match="momentum"):
        QuantizationAware(momentum=1.0)
    with pytest.raises(FootsegError, match="footseg compress --qat"):
        converter.convert(tmp_path / "nothing")
    model = positions()
    model.get_layer("late").set_weights([np.full((3, 3, 4, 4), np.nan), np.zeros(4)])
    with pytest.raises(FootsegError, match="no numbers in late:"):
        QAT.check(model, QAT.choose(model))
    unknown = keras.Model(
        image, layers.Conv2D(2, 1, name="conv")(layers.GroupNormalization(1, name="group")(image))
    )
    assert QAT.choose(unknown).left_out == {"group": int8_graph.NO_FORM.format("GroupNormalization")}
