"""``footseg study``: export, score and measure several runs, and put them on one page.

OUT/export/RUN/          artifacts of each run
    evaluation/          metrics.json of each artifact
    sensitivity/         what quantizing each operator alone costs, of the first run
    results.jsonl        measurements, all files in turns on this machine
    study.html           the page
    steps/               what is done, so that a study that was stopped goes on
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from footseg import run
from footseg.artifact import file_name
from footseg.errors import FootsegError
from footseg.steps import Command, Say, Step, run_step, run_steps
from footseg.study.page import TITLE, write_study
from footseg.study.recipes import WITHIN_A_HUNDREDTH, Budget

PAGE, RESULTS = "study.html", "results.jsonl"
# A run that was trained for int8 has no other file to show.
QAT_PRECISIONS = ("int8",)


def study(
    folders: Sequence[Path],
    out: Path,
    *,
    precisions: Sequence[str],
    data: Path | None = None,
    split: str = "test",
    also: Sequence[str] = (),
    threads: int = 1,
    baseline: str | None = None,
    budget: Budget = WITHIN_A_HUNDREDTH,
    title: str = TITLE,
    say: Say,
    command: Command = run_step,
) -> Path:
    """Make the page of a compression study in ``out``; what was done there before is not done again.

    Args:
        folders: of the runs; the first is the network that the others are held against.
        precisions: of the files; a run that was trained for int8 gives int8 only.
        data: data set to score on (default: the first run's own), on its ``split``.
        also: more precisions of the first run.
        threads: of the runtime.
        baseline: as for ``page.write_study``, with ``budget`` and ``title``.
        command: runs one footseg command line and returns its exit code.

    Raises:
        FootsegError: not a finished run, two runs of one name, a step that failed, Ctrl-C.
    """
    names = [folder.resolve().name for folder in folders]
    for name in names:
        if names.count(name) > 1:
            raise FootsegError(f"two runs are called {name}: rename a folder, for the page goes by names")
    runs = [run.load_trained(folder) for folder in folders]
    data = Path(runs[0].data) if data is None else data
    made = {
        out / "export" / name / artifact_name(done, precision): (done, precision)
        for number, (done, name) in enumerate(zip(runs, names, strict=True))
        for precision in of_run(done, (*precisions, *also) if number == 0 else precisions)
    }
    sensitivity = _sensitivity(runs[0], data, out, threads)
    steps = [sensitivity]
    for path, (done, precision) in made.items():
        steps += _of_file(path, done, precision, data, split, out, threads)
    go_on = f"footseg study {shlex.join(str(folder) for folder in folders)} --out {shlex.quote(str(out))}"
    run_steps(steps, out, command, say, go_on=go_on)
    exported = [path for path in made if path.is_file()]
    bench = ["bench", *map(str, exported), "--out", str(out / RESULTS), "--threads", str(threads)]
    measure = Step("bench", tuple(bench), out / RESULTS, tuple(step.name for step in steps))
    run_steps([measure], out, command, say, go_on=go_on, first=len(steps) + 1)
    return write_study(
        out / RESULTS,
        out / PAGE,
        runs=list(folders),
        evaluations=[folder for path in exported if (folder := _evaluation(out, path)).is_dir()],
        sensitivity=[costs] if (costs := sensitivity.output).is_file() else [],
        baseline=baseline,
        budget=budget,
        title=title,
    )


def of_run(done: run.Run, precisions: Sequence[str]) -> Sequence[str]:
    """The precisions that a run's files are wanted in."""
    trained_for_int8 = any(entry["method"] == "qat" for entry in done.compression)
    return QAT_PRECISIONS if trained_for_int8 else precisions


def artifact_name(done: run.Run, precision: str) -> str:
    """What a run's file in a precision is called."""
    return file_name(done.network, done.input_shape, precision)


def _sensitivity(done: run.Run, data: Path, out: Path, threads: int) -> Step:
    """What quantizing each operator of a run alone costs."""
    costs = out / "sensitivity" / artifact_name(done, "auto").replace(".tflite", "_int8.json")
    export = ["export", str(done.path), "--sensitivity", "--out", str(costs.parent), "--data", str(data)]
    return Step("sensitivity", (*export, "--threads", str(threads)), costs, may_fail=True)


def _of_file(
    path: Path, done: run.Run, precision: str, data: Path, split: str, out: Path, threads: int
) -> list[Step]:
    """Export one file and score it. Either may be refused (out of tolerance): the others are shown."""
    name = f"{path.parent.name} {precision}"
    export = ["export", str(done.path), "--out", str(path.parent), "--precision", precision]
    evaluate = ["evaluate", str(path), "--data", str(data), "--split", split]
    folder = _evaluation(out, path)
    return [
        Step(f"export {name}", (*export, "--threads", str(threads)), path, may_fail=True),
        Step(
            f"evaluate {name}",
            (*evaluate, "--out", str(folder), "--threads", str(threads)),
            folder,
            (f"export {name}",),
            may_fail=True,
        ),
    ]


def _evaluation(out: Path, artifact: Path) -> Path:
    return out / "evaluation" / artifact.parent.name / artifact.stem
