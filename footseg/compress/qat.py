"""Quantization-aware training: the network learns with the roundings that its int8 file will make.

Jacob et al. 2018, Quantization and training of neural networks for efficient integer-arithmetic-only
inference (arXiv:1712.05877), with TFMOT's wrappers and rules of our own, since TFMOT's leave transposed and
dilated convolutions, PReLU, Multiply and more in float:

- every tensor of the file has one range. Tensors that int8 moves (pooling, concatenation, reshaping,
  resizing) share it, so that nothing is rounded twice;
- batch normalisation is folded into the convolution, its statistics fixed and its factor trained: kernels
  keep their zeros and shared values, and ``plain`` unfolds them into the network as it was;
- what XNNPACK has no int8 kernel for is written in what it has: see ``int8_graph.prepare``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from footseg import runtime
from footseg.compress import int8_graph
from footseg.compress.fold import CONVOLUTIONS, affine, along_outputs
from footseg.compress.int8_graph import Prepared
from footseg.compress.kernels import output_axes
from footseg.compress.method import LayerChoice, Twin
from footseg.compress.quantizers import Fixed, Follower, KernelQuantizer, LayerRule, RunningRange, Wrapper
from footseg.compress.twin import to_tf_keras
from footseg.errors import FootsegError, require

tf_keras: Any = require("tf_keras", "compress")

PREFIX = "quant_"
# Layers whose call takes several tensors by name.
SEVERAL = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
INPUT, OUTPUT = "image", "logits"
CALIBRATION_BATCH = 16
# A kernel with fewer values than this and a quarter of its weights was clustered.
CLUSTERED = 256


@dataclass(frozen=True)
class Origin:
    """What a wrapped network was made from: ``plain`` goes back to it."""

    model: keras.Model
    prepared: Prepared


@dataclass(frozen=True)
class QuantizationAware:
    """Train for int8: weights symmetric by channel, activations asymmetric by tensor.

    ``momentum`` is that of the ranges' moving average over batches.
    """

    momentum: float = 0.99
    name = "qat"
    settled = 0.0  # each epoch's network is quantized

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(
                f"momentum is the share of a range that a batch leaves, in [0, 1): {self.momentum}"
            )

    def choose(self, model: keras.Model) -> LayerChoice:
        """All layers with weights that int8 can have, and what stays in float and why.

        Raises:
            ValueError: not a functional model, nothing in it that int8 can have, or a layer of several
                tensors, around which TFMOT's wrapper cannot go.
        """
        if several := [layer.name for layer in model.layers if isinstance(layer, SEVERAL)]:
            raise ValueError(
                f"--qat cannot go around {', '.join(several)}, which takes several tensors: leave --qat out, "
                "footseg export calibrates int8 after training"
            )
        prepared = int8_graph.prepare(model)
        left_out = dict(int8_graph.outputs(prepared).left_out)
        weighted = [layer for layer in model.layers if layer.weights and layer.name not in left_out]
        if not weighted:
            raise ValueError(
                f"{model.name} has no layer that int8 can have: {left_out or 'no weights at all'}"
            )
        return LayerChoice(
            {
                layer.name: {"bits": 8, "codes": "shared" if _shares(layer) else "by channel"}
                for layer in weighted
            },
            left_out,
        )

    def wrap(self, model: keras.Model, choice: LayerChoice, steps: int) -> Twin:
        """A tf_keras twin that rounds as the int8 file will; its ranges are the first batch's at first."""
        prepared = int8_graph.prepare(model)
        rules = _rules(self.momentum, model, prepared)
        twin = to_tf_keras(prepared.model)

        def wrapper(layer: Any) -> Any:
            copy = type(layer).from_config(layer.get_config())
            if layer.name not in rules:
                return copy
            return Wrapper(copy, rules[layer.name], name_prefix=PREFIX)

        wrapped = tf_keras.models.clone_model(twin, clone_function=wrapper)
        for layer in twin.layers:
            if layer.weights:
                _assign(_weights(wrapped, layer.name), [weight.numpy() for weight in layer.weights])
        wrapped.origin = Origin(model, prepared)
        return wrapped

    def before_step(self, wrapped: Twin, step: int) -> None:
        """Nothing: ranges follow the batches."""

    def kernels(self, wrapped: Twin) -> Mapping[str, Any]:
        """The kernels, without the factors of batch normalisation: as in the Keras 3 model."""
        return {
            layer.name: _weights(wrapped, layer.name)[0]
            for layer in wrapped.origin.model.layers
            if type(layer) in CONVOLUTIONS
        }

    def plain(self, wrapped: Twin) -> keras.Model:
        """The float network, of the layers and batch statistics that went in, with the weights of now."""
        model, prepared = wrapped.origin.model, wrapped.origin.prepared
        copy = keras.models.clone_model(model)
        given = {layer.name: layer for layer in model.layers}
        convolution_of = {norm: name for name, norm in prepared.folded.items()}
        for layer in copy.layers:
            if not layer.weights:
                continue
            original, name = given[layer.name], layer.name
            if name in convolution_of:
                source = convolution_of[name]
                factor = np.ravel(_gamma(wrapped, source).numpy())
                bias = _weights(wrapped, source)[1].numpy()
                fixed = given[source].get_weights()[1] if given[source].use_bias else 0.0
                layer.set_weights(_normalisation(original, factor, bias, fixed))
            elif name in prepared.norms:
                kernel, bias = (weight.numpy() for weight in _weights(wrapped, name))
                layer.set_weights(_normalisation(original, np.ravel(kernel), bias, 0.0))
            elif name in prepared.slopes:
                kernel = _weights(wrapped, f"{name}_slope")[0].numpy()
                alpha = int8_graph.SLOPE + (1 - int8_graph.SLOPE) * kernel
                layer.set_weights([alpha.reshape(layer.weights[0].shape)])
            elif name in prepared.folded:
                kernel = _weights(wrapped, name)[0].numpy()
                layer.set_weights([kernel, *original.get_weights()[1:]])
            else:
                layer.set_weights([weight.numpy() for weight in _weights(wrapped, name)])
        return copy

    def check(self, plain: keras.Model, choice: LayerChoice) -> dict[str, dict[str, Any]]:
        """What each layer has become.

        Raises:
            FootsegError: weights that are no numbers.
        """
        broken = [
            layer.name
            for layer in plain.layers
            if not all(np.isfinite(weight).all() for weight in layer.get_weights())
        ]
        if broken:
            raise FootsegError(
                f"training ended with weights that are no numbers in {', '.join(broken)}: "
                "use a lower learning rate"
            )
        return {name: dict(asked) for name, asked in choice.layers.items()}

    def calibrate(self, wrapped: Twin, images: np.ndarray) -> None:
        """Set the ranges by ``images``, uint8 (N, H, W, 3), and no weight: before anything is trained."""
        for start in range(0, len(images), CALIBRATION_BATCH):
            wrapped(runtime.to_float(images[start : start + CALIBRATION_BATCH]), training=True)

    def save(self, wrapped: Twin, folder: Path) -> None:
        """Write a SavedModel: ``image`` float32 (1, H, W, 3) in [0, 1] to {"logits"}, rounded as int8 will.

        The converter of ``footseg.export.qat`` makes int8 of it, and needs no TFMOT for that.
        """
        height, width, channels = wrapped.inputs[0].shape[1:]
        spec = tf.TensorSpec((1, height, width, channels), tf.float32, name=INPUT)
        module = tf.Module()
        module.variables_of_network = wrapped.variables

        def serve(image: Any) -> dict[str, Any]:
            return {OUTPUT: wrapped(image, training=False)}

        module.serve = tf.function(serve, input_signature=[spec], autograph=False)
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def _rules(momentum: float, model: keras.Model, prepared: Prepared) -> dict[str, LayerRule]:
    """What is rounded at each layer of a prepared network, by name; layers without a rule round nothing."""
    outputs = int8_graph.outputs(prepared)
    ranges = {
        number: Fixed(*outputs.fixed[number]) if number in outputs.fixed else RunningRange(momentum)
        for number in outputs.group.values()
    }
    given = {layer.name: layer for layer in model.layers}
    rules = {}
    for operation in prepared.model.operations:
        name = operation.name
        kernel, weights, output = "", None, None
        if name in outputs.group:
            shared = ranges[outputs.group[name]]
            output = shared if name in outputs.observed else Follower(shared)
        rounds = name not in outputs.left_out
        if (
            type(operation) in CONVOLUTIONS
            and name not in prepared.constant
            and (rounds or name in prepared.folded)
        ):
            depthwise = type(operation).__name__ == "DepthwiseConv2D"
            kernel = "depthwise_kernel" if depthwise else "kernel"
            norm = given[prepared.folded[name]] if name in prepared.folded else None
            weights = _kernel_quantizer(operation, norm, given.get(name), rounds)
        if weights is not None or output is not None:
            rules[name] = LayerRule(kernel, weights, output)
    return rules


