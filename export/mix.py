"""Each operator of a network in a precision of its own, calibrated once for as many mixtures as are tried."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footseg.errors import require
from footseg.export import quantize
from footseg.export.conversion import conversion
from footseg.export.ends import Asked
from footseg.export.portable import portable
from footseg.graphs.tflite import read

# What an operator may be in, most exact first. "fp16" and "int8w" are weights only, computed in float; "int8"
# and "int4" have int8 activations and integer arithmetic. Not here: int8 with int16 activations, of which
# XNNPACK takes nothing (a FastLinkNet with one such operator ran 2.5 times as long as with none).
LEVELS = ("float", "fp16", "int8w", "int8", "int4")


@dataclass(frozen=True)
class Mixable:
    """One operator that can be quantized: its index in order of execution, kind, output tensor and layer.

    ``levels`` are those of ``LEVELS`` that the library has for its kind, and "float".
    """

    index: int
    kind: str
    output: str
    layer: str
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Mixer:
    """Makes mixtures of the fp32 ``.tflite`` at ``path`` from ``ranges`` of activations, measured once.

    Of its ``ends`` only integer codes are made here, as by ``export.quantize``.
    """

    path: Path
    operators: tuple[Mixable, ...]
    ends: Asked
    ranges: str
    statistics: Any

    def __call__(self, levels: Mapping[str, str]) -> bytes:
        """The ``.tflite`` whose operators (by output tensor) have these levels; all others stay in float.

        Raises:
            ValueError: an output tensor or a level that ``operators`` does not have.
            FootsegError: the quantizer refused the mixture.
        """
        by_output = {operator.output: operator for operator in self.operators}
        for output, level in levels.items():
            known = by_output[output].levels if output in by_output else ()
            if level not in known:
                raise ValueError(
                    f"{output!r} cannot be in {level!r}: it has {', '.join(known) or 'no level, being float'}"
                )
        with conversion(f"quantization of {self.path.name} operator by operator"):
            quantizer = require("ai_edge_quantizer.quantizer", "compress")
            from ai_edge_quantizer.recipe_manager import RecipeManager

            manager = RecipeManager()
            quantize.set_ends(manager, self.ends)
            for output, level in levels.items():
                if level != "float":
                    _configure(manager, by_output[output].kind, level, self.ranges, output)
            done = quantizer.Quantizer(str(self.path), manager.get_quantization_recipe()).quantize(
                self.statistics, enable_progress_bar=False, enable_progress_report=False
            )
            return portable(bytes(done.quantized_model))


def calibrated(
    path: Path,
    images: np.ndarray,
    *,
    ends: Asked = quantize.FLOAT,
    ranges: str = "minmax",
    weight_ranges: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    threads: int = 1,
) -> Mixer:
    """A Mixer of the fp32 file at ``path``, calibrated on ``images``, uint8 (N, H, W, 3).

    ``ends``, ``ranges`` and ``weight_ranges`` are as in ``export.quantize``. What that keeps in float for
    reasons of its own (the ends, positions of max-unpooling, dead activations) is not among its operators.

    Raises:
        ValueError: unknown ``ranges``, or no images.
        FootsegError: the quantizer refused the network.
    """
    quantize.check_options("int8", ends, ranges)
    if not len(images):
        raise ValueError("calibration needs images and got none: 64 is a good number")
    with conversion(f"calibration of {path.name}"):
        require("ai_edge_quantizer.quantizer", "compress")
        graph = read(path)
        statistics = quantize.statistics(path, quantize.recipe("int8", ranges), images, ranges, threads)
        statistics |= {name: dict(limits) for name, limits in (weight_ranges or {}).items()}
        kept = {
            operator.name
            for operator in [
                *quantize.before_positions(graph),
                *quantize.float_ends(graph, ends),
                *quantize.dead(graph, statistics),
            ]
        }
        candidates = tuple(
            Mixable(index, operator.op, operator.name, layer(operator.name), levels)
            for index, operator in enumerate(graph.operators)
            if operator.name not in kept and len(levels := _levels(operator.op)) > 1
        )
    return Mixer(path, candidates, ends, ranges, statistics)


def layer(output: str) -> str:
    """The layer that a tensor's name speaks of, for people: of fused ones that of the weights.

    The converter joins the names of all that it fused with ";" and writes network/layer/operation each;
    Keras's export appends _1 to network and layers alike, and names the file's output after the call.
    """
    if output.startswith("StatefulPartitionedCall"):
        return "output"
    parts = [part.split("/") for part in output.split(";")]
    weighted = [part for part in parts if len(part) > 2 and part[-1].rstrip("0123456789") in WEIGHTED]
    chosen = (weighted or parts)[0]
    if len(chosen) < 2:
        return output
    network, name = chosen[0], chosen[-2]
    return name.removesuffix("_1") if network.endswith("_1") else name


# How the converter ends the names of operations that have weights (without the number it may append).
WEIGHTED = ("convolution", "Conv2D", "depthwise", "conv_transpose", "MatMul")


def _levels(kind: str) -> tuple[str, ...]:
    """Those of ``LEVELS`` that the library has for an operator's kind."""
    from ai_edge_quantizer.recipe_manager import RecipeManager

    found = ["float"]
    weighted = quantize.NAMES.get(kind, kind) in quantize.WEIGHTED
    for level in LEVELS[1:] if weighted else ("int8",):
        with contextlib.suppress(ValueError):  # no such operator, or not in these bits
            _configure(RecipeManager(), kind, level, "minmax", "any")
            found.append(level)
    return tuple(found)


def _configure(manager: Any, kind: str, level: str, ranges: str, output: str) -> None:
    """Add one operator at one level to a RecipeManager; ValueError where the library has it not."""
    from ai_edge_quantizer.qtyping import TFLOperationName

    precision, bits = ("int8", 4) if level == "int4" else (level, 8)
    quantize.configure(
        manager,
        TFLOperationName(quantize.NAMES.get(kind, kind)),
        precision,
        ranges,
        bits,
        quantize.scope_of(output),
    )
