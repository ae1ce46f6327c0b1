"""A model file as a plain graph: what ``tflite`` and ``onnx`` read, ``arena`` and the package count.

Nothing of a file's format is left in it but the operators' own names. The operators stand in the order of
their execution, each tensor has a key, a shape and a width, and the rules of MACs, which depend on how a
format lays out its weights, have been applied by the reader.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]
Key = int | str  # by which a format knows a tensor

# Operators that give the same bytes another shape, so that nothing needs to move: both formats', in capitals.
VIEWS = frozenset(("RESHAPE", "SQUEEZE", "UNSQUEEZE", "EXPAND_DIMS", "FLATTEN", "BITCAST", "IDENTITY"))
# Their output follows from shapes alone, which are fixed here.
SHAPES = frozenset(("SHAPE", "RANK", "SIZE", "CONSTANT"))


@dataclass(frozen=True)
class Tensor:
    """A tensor: ``bits`` an element, ``stored`` bytes in the file (None: no constant).

    ``shape`` is None where the file does not say it, and ``parameters`` the weights among its values: none
    for activations, shapes and indices.
    """

    shape: Shape | None
    bits: int
    kind: str
    stored: int | None = None
    parameters: int = 0

    @property
    def bytes(self) -> int | None:
        """Bytes that it occupies: as stored if it is a constant; None: its shape is not known."""
        if self.stored is not None:
            return self.stored
        return None if self.shape is None else math.ceil(math.prod(self.shape) * self.bits / 8)


@dataclass(frozen=True)
class Macs:
    """MACs of an operator and whether TensorFlow's benchmark rule counts it; None: there is no rule."""

    macs: int | None
    in_tf_benchmark: bool = False


@dataclass(frozen=True)
class Operator:
    """One operator. ``arithmetic`` is the type that it multiplies in, "" for one without MACs.

    ``on_loading``: all that it reads is constant, so that it is done once and not in an inference.
    """

    op: str
    name: str
    shape: Shape
    inputs: tuple[Key, ...]
    outputs: tuple[Key, ...]
    counted: Macs
    arithmetic: str = ""
    on_loading: bool = False

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


def settled(operators: Iterable[Operator], is_constant: Callable[[Key], bool]) -> tuple[Operator, ...]:
    """The operators, those marked that are done on loading: fp16 weights made float32, shapes put together.

    LiteRT's DEQUANTIZE runs once on constants and XNNPACK and ONNX Runtime fold them.
    """
    made: set[Key] = set()
    marked = []
    for operator in operators:
        known = all(is_constant(key) or key in made for key in operator.inputs)
        on_loading = operator.op.upper() in SHAPES or (known and bool(operator.inputs))
        if on_loading:
            made.update(operator.outputs)
        marked.append(dataclasses.replace(operator, on_loading=on_loading))
    return tuple(marked)
