"""The runner on an emulated Arm core: the outputs of a file there, and the instructions that it executes.

QEMU's user mode runs Arm programs by translating their code; how long that takes says nothing about any
processor, so no time leaves this module. Which kernels LiteRT takes depends on the core, as on a real one:
it asks the processor what it can, and reads /proc/cpuinfo and /sys/devices/system/cpu, which are here those
of one such core. As nothing of this machine is read, the counts of a file are the same everywhere.
"""

import dataclasses
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from footseg.android_harness import runner, toolchain
from footseg.android_harness.errors import HarnessError, failure
from footseg.android_harness.errors import run as run_process
from footseg.android_harness.runner import Plan, Said

QEMU = "qemu-aarch64"
# What the files are called that tell of a machine's cores.
SYSTEM = "sys/devices/system/cpu"
TOPOLOGY = (
    "physical_package_id",
    "core_id",
    "cluster_id",
    "cluster_cpus_list",
    "core_siblings_list",
    "core_cpus_list",
)


@dataclass(frozen=True)
class EmulatedCore:
    """A processor core that QEMU knows: what Linux would tell of a machine with one of them.

    ``part`` and ``variant`` are fields of the core's main identification register, which is how libraries
    recognise it; caches are in KiB, at the sizes most phones chose (0: none). ``without`` switches off what
    QEMU emulates wrongly.
    """

    title: str
    part: int
    variant: int
    features: str
    l1: int
    l2: int
    l3: int = 0
    implementer: int = 0x41
    without: str = ""


ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
ARMV82 = f"{ARMV8} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
CORES: Mapping[str, EmulatedCore] = {
    "cortex-a35": EmulatedCore("Cortex-A35", 0xD04, 0, ARMV8, l1=32, l2=512),
    "cortex-a53": EmulatedCore("Cortex-A53", 0xD03, 0, ARMV8, l1=32, l2=512),
    "cortex-a57": EmulatedCore("Cortex-A57", 0xD07, 1, ARMV8, l1=32, l2=2048),
    "cortex-a72": EmulatedCore("Cortex-A72", 0xD08, 0, ARMV8, l1=32, l2=1024),
    "cortex-a76": EmulatedCore("Cortex-A76", 0xD0B, 4, ARMV82, l1=64, l2=512, l3=2048),
    "neoverse-n1": EmulatedCore("Neoverse-N1", 0xD0C, 4, ARMV82, l1=64, l2=1024, l3=4096),
    # Nearly everything that QEMU can emulate, scalable vectors and all: no core of the trade. Matrix tiles
    # (SME) of QEMU 7.2 are wrong: an int8 FastLinkNet had half of its pixels in another class with them.
    "max": EmulatedCore(
        "QEMU max",
        0x051,
        0,
        f"{ARMV82} sve i8mm bf16",
        l1=64,
        l2=512,
        l3=2048,
        implementer=0,
        without=",sme=off",
    ),
}


@dataclass(frozen=True)
class Counts:
    """Instructions of one inference; ``vector_load_store`` are some of ``load_store``."""

    vector: int
    load_store: int
    other: int
    vector_load_store: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.vector + self.load_store + self.other


def version() -> str:
    """QEMU's version.

    Raises:
        HarnessError: it is not installed.
    """
    toolchain.require(QEMU)
    text = run_process([QEMU, "--version"], timeout=60).stdout
    found = re.search(r"version (\S+)", text)
    return found[1] if found else text.split("\n")[0]


def run(kit: toolchain.Kit, core: str, plan: Plan, *, timeout: float) -> Said:
    """Carry out a plan on an emulated core; whatever has to do with time or memory is left out of the answer.

    Args:
        kit: of ``toolchain.prepare``.
        core: one of ``CORES``.
        plan: paths in it are of this machine.
        timeout: seconds of this machine.

    Raises:
        HarnessError: QEMU is missing, the time is up, or the runner failed.
        ValueError: an unknown core.
    """
    with tempfile.TemporaryDirectory(prefix="footseg-arm-") as temporary:
        return _run(kit, core, plan, Path(temporary), (), timeout)


def count(kit: toolchain.Kit, core: str, plan: Plan, *, timeout: float) -> tuple[Said, tuple[Counts, ...]]:
    """Carry out a plan on an emulated core, and count the instructions of each of its ``runs``.

    Raises:
        HarnessError: as ``run``.
        ValueError: an unknown core, no runs, or more threads than one (their counts would vary).
    """
    if plan.threads != 1 or plan.runs < 1:
        raise ValueError(f"counting needs 1 thread and 1 run or more, got {plan.threads} and {plan.runs}")
    with tempfile.TemporaryDirectory(prefix="footseg-arm-") as temporary:
        folder = Path(temporary)
        (folder / "count.so").symlink_to(kit.plugin)
        plugin = ("-plugin", "./count.so,out=counts")
        # The second inference of a small graph takes 137 of 36,627 instructions more than all that follow.
        marked = dataclasses.replace(plan, mark=True, warmup=max(plan.warmup, 1))
        said = _run(kit, core, marked, folder, plugin, timeout)
        lines = (folder / "counts").read_text().splitlines()
    counts = tuple(Counts(*map(int, line.split())) for line in lines)
    expected = plan.runs * len(plan.models)
    if len(counts) != expected:
        raise HarnessError(f"{len(counts)} inferences were counted, not {expected}: run it again")
    return said, counts


