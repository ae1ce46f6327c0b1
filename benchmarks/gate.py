"""Results against stored ones: what got worse by more than is allowed, with the noise taken into account.

What can be compared honestly with figures of another day, and how:

    instructions    of one emulated core under one version of LiteRT: counts that repeat to 1e-5
    latency ratio   over the same other file, both times run in turns on a device of one model: heat, clock
                    and neighbours act on both files and cancel. Each ratio brings its interval.
    latency         of a file that was run in turns with no other, or that the others are held against: times
                    the speed of a matrix product in the same run, which stands for the machine's of that
                    day. The spread of both is counted, and that of fresh starts (``START``). One thread's is
                    of processor time.
    bytes           of the file, as downloaded, of activations: counts
    accuracy        on the device, on the same images: IoU, and pixels equal to the host's. A line holds no
                    figures of single images, so there is no interval: what is judged is these images. Of one
                    file then and now that is all there is to know; of two, other images may say otherwise.

A quotient, its interval joined of those of both figures (``intervals``), is worse if all of it is beyond what
is allowed, all right if none is, and otherwise nobody can tell: that is said, and its exit code is neither
that of success nor that of failure. A machine that had other work (``busy``) makes intervals wider.

Lines match when file name, recipe, runtime, threads, cores and the device's model agree. A file that the
baseline has only from elsewhere was not checked, and that fails: a gate that compares nothing must not open.
"""

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import comparison
from footseg.benchmarks import busy, places
from footseg.benchmarks.intervals import Log, undisturbed
from footseg.benchmarks.measurement import Agreement, Measurement, Relative
from footseg.benchmarks.places import Place
from footseg.benchmarks.results_file import read_all

OUTCOMES = ("worse", "no baseline", "cannot tell", "better", "ok")
# Standard deviation, in logarithms, that fresh starts add to what the samples of one tell: where a process
# gets its memory makes it slower or faster for as long as it lives. With it, of all pairs of 40 starts of
# FastLinkNet on two cores beside three to six busy processes, 4.8 % (int8) and 3.1 % (fp32) are called slower
# where nothing is allowed, 0.1 % where 1.05 is. A tenth more time is found in 56 % and 47 % (91 % and 68 %
# beside two processes), a fifth in 97 % and 92 %; of the rest nobody can tell.
START = 0.005
# Figures of ``Agreement`` that are held, by their names here.
ACCURACY = {"iou": "IoU on the device", "pixels_equal": "pixels equal"}
# Share of pixels that may come to differ from the host's: near ties turn with each version of a runtime.
PIXELS = 1e-4


@dataclass(frozen=True)
class Verdict:
    """One figure of one file, then and now.

    ``ratio`` is now over then and ``low``, ``high`` its interval (the same three for counts), held against
    ``allowed``; for accuracy they are None and ``allowed`` is the loss. ``failed`` closes the gate.
    """

    what: str
    file: str
    then: float | None
    now: float | None
    ratio: float | None
    low: float | None
    high: float | None
    allowed: float
    outcome: str
    where: str = ""
    note: str = ""
    failed: bool = False

    @property
    def of_accuracy(self) -> bool:
        """Whether it is of a share from 0 to 1, of which the difference counts, not the quotient."""
        return self.what in ACCURACY.values()


@dataclass(frozen=True)
class Gate:
    """All verdicts; ``ok`` if nothing is worse and nothing went unchecked.

    ``undecided`` if it is ok so far as anybody can tell. ``not_measured`` names files of the baseline, or
    figures of a file, that nobody measured now.
    """

    verdicts: tuple[Verdict, ...]
    ok: bool
    not_measured: tuple[str, ...] = ()

    @property
    def undecided(self) -> bool:
        """Whether nothing failed, and of some figure nobody can tell."""
        return self.ok and any(verdict.outcome == "cannot tell" for verdict in self.verdicts)

    @property
    def counted(self) -> str:
        """How many verdicts of each outcome there are, in words, the worst first."""
        counts = Counter(verdict.outcome for verdict in self.verdicts)
        return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])

    def to_json(self) -> dict[str, Any]:
        """The fields, for --json, and whether it is undecided."""
        return {**dataclasses.asdict(self), "undecided": self.undecided}


