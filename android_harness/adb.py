"""Android devices through adb: which there are, commands on them, files to and from them.

adb's own word is not enough in two places. A shell whose connection is lost in the middle ends with exit
code 0 and half of its output (adb 29.0.6), and a shell may print a greeting before what was asked for: so
each command's output is held between two marks, and only the second, with the exit code in it, ends it.
"""

import contextlib
import difflib
import functools
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from footseg.android_harness import errors, guard
from footseg.android_harness.errors import HarnessError

# The one place where every Android lets adb's user write files and run them.
TEMPORARY = "/data/local/tmp"
# Seconds for what is done at once: listing, starting the server, cleaning up.
AT_ONCE = 30.0
# Seconds for stopping what a time limit ended: a device that does not answer is not waited for twice.
STOPPING = 5.0
# A transfer may take AT_ONCE and a second for so many bytes: USB 2 on a poor cable gives 5 MB/s or more.
SLOWEST = 1_000_000


class DeviceGoneError(HarnessError):
    """The device is no longer there: pulled out, restarted, or its adb was switched off."""


class NoSpaceError(HarnessError):
    """The device has no space left."""


class NotAllowedError(HarnessError):
    """The device does not let adb's user do this."""


class TimeLimitError(HarnessError):
    """A command or a transfer was stopped because its time was up."""


@dataclass(frozen=True)
class Listed:
    """A device as ``adb devices -l`` lists it; names are empty where it does not tell them.

    ``state`` is "device" for one that can be used; else "unauthorized", "offline", "no permissions", ...
    """

    serial: str
    state: str
    model: str = ""
    product: str = ""
    device: str = ""
    usb: str = ""

    def __str__(self) -> str:
        """Serial, model if known, and state if it cannot be used."""
        return (
            self.serial
            + (f" ({self.model.replace('_', ' ')})" if self.model else "")
            + ("" if self.state == "device" else f": {self.state}")
        )


@dataclass(frozen=True)
class Result:
    """What a command on the device said, and its exit code."""

    stdout: str
    stderr: str
    returncode: int


# What to do about a device that is listed but cannot be used, by its state.
_REMEDIES = {
    "unauthorized": "unlock it and tap Allow on its question about USB debugging; if it asks nothing, tap"
    " 'Revoke USB debugging authorizations' in its developer options and plug it in again",
    "authorizing": "it is being asked for permission: try again in a moment, and watch its screen",
    "connecting": "the connection is being made: try again in a moment",
    "offline": "plug it in again, or switch USB debugging off and on; if that does not help: adb kill-server",
    "no permissions": "this user may not use the USB device: install the udev rules (Debian's package"
    " android-sdk-platform-tools-common), plug the device in again, and if need be: adb kill-server",
    "recovery": "it is in recovery mode: restart it into Android",
    "sideload": "it is in sideload mode: restart it into Android",
    "bootloader": "it is in its bootloader: restart it into Android",
}
# A serial may hold spaces, and words that are states: "my device (2)", as Wi-Fi pairing names them. Only "no
# permissions" is followed by words, all other states by keys with values.
_LISTED = re.compile(
    r"(?P<serial>\(no serial number\)|[^*\s].*?)\s+"
    r"(?:(?P<state>\w+)(?P<rest>(?:\s+\w+:\S*)*)|(?P<refused>no permissions)\b(?P<why>.*))"
)
_KEYS = re.compile(r"\s(usb|product|model|device):(\S+)")


def parse(text: str) -> tuple[Listed, ...]:
    """The devices in the output of ``adb devices -l``, with or without what a starting server says first."""
    found = []
    for line in text.partition("List of devices attached")[2].splitlines():
        if match := _LISTED.fullmatch(line.strip()):
            state, rest = match["state"] or match["refused"], match["rest"] or match["why"] or ""
            found.append(Listed(match["serial"], state, **dict(_KEYS.findall(rest))))
    return tuple(found)


