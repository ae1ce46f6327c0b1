"""Masks and overlays for any photograph, of any size."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from footseg import class_names, files, runtime, strangers
from footseg import run as runs
from footseg.data.folder import images_by_name, say_left_out, shorten
from footseg.data.images import (
    Letterbox,
    encode,
    letterbox,
    overlay,
    read_image,
    unletterbox_logits,
    unletterbox_mask,
)
from footseg.data.labels import Colour, default_colours
from footseg.errors import FootsegError
from footseg.evaluate import finite_logits, resize_longer
from footseg.foreign import ends as foreign
from footseg.graphs.ends import Ends

# The overlay is for looking at: drawn at full size, it took half of the time and 600 of the 1560 MB that a
# photograph of 48 megapixels then took.
OVERLAY_PX = 2048
MADE_HERE = "made by footseg predict"
"""The comment in what is written, by which it may be replaced."""


@dataclass(frozen=True)
class Prediction:
    """What was written for a photograph; ``foot_share`` is the share of its pixels that are not class 0."""

    image: Path
    mask: Path
    overlay: Path
    foot_share: float


def predict(
    model: Path,
    images: Sequence[Path],
    out: Path,
    threads: int = 1,
    colours: Sequence[Colour] | None = None,
    ends: foreign.Ends = foreign.NOTHING,
) -> list[Prediction]:
    """Write NAME_mask.png (class indices, of the photograph's size) and NAME_overlay.jpg (at most 2048 px).

    ``images`` are photographs or folders of them; of two with one NAME the second becomes NAME-2, and so on.
    ``colours``, one a class, are by default the run's own, else those of a data set without any. ``ends`` is
    for ``runtime.load``.

    Raises:
        FootsegError: nothing was given, ``out`` is where the photographs are or has files of these names that
            are not ours, the model cannot be used, or photographs cannot be read: then each is named on
            standard error and all others are done.
    """
    photographs = find_photographs(images)
    check_out(out, photographs)
    strangers.check(model)
    segmenter = runtime.load(model, threads, ends)
    colours = colours or _colours(model, segmenter.classes)
    done, bad = [], []
    names = unique_names([fitting(path.stem) for path in photographs])
    for name in names:
        for path in _outputs(out, name):
            check_ours(path)
    with tqdm(total=len(photographs), desc="predict", unit="image", disable=None) as bar:
        for path, name in zip(photographs, names, strict=True):
            try:
                image = read_image(path)
            except FootsegError as error:
                bad.append(path.name)
                bar.write(f"left out: {error}", file=sys.stderr)
            else:
                done.append(_write(path, image, segment(segmenter, image), _outputs(out, name), colours))
            bar.update()
    if bad:
        raise FootsegError(
            f"{len(bad)} of {len(photographs)} photographs were left out, as they could not be read: "
            f"{shorten(bad)}; " + (f"the other {len(done)} are in {out}" if done else "nothing was written")
        )
    return done


def segment(segmenter: runtime.Segmenter, image: np.ndarray) -> np.ndarray:
    """The likeliest class of each pixel of a photograph: uint8 (H, W, 3) to uint8 (H, W).

    Logits are enlarged and then compared, not masks enlarged: outlines stay smooth at any size. Those of a
    file that gives probabilities are its logarithms, whose differences are the logits'. A file that gives
    masks has nothing else to enlarge: each pixel takes the class of the nearest.

    Raises:
        FootsegError: the model yields NaN or infinity.
    """
    canvas, box = letterbox(image, segmenter.size)
    return enlarged(segmenter.ends, finite_logits(segmenter, canvas[None])[0], box)


def enlarged(ends: Ends, logits: np.ndarray, box: Letterbox) -> np.ndarray:
    """The mask uint8 (H, W) of a photograph, of logits (h, w, classes) of a file with these ends."""
    if ends.output.name == "mask":
        return unletterbox_mask(logits.argmax(axis=-1).astype(np.uint8), box)
    return enlarge_argmax(logits, box)


def enlarge_argmax(logits: np.ndarray, box: Letterbox) -> np.ndarray:
    """``argmax(unletterbox_logits(logits, box))`` as uint8, with one class at a time in memory."""
    best = unletterbox_logits(logits[..., :1], box)[..., 0]
    mask = np.zeros(box.source, np.uint8)
    for label in range(1, logits.shape[-1]):
        plane = unletterbox_logits(logits[..., label : label + 1], box)[..., 0]
        higher = plane > best
        mask[higher] = label
        np.copyto(best, plane, where=higher)
    return mask


def find_photographs(paths: Sequence[Path]) -> list[Path]:
    """The files among ``paths`` and the images in the folders among them, each once, in that order.

    Raises:
        FootsegError: no paths, or a folder without images.
    """
    if not paths:
        raise FootsegError("no photographs: give image files or folders of them")
    found: dict[Path, Path] = {}
    for path in paths:
        inside = [path]
        if path.is_dir():
            say_left_out(path)
            inside = sorted(file for same in images_by_name(path).values() for file in same)
        if not inside:
            raise FootsegError(f"no images in {path}: give image files or a folder of them")
        for file in inside:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def check_out(out: Path, photographs: Sequence[Path]) -> None:
    """Keep outputs away from photographs: NAME_mask.png beside NAME.jpg may be somebody's own labelling.

    Raises:
        FootsegError: ``out`` is a file, or a folder that one of the photographs is in.
    """
    if out.exists() and not out.is_dir():
        raise FootsegError(f"{out} is a file: give a folder to write masks and overlays to")
    if any(path.resolve().parent == out.resolve() for path in photographs):
        raise FootsegError(
            f"{out} is where the photographs are: give another folder, such as {out / 'predictions'}"
        )
    own = [out.parent / part for part in ("images", "masks")]
    if out in own and all(part.is_dir() for part in own):
        raise FootsegError(f"{out} is a data set's own folder: give another")


def check_ours(path: Path) -> None:
    """Keep what ``predict`` did not write: NAME_mask.png may be somebody's own labelling.

    Raises:
        FootsegError: there is such a file.
    """
    if path.exists() and not (path.is_file() and MADE_HERE.encode() in path.read_bytes()[:256]):
        raise FootsegError(f"{path} is there, and not by footseg predict: move it, or give another --out")


def fitting(stem: str) -> str:
    """A name, cut where ``-9999_overlay.jpg`` would make it too long for a disk."""
    return files.cut(stem, files.NAME_BYTES - len("-9999_overlay.jpg"))


def _outputs(out: Path, name: str) -> tuple[Path, Path]:
    """Where the mask and the overlay of a photograph go."""
    return out / f"{name}_mask.png", out / f"{name}_overlay.jpg"


def unique_names(stems: Sequence[str]) -> list[str]:
    """The names to write under: a stem that was there before gets the first free number from 2 up."""
    # Upper and lower case are one name on the file systems of most desktops.
    taken = {stem.casefold() for stem in stems}
    used: set[str] = set()
    names = []
    for stem in stems:
        name, number = stem, 1
        while name.casefold() in used or (number > 1 and name.casefold() in taken):
            number += 1
            name = f"{stem}-{number}"
        used.add(name.casefold())
        names.append(name)
    return names


def _write(
    path: Path, image: np.ndarray, mask: np.ndarray, to: tuple[Path, Path], colours: Sequence[Colour]
) -> Prediction:
    foot_share = float(np.count_nonzero(mask) / mask.size)
    files.write_bytes(to[0], encode(mask, ".png", comment=MADE_HERE))
    if max(mask.shape) > OVERLAY_PX:
        image = resize_longer(image, OVERLAY_PX, Image.Resampling.BILINEAR)
        mask = resize_longer(mask, OVERLAY_PX, Image.Resampling.NEAREST)
    files.write_bytes(to[1], encode(overlay(image, mask, colours), ".jpg", comment=MADE_HERE))
    return Prediction(path, *to, foot_share)


def foreground(model: Path) -> str:
    """What is not class 0: the name of class 1, where the model says two names, else "foreground"."""
    names = class_names.of_model(model)
    return names[1] if len(names) == 2 else "foreground"


def _colours(model: Path, classes: int) -> Sequence[Colour]:
    return runs.load(model).colours if model.is_dir() else default_colours(classes)
