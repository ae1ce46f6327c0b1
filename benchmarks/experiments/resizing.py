"""What the resizing of other programs costs, and what training on their pixels wins.

    python -m benchmarks.experiments.resizing --data ccp_footwear --feet bare_feet --model RUN \
        --work DIR --out benchmarks/results/resizing.json

Two measurements. Photographs of 640x480 by RUN, a network of 256x256: the real and rendered feet of
``--feet``. And, so that there are photographs enough: those of ``--data`` are cut to 256x192, as phones'
cameras frame, for networks of 96x96 that are trained here; this shrinks them as much, 2.7 times (at exactly
2 bilinear filters with and without antialiasing give nearly the same). One half of the trainings draws the
kernel. What is trained in ``--work`` is not trained again. Each rule of ``resizing_rules`` makes masks, and
so do MediaPipe itself and the canvas of Chromium, where ``make clients`` has been; masks are scored at the
photographs' own size.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footseg import files, metrics, provenance, run, runtime
from footseg.benchmarks.experiments.ablation import arguments, spread
from footseg.benchmarks.experiments.accuracy import footseg
from footseg.benchmarks.experiments.resizing_rules import CANVAS, RULES, canvas_of_chromium, mediapipe
from footseg.data import folder
from footseg.data.images import write_image, write_mask
from footseg.data.labels import unnamed

SIZE = 96
CUT = (256, 192)
NETWORK = "tiptoe"
TRAINING: dict[str, Any] = {"size": SIZE, "epochs": 60, "ema": 0.99}
ARMS: dict[str, dict[str, Any]] = {"ours alone": {}, "kernels drawn": {"resize": 0.5}}


@dataclass(frozen=True)
class Photographs:
    """Images uint8 (H, W, 3) and masks uint8 (H, W) at their own size, all of one size."""

    images: tuple[np.ndarray, ...]
    masks: np.ndarray


# ---- photographs and networks


def cut(data: Path, out: Path) -> Path:
    """The data set with each photograph and mask cut to its middle of ``CUT``, as PNG."""
    if out.is_dir():
        return out
    given = folder.open_data(data)
    with files.atomic_path(out) as temporary:
        for split in given.splits:
            for pair in folder.pairs(given, split):
                image, mask = folder.read_pair(pair, given.labels)
                write_image(temporary / split / "images" / f"{pair.name}.png", middle(image))
                write_mask(temporary / split / "masks" / f"{pair.name}.png", middle(mask))
    return out


def middle(array: np.ndarray) -> np.ndarray:
    """The middle (``CUT``) of an image or mask."""
    top, left = ((extent - kept) // 2 for extent, kept in zip(array.shape[:2], CUT, strict=True))
    return array[top : top + CUT[0], left : left + CUT[1]]


def photographs(pairs: Sequence[folder.Pair]) -> Photographs:
    """Read photographs with their masks of two classes."""
    images, masks = zip(*(folder.read_pair(pair, unnamed(2)) for pair in pairs), strict=True)
    return Photographs(images, np.stack(masks))


def trained(data: Path, work: Path, seeds: Sequence[int]) -> Iterator[tuple[str, Path]]:
    """A run of each arm and seed, trained where it is not finished."""
    for seed in seeds:
        for number, (arm, options) in enumerate(ARMS.items()):
            out = work / f"arm{number}_seed{seed}"
            footseg(
                "train", NETWORK, "--data", data, "--out", out, "--resume",
                *arguments(TRAINING | options | {"seed": seed}),
            )  # fmt: skip
            yield arm, out


def exported(model: Path, data: Path, work: Path) -> Path:
    """The fp32 ``.tflite`` of a run."""
    out = work / f"{model.resolve().name}_exported"
    if not out.is_dir():
        footseg("export", model, "--out", out, "--data", data, "--no-speed")
    (file,) = out.glob("*.tflite")
    return file


# ---- scores


def scores(given: Photographs, masks: np.ndarray, ours: np.ndarray) -> dict[str, float]:
    """IoU over all pixels, boundary F, and the share of pixels that are as in ``ours``."""
    tolerance = metrics.boundary_tolerance(*given.masks.shape[1:])
    pairs = zip(given.masks, masks, strict=True)
    return {
        "iou": metrics.scores(metrics.confusion(given.masks, masks, 2))["iou"],
        "boundary_f": float(np.mean([metrics.boundary_f(truth, mask, tolerance) for truth, mask in pairs])),
        "iou_with_ours": metrics.scores(metrics.confusion(ours, masks, 2))["iou"],
        "equal": float((masks == ours).mean()),
    }


def by_client(model: Path, given: Photographs, canvases: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The scores of each client's masks; ``canvases`` are those that clients made themselves."""
    segmenter = runtime.load(model, threads=1)
    found = {client.name: client.masks(segmenter, given.images) for client in RULES}
    for name, made in canvases.items():
        found[name] = CANVAS[name].masks(segmenter, given.images, made)
    if (masks := mediapipe(model, given.images)) is not None:
        found["mediapipe itself"] = masks
    return {name: scores(given, masks, found[RULES[0].name]) for name, masks in found.items()}


def lost(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The scores, with what they are below those of our own rule."""
    first = rows[RULES[0].name]
    return {
        name: {
            **row,
            "iou_lost": first["iou"] - row["iou"],
            "boundary_f_lost": first["boundary_f"] - row["boundary_f"],
        }
        for name, row in rows.items()
    }


def summary(rows: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    """Of the rows of several seeds: mean and deviation of each score of each client."""
    return {
        name: {score: spread([row[name][score] for row in rows]) for score in scored}
        for name, scored in rows[0].items()
    }


def trainings(data: Path, work: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """What each arm scores under each client's rule, on validation and test."""
    runs = list(trained(data, work, seeds))
    opened = folder.open_data(data)
    found: dict[str, Any] = {}
    for split in ("val", "test"):
        given = photographs(folder.pairs(opened, split))
        canvases = canvas_of_chromium(given.images, (SIZE, SIZE))
        for arm in ARMS:
            models = [exported(out, data, work) for name, out in runs if name == arm]
            rows = [lost(by_client(model, given, canvases)) for model in models]
            found.setdefault(split, {})[arm] = summary(rows)
    return found


def main() -> None:
    """Train what is not trained yet, score it under each rule, write the JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set to train on")
    parser.add_argument("--feet", type=Path, required=True, help="folder with real/ and rendered/ of 640x480")
    parser.add_argument("--model", type=Path, required=True, help="run of 256x256 for these")
    parser.add_argument("--work", type=Path, required=True, help="folder for cut photographs, runs and files")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    args = parser.parse_args()
    large = exported(args.model, args.data, args.work)
    size = runtime.load(large).size
    feet = {}
    for kind in ("real", "rendered"):
        given = photographs(folder.pairs_in(args.feet / kind))
        feet[kind] = lost(by_client(large, given, canvas_of_chromium(given.images, size)))
    data = cut(args.data, args.work / "cut")
    small = trainings(data, args.work, args.seeds)
    files.write_json(
        args.out,
        {
            "what": "masks under the resizing of other programs, scored at the photographs' own size",
            "clients": {client.name: client.text for client in (*RULES, *CANVAS.values())},
            "feet": {
                "network": run.load(args.model).network, "size": size, "photographs": "640x480",
                "scores": feet,
            },
            "cut": {
                "network": NETWORK, "size": [SIZE, SIZE], "photographs": "256x192",
                "training": TRAINING, "arms": ARMS, "seeds": args.seeds, "scores": small,
            },
            "machine": provenance.machine(),
            "versions": provenance.versions(),
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
