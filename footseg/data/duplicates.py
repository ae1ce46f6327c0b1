"""The same photograph twice in a data set: pixel for pixel, or scaled, recompressed, brightened, mirrored."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import fft

from footseg.data.findings import Finding
from footseg.data.images import rgb
from footseg.data.opening import open_image
from footseg.grouping import grouped

SMALL = 64
"""Pixels a side of what photographs are compared by."""
LARGE = 4 * SMALL
"""Pixels of the shorter side from which on 4 pixels or more stand for each place without taking them all."""
HASH_SIDE = 16
NEAR_BITS = 40
"""Of 256 bits. Of 721 street photographs no two were nearer than 73; one scaled to a half or twice its size,
recompressed at quality 30 or made a fifth brighter moved by 20 at most, one cropped by 2 % by up to 55."""


@dataclass(frozen=True)
class Looks:
    """What is kept of a photograph: ``key`` tells which may be equal, ``look`` which are near (or None)."""

    split: str
    file: str
    path: Path
    key: bytes
    look: np.ndarray | None


def looks(split: str, file: str, path: Path, picture: Image.Image) -> Looks:
    """The looks of an RGB picture."""
    # Every n-th pixel of large ones, then by whole factors: a thirtieth of the time of Pillow's resize.
    step = max(1, min(picture.size) // LARGE)
    thin = picture.resize((picture.width // step, picture.height // step), Image.Resampling.NEAREST)
    across, down = (max(1, side // (2 * SMALL)) for side in thin.size)
    small = thin.reduce((across, down)).convert("L").resize((SMALL, SMALL), Image.Resampling.BOX)
    return Looks(split, file, path, repr(picture.size).encode() + small.tobytes(), _perceptual_hash(small))


def duplicates(seen: Sequence[Looks]) -> list[Finding]:
    """Equal photographs (across splits an error), and near ones across splits."""
    equal = list(_equal(seen))
    findings = []
    for first, *others in equal:
        for other in others:
            if other.split != first.split:
                message = f"the same image as {first.file}, in another split: the score would be false"
                finding = Finding("error", "leak", other.split, other.file, message, "remove one of the two")
            else:
                message, fix = f"the same image as {first.file}", "remove one of the two: it counts twice"
                finding = Finding("warning", "image twice", other.split, other.file, message, fix)
            findings.append(finding)
    known = {one.file: number for number, group in enumerate(equal) for one in group}
    return findings + _near([one for one in seen if one.look is not None], known)


def _equal(seen: Sequence[Looks]) -> Iterator[list[Looks]]:
    """Groups of photographs with the same pixels; only those that look the same are read again."""
    for group in grouped((one.key, one) for one in seen).values():
        if len(group) > 1:
            yield from (
                same for same in grouped((_pixels(one.path), one) for one in group).values() if len(same) > 1
            )


def _pixels(path: Path) -> str:
    return hashlib.sha256(rgb(open_image(path)).tobytes()).hexdigest()


def _perceptual_hash(small: Image.Image) -> np.ndarray | None:
    """The signs of the 16x16 lowest frequencies, as given and mirrored, bool (2, 256); None if blank.

    They survive scaling, recompression and changes of brightness.
    """
    pixels = np.asarray(small, np.float32)
    if pixels.std() < 2:
        return None
    waves = fft.dctn(pixels)[:HASH_SIDE, :HASH_SIDE]
    waves[0, 0] = 0  # the mean brightness
    mirrored = waves * np.where(np.arange(HASH_SIDE) % 2, -1, 1)
    return np.stack([waves, mirrored]).reshape(2, -1) > 0


def _near(usable: Sequence[Looks], equal: dict[str, int]) -> list[Finding]:
    """Near duplicates across splits. Every pair is compared, 256 bits at once: 1.7 s for 10,000 images."""
    if not usable:
        return []
    bits = np.packbits(np.stack([one.look for one in usable if one.look is not None]), axis=-1).view(
        np.uint64
    )
    plain, mirrored = bits[:, 0], bits[:, 1]
    splits = np.array([one.split for one in usable])
    findings = []
    for index, one in enumerate(usable):
        earlier = np.flatnonzero(splits[:index] != one.split)
        for other_bits, how in (
            (plain, "almost the same image as"),
            (mirrored, "almost the mirror image of"),
        ):
            away = np.bitwise_count(other_bits[earlier] ^ plain[index]).sum(-1)
            for near in earlier[away <= NEAR_BITS]:
                other = usable[near]
                if one.file not in equal or equal.get(other.file) != equal[one.file]:
                    message = f"{how} {other.file}, in another split"
                    fix = "look at both; keep such pairs in one split, or the score is too good"
                    findings.append(Finding("warning", "near leak", one.split, one.file, message, fix))
    return findings
