"""One training step of a tiny copy of every network, on the backend that Keras was started with.

    KERAS_BACKEND=jax python -m tests.one_step FOLDER

takes the networks in FOLDER, as ``tiny`` makes them, and prints, as one JSON line, what ``one_step`` gives.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from footseg import networks

SIZE = (64, 128)
BATCH = 2
# No dropout, so that backends can be compared; the least width that keeps all kinds of layers.
OPTIONS: dict[str, dict[str, Any]] = {"unet": {"base": 4, "norm": "group"}, "emilseg": {"base": 4}}


def tiny(name: str) -> Any:
    """The network ``name``, small and without dropout."""
    options = OPTIONS.get(name, {"width": 0.25} if "width" in networks.options(name) else {})
    return networks.build(name, (*SIZE, 3), 3, dropout=0.0, **options)


def images() -> np.ndarray:
    """A batch of smooth pictures uint8, the same everywhere."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (BATCH, SIZE[0] // 8, SIZE[1] // 8, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


def logits(network: Any) -> np.ndarray:
    """What it gives for ``images`` in inference mode."""
    return np.array(network(images().astype(np.float32) / 255, training=False))


def one_step(network: Any, *, eagerly: bool = False) -> tuple[float, list[str]]:
    """Make one step; the loss before it, and the weights that training should have moved and did not."""
    from footseg.training import augment
    from footseg.training.config import from_values
    from footseg.training.distill import Course
    from footseg.training.step import TrainingStep

    # Without weight decay, which moves a kernel that has no gradient; without warm-up, whose first rate is 0.
    config = from_values({"size": SIZE, "batch": BATCH, "warmup": 0.0, "weight_decay": 0.0, "ema": 0.0})
    step = TrainingStep(network, Course(config, 10))
    if eagerly:
        step.run_eagerly = True
    before = [np.array(weight) for weight in network.trainable_variables]
    masks = (images()[..., 0] // 86).astype(np.uint8)
    still = augment.sample(augment.Augmentation(0, 0, 0, 0, 0), BATCH, SIZE, np.random.default_rng(0))
    loss = step.train(images(), masks, still)
    pairs = zip(network.trainable_variables, before, strict=True)
    return loss, [weight.path for weight, old in pairs if np.array_equal(np.array(weight), old)]


def main(folder: Path) -> None:
    """See the top of this file."""
    import keras

    found = {}
    for path in sorted(folder.glob("*.keras")):
        network = keras.saving.load_model(path, compile=False)
        loss, unmoved = one_step(network)
        found[path.stem] = {"loss": loss, "unmoved": unmoved}
    print(json.dumps({"backend": keras.backend.backend(), "networks": found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
