"""The phone: listens on loopback, lets hosts in, and goes wrong when told to."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.phone import services
from tests.phone.machine import PIXEL_6, Cluster, Machine
from tests.phone.transport import Connection, Gone, Stream

FEATURES = ("shell_v2", "cmd", "stat_v2", "fixed_push_mkdir")


@dataclass
class Faults:
    """What goes wrong, from now on: set at the start or while the phone runs.

    unauthorized: nobody has tapped "Allow" yet (``Phone.allow`` does).
    offline: it drops the first connection and never answers again.
    pushed, pulled, printed: it is gone when so many bytes of files or of commands' output have passed.
    stalls: instead of being gone then, it no longer answers and keeps the connection.
    space: bytes that can still be pushed; then "No space left on device".
    login, login_stderr, logout: what the shell prints before and after each command.
    between: what comes after each line of a command's output.
    crlf: lines of commands end in CRLF.
    slow: seconds that each command waits before it starts.
    """

    unauthorized: bool = False
    offline: bool = False
    pushed: int | None = None
    pulled: int | None = None
    printed: int | None = None
    stalls: bool = False
    space: int | None = None
    login: str = ""
    login_stderr: str = ""
    logout: str = ""
    between: str = ""
    crlf: bool = False
    slow: float = 0.0


class Phone:
    """A phone of ours; see the example in ``tests.phone``."""

    def __init__(
        self,
        folder: Path,
        *,
        serial: str = "",
        properties: Mapping[str, str] | None = None,
        clusters: Sequence[Cluster] = PIXEL_6,
        cpu: str = "cortex-a76",
        faults: Faults | None = None,
        features: Sequence[str] = FEATURES,
    ) -> None:
        """Make a phone, not yet listening.

        Args:
            folder: its file system is made here.
            serial: what ro.serialno says; adb knows a phone on a socket by its address, ``phone.serial``.
            properties, clusters, cpu: as ``Machine``.
            faults: as ``Faults``.
            features: what it says it can; without shell_v2 it is a phone older than Android 7.
        """
        own = {"ro.serialno": serial} if serial else {}
        self.machine = Machine(folder, {**(properties or {}), **own}, clusters, cpu)
        self.faults = faults or Faults()
        self.features = tuple(features)
        self._authorized = threading.Event()
        if not self.faults.unauthorized:
            self._authorized.set()
        self._gone = threading.Event()
        self._lock = threading.Lock()
        self._connections: list[Connection] = []
        self._processes: list[int] = []
        self._listener: socket.socket | None = None
        self._port = 0

    @property
    def serial(self) -> str:
        """What adb calls it: its address on loopback."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.come_back()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.vanish()

    def come_back(self) -> None:
        """Listen (again, at the same address)."""
        self._gone.clear()
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def vanish(self) -> None:
        """Be gone: cable pulled and battery out. Nothing of it runs on."""
        self.unplug()
        with self._lock:
            processes, self._processes = self._processes, []
        for process in processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process, signal.SIGKILL)

    def unplug(self) -> None:
        """Lose the connection: what runs on the phone runs on, as far as its adb lets it."""
        self._gone.set()
        with self._lock:
            listener, self._listener = self._listener, None
            connections, self._connections = self._connections, []
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in connections:
            connection.close()

    def allow(self) -> None:
        """Tap "Allow" on the phone's question whether this computer may debug it."""
        self._authorized.set()

    def started(self, process: int) -> None:
        """A command's process group, which ends with the phone."""
        with self._lock:
            self._processes.append(process)

    def passed(self, what: str, count: int) -> None:
        """Count bytes of ``what`` (a field of Faults); raises Gone when they were the phone's last."""
        left = getattr(self.faults, what)
        if left is None:
            return
        setattr(self.faults, what, left - count)
        if left <= count:
            setattr(self.faults, what, None)
            if self.faults.stalls:
                self._gone.wait()
            self.vanish()
            raise Gone

    def take_space(self, count: int) -> bool:
        """Whether so many bytes still fit on the phone."""
        with self._lock:
            if self.faults.space is None:
                return True
            if self.faults.space < count:
                return False
            self.faults.space -= count
            return True

    def _banner(self) -> bytes:
        words = [
            f"{name}={self.machine.properties[name]};"
            for name in ("ro.product.name", "ro.product.model", "ro.product.device")
        ]
        return f"device::{''.join(words)}features={','.join(self.features)}".encode()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            connection = Connection(sock, self._banner(), self._authorized, self._serve)
            with self._lock:
                self._connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()
            if self.faults.offline:
                threading.Timer(0.3, self.vanish).start()

    def _serve(self, stream: Stream, name: str) -> None:
        services.serve(self, stream, name)
