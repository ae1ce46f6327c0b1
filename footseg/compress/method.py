"""What a way of compressing by retraining must offer; ``retrain`` trains what it wraps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

# A tf_keras model. Its package is imported only where it is used, and has no types.
Twin = Any


@dataclass(frozen=True)
class LayerChoice:
    """What is asked of each layer, by name, and why the others are left as they are."""

    layers: dict[str, Any]
    left_out: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class Method(Protocol):
    """One way of compressing by retraining: prune, cluster or quantization-aware training."""

    @property
    def name(self) -> str:
        """As in a run's record."""
        ...

    @property
    def settled(self) -> float:
        """The share of the run after which the weights are what was asked for; 1: in the last epoch."""
        ...

    def choose(self, model: Any) -> LayerChoice:
        """Which layers of a Keras 3 ``model`` are to be compressed, and how much.

        Raises:
            ValueError: a setting that no layer, or a layer that was named, cannot meet.
        """
        ...

    def wrap(self, model: Any, choice: LayerChoice, steps: int) -> Twin:
        """A tf_keras twin of ``model``, made ready for ``steps`` training steps."""
        ...

    def before_step(self, wrapped: Twin, step: int) -> None:
        """What is due before training step ``step``, counted from 0."""
        ...

    def kernels(self, wrapped: Twin) -> Mapping[str, Any]:
        """The variable that is trained as each layer's kernel, by the layer's name in the Keras 3 model."""
        ...

    def plain(self, wrapped: Twin) -> Any:
        """A new Keras 3 model with the weights as they are now, compressed."""
        ...

    def check(self, plain: Any, choice: LayerChoice) -> dict[str, dict[str, Any]]:
        """What each chosen layer has reached.

        Raises:
            FootsegError: less than was asked; the layers are named.
        """
        ...
