"""Android devices through the real adb: a phone of ours at the other end, and what goes wrong with one."""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from footseg.android_harness import adb, runner
from footseg.android_harness.adb import (
    Device,
    DeviceGoneError,
    Listed,
    NoSpaceError,
    NotAllowedError,
    Result,
    TimeLimitError,
)
from footseg.android_harness.errors import HarnessError
from tests.phone import AdbServer, Faults, Phone
from tests.phone.machine import Unmap

pytestmark = pytest.mark.skipif(not shutil.which("adb"), reason="needs the real adb: make arm")

NAMES = [
    "plain",
    "with  spaces",
    "it's",
    'say "hi"',
    "$HOME `id` $(id)",
    "füße 足.tflite",
    "-n",
    "a;b|c>d&e",
    "*",
    "\\n",
]
DOT = "/data/local/tmp"


def wait_for_state(server: AdbServer, serial: str, state: str) -> None:
    """Wait until adb's server has noticed; 5 s is a hundred times what it takes."""
    end = time.monotonic() + 5
    while Listed(serial, state) not in [Listed(one.serial, one.state) for one in adb.devices(env=server.env)]:
        assert time.monotonic() < end, adb.devices(env=server.env)
        time.sleep(0.02)


def left(phone: Phone) -> list[str]:
    return sorted(path.name for path in phone.machine.path(DOT).iterdir())


