"""How fast one core could run a file at best, computed: a bound to hold measured times against.

An operator takes at least the time of its arithmetic (MACs over the MACs that the core does in a second, in
the operator's type) and at least the time of its traffic (bytes moved, see ``cost``, over the bytes that the
core moves in a second), whichever is longer (Williams, Waterman and Patterson, "Roofline", 2009). The bound
of a network is the sum over its operators, which run one after another on one core.

What it is not. The bandwidth is that of main memory, as if nothing stayed in a cache: what one operator
writes and the next reads out of a cache moves faster, so that the part of the operators bound by memory can
be beaten, by small networks most. The arithmetic alone, ``Bound.compute_ms``, cannot: a runtime would have to
do fewer MACs (none of LiteRT's and XNNPACK's kernels uses Winograd's trick; skipping zeros is one).

The named cores are each as one board was measured (``CORES`` says where); describe yours for another:

    cortex-a76                       as named
    cortex-a76,ghz=2.0,gbps=8        as named, but
    ghz=2.0,gbps=8,pipes=2,dot=1     another core

    ghz        cycles in a second, 10^9, while it runs
    gbps       10^9 bytes read and written in a second by this one core
    simd       bits of a vector (128)
    pipes      vectors multiplied and added in a cycle (1)
    fp16       1: multiplies float16 vectors, twice as many values as float32; 0: as float32 (0)
    dot        1: has SDOT, four int8 products to a 32-bit sum; 0: widening products (0)
    float32, float16, int8, int16    MACs in a cycle, instead of those that follow from the above
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from footseg.benchmarks.cost import Cost, OperatorCost


@dataclass(frozen=True)
class Core:
    """One core: GHz, 10^9 bytes a second, MACs a cycle by type of arithmetic; ``source`` of the figures."""

    name: str
    ghz: float
    gbps: float
    simd_bits: int
    macs_per_cycle: Mapping[str, float]
    source: str = ""


@dataclass(frozen=True)
class OperatorBound:
    """The least time of one operator in milliseconds, and what sets it: "compute", "memory" or ""."""

    operator: OperatorCost
    compute_ms: float
    memory_ms: float

    @property
    def ms(self) -> float:
        """The longer of the two."""
        return max(self.compute_ms, self.memory_ms)

    @property
    def by(self) -> str:
        """What bounds it; "" for what takes no time, as a change of shape."""
        if not self.ms:
            return ""
        return "compute" if self.compute_ms >= self.memory_ms else "memory"


@dataclass(frozen=True)
class Bound:
    """The least time of a network on one core, computed. Milliseconds."""

    core: Core
    operators: tuple[OperatorBound, ...]

    @property
    def ms(self) -> float:
        """The sum over the operators of the longer of arithmetic and traffic."""
        return sum(operator.ms for operator in self.operators)

    @property
    def compute_ms(self) -> float:
        """Of the arithmetic alone, as if all data were in registers."""
        return sum(operator.compute_ms for operator in self.operators)

    @property
    def memory_ms(self) -> float:
        """Of the traffic alone, as if arithmetic took no time."""
        return sum(operator.memory_ms for operator in self.operators)

    @property
    def memory_share(self) -> float:
        """The share of ``ms`` that operators bound by memory have, 0 to 1."""
        bound = sum(operator.ms for operator in self.operators if operator.by == "memory")
        return bound / self.ms if self.ms else 0.0

    def share_of_bound(self, latency_ms: float) -> float:
        """How near a measured time is to the bound: 1 is the bound itself, 0.5 twice its time.

        More than 1 is possible where caches hold what the bound takes from memory.

        Raises:
            ValueError: the time is not positive.
        """
        if not latency_ms > 0:
            raise ValueError(f"a latency must be a positive number of milliseconds, got {latency_ms}")
        return self.ms / latency_ms


def bound(cost: Cost, core: Core) -> Bound:
    """The least time of a file on a core.

    Raises:
        ValueError: bytes moved are not known (a Keras model, an open shape), or the core does not say how
            many MACs of a type it does.
    """
    return Bound(core, tuple(_of_operator(operator, core) for operator in cost.operators))


def _of_operator(operator: OperatorCost, core: Core) -> OperatorBound:
    moved, rate = operator.moved_bytes, core.macs_per_cycle.get(operator.arithmetic)
    if moved is None:
        raise ValueError(f"the bytes that {operator.op} moves are not known: bound an exported file")
    if operator.macs and not rate:
        raise ValueError(
            f"{operator.op} multiplies in {operator.arithmetic or 'an unknown type'}, and {core.name} tells "
            f"MACs a cycle of {', '.join(core.macs_per_cycle)} only"
        )
    compute = operator.macs / (rate * core.ghz * 1e6) if rate else 0.0
    return OperatorBound(operator, compute, moved / (core.gbps * 1e6))


def described(
    name: str,
    ghz: float,
    gbps: float,
    simd: int = 128,
    pipes: int = 1,
    *,
    fp16: bool = False,
    dot: bool = False,
    source: str = "",
) -> Core:
    """A core by its vector units: see the module's docstring for each figure.

    Without ``dot``, int8 values are multiplied by SMLAL, half a vector of them in an instruction, and int16
    a quarter; Arm's cores that have several pipes do widening products in half of them (Cortex-A76 and A78:
    V0 of two, Cortex-X1: V0 and V2 of four). Real kernels get less of int8: their 16-bit sums would overflow.

    Raises:
        ValueError: a figure that is not positive.
    """
    figures = {"ghz": ghz, "gbps": gbps, "simd": simd, "pipes": pipes}
    wrong = [f"{key}={value:g}" for key, value in figures.items() if not value > 0]
    if wrong:
        raise ValueError(f"a core's figures must be positive numbers, got {', '.join(wrong)}")
    widening = max(1, pipes // 2)
    macs = {
        "float32": simd / 32 * pipes,
        "float16": simd / (16 if fp16 else 32) * pipes,
        "int8": simd / 8 * pipes if dot else simd / 16 * widening,
        "int16": simd / 32 * widening,
    }
    return Core(name, ghz, gbps, int(simd), macs, source)


# MACs a cycle: one core's peak in github.com/pigirons/cpufp, benchmark_result/arm64 (a MAC is two of its
# operations) over its clock. GHz and GB/s: github.com/ThomasKaiser/sbc-bench, the larger of twice its memcpy
# (which reads and writes) and its memset, one core, past all caches.
CORES = {
    core.name: core
    for core in (
        # cpufp RockChip_RK3399: 11.26 GFLOPS at 1.41 GHz. sbc-bench README, NanoPC T4: memcpy 2.05,
        # memset 8.45.
        described("cortex-a53", 1.4, 8.5, source="RK3399 (cpufp, sbc-bench)"),
        # cpufp RockChip_RK3588: 14.60 GFLOPS, 29.19 of fp16, 58.38 of int8, at 1.82 GHz. sbc-bench 41BH,
        # Rock 5B: memcpy 6.11, memset 22.19.
        described("cortex-a55", 1.8, 22.2, fp16=True, dot=True, source="RK3588 (cpufp, sbc-bench)"),
        # cpufp RockChip_RK3399: 14.35 GFLOPS at 1.8 GHz. sbc-bench README, NanoPC T4: memcpy 4.24,
        # memset 9.08.
        described("cortex-a72", 1.8, 9.1, source="RK3399 (cpufp, sbc-bench)"),
        # cpufp RockChip_RK3588: 38.01 GFLOPS, 76.02 of fp16, 152.1 of int8, at 2.35 GHz. sbc-bench 41BH,
        # Rock 5B: memcpy 10.81, memset 29.22.
        described("cortex-a76", 2.35, 29.2, pipes=2, fp16=True, dot=True, source="RK3588 (cpufp, sbc-bench)"),
        # Arm Cortex-A78 Software Optimization Guide (102160): FMLA and SDOT, two a cycle in V0 and V1.
        # sbc-bench 4Kvg, MT8395: memcpy 14.20, memset 19.00.
        described("cortex-a78", 2.2, 28.4, pipes=2, fp16=True, dot=True, source="MT8395 (Arm, sbc-bench)"),
        # Four 128-bit pipes (Arm); FMLA and SDOT go into each: LLVM's AArch64SchedNeoverseV1.td, of the
        # server core made of it. sbc-bench 4xwT, Snapdragon 8cx Gen 3: memcpy 17.50, memset 41.78.
        described(
            "cortex-x1",
            3.0,
            41.8,
            pipes=4,
            fp16=True,
            dot=True,
            source="Snapdragon 8cx Gen 3 (LLVM, sbc-bench)",
        ),
    )
}
FIGURES = ("ghz", "gbps", "simd", "pipes", "fp16", "dot")
MACS = ("float32", "float16", "int8", "int16")


def core_of(text: str) -> Core:
    """The core that a text describes: a name of ``CORES``, KEY=NUMBER pairs, or both, with commas between.

    Raises:
        ValueError: an unknown name or key, no number, or neither a name nor ghz and gbps.
    """
    first, *rest = text.split(",")
    named = None if "=" in first else _named(first)
    given = dict(_pair(part) for part in (rest if named else [first, *rest]))
    macs = {key: given.pop(key) for key in MACS if key in given}
    if named and not {"simd", "pipes", "fp16", "dot"} & given.keys():
        core = replace(named, name=text, ghz=given.get("ghz", named.ghz), gbps=given.get("gbps", named.gbps))
    elif named:
        raise ValueError(
            f"{text}: {named.name} has its vector units already; leave out the name or those keys"
        )
    elif not {"ghz", "gbps"} <= given.keys():
        raise ValueError(f"core {text!r}: give a name ({', '.join(CORES)}) or both ghz= and gbps=")
    else:
        core = described(
            text,
            given["ghz"],
            given["gbps"],
            int(given.get("simd", 128)),
            int(given.get("pipes", 1)),
            fp16=bool(given.get("fp16", 0)),
            dot=bool(given.get("dot", 0)),
        )
    return replace(core, macs_per_cycle={**core.macs_per_cycle, **macs})


def _named(name: str) -> Core:
    if name in CORES:
        return CORES[name]
    near = get_close_matches(name, CORES, 1)
    hint = f"did you mean {near[0]}? There" if near else "there"
    raise ValueError(
        f"no core is named {name!r}: {hint} are {', '.join(CORES)}; describe another with ghz=,gbps="
    )


def _pair(text: str) -> tuple[str, float]:
    key, _, value = text.partition("=")
    if key not in (*FIGURES, *MACS):
        raise ValueError(f"a core has no figure {key!r}: there are {', '.join((*FIGURES, *MACS))}")
    try:
        number = float(value)
    except ValueError as error:
        raise ValueError(f"{key} of a core must be a number, got {value!r}") from error
    if not 0 <= number < float("inf") or (number == 0 and key not in ("fp16", "dot")):
        raise ValueError(f"{key} of a core must be a positive number, got {value}")
    return key, number
