"""Train a network: from a configuration and a folder of images and masks to a run."""

import contextlib
import dataclasses
import functools
import math
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from footseg import files, metrics, networks, provenance, records, run
from footseg.data import images
from footseg.errors import FootsegError
from footseg.evaluate import evenly_spaced
from footseg.run import Best, Run
from footseg.runtime import to_float
from footseg.training import augment, distribution, logbook, sampling
from footseg.training.config import TrainConfig, dump
from footseg.training.job import Builder, Job, prepare
from footseg.training.logbook import EpochRow

SAMPLES = 4


class TrainingInterruptedError(FootsegError):
    """Ctrl-C: the run is whole and can be resumed."""

    interrupted = True


class DivergedError(FootsegError):
    """The loss or a weight is no finite number any more: ``what`` says where, ``advice`` what to do."""

    def __init__(self, what: str, advice: str) -> None:
        """The text is both, with a colon between."""
        super().__init__(f"{what}: {advice}")
        self.what, self.advice = what, advice


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
    distribute: bool = False,
    build: Builder | None = None,
    command: str = "",
    stop: Callable[[Sequence[EpochRow]], str] = lambda history: "",
    say: Callable[[str], None] = lambda line: None,
) -> Run:
    """Train ``config.network`` and leave a run in ``out``.

    With ``resume`` an unfinished run in ``out`` goes on where its last whole epoch ended, to the same
    history as if it had never stopped; a finished one is returned as it is. ``distribute`` uses all
    devices of one or several processes (``training.distribution``). ``build`` makes the network in place of
    ``config.network``: compression trains what it made of a trained one. ``say`` gets a line an epoch.
    ``stop`` is asked before each epoch but the first, when the one before is on the disk; where it gives a
    reason, training ends there, and the run is returned "interrupted", to be resumed by whoever wants to.

    Raises:
        FootsegError: bad data, a run that stands in the way, Ctrl-C.
        DivergedError: a loss that is no number; what was good before it is kept.
        ValueError: an unknown network, option or loss, or a size the network cannot take.
    """
    with distribution.team(config.batch, distribute) as team:
        say = say if team.leads else lambda line: None
        going_on = team.leader(lambda: _goes_on(out, resume, force))
        if going_on:
            record = records.of(Run, team.leader(lambda: run.load(out).to_json()), path=out)
            if record.status == "finished":
                say(f"{out} is finished: nothing to resume")
                return record
            if record.compression and build is None:
                raise FootsegError(
                    f"{out} is a step of a compression: go on with footseg compress --resume --out "
                    f"{shlex.quote(str(out.resolve().parent.parent))}"
                )
        job = prepare(config, team, say, fresh=not going_on, build=build)
        begun = team.leader(lambda: _open(out, job, going_on, command).to_json())
        return _run(job, records.of(Run, begun, path=out), stop, say)


def _run(job: Job, record: Run, stop: Callable[[Sequence[EpochRow]], str], say: Callable[[str], None]) -> Run:
    """Train until the last epoch, or until patience, ``stop`` or something else ends it."""
    config, team = job.config, job.team
    history = _load_checkpoint(job, record.checkpoint)
    started = time.monotonic() - record.seconds
    try:
        with _events(job, record, len(history)) as log, _progress(job, len(history)) as bar:
            while not _done(job, history) and not (reason := _reason(job, history, stop)):
                row, validation = _epoch(job, len(history), history, bar)
                history.append(row)
                record = _progressed(record, history, job.settled, time.monotonic() - started)
                team.leader(functools.partial(_write_epoch, job, record, history, validation, log))
                say(logbook.epoch_line(row, config.epochs))
    except (KeyboardInterrupt, DivergedError) as error:
        record = dataclasses.replace(record, status="interrupted")
        if team.leads:
            record.save()
        if isinstance(error, DivergedError):
            raise DivergedError(error.what, f"{error.advice}; {_kept(record)}") from None
        raise TrainingInterruptedError(_farewell(record)) from None
    status = "finished" if _done(job, history) else "interrupted"
    record = dataclasses.replace(record, status=status, seconds=round(time.monotonic() - started, 1))
    if team.leads:
        record.save()
    if status == "interrupted":
        say(f"stopped after {len(history)} epochs: {reason}")
    elif team.leads:
        record.checkpoint.unlink(missing_ok=True)
    return record


