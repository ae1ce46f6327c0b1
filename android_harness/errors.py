"""What goes wrong outside this program, and the one way in which its processes are run."""

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence

# So much of what a process said on stderr goes into the message; ``stderr`` of the error holds all of it.
SHOWN = 400


class HarnessError(Exception):
    """A tool, a device or a file is not as it should be; the message is one line and says what to do next.

    ``command``, ``returncode`` and ``stderr`` tell of the process that failed, ``serial`` of the device;
    each is empty (None for ``returncode``) where there was none.
    """

    def __init__(
        self,
        message: str,
        *,
        command: Sequence[str] = (),
        returncode: int | None = None,
        stderr: str = "",
        serial: str = "",
    ) -> None:
        super().__init__(message)
        self.command = tuple(command)
        self.returncode = returncode
        self.stderr = stderr
        self.serial = serial


def run(
    command: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    check: bool = True,
) -> "subprocess.CompletedProcess[str]":
    """Run a process to its end and return what it said, as text (bytes that are not UTF-8 are replaced).

    The process gets a group of its own, which is killed when the time is up and on Ctrl-C, so that nothing it
    started outlives it. It reads an empty stdin.

    Args:
        command: the program and its arguments; no shell reads them.
        timeout: seconds.
        env: the whole environment of the process; None is this one's.
        check: whether an exit code other than 0 is an error.

    Raises:
        HarnessError: no such program, the time is up, or (``check``) it failed.
    """
    command = [str(word) for word in command]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise HarnessError(f"{command[0]} cannot be started ({error.strerror})", command=command) from error
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        _kill(process)
        said = (error.stderr or b"").decode(errors="replace")
        raise HarnessError(
            f"{shown(command)} did not end within {timeout:g} s and was stopped{_excerpt(said)}",
            command=command,
            stderr=said,
        ) from error
    except BaseException:
        _kill(process)
        raise
    done = subprocess.CompletedProcess(
        command, process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace")
    )
    if check and done.returncode:
        raise failure(done)
    return done


def failure(done: "subprocess.CompletedProcess[str]") -> HarnessError:
    """The error for a process that ended badly."""
    return HarnessError(
        f"{shown(done.args)} failed, {ending(done.returncode)}{_excerpt(done.stderr)}",
        command=done.args,
        returncode=done.returncode,
        stderr=done.stderr,
    )


def ending(returncode: int) -> str:
    """How a process ended, in words: its exit code, or the signal that ended it."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"ended by signal {-returncode}"


def shown(command: Sequence[str]) -> str:
    """A command as one would type it, cut where it grows long."""
    text = shlex.join(command)
    return text if len(text) <= 160 else f"{text[:157]}..."


def _excerpt(stderr: str) -> str:
    """The end of what a process said, in one line: errors come last."""
    text = " ".join(stderr.split())
    if not text:
        return ""
    return f": {text}" if len(text) <= SHOWN else f": ...{text[-SHOWN:]}"


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all of its group, and take it off the system's list."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
