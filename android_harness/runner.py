"""What one start of the native runner (``native/runner.c``) is asked to do, and what it said.

The same program runs on a phone, on an emulated core and, compiled for it, on this machine. It writes lines
that begin with ``MARK`` and go on in JSON, one fact each, and last of all "done": whatever else a shell, a
driver or a runtime writes between them is passed over.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from footseg.android_harness.errors import HarnessError

MARK = "@footseg "


@dataclass(frozen=True)
class Plan:
    """One start of the runner. Paths are those of the machine that runs it.

    Raises:
        ValueError: values that do not go together.
    """

    models: tuple[str, ...]  # two or more are timed in turns
    threads: int = 1
    warmup: int = 0  # inferences thrown away, for each model
    runs: int = 0  # timed inferences of each model, one after another
    rounds: int = 0  # with two models or more: rounds of turns, A B, then B A
    turn: int = 6  # inferences of a turn, the first thrown away
    images: str = ""  # raw uint8 (N, H, W, 3) for the first model's input; "": noise that is always the same
    masks: str = ""  # where raw uint8 (N, H, W) is written: the first of the largest logits
    outputs: str = ""  # where the raw output tensors of the first model are written, image after image
    scale: float = 0.0  # of an integer input tensor; 0: as the file says. A float32 input takes pixel / 255
    zero_point: int = 0
    profile: int = 0  # inferences with LiteRT's profiler on, after the timed ones
    calibrate: bool = False  # a float32 matrix product before and after the timed runs
    pin: tuple[int, ...] = ()  # the cores that the process may use; (): as it was started
    mark: bool = False  # tell the counting plugin where each inference begins and ends

    def __post_init__(self) -> None:
        if not self.models or not all(self.models):
            raise ValueError("a plan needs at least one model")
        for name, least in (("threads", 1), ("warmup", 0), ("runs", 0), ("rounds", 0), ("profile", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if self.rounds and (len(self.models) < 2 or self.runs):
            raise ValueError("rounds are for two models or more and take the place of runs: give one of them")
        if self.rounds and self.turn < 2:
            raise ValueError(f"a turn needs 2 inferences or more, the first is thrown away; got {self.turn}")
        if (self.masks or self.outputs) and not self.images:
            raise ValueError("masks and outputs are of images: give images")
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ValueError(f"scale must be 0 (a float32 input) or more, got {self.scale}")
        if any(core < 0 for core in self.pin):
            raise ValueError(f"cores are numbered from 0, got {self.pin}")


@dataclass(frozen=True)
class TensorFacts:
    """An input or output tensor as LiteRT describes it."""

    name: str
    type: str  # "float32", "int8", "uint8", ...
    shape: tuple[int, ...]
    scale: float = 0.0  # 0 where it is not quantized by tensor
    zero_point: int = 0


@dataclass(frozen=True)
class Said:
    """All that one start of the runner found; times in milliseconds of that machine's clock."""

    litert: str  # the version, where whoever started the runner filled it in: LiteRT itself does not tell
    inputs: tuple[TensorFacts, ...]  # of the first model
    outputs: tuple[TensorFacts, ...]
    load_ms: tuple[float, ...]  # of each model: open, compile, allocate
    first_ms: tuple[float, ...]  # of each model: the first inference
    samples_ms: tuple[tuple[float, ...], ...]  # of each model: every timed inference, or every turn's median
    images: int
    peak_memory_mb: float | None  # MB (10^6 bytes) added by loading and running; None: /proc does not tell
    profile: tuple[tuple[str, float], ...]  # (operator, microseconds), run after run
    gflops: tuple[float, ...]  # of the calibration, one thread: before and after
    cores: tuple[int, ...]  # that the process was allowed on
    fully_accelerated: bool | None  # whether LiteRT says that a delegate runs all of the first model


def arguments(plan: Plan, library: str) -> list[str]:
    """The words after the runner's name; ``library`` is libLiteRt.so on the machine that runs it."""
    words = [f"--library={library}", *(f"--model={path}" for path in plan.models)]
    plain = {name: getattr(plan, name) for name in PLAIN}
    plain |= {"zero-point": plan.zero_point, "calibrate": int(plan.calibrate), "mark": int(plan.mark)}
    words += [f"--{name}={value}" for name, value in plain.items() if value]
    if plan.scale:
        words.append(f"--scale={float(plan.scale)!r}")  # repr: the shortest text that is this number again
    if plan.pin:
        words.append(f"--pin={','.join(map(str, plan.pin))}")
    return words


