"""Energy of an inference by a phone's own fuel gauge: an estimate, of the whole phone.

The kernel's battery class (Documentation/ABI/testing/sysfs-class-power) gives current_now in microamperes and
voltage_now in microvolts. Vendors also give milliamperes, count discharge as positive or as negative, bring
out a new reading every few tenths of a second to every minute, or close the files to the shell. Never run on
a phone here: the script runs in the tests, on files that a test changes.
"""

import itertools
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from footseg.android_harness.ask import Shell, ask, contents, files, number
from footseg.android_harness.conditions import Conditions, in_volts

SUPPLIES = "/sys/class/power_supply"
# The gauge is one of these, in most phones the first; "main" and "maxfg" are names of single vendors.
NAMES = ("battery", "bms", "main_battery", "maxfg", "Battery", "*")

# A busy phone draws 0.1 to 10 A: as microamperes more than this, as milliamperes less.
MILLIAMPERES_BELOW = 10_000
# One reading at the edge of the run may be of the time before it: of ten, that is at most a tenth.
READINGS = 10
IDLE_READINGS = 3
# Seconds without a reading that only a phone that sleeps explains: its clock goes on then, no program does.
ASLEEP = 3.0

# Both clocks of /proc/uptime cost no process; a reading of the gauge costs none either.
# $1 current_now, $2 voltage_now, $3 log, $4 seconds between readings, $5 readings at most, $6 idle seconds.
SCRIPT = r"""
i=$1 u=$2 log=$3 every=$4 most=$5 idle=$6; shift 6
tell() { read -r now rest </proc/uptime; echo "$1 $now $2 $3" >>"$log"; }
sample() {
  n=0
  while [ $n -lt $most ]; do
    current= voltage=
    read -r current <"$i"; read -r voltage <"$u"
    tell r "$current" "$voltage"
    sleep $every || sleep 1
    n=$((n + 1))
  done
}
: >"$log" || exit 1
sample </dev/null >/dev/null 2>&1 &
sampler=$!
trap 'kill $sampler 2>/dev/null' EXIT
trap 'exit 129' HUP INT TERM
tell idle; sleep $idle; tell start
"$@"
code=$?
tell end
exit $code
"""


@dataclass(frozen=True)
class Gauge:
    """The two files of a fuel gauge."""

    current: str
    voltage: str


def find_gauge(device: Shell) -> Gauge | None:
    """The fuel gauge of a device; None where it has none or the shell may not read it.

    Raises:
        HarnessError: of the device.
    """
    wanted = [f"{SUPPLIES}/{name}/{file}_now" for name in NAMES for file in ("current", "voltage")]
    found = files(ask(device, {"gauge": contents(*wanted)})["gauge"])
    for path, text in found.items():
        voltage = path.replace("current_now", "voltage_now")
        if path.endswith("/current_now") and None not in (number(text), number(found.get(voltage))):
            return Gauge(path, voltage)
    return None


def beside(
    command: Sequence[str],
    gauge: Gauge,
    log: str,
    *,
    every_s: float = 0.1,
    idle_s: float = 10.0,
    limit_s: float = 900.0,
) -> list[str]:
    """The command that runs ``command`` on the device and reads its gauge before and during it.

    Output and exit code are those of ``command``. The readings end with it, whatever ends it.

    Args:
        command: the benchmark and its arguments.
        gauge: of ``find_gauge``.
        log: a file on the device that is written; ``read`` takes its text.
        every_s: seconds between two readings.
        idle_s: seconds before the command in which nothing runs: what the phone draws by itself.
        limit_s: seconds after which readings end in any case.
    """
    most = max(1, round(limit_s / every_s))
    words = (gauge.current, gauge.voltage, log, f"{every_s:g}", str(most), f"{idle_s:g}")
    return ["sh", "-c", SCRIPT, "footseg-energy", *words, *command]


@dataclass(frozen=True)
class Reading:
    """The gauge at one moment: seconds since the device started, and the numbers of its two files."""

    seconds: float
    current: int
    voltage: int


@dataclass(frozen=True)
class Trace:
    """Readings of one run, and when it was: idle from ``idle``, the command from ``start`` to ``end``."""

    readings: tuple[Reading, ...]
    idle: float | None
    start: float | None
    end: float | None

    def between(self, low: float | None, high: float | None) -> tuple[Reading, ...]:
        if low is None or high is None:
            return ()
        return tuple(reading for reading in self.readings if low <= reading.seconds <= high)


def read(log: str) -> Trace:
    """The log that the script of ``beside`` wrote; lines that are cut or empty are passed over."""
    readings: list[Reading] = []
    marks: dict[str, float] = {}
    for line in log.splitlines():
        match = re.fullmatch(r"(\w+) (\d+\.\d+)(?: (-?\d+) (-?\d+))?\s*", line)
        if match and match[1] == "r" and match[3] is not None:
            readings.append(Reading(float(match[2]), int(match[3]), int(match[4])))
        elif match and match[1] != "r":
            marks[match[1]] = float(match[2])
    return Trace(tuple(readings), marks.get("idle"), marks.get("start"), marks.get("end"))


