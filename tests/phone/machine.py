"""What a phone is behind its adb: a folder for a file system, and commands that answer from files in it."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOADER = "ld-linux-aarch64.so.1"
# Absolute paths that a command names in these folders are meant in the phone's folder; of /proc, the entries
# of processes stay the host's, where the processes are. Programs and /dev are the host's too.
_MAPPED = re.compile(r"(?<![\w./-])/(?=(?:data|sdcard|sys|system|vendor|proc(?!/[\d\[$*]|/self))(?![\w-]))")
_AARCH64_ELF = re.compile(rb"\x7fELF\x02\x01.{12}\xb7\x00", re.DOTALL)

PROPERTIES = {
    "ro.build.fingerprint": "google/oriole/oriole:14/AP2A.240805.005/12025142:user/release-keys",
    "ro.build.id": "AP2A.240805.005",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.build.version.security_patch": "2024-08-05",
    "ro.board.platform": "gs101",
    "ro.hardware": "oriole",
    "ro.product.brand": "google",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.product.device": "oriole",
    "ro.product.manufacturer": "Google",
    "ro.product.model": "Pixel 6",
    "ro.product.name": "oriole",
    "ro.serialno": "1A051FDF6007RM",
    "ro.soc.manufacturer": "Google",
    "ro.soc.model": "GS101",
}

BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Dock powered: false
  Max charging current: 500000
  Max charging voltage: 5000000
  Charge counter: 3650000
  status: 2
  health: 2
  present: true
  level: 83
  scale: 100
  voltage: 4123
  temperature: 274
  technology: Li-ion
"""

THERMAL = """\
IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
\tkilled: false
\tbroadcasts count: -1
ThermalStatusListeners:
\tcallbacks: 3
\tkilled: false
\tbroadcasts count: -1
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=27.4, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=31.1, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL 2.0 connected: yes
Current temperatures from HAL:
\tTemperature{mValue=38.0, mType=0, mName=BIG, mStatus=0}
\tTemperature{mValue=37.0, mType=0, mName=MID, mStatus=0}
\tTemperature{mValue=36.0, mType=0, mName=LITTLE, mStatus=0}
\tTemperature{mValue=27.4, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=31.1, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
"""

# /sys/class/power_supply/battery: microamperes (negative: it empties), microvolts, tenths of a degree.
FUEL_GAUGE = {
    "capacity": "83",
    "charge_counter": "3650000",
    "current_now": "-512000",
    "health": "Good",
    "present": "1",
    "status": "Discharging",
    "technology": "Li-ion",
    "temp": "274",
    "type": "Battery",
    "voltage_now": "4123000",
}

_GETPROP = """\
if [ $# = 0 ]; then sed 's/^\\([^=]*\\)=\\(.*\\)$/[\\1]: [\\2]/' "$PHONE/properties"; exit; fi
awk -v key="$1=" -v other="$2" '
  index($0, key) == 1 { other = substr($0, length(key) + 1) }
  END { print other }
' "$PHONE/properties"
"""
# cmd settings get global NAME
_SETTINGS = 'case "$4" in low_power) echo 0;; airplane_mode_on) echo 1;; esac\n'
_DUMPSYS = """\
cat "$PHONE/dumpsys/$1" 2>/dev/null || echo "Can't find service: $1"
"""
# A host has fewer cores than a phone: the mask is checked and written down, and the command runs anywhere.
_TASKSET = """\
all=$(cat "$PHONE/all_cores")
if [ "$1" = -p ]; then echo "pid $2's current affinity mask: $(printf %x $all)"; exit; fi
[ $((0x$1 & all)) != 0 ] || { echo "taskset: sched_setaffinity: Invalid argument" >&2; exit 1; }
echo "$@" >> "$PHONE/taskset.log"
shift
exec "$@"
"""
_UNAME = """\
case "$1" in
  -m) echo aarch64;;
  -r) echo 5.10.198-android13-4-g1a2b3c4d5e6f;;
  -a) echo "Linux localhost 5.10.198-android13-4-g1a2b3c4d5e6f #1 SMP PREEMPT aarch64 Toybox";;
  *) echo Linux;;
esac
"""
_ID = """\
case "$1" in -u) echo 2000;; *) echo "uid=2000(shell) gid=2000(shell) context=u:r:shell:s0";; esac
"""


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind: how many, top frequency in kHz, Arm's part number, capacity (the largest: 1024)."""

    cores: int
    max_khz: int
    part: str
    capacity: int
    min_khz: int = 300000