def _done(job: Job, history: Sequence[EpochRow]) -> bool:
    """Whether there was the last epoch, or too many in a row without a better score."""
    return len(history) >= job.config.epochs or _out_of_patience(history[job.settled :], job.config.patience)


def _reason(job: Job, history: Sequence[EpochRow], stop: Callable[[Sequence[EpochRow]], str]) -> str:
    """What ``stop`` says of a run that has begun; asked once for all processes."""
    return job.team.leader(lambda: stop(history)) if history else ""


# ---- before the first step


def _goes_on(out: Path, resume: bool, force: bool) -> bool:
    """Whether there is a run to go on with; if not, nothing may stand in the way of a new one."""
    if resume and run.exists(out):
        return True
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not run.exists(out):  # --force replaces runs, never somebody's folder of other things
        raise FootsegError(f"{out} exists and is not a run: choose another --out")
    if force:
        return False
    if run.load(out).status == "finished":
        raise FootsegError(f"{out} is a finished run: choose another --out, or replace it with --force")
    raise FootsegError(f"{out} is an unfinished run: go on with --resume, or replace it with --force")


def _open(out: Path, job: Job, going_on: bool, command: str) -> Run:
    return _reopen(out, job) if going_on else _create(out, job, command)


def _create(out: Path, job: Job, command: str) -> Run:
    """Make the run's folder, in place of whatever ``_goes_on`` allowed to be replaced."""
    record = Run(
        path=out,
        status="running",
        network=job.config.network,
        network_options=networks.architecture(job.config.network_options),
        input_shape=(*job.config.size, 3),
        classes=job.data.classes,
        colours=job.data.colours,
        parameters=job.validated.count_params(),
        data=str(Path(job.config.data).resolve()),
        data_fingerprint=job.pool.fingerprint,
        validation_fingerprint=job.validation.fingerprint,
        flip_pairs=_flip_pairs(job),
        seed=job.config.seed,
        parents=job.parents,
        compression=job.compression,
        command=command,
        backend=keras.backend.backend(),
        versions=provenance.versions(),
        machine=provenance.machine(),
        created=provenance.now(),
    )
    with files.atomic_path(out) as beginning:
        beginning.mkdir()
        begun = dataclasses.replace(record, path=beginning)
        files.write_text(begun.config, dump(_anywhere(job.config)))
        # From here on neither the run nor the file that gave the first weights is needed.
        logbook.save_checkpoint(begun.checkpoint, job.step.state(), [])
        begun.save()
    return record


def _reopen(out: Path, job: Job) -> Run:
    record = run.load(out)
    if record.parents.get("teacher") != job.parents.get("teacher"):
        raise FootsegError(
            f"{job.config.teacher} is not the teacher that {out} began with: "
            "restore it, or start anew with --force"
        )
    sets = " and ".join([job.config.data, *job.config.extra_data])
    again = "restore it, or start anew with --force"
    if record.classes != job.data.classes:
        raise FootsegError(
            f"{sets} has the classes {', '.join(job.data.classes)}, {out} began with "
            f"{', '.join(record.classes)}: {again}"
        )
    if record.data_fingerprint != job.pool.fingerprint:
        raise FootsegError(f"{sets} is not what {out} was trained on (its fingerprint differs): {again}")
    if record.validation_fingerprint not in ("", job.validation.fingerprint):
        raise FootsegError(
            f"the validation images of {job.config.data} are not those of {out} (their fingerprint differs): "
            f"its epochs could not be compared: {again}"
        )
    if (pairs := _flip_pairs(job)) != record.flip_pairs:
        raise FootsegError(f"{sets} has flip_pairs {pairs}, {out} began with {record.flip_pairs}: {again}")
    record = dataclasses.replace(record, status="running", data=str(Path(job.config.data).resolve()))
    files.write_text(record.config, dump(_anywhere(job.config)))
    record.save()
    return record


