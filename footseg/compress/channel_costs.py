"""What a network costs, as a function of how many channels each of its parts keeps."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import keras

from footseg.compress.channels import Channels, Ids, Use, channels, known
from footseg.graphs import keras as work


@dataclass(frozen=True)
class Term:
    """A part of what layer ``name`` costs: ``factor`` x its input x its output channels; None counts as 1."""

    name: str
    factor: float
    inputs: Ids | None = None
    outputs: Ids | None = None

    def value(self) -> float:
        """The cost with all channels there."""
        return self.factor * math.prod(len(ids) for ids in (self.inputs, self.outputs) if ids is not None)


def macs(model: keras.Model) -> int:
    """Multiply-accumulates of one image through a functional model, as ``benchmarks.cost`` counts them.

    Convolutions, transposed ones (from the input's side), depthwise and separable ones, dense layers; no
    other operation counts.

    Raises:
        ValueError: as ``channels``.
    """
    return round(sum(term.value() for term in mac_terms(channels(model))))


def mac_terms(found: Channels) -> list[Term]:
    """The multiply-accumulates of each use as a function of its channels."""
    return [term for use in found.uses for term in _use_macs(use)]


def traffic_terms(found: Channels) -> list[Term]:
    """The output elements of each use that the runtime writes: all but what it fuses into the use before.

    Normalisation is folded and activations are fused on export; both write nothing of their own.
    """
    fused = {"BatchNormalization", "InputLayer", "ReLU", "Relu", "Activation", "SpatialDropout2D", "Dropout"}
    return [
        Term(use.name, math.prod(use.output_shape[:-1]), None, use.output)
        for use in found.uses
        if type(use.operation).__name__ not in fused
    ]


def _use_macs(use: Use) -> Iterator[Term]:
    if isinstance(use.operation, keras.Model):
        yield Term(use.name, macs(use.operation))
    elif known(use.operation) and use.inputs:
        for part in work.macs(use.operation, use.input_shapes[0], use.output_shape):
            inputs = use.inputs[0] if part.by_input else None
            yield Term(use.name, part.each, inputs, use.output if part.by_output else None)
