"""Which records of tasks a caller gets: all of them, or those of its own tasks.

That a process is the caller's is looked up in /proc, by the rule of policy/processes.py, and holds
for the program that it runs then: another program may have other rights. A child runs the program
of its parent, with its credentials, until it starts another. What a program did that had ended
before it could be looked at is withheld, unless an event of that process proves whose it was: the
kernel delivers those of the caller's own tasks only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeGuard

from ptraced.identity import Caller
from ptraced.policy.processes import is_own
from ptraced.policy.task_rights import TaskRights
from ptraced.symbols.proc import read
from ptraced.task_records import Comm, Exit, Fork, Lost, Mmap2, TaskRecord

# PF_EXITING in the flags of proc_pid_stat(5): include/linux/sched.h.
_EXITING = 0x4
# Processes whose records are withheld, and records of each.
_WITHHELD_MAX = 256
_RECORDS_MAX = 512
# What has ended for so long, ns, has no more events to come.
_PROOF_WITHIN = 5_000_000_000


class TaskView:
    """Lets records through. For one thread.

    With `processes` only those of these processes and of what they start. `owns` tells whether a
    process that runs is the caller's, and raises OSError where it has ended.
    """

    def __init__(
        self,
        rights: TaskRights,
        processes: Iterable[int] = (),
        owns: Callable[[int, Caller], bool] | None = None,
    ) -> None:
        self._rights = rights
        self._followed = set(processes) or None
        self._owns = owns or _is_own
        # Processes whose program of now is known to be the caller's.
        self._verified: set[int] = set()
        self._withheld: OrderedDict[int, list[TaskRecord]] = OrderedDict()
        # What was looked up for the records at hand: None for those that have ended.
        self._looked_up: dict[int, bool | None] = {}
        # Programs that processes start later among the records at hand.
        self._ahead: Counter[int] = Counter()

    @property
    def withheld(self) -> frozenset[int]:
        """Processes of which events might prove something."""
        return frozenset(self._withheld)

    def allows(self, pid: int) -> bool:
        """Whether a process that runs now may be told of."""
        self._looked_up.clear()
        return self._in_scope(pid) and (self._rights.everyone or self._verify(pid))

    def allows_memory(self, pid: int) -> bool:
        """Whether the mappings of a process that runs now may be told."""
        if self._rights.everyone and self._rights.memory:
            return True
        self._looked_up.clear()
        return bool(self._own(pid))

    def admit(self, records: Iterable[TaskRecord]) -> list[TaskRecord]:
        """Those of the records that the caller may know, in the order of time."""
        self._looked_up.clear()
        records = sorted(records, key=_time)
        # What a process is now says nothing of the programs before the last one of these.
        self._ahead = Counter(record.pid for record in records if _is_exec(record))
        starts: dict[int, list[TaskRecord]] = {}
        told: list[TaskRecord] = []
        for record in records:
            if isinstance(record, Lost):
                told.append(record)
            elif self._is_followed(record):
                told += self._one(record, starts)
        for pid, program in starts.items():
            if self._verify(pid):
                told += program
            elif self._own(pid) is None:
                self._withhold(pid, program)
        if records:
            self._forget(_time(records[-1]) - _PROOF_WITHIN)
        told.sort(key=_time)
        return told

    def prove(self, pid: int, time: int) -> Iterator[TaskRecord]:
        """Yield what was withheld of a process that had an event of the caller's at a time, ns."""
        program = self._withheld.get(pid)
        if program and _time(program[0]) <= time <= _end(program):
            del self._withheld[pid]
            yield from program

    def _one(
        self, record: Comm | Fork | Exit | Mmap2, starts: dict[int, list[TaskRecord]]
    ) -> Iterator[TaskRecord]:
        pid = record.pid
        if self._rights.everyone:
            if not isinstance(record, Mmap2) or self._rights.memory or self._own(pid):
                yield record
        elif _is_exec(record):
            self._ahead[pid] -= 1
            self._verified.discard(pid)
            starts[pid] = [record]
        elif pid in starts:
            if len(starts[pid]) < _RECORDS_MAX:
                starts[pid].append(record)
        elif isinstance(record, Fork) and record.ppid in self._verified:
            self._verified.add(pid)
            yield record
        elif self._ahead[pid] or self._own(pid) is None:
            if pid in self._verified:
                yield record
        elif self._verify(pid):
            yield record
        if isinstance(record, Exit) and pid == record.tid:
            self._verified.discard(pid)

    def _verify(self, pid: int) -> bool:
        """Whether a process is the caller's now, noting that its program is."""
        own = bool(self._own(pid))
        (self._verified.add if own else self._verified.discard)(pid)
        return own

    def _own(self, pid: int) -> bool | None:
        if pid not in self._looked_up:
            try:
                self._looked_up[pid] = self._owns(pid, self._rights.caller)
            except (OSError, KeyError, ValueError):
                self._looked_up[pid] = None
        return self._looked_up[pid]

    def _withhold(self, pid: int, program: list[TaskRecord]) -> None:
        self._withheld[pid] = program
        self._withheld.move_to_end(pid)
        if len(self._withheld) > _WITHHELD_MAX:
            self._withheld.popitem(last=False)

    def _forget(self, before: int) -> None:
        """Let go of what nothing has proven in time: those that came first are first."""
        while self._withheld:
            pid, program = next(iter(self._withheld.items()))
            if _time(program[-1]) >= before:
                return
            del self._withheld[pid]

    def _in_scope(self, pid: int) -> bool:
        return self._followed is None or pid in self._followed

    def _is_followed(self, record: Comm | Fork | Exit | Mmap2) -> bool:
        if self._followed is None:
            return True
        if isinstance(record, Fork) and record.ppid in self._followed:
            self._followed.add(record.pid)
        return record.pid in self._followed


def _is_own(pid: int, caller: Caller) -> bool:
    """Whether a process that runs is the caller's; raises OSError where it has ended.

    One that is about to end has no memory any more, and so is nobody's.
    """
    own = is_own(pid, caller)
    if not own:
        fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X") or int(fields[6]) & _EXITING:
            raise ProcessLookupError
    return own


def _is_exec(record: TaskRecord) -> TypeGuard[Comm]:
    return isinstance(record, Comm) and record.is_exec


def _time(record: TaskRecord) -> int:
    return 0 if isinstance(record, Lost) else record.time


def _end(program: list[TaskRecord]) -> int:
    """When a program ended as far as its records tell."""
    last = program[-1]
    return last.time if isinstance(last, Exit) and last.pid == last.tid else 1 << 63
