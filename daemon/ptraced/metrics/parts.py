"""What the metrics are read off."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ptraced.audit.kinds import Kind
from ptraced.audit.trail import Audit
from ptraced.compiler import Compiler
from ptraced.hub import Hub
from ptraced.metrics.collector import ByUser
from ptraced.quotas.accounts import Accounts
from ptraced.sessions import Sessions


class DaemonParts:
    """The parts of a running daemon, see collector.Parts."""

    def __init__(
        self, sessions: Sessions, accounts: Accounts, audit: Audit, hub: Hub, compiler: Compiler
    ) -> None:
        self._sessions = sessions
        self._accounts = accounts
        self._audit = audit
        self._hub = hub
        self._compiler = compiler

    def session_counts(self) -> ByUser:
        return self._sessions.counts()

    def held(self) -> ByUser:
        return self._accounts.held()

    def audited(self) -> Mapping[int | None, Mapping[Kind, int]]:
        return self._audit.counts()

    def audit_lines(self) -> tuple[Mapping[Kind, int], int, int]:
        return dict(self._audit.written), self._audit.lost, self._audit.left_out

    def sources(self) -> int:
        return self._hub.sources

    def compilations(self) -> tuple[int, float]:
        return self._compiler.compilations, self._compiler.seconds

    def resident_bytes(self) -> Mapping[str, int]:
        found = Counter({"daemon": _resident_bytes(os.getpid())})
        for pid in _children():
            found[_module(pid)] += _resident_bytes(pid)
        return found


def _children() -> list[int]:
    """Processes that this one started, from whichever thread."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            # The thread has ended.
            continue
    return found


def _module(pid: int) -> str:
    """Which of our helpers a process is: "front_process"; "other" for one that has gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "other"
    named = [word for word in words if word.startswith(b"ptraced.")]
    return named[0].rpartition(b".")[2].decode("ascii", "replace") if named else "other"


def _resident_bytes(pid: int) -> int:
    """VmRSS of proc_pid_status(5); 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:")), 0)