def _kernel_quantizer(layer: keras.Layer, norm: Any, original: Any, rounds: bool) -> KernelQuantizer:
    rank = len(layer.kernel.shape)
    factor = None if norm is None else along_outputs(affine(norm)[0], layer).astype(np.float32)
    return KernelQuantizer(
        tuple(rank + axis for axis in output_axes(layer)),
        factor,
        shared=original is not None and type(layer) is keras.layers.Conv2D and _shares(original),
        learned=norm is None or norm.scale,
        rounds=rounds,
    )


def _shares(layer: keras.Layer) -> bool:
    """Whether clustering left a layer few values, which int8 can keep few."""
    if type(layer) is not keras.layers.Conv2D:
        return False
    kernel = layer.get_weights()[0]
    return len(np.unique(kernel)) < min(CLUSTERED + 1, kernel.size / 4)


def _normalisation(norm: Any, factor: np.ndarray, bias: np.ndarray, fixed: Any) -> list[np.ndarray]:
    """Weights with which ``norm``, after a convolution of bias ``fixed``, is ``factor`` and ``bias``.

    Its statistics stay, so that training can go on with it; only a normalisation without an offset of its own
    needs another mean.
    """
    names = ["gamma"] * norm.scale + ["beta"] * norm.center + ["mean", "variance"]
    weights = dict(zip(names, norm.get_weights(), strict=True))
    if norm.scale:
        weights["gamma"] = factor * np.sqrt(weights["variance"] + norm.epsilon)
    if norm.center:
        weights["beta"] = bias + (weights["mean"] - fixed) * factor
    else:
        weights["mean"] = fixed - bias / factor
    return [weights[name] for name in names]


def _layer(wrapped: Twin, name: str) -> Any:
    """The layer that is called ``name`` in the prepared network, in its wrapper if it has one."""
    names = {layer.name for layer in wrapped.layers}
    return wrapped.get_layer(PREFIX + name if PREFIX + name in names else name)


def _weights(wrapped: Twin, name: str) -> list[Any]:
    """The variables that the layer ``name`` had before it was wrapped, in their order: kernel, bias."""
    layer = _layer(wrapped, name)
    if not layer.name.startswith(PREFIX):
        return list(layer.weights)
    kernels = [variable for variable, *_ in layer._weight_vars]
    others = [
        variable for variable in layer.layer.weights if all(variable is not kernel for kernel in kernels)
    ]
    return [*kernels, *others]


def _gamma(wrapped: Twin, name: str) -> Any:
    """The factor of the batch normalisation that is folded into the layer ``name``."""
    return _layer(wrapped, name)._weight_vars[0][2]["gamma"]


def _assign(variables: list[Any], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
