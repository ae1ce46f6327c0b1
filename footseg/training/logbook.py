"""What training writes as it goes on: history, pictures, TensorBoard events, the checkpoint, a bar."""

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from footseg import files, records
from footseg.data import images
from footseg.data.labels import Colour
from footseg.errors import FootsegError
from footseg.records import AnyNumber

HISTORY = (
    "epoch", "loss", "val_loss", "val_iou", "val_pixel_accuracy", "learning_rate",
    "images_per_second", "seconds",
)  # fmt: skip
EpochRow = dict[str, float]
State = dict[str, np.ndarray]


def save_checkpoint(path: Path, state: State, history: Sequence[EpochRow]) -> None:
    """Write all that the next epoch depends on."""
    with files.atomic_path(path) as temporary:
        np.savez(temporary, allow_pickle=False, history=np.array(json.dumps(history)), **state)


def load_checkpoint(path: Path, like: State) -> tuple[State, list[EpochRow]]:
    """The state and the history that were saved; the history is [] before the first whole epoch.

    Raises:
        FootsegError: there is no such file, it is damaged, or its arrays have other shapes or types than
            those of ``like``.
    """
    if not path.is_file():
        raise FootsegError(f"{path}, from which to go on, is not there: start anew with --force")
    try:
        with np.load(path) as saved:
            state = dict(saved)
        if strange := [name for name, array in state.items() if not isinstance(array, np.ndarray)]:
            raise ValueError(f"its {strange[0]} is no array")
        history = records.of(list[dict[str, AnyNumber]], files.parse_json(str(state.pop("history"))))
        if missing := {name for row in history for name in HISTORY if name not in row}:
            raise ValueError(f"its history has no field '{min(missing)}'")
    except Exception as error:  # a damaged archive of arrays: many kinds
        raise FootsegError(f"{path} cannot be read ({error}): start anew with --force") from error
    if _kinds(state) != _kinds(like):
        raise FootsegError(f"{path} belongs to another network: start anew with --force")
    return state, history


def _kinds(state: State) -> dict[str, tuple[tuple[int, ...], str]]:
    """By name an array's shape and what its numbers are: whole, real, ..."""
    return {name: (array.shape, array.dtype.kind) for name, array in state.items()}


def history_csv(history: Sequence[EpochRow]) -> str:
    """One line an epoch; nine significant digits, which is all that a float32 loss holds."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{row[name]:.9g}" for name in HISTORY} for row in history)
    return text.getvalue()


def epoch_line(row: EpochRow, epochs: int) -> str:
    """What is said of an epoch."""
    return (
        f"epoch {row['epoch']:.0f}/{epochs}  loss {row['loss']:.4f}  val_loss {row['val_loss']:.4f}  "
        f"val_iou {row['val_iou']:.4f}  {row['images_per_second']:.0f} images/s"
    )


def wants_picture(epoch: int, epochs: int) -> bool:
    """Whether an epoch gets a picture: ten of a run do, and the first and the last."""
    return epoch in (1, epochs) or epoch % max(1, epochs // 10) == 0


def comparison(
    photographs: np.ndarray,
    truths: np.ndarray,
    predictions: np.ndarray,
    colours: Sequence[Colour],
) -> np.ndarray:
    """One picture (H, W, 3): a row for each photograph, its true mask and the predicted one."""
    rows = []
    for photograph, truth, predicted in zip(photographs, truths, predictions, strict=True):
        overlays = [images.overlay(photograph, mask, colours) for mask in (truth, predicted)]
        rows.append(np.concatenate([photograph, *overlays], axis=1))
    return np.concatenate(rows)


@contextlib.contextmanager
def events(folder: Path, epochs_done: int) -> Iterator[Callable[[EpochRow, np.ndarray | None], None]]:
    """TensorBoard events of rows and pictures; those of epochs that a resume repeats are purged."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder), purge_step=epochs_done + 1) as writer:

        def log(row: EpochRow, picture: np.ndarray | None) -> None:
            epoch = int(row["epoch"])
            for name in HISTORY[1:-1]:
                writer.add_scalar(name, row[name], epoch)
            if picture is not None:
                writer.add_image("photograph, truth, prediction", picture, epoch, dataformats="HWC")
            writer.flush()

        yield log


def progress(total: int, done: int, *, shown: bool) -> tqdm:
    """A bar of images on the terminal; nothing unless ``shown``, or where standard error is no terminal."""
    return tqdm(
        total=total,
        initial=done,
        unit=" images",
        disable=None if shown else True,
        dynamic_ncols=True,
        smoothing=0.05,
        file=sys.stderr,
    )
