"""Signals during a run: SIGINT and SIGTERM stop it, SIGUSR2 asks for its state."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

from ptrace_client.script_errors import EndRun


class Stoppable(Protocol):
    """What signals act on: a stream, or the wait for one."""

    def stop(self) -> None:
        """Ask for the end."""

    def wake(self) -> None:
        """Have `dump_wanted` looked at."""


_STOPPING = (signal.SIGINT, signal.SIGTERM)


class RunSignals:
    """What signals have asked for.

    While there is a `stream`, the first SIGINT or SIGTERM asks its server to stop, so that what
    was traced is still delivered. The second one ends the run at once, as any does while there
    is no stream: EndRun is raised wherever the program happens to be.
    """

    def __init__(self) -> None:
        self.stream: Stoppable | None = None
        self.dump_wanted = False
        # The first signal to stop has come.
        self.stopping = False

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals in a with block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = dict.fromkeys(_STOPPING, self._stop)
        if hasattr(signal, "SIGUSR2"):
            handlers[signal.SIGUSR2] = self._dump
        before = {number: signal.signal(number, handlers[number]) for number in handlers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stream is None or self.stopping:
            raise EndRun(128 + number)
        self.stopping = True
        # The handler that is running may take long: the server is told now.
        self.stream.stop()

    def _dump(self, number: int, frame: FrameType | None) -> None:
        if self.stream is not None:
            self.dump_wanted = True
            self.stream.wake()