# A Pixel 6: four Cortex-A55, two Cortex-A76, two Cortex-X1.
PIXEL_6 = (
    Cluster(4, 1803000, "0xd05", 250),
    Cluster(2, 2253000, "0xd0b", 620, 400000),
    Cluster(2, 2802000, "0xd44", 1024, 500000),
)
# One little and one big core: what pins itself to cores can be run on a host that has two.
TWO_CORES = (Cluster(1, 1803000, "0xd05", 250), Cluster(1, 2802000, "0xd44", 1024, 500000))


class Machine:
    """The phone's folder. ``path`` finds a file of the phone's; the other methods change what it answers."""

    def __init__(
        self,
        root: Path,
        properties: Mapping[str, str] | None = None,
        clusters: Sequence[Cluster] = PIXEL_6,
        cpu: str = "cortex-a76",
    ) -> None:
        """Make the folder of a phone.

        Args:
            root: the folder; a plain path, since commands are rewritten to name it.
            properties: what getprop answers, over those of a Pixel 6.
            clusters: its cores, as /sys and /proc/cpuinfo tell of them.
            cpu: the core that QEMU plays for programs that are pushed.
        """
        self.root, self.cpu = root.resolve(), cpu
        if not re.fullmatch(r"[\w./-]+", str(self.root)):
            raise ValueError(f"the phone's folder must have a plain name, not {str(self.root)!r}")
        self.host = self.root / ".host"
        for folder in (self.host / "bin", self.host / "dumpsys", self.path("/data/local/tmp")):
            folder.mkdir(parents=True, exist_ok=True)
        self._make_system()
        for folder in ("/sdcard", "/system/bin", "/vendor"):
            self.path(folder).mkdir(exist_ok=True, parents=True)
        self.properties = {**PROPERTIES, **(properties or {})}
        self.set_properties()
        self.dumpsys("battery", BATTERY)
        self.dumpsys("thermalservice", THERMAL)
        self.dumpsys("power", "Power Manager State:\n  mDirty=0x0\n  mWakefulness=Awake\n")
        for name, value in FUEL_GAUGE.items():
            self.write(f"/sys/class/power_supply/battery/{name}", f"{value}\n")
        for number, (kind, value) in enumerate(
            [("BIG", 38000), ("MID", 37000), ("LITTLE", 36000), ("battery", 27400)]
        ):
            self.write(f"/sys/class/thermal/thermal_zone{number}/type", f"{kind}\n")
            self.write(f"/sys/class/thermal/thermal_zone{number}/temp", f"{value}\n")
        self.write("/proc/meminfo", "MemTotal:        7686104 kB\nMemAvailable:    4181204 kB\n")
        if not self.path("/proc/uptime").is_symlink():
            self.path("/proc/uptime").symlink_to("/proc/uptime")  # a clock has to go on
        self.write("/proc/version", "Linux version 5.10.198-android13-4-g1a2b3c4d5e6f\n")
        self._make_cores(clusters)
        for name, script in (
            ("getprop", _GETPROP), ("dumpsys", _DUMPSYS), ("taskset", _TASKSET), ("uname", _UNAME),
            ("id", _ID), ("cmd", _SETTINGS), ("nproc", f"echo {sum(c.cores for c in clusters)}\n"),
        ):  # fmt: skip
            self.command(name, script)

    def path(self, name: str) -> Path:
        """Where a file of the phone's is on the host, by its absolute name on the phone."""
        return self.root / os.path.normpath("/" + name).lstrip("/")

    def write(self, name: str, text: str) -> None:
        """Write a file of the phone's."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def set_properties(self, **more: str) -> None:
        """Set what getprop answers; dots are written as two underscores (ro__product__model=...)."""
        self.properties.update({name.replace("__", "."): value for name, value in more.items()})
        lines = [f"{name}={value}\n" for name, value in sorted(self.properties.items())]
        (self.host / "properties").write_text("".join(lines))

    def dumpsys(self, service: str, text: str) -> None:
        """Set what ``dumpsys SERVICE`` prints."""
        (self.host / "dumpsys" / service).write_text(text)

    def command(self, name: str, script: str) -> None:
        """Put a shell script into the PATH of the phone's shell; it finds its own files in $PHONE."""
        path = self.host / "bin" / name
        path.write_text(f'#!/bin/sh\nPATH="$PATH:/usr/bin:/bin"\n{script}')
        path.chmod(0o755)

    def pinned(self) -> list[str]:
        """The command lines that ``taskset`` was given, oldest first."""
        log = self.host / "taskset.log"
        return log.read_text().splitlines() if log.is_file() else []

    def environment(self) -> dict[str, str]:
        """The environment of the phone's shell."""
        return {
            "PATH": f"{self.host}/bin:{self.host}/system",
            "HOME": "/",
            "PHONE": str(self.host),
            "TMPDIR": str(self.path("/data/local/tmp")),
        }

    def mapped(self, command: str) -> str:
        """A command line of the phone's as the host's shell must read it."""
        return _MAPPED.sub(f"{self.root}/", command)

    def unmapped(self) -> "Unmap":
        """What turns the host's paths in a command's output back into the phone's."""
        return Unmap(str(self.root).encode())

    def arrived(self, path: Path) -> None:
        """A file has been pushed: the loader of Arm programs is put where QEMU runs it.

        The phone's folder is also QEMU's sysroot, so that programs see its /proc/cpuinfo and /sys.
        """
        if path.name != LOADER or not _AARCH64_ELF.match(path.read_bytes()[:64]):
            return
        kept = self.host / "loaders" / hashlib.sha256(path.read_bytes()).hexdigest()
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(path, kept)
        kept.chmod(0o755)
        qemu = f"QEMU_LD_PREFIX={self.root} exec {shutil.which('qemu-aarch64')} -cpu {self.cpu}"
        path.write_text(f'#!/bin/sh\n{qemu} {kept} "$@"\n')

    def _make_system(self) -> None:
        """Android's own shell and commands, mksh and toybox, where they are installed; else the host's."""
        folder, toybox = self.host / "system", shutil.which("toybox")
        self.shell = shutil.which("mksh") or "/bin/sh"
        if folder.exists():
            return
        if not toybox:
            folder.symlink_to("/usr/bin")
            return
        folder.mkdir()
        (folder / "sh").symlink_to(self.shell)
        for name in subprocess.run([toybox], capture_output=True, text=True, check=True).stdout.split():
            (folder / name).symlink_to(toybox)

    def _make_cores(self, clusters: Sequence[Cluster]) -> None:
        cores = sum(cluster.cores for cluster in clusters)
        (self.host / "all_cores").write_text(str(2**cores - 1))
        for name in ("possible", "present", "online"):
            self.write(f"/sys/devices/system/cpu/{name}", f"0-{cores - 1}\n" if cores > 1 else "0\n")
        blocks, first = [], 0
        for cluster in clusters:
            numbers = range(first, first + cluster.cores)
            policy = f"/sys/devices/system/cpu/cpufreq/policy{first}"
            for name, value in {
                "affected_cpus": " ".join(map(str, numbers)),
                "related_cpus": " ".join(map(str, numbers)),
                "cpuinfo_max_freq": cluster.max_khz,
                "cpuinfo_min_freq": cluster.min_khz,
                "scaling_available_governors": "sched_pixel performance powersave schedutil",
                "scaling_cur_freq": cluster.min_khz,
                "scaling_governor": "sched_pixel",
                "scaling_max_freq": cluster.max_khz,
                "scaling_min_freq": cluster.min_khz,
            }.items():
                self.write(f"{policy}/{name}", f"{value}\n")
            for number in numbers:
                cpu = f"/sys/devices/system/cpu/cpu{number}"
                self.write(f"{cpu}/cpu_capacity", f"{cluster.capacity}\n")
                self.write(f"{cpu}/online", "1\n")
                self.write(f"{cpu}/topology/physical_package_id", f"{clusters.index(cluster)}\n")
                link = self.path(f"{cpu}/cpufreq")
                if not link.is_symlink():
                    link.symlink_to(f"../cpufreq/policy{first}")
                blocks.append(_processor(number, cluster.part))
            first += cluster.cores
        self.write("/proc/cpuinfo", "".join(blocks))


def _processor(number: int, part: str) -> str:
    return (
        f"processor\t: {number}\nBogoMIPS\t: 49.15\n"
        "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc"
        " dcpop asimddp\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\n"
        f"CPU part\t: {part}\nCPU revision\t: 0\n\n"
    )


class Unmap:
    """Takes the phone's folder out of a stream of bytes, also where two pieces of the stream cut it."""

    def __init__(self, root: bytes) -> None:
        self.root, self.held = root + b"/", b""

    def feed(self, data: bytes, last: bool = False) -> bytes:
        """The next piece; what may be the start of the folder's name is held back until it is known."""
        data = (self.held + data).replace(self.root, b"/")
        keep = 0
        if not last:
            keep = next((n for n in range(len(self.root) - 1, 0, -1) if data.endswith(self.root[:n])), 0)
        self.held = data[len(data) - keep :]
        return data[: len(data) - keep].replace(self.root[:-1], b"/")
