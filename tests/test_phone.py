"""What a phone is and how it fares, by commands that really run: in the folder that stands for a phone."""

import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from footseg.android_harness import adb, ask, conditions, energy, heat, phone
from footseg.android_harness.errors import HarnessError
from tests.phone.machine import PIXEL_6, TWO_CORES, Cluster, Machine

CPU = "/sys/devices/system/cpu"


@dataclass
class Local:
    """A phone's shell without adb between: what ``adb.Device.shell`` does, on the same folder."""

    machine: Machine
    serial: str = "1A051FDF6007RM"
    noise: str = ""
    calls: int = 0

    def shell(self, argv: Sequence[str], *, timeout: float, check: bool = True) -> adb.Result:
        self.calls += 1
        done = subprocess.run(
            ["sh", "-c", self.machine.mapped(shlex.join(argv))],
            env=self.machine.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
        )
        out = done.stdout.replace(f"{self.machine.root}/", "/").replace("\n", "\r\n")
        return adb.Result(self.noise + out + self.noise, done.stderr, done.returncode)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A Pixel 6."""
    return Machine(tmp_path / "phone")


def forget(machine: Machine, *names: str) -> None:
    """Take files and folders off the phone."""
    for name in names:
        path = machine.path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def test_facts_of_a_phone_come_in_one_command(machine: Machine) -> None:
    device = Local(machine)
    found = phone.facts(device)
    assert device.calls == 1
    assert found.name == "Google Pixel 6"
    assert (found.soc, found.abi, found.abis[1:]) == ("Google GS101", "arm64-v8a", ("armeabi-v7a", "armeabi"))
    assert (found.android, found.sdk, found.serial) == ("14", 34, "1A051FDF6007RM")
    assert found.build == "google/oriole/oriole:14/AP2A.240805.005/12025142:user/release-keys"
    assert found.kernel == "5.10.198-android13-4-g1a2b3c4d5e6f"
    assert found.clusters == (
        phone.CoreCluster((0, 1, 2, 3), 1803000, 250, "Cortex-A55"),
        phone.CoreCluster((4, 5), 2253000, 620, "Cortex-A76"),
        phone.CoreCluster((6, 7), 2802000, 1024, "Cortex-X1"),
    )
    assert found.notes == ()
    device_of_the_line = found.device()
    assert (
        device_of_the_line["cpu"] == "2x Cortex-X1 2.80 GHz + 2x Cortex-A76 2.25 GHz + 4x Cortex-A55 1.80 GHz"
    )
    assert (device_of_the_line["cores"], device_of_the_line["system"]) == (8, "Android 14 (SDK 34)")


def test_a_phone_on_the_network_is_the_phone_of_the_cable(machine: Machine) -> None:
    """By its address it would be another phone each day: baselines and averages go by the serial."""
    assert phone.facts(Local(machine, serial="192.168.0.7:5555")).serial == "1A051FDF6007RM"
    del machine.properties["ro.serialno"]
    machine.set_properties()
    assert phone.facts(Local(machine, serial="192.168.0.7:5555")).serial == "192.168.0.7:5555"


@pytest.mark.parametrize(
    "noise", ["Welcome!\r\n", "[ro.product.model]", "no line end", "\r\n\r\n", "a:b\r\n"]
)
def test_a_shell_that_talks_changes_nothing(machine: Machine, noise: str) -> None:
    assert phone.facts(Local(machine, noise=noise)) == phone.facts(Local(machine))
    assert conditions.conditions(Local(machine, noise=noise)) == conditions.conditions(Local(machine))


def test_pins_are_words_or_numbers(machine: Machine) -> None:
    pixel = phone.facts(Local(machine))
    assert phone.big_cores(pixel) == phone.parse_pin("big", pixel) == (6, 7)
    assert phone.little_cores(pixel) == phone.parse_pin(" Little", pixel) == (0, 1, 2, 3)
    assert phone.middle_cores(pixel) == phone.parse_pin("middle", pixel) == (4, 5)
    assert phone.parse_pin("4-7", pixel) == (4, 5, 6, 7)
    assert phone.parse_pin("5,4", pixel) == (4, 5)
    for text in ("", "7-4", "fast", "4,,5", "-1", "4-"):
        with pytest.raises(ValueError, match="big, middle, little or numbers"):
            phone.parse_pin(text, pixel)
    with pytest.raises(HarnessError, match=r"Google Pixel 6 has no core 8-9 \(it has 0-3: 4x Cortex-A55"):
        phone.parse_pin("7-9", pixel)


def test_a_phone_without_middle_cores_says_what_it_has(tmp_path: Path) -> None:
    two = phone.facts(Local(Machine(tmp_path / "two", clusters=TWO_CORES)))
    assert (phone.big_cores(two), phone.little_cores(two)) == ((1,), (0,))
    with pytest.raises(
        HarnessError, match=r"no middle cores \(it has 0: 1x Cortex-A55 1.80 GHz; 1: 1x Cortex-X1"
    ):
        phone.parse_pin("middle", two)
    alike = phone.facts(Local(Machine(tmp_path / "alike", clusters=PIXEL_6[:1])))
    assert phone.big_cores(alike) == phone.little_cores(alike) == (0, 1, 2, 3)


def test_a_phone_that_tells_nothing_is_described_all_the_same(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "shut")
    forget(machine, "/sys", "/proc")
    for name in ("getprop", "uname", "dumpsys", "cmd"):
        machine.command(name, "echo 'Permission denied' >&2; exit 1")
    machine.command("id", "exit 1")
    found = phone.facts(Local(machine))
    assert (found.model, found.soc, found.abi, found.clusters, found.root) == (None, None, None, (), None)
    assert found.name == "unknown device"
    assert found.device()["cores"] is None
    for name in ("model", "soc", "abis", "android", "kernel", "clusters", "root"):
        assert f"the device does not tell its {name}" in found.notes
    assert phone.parse_pin("4-7", found) == (4, 5, 6, 7)
    with pytest.raises(HarnessError, match="does not tell its cores: give numbers"):
        phone.parse_pin("big", found)
    now = conditions.conditions(Local(machine))
    assert (now.thermal, now.governor, now.celsius, now.charging, now.powered) == (None,) * 5
    assert len(now.notes) == 12  # all but the cores that a process may use, which the host's /proc/self tells
    assert heat.throttled(now, now) == ()
    cooled = heat.wait_until_cool(Local(machine))
    assert (cooled.cool, cooled.why) == (None, "the device tells neither status nor temperature")


def test_the_soc_of_older_androids(machine: Machine) -> None:
    for key in ("ro.soc.model", "ro.soc.manufacturer"):
        del machine.properties[key]
    machine.set_properties()
    assert phone.facts(Local(machine)).soc == "gs101"
    machine.set_properties(ro__hardware__chipname="exynos9820", ro__product__manufacturer="google pixel")
    found = phone.facts(Local(machine))
    assert found.soc == "exynos9820"
    assert found.name == "google pixel Pixel 6"


def test_clusters_of_one_clock_are_told_apart_by_kind(tmp_path: Path) -> None:
    """Helio P60: four Cortex-A53 and four Cortex-A73, all of 2.0 GHz; old kernels know no capacities."""
    helio = (Cluster(4, 1989000, "0xd09", 1), Cluster(4, 1989000, "0xd03", 1))
    machine = Machine(tmp_path / "helio", clusters=helio)
    forget(machine, *(f"{CPU}/cpu{core}/cpu_capacity" for core in range(8)))
    found = phone.facts(Local(machine))
    assert [(c.cores, c.name) for c in found.clusters] == [
        ((4, 5, 6, 7), "Cortex-A53"),
        ((0, 1, 2, 3), "Cortex-A73"),
    ]


def test_unknown_kinds_are_ordered_by_their_clock(tmp_path: Path) -> None:
    machine = Machine(
        tmp_path / "new", clusters=(Cluster(2, 3000000, "0xdff", 1), Cluster(2, 2000000, "0xd80", 1))
    )
    forget(machine, *(f"{CPU}/cpu{core}/cpu_capacity" for core in range(4)))
    found = phone.facts(Local(machine))
    assert [(c.cores, c.name) for c in found.clusters] == [
        ((2, 3), "Cortex-A520"),
        ((0, 1), "implementer 0x41 part 0xdff"),
    ]


def test_cores_that_are_off_are_cores(machine: Machine) -> None:
    """Off, a core has neither a clock nor a place in /proc/cpuinfo."""
    text = machine.path("/proc/cpuinfo").read_text()
    machine.write("/proc/cpuinfo", text[: text.index("processor\t: 6")])
    forget(machine, *(f"{CPU}/cpu{core}/{name}" for core in (6, 7) for name in ("cpufreq", "cpu_capacity")))
    machine.write(f"{CPU}/online", "0-5\n")
    found = phone.facts(Local(machine))
    assert found.cores == tuple(range(8))
    assert "the kind of cores 6-7 is not known" in found.notes
    now = conditions.conditions(Local(machine))
    assert conditions.unusable((5, 6), now)[0] == "core 6 is switched off"
    assert conditions.unusable((6, 7), now)[0] == "cores 6-7 are switched off"
    assert conditions.unusable((0,), now) == ()


def test_one_part_for_all_cores_is_of_none(machine: Machine) -> None:
    """Linux 3.10: eight processors, then the part of the one that was asked."""
    lines = [f"processor\t: {core}\n" for core in range(8)]
    machine.write("/proc/cpuinfo", "".join(lines) + "\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n")
    assert {cluster.name for cluster in phone.facts(Local(machine)).clusters} == {None}


def test_conditions_come_in_one_command(machine: Machine) -> None:
    device = Local(machine)
    now = conditions.conditions(device)
    assert device.calls == 1
    assert (now.thermal_status, now.thermal) == (0, "NONE")
    assert now.hottest == conditions.Temperature("BIG", 38.0, "cpu")
    assert (now.battery_level, now.battery_celsius, now.battery_volts) == (83, 27.4, 4.123)
    assert (now.charging, now.powered) == (True, ("USB",))
    assert (now.battery_saver, now.airplane_mode, now.screen_on) == (False, True, True)
    assert now.governor == "sched_pixel"
    assert now.policies[2] == conditions.Policy((6, 7), "sched_pixel", 500000, 2802000, 2802000)
    assert now.online == tuple(range(8))
    assert now.notes == ()


@pytest.mark.parametrize(("state", "on"), [("Awake", True), ("Dreaming", True), ("Dozing", False)])
def test_a_screen_that_is_off_is_said(machine: Machine, state: str, on: bool) -> None:
    machine.dumpsys("power", f"  mWakefulnessChanging=false\n  mWakefulness={state}\n")
    now = conditions.conditions(Local(machine))
    summary = heat.summary(now, now)
    assert (now.screen_on, summary["screen_on"]) == (on, on)
    assert any("the screen is off" in note for note in summary["notes"]) is not on


def test_current_temperatures_are_taken_not_cached_ones(machine: Machine) -> None:
    text = (
        "Thermal Status: 2\nCached temperatures:\n\tTemperature{mValue=99.0, mType=0, mName=BIG, mStatus=0}\n"
    )
    machine.dumpsys("thermalservice", text)
    assert conditions.conditions(Local(machine)).hottest.celsius == 99
    text += (
        "Current temperatures from HAL:\n\tTemperature{mValue=41.5, mType=0, mName=BIG, mStatus=0}\n"
        "\tTemperature{mValue=4200.0, mType=6, mName=vbat, mStatus=0}\n"
    )
    machine.dumpsys("thermalservice", text)
    now = conditions.conditions(Local(machine))
    assert now.temperatures == (conditions.Temperature("BIG", 41.5, "cpu"),)
    assert now.thermal == "MODERATE"


def test_older_androids_tell_zones(machine: Machine) -> None:
    """Thousandths, tenths and whole degrees; "soc" is a battery's charge; a sensor not fitted reads 0."""
    forget(machine, "/sys/class/thermal")
    zones = {"cpu-0-0-usr": 45200, "mtktscpu": 431, "tsens_tz_sensor3": 44, "soc": 83, "Battery": 31000}
    zones |= {"xo_therm": 0, "pa_therm": -40000}
    for index, (name, value) in enumerate(zones.items()):
        machine.write(f"/sys/class/thermal/thermal_zone{index}/type", f"{name}\n")
        machine.write(f"/sys/class/thermal/thermal_zone{index}/temp", f"{value}\n")
    machine.dumpsys("thermalservice", "Can't find service: thermalservice\n")
    now = conditions.conditions(Local(machine))
    assert now.thermal_status is None
    assert "the device does not tell its thermal status" in now.notes
    assert {t.name: (t.celsius, t.kind) for t in now.temperatures} == {
        "cpu-0-0-usr": (45.2, "cpu"),
        "mtktscpu": (43.1, "cpu"),
        "tsens_tz_sensor3": (44.0, "cpu"),
        "soc": (83.0, "other"),
        "Battery": (31.0, "battery"),
    }
    assert now.hottest.name == "cpu-0-0-usr"


