"""Whether heat holds a device back: waiting until it does not, and finding out whether it did."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from footseg.android_harness.ask import Shell, listed
from footseg.android_harness.conditions import Conditions, Policy, conditions

# Samples have to grow by this before it is called drift. Clocks of phones come in steps of about 100 MHz, 4 %
# and more of 2.5 GHz: one step down is seen, less is not throttling.
LEAST_DRIFT = 0.03
# Seconds between two words on what is waited for.
TELLING = 30.0
# Fewer samples in a third do not tell drift from chance.
THIRD = 5


@dataclass(frozen=True)
class Cooled:
    """How waiting ended: ``cool`` is None where the device tells nothing that could be waited for."""

    seconds: float
    cool: bool | None
    why: str
    conditions: Conditions


def wait_until_cool(
    device: Shell,
    *,
    limit_s: float = 600.0,
    poll_s: float = 5.0,
    settle_s: float = 30.0,
    celsius: float = 30.0,
    say: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Cooled:
    """Wait until the system holds nothing back and the battery has stopped cooling down.

    While the battery, the slowest mass in a phone, still falls, the next run starts cooler than the last. Up
    to ``celsius`` it is not waited for. Without a battery's temperature the processor's is taken.

    Args:
        device: asked every ``poll_s`` seconds.
        limit_s: seconds after which waiting ends in any case.
        poll_s: seconds between two looks.
        settle_s: seconds over which the temperature must not have fallen by 0.2 degrees (its step is 0.1).
        celsius: a temperature that is cool enough.
        say: told what is waited for, at first and every ``TELLING`` seconds.
        clock: seconds.
        sleep: waits so many seconds.

    Raises:
        HarnessError: of the device.
    """
    start = clock()
    seen: list[tuple[float, Conditions]] = []
    next_word = 0.0
    while True:
        seen.append((clock() - start, conditions(device)))
        seconds, now = seen[-1]
        if now.thermal_status is None and now.celsius is None:
            return Cooled(seconds, None, "the device tells neither status nor temperature", now)
        why = _waits_for(seen, settle_s, celsius)
        if not why:
            return Cooled(seconds, True, "", now)
        if seconds + poll_s > limit_s:
            return Cooled(seconds, False, f"after {seconds:.0f} s {why}", now)
        if say is not None and seconds >= next_word:
            next_word = seconds + TELLING
            say(f"cooling down, {seconds:.0f} s: {why}")
        sleep(poll_s)


def _waits_for(seen: Sequence[tuple[float, Conditions]], settle_s: float, celsius: float) -> str:
    """What the last of these looks leaves to wait for; "" for nothing."""
    seconds, now = seen[-1]
    if now.thermal_status:
        return f"the thermal status is {now.thermal}"
    heat = now.celsius
    if heat is None or heat <= celsius:
        return ""
    before = [then.celsius for at, then in seen if at <= seconds - settle_s]
    if not before or before[-1] is None:
        return f"it is at {heat:.1f} degrees, and whether that still falls shows in {settle_s:.0f} s"
    # 0.15 lies between one step of the sensor and two.
    if before[-1] - heat > 0.15:
        return f"it fell from {before[-1]:.1f} to {heat:.1f} degrees in {settle_s:.0f} s"
    return ""


def throttled(
    before: Conditions, after: Conditions, samples_ms: Sequence[float] = (), cores: Sequence[int] = ()
) -> tuple[str, ...]:
    """Why a run was held back, in words; () where nothing shows that it was.

    Args:
        before: the device when it began.
        after: the device when it ended.
        samples_ms: latencies of one model in the order they were taken.
        cores: those it ran on; () for any.
    """
    found = []
    if after.thermal_status:
        found.append(f"thermal status {after.thermal} after the run ({before.thermal or 'not told'} before)")
    earlier = {policy.cores: policy for policy in before.policies}
    for policy in after.policies:
        if not cores or set(cores) & set(policy.cores):
            found += _held_down(policy, earlier.get(policy.cores))
    return (*found, *drift(samples_ms))


def _held_down(after: Policy, before: Policy | None) -> list[str]:
    """What the clock of some cores shows. Where it follows the load, its current value shows nothing."""
    found = []
    name = f"cores {listed(after.cores)}"
    if after.limit_khz and after.max_khz and after.limit_khz < after.max_khz:
        since = "before too" if before and before.limit_khz == after.limit_khz else "not so before"
        found.append(
            f"{name} capped at {after.limit_khz / 1e6:.2f} of {after.max_khz / 1e6:.2f} GHz ({since})"
        )
    elif (
        after.governor == "performance"
        and after.current_khz
        and after.limit_khz
        and after.current_khz < (1 - LEAST_DRIFT) * after.limit_khz
    ):
        found.append(
            f"{name} at {after.current_khz / 1e6:.2f} of {after.limit_khz / 1e6:.2f} GHz under the governor"
            " performance"
        )
    return found


def drift(samples_ms: Sequence[float]) -> tuple[str, ...]:
    """Whether the last third of the samples is slower than the first by more than their spread explains.

    The median of n samples is uncertain by 0.93 x interquartile range / sqrt(n), the ratio of two by 1.31 x
    relative spread / sqrt(n); four of these are asked for. Neighbours among samples resemble each other, so
    it is never less than the spread itself, nor than ``LEAST_DRIFT``. By simulation of steady normal samples
    (20,000 runs each, spreads of 1 to 13 %): called drift in at most 2 % of runs of 15 independent samples
    and 0.3 % of 30 or more; of samples correlated by 0.8 with the one before, in at most 15 % (15 samples)
    to 4 % (150).
    A slow-down by 10 % from start to end, with a spread of 1.3 %, is found in 96 % and more.
    """
    third = len(samples_ms) // 3
    if third < THIRD:
        return ()
    first, last = samples_ms[:third], samples_ms[-third:]
    start, end = statistics.median(first), statistics.median(last)
    spread = (_spread(first) / start + _spread(last) / end) / 2
    threshold = max(LEAST_DRIFT, spread * max(1.0, 4 * 1.31 / third**0.5))
    if end / start - 1 <= threshold:
        return ()
    return (
        f"the last third of {len(samples_ms)} samples is {end / start - 1:.0%} slower than the first"
        f" ({start:.3g} to {end:.3g} ms), their spread explains {threshold:.0%}",
    )


def _spread(samples: Sequence[float]) -> float:
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return high - low


def summary(
    before: Conditions,
    after: Conditions,
    *,
    reasons: Sequence[str] = (),
    pinned: Sequence[int] = (),
    cooled: Cooled | None = None,
) -> dict[str, Any]:
    """What a measurement says of its conditions; ``reasons`` are those of ``throttled``."""
    notes = [*reasons, *dict.fromkeys((*before.notes, *after.notes))]
    if cooled is not None and cooled.cool is not True:
        notes.insert(0, f"not cooled down: {cooled.why}")
    if not pinned and before.allowed and set(before.allowed) < set(before.online or ()):
        notes.insert(0, f"the system lets the runner use cores {listed(before.allowed)} only")
    if before.screen_on is False or after.screen_on is False:
        notes.insert(0, "the screen is off: phones may be slower then, and fall asleep without a charger")
    if before.battery_saver or after.battery_saver:
        notes.insert(0, "the battery saver is on, which may cap the clock")
    return {
        "pinned_cores": list(pinned) or None,
        "governor": before.governor,
        "thermal_before": before.thermal,
        "thermal_after": after.thermal,
        "celsius_before": before.celsius,
        "celsius_after": after.celsius,
        "throttled": bool(reasons),
        "cooled_seconds": None if cooled is None else round(cooled.seconds, 1),
        "battery": after.battery_level,
        "charging": after.charging,
        "powered": None if after.powered is None else list(after.powered),
        "airplane_mode": after.airplane_mode,
        "screen_on": after.screen_on,
        "notes": notes,
    }
