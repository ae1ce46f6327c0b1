"""The compiled training step: augment, predict, loss, gradient, average of the weights.

Written against Keras alone, so the same step runs on the TensorFlow, JAX and PyTorch backends.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from footseg.training import augment
from footseg.training.config import TrainConfig
from footseg.training.distill import Course
from footseg.training.losses import combined

Tensor = Any

# Weights that do not decay, by what is in their names. alpha: PReLU's slopes, which decay would pull to ReLU
# (He et al. 2015, section 2.1).
NO_DECAY = ["gamma", "beta", "bias", "alpha"]


class TrainingStep(keras.Model):
    """A network with its augmentation, loss and weight average; ``train`` makes one step.

    ``average`` is an exponential moving average of all weights of the network and, in the last ``swa``
    share of the run, the equal-weights mean of its states since then (Izmailov et al. 2018). The
    statistics of the batch normalisation are averaged with the rest: averaged kernels with statistics of
    the latest kernels gave a validation IoU of 0.00 where the averaged pair gave 0.5 (epochs 2 to 5 on
    ccp_footwear); the pass over the data that Izmailov makes for new statistics is left out.

    Whatever the network computes in, augmentation, losses, teacher and averages are float32.
    """

    def __init__(self, network: keras.Model, course: Course) -> None:
        """Train ``network`` by ``course``.

        Raises:
            ValueError: a wrong loss term, or one that the teacher cannot serve.
        """
        super().__init__(name="training_step", dtype="float32")
        config, steps = course.config, course.steps
        self.network = network
        self.momentum = config.ema
        self.swa_start = swa_start(config, steps)
        self.loss_of = combined(config, course.class_weights)
        self.lesson = course.lesson(network)
        self.step = self._number((), "step")
        self.average = [self._number(w.shape, f"average_{i}") for i, w in enumerate(network.weights)]
        for average, weight in zip(self.average, network.weights, strict=True):
            average.assign(ops.copy(weight))  # JAX refuses two variables of one buffer
        self.schedule = schedule(config, steps)
        self.compile(optimizer=optimizer(config, self.schedule), jit_compile=jit())
        self.optimizer.build(self.trainable_variables)

    def train(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        drawn: dict[str, np.ndarray],
        teacher_logits: np.ndarray | None = None,
    ) -> float:
        """One step on uint8 images (N, H, W, 3) and masks (N, H, W) with drawn augmentations; the loss.

        ``teacher_logits`` (N, H, W, C) are what the teacher gave for these images: only true where
        ``drawn`` changes nothing.

        Raises:
            ValueError: there is a term of a teacher, but neither a teacher nor its logits.
        """
        batch = {"images": images, "masks": masks, **drawn}
        if teacher_logits is not None:
            batch["teacher_logits"] = teacher_logits
        elif self.lesson is not None and self.lesson.teacher is None:
            raise ValueError(
                f"loss {self.lesson.terms[0][0]} needs a teacher, or teacher_logits in each step"
            )
        # Keras wants a target; the true one, the moved mask, is made inside the step.
        return float(self.train_on_batch(batch, np.zeros(len(images), "float32")))

    def call(self, batch: dict[str, Tensor], training: bool = True) -> dict[str, Tensor]:
        """Augment and predict; the weights' average takes in the state before this step."""
        self.step.assign(self.step + 1)
        if self.momentum or self.swa_start is not None:
            self._update_average()
        images, masks = augment.apply(batch["images"], batch["masks"], batch)
        if self.lesson is None:
            return {"logits": self.network(images, training=training), "masks": masks}
        student = self.lesson.student(images, training=training)
        taught = self.lesson(student, images, masks, self.step - 1, batch.get("teacher_logits"))
        return {"logits": student["logits"], "masks": masks, "taught": taught}

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The configured loss of the augmented masks, and of the teacher's; ``y`` is not used."""
        loss = self.loss_of(y_pred["logits"], y_pred["masks"])
        return loss + y_pred["taught"] if "taught" in y_pred else loss

    def averaged_weights(self) -> list[np.ndarray]:
        """What is validated and saved: the average, or the weights themselves where there is none (yet)."""
        averaging = self.swa_start is not None and int(ops.convert_to_numpy(self.step)) > self.swa_start
        source = self.average if self.momentum or averaging else self.network.weights
        return [ops.convert_to_numpy(w) for w in source]

    def state(self) -> dict[str, np.ndarray]:
        """Every number that the next step depends on, by position; not the teacher's, which never change."""
        return {f"v{i:04d}": ops.convert_to_numpy(v) for i, v in enumerate(self._state_variables())}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take up what ``state`` gave, in a step built from the same configuration."""
        for i, variable in enumerate(self._state_variables()):
            variable.assign(state[f"v{i:04d}"])

    def _number(self, shape: tuple[int, ...], name: str) -> keras.Variable:
        return self.add_weight(shape=shape, dtype="float32", initializer="zeros", trainable=False, name=name)

    def _state_variables(self) -> list[keras.Variable]:
        variables = [*self.trainable_variables, *self.non_trainable_variables, *self.optimizer.variables]
        teacher = self.lesson.teacher if self.lesson is not None else None
        fixed = {id(v) for v in teacher.variables} if teacher is not None else set()
        return [v for v in variables if id(v) not in fixed]

    def _update_average(self) -> None:
        kept = average_momentum(self.step, self.momentum, self.swa_start)
        for average, weight in zip(self.average, self.network.weights, strict=True):
            # In this form the average of a frozen weight stays that weight, bit for bit.
            average.assign(average + (1 - kept) * (ops.cast(weight, "float32") - average))


def average_momentum(step: Tensor, ema: float, swa_start: int | None) -> Tensor:
    """How much of the average stays as the state before step number ``step`` (from 1) is added to it.

    A young average follows quickly: the random first weights are forgotten in the first epochs. Past
    ``swa_start`` the n-th state comes in with 1/n, the first in place of all before it.
    """
    kept = ops.minimum(ema, step / (step + 9))
    if swa_start is None:
        return kept
    count = step - swa_start
    return ops.where(count >= 1, 1 - 1 / ops.maximum(count, 1), kept)


def swa_start(config: TrainConfig, steps: int) -> int | None:
    """The steps before those whose states are averaged with equal weights; None where that is off."""
    return steps - max(1, round(config.swa * steps)) if config.swa else None


class HeldRate(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, held from step ``last`` on at what it has there."""

    def __init__(self, inner: keras.optimizers.schedules.LearningRateSchedule, last: int) -> None:
        self.inner, self.last = inner, last

    def __call__(self, step: Tensor) -> Tensor:
        """The rate at ``step``."""
        return self.inner(ops.minimum(step, self.last))


