"""The state of a device at one moment: heat, clocks and their limits, battery, cores that can be used.

``dumpsys thermalservice`` tells a status since Android 10; before that, and where it is closed, the zones of
/sys/class/thermal tell temperatures, named as each vendor likes. Never run on a phone here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from footseg.android_harness.ask import Shell, ask, contents, cores, files, listed, number, values

# android.os.PowerManager.THERMAL_STATUS_*: from LIGHT on, the system takes back speed.
THERMAL = ("NONE", "LIGHT", "MODERATE", "SEVERE", "CRITICAL", "EMERGENCY", "SHUTDOWN")
# android.os.Temperature.TYPE_*: 6 to 8 are limits of the battery's current and voltage, no temperatures.
KINDS = {0: "cpu", 1: "gpu", 2: "battery", 3: "skin", 4: "usb", 5: "power amplifier", 9: "npu"}
# What vendors call the zones of their processors, as part of the name; "soc" alone is the battery's charge.
CPU_ZONE = re.compile(r"cpu|soc[-_]|tsens|cluster|^apc|^big|^mid|^little|^ap[-_]?therm", re.IGNORECASE)
# android.os.BatteryManager.BATTERY_STATUS_CHARGING
CHARGING = 2
# What "dumpsys battery" calls what can be plugged in.
PLUGS = ("AC", "USB", "Wireless", "Dock")

CPU = "/sys/devices/system/cpu"
POLICY = ("related_cpus", "scaling_governor", "scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")
QUESTIONS = {
    "thermal": "dumpsys thermalservice",
    "battery": "dumpsys battery",
    "saver": "cmd settings get global low_power",
    "screen": "dumpsys power | grep mWakefulness=",
    "airplane": "cmd settings get global airplane_mode_on",
    "files": contents(
        f"{CPU}/online",
        *(f"{CPU}/cpu[0-9]*/cpufreq/{name}" for name in POLICY),
        *(f"/sys/class/thermal/thermal_zone*/{name}" for name in ("type", "temp")),
    ),
    "allowed": "grep -s Cpus_allowed_list /proc/self/status",
}


@dataclass(frozen=True)
class Temperature:
    """What one sensor says."""

    name: str
    celsius: float
    kind: str  # of KINDS, or "other"


@dataclass(frozen=True)
class Policy:
    """Cores that share a clock; frequencies in kHz. ``limit_khz`` is what the system allows now."""

    cores: tuple[int, ...]
    governor: str | None = None
    current_khz: int | None = None
    limit_khz: int | None = None
    max_khz: int | None = None


@dataclass(frozen=True)
class Conditions:
    """The state of a device at one moment; None is what it does not tell, and ``notes`` says so."""

    thermal_status: int | None  # of THERMAL
    temperatures: tuple[Temperature, ...]
    policies: tuple[Policy, ...]
    battery_level: float | None  # percent
    battery_celsius: float | None
    battery_volts: float | None
    charging: bool | None
    powered: tuple[str, ...] | None  # "USB", "AC", "Wireless", "Dock": what is plugged in
    battery_saver: bool | None
    airplane_mode: bool | None
    screen_on: bool | None
    online: tuple[int, ...] | None
    allowed: tuple[int, ...] | None  # cores that the shell's cpuset lets a program use
    notes: tuple[str, ...]

    @property
    def thermal(self) -> str | None:
        """The thermal status by its name."""
        status = self.thermal_status
        if status is None:
            return None
        return THERMAL[status] if 0 <= status < len(THERMAL) else f"status {status}"

    @property
    def governor(self) -> str | None:
        """The governor of all cores, or each with its cores where they differ."""
        told = {policy.cores: policy.governor for policy in self.policies if policy.governor}
        if len(set(told.values())) <= 1:
            return next(iter(told.values()), None)
        return ", ".join(f"{name} ({listed(cores)})" for cores, name in told.items())

    @property
    def celsius(self) -> float | None:
        """The temperature of the slowest mass in a phone, its battery; without one, of the processor."""
        if self.battery_celsius is not None:
            return self.battery_celsius
        return self.hottest.celsius if self.hottest else None

    @property
    def hottest(self) -> Temperature | None:
        """The hottest part of the processor."""
        chips = [reading for reading in self.temperatures if reading.kind == "cpu"]
        return max(chips, key=lambda reading: reading.celsius, default=None)


def conditions(device: Shell) -> Conditions:
    """Ask a device for its state, in one command.

    Raises:
        HarnessError: of the device; never for a fact that is missing.
    """
    said = ask(device, QUESTIONS)
    found = files(said["files"])
    battery = values(said["battery"])
    status, temperatures = _thermal(said["thermal"])
    told: dict[str, Any] = {
        "thermal_status": status,
        "temperatures": temperatures or _zones(found),
        "policies": _policies(found),
        **_battery(battery),
        "battery_saver": _switch(said["saver"]),
        "airplane_mode": _switch(said["airplane"]),
        "screen_on": _screen(said["screen"]),
        "online": cores(found.get(f"{CPU}/online")),
        "allowed": cores(values(said["allowed"]).get("cpus_allowed_list")),
    }
    # An empty ``powered`` is an answer: nothing is plugged in.
    silent = [name for name, value in told.items() if value is None or (value == () and name != "powered")]
    notes = [f"the device does not tell its {name.replace('_', ' ')}" for name in silent]
    if any("UPDATES STOPPED" in line for line in said["battery"]):
        notes.append(
            "its battery service is stopped (dumpsys battery reset starts it): level and power are old"
        )
    return Conditions(**told, notes=tuple(notes))


def unusable(wanted: Sequence[int], now: Conditions) -> tuple[str, ...]:
    """Why a program cannot run on the ``wanted`` cores, in words; () where nothing speaks against it."""
    found = []
    for name, usable in (("switched off", now.online), ("closed to the shell by its cpuset", now.allowed)):
        out = [core for core in wanted if usable is not None and core not in usable]
        if out:
            found.append(f"core {out[0]} is {name}" if len(out) == 1 else f"cores {listed(out)} are {name}")
    return tuple(found)


def _thermal(lines: Sequence[str]) -> tuple[int | None, tuple[Temperature, ...]]:
    """The status, and the current temperatures: the cached ones may be minutes old."""
    text = "\n".join(lines)
    status = re.search(r"Thermal Status: (\d+)", text)
    current = text.partition("Current temperatures from HAL:")[2] or text
    found: dict[str, Temperature] = {}
    pattern = r"Temperature\{mValue=(-?[\d.]+), mType=(\d+), mName=([^,}]+)"
    for value, kind, name in re.findall(pattern, current):
        if int(kind) in KINDS:
            found.setdefault(name, Temperature(name, float(value), KINDS[int(kind)]))
    return (int(status[1]) if status else None), tuple(found.values())


def _zones(found: Mapping[str, str]) -> tuple[Temperature, ...]:
    """The temperatures of /sys/class/thermal: thousandths, tenths or whole degrees, as the driver likes."""
    readings = []
    for path, name in found.items():
        value = number(found.get(path.removesuffix("type") + "temp")) if path.endswith("/type") else None
        if value is None or value == 0:  # a sensor that is not fitted reads 0
            continue
        celsius = value / (1000 if abs(value) >= 1000 else 10 if abs(value) >= 150 else 1)
        kind = "battery" if "batt" in name.lower() else "cpu" if CPU_ZONE.search(name) else "other"
        if -30 < celsius < 150:
            readings.append(Temperature(name, celsius, kind))
    return tuple(readings)


def _policies(found: Mapping[str, str]) -> tuple[Policy, ...]:
    """Each clock once: of cores that share it, the first tells it."""
    policies: dict[tuple[int, ...], Policy] = {}
    for core in sorted(
        {int(match[1]) for path in found if (match := re.search(r"/cpu(\d+)/cpufreq/", path))}
    ):
        has = {name: found.get(f"{CPU}/cpu{core}/cpufreq/{name}") for name in POLICY}
        shared = cores(has["related_cpus"]) or (core,)
        khz = (number(has[name]) for name in POLICY[2:])
        policies.setdefault(shared, Policy(shared, has["scaling_governor"], *khz))
    return tuple(policies.values())


def _battery(told: Mapping[str, str]) -> dict[str, Any]:
    level, scale = number(told.get("level")), number(told.get("scale")) or 100
    tenths, volts, status = (number(told.get(name)) for name in ("temperature", "voltage", "status"))
    plugs = {name: told[f"{name.lower()} powered"] for name in PLUGS if f"{name.lower()} powered" in told}
    return {
        "battery_level": None if level is None else 100 * level / scale,
        "battery_celsius": None if tenths is None else tenths / 10,
        "battery_volts": None if volts is None else in_volts(volts),
        "charging": None if status is None else status == CHARGING,
        "powered": tuple(name for name, value in plugs.items() if value == "true") if plugs else None,
    }


def in_volts(value: float) -> float:
    """A battery's voltage, given in microvolts, millivolts or volts: cells in phones have 3 to 20 V."""
    return value / (1e6 if value > 1e5 else 1e3 if value > 100 else 1)


def _screen(lines: Sequence[str]) -> bool | None:
    """Whether it shows something: by the words of PowerManagerInternal.wakefulnessToString."""
    found = re.search(r"mWakefulness=(\w+)", "\n".join(lines))
    return found[1] in ("Awake", "Dreaming") if found else None


def _switch(lines: Sequence[str]) -> bool | None:
    """A global setting that is 0 or 1; null, one that nobody has touched, is off."""
    return {"0": False, "null": False, "1": True}.get(lines[-1].strip() if lines else "")