def parse(stdout: str) -> Said:
    """What the runner said, from all that came out of its shell.

    Raises:
        HarnessError: the runner failed (its own words), did not come to its end, or a line of it is spoilt.
    """
    found: dict[str, list[Any]] = {name: [] for name in READ}
    for line in stdout.splitlines():
        _, mark, text = line.partition(MARK)
        if not mark:
            continue
        try:
            ((name, value),) = json.loads(text).items()
            if name in READ:
                found[name].append(READ[name](value))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise HarnessError(f"a line of the runner is spoilt: {line[:200]!r}; run it again") from error
        if name == "error":
            raise HarnessError(str(value))
    if not found["done"]:
        last = [line for line in stdout.splitlines() if line.strip()][-1:] or ["nothing"]
        raise HarnessError(f"the runner did not come to its end; the last it said: {last[0][:200]}")
    once = {name: values[-1] for name, values in found.items() if values}
    return Said(
        litert=once.get("litert", ""),
        inputs=tuple(found["input"]),
        outputs=tuple(found["output"]),
        load_ms=tuple(found["load_ms"]),
        first_ms=tuple(found["first_ms"]),
        samples_ms=tuple(found["samples_ms"]),
        images=once.get("images", 0),
        peak_memory_mb=once.get("peak_memory_mb"),
        profile=tuple(found["operator"]),
        gflops=tuple(found["gflops"]),
        cores=once.get("cores", ()),
        fully_accelerated=once.get("fully_accelerated"),
    )


def check(said: Said, plan: Plan) -> Said:
    """``said``, which must have all that ``plan`` asked for: a shell may lose lines of it.

    Raises:
        HarnessError: it has not; the message names what is missing.
    """
    models = len(plan.models)
    expected = {"load_ms": models, "first_ms": models if plan.runs or plan.rounds else 0}
    expected |= {"samples_ms": expected["first_ms"], "outputs": 1 if plan.outputs else 0}
    for name, least in expected.items():
        there = getattr(said, name)
        if len(there) < least or (name == "samples_ms" and not all(there)):
            raise HarnessError(
                f"the runner's answer has {len(there)} of {least} lines of {name}: some were lost on their "
                "way; run it again"
            )
    return said


# Fields of a Plan whose option has the same name.
PLAIN = ("threads", "warmup", "runs", "rounds", "turn", "profile", "images", "masks", "outputs")


def _is(value: Any, *kinds: type) -> Any:
    """``value``, which must be of one of these kinds: true is no number, and NaN is none."""
    right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if not right or (isinstance(value, float) and not math.isfinite(value)):
        raise TypeError(f"{value!r} is no {kinds[0].__name__}")
    return value


def _number(value: Any) -> float:
    return _is(value, float, int)


def _whole(value: Any) -> int:
    return _is(value, int)


def _text(value: Any) -> str:
    return _is(value, str)


def _operator(value: Any) -> tuple[str, float]:
    name, microseconds = _is(value, list)
    return _text(name), _number(microseconds)


def _tensor(value: Any) -> TensorFacts:
    facts = TensorFacts(**{**value, "shape": tuple(map(_whole, _is(value["shape"], list)))})
    _text(facts.name), _text(facts.type), _number(facts.scale), _whole(facts.zero_point)
    return facts


# How each line is read; one that is not known is passed over.
READ: dict[str, Callable[[Any], Any]] = {
    "litert": _text,
    "input": _tensor,
    "output": _tensor,
    "load_ms": _number,
    "first_ms": _number,
    "samples_ms": lambda value: tuple(map(_number, _is(value, list))),
    "operator": _operator,
    "gflops": _number,
    "images": _whole,
    "peak_memory_mb": _number,
    "cores": lambda value: tuple(map(_whole, _is(value, list))),
    "fully_accelerated": lambda value: _is(value, bool),
    "done": lambda value: value,
}
