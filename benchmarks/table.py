"""Measurements as aligned lines for a terminal."""

from collections.abc import Sequence

from benchmarks.measurement import Measurement


def as_table(measured: Sequence[Measurement]) -> str:
    """The measurements as aligned lines for a terminal, with the words on noise below.

    Files of one name are told apart by their folders.
    """
    folders: dict[str, set[str]] = {}
    for m in measured:
        folders.setdefault(m.artifact.name, set()).add(m.artifact.path.parent.name)
    names = [
        f"{m.artifact.path.parent.name}/" * (len(folders[m.artifact.name]) > 1) + m.artifact.name
        for m in measured
    ]
    heads = (
        "file", "MB", "gzip MB", "zstd MB", "M MACs", "median ms", "p90 ms",
        "x fp32", "load ms", "first ms", "peak MB", "delegated",
    )  # fmt: skip
    cells = [
        (
            name,
            f"{m.file_bytes / 1e6:.2f}",
            f"{m.gzip_bytes / 1e6:.2f}",
            "-" if m.zstd_bytes is None else f"{m.zstd_bytes / 1e6:.2f}",
            f"{m.cost['macs'] / 1e6:.1f}",
            f"{m.latency.median_ms:.3f}" if m.latency else "-",
            f"{m.latency.p90_ms:.3f}" if m.latency else "-",
            f"{m.relative.ratio:.2f}" if m.relative else "-",
            f"{m.cold_start.load_ms:.1f}" if m.cold_start else "-",
            f"{m.cold_start.first_inference_ms:.1f}" if m.cold_start else "-",
            "-" if m.peak_memory_mb is None else f"{m.peak_memory_mb:.1f}",
            f"{m.delegation.delegated}/{m.delegation.operators} in {m.delegation.partitions}"
            if m.delegation
            else "-",
        )
        for m, name in zip(measured, names, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in (heads, *cells)
    ]
    notes = [f"{m.artifact.name}: {m.latency.note}" for m in measured if m.latency and m.latency.noisy]
    return "\n".join([*lines, *notes])
