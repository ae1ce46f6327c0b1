"""What loaded files of both formats share, and what their shapes must be."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from footseg.errors import FootsegError
from footseg.graphs.ends import Ends, read


class FileSegmenter:
    """What files of both formats share: one image at a time, and ends that the graph tells.

    ``channels`` is the last side of the output.
    """

    path: Path
    size: tuple[int, int]
    channels: int

    @functools.cached_property
    def ends(self) -> Ends:
        """See ``Segmenter``."""
        return read(self.path)

    @property
    def classes(self) -> int:
        """See ``Segmenter``."""
        return self.ends.classes

    def values(self, images: np.ndarray) -> np.ndarray:
        """See ``Segmenter``."""
        check_images(images, self.size)
        out = np.empty((len(images), *self.size, self.channels), np.float32)
        for index in range(len(images)):
            out[index] = self._one(images[index : index + 1]).reshape(out.shape[1:])
        return out

    def logits(self, images: np.ndarray) -> np.ndarray:
        """See ``Segmenter``."""
        return self.ends.logits(self.values(images))

    def fed(self, image: np.ndarray) -> np.ndarray:
        """The tensor that the file takes for one image, uint8 (1, H, W, 3)."""
        raise NotImplementedError

    def _one(self, image: np.ndarray) -> np.ndarray:
        """What the file gives for one image, uint8 (1, H, W, 3)."""
        raise NotImplementedError


def channels(shape: tuple[int, ...]) -> int:
    """How many numbers a pixel has in (1, H, W) or (1, H, W, channels)."""
    return shape[3] if len(shape) == 4 else 1


def image_to_map(
    path: Path, inputs: list[tuple[Any, ...]], outputs: list[tuple[Any, ...]]
) -> tuple[int, int]:
    """The size of a network, once its shapes are those of a segmenter."""
    expected = "footseg runs networks of one image at a time, (1, H, W, 3) in and (1, H, W, channels) out"
    if len(inputs) != 1 or len(outputs) != 1:
        raise FootsegError(f"{path} has {len(inputs)} inputs and {len(outputs)} outputs: {expected}")
    (image,), (result,) = inputs, outputs
    fixed = (
        len(image) == 4
        and (not isinstance(image[0], int) or image[0] <= 1)
        and len(result) in (3, 4)
        and all(isinstance(size, int) and size > 0 for size in (*image[1:], *result[1:]))
    )
    if not fixed or image[3] != 3 or image[1:3] != result[1:3]:
        raise FootsegError(f"{path} takes {image} and gives {result}: {expected}")
    return image[1], image[2]


def check_images(images: np.ndarray, size: tuple[int, int]) -> None:
    """Refuse images that a network of ``size`` (height, width) cannot take.

    Raises:
        ValueError: they are not (N, H, W, 3).
    """
    if images.ndim != 4 or images.shape[1:] != (*size, 3):
        raise ValueError(
            f"images must be (N, {size[0]}, {size[1]}, 3), got {images.shape}: letterbox them to that size"
        )
