"""Records of programs that had ended before it could be looked up whose they were."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from ptraced.task_records import Exit, TaskRecord, memory_of

# Processes, and bytes of all their records: paths may have 4 KiB each.
_PROCESSES_MAX = 256
_BYTES_MAX = 4 << 20


class Withheld:
    """The last program of each of some processes; the oldest go first where there is no room."""

    def __init__(self) -> None:
        self._programs: OrderedDict[int, list[TaskRecord]] = OrderedDict()
        self._bytes = 0

    def __iter__(self) -> Iterator[int]:
        """Yield the processes."""
        return iter(self._programs)

    def add(self, pid: int, program: Sequence[TaskRecord]) -> None:
        """Keep the records of a program, in the order of time."""
        self._drop(pid)
        self._programs[pid] = [*program]
        self._bytes += sum(map(memory_of, program))
        while len(self._programs) > _PROCESSES_MAX or self._bytes > _BYTES_MAX:
            self._drop(next(iter(self._programs)))

    def ended(self, record: Exit) -> None:
        """Note that a process has ended, if its program is kept and that is not known."""
        program = self._programs.get(record.pid)
        if program is not None and not _has_ended(program):
            program.append(record)
            self._bytes += memory_of(record)

    def replaced(self, pid: int) -> None:
        """Forget the program of a number that has another now, if nobody told when it ended."""
        if pid in self._programs and not _has_ended(self._programs[pid]):
            self._drop(pid)

    def prove(self, pid: int, time: int) -> list[TaskRecord]:
        """Return, once, the program that a process ran at a time, ns; none where it is another."""
        program = self._programs.get(pid)
        if not program or time < _start(program) or (_has_ended(program) and time > _end(program)):
            return []
        self._drop(pid)
        return program

    def forget(self, before: int) -> None:
        """Let go of what nothing has proven in time, ns: those that came first are first."""
        while self._programs:
            pid, program = next(iter(self._programs.items()))
            if _end(program) >= before:
                return
            self._drop(pid)

    def clear(self) -> None:
        """Forget all."""
        self._programs.clear()
        self._bytes = 0

    def _drop(self, pid: int) -> None:
        self._bytes -= sum(map(memory_of, self._programs.pop(pid, ())))


def _has_ended(program: Sequence[TaskRecord]) -> bool:
    last = program[-1]
    return isinstance(last, Exit) and last.pid == last.tid


def _start(program: Sequence[TaskRecord]) -> int:
    first = program[0]
    return getattr(first, "time", 0)


def _end(program: Sequence[TaskRecord]) -> int:
    return getattr(program[-1], "time", 0)
