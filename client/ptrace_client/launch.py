"""The events of a command's process from before it is the command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ptrace_client.perf_data.row_samples import Entry

# Entries that wait for the start of a program; with more of them it is not waited for.
_WAITING_MAX = 100_000


class Launch:
    """Holds back the events of process `pid` until it is known when it started a program."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._held: list[Entry] = []
        self._started = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be held back any more."""
        return bool(self._started) or len(self._held) > _WAITING_MAX

    def started(self, pid: int, time: int) -> None:
        """Note that a process started a program, ns."""
        if pid == self._pid and not self._started:
            self._started = time

    def held_back(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield what is of other processes."""
        for entry in entries:
            if entry[1] == self._pid:
                self._held.append(entry)
            else:
                yield entry

    def after(self) -> Iterator[Entry]:
        """Yield what was held back and is of the program; all of it where that never began."""
        return (entry for entry in self._held if entry[0] >= self._started)
