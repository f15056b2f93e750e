"""The tasks that are there when a session begins, as records that would have told of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from ptraced.policy.task_view import TaskView
from ptraced.symbols import proc
from ptraced.task_records import Comm, Fork, Mmap2, TaskRecord


def snapshot(view: TaskView, at: int, processes: Iterable[int] = ()) -> Iterator[TaskRecord]:
    """Yield the records, all of the time `at` (ns): of these processes, or of all.

    What `view` does not allow is left out. Whose a process is, is looked up before and after it
    is read: it may start another program meanwhile.
    """
    for pid in processes or _all_processes():
        if not view.allows(pid):
            continue
        try:
            found = list(_process(pid, at))
            if view.allows_memory(pid):
                memory = list(_memory(pid, at))
                if view.allows_memory(pid):
                    found += memory
        except (OSError, ValueError, IndexError):
            # It has ended meanwhile.
            continue
        if view.allows(pid):
            yield from found


def process_of(tid: int) -> int:
    """The process of a thread; the number itself where the thread has ended."""
    try:
        lines = proc.read(f"/proc/{tid}/status").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(b"Tgid:"))
    except (OSError, StopIteration):
        return tid


def _all_processes() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def _process(pid: int, at: int) -> Iterator[TaskRecord]:
    # The name may have any bytes.
    parent = int(proc.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    threads = sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    # Numbers begin anew some day: later threads may have lower ones.
    for tid in sorted(threads, key=lambda tid: tid != pid):
        first = tid == pid
        yield Fork(pid, parent if first else pid, tid, parent if first else pid, at)
        name = proc.read(f"/proc/{pid}/task/{tid}/comm").removesuffix(b"\n")
        yield Comm(pid, tid, name, False, at)


def _memory(pid: int, at: int) -> Iterator[TaskRecord]:
    for one in proc.executable_memory(pid):
        length = one.end - one.start
        path = one.path or "//anon"
        yield Mmap2(pid, pid, one.start, length, one.offset, path, None, one.identity, at)
