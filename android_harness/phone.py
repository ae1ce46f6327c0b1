"""What an Android device is: its names, its system and its processor cores.

All of it comes from ``getprop``, /proc and /sys, which vendors fill differently and may close; what a device
does not tell is None, and said in ``notes``. Never run on a phone here: the outputs it is tested with follow
AOSP and the kernel's documentation.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from footseg.android_harness.ask import Shell, ask, contents, cores, files, listed, number
from footseg.android_harness.errors import HarnessError

CPU = "/sys/devices/system/cpu"
QUESTIONS = {
    "properties": "getprop",
    "kernel": "uname -r",
    "user": "id -u",
    "processors": "cat /proc/cpuinfo",
    "files": contents(
        f"{CPU}/possible", f"{CPU}/cpu[0-9]*/cpu_capacity", f"{CPU}/cpu[0-9]*/cpufreq/cpuinfo_max_freq"
    ),
}

# Where the name of the system on chip stands: the first pair since Android 12, the rest before and elsewhere.
SOC = ("ro.soc.model", "ro.hardware.chipname", "ro.mediatek.platform", "ro.board.platform", "ro.hardware")

# (implementer, part) of /proc/cpuinfo: the core's name, and its class: 0 little, 1 big, 2 the fastest.
# Numbers: the MIDR_EL1 register in each core's reference manual.
ARM, QUALCOMM, SAMSUNG, HISILICON = 0x41, 0x51, 0x53, 0x48
PARTS: dict[tuple[int, int], tuple[str, int]] = {
    (ARM, 0xC07): ("Cortex-A7", 0),
    (ARM, 0xC0F): ("Cortex-A15", 1),
    (ARM, 0xD03): ("Cortex-A53", 0),
    (ARM, 0xD04): ("Cortex-A35", 0),
    (ARM, 0xD05): ("Cortex-A55", 0),
    (ARM, 0xD46): ("Cortex-A510", 0),
    (ARM, 0xD80): ("Cortex-A520", 0),
    (ARM, 0xD07): ("Cortex-A57", 1),
    (ARM, 0xD08): ("Cortex-A72", 1),
    (ARM, 0xD09): ("Cortex-A73", 1),
    (ARM, 0xD0A): ("Cortex-A75", 1),
    (ARM, 0xD0B): ("Cortex-A76", 1),
    (ARM, 0xD0D): ("Cortex-A77", 1),
    (ARM, 0xD41): ("Cortex-A78", 1),
    (ARM, 0xD4B): ("Cortex-A78C", 1),
    (ARM, 0xD47): ("Cortex-A710", 1),
    (ARM, 0xD4D): ("Cortex-A715", 1),
    (ARM, 0xD81): ("Cortex-A720", 1),
    (ARM, 0xD87): ("Cortex-A725", 1),
    (ARM, 0xD44): ("Cortex-X1", 2),
    (ARM, 0xD4C): ("Cortex-X1C", 2),
    (ARM, 0xD48): ("Cortex-X2", 2),
    (ARM, 0xD4E): ("Cortex-X3", 2),
    (ARM, 0xD82): ("Cortex-X4", 2),
    (ARM, 0xD85): ("Cortex-X925", 2),
    (ARM, 0xD0C): ("Neoverse-N1", 1),
    (QUALCOMM, 0x800): ("Kryo 2xx Gold (Cortex-A73)", 1),
    (QUALCOMM, 0x801): ("Kryo 2xx Silver (Cortex-A53)", 0),
    (QUALCOMM, 0x802): ("Kryo 3xx Gold (Cortex-A75)", 1),
    (QUALCOMM, 0x803): ("Kryo 3xx Silver (Cortex-A55)", 0),
    (QUALCOMM, 0x804): ("Kryo 4xx Gold (Cortex-A76)", 1),
    (QUALCOMM, 0x805): ("Kryo 4xx Silver (Cortex-A55)", 0),
    (SAMSUNG, 0x001): ("Exynos M1", 1),
    (SAMSUNG, 0x002): ("Exynos M3", 1),
    (SAMSUNG, 0x003): ("Exynos M4", 1),
    (SAMSUNG, 0x004): ("Exynos M5", 1),
    (HISILICON, 0xD40): ("Cortex-A76 (HiSilicon)", 1),
}


@dataclass(frozen=True)
class CoreCluster:
    """Cores of one kind. ``capacity`` is the kernel's: 1024 is the fastest core of the device."""

    cores: tuple[int, ...]
    max_khz: int | None = None
    capacity: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        return f"{len(self.cores)}x {self.name or 'core'}" + (
            f" {self.max_khz / 1e6:.2f} GHz" if self.max_khz else ""
        )