def schedule(config: TrainConfig, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to ``learning_rate``, then half a cosine down to a thousandth of it.

    With ``swa`` the rate is held where that share begins, as in Izmailov et al. 2018: states of a vanishing
    rate are one and the same, and their mean is the last of them.
    """
    warmup = round(config.warmup * steps)
    start = swa_start(config, steps)
    if not warmup:
        rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, max(1, steps), alpha=1e-3)
    else:
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warmup), alpha=1e-3, warmup_target=config.learning_rate, warmup_steps=warmup
        )
    return rate if start is None else HeldRate(rate, max(start, warmup))


def optimizer(
    config: TrainConfig, rate: keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    """Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019) on kernels only.

    ``clip`` limits the norm of the whole gradient (Pascanu et al. 2013), so that a clipped step keeps its
    direction; a limit for each tensor would turn it. ``mixed_float16`` gets a loss scale, without which
    gradients of one pixel in a million (1e-6, float16 has 6e-8) would be lost: gradients are unscaled before
    they are clipped, and a step whose gradients overflow is left out and the scale halved.
    """
    adam = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, global_clipnorm=config.clip or None)
    adam.exclude_from_weight_decay(var_names=NO_DECAY)
    return keras.optimizers.LossScaleOptimizer(adam) if config.dtype_policy == "mixed_float16" else adam


def jit() -> bool | str:
    """Whether to compile with XLA: not for TensorFlow (3.5 times slower on CPUs), always for JAX."""
    return False if keras.backend.backend() == "tensorflow" else "auto"
