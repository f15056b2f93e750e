"""The address spaces of a recording's processes, as MMAP, FORK and EXIT records tell them."""

from __future__ import annotations

import re
from collections import deque

from ptrace_client.perf_symbols.dsos import VDSO, Dsos, FileId
from ptrace_client.perf_symbols.maps import Maps
from ptrace_client.perf_symbols.model import Map
from ptrace_client.perf_symbols.threads import signed

PROT_EXEC = 4
_MAP_HUGETLB = 0x40000
# Threads that are gone whose mappings are kept: records of several CPUs are not always in order.
_GONE_MAX = 256
# Mappings that processes have from their parents, all together: FORK records are much shorter than
# what they copy, and two processes that are each other's children have twice as much each time.
_INHERITED_MAX = 1 << 20
# Memory that is of no file, though it has a name.
_ANONYMOUS = re.compile(r"//anon\Z|/dev/zero|/anon_hugepage|\[stack|/SYSV|\[heap\]\Z")


class Spaces:
    """Address spaces by thread; the threads of a process share one."""

    def __init__(self, dsos: Dsos) -> None:
        self._dsos = dsos
        self._by_tid: dict[int, Maps] = {}
        self._none = Maps()
        self._gone: deque[tuple[int, Maps]] = deque()
        # At most so many of these can there be, and how often there was no room since looking.
        self._inherited = 0
        self._refused = 0

    def find(self, pid: int | None, tid: int) -> Maps:
        """Return the mappings of a thread, those of its process where no record told of it."""
        found = self._by_tid.get(tid)
        if found is None and pid is not None:
            found = self._by_tid.get(pid)
        return self._none if found is None else found

    def mapped(
        self,
        pid: int,
        tid: int,
        range: tuple[int, int, int],
        name: str,
        id: FileId,
        protection: int,
        flags: int,
        build_id: bytes,
    ) -> None:
        """Take in a mapping; `range` is its start, size, and offset in the file."""
        start, size, pgoff = range
        anonymous = bool(_ANONYMOUS.match(name)) or bool(flags & _MAP_HUGETLB)
        if anonymous and protection & PROT_EXEC:
            # Code that a process has made: its JIT compiler may tell what it is.
            name = f"/tmp/perf-{signed(pid)}.map"
        if name == VDSO:
            pgoff = 0
            dso = self._dsos.find_short(VDSO) or self._dsos.find_or_add(VDSO)
        else:
            dso = self._dsos.find_or_add(name, id)
        if build_id:
            dso.build_id = build_id
        elif not dso.is_in_header and (listed := self._dsos.in_header(name)) is not None:
            dso.build_id, dso.is_in_header = listed.build_id, True
        self._space(pid, tid).replace(Map(start, start + size, pgoff, dso, absolute=anonymous))

    def forked(self, pid: int, tid: int, parent_pid: int, parent_tid: int, *, copy: bool) -> None:
        """Take in a new thread, or a new process, which has its parent's mappings if `copy`."""
        parent = self._space(parent_pid, parent_tid)
        if tid != parent_tid:
            self._by_tid.pop(tid, None)
        if pid == parent_pid or not copy:
            self._space(pid, tid)
        elif not self._has_room(len(parent)):
            # It has none then, as a process of which nobody told.
            self._space(pid, tid)
        elif pid == tid:
            self._by_tid[tid] = parent.copy()
        elif (own := self._space(pid, tid)) is not parent:
            own.add_all(parent)

    def exited(self, tid: int) -> None:
        """Take in that a thread is gone: its mappings are forgotten when many others are, too."""
        if tid in self._by_tid:
            self._gone.append((tid, self._by_tid[tid]))
        if len(self._gone) > _GONE_MAX:
            tid, maps = self._gone.popleft()
            # Unless the tid was born again.
            if self._by_tid.get(tid) is maps:
                del self._by_tid[tid]

    def _has_room(self, count: int) -> bool:
        """Whether so many mappings may be copied, noting that they are."""
        if self._inherited + count > _INHERITED_MAX and self._refused == 0:
            # What is gone by now does not count any more.
            spaces = {id(maps): len(maps) for maps in self._by_tid.values()}
            self._inherited = sum(spaces.values())
        if self._inherited + count > _INHERITED_MAX:
            # To look at each time would take longer and longer.
            self._refused = (self._refused + 1) % max(len(self._by_tid), 1)
            return False
        self._inherited += count
        self._refused = 0
        return True

    def _space(self, pid: int, tid: int) -> Maps:
        found = self._by_tid.get(tid)
        if found is None:
            found = Maps() if pid == tid else self._space(pid, pid)
            self._by_tid[tid] = found
        return found