def running(words: str) -> bool:
    """Whether a process of this host has these words in its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words in path.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                return True
    return False


def ended(words: str) -> bool:
    """Whether such processes are gone within 5 s (a signal takes its moment)."""
    end = time.monotonic() + 5
    while running(words):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class TestListed:
    def test_what_adb_prints_of_devices_of_all_kinds(self) -> None:
        text = (
            "* daemon not running; starting now at tcp:5037\n"
            "* daemon started successfully\n"
            "List of devices attached\n"
            "1A051FDF6007RM       device usb:1-2 product:oriole model:Pixel_6 device:oriole transport_id:1\n"
            "emulator-5554          device product:sdk_gphone64_arm64 model:sdk_gphone64 device:emu64a"
            " transport_id:2\n"
            "192.168.1.7:5555       offline product:a52q model:SM_A525F device:a52q transport_id:3\n"
            "R58M12ABCDE            unauthorized usb:2-1.4 transport_id:4\n"
            "0123456789ABCDEF       no permissions (user in plugdev group; are your udev rules wrong?); see"
            " [http://developer.android.com/tools/device.html] usb:1-3 transport_id:5\n"
            "HT7B                   recovery usb:3-1\n"
            "(no serial number)     device usb:3-2 model:X\n"
            "\n"
        )
        assert adb.parse(text) == (
            Listed("1A051FDF6007RM", "device", "Pixel_6", "oriole", "oriole", "1-2"),
            Listed("emulator-5554", "device", "sdk_gphone64", "sdk_gphone64_arm64", "emu64a"),
            Listed("192.168.1.7:5555", "offline", "SM_A525F", "a52q", "a52q"),
            Listed("R58M12ABCDE", "unauthorized", usb="2-1.4"),
            Listed("0123456789ABCDEF", "no permissions", usb="1-3"),
            Listed("HT7B", "recovery", usb="3-1"),
            Listed("(no serial number)", "device", "X", usb="3-2"),
        )

    def test_serials_with_spaces_and_a_banner_between_the_lines(self) -> None:
        text = (
            "List of devices attached\n"
            "* daemon not running; starting now at tcp:5037\n"
            "* daemon started successfully\n"
            "my device (2)          device usb:1-2 product:oriole model:Pixel_6 device:o transport_id:1\n"
            "my device              offline transport_id:2\n"
            "adb-1A05-x (2)._adb-tls-connect._tcp device product:a model:Pixel_7a device:b transport_id:3\n"
            "the device\tdevice\n"
            "a device                no permissions (no udev rule for device usb:9); see [http://x] usb:1-3\n"
        )
        assert [(one.serial, one.state, one.model, one.usb) for one in adb.parse(text)] == [
            ("my device (2)", "device", "Pixel_6", "1-2"),
            ("my device", "offline", "", ""),
            ("adb-1A05-x (2)._adb-tls-connect._tcp", "device", "Pixel_7a", ""),
            ("the device", "device", "", ""),
            ("a device", "no permissions", "", "1-3"),
        ]

    def test_windows_line_ends_and_an_empty_list(self) -> None:
        assert adb.parse("List of devices attached\r\nX1\tdevice\r\n\r\n") == (Listed("X1", "device"),)
        assert adb.parse("List of devices attached\n\n") == ()
        assert adb.parse("") == ()

    def test_in_words(self) -> None:
        assert str(Listed("X1", "device", "Pixel_6")) == "X1 (Pixel 6)"
        assert str(Listed("X1", "unauthorized")) == "X1: unauthorized"


class TestChoose:
    def test_the_only_one(self, server: AdbServer, phone: Phone) -> None:
        [one] = adb.devices(env=server.env)
        assert one == Listed(phone.serial, "device", "Pixel_6", "oriole", "oriole")
        device = adb.choose(env=server.env)
        assert device.serial == phone.serial
        assert device.shell(["getprop", "ro.product.model"]).stdout == "Pixel 6\n"

    def test_no_adb(self, tmp_path: Path) -> None:
        with pytest.raises(HarnessError, match=r"^adb, .*, is not there: apt install adb"):
            adb.choose(env={"PATH": str(tmp_path)})
        with pytest.raises(HarnessError, match=r"^/no/adb is no program: name the adb"):
            adb.choose(adb="/no/adb")

    def test_adb_of_the_android_home(self, tmp_path: Path) -> None:
        program = tmp_path / "platform-tools" / "adb"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert adb.find_adb(env={"PATH": "/nowhere", "ANDROID_HOME": str(tmp_path)}) == str(program)

    def test_a_server_that_is_none(self, server: AdbServer) -> None:
        def answer(sock: socket.socket) -> None:
            with sock.accept()[0] as client:
                client.recv(100)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as other:
            threading.Thread(target=answer, args=(other,), daemon=True).start()
            env = {**server.env, "ANDROID_ADB_SERVER_PORT": str(other.getsockname()[1])}
            with pytest.raises(HarnessError, match=r"adb devices -l failed, exit code 1: .*protocol fault"):
                adb.devices(env=env)

    def test_no_device(self, server: AdbServer) -> None:
        with pytest.raises(HarnessError, match=r"^adb sees no Android device: plug one in .*USB debugging"):
            adb.choose(env=server.env)
        with pytest.raises(HarnessError, match=r"no Android device \(wanted: X1\)"):
            adb.choose("X1", env=server.env)

    def test_unauthorized_until_somebody_taps(self, server: AdbServer, tmp_path: Path) -> None:
        phone = Phone(tmp_path / "phone", faults=Faults(unauthorized=True))
        with server.connected(phone):
            wait_for_state(server, phone.serial, "unauthorized")
            with pytest.raises(HarnessError, match="unauthorized - unlock it and tap Allow") as caught:
                adb.choose(env=server.env)
            assert caught.value.serial == phone.serial
            phone.allow()
            wait_for_state(server, phone.serial, "device")
            assert adb.choose(env=server.env).shell(["echo", "in"]).stdout == "in\n"

    def test_offline(self, server: AdbServer, tmp_path: Path) -> None:
        phone = Phone(tmp_path / "phone", faults=Faults(offline=True))
        with server.connected(phone):
            wait_for_state(server, phone.serial, "offline")
            with pytest.raises(HarnessError, match=r"\(Pixel 6\): offline - plug it in again"):
                adb.choose(env=server.env)

    def test_two_devices(self, server: AdbServer, tmp_path: Path) -> None:
        one = Phone(tmp_path / "one")
        two = Phone(tmp_path / "two", properties={"ro.product.model": "SM-A525F"})
        with server.connected(one, two):
            with pytest.raises(HarnessError, match=r"^2 Android devices are connected, name one") as caught:
                adb.choose(env=server.env)
            assert f"{one.serial} (Pixel 6)" in str(caught.value)
            assert f"{two.serial} (SM A525F)" in str(caught.value)
            chosen = adb.choose(env={**server.env, "ANDROID_SERIAL": two.serial})
            assert chosen.shell(["getprop", "ro.product.model"]).stdout == "SM-A525F\n"
            assert adb.choose(one.serial, env=server.env).serial == one.serial

    def test_an_unknown_serial(self, server: AdbServer, phone: Phone) -> None:
        with pytest.raises(HarnessError, match=f"did you mean {phone.serial}\\?\\); connected: ") as caught:
            adb.choose(phone.serial[:-1], env=server.env)
        assert caught.value.serial == phone.serial[:-1]
        with pytest.raises(HarnessError, match=r"^no Android device 'XYZ'; connected: 127"):
            adb.choose("XYZ", env=server.env)
        with pytest.raises(
            HarnessError, match=r"^no Android device 'XYZ' \(of \$ANDROID_SERIAL\); connected"
        ):
            adb.choose(env={**server.env, "ANDROID_SERIAL": "XYZ"})


class TestShell:
    def test_words_arrive_as_they_are(self, device: Device) -> None:
        said = device.shell(["sh", "-c", 'for word; do echo "<$word>" | cat; done', "sh", *NAMES[:-1]])
        assert said == Result("".join(f"<{name}>\n" for name in NAMES[:-1]), "", 0)

    def test_output_to_the_byte(self, device: Device) -> None:
        assert device.shell(["printf", "a\\nb"]).stdout == "a\nb"
        assert device.shell(["printf", "\\n\\na\\r\\n\\n"]).stdout == "\n\na\r\n\n"
        assert device.shell(["true"]) == Result("", "", 0)

    def test_exit_codes(self, device: Device) -> None:
        command = ["sh", "-c", "echo out; echo why >&2; exit 7"]
        assert device.shell(command, check=False) == Result("out\n", "why\n", 7)
        with pytest.raises(HarnessError, match=r"failed on it, exit code 7 \(why\)$") as caught:
            device.shell(command)
        error = caught.value
        assert type(error) is HarnessError
        assert (error.command, error.returncode, error.stderr) == (tuple(command), 7, "why\n")
        assert error.serial == device.serial

    def test_folder(self, device: Device, phone: Phone) -> None:
        phone.machine.path(f"{DOT}/it's $1").mkdir()
        assert device.shell(["pwd"], folder=f"{DOT}/it's $1").stdout == f"{DOT}/it's $1\n"
        with pytest.raises(HarnessError, match="exit code"):
            device.shell(["pwd"], folder="/data/none")

    @pytest.mark.parametrize("argv", ["ls /data", [], ()])
    def test_a_command_is_a_list(self, argv: object) -> None:
        with pytest.raises(ValueError, match="a command is a list of its words"):
            Device("X1").shell(argv)  # type: ignore[arg-type]

    def test_a_shell_that_greets(self, device: Device, phone: Phone) -> None:
        phone.faults.login = "*** Welcome ***\nno newline:"
        phone.faults.login_stderr = "WARNING: linker: unused DT entry\n"
        phone.faults.logout = "bye\n"
        said = device.shell(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
        assert said == Result("out\n", "err\n", 3)

    def test_a_shell_that_ends_lines_as_terminals_do(self, device: Device, phone: Phone) -> None:
        phone.faults.crlf = True
        phone.faults.login = "hello\n"
        assert device.shell(["printf", "a\\n\\nb\\n"]).stdout == "a\n\nb\n"

    def test_lines_between_those_of_the_runner(self, device: Device, phone: Phone) -> None:
        phone.faults.between = "W/libc: noise\n"
        lines = '@footseg {"samples_ms": [1.5, 2.5]}\n@footseg {"done": true}\n'
        said = device.shell(["printf", "%s", lines])
        assert "W/libc: noise" in said.stdout
        assert runner.parse(said.stdout).samples_ms == ((1.5, 2.5),)

    def test_a_phone_from_before_exit_codes(self, server: AdbServer, tmp_path: Path) -> None:
        phone = Phone(tmp_path / "phone", features=["cmd"], faults=Faults(crlf=True, login="hi\n"))
        with server.connected(phone):
            device = adb.choose(env=server.env)
            said = device.shell(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
            assert said == Result("out\nerr\n", "", 3)

    def test_a_command_that_hangs(self, device: Device) -> None:
        start = time.monotonic()
        with pytest.raises(TimeLimitError, match=r"did not end within 0.5 s and was stopped") as caught:
            device.shell(["sh", "-c", "echo soon >&2; sleep 61.0703; echo never"], timeout=0.5)
        assert time.monotonic() - start < 5  # half a second, and calls of adb that take milliseconds
        assert "soon" in caught.value.stderr
        assert ended("sleep 61.0703")  # adb alone would let it run on

    def test_a_shell_that_is_slow_to_start(self, device: Device, phone: Phone) -> None:
        phone.faults.slow = 0.6
        with pytest.raises(TimeLimitError):
            device.shell(["true"], timeout=0.2)
        phone.faults.slow = 0.2
        assert device.shell(["echo", "at last"], timeout=30).stdout == "at last\n"

    def test_a_shell_that_is_killed(self, device: Device) -> None:
        with pytest.raises(HarnessError, match="ended before its time") as caught:
            device.shell(["sh", "-c", "kill -9 $PPID"])
        assert type(caught.value) is HarnessError
        assert caught.value.returncode == 137

    def test_not_allowed(self, device: Device) -> None:
        with pytest.raises(NotAllowedError, match="adb's user may write"):
            device.shell(["sh", "-c", "echo 'cat: /data/x: Permission denied' >&2; exit 1"])

    def test_no_space_by_a_command(self, device: Device, phone: Phone) -> None:
        phone.machine.path(f"{DOT}/masks").symlink_to("/dev/full")
        phone.machine.write(f"{DOT}/images", "pixels")
        with pytest.raises(NoSpaceError, match=r"has no space left for: sh"):
            device.shell(["sh", "-c", f"cat {DOT}/images >{DOT}/masks"])

    def test_gone_in_the_middle(self, device: Device, phone: Phone) -> None:
        phone.faults.printed = 200  # two marks and some lines; adb itself then ends with exit code 0
        with pytest.raises(DeviceGoneError, match="went away during: sh -c") as caught:
            device.shell(["sh", "-c", "while :; do echo tick; sleep 0.01; done"])
        assert caught.value.serial == phone.serial
        with pytest.raises(DeviceGoneError, match=r"offline|not found"):
            device.shell(["true"], check=False)

    def test_gone_and_at_once_back(self, device: Device, phone: Phone) -> None:
        def restart() -> None:
            phone.vanish()
            phone.come_back()

        threading.Timer(0.3, restart).start()
        with pytest.raises(DeviceGoneError, match="went away during: sleep 20"):
            device.shell(["sleep", "20"], timeout=30, check=False)

    def test_gone_and_back_before_we_looked(self, tmp_path: Path) -> None:
        program = tmp_path / "adb"  # what adb says of a lost connection: half of the output and exit code 0
        program.write_text(
            '#!/bin/sh\ncase "$*" in\n  devices*) printf "List of devices attached\\nX1 device\\n";;\n'
            "  *) echo half;;\nesac\n"
        )
        program.chmod(0o755)
        with pytest.raises(DeviceGoneError, match="X1 went away during: cat file"):
            Device("X1", str(program)).shell(["cat", "file"])


class TestFiles:
    @pytest.mark.parametrize("name", NAMES)
    def test_there_and_back(self, device: Device, phone: Phone, tmp_path: Path, name: str) -> None:
        local, back = tmp_path / f"from {name}", tmp_path / "back" / f"to {name}"
        local.write_bytes(bytes(range(256)))
        local.chmod(0o755)
        device.push(local, f"{DOT}/new folder/{name}")
        pushed = phone.machine.path(f"{DOT}/new folder/{name}")
        assert pushed.read_bytes() == bytes(range(256))
        assert os.access(pushed, os.X_OK)
        device.pull(f"{DOT}/new folder/{name}", back)
        assert back.read_bytes() == bytes(range(256))
        device.remove(f"{DOT}/new folder/{name}")
        assert not pushed.exists()

    def test_twenty_megabytes_are_quick(self, device: Device, phone: Phone, tmp_path: Path) -> None:
        local, back = tmp_path / "local", tmp_path / "back"
        local.write_bytes(os.urandom(20_000_000))
        start = time.monotonic()
        device.push(local, f"{DOT}/big")
        device.pull(f"{DOT}/big", back)
        assert time.monotonic() - start < 5  # 0.1 s on two idle cores
        assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(local.read_bytes()).digest()

    def test_no_such_file(self, device: Device, tmp_path: Path) -> None:
        with pytest.raises(HarnessError, match=r"^no such file to copy to the device: .*/none$"):
            device.push(tmp_path / "none", f"{DOT}/none")
        with pytest.raises(HarnessError, match=f"pull {DOT}/none back failed .*No such file"):
            device.pull(f"{DOT}/none", tmp_path / "back")

    @pytest.mark.parametrize(("place", "why"), [("/system/bin", "Read-only"), ("/data", "Permission denied")])
    def test_not_allowed(self, device: Device, tmp_path: Path, place: str, why: str) -> None:
        local = tmp_path / "local"
        local.write_bytes(bytes(300_000))
        with pytest.raises(NotAllowedError, match=f"{why}.*"):
            device.push(local, f"{place}/x")

    def test_no_space(self, device: Device, phone: Phone, tmp_path: Path) -> None:
        local = tmp_path / "model"
        local.write_bytes(bytes(3_000_000))
        phone.faults.space = 1_000_000
        with pytest.raises(NoSpaceError, match="has no space left for: push model ") as error:
            device.push(local, f"{DOT}/model")
        assert str(error.value).endswith(" - free some on it (write failed: No space left on device)")
        assert device.shell(["echo", "still here"]).stdout == "still here\n"

    def test_gone_in_the_middle_of_a_push(self, device: Device, phone: Phone, tmp_path: Path) -> None:
        local = tmp_path / "model"
        local.write_bytes(bytes(3_000_000))
        phone.faults.pushed = 1_000_000
        with pytest.raises(DeviceGoneError, match=f"{phone.serial} went away during: push model "):
            device.push(local, f"{DOT}/model")

    def test_gone_in_the_middle_of_a_pull(self, device: Device, phone: Phone, tmp_path: Path) -> None:
        phone.machine.path(f"{DOT}/masks").write_bytes(bytes(3_000_000))
        local = tmp_path / "out" / "masks"
        local.parent.mkdir()
        local.write_text("old")
        phone.faults.pulled = 1_000_000
        with pytest.raises(DeviceGoneError, match="went away during: pull"):
            device.pull(f"{DOT}/masks", local)
        assert [path.name for path in local.parent.iterdir()] == ["masks"]
        assert local.read_text() == "old"

    def test_a_transfer_that_stalls(
        self, device: Device, phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        local = tmp_path / "model"
        local.write_bytes(bytes(100_000))
        phone.faults.pushed, phone.faults.stalls = 50_000, True
        monkeypatch.setattr(adb, "AT_ONCE", 0.4)
        with pytest.raises(TimeLimitError, match=r"^push model .* did not end within 0.5 s and was stopped"):
            device.push(local, f"{DOT}/model")

    @pytest.mark.parametrize("name", ["/", "/sdcard/x", DOT, f"{DOT}/", f"{DOT}/../x", "x", ""])
    def test_nothing_else_is_removed(self, name: str) -> None:
        with pytest.raises(ValueError, match="only what is in /data/local/tmp is removed"):
            Device("X1").remove(name)


class TestFolder:
    def test_is_there_and_then_removed(self, device: Device, phone: Phone, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with device.folder() as one, device.folder() as two:
            device.push(tmp_path / "file", f"{one}/sub/it's $HOME")
            assert {f"{DOT}/{name}" for name in left(phone)} == {one, two}
            assert one.startswith(f"{DOT}/footseg-")
        assert left(phone) == []

    def test_after_an_error(self, device: Device, phone: Phone, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(KeyError), device.folder():
            raise KeyError
        with pytest.raises(TimeLimitError), device.folder() as remote:
            device.shell(["sh", "-c", "while :; do date > now; done"], folder=remote, timeout=0.3)
        assert left(phone) == []
        assert capsys.readouterr().err == ""

    @pytest.mark.usefixtures("interruptible")
    def test_after_ctrl_c_in_a_command(self, device: Device, phone: Phone) -> None:
        timer = threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt), device.folder() as remote:
            timer.start()
            device.shell(["sh", "-c", "sleep 61.0704; echo never"], folder=remote, timeout=30)
        assert left(phone) == []
        assert ended("sleep 61.0704")

    def test_is_named_when_the_device_is_gone(
        self, device: Device, phone: Phone, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(DeviceGoneError), device.folder() as remote:
            phone.vanish()
            device.shell(["true"])
        said = capsys.readouterr().err
        assert said.startswith(
            f"{remote} may be left on {phone.serial}; the next session there removes it, or: adb -s "
        )
        assert said.endswith(f" shell rm -rf {remote}\n")
        assert said.count("\n") == 1

    def test_an_end_without_error_stays_one(
        self, device: Device, phone: Phone, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with device.folder() as remote:
            phone.vanish()
        assert f"{remote} may be left" in capsys.readouterr().err

    def test_a_second_ctrl_c_names_it_too(
        self, device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Device, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt), device.folder() as remote:
            raise KeyError
        assert f"{remote} may be left" in capsys.readouterr().err


def test_several_devices_at_once(server: AdbServer, tmp_path: Path) -> None:
    phones = [Phone(tmp_path / f"phone{n}", properties={"ro.product.model": f"M{n}"}) for n in range(3)]
    phones[1].faults.pushed = 1_000_000
    (tmp_path / "model").write_bytes(bytes(2_000_000))

    def work(phone: Phone) -> str:
        try:
            device = adb.choose(phone.serial, env=server.env)
            with device.folder() as remote:
                device.push(tmp_path / "model", f"{remote}/model")
                return device.shell(["getprop", "ro.product.model"]).stdout
        except DeviceGoneError:
            return "gone"

    with server.connected(*phones), ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, phones)) == ["M0\n", "gone", "M2\n"]


class TestPhone:
    """The phone of ours is as a phone where the tests above and others lean on it."""

    def test_its_folder_does_not_show(self, device: Device, phone: Phone) -> None:
        said = device.shell(["sh", "-c", f"echo {DOT}/x $(ls -d /data/local/*); cat /data/none; true"])
        assert said.stdout == f"{DOT}/x {DOT}\n"
        assert "cat: /data/none: No such file" in said.stderr

    @pytest.mark.parametrize("cut", range(1, 12))
    def test_a_cut_through_the_folder_s_name(self, cut: int) -> None:
        unmap, text = Unmap(b"/srv/p"), b"a /srv/p/data /srv/pq /sr"
        assert unmap.feed(text[:cut]) + unmap.feed(text[cut:]) + unmap.feed(b"", last=True) == (
            b"a /data /q /sr"
        )

    def test_what_it_answers(self, device: Device, phone: Phone) -> None:
        assert "[ro.soc.model]: [GS101]\n" in device.shell(["getprop"]).stdout
        assert device.shell(["getprop", "no.such.property"]).stdout == "\n"
        assert "Thermal Status: 0\n" in device.shell(["dumpsys", "thermalservice"]).stdout
        assert device.shell(["id", "-u"]).stdout == "2000\n"
        assert device.shell(["dumpsys", "nothing"]).stdout == "Can't find service: nothing\n"
        khz = device.shell(["sh", "-c", "cat /sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq"]).stdout
        assert khz.split() == ["1803000"] * 4 + ["2253000"] * 2 + ["2802000"] * 2
        phone.machine.write("/sys/class/power_supply/battery/capacity", "12\n")
        phone.machine.set_properties(ro__soc__model="SM8650")
        assert device.shell(["cat", "/sys/class/power_supply/battery/capacity"]).stdout == "12\n"
        assert device.shell(["getprop", "ro.soc.model"]).stdout == "SM8650\n"

    def test_taskset(self, device: Device, phone: Phone) -> None:
        assert device.shell(["taskset", "c0", "echo", "on big"]).stdout == "on big\n"
        assert phone.machine.pinned() == ["c0 echo on big"]
        with pytest.raises(HarnessError, match="Invalid argument"):
            device.shell(["taskset", "100", "true"])

    @pytest.mark.skipif(
        not (shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64")), reason="needs: make arm"
    )
    def test_arm_programs_run_and_see_the_phone(self, device: Device, tmp_path: Path) -> None:
        source = tmp_path / "see.c"
        source.write_text(
            "#include <stdio.h>\n"
            'int main(int n, char **words) { char line[99]; FILE *file = fopen("/proc/cpuinfo", "r");\n'
            "while (fgets(line, 99, file)) if (line[4] == 'p') fputs(line, stdout);\n"
            "puts(words[1]); return sizeof(void *) == 8 ? 5 : 6; }\n"
        )
        subprocess.run(["aarch64-linux-gnu-gcc", source, "-o", tmp_path / "see"], check=True, timeout=60)
        libraries = Path("/usr/aarch64-linux-gnu/lib")
        with device.folder() as remote:
            for file in (tmp_path / "see", *(libraries / n for n in ("ld-linux-aarch64.so.1", "libc.so.6"))):
                device.push(file, f"{remote}/{file.name}")
            command = ["./ld-linux-aarch64.so.1", "--library-path", ".", "./see", "it's  $HOME"]
            said = device.shell(command, folder=remote, check=False)
        parts = ["0xd05"] * 4 + ["0xd0b"] * 2 + ["0xd44"] * 2
        assert said.stdout == "".join(f"CPU part\t: {part}\n" for part in parts) + "it's  $HOME\n"
        assert said.returncode == 5
