"""Clustering: first values and assignments worked out by hand, and real steps of TFMOT's wrappers."""

import numpy as np
import pytest
import tensorflow as tf

from footseg.compress.cluster import Cluster, NearestByCell, start
from footseg.compress.kept import Kept
from footseg.errors import FootsegError
from tests.kinds import each_network
from tests.one_step import tiny
from tests.retraining import kernel, little, retrain, set_kernel


def test_first_values_by_hand() -> None:
    weights = np.float32([4, 1, 2, 10, 11, 3])
    assert start(weights, 4, "linear") == pytest.approx([1, 4.3333, 7.6667, 11], abs=1e-4)
    # Three weights to each of two, the middle one of them.
    assert start(weights, 2, "density").tolist() == [2, 10]
    assert start(weights, 2, "kmeans++").tolist() == [2.5, 10.5]
    # With zeros: one value is zero, the others go by the numbers of negative and positive weights, 1 to 3.
    zeros = np.float32([0, 0, -8, 1, 2, 3])
    assert start(zeros, 4, "linear").tolist() == [-8, 0, 1, 3]
    assert start(zeros, 5, "kmeans++").tolist() == [-8, 0, 1, 2, 3]
    # A single negative weight of a hundred has a value, and no more than one.
    lone = np.append(np.float32([0, -1]), np.arange(1, 100, dtype=np.float32))
    for clusters in (3, 4, 16):
        assert (start(lone, clusters, "density") < 0).sum() == 1
    assert start(np.float32([0, 1, 2]), 3, "linear").tolist() == [0, 1, 2]


@pytest.mark.parametrize("clusters", [2, 16, 256])
def test_assignment_is_to_the_nearest(clusters: int) -> None:
    random = np.random.default_rng(clusters)
    values = tf.Variable(random.normal(size=clusters).astype(np.float32))  # in no order
    weights = random.normal(size=(10, 500)).astype(np.float32)
    found = NearestByCell(values).get_pulling_indices(tf.constant(weights)).numpy()
    distances = np.abs(weights[..., None] - values.numpy())
    # Two borders of 256 random values may lie in one cell of 16384: then the next best, a cell's width off.
    width = float(np.ptp(values.numpy())) / 2**14
    assert (np.take_along_axis(distances, found[..., None], -1)[..., 0] <= distances.min(-1) + width).all()
    assert (found == distances.argmin(-1)).mean() > 0.999
    same = NearestByCell(tf.Variable([0.5, 0.5])).get_pulling_indices(tf.constant(weights))
    assert set(same.numpy().ravel()) <= {0, 1}


def test_gradients_by_hand() -> None:
    values = tf.Variable([10.0, -10.0])
    weights = tf.Variable([[9.0, -8.0], [7.0, 6.0]])
    algorithm = NearestByCell(values)
    with tf.GradientTape() as tape:
        shared = algorithm.get_clustered_weight(algorithm.get_pulling_indices(weights), weights)
        loss = tf.reduce_sum(shared * tf.constant([[1.0, 2.0], [3.0, 4.0]]))
    assert shared.numpy().tolist() == [[10, -10], [10, 10]]
    of_values, of_weights = tape.gradient(loss, [values, weights])
    assert tf.convert_to_tensor(of_values).numpy().tolist() == [1 + 3 + 4, 2]
    assert of_weights.numpy().tolist() == [[1, 2], [3, 4]]


