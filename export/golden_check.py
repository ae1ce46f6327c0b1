"""An app's tensors, outputs and masks against golden vectors: where they differ, by how much, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from footseg import predict
from footseg.data.images import Letterbox, read_image
from footseg.data.opening import open_image
from footseg.errors import FootsegError
from footseg.export import golden, golden_guess
from footseg.export.golden import STEPS, Case, Golden
from footseg.graphs.ends import End, Ends

WRONG = ("differs", "unreadable")
Status = Literal["right", "differs", "follows", "unreadable", "not given"]


@dataclass(frozen=True)
class Found:
    """One step of one case.

    ``largest`` and ``mean`` are differences (levels of 255 of an input, numbers of an output); of a mask
    ``mean`` is the share of its pixels that differ. "follows" is what differs because the step before it
    does; of what is "unreadable" ``text`` says why.
    """

    case: str
    step: str
    status: Status
    largest: float = 0.0
    mean: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class Report:
    """All that was found, and by step what the app seems to do otherwise."""

    found: tuple[Found, ...]
    guesses: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all that was given is right."""
        return all(one.status in ("right", "not given") for one in self.found)

    @property
    def first(self) -> str:
        """The first step that is wrong; "" where none is."""
        wrong = [one.step for one in self.found if one.status in WRONG]
        return min(wrong, key=STEPS.index, default="")


def check(folder: Path, app: Path) -> Report:
    """Hold what an app wrote into ``app``, named as in the golden ``folder``, against that.

    CASE/input.bin, CASE/output.bin and CASE/mask.png (or mask.bin, a byte a pixel); what is not there is not
    looked at. Masks are held against those of the app's own output, where it gave one: each step is judged
    alone.

    Raises:
        FootsegError: ``folder`` holds no golden vectors, or ``app`` nothing that could be held against them.
    """
    record = golden.load(folder)
    if not any(_given(app, case, step) for case in record.cases for step in STEPS):
        names = ", ".join(getattr(record.cases[0], step) for step in STEPS)
        raise FootsegError(f"{app} has none of {names} and so on: let the app write its own there")
    found: list[Found] = []
    held: dict[str, dict[str, np.ndarray]] = {step: {} for step in STEPS}
    with np.errstate(all="ignore"):  # an app's numbers may be any, and are then wrong
        for step in STEPS:
            for case in record.cases:
                found.append(_step(record, folder, app, case, step, held, found))
        return Report(tuple(found), dict(_guesses(record, folder, found, held)))


# ---- one step of one case


def _step(
    record: Golden,
    folder: Path,
    app: Path,
    case: Case,
    step: str,
    held: Mapping[str, dict[str, np.ndarray]],
    before: Sequence[Found],
) -> Found:
    path = _given(app, case, step)
    if path is None:
        return Found(case.name, step, "not given")
    try:
        values = _mask(path, case) if step == "mask" else getattr(record, step).real(path)
        if not np.isfinite(values).all():
            raise FootsegError(f"{path} has NaN or infinity")
    except FootsegError as error:
        return Found(case.name, step, "unreadable", text=str(error))
    held[step][case.name] = values
    limit = record.limits[step].value
    wrong = {one.step for one in before if one.case == case.name and one.status in WRONG}
    if step == "mask":
        wanted = predict.enlarged(ends(record), _logits(record, folder, case, held), _box(record, case))
        share = float((values != wanted).mean())
        right = share * values.size <= max(1, limit * values.size)
        # The output that it is held against is golden where the app gave none, and then not of its tensor.
        follows = wrong == {"input"} and case.name not in held["output"]
        return Found(case.name, step, "right" if right else "follows" if follows else "differs", mean=share)
    wanted = getattr(record, step).real(folder / getattr(case, step))
    levels = 255 if step == "input" else 1
    gives = record.gives if step == "output" else ""
    largest, mean = (levels * figure for figure in golden.differences(gives, values, wanted))
    status: Status = "right" if largest <= limit else "differs"
    status = "follows" if status == "differs" and "input" in wrong else status
    return Found(case.name, step, status, largest, mean)


def _given(app: Path, case: Case, step: str) -> Path | None:
    """The file that the app wrote for a step; None where it wrote none."""
    path = app / getattr(case, step)
    return next((one for one in (path, path.with_suffix(".bin")) if one.is_file()), None)


def _mask(path: Path, case: Case) -> np.ndarray:
    """An app's mask uint8 (H, W): a PNG, or a byte for each pixel.

    Raises:
        FootsegError: it cannot be read, or has another size than its photograph.
    """
    height, width = case.source
    if path.suffix == ".bin":
        held = np.frombuffer(path.read_bytes(), np.uint8)
        if held.size != height * width:
            raise FootsegError(f"{path} has {held.size} bytes, not the {height * width} of {height}x{width}")
        return held.reshape(height, width)
    values = np.array(open_image(path).image)
    if values.ndim == 3:  # red of RGB and RGBA, as bitmaps of phones are written
        values = values[..., 0]
    if values.shape != case.source:
        why = (
            "turned: the photograph's orientation"
            if values.shape == case.source[::-1]
            else "not enlarged to it"
        )
        raise FootsegError(
            f"{path} is {values.shape[0]}x{values.shape[1]}, its photograph {height}x{width} ({why})"
        )
    return values


def ends(record: Golden) -> Ends:
    """What the file takes and gives."""
    return Ends(
        End(record.input.type, record.input.type, record.input.text),
        End(record.gives, record.output.type, record.output.text),
        record.classes,
    )


def _box(record: Golden, case: Case) -> Letterbox:
    return Letterbox.fit(case.source, record.size)


def _logits(
    record: Golden, folder: Path, case: Case, held: Mapping[str, Mapping[str, np.ndarray]]
) -> np.ndarray:
    """Logits (h, w, classes) of the app's own output, where it gave one; else of the golden one."""
    own = held["output"].get(case.name)
    values = record.output.real(folder / case.output) if own is None else own
    return ends(record).logits(values)[0]


# ---- why


def _guesses(
    record: Golden, folder: Path, found: Sequence[Found], held: Mapping[str, Mapping[str, np.ndarray]]
) -> Iterator[tuple[str, str]]:
    """By step what the app seems to do otherwise, where something differs and one way explains it."""
    for step in STEPS:
        wrong = {one.case for one in found if one.step == step and one.status == "differs"}
        judged = {one.case for one in found if one.step == step and one.status in ("right", "differs")}
        cases = [case for case in record.cases if case.name in judged]
        if wrong and (text := _guess(record, folder, step, cases, held).text):
            yield step, text


def _guess(
    record: Golden,
    folder: Path,
    step: str,
    cases: Sequence[Case],
    held: Mapping[str, Mapping[str, np.ndarray]],
) -> golden_guess.Guess:
    given = [held[step][case.name] for case in cases]
    if step == "input":
        both = [
            (read_image(folder / case.photograph), np.array(open_image(folder / case.photograph).image))
            for case in cases
        ]
        return golden_guess.tensor(both, [tensor[0] for tensor in given], record.size)
    if step == "output":
        wanted = [record.output.real(folder / case.output)[0] for case in cases]
        return golden_guess.output(wanted, [values[0] for values in given])

    def ours(logits: np.ndarray, box: Letterbox) -> Any:
        return predict.enlarged(ends(record), logits, box)

    logits = [_logits(record, folder, case, held) for case in cases]
    return golden_guess.mask(logits, [_box(record, case) for case in cases], given, ours)
