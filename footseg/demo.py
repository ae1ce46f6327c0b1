"""The whole path in minutes: every step is a footseg command, printed before it is run."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from footseg.artifact import FORMATS
from footseg.commands._command import run
from footseg.errors import FootsegError
from footseg.steps import COMMANDS

RUN, EXPORT, EVALUATION = "run", "export", "evaluation"
PRECISIONS = ("fp32", "fp16", "int8")


def command(words: Sequence[str]) -> int:
    """Run one step."""
    return run(words, COMMANDS)


def demo(
    out: Path,
    *,
    data: Path | None = None,
    seed: int = 0,
    say: Callable[[str], None],
    command: Callable[[Sequence[str]], int] = command,
) -> Path:
    """Run every step into the folder ``out``; returns the report's path.

    Args:
        data: a data set of one's own; without it feet on floors are drawn.
        command: runs one footseg command line and returns its exit code.

    Raises:
        FootsegError: ``out`` holds something that no demo made, or a step failed.
    """
    check_out(out)
    report = out / "report.html"
    steps = before_export(out, data, seed)
    for number, step in enumerate(steps, start=1):
        _do(step, f"{number}", command, say)
    artifacts = sorted(p for p in (out / EXPORT).iterdir() if p.suffix.removeprefix(".") in FORMATS)
    (out / "results.jsonl").unlink(missing_ok=True)  # bench appends; an earlier demo's lines go
    for number, step in enumerate(after_export(out, data, artifacts, report), start=len(steps) + 1):
        _do(step, f"{number}", command, say)
    return report


def before_export(out: Path, data: Path | None, seed: int) -> list[list[str]]:
    """The commands from images to artifacts."""
    images = data or out / "data"
    draw = ["data", "synth", f"{images}", "--seed", f"{seed}", "--force"]
    train = ["train", "fast_linknet", "--data", f"{images}", "--out", f"{out / RUN}"]
    export = ["export", f"{out / RUN}", "--out", f"{out / EXPORT}"]
    return [
        *([] if data else [draw]),
        ["data", "check", f"{images}"],
        ["data", "preview", f"{images}", "--out", f"{out / 'preview.jpg'}"],
        [*train, "--preset", "quick", "--seed", f"{seed}", "--force"],
        [*export, "--to", "tflite", "onnx", "--precision", *PRECISIONS, "--seed", f"{seed}"],
    ]


def after_export(out: Path, data: Path | None, artifacts: Sequence[Path], report: Path) -> list[list[str]]:
    """The commands from artifacts to the page."""
    images = data or out / "data"
    scored = {out / RUN: out / EVALUATION / "keras"}
    scored |= {path: out / EVALUATION / path.name for path in artifacts}
    evaluations = [f"{folder}" for folder in scored.values()]
    page = ["report", f"{out / 'results.jsonl'}", "--run", f"{out / RUN}", "--evaluation", *evaluations]
    return [
        *(["evaluate", f"{m}", "--data", f"{images}", "--out", f"{folder}"] for m, folder in scored.items()),
        ["bench", *(f"{path}" for path in artifacts), "--out", f"{out / 'results.jsonl'}"],
        [*page, "--out", f"{report}", "--title", "footseg demo"],
    ]


def check_out(out: Path) -> None:
    """Refuse a folder that holds something other than an earlier demo.

    Raises:
        FootsegError: naming the folder.
    """
    ours = {RUN, EXPORT, EVALUATION, "data", "preview.jpg", "results.jsonl", "report.html"}
    if out.is_dir() and not {path.name for path in out.iterdir()} <= ours:
        raise FootsegError(f"{out} holds files that no demo made: choose another --out")


def _do(
    step: Sequence[str], number: str, command: Callable[[Sequence[str]], int], say: Callable[[str], None]
) -> None:
    say(f"\n[{number}] footseg {shlex.join(step)}")
    code = command(step)
    if code:
        raise FootsegError(f"the demo stopped: footseg {shlex.join(step)} ended with exit code {code}")
