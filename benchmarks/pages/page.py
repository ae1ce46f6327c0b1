"""What the pages share: their frame, what belongs to an artifact, and how figures are written."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from footseg import __version__, files, provenance
from footseg.android_harness.ask import listed
from footseg.benchmarks.measurement import Measurement
from footseg.errors import FootsegError
from footseg.evaluate import SavedEvaluation
from footseg.grouping import grouped
from footseg.run import Run

HERE = Path(__file__).parent
# Chart widths in pixels: SVG text shrinks with its picture, so a phone gets a narrower drawing instead.
WIDE, NARROW = 1060, 340
# Over columns of what was scored on a data set.
ON_IMAGES = "measured on images"


# A chart for a wide screen, and for a phone.
Responsive = tuple[Markup, Markup]


@dataclass(frozen=True)
class Tile:
    """One of the large figures at the head of a page; ``kind`` says where it comes from."""

    value: str
    unit: str
    name: str
    kind: str


@dataclass(frozen=True)
class Plot:
    """A chart for both widths and what stands over and under it; ``narrow`` under it on a phone only."""

    title: str
    picture: Responsive
    caption: str
    narrow: str = ""


def write(template: Path, out: Path, **values: Any) -> Path:
    """Fill a template, which extends ``page.html.j2``, and write the page to ``out``; returns ``out``.

    The style sheet is ``page.css`` and what one of the template's name beside it adds.

    Raises:
        FootsegError: the disk is full, or what stands at ``out`` is no page: a network's file, say.
    """
    if out.is_file() and out.stat().st_size and not _is_page(out):
        raise FootsegError(f"{out} is no page, and stays as it is: give --out another name, as report.html")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    own = template.with_name(template.name.replace(".html.j2", ".css"))
    sheets = [sheet for sheet in (HERE / "page.css", own) if sheet.is_file()]
    style = "".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
    text = environment.get_template(template.name).render(
        style=Markup(style),
        created=provenance.now(),
        version=__version__,
        **{"lead": "", "parts": (), **values},
    )
    files.write_text(out, text)
    return out


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip().lower().startswith(b"<!doctype html")


def both(
    draw: Callable[..., str],
    *data: Any,
    width: int = WIDE,
    heights: tuple[int, int] | None = None,
    **options: Any,
) -> Responsive:
    """The same chart for a wide screen and for a phone; ``heights`` of both where the chart needs one."""
    wide, narrow = ({"height": height} for height in heights) if heights else ({}, {})
    return (
        Markup(draw(*data, width=width, **wide, **options)),
        Markup(draw(*data, width=NARROW, **narrow, **options)),
    )


# --- what belongs together -----------------------------------------------------------------------


def comparable(
    evaluations: Sequence[SavedEvaluation], measured: Sequence[Measurement]
) -> tuple[dict[str, SavedEvaluation], list[SavedEvaluation]]:
    """The evaluations on the test set that covers most artifacts, by model SHA-256; and those on others."""
    shown = {m.artifact.sha256 for m in measured}
    sets: dict[Any, dict[str, SavedEvaluation]] = {}
    for evaluation in evaluations:
        sets.setdefault(evaluation.key, {})[evaluation.sha256] = evaluation
    if not sets:
        return {}, []
    chosen = max(sets.values(), key=lambda by_sha: (len(shown & set(by_sha)), len(by_sha)))
    return chosen, [e for e in evaluations if e.key != next(iter(chosen.values())).key]


def metric(evaluated: Mapping[str, SavedEvaluation], sha256: str, name: str) -> float | None:
    """A metric of the model's evaluation; None where there is none."""
    evaluation = evaluated.get(sha256)
    found = evaluation.metrics.get(name) if evaluation else None
    return found if isinstance(found, int | float) else None


def boundary_px(evaluated: Mapping[str, SavedEvaluation]) -> float | None:
    """How far apart outlines may be and still match, in pixels; None without evaluations."""
    return next((e.metrics.get("boundary_tolerance_px") for e in evaluated.values()), None)


# --- provenance ----------------------------------------------------------------------------------


def artifact_provenance(latest: Sequence[Measurement]) -> list[dict[str, str]]:
    """What made each file, once a file."""
    unique = {m.artifact.sha256: m.artifact for m in latest}
    return [
        {
            "name": artifact.name,
            "sha256": artifact.sha256,
            "parent": artifact.parent,
            "run": Path(artifact.run).name,
            "network": " ".join(
                [artifact.network, *(f"{k}={v}" for k, v in artifact.network_options.items())]
            ),
            "input": " x ".join(str(side) for side in artifact.input_shape),
            "classes": ", ".join(artifact.classes),
            "calibration": ", ".join(f"{k} {v}" for k, v in artifact.calibration.items() if not _is_bulky(v)),
            "created": artifact.created,
        }
        for artifact in unique.values()
    ]


def _is_bulky(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)


def facts(
    latest: Sequence[Measurement], trained: Sequence[Run], evaluated: Mapping[str, SavedEvaluation]
) -> list[tuple[str, list[str]]]:
    """Names and values of the provenance table; a fact that differs between files has several values."""
    sources = [m.versions for m in latest] + [run.versions for run in trained]
    versions = grouped(package for found in sources for package in found.items())
    sets = {f"{e.test_set} {e.data_fingerprint}" for e in evaluated.values()}
    found_facts = {
        "measured on": {m.where for m in latest if m.kind == "measured"},
        "emulated on": {m.where for m in latest if m.kind == "emulated"},
        "measured at": {min(m.created for m in latest), max(m.created for m in latest)},
        "trained on": {run.data_words for run in trained},
        "trained by": {f"{run.machine.get('cpu')}, {run.backend}" for run in trained if run.machine},
        "seed": {str(run.seed) for run in trained},
        "evaluated on": sets,
        "versions": {f"{package} {' and '.join(sorted(set(found)))}" for package, found in versions.items()},
    }
    return [(name, sorted(values)) for name, values in found_facts.items() if values]


# --- words ---------------------------------------------------------------------------------------


def breakable(name: str) -> Markup:
    """A text with file names as HTML: a narrow column breaks names after - and _ and before the ending."""
    return Markup("<wbr>").join(re.split(r"(?<=[-_])(?=[^-_])|(?<=\w)(?=\.[a-z])", name))


def short_names(names: Sequence[str]) -> tuple[str, list[str]]:
    """The words that all of several file names begin with, once, and what is left of each."""
    parts = [name.split("_") for name in names]
    same = 0
    while len(names) > 1 and all(len(one) > same + 1 and one[same] == parts[0][same] for one in parts):
        same += 1
    return "".join(f"{word}_" for word in parts[0][:same]) if parts else "", [
        "_".join(one[same:]) for one in parts
    ]


def word(value: Any) -> str:
    """A value of a result file as one would say it: cores 4-7, yes, 41.5; nothing for what is not known."""
    match value:
        case None | bool():
            return {None: "", True: "yes", False: "no"}[value]
        case float():
            return f"{value:.4g}"
        case Mapping():
            return ", ".join(f"{name} {word(part)}" for name, part in value.items() if part is not None)
        case list() | tuple():
            if value and all(type(part) is int for part in value):
                return listed(sorted(set(value)))
            return ", ".join(word(part) for part in value if part is not None)
    return str(value)
