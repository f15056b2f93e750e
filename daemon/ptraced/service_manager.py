"""What systemd is told: sd_notify(3), and that the reader still makes its rounds.

Without systemd, nothing is told to nobody.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping


class ServiceManager:
    """Who started this process, if it wants to be told; `environment` is cleared of it.

    `watchdog` is how often it wants to be told that all is well, seconds; 0.0 for never.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        wanted = self._address and meant and microseconds.isdecimal()
        self.watchdog = int(microseconds) / 1e6 if wanted else 0.0

    def notify(self, *lines: str) -> None:
        """Send a state, such as "READY=1"; one that cannot be sent is dropped."""
        if not self._address:
            return
        # "@" stands for the NUL byte of an abstract address.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.sendto("\n".join(lines).encode(), address)

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell of a reload, which ends with the context."""
        self.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.notify("READY=1")

    @contextlib.contextmanager
    def serving(self, responds: Callable[[float], bool]) -> Iterator[None]:
        """Tell that the daemon serves, until the end of the context.

        Meanwhile `responds` is asked, with seconds that it may take, whether all is well.
        """
        self.notify("READY=1")
        stopping = threading.Event()
        watch = threading.Thread(target=self._watch, args=(responds, stopping), name="watchdog")
        if self.watchdog:
            watch.start()
        try:
            yield
        finally:
            stopping.set()
            if self.watchdog:
                watch.join()
            self.notify("STOPPING=1")

    def _watch(self, responds: Callable[[float], bool], stopping: threading.Event) -> None:
        # sd_watchdog_enabled(3) recommends half of the time; the answer may take some of it.
        while not stopping.wait(self.watchdog / 4):
            if responds(self.watchdog / 4):
                self.notify("WATCHDOG=1")
