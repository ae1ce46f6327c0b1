"""The work of a Keras model, by its layers: a figure before there is a file, and a check on the file's."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from footseg.benchmarks.cost.work import Work
from footseg.graphs.graph import Shape
from footseg.graphs.keras import calls, functional, macs


def layers(model: Any) -> Iterator[tuple[str, str, Shape, int, Work]]:
    """Kind, name, output shape, parameters and work of each layer of a built model, in their order.

    Raises:
        ValueError: a shape is open, or a layer is used more than once (its cost is then the file's to
            tell: export the model and ask ``cost.of_file``).
    """
    times = Counter(id(call.operation) for call in calls(functional(model)))
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        if times[id(layer)] != 1:  # layer.output would silently be that of the first use
            raise ValueError(
                f"layer {layer.name} is used {times[id(layer)]} times in {model.name}: "
                "export the model and count the file instead"
            )
        if hasattr(layer, "layers"):
            yield from layers(layer)
            continue
        output = tuple(layer.output.shape[1:])
        inputs = tuple(layer.input.shape[1:]) if hasattr(layer.input, "shape") else ()  # several: a list
        if None in output or None in inputs:
            raise ValueError(
                f"layer {layer.name} has the open shape {output}: build with a fixed input_shape"
            )
        own = layer.count_params()
        if not (parts := macs(layer, inputs, output)):
            yield kind, layer.name, output, own, Work()
        for part in parts:
            count = part.each * (inputs[-1] if part.by_input else 1) * (output[-1] if part.by_output else 1)
            yield part.op, layer.name, output, own, Work(count, part.in_tf_benchmark)
            own = 0