@dataclass(frozen=True)
class PhoneFacts:
    """A device; ``clusters`` from the slowest to the fastest, () where it does not tell its cores."""

    model: str | None
    manufacturer: str | None
    serial: str | None  # the maker's, where it is told; else what adb calls it
    soc: str | None
    abis: tuple[str, ...]  # the first is its own
    android: str | None  # "14"
    sdk: int | None  # 34
    build: str | None  # its fingerprint
    kernel: str | None
    clusters: tuple[CoreCluster, ...]
    root: bool | None
    notes: tuple[str, ...]

    @property
    def abi(self) -> str | None:
        return self.abis[0] if self.abis else None

    @property
    def cores(self) -> tuple[int, ...]:
        return tuple(sorted(core for cluster in self.clusters for core in cluster.cores))

    @property
    def name(self) -> str:
        """Manufacturer and model, as a person names the device."""
        maker, model = self.manufacturer or "", self.model or "unknown device"
        return model if model.lower().startswith(maker.lower()) else f"{maker} {model}"

    def device(self) -> dict[str, Any]:
        """What a measurement says of its device."""
        system = f"Android {self.android or '?'}" + (f" (SDK {self.sdk})" if self.sdk else "")
        return {
            "cpu": " + ".join(map(str, reversed(self.clusters))) or "unknown",
            "cores": len(self.cores) or None,
            "architecture": self.abi,
            "system": system,
            "model": self.name,
            "serial": self.serial,
            "soc": self.soc,
            "android": self.android,
            "build": self.build,
            "kernel": self.kernel,
        }


def facts(device: Shell) -> PhoneFacts:
    """Ask a device what it is, in one command.

    Raises:
        HarnessError: of the device (it is gone or does not answer); never for a fact that is missing.
    """
    said = ask(device, QUESTIONS)
    pairs = (re.search(r"\[([\w.]+)\]: \[(.+)\]", line) for line in said["properties"])
    properties = {match[1]: match[2] for match in pairs if match}
    clusters = _clusters(files(said["files"]), said["processors"])
    user = number(_last(said["user"]))
    abis = properties.get("ro.product.cpu.abilist") or properties.get("ro.product.cpu.abi", "")
    found: dict[str, Any] = {
        "model": properties.get("ro.product.model"),
        "manufacturer": properties.get("ro.product.manufacturer"),
        "soc": _soc(properties),
        "abis": tuple(filter(None, abis.split(","))),
        "android": properties.get("ro.build.version.release"),
        "sdk": number(properties.get("ro.build.version.sdk")),
        "build": properties.get("ro.build.fingerprint"),
        "kernel": _last(said["kernel"]),
        "clusters": clusters,
        "root": None if user is None else user == 0,
    }
    notes = [f"the device does not tell its {name}" for name, value in found.items() if value in (None, ())]
    for name in ("max_khz", "name"):
        silent = [core for cluster in clusters if getattr(cluster, name) is None for core in cluster.cores]
        if silent:
            what = {"max_khz": "highest frequency", "name": "kind"}[name]
            notes.append(f"the {what} of cores {listed(silent)} is not known")
    # adb's own name of a device on the network is an address, which changes: it would be another phone.
    own = (properties.get(name) for name in ("ro.serialno", "ro.boot.serialno"))
    serial = next(filter(None, own), None) or getattr(device, "serial", None)
    return PhoneFacts(**found, serial=serial, notes=tuple(notes))


def big_cores(phone: PhoneFacts) -> tuple[int, ...]:
    """The cores of the fastest cluster: often one core alone; () where the phone does not tell its cores."""
    return phone.clusters[-1].cores if phone.clusters else ()


def little_cores(phone: PhoneFacts) -> tuple[int, ...]:
    """The cores of the slowest cluster; all of them where there is but one."""
    return phone.clusters[0].cores if phone.clusters else ()


def middle_cores(phone: PhoneFacts) -> tuple[int, ...]:
    """The cores of the clusters between the slowest and the fastest."""
    return tuple(sorted(core for cluster in phone.clusters[1:-1] for core in cluster.cores))


PINS = {"big": big_cores, "middle": middle_cores, "little": little_cores}


