"""ptraced with ptrace-client: one daemon for all runs, as a host has one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from producer import EVENT
from tool import HANDLERS, Run, Summary, Tool

_PROGRAMS = Path(sys.executable).parent
# How soon a script hears that it traces, ms; see __interval__ in the handlers.
_INTERVAL_MS = "20"


class Daemon:
    """A ptraced with default settings and a socket in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "ptraced.sock"
        self._log = (directory / "ptraced.log").open("w+")
        self._process = subprocess.Popen(
            [_PROGRAMS / "ptraced", "--embedded", "--socket", self.socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self._log.seek(0)
            raise RuntimeError(f"ptraced did not start:\n{self._log.read()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # An embedded daemon ends with its standard input.
        self._process.communicate()
        self._log.close()


class Ours(Tool):
    """ptrace-client run, on the session's daemon."""

    def __init__(
        self, daemon: Daemon, handler: str, calls: int, event: str = EVENT, script: str = ""
    ) -> None:
        self.name, self.handler, self.calls = "ptraced", handler, calls
        self.daemon, self.script = daemon, script or f"ours_{handler}.py"
        self.command: list[str | Path] = [_PROGRAMS / "ptrace-client", "run"]
        self.command += ["--socket", daemon.socket, "-e", event, "-i", _INTERVAL_MS]
        self.command += ["-v", HANDLERS / self.script]

    def start(self) -> Run:
        return OursRun(self.command, self.daemon)


class OursRun(Run):
    """A started client; its first process."""

    def __init__(self, command: Sequence[str | Path], daemon: Daemon) -> None:
        super().__init__()
        self._daemon = daemon.pid
        self._client = self.spawn(command)

    def pids(self) -> list[int]:
        return [*super().pids(), self._daemon]

    def wait_until_traced(self) -> None:
        self.expect(self._client, "ready")

    def summary(self) -> Summary:
        delivered = re.search(r"^ptrace-client: delivered (\d+);", self.messages(), re.MULTILINE)
        if delivered is None:
            raise self.failure("ptrace-client did not say how much it has delivered")
        return Summary(int(delivered[1]), self.last_line(self._client))
