"""Bounds worked out by hand, and the named cores against the peaks that were measured on them."""

from pathlib import Path

import pytest

from footseg.benchmarks import cost
from footseg.benchmarks.cost import roofline
from tests.small_graphs import T, tflite


@pytest.fixture
def two_layers(tmp_path: Path) -> cost.Cost:
    """A convolution of 65,536 MACs on 8,192 bytes of data and 1,024 of weights, and an ABS on as many."""
    tensors = [T((1, 16, 16, 4)), T((16, 2, 2, 4), held=True), T((1, 8, 8, 16)), T((1, 8, 8, 16))]
    ops = [("CONV_2D", [0, 1], [2]), ("ABS", [2], [3])]
    found = cost.of_file(tflite(tmp_path / "m.tflite", tensors, ops, [0], [3]))
    assert (found.macs, found.bytes_moved) == (64 * 16 * 16, 4096 + 1024 + 4096 + 8192)
    return found


def test_a_bound_by_hand(two_layers: cost.Cost) -> None:
    # 16,384 MACs at 4 x 1e9 in a second: 4.096 us; 9,216 bytes at 1e9: 9.216 us. And 8,192 bytes: 8.192 us.
    bound = roofline.bound(two_layers, roofline.described("slow memory", 1.0, 1.0))
    conv, absolute = bound.operators
    assert (conv.compute_ms, conv.memory_ms) == pytest.approx((0.004096, 0.009216))
    assert (conv.by, absolute.by, absolute.compute_ms) == ("memory", "memory", 0)
    assert bound.ms == pytest.approx(0.009216 + 0.008192)
    assert (bound.compute_ms, bound.memory_ms) == pytest.approx((0.004096, 0.017408))
    assert bound.memory_share == 1
    assert bound.share_of_bound(2 * bound.ms) == pytest.approx(0.5)
    # Ten times the bandwidth: now arithmetic bounds the convolution, and all of it but the ABS.
    fast = roofline.bound(two_layers, roofline.described("fast memory", 1.0, 10.0))
    assert [operator.by for operator in fast.operators] == ["compute", "memory"]
    assert fast.ms == pytest.approx(0.004096 + 0.0008192)
    assert fast.memory_share == pytest.approx(0.0008192 / 0.0049152)
    # Twice the clock halves the arithmetic and nothing else.
    clocked = roofline.bound(two_layers, roofline.described("fast clock", 2.0, 10.0))
    assert (clocked.compute_ms, clocked.memory_ms) == pytest.approx((0.002048, fast.memory_ms))


def test_a_measured_time_must_be_a_time(two_layers: cost.Cost) -> None:
    bound = roofline.bound(two_layers, roofline.CORES["cortex-a76"])
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="positive number of milliseconds"):
            bound.share_of_bound(wrong)


def test_what_cannot_be_bounded_is_said(two_layers: cost.Cost) -> None:
    without = roofline.Core("odd", 1.0, 1.0, 128, {"int8": 8})
    with pytest.raises(ValueError, match="CONV_2D multiplies in float32, and odd tells MACs a cycle of int8"):
        roofline.bound(two_layers, without)
    from_keras = cost.Cost(0, 0, 0, 0, (cost.OperatorCost(0, "Conv2D", (1,), 8, 0),), ())
    with pytest.raises(ValueError, match="bytes that Conv2D moves are not known"):
        roofline.bound(from_keras, roofline.CORES["cortex-a76"])


# One core's peak as cpufp measured it, 10^9 operations in a second (two a MAC): RK3399 and RK3588.
MEASURED = [
    ("cortex-a53", "float32", 11.255),
    ("cortex-a55", "float32", 14.593),
    ("cortex-a55", "float16", 29.193),
    ("cortex-a55", "int8", 58.379),
    ("cortex-a72", "float32", 14.348),
    ("cortex-a76", "float32", 38.012),
    ("cortex-a76", "float16", 76.022),
    ("cortex-a76", "int8", 152.1),
]


@pytest.mark.parametrize(("name", "arithmetic", "gops"), MEASURED)
def test_named_cores_have_the_peaks_that_were_measured(name: str, arithmetic: str, gops: float) -> None:
    core = roofline.CORES[name]
    # 2 %: the boards' clocks are that far from their round figures (A55: 1.828 GHz for 1.8).
    assert 2 * core.macs_per_cycle[arithmetic] * core.ghz == pytest.approx(gops, rel=0.02)


def test_vector_units_by_hand() -> None:
    plain = roofline.described("plain", 1.0, 1.0)
    assert plain.macs_per_cycle == {"float32": 4, "float16": 4, "int8": 8, "int16": 4}
    rich = roofline.described("rich", 1.0, 1.0, pipes=4, fp16=True, dot=True)
    assert rich.macs_per_cycle == {"float32": 16, "float16": 32, "int8": 64, "int16": 8}
    assert all(core.source for core in roofline.CORES.values())


def test_cores_are_described_in_words() -> None:
    assert roofline.core_of("cortex-a76") == roofline.CORES["cortex-a76"]
    slower = roofline.core_of("cortex-a76,ghz=2.0,gbps=8")
    assert (slower.ghz, slower.gbps, slower.macs_per_cycle["int8"]) == (2.0, 8.0, 32)
    assert slower.name == "cortex-a76,ghz=2.0,gbps=8"
    own = roofline.core_of("ghz=3,gbps=20,simd=256,pipes=2,int8=128")
    assert own.macs_per_cycle == {"float32": 16, "float16": 16, "int8": 128, "int16": 8}
    dot = roofline.core_of("ghz=3,gbps=20,dot=1,fp16=1")
    assert (dot.macs_per_cycle["int8"], dot.macs_per_cycle["float16"]) == (16, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cortexa76", "no core is named 'cortexa76': did you mean cortex-a76"),
        ("warp", "no core is named 'warp': there are cortex-a53, "),
        ("ghz=2", "give a name .* or both ghz= and gbps="),
        ("ghz=2,gbps=fast", "gbps of a core must be a number, got 'fast'"),
        ("ghz=0,gbps=1", "ghz of a core must be a positive number, got 0"),
        ("ghz=1,gbps=inf", "gbps of a core must be a positive number, got inf"),
        ("ghz=1,gbps=nan", "gbps of a core must be a positive number, got nan"),
        ("ghz=1,gbps=1,cores=4", "a core has no figure 'cores'"),
        ("cortex-a53,dot=1", "cortex-a53 has its vector units already"),
        ("", "no core is named ''"),
    ],
)
def test_wrong_descriptions_say_how_to_mend_them(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        roofline.core_of(text)


def test_figures_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be positive numbers, got gbps=0"):
        roofline.described("still", 1.0, 0)
