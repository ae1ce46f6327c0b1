"""Retraining under a compression method: the step of a wrapped tf_keras twin, for the loop of ``train``.

The loop, the data, the losses, the teacher and the checkpoints are those of ``footseg train``; only the
network that learns is a twin that TFMOT has wrapped. There is no average of weights: at the end of the cosine
the rate is a thousandth, and an average of pruned or shared weights is neither.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from footseg import files, run, runtime
from footseg.compress.kept import Kept
from footseg.compress.method import Method, Twin
from footseg.errors import FootsegError, require
from footseg.graphs.keras import calls
from footseg.grouping import grouped
from footseg.terminal import counted
from footseg.training import augment
from footseg.training.config import TrainConfig
from footseg.training.distill import Course
from footseg.training.job import Builder, Stepper, Trainee, Validated
from footseg.training.losses import combined
from footseg.training.step import NO_DECAY, schedule

QAT_FOLDER = "qat"
# Names in a line for people; the run's record has all of them.
SHOWN = 4


class TwinStep:
    """A wrapped twin with its augmentation, loss and optimizer; ``train`` makes one step.

    After each step ``kept`` restores what earlier compression made of the weights.
    """

    def __init__(
        self, wrapped: Twin, method: Method, kept: Kept, course: Course, *, template: keras.Model
    ) -> None:
        """``template`` is the Keras 3 network of the twin."""
        self.wrapped, self.method, self.kept = wrapped, method, kept
        self.loss_of = combined(course.config, course.class_weights)
        self.lesson = course.lesson(template)
        self.schedule = schedule(course.config, course.steps)
        self.student = _tapped(wrapped, self.lesson.stages if self.lesson is not None else ())
        self.kernels = dict(method.kernels(wrapped))
        self.iteration = tf.Variable(0, dtype="int64", trainable=False)
        taught = [] if self.lesson is None else [v.value for v in self.lesson.trainable_variables]
        self.trainable = [*wrapped.trainable_variables, *taught]
        self.optimizer = _optimizer(course.config, self.trainable)
        self._taught = taught
        self._step = tf.function(self._one_step, reduce_retracing=True)
        self._predict = tf.function(lambda images: wrapped(images, training=False), reduce_retracing=True)

    def train(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        drawn: dict[str, np.ndarray],
        teacher_logits: np.ndarray | None = None,
    ) -> float:
        """One step; as ``TrainingStep.train``."""
        number = int(self.iteration)
        self.method.before_step(self.wrapped, number)
        self.optimizer.learning_rate.assign(float(self.schedule(number)))
        cached = None if teacher_logits is None else tf.constant(teacher_logits)
        tensors = {name: tf.constant(values) for name, values in drawn.items()}
        return float(self._step(tf.constant(images), tf.constant(masks), tensors, cached))

    def predict(self, images: Any) -> np.ndarray:
        """Logits of float images by the twin as it is wrapped, in inference mode."""
        return self._predict(tf.constant(images)).numpy()

    def averaged_weights(self) -> list[np.ndarray]:
        """The weights of the compressed network, in the order of its Keras 3 model."""
        return self.method.plain(self.wrapped).get_weights()

    def state(self) -> dict[str, np.ndarray]:
        """Every number that the next step depends on, by position; not the teacher's, which never change."""
        return {f"v{i:04d}": v.numpy() for i, v in enumerate(self._state_variables())}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take up what ``state`` gave, in a step built from the same configuration."""
        for i, variable in enumerate(self._state_variables()):
            variable.assign(state[f"v{i:04d}"])

    def _state_variables(self) -> list[Any]:
        return [self.iteration, *self.wrapped.variables, *self._taught, *self.optimizer.variables]

    def _one_step(self, images: Any, masks: Any, drawn: dict[str, Any], cached: Any) -> Any:
        images, masks = augment.apply(images, masks, drawn)
        with tf.GradientTape() as tape:
            student = self.student(images, training=True)
            loss = self.loss_of(student["logits"], masks)
            if self.lesson is not None:
                step = tf.cast(self.iteration, tf.float32)
                loss += self.lesson(student, images, masks, step, cached)
        gradients = tape.gradient(loss, self.trainable)
        pairs = zip(gradients, self.trainable, strict=True)
        self.optimizer.apply_gradients((g, v) for g, v in pairs if g is not None)
        self.kept.project(self.kernels)
        self.iteration.assign_add(1)
        return loss


class FakeQuantized:
    """A twin under quantization-aware training: validated as it will be quantized, saved as both.

    ``save`` writes the float network, and beside the run's ``model.keras`` the folder ``qat`` that export
    converts.
    """

    def __init__(self, step: TwinStep, plain: keras.Model, out: Path) -> None:
        self.step, self.network, self.out = step, plain, out

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Of the float network; the twin has its own."""
        self.network.set_weights(weights)

    def predict_on_batch(self, images: Any) -> np.ndarray:
        """Logits of the fake-quantized network."""
        return self.step.predict(images)

    def save(self, path: Path) -> None:
        """Write the float network to ``path``, and the fake-quantized one to the run."""
        with files.atomic_path(self.out / QAT_FOLDER) as folder:
            self.step.method.save(self.step.wrapped, folder)  # type: ignore[attr-defined]
        self.network.save(path)

    def count_params(self) -> int:
        """Of the float network."""
        return self.network.count_params()