def _anywhere(config: TrainConfig) -> TrainConfig:
    """The configuration with whole paths, so that the run goes on from any folder."""

    def whole(path: str) -> str:
        return str(Path(path).resolve()) if path else ""

    return dataclasses.replace(
        config,
        data=whole(config.data),
        extra_data=tuple(map(whole, config.extra_data)),
        teacher=whole(config.teacher),
        start_from=whole(config.start_from),
    )


def _flip_pairs(job: Job) -> tuple[tuple[str, str], ...]:
    """The names of the classes that are swapped where an image is mirrored."""
    return tuple(
        (job.data.classes[one], job.data.classes[other]) for one, other in job.data.labels.flip_pairs
    )


def _load_checkpoint(job: Job, path: Path) -> list[EpochRow]:
    """Put the step where the checkpoint of process 0 is."""
    state = job.step.state()

    def read() -> list[EpochRow]:
        saved, history = logbook.load_checkpoint(path, state)
        state.update(saved)
        return history

    history = job.team.leader(read)
    job.step.load_state(job.team.copy_of_leader(state))
    return history


# ---- one epoch


def _epoch(job: Job, epoch: int, history: Sequence[EpochRow], bar: tqdm) -> tuple[EpochRow, _Validation]:
    """Train on every batch once, then validate. All that is random comes from (seed, epoch)."""
    config = job.config
    rng = np.random.default_rng([config.seed, epoch])
    order = job.sampler.epoch(job.steps * config.batch, rng)
    ways = sampling.resized(config, len(order), rng)
    best = max((r["val_iou"] for r in history), default=0.0)
    how, ours = config.augmentation(), job.team.part(config.batch)
    losses = []
    began = time.monotonic()
    bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
    for number, joint in enumerate(order.reshape(job.steps, config.batch)):
        drawn_all = augment.sample(how, config.batch, config.size, rng, job.mirrored)
        drawn = {name: a[ours] for name, a in drawn_all.items()}
        chosen = joint[ours]
        resized = None if ways is None else ways[number * config.batch :][ours]
        logits = None if job.teacher_logits is None else job.teacher_logits[chosen]
        losses.append(job.step.train(*job.pool.take(chosen, resized), drawn, logits))
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


def _diverged(job: Job, what: str, epoch: int, number: int) -> DivergedError:
    config, step = job.config, epoch * job.steps + number
    clip = "a smaller --clip" if config.clip else "--clip 1"
    return DivergedError(
        f"{what} in epoch {epoch + 1}, step {number + 1} (step {step + 1} of the run), at learning rate "
        f"{float(job.step.schedule(step)):.3g}",
        f"start anew with --learning-rate {config.learning_rate / 3:.2g} or {clip}",
    )


def _validate(job: Job) -> _Validation:
    """Score the averaged weights on the whole validation split, each process on its batches of it."""
    job.validated.set_weights(job.step.averaged_weights())
    data, batch, classes = job.validation, job.config.batch, len(job.data.classes)
    matrix = np.zeros((classes, classes), np.int64)
    loss = np.zeros(1)
    count = len(data.names)
    wanted = evenly_spaced(count, SAMPLES)
    samples = np.zeros((len(wanted), *data.masks.shape[1:]), np.uint8)
    for start in range(job.team.index * batch, count, job.team.count * batch):
        pictures, masks = data.images[start : start + batch], data.masks[start : start + batch]
        # The last batch is filled up, because a new shape would compile a second graph.
        filled = to_float(np.resize(pictures, (batch, *pictures.shape[1:])))
        logits = np.asarray(job.validated.predict_on_batch(distribution.spread(filled)))[: len(pictures)]
        predicted = logits.argmax(-1).astype(np.uint8)
        matrix += metrics.confusion(masks, predicted, classes)
        loss += len(masks) * float(job.step.loss_of(keras.ops.convert_to_tensor(logits), masks))
        for row, index in enumerate(wanted):
            if start <= index < start + len(masks):
                samples[row] = predicted[index - start]
    scores = metrics.scores(job.team.sum(matrix))
    mean_loss = float(job.team.sum(loss)[0]) / count
    return _Validation(mean_loss, scores["iou"], scores["pixel_accuracy"], job.team.sum(samples))


