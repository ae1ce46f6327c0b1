"""A folder of ours on one device, with the runner, its loader and its libraries in it.

The runner is a Linux program: the loader and the C library that travel with it start it on any arm64 Android,
so nothing of Android's own toolchain is needed. Models get plain names there: whatever quotes, spaces or
letters a file's name has stay here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from footseg.android_harness.adb import Device, Result
from footseg.android_harness.errors import HarnessError
from footseg.android_harness.guard import kill_all_of
from footseg.android_harness.runner import MARK, Plan, Said, arguments, check, parse
from footseg.android_harness.toolchain import Kit

# What a shell adds to the number of the signal that ended a program.
SIGNALLED = 128
KILLED = SIGNALLED + 9
# SIGSYS, by which a filter of system calls ends programs: Android has one for all programs on few devices.
FORBIDDEN = SIGNALLED + 31
# As every shell says it: it may not be executed; it is not there, or its loader finds something amiss.
REFUSED, NOT_FOUND = 126, 127


@dataclass(frozen=True)
class Session:
    """A device and our folder on it; ``runner`` starts our runner there, () where it was not pushed."""

    device: Device
    folder: str
    runner: tuple[str, ...] = ()
    library: str = ""

    def remote(self, name: str) -> str:
        """The path of ``name`` in our folder."""
        return f"{self.folder}/{name}"

    def push(self, local: Path, name: str) -> str:
        """Copy a file into our folder; its path there."""
        self.device.push(local, self.remote(name))
        return self.remote(name)

    def program(self, local: Path, name: str) -> str:
        """Copy a program into our folder; its path there."""
        remote = self.push(local, name)
        self.device.shell(["chmod", "755", remote])
        return remote

    def pull(self, name: str, local: Path) -> None:
        """Copy a file out of our folder."""
        self.device.pull(self.remote(name), local)

    def remove(self, name: str) -> None:
        """Remove a file of our folder; one that is not there is no error."""
        self.device.remove(self.remote(name))

    def command(self, plan: Plan) -> list[str]:
        """The command that carries out a plan."""
        return [*self.runner, *arguments(plan, self.library)]

    def run(self, plan: Plan, *, timeout: float, command: Sequence[str] = ()) -> Said:
        """One start of the runner.

        Args:
            plan: its paths are the device's.
            timeout: seconds.
            command: what starts it, where that is more than ``command(plan)``.

        Raises:
            HarnessError: it could not be started, failed, was ended by the device, or took too long.
        """
        command = command or self.command(plan)
        result = self.device.shell(command, timeout=timeout, check=False)
        # Where the runner tells its own failure, that says more than its exit code.
        if result.returncode and f'{MARK}{{"error"' not in result.stdout:
            raise HarnessError(
                f"the runner of {' and '.join(plan.models)} {ended(result)}",
                command=command,
                returncode=result.returncode,
                stderr=result.stderr,
                serial=self.device.serial,
            )
        return check(parse(result.stdout), plan)

    def stop(self) -> None:
        """End what runs out of our folder now, from another thread; whoever waits for it gets an error."""
        self.device.shell(["sh", "-c", kill_all_of(f"{self.folder}/")], check=False)


@contextmanager
def session(
    device: Device, kit: Kit | None = None, say: Callable[[str], None] = lambda line: None
) -> Iterator[Session]:
    """A fresh folder on ``device``, removed at the end; with ``kit`` the runner and all it needs are in it.

    What a session left that could not clean up is removed, and ``say`` told of it.

    Raises:
        HarnessError: the device is gone, has no room, lets adb's user do nothing there, or another session is
            measuring on it: each would slow the other down.
    """
    with device.folder() as folder:
        _be_alone(device, folder, say)
        bare = Session(device, folder)
        if kit is None:
            yield bare
            return
        for file in kit.libraries:
            bare.push(file, file.name)
        loader, runner = (bare.program(file, file.name) for file in (kit.loader, kit.runner))
        # The device's own list of libraries, if it had one, would not be of these.
        command = (loader, "--inhibit-cache", "--library-path", folder, runner)
        yield Session(device, folder, command, bare.push(kit.library, kit.library.name))


def _be_alone(device: Device, own: str, say: Callable[[str], None]) -> None:
    for folder, used in device.folders().items():
        if folder == own:
            continue
        if used:
            raise HarnessError(
                f"another footseg is measuring on {device.serial} (it has {folder} there), and both would be"
                " slower for it: start again when it has ended (or: this phone is connected twice, name one)",
                serial=device.serial,
            )
        say(f"removing {folder}, which an earlier command could not")
        Session(device, folder).stop()
        device.remove(folder)


def ended(result: Result) -> str:
    """How a program on a device ended, with its last words, and what to do about it."""
    said = (result.stderr.strip() or result.stdout.strip()).splitlines() or ["it said nothing"]
    code = result.returncode
    if code == REFUSED:
        return f"could not be started ({said[-1]}): this device lets no programs of adb's user run"
    if code == NOT_FOUND:
        return (
            f"could not be started ({said[-1]}): something on the device changed what was pushed; try again"
        )
    if code == KILLED:
        return f"was killed by the device ({said[-1]}), most often for want of memory: close other apps"
    if code == FORBIDDEN:
        return f"used a system call that this device forbids ({said[-1]}): take --runner benchmark_model"
    if code > SIGNALLED:
        return f"crashed with signal {code - SIGNALLED} ({said[-1]}): the file may be damaged"
    return f"failed with exit code {code}: {said[-1]}"
