"""Layer by layer: what compression made of each kernel, and what quantizing each operator alone costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg import records
from footseg.benchmarks import figures
from footseg.benchmarks.figures import Cell
from footseg.benchmarks.pages.report_tables import Column, Table
from footseg.compress import sizes
from footseg.compress.sizes import LayerSize
from footseg.grouping import grouped
from footseg.mixtures import Sensitivity
from footseg.run import Compression, Run
from footseg.study import recipes
from footseg.terminal import counted

# Operators of a sensitivity that are shown; the others cost less than the last of these.
OPERATORS = 20


@dataclass(frozen=True)
class Layers:
    """A compressed run: its steps in words and its layers."""

    title: str
    summary: str
    steps: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]
    table: Table


def layers_file(run: Run) -> Path:
    """Where compression left the sizes of a run's layers."""
    return run.path / sizes.LAYERS


def layers(run: Run) -> Layers:
    """What compression made of a run.

    Raises:
        FootsegError: its layers.json is no list of layers.
    """
    title = " → ".join(recipes.step_words(step) for step in run.compression) + f" ({run.path.name})"
    rows = sizes.read_sizes(layers_file(run)) if layers_file(run).is_file() else ()
    summary = ""
    if rows:
        whole = sizes.total(rows, max(run.parameters, sum(row.weights for row in rows)))
        kernels = sum(row.weights for row in rows)
        summary = (
            f"{whole.zeros / kernels:.1%} of the kernels' weights are zero; "
            f"{figures.mb(whole.float_bytes)} MB as floats, {figures.mb(whole.huffman_bytes)} MB "
            f"Huffman-coded: {whole.float_bytes / whole.huffman_bytes:.1f} times smaller"
        )
    return Layers(
        title, summary, tuple(map(_step, run.compression)), _layer_table(f"Layers of {title}", rows)
    )


def sensitivity(path: Path) -> tuple[Table, str, int]:
    """The dearest operators of one sensitivity, what it was measured on, and how many others there are.

    Raises:
        FootsegError: it is no record of a sensitivity.
    """
    record = records.read(Sensitivity, path, "record of a sensitivity", "measure it anew")
    ranked = sorted(record.costs, key=lambda cost: (-cost.iou_loss, -cost.logit_error))
    shown = ranked[:OPERATORS]

    def column(head: str, unit: str, name: str, write: Callable[[float], str], bars: bool = True) -> Column:
        values = [getattr(cost, name) for cost in shown]
        most = max(values, default=0.0) or 1.0
        shares = [max(0.0, value / most) if bars else None for value in values]
        cells = (Cell(write(value), share=share) for value, share in zip(values, shares, strict=True))
        return Column("", head, unit, tuple(cells))

    table = Table(
        f"Sensitivity to {record.level}",
        [(cost.layer or cost.output, cost.kind.lower().replace("_", " ")) for cost in shown],
        [
            column("IoU lost", "", "iou_loss", "{:+.4f}".format),
            column(
                "error of the logits", "root mean square, in their deviations", "logit_error", "{:.3f}".format
            ),
            column("saved", "kB", "bytes_saved", lambda size: f"{size / 1e3:.1f}", bars=False),
        ],
        head="operator",
    )
    on = ", ".join(filter(None, (record.file, record.split)))
    images = f", {record.images} images" if record.images else ""
    return table, on + images, len(ranked) - len(shown)


def _layer_table(name: str, rows: Sequence[LayerSize]) -> Table:
    def column(head: str, unit: str, cell: Callable[[LayerSize], Cell]) -> Column:
        return Column("", head, unit, tuple(map(cell, rows)))

    def shared(row: LayerSize) -> bool:
        return row.distinct <= sizes.MOST_SHARED and row.distinct < row.weights - row.zeros

    def zeros(row: LayerSize) -> float:
        return row.zeros / max(1, row.weights)

    def left(row: LayerSize) -> float:
        return row.huffman_bytes / max(1, row.float_bytes)

    return Table(
        name,
        [(row.name, f"{row.kind} · {row.weights:,}") for row in rows],
        [
            column("zeros", "", lambda row: Cell(f"{zeros(row):.0%}", share=zeros(row))),
            column(
                "coded",
                "of 32 bits a weight",
                lambda row: Cell(f"{row.huffman_bytes / 1e3:.1f} kB", share=left(row)),
            ),
            column("values", "", lambda row: Cell(str(row.distinct) if shared(row) else "not shared")),
            column("share left", "", lambda row: Cell(f"{left(row):.0%}")),
        ],
        head="layer",
    )


def _step(step: Compression) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """A step's words, its IoU before and after, and the layers left out by reason."""
    after = step.get("val_iou_after")
    iou = "" if after is None else f"validation IoU {step['val_iou_before']:.4f} → {after:.4f}"
    reasons = grouped((why, name) for name, why in step.get("left_out", {}).items())
    count = len(step.get("layers", {}))
    text = ", ".join(filter(None, [counted(count, "layer") if count else "", iou]))
    return recipes.step_words(step), text, tuple((why, ", ".join(names)) for why, names in reasons.items())
