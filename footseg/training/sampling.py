"""Which images an epoch draws, and in which order: mixed from several data sets, balanced by class.

All of it in numpy, from the generator that (seed, epoch) gives, so that a resumed run draws the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from footseg.data import folder
from footseg.data.folder import DataSet, Split
from footseg.data.resizing import Rule, rule
from footseg.errors import FootsegError
from footseg.training.config import TrainConfig

CHUNK = 64
"""Masks looked at together: a memory-mapped set is never in memory as a whole."""


@dataclass(frozen=True)
class Pool:
    """The training images of several data sets, counted through; ``splits[0]`` is the run's own set."""

    splits: tuple[Split, ...]

    @property
    def own(self) -> int:
        """Images of the run's own data set: the length of an epoch."""
        return len(self.splits[0].names)

    @property
    def fingerprint(self) -> str:
        """Of all splits: that of the only one, or all of them joined by ``+``."""
        return "+".join(split.fingerprint for split in self.splits)

    def __len__(self) -> int:
        return sum(len(split.names) for split in self.splits)

    def take(self, chosen: np.ndarray, ways: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The images (K, H, W, 3) and masks (K, H, W), both uint8, of ``chosen`` indices (K,).

        ``ways`` (K,) says how each was resized: 0 as ours, N as the N-th rule that the pool was loaded with.
        """
        if len(self.splits) == 1 and ways is None:
            return self.splits[0].images[chosen], self.splits[0].masks[chosen]
        ways = np.zeros(len(chosen), int) if ways is None else ways
        _, height, width = self.splits[0].masks.shape
        images = np.empty((len(chosen), height, width, 3), np.uint8)
        masks = np.empty((len(chosen), height, width), np.uint8)
        first = 0
        for split in self.splits:
            inside = (chosen >= first) & (chosen < first + len(split.names))
            for way, (pictures, truths) in enumerate(((split.images, split.masks), *split.others)):
                here = inside & (ways == way)
                images[here] = pictures[chosen[here] - first]
                masks[here] = truths[chosen[here] - first]
            first += len(split.names)
        return images, masks


@dataclass(frozen=True)
class Sampler:
    """Draws the images of an epoch: ``Sampler(own)`` each image once, in random order.

    Of every epoch exactly ``share`` comes from the ``extra`` images that follow the ``own`` ones, and
    exactly ``balance`` of each of the two groups is drawn by class, as ``classes_in`` (images, C) tells
    which image holds which: each class that any image of the group holds is the reason for equally many
    draws, of images that hold it, each of them equally often. Shares are rounded to whole images.
    """

    own: int
    extra: int = 0
    share: float = 0.0
    balance: float = 0.0
    classes_in: np.ndarray | None = None

    def epoch(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` indices; with neither extra images nor balance, one permutation, over and over."""
        own = np.arange(self.own)
        if not self.extra:
            return self._group(own, count, rng)
        extra = np.arange(self.own, self.own + self.extra)
        mixed = round(self.share * count)
        from_extra = rng.permutation(np.arange(count) < mixed)
        order = np.empty(count, np.int64)
        order[~from_extra] = self._group(own, count - mixed, rng)
        order[from_extra] = self._group(extra, mixed, rng)
        return order

    def _group(self, images: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        balanced = round(self.balance * count)
        order = np.resize(rng.permutation(images), count - balanced)
        if not balanced or self.classes_in is None:
            return order
        holding = [images[held] for held in self.classes_in[images].T if held.any()]
        # Where the classes do not divide the draws, chance says which of them get one more.
        turns = rng.permutation(len(holding))[np.arange(balanced) % len(holding)]
        by_class = [
            np.resize(rng.permutation(holding[turn]), np.count_nonzero(turns == turn))
            for turn in range(len(holding))
        ]
        return rng.permutation(np.concatenate([order, *by_class]))


def rules(config: TrainConfig) -> tuple[Rule, ...]:
    """The resizings that training draws from, beside ours; () where it draws none.

    Raises:
        ValueError: one that is not known or named twice, or none.
    """
    if not config.resize:
        return ()
    if len(set(config.resize_by)) != len(config.resize_by) or not config.resize_by:
        raise ValueError(
            f"resize_by is {' '.join(config.resize_by) or 'empty'}: give one or more resizings, each once"
        )
    return tuple(rule(name) for name in config.resize_by)


def resized(config: TrainConfig, count: int, rng: np.random.Generator) -> np.ndarray | None:
    """How each of ``count`` drawn images is resized, as ``Pool.take`` wants it; None where all are as ours.

    The share is exact to a whole image, each rule comes equally often.
    """
    if not config.resize:
        return None
    others = round(config.resize * count)
    ways = np.zeros(count, int)
    ways[:others] = 1 + np.arange(others) % len(config.resize_by)
    return rng.permutation(ways)


def what_resizing_changes(config: TrainConfig, pool: Pool) -> str:
    """How many training photographs each of the rules gives other pixels than ours, in words."""
    changed = [
        sum(
            int(
                (split.others[way][0][start : start + CHUNK] != split.images[start : start + CHUNK])
                .any((1, 2, 3))
                .sum()
            )
            for split in pool.splits
            for start in range(0, len(split.names), CHUNK)
        )
        for way in range(len(config.resize_by))
    ]
    if not any(changed):
        return (
            f"resize {config.resize:g} changes nothing: all {len(pool)} training photographs are "
            f"{config.size[0]}x{config.size[1]} already, where every kernel gives the same pixels"
        )
    told = ", ".join(f"{name} {number}" for name, number in zip(config.resize_by, changed, strict=True))
    return f"resize: of {len(pool)} training photographs these get other pixels: {told}"


def load_pool(data: DataSet, config: TrainConfig) -> Pool:
    """Decode the training images of ``data`` and of ``config.extra_data``.

    Raises:
        FootsegError: a set that cannot be used, or whose classes are not those of ``data``.
        ValueError: a resizing that is not known.
    """
    drawn = rules(config)
    sets = [data, *(folder.open_data(Path(path)) for path in config.extra_data)]
    for other in sets[1:]:  # before anything is decoded
        if other.classes != data.classes:
            raise FootsegError(
                f"{other.path} has the classes {', '.join(other.classes)}, {data.path} has "
                f"{', '.join(data.classes)}: extra_data needs the same, in the same order"
            )
        if other.path.resolve() == data.path.resolve():
            raise FootsegError(f"{other.path} is given as data and as extra_data: leave one out")
    limit = config.memory_limit_mb << 20
    return Pool(tuple(folder.load_split(each, "train", config.size, limit, drawn) for each in sets))


def sampler(config: TrainConfig, pool: Pool, classes: int) -> Sampler:
    """What ``config`` says about drawing from ``pool``."""
    presence = classes_in([split.masks for split in pool.splits], classes) if config.balance else None
    return Sampler(pool.own, len(pool) - pool.own, config.extra_share, config.balance, presence)


def classes_in(masks: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """Which image holds which class: bool (images, C) of masks (N, H, W) of several sets, joined."""
    rows = [
        [(chunk == number).any((1, 2)) for number in range(classes)]
        for each in masks
        for chunk in (each[start : start + CHUNK] for start in range(0, len(each), CHUNK))
    ]
    return np.concatenate([np.stack(row, axis=1) for row in rows])
