"""What files cost, as lines for a terminal of 110 columns and as a document. All of it is computed."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from footseg.benchmarks.cost import Cost
from footseg.benchmarks.cost.roofline import Bound
from footseg.benchmarks.figures import millions
from footseg.terminal import aligned, wrapped

WIDEST_FILE = 40
WIDEST_NAME = 24
WIDEST_OP = 15
COLUMNS = 110
UNKNOWN = "?"


def document(name: str, cost: Cost, limit: Bound | None = None) -> dict[str, Any]:
    """The cost of one file with its operators, and the bound of a core, for --json."""
    operators = [
        {**dataclasses.asdict(o), "moved_bytes": o.moved_bytes, "intensity": o.intensity}
        for o in cost.operators
    ]
    found: dict[str, Any] = {
        "file": name,
        "kind": "computed",
        **cost.summary(),
        "live_bytes": cost.live_bytes,
        "in_place_bytes": cost.in_place_bytes,
        "unpacked_bytes": cost.unpacked_bytes,
        "intensity": cost.intensity,
        "left_out": list(cost.left_out),
        "operators": operators,
    }
    if limit is not None:
        for entry, operator in zip(operators, limit.operators, strict=True):
            entry.update(compute_ms=operator.compute_ms, memory_ms=operator.memory_ms, bound_by=operator.by)
        found["bound"] = {
            "core": dataclasses.asdict(limit.core),
            "ms": limit.ms,
            "compute_ms": limit.compute_ms,
            "memory_ms": limit.memory_ms,
            "memory_share": limit.memory_share,
        }
    return found


def totals(files: Sequence[tuple[str, Cost, Bound | None]]) -> str:
    """A line of totals for each file, then one of the bounds on a core, and what to know of both."""
    heads = ("file", "parameters", "M MACs", "M FLOPs", "M TF rule", "peak MB", "moved MB", "FLOP/B")
    rows = [
        (
            _cut_front(name, WIDEST_FILE),
            f"{cost.parameters:,}",
            *map(millions, (cost.macs, cost.flops, cost.flops_tf_benchmark)),
            _scaled(cost.peak_activation_bytes, 1e6, 2),
            _scaled(cost.bytes_moved, 1e6, 1),
            UNKNOWN if cost.intensity is None else f"{cost.intensity:.1f}",
        )
        for name, cost, _ in files
    ]
    notes = ["computed from the files; nothing was run. peak: arena of the activations; moved: at least"]
    folded = "values stored in the file, batch normalisation folded into its convolutions"
    notes.append(f"parameters: {folded}; footseg networks counts it, with its means and variances")
    uncounted = sorted({op for _, cost, _ in files for op in cost.uncounted})
    if uncounted:
        notes.append(f"no MACs counted in: {', '.join(uncounted)}")
    notes += [f"{name}: left out {what}" for name, cost, _ in files for what in cost.left_out]
    limits = [(name, limit) for name, _, limit in files if limit]
    parts = [aligned(heads, rows), *(wrapped(note, COLUMNS) for note in notes)]
    return "\n".join([*parts, "", _bounds(limits)] if limits else parts)


def _bounds(limits: Sequence[tuple[str, Bound]]) -> str:
    """A line of times for each file, and the core that they are of."""
    heads = ("file", "bound ms", "compute ms", "memory ms", "bound by memory")
    rows = [
        (
            _cut_front(name, WIDEST_FILE),
            *(f"{value:.3f}" for value in (limit.ms, limit.compute_ms, limit.memory_ms)),
            f"{limit.memory_share:.0%}",
        )
        for name, limit in limits
    ]
    core = limits[0][1].core
    rates = ", ".join(f"{kind} {rate:g}" for kind, rate in core.macs_per_cycle.items())
    notes = [
        f"least times on one {core.name}, computed: {core.ghz:g} GHz, {core.gbps:g} GB/s, "
        f"MACs a cycle: {rates}" + (f"; {core.source}" if core.source else ""),
        "data out of caches can beat the memory part, nothing the compute part",
    ]
    return "\n".join([aligned(heads, rows), *(wrapped(note, COLUMNS) for note in notes)])


def layers(cost: Cost, limit: Bound | None = None) -> str:
    """A line for each operator in the order of execution, with the totals last."""
    heads: tuple[str, ...] = ("layer", "operator", "output", "M MACs", "parameters", "KB moved", "FLOP/B")
    rows: list[tuple[str, ...]] = [
        (
            _cut(_layer(operator.name), WIDEST_NAME if limit else 2 * WIDEST_NAME),
            _cut(operator.op, WIDEST_OP),
            "x".join(map(str, operator.output_shape)),
            f"{operator.macs / 1e6:.2f}" if operator.macs else "-",
            f"{operator.parameters:,}" if operator.parameters else "-",
            _scaled(operator.moved_bytes, 1e3, 1),
            f"{operator.intensity:.1f}" if operator.intensity else "-",
        )
        for operator in cost.operators
    ]
    whole = (
        f"{cost.macs / 1e6:.2f}", f"{cost.parameters:,}", _scaled(cost.bytes_moved, 1e3, 1),
        UNKNOWN if cost.intensity is None else f"{cost.intensity:.1f}",
    )  # fmt: skip
    rows.append(("in all", "", "", *whole))
    if limit:
        heads += ("ms", "bound by")
        ends = [(f"{own.ms:.3f}", f"{own.by} {own.operator.arithmetic}".strip()) for own in limit.operators]
        rows = [(*row, *end) for row, end in zip(rows, [*ends, (f"{limit.ms:.3f}", "")], strict=True)]
    return aligned(heads, rows, left=(0, 1, 2, heads.index("bound by") if limit else 0))


def _layer(name: str) -> str:
    """Of the names that the converter joined the first, without the network's own."""
    first = name.partition(";")[0]
    return first.partition("/")[2] or first


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _cut_front(text: str, width: int) -> str:
    """Names of files differ at their ends."""
    return text if len(text) <= width else "…" + text[1 - width :]


def _scaled(value: int | None, unit: float, digits: int) -> str:
    return UNKNOWN if value is None else f"{value / unit:,.{digits}f}"