def test_a_battery_that_somebody_faked_is_said(machine: Machine) -> None:
    text = (
        "Current Battery Service state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n  AC powered: false\n"
        "  USB powered: false\n  status: 3\n  level: 40\n  scale: 50\n  voltage: 4\n  temperature: 301\n"
        "  level: 7\n"
    )
    machine.dumpsys("battery", text)
    now = conditions.conditions(Local(machine))
    assert (now.battery_level, now.battery_volts, now.battery_celsius) == (80, 4, 30.1)
    assert (now.charging, now.powered) == (False, ())
    assert any("dumpsys battery reset" in note for note in now.notes)


def test_governors_that_differ_are_told_with_their_cores(machine: Machine) -> None:
    machine.write(f"{CPU}/cpufreq/policy6/scaling_governor", "performance\n")
    assert conditions.conditions(Local(machine)).governor == (
        "sched_pixel (0-3), sched_pixel (4-5), performance (6-7)"
    )


def test_lists_of_cores() -> None:
    assert ask.cores("0-3,6") == (0, 1, 2, 3, 6)
    assert ask.cores("4 5 6 7") == (4, 5, 6, 7)
    assert ask.cores("3-1") is ask.cores("") is ask.cores(None) is ask.cores("1,x") is None
    assert ask.listed((7, 0, 4, 5, 6)) == "0,4-7"


