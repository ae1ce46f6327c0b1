"""The memory that an inference needs for its activations, computed: planned as LiteRT plans it.

Every tensor that is made in an inference lives from the operator that makes it to the last that reads it.
The graph's inputs and variables live throughout, and so do its outputs once they are made, for LiteRT lets
nobody write over what its user may still read. Constants, and what is made of constants on loading (float32
weights out of float16), are no activations.

Two figures follow. ``live_bytes``: what lives at each operator; no arena can be smaller than the largest of
these. ``plan``: the arena by greedy placing, largest tensor first, each into the tightest gap between those
that live with it (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020), in
the details as LiteRT's arena_planner.cc and simple_memory_arena.cc: what lives throughout comes first, and
each offset is a multiple of 64 bytes. Tests hold it to the addresses that LiteRT's interpreter gives its
tensors.

What it is not. Kernels take scratch memory besides (LiteRT's optimized convolutions unroll their input), and
some operators write over an input that nobody reads again: LiteRT lets those of ``IN_PLACE`` do so, which
``shared`` tells and the arena leaves out unless asked. FastLinkNet at 256x256 in float32: 2.10 MB by this
plan and by LiteRT's reference kernels, 6.55 MB with its optimized ones. XNNPACK plans a workspace of its own
for what lies between the inputs and outputs of its part: greedily too, with some bytes to spare behind each
tensor, scratch memory of operators, and weights packed anew beside those of the file. ONNX Runtime's arena
grows by powers of two. Both can need more or less than this figure; it is the one that follows from the
file alone.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from footseg.graphs.graph import VIEWS, Graph, Key, Operator

ALIGNMENT = 64
# Which inputs LiteRT lets an operator write over; those of ``VIEWS`` change nothing.
IN_PLACE: Mapping[str, tuple[int, ...]] = {
    "ADD": (0, 1),
    "SUB": (0, 1),
    "MUL": (0, 1),
    "DIV": (0, 1),
    "SOFTMAX": (0,),
    "DYNAMIC_UPDATE_SLICE": (0,),
    **dict.fromkeys(VIEWS, (0,)),
}
# So small a tensor may still be a shape that is not set.
SCALAR_BYTES = 4


@dataclass(frozen=True)
class Buffer:
    """A tensor's bytes and the operators, by index and both included, that it lives through."""

    key: Key
    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class ArenaPlan:
    """Where each buffer lies, in bytes from the start, and how many bytes the arena has."""

    offsets: Mapping[Key, int]
    bytes: int


def buffers(graph: Graph, shared: Mapping[Key, Key] | None = None) -> tuple[Buffer, ...] | None:
    """What has to be kept in an inference, with its lifetimes; None: the shape of some of it is not known.

    ``shared`` names for a tensor the one whose memory it takes over, as ``shared`` finds them.
    """
    root = shared or {}
    end = len(graph.operators)
    first: dict[Key, int] = dict.fromkeys((*graph.variables, *graph.inputs), 0)
    read: dict[Key, int] = {}
    for index, operator in enumerate(graph.operators):
        if operator.on_loading:
            continue
        for key in operator.outputs:
            first.setdefault(root.get(key, key), index)
        read.update(dict.fromkeys((root.get(key, key) for key in operator.reads), index))
    kept = {*graph.variables, *graph.inputs, *graph.outputs}
    found = []
    for key, start in first.items():
        size = graph.tensors[key].bytes
        if size is None:
            return None
        # One that nobody reads is never given back either.
        found.append(Buffer(key, size, start, end if key in kept else read.get(key, end)))
    return tuple(found)


def shared(graph: Graph) -> dict[Key, Key]:
    """Tensors that LiteRT puts where an input of their operator lies, with the first owner of the place."""
    made = {key for o in graph.operators if not o.on_loading for key in o.outputs}
    uses = Counter((*graph.outputs, *graph.variables, *(key for o in graph.operators for key in o.reads)))
    places: dict[Key, Key] = {}
    for operator in graph.operators:
        if operator.on_loading or not operator.outputs or operator.outputs[0] in graph.outputs:
            continue
        for position in IN_PLACE.get(operator.op.upper(), ()):
            key = operator.inputs[position]
            if key is not None and key in made and (operator.is_view or _free(graph, operator, key, uses)):
                owner = places.get(key, key)
                if operator.is_view or uses[owner] == 1:
                    places[operator.outputs[0]] = owner
                break
    return places


def _free(graph: Graph, operator: Operator, key: Key, uses: Mapping[Key, int]) -> bool:
    """Whether the operator is the only one that reads ``key``, and its result is as large."""
    size = graph.tensors[key].bytes
    return uses[key] == 1 and size == graph.tensors[operator.outputs[0]].bytes and (size or 0) > SCALAR_BYTES


def live_bytes(kept: Sequence[Buffer], operators: int) -> tuple[int, ...]:
    """Bytes that live at each of so many operators."""
    return tuple(sum(b.bytes for b in kept if b.first <= index <= b.last) for index in range(operators))


def plan(kept: Sequence[Buffer], alignment: int = ALIGNMENT) -> ArenaPlan:
    """Places for the buffers such that none overlaps another that lives at the same time.

    Raises:
        ValueError: the alignment is not positive.
    """
    if alignment < 1:
        raise ValueError(f"alignment must be at least 1 byte, got {alignment}")
    end = max((buffer.last for buffer in kept), default=0)
    throughout = [buffer for buffer in kept if buffer.first == 0 and buffer.last == end]
    rest = [buffer for buffer in kept if buffer.first != 0 or buffer.last != end]
    placed: list[tuple[int, Buffer]] = []
    for buffer in [*throughout, *sorted(rest, key=lambda b: (-b.bytes, b.first))]:
        if buffer.bytes:
            placed.append((_offset(buffer, placed, alignment), buffer))
            placed.sort(key=lambda place: place[0])
    offsets = {buffer.key: offset for offset, buffer in placed}
    return ArenaPlan(offsets, max((offset + buffer.bytes for offset, buffer in placed), default=0))


def _offset(buffer: Buffer, placed: Sequence[tuple[int, Buffer]], alignment: int) -> int:
    """The tightest gap that holds the buffer, else behind all that live with it."""
    best, tightest, position = None, math.inf, 0
    for offset, other in placed:
        if other.last < buffer.first or other.first > buffer.last:
            continue
        start = -(-position // alignment) * alignment
        if start + buffer.bytes <= offset and offset - start < tightest:
            # Of the gap as it is, not from ``start``: so does LiteRT, whose addresses these are to be.
            best, tightest = start, offset - position
        position = max(position, offset + other.bytes)
    return -(-position // alignment) * alignment if best is None else best
