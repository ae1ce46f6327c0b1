"""The thesis's claims as tests of figures: the same test for its own figures and for ours.

The thesis gives figures of whole sets of images only, so both are judged as they stand, without intervals.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from footseg.reproduce.results import ThesisFigures

TEACHER, FASTEST = "emilseg", "fast_linknet"
# The thesis's own students lie within 0.004 of each other in IoU and 0.006 in accuracy.
SAME = 0.01
# In accuracy its students fall up to 0.014 behind the teacher, which it calls very close.
CLOSE = 0.02
# Half of what passes for the same.
NOTHING = 0.005
# Networks that find less than half of a foot are alike in knowing nothing.
LEARNED = 0.5

FiguresByNetwork = Mapping[str, ThesisFigures]


@dataclass(frozen=True)
class ClaimVerdict:
    """Whether a claim holds (None: these figures cannot tell), and why, in figures."""

    holds: bool | None
    because: str

    @property
    def word(self) -> str:
        """The verdict in a word or two."""
        return {True: "holds", False: "does not hold", None: "cannot be told"}[self.holds]


@dataclass(frozen=True)
class Claim:
    """A claim in words, how it is tested, and the verdicts on the thesis's figures and on ours."""

    claim: str
    test: str
    thesis: ClaimVerdict
    ours: ClaimVerdict


@dataclass(frozen=True)
class _Test:
    """A claim, its test in words, and what tests it: for tables with networks named and so many students.

    Where ``learned``, networks that find no feet prove nothing.
    """

    claim: str
    test: str
    work: Callable[[FiguresByNetwork, Mapping[str, str]], ClaimVerdict]
    networks: frozenset[str] = frozenset()
    students: int = 0
    learned: bool = False

    def verdict(self, table: FiguresByNetwork, titles: Mapping[str, str]) -> ClaimVerdict:
        """What the figures of ``table`` say."""
        if not self.networks <= set(table) or len(_students(table)) < self.students:
            return _MISSING
        best = max(_column(table, "test_iou", list(table)).values())
        if self.learned and best < LEARNED:
            return ClaimVerdict(None, f"no network has learned enough: the best composited IoU is {best:.2f}")
        return self.work(table, titles)


def judge(thesis: FiguresByNetwork, ours: FiguresByNetwork, titles: Mapping[str, str]) -> list[Claim]:
    """Every claim against both tables.

    ``ours`` has latencies of the machine at hand (or ratios of them), ``thesis`` those of its phone; a claim
    about frames a second on a phone is judged from the latter only.
    """
    tests = (
        _Test(
            "all of the trained networks perform almost the same",
            f"the students' IoU lies within {SAME:g}, on composited and on real images",
            almost_the_same, students=2, learned=True,
        ),
        _Test(
            "and very close to the big baseline model EmilSeg",
            f"no student is more than {CLOSE:g} behind it in any of the four columns",
            close_to_the_teacher, frozenset({TEACHER}), students=1, learned=True,
        ),
        _Test(
            "performance on the real and the synthetic datasets are almost identical for all the models "
            "except for EmilSeg",
            f"no student's accuracy or IoU differs by more than {SAME:g} between the two",
            real_as_synthetic, students=1, learned=True,
        ),
        _Test(
            "FastLinkNet loses nothing against the larger students (as Table 4.2 reads)",
            f"its IoU is at most {NOTHING:g} below the best student's, on composited and on real images",
            loses_nothing, frozenset({FASTEST}), students=2, learned=True,
        ),
        _Test("the fastest network produced, FastLinkNet", "its latency is the lowest", fastest),
        _Test(
            "runs inference in 73 ms, enabling frame rates of over 10 fps on a smartphone",
            "less than 100 ms on the phone",
            lambda table, _: frames_a_second(table) if table is thesis else _HOST,
        ),
        _Test(
            "[separable convolutions] thus reducing model size with approximately a factor 4",
            "LinkNet is 3 to 5 times the size of FastLinkNet",
            a_quarter_of_the_size, frozenset({"linknet", FASTEST}),
        ),
        _Test(
            "The figures are possible (no claim of the thesis, but its Table 4.2 assumes it)",
            "IoU of hard masks is never above pixel accuracy over the same pixels: "
            "1 - e / (TP + e) <= 1 - e / N for e wrong pixels of N",
            possible,
        ),
    )  # fmt: skip
    named = {**titles, TEACHER: "EmilSeg"}
    return [Claim(t.claim, t.test, t.verdict(thesis, named), t.verdict(ours, titles)) for t in tests]


_HOST = ClaimVerdict(None, "our latencies are those of a computer, not of a phone")
_MISSING = ClaimVerdict(None, "a network of the comparison is missing")


def almost_the_same(table: FiguresByNetwork, titles: Mapping[str, str]) -> ClaimVerdict:
    """Whether the students' IoU is the same to within ``SAME``, on both sets."""
    spreads, words = [], []
    for measure, where in (("test_iou", "composited"), ("real_iou", "real")):
        found = _column(table, measure, _students(table))
        low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
        spreads.append(found[high] - found[low])
        words.append(
            f"{where}: {found[low]:.4f} ({titles[low]}) to {found[high]:.4f} ({titles[high]}), "
            f"{spreads[-1]:.4f} apart"
        )
    return ClaimVerdict(max(spreads) <= SAME, "; ".join(words))


