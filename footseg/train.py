"""Train a network: from a configuration and a folder of images and masks to a run."""

import contextlib
import dataclasses
import itertools
import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from footseg import (
    augment,
    files,
    finetune,
    lessons,
    logbook,
    metrics,
    networks,
    provenance,
    run,
    sampling,
)
from footseg.class_weights import class_weights, count
from footseg.config import TrainConfig, dump
from footseg.data import folder, images
from footseg.distill import load_teacher
from footseg.errors import FootsegError
from footseg.evaluate import evenly_spaced
from footseg.logbook import Row
from footseg.run import Run
from footseg.runtime import to_float
from footseg.step import TrainingStep

SAMPLES = 4


class TrainingInterruptedError(FootsegError):
    """Ctrl-C: the run is whole and can be resumed."""

    interrupted = True


class DivergedError(FootsegError):
    """The loss or a weight is no finite number any more."""


@dataclass(frozen=True)
class _Job:
    """What the loop works with and never changes itself."""

    config: TrainConfig
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


@dataclass(frozen=True)
class _Validation:
    loss: float
    iou: float
    pixel_accuracy: float
    samples: np.ndarray
    """Predicted masks of the sample images."""


def train(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Run:
    """Train ``config.network`` and leave a run in ``out``.

    With ``resume`` an unfinished run in ``out`` goes on where its last whole epoch ended, to the same
    history as if it had never stopped; a finished one is returned as it is. ``say`` gets a line an epoch.

    Raises:
        FootsegError: bad data, a run that stands in the way, Ctrl-C.
        DivergedError: a loss that is no number; what was good before it is kept.
        ValueError: an unknown network, option or loss, or a size the network cannot take.
    """
    going_on = resume and run.exists(out)
    if going_on and run.load(out).status == "finished":
        say(f"{out} is finished: nothing to resume")
        return run.load(out)
    if not going_on:
        _check_free(out, force)
    job = _prepare(config, say, fresh=not going_on)
    record = _reopen(out, job) if going_on else _create(out, job, command)
    history = logbook.load_checkpoint(record.checkpoint, job.step.load_state)
    started = time.monotonic() - record.seconds
    try:
        with (
            logbook.events(record.path / "tensorboard", len(history)) as log,
            _progress(job, len(history)) as bar,
        ):
            while len(history) < config.epochs and not _out_of_patience(history, config.patience):
                row, validation = _epoch(job, len(history), history, bar)
                history.append(row)
                record = _progressed(record, history, time.monotonic() - started)
                _write_epoch(job, record, history, validation, log)
                say(logbook.epoch_line(row, config.epochs))
    except (KeyboardInterrupt, DivergedError) as stop:
        record = dataclasses.replace(record, status="interrupted")
        record.save()
        if isinstance(stop, DivergedError):
            raise DivergedError(f"{stop}; {_kept(record)}") from None
        raise TrainingInterruptedError(_farewell(record)) from None
    record = dataclasses.replace(record, status="finished", seconds=round(time.monotonic() - started, 1))
    record.save()
    record.checkpoint.unlink(missing_ok=True)
    return record


# ---- before the first step


def _check_free(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not run.exists(out):  # --force replaces runs, never somebody's folder of other things
        raise FootsegError(f"{out} exists and is not a run: choose another --out")
    if force:
        return
    if run.load(out).status == "finished":
        raise FootsegError(f"{out} is a finished run: choose another --out, or replace it with --force")
    raise FootsegError(f"{out} is an unfinished run: go on with --resume, or replace it with --force")


def _prepare(config: TrainConfig, say: Callable[[str], None], *, fresh: bool) -> _Job:
    """Build the networks, load the data; nothing is written, so nothing is lost when this fails.

    First weights are read from files for a ``fresh`` run only: a checkpoint holds what became of them.
    """
    lessons.check(config)
    data = folder.open_data(Path(config.data))
    keras.utils.set_random_seed(config.seed)
    plain = networks.architecture(config.network_options)
    with arithmetic(config.precision):
        network = _build(config, len(data.classes), config.network_options if fresh else plain)
    validated = _build(config, len(data.classes), plain)
    parents = {}
    if config.start_from and fresh:
        start = finetune.start_from(network, Path(config.start_from))
        parents["start_from"] = start.sha256
        say(str(start))
    if config.freeze_encoder:
        finetune.freeze(network, config)
    teacher = None
    if config.teacher:
        teacher = load_teacher(Path(config.teacher), config, data.classes)
        parents["teacher"] = files.sha256(run.model_file(Path(config.teacher)))
    pool = sampling.load_pool(data, config)
    validation = folder.load_split(data, "val", config.size, config.memory_limit_mb << 20)
    logits = None
    if teacher is not None and lessons.may_be_cached(config):
        logits, teacher = lessons.teacher_logits(teacher, parents["teacher"], pool, config), None
    return _Job(
        config=config,
        data=data,
        pool=pool,
        sampler=sampling.sampler(config, pool, len(data.classes)),
        validation=validation,
        step=TrainingStep(
            network,
            config,
            steps_an_epoch(config, pool.own) * config.epochs,
            class_weights=_class_weights(config, pool, len(data.classes)),
            teacher=teacher,
        ),
        validated=validated,
        teacher_logits=logits,
        parents=parents,
    )


def _build(config: TrainConfig, classes: int, options: Mapping[str, Any]) -> keras.Model:
    return networks.build(config.network, (*config.size, 3), classes, **options)


def _class_weights(config: TrainConfig, pool: sampling.Pool, classes: int) -> tuple[float, ...] | None:
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


def _create(out: Path, job: _Job, command: str) -> Run:
    """Make the run's folder, in place of whatever ``_check_free`` allowed to be replaced."""
    record = Run(
        path=out,
        status="running",
        network=job.config.network,
        network_options=networks.architecture(job.config.network_options),
        input_shape=(*job.config.size, 3),
        classes=job.data.classes,
        colours=job.data.colours,
        parameters=job.step.network.count_params(),
        data=str(Path(job.config.data).resolve()),
        data_fingerprint=job.pool.fingerprint,
        seed=job.config.seed,
        parents=job.parents,
        command=command,
        backend=keras.backend.backend(),
        versions=provenance.versions(),
        machine=provenance.machine(),
        created=provenance.now(),
    )
    with files.atomic_path(out) as beginning:
        beginning.mkdir()
        begun = dataclasses.replace(record, path=beginning)
        files.write_text(begun.config, dump(job.config))
        # From here on neither the run nor the file that gave the first weights is needed.
        logbook.save_checkpoint(begun.checkpoint, job.step.state(), [])
        begun.save()
    return record


def _reopen(out: Path, job: _Job) -> Run:
    record = run.load(out)
    if record.parents.get("teacher") != job.parents.get("teacher"):
        raise FootsegError(
            f"{job.config.teacher} is not the teacher that {out} began with: "
            "restore it, or start anew with --force"
        )
    if record.data_fingerprint != job.pool.fingerprint:
        sets = " and ".join([job.config.data, *job.config.extra_data])
        raise FootsegError(
            f"{sets} is not what {out} was trained on (its fingerprint differs): "
            "restore the data, or start anew with --force"
        )
    record = dataclasses.replace(record, status="running")
    record.save()
    return record


# ---- one epoch


def _epoch(job: _Job, epoch: int, history: Sequence[Row], bar: tqdm) -> tuple[Row, _Validation]:
    """Train on every batch once, then validate. All that is random comes from (seed, epoch)."""
    config = job.config
    rng = np.random.default_rng([config.seed, epoch])
    order = job.sampler.epoch(job.steps * config.batch, rng)
    best = max((r["val_iou"] for r in history), default=0.0)
    how = config.augmentation()
    losses = []
    began = time.monotonic()
    bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
    for number, chosen in enumerate(order.reshape(job.steps, config.batch)):
        drawn = augment.sample(how, config.batch, config.size, rng)
        logits = None if job.teacher_logits is None else job.teacher_logits[chosen]
        losses.append(job.step.train(*job.pool.take(chosen), drawn, logits))
        if not math.isfinite(losses[-1]):
            raise _diverged(job, f"the loss became {losses[-1]}", epoch, number)
        bar.set_postfix(loss=f"{np.mean(losses):.3f}", val_iou=f"{best:.3f}", refresh=False)
        bar.update(config.batch)
    seconds = time.monotonic() - began
    if not all(np.isfinite(values).all() for values in job.step.state().values()):
        # The next step would say so, but by then the checkpoint would hold these weights.
        raise _diverged(job, "a weight became infinite or no number", epoch, job.steps - 1)
    validation = _validate(job)
    row = {
        "epoch": epoch + 1,
        "loss": float(np.mean(losses)),
        "val_loss": validation.loss,
        "val_iou": validation.iou,
        "val_pixel_accuracy": validation.pixel_accuracy,
        "learning_rate": float(job.step.schedule((epoch + 1) * job.steps)),
        "images_per_second": job.steps * config.batch / seconds,
        "seconds": time.monotonic() - began,
    }
    return row, validation


def _diverged(job: _Job, what: str, epoch: int, number: int) -> DivergedError:
    config, step = job.config, epoch * job.steps + number
    clip = "a smaller --clip" if config.clip else "--clip 1"
    return DivergedError(
        f"{what} in epoch {epoch + 1}, step {number + 1} (step {step + 1} of the run), at learning rate "
        f"{float(job.step.schedule(step)):.3g}: start anew with --learning-rate "
        f"{config.learning_rate / 3:.2g} or {clip}"
    )


def _validate(job: _Job) -> _Validation:
    """Score the averaged weights on the whole validation split."""
    job.validated.set_weights(job.step.averaged_weights())
    classes = len(job.data.classes)
    matrix = np.zeros((classes, classes), np.int64)
    losses, samples, count = [], [], len(job.validation.names)
    wanted = set(evenly_spaced(count, SAMPLES))
    for start in range(0, count, job.config.batch):
        pictures = job.validation.images[start : start + job.config.batch]
        masks = job.validation.masks[start : start + job.config.batch]
        # The last batch is filled up, because a new shape would compile a second graph.
        filled = np.resize(pictures, (job.config.batch, *pictures.shape[1:]))
        logits = np.asarray(job.validated.predict_on_batch(to_float(filled)))[: len(pictures)]
        predicted = logits.argmax(-1).astype(np.uint8)
        matrix += metrics.confusion(masks, predicted, classes)
        losses.append(len(masks) * float(job.step.loss_of(keras.ops.convert_to_tensor(logits), masks)))
        samples += [predicted[i - start] for i in range(start, start + len(masks)) if i in wanted]
    scores = metrics.scores(matrix)
    return _Validation(sum(losses) / count, scores["iou"], scores["pixel_accuracy"], np.stack(samples))


def _out_of_patience(history: Sequence[Row], patience: int) -> bool:
    if not patience or not history:
        return False
    scores = [row["val_iou"] for row in history]
    return len(scores) - 1 - int(np.argmax(scores)) >= patience


# ---- what is written


def _write_epoch(
    job: _Job,
    record: Run,
    history: Sequence[Row],
    validation: _Validation,
    log: Callable[[Row, np.ndarray | None], None],
) -> None:
    """Bring the run's folder up to the last epoch of ``history``."""
    row = history[-1]
    if record.best["epoch"] == row["epoch"]:
        with files.atomic_path(record.model) as temporary:
            job.validated.save(temporary)
    files.write_text(record.history, logbook.history_csv(history))
    log(row, _save_samples(record, job, len(history), validation))
    record.save()
    # Last: a kill before this line repeats the epoch, to the same numbers.
    logbook.save_checkpoint(record.checkpoint, job.step.state(), history)


def _progressed(record: Run, history: Sequence[Row], seconds: float) -> Run:
    best = max(history, key=lambda row: row["val_iou"])
    keep = ("epoch", "val_iou", "val_pixel_accuracy", "val_loss")
    return dataclasses.replace(
        record,
        epochs_done=len(history),
        best={name: best[name] for name in keep},
        seconds=round(seconds, 1),
    )


def _save_samples(record: Run, job: _Job, epoch: int, validation: _Validation) -> np.ndarray | None:
    if not logbook.wants_picture(epoch, job.config.epochs):
        return None
    chosen = list(evenly_spaced(len(job.validation.names), SAMPLES))
    picture = logbook.comparison(
        job.validation.images[chosen], job.validation.masks[chosen], validation.samples, job.data.colours
    )
    images.write_image(record.path / "samples" / f"epoch_{epoch:04d}.jpg", picture)
    return picture


def _progress(job: _Job, epochs_done: int) -> tqdm:
    an_epoch = job.steps * job.config.batch
    return logbook.progress(an_epoch * job.config.epochs, an_epoch * epochs_done)


def _farewell(record: Run) -> str:
    resume = f"go on with: footseg train --resume --out {shlex.quote(str(record.path))}"
    if not record.best:
        return f"stopped in the first epoch, nothing to keep yet; {resume}"
    return f"stopped after {record.epochs_done} epochs; {_kept(record)}; {resume}"


def _kept(record: Run) -> str:
    if not record.best:
        return "no epoch was whole, so there is nothing to keep"
    return (
        f"the best weights (epoch {record.best['epoch']:.0f}, "
        f"validation IoU {record.best['val_iou']:.4f}) are in {record.model}"
    )
