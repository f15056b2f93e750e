"""Threads and all names that they had, as exports to databases tell them.

perf makes a row of each name that a thread has had, with the time from which it had it. The
names that handlers get (Machine.comm) need no history; this is for exports alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ptrace_client.perf_data import record_bodies
from ptrace_client.perf_data.attr import FLAG_COMM_EXEC
from ptrace_client.perf_data.model import Record, Recording, RecordKind
from ptrace_client.perf_data.record_parsers import record_body


@dataclass(eq=False, slots=True)
class Comm:
    """A name: `start` is when it was given, ns; `exec` says that a program's start gave it."""

    text: str
    start: int
    exec: bool
    db_id: int = 0


@dataclass(eq=False, slots=True)
class Thread:
    """A thread: pid and tid are signed, as perf has them."""

    pid: int
    tid: int
    # The first is the one at hand; ":tid" until one is known.
    comms: list[Comm] = field(default_factory=list)
    is_named: bool = False
    db_id: int = 0

    def rename(self, text: str, start: int, exec: bool) -> None:
        """Note a new name; the first that is told replaces ":tid"."""
        if self.is_named:
            self.comms.insert(0, Comm(text, start, exec))
        else:
            first = self.comms[0]
            first.text, first.start, first.exec = text, start, first.exec or exec
        self.is_named = True

    def exec_comm(self) -> Comm:
        """Return the name of the program at hand: the newest that a program's start gave.

        Where none did it is the oldest; yet of a process whose oldest has no time, as it may be
        the parent's, the second oldest.
        """
        for comm in self.comms:
            if comm.exec:
                return comm
        oldest = self.comms[-1]
        if len(self.comms) > 1 and not oldest.start and self.pid == self.tid:
            return self.comms[-2]
        return oldest


class Threads:
    """The threads of a recording by tid."""

    def __init__(self, recording: Recording) -> None:
        self._threads: dict[int, Thread] = {}
        self._recording = recording
        self._tells_exec = False
        self.add(0, 0).rename("swapper", 0, False)

    def apply(self, record: Record) -> None:
        """Take in COMM and FORK; other records are ignored."""
        if record.kind not in (RecordKind.COMM, RecordKind.FORK):
            return
        body = record_body(record, self._recording.big_endian, self._recording.path)
        if isinstance(body, record_bodies.Comm):
            self._comm(body, self._recording.sample_id(record).time)
        elif isinstance(body, record_bodies.Task):
            self._fork(body, self._recording.sample_id(record).time)

    def add(self, pid: int, tid: int) -> Thread:
        """Return the thread of a tid, which is made where it is not known."""
        thread = self._threads.get(tid)
        if thread is None:
            thread = self._threads[tid] = Thread(pid, tid, [Comm(f":{tid}", 0, False)])
            if pid not in (tid, -1):
                self.add(pid, pid)
        return thread

    def find(self, tid: int) -> Thread | None:
        """Return the thread of a tid, None where it is not known."""
        return self._threads.get(tid)

    def main_thread(self, thread: Thread) -> Thread | None:
        """Return the first thread of a thread's process."""
        return thread if thread.pid == thread.tid else self._threads.get(thread.pid)

    def program(self, main_thread: Thread) -> Comm:
        """Return the name under which perf groups the threads of a program."""
        self._tells_exec = self._tells_exec or any(
            event.attr.flags & FLAG_COMM_EXEC for event in self._recording.events
        )
        return main_thread.exec_comm() if self._tells_exec else main_thread.comms[0]

    def in_order(self) -> list[Thread]:
        """Return the threads as perf walks over them: by its hash of the tid, and by tid."""
        return sorted(self._threads.values(), key=lambda thread: (thread.tid % 256, thread.tid))

    def _comm(self, told: record_bodies.Comm, time: int) -> None:
        self._tells_exec |= told.exec
        thread = self.add(signed32(told.pid), signed32(told.tid))
        thread.rename(told.comm, time, told.exec)

    def _fork(self, told: record_bodies.Task, time: int) -> None:
        pid, parent_pid = signed32(told.pid), signed32(told.ppid)
        tid, parent_tid = signed32(told.tid), signed32(told.ptid)
        parent = self.add(parent_pid, parent_tid)
        if parent.pid != parent_pid:
            del self._threads[parent_tid]
            parent = self.add(parent_pid, parent_tid)
        self._threads.pop(tid, None)
        thread = self.add(pid, tid)
        if parent.is_named:
            thread.rename(parent.comms[0].text, time, False)


def signed32(value: int) -> int:
    """Return a u32 as the s32 of the same bits."""
    return ((value & (1 << 32) - 1) ^ 1 << 31) - (1 << 31)
