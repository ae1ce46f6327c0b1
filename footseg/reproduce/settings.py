"""What one reproduction is made of: the settings of its folder, which never change once it has begun."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from footseg import files, records
from footseg.errors import FootsegError, check_known
from footseg.steps import STEPS
from footseg.training import config
from footseg.training.losses import parse

RECORD = "settings.json"
FOLDERS = ("feet", "floors", "real")
# What LinkNet with stride 2 and FastLinkNet can take.
MULTIPLE = 64


@dataclass(frozen=True)
class ReproductionSettings:
    """All that decides the figures; ``feet``, ``floors`` and ``real`` are folders.

    ``count`` is the number of composited images, all parts together; ``size`` their height and width;
    ``teacher_base`` the width of the U-Net that teaches; ``loss`` and ``temperature`` are the students'.
    """

    feet: str
    floors: str
    real: str
    preset: str
    count: int
    size: int
    epochs: int
    steps: int
    batch: int
    learning_rate: float
    teacher_base: int
    loss: tuple[str, ...]
    temperature: float
    seed: int


class _Prints(TypedDict):
    feet: str
    floors: str
    real: str


@dataclass(frozen=True)
class _Begun:
    """What ``settings.json`` says: the settings, and fingerprints of the folders that they name."""

    settings: ReproductionSettings
    fingerprints: _Prints


# Neither the search's winning loss nor its learning rate, lambda or T stand in the thesis (section 3.4 names
# their ranges only): those here are footseg's choice, the same for every student.
_CHOSEN: dict[str, Any] = {
    "learning_rate": 1e-3, "loss": ("ce", "distill:1"), "temperature": 4.0, "seed": 0,
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    # Minutes on two cores: to see every step work, not to judge networks by.
    "quick": {
        **_CHOSEN, "count": 600, "size": 128, "epochs": 6, "steps": 20, "batch": 16, "teacher_base": 12,
    },
    # Sections 3.1 and 3.4: 71,024 images and 50 epochs of 50 steps of 32. For a GPU.
    "full": {
        **_CHOSEN, "count": 71_024, "size": 256, "epochs": 50, "steps": 50, "batch": 32, "teacher_base": 48,
    },
}  # fmt: skip


def resolve(out: Path, given: Mapping[str, Any]) -> ReproductionSettings:
    """The settings of the folder ``out``: those it was begun with, else the preset's with ``given`` on top.

    Raises:
        ValueError: ``given`` differs from what ``out`` was begun with, or a value is missing or wrong.
        FootsegError: ``out`` holds something else, or a folder of photographs is not there or has changed.
    """
    given = {name: _plain(name, value) for name, value in given.items()}
    record = out / RECORD
    if not record.is_file() and out.is_dir() and any(out.iterdir()):
        raise FootsegError(f"{out} holds files that no reproduction made: choose another --out")
    if not begun(out):
        return _new(given)
    what, mend = "record of a reproduction", "choose another --out"
    saved = records.read(_Begun, record, what, mend)
    before = saved.settings
    records.checked(lambda: _check(before), f"{record} is no {what}", mend)
    for name, value in given.items():
        if value != getattr(before, name):
            raise ValueError(
                f"{out} was begun with {name} = {getattr(before, name)!r}, not {value!r}: "
                f"leave --{name.replace('_', '-')} out to go on, or choose another --out"
            )
    for name in FOLDERS:
        if files.fingerprint(Path(getattr(before, name))) != saved.fingerprints.get(name):
            raise FootsegError(
                f"the files in {getattr(before, name)} are not those that {out} was begun with: "
                "restore them, or choose another --out"
            )
    return before


def begun(out: Path) -> bool:
    """Whether a step has been done in ``out``; until then its settings may still change."""
    return (out / RECORD).is_file() and any((out / STEPS).glob("*.json"))


def save(out: Path, settings: ReproductionSettings) -> None:
    """Write ``settings.json``, with fingerprints of the folders that it names."""
    prints = {name: files.fingerprint(Path(getattr(settings, name))) for name in FOLDERS}
    files.write_json(out / RECORD, {"settings": dataclasses.asdict(settings), "fingerprints": prints})


def changed(settings: ReproductionSettings) -> dict[str, Any]:
    """The values that are not the preset's."""
    preset = PRESETS[settings.preset]
    return {name: getattr(settings, name) for name in preset if getattr(settings, name) != preset[name]}


def _plain(name: str, value: Any) -> Any:
    if name in FOLDERS:
        return str(Path(value).resolve())
    return tuple(value) if name == "loss" else value


def _new(given: dict[str, Any]) -> ReproductionSettings:
    preset = given.get("preset", "quick")
    check_known("no preset", preset, PRESETS)
    for name in FOLDERS:
        if name not in given:
            raise ValueError(
                f"no --{name} given: footseg reproduce thesis --feet DIR --floors DIR --real DIR --out DIR"
            )
        files.fingerprint(Path(given[name]))
    settings = ReproductionSettings(**{"preset": preset, **PRESETS[preset], **given})
    _check(settings)
    return settings


def _check(settings: ReproductionSettings) -> None:
    """Raise a ValueError where no network could be trained with ``settings``."""
    check_known("no preset", settings.preset, PRESETS)
    if settings.size < MULTIPLE or settings.size % MULTIPLE:
        nearest = max(1, round(settings.size / MULTIPLE)) * MULTIPLE
        raise ValueError(f"size {settings.size} must be a multiple of {MULTIPLE}: the nearest is {nearest}")
    for name, least in (("count", 3), ("teacher_base", 4)):
        if getattr(settings, name) < least:
            raise ValueError(f"{name} is {getattr(settings, name)}: it must be {least} or more")
    shared = ("epochs", "steps", "batch", "learning_rate", "loss", "temperature", "seed")
    config.from_values({name: getattr(settings, name) for name in shared})  # ValueError: out of its limits
    parse(settings.loss)  # ValueError: no such loss