class Clock:
    """Time that passes only by sleeping; each sleep lets the phone change."""

    def __init__(self, then) -> None:
        self.now, self.then = 0.0, then

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.then(self.now)


def battery(machine: Machine, celsius: float, status: int = 0) -> None:
    machine.dumpsys("battery", f"status: 3\nlevel: 80\ntemperature: {round(celsius * 10)}\n")
    machine.dumpsys("thermalservice", f"Thermal Status: {status}\n")


def test_waiting_ends_when_the_status_is_nominal_and_the_battery_stopped_falling(machine: Machine) -> None:
    """36 degrees fall by 1 in 10 s to 33, nominal from 20 s on: what is steady from 30 s shows at 60 s."""
    clock = Clock(lambda now: battery(machine, max(33, 36 - now / 10), int(now < 20)))
    clock.then(0)
    said: list[str] = []
    cooled = heat.wait_until_cool(
        Local(machine), poll_s=10, say=said.append, clock=clock, sleep=clock.sleep, limit_s=100
    )
    assert (cooled.cool, cooled.seconds, cooled.why) == (True, 60, "")
    assert cooled.conditions.celsius == 33
    assert said[0] == "cooling down, 0 s: the thermal status is LIGHT"
    # One word in 30 s, though it looks every 10.
    assert said[1:] == ["cooling down, 30 s: it fell from 36.0 to 33.0 degrees in 30 s"]