def sysroot(core: str, folder: Path) -> Path:
    """Write into ``folder`` what a program reads of a machine with one such core; returns it.

    Raises:
        ValueError: an unknown core.
    """
    if core not in CORES:
        raise ValueError(f"{core!r} is not a core: {', '.join(CORES)}")
    facts = CORES[core]
    # Of a cache that is not there the files are empty: without them this machine's would be found.
    caches = (
        (1, "Data", facts.l1),
        (1, "Instruction", facts.l1),
        (2, "Unified", facts.l2),
        (3, "Unified", facts.l3),
    )
    files = {
        "proc/cpuinfo": (
            f"processor\t: 0\nBogoMIPS\t: 100.00\nFeatures\t: {facts.features}\n"
            f"CPU implementer\t: {facts.implementer:#04x}\nCPU architecture: 8\n"
            f"CPU variant\t: {facts.variant:#x}\nCPU part\t: {facts.part:#05x}\nCPU revision\t: 1\n\n"
        ),
        **{f"{SYSTEM}/{name}": "0\n" for name in ("possible", "present", "online", "kernel_max")},
        **{f"{SYSTEM}/cpu0/topology/{name}": "0\n" for name in TOPOLOGY},
        **{f"{SYSTEM}/cpu0/cpufreq/cpuinfo_{end}_freq": "2000000\n" for end in ("min", "max")},
    }
    for index, (level, kind, size) in enumerate(caches):
        values = {"level": f"{level}", "type": kind, "size": f"{size}K", "shared_cpu_list": "0"}
        for name, value in values.items():
            files[f"{SYSTEM}/cpu0/cache/index{index}/{name}"] = f"{value}\n" if size else ""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def _ending_with_us() -> list[str]:
    """The words before a command that let the kernel end it when this process is killed, where there are any.

    An inference of a large network takes minutes here, and nobody would wait for it any more.
    """
    found = shutil.which("setpriv")
    return [found, "--pdeathsig", "KILL"] if found else []


def _run(
    kit: toolchain.Kit, core: str, plan: Plan, folder: Path, options: tuple[str, ...], timeout: float
) -> Said:
    """One start of the runner, in ``folder``.

    All paths are links of fixed names there, and the environment is empty: what lies on a program's stack
    moves the rest of its memory, and with it how many instructions a copy takes.
    """
    toolchain.require(QEMU)
    sysroot(core, folder / "root")
    (folder / "kit").symlink_to(kit.runner.parent)
    names = {}

    def link(path: str, name: str) -> str:
        if not path:
            return ""
        (folder / name).symlink_to(Path(path).absolute())
        names[name] = path
        return name

    inside = dataclasses.replace(
        plan,
        models=tuple(link(path, f"model{i}.tflite") for i, path in enumerate(plan.models)),
        images=link(plan.images, "images.in"),
        masks=link(plan.masks, "masks.out"),
        outputs=link(plan.outputs, "outputs.out"),
    )
    # The seed is of the random bytes that every program finds beside its arguments.
    command = [shutil.which(QEMU) or QEMU, "-L", "root", "-cpu", core + CORES[core].without, "-seed", "0"]
    command = [*_ending_with_us(), *command, *options, f"kit/{kit.loader.name}"]
    command += ["--inhibit-cache", "--library-path", "kit", f"kit/{kit.runner.name}"]
    command += runner.arguments(inside, f"kit/{kit.library.name}")
    done = run_process(command, timeout=timeout, env={}, cwd=folder, check=False)
    try:
        if done.returncode and runner.MARK + '{"error"' not in done.stdout:
            raise failure(done)
        said = runner.check(runner.parse(done.stdout), inside)
    except HarnessError as error:
        message = str(error)
        for name, path in names.items():
            message = message.replace(name, path)
        raise HarnessError(
            message, command=done.args, returncode=done.returncode, stderr=done.stderr
        ) from error
    return dataclasses.replace(
        said,
        litert=kit.litert_version,
        load_ms=(),
        first_ms=(),
        samples_ms=(),
        peak_memory_mb=None,
        profile=(),
        gflops=(),
    )
