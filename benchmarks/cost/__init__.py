"""What one inference costs, computed from the file itself and never measured.

One multiply-accumulate (MAC) is one multiplication whose product is added to a sum. Per operator, for
a batch of one, padding counted as if it were data (runtimes differ in whether they skip it), zeros among the
weights like other weights:

    convolution              output elements x kh x kw x input channels of a group
    depthwise convolution    output elements x kh x kw
    dense, matrix product    output elements x inner dimension
    transposed convolution   input elements x kh x kw x output channels: each input value is
                             multiplied once with the whole kernel of its channel. Counting from the
                             output side would multiply by the stride squared the work that no
                             kernel does, for most taps of a strided one fall between the inputs.

Three figures come of it, because published ones follow three rules and a figure means nothing without
its rule: ``macs``; ``flops`` = 2 x MACs; ``flops_tf_benchmark``, what TensorFlow's benchmark_model
printed with --show_flops (and the thesis quotes): 2 x MACs of ordinary convolutions and matrix products
only, neither transposed nor depthwise convolutions.

All else (activations, pooling, resizing, additions, normalisation) is not counted but named.

Bytes moved are the least that an operator must move: each of its inputs and its weights read once and its
outputs written once, as wide as they are stored (two int4 values are one byte). What is done once on
loading is no part of an inference: weights that a file holds in float16 are read as the float32 that the
runtime made of them. Operators that only change a shape move nothing. Left out is what a runtime moves
besides: data read again because a cache did not hold it, inputs unrolled for a matrix product, packed
copies. An operator that picks from an input (GATHER, SLICE) is taken to read all of it, and one that runtimes
join with another (a ReLU behind a convolution of an ONNX file) to move its own. Arithmetic intensity
is FLOPs (2 x MACs) per byte moved; ``roofline`` makes a bound of it. Activation memory is in ``arena``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg.benchmarks.cost import arena
from footseg.benchmarks.cost import onnx as cost_onnx
from footseg.benchmarks.cost import tflite as cost_tflite
from footseg.benchmarks.cost.work import Counted, Work
from footseg.errors import FootsegError
from footseg.graphs.graph import Graph, Key, Operator, Shape


@dataclass(frozen=True)
class OperatorCost:
    """One operator of the graph: its index in execution order, its name in the file's own words.

    ``arithmetic`` is the type that it multiplies in: "float32", "float16", "int8", "int16", or "" for an
    operator without MACs. Bytes are None where a shape is not known: ``read_bytes`` of activations,
    ``weight_bytes`` of constants, ``written_bytes``, ``live_bytes`` of all activations that are alive then.
    """

    index: int
    op: str
    output_shape: Shape
    macs: int
    parameters: int
    name: str = ""
    arithmetic: str = ""
    read_bytes: int | None = None
    weight_bytes: int | None = None
    written_bytes: int | None = None
    live_bytes: int | None = None

    @property
    def moved_bytes(self) -> int | None:
        """All bytes that it must move at least."""
        return _sum((self.read_bytes, self.weight_bytes, self.written_bytes))

    @property
    def intensity(self) -> float | None:
        """FLOPs (2 x MACs) for each byte moved; None where nothing moves."""
        return 2 * self.macs / self.moved_bytes if self.moved_bytes else None


@dataclass(frozen=True)
class Cost:
    """Cost of one inference.

    ``parameters`` are the values stored in the file; a network's normalisation is folded into its
    convolutions on export, so a file has fewer than the Keras model. ``uncounted`` names the operators
    that add nothing to the MACs, ``left_out`` what of the file was not read.

    Bytes, None of a Keras model and where a shape is not known: ``peak_activation_bytes`` is the arena that
    LiteRT's planner makes, ``live_bytes`` the least that any can have, ``in_place_bytes`` the arena when
    operators write over inputs as LiteRT lets them; ``unpacked_bytes`` of constants that are made on
    loading; ``bytes_moved`` in all. See ``arena`` for what these are not.
    """

    parameters: int
    macs: int
    flops: int
    flops_tf_benchmark: int
    operators: tuple[OperatorCost, ...]
    uncounted: tuple[str, ...]
    peak_activation_bytes: int | None = None
    live_bytes: int | None = None
    in_place_bytes: int | None = None
    unpacked_bytes: int | None = None
    bytes_moved: int | None = None
    left_out: tuple[str, ...] = ()

    @property
    def intensity(self) -> float | None:
        """FLOPs (2 x MACs) for each byte moved."""
        return self.flops / self.bytes_moved if self.bytes_moved else None

    def summary(self) -> dict[str, Any]:
        """The totals without the operators, for a line of results."""
        return {
            "parameters": self.parameters,
            "macs": self.macs,
            "flops": self.flops,
            "flops_tf_benchmark": self.flops_tf_benchmark,
            "uncounted": list(self.uncounted),
            "peak_activation_bytes": self.peak_activation_bytes,
            "bytes_moved": self.bytes_moved,
        }


def of_file(path: Path) -> Cost:
    """Cost of a .tflite or .onnx file; nothing is run.

    Only the main graph is walked: the others are bodies of control flow, whose number of turns the file does
    not say, and the operator that calls them is named as uncounted.

    Raises:
        FootsegError: no such file, neither of the suffixes, a damaged one, or a shape that is left open.
        MissingExtraError: the package onnx is not installed.
    """
    counters = {".tflite": cost_tflite.counted, ".onnx": cost_onnx.counted}
    if path.suffix not in counters:
        raise FootsegError(f"{path} is neither .tflite nor .onnx: its cost cannot be read")
    if not path.is_file():
        raise FootsegError(f"no such file: {path}")
    return _of_graph(counters[path.suffix](path))


def cost_of_keras(model: Any) -> Cost:
    """Cost of a built functional or sequential Keras model, read from its layers by their class names.

    ``parameters`` is Keras's own count, moving statistics included. Bytes are the file's to tell.

    Raises:
        ValueError: a shape is open, or a layer is used more than once (its cost is then the file's to
            tell: export the model and ask ``of_file``).
    """
    from footseg.benchmarks.cost.keras import layers

    counted = tuple(layers(model))
    operators = tuple(
        OperatorCost(index, op, shape, work.macs or 0, own, name)
        for index, (op, name, shape, own, work) in enumerate(counted)
    )
    return Cost(
        parameters=model.count_params(),
        operators=operators,
        **_macs((op, work) for op, *_, work in counted),
    )


def _of_graph(found: Counted) -> Cost:
    graph = found.graph
    kept = arena.buffers(graph)
    shared = arena.buffers(graph, arena.shared(graph))
    live = arena.live_bytes(kept, len(graph.operators)) if kept is not None else ()
    operators = _operators(found, live)
    unpacked = (k for o in graph.operators if o.on_loading and o.reads for k in o.outputs)
    return Cost(
        parameters=sum(operator.parameters for operator in operators),
        operators=operators,
        **_macs(zip((operator.op for operator in graph.operators), found.work, strict=True)),
        peak_activation_bytes=arena.plan(kept).bytes if kept is not None else None,
        live_bytes=max(live, default=None),
        in_place_bytes=arena.plan(shared).bytes if shared is not None else None,
        unpacked_bytes=_sum(graph.tensors[key].bytes for key in unpacked),
        bytes_moved=_sum(operator.moved_bytes for operator in operators),
        left_out=graph.left_out,
    )


def _macs(works: Iterable[tuple[str, Work]]) -> dict[str, Any]:
    """The totals of MACs, and the operators that have none, of what each operator does."""
    works = tuple(works)
    macs = sum(work.macs or 0 for _, work in works)
    return {
        "macs": macs,
        "flops": 2 * macs,
        "flops_tf_benchmark": sum(2 * (work.macs or 0) for _, work in works if work.in_tf_benchmark),
        "uncounted": tuple(sorted({op for op, work in works if work.macs is None})),
    }


def _operators(counted: Counted, live: Sequence[int]) -> tuple[OperatorCost, ...]:
    graph = counted.graph
    made = {key for o in graph.operators if o.on_loading for key in o.outputs}
    claimed: set[Key] = set()  # weights that two operators share are parameters of the first
    found = []
    for index, (operator, work) in enumerate(zip(graph.operators, counted.work, strict=True)):
        own = sum(counted.weights.get(key, 0) for key in set(operator.reads) - claimed)
        claimed.update(operator.reads)
        read, weights, written = _moved(graph, operator, made)
        found.append(
            OperatorCost(
                index,
                operator.op,
                output_shape=operator.shape,
                macs=work.macs or 0,
                parameters=own,
                name=operator.name,
                arithmetic=work.arithmetic,
                read_bytes=read,
                weight_bytes=weights,
                written_bytes=written,
                live_bytes=live[index] if live else None,
            )
        )
    return tuple(found)


def _moved(graph: Graph, operator: Operator, made: set[Key]) -> tuple[int | None, ...]:
    """Bytes of activations read, of weights read and of activations written."""
    if operator.on_loading or operator.is_view:
        return 0, 0, 0
    inputs = set(operator.reads)
    constant = {key for key in inputs if key in made or graph.tensors[key].stored is not None}
    return tuple(
        _sum(graph.tensors[key].bytes for key in keys)
        for keys in (inputs - constant, constant, operator.outputs)
    )


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum, None if one of them is not known."""
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
