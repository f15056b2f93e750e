"""What the kernel tells of tasks: programs that start, files that are mapped, names, ends.

Read only while a source wants stacks or names: each program that starts costs some records.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from ptraced.log_flood import may_log
from ptraced.perf_event import Ring, task_attr
from ptraced.scope import online_cpus
from ptraced.task_records import LOST_RECORD, Comm, Exit, Fork, Lost, TaskRecord, task_records

_log = logging.getLogger(__name__)
# Pages of each CPU's ring, and fewer ones where the daemon may lock no more memory.
_PAGES = (64, 16, 4, 1)
_NAMES_MAX = 1 << 16


class Tasks:
    """The host's tasks as far as the records of all CPUs tell. For the reader's thread.

    `forward` gets every slice of records with its CPU, `on_new_program` the process that has
    started another program, or ended, and when (ns), and `on_gap` is called where such news
    may be missing.
    """

    def __init__(
        self,
        forward: Callable[[int, bytes], None],
        on_new_program: Callable[[int, int], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._forward = forward
        self._on_new_program = on_new_program
        self._on_gap = on_gap
        self._users = 0
        self._buffer = memoryview(bytearray(0))
        self._names: OrderedDict[int, bytes] = OrderedDict()
        self.rings: list[Ring] = []
        # Each is called with all records that were read at once, besides.
        self.listeners: list[Callable[[Sequence[TaskRecord]], None]] = []

    def acquire(self) -> list[Ring]:
        """Count one more who needs it; returns the rings that were opened for the first."""
        self._users += 1
        if self._users > 1:
            return []
        try:
            self._open()
        except BaseException:
            self._users = 0
            raise
        # Nobody told what has happened since they were closed.
        self._on_gap()
        self._forward(self.rings[0].cpu, LOST_RECORD)
        return self.rings

    def release(self) -> list[Ring]:
        """Count one less; returns the rings to close_rings() behind the last."""
        self._users -= 1
        if self._users:
            return []
        rings, self.rings = self.rings, []
        self._names.clear()
        return rings

    def catch_up(self) -> None:
        """Take in all that has been told up to now."""
        for ring in self.rings:
            span = ring.read(self._buffer)
            if span:
                records = bytes(span)
                self._forward(ring.cpu, records)
                self._take(records)

    def comm(self, tid: int) -> bytes:
        """The name of a thread, also of one that has just ended; empty where it is unknown."""
        name = self._names.get(tid)
        if name is None:
            try:
                name = Path(f"/proc/{tid}/comm").read_bytes().removesuffix(b"\n")
            except OSError:
                return b""
            self._remember(tid, name)
        return name

    def _take(self, data: bytes) -> None:
        records = list(task_records(data))
        for listener in self.listeners:
            listener(records)
        for record in records:
            match record:
                case Comm(is_exec=is_exec):
                    self._remember(record.tid, record.name)
                    if is_exec:
                        self._on_new_program(record.pid, record.time)
                case Fork() if name := self._name_at_fork(record.ptid, records):
                    self._remember(record.tid, name)
                case Exit() if record.pid == record.tid:
                    self._on_new_program(record.pid, record.time)
                case Lost():
                    self._on_gap()
                    if may_log("lost records of tasks"):
                        _log.warning("%s records of tasks were lost", record.count)

    def _name_at_fork(self, parent: int, records: Sequence[TaskRecord]) -> bytes:
        """The name that a new task has from its parent; empty where it is unknown."""
        if parent in self._names:
            return self._names[parent]
        # One that was there before us: its name now is that of then, unless these say otherwise.
        renamed = any(isinstance(it, Comm) and it.tid == parent for it in records)
        return b"" if renamed else self.comm(parent)

    def _remember(self, tid: int, name: bytes) -> None:
        self._names[tid] = name
        self._names.move_to_end(tid)
        if len(self._names) > _NAMES_MAX:
            self._names.popitem(last=False)

    def _open(self) -> None:
        for pages in _PAGES:
            try:
                self.rings = _open_rings(pages)
                break
            except PermissionError:
                if pages == _PAGES[-1]:
                    raise
        self._buffer = memoryview(bytearray(self.rings[0].size))


def close_rings(rings: list[Ring]) -> None:
    """Close rings that release() gave, in the background: the kernel takes its time."""

    def close() -> None:
        for ring in rings:
            ring.close()

    if rings:
        threading.Thread(target=close, name="closer", daemon=True).start()


def _open_rings(pages: int) -> list[Ring]:
    attr = task_attr(pages * mmap.PAGESIZE // 2)
    with contextlib.ExitStack() as undo:
        rings = []
        for cpu in online_cpus():
            rings.append(Ring(cpu, pages, attr))
            undo.callback(rings[-1].close)
        undo.pop_all()
    return rings