def baseline(
    path: Path, allow: float = 1.05, allow_iou: float = 0.005, out: Path | None = None
) -> list[Measurement]:
    """The lines to hold new ones against, all checked that can be before minutes go into measuring.

    Args:
        path: the stored results.
        allow: as ``check``.
        allow_iou: as ``check``.
        out: where new lines will go, if anywhere: another file, or the baseline would follow what it guards.

    Raises:
        FootsegError: ``path`` cannot be read as results.
        ValueError: limits that are none, or ``out`` is ``path``.
    """
    _limits(allow, allow_iou)
    if out is not None and out.resolve() == path.resolve():
        raise ValueError(
            f"--gate and --out are one file, {path}: new results would become the baseline that they are "
            "held against; give --out another name"
        )
    return read_all(path)


def check(
    measured: Sequence[Measurement],
    baseline: Sequence[Measurement],
    allow: float = 1.05,
    allow_iou: float = 0.005,
) -> Gate:
    """Hold each of ``measured`` against the line of ``baseline`` that it can be compared with.

    Args:
        measured: the new lines.
        baseline: the stored ones. Of several that match, the last of the very file, else the last.
        allow: how many times as much of time, instructions or bytes is all right, 1 or more.
        allow_iou: how much less IoU on the device is all right, 0 to 1.

    Raises:
        ValueError: nothing to compare, or limits that are none.
    """
    if not measured or not baseline:
        raise ValueError("the gate needs measurements and a baseline with one line or more each")
    _limits(allow, allow_iou)
    verdicts: list[Verdict] = []
    counted: set[tuple[str, str]] = set()
    left_out: list[str] = []
    for now in measured:
        known = _known(now, measured, baseline)
        if known and _file(now) not in counted:
            verdicts += _counts(now, _nearest(now, known), allow)
        counted.add(_file(now))
        there = [line for line in known if _place(line) == _place(now)]
        if not there:
            verdicts.append(_without(now, known, allow))
            continue
        then = _nearest(now, there)
        verdicts += [
            *_instructions(now, then, allow),
            *_latency(now, then, allow),
            *_accuracy(now, then, allow_iou),
        ]
        left_out += _left_out(now, then)
    names = {line.artifact.name for line in measured}
    left_out += dict.fromkeys(line.artifact.name for line in baseline if line.artifact.name not in names)
    # Were every file new, nothing would have been compared.
    compared = any(verdict.outcome != "no baseline" for verdict in verdicts)
    return Gate(tuple(verdicts), compared and not any(v.failed for v in verdicts), tuple(left_out))


def _limits(allow: float, allow_iou: float) -> None:
    if not (math.isfinite(allow) and allow >= 1):
        raise ValueError(f"allow is now / then and must be 1 or more, as 1.05 for 5 % more; got {allow}")
    if not 0 <= allow_iou <= 1:
        raise ValueError(f"allow_iou must lie between 0 and 1, as 0.005; got {allow_iou}")


# --- what belongs together -----------------------------------------------------------------------


def _file(m: Measurement) -> tuple[str, str]:
    return m.artifact.name, m.artifact.recipe


def _known(
    now: Measurement, measured: Sequence[Measurement], baseline: Sequence[Measurement]
) -> list[Measurement]:
    """The lines of this file: of its name and recipe, else those of its name that no other file answers to.

    An int8 file that was replaced by an fp32 one, or lost its sidecar, is not new: it is what went wrong.
    """
    now_there = {_file(m) for m in measured}
    named = [line for line in baseline if line.artifact.name == now.artifact.name]
    exactly = [line for line in named if _file(line) == _file(now)]
    return exactly or [line for line in named if _file(line) not in now_there]


def _place(m: Measurement) -> Place:
    """As ``places.device_key``, but one for all devices of a model."""
    return dataclasses.replace(places.device_key(m), where=f"{m.model}, {m.runtime}")


def _words(m: Measurement) -> str:
    place = _place(m)
    return f"{place.where}, {place.how}"


