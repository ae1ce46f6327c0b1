"""Clustering with retraining: the weights of a kernel share a few values, which are trained.

Han et al., "Deep Compression", ICLR 2016, section 3.

TFMOT's wrapper trains both the shared values and, straight through, the weights that are assigned to the
nearest of them at each step. It is given three things of its own kind:

assignment   its table of all distances has weights x clusters floats, 2.4 GB for a kernel of 2.4 million
             weights and 256 clusters, and took 430 ms a step for 0.6 million; a table of cells takes 3 ms
gradients    summed by ``bincount`` (1 to 4 ms for 0.6 million weights) instead of sorted by cluster (56 ms)
first values its k-means++ samples them without the k-means (and crashes with fewer non-zero weights than
             clusters, and takes 4.4 s for 0.6 million and 256); its density gives 17 different values of 256

A zero stays zero: where a kernel has zeros, one of the values is 0, and is not trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from footseg.compress.kernels import kernel_of, select, values_of, with_kernels
from footseg.compress.method import LayerChoice, Twin
from footseg.compress.twin import to_keras, to_tf_keras
from footseg.errors import FootsegError, check_known, require

tf_keras: Any = require("tf_keras", "compress")
tfmot: Any = require("tensorflow_model_optimization", "compress")

FEWEST, MOST = 2, 256
STARTS = ("kmeans++", "density", "linear")
# Cells of the table of the nearest values: two borders in one cell, 1/16384 of the range, would be needed to
# assign a weight to another than the nearest value.
CELLS = 1 << 14
SEED = 9


@dataclass(frozen=True)
class Cluster:
    """Share values among the weights of convolutions (transposed, separable) and dense layers.

    Args:
        clusters: values for each kernel, 2 to 256, the zero of a pruned kernel included (then 3 or more).
        init: the first values. "kmeans++": k-means from seeds drawn by distance (Arthur and Vassilvitskii,
            2007). "density": as many weights to each. "linear": evenly spaced, smallest weight to largest.
        layers: other numbers by pattern of layer names; 0 leaves a layer out.
        skip: patterns of layers to leave out.

    Raises:
        ValueError: a value out of its range.
    """

    clusters: int = 16
    init: str = "kmeans++"
    layers: Mapping[str, int] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    name = "cluster"
    settled = 0.0  # the weights are shared from the first step on

    def __post_init__(self) -> None:
        _check_clusters("clusters", self.clusters)
        for pattern, clusters in self.layers.items():
            if clusters != 0:
                _check_clusters(f"the clusters of {pattern!r}", clusters)
        check_known("no init", self.init, STARTS)

    def choose(self, model: keras.Model) -> LayerChoice:
        """The number of values for each layer of a Keras 3 ``model``.

        Raises:
            ValueError: a pattern without a layer, a named layer with too few different weights, or none left.
        """
        selection = select(model, self.clusters, self.layers, self.skip)
        asked, left_out = dict(selection.asked), dict(selection.left_out)
        for name, clusters in selection.asked.items():
            if not (why := _too_few(values_of(model.get_layer(name)), clusters)):
                continue
            if name in selection.named:
                raise ValueError(f"{name} cannot be clustered: {why}")
            left_out[name] = why
            del asked[name]
        if not asked:
            name = next(iter(selection.asked))
            raise ValueError(f"no layer of {model.name} can be clustered: {name}, for one, {left_out[name]}")
        return LayerChoice(asked, left_out)

    def wrap(self, model: keras.Model, choice: LayerChoice, steps: int) -> Twin:
        """A tf_keras twin whose chosen layers compute with shared values, in each of its ``steps`` steps."""
        twin = to_tf_keras(model)

        def wrapped_layer(layer: Any) -> Any:
            if layer.name not in choice.layers:
                return layer
            kernel = kernel_of(layer).numpy()
            return tfmot.clustering.keras.cluster_weights(
                _clusterable(layer),
                number_of_clusters=choice.layers[layer.name],
                cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.LINEAR,
                preserve_sparsity=bool((kernel == 0).any()),
            )

        wrapped = tf_keras.models.clone_model(twin, clone_function=wrapped_layer)
        for wrapper in _wrappers(wrapped):
            kernel = _original(wrapper).numpy()
            _start_from(wrapper, start(kernel, wrapper.number_of_clusters, self.init), kernel)
        # A function, because tf_keras would track a model.
        wrapped.unwrapped = lambda: twin
        return wrapped

    def before_step(self, wrapped: Twin, step: int) -> None:
        """Nothing: the wrappers assign weights in each step by themselves."""

    def kernels(self, wrapped: Twin) -> Mapping[str, Any]:
        """The kernels that are trained, clustered or not, by layer."""
        wrappers = {wrapper.layer.name: _original(wrapper) for wrapper in _wrappers(wrapped)}
        layers = with_kernels(wrapped)
        return {name: wrappers.get(name, kernel_of(layer)) for name, layer in layers.items()}

    def plain(self, wrapped: Twin) -> keras.Model:
        """A new Keras 3 model with the weights as they are, each the shared value that it is assigned to."""
        twin = wrapped.unwrapped()
        for wrapper in _wrappers(wrapped):
            wrapper.update_clustered_weights_associations()
            weights = wrapper.layer.get_weights()
            for position in wrapper.position_original_weights:  # a tensor now, and no weight of the layer's
                weights.insert(position, kernel_of(wrapper.layer).numpy())
            twin.get_layer(wrapper.layer.name).set_weights(weights)
        return to_keras(twin)

    def check(self, plain: keras.Model, choice: LayerChoice) -> dict[str, dict[str, Any]]:
        """The number of different values in each chosen layer, zero counted as one, and the share of zeros.

        Raises:
            FootsegError: layers with more values than asked.
        """
        reached, missed = {}, []
        for name, asked in choice.layers.items():
            values = values_of(plain.get_layer(name))
            found = len(np.unique(values))
            reached[name] = {"clusters": found, "asked": asked, "sparsity": float(np.mean(values == 0))}
            if found > asked:
                missed.append(f"{name} has {found} different values, not {asked}")
        if missed:
            raise FootsegError(f"{plain.name} is not clustered as asked: {'; '.join(missed)}")
        return reached


class NearestByCell(tfmot.clustering.keras.ClusteringAlgorithm):
    """Assignment to the nearest value, and both gradients, in time that the clusters do not multiply."""

    def get_pulling_indices(self, weight: Any, centroids: Any = None) -> Any:
        """The number of the nearest of the values for each weight, int64, of the shape of ``weight``."""
        values = tf.convert_to_tensor(self.cluster_centroids if centroids is None else centroids)
        order = tf.argsort(values)
        ascending = tf.gather(values, order)
        borders = (ascending[1:] + ascending[:-1]) / 2
        low, high = ascending[0], ascending[-1]
        scale = (CELLS - 1) / tf.maximum(high - low, 1e-30)

        def cell(x: Any) -> Any:
            return tf.cast((tf.clip_by_value(x, low, high) - low) * scale, tf.int32)

        # How many borders lie in the cells below a weight's own; one may lie in that cell, below the weight.
        below = tf.cumsum(tf.math.bincount(cell(borders), minlength=CELLS, maxlength=CELLS), exclusive=True)
        nearest = tf.gather(below, cell(weight))
        beyond = weight > tf.gather(tf.concat([borders, [np.inf]], 0), nearest)
        return tf.cast(tf.gather(order, nearest + tf.cast(beyond, tf.int32)), tf.int64)

    def get_clustered_weight(self, pulling_indices: Any, original_weight: Any) -> Any:
        """The value of each weight; its gradient goes to the weight as it is, and summed to the values."""
        return _looked_up(
            tf.convert_to_tensor(self.cluster_centroids), tf.identity(original_weight), pulling_indices
        )


@tf.custom_gradient
def _looked_up(values: Any, weights: Any, indices: Any) -> Any:
    """``values`` at ``indices``, as if it were ``weights``."""

    def gradient(upstream: Any) -> tuple[Any, Any, None]:
        places = tf.cast(tf.reshape(indices, [-1]), tf.int32)
        count = values.shape[0]
        flat = tf.reshape(upstream, [-1])
        return tf.math.bincount(places, flat, minlength=count, maxlength=count), upstream, None

    return tf.gather(values, indices), gradient


def start(kernel: np.ndarray, clusters: int, init: str) -> np.ndarray:
    """The first ``clusters`` values for a kernel, ascending; one of them is 0 where it has zeros.

    The others are shared out to negative and positive weights by their numbers.
    """
    if (kernel != 0).all():
        return _starts(np.sort(kernel, axis=None), clusters, init).astype(np.float32)
    negative, positive = np.sort(kernel[kernel < 0]), np.sort(kernel[kernel > 0])
    below = round((clusters - 1) * len(negative) / (len(negative) + len(positive)))
    # Each side has a value where it has weights, and no more values than weights.
    below = min(max(below, int(len(negative) > 0), clusters - 1 - len(positive)), len(negative))
    below = min(below, clusters - 1 - int(len(positive) > 0))
    sides = _starts(negative, below, init), np.zeros(1), _starts(positive, clusters - 1 - below, init)
    return np.concatenate(sides).astype(np.float32)


def _starts(ascending: np.ndarray, clusters: int, init: str) -> np.ndarray:
    if clusters == 0:
        return np.zeros(0)
    if init == "linear":
        return np.linspace(ascending[0], ascending[-1], clusters)
    if init == "density":
        # The middle weight of each of so many equal parts.
        return ascending[((np.arange(clusters) + 0.5) * len(ascending) / clusters).astype(int)]
    return _k_means(ascending, _seeds(ascending, clusters))


def _seeds(ascending: np.ndarray, clusters: int) -> np.ndarray:
    """k-means++: each seed is a weight drawn by the square of its distance to the nearest seed so far."""
    random = np.random.default_rng(SEED)
    # Enough for any distribution of them; all of 0.6 million would take 4 s.
    places = np.linspace(0, len(ascending) - 1, min(len(ascending), 20_000)).astype(int)
    some = ascending[places].astype(float)
    seeds = [random.choice(some)]
    squares = (some - seeds[0]) ** 2
    while len(seeds) < clusters and squares.any():
        place = np.searchsorted(np.cumsum(squares), random.random() * squares.sum(), side="right")
        seeds.append(some[min(place, len(some) - 1)])
        squares = np.minimum(squares, (some - seeds[-1]) ** 2)
    return np.sort(np.resize(seeds, clusters))


def _k_means(ascending: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lloyd's iterations on sorted weights: clusters are intervals, so sums come from running ones."""
    sums = np.concatenate([[0.0], np.cumsum(ascending, dtype=np.float64)])
    for _ in range(100):
        edges = np.searchsorted(ascending, (values[1:] + values[:-1]) / 2)
        bounds = np.concatenate([[0], edges, [len(ascending)]])
        counts = np.diff(bounds)
        means = np.divide(np.diff(sums[bounds]), counts, out=values.copy(), where=counts > 0)
        if np.array_equal(means, values):
            break
        values = means
    return values


