"""One run trained by several GPUs and several machines, on the JAX backend (``keras.distribution``).

A machine with several GPUs needs no more than ``footseg train --distribute``. For several processes each
starts the same command with three variables of Keras: ``KERAS_DISTRIBUTION_JOB_ADDRESSES`` (HOST:PORT of
process 0), ``KERAS_DISTRIBUTION_NUM_PROCESSES`` and ``KERAS_DISTRIBUTION_PROCESS_ID`` (from 0). Where the
first is set, the flag is not needed: a process of a cluster that trained alone would only be in the way.

Every batch is divided among the devices and is one batch all the same: loss, statistics of the batch
normalisation and gradients are those of the joint batch, and every process holds the same weights. All
that is random is drawn by each process for the joint batch, from (seed, epoch). Only process 0 writes the
run; nothing else need be shared but equal data.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from footseg.errors import FootsegError

ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
COUNT = "KERAS_DISTRIBUTION_NUM_PROCESSES"
INDEX = "KERAS_DISTRIBUTION_PROCESS_ID"
T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes that train one run, and which of them this is; alone, nothing here does anything."""

    count: int = 1
    index: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes the run."""
        return self.index == 0

    def part(self, batch: int) -> slice:
        """This process's images of a joint batch; ``batch`` is a multiple of ``count``."""
        share = batch // self.count
        return slice(self.index * share, (self.index + 1) * share)

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum over all processes, the same on each."""
        return array if self.count == 1 else self._gather(array).sum(axis=0, dtype=array.dtype)

    def everywhere(self, work: Callable[[], T]) -> T:
        """Do ``work`` on every process; if it fails on one, it fails on all.

        Raises:
            FootsegError: another process failed; this one's own error passes as it is.
        """
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:
            failure = error
        if self.count > 1:
            messages = self._messages(str(failure) if failure else "")
            if failure is None and any(messages):
                first = next(index for index, message in enumerate(messages) if message)
                raise FootsegError(f"process {first} stopped: {messages[first]}")
        if failure is not None:
            raise failure
        return result

    def leader(self, work: Callable[[], T]) -> T:
        """Do ``work`` on process 0 alone and give what it returned, which JSON must hold, to all."""
        if self.count == 1:
            return work()
        answer = self.everywhere(lambda: json.dumps(work()) if self.leads else "")
        return json.loads(self._messages(answer)[0])

    def copy_of_leader(self, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Process 0's arrays; the others pass arrays of the same names, shapes and types."""
        if self.count == 1:
            return state
        data = self._gather(np.frombuffer(b"".join(array.tobytes() for array in state.values()), np.uint8))[0]
        copies, first = {}, 0
        for name, array in state.items():
            last = first + array.nbytes
            copies[name] = data[first:last].view(array.dtype).reshape(array.shape)
            first = last
        return copies

    def check_same(self, what: str, value: str) -> None:
        """Hold ``value`` against the other processes'.

        Raises:
            FootsegError: one differs from process 0's.
        """
        values = self._messages(value) if self.count > 1 else [value]
        for index, other in enumerate(values):
            if other != values[0]:
                raise FootsegError(
                    f"{what} of process {index} is not that of process 0: start all with the same"
                )

    def _messages(self, text: str) -> list[str]:
        """The texts of all processes."""
        data = np.frombuffer(text.encode(), np.uint8)
        sizes = self._gather(np.array([len(data)]))[:, 0]
        padded = np.zeros(max(1, sizes.max()), np.uint8)
        padded[: len(data)] = data
        return [row[:size].tobytes().decode() for row, size in zip(self._gather(padded), sizes, strict=True)]

    def _gather(self, array: np.ndarray) -> np.ndarray:
        """The arrays of all processes, stacked; as bytes, because JAX would make 64 bits 32."""
        from jax.experimental.multihost_utils import process_allgather

        rows = process_allgather(np.frombuffer(array.tobytes(), np.uint8))
        return np.ascontiguousarray(rows).view(array.dtype).reshape(self.count, *array.shape)


@contextlib.contextmanager
def team(batch: int, distribute: bool) -> Iterator[Team]:
    """Join the other processes, and spread what is built while the block runs over all devices.

    Alone where ``distribute`` is false and the variables of Keras are not set.

    Raises:
        ValueError: another backend than JAX, a variable that is wrong, or a batch that the devices cannot
            share.
        FootsegError: the other processes did not come.
    """
    if not distribute and ADDRESSES not in os.environ:
        yield Team()
        return
    import keras

    if keras.backend.backend() != "jax":
        raise ValueError(
            f"training on several devices needs the JAX backend, this is {keras.backend.backend()}: "
            "install jax and say KERAS_BACKEND=jax footseg train ..."
        )
    import jax

    if ADDRESSES in os.environ and not jax.distributed.is_initialized():
        _check_variables()
        # Its handler of SIGTERM only sets a flag, and the process could not be ended but by SIGKILL.
        jax.config.update("jax_enable_preemption_service", False)
        keras.utils.set_random_seed(
            0
        )  # else Keras lets the processes agree on one, for which they need not meet
        try:
            keras.distribution.initialize()
        except (RuntimeError, ValueError) as error:
            raise FootsegError(
                f"the processes did not find each other ({error}): is {ADDRESSES} right?"
            ) from error
    devices, processes = jax.device_count(), jax.process_count()
    if devices != processes * jax.local_device_count():
        raise ValueError(f"{devices} devices in {processes} processes: every process needs equally many")
    if batch % devices:
        lower = batch - batch % devices
        nearest = f"{lower} or {lower + devices}" if lower else str(devices)
        raise ValueError(f"batch = {batch} cannot be shared by {devices} devices: give {nearest}")
    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        yield Team(processes, jax.process_index())


def _check_variables() -> None:
    for name in (COUNT, INDEX):
        if not os.environ.get(name, "").isdigit():
            raise ValueError(f"{ADDRESSES} is set, and {name} is {os.environ.get(name)!r}: give it a number")
    if int(os.environ[INDEX]) >= int(os.environ[COUNT]):
        raise ValueError(
            f"{INDEX} is {os.environ[INDEX]}: with {COUNT}={os.environ[COUNT]} it is less than that"
        )


@contextlib.contextmanager
def local() -> Iterator[None]:
    """Spread what is built while the block runs over this process's own devices; alone, over its one."""
    import keras

    if keras.distribution.distribution() is None:
        yield
        return
    import jax

    own = [f"{device.platform}:{device.id}" for device in jax.local_devices()]
    with keras.distribution.DataParallel(devices=own, auto_shard_dataset=False).scope():
        yield


def spread(batch: np.ndarray) -> Any:
    """A batch for a network that was built under ``local``, divided among this process's devices."""
    import keras

    with local():
        here = keras.distribution.distribution()
        if here is None:
            return batch
        return keras.distribution.distribute_tensor(batch, here.get_data_layout(batch.shape))
