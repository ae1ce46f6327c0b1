"""Our folder on a phone is removed whatever becomes of us; one that is in use is left alone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from footseg.android_harness import adb, guard
from footseg.android_harness.adb import TEMPORARY, Device, DeviceGoneError, NotAllowedError
from footseg.android_harness.errors import HarnessError
from footseg.android_harness.session import session
from tests.phone import AdbServer, Phone

pytestmark = pytest.mark.skipif(not shutil.which("adb"), reason="needs the real adb: make arm")

# A session of another process, with a program of its own running out of its folder.
OTHER = """
import sys
from android_harness import adb
device = adb.choose()
with device.folder() as folder:
    device.shell(["sh", "-c", f"cp /bin/sleep {folder}/work; chmod 755 {folder}/work"])
    print(folder, flush=True)
    device.shell([f"{folder}/work", "61.0815"], timeout=60)
"""


@pytest.fixture
def other(server: AdbServer, phone: Phone) -> Iterator["subprocess.Popen[str]"]:
    """Another process with a session on the phone, once it is at work."""
    env = {**server.env, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", OTHER], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    wait_until(lambda: is_running("work 61.0815"))
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def left(phone: Phone) -> list[str]:
    return sorted(path.name for path in phone.machine.path(TEMPORARY).iterdir())


def is_running(words: str) -> bool:
    found = subprocess.run(["pgrep", "-f", f"{words[:-1]}[{words[-1]}]"], check=False, capture_output=True)
    return found.returncode == 0


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "it does not come to be"
        time.sleep(0.02)


def test_a_session_that_is_killed_leaves_nothing(other: "subprocess.Popen[str]", phone: Phone) -> None:
    assert left(phone)
    other.send_signal(signal.SIGKILL)
    wait_until(lambda: not left(phone))
    assert not is_running("work 61.0815")


@pytest.mark.parametrize("features", [("shell_v2",), ()], ids=["shell v2", "before Android 7"])
def test_a_cable_that_is_pulled_leaves_nothing(
    server: AdbServer, tmp_path: Path, features: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with Phone(tmp_path / "phone", features=features) as phone:
        server.connect(phone)
        device = adb.choose(phone.serial, env=server.env)
        with pytest.raises(DeviceGoneError), device.folder() as folder:
            phone.unplug()
            wait_until(lambda: not left(phone))
            device.shell(["true"])
        server.disconnect()
    assert f"{folder} may be left" in capsys.readouterr().err


def test_two_sessions_on_one_phone_are_refused(
    other: "subprocess.Popen[str]", device: Device, phone: Phone
) -> None:
    [used] = left(phone)
    with pytest.raises(HarnessError) as error, session(device):
        pass
    assert str(error.value).startswith(f"another footseg is measuring on {phone.serial} (it has {TEMPORARY}/")
    assert left(phone) == [used]
    assert is_running("work 61.0815")


def test_what_was_left_is_removed_by_the_next_session(device: Device, phone: Phone) -> None:
    """A phone that restarted in the middle, say: there was nobody to clean up."""
    old = phone.machine.path(f"{TEMPORARY}/footseg-01234567")
    old.mkdir()
    (old / "runner").write_text("old")
    phone.machine.path(f"{TEMPORARY}/footseg-notes.txt").write_text("somebody's")
    said: list[str] = []
    with session(device, say=said.append):
        assert len(left(phone)) == 2
    assert left(phone) == ["footseg-notes.txt"]
    assert said == [f"removing {TEMPORARY}/footseg-01234567, which an earlier command could not"]


def test_a_folder_that_cannot_be_made(device: Device, phone: Phone) -> None:
    phone.machine.command("mkdir", "echo \"mkdir: '$1': Permission denied\" >&2; exit 1\n")
    with pytest.raises(NotAllowedError, match="Permission denied"), device.folder():
        pass
    assert left(phone) == []


def test_a_search_does_not_find_itself() -> None:
    folder = f"{TEMPORARY}/footseg-01234567"
    assert f"{folder}/" not in guard.kill_all_of(f"{folder}/")
    assert f"{folder}/" not in guard.script(folder)
    assert guard.WORD not in guard.search(TEMPORARY)
