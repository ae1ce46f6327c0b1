"""What a student learns from a teacher: its soft answers, its logits, its features, where it looks.

Each term is a pure function of what the two networks gave for the same augmented images; pixels whose
mask is 255 count nowhere, in feature maps by the share of each cell that is known. ``Lesson`` adds up
the terms that a configuration names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras import ops

from footseg import networks, runtime
from footseg import run as runs
from footseg.data.images import IGNORE
from footseg.errors import FootsegError
from footseg.training.config import FEATURES, TEACHER_TERMS, TrainConfig
from footseg.training.losses import ClassWeights, teacher_terms, weighted_mean

Tensor = Any

EPSILON = 1e-6


# ---- the terms


def soft_cross_entropy(student: Tensor, teacher: Tensor, masks: Tensor, temperature: float) -> Tensor:
    """T² times the mean cross-entropy of softmax(student/T) against softmax(teacher/T).

    Hinton, Vinyals and Dean 2015; thesis, section 3.3.3, whose loss is CE + lambda * this, without the
    1 - alpha in front of CE that others write. (The thesis prints the arguments the other way round.)
    T² keeps the gradient's size whatever T is. The Kullback-Leibler divergence differs from it by T²
    times the teacher's entropy: other values, the same gradients.

    Args:
        student: logits (N, H, W, C).
        teacher: logits (N, H, W, C).
        masks: (N, H, W).
        temperature: T; 1 leaves the probabilities as they are, more makes them softer.
    """
    targets = ops.softmax(ops.cast(teacher, student.dtype) / temperature, axis=-1)
    losses = -ops.sum(targets * ops.log_softmax(student / temperature, axis=-1), axis=-1)
    return temperature**2 * weighted_mean(losses, _known(masks, student.dtype))


def regression(student: Tensor, teacher: Tensor, masks: Tensor) -> Tensor:
    """Half the mean squared difference of the logits, over pixels and classes (Ba and Caruana 2014).

    Both are centred over the classes first, at each pixel: softmax does not see what all of a pixel's
    logits have in common, so it need not be learned. Thus it is also what ``soft_cross_entropy`` tends to,
    gradient for gradient, as T grows (Hinton 2015, equation 4).
    """
    difference = student - ops.cast(teacher, student.dtype)
    difference = difference - ops.mean(difference, axis=-1, keepdims=True)
    return 0.5 * weighted_mean(ops.mean(ops.square(difference), axis=-1), _known(masks, student.dtype))


def hint(student: Tensor, teacher: Tensor, masks: Tensor) -> Tensor:
    """Half the mean squared difference of features, over cells and channels (Romero 2015, equation 3).

    ``student`` (N, h, w, C) comes from the regressor; ``teacher`` (N, h', w', C) is brought to its size.
    """
    teacher = resized(ops.cast(teacher, student.dtype), student.shape[1:3])
    losses = ops.mean(ops.square(student - teacher), axis=-1, keepdims=True)
    return 0.5 * weighted_mean(losses, _known_cells(masks, student))


def hint_weight(step: Tensor, until: float) -> Tensor:
    """1 at step 0, falling in a line to 0 at step ``until``, and 0 from there on."""
    return ops.maximum(0.0, 1.0 - step / until)


def attention(student: Tensor, teacher: Tensor, masks: Tensor) -> Tensor:
    """How much the two look elsewhere: 0 for the same attention map up to scale, 1 for disjoint ones.

    Zagoruyko and Komodakis 2017, equation 2: the map is the sum of squares over the channels, scaled to
    length 1 an image; half the squared distance of the two, which is 1 - their cosine, is averaged over the
    images. Squared as in the authors' code (the paper prints the plain distance, whose gradient has no
    limit where the maps agree). Needs no regressor: numbers of channels may differ.
    """
    known = _known_cells(masks, student)
    ours = _attention_map(student) * known
    theirs = resized(_attention_map(ops.cast(teacher, student.dtype)), student.shape[1:3]) * known
    difference = _unit(ours) - _unit(theirs)
    return 0.5 * ops.mean(ops.sum(ops.square(difference), axis=(1, 2, 3)))


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (N, H, W, C) at another size: each cell's mean where the sizes divide, else bilinear."""
    height, width = maps.shape[1:3]
    if (height, width) == tuple(size):
        return maps
    down, across = height // size[0], width // size[1]
    if (down * size[0], across * size[1]) == (height, width):
        return ops.average_pool(maps, (down, across), (down, across), data_format="channels_last")
    return ops.image.resize(maps, size, "bilinear", antialias=True, data_format="channels_last")


