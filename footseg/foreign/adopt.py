"""Somebody else's network made a run of ours: whatever a run can become, it can become, too."""

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from footseg import files, metrics, provenance, runtime
from footseg.data.folder import (
    DataSet,
    cache_folder,
    fingerprint,
    load_split,
    open_data,
    pairs,
    read_pair,
)
from footseg.data.images import letterbox, letterbox_mask
from footseg.errors import FootsegError
from footseg.evaluate import evenly_spaced
from footseg.foreign import reading as readings
from footseg.foreign.canonical import canonical
from footseg.foreign.ends import NOTHING, ORDERS, RANGES, Ends, Reading
from footseg.foreign.loading import load_keras
from footseg.run import NETWORK_NAME, Best, Run, exists
from footseg.training.config import dump, from_values

# Images of the validation split on which ranges and orders are told apart.
IMAGES = 32
# An IoU with which a range is taken for right without trying others.
LITTLE = 0.3
# By how much of IoU, and by how many standard errors of that, another range or order must be better than an
# assumed one, and better than calling every pixel foreground: a network of random weights can be as good.
CLEARLY, SURE = 0.15, 3.0


def adopt(
    path: Path,
    out: Path,
    data_dir: Path,
    ends: Ends = NOTHING,
    *,
    command: str = "",
    say: Callable[[str], None],
) -> Run:
    """Write the run of a ``.keras`` file to ``out``: its network as ours are, scored on a data set.

    What the file does not tell of its ends, and nobody says, is assumed; range and order are then tried on
    validation images, and those with which the network finds most are taken, if they are clearly better.
    ``say`` gets a line on each. A network that needs no change is copied as it is, byte for byte.

    Raises:
        FootsegError: no such file or data set, no network that can be taken in (see ``reading.read`` and
            ``canonical``), or one of another number of classes.
    """
    data = open_data(data_dir)
    model = load_keras(path)
    read = readings.read(model, ends)
    network = canonical(model, read, ends.size)
    _check(path, network, data)
    found = _tried(model, read, data, ends.size, say)
    if found != read:
        network = canonical(model, found, ends.size)
    say(f"{path.name} {found.summary()}, {len(data.classes)} classes: {', '.join(data.classes)}")
    validation = load_split(data, "val", network.input_shape[1:3])
    best = _best(network, validation.images, validation.masks, len(data.classes))
    run = Run(
        path=out,
        status="finished",
        network=_name(path),
        network_options={},
        input_shape=tuple(network.input_shape[1:]),
        classes=data.classes,
        colours=data.colours,
        parameters=network.count_params(),
        data=str(data.path.resolve()),
        data_fingerprint=validation.fingerprint,
        seed=0,
        parents={"start_from": files.sha256(path)},
        best=best,
        command=command,
        backend=keras.backend.backend(),
        versions=provenance.versions(),
        machine=provenance.machine(),
        created=provenance.now(),
    )
    config = from_values({"network": run.network, "data": run.data, "size": list(run.input_shape[:2])})
    with files.atomic_path(out) as folder:
        folder.mkdir()
        written = dataclasses.replace(run, path=folder)
        if network is model:
            written.model.write_bytes(path.read_bytes())
        else:
            network.save(written.model)
        files.write_text(written.config, dump(config))
        written.save()
    return run


def adopted(path: Path, data_dir: Path, ends: Ends = NOTHING, *, say: Callable[[str], None]) -> Path:
    """The folder of the run of a ``.keras`` file, made in the user's cache where it is not there yet.

    It is named after the contents of the file and of the validation split, and after what was said.

    Raises:
        FootsegError: as ``adopt``.
    """
    data = open_data(data_dir)
    seen = f"{files.sha256(path)} {fingerprint(pairs(data, 'val'), data.labels)} {data.classes} {ends}"
    out = cache_folder() / "adopted" / hashlib.sha256(seen.encode()).hexdigest()[:16] / _name(path)
    if not exists(out):
        adopt(path, out, data_dir, ends, say=say)
    say(f"{path.name} is taken in as the run {out}")
    return out