def _nearest(now: Measurement, lines: Sequence[Measurement]) -> Measurement:
    """The last line of the very file, else the last one."""
    same = [line for line in lines if line.artifact.sha256 == now.artifact.sha256]
    return (same or lines)[-1]


def _without(now: Measurement, known: Sequence[Measurement], allow: float) -> Verdict:
    """A file that is new to the baseline, or new to this place: then it went unchecked."""
    elsewhere = "; ".join(dict.fromkeys(_words(line) for line in known))
    note = (
        f"not checked, the baseline has it only from {elsewhere}: add a line of this device to it"
        if known
        else "new, nothing to compare with"
    )
    return _verdict("all", now, None, None, None, allow, "no baseline", note=note, failed=bool(known))


def _left_out(now: Measurement, then: Measurement) -> Iterator[str]:
    if then.agreement and not now.agreement:
        yield f"accuracy of {now.artifact.name} on the device"
    if then.relative and not now.relative:
        yield f"latency of {now.artifact.name} over that of {then.relative.to}"


# --- figures with their intervals -----------------------------------------------------------------


def _relative(relative: Relative) -> Log | None:
    """None for a line from before ratios had intervals: its rounds shared one start."""
    if relative.low is None or relative.high is None:
        return None
    return Log.of(relative.ratio, relative.low, relative.high)


def _speed_of(m: Measurement, processor: bool) -> Log | None:
    """Latency, or its ``processor`` time, over the time of a matrix product in the same run.

    None where either is missing.
    """
    if m.latency is None:
        return None
    latency = undisturbed(m.latency.processor_ms if processor else m.latency.samples_ms)
    product = undisturbed([1 / gflops for gflops in m.calibration.samples_gflops]) if m.calibration else None
    if latency is None or product is None:
        return None
    start = statistics.NormalDist(0, START).inv_cdf((1 + comparison.CONFIDENCE) / 2)
    return latency.over(product).times(Log(0, start, start))


def _of_processor(now: Measurement, then: Measurement) -> bool:
    """Whether both lines have the processor time of one thread."""
    return now.threads == 1 and all(m.latency and m.latency.processor_ms for m in (now, then))


# --- verdicts ------------------------------------------------------------------------------------


def _verdict(
    what: str,
    m: Measurement,
    then: float | None,
    now: float | None,
    quotient: Log | None,
    allowed: float,
    outcome: str = "",
    *,
    where: str | None = None,
    note: str = "",
    failed: bool = False,
) -> Verdict:
    """The verdict on a quotient now / then; on none it is ``outcome``."""
    ratio, low, high = quotient.ends if quotient else (None, None, None)
    if low is not None and high is not None:
        outcome = _outcome(low, high, allowed)
    return Verdict(
        what=what,
        file=m.artifact.name,
        then=then,
        now=now,
        ratio=ratio,
        low=low,
        high=high,
        allowed=allowed,
        outcome=outcome,
        where=_words(m) if where is None else where,
        note=note,
        failed=failed or outcome == "worse",
    )


def _outcome(low: float, high: float, allowed: float) -> str:
    # 1e-9: a logarithm and back.
    if low > allowed * (1 + 1e-9):
        return "worse"
    if high > allowed * (1 + 1e-9):
        return "cannot tell"
    return "better" if high < 1 / allowed else "ok"


def _counts(now: Measurement, then: Measurement, allow: float) -> Iterator[Verdict]:
    """Bytes, which depend on the file only."""
    figures = {
        "file bytes": (then.file_bytes, now.file_bytes),
        "gzip bytes": (then.gzip_bytes, now.gzip_bytes),
        "peak activation bytes": tuple(m.cost.get("peak_activation_bytes") for m in (then, now)),
    }
    for what, (before, after) in figures.items():
        if before and after:
            yield _verdict(what, now, before, after, Log(math.log(after / before)), allow, where="")


def _instructions(now: Measurement, then: Measurement, allow: float) -> Iterator[Verdict]:
    old, new = then.instructions, now.instructions
    if not old or not new:
        return
    quotient, failed, note = None, False, ""
    if now.runtime_version == then.runtime_version:
        spread = old.spread + new.spread
        quotient = Log(math.log(new.total / old.total), spread, spread)
    else:
        versions = f"{then.runtime_version} then and {now.runtime_version} now"
        failed, note = True, f"not checked, counted under {now.runtime} {versions}: count the baseline again"
    yield _verdict(
        "instructions", now, old.total, new.total, quotient, allow, "no baseline", note=note, failed=failed
    )


