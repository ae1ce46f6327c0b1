"""Fine-tuning: the weights of another run to start from, and an encoder that stays as it is."""

from collections.abc import Sequence
from pathlib import Path

import keras

from footseg import class_names, networks, runtime
from footseg.errors import FootsegError
from footseg.training.config import TrainConfig

Shape = tuple[int, ...]


def start_from(network: keras.Model, path: Path, named: Sequence[str] = (), data: Path = Path()) -> str:
    """Give ``network`` the weights of the same network at ``path``, a run or a ``.keras`` file.

    Weights go by the names of their layers. Where the two networks have other numbers of classes, the
    layers whose shapes follow the classes keep the weights that they have; the line that is returned
    names them. ``named`` are the classes of the data set ``data``, to be held against those of ``path``.

    Raises:
        FootsegError: no such run or file, another network, a layer that does not fit, or its classes in
            another order.
    """
    loaded = runtime.load(path)
    if not isinstance(loaded, runtime.KerasSegmenter):
        raise FootsegError(f"{path} holds no weights to go on with: give a run or a .keras file")
    said = class_names.compared(path, class_names.of_model(path), data, named)
    parent = loaded.model
    theirs = {layer.name: layer for layer in parent.layers if layer.weights}
    ours = {layer.name: layer for layer in network.layers if layer.weights}
    if unpaired := sorted(ours.keys() ^ theirs.keys()):
        where = path if unpaired[0] in theirs else "the network to train"
        raise FootsegError(
            f"{path} is another network ({parent.name}) than {network.name}, or has other options: "
            f"only {where} has a layer {unpaired[0]!r}"
        )
    classes = loaded.classes, network.output_shape[-1]
    new = []
    for name, layer in ours.items():
        given, needed = _shapes(theirs[name]), _shapes(layer)
        if given == needed:
            layer.set_weights(theirs[name].get_weights())
        elif classes[0] != classes[1] and _differ_by_class(given, needed, classes):
            new.append(name)
        else:
            raise FootsegError(
                f"layer {name!r} of {path} has weights of shapes {given}, this {network.name} needs "
                f"{needed}: give it the network options of {path} (a run that footseg compress --cut made "
                "has none that fit: start from the run it was cut from)"
            )
    head = f"; starts new, for other classes: {', '.join(new)}" if new else ""
    return f"starts from the weights of {path}{head}{'; ' if said else ''}{said}"


def freeze(network: keras.Model, config: TrainConfig) -> None:
    """Leave the layers of the encoder as they are, statistics of batch normalisation included.

    Raises:
        ValueError: nothing says which weights the encoder should have.
    """
    options = {**networks.options(config.network), **config.network_options}
    if not config.start_from and options.get("encoder_weights", "none") == "none":
        raise ValueError(
            "freeze_encoder would keep an encoder of random weights: give the run to start_from, "
            "or the network option encoder_weights where there is one"
        )
    prefixes = networks.encoder_prefixes(config.network)
    for layer in network.layers:
        if layer.weights and layer.name.startswith(prefixes):
            layer.trainable = False  # batch normalisation then normalises by its running statistics


def _shapes(layer: keras.Layer) -> list[Shape]:
    return [tuple(weight.shape) for weight in layer.weights]


def _differ_by_class(theirs: list[Shape], ours: list[Shape], classes: tuple[int, int]) -> bool:
    """Whether shapes are the same but for dimensions that are the numbers of classes."""
    return [len(shape) for shape in theirs] == [len(shape) for shape in ours] and all(
        pair == classes or pair[0] == pair[1]
        for shapes in zip(theirs, ours, strict=True)
        for pair in zip(*shapes, strict=True)
    )
