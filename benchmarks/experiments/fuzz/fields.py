"""Damage to single fields of network files: indices, shapes, types and options that no writer would write."""

from collections.abc import Callable
from random import Random
from typing import Any

from footseg.benchmarks.experiments.fuzz.damage import Damage, of_bytes

NUMBERS = (-1, 0, 1, 2, 3, 7, 100, 127, 255, 65_536, 2**24, 2**31 - 1, -(2**31))


def of_tflite(data: bytes, rng: Random) -> Damage:
    """As bytes; or a field of a tensor, an operator, a buffer or of the graph's ends is another number."""
    if rng.random() < 0.3:
        return of_bytes(data, rng)
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data)
    graph = model.subgraphs[0]
    tensor, operator = rng.choice(graph.tensors), rng.choice(graph.operators)
    about = (tensor.quantization or tensor, operator.builtinOptions or operator)
    parts = (tensor, operator, *about, rng.choice(model.buffers), graph, rng.choice(model.operatorCodes))
    where = _set_one(rng.choice(parts), rng)
    builder = flatbuffers.Builder(len(data))
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except Exception:  # a number that its field has no room for: flatbuffers' own errors share no base
        return of_bytes(data, rng)
    return where, bytes(builder.Output())


def _set_one(part: Any, rng: Random) -> str:
    """Set one field of a flatbuffer's object to another value of its kind, or to none."""
    import numpy as np

    name = rng.choice([name for name in vars(part) if not name.endswith("Type")])
    value = getattr(part, name)
    if (
        isinstance(value, list | np.ndarray)
        and len(value)
        and not isinstance(value[0], int | float | np.number)
    ):
        value = list(value)
        del value[rng.randrange(len(value))]
    elif isinstance(value, list | np.ndarray):
        value = _changed([one.item() if isinstance(one, np.generic) else one for one in value], rng)
    elif isinstance(value, bool):
        value = not value
    elif isinstance(value, int):
        value = rng.choice(NUMBERS)
    elif isinstance(value, float):
        value = rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))
    elif isinstance(value, bytes):
        value = rng.choice((b"", b"\xff\xfe", b"x" * 5000, b"../../a\0b"))
    elif name in ("inputs", "outputs", "shape", "shapeSignature"):
        value = [rng.choice(NUMBERS)]
    else:
        value = None
    setattr(part, name, value)
    return f"{type(part).__name__}.{name}"


def _changed(values: list[Any], rng: Random) -> list[Any]:
    """Numbers of which one is another, is gone, or is there twice."""
    at = rng.randrange(len(values)) if values else 0
    deed = rng.choice(("set", "set", "set", "gone", "double", "none"))
    if deed == "none" or not values:
        return []
    if deed == "set":
        fits = NUMBERS if isinstance(values[at], int) else (0.0, -1.0, float("nan"), float("inf"))
        return [*values[:at], rng.choice(fits), *values[at + 1 :]]
    return [*values[:at], *values[at + 1 :]] if deed == "gone" else [*values, values[at]]


def of_onnx(data: bytes, rng: Random) -> Damage:
    """As bytes; or a node, a name, a shape, a type, an attribute or a constant is another one."""
    if rng.random() < 0.3:
        return of_bytes(data, rng)
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    node, held = rng.choice(graph.node), rng.choice(graph.initializer) if graph.initializer else None
    end = rng.choice((graph.input[0], graph.output[0]))
    names = [name for one in graph.node for name in (*one.input, *one.output)]
    number = rng.choice([n for n in NUMBERS if n >= 0])

    def attribute() -> None:
        if node.attribute:
            found = rng.choice(node.attribute)
            found.i, found.f = rng.choice(NUMBERS), rng.choice((-1.0, float("nan"), 1e30))
            if found.ints:
                found.ints[rng.randrange(len(found.ints))] = rng.choice(NUMBERS)

    def constant() -> None:
        if held is not None and held.dims:
            held.dims[rng.randrange(len(held.dims))] = rng.choice(NUMBERS)

    def kind() -> None:
        if held is not None:
            held.data_type = rng.choice((0, 3, 8, 20, 99))

    def read() -> None:
        if node.input:
            node.input[0] = rng.choice((*names, "", "nowhere"))

    def stored() -> None:
        if held is not None:
            held.raw_data = rng.choice((b"", held.raw_data[: len(held.raw_data) // 2], held.raw_data * 2))

    deeds: dict[str, Callable[[], object]] = {
        "a node is gone": lambda: graph.node.remove(node),
        "a node twice": lambda: graph.node.append(node),
        "an input": read,
        "an output": lambda: node.output.__setitem__(0, rng.choice((*names, "", "a\0b"))),
        "no output": lambda: node.ClearField("output"),
        "a kind": lambda: setattr(node, "op_type", rng.choice(("", "Add", "If", "Nothing", "Reshape"))),
        "an attribute": attribute,
        "a constant's side": constant,
        "a constant's type": kind,
        "a constant's bytes": stored,
        "no ends": lambda: graph.ClearField(rng.choice(("input", "output"))),
        "an end's name": lambda: setattr(end, "name", rng.choice((*names, ""))),
        "an end's side": lambda: _side(end, number, rng),
        "an end's type": lambda: setattr(end.type.tensor_type, "elem_type", rng.choice((0, 3, 7, 8, 10, 99))),
        "no shape": lambda: end.type.tensor_type.ClearField("shape"),
        "versions": lambda: setattr(model.opset_import[0], "version", rng.choice(NUMBERS)),
        "IR": lambda: setattr(model, "ir_version", rng.choice(NUMBERS)),
        "no graph": lambda: model.ClearField("graph"),
    }  # fmt: skip
    deed = rng.choice(tuple(deeds))
    deeds[deed]()
    return deed, model.SerializeToString()


def _side(end: Any, number: int, rng: Random) -> None:
    sides = end.type.tensor_type.shape.dim
    if sides:
        side = rng.choice(sides)
        if rng.random() < 0.3:
            side.dim_param = "N"
        else:
            side.dim_value = number