def test_a_cool_phone_is_not_waited_for(machine: Machine) -> None:
    battery(machine, 29.9)
    cooled = heat.wait_until_cool(Local(machine), sleep=lambda seconds: pytest.fail("it slept"))
    assert cooled.cool is True


def test_waiting_has_an_end(machine: Machine) -> None:
    battery(machine, 29.9, status=3)
    clock = Clock(lambda now: None)
    cooled = heat.wait_until_cool(Local(machine), clock=clock, sleep=clock.sleep, limit_s=60)
    assert (cooled.cool, cooled.seconds) == (False, 60)
    assert cooled.why == "after 60 s the thermal status is SEVERE"


def test_a_shell_that_is_kept_to_some_cores_is_said(machine: Machine) -> None:
    now = replace(conditions.conditions(Local(machine)), online=tuple(range(8)), allowed=(0, 1, 2, 3))
    said = "the system lets the runner use cores 0-3 only"
    assert heat.summary(now, now)["notes"][0] == said
    # Whoever pins knows, and was refused where it cannot be; all cores are no news.
    assert said not in heat.summary(now, now, pinned=(0, 1))["notes"]
    free = replace(now, allowed=now.online)
    assert not any("lets the runner" in note for note in heat.summary(free, free)["notes"])


def test_throttling_shows_in_the_status_and_in_capped_clocks(machine: Machine) -> None:
    before = conditions.conditions(Local(machine))
    assert heat.throttled(before, before) == ()
    machine.write(f"{CPU}/cpufreq/policy6/scaling_max_freq", "1401000\n")
    machine.dumpsys("thermalservice", "Thermal Status: 1\n")
    after = conditions.conditions(Local(machine))
    capped = "cores 6-7 capped at 1.40 of 2.80 GHz (not so before)"
    assert heat.throttled(before, after) == ("thermal status LIGHT after the run (NONE before)", capped)
    assert heat.throttled(before, after, cores=(0, 1)) == (
        "thermal status LIGHT after the run (NONE before)",
    )
    assert heat.throttled(after, after)[1] == "cores 6-7 capped at 1.40 of 2.80 GHz (before too)"
    summary = heat.summary(before, after, reasons=(capped,), pinned=(6, 7))
    assert (summary["throttled"], summary["thermal_before"], summary["thermal_after"]) == (
        True,
        "NONE",
        "LIGHT",
    )
    assert (summary["pinned_cores"], summary["cooled_seconds"], summary["notes"][0]) == ([6, 7], None, capped)


