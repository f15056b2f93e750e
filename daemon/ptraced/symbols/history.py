"""The address spaces of all processes over time, as the kernel's records tell them.

Records come from a ring per CPU, so an earlier one may come after a later one; stacks may
be older than records that came before them. So nothing is overwritten: each process has
its address spaces by the time when they began, each of these its mappings with their times,
and a stack is looked up at its own time. Processes stay after their end until there are too
many of them.
"""

from __future__ import annotations

import time
import weakref
from bisect import bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass, field
from operator import attrgetter

from ptraced.symbols.address_space import AddressSpace, MappedFile, Mapping
from ptraced.task_records import Comm, Exit, Fork, Lost, Mmap2, TaskRecord

# Bounds: processes that have ended, all processes, their mappings; address spaces of one
# process, which programs started one after the other leave behind; parents of parents whose
# mappings are looked through.
_ENDED_MAX = 4096
_PROCESSES_MAX = 65536
_MAPPINGS_MAX = 400_000
_SPACES_MAX = 8
_DEPTH_MAX = 32

_by_start = attrgetter("start")


@dataclass(eq=False, slots=True)
class Process:
    """A process id and the address spaces of those that had it, by start."""

    pid: int
    spaces: list[AddressSpace] = field(default_factory=list)
    # When it ended, ns; 0 while it runs.
    ended_at: int = 0

    def space_at(self, time: int) -> AddressSpace | None:
        """The one that was current at a time."""
        at = bisect_right(self.spaces, time, key=_by_start) - 1
        return self.spaces[at] if at >= 0 else None


class History:
    """All processes that records told of or that were looked at."""

    def __init__(self) -> None:
        self._running: OrderedDict[int, Process] = OrderedDict()
        self._ended: OrderedDict[int, Process] = OrderedDict()
        self._files: weakref.WeakValueDictionary[tuple[object, ...], MappedFile] = (
            weakref.WeakValueDictionary()
        )
        self._mappings = 0
        # How often records got lost, and when last, ns.
        self._losses = self._lost_at = 0

    @property
    def mappings(self) -> int:
        """How many mappings are kept."""
        return self._mappings

    def __len__(self) -> int:
        return len(self._running) + len(self._ended)

    def apply(self, record: TaskRecord) -> None:
        """Take notice of a record."""
        match record:
            case Mmap2():
                self._mapped(record)
            case Fork() if record.pid != record.ppid:
                self._forked(record)
            case Comm() if record.is_exec:
                self._begin(self._space(record.pid, record.time, complete=True))
            case Exit() if record.pid == record.tid:
                self._end(record.pid, record.time)
            case Lost():
                self._losses += 1
                self._lost_at = time.monotonic_ns()
            case _:
                pass

    def space(self, pid: int, at: int) -> AddressSpace:
        """The address space of a process at a time; an empty one where nothing is known of it.

        Of what was known before records got lost, nothing is said about the time after it.
        """
        process = self._process(pid)
        found = process.space_at(at) or self._first_space(process)
        if found.losses != self._losses and at >= self._lost_at:
            found = self._space(pid, self._lost_at, complete=False)
            self._begin(found)
        return found

    def is_current(self, space: AddressSpace) -> bool:
        """Whether its process has not ended, nor begun to run something else."""
        process = self._running.get(space.pid)
        return process is not None and process.spaces[-1] is space

    def file(
        self, path: str, build_id: bytes | None, identity: tuple[int, int] | None
    ) -> MappedFile:
        """The one object for a file."""
        key = (path, build_id, identity)
        found = self._files.get(key)
        if found is None:
            found = self._files[key] = MappedFile(path, build_id, identity)
        return found

    def add_mapping(self, space: AddressSpace, mapping: Mapping) -> None:
        """Note a mapping of a space, within the bounds of all of them."""
        self._mappings += space.add(mapping)
        while self._mappings > _MAPPINGS_MAX and self._evict():
            pass

    def _mapped(self, record: Mmap2) -> None:
        space = self.space(record.pid, record.time)
        file = self.file(record.path, record.build_id, record.identity)
        end = record.start + record.length
        self.add_mapping(space, Mapping(record.start, end, record.offset, file, record.time))

    def _forked(self, record: Fork) -> None:
        memory = self.space(record.ppid, record.time)
        child = self._space(record.pid, record.time, complete=False)
        child.parent, child.forked_at = memory, record.time
        if _depth(child) > _DEPTH_MAX:
            _take_over(child)
            self._mappings += len(child.mappings)
        self._begin(child)

    def _space(self, pid: int, start: int, complete: bool) -> AddressSpace:
        return AddressSpace(pid, start, complete, losses=self._losses)

    def _begin(self, space: AddressSpace) -> None:
        process = self._process(space.pid)
        # Unless an older record came late, the number went to a new process.
        if process.ended_at and process.ended_at < space.start:
            process.ended_at = 0
            self._running[space.pid] = self._ended.pop(space.pid)
        before = process.space_at(space.start)
        if before is not None:
            before.split(space)
        insort(process.spaces, space, key=_by_start)
        if len(process.spaces) > _SPACES_MAX:
            self._mappings -= len(process.spaces.pop(0).mappings)

    def _first_space(self, process: Process) -> AddressSpace:
        """A space of whose beginning nothing is known, before all others."""
        if not process.spaces or process.spaces[0].start > 0:
            process.spaces.insert(0, self._space(process.pid, 0, complete=False))
        return process.spaces[0]

    def _end(self, pid: int, time: int) -> None:
        # Also where its beginning is still to come, from another CPU's ring.
        process = self._running.pop(pid, None) or self._ended.get(pid) or Process(pid)
        process.ended_at = max(process.ended_at, time)
        self._ended[pid] = process
        if len(self._ended) > _ENDED_MAX:
            self._evict()

    def _process(self, pid: int) -> Process:
        found = self._running.get(pid)
        if found is not None:
            return found
        found = self._ended.get(pid)
        if found is not None:
            self._ended.move_to_end(pid)
            return found
        return self._new(pid)

    def _new(self, pid: int) -> Process:
        if len(self) >= _PROCESSES_MAX:
            self._evict()
        process = self._running[pid] = Process(pid)
        return process

    def _evict(self) -> bool:
        """Forget the process that ended, or else was first seen, longest ago."""
        for processes in (self._ended, self._running):
            if processes:
                _, process = processes.popitem(last=False)
                self._mappings -= sum(len(space.mappings) for space in process.spaces)
                return True
        return False


def _depth(space: AddressSpace) -> int:
    depth = 0
    while space.parent is not None:
        space, depth = space.parent, depth + 1
    return depth


def _take_over(space: AddressSpace) -> None:
    """Copy what a space has from its parents, so that it needs them no longer."""
    above, time = space.parent, space.forked_at
    inherited: list[Mapping] = []
    complete = False
    while above is not None:
        inherited = [m for m in above.mappings if m.time <= time or m.snapshot] + inherited
        complete = above.complete
        time = min(time, above.forked_at)
        above = above.parent
    for mapping in inherited:
        space.add(mapping)
    space.parent = None
    space.complete = complete
