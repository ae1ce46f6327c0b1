"""What weights take once they are coded, layer by layer, and what a file takes as people download it.

Pruning and clustering leave a file as long as it was: zeros and repeated values are written out in full. What
they are worth shows in a code. Counted here is that of deep compression (Han, Mao and Dally, "Deep
Compression", ICLR 2016, sections 2 to 4), for each kernel by itself:

    values       of a clustered kernel: a Huffman code of its shared values, and the codebook that reads it
                 (a value and the length of its code each; a canonical code needs no more)
    positions    where it pays: only the values other than zero are written, each after the number of zeros
                 that it skips (the index differences of section 2, at most 254), Huffman-coded too
    otherwise    a kernel of more than 256 different values keeps each of them in full

The shortest of these is the layer's. Nothing is encoded: the length of a code follows from the counts alone.
"""

import gzip
import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard

from footseg import records

if TYPE_CHECKING:
    import keras

# What compression leaves in its run: a ``LayerSize`` for each layer.
LAYERS = "layers.json"
FLOAT_BITS = 32
# As many shared values as an index of one byte can name: more, and a kernel does not count as clustered.
MOST_SHARED = 256
# A gap of this many zeros stands for itself with no value after it: longer gaps take several (section 2 fills
# with zeros instead, which costs a value each time).
LONGEST_GAP = 255
# A code's length, and a gap in the table of gaps, fit into a byte each.
LENGTH_BITS = GAP_BITS = 8


@dataclass(frozen=True)
class LayerSize:
    """What one kernel takes: ``distinct`` counts its values other than zero; bytes coded and as floats."""

    name: str
    kind: str
    weights: int
    zeros: int
    distinct: int
    huffman_bytes: int
    float_bytes: int


def read_sizes(path: Path) -> tuple[LayerSize, ...]:
    """The ``layers.json`` of a compressed run.

    Raises:
        FootsegError: it cannot be read, or is none.
    """
    return records.read(tuple[LayerSize, ...], path, "list of layers", "compress the run again")


def packed(data: bytes) -> dict[str, int]:
    """Bytes of ``data`` as downloaded: by "gzip" at level 9, without a timestamp, and by "zstd" at 19."""
    return {
        "gzip": len(gzip.compress(data, 9, mtime=0)),
        "zstd": len(zstandard.ZstdCompressor(level=19).compress(data)),
    }


def huffman_bits(counts: Iterable[int]) -> int:
    """Bits that a Huffman code takes for symbols that occur ``counts`` times, without its table.

    Each time the two rarest groups are joined their codes grow by a bit, so the sums of the joins are the
    length (Huffman 1952). A single symbol takes none: its number tells all.
    """
    heap = [int(count) for count in counts if count > 0]
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        bits += joined
        heapq.heappush(heap, joined)
    return bits


def coded_bytes(values: np.ndarray) -> int:
    """Bytes of the shortest of the module's codes for float32 ``values`` (any shape, read in C order)."""
    flat = np.ravel(values)
    found, counts = np.unique(flat, return_counts=True)
    used = np.flatnonzero(flat)
    nonzero = found != 0
    positions = _position_bits(used)
    sizes = [flat.size * FLOAT_BITS, len(used) * FLOAT_BITS + positions]
    if nonzero.sum() <= MOST_SHARED:
        entry = FLOAT_BITS + LENGTH_BITS
        sizes.append(huffman_bits(counts) + len(found) * entry)
        sizes.append(huffman_bits(counts[nonzero]) + int(nonzero.sum()) * entry + positions)
    return math.ceil(min(sizes) / 8)


def _position_bits(used: np.ndarray) -> int:
    """Bits of the gaps before the positions ``used``, ascending, and of the table that reads them."""
    gaps = np.diff(used, prepend=-1) - 1
    counts = np.bincount(gaps % LONGEST_GAP, minlength=LONGEST_GAP + 1)
    counts[LONGEST_GAP] = (gaps // LONGEST_GAP).sum()
    return huffman_bits(counts) + int(np.count_nonzero(counts)) * (GAP_BITS + LENGTH_BITS)


def layer_sizes(model: "keras.Model") -> tuple[LayerSize, ...]:
    """The kernels of a Keras model, nested models included, in order.

    A layer of two kernels (SeparableConv2D) has two rows, LAYER/KERNEL.
    """
    return tuple(_keras_rows(model))


def _keras_rows(model: Any) -> Iterator[LayerSize]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _keras_rows(layer)
            continue
        kernels = [weight for weight in layer.weights if weight.name.endswith("kernel")]
        for kernel in kernels:
            name = layer.name if len(kernels) == 1 else f"{layer.name}/{kernel.name}"
            values = np.asarray(kernel)
            yield LayerSize(
                name=name,
                kind=type(layer).__name__,
                weights=values.size,
                zeros=int(values.size - np.count_nonzero(values)),
                distinct=int(np.count_nonzero(np.unique(values))),
                huffman_bytes=coded_bytes(values),
                float_bytes=values.size * FLOAT_BITS // 8,
            )


def total(rows: Sequence[LayerSize], parameters: int) -> LayerSize:
    """The sum of ``rows`` and of a network's other weights (normalisation, biases), at 32 bits each.

    Args:
        rows: of ``layer_sizes``; ``distinct`` of the sum is the largest of theirs.
        parameters: all weights of the network (``model.count_params()``).

    Raises:
        ValueError: fewer parameters than the rows have.
    """
    weights = sum(row.weights for row in rows)
    if parameters < weights:
        raise ValueError(f"parameters must be {weights} or more, what the kernels have, not {parameters}")
    others = (parameters - weights) * FLOAT_BITS // 8
    return LayerSize(
        name="total",
        kind="",
        weights=parameters,
        zeros=sum(row.zeros for row in rows),
        distinct=max((row.distinct for row in rows), default=0),
        huffman_bytes=sum(row.huffman_bytes for row in rows) + others,
        float_bytes=sum(row.float_bytes for row in rows) + others,
    )