@dataclass(frozen=True)
class Fuel:
    """What an inference took beyond idling; None where ``note`` says why it cannot be told."""

    millijoules: float | None
    note: str
    seconds: float = 0.0  # of the run


def fuel(trace: Trace, inferences: int, before: Conditions, *, skip_s: float = 0.0) -> Fuel:
    """Energy of one inference, of readings taken before and during a run.

    Args:
        trace: of ``read``.
        inferences: all that ran after ``skip_s``, warm-up included.
        before: the device when the run began: a plugged phone's gauge tells nothing of its use.
        skip_s: seconds at the start of the command in which no inference ran (the loading of the model).

    Raises:
        ValueError: ``inferences`` is not positive.
    """
    if inferences < 1:
        raise ValueError(f"energy is divided by the number of inferences, got {inferences}")
    if trace.start is None or trace.end is None or trace.idle is None:
        return Fuel(None, "the run did not come to its end beside its fuel gauge")
    idle = trace.between(trace.idle, trace.start)
    busy = trace.between(trace.start + skip_s, trace.end)
    why = powered(before) or _slept(trace) or _useless(idle, busy)
    if why:
        return Fuel(None, why)
    unit = "mA" if statistics.median(abs(reading.current) for reading in busy) < MILLIAMPERES_BELOW else "uA"
    amperes = 1e-3 if unit == "mA" else 1e-6
    idle_watts, busy_watts = (_watts(part, amperes) for part in (idle, busy))
    seconds, readings = trace.end - trace.start - skip_s, _changes(busy)
    joules = (busy_watts - idle_watts) * seconds
    sign = "negative" if min(reading.current for reading in busy) < 0 else "positive"
    note = (
        f"an estimate, of the whole phone and not only its processor: {busy_watts:.2f} W less"
        f" {idle_watts:.2f} W at idle, over {seconds:.1f} s, {inferences} inferences and {readings} readings"
        f" of the fuel gauge, taken as {unit}, {sign} while it discharges"
    )
    if joules <= 0:
        return Fuel(None, f"the run drew no more than idling did ({note})")
    return Fuel(1000 * joules / inferences, note, seconds)


def powered(before: Conditions) -> str:
    """Why the gauge tells nothing, if the phone has another source of power."""
    advice = "unplug it and use adb over Wi-Fi: adb tcpip 5555, then adb connect ADDRESS"
    if before.powered:
        return f"no energy while the phone is on {' and '.join(before.powered)} power: {advice}"
    if before.charging:
        return f"no energy while the phone is charging: {advice}"
    if before.powered is None and before.charging is None:
        return "no energy: the phone does not tell whether it is plugged in"
    return ""


def _slept(trace: Trace) -> str:
    """Whether the phone stood still for a while, as phones off their charger do with their screen off."""
    moments = [reading.seconds for reading in trace.between(trace.idle, trace.end)]
    gap = max((b - a for a, b in itertools.pairwise(moments)), default=0.0)
    return f"the phone slept for {gap:.0f} s of the run: keep its screen on meanwhile" if gap > ASLEEP else ""


def _useless(idle: Sequence[Reading], busy: Sequence[Reading]) -> str:
    """Why these readings give no energy; "" if they do."""
    if not busy or not idle:
        return "the fuel gauge could not be read during the run"
    if not any(reading.current for reading in busy):
        return "the fuel gauge says 0 all the time: this phone does not measure its current"
    if len({reading.current > 0 for reading in (*idle, *busy) if reading.current}) > 1:
        return "the current changed its sign: the phone was charged for part of the run"
    for name, readings, least in (("idling", idle, IDLE_READINGS), ("the run", busy, READINGS)):
        seconds, seen = readings[-1].seconds - readings[0].seconds, _changes(readings)
        if seen < least:
            longer = max(2, -(-least // seen))
            return (
                f"the fuel gauge is too slow: {seen} readings that differ in the {seconds:.0f} s of {name},"
                f" at least {least} are needed; make it {longer} times as long or longer"
            )
    return ""


def _changes(readings: Sequence[Reading]) -> int:
    """Readings that the gauge gave, told by their differing from the one before."""
    values = [(reading.current, reading.voltage) for reading in readings]
    return sum(value != before for value, before in zip(values, [None, *values], strict=False))


def _watts(readings: Sequence[Reading], amperes: float) -> float:
    """Mean power, each reading holding until the next; of one reading, its own."""
    power = [abs(reading.current) * amperes * in_volts(reading.voltage) for reading in readings]
    held = [b.seconds - a.seconds for a, b in itertools.pairwise(readings)]
    if not sum(held):
        return statistics.fmean(power)
    return sum(watts * seconds for watts, seconds in zip(power, held, strict=False)) / sum(held)
