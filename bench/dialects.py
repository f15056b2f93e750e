"""What an event costs the client in either dialect, on the same stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ours import Daemon, Ours, OursRun
from processes import Account
from producer import EVENT, Producer
from tool import PATIENCE, Run

from ptrace_client import connect

HANDLERS = ("count", "fields")


@dataclass(frozen=True)
class DialectCost:
    """CPU seconds of the client per million events, in our dialect and in perf's."""

    ours: float
    perf: float


class PerfDialect(Ours):
    """ptrace-client run with the script that perf script runs, too."""

    def __init__(self, daemon: Daemon, handler: str, calls: int) -> None:
        super().__init__(daemon, handler, calls, EVENT, script=f"perf_{handler}.py")
        self.name = "ptraced, perf's dialect"

    def start(self) -> Run:
        return _PerfDialectRun(self.command, self.daemon, self.script)


class _PerfDialectRun(OursRun):
    """Such a script does not hear that it traces: the daemon lists its session then."""

    def __init__(self, command: Sequence[str | Path], daemon: Daemon, script: str) -> None:
        super().__init__(command, daemon)
        self._socket, self._label = daemon.socket, script

    def wait_until_traced(self) -> None:
        deadline = time.monotonic() + PATIENCE
        with connect(socket=self._socket) as host:
            while all(session.label != self._label for session in host.sessions()):
                if time.monotonic() > deadline:
                    raise self.failure(f"{self._label} does not trace")
                time.sleep(0.01)


def measure_dialects(daemon: Daemon, producer: Producer, handler: str, calls: int) -> DialectCost:
    """Run a handler of each dialect in turn on `calls` calls at full speed."""
    ours, perf = Ours(daemon, handler, calls), PerfDialect(daemon, handler, calls)
    return DialectCost(*(_client_cost(tool, producer) for tool in (ours, perf)))


def _client_cost(tool: Ours, producer: Producer) -> float:
    with tool.start() as run:
        run.wait_until_traced()
        account = Account(run.pids()[:1])
        producer.calls(tool.calls)
        run.finish(account)
        delivered = run.summary().count
    return account.cpu_seconds() / max(delivered, 1) * 1e6
