"""Which records of tasks a caller gets: all of them, or those of its own tasks.

That a process is the caller's is looked up in /proc, by the rule of policy/processes.py, and holds
for the program that it runs then: one before or after it may have other rights, and where records
are missing nobody knows of which one they are. A child runs the program
of its parent, with its credentials, until it starts another. What a program did that had ended
before it could be looked at is withheld, unless an event of that process proves whose it was: the
kernel delivers those of the caller's own tasks only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeGuard

from ptraced.identity import Caller
from ptraced.policy.processes import is_own
from ptraced.policy.task_rights import TaskRights
from ptraced.policy.withheld import Withheld
from ptraced.source import now
from ptraced.symbols.proc import read
from ptraced.task_records import Comm, Exit, Fork, Lost, Mmap2, TaskRecord

# PF_EXITING in the flags of proc_pid_stat(5): include/linux/sched.h.
_EXITING = 0x4
# Records of one program that are kept until it is known whose it is.
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
        # Processes whose program was the caller's at a time (ns), and is since.
        self._verified: dict[int, int] = {}
        self._withheld = Withheld()
        # What was looked up for the records at hand: None for those that have ended.
        self._looked_up: dict[int, bool | None] = {}
        # Processes that are others by then than in the records at hand.
        self._changed: set[int] = set()
        # When processes become others later among the records at hand, ns.
        self._ahead: defaultdict[int, list[int]] = defaultdict(list)

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

    def admit(
        self,
        records: Iterable[TaskRecord],
        since: Callable[[], Iterable[TaskRecord]] = tuple,
    ) -> list[TaskRecord]:
        """Those of the records that the caller may know, in the order of time.

        `since` returns what has happened since them, up to its call.
        """
        self._looked_up.clear()
        records = sorted(records, key=_time)
        followed = [it for it in records if isinstance(it, Lost) or self._is_followed(it)]
        if self._rights.everyone and self._rights.memory:
            return followed
        self._look_at(followed, since)
        if any(isinstance(record, Lost) for record in followed):
            return self._with_a_gap(followed)
        self._ahead = _changes(followed)
        starts: dict[int, list[TaskRecord]] = {}
        told: list[TaskRecord] = []
        for record in followed:
            if not isinstance(record, Lost):
                told += self._one(record, starts)
        for pid, program in starts.items():
            if self._verify(pid):
                told += program
            elif self._own(pid) is None and pid not in self._changed:
                self._withheld.add(pid, program)
        if records:
            self._withheld.forget(_time(records[-1]) - _PROOF_WITHIN)
        told.sort(key=_time)
        return told

    def prove(self, pid: int, time: int) -> Iterator[TaskRecord]:
        """Yield what was withheld of a process that had an event of the caller's at a time, ns."""
        yield from self._withheld.prove(pid, time)

    def _one(
        self, record: Comm | Fork | Exit | Mmap2, starts: dict[int, list[TaskRecord]]
    ) -> Iterator[TaskRecord]:
        pid = record.pid
        if _is_another(record):
            self._ahead[pid].pop(0)
        if self._rights.everyone:
            if not isinstance(record, Mmap2) or (not self._ahead[pid] and self._own(pid)):
                yield record
            return
        if _is_another(record):
            self._verified.pop(pid, None)
            if pid in starts:
                self._withheld.add(pid, starts.pop(pid))
            self._withheld.replaced(pid)
        if _is_exec(record):
            starts[pid] = [record]
        elif isinstance(record, Fork) and self._is_verified(record.ppid):
            self._verified.setdefault(pid, record.time)
            yield record
        elif pid in starts:
            if len(starts[pid]) < _RECORDS_MAX or isinstance(record, Exit):
                starts[pid].append(record)
        elif self._ahead[pid] or self._own(pid) is None:
            if self._is_verified(pid):
                yield record
        elif self._verify(pid):
            yield record
        if isinstance(record, Exit) and pid == record.tid:
            self._verified.pop(pid, None)
            self._withheld.ended(record)

    def _look_at(
        self, records: Iterable[TaskRecord], since: Callable[[], Iterable[TaskRecord]]
    ) -> None:
        """Look up whose the processes of records are.

        By then they may run another program than these records are of.
        """
        self._changed = set()
        for record in records:
            if not isinstance(record, Lost):
                self._own(record.pid)
        if all(own is False for own in self._looked_up.values()):
            return
        looked = now()
        for record in since():
            if isinstance(record, Lost):
                self._changed.update(self._looked_up)
            elif _is_another(record) and record.time <= looked:
                self._changed.add(record.pid)
        for pid in self._changed.intersection(self._looked_up):
            self._looked_up[pid] = None

    def _with_a_gap(self, records: Iterable[TaskRecord]) -> list[TaskRecord]:
        """Without what nobody can tell whose it is, as programs may have started in between."""
        self._verified.clear()
        self._withheld.clear()
        told: list[TaskRecord] = []
        lost = 0
        for record in records:
            if isinstance(record, Lost):
                lost += record.count
            elif self._rights.everyone and not isinstance(record, Mmap2):
                told.append(record)
            else:
                lost += bool(self._own(record.pid))
        return [Lost(lost), *told]

    def _is_verified(self, pid: int) -> bool:
        """Whether the program that a process runs at the record at hand is the caller's."""
        ahead = self._ahead[pid]
        return pid in self._verified and not (ahead and ahead[0] <= self._verified[pid])

    def _verify(self, pid: int) -> bool:
        """Whether a process is the caller's now, noting that its program is."""
        own = bool(self._own(pid))
        if own:
            self._verified[pid] = now()
        else:
            self._verified.pop(pid, None)
        return own

    def _own(self, pid: int) -> bool | None:
        if pid not in self._looked_up:
            try:
                self._looked_up[pid] = self._owns(pid, self._rights.caller)
            except (OSError, KeyError, ValueError):
                self._looked_up[pid] = None
        return self._looked_up[pid]

    def _in_scope(self, pid: int) -> bool:
        return self._followed is None or pid in self._followed

    def _is_followed(self, record: Comm | Fork | Exit | Mmap2) -> bool:
        if self._followed is None:
            return True
        if isinstance(record, Fork) and record.ppid in self._followed:
            self._followed.add(record.pid)
        if record.pid not in self._followed:
            return False
        if isinstance(record, Exit) and record.pid == record.tid:
            self._followed.discard(record.pid)
        return True


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


def _is_another(record: TaskRecord) -> TypeGuard[Comm | Fork]:
    """Whether a number stands for another program from a record on."""
    return _is_exec(record) or (isinstance(record, Fork) and record.pid == record.tid)


def _changes(records: Iterable[TaskRecord]) -> defaultdict[int, list[int]]:
    """When processes run another program, ns, in the order of time."""
    changes: defaultdict[int, list[int]] = defaultdict(list)
    for record in records:
        if _is_another(record):
            changes[record.pid].append(record.time)
    return changes


def _time(record: TaskRecord) -> int:
    return 0 if isinstance(record, Lost) else record.time
