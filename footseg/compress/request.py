"""What ``footseg compress`` was asked for: its steps, how each is retrained, whether all that can be done.

Everything that can be told beforehand is told here, before anything is written.
"""

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from footseg import class_names, networks, records, run
from footseg.compress import retrain
from footseg.compress.method import Method
from footseg.compress.methods import METHODS, settings_of
from footseg.data import folder as data_sets
from footseg.errors import FootsegError, check_known
from footseg.run import Run
from footseg.training import config as configs
from footseg.training import lessons
from footseg.training.config import TrainConfig
from footseg.training.losses import teacher_terms

# The file in a compressed run's folder.
REQUEST = "compress.json"

# The uncompressed network teaches where nothing else is said. Half of FastLinkNet's MACs cut, 40 epochs,
# validation IoU: 0.7739 -> 0.7613 without, 0.7800 -> 0.7806 with (one seed each).
LESSON_TERMS, LESSON_TEMPERATURE = ("distill:2",), 2.0


@dataclass(frozen=True)
class CompressionStep:
    """One step that was asked for: "prune" with ``options`` of ``Prune``, retrained with ``training``."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> Any:
        """The method's own object.

        Raises:
            ValueError: no such method or option, or a value of another kind or out of its range.
        """
        kind = settings_of(self.method)
        hints, values = get_type_hints(kind), {}
        known = [option.name for option in dataclasses.fields(kind)]
        for name, value in self.options.items():
            check_known(f"{self.method} has no option", name, known)
            values[name] = _typed(f"{self.method}: {name}", value, hints[name])
        return kind(**values)


@dataclass(frozen=True)
class Request:
    """A run to compress, the steps in their order, and training options that hold for all of them."""

    run: str
    steps: tuple[CompressionStep, ...]
    training: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What ``compress.json`` holds."""
        return dataclasses.asdict(self)


def from_json(record: Mapping[str, Any]) -> Request:
    """The request that ``to_json`` gave.

    Raises:
        ValueError: a field is missing, unknown or of another type.
    """
    return records.of(Request, json.loads(json.dumps(record)), strict=True)


def resolved(request: Request) -> Request:
    """The request with whole paths, so that it can be resumed in any folder."""

    def whole(training: Mapping[str, Any]) -> dict[str, Any]:
        paths = {
            name: _absolute(training[name]) for name in ("data", "extra_data", "teacher") if name in training
        }
        return {**training, **paths}

    return from_json(
        {
            "run": _absolute(request.run),
            "steps": [{**dataclasses.asdict(s), "training": whole(s.training)} for s in request.steps],
            "training": {
                name: str(v) if isinstance(v, Path) else v for name, v in whole(request.training).items()
            },
        }
    )


def _absolute(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_absolute(part) for part in value]
    return str(Path(value).resolve()) if value and isinstance(value, str | Path) else value


def _typed(what: str, value: Any, kind: Any) -> Any:
    """``value``, which came from a command line or JSON, as an option of type ``kind``.

    Raises:
        ValueError: it is of another kind.
    """
    scalars: dict[Any, tuple[str, Any]] = {
        float: ("a number", (int, float)),
        int: ("a whole number", int),
        str: ("a text", str),
    }
    if kind in scalars:
        expected, kinds = scalars[kind]
        right = isinstance(value, kinds) and not isinstance(value, bool)
    elif kind == tuple[str, ...]:
        value = (value,) if isinstance(value, str) else value
        expected = "a list of names"
        right = isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)
        value = tuple(value) if right else value
    else:
        expected, right = "a table: use --layer PATTERN=VALUE", isinstance(value, Mapping)
    if not right:
        raise ValueError(f"{what} = {value!r} is not {expected}")
    return value


