"""The commands that make the thesis's tables anew, in order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from footseg.artifact import file_name
from footseg.errors import check_known
from footseg.reproduce.settings import ReproductionSettings
from footseg.steps import Step
from footseg.training.losses import teacher_terms

TEACHER = "emilseg"
DATA, BENCH = "data", "bench"
PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class NetworkRow:
    """One network of the tables: ``key`` names its folders, ``options`` are the network's."""

    key: str
    title: str
    network: str
    options: Mapping[str, Any] = field(default_factory=dict)


STUDENTS = (
    # The thesis's size and FLOPs are ten times those of the published ENet: without the reduction of
    # channels inside the bottlenecks both come out. Its unpooling by addition is in section 3.2.1.
    NetworkRow("enet", "ENet", "enet", {"internal_scale": 1, "unpool": "add"}),
    NetworkRow("enet_published", "ENet as published", "enet"),
    # Stride 2 in the first block, as in LinkNet's figure: only so are its FLOPs those of Table 4.1.
    NetworkRow("linknet", "LinkNet", "linknet", {"first_stride": 2}),
    NetworkRow("mobileseg", "MobileSeg", "mobileseg"),
    NetworkRow("fast_linknet", "FastLinkNet", "fast_linknet"),
)


def rows(settings: ReproductionSettings, students: Sequence[str] = ()) -> tuple[NetworkRow, ...]:
    """The teacher and the students named, or all of them, in the order of the thesis.

    Raises:
        ValueError: no such student.
    """
    known = [row.key for row in STUDENTS]
    for key in students:
        check_known("no student", key, known)
    base = settings.teacher_base
    teacher = NetworkRow(TEACHER, f"EmilSeg (U-Net {base})", TEACHER, {"base": base})
    return (teacher, *(row for row in STUDENTS if row.key in (students or known)))


@dataclass(frozen=True)
class Reproduction:
    """The folder ``out``, the settings it was begun with, and the networks of its tables."""

    out: Path
    settings: ReproductionSettings
    rows: tuple[NetworkRow, ...]

    @property
    def data(self) -> Path:
        """The composited data set."""
        return self.out / DATA

    @property
    def latencies(self) -> Path:
        """What ``footseg bench`` writes."""
        return self.out / "bench.jsonl"

    def run(self, row: NetworkRow) -> Path:
        """Where a network's training run lies."""
        return self.out / "runs" / row.key

    def evaluation(self, row: NetworkRow, what: str) -> Path:
        """Where its scores lie: ``what`` is "composited", "real" or "real_int8"."""
        return self.out / "evaluation" / row.key / what

    def artifact(self, row: NetworkRow, precision: str) -> Path:
        """Its exported file."""
        size = (self.settings.size, self.settings.size)
        return self.out / "export" / row.key / file_name(row.network, size, precision)


def until_export(made: Reproduction) -> list[Step]:
    """From photographs to exported files."""
    settings, composited = made.settings, f"{made.data}"
    size, seed = f"{settings.size}", f"{settings.seed}"
    synth = ["data", "synth", composited, "--feet", settings.feet, "--floors", settings.floors]
    count = ["--count", f"{settings.count}", "--size", size, "--seed", seed, "--force"]
    steps = [Step(DATA, (*synth, *count), made.data)]
    for row in made.rows:
        train, folder = f"train {row.key}", f"{made.run(row)}"
        teacher = (f"train {TEACHER}",) if row.key != TEACHER and taught(settings) else ()
        steps.append(Step(train, _train(made, row), made.run(row), (DATA, *teacher)))
        for what, images, needs in (
            ("composited", composited, (DATA, train)),
            ("real", settings.real, (train,)),
        ):
            target = made.evaluation(row, what)
            words = ("evaluate", folder, "--data", images, "--out", f"{target}")
            steps.append(Step(f"evaluate {row.key} {what}", words, target, needs))
        for precision in PRECISIONS:
            file = made.artifact(row, precision)
            export = ("export", folder, "--out", f"{file.parent}", "--data", composited)
            how = ("--precision", precision, "--seed", seed)
            sidecar = file.with_name(f"{file.name}.json")
            name = f"export {row.key} {precision}"
            steps.append(Step(name, (*export, *how), sidecar, (DATA, train), may_fail=True))
    return steps


def after_export(made: Reproduction, threads: int) -> list[Step]:
    """From the exported files that there are to their accuracy in int8 and to their latency."""
    steps, measured = [], []
    for precision in PRECISIONS:
        # FastLinkNet first: bench holds all others against the first fp32 file.
        for row in reversed(made.rows):
            file = made.artifact(row, precision)
            if not file.is_file():
                continue
            measured.append((f"export {row.key} {precision}", file))
            if precision == "int8":
                target = made.evaluation(row, "real_int8")
                words = ("evaluate", f"{file}", "--data", made.settings.real, "--out", f"{target}")
                steps.append(Step(f"evaluate {row.key} int8", words, target, (measured[-1][0],)))
    needs, paths = tuple(name for name, _ in measured), tuple(f"{path}" for _, path in measured)
    bench = ("bench", *paths, "--threads", f"{threads}", "--out", f"{made.latencies}")
    return [*steps, Step(BENCH, bench, made.latencies, needs)]


def _train(made: Reproduction, row: NetworkRow) -> tuple[str, ...]:
    settings = made.settings
    words = ["train", row.network, "--data", f"{made.data}", "--out", f"{made.run(row)}", "--resume"]
    words += ["--preset", "thesis"]
    for name in ("size", "epochs", "steps", "batch", "learning_rate", "seed"):
        words += [f"--{name.replace('_', '-')}", f"{getattr(settings, name)}"]
    for name, value in row.options.items():
        words += ["--network-options", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    if row.key == TEACHER:
        return (*words, "--loss", "ce")
    words += ["--loss", *settings.loss]
    if not taught(settings):
        return tuple(words)
    return (*words, "--teacher", f"{made.out / 'runs' / TEACHER}", "--temperature", f"{settings.temperature}")


def taught(settings: ReproductionSettings) -> bool:
    """Whether the students' loss has a term that compares with the teacher."""
    return bool(teacher_terms(settings.loss))