def parse_pin(text: str, phone: PhoneFacts) -> tuple[int, ...]:
    """The cores that ``text`` names on this phone: "big", "middle", "little", or numbers: "4-7", "4,5".

    Raises:
        ValueError: ``text`` is neither.
        HarnessError: the phone has no such cores, or does not tell.
    """
    word = text.strip().lower()
    wanted = PINS[word](phone) if word in PINS else cores(text)
    if wanted is None:
        raise ValueError(f"cores are big, middle, little or numbers as 4-7 or 4,5; got {text!r}")
    has = "; ".join(f"{listed(cluster.cores)}: {cluster}" for cluster in phone.clusters)
    if not wanted:
        hint = f"it has {has}" if has else "it does not tell its cores: give numbers, as 4-7"
        raise HarnessError(f"{phone.name} has no {word} cores ({hint})", serial=phone.serial or "")
    missing = set(wanted) - set(phone.cores)
    if phone.cores and missing:
        raise HarnessError(
            f"{phone.name} has no core {listed(sorted(missing))} (it has {has})", serial=phone.serial or ""
        )
    return wanted


def _last(lines: Sequence[str]) -> str | None:
    """The answer of a command of one line; what came before it is a shell's greeting."""
    return lines[-1].strip() if lines else None


def _soc(properties: Mapping[str, str]) -> str | None:
    name = next((properties[key] for key in SOC if properties.get(key)), None)
    maker = properties.get("ro.soc.manufacturer")
    if name is None or not maker or name.lower().startswith(maker.lower()):
        return name or maker
    return f"{maker} {name}"


def _clusters(found: Mapping[str, str], processors: Sequence[str]) -> tuple[CoreCluster, ...]:
    """Cores of equal frequency, capacity and kind together, from the slowest to the fastest."""
    known: dict[int, dict[str, int | None]] = {core: {} for core in cores(found.get(f"{CPU}/possible")) or ()}
    for path, text in found.items():
        if match := re.search(r"/cpu(\d+)/(?:cpufreq/)?(cpuinfo_max_freq|cpu_capacity)$", path):
            known.setdefault(int(match[1]), {})[match[2]] = number(text)
    parts = _parts(processors)
    for core in parts:
        known.setdefault(core, {})
    groups: dict[tuple[int | None, int | None, tuple[int, int] | None], list[int]] = {}
    for core, has in sorted(known.items()):
        key = (has.get("cpuinfo_max_freq"), has.get("cpu_capacity"), parts.get(core))
        groups.setdefault(key, []).append(core)
    return tuple(
        CoreCluster(tuple(members), khz, capacity, _part_name(part))
        for (khz, capacity, part), members in sorted(groups.items(), key=_speed_order(list(groups)))
    )


def _speed_order(keys: Sequence[tuple[int | None, int | None, tuple[int, int] | None]]) -> Any:
    """How to sort clusters: by capacity if all tell it; else by class, if all are known, then by frequency.

    A Cortex-A53 may have the clock of the Cortex-A73 beside it (Helio P60: 2.0 GHz both).
    """
    if all(capacity is not None for _, capacity, _ in keys):
        return lambda item: (item[0][1], item[0][0] or 0)
    classes = all(part in PARTS for _, _, part in keys)
    return lambda item: (PARTS[item[0][2]][1] if classes else 0, item[0][0] or 0)


def _part_name(part: tuple[int, int] | None) -> str | None:
    if part is None:
        return None
    return PARTS[part][0] if part in PARTS else f"implementer {part[0]:#x} part {part[1]:#x}"


def _parts(lines: Sequence[str]) -> dict[int, tuple[int, int]]:
    """(implementer, part) by core, of /proc/cpuinfo; cores that are off are not in it.

    Old kernels write one part for all: it is then of no core in particular, but of the one that was asked.
    """
    found: dict[int, dict[str, int]] = {}
    core: int | None = None
    for line in lines:
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdigit():
            core = int(value)
        elif (
            core is not None and key in ("CPU implementer", "CPU part") and re.fullmatch("0x[0-9a-f]+", value)
        ):
            found.setdefault(core, {})[key] = int(value, 16)
    alone = len(found) == 1 and sum(line.startswith("processor") for line in lines) > 1
    return {
        core: (has[ID[0]], has[ID[1]]) for core, has in found.items() if len(has) == len(ID) and not alone
    }


# What identifies a core in /proc/cpuinfo.
ID = ("CPU implementer", "CPU part")
