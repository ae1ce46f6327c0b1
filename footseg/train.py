"""Train a network: from a configuration and a folder of images and masks to a run."""

import contextlib
import csv
import dataclasses
import io
import json
import math
import shlex
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from footseg import augment, files, metrics, networks, provenance, run
from footseg.config import TrainConfig, dump
from footseg.data import folder, images
from footseg.errors import FootsegError
from footseg.evaluate import evenly_spaced
from footseg.losses import parse
from footseg.run import Run
from footseg.runtime import to_float
from footseg.step import TrainingStep

HISTORY = (
    "epoch", "loss", "val_loss", "val_iou", "val_pixel_accuracy", "learning_rate",
    "images_per_second", "seconds",
)  # fmt: skip
SAMPLES = 4
Row = dict[str, float]


class TrainingInterruptedError(FootsegError):
    """Ctrl-C: the run is whole and can be resumed."""

    interrupted = True


@dataclass(frozen=True)
class _Job:
    """What the loop works with and never changes itself."""

    config: TrainConfig
    data: folder.DataSet
    training: folder.Split
    validation: folder.Split
    step: TrainingStep
    validated: keras.Model
    """A second copy of the network, which holds the averaged weights while they are validated."""

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return steps_an_epoch(self.config, len(self.training.names))


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
        FootsegError: bad data, a run that stands in the way, a loss that is no number, Ctrl-C.
        ValueError: an unknown network, option or loss, or a size the network cannot take.
    """
    going_on = resume and run.exists(out)
    if going_on and run.load(out).status == "finished":
        say(f"{out} is finished: nothing to resume")
        return run.load(out)
    if not going_on:
        _check_free(out, force)
    job = _prepare(config)
    if going_on:
        record = _reopen(out, job)
        history = _load_checkpoint(record.checkpoint, job.step)
    else:
        record = _create(out, job, command)
        history = []
    started = time.monotonic() - record.seconds
    try:
        with _logs(record, len(history)) as log, _progress(job, len(history)) as bar:
            while len(history) < config.epochs and not _out_of_patience(history, config.patience):
                row, validation = _epoch(job, len(history), history, bar)
                better = row["val_iou"] > max((r["val_iou"] for r in history), default=-1.0)
                history.append(row)
                if better:
                    with files.atomic_path(record.model) as temporary:
                        job.validated.save(temporary)
                files.write_text(record.history, _csv(history))
                picture = _save_samples(record, job, len(history), validation)
                log(row, picture)
                record = _progressed(record, history, time.monotonic() - started)
                record.save()
                # Last: a kill before this line repeats the epoch, to the same numbers.
                _save_checkpoint(record.checkpoint, job.step, history)
                say(_epoch_line(row, config.epochs))
    except KeyboardInterrupt:
        record = dataclasses.replace(record, status="interrupted")
        record.save()
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


def _prepare(config: TrainConfig) -> _Job:
    """Load the data and build the step; nothing is written, so nothing is lost when this fails."""
    parse(config.loss)
    data = folder.open_data(Path(config.data))
    keras.utils.set_random_seed(config.seed)
    shape, classes = (*config.size, 3), len(data.classes)
    network = networks.build(config.network, shape, classes, **config.network_options)
    validated = networks.build(config.network, shape, classes, **config.network_options)
    limit = config.memory_limit_mb << 20
    training = folder.load_split(data, "train", config.size, limit)
    validation = folder.load_split(data, "val", config.size, limit)
    steps = steps_an_epoch(config, len(training.names)) * config.epochs
    return _Job(config, data, training, validation, TrainingStep(network, config, steps), validated)


def steps_an_epoch(config: TrainConfig, images: int) -> int:
    """As configured, else as many full batches as there are; the images left over differ by epoch."""
    return config.steps or max(1, images // config.batch)


def _create(out: Path, job: _Job, command: str) -> Run:
    """Make the run's folder, in place of whatever ``_check_free`` allowed to be replaced."""
    record = Run(
        path=out,
        status="running",
        network=job.config.network,
        network_options=job.config.network_options,
        input_shape=(*job.config.size, 3),
        classes=job.data.classes,
        colours=job.data.colours,
        parameters=job.step.network.count_params(),
        data=str(Path(job.config.data).resolve()),
        data_fingerprint=job.training.fingerprint,
        seed=job.config.seed,
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
        begun.save()
    return record


def _reopen(out: Path, job: _Job) -> Run:
    record = run.load(out)
    if record.data_fingerprint != job.training.fingerprint:
        raise FootsegError(
            f"{job.config.data} is not what {out} was trained on (its fingerprint differs): "
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
    order = rng.permutation(len(job.training.names))
    best = max((r["val_iou"] for r in history), default=0.0)
    how = config.augmentation()
    losses = []
    began = time.monotonic()
    bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
    for number in range(job.steps):
        # Modulo: a set smaller than a batch still fills one.
        chosen = order[np.arange(number * config.batch, (number + 1) * config.batch) % len(order)]
        drawn = augment.sample(how, config.batch, config.size, rng)
        losses.append(job.step.train(job.training.images[chosen], job.training.masks[chosen], drawn))
        if not math.isfinite(losses[-1]):
            raise FootsegError(
                f"the loss became {losses[-1]} in epoch {epoch + 1}, step {number + 1}: try --learning-rate "
                f"{config.learning_rate / 3:.2g} or --clip 1; the weights of the best epoch so far are kept"
            )
        bar.set_postfix(loss=f"{np.mean(losses):.3f}", val_iou=f"{best:.3f}", refresh=False)
        bar.update(config.batch)
    seconds = time.monotonic() - began
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


def _save_checkpoint(path: Path, step: TrainingStep, history: Sequence[Row]) -> None:
    with files.atomic_path(path) as temporary:
        np.savez(temporary, allow_pickle=False, history=np.array(json.dumps(history)), **step.state())


def _load_checkpoint(path: Path, step: TrainingStep) -> list[Row]:
    """Put ``step`` where the checkpoint was; [] where the run was stopped in its first epoch."""
    if not path.is_file():
        return []
    try:
        with np.load(path) as saved:
            step.load_state(saved)
            return json.loads(str(saved["history"]))
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise FootsegError(
            f"{path} cannot be read or belongs to another network ({error}): start anew with --force"
        ) from error


def _progressed(record: Run, history: Sequence[Row], seconds: float) -> Run:
    best = max(history, key=lambda row: row["val_iou"])
    keep = ("epoch", "val_iou", "val_pixel_accuracy", "val_loss")
    return dataclasses.replace(
        record,
        epochs_done=len(history),
        best={name: best[name] for name in keep},
        seconds=round(seconds, 1),
    )


def _csv(history: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _short(row[name]) for name in HISTORY} for row in history)
    return text.getvalue()


def _short(number: float) -> str:
    """Nine significant digits: all that a float32 loss holds."""
    return f"{number:.9g}"


def _save_samples(record: Run, job: _Job, epoch: int, validation: _Validation) -> np.ndarray | None:
    """A picture of photograph, truth and prediction, in ten epochs of the run and in the first."""
    every = max(1, job.config.epochs // 10)
    if epoch != 1 and epoch % every and epoch != job.config.epochs:
        return None
    rows = []
    chosen = evenly_spaced(len(job.validation.names), SAMPLES)
    for index, predicted in zip(chosen, validation.samples, strict=True):
        image, truth = job.validation.images[index], job.validation.masks[index]
        overlays = [images.overlay(image, mask, job.data.colours) for mask in (truth, predicted)]
        rows.append(np.concatenate([image, *overlays], axis=1))
    picture = np.concatenate(rows)
    images.write_image(record.path / "samples" / f"epoch_{epoch:04d}.jpg", picture)
    return picture


@contextlib.contextmanager
def _logs(record: Run, epochs_done: int) -> Iterator[Callable[[Row, np.ndarray | None], None]]:
    """TensorBoard events; those of epochs that a resume repeats are purged."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(record.path / "tensorboard"), purge_step=epochs_done + 1) as writer:

        def log(row: Row, picture: np.ndarray | None) -> None:
            epoch = int(row["epoch"])
            for name in HISTORY[1:-1]:
                writer.add_scalar(name, row[name], epoch)
            if picture is not None:
                writer.add_image("photograph, truth, prediction", picture, epoch, dataformats="HWC")
            writer.flush()

        yield log


@contextlib.contextmanager
def _progress(job: _Job, epochs_done: int) -> Iterator[tqdm]:
    an_epoch = job.steps * job.config.batch
    with tqdm(
        total=an_epoch * job.config.epochs,
        initial=an_epoch * epochs_done,
        unit=" images",
        disable=None,
        dynamic_ncols=True,
        smoothing=0.05,
        file=sys.stderr,
    ) as bar:
        yield bar


def _epoch_line(row: Row, epochs: int) -> str:
    return (
        f"epoch {row['epoch']:.0f}/{epochs}  loss {row['loss']:.4f}  val_loss {row['val_loss']:.4f}  "
        f"val_iou {row['val_iou']:.4f}  {row['images_per_second']:.0f} images/s"
    )


def _farewell(record: Run) -> str:
    resume = f"go on with: footseg train --resume --out {shlex.quote(str(record.path))}"
    if not record.best:
        return f"stopped in the first epoch, nothing to keep yet; {resume}"
    return (
        f"stopped after {record.epochs_done} epochs; the best weights (epoch {record.best['epoch']:.0f}, "
        f"validation IoU {record.best['val_iou']:.4f}) are in {record.model}; {resume}"
    )
