"""A program that answers each line that it is sent: those of binutils, kept running."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence

# Seconds for one answer: files of some GB with debug information take some for the first.
_PATIENCE = 30.0
_MEMORY = 4 << 30
_LINE_MAX = 1 << 20


class LineTool:
    """Runs `command` when first asked; raises OSError where it is not there or fails."""

    def __init__(self, command: Sequence[str], patience: float = _PATIENCE) -> None:
        self._command = command
        self._patience = patience
        self._child: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def send(self, data: bytes) -> None:
        """Send lines."""
        if self._child is None:
            self._child = _start(self._command)
        assert self._child.stdin is not None
        self._child.stdin.write(data)
        self._child.stdin.flush()

    def line(self) -> bytes:
        """Return the next line of what it answers, without its end."""
        assert self._child is not None
        assert self._child.stdout is not None
        deadline = time.monotonic() + self._patience
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._child.stdout], [], [], left)[0]:
                raise TimeoutError(f"{self._command[0]} does not answer")
            part = os.read(self._child.stdout.fileno(), 65536)
            if not part or len(self._pending) > _LINE_MAX:
                raise BrokenPipeError(f"{self._command[0]} has ended")
            self._pending += part
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def close(self) -> None:
        """End the program."""
        if self._child is None:
            return
        child, self._child, self._pending = self._child, None, b""
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                pass


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Ctrl-C ends the reading of events; what they need is still to be told then.
        process_group=0,
    )
    try:
        import resource

        # Files and names from elsewhere can make it take any amount.
        resource.prlimit(child.pid, resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    except (ImportError, AttributeError, OSError):
        pass
    return child
