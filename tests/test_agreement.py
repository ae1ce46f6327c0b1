"""Masks of a device against this machine's, on numbers worked out by hand; nothing is run."""

import dataclasses

import numpy as np
import pytest

from footseg.benchmarks import agreement
from footseg.benchmarks.agreement import Task
from footseg.errors import FootsegError

SHAPE = (2, 4, 4)


@pytest.fixture
def task() -> Task:
    """Two images of 4x4, of the first of which the left half is foot, in truth as for this machine."""
    masks = np.zeros(SHAPE, np.uint8)
    masks[0, :, :2] = 1
    logits = np.zeros((1, 4, 4, 2), np.float32)
    return Task(
        data="feet",
        split="test",
        names=("a", "b"),
        classes=("background", "foot"),
        images=np.zeros((*SHAPE, 3), np.uint8),
        truth=masks.copy(),
        masks=masks,
        values=logits,
        input=(0.0, 0),
        output=(0.0, 0),
    )


def test_shares_are_of_all_pixels(task: Task) -> None:
    there = task.masks.copy()
    there[0, 0, 0] = 0  # one of eight pixels of the foot
    found = task.agreement(there)
    assert (found.data, found.split, found.images) == ("feet", "test", 2)
    assert found.pixels_equal == 31 / 32
    assert (found.iou, found.host_iou) == (pytest.approx(7 / 8), 1.0)
    assert found.host_boundary_f == 1.0
    assert found.logit_max_absolute is None


def test_without_truth_there_is_no_score(task: Task) -> None:
    found = dataclasses.replace(task, truth=None).agreement(task.masks)
    assert (found.pixels_equal, found.iou, found.host_iou, found.boundary_f) == (1.0, None, None, None)


def test_integer_logits_are_scaled_before_they_are_compared(task: Task) -> None:
    raw = np.full((1, 4, 4, 2), 3, np.int8)
    raw[0, 1, 1, 1] = 7  # (7 - 3) x 0.5
    found = dataclasses.replace(task, output=(0.5, 3)).agreement(task.masks, raw)
    assert found.logit_max_absolute == 2.0


def test_what_no_device_can_mean_is_refused(task: Task) -> None:
    with pytest.raises(ValueError, match="one for each image"):
        task.agreement(task.masks[:1])
    with pytest.raises(FootsegError, match="class 2 where there are 2"):
        task.agreement(np.full(SHAPE, 2, np.uint8))
    for wrong in (np.nan, np.inf):
        with pytest.raises(FootsegError, match="outputs that are no numbers"):
            task.agreement(task.masks, np.full((1, 4, 4, 2), wrong, np.float32))


@pytest.mark.parametrize(
    ("room", "parts"),
    [(2 * 48, [(0, 2)]), (48 + 47, [(0, 1), (1, 2)]), (1, [(0, 1), (1, 2)])],
)
def test_parts_hold_whole_images(
    task: Task, room: int, parts: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image has 48 bytes; one goes at a time where not even one fits."""
    monkeypatch.setattr(agreement, "PART_BYTES", room)
    assert [(part.start, part.stop) for part in task.parts] == parts
