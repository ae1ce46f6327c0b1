"""The services of the phone's adb that the harness uses: ``shell`` (both kinds), ``exec`` and ``sync``."""

import contextlib
import os
import signal
import stat
import struct
import subprocess
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.phone.transport import Gone, Stream

if TYPE_CHECKING:
    from tests.phone.device import Phone

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
PACKET = struct.Struct("<BI")
REQUEST = struct.Struct("<4sI")
CHUNK = 64 * 1024
WRITABLE = ("/data/local/tmp", "/sdcard")


def serve(phone: "Phone", stream: Stream, name: str) -> None:
    """Run the service of this name on the stream, to its end; of others none is offered."""
    kind, _, rest = name.partition(":")
    kind, *flags = kind.split(",")
    if kind in ("shell", "exec"):
        Shell(phone, stream, packets="v2" in flags).run(rest)
    elif kind == "sync":
        Sync(phone, stream).run()


class Shell:
    """One command: its output goes out in packets with an exit code (version 2), or plainly and mixed."""

    def __init__(self, phone: "Phone", stream: Stream, packets: bool) -> None:
        self.phone, self.stream, self.packets = phone, stream, packets

    def run(self, command: str) -> None:
        """Run to the end; as on a phone, only the shell itself is hung up when the host goes away."""
        faults, machine = self.phone.faults, self.phone.machine
        line = f"sleep {faults.slow}; {command}" if faults.slow else command
        process = subprocess.Popen(
            [machine.shell, "-c", machine.mapped(line)] if command else [machine.shell],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if self.packets else subprocess.STDOUT,
            cwd=machine.root,
            env=machine.environment(),
            start_new_session=True,
        )
        self.phone.started(process.pid)
        self._say(STDOUT, faults.login)
        self._say(STDERR, faults.login_stderr)
        pumps = [threading.Thread(target=self._pump, args=(process.stdout, STDOUT), daemon=True)]
        if self.packets:
            pumps.append(threading.Thread(target=self._pump, args=(process.stderr, STDERR), daemon=True))
        threading.Thread(target=self._feed, args=(process,), daemon=True).start()
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        code = process.wait()
        self._say(STDOUT, faults.logout)
        if self.packets:
            self.stream.write(PACKET.pack(EXIT, 1) + bytes([code if code >= 0 else 128 - code]))

    def _say(self, channel: int, text: str) -> None:
        data = text.encode()
        if data and self.phone.faults.crlf:
            data = data.replace(b"\n", b"\r\n")
        if data:
            self.stream.write(PACKET.pack(channel, len(data)) + data if self.packets else data)

    def _pump(self, pipe: IO[bytes], channel: int) -> None:
        unmap, faults = self.phone.machine.unmapped(), self.phone.faults
        with contextlib.suppress(Gone), pipe:
            while True:
                data = os.read(pipe.fileno(), CHUNK)
                text = unmap.feed(data, last=not data)
                if channel == STDOUT and faults.between:
                    text = text.replace(b"\n", b"\n" + faults.between.encode())
                if faults.crlf:
                    text = text.replace(b"\n", b"\r\n")
                if text:
                    self.stream.write(PACKET.pack(channel, len(text)) + text if self.packets else text)
                    self.phone.passed("printed", len(text))
                if not data:
                    return

    def _feed(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin
        try:
            while True:
                channel, length = STDIN, 1
                if self.packets:
                    channel, length = PACKET.unpack(self.stream.read(PACKET.size))
                data = self.stream.read(length)
                with contextlib.suppress(OSError, ValueError):
                    if channel == STDIN:
                        process.stdin.write(data)
                        process.stdin.flush()
                    elif channel == CLOSE_STDIN:
                        process.stdin.close()
        except Gone:
            with contextlib.suppress(OSError):
                process.stdin.close()
            if process.poll() is None:
                process.send_signal(signal.SIGHUP)


class Sync:
    """Files to and from the phone. Requests: a name of four letters, a length, and a path of that length."""

    def __init__(self, phone: "Phone", stream: Stream) -> None:
        self.phone, self.stream = phone, stream

    def run(self) -> None:
        """Answer requests until the host says QUIT."""
        answers = {
            b"STAT": self._stat, b"LST2": self._stat_2, b"STA2": self._stat_2,
            b"LIST": self._list, b"SEND": self._send, b"RECV": self._receive,
        }  # fmt: skip
        while True:
            request, length = REQUEST.unpack(self.stream.read(REQUEST.size))
            if request == b"QUIT":
                return
            name = self.stream.read(length).decode(errors="surrogateescape")
            answers[request](request, name)

    def _fail(self, message: str) -> None:
        self.stream.write(REQUEST.pack(b"FAIL", len(message.encode())) + message.encode())

    def _stat(self, _: bytes, name: str) -> None:
        try:
            found = self.phone.machine.path(name).lstat()
            answer = (found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))
        except OSError:
            answer = (0, 0, 0)
        self.stream.write(b"STAT" + struct.pack("<3I", *answer))

    def _stat_2(self, request: bytes, name: str) -> None:
        path = self.phone.machine.path(name)
        try:
            found = path.lstat() if request == b"LST2" else path.stat()
            answer = (
                0, found.st_dev, found.st_ino, found.st_mode, found.st_nlink, 2000, 2000, found.st_size,
                int(found.st_atime), int(found.st_mtime), int(found.st_ctime),
            )  # fmt: skip
        except OSError as error:
            answer = (error.errno or 5, *[0] * 10)
        self.stream.write(request + struct.pack("<I2Q4IQ3q", *answer))

    def _list(self, _: bytes, name: str) -> None:
        folder = self.phone.machine.path(name)
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            found, entry = path.lstat(), os.fsencode(path.name)
            answer = (found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime), len(entry))
            self.stream.write(b"DENT" + struct.pack("<4I", *answer) + entry)
        self.stream.write(b"DONE" + bytes(16))

    def _send(self, _: bytes, request: str) -> None:
        """Take a file. After a failure the rest is still read and thrown away, as a phone does it."""
        name, _, mode = request.rpartition(",")
        path = self.phone.machine.path(name)
        failure, file = self._create(name, path)
        with file or contextlib.nullcontext():
            while True:
                kind, length = REQUEST.unpack(self.stream.read(REQUEST.size))
                if kind == b"DONE":
                    break
                data = self.stream.read(length)
                self.phone.passed("pushed", length)
                if file and not failure:
                    failure = self._write(file, data)
        if failure:
            return
        path.chmod(stat.S_IMODE(int(mode)) | 0o600)
        os.utime(path, (length, length))
        self.phone.machine.arrived(path)
        self.stream.write(REQUEST.pack(b"OKAY", 0))

    def _create(self, name: str, path: Path) -> tuple[bool, IO[bytes] | None]:
        if not name.startswith(WRITABLE):
            reason = (
                "Read-only file system" if name.startswith(("/system", "/vendor")) else "Permission denied"
            )
            self._fail(f"couldn't create file: {reason}")
            return True, None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            return False, path.open("wb")
        except OSError as error:
            self._fail(f"couldn't create file: {error.strerror}")
            return True, None

    def _write(self, file: IO[bytes], data: bytes) -> bool:
        if not self.phone.take_space(len(data)):
            self._fail("write failed: No space left on device")
            return True
        file.write(data)
        return False

    def _receive(self, _: bytes, name: str) -> None:
        try:
            with self.phone.machine.path(name).open("rb") as file:
                while data := file.read(CHUNK):
                    self.stream.write(REQUEST.pack(b"DATA", len(data)) + data)
                    self.phone.passed("pulled", len(data))
        except OSError as error:
            self._fail(f"open failed: {error.strerror}")
            return
        self.stream.write(REQUEST.pack(b"DONE", 0))
