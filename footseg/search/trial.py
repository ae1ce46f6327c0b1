"""What a worker does with one drawn trial: costs, training under the rule for bad trials, scores, the record.

The record is brought up to date after each epoch and holds all that a trial decided until then, so that a
process that was killed at any moment is followed by one that goes on to the same scores: the run by its own
checkpoint, the rule by what it has already said (``stopping.py``). What the rule says of an epoch depends on
what other trials had reached when it was first asked.
"""

import dataclasses
import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from footseg import files
from footseg.data.folder import open_data
from footseg.errors import FootsegError, MissingExtraError
from footseg.evaluate import evaluate
from footseg.run import Run
from footseg.search import goals, records, stopping
from footseg.search.records import SearchSettings, Trial
from footseg.training.config import TrainConfig, from_values
from footseg.training.logbook import EpochRow
from footseg.training.losses import teacher_terms
from footseg.training.train import DivergedError, TrainingInterruptedError, train

# As much of an error's text as a table can hold.
LONGEST_REASON = 300


def run_trial(folder: Path, number: int, say: Callable[[str], None] = lambda line: None) -> Trial:
    """Take trial ``number`` of the search in ``folder`` to its end, and return its record as it was written.

    Its run is ``folder/trials/NNNN``; an unfinished one goes on. A trial that has its end is left alone. One
    that cannot be trained (it diverges, its options do not go together, memory is too small) gets the status
    "failed" and the reason. Keras's global state is cleared at the end. ``say`` gets a line an epoch.

    Raises:
        FootsegError: what would end every trial: a full disk, a package that is not installed.
        TrainingInterruptedError: Ctrl-C; as after a kill, the record says "running", and the trial can go on.
    """
    trial = records.load_trial(folder, number)
    if trial.status in records.ENDED:
        return trial
    _sweep(folder, trial)
    book, known = _Book(folder, number, time.monotonic() - trial.seconds), set(_gradients())
    book.note(status="running", worker=f"{platform.node()}:{os.getpid()}")
    try:
        end = _work(book, goals.settings_of(folder), say)
    except Exception as error:
        reason = _why_failed(error)
        if not reason:
            raise
        done = len(records.curve(folder, number))
        end = {"status": "failed", "reason": reason, "epochs_done": done}
    finally:
        _forget(known)  # its time is the trial's, too
    return book.note(**end)


@dataclass(frozen=True)
class _Book:
    """The record of the trial in work; ``began`` is when it would have begun without a break (monotonic)."""

    folder: Path
    number: int
    began: float

    @property
    def run(self) -> Path:
        """The folder of its run."""
        return records.run_folder(self.folder, self.number)

    def read(self) -> Trial:
        """The record as it is on the disk."""
        return records.load_trial(self.folder, self.number)

    def note(self, **changes: Any) -> Trial:
        """Write ``changes`` and the seconds until now."""
        seconds = round(time.monotonic() - self.began, 2)
        trial = dataclasses.replace(self.read(), seconds=seconds, **changes)
        records.save_trial(self.folder, trial)
        return trial