def test_a_clock_that_falls_shows_only_where_it_should_stand_still(machine: Machine) -> None:
    before = conditions.conditions(Local(machine))
    slow = tuple(replace(policy, current_khz=1_000_000, governor="performance") for policy in before.policies)
    found = heat.throttled(before, replace(before, policies=slow), cores=(4,))
    assert found == ("cores 4-5 at 1.00 of 2.25 GHz under the governor performance",)
    idle = tuple(replace(policy, governor="schedutil") for policy in slow)
    assert heat.throttled(before, replace(before, policies=idle)) == ()


def test_drift_is_what_the_spread_does_not_explain() -> None:
    """Thirds of six: medians 100 and 112, spread 0 of both: 12 %, of which least drift explains 3 %."""
    steps = [100.0] * 6 + [106.0] * 6 + [112.0] * 6
    assert heat.drift(steps) == (
        "the last third of 18 samples is 12% slower than the first (100 to 112 ms), their spread explains 3%",
    )
    assert heat.drift(steps[::-1]) == ()  # it grew faster
    assert heat.drift([100.0] * 12 + [102.9] * 6) == ()
    # The middle half of 90, 95, 100, 105, 110, 115 spreads over 12.5 of 102.5; four errors of its median are
    # 4 x 1.31 / sqrt(6) = 2.14 of that, 26 %.
    wide = [90.0, 95.0, 100.0, 105.0, 110.0, 115.0]
    assert heat.drift(wide * 2 + [value * 1.25 for value in wide]) == ()
    assert "spread explains 26%" in heat.drift(wide * 2 + [value * 1.3 for value in wide])[0]
    assert heat.drift([100.0] * 4 + [150.0] * 4 + [200.0] * 4) == ()  # too few to tell


