"""What a training run works with: its configuration made into networks, data, teacher and step."""

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from footseg import files, networks, run
from footseg.data import folder
from footseg.run import Compression
from footseg.training import distribution, finetune, lessons, sampling
from footseg.training.class_weights import class_weights, count
from footseg.training.config import ELSEWHERE, TrainConfig, dump
from footseg.training.distill import Course, load_teacher
from footseg.training.distribution import Team
from footseg.training.losses import Loss
from footseg.training.step import TrainingStep


class Stepper(Protocol):
    """One training step after another; ``footseg.training.step.TrainingStep`` is one."""

    loss_of: Loss
    schedule: Callable[[Any], Any]

    def train(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        drawn: dict[str, np.ndarray],
        teacher_logits: np.ndarray | None = None,
    ) -> float:
        """One step; its loss."""
        ...

    def averaged_weights(self) -> list[np.ndarray]:
        """What is validated and saved."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Every number that the next step depends on."""
        ...

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take up what ``state`` gave."""
        ...


class Validated(Protocol):
    """What holds the averaged weights while they are validated and saved: a Keras model, or like one."""

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Take the weights to validate."""
        ...

    def predict_on_batch(self, images: Any) -> Any:
        """Logits (N, H, W, classes) of images float32 (N, H, W, 3) in [0, 1]."""
        ...

    def save(self, path: Path) -> None:
        """Write them as a ``.keras`` file."""
        ...

    def count_params(self) -> int:
        """The network's parameters."""
        ...


@dataclass(frozen=True)
class Trainee:
    """A network to train: the step to make of it, and what validates and saves that step's weights.

    ``settled`` is the share of the run after which its weights are what was asked for, so that they may be
    kept as the best; ``compression`` is what its run's record says of how it was compressed.
    """

    step: Callable[[Course], Stepper]
    validated: Callable[[Stepper], Validated]
    settled: float = 0.0
    compression: tuple[Compression, ...] = ()


Builder = Callable[[TrainConfig, Sequence[str], bool, Callable[[str], None]], Trainee]
"""Makes the trainee of a configuration and the classes' names; for a fresh run or not; with a ``say``."""


@dataclass(frozen=True)
class Job:
    """What the loop works with and never changes itself."""

    config: TrainConfig
    team: Team
    data: folder.DataSet
    pool: sampling.Pool
    sampler: sampling.Sampler
    validation: folder.Split
    step: Stepper
    validated: Validated
    teacher_logits: np.ndarray | None
    """What the teacher gives for each image of the pool, where nothing is augmented."""
    parents: dict[str, str]
    """SHA-256 of the models that took part, by option."""
    settled: int = 0
    """The epochs before those whose weights may be kept as the best."""
    compression: tuple[Compression, ...] = ()

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return steps_an_epoch(self.config, self.pool.own)

    @property
    def mirrored(self) -> np.ndarray | None:
        """The class that each becomes in a mirrored image, uint8 (256,); None where all stay."""
        return self.data.labels.mirrored()


