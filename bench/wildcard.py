"""How long it takes to start and to end hundreds of events at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ours import Daemon, Ours
from processes import Account
from tool import HANDLERS

WILDCARD = "syscalls:sys_enter_*"


@dataclass(frozen=True)
class Wildcard:
    """Seconds from the command to the first moment that it traces, and from SIGINT to its end."""

    start: float
    close: float


def measure_ours(daemon: Daemon) -> Wildcard:
    """Start and end `ptrace-client run` on WILDCARD."""
    tool = Ours(daemon, "wildcard", calls=0, event=WILDCARD)
    started = time.monotonic()
    with tool.start() as run:
        run.wait_until_traced()
        traced = time.monotonic()
        run.finish(Account(run.pids()[:1]))
        ended = time.monotonic()
        run.summary()
    return Wildcard(traced - started, ended - traced)


def measure_bcc(headers: Path) -> Wildcard:
    """Start and end a BCC program with a function for each event of WILDCARD."""
    environment = {**os.environ, "BCC_KERNEL_SOURCE": str(headers)}
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, HANDLERS / "bcc_wildcard.py"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("BCC did not attach to all events")
        traced = time.monotonic()
        process.communicate("\n")
        ended = time.monotonic()
    return Wildcard(traced - started, ended - traced)
