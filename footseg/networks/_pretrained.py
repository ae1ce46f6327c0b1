"""Fill the layers of a new network with weights from a file, by the layers' names."""

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from footseg import run
from footseg.errors import FootsegError

WEIGHTS = dict[str, list[np.ndarray]]


def fill(network: keras.Model, prefixes: Sequence[str], path: Path) -> None:
    """Set the weights of the layers whose names begin with one of ``prefixes`` to those in ``path``.

    ``path`` is a Keras 2 ``.h5``, a ``.weights.h5``, a ``.keras`` file or the folder of a run; layers that it
    holds beyond those (a classifier, a decoder) are left out.

    Raises:
        FootsegError: no such file, not one of these, or a layer that is missing in it or has another shape.
    """
    found = read(path)
    wanted = [layer for layer in network.layers if layer.weights and layer.name.startswith(tuple(prefixes))]
    for layer in wanted:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if layer.name not in found:
            raise FootsegError(
                f"{path} does not fit {network.name}: it has no layer {layer.name} (of {_text(shapes)}); "
                f"it has {', '.join(list(found)[:3])}... ({len(found)} layers with weights)"
            )
        given = [weight.shape for weight in found[layer.name]]
        if given != shapes:
            raise FootsegError(
                f"{path} does not fit {network.name}: its layer {layer.name} has weights of {_text(given)}, "
                f"the network's of {_text(shapes)}; give the network the width that the file was made with"
            )
    for layer in wanted:
        layer.set_weights(found[layer.name])


def _cache() -> str | None:
    """Keras's folder in the user's home, also where our command line keeps it from being made for nothing."""
    if os.environ.get("KERAS_HOME") != os.devnull:
        return None
    folder = Path("~/.keras").expanduser()
    folder.mkdir(exist_ok=True)
    return str(folder)


def fetch(url: str) -> Path:
    """A file of Keras's own, from its cache (``~/.keras/models``) or else from the network.

    Raises:
        FootsegError: it is not in the cache and cannot be fetched.
    """
    name = url.rsplit("/", 1)[-1]
    try:
        return Path(keras.utils.get_file(name, url, cache_subdir="models", cache_dir=_cache()))
    except Exception as error:  # Keras raises Exception itself for a failed transfer
        raise FootsegError(
            f"{url} cannot be fetched ({error}): where there is no network, bring the file and give its path "
            "as encoder_weights, or start from random weights with encoder_weights=none"
        ) from error


def read(path: Path) -> WEIGHTS:
    """The weights of every layer in a file, by the layer's name.

    Raises:
        FootsegError: no such file, or not one that Keras wrote.
    """
    if path.is_dir():
        path = run.load_trained(path).model
    if not path.is_file():
        raise FootsegError(f"no such file of weights: {path}")
    import h5py

    try:
        data = path.read_bytes()
        if path.suffix == ".keras":
            data = zipfile.ZipFile(io.BytesIO(data)).read("model.weights.h5")
        with h5py.File(io.BytesIO(data)) as root:
            return _layers(root)
    except Exception as error:  # h5py and zipfile: another kind for each part that is damaged
        raise FootsegError(
            f"{path} is not a file of Keras weights (.h5, .weights.h5, .keras) or is damaged: {error}"
        ) from error


def _layers(root: Any) -> WEIGHTS:
    """Keras 2 names a layer by its group, Keras 3 by an attribute of its ``vars``."""
    found: WEIGHTS = {}

    def visit(place: str, item: Any) -> None:
        if "weight_names" in item.attrs:
            weights = [item[name][()] for name in item.attrs["weight_names"]]
            name = place.rsplit("/", 1)[-1]
        elif place.endswith("vars") and "name" in item.attrs:
            weights = [item[str(index)][()] for index in range(len(item))]
            name = item.attrs["name"]
        else:
            return
        if weights:
            found[name] = weights

    root.visititems(visit)
    return found


def _text(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)
