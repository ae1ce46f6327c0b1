"""What removes our folder from a device when nobody else can: this program was killed, or the cable is out.

A shell on the device makes the folder and then waits for the end of its input, which this program holds
open. However this program ends, adb closes that input, or adb's daemon on the device does so itself when it
loses the connection (it also hangs up: adbd's shell_service.cpp); what runs out of the folder is then killed
and the folder removed. While it waits, others see that the folder is in use.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from footseg.android_harness.errors import HarnessError

# Named in the guard's command line, with the folder's name behind it.
WORD = "guards-"
READY = "@footseg-ready"
# Seconds for the device to see the end of its guard's input; before Android 7 it sees only the connection's.
ENDING = 2.0


def kill_all_of(name: str) -> str:
    """The shell command that kills every process in whose command line ``name`` stands.

    Its last letter is looked for in brackets: the command line of the search itself is not meant.
    """
    pattern = shlex.quote(f"{name[:-1]}[{name[-1]}]")
    return (
        f"for file in $(grep -ls {pattern} /proc/[0-9]*/cmdline);"
        " do one=${file%/cmdline}; kill -9 ${one##*/}; done"
    )


def script(folder: str) -> str:
    """What the guard of ``folder`` runs: nothing it writes at its end has a reader any more."""
    name = PurePosixPath(folder).name
    quoted = shlex.quote(folder)
    return (
        f": {WORD}{name}; trap '' HUP INT TERM; mkdir {quoted} || exit 1; echo {READY}; cat >/dev/null;"
        f" {{ {kill_all_of(f'{folder}/')}; rm -rf {quoted}; }} >/dev/null 2>&1"
    )


def search(parent: str) -> str:
    """The shell command that lists our folders in ``parent``: "used NAME", or "left NAME" without a guard."""
    word = f"{WORD[:-1]}[{WORD[-1]}]"
    told = f'if grep -qs "{word}$one" /proc/[0-9]*/cmdline; then echo used $one; else echo left $one; fi'
    return f"cd {shlex.quote(parent)} && for one in footseg-*; do if [ -d $one ]; then {told}; fi; done"


class Guard:
    """The guard of one folder; ``said`` is what it said where it did not come to be ready."""

    def __init__(self, adb: Sequence[str], folder: str, env: Mapping[str, str] | None) -> None:
        """Start it.

        Args:
            adb: the program, and what chooses the device.
            folder: on the device; it is made there.
            env: adb's environment.

        Raises:
            HarnessError: there is no such adb.
        """
        command = [*adb, "shell", script(folder)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,  # Ctrl-C in a terminal is not meant for it
            )
        except OSError as error:
            raise HarnessError(
                f"{command[0]} cannot be started ({error.strerror})", command=command
            ) from error
        self.said = ""
        self.is_ready = False
        self._spoke = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self, seconds: float) -> bool:
        """Whether the folder has been made."""
        self._spoke.wait(seconds)
        return self.is_ready

    def end(self) -> None:
        """Let it do its work; what still listens here after ``ENDING`` seconds is killed."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone
            self._process.stdin.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDING)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                text = line.decode(errors="replace")
                if READY in text:
                    self.is_ready = True
                    self._spoke.set()
                elif not self.is_ready:
                    self.said += text
        self._spoke.set()


def read(lines: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """What ``search`` found: each folder's name, and whether it is in use."""
    for line in lines:
        state, _, name = line.strip().partition(" ")
        if state in ("used", "left") and name.startswith("footseg-"):
            yield name, state == "used"