UNPLUGGED = {"battery": "AC powered: false\nUSB powered: false\nstatus: 3\nlevel: 80\n"}


@pytest.fixture
def unplugged(machine: Machine) -> conditions.Conditions:
    machine.dumpsys("battery", UNPLUGGED["battery"])
    return conditions.conditions(Local(machine))


def log(busy: Sequence[tuple[int, int]], idle: int = 200_000, every: float = 0.5) -> str:
    """A log: idle from 100 to 110 s at 4 V, then ``busy``: currents and voltages, every half second."""
    lines = ["idle 100.00  "]
    lines += [f"r {100 + n * every:.2f} {idle + n % 2} 4000000" for n in range(20)]
    lines.append("start 110.00  ")
    lines += [f"r {110 + n * every:.2f} {current} {voltage}" for n, (current, voltage) in enumerate(busy)]
    return "\n".join([*lines, f"end {110 + len(busy) * every:.2f}  ", ""])


def test_energy_is_what_the_run_takes_beyond_idling(unplugged: conditions.Conditions) -> None:
    """Idle 0.2 A x 4 V = 0.8 W, busy 1.0 A x 4 V = 4.0 W: 3.2 W over 10 s, in 100 inferences, are 320 mJ."""
    trace = energy.read(log([(1_000_000, 4_000_000 + n) for n in range(20)]))
    found = energy.fuel(trace, 100, unplugged)
    # The idle current wavers by 1 uA and the voltage by 19 uV: 5e-6 of the power each at most.
    assert found.millijoules == pytest.approx(320, rel=1e-5)
    assert found.seconds == 10
    assert found.note == (
        "an estimate, of the whole phone and not only its processor: 4.00 W less 0.80 W at idle, over 10.0 s,"
        " 100 inferences and 20 readings of the fuel gauge, taken as uA, positive while it discharges"
    )


def test_units_and_signs_differ_by_vendor(unplugged: conditions.Conditions) -> None:
    trace = energy.read(log([(-1000, 4000 + n % 2) for n in range(20)], idle=-200))
    found = energy.fuel(trace, 100, unplugged)
    # The current wavers by 1 mA of 200 while idle, 0.5 % of 0.8 W; the voltage by 1 mV of 4 V.
    assert found.millijoules == pytest.approx(320, rel=2e-3)
    assert "taken as mA, negative while it discharges" in found.note


def test_loading_is_left_out(unplugged: conditions.Conditions) -> None:
    """Two seconds of loading at 2 A, then 10 s of 4 W: what was loaded with is no inference's."""
    busy = [(2_000_000, 4_000_000 + n) for n in range(4)] + [(1_000_000, 4_000_000 + n) for n in range(20)]
    found = energy.fuel(energy.read(log(busy)), 100, unplugged, skip_s=2)
    assert found.millijoules == pytest.approx(320, rel=1e-5)  # as above