def test_ten_steps() -> None:
    model = little()
    before = model.get_weights()
    method = Cluster(8, layers={"up": 4}, skip=("head",))
    wrapped, choice = retrain(method, model, 10)
    assert choice.layers == {"conv": 8, "separable": 8, "up": 4}
    plain = method.plain(wrapped)
    reached = method.check(plain, choice)
    assert {name: row["asked"] for name, row in reached.items()} == choice.layers
    assert len(np.unique(kernel(plain, "up"))) <= 4
    assert not (kernel(plain, "conv") == kernel(model, "conv")).any()  # trained, and shared
    assert (plain.get_layer("conv").get_weights()[1] != 0).all()  # biases are trained, too
    image = np.random.default_rng(2).random((1, 8, 8, 3), np.float32)
    # The plain network is the wrapped one; float32 sums in other orders.
    assert plain.predict_on_batch(image) == pytest.approx(wrapped(image).numpy(), abs=1e-6)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    assert method.kernels(wrapped).keys() == {"conv", "depthwise", "separable", "up", "head"}
    set_kernel(plain, "up", kernel(model, "up"))
    with pytest.raises(FootsegError, match="up has 192 different values, not 4"):
        method.check(plain, choice)


def test_zeros_stay_and_few_weights_are_left_out() -> None:
    model = little()
    conv = kernel(model, "conv").ravel()
    conv[np.argsort(np.abs(conv))[:151]] = 0
    set_kernel(model, "conv", conv.reshape(3, 3, 3, 8))
    up = np.zeros(192)
    up[:6] = [1, 2, 3, 4, 5, -6]  # six of them, fewer than the clusters but zero
    set_kernel(model, "up", up.reshape(2, 2, 6, 8))
    set_kernel(model, "separable", np.zeros((1, 1, 8, 8)))
    method = Cluster(8)
    wrapped, choice = retrain(method, model, 10)
    assert choice.layers == {"conv": 8, "head": 8}
    assert choice.left_out["up"] == "it has 6 different weights other than zero, fewer than 8 clusters need"
    assert choice.left_out["separable"] == "all of its weights are zero"
    plain = method.plain(wrapped)
    reached = method.check(plain, choice)
    assert (kernel(plain, "conv")[conv.reshape(3, 3, 3, 8) == 0] == 0).all()
    assert reached["conv"]["sparsity"] >= 151 / 216
    assert reached["conv"]["clusters"] <= 8
    # A layer that was left out lost its zeros: keeping them is for ``Kept``, with the kernels of all layers.
    with pytest.raises(FootsegError, match=r"up .* zeros"):
        Kept.of(model).check(plain)
    Kept.of(model).project(method.kernels(wrapped))
    Kept.of(model).check(method.plain(wrapped))


def test_bad_settings() -> None:
    for wrong in (1, 257, 16.0, True):
        with pytest.raises(ValueError, match="clusters must be a whole number from 2 to 256"):
            Cluster(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the clusters of 'up' must be"):
        Cluster(layers={"up": 1000})
    with pytest.raises(ValueError, match=r"did you mean 'kmeans\+\+'"):
        Cluster(init="kmeans")
    model = little()
    with pytest.raises(ValueError, match="head cannot be clustered: it has 12 different weights"):
        Cluster(layers={"head": 16}).choose(model)
    with pytest.raises(ValueError, match="head cannot be clustered: it has 12 weights, and 12 clusters"):
        Cluster(layers={"head": 12}).choose(model)
    with pytest.raises(ValueError, match="no layer of little can be clustered: conv, for one, it has 216"):
        Cluster(256).choose(model)
    conv = kernel(model, "conv")
    conv[0] = 0
    set_kernel(model, "conv", conv)
    with pytest.raises(ValueError, match="conv cannot be clustered: its zeros take one of 2 clusters"):
        Cluster(2, layers={"conv": 2}).choose(model)


@pytest.mark.parametrize("name", each_network())
def test_every_network_has_its_layers_named(name: str) -> None:
    model = tiny(name)
    choice = Cluster(64).choose(model)
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    assert {kinds[layer] for layer in choice.layers} <= {"Conv2D", "Conv2DTranspose"}
    assert all(kernel(model, layer).size > 64 for layer in choice.layers)
    with_weights = {layer.name for layer in model.layers if any(len(w.shape) > 1 for w in layer.weights)}
    assert with_weights == choice.layers.keys() | choice.left_out.keys()
