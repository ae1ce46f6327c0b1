"""How clients bring photographs to a network and masks back: rules from definitions, and two that are run."""

import base64
import io
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from footseg import runtime
from footseg.data.images import Letterbox, Size
from footseg.data.resizing import KERNELS, Rule
from footseg.export.clients import install
from footseg.export.clients.ask import ask
from footseg.export.clients.known import named
from footseg.predict import enlarge_argmax

SECONDS = 300
PICTURES = 32
"""Of a page; each is in it as a PNG."""


@dataclass(frozen=True)
class Client:
    """One way: the rule that makes the canvas, and how the mask gets the photograph's size.

    ``enlarge`` is "ours", a kernel that enlarges logits, or "mask": classes enlarged by the nearest.
    """

    name: str
    text: str
    rule: Rule
    enlarge: str = "ours"

    def masks(
        self, segmenter: runtime.Segmenter, images: Sequence[np.ndarray], canvases: np.ndarray | None = None
    ) -> np.ndarray:
        """Masks uint8 (N, H, W) of photographs of one size; of ``canvases`` (N, h, w, 3) if given."""
        if canvases is None:
            canvases = np.stack([self.rule.canvas(image, segmenter.size)[0] for image in images])
        box = self.rule.place((images[0].shape[0], images[0].shape[1]), segmenter.size)
        return np.stack([self.enlarged(logits, box) for logits in segmenter.logits(canvases)])

    def enlarged(self, logits: np.ndarray, box: Letterbox) -> np.ndarray:
        """The mask (H, W) of logits (h, w, classes)."""
        if self.enlarge == "ours":
            return enlarge_argmax(logits, box)
        if self.enlarge == "mask":
            return KERNELS["nearest"](logits[box.place].argmax(-1).astype(np.uint8), *box.source)
        planes = [
            KERNELS[self.enlarge](np.ascontiguousarray(p), *box.source)
            for p in np.moveaxis(logits[box.place], -1, 0)
        ]
        return np.argmax(planes, axis=0).astype(np.uint8)


ANDROID = "Android's Bitmap.createScaledBitmap and TFLite Support's ResizeOp"
RULES = (
    Client("ours", "footseg predict, as docs/pixels.md says", Rule("ours")),
    Client("bilinear", f"{ANDROID}, filtered; OpenCV's INTER_LINEAR", Rule("", "bilinear")),
    Client("nearest", f"{ANDROID}, not filtered", Rule("", "nearest")),
    Client("area", "OpenCV's INTER_AREA", Rule("", "area")),
    Client("lanczos", "the kernel that Apple names for vImage", Rule("", "lanczos")),
    Client("padded in black", "ours, but 0 around the photograph", Rule("", padding=0)),
    Client("logits enlarged align-corners", "ours, but for that", Rule(""), "align_corners"),
    Client("mask enlarged by nearest", "ours, but classes are enlarged", Rule(""), "mask"),
    Client("bilinear, mask by nearest", "both: the plain Android app", Rule("", "bilinear"), "mask"),
    Client("stretched, antialiased", "ours, but stretched", Rule("", stretch=True)),
    Client("stretched, bilinear", f"{ANDROID}, filtered", Rule("", "bilinear", stretch=True)),
    Client("stretched, nearest", f"{ANDROID}, not filtered", Rule("", "nearest", stretch=True)),
    Client("stretched, area", "OpenCV's INTER_AREA", Rule("", "area", stretch=True)),
    Client(
        "stretched, bilinear, align-corners", "what MediaPipe's ImageSegmenter does, as a rule",
        Rule("", "bilinear", stretch=True), "align_corners",
    ),
)  # fmt: skip

# imageSmoothingQuality "high" gives the same pixels here as "low", the default.
CANVAS = {
    client.name: client
    for client in (
        Client("canvas itself", "drawImage in Chromium", Rule("")),
        Client("canvas itself, stretched", "drawImage in Chromium", Rule("", stretch=True)),
    )
}


def mediapipe(model: Path, images: Sequence[np.ndarray]) -> np.ndarray | None:
    """The masks of MediaPipe's ImageSegmenter itself; None where it is not installed."""
    (client,) = named(["mediapipe"])
    if install.missing(client):
        return None
    return ask(client, model, np.stack(images), home=install.home()).values


PAGE = """<!doctype html><body><script>
const asked = %s;
const load = (source) => new Promise((done) => {
  const image = new Image(); image.onload = () => done(image); image.src = source;
});
(async () => {
  const canvas = document.createElement("canvas");
  [canvas.height, canvas.width] = asked.size;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  let text = "";
  for (const source of asked.images) {
    const image = await load(source);
    for (const [left, top, width, height] of asked.ways) {
      context.fillStyle = "rgb(128, 128, 128)";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(image, left, top, width, height);
      const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
      text += data.reduce((found, value) => found + String.fromCharCode(value), "");
    }
  }
  document.body.textContent = "[" + btoa(text) + "]";
})();
</script>"""


def canvas_of_chromium(images: Sequence[np.ndarray], size: Size) -> dict[str, np.ndarray]:
    """The canvases uint8 (N, h, w, 3) that Chromium draws by each of ``CANVAS``; {} where it is not there."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return {}
    boxes = [client.rule.place((images[0].shape[0], images[0].shape[1]), size) for client in CANVAS.values()]
    ways = [(box.left, box.top, box.width, box.height) for box in boxes]
    drawn = [
        _drawn(chromium, images[start : start + PICTURES], {"size": size, "ways": ways})
        for start in range(0, len(images), PICTURES)
    ]
    whole = np.concatenate(drawn).reshape(len(images), len(ways), *size, 4)[..., :3]
    return {name: np.ascontiguousarray(whole[:, way]) for way, name in enumerate(CANVAS)}


def _drawn(chromium: str, images: Sequence[np.ndarray], asked: Mapping[str, Any]) -> np.ndarray:
    """What a page draws, as the bytes of RGBA."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(PAGE % json.dumps({**asked, "images": [_data_url(image) for image in images]}))
        done = subprocess.run(
            [
                chromium, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--force-color-profile=srgb",
                f"--user-data-dir={folder}/profile", "--virtual-time-budget=100000",
                "--dump-dom", page.as_uri(),
            ],
            capture_output=True, text=True, check=True, timeout=SECONDS,
        )  # fmt: skip
    (found,) = re.findall(r"<body>\[([\w+/=]+)\]", done.stdout)
    return np.frombuffer(base64.b64decode(found), np.uint8)


def _data_url(image: np.ndarray) -> str:
    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG")
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
