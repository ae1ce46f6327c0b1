"""How tensors are rounded in training for int8: TFMOT quantizers, with ranges that short runs can use."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from footseg.errors import require

tfmot: Any = require("tensorflow_model_optimization", "compress")
tf_keras: Any = require("tf_keras", "compress")

# A range of nothing has no scale.
NARROWEST = 1e-5


class _Quantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """What TFMOT asks of a quantizer without variables, which rounds the same in training."""

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Nothing of its own."""
        return {}

    def __call__(self, inputs: Any, training: bool, weights: dict[str, Any], **kwargs: Any) -> Any:
        """The tensor rounded."""
        return self.round(inputs)

    def round(self, inputs: Any) -> Any:
        """The tensor rounded to the range as it is."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Never read: such networks are saved for inference only."""
        return {}


class KernelQuantizer(_Quantizer):
    """A kernel as symmetric int8, -127 to 127, with one scale for each output channel.

    The scale is that of the kernel as it is now: TFMOT's is that of the step before. A kernel on its grid,
    whose largest value is 127 steps, is what the converter takes over bit for bit, for every kind of
    convolution, without a range beside it.

    Args:
        outputs: the kernel's axes of output channels.
        factor: what a folded batch normalisation multiplies each output channel by, shaped as those axes of
            the kernel are with 1 for the others; a variable of its own, so that the kernel keeps what
            pruning or clustering made of it.
        shared: shared values of the kernel get one code in all channels, which files pack better: scales are
            those of the layer's largest value. Only for Conv2D, where the converter takes ranges.
        learned: whether the factor is trained.
        rounds: whether the kernel is rounded; if not, only the factor is put to it.
    """

    def __init__(
        self,
        outputs: Sequence[int],
        factor: Any | None = None,
        *,
        shared: bool = False,
        learned: bool = True,
        rounds: bool = True,
    ) -> None:
        self.outputs, self.factor = tuple(outputs), factor
        self.shared, self.learned, self.rounds = shared, learned, rounds

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """The factor's variable, named gamma as in batch normalisation (no weight decay)."""
        if self.factor is None:
            return {}
        value = tf_keras.initializers.Constant(self.factor)
        shape = self.factor.shape
        return {
            "gamma": layer.add_weight("gamma", shape=shape, initializer=value, trainable=self.learned),
        }

    def __call__(self, inputs: Any, training: bool, weights: dict[str, Any], **kwargs: Any) -> Any:
        """The kernel scaled and rounded; its gradient is as if it were not rounded."""
        factor = weights.get("gamma", 1.0)
        kernel = inputs * factor
        if not self.rounds:
            return kernel
        within = [axis for axis in range(len(inputs.shape)) if axis not in self.outputs]
        if self.shared:
            widest = tf.reduce_max(tf.abs(inputs)) * tf.abs(factor) * tf.ones_like(kernel[:1, :1, :1])
        else:
            widest = tf.reduce_max(tf.abs(kernel), axis=within, keepdims=True)
        widest = tf.maximum(widest, NARROWEST)
        if self.shared and not training:
            flat = tf.reshape(widest, [-1])
            return tf.quantization.fake_quant_with_min_max_vars_per_channel(
                kernel, -flat, flat, narrow_range=True
            )
        step = widest / 127
        rounded = tf.round(kernel / step) * step
        return kernel + tf.stop_gradient(rounded - kernel) if training else rounded


class RunningRange(_Quantizer):
    """The range of tensors that share their int8 scale, as asymmetric int8, -128 to 127.

    Each tensor that is made (and not just moved) keeps the average of its batches' least and greatest values:
    all equally for the first ones, then with ``momentum``; so the first batch alone is a start (TFMOT starts
    at 6 and moves by a thousandth each batch). The range is what holds them all.
    """

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self.seen: list[dict[str, Any]] = []

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Least and greatest value of one more tensor, and the number of batches."""
        start = {"least": -6.0, "greatest": 6.0, "batches": 0.0}
        weights = {
            part: layer.add_weight(
                f"{name}_{part}", initializer=tf_keras.initializers.Constant(value), trainable=False
            )
            for part, value in start.items()
        }
        self.seen.append(weights)
        return weights

    def __call__(self, inputs: Any, training: bool, weights: dict[str, Any], **kwargs: Any) -> Any:
        """The tensor rounded to the range; in training, the range follows it first."""
        if training:
            share = tf.maximum(1 / (weights["batches"] + 1), 1 - self.momentum)
            for part, value in (
                ("least", tf.minimum(tf.reduce_min(inputs), 0.0)),
                ("greatest", tf.maximum(tf.reduce_max(inputs), 0.0)),
            ):
                weights[part].assign_add(share * (tf.stop_gradient(value) - weights[part]))
            weights["batches"].assign_add(1.0)
        return self.round(inputs)

    def round(self, inputs: Any) -> Any:
        """The tensor rounded to the range as it is."""
        least = tf.reduce_min(tf.stack([one["least"] for one in self.seen]))
        greatest = tf.reduce_max(tf.stack([one["greatest"] for one in self.seen]))
        return tf.quantization.fake_quant_with_min_max_vars(
            inputs, least, tf.maximum(greatest, least + NARROWEST)
        )


class Follower(_Quantizer):
    """Rounds to the range of the tensors that a tensor is made from, which interpolation never leaves."""

    def __init__(self, group: Any) -> None:
        self.group = group

    def round(self, inputs: Any) -> Any:
        """The tensor rounded to their range."""
        return self.group.round(inputs)


class Fixed(_Quantizer):
    """A range that is known: 256 codes from ``least`` to ``greatest``."""

    def __init__(self, least: float, greatest: float) -> None:
        self.least, self.greatest = least, greatest

    def round(self, inputs: Any) -> Any:
        """The tensor rounded to the range."""
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.least, self.greatest)


class LayerRule(tfmot.quantization.keras.QuantizeConfig):
    """What TFMOT's wrapper rounds of one layer: its kernel, its output, both.

    Args:
        kernel: the attribute that holds the kernel; none where ``weights`` is none.
        weights: rounds the kernel.
        output: rounds the output.
    """

    def __init__(self, kernel: str = "", weights: Any | None = None, output: Any | None = None) -> None:
        self.kernel, self.weights, self.output = kernel, weights, output

    def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
        """The kernel."""
        return [(getattr(layer, self.kernel), self.weights)] if self.weights else []

    def set_quantize_weights(self, layer: Any, quantize_weights: Sequence[Any]) -> None:
        """Have the layer compute with the rounded kernel."""
        for weight in quantize_weights:
            setattr(layer, self.kernel, weight)

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        """None: an activation inside a layer is followed by the output's rounding."""
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: Sequence[Any]) -> None:
        """Nothing to set."""

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        """The output, if it is rounded."""
        return [self.output] if self.output else []

    def get_config(self) -> dict[str, Any]:
        """Never read, as that of quantizers."""
        return {}


class Wrapper(tfmot.quantization.keras.QuantizeWrapperV2):
    """TFMOT's wrapper as it is written: conversion by AutoGraph would take half of the time of wrapping."""

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        """As the wrapped layer, of rounded weights, and rounded."""
        return super().call(inputs, training=training, **kwargs)

    @property
    def trainable_weights(self) -> list[Any]:
        """None of a frozen layer: TFMOT would train its kernel."""
        return super().trainable_weights if self.layer.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """Those of a frozen layer, too."""
        frozen = [] if self.layer.trainable else self._trainable_weights
        return self._dedup_weights([*frozen, *super().non_trainable_weights])
