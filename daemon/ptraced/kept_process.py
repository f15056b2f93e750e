"""A helper process that tells the daemon things, and is replaced where it ends on its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ptraced import log

# Seconds: the wait before a process that died is replaced, at first and at most where one after
# the other dies young; how long a life is not short; and what a process gets to end, which is
# more than it takes.
_RESTART_DELAY = 0.2
_MAX_RESTART_DELAY = 10.0
_LONG_LIFE = 10.0
_PATIENCE = 5.0

OnEvent = Callable[[dict[str, Any]], None]


class KeptProcess:
    """Runs the module `module` with arguments, until `stop`.

    Its standard input ends when it should. It writes JSON objects, one a line, which `on_event`
    gets in a thread of its own. `descriptors` are passed on.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], descriptors: Sequence[int], on_event: OnEvent
    ) -> None:
        # -P: nothing is imported from the folder that the daemon happens to run in.
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._name = module.rpartition(".")[2].replace("_", " ")
        self._descriptors = descriptors
        self._on_event = on_event
        self._stopping = threading.Event()
        self._changing = threading.Lock()
        self._told = ""
        self._keeper: threading.Thread | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = self._spawn()
        self._keeper = threading.Thread(target=self._keep, name="front", daemon=True)
        self._keeper.start()

    def tell(self, line: str) -> None:
        """Write a line to the process, and to those that replace it."""
        with self._changing:
            self._told = line
            self._write()

    def _write(self) -> None:
        if self._told and self.process is not None and self.process.stdin is not None:
            try:
                self.process.stdin.write(f"{self._told}\n".encode())
                self.process.stdin.flush()
            except OSError:
                # It has ended; another follows.
                pass

    def stop(self) -> None:
        """Have the process end, and wait until it has."""
        with self._changing:
            self._stopping.set()
            if self.process is not None and self.process.stdin is not None:
                self.process.stdin.close()
        if self.process is not None and self._keeper is not None:
            self._keeper.join(_PATIENCE)
            self.process.kill()
            self._keeper.join()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C is for the daemon.
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=self._descriptors,
            start_new_session=True,
        )

    def _keep(self) -> None:
        """Listen to the process, reap it, and start another where it ended on its own."""
        delay = _RESTART_DELAY
        while self.process is not None:
            born = time.monotonic()
            self._listen(self.process)
            status = self.process.wait()
            if time.monotonic() - born > _LONG_LIFE:
                delay = _RESTART_DELAY
            if self._stopping.wait(delay):
                return
            delay = min(2 * delay, _MAX_RESTART_DELAY)
            log.event(f"the {self._name} ended; another follows", logging.ERROR, status=status)
            with self._changing:
                if self._stopping.is_set():
                    return
                if self.process.stdin is not None:
                    self.process.stdin.close()
                self.process = self._spawn()
                self._write()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                try:
                    self._on_event(json.loads(line))
                except Exception:
                    logging.getLogger("ptraced").exception("an event of the %s", self._name)
