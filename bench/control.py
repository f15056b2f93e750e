"""How soon control calls are answered while many sessions stream at full rate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ours import Daemon, Ours
from processes import Account
from producer import Producer

from ptrace_client import connect

SESSIONS = 8
_CALLS = 100


@dataclass(frozen=True)
class Control:
    """Answer times of one control call, seconds, in the order of the calls."""

    name: str
    times: list[float]


def measure_control(directory: Path, producer: Producer, seconds: int) -> list[Control]:
    """Call while SESSIONS clients, each a process, count all that `producer` makes.

    Daemon, clients and caller run wherever the scheduler puts them, and there is more
    work than the machine can do: the clients lose a part of the events.
    """
    with ExitStack() as running:
        kept = os.sched_getaffinity(0)
        running.callback(os.sched_setaffinity, 0, kept)
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        daemon = running.enter_context(Daemon(directory))
        tool = Ours(daemon, "count", calls=0)
        runs = [running.enter_context(tool.start()) for _ in range(SESSIONS)]
        for run in runs:
            run.wait_until_traced()
        spinning = running.enter_context(producer.waiting("spin", str(seconds)))
        host = running.enter_context(connect(socket=daemon.socket))
        assert spinning.stdin is not None
        spinning.stdin.write("\n")
        spinning.stdin.flush()
        measured = [
            _timed("list sessions", host.sessions),
            _timed("list events", lambda: host.list_events("sched:*")),
            _timed("describe an event", lambda: host.describe(["sched:sched_switch"])),
        ]
        if spinning.poll() is not None:
            raise RuntimeError(f"{seconds} s of load were too short for the calls")
        for run in runs:
            run.finish(Account(run.pids()[:1]))
    return measured


def _timed(name: str, call: Callable[[], object]) -> Control:
    times = []
    for _ in range(_CALLS):
        started = time.monotonic()
        call()
        times.append(time.monotonic() - started)
    return Control(name, times)
