"""What the rules of counting say of a file, whose rules are those of its format (``tflite``, ``onnx``)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from footseg.graphs.graph import Graph


@dataclass(frozen=True)
class Work:
    """What an operator does: its MACs (None: there is no rule), whether TensorFlow's rule counts them.

    ``arithmetic`` is the type that it multiplies in, "" for one without MACs.
    """

    macs: int | None = None
    in_tf_benchmark: bool = False
    arithmetic: str = ""


@dataclass(frozen=True)
class Counted:
    """A graph, the work of each of its operators, and the number of weights in each tensor of weights."""

    graph: Graph
    work: tuple[Work, ...]
    weights: Mapping[Any, int]  # by Key


def multiplied_in(data: str) -> str:
    """The type that a runtime multiplies data of a type in: unsigned integers as signed ones."""
    return "int8" if data == "uint8" else data