def _known(masks: Tensor, dtype: str) -> Tensor:
    return ops.cast(ops.not_equal(masks, IGNORE), dtype)


def _known_cells(masks: Tensor, maps: Tensor) -> Tensor:
    """The share of known pixels under each cell of ``maps``, (N, h, w, 1)."""
    return resized(_known(masks, maps.dtype)[..., None], maps.shape[1:3])


def _attention_map(features: Tensor) -> Tensor:
    return ops.sum(ops.square(features), axis=-1, keepdims=True)


def _unit(maps: Tensor) -> Tensor:
    squares = ops.sum(ops.square(maps), axis=(1, 2, 3), keepdims=True)
    return maps * ops.rsqrt(ops.maximum(squares, EPSILON**2))


# ---- the teacher


@dataclass(frozen=True)
class Teacher:
    """A trained network at the student's input size, frozen; ``stages`` as in ``networks.stages``."""

    network: keras.Model
    stages: tuple[str, ...] = ()


def load_teacher(path: Path, config: TrainConfig, classes: Sequence[str]) -> Teacher:
    """The network of a run's folder or of a ``.keras`` file, for a student of ``config`` and ``classes``.

    A run of another input size is built anew at the student's size: the networks are fully convolutional,
    so the weights fit. A ``.keras`` file does not say how it was built and must have the student's size.
    It computes in float32, whatever the student does, so that cached and live logits are the same.

    Raises:
        FootsegError: no such run or file, not a Keras network, other classes than the student's, or an
            input size that it cannot take.
    """
    loaded = runtime.load(path)
    if not isinstance(loaded, runtime.KerasSegmenter):
        raise FootsegError(f"{path} cannot teach: give the folder of a run, or a .keras file")
    record = runs.load(path) if path.is_dir() else None
    _check_classes(path, loaded.classes, record.classes if record else (), classes)
    network = loaded.model
    if loaded.size != config.size:
        if record is None:
            raise FootsegError(
                f"teacher {path} takes images of {_times(loaded.size)}, the student of "
                f"{_times(config.size)}: give the teacher's run folder, from which it is built at any size"
            )
        network = _rebuilt(record, config.size)
        network.set_weights(loaded.model.get_weights())
    network.trainable = False
    name = record.network if record else network.name
    return Teacher(network, networks.stages(name) if name in networks.names() else ())


def _check_classes(path: Path, count: int, theirs: Sequence[str], ours: Sequence[str]) -> None:
    same_order = not any(name in ours and ours.index(name) != number for number, name in enumerate(theirs))
    if count != len(ours) or not same_order:
        names = f" ({', '.join(theirs)})" if theirs else ""
        raise FootsegError(
            f"teacher {path} knows {count} classes{names}, the student learns {len(ours)} "
            f"({', '.join(ours)}): they must be the same, in the same order"
        )


def _rebuilt(record: runs.Run, size: tuple[int, int]) -> keras.Model:
    shape, classes = (*size, 3), len(record.classes)
    if any(step["method"] == "cut" for step in record.compression):
        raise FootsegError(
            f"teacher {record.path} has lost channels and teaches at its own size only, "
            f"{_times(record.input_shape[:2])}, not {_times(size)}: take the run that it was cut from"
        )
    try:
        return networks.build(record.network, shape, classes, **record.network_options)
    except ValueError as error:
        raise FootsegError(
            f"teacher {record.path}, trained at {_times(record.input_shape[:2])}, cannot take the student's "
            f"{_times(size)}: {error}"
        ) from error