def prepare(
    config: TrainConfig,
    team: Team,
    say: Callable[[str], None],
    *,
    fresh: bool,
    build: "Builder | None" = None,
) -> Job:
    """Build the networks (with ``build``, or as ``config`` says), load the data.

    Nothing is written, so nothing is lost when this fails.

    First weights are read from files for a ``fresh`` run only: a checkpoint holds what became of them.
    What can fail on one machine and not on another is done ``everywhere`` before anything is built.
    """
    lessons.check(config)
    data = team.everywhere(lambda: folder.open_data(Path(config.data)))
    parents = team.everywhere(lambda: _parents(config, fresh))
    if config.flip and (sides := data.labels.sides()):
        one, other = sides[0]
        say(
            f"mirrored images keep {one!r} and {other!r} as they are: if these are sides, write flip_pairs = "
            f'[["{one}", "{other}"]] in dataset.toml, or train with --flip 0'
        )
    team.check_same("the configuration", dump(dataclasses.replace(config, **ELSEWHERE)))
    team.check_same("the classes, teacher or first weights", repr((data.classes, parents)))
    keras.utils.set_random_seed(config.seed)
    trainee = (build or new_network)(config, data.classes, fresh, say)
    teacher = load_teacher(Path(config.teacher), config, data.classes) if config.teacher else None
    pool, validation = team.everywhere(lambda: _load(data, config))
    team.check_same("the data", f"{pool.fingerprint} {validation.fingerprint}")
    if config.resize:
        say(sampling.what_resizing_changes(config, pool))
    logits = None
    if teacher is not None and team.count == 1 and lessons.may_be_cached(config):
        logits, teacher = lessons.teacher_logits(teacher, parents["teacher"], pool, config), None
    steps = steps_an_epoch(config, pool.own) * config.epochs
    step = trainee.step(Course(config, steps, weights_of_classes(config, pool, len(data.classes)), teacher))
    return Job(
        config=config,
        team=team,
        data=data,
        pool=pool,
        sampler=sampling.sampler(config, pool, len(data.classes)),
        validation=validation,
        step=step,
        validated=trainee.validated(step),
        teacher_logits=logits,
        parents=parents,
        # The last epoch always counts.
        settled=min(math.ceil(trainee.settled * config.epochs), config.epochs - 1),
        compression=trainee.compression,
    )


def new_network(
    config: TrainConfig, classes: Sequence[str], fresh: bool, say: Callable[[str], None]
) -> Trainee:
    """The configured network, twice: one learns, one holds the averaged weights in float32."""
    plain = networks.architecture(config.network_options)
    with arithmetic(config.dtype_policy):
        network = _build(config, len(classes), config.network_options if fresh else plain)
    with distribution.local():
        validated = _build(config, len(classes), plain)
    if config.start_from and fresh:
        say(finetune.start_from(network, Path(config.start_from), classes, Path(config.data)))
    if config.freeze_encoder:
        finetune.freeze(network, config)
    return trainee_of(network, validated)


def trainee_of(
    network: keras.Model, validated: keras.Model, compression: tuple[Compression, ...] = ()
) -> Trainee:
    """A Keras 3 network that learns, and its copy that holds the averaged weights."""
    step = functools.partial(TrainingStep, network)
    return Trainee(step, lambda step: validated, compression=compression)


def _parents(config: TrainConfig, fresh: bool) -> dict[str, str]:
    """SHA-256 of the models that take part from here on, by option."""
    paths = {"start_from": config.start_from if fresh else "", "teacher": config.teacher}
    return {name: files.sha256(run.model_file(Path(path))) for name, path in paths.items() if path}


def _load(data: folder.DataSet, config: TrainConfig) -> tuple[sampling.Pool, folder.Split]:
    limit = config.memory_limit_mb << 20
    return sampling.load_pool(data, config), folder.load_split(data, "val", config.size, limit)


def _build(config: TrainConfig, classes: int, options: Mapping[str, Any]) -> keras.Model:
    return networks.build(config.network, (*config.size, 3), classes, **options)


def weights_of_classes(config: TrainConfig, pool: sampling.Pool, classes: int) -> tuple[float, ...] | None:
    """The configured weights of the classes, where they need it by their pixels in all training images."""
    masks = itertools.chain.from_iterable(split.masks for split in pool.splits)
    none = config.class_weights == ("none",)
    weights = None if none else class_weights(config.class_weights, count(masks, classes))
    return None if weights is None else tuple(weights.tolist())


@contextlib.contextmanager
def arithmetic(dtype_policy: str) -> Iterator[None]:
    """Build layers that compute in a dtype policy of Keras while the block runs."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype_policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def steps_an_epoch(config: TrainConfig, images: int) -> int:
    """As configured, else as many full batches as there are; the images left over differ by epoch."""
    return config.steps or max(1, images // config.batch)
