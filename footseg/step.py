"""The compiled training step: augment, predict, loss, gradient, average of the weights.

Written against Keras alone, so the same step runs on the TensorFlow, JAX and PyTorch backends.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from footseg import augment
from footseg.config import TrainConfig
from footseg.losses import combined

Tensor = Any


class TrainingStep(keras.Model):
    """A network with its augmentation, loss and weight average; ``train`` makes one step.

    ``average`` is an exponential moving average of all weights of the network, the statistics of the
    batch normalisation included: averaged kernels with statistics of the latest kernels gave a
    validation IoU of 0.00 where the averaged pair gave 0.5 (epochs 2 to 5 on ccp_footwear).
    """

    def __init__(self, network: keras.Model, config: TrainConfig, steps: int) -> None:
        """``steps`` is the length of the whole run, which the learning rate's schedule needs."""
        super().__init__(name="training_step", dtype="float32")
        self.network = network
        self.momentum = config.ema
        self.loss_of = combined(config)
        self.step = self._number((), "step")
        self.average = [self._number(w.shape, f"average_{i}") for i, w in enumerate(network.weights)]
        for average, weight in zip(self.average, network.weights, strict=True):
            average.assign(ops.copy(weight))  # JAX refuses two variables of one buffer
        self.schedule = schedule(config, steps)
        self.compile(optimizer=optimizer(config, self.schedule), jit_compile=jit())
        self.optimizer.build(self.trainable_variables)

    def train(self, images: np.ndarray, masks: np.ndarray, drawn: dict[str, np.ndarray]) -> float:
        """One step on uint8 images (N, H, W, 3) and masks (N, H, W) with drawn augmentations; the loss."""
        batch = {"images": images, "masks": masks, **drawn}
        # Keras wants a target; the true one, the moved mask, is made inside the step.
        return float(self.train_on_batch(batch, np.zeros(len(images), "float32")))

    def call(self, batch: dict[str, Tensor], training: bool = True) -> dict[str, Tensor]:
        """Augment and predict; the weights' average takes in the state before this step."""
        if self.momentum:
            self._update_average()
        images, masks = augment.apply(batch["images"], batch["masks"], batch)
        return {"logits": self.network(images, training=training), "masks": masks}

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The configured loss of the augmented masks; ``y`` is not used."""
        return self.loss_of(y_pred["logits"], y_pred["masks"])

    def averaged_weights(self) -> list[np.ndarray]:
        """What is validated and saved: the average, or the weights themselves where it is off."""
        source = self.average if self.momentum else self.network.weights
        return [ops.convert_to_numpy(w) for w in source]

    def state(self) -> dict[str, np.ndarray]:
        """Every number that the next step depends on, by position."""
        return {f"v{i:04d}": ops.convert_to_numpy(v) for i, v in enumerate(self._state_variables())}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take up what ``state`` gave, in a step built from the same configuration."""
        for i, variable in enumerate(self._state_variables()):
            variable.assign(state[f"v{i:04d}"])

    def _number(self, shape: tuple[int, ...], name: str) -> keras.Variable:
        return self.add_weight(shape=shape, dtype="float32", initializer="zeros", trainable=False, name=name)

    def _state_variables(self) -> list[keras.Variable]:
        return [*self.trainable_variables, *self.non_trainable_variables, *self.optimizer.variables]

    def _update_average(self) -> None:
        self.step.assign(self.step + 1)
        # A young average follows quickly: the random first weights are forgotten in the first epochs.
        momentum = ops.minimum(self.momentum, self.step / (self.step + 9))
        for average, weight in zip(self.average, self.network.weights, strict=True):
            average.assign(momentum * average + (1 - momentum) * ops.cast(weight, "float32"))


def schedule(config: TrainConfig, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to ``learning_rate``, then half a cosine down to a thousandth of it."""
    warmup = round(config.warmup * steps)
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(config.learning_rate, max(1, steps), alpha=1e-3)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), alpha=1e-3, warmup_target=config.learning_rate, warmup_steps=warmup
    )


def optimizer(
    config: TrainConfig, rate: keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    """Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019) on kernels only."""
    adam = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, clipnorm=config.clip or None)
    adam.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return adam


def jit() -> bool | str:
    """Whether to compile with XLA: not for TensorFlow (3.5 times slower on CPUs), always for JAX."""
    return False if keras.backend.backend() == "tensorflow" else "auto"
