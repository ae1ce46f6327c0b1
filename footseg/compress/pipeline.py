"""``footseg compress``: step after step, each a run that the next one starts from; the last is the result.

OUT/compress.json    what was asked for: run, steps, training options
    steps/1_prune/   the run of each step, with layers.json
    model.keras ...  the last step's run, copied when all is done: OUT is a run like any other
"""

import dataclasses
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from footseg import files, records, run
from footseg.compress import retrain
from footseg.compress.kept import Kept
from footseg.compress.method import Method
from footseg.compress.request import (
    REQUEST,
    CompressionStep,
    Request,
    check_data,
    check_layers,
    check_order,
    config_of,
    resolved,
    root_of,
)
from footseg.compress.sizes import LAYERS, LayerSize, layer_sizes
from footseg.errors import FootsegError
from footseg.run import Run
from footseg.terminal import counted
from footseg.training import train
from footseg.training.config import TrainConfig

STEPS = "steps"

Say = Callable[[str], None]


def compress(
    request: Request | None,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    command: str = "",
    say: Say = lambda line: None,
) -> Run:
    """Make a compressed run in ``out``; with ``resume`` go on with the one that was begun there.

    Everything that can be told beforehand (settings, layers, data) is checked before anything is written.

    Raises:
        ValueError: a wrong setting, no step, or an order that undoes a step; a ``request`` other than the one
            that is resumed.
        FootsegError: not a finished run, bad data, something else in ``out``, a goal that was missed, Ctrl-C.
    """
    request = _opened(request, out, resume, force)
    go_on = f"footseg compress --resume --out {shlex.quote(str(out))}"
    if resume and run.exists(out):
        say(f"{out} is finished: nothing to resume")
        return run.load(out)
    parent = root = root_of(request, out)
    plans = [(step, step.settings(), config_of(step, request, root)) for step in request.steps]
    check_order(request, root)
    for _, _, config in plans:
        check_data(config, root)
    check_layers([settings for _, settings, _ in plans], root)
    if root.status in run.UNFINISHED:
        say(f"{root.path} is unfinished: compressing its best weights of {root.epochs_done} epochs")
    if force and not resume:
        shutil.rmtree(out, ignore_errors=True)  # not before all that can be told is known to be right
    files.write_json(out / REQUEST, request.to_json())
    try:
        for number, (step, settings, config) in enumerate(plans, start=1):
            folder = out / STEPS / f"{number}_{step.method}"
            if not (folder / LAYERS).is_file():
                _check_parent(folder, parent)
                say(f"{step.method} ({number} of {len(plans)}): {counted(config.epochs, 'epoch')}")
                _do(step, settings, config, parent, folder, command, say)
            parent = run.load(folder)
        return _assemble(parent, out, command)
    except (KeyboardInterrupt, train.TrainingInterruptedError) as stop:
        raise train.TrainingInterruptedError(f"{str(stop) or 'stopped'}; go on with: {go_on}") from None


# ---- before the first step


def _opened(request: Request | None, out: Path, resume: bool, force: bool) -> Request:
    """The request to fulfil: the one given, or the one begun in ``out``; nothing else may stand there."""
    begun = out / REQUEST
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        if not begun.is_file():
            raise FootsegError(f"{out} exists and is no compressed run: choose another --out")
        if resume:
            before = records.read(Request, begun, "request of a compression", "start anew with --force")
            if request is not None and resolved(request) != before:
                raise ValueError(f"{out} was begun with other options: leave them out to resume it")
            return before
        if not force:
            raise FootsegError(
                f"{out} holds a compressed run: go on with --resume, or replace it with --force"
            )
    if request is None and resume:
        raise ValueError(
            f"nothing was begun in {out}: begin with footseg compress RUN --out {shlex.quote(str(out))} "
            "--prune 0.7"
        )
    if request is None:
        raise ValueError("nothing to compress: footseg compress RUN --out OUT --prune 0.7")
    if not request.steps:
        raise ValueError(
            "no step given: --cut 0.5, --prune 0.7, --cluster 16 or --qat, in the order to do them"
        )
    return resolved(request)


def _check_parent(folder: Path, parent: Run) -> None:
    """Refuse to go on with a step whose network to start from is another one by now."""
    if run.exists(folder):
        began_with = run.load(folder).compression[-1]["parent"]
        if files.sha256(parent.model) != began_with:
            raise FootsegError(
                f"{parent.model} is not the network that {folder} began with: restore it, "
                "or start anew with --force"
            )


# ---- one step


def _do(
    step: CompressionStep,
    settings: Any,
    config: TrainConfig,
    parent: Run,
    folder: Path,
    command: str,
    say: Say,
) -> None:
    """Retrain ``parent`` under one method into the run ``folder``, and hold the result to what was asked."""
    entry: run.Compression = {
        "method": step.method,
        "settings": cast(run.Settings, dataclasses.asdict(settings)),
        "parent": files.sha256(parent.model),
        "val_iou_before": parent.score("val_iou"),
        "data_before": parent.data_words,
    }
    if isinstance(settings, Method):
        build = retrain.builder(parent, settings, folder, entry)
    else:
        build = settings.builder(parent, config, folder, entry, say)
    config = dataclasses.replace(config, start_from=str(parent.path))
    done = train.train(config, folder, resume=True, build=build, command=command, say=say)
    model = retrain.load_network(done.model)
    *earlier, last = done.compression
    last = {**last, "val_iou_after": done.score("val_iou"), "data_after": done.data_words}
    if isinstance(settings, Method):
        last["layers"] = _reached(settings, parent, model)
    dataclasses.replace(done, compression=(*earlier, last)).save()
    # Last: it marks the step as done.
    files.write_json(folder / LAYERS, [dataclasses.asdict(size) for size in layer_sizes(model)])
    say(f"{step.method}: {run.iou_words(last)}")


def _reached(method: Method, parent: Run, model: Any) -> dict[str, dict[str, Any]]:
    before = retrain.load_network(parent.model)
    Kept.of(before).check(model)
    return method.check(model, method.choose(before))


def _assemble(last: Run, out: Path, command: str) -> Run:
    """Make ``out`` a run: everything of the last step's, then the record."""
    for source in sorted(last.path.iterdir()):
        if source.name == run.RECORD or source.name.startswith("."):  # what a kill left half-written
            continue
        with files.atomic_path(out / source.name) as temporary:
            if source.is_dir():
                shutil.copytree(source, temporary)
            else:
                shutil.copyfile(source, temporary)
    done = dataclasses.replace(last, path=out, command=command)
    done.save()
    return done


def summary(done: Run, sizes: Sequence[LayerSize]) -> str:
    """What was done and what it cost, a line a step, for people."""
    lines = [f"{entry['method']}: {run.iou_words(entry)}" for entry in done.compression]
    weights, zeros = sum(row.weights for row in sizes), sum(row.zeros for row in sizes)
    coded, plain = sum(row.huffman_bytes for row in sizes), sum(row.float_bytes for row in sizes)
    lines.append(
        f"{weights:,} weights, {zeros / max(weights, 1):.1%} of them zero; {plain / 1e6:.2f} MB as float32, "
        f"{coded / 1e6:.3f} MB Huffman-coded by layer: {plain / max(coded, 1):.1f} times smaller"
    )
    return "\n".join(lines)