def root_of(request: Request, out: Path) -> Run:
    """The run to compress, which must stand outside of what ``--force`` replaces and be no half-done step.

    Raises:
        FootsegError: it is not there, or not fit.
    """
    folder = Path(request.run)
    whole = out.resolve()
    if whole == folder or whole in folder.parents:
        raise FootsegError(
            f"{folder} would be replaced, as it is {out} or inside of it: choose another --out"
        )
    if (folder / REQUEST).is_file() and not run.exists(folder):
        raise FootsegError(
            f"{folder} is an unfinished compression: finish it with footseg compress --resume --out "
            f"{shlex.quote(str(folder))}"
        )
    if (out / REQUEST).is_file() and not folder.is_dir():
        raise FootsegError(
            f"{folder}, which {out} was begun with, is gone: restore it, or start anew with --force"
        )
    root = run.load_trained(folder)
    if root.compression and "val_iou_after" not in root.compression[-1]:
        raise FootsegError(
            f"{folder} is an unfinished step of a compression: finish it with "
            f"footseg compress --resume --out {shlex.quote(str(folder.parent.parent))}"
        )
    return root


def check_data(config: TrainConfig, root: Run) -> None:
    """Make sure that there is what a step is retrained on: images of the run's classes, and a teacher.

    Raises:
        FootsegError: a data set or teacher that is not there, or data of other classes.
        ValueError: a teacher without a loss that it has a part in.
    """
    lessons.check(config)
    if config.teacher:
        run.model_file(Path(config.teacher))
    for path in (config.data, *config.extra_data):
        data = data_sets.open_data(Path(path))
        if len(data.classes) != len(root.classes):
            raise FootsegError(
                f"{path} has {len(data.classes)} classes, {root.path} was trained on {len(root.classes)} "
                f"({', '.join(root.classes)}): give --data a data set of these"
            )
        class_names.compared(root.path, root.classes, Path(path), data.classes)
    for split in ("train", "val"):
        data_sets.pairs(data_sets.open_data(Path(config.data)), split)


def check_order(request: Request, root: Run) -> None:
    """Refuse an order in which a step would undo an earlier one.

    Raises:
        ValueError: it would.
    """
    done = [entry["method"] for entry in root.compression]
    for step in request.steps:
        if "qat" in done:
            raise ValueError(
                f"--{step.method} cannot follow --qat, whose network is made for int8: put it before"
            )
        if step.method == "cut" and set(done) & {"prune", "cluster"}:
            raise ValueError("--cut comes before --prune and --cluster: its retraining would undo them")
        if step.method == "prune" and "cluster" in done:
            raise ValueError(
                "--prune comes before --cluster: zeros within a cluster would pull down the value it shares"
            )
        done.append(step.method)


def check_layers(plans: Sequence[Any], root: Run) -> None:
    """Let every step look at the network: a wrong layer or goal fails before anything is written.

    A later step will see another one, but layers keep their names, and what is too much for the whole network
    is too much for what earlier steps leave of it.
    """
    network = retrain.load_network(root.model)
    for settings in plans:
        if isinstance(settings, Method):
            settings.choose(network)
        else:
            settings.check(network)


def config_of(step: CompressionStep, request: Request, root: Run) -> TrainConfig:
    """How a step is retrained: as its run was trained, with the method's figures, then what was asked for.

    Its teacher, where a loss needs one and none is named, is the uncompressed network.
    """
    before = configs.load(root.config)
    plain = [term for term in configs.from_values(before).loss if not teacher_terms((term,))]
    values = {
        **before,
        "data": root.data,  # its configuration has the path as it was typed, wherever that was
        "loss": [*(plain or ("ce", "iou")), *LESSON_TERMS],
        "temperature": LESSON_TEMPERATURE,
        "teacher": "",
        "patience": 0,
        "swa": 0.0,
        "freeze_encoder": False,
        "precision": "float32",
        **METHODS[step.method].retraining,
        **request.training,
        **step.training,
        "network": root.network,
        "network_options": networks.architecture(root.network_options),
        "size": list(root.input_shape[:2]),
    }
    config = configs.from_values(values)
    if not config.teacher and teacher_terms(config.loss):
        config = dataclasses.replace(config, teacher=request.run)
    return config
