"""Coded sizes against codes worked out by hand, and a file's weights against what was put into it."""

import gzip

import numpy as np
import pytest
import zstandard

from footseg.compress import sizes


def test_huffman_by_hand() -> None:
    # Six letters; their codes are 1, 3, 3, 3, 4 and 4 bits long (Cormen et al., Introduction to Algorithms).
    assert sizes.huffman_bits([45, 13, 12, 16, 9, 5]) == 45 + 3 * (13 + 12 + 16) + 4 * (9 + 5)
    assert sizes.huffman_bits([8, 4, 2, 2]) == 8 * 1 + 4 * 2 + 2 * 3 + 2 * 3
    assert sizes.huffman_bits([7]) == 0  # its number tells all
    assert sizes.huffman_bits([]) == sizes.huffman_bits([0, 7, 0]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_huffman_keeps_within_a_bit_of_entropy(seed: int) -> None:
    counts = np.random.default_rng(seed).geometric(0.02 * (seed + 1), size=2 + 50 * seed)
    share = counts / counts.sum()
    entropy = -(share * np.log2(share)).sum()
    mean = sizes.huffman_bits(counts) / counts.sum()
    assert entropy - 1e-9 <= mean < entropy + 1  # sums of logarithms round in the last places


def test_shared_values_by_hand() -> None:
    values = np.repeat(np.float32([0.5, -1, 2, 3]), [8, 4, 2, 2]).reshape(4, 4)
    # 28 bits of codes and four entries of 32 + 8 bits.
    assert sizes.coded_bytes(values) == -(-(28 + 4 * 40) // 8)


def test_few_values_are_told_by_their_positions() -> None:
    values = np.zeros(1000, np.float32)
    values[300:304] = 0.25
    # Gaps 300, 0, 0, 0: one step of 255, then 45, then three of 0. Codes: 1 + 1 joined, then with 3; a table
    # of three gaps. One shared value takes its entry and no bits.
    gaps = (1 + 1) + (1 + 1 + 3) + 3 * 16
    assert sizes.coded_bytes(values) == -(-(gaps + 40) // 8)


def test_unshared_values_keep_their_bits() -> None:
    values = np.arange(1, 301, dtype=np.float32)
    assert sizes.coded_bytes(values) == 4 * 300
    # Every other one gone: 150 values at 32 bits, all gaps alike (0 bits), the table of one gap.
    spaced = np.zeros(600, np.float32)
    spaced[1::2] = values
    assert sizes.coded_bytes(spaced) == 4 * 300 + 2
    assert sizes.coded_bytes(np.zeros(50)) == 0  # nothing but its shape, which the network has


def test_packed_is_what_the_tools_write() -> None:
    data = bytes(1000) + bytes(range(256))
    assert sizes.packed(data) == {
        "gzip": len(gzip.compress(data, 9, mtime=0)),
        "zstd": len(zstandard.ZstdCompressor(level=19).compress(data)),
    }


def test_layers_of_a_keras_model() -> None:
    import keras

    inner = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(2, 1, name="inner")])
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(image)
    x = keras.layers.PReLU(shared_axes=[1, 2])(keras.layers.BatchNormalization()(x))
    x = keras.layers.SeparableConv2D(4, 3, padding="same", name="apart")(x)
    model = keras.Model(image, keras.layers.Conv2DTranspose(2, 2, name="last")(inner(x)))
    kernel = np.zeros((3, 3, 3, 4), np.float32)
    kernel[0] = np.resize(np.float32([0.5, -0.5]), (3, 3, 4))
    model.get_layer("first").kernel.assign(kernel)
    rows = sizes.layer_sizes(model)
    assert [(row.name, row.kind, row.weights) for row in rows] == [
        ("first", "Conv2D", 108),
        ("apart/depthwise_kernel", "SeparableConv2D", 36),
        ("apart/pointwise_kernel", "SeparableConv2D", 16),
        ("inner", "Conv2D", 8),
        ("last", "Conv2DTranspose", 16),
    ]
    first = rows[0]
    assert (first.zeros, first.distinct, first.float_bytes) == (72, 2, 432)
    assert first.huffman_bytes == sizes.coded_bytes(kernel) < 36
    whole = sizes.total(rows, model.count_params())
    assert whole.float_bytes == 4 * model.count_params()
    assert whole.huffman_bytes == 4 * (model.count_params() - 184) + sum(row.huffman_bytes for row in rows)
    with pytest.raises(ValueError, match="parameters must be 184 or more"):
        sizes.total(rows, 183)
