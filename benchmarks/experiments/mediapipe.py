"""MediaPipe's masks against those of ``footseg predict``, both of the network's own size, so nobody resizes.

    footseg export RUN --out DIR --precision fp32 fp16 int8     # of each network
    python -m benchmarks.experiments.mediapipe DIR --data DIR [--split test]

Each .tflite in DIR is opened by MediaPipe's ImageSegmenter with no option; its category mask of each image is
held against ``predict`` with the same file, and with the Keras network of the file's run.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from footseg import artifact, files, metrics, predict, provenance, runtime
from footseg import run as runs
from footseg.data.folder import Split, load_split, open_data
from footseg.errors import FootsegError
from footseg.export.clients import install
from footseg.export.clients.ask import ask
from footseg.export.clients.known import CLIENTS

RESULTS = Path(__file__).resolve().parents[1] / "results" / "mediapipe.json"
# The share of pixels to meet.
LIMIT = 0.999
CLIENT = next(client for client in CLIENTS if client.name == "mediapipe")


def main() -> None:
    """Ask MediaPipe about each file, write the JSON, print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifacts", type=Path, metavar="DIR", help="folder of exported files")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data set")
    parser.add_argument("--split", default="test", help="of the data set (test)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if lacking := install.missing(CLIENT):
        raise FootsegError(f"MediaPipe: {lacking}")
    data = open_data(arguments.data)
    rows = []
    for path in sorted(arguments.artifacts.glob("*.tflite")):
        made = artifact.load(path)
        rows.append(compared(made, load_split(data, arguments.split, runtime.load(path).size)))
        print(  # noqa: T201
            f"{path.name}: {rows[-1]['equal_predict']:.4%} of pixels as predict has them, "
            f"IoU {rows[-1]['iou_mediapipe'] - rows[-1]['iou_predict']:+.5f}"
        )
    files.write_json(
        arguments.out,
        {
            "data": arguments.data.name,
            "split": arguments.split,
            "limit": LIMIT,
            "met": all(row["equal_predict"] >= LIMIT for row in rows),
            "files": rows,
            "versions": provenance.versions(),
        },
    )


def compared(made: artifact.Artifact, split: Split) -> dict[str, Any]:
    """What MediaPipe makes of a file on the images of a split, which have the file's size."""
    answer = ask(CLIENT, made.path, split.images, home=install.home())
    here = masks(runtime.load(made.path), split.images)
    keras = masks(runtime.load(runs.load_trained(Path(made.run)).model), split.images)
    classes = len(made.classes)
    return {
        "file": made.name,
        "network": made.network,
        "recipe": made.recipe,
        "sha256": made.sha256,
        "version": answer.version,
        "images": len(split.images),
        "equal_predict": float((answer.values == here).mean()),
        "least_of_an_image": float((answer.values == here).mean(axis=(1, 2)).min()),
        "equal_keras": float((answer.values == keras).mean()),
        "iou_mediapipe": iou(split.masks, answer.values, classes),
        "iou_predict": iou(split.masks, here, classes),
        "iou_keras": iou(split.masks, keras, classes),
    }


def masks(segmenter: runtime.Segmenter, images: np.ndarray) -> np.ndarray:
    """What ``predict`` writes for each image: uint8 (N, H, W)."""
    return np.stack([predict.segment(segmenter, image) for image in images])


def iou(truth: np.ndarray, found: np.ndarray, classes: int) -> float:
    """The mean IoU of masks (N, H, W)."""
    return metrics.scores(metrics.confusion(truth, found.astype(np.uint8), classes))["iou"]


if __name__ == "__main__":
    main()
