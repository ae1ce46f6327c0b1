"""What a training run works with: its configuration made into networks, data, teacher and step."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from footseg import distribution, files, finetune, lessons, networks, run, sampling
from footseg.class_weights import class_weights, count
from footseg.config import TrainConfig, dump
from footseg.data import folder
from footseg.distill import load_teacher
from footseg.distribution import Team
from footseg.step import TrainingStep

# Options that may differ from machine to machine: where equal things lie.
ELSEWHERE: dict[str, Any] = {"data": "", "extra_data": (), "teacher": "", "start_from": ""}


@dataclass(frozen=True)
class Job:
    """What the loop works with and never changes itself."""

    config: TrainConfig
    team: Team
    data: folder.DataSet
    pool: sampling.Pool
    sampler: sampling.Sampler
    validation: folder.Split
    step: TrainingStep
    validated: keras.Model
    """A second copy of the network, float32, which holds the averaged weights while they are validated."""
    teacher_logits: np.ndarray | None
    """What the teacher gives for each image of the pool, where nothing is augmented."""
    parents: dict[str, str]
    """SHA-256 of the models that took part, by option."""

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return steps_an_epoch(self.config, self.pool.own)


def prepare(config: TrainConfig, team: Team, say: Callable[[str], None], *, fresh: bool) -> Job:
    """Build the networks, load the data; nothing is written, so nothing is lost when this fails.

    First weights are read from files for a ``fresh`` run only: a checkpoint holds what became of them.
    What can fail on one machine and not on another is done ``everywhere`` before anything is built.
    """
    lessons.check(config)
    data = team.everywhere(lambda: folder.open_data(Path(config.data)))
    parents = team.everywhere(lambda: _parents(config, fresh))
    team.check_same("the configuration", dump(dataclasses.replace(config, **ELSEWHERE)))
    team.check_same("the classes, teacher or first weights", repr((data.classes, parents)))
    keras.utils.set_random_seed(config.seed)
    plain = networks.architecture(config.network_options)
    with arithmetic(config.precision):
        network = _build(config, len(data.classes), config.network_options if fresh else plain)
    with distribution.local():
        validated = _build(config, len(data.classes), plain)
    if config.start_from and fresh:
        say(finetune.start_from(network, Path(config.start_from)))
    if config.freeze_encoder:
        finetune.freeze(network, config)
    teacher = load_teacher(Path(config.teacher), config, data.classes) if config.teacher else None
    pool, validation = team.everywhere(lambda: _load(data, config))
    team.check_same("the data", f"{pool.fingerprint} {validation.fingerprint}")
    logits = None
    if teacher is not None and team.count == 1 and lessons.may_be_cached(config):
        logits, teacher = lessons.teacher_logits(teacher, parents["teacher"], pool, config), None
    return Job(
        config=config,
        team=team,
        data=data,
        pool=pool,
        sampler=sampling.sampler(config, pool, len(data.classes)),
        validation=validation,
        step=TrainingStep(
            network,
            config,
            steps_an_epoch(config, pool.own) * config.epochs,
            class_weights=weights_of_classes(config, pool, len(data.classes)),
            teacher=teacher,
        ),
        validated=validated,
        teacher_logits=logits,
        parents=parents,
    )


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
def arithmetic(precision: str) -> Iterator[None]:
    """Build layers that compute in ``precision``, a dtype policy of Keras, while the block runs."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def steps_an_epoch(config: TrainConfig, images: int) -> int:
    """As configured, else as many full batches as there are; the images left over differ by epoch."""
    return config.steps or max(1, images // config.batch)