def find_adb(adb: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """The adb program: the one named, else that of the PATH, else that of $ANDROID_HOME.

    Raises:
        HarnessError: there is none.
    """
    env = os.environ if env is None else env
    homes = [env[name] for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT") if env.get(name)]
    places = [adb] if adb else ["adb", *(str(Path(home) / "platform-tools" / "adb") for home in homes)]
    for place in places:
        if program := shutil.which(place, path=env.get("PATH", os.defpath)):
            return program
    if adb:
        raise HarnessError(f"{adb} is no program: name the adb of Android's platform-tools")
    raise HarnessError(
        "adb, which talks to Android devices, is not there: apt install adb, or put Android's platform-tools"
        " into the PATH"
    )


def devices(adb: str | None = None, env: Mapping[str, str] | None = None) -> tuple[Listed, ...]:
    """All devices that adb lists, usable or not.

    Args:
        adb: the program; None looks for it (``find_adb``).
        env: the environment of adb, which says where its server listens; None is this process's.

    Raises:
        HarnessError: no adb, or its server cannot be started.
    """
    return parse(errors.run([find_adb(adb, env), "devices", "-l"], timeout=AT_ONCE, env=env).stdout)


def choose(
    serial: str | None = None, *, adb: str | None = None, env: Mapping[str, str] | None = None
) -> "Device":
    """The device of this serial; without one that of $ANDROID_SERIAL, else the only one there is.

    Args:
        serial: as ``adb devices`` lists it.
        adb, env: as for ``devices``.

    Raises:
        HarnessError: no adb, no device, several and no serial, none of this serial, or it cannot be used now.
    """
    named = serial
    serial = serial or (os.environ if env is None else env).get("ANDROID_SERIAL")
    listed = devices(adb, env)
    found = [one for one in listed if one.serial == serial] if serial else list(listed)
    if len(found) != 1:
        raise HarnessError(
            _why_not_one(serial, listed, "" if named else " (of $ANDROID_SERIAL)"), serial=serial or ""
        )
    [one] = found
    if one.state != "device":
        remedy = _REMEDIES.get(one.state, "restart it, and look at: adb devices -l")
        raise HarnessError(f"device {one} - {remedy}", serial=one.serial)
    return Device(one.serial, find_adb(adb, env), env)


def _why_not_one(serial: str | None, listed: Sequence[Listed], origin: str) -> str:
    """Why no one device is meant: there is none, there are several, or none has this serial of ``origin``."""
    if not listed:
        wanted = f" (wanted: {serial}{origin})" if serial else ""
        return (
            f"adb sees no Android device{wanted}: plug one in and switch on 'USB debugging' in its developer"
            " options (they appear after seven taps on Settings > About phone > Build number)"
        )
    names = ", ".join(map(str, listed))
    if not serial:
        return f"{len(listed)} Android devices are connected, name one by its serial: {names}"
    close = difflib.get_close_matches(serial, [one.serial for one in listed], n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return f"no Android device {serial!r}{origin}{meant}; connected: {names}"


@dataclass(frozen=True)
class Device:
    """An Android device. Its methods may be called from several threads at once.

    Attributes:
        serial: as ``adb devices`` lists it.
        adb: the adb program.
        env: the environment of adb; None is this process's.

    All methods raise HarnessError, and of its kinds DeviceGoneError, NoSpaceError, NotAllowedError and
    TimeLimitError where one of these is the reason.
    """

    serial: str
    adb: str = "adb"
    env: Mapping[str, str] | None = None

    def shell(
        self, argv: Sequence[str], *, timeout: float = AT_ONCE, check: bool = True, folder: str = ""
    ) -> Result:
        """Run a command on the device, to its end; what it started ends with the time limit or Ctrl-C.

        Args:
            argv: the command and its arguments, each as it should arrive: spaces and quotes are kept. For
                pipes and wildcards: ["sh", "-c", "..."].
            timeout: seconds.
            check: whether an exit code other than 0 is an error.
            folder: on the device, where the command runs; empty is the root folder.
        """
        if isinstance(argv, str) or not argv:
            raise ValueError(f"a command is a list of its words, such as ['ls', '/data'], not {argv!r}")
        job = f"footseg-{secrets.token_hex(8)}"
        command = f"cd {shlex.quote(folder)} && {shlex.join(argv)}" if folder else shlex.join(argv)
        script = (
            f"export FOOTSEG_JOB={job}; echo @{job}; echo @{job} >&2; {command}; code=$?;"
            f" echo; echo @{job} $code; echo >&2; echo @{job} $code >&2; exit $code"
        )
        done = self._adb(["shell", script], argv, timeout=timeout, stop=functools.partial(self._stop, job))
        result = _between_marks(done, job)
        if result is None:
            raise self._reason(argv, done, "ended before its time")
        if check and result.returncode:
            raise self._reason(argv, result, f"failed on it, {errors.ending(result.returncode)}")
        return result

    def push(self, local: Path, remote: str) -> None:
        """Copy a file onto the device; folders on the way to ``remote``, its whole name there, are made."""
        if not local.is_file():
            raise HarnessError(f"no such file to copy to the device: {local}", serial=self.serial)
        words = ["push", local.name, remote]
        done = self._adb(
            ["push", str(local.resolve()), remote], words, timeout=AT_ONCE + local.stat().st_size / SLOWEST
        )
        if done.returncode:
            raise self._reason(words, done, "failed")

    def pull(self, remote: str, local: Path, *, timeout: float = 600.0) -> None:
        """Copy a file from the device; ``local`` is the old one or the whole new one, never half of it."""
        local.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{local.name}.", dir=local.parent) as folder:
            words = ["pull", remote, local.name]
            pulled = str(Path(folder).resolve() / "pulled")
            done = self._adb(["pull", remote, pulled], words, timeout=timeout)
            if done.returncode:
                raise self._reason(words, done, "failed")
            Path(pulled).replace(local)

    def remove(self, remote: str) -> None:
        """Remove a file or a folder with all in it; one that is not there is no error.

        Raises:
            ValueError: ``remote`` is not in the device's folder for temporary files, where all of ours is.
        """
        path = PurePosixPath(remote)
        if ".." in path.parts or PurePosixPath(TEMPORARY) not in path.parents:
            raise ValueError(f"only what is in {TEMPORARY} is removed from a device, not {remote!r}")
        self.shell(["rm", "-rf", remote])

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        """A fresh folder on the device, removed at the end, also after an error or Ctrl-C.

        If it cannot be removed then (the device is gone), its name is said on stderr.
        """
        remote = f"{TEMPORARY}/footseg-{secrets.token_hex(4)}"
        watch = guard.Guard([self.adb, "-s", self.serial], remote, self.env)
        try:
            if not watch.wait(AT_ONCE):
                raise self._reason(["mkdir", remote], Result("", watch.said, 1), "failed on it")
            yield remote
        finally:
            removed = False
            try:
                with contextlib.suppress(HarnessError):
                    self.remove(remote)
                    removed = True
            finally:  # also when a second Ctrl-C ends the cleaning
                watch.end()
                if not removed:
                    _say(
                        f"{remote} may be left on {self.serial}; the next session there removes it, or:"
                        f" adb -s {self.serial} shell rm -rf {remote}"
                    )

    def folders(self) -> dict[str, bool]:
        """Our folders that are on the device, and whether somebody uses them (else they were left behind)."""
        found = self.shell(["sh", "-c", guard.search(TEMPORARY)], check=False).stdout
        return {f"{TEMPORARY}/{name}": used for name, used in guard.read(found.splitlines())}

    def _adb(
        self,
        words: Sequence[str],
        shown: Sequence[str],
        *,
        timeout: float,
        stop: Callable[[], object] = lambda: None,
    ) -> Result:
        """Call adb for this device; ``stop`` ends on the device what a time limit or Ctrl-C ended here."""
        command = [self.adb, "-s", self.serial, *words]
        try:
            done = errors.run(command, timeout=timeout, env=self.env, check=False)
        except HarnessError as error:
            if not isinstance(error.__cause__, subprocess.TimeoutExpired):
                raise
            stop()
            raise TimeLimitError(
                f"{errors.shown(shown)} on {self.serial} did not end within {timeout:g} s and was"
                " stopped: is the device awake and free? Else allow it more time",
                command=shown,
                stderr=error.stderr,
                serial=self.serial,
            ) from error
        except BaseException:
            stop()
            raise
        return Result(done.stdout, done.stderr, done.returncode)

    def _stop(self, job: str) -> None:
        """End what a command has started: each of its processes has the job's name in its environment.

        adb itself hangs up only the shell when its client goes; what that shell runs would go on.
        """
        find = (
            f"for file in $(grep -ls FOOTSEG_JOB={job} /proc/[0-9]*/environ);"
            " do one=${file%/environ}; kill -9 ${one##*/}; done"
        )
        with contextlib.suppress(HarnessError):
            command = [self.adb, "-s", self.serial, "shell", find]
            errors.run(command, timeout=STOPPING, env=self.env, check=False)

    def _reason(self, words: Sequence[str], done: Result, what: str) -> HarnessError:
        """The error for a command that failed, by what it said and whether the device is still there."""
        said = _essence(f"{done.stderr}\n{done.stdout}" if words[0] in ("push", "pull") else done.stderr)
        kind, message = HarnessError, f"device {self.serial}: {errors.shown(words)} {what}"
        if re.search("No space left on device|Disk quota exceeded", said):
            kind = NoSpaceError
            message = f"device {self.serial} has no space left for: {errors.shown(words)} - free some on it"
        elif re.search("Permission denied|Operation not permitted|Read-only file system", said):
            kind = NotAllowedError
            message += f"; adb's user may write and run files in {TEMPORARY}"
        elif self._is_gone(done, said):
            kind = DeviceGoneError
            said = said if _LOST.search(said) else ""  # else it is of what ran until then
            message = (
                f"device {self.serial} went away during: {errors.shown(words)} - look at its cable and"
                " screen, and start again once 'adb devices' lists it"
            )
        return kind(
            f"{message} ({said[-errors.SHOWN :]})" if said else message,
            command=words,
            returncode=done.returncode,
            stderr=done.stderr,
            serial=self.serial,
        )

    def _is_gone(self, done: Result, said: str) -> bool:
        """Whether the connection to the device was lost, even if it is back by now."""
        if done.returncode == 0 or _LOST.search(said):  # a failure with exit code 0: half of the output came
            return True
        try:
            return Listed(self.serial, "device") not in [
                Listed(one.serial, one.state) for one in devices(self.adb, self.env)
            ]
        except HarnessError:
            return True


_LOST = re.compile(
    r"device offline|device unauthorized|device '[^']*' not found|no devices/emulators|device still "
    r"|couldn't read from device|failed to get feature set|^error: closed|protocol fault|[Cc]onnection reset"
)
_COPYING = re.compile(r"failed to copy '.*' to '.*': (remote )?")
_TALLY = re.compile(r"\[ *\d+%\] .*|.*: \d+ files? (pushed|pulled), .*")


def _between_marks(done: Result, job: str) -> Result | None:
    """What a command itself said, without what the shell said before and after; None if it has not ended.

    A shell of Android 6 and older mixes stderr into stdout (then all marks are there); lines end in CRLF.
    """
    body, code = _body(done.stdout, job)
    if code is None:
        return None
    return Result(body, _body(done.stderr, job)[0], code)


def _body(text: str, job: str) -> tuple[str, int | None]:
    """The text between the marks of ``job``, and the exit code of the second; all of it and None without."""
    match = re.search(rf"(?:@{job}(\r?)\n)+(.*?)\r?\n@{job} (\d+)", text, re.DOTALL)
    if not match:
        return text, None
    body = match[2].replace("\r\n", "\n") if match[1] else match[2]
    return body, int(match[3])


def _essence(text: str) -> str:
    """What adb or a command said of a failure, in one line, without adb's progress and tally of files."""
    lines = [_COPYING.sub("", line.strip().removeprefix("adb: error: ")) for line in text.splitlines()]
    kept = [
        line for line in lines if line and not line.startswith("@footseg-") and not _TALLY.fullmatch(line)
    ]
    return " ".join(kept)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