def close_to_the_teacher(table: FiguresByNetwork, titles: Mapping[str, str]) -> ClaimVerdict:
    """Whether no student is more than ``CLOSE`` behind the teacher in any measure."""
    gaps, words = [], []
    for measure, where in _WHERE.items():
        found = _column(table, measure, _students(table))
        last = min(found, key=found.__getitem__)
        gaps.append(_value(table[TEACHER], measure) - found[last])
        words.append(f"{where}: {titles[last]} {_behind(gaps[-1])} it")
    return ClaimVerdict(max(gaps) <= CLOSE, "furthest in " + "; ".join(words))


def real_as_synthetic(table: FiguresByNetwork, titles: Mapping[str, str]) -> ClaimVerdict:
    """Whether each student scores the same on real images as on composited ones, to within ``SAME``."""

    def change(key: str, measure: str) -> float:
        return _value(table[key], f"real_{measure}") - _value(table[key], f"test_{measure}")

    gaps, words = [], []
    for measure, name in _NAMES.items():
        changes = {key: change(key, measure) for key in _students(table)}
        most = max(changes, key=lambda key: abs(changes[key]))
        gaps.append(abs(changes[most]))
        words.append(f"{name}: {titles[most]} changes most, by {changes[most]:+.4f} on real images")
    if TEACHER in table:
        own = " and ".join(f"{change(TEACHER, m):+.4f} in {name}" for m, name in _NAMES.items())
        words.append(f"{titles[TEACHER]} changes by {own}")
    return ClaimVerdict(max(gaps) <= SAME, "; ".join(words))


def loses_nothing(table: FiguresByNetwork, titles: Mapping[str, str]) -> ClaimVerdict:
    """Whether FastLinkNet's IoU is at most ``NOTHING`` below that of the best student."""
    others = [key for key in _students(table) if key != FASTEST]
    gaps, words = [], []
    for measure, where in (("test_iou", "composited"), ("real_iou", "real")):
        found = _column(table, measure, others)
        best = max(found, key=found.__getitem__)
        gaps.append(found[best] - _value(table[FASTEST], measure))
        words.append(f"{where}: {_behind(gaps[-1])} the best other, {titles[best]}")
    return ClaimVerdict(max(gaps) <= NOTHING, "; ".join(words))


def fastest(table: FiguresByNetwork, titles: Mapping[str, str]) -> ClaimVerdict:
    """Whether FastLinkNet has the lowest latency."""
    measured = [key for key, figures in table.items() if figures.latency_ms is not None]
    others = [key for key in measured if key != FASTEST]
    if FASTEST not in measured or not others:
        return _MISSING
    own = _value(table[FASTEST], "latency_ms")
    ratios = {key: value / own for key, value in _column(table, "latency_ms", others).items()}
    words = ", ".join(f"{titles[key]} {ratios[key]:.1f}" for key in sorted(ratios, key=ratios.__getitem__))
    return ClaimVerdict(min(ratios.values()) > 1, f"times its latency: {words}")


def frames_a_second(table: FiguresByNetwork) -> ClaimVerdict:
    """Whether FastLinkNet makes ten frames a second, from latencies of a phone."""
    if FASTEST not in table:
        return _MISSING
    latency = _value(table[FASTEST], "latency_ms")
    return ClaimVerdict(latency < 100, f"{latency:.3g} ms are {1000 / latency:.1f} frames a second")


def a_quarter_of_the_size(table: FiguresByNetwork, titles: Mapping[str, str]) -> ClaimVerdict:
    """Whether LinkNet is about four times FastLinkNet in size."""
    large, small = (_value(table[key], "size_mb") for key in ("linknet", FASTEST))
    return ClaimVerdict(3 <= large / small <= 5, f"{large:.1f} MB / {small:.1f} MB = {large / small:.1f}")


def possible(table: FiguresByNetwork, titles: Mapping[str, str]) -> ClaimVerdict:
    """Whether no IoU is above the accuracy over the same pixels."""
    wrong = [
        f"{titles[key]}, {where}: IoU {iou:.4f} > accuracy {accuracy:.4f}"
        for key, figures in table.items()
        for part, where in (("test", "composited"), ("real", "real"))
        if (iou := _value(figures, f"{part}_iou")) > (accuracy := _value(figures, f"{part}_accuracy"))
    ]
    return ClaimVerdict(not wrong, "; ".join(wrong) or "no IoU is above its accuracy")


_NAMES = {"accuracy": "accuracy", "iou": "IoU"}
_WHERE = {
    "test_accuracy": "composited accuracy",
    "test_iou": "composited IoU",
    "real_accuracy": "real accuracy",
    "real_iou": "real IoU",
}


def _students(table: FiguresByNetwork) -> list[str]:
    return [key for key in table if key != TEACHER]


def _value(figures: ThesisFigures, measure: str) -> float:
    value = getattr(figures, measure)
    if value is None:
        raise ValueError(f"the figures have no {measure}: judge complete rows only")
    return value


def _column(table: FiguresByNetwork, measure: str, keys: Sequence[str]) -> dict[str, float]:
    return {key: _value(table[key], measure) for key in keys}


def _behind(gap: float) -> str:
    return f"{gap:.4f} behind" if gap >= 0 else f"{-gap:.4f} ahead of"
