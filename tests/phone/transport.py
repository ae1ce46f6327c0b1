"""The device's side of adb's transport: messages on a socket, and streams opened through them.

Facts of the protocol: a message is a header of six little-endian 32-bit words (command, two arguments,
length, check, command ^ 0xFFFFFFFF) and a payload. Each message with data on a stream waits for its OKAY
before the next is sent.
"""

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Callable

HEADER = struct.Struct("<6I")
VERSION = 0x01000001  # from this version on, the check of a payload is not looked at
MAX_PAYLOAD = 1 << 20
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3


def _word(name: str) -> int:
    return int.from_bytes(name.encode(), "little")


CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = map(_word, ("CNXN", "AUTH", "OPEN", "OKAY", "WRTE", "CLSE"))


class Gone(Exception):  # noqa: N818 (it is no error of the phone's)
    """The other side closed the stream or the connection."""


class Stream:
    """One service that the host has opened: ordered bytes both ways."""

    def __init__(self, connection: "Connection", local: int, remote: int) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self.inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # b"" is the end
        self.acknowledged = threading.Semaphore(1)
        self.closed = threading.Event()
        self._rest = b""
        self._writing = threading.Lock()

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes; raises Gone when the stream ends before them."""
        parts = []
        while size:
            if not self._rest:
                self._rest = self._next()
            part, self._rest = self._rest[:size], self._rest[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _next(self) -> bytes:
        data = self.inbox.get()
        if not data:
            self.inbox.put(b"")
            raise Gone
        self.connection.send(OKAY, self.local, self.remote)
        return data

    def write(self, data: bytes) -> None:
        """Send bytes; raises Gone when nobody takes them any more."""
        with self._writing:
            for start in range(0, len(data), self.connection.max_payload):
                self.acknowledged.acquire()
                if self.closed.is_set():
                    self.acknowledged.release()
                    raise Gone
                chunk = data[start : start + self.connection.max_payload]
                self.connection.send(WRTE, self.local, self.remote, chunk)

    def close(self) -> None:
        """Say that the service has ended, once all that was written has been taken."""
        if not self.closed.is_set():
            self.acknowledged.acquire()
            with contextlib.suppress(Gone):
                self.connection.send(CLSE, self.local, self.remote)
            self.end()

    def end(self) -> None:
        """Nothing comes or goes any more: wake all who wait."""
        self.closed.set()
        self.inbox.put(b"")
        self.acknowledged.release()


class Connection:
    """A host's connection: introduces itself by ``banner``, then gives each stream to ``service``.

    With ``authorized`` not set, it asks for a signature again and again, as a phone does on which nobody has
    tapped "Allow" yet, until the event is set.
    """

    def __init__(
        self,
        sock: socket.socket,
        banner: bytes,
        authorized: threading.Event,
        service: Callable[[Stream, str], None],
    ) -> None:
        self.sock, self.banner, self.authorized, self.service = sock, banner, authorized, service
        self.max_payload = 4096
        self.streams: dict[int, Stream] = {}
        self._sending = threading.Lock()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        """Send one message; raises Gone when the connection is no more."""
        check = sum(data) & 0xFFFFFFFF if command == CNXN else 0
        header = HEADER.pack(command, first, second, len(data), check, command ^ 0xFFFFFFFF)
        try:
            with self._sending:
                self.sock.sendall(header)
                if data:
                    self.sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def serve(self) -> None:
        """Answer messages until the host goes, or ``close``."""
        try:
            while True:
                command, first, second, length, _, magic = HEADER.unpack(self._receive(HEADER.size))
                assert magic == command ^ 0xFFFFFFFF, "not a message of adb's"
                self._answer(command, first, second, self._receive(length))
        except Gone:
            pass
        finally:
            self.close()

    def _receive(self, size: int) -> bytes:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            try:
                count = self.sock.recv_into(view)
            except OSError as error:
                raise Gone from error
            if not count:
                raise Gone
            view = view[count:]
        return bytes(buffer)

    def _answer(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == CNXN:
            self.max_payload = min(second, MAX_PAYLOAD)
            self._introduce()
        elif command == AUTH:
            if first == PUBLIC_KEY:
                threading.Thread(target=self._wait_for_tap, daemon=True).start()
            else:
                self._introduce()
        elif command == OPEN:
            stream = Stream(self, local=len(self.streams) + 1, remote=first)
            self.streams[stream.local] = stream
            name = data.rstrip(b"\0").decode(errors="surrogateescape")
            threading.Thread(target=self._run, args=(stream, name), daemon=True).start()
        elif stream := self.streams.get(second):
            if command == OKAY:
                stream.acknowledged.release()
            elif command == WRTE:
                stream.inbox.put(data)
            elif command == CLSE:
                stream.end()

    def _introduce(self) -> None:
        if self.authorized.is_set():
            self.send(CNXN, VERSION, MAX_PAYLOAD, self.banner)
        else:
            self.send(AUTH, TOKEN, 0, bytes(20))

    def _wait_for_tap(self) -> None:
        self.authorized.wait()
        with contextlib.suppress(Gone):
            self._introduce()

    def _run(self, stream: Stream, name: str) -> None:
        with contextlib.suppress(Gone):
            self.send(OKAY, stream.local, stream.remote)
            self.service(stream, name)
            stream.close()

    def close(self) -> None:
        """Drop the connection, as a pulled cable does."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for stream in self.streams.values():
            stream.end()
