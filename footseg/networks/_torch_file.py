"""Weights out of a PyTorch checkpoint, without PyTorch and without running what a pickle may hold."""

import collections
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from footseg.errors import FootsegError

KINDS = {"FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "DoubleStorage": "<f8"}


class _StoredTensor(NamedTuple):
    """A view into a storage, as the pickle describes it before the numbers are read."""

    kind: str
    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict saved by ``torch.save``, in the zip layout or the one before it (2020).

    Raises:
        FootsegError: no such file, or it is not a state dict.
    """
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        with path.open("rb") as file:
            return _read_legacy(file)
    except FileNotFoundError as error:
        raise FootsegError(f"no such file of weights: {path}") from error
    except Exception as error:  # a pickle is a program, and ends in any kind of error where it is damaged
        raise FootsegError(f"{path} is not a PyTorch state dict: {error}") from error


class _Unpickler(pickle.Unpickler):
    """Knows tensors and ordered dictionaries; every other name in the file is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in KINDS:
            return name
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        _, kind, key, *_ = pid
        return kind, str(key)


def _tensor(
    storage: tuple[str, str], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _StoredTensor:
    return _StoredTensor(*storage, offset, tuple(shape), tuple(strides))


def _read_legacy(file: IO[bytes]) -> dict[str, np.ndarray]:
    for _ in range(3):  # magic number, protocol, sizes of types
        _Unpickler(file).load()
    tensors, keys = _Unpickler(file).load(), _Unpickler(file).load()
    kinds = {tensor.key: KINDS[tensor.kind] for tensor in tensors.values()}
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        kind = np.dtype(kinds[str(key)])
        storages[str(key)] = np.frombuffer(file.read(count * kind.itemsize), kind)
    return _views(tensors, storages.__getitem__)


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        with archive.open(pickled) as file:
            tensors = _Unpickler(file).load()
        kinds = {tensor.key: KINDS[tensor.kind] for tensor in tensors.values()}
        return _views(tensors, lambda key: np.frombuffer(archive.read(f"{folder}data/{key}"), kinds[key]))


def _views(tensors: dict[str, _StoredTensor], storage: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    arrays = {}
    for name, tensor in tensors.items():
        flat = storage(tensor.key)[tensor.offset :]
        strides = tuple(step * flat.itemsize for step in tensor.strides)
        needed = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
        if needed > len(flat):
            raise ValueError(f"{name} is cut short")
        arrays[name] = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides).copy()
    return arrays
