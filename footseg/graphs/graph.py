"""A model file as a plain graph, with nothing of its format left in it but the operators' own names.

The operators stand in the order of their execution. Tensors have a key: a number in a ``.tflite``, a name in
an ``.onnx``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Shape = tuple[int, ...]
Key = int | str  # by which a format knows a tensor

# Operators that give the same bytes another shape, so that nothing needs to move: both formats', in capitals.
VIEWS = frozenset(("RESHAPE", "SQUEEZE", "UNSQUEEZE", "EXPAND_DIMS", "FLATTEN", "BITCAST", "IDENTITY"))
# Their output follows from shapes alone, which are fixed here.
SHAPES = frozenset(("SHAPE", "RANK", "SIZE", "CONSTANT"))


@dataclass(frozen=True)
class Quantization:
    """What integers stand for: scale x (value - zero point); several scales are those of ``axis``."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int


@dataclass(frozen=True)
class Tensor:
    """A tensor: ``kind`` as "float32" or "int8", ``bits`` an element, ``stored`` bytes (None: no constant).

    ``shape`` is None where the file does not say it or leaves it open. ``data`` is what is stored, where the
    file itself holds it.
    """

    name: str
    shape: Shape | None
    bits: int
    kind: str
    stored: int | None = None
    quantization: Quantization | None = None
    data: memoryview | None = field(default=None, repr=False)

    @property
    def bytes(self) -> int | None:
        """Bytes that it occupies: as stored if it is a constant; None: its shape is not known."""
        if self.stored is not None:
            return self.stored
        return None if self.shape is None else math.ceil(math.prod(self.shape) * self.bits / 8)


@dataclass(frozen=True)
class Operator:
    """One operator: its kind, a name (in a ``.tflite`` that of its first output), that output's shape.

    ``inputs`` has None in the place of an optional one that is left out. ``options`` are the file's own,
    ``version`` is the operator's, ``code`` its number in a ``.tflite``. ``on_loading``: all that it reads is
    constant, so that it is done once and not in an inference.
    """

    op: str
    name: str
    shape: Shape
    inputs: tuple[Key | None, ...]
    outputs: tuple[Key, ...]
    options: Mapping[str, Any]
    version: int
    code: int | None = None
    on_loading: bool = False

    @property
    def reads(self) -> tuple[Key, ...]:
        """The inputs that are there."""
        return tuple(key for key in self.inputs if key is not None)

    @property
    def is_view(self) -> bool:
        """Whether its output is its first input in another shape."""
        return self.op.upper() in VIEWS


@dataclass(frozen=True)
class Graph:
    """A whole file. ``variables`` live from one inference to the next, ``left_out`` was not read."""

    tensors: Mapping[Any, Tensor]  # by Key
    operators: tuple[Operator, ...]
    inputs: tuple[Key, ...]
    outputs: tuple[Key, ...]
    variables: tuple[Key, ...] = ()
    left_out: tuple[str, ...] = ()

    def gives_float(self, operator: Operator) -> bool:
        """Whether any of an operator's results is float32."""
        return any(self.tensors[key].kind == "float32" for key in operator.outputs)


def settled(operators: Iterable[Operator], tensors: Mapping[Any, Tensor]) -> tuple[Operator, ...]:
    """The operators, those marked that are done on loading: fp16 weights made float32, shapes put together.

    LiteRT's DEQUANTIZE runs once on constants and XNNPACK and ONNX Runtime fold them.
    """
    made: set[Key] = set()
    marked = []
    for operator in operators:
        known = all(tensors[key].stored is not None or key in made for key in operator.reads)
        on_loading = operator.op.upper() in SHAPES or (known and bool(operator.reads))
        if on_loading:
            made.update(operator.outputs)
        marked.append(replace(operator, on_loading=on_loading))
    return tuple(marked)


def leading_to(operators: Sequence[Any], tensors: Iterable[Any], given: Iterable[Any] = ()) -> frozenset[int]:
    """Which operators, by index, ``tensors`` are made by, from tensors that are ``given`` on."""
    wanted, known, found = set(tensors), set(given), set()
    for index in reversed(range(len(operators))):  # users come before makers here
        if wanted.intersection(operators[index].outputs):
            wanted.update(set(operators[index].inputs) - known)
            found.add(index)
    return frozenset(found)