def _clusterable(layer: Any) -> Any:
    """A copy of a tf_keras layer, with its weights, that brings ``NearestByCell`` as TFMOT lets layers do."""
    kind = type(layer)
    (attribute,) = (name for name in ("pointwise_kernel", "kernel") if hasattr(layer, name))
    methods = {
        "get_clusterable_weights": lambda self: [(attribute, getattr(self, attribute))],
        "get_clusterable_algorithm": lambda self, weight_name: NearestByCell,
    }
    clusterable: Any = type(kind.__name__, (kind, tfmot.clustering.keras.ClusterableLayer), methods)
    copy = clusterable.from_config(layer.get_config())
    copy.build(layer.input_shape)
    copy.set_weights(layer.get_weights())
    return copy


def _start_from(wrapper: Any, values: np.ndarray, kernel: np.ndarray) -> None:
    """Give a TFMOT wrapper its first values, and what of them and of the weights is zero."""
    (name,) = wrapper.cluster_centroids
    wrapper.cluster_centroids[name].assign(values)
    if wrapper.preserve_sparsity:
        wrapper.sparsity_masks[name] = tf.constant(kernel != 0, tf.float32)
        wrapper.zero_idx[name] = tf.constant(int(np.flatnonzero(values == 0)[0]), tf.int64)