def told(path: Path, data_dir: Path | None, ends: Ends, *, say: Callable[[str], None]) -> Ends:
    """What a ``.keras`` file takes and gives, all of it: tried on ``data_dir`` where nothing else tells.

    Other ranges and orders than the assumed ones are tried where the network finds next to nothing with
    these. ``say`` gets a line if anything was assumed.

    Raises:
        FootsegError: it cannot be read, or does not tell what it gives.
    """
    model = load_keras(path)
    found = readings.read(model, ends)
    if data_dir is not None:
        data = open_data(data_dir)
        _check(path, canonical(model, found, ends.size), data)
        found = _tried(model, found, data, ends.size, say, unless=LITTLE)
    if found.assumed:
        say(f"{path.name} {found.summary()}: say --takes or --order if it was trained on others")
    return Ends(found.range, found.order, found.gives, ends.size)


def _name(path: Path) -> str:
    """A network's name, which files are named after, from its file's."""
    name = re.sub(r"\W+", "_", path.stem, flags=re.ASCII).strip("_")
    return name if NETWORK_NAME.fullmatch(name) else "network"


def _check(path: Path, network: keras.Model, data: DataSet) -> None:
    size, (height, width, count) = network.input_shape[1:3], network.output_shape[1:]
    if None in size:
        raise FootsegError(
            f"{path} takes images of any size: say with --input-size which one its files are to have"
        )
    if (height, width) != tuple(size):
        raise FootsegError(
            f"{path} takes images of {size[0]}x{size[1]} and gives maps of {height}x{width}: end it with an "
            "UpSampling2D, or the like, to the size of its images"
        )
    if count != len(data.classes):
        raise FootsegError(
            f"{path} tells {count} classes apart, {data.path} has {len(data.classes)} "
            f"({', '.join(data.classes)}): give a data set of its classes, in its order"
        )


def _tried(
    model: keras.Model,
    found: Reading,
    data: DataSet,
    size: tuple[int, int] | None,
    say: Callable[[str], None],
    unless: float = 1.0,
) -> Reading:
    """``found``, or what fits the pictures clearly better in place of what is assumed in it.

    Nothing else is tried if ``found`` has an IoU above ``unless``.
    """
    ranges = tuple(RANGES) if "range" in found.assumed else (found.range,)
    orders = ORDERS if "order" in found.assumed else (found.order,)
    candidates = [dataclasses.replace(found, range=a, order=b) for a, b in itertools.product(ranges, orders)]
    if len(candidates) == 1 or "val" not in data.splits:
        return found
    every = pairs(data, "val")
    read = [read_pair(every[index], data.labels) for index in evenly_spaced(len(every), IMAGES)]
    # One network for all of them: what it is fed is made here.
    network = canonical(model, dataclasses.replace(found, range="0-1", order="rgb"), size)
    size = network.input_shape[1:3]
    images = runtime.to_float(np.stack([letterbox(image, size)[0] for image, _ in read]))
    masks = np.stack([letterbox_mask(mask, size) for _, mask in read])

    def scores(candidate: Reading) -> np.ndarray:
        predicted = _classes(network, candidate.of_pixels(images))
        return metrics.foreground_iou(metrics.confusion_per_image(masks, predicted, len(data.classes)))

    assumed = scores(found)
    if assumed.mean() > unless:
        return found
    scored = [assumed if candidate == found else scores(candidate) for candidate in candidates]
    best = int(np.argmax([values.mean() for values in scored]))
    everything = metrics.foreground_iou(
        metrics.confusion_per_image(masks, np.ones_like(masks), len(data.classes))
    )
    if not _is_clear(scored[best] - assumed) or not _is_clear(scored[best] - everything):
        return found
    better = candidates[best]
    say(
        f"on {len(read)} validation images {better.range} {better.order.upper()} fits (IoU "
        f"{scored[best].mean():.3f}; {found.range} {found.order.upper()} {assumed.mean():.3f}): taken"
    )
    return dataclasses.replace(better, assumed=())


def _is_clear(gain: np.ndarray) -> bool:
    """Whether a gain of IoU, image by image, is one that no chance makes."""
    return len(gain) > 1 and gain.mean() > max(CLEARLY, SURE * gain.std(ddof=1) / np.sqrt(len(gain)))


def _classes(network: keras.Model, pixels: np.ndarray) -> np.ndarray:
    batches = np.array_split(pixels, -(-len(pixels) // runtime.KERAS_BATCH))
    return np.concatenate([network.predict_on_batch(one).argmax(-1) for one in batches])


def _best(network: keras.Model, images: np.ndarray, masks: np.ndarray, classes: int) -> Best:
    scores = metrics.scores(metrics.confusion(masks, _classes(network, runtime.to_float(images)), classes))
    return Best(epoch=0, val_iou=scores["iou"], val_pixel_accuracy=scores["pixel_accuracy"])
