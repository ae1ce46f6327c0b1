"""What a file is held against: its network, if that is at hand, and real images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from footseg import artifact as artifacts
from footseg import files, runtime, strangers
from footseg import run as runs
from footseg.artifact import Artifact
from footseg.errors import FootsegError, check_installed
from footseg.export import verify
from footseg.export.clients.compare import Subject

ITSELF = "the file itself on this CPU"


def subjects(
    paths: Sequence[Path],
    *,
    data: Path | None = None,
    against: Path | None = None,
    images: int,
    alone: bool = False,
    threads: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Subject]:
    """Each file with what its clients are to be held against, on ``images`` images, in this order.

    The reference is ``against`` (a run or a model file) where it is given, else the network of the run that
    the file's sidecar names, else the file itself; images are of ``data``, else of the data set that the run
    was trained on. ``alone`` leaves the network out. All files are opened before the first is given.

    Raises:
        FootsegError: a file cannot be run or tells other classes than the data set or the reference, or
            nobody says which images.
        ValueError: ``images`` is below 1.
    """
    if images < 1:
        raise ValueError(f"images must be 1 or more, not {images}")
    for path in (*paths, *([against] if against else [])):
        strangers.check(path)
    opened = [(artifacts.load(path), runtime.load(path, threads)) for path in paths]
    itself = _Reference(None, ITSELF)
    chosen = [itself if alone else _reference(artifact, against) for artifact, _ in opened]
    folders = [_data(artifact, data, against) for artifact, _ in opened]

    @lru_cache
    def sample(folder: Path, size: tuple[int, int]) -> verify.Sample:
        return verify.sample(folder, size, images)

    @lru_cache(maxsize=1)
    def expected(model: Path, folder: Path, size: tuple[int, int]) -> np.ndarray:
        say(f"{model}: {len(sample(folder, size).names)} images of {folder}")
        return runtime.load(model, threads).logits(sample(folder, size).images)

    for (artifact, segmenter), reference, folder in zip(opened, chosen, folders, strict=True):
        on = sample(folder, segmenter.size)
        values = segmenter.values(on.images)
        cpu = segmenter.ends.logits(values)
        network = expected(reference.model, folder, segmenter.size) if reference.model else cpu
        if network.shape != cpu.shape:
            raise FootsegError(
                f"{artifact.name} gives {cpu.shape[1:]} and {reference.model} {network.shape[1:]}: "
                "they are no files of one network, give another --against"
            )
        yield Subject(
            path=artifact.path,
            ends=segmenter.ends,
            channels=values.shape[-1],
            recipe=artifact.recipe,
            data=folder.resolve().name,
            sample=on,
            cpu=cpu,
            expected=network,
            reference=reference.words,
        )


@dataclass(frozen=True)
class _Reference:
    """The model that a file is held against, None for itself, and what it is called."""

    model: Path | None
    words: str


def _reference(artifact: Artifact, against: Path | None) -> _Reference:
    """What a file is held against.

    Raises:
        FootsegError: ``against`` is none.
    """
    if against is not None:
        runtime.load(against)
        return _Reference(against, str(against.name))
    if not artifact.parent:
        return _Reference(None, f"{ITSELF}: no sidecar names its network")
    model = Path(artifact.run) / "model.keras"
    if not model.is_file() or files.sha256(model) != artifact.parent:
        what = "has another network now" if model.is_file() else "is gone"
        return _Reference(None, f"{ITSELF}: its run {artifact.run} {what}")
    try:
        check_installed("keras", "train")
    except FootsegError:
        return _Reference(None, f"{ITSELF}: Keras, which runs its network, is not installed")
    return _Reference(model, f"{Path(artifact.run).name}/{model.name}")


def _data(artifact: Artifact, given: Path | None, against: Path | None) -> Path:
    """The data set whose images are taken.

    Raises:
        FootsegError: nobody says which.
    """
    if given is not None:
        return given
    folder = against if against and against.is_dir() else Path(artifact.run) if artifact.run else None
    if folder is None or not folder.is_dir():
        why = f"its run {folder} is gone" if folder else "no sidecar names its run"
        raise FootsegError(f"{artifact.name} is checked on real images, and {why}: pass --data DIR")
    return Path(runs.load(folder).data)