def _wrappers(wrapped: Twin) -> list[Any]:
    return [layer for layer in wrapped.layers if hasattr(layer, "cluster_centroids")]


def _original(wrapper: Any) -> Any:
    (kernel,) = wrapper.original_clusterable_weights.values()
    return kernel


def _too_few(kernel: np.ndarray, clusters: int) -> str:
    """Why a kernel cannot be given so many values; "" where it can."""
    zeros = bool((kernel == 0).any())
    found = len(np.unique(kernel[kernel != 0]))
    if found == 0:
        return "all of its weights are zero"
    if zeros and clusters == FEWEST:
        return (
            f"its zeros take one of {clusters} clusters, which leaves too few: ask for {FEWEST + 1} or more"
        )
    if found < clusters - zeros:
        return f"it has {found} different weights other than zero, fewer than {clusters} clusters need"
    if kernel.size <= clusters:
        return f"it has {kernel.size} weights, and {clusters} clusters are as many"
    return ""


def _check_clusters(what: str, clusters: object) -> None:
    whole = isinstance(clusters, int) and not isinstance(clusters, bool)
    if not whole or not FEWEST <= clusters <= MOST:  # type: ignore[operator]
        raise ValueError(
            f"{what} must be a whole number from {FEWEST} to {MOST} (8 to 256 are usual), not {clusters!r}"
        )
