"""Feet cut out of photographs, on other floors: a data set with exact masks.

After section 3.1 of the thesis: feet and floors are divided among train, val and test before anything is
made, so that no part shares a foot or a floor with another. An image depends on the seed, its part, its
number and the size alone; ``scene.py`` makes it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from footseg import files
from footseg.data import cutouts, floors
from footseg.data.cutouts import Person, Source
from footseg.data.floors import Floor
from footseg.data.folder import SPLITS, shorten
from footseg.data.images import encode
from footseg.data.labels import Labels
from footseg.data.opening import BadFileError
from footseg.data.scene import Standing, compose
from footseg.data.synth import RECORDS, SynthConfig, shares
from footseg.data.threads import each, run_on
from footseg.errors import FootsegError
from footseg.grouping import grouped

FEET = {1: 0.22, 2: 0.53, 3: 0.1, 4: 0.15}
"""How often an image shows so many feet."""
LEGS = 0.8
"""How often people whose legs could be cut out are preferred: shoes without legs look taken off."""

Rng = np.random.Generator


# ---- the data set


def write_composites(out: Path, feet: Path, floors_from: Path, config: SynthConfig) -> dict[str, Any]:
    """Write a data set of the feet in ``feet`` on the floors in ``floors_from``; returns what it wrote.

    ``feet`` is a data set, a folder with images/ and masks/, or one of pictures with a transparent
    background; ``floors_from`` any folder of pictures. Their own train, val and test are kept where they
    have them. The folder appears when it is complete; beside the data it holds ``manifest.jsonl`` (what went
    into each image) and ``synth.json`` (how it was made).

    Raises:
        FootsegError: unusable feet or floors, too few for the parts, ``out`` not free, the disk is full.
    """
    out = config.free_folder(out)
    found = cutouts.find_feet(feet)
    pictures = cutouts.parts_of(Path(floors_from), floors.find_pictures)
    if not any(found.parts.values()):
        raise FootsegError(f"no images in {feet}")
    if not any(pictures.values()):
        raise FootsegError(f"no pictures of floors in {floors_from}")
    used = [split for split in SPLITS if config.counts.get(split)]

    with files.atomic_path(out) as temporary:
        temporary.mkdir()
        store = temporary.with_name("store")  # goes with the temporary folder
        store.mkdir()
        sources = _prepared_feet(feet, found, store, config)
        grounds = _prepared_floors(Path(floors_from), pictures, store, 4 * max(config.size))
        rng = np.random.default_rng((config.seed, len(SPLITS)))
        divided_feet = _divide(rng, sources, used, f"photographs with feet in {feet}")
        divided_floors = _divide(rng, grounds, used, f"floors in {floors_from}")
        stock = {split: {"feet": divided_feet[split], "floors": divided_floors[split]} for split in used}
        files.write_json(store / "stock.json", stock)
        for split in used:
            for kind in ("images", "masks"):
                (temporary / split / kind).mkdir(parents=True)
        jobs = [(split, number) for split in used for number in range(config.counts[split])]
        make = partial(_make, store, temporary, config, found.labels.mirrored())
        lines = run_on(config.executor(len(jobs)), make, jobs, "composite")
        files.write_text(temporary / RECORDS[1], "".join(lines))
        about = _about(feet, floors_from, config, stock)
        files.write_json(temporary / RECORDS[0], about)
        files.write_text(temporary / "dataset.toml", found.labels.to_toml())
    return about


def _about(feet: Path, floors_from: Path, config: SynthConfig, stock: Mapping[str, Any]) -> dict[str, Any]:
    """What ``synth.json`` says."""
    return {
        "feet": str(feet),
        "floors": str(floors_from),
        "seed": config.seed,
        "size": list(config.size),
        "counts": {split: config.counts.get(split, 0) for split in SPLITS},
        "parts": {
            split: {kind: sorted(item[0] for item in items) for kind, items in part.items()}
            for split, part in stock.items()
        },
    }


Item = tuple[str, str, int]
"""Name, file of what was prepared, and how many feet its figure with legs has (floors: 0)."""
Prepared = dict[str, list[tuple[str, Item]]]
"""By split: the SHA-256 of a file, and its item."""


def _prepared_feet(root: Path, found: cutouts.Feet, store: Path, config: SynthConfig) -> Prepared:
    jobs = [
        (split, source, store / f"{split}feet{number:06d}.npz")
        for split, sources in found.parts.items()
        for number, source in enumerate(sources)
    ]
    prepare = partial(_prepare, found.labels, 2 * max(config.size))
    done = run_on(config.executor(len(jobs)), prepare, jobs, "cut out feet")
    bad = [problem for _, _, problem in done if problem]
    if bad:
        raise FootsegError(
            f"{len(bad)} of {len(jobs)} photographs in {root} cannot be used: {shorten(bad, ' | ')}"
        )
    if not any(count for count, _, _ in done):
        raise FootsegError(
            f"no feet in {root}: the masks of all {len(jobs)} photographs are empty, or what they mark is "
            "too small"
        )
    kept = [(*job, figure) for job, (count, figure, _) in zip(jobs, done, strict=True) if count]
    digests = each(files.sha256, [source.image for _, source, _, _ in kept], "fingerprint")
    prepared: Prepared = {split: [] for split in found.parts}
    for (split, source, path, figure), digest in zip(kept, digests, strict=True):
        prepared[split].append((digest, (source.name, path.name, figure)))
    return prepared


def _prepare(labels: Labels, longest: int, job: tuple[str, Source, Path]) -> tuple[int, int, str | None]:
    """Write a photograph's cut-outs: how many, how many feet with legs, and what is wrong with it."""
    _, source, path = job
    try:
        person = cutouts.prepare(source, labels, longest)
    except BadFileError as error:
        return 0, 0, str(error)
    if person.feet:
        cutouts.save(path, person)
    return len(person.feet), person.figure.feet if person.figure else 0, None