def test_energy_is_refused_with_its_reason(unplugged: conditions.Conditions) -> None:
    steady = [(1_000_000, 4_000_000 + n) for n in range(20)]
    good = energy.read(log(steady))

    def why(trace: energy.Trace, now: conditions.Conditions = unplugged) -> str:
        found = energy.fuel(trace, 100, now)
        assert found.millijoules is None
        return found.note

    assert "on USB power: unplug it and use adb over Wi-Fi" in why(good, replace(unplugged, powered=("USB",)))
    assert "is charging" in why(good, replace(unplugged, powered=None, charging=True))
    assert "does not tell whether" in why(good, replace(unplugged, powered=None, charging=None))
    assert "did not come to its end" in why(energy.read(log(steady).replace("end ", "cut ")))
    assert "could not be read" in why(replace(good, readings=()))
    assert "says 0 all the time" in why(energy.read(log([(0, 4_000_000)] * 20)))
    assert "changed its sign" in why(energy.read(log([*steady[:-1], (-5000, 4_000_000)])))
    slow = why(energy.read(log([(1_000_000 + n // 5, 4_000_000) for n in range(20)])))
    assert slow == (
        "the fuel gauge is too slow: 4 readings that differ in the 10 s of the run, at least 10 are needed;"
        " make it 3 times as long or longer"
    )
    woken = [replace(one, seconds=one.seconds + 5 * (one.seconds > 115)) for one in good.readings]
    asleep = why(replace(good, readings=tuple(woken), end=125.0))
    assert asleep == "the phone slept for 6 s of the run: keep its screen on meanwhile"
    assert "no more than idling" in why(energy.read(log(steady, idle=1_100_000)))
    with pytest.raises(ValueError, match="got 0"):
        energy.fuel(good, 0, unplugged)


def test_the_gauge_is_read_beside_a_command(machine: Machine, unplugged: conditions.Conditions) -> None:
    device = Local(machine)
    gauge = energy.find_gauge(device)
    assert gauge == energy.Gauge(
        "/sys/class/power_supply/battery/current_now", "/sys/class/power_supply/battery/voltage_now"
    )
    stop = threading.Event()

    def draw() -> None:
        for n in range(1000):
            if stop.wait(0.03):
                return
            machine.write(gauge.current, f"-{400_000 + n}\n")

    gauges = threading.Thread(target=draw)
    gauges.start()
    try:
        command = ["sh", "-c", 'echo "$1"; sleep 1; exit 7', "it", "a 'b' c"]
        argv = energy.beside(command, gauge, "/data/local/tmp/gauge.log", every_s=0.02, idle_s=0.3)
        said = device.shell(argv, timeout=30, check=False)
    finally:
        stop.set()
        gauges.join()
    assert (said.stdout, said.returncode, said.stderr) == ("a 'b' c\r\n", 7, "")
    trace = energy.read(machine.path("/data/local/tmp/gauge.log").read_text())
    assert 0.9 < trace.end - trace.start < 10  # a second, and what a busy machine adds
    assert len(trace.between(trace.start, trace.end)) >= 10
    size = machine.path("/data/local/tmp/gauge.log").stat().st_size
    time.sleep(0.2)
    assert machine.path("/data/local/tmp/gauge.log").stat().st_size == size  # the readings ended with it


def test_a_gauge_that_is_closed_or_empty_is_none(machine: Machine) -> None:
    forget(machine, "/sys/class/power_supply/battery/current_now")
    assert energy.find_gauge(Local(machine)) is None
    machine.write("/sys/class/power_supply/bms/current_now", "not supported\n")
    machine.write("/sys/class/power_supply/bms/voltage_now", "4000000\n")
    assert energy.find_gauge(Local(machine)) is None
    machine.write("/sys/class/power_supply/mt6357-gauge/current_now", "1500\n")
    machine.write("/sys/class/power_supply/mt6357-gauge/voltage_now", "4000000\n")
    assert energy.find_gauge(Local(machine)).current == "/sys/class/power_supply/mt6357-gauge/current_now"
