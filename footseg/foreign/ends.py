"""What a Keras network of somebody else's may take and give, in names that people can say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# What is made of a pixel in [0, 1]: scale and offset of red, green and blue.
RANGES: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "0-1": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    "0-255": ((255.0, 255.0, 255.0), (0.0, 0.0, 0.0)),
    "tf": ((2.0, 2.0, 2.0), (-1.0, -1.0, -1.0)),
    # Mean and deviation of ImageNet's pixels, as torchvision and this mode of keras.applications take them.
    "torch": ((1 / 0.229, 1 / 0.224, 1 / 0.225), (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225)),
    # Mean of ImageNet's pixels in 0 to 255, as Caffe and the first networks of keras.applications take them.
    "caffe": ((255.0, 255.0, 255.0), (-123.68, -116.779, -103.939)),
}
ORDERS = ("rgb", "bgr")
# What a network gives, and what becomes of it as logits.
GIVES: Mapping[str, str] = {
    "logits": "a channel for each class, the largest wins",
    "probabilities": "a channel for each class, 0 to 1, the largest wins",
    "foreground": "one channel, 0 to 1: the probability of the second of two classes",
    "logit": "one channel: the logit of the second of two classes, above 0 where it wins",
}


@dataclass(frozen=True)
class Ends:
    """What somebody says of a network: names of ``RANGES``, ``ORDERS``, ``GIVES``, and (height, width).

    What is None is looked for.
    """

    range: str | None = None
    order: str | None = None
    gives: str | None = None
    size: tuple[int, int] | None = None


NOTHING = Ends()


@dataclass(frozen=True)
class Reading:
    """The ends of a network: of ``RANGES``, ``ORDERS``, ``GIVES``; ``assumed`` are those nobody told."""

    range: str
    order: str
    gives: str
    assumed: tuple[str, ...] = ()

    def summary(self) -> str:
        """In words, for people."""
        kind = self.range if self.range[0].isdigit() else f"pixels as {self.range} wants them,"
        said = [f"takes {kind} {self.order.upper()}", f"gives {self.gives}"]
        note = f" ({' and '.join(self.assumed)} assumed)" if self.assumed else ""
        return f"{', '.join(said)}{note}"

    @property
    def is_own(self) -> bool:
        """Whether these are the ends that every network of footseg has."""
        return (self.range, self.order, self.gives) == ("0-1", "rgb", "logits")

    def of_pixels(self, pixels: "np.ndarray") -> "np.ndarray":
        """What the network takes, of pixels float32 (..., 3) RGB in [0, 1]."""
        import numpy as np

        scale, offset = (np.array(numbers, np.float32) for numbers in RANGES[self.range])
        return (pixels * scale + offset)[..., :: 1 if self.order == "rgb" else -1]