def _times(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


# ---- the lesson


@dataclass(frozen=True)
class Course:
    """What a step is trained by: configuration, length of the run in steps, weights of classes, teacher."""

    config: TrainConfig
    steps: int
    class_weights: ClassWeights | None = None
    teacher: Teacher | None = None

    def lesson(self, network: keras.Model) -> "Lesson | None":
        """The teacher's part of the loss of ``network``; None where no loss needs a teacher.

        Raises:
            ValueError: as ``Lesson``.
        """
        return Lesson(self, network) if teacher_terms(self.config.loss) else None


def tapped(network: keras.Model, stages: Sequence[str]) -> keras.Model:
    """The same network (and weights), giving its logits and the outputs of the layers named in ``stages``."""
    features = [network.get_layer(name).output for name in stages]
    return keras.Model(network.inputs, {"logits": network.outputs[0], "stages": features})


class Lesson(keras.layers.Layer):
    """The teacher's part of a student's loss: the configured terms times their weights.

    Hints use the deepest stage of both encoders, which is the middle of an encoder-decoder network as in
    Romero 2015; attention all stages, paired from the deepest upwards. The hint's regressor (1x1
    convolution) learns with the student and is saved with neither network. Teacher and regressor work
    in float32.
    """

    def __init__(self, course: Course, network: keras.Model) -> None:
        """Without a teacher the logits must come from a cache.

        Raises:
            ValueError: a term needs a teacher's features and there are none, or teacher and student
                give logits of different shapes.
        """
        super().__init__(name="lesson", dtype="float32")
        config, teacher = course.config, course.teacher
        self.terms = teacher_terms(config.loss)
        self.temperature = config.temperature
        self.hint_until = config.hint_until * course.steps
        ours, theirs = self._stages(config, teacher)
        self.stages = ours
        self.student = tapped(network, ours)
        self.teacher = None
        if teacher is not None:
            if teacher.network.output_shape != network.output_shape:
                raise ValueError(
                    f"the teacher gives logits {teacher.network.output_shape}, the student "
                    f"{network.output_shape}: they must have the same size and classes"
                )
            teacher.network.trainable = False
            self.teacher = tapped(teacher.network, theirs)
            self.teacher.trainable = False
            if any(name == "hint" for name, _ in self.terms):
                channels = self.teacher.output["stages"][-1].shape[-1]
                self.regressor = keras.layers.Conv2D(channels, 1, dtype="float32", name="regressor")
                self.regressor.build(self.student.output["stages"][-1].shape)

    def call(
        self, student: dict[str, Tensor], images: Tensor, masks: Tensor, step: Tensor, cached: Tensor = None
    ) -> Tensor:
        """The sum of the terms for augmented ``images``; ``cached`` are the teacher's logits if known."""
        if self.teacher is not None and (cached is None or self.teacher.output["stages"]):
            taught = self.teacher(images, training=False)
        else:
            taught = {"logits": cached, "stages": []}
        total = ops.zeros(())
        for name, weight in self.terms:
            total = total + weight * self._term(name, student, taught, masks, step)
        return total

    def _term(
        self, name: str, student: dict[str, Tensor], taught: dict[str, Tensor], masks: Tensor, step: Tensor
    ) -> Tensor:
        if name == "distill":
            return soft_cross_entropy(student["logits"], taught["logits"], masks, self.temperature)
        if name == "regression":
            return regression(student["logits"], taught["logits"], masks)
        if name == "hint":
            guided = self.regressor(student["stages"][-1])
            return hint_weight(step, self.hint_until) * hint(guided, taught["stages"][-1], masks)
        pairs = zip(student["stages"], taught["stages"], strict=True)
        return sum(attention(ours, theirs, masks) for ours, theirs in pairs)

    def _stages(
        self, config: TrainConfig, teacher: Teacher | None
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the layers to tap in student and teacher, as many in one as in the other."""
        needing = [name for name, _ in self.terms if TEACHER_TERMS[name] == FEATURES]
        if not needing:
            return (), ()
        if teacher is None or not teacher.stages:
            raise ValueError(
                f"loss {needing[0]} needs the features of a teacher: give the folder of its run as teacher"
            )
        ours, theirs = networks.stages(config.network), teacher.stages
        count = min(len(ours), len(theirs)) if "attention" in needing else 1
        return ours[-count:], theirs[-count:]
