"""The gate's verdicts as aligned lines for a terminal."""

from collections import Counter
from collections.abc import Sequence

from footseg.benchmarks.gate import OUTCOMES, Gate, Verdict
from footseg.grouping import grouped
from footseg.terminal import aligned, with_interval, wrapped

HEADS = ("", "file", "what", "then", "now", "now / then", "allowed")


def as_text(gate: Gate) -> str:
    """The verdicts place by place, the worst first, with what must be known to read them below."""
    lines = [f"gate {_state(gate)}: {gate.counted}"]
    if not gate.ok and not any(verdict.failed for verdict in gate.verdicts):
        lines.append("nothing was compared: measure a file that the baseline has, or add these lines to it")
    for where in dict.fromkeys(verdict.where for verdict in gate.verdicts):
        # Of bytes, which are many and seldom surprise, only what is not as it was.
        shown = [v for v in gate.verdicts if v.where == where and (where or v.outcome != "ok")]
        shown.sort(key=lambda verdict: OUTCOMES.index(verdict.outcome))
        if shown:
            rows = [_cells(verdict) for verdict in shown]
            figures = aligned(HEADS, rows, left=range(3))
            lines += ["", where or "the files themselves", figures, *_notes(shown)]
    if gate.not_measured:
        lines += ["", wrapped(f"in the baseline, not measured now: {', '.join(gate.not_measured)}")]
    return "\n".join(lines)


def _state(gate: Gate) -> str:
    if not gate.ok:
        return "FAILED"
    return "passed so far as anybody can tell" if gate.undecided else "passed"


def _cells(verdict: Verdict) -> tuple[str, ...]:
    quotient = with_interval(verdict.ratio, verdict.low, verdict.high)
    return (
        verdict.outcome.upper() if verdict.failed else verdict.outcome,
        verdict.file,
        verdict.what,
        _figure(verdict.then),
        _figure(verdict.now),
        quotient,
        f"-{verdict.allowed:g}" if verdict.of_accuracy else f"{verdict.allowed:g}",
    )


def _notes(verdicts: Sequence[Verdict]) -> list[str]:
    """The notes below a table; what holds for all verdicts of one kind is said once."""
    told = grouped(((v.what, v.note), v.file) for v in verdicts if v.note)
    kinds = Counter(verdict.what for verdict in verdicts)
    lines = []
    for (what, note), files in told.items():
        who = what if len(files) == kinds[what] > 1 else f"{', '.join(files)}, {what}"
        lines.append(wrapped(f"{who}: {note}"))
    return lines


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.6g}"
