"""Which batch normalisation folds into the convolution before it, and by which factors.

Jacob et al. 2018, Quantization and training of neural networks for efficient integer-arithmetic-only
inference (arXiv:1712.05877), section 3.2. In inference BN(conv(x)) is a convolution whose kernel is scaled by
gamma / sqrt(variance + epsilon) per output channel and whose bias takes in the rest.
"""

from collections import Counter
from collections.abc import Iterator

import keras
import numpy as np
from keras import layers

from footseg.compress.kernels import output_axes
from footseg.graphs.keras import calls, users

CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D, layers.Dense)


def foldable(model: keras.Model) -> dict[str, str]:
    """Convolutions whose output goes to a batch normalisation and nowhere else: name to its name.

    Left out are shared layers, convolutions with an activation, and normalisation along another axis than the
    channels'.

    Raises:
        ValueError: not a functional model.
    """
    every = calls(model)
    taken, ends = users(every), {id(tensor) for tensor in model.outputs}
    times = Counter(id(call.operation) for call in every)

    def pairs() -> Iterator[tuple[str, str]]:
        for call in every:
            layer, made = call.operation, id(call.outputs[0])
            after = [user.operation for user in taken.get(made, [])]
            if (
                type(layer) in CONVOLUTIONS
                and len(after) == 1
                and made not in ends
                and type(after[0]) is layers.BatchNormalization
                and times[id(layer)] == times[id(after[0])] == 1
                and layer.activation is keras.activations.linear
                and _along_channels(after[0], layer)
            ):
                yield layer.name, after[0].name

    return dict(pairs())


def affine(norm: keras.Layer) -> tuple[np.ndarray, np.ndarray]:
    """What ``norm`` does in inference: factor and offset of each channel, float64 (C,)."""
    names = ["gamma"] * norm.scale + ["beta"] * norm.center + ["mean", "variance"]
    weights = dict(zip(names, (weight.astype(np.float64) for weight in norm.get_weights()), strict=True))
    factor = weights.get("gamma", 1.0) / np.sqrt(weights["variance"] + norm.epsilon)
    return factor, weights.get("beta", 0.0) - weights["mean"] * factor


def along_outputs(values: np.ndarray, layer: keras.Layer) -> np.ndarray:
    """Values of each output channel, shaped to be multiplied with ``layer``'s kernel."""
    shape = [1] * len(layer.kernel.shape)
    for axis in output_axes(layer):
        shape[axis] = layer.kernel.shape[axis]
    return values.reshape(shape)


def _along_channels(norm: keras.Layer, layer: keras.Layer) -> bool:
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    rank = len(layer.output.shape)
    return norm.axis % rank == (rank - 1 if last else 1)
