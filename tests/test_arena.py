"""The arena: lifetimes and places by hand, no overlap anywhere, and LiteRT's own addresses, exactly."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from footseg.benchmarks.cost import arena
from footseg.benchmarks.cost.arena import Buffer
from footseg.graphs.tflite import read
from tests.small_graphs import T, tflite

IMAGE = (1, 8, 8, 4)  # 1024 bytes


def diamond(tmp_path: Path) -> Path:
    """x -> a -> b -> ADD(a, b) = c -> y; a tensor is 1024 bytes."""
    ops = [("ABS", [0], [1]), ("ABS", [1], [2]), ("ADD", [1, 2], [3]), ("ABS", [3], [4])]
    return tflite(tmp_path / "diamond.tflite", [T(IMAGE)] * 5, ops, [0], [4])


def test_lifetimes_by_hand(tmp_path: Path) -> None:
    kept = arena.buffers(read(diamond(tmp_path)))
    assert kept is not None
    # The graph's ends live to index 4, behind the last operator.
    lives = {0: (0, 4), 1: (0, 2), 2: (1, 2), 3: (2, 3), 4: (3, 4)}
    assert {b.key: (b.first, b.last) for b in kept} == lives
    assert {b.bytes for b in kept} == {1024}
    # x a | x a b | x a b c | x c y
    assert arena.live_bytes(kept, 4) == (2048, 3072, 4096, 3072)
    plan = arena.plan(kept)
    # Of one size, so in the order of their making; y finds the place of a free.
    assert plan.offsets == {0: 0, 1: 1024, 2: 2048, 3: 3072, 4: 1024}
    assert plan.bytes == 4096


def test_an_addition_can_write_over_an_input_that_nobody_reads_again(tmp_path: Path) -> None:
    graph = read(diamond(tmp_path))
    # Not over a: TensorFlow Lite counts two readers of it, though the addition is the last.
    assert arena.shared(graph) == {3: 2}
    kept = arena.buffers(graph, arena.shared(graph))
    assert kept is not None
    assert {b.key: (b.first, b.last) for b in kept} == {0: (0, 4), 1: (0, 2), 2: (1, 3), 4: (3, 4)}
    assert arena.plan(kept).bytes == 3072


def test_places_by_hand() -> None:
    """Largest first, each in the tightest gap, from a multiple of 64 on."""
    kept = [
        Buffer("input", 100, 0, 4),  # throughout: first, at 0
        Buffer("a", 1000, 0, 1),  # largest: at 128
        Buffer("b", 300, 2, 3),  # a is gone: at 128
        Buffer("c", 200, 1, 2),  # beside a (to 1128) and b (to 428): at 1152
        Buffer("d", 60, 2, 2),  # beside b and c: between them, from 448
        Buffer("none", 0, 0, 4),
    ]
    plan = arena.plan(kept)
    assert plan.offsets == {"input": 0, "a": 128, "b": 128, "c": 1152, "d": 448}
    assert plan.bytes == 1352
    assert max(arena.live_bytes(kept, 4)) == 1300
    assert arena.plan(kept, alignment=1).bytes == 1300
    assert arena.plan([]).bytes == 0
    with pytest.raises(ValueError, match="alignment must be at least 1"):
        arena.plan(kept, alignment=0)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_overlaps_and_no_arena_is_smaller_than_what_lives(seed: int) -> None:
    draw = random.Random(seed)
    operators, kept = 30, []
    for key in range(60):
        first = draw.randrange(operators)
        kept.append(Buffer(key, draw.randrange(1, 5000), first, draw.randrange(first, operators)))
    plan = arena.plan(kept)
    assert max(arena.live_bytes(kept, operators)) <= plan.bytes <= sum(b.bytes for b in kept) + 64 * len(kept)
    for one in kept:
        place = plan.offsets[one.key]
        assert place % 64 == 0
        for other in kept:
            if one.key < other.key and one.first <= other.last and other.first <= one.last:
                beside = plan.offsets[other.key]
                assert place + one.bytes <= beside or beside + other.bytes <= place


def addresses(path: Path, keys: list[Any]) -> Mapping[Any, int]:
    """Where LiteRT's interpreter puts these tensors, from the first of them on.

    Its reference kernels ask for no scratch memory, which would lie among the tensors.
    """
    interpreter = Interpreter(
        model_path=str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    found = {key: interpreter.tensor(key)().ctypes.data for key in keys}
    return {key: address - min(found.values()) for key, address in found.items()}


def assert_placed_as_by_litert(path: Path) -> None:
    graph = read(path)
    shared = arena.shared(graph)
    kept = arena.buffers(graph, shared)
    assert kept is not None
    plan = arena.plan(kept)
    real = addresses(path, [*plan.offsets, *shared])
    assert {key: real[key] for key in plan.offsets} == plan.offsets
    assert {key: real[key] for key in shared} == {key: real[owner] for key, owner in shared.items()}
    assert max(real[b.key] + b.bytes for b in kept) == plan.bytes


def test_litert_places_the_diamond_so(tmp_path: Path) -> None:
    assert_placed_as_by_litert(diamond(tmp_path))


def random_network(path: Path, seed: int) -> Path:
    """Forty operators between tensors of several sizes, each reading recent ones."""
    draw = random.Random(seed)
    tensors, ops = [T((1, 4, 4, 3))], []
    for _ in range(40):
        recent = range(max(0, len(tensors) - 6), len(tensors))
        one = draw.choice(recent)
        like = [key for key in recent if tensors[key].shape == tensors[one].shape]
        op = draw.choice(["ABS", "ADD", "MUL", "SUB", "CONCATENATION", "RELU"])
        other = draw.choice(like)
        shape = tensors[one].shape
        if op == "CONCATENATION":
            shape = (sum(tensors[key].shape[0] for key in (one, other)), *shape[1:])
        ops.append((op, [one] if op in ("ABS", "RELU") else [one, other], [len(tensors)]))
        tensors.append(T(shape))
    return tflite(path, tensors, ops, [0], [len(tensors) - 1])


@pytest.mark.parametrize("seed", range(10))
def test_litert_places_random_networks_so(tmp_path: Path, seed: int) -> None:
    assert_placed_as_by_litert(random_network(tmp_path / "m.tflite", seed))


@pytest.mark.parametrize("recipe", ["fp32", "fp16", "int8"])
def test_litert_places_real_networks_so(tiny_artifacts: dict[str, Path], recipe: str) -> None:
    assert_placed_as_by_litert(tiny_artifacts[recipe])


@pytest.mark.parametrize(
    ("op", "in_place"),
    [("ADD", True), ("SUB", True), ("MUL", True), ("DIV", True), ("MAXIMUM", False), ("RELU", False)],
)
def test_litert_writes_over_inputs_of_these(tmp_path: Path, *, op: str, in_place: bool) -> None:
    two = op != "RELU"
    ops = [("ABS", [0], [1]), ("ABS", [0], [2]), (op, [1, 2] if two else [1], [3]), ("ABS", [3], [4])]
    path = tflite(tmp_path / "m.tflite", [T(IMAGE)] * 5, ops, [0], [4])
    real = addresses(path, list(range(5)))
    assert (real[3] == real[1]) == in_place
    assert arena.shared(read(path)) == ({3: 1} if in_place else {})


def test_variables_and_what_nobody_reads_live_throughout(tmp_path: Path) -> None:
    tensors = [T(IMAGE), T(IMAGE, variable=True), T(IMAGE), T(IMAGE)]
    ops = [("ADD", [0, 1], [2]), ("ABS", [0], [3])]  # tensor 2 has no reader
    kept = arena.buffers(read(tflite(tmp_path / "m.tflite", tensors, ops, [0], [3])))
    assert kept is not None
    assert {b.key: (b.first, b.last) for b in kept} == {0: (0, 2), 1: (0, 2), 2: (0, 2), 3: (1, 2)}