def builder(parent: run.Run, method: Method, out: Path, entry: run.Compression) -> Builder:
    """What ``train`` builds its network with: that of ``parent``, under ``method``, for the run ``out``.

    ``entry`` is what the run's record says of this step; what the method leaves out is added.
    """

    def build(
        config: TrainConfig, classes: Sequence[str], fresh: bool, say: Callable[[str], None]
    ) -> Trainee:
        model = load_network(parent.model)
        choice = method.choose(model)
        if fresh:
            say_left_out(method.name, choice.left_out, say)

        def step(course: Course) -> Stepper:
            wrapped = method.wrap(model, choice, course.steps)
            return TwinStep(wrapped, method, Kept.of(model), course, template=model)

        def validated(step: Stepper) -> Validated:
            assert isinstance(step, TwinStep)
            plain = method.plain(step.wrapped)
            return FakeQuantized(step, plain, out) if hasattr(method, "save") else plain

        record: run.Compression = {**entry, "left_out": choice.left_out}
        return Trainee(step, validated, method.settled, (*parent.compression, record))

    return build


def load_network(path: Path) -> keras.Model:
    """The functional Keras 3 network of a ``.keras`` file.

    Raises:
        FootsegError: it cannot be loaded, or Keras runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise FootsegError(
            f"compression needs Keras on TensorFlow, not on {keras.backend.backend()}: run it again with "
            "KERAS_BACKEND=tensorflow (a run trained on any backend can be compressed)"
        )
    loaded = runtime.load(path)
    assert isinstance(loaded, runtime.KerasSegmenter)
    return loaded.model


def say_left_out(method: str, left_out: Mapping[str, str], say: Callable[[str], None]) -> None:
    """A line for each reason why a method leaves layers as they are, with the first of them."""
    for reason, names in grouped((reason, name) for name, reason in left_out.items()).items():
        shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        say(f"{method} leaves out {counted(len(names), 'layer')} ({shown}): {reason}")


def _tapped(wrapped: Twin, stages: Sequence[str]) -> Any:
    """The same twin, giving its logits and the outputs of the layers named in ``stages``, however wrapped."""
    tf_keras = require("tf_keras", "compress")

    # By call, because layers that are not wrapped belong to the twin before it was wrapped, too.
    every = calls(wrapped)

    def output(name: str) -> Any:
        # TFMOT puts what it does before a layer's name: prune_low_magnitude_, cluster_, quant_.
        endings = [call for call in every if f"_{call.operation.name}".endswith(f"_{name}")]
        return min(endings, key=lambda call: len(call.operation.name)).outputs[0]

    outputs = {"logits": wrapped.outputs[0], "stages": [output(name) for name in stages]}
    return tf_keras.Model(wrapped.inputs, outputs)


def _optimizer(config: TrainConfig, variables: Sequence[Any]) -> Any:
    """AdamW as ``footseg.training.step.optimizer`` has it, for variables that are TensorFlow's own."""
    tf_keras = require("tf_keras", "compress")
    adam = tf_keras.optimizers.AdamW(
        config.learning_rate, weight_decay=config.weight_decay, global_clipnorm=config.clip or None
    )
    adam.exclude_from_weight_decay(var_names=[*NO_DECAY, "centroid"])
    adam.build(variables)
    return adam