def _work(book: _Book, settings: SearchSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """What the record of a trial says in the end."""
    config = configuration(settings, book.read())
    over = _over_limits(book, settings, config)
    if over:
        return {"status": "refused", "reason": over}
    run = train(
        config, book.run, resume=True, command=command(config, book.run),
        stop=_judge(book, settings.stop, config.epochs), say=say,
    )  # fmt: skip
    ended = {"status": "stopped"} if run.status == "interrupted" else {"status": "finished", "reason": ""}
    return {**ended, "epochs_done": run.epochs_done, "scores": _scores(settings, config, run)}


def configuration(settings: SearchSettings, trial: Trial) -> TrainConfig:
    """The training that a trial stands for: what does not vary, then what was drawn.

    A teacher that none of its losses asks is left out: of a space of losses only some may need one.

    Raises:
        ValueError: a name or a value that no training has.
    """
    options = [values.get("network_options", {}) for values in (settings.values, trial.values)]
    config = from_values({**settings.values, **trial.values, "network_options": {**options[0], **options[1]}})
    return config if teacher_terms(config.loss) else dataclasses.replace(config, teacher="")


def command(config: TrainConfig, out: Path) -> str:
    """The command line that makes the same run without a search."""
    words = ["footseg", "train", config.network]
    for option in dataclasses.fields(config):
        value, flag = getattr(config, option.name), f"--{option.name.replace('_', '-')}"
        if option.name == "network" or value in (option.default, {}):
            continue
        if isinstance(value, bool):
            words += [flag] if value else [f"--no-{flag.removeprefix('--')}"]
        elif isinstance(value, dict):
            for name, chosen in value.items():
                words += [flag, f"{name}={chosen if isinstance(chosen, str) else json.dumps(chosen)}"]
        else:
            words += [flag, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join([*words, "--out", str(out)])


# ---- before training


def _sweep(folder: Path, trial: Trial) -> None:
    """Remove what a kill left half-written: the temporary folders of ``files.atomic_path``."""
    trials = folder / records.TRIALS
    for left in (*trials.glob(f".{trial.name}.*"), *(trials / trial.name).rglob(".*.*")):
        shutil.rmtree(left, ignore_errors=True)


def _over_limits(book: _Book, settings: SearchSettings, config: TrainConfig) -> str:
    """The limits that the network breaks, in words; the costs go to the record."""
    limits = [goals.parse_limit(text) for text in settings.limits]
    if not (limits or settings.against):
        return ""
    known = book.read().costs
    if not known:
        from footseg.search import costs

        classes = open_data(Path(config.data)).classes
        known = costs.costs(book.folder, config, classes, settings.against, limits)
        book.note(costs=known)
    return "; ".join(map(str, goals.broken(limits, known)))


def _forget(known: Collection[str]) -> None:
    """Give back a trial's memory; ``known`` are the gradients that were there before it.

    Keras's optimizers reduce gradients through a function with a gradient of its own, which TensorFlow keeps
    for ever, and the graph of the whole step with it: 60 MB a trial of FastLinkNet. With this, a process
    that had trained one held 909 MB, after fifteen 918.
    """
    for name in _gradients().keys() - known:
        del _gradients()[name]
    keras.backend.clear_session()  # which collects garbage


def _gradients() -> dict[str, Any]:
    """The gradients that TensorFlow was told of, by name; nothing where it does not show them."""
    if keras.backend.backend() != "tensorflow":
        return {}
    from tensorflow.python.framework import ops

    return getattr(getattr(ops, "gradient_registry", None), "_registry", {})


# ---- while it trains


def _judge(book: _Book, rule: str, epochs: int) -> Callable[[Sequence[EpochRow]], str]:
    """What ``train`` asks after each epoch; each epoch is judged once, however often it is asked."""
    ended: dict[int, list[float]] = {}

    def stop(history: Sequence[EpochRow]) -> str:
        done, before = len(history), book.read()
        if done <= before.epochs_done:
            return before.reason if done == before.epochs_done else ""
        reason = ""
        if stopping.asks(rule, done, epochs):
            # Its own, too, from the file: in the digits of the others.
            own = records.curve(book.folder, book.number)[:done]
            reason = stopping.why_stop(rule, own, _others(book, ended), epochs)
        return book.note(epochs_done=done, reason=reason).reason

    return stop


def _others(book: _Book, ended: dict[int, list[float]]) -> list[list[float]]:
    """The curves of the other trials, but of those that failed or were refused.

    ``ended`` keeps those that grow no more: of 100 trials they are most of what would be read.
    """
    running = []
    for trial in records.load_trials(book.folder):
        if trial.number == book.number or trial.number in ended or trial.status in ("failed", "refused"):
            continue
        curve = records.curve(book.folder, trial.number)
        if trial.status in records.ENDED:
            ended[trial.number] = curve
        else:
            running.append(curve)
    return [*ended.values(), *running]


# ---- afterwards


def _scores(settings: SearchSettings, config: TrainConfig, run: Run) -> dict[str, float]:
    """Of the best weights, on the validation split; boundary F only where it is the objective (seconds)."""
    scores = {"iou": run.score("val_iou")}
    if settings.objective == "boundary_f":
        metrics = evaluate(run.path, Path(config.data), "val", samples=0).metrics
        scores["boundary_f"] = float(metrics["boundary_f"])
    return scores


def _why_failed(error: Exception) -> str:
    """Why this trial cannot be trained, in a line; "" where the error is not the trial's."""
    if isinstance(error, files.DiskFullError | MissingExtraError | TrainingInterruptedError):
        return ""
    text = " ".join(str(error).split())[:LONGEST_REASON]
    if isinstance(error, DivergedError):
        return error.what  # the search chooses another learning rate itself
    if _out_of_memory(error):
        return f"out of memory: {text}".removesuffix(": ")
    return text if isinstance(error, FootsegError | ValueError) else ""


def _out_of_memory(error: Exception) -> bool:
    """MemoryError, TensorFlow's ResourceExhaustedError, and what JAX and PyTorch say for it."""
    text = f"{type(error).__name__} {error}".casefold()
    words = ("resourceexhausted", "resource_exhausted", "out of memory")
    return isinstance(error, MemoryError) or any(word in text for word in words)
