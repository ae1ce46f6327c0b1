"""What an exported file says of itself: the facts that an app needs to feed it and to read what it gives.

They stand in the file, whose sidecar is lost on the way into an app: in a ``.tflite`` as the metadata entry
"FOOTSEG" and, for MediaPipe, as TFLite Metadata (``footseg.export.metadata``), in an ``.onnx`` as the
property "footseg" (``footseg.export.onnx``). The same facts give the same
bytes: no time of day is among them.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from footseg import __version__, files, records
from footseg.data.images import PADDING, Size
from footseg.graphs.ends import INPUTS, OUTPUTS

# What Pillow's BILINEAR is, for whoever writes the same in an app.
KERNEL = "bilinear, antialiased where it shrinks, half-pixel centres"


@dataclass(frozen=True)
class Description:
    """One file that gives a photograph's pixels their classes.

    ``size`` is (height, width) in pixels. ``input`` is the type that it takes and ``output`` what it gives,
    of ``INPUTS`` and ``OUTPUTS`` in ``graphs.ends``. (pixel - ``mean``) / ``std``, of pixels from 0 to 255,
    are the numbers that the network takes, in all three channels. ``recipe`` is the precision, ``parent`` the
    SHA-256 of the file that it was made from, ``footseg`` the version that made it.
    """

    network: str
    classes: tuple[str, ...]
    size: Size
    input: str = "float32"
    output: str = "logits"
    recipe: str = ""
    parent: str = ""
    mean: float = 0.0
    std: float = 255.0
    footseg: str = __version__

    @property
    def range(self) -> tuple[float, float]:
        """What black and white are as numbers that the input takes; for codes, what they stand for."""
        if self.input == "uint8":
            return 0.0, 255.0
        return (0 - self.mean) / self.std, (255 - self.mean) / self.std

    @property
    def channels(self) -> tuple[str, ...]:
        """The classes that the output's channels speak of; of a mask, those of its values."""
        return self.classes[1:] if self.output == "foreground" else self.classes

    @property
    def feeding(self) -> str:
        """How a photograph becomes the input, for people."""
        black, white = self.range
        return (
            f"RGB, {INPUTS[self.input]}; black is {black:g}, white {white:g}. Letterbox the photograph "
            f"({KERNEL}), centred on a canvas of {PADDING}."
        )

    @property
    def reading(self) -> str:
        """What the output means, for people."""
        return f"{self.output}: {OUTPUTS[self.output]} ({', '.join(self.channels)})"

    @property
    def text(self) -> str:
        """What the file is, for people."""
        made = f", {self.recipe}" if self.recipe else ""
        return f"{self.network}{made}: {', '.join(self.classes)}. Made by footseg {self.footseg}."

    def to_json(self) -> dict[str, Any]:
        """Its fields, and how the file is fed."""
        feed = {
            "colour": "RGB",
            "layout": "NHWC",
            "range": list(self.range),
            "fit": "letterbox, centred",
            "kernel": KERNEL,
            "padding": PADDING,
        }
        return {**dataclasses.asdict(self), "feed": feed}

    def to_bytes(self) -> bytes:
        """``to_json`` as compact JSON."""
        return json.dumps(self.to_json(), ensure_ascii=False, separators=(",", ":")).encode()


def read(text: bytes) -> Description:
    """What ``Description.to_bytes`` wrote.

    Raises:
        ValueError: it is no such text.
    """
    return records.of(Description, files.parse_json(text.decode()))