def _out_of_patience(history: Sequence[EpochRow], patience: int) -> bool:
    if not patience or not history:
        return False
    scores = [row["val_iou"] for row in history]
    return len(scores) - 1 - int(np.argmax(scores)) >= patience


# ---- what is written


def _write_epoch(
    job: Job,
    record: Run,
    history: Sequence[EpochRow],
    validation: _Validation,
    log: Callable[[EpochRow, np.ndarray | None], None],
) -> None:
    """Bring the run's folder up to the last epoch of ``history``."""
    row = history[-1]
    if record.best.get("epoch") == row["epoch"]:
        with files.atomic_path(record.model) as temporary:
            job.validated.save(temporary)
    files.write_text(record.history, logbook.history_csv(history))
    log(row, _save_samples(record, job, len(history), validation))
    record.save()
    # Last: a kill before this line repeats the epoch, to the same numbers.
    logbook.save_checkpoint(record.checkpoint, job.step.state(), history)


def _progressed(record: Run, history: Sequence[EpochRow], settled: int, seconds: float) -> Run:
    """The record after the last epoch of ``history``; the first ``settled`` epochs cannot be the best."""
    best = max(history[settled:], key=lambda row: row["val_iou"], default={})
    return dataclasses.replace(
        record,
        epochs_done=len(history),
        best=Best(
            epoch=best["epoch"],
            val_iou=best["val_iou"],
            val_pixel_accuracy=best["val_pixel_accuracy"],
            val_loss=best["val_loss"],
        )
        if best
        else Best(),
        seconds=round(seconds, 1),
    )


def _save_samples(record: Run, job: Job, epoch: int, validation: _Validation) -> np.ndarray | None:
    if not logbook.wants_picture(epoch, job.config.epochs):
        return None
    chosen = list(evenly_spaced(len(job.validation.names), SAMPLES))
    picture = logbook.comparison(
        job.validation.images[chosen], job.validation.masks[chosen], validation.samples, job.data.colours
    )
    images.write_image(record.path / "samples" / f"epoch_{epoch:04d}.jpg", picture)
    return picture


def _events(
    job: Job, record: Run, epochs_done: int
) -> contextlib.AbstractContextManager[Callable[[EpochRow, np.ndarray | None], None]]:
    if not job.team.leads:
        return contextlib.nullcontext(lambda row, picture: None)
    return logbook.events(record.path / "tensorboard", epochs_done)


def _progress(job: Job, epochs_done: int) -> tqdm:
    an_epoch = job.steps * job.config.batch
    return logbook.progress(an_epoch * job.config.epochs, an_epoch * epochs_done, shown=job.team.leads)


def _farewell(record: Run) -> str:
    if record.compression:  # a step of a longer command, which says how to go on
        return f"stopped after {record.epochs_done} epochs of {record.compression[-1]['method']}"
    resume = f"go on with: footseg train --resume --out {shlex.quote(str(record.path))}"
    if not record.best:
        return f"stopped in the first epoch, nothing to keep yet; {resume}"
    return f"stopped after {record.epochs_done} epochs; {_kept(record)}; {resume}"


def _kept(record: Run) -> str:
    if not record.best:
        return "no epoch was whole, so there is nothing to keep"
    return (
        f"the best weights (epoch {record.score('epoch'):.0f}, "
        f"validation IoU {record.score('val_iou'):.4f}) are in {record.model}"
    )
