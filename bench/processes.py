"""What processes cost: CPU time and memory of a tool with all its children."""

from __future__ import annotations

import os
import select
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

# include/linux/posix-timers_types.h: the number of a process's CPU clock is made of its
# inverted id and the kind of time, here what the scheduler accounts to all its threads.
_CPUCLOCK_SCHED = 2


def cpu_ns(pid: int) -> int:
    """CPU time of a process in ns, ended threads included; also of a zombie.

    Raises ProcessLookupError where there is none.
    """
    try:
        return time.clock_gettime_ns(~pid << 3 | _CPUCLOCK_SCHED)
    except OSError:
        raise ProcessLookupError(pid) from None


def peak_bytes(pid: int) -> int:
    """Largest resident size a process has had, bytes; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def with_children(pids: Iterable[int]) -> set[int]:
    """The processes and all below them."""
    children = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            children[_parent(int(entry))].append(int(entry))
    found: set[int] = set()
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children[pid]
    return found


def _parent(pid: int) -> int:
    # Not /proc/PID/task/TID/children: not every kernel is built with it.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    # The command's name stands in parentheses and may hold anything, even parentheses.
    return int(stat.rpartition(")")[2].split()[1])


class Account:
    """CPU time and memory of some processes and their children, from now on."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._roots = list(pids)
        self._before: dict[int, int] = {}
        self._cpu: dict[int, int] = {}
        self._peak: dict[int, int] = {}
        self.update()
        self._before = dict(self._cpu)

    def update(self) -> None:
        """Read the clocks again; to be called before a process is reaped."""
        for pid in with_children(self._roots):
            try:
                self._cpu[pid] = cpu_ns(pid)
            except ProcessLookupError:
                continue
            self._peak[pid] = max(peak_bytes(pid), self._peak.get(pid, 0))

    def cpu_seconds(self) -> float:
        """CPU seconds spent since the start."""
        return (sum(self._cpu.values()) - sum(self._before.values())) / 1e9

    def peak_bytes(self) -> int:
        """Sum of the processes' largest resident sizes, bytes."""
        return sum(self._peak.values())


def wait_for_end(pid: int, account: Account, patience: float) -> None:
    """Wait until a child of ours has ended, but leave it to be reaped.

    Raises TimeoutError after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not poll.poll(100):
            account.update()
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {pid} does not end")
        account.update()
    finally:
        os.close(descriptor)