def _latency(now: Measurement, then: Measurement, allow: float) -> Iterator[Verdict]:
    """Over another file's where both were run in turns with one, else by itself."""
    old, new = _in_turns(then), _in_turns(now)
    if old and new:
        yield _latency_ratio(now, then, old, new, allow)
    elif then.latency and now.latency:
        figures = then.latency.median_ms, now.latency.median_ms
        note, quotient = _why_not(now, then), None
        processor, waited = _of_processor(now, then), busy.moments(now, then)
        before, after = _speed_of(then, processor), _speed_of(now, processor)
        if before and after and now.calibration and then.calibration and not note:
            quotient = after.over(before)
            note = (
                f"now / then is of the fastest runs{', in processor time' if processor else ''}, times the "
                f"speed of a matrix product beside them, {then.calibration.gflops:.3g} GFLOP/s then and "
                f"{now.calibration.gflops:.3g} now"
            )
        if waited and quotient:
            # By the clock on the wall nobody knows how much of it was waiting.
            quotient = busy.of_time(waited, quotient) if processor else None
            note = f"{busy.words(waited)}; {note}" if processor else f"{busy.words(waited)}: measure again"
        yield _verdict("latency, ms", now, *figures, quotient, allow, "cannot tell", note=note)


def _in_turns(m: Measurement) -> Relative | None:
    """The latency over another file's, if it was taken."""
    return None if m.is_base else m.relative


def _latency_ratio(
    now: Measurement, then: Measurement, old: Relative, new: Relative, allow: float
) -> Verdict:
    quotient, outcome, note = None, "cannot tell", ""
    before, after, waited = _relative(old), _relative(new), busy.moments(now, then)
    if old.to != new.to:
        outcome = "no baseline"
        note = f"not checked, the baseline holds it against {old.to}: measure it with the same files"
    elif before and after:
        quotient = busy.of_ratio(waited, after.over(before))
        note = busy.words(waited)
    else:
        note = "a ratio without an interval, of an older footseg: measure the baseline again"
    return _verdict(
        "latency ratio", now, old.ratio, new.ratio, quotient, allow, outcome,
        note=note or f"over the latency of {new.to}, run in turns", failed=outcome == "no baseline",
    )  # fmt: skip


def _why_not(now: Measurement, then: Measurement) -> str:
    """Why latencies of two days cannot be compared; empty if they can."""
    if now.device.get("serial") != then.device.get("serial"):
        return "another phone of this model: compare ratios, with two files or more"
    if any(m.conditions.get("throttled") for m in (now, then)):
        return "the device throttled: let it cool down and measure again"
    if not (_speed_of(now, processor=False) and _speed_of(then, processor=False)):
        return "too few samples, or no matrix product in the same run to tell how fast the device was"
    return ""


def _accuracy(now: Measurement, then: Measurement, allow_iou: float) -> Iterator[Verdict]:
    old, new = then.agreement, now.agreement
    if not old or not new:
        return
    for name, allowed in (("iou", allow_iou), ("pixels_equal", PIXELS)):
        what = ACCURACY[name]
        before, after = getattr(old, name), getattr(new, name)
        if before is None or after is None:
            continue
        if _images(old) != _images(new):
            note = f"not checked, the baseline was scored on {old.data}/{old.split}, {old.images} images"
            yield _verdict(what, now, before, after, None, allowed, "no baseline", note=note, failed=True)
            continue
        lost = before - after
        # 1e-9: 0.93 - 0.925 is a little more than 0.005.
        outcome = "worse" if lost > allowed + 1e-9 else "better" if lost < -allowed - 1e-9 else "ok"
        yield _verdict(what, now, before, after, None, allowed, outcome)


def _images(agreement: Agreement) -> tuple[str, str, int]:
    return agreement.data, agreement.split, agreement.images
