"""Masks that a device made against those of this machine, from the same file and the same pixels.

The images are letterboxed to the file's size as in training and go to the device as raw pixels, so a
difference is the device's and never one of decoding or scaling. What this machine found is kept in files,
mapped into memory: a large split costs room on the disk, not in memory.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footseg import class_names, evaluate, runtime
from footseg.benchmarks.measurement import Agreement
from footseg.data.folder import Split, load_split, new_file, open_data
from footseg.errors import FootsegError
from footseg.terminal import note

# Bytes of pixels that go to a device at a time: 325 images of 256x256.
PART_BYTES = 64_000_000
# Images whose outputs are compared: 4 of 256x256 with two classes are 2 MB.
VALUE_IMAGES = 4


@dataclass(frozen=True)
class Task:
    """Images uint8 (N, H, W, 3) at a file's size with their truth, and what this machine makes of them.

    ``truth`` is None where nobody knows it; ``masks`` is this machine's argmax, uint8 (N, H, W), ``values``
    float32 (n, H, W, channels) what the file gives for the first images: logits, or what is made of them.
    ``input`` and ``output`` are (scale, zero point) of the file's tensors, scale 0 where they are float32.
    """

    data: str
    split: str
    names: tuple[str, ...]
    classes: tuple[str, ...]
    images: np.ndarray
    truth: np.ndarray | None
    masks: np.ndarray
    values: np.ndarray
    input: tuple[float, int]
    output: tuple[float, int]

    @property
    def parts(self) -> Iterator[slice]:
        """The images in parts of ``PART_BYTES`` at most, one image at least."""
        count = max(1, PART_BYTES // int(np.prod(self.images.shape[1:])))
        for start in range(0, len(self.images), count):
            yield slice(start, min(start + count, len(self.images)))

    def agreement(self, masks: np.ndarray, values: np.ndarray | None = None) -> Agreement:
        """What a device's ``masks``, uint8 (N, H, W), and raw ``values`` of the first images say.

        Raises:
            ValueError: the masks are not of these images.
            FootsegError: they hold classes that are none, or the values are no numbers.
        """
        if masks.shape != self.masks.shape:
            raise ValueError(
                f"the device gave masks {masks.shape}, expected {self.masks.shape}: one for each image"
            )
        if masks.size and int(masks.max()) >= len(self.classes):
            raise FootsegError(
                f"the device gave class {int(masks.max())} where there are {len(self.classes)}: "
                "its runtime or the file on it is damaged"
            )
        if values is not None and not np.isfinite(values).all():
            raise FootsegError(
                "the device gave outputs that are no numbers: its runtime or the file on it is damaged"
            )
        found = Agreement(
            data=self.data,
            split=self.split,
            images=len(self.names),
            pixels_equal=float(np.mean(masks == self.masks)),
            logit_max_absolute=None if values is None else self._furthest(values),
        )
        if self.truth is None:
            return found
        here, _ = evaluate.score_masks(self.names, self.truth, self.masks, self.classes)
        there, _ = evaluate.score_masks(self.names, self.truth, masks, self.classes)
        return dataclasses.replace(
            found,
            iou=there["iou"],
            boundary_f=there["boundary_f"],
            host_iou=here["iou"],
            host_boundary_f=here["boundary_f"],
            boundary_tolerance_px=here["boundary_tolerance_px"],
        )

    def _furthest(self, raw: np.ndarray) -> float:
        """The largest difference of what the file gives."""
        scale, zero_point = self.output
        there = (raw.astype(np.float32) - zero_point) * scale if scale else raw
        return float(np.abs(there - self.values).max())


def prepare(path: Path, data_dir: Path, split: str, count: int, folder: Path) -> Task:
    """Run a ``.tflite`` on images of a split here.

    Args:
        path: the file.
        data_dir: folder of a data set.
        split: "train", "val" or "test".
        count: so many images, evenly spaced; 0 for all.
        folder: the masks are written to a file in it.

    Raises:
        FootsegError: file or data cannot be used, or they differ in their number of classes.
        ValueError: ``count`` is negative.
    """
    if count < 0:
        raise ValueError(f"images must be 0 (all) or more, not {count}")
    data = open_data(data_dir)
    segmenter = runtime.TfliteSegmenter(path, threads=1)
    if segmenter.classes != len(data.classes):
        raise FootsegError(
            f"{path} tells {segmenter.classes} classes apart, {data_dir} has {len(data.classes)}: "
            "give --data like that it was trained on"
        )
    if said := class_names.compared(path, class_names.of_model(path), data_dir, data.classes):
        note(said)
    loaded = _some(load_split(data, split, segmenter.size), count)
    return Task(
        data=data_dir.resolve().name,
        split=split,
        names=loaded.names,
        classes=data.classes,
        images=loaded.images,
        truth=loaded.masks,
        **_found_here(segmenter, loaded.images, folder),
    )


def prepare_noise(path: Path, count: int, seed: int, folder: Path) -> Task:
    """Run a ``.tflite`` on ``count`` images of noise, always the same for a seed, where there are no others.

    Raises:
        FootsegError: the file cannot be used.
        ValueError: ``count`` is not 1 or more.
    """
    if count < 1:
        raise ValueError(f"images of noise must be 1 or more, not {count}: give --data for those of a split")
    segmenter = runtime.TfliteSegmenter(path, threads=1)
    shape = (count, *segmenter.size, 3)
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return Task(
        data="generated noise",
        split="",
        names=tuple(f"noise {index}" for index in range(count)),
        classes=tuple(f"class {index}" for index in range(segmenter.classes)),
        images=images,
        truth=None,
        **_found_here(segmenter, images, folder),
    )


def _found_here(segmenter: runtime.TfliteSegmenter, images: np.ndarray, folder: Path) -> dict[str, Any]:
    """The fields of a Task that this machine finds by running the file."""
    masks = new_file(folder / f"{segmenter.path.name}.npy", images.shape[:3])
    for start in range(0, len(masks), evaluate.CHUNK):
        chunk = slice(start, start + evaluate.CHUNK)
        masks[chunk] = np.argmax(evaluate.finite_logits(segmenter, images[chunk]), axis=-1)
    return {
        "masks": masks,
        "values": segmenter.values(images[:VALUE_IMAGES]),
        "input": _quantization(segmenter.input),
        "output": _quantization(segmenter.output),
    }


def _some(split: Split, count: int) -> Split:
    """``count`` evenly spaced images of a split; all for 0."""
    if not count or count >= len(split.names):
        return split
    chosen = evaluate.evenly_spaced(len(split.names), count)
    names = tuple(split.names[index] for index in chosen)
    return Split(names, split.images[chosen], split.masks[chosen], split.fingerprint)


def _quantization(tensor: Mapping[str, Any]) -> tuple[float, int]:
    """Scale and zero point of an integer tensor; (0, 0) of a float32 one."""
    if tensor["dtype"] == np.float32:
        return 0.0, 0
    scale, zero_point = tensor["quantization"]
    return float(scale), int(zero_point)
