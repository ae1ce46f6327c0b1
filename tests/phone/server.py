"""A private server of the real adb, which knows no keys and no phones of whoever runs the tests."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.phone.device import Phone


class AdbServer:
    """The server, on a free port, in a home of its own; killed at the end.

    ``env`` is the environment in which clients find it: give it to ``footseg.android_harness.adb``.
    """

    def __init__(self, home: Path) -> None:
        """Prepare it, not yet running; ``home`` is where its key and log go."""
        home.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("ADB_", "ANDROID_"))
        }
        self.env: Mapping[str, str] = {
            **kept,
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "HOME": str(home),
            "ANDROID_USER_HOME": str(home),
            "ANDROID_SDK_HOME": str(home),
            "TMPDIR": str(home),
            # Below the first port that is searched for emulators of the machine: none is searched.
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",
        }

    def adb(self, *arguments: str, check: bool = True) -> str:
        """What a call of adb prints."""
        done = subprocess.run(
            ["adb", *arguments], env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def connect(self, *phones: Phone) -> None:
        """``adb connect`` each of the phones, and wait for those that let the host in."""
        for phone in phones:
            self.adb("connect", phone.serial)
            if not (phone.faults.unauthorized or phone.faults.offline):
                self.adb("-s", phone.serial, "wait-for-device")

    def disconnect(self) -> None:
        """Forget all phones."""
        self.adb("disconnect")

    @contextlib.contextmanager
    def connected(self, *phones: Phone) -> Iterator[None]:
        """The phones listen, and the server knows them."""
        with contextlib.ExitStack() as stack:
            for phone in phones:
                stack.enter_context(phone)
            stack.callback(self.disconnect)
            self.connect(*phones)
            yield

    def __enter__(self) -> Self:
        self.adb("start-server")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.adb("kill-server", check=False)
