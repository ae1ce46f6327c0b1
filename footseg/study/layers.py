"""Layer by layer: what compression made of each kernel, and what quantizing each operator alone costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg import files, records
from footseg.benchmarks import figures
from footseg.benchmarks.figures import Cell
from footseg.benchmarks.pages.report_tables import Column, Table
from footseg.compress import sizes
from footseg.compress.sizes import LayerSize
from footseg.grouping import grouped
from footseg.mixtures import Sensitivity
from footseg.run import Compression, Run, iou_words
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


def layers(run: Run, others: Sequence[Run] = ()) -> Layers:
    """What compression made of a run, which ``others`` may be the parent of.

    Raises:
        FootsegError: its layers.json is no list of layers.
    """
    title = " → ".join(recipes.step_words(step) for step in run.compression) + f" ({run.path.name})"
    rows = sizes.read_sizes(layers_file(run)) if layers_file(run).is_file() else ()
    return Layers(
        title,
        ". ".join(filter(None, (_work(run), _summary(rows, run.parameters)))),
        tuple(_step(_with_data(step, run, others)) for step in run.compression),
        _layer_table(f"Layers of {title}", rows, _channels(run)),
    )


def _work(run: Run) -> str:
    """What cutting spared; "" where nothing was cut."""
    macs = [
        (step["macs_before"], step["macs_after"])
        for step in run.compression
        if "macs_before" in step and "macs_after" in step
    ]
    if not macs:
        return ""
    before, after = macs[0][0], macs[-1][1]
    words = f"{figures.millions(before)} to {figures.millions(after)} M MACs"
    return f"{words}, {counted(len(_channels(run)), 'layer')} with fewer channels"


def _summary(rows: Sequence[LayerSize], parameters: int) -> str:
    """What zeros and shared values are worth, where there are any."""
    if not rows:
        return ""
    whole = sizes.total(rows, max(parameters, sum(row.weights for row in rows)))
    if not _is_coded(rows):
        return f"{figures.mb(whole.float_bytes)} MB as floats"
    kernels = sum(row.weights for row in rows)
    return (
        f"{whole.zeros / kernels:.1%} of the kernels' weights are zero; "
        f"{figures.mb(whole.float_bytes)} MB as floats, {figures.mb(whole.huffman_bytes)} MB "
        f"Huffman-coded: {whole.float_bytes / whole.huffman_bytes:.1f} times smaller"
    )


def _channels(run: Run) -> dict[str, tuple[int, int]]:
    """Output channels before the first cut and after the last one, of each layer that lost any."""
    found: dict[str, tuple[int, int]] = {}
    for step in run.compression:
        for name, reached in step.get("layers", {}).items():
            if "channels" in reached:
                before = found[name][0] if name in found else reached["channels_before"]
                found[name] = before, reached["channels"]
    return found


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


def _shared(row: LayerSize) -> bool:
    return row.distinct <= sizes.MOST_SHARED and row.distinct < row.weights - row.zeros


def _is_coded(rows: Sequence[LayerSize]) -> bool:
    """Whether there are zeros or shared values: what was only cut has neither, and takes all of its bits."""
    return any(row.zeros or _shared(row) for row in rows)


def _layer_table(name: str, rows: Sequence[LayerSize], channels: Mapping[str, tuple[int, int]]) -> Table:
    def column(head: str, unit: str, cell: Callable[[LayerSize], Cell]) -> Column:
        return Column("", head, unit, tuple(map(cell, rows)))

    def zeros(row: LayerSize) -> float:
        return row.zeros / max(1, row.weights)

    def of_floats(row: LayerSize) -> float:
        return row.huffman_bytes / max(1, row.float_bytes)

    def cut(row: LayerSize) -> Cell:
        before, after = channels.get(row.name, (0, 0))
        return (
            Cell(f"{before} → {after}", share=after / before) if before else Cell("all kept" * bool(channels))
        )

    coded = [
        column("zeros", "", lambda row: Cell(f"{zeros(row):.0%}", share=zeros(row))),
        column(
            "coded",
            "of 32 bits a weight",
            lambda row: Cell(f"{row.huffman_bytes / 1e3:.1f} kB", share=of_floats(row)),
        ),
        column("values", "", lambda row: Cell(str(row.distinct) if _shared(row) else "not shared")),
        column("coded / floats", "", lambda row: Cell(f"{of_floats(row):.0%}")),
    ]
    return Table(
        name,
        [(row.name, row.kind) for row in rows],
        [
            column("channels", "before → after", cut),
            column("weights", "now", lambda row: Cell(f"{row.weights:,}")),
            *(coded if _is_coded(rows) else ()),
        ],
        head="layer",
    )


def _with_data(step: Compression, run: Run, others: Sequence[Run]) -> Compression:
    """A step of before they told their data sets: they are its run's, and its parent's if that is given."""
    if "data_before" in step:
        return step
    parent = next(
        (one for one in others if one.model.is_file() and files.sha256(one.model) == step["parent"]), None
    )
    return {**step, "data_before": parent.data_words, "data_after": run.data_words} if parent else step


def _step(step: Compression) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """A step's words, its IoU before and after, and the layers left out by reason."""
    reasons = grouped((why, name) for name, why in step.get("left_out", {}).items())
    count = len(step.get("layers", {}))
    text = ", ".join(filter(None, [counted(count, "layer") if count else "", iou_words(step, "→")]))
    return recipes.step_words(step), text, tuple((why, ", ".join(names)) for why, names in reasons.items())