def _prepared_floors(root: Path, pictures: Mapping[str, list[Path]], store: Path, longest: int) -> Prepared:
    jobs = [
        (split, path, store / f"{split}floor{number:06d}.npy")
        for split, paths in pictures.items()
        for number, path in enumerate(paths)
    ]

    def prepare(job: tuple[str, Path, Path]) -> tuple[str, str | None]:
        _, path, stored = job
        try:
            np.save(stored, floors.prepare(path, longest))
        except BadFileError as error:
            return "", str(error)
        return files.sha256(path), None

    done = each(prepare, jobs, "read floors")
    if bad := [problem for _, problem in done if problem]:
        raise FootsegError(
            f"{len(bad)} of {len(jobs)} floors in {root} cannot be used: {shorten(bad, ' | ')}"
        )
    prepared: Prepared = {split: [] for split in pictures}
    for (split, path, stored), (digest, _) in zip(jobs, done, strict=True):
        prepared[split].append((digest, (path.relative_to(root).as_posix(), stored.name, 0)))
    return prepared


def _divide(rng: Rng, items: Prepared, used: Sequence[str], what: str) -> dict[str, list[Item]]:
    """Items by part, in the thesis's shares; where they come in parts already, these are kept.

    Files of the same bytes always go to one part.

    Raises:
        FootsegError: not enough for the parts, or one file in two of them.
    """
    if "" not in items:
        if missing := [split for split in used if not items.get(split)]:
            raise FootsegError(
                f"no {what}/{missing[0]}: add some, make no {missing[0]} images (--{missing[0]} 0), or give "
                "one folder without splits, which is divided"
            )
        first: dict[str, tuple[str, str]] = {}
        for split in used:
            for digest, (name, _, _) in items[split]:
                other, seen = first.setdefault(digest, (split, name))
                if other != split:
                    raise FootsegError(
                        f"{what}: {name} in {split} is the same file as {seen} in {other}: remove one of them"
                    )
        return {split: [item for _, item in items[split]] for split in used}

    groups = grouped(items[""])
    if len(groups) < len(used):
        raise FootsegError(
            f"{len(groups)} different {what} are too few for {', '.join(used)}, which share none: give at "
            f"least {len(used)}"
        )
    order = rng.permutation(len(groups))
    several, divided, start = list(groups.values()), {}, 0
    for split, share in zip(used, shares(len(groups), used), strict=True):
        mine = sorted(order[start : start + share])
        divided[split] = [item for index in mine for item in several[index]]
        start += share
    return divided


# ---- one image


@lru_cache(maxsize=1)
def _stock(store: Path) -> dict[str, Any]:
    return files.read_json(store / "stock.json")


# As many as fit in some hundred megabytes; reading one again takes a millisecond or two.
@lru_cache(maxsize=1024)
def _person(path: Path) -> Person:
    return cutouts.load(path)


@lru_cache(maxsize=512)
def _floor(path: Path) -> Floor:
    pixels = np.load(path)
    return Floor(pixels, floors.tiles(pixels))


def _make(
    store: Path, out: Path, config: SynthConfig, mirrored: np.ndarray | None, job: tuple[str, int]
) -> str:
    """Write image and mask of one number, and return its line of the manifest."""
    split, number = job
    rng = np.random.default_rng((config.seed, SPLITS.index(split), number))
    stock = _stock(store)[split]
    floor_name, floor_file, _ = stock["floors"][rng.integers(len(stock["floors"]))]
    wanted = int(rng.choice(list(FEET), p=list(FEET.values())))
    people = _gather(rng, store, stock["feet"], wanted)
    image, mask, record = compose(rng, _floor(store / floor_file), people, config.size, mirrored)

    name = f"{number:05d}"
    encoded = encode(image, ".jpg", record["jpeg_quality"])
    # Not atomically, which would double the time of a file: the whole folder is.
    (out / split / "images" / f"{name}.jpg").write_bytes(encoded)
    (out / split / "masks" / f"{name}.png").write_bytes(encode(mask, ".png"))
    line = {
        "image": f"{split}/images/{name}.jpg",
        "sha256": hashlib.sha256(encoded).hexdigest(),
        "floor": floor_name,
        **record,
    }
    return json.dumps(line) + "\n"


def _gather(rng: Rng, store: Path, feet: Sequence[tuple[str, str, int]], wanted: int) -> list[Standing]:
    """People who show ``wanted`` feet together, or fewer where there are no more."""
    order = rng.permutation(len(feet))
    with_legs = rng.random() < LEGS
    if with_legs:  # those first whose legs are known and fit
        order = order[np.argsort([not 0 < feet[index][2] <= wanted for index in order], kind="stable")]
    people: list[Standing] = []
    for index in order[:wanted]:
        name, file, figure = feet[index]
        missing = wanted - sum(cutout.feet for _, _, shown in people for cutout in shown)
        if not missing:
            break
        person = _person(store / file)
        if person.figure and with_legs and figure <= missing:
            people.append((name, person, (person.figure,)))
        else:
            first, *others = [person.feet[i] for i in rng.permutation(len(person.feet))[:missing]]
            # Feet that different borders cut cannot be hidden by one.
            fits = [o for o in others if not (len(first.cut) or len(o.cut)) or (o.out == first.out).all()]
            people.append((name, person, (first, *fits)))
    return people
