"""The events of a command's process from before it is the command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ptrace_client.perf_writing.row_samples import Entry

# Entries that wait for the start of a program; with more of them it is not waited for.
_WAITING_MAX = 100_000


class Launch:
    """Keeps out what process `pid` does before it starts a program."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._held: list[Entry] = []
        # When it started one, ns; 0 until that is known.
        self._started = 0

    def started(self, pid: int, time: int) -> None:
        """Note that a process started a program at `time`, ns."""
        if pid == self._pid and not self._started:
            self._started = time

    @property
    def has_started(self) -> bool:
        """Whether it is known when the program started, or not waited for any more."""
        return bool(self._started) or len(self._held) > _WAITING_MAX

    def is_over(self, time: int) -> bool:
        """Whether nothing from before the program is to come: all older than `time` has."""
        return self.has_started and self._started < time

    def sift(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield what is of others, and of the process once it is known to be the program."""
        for entry in entries:
            if entry[1] != self._pid:
                yield entry
            elif not self._started:
                self._held.append(entry)
            elif entry[0] >= self._started:
                yield entry

    def take_held(self) -> list[Entry]:
        """Return what was held back and is of the program; all of it where none is known of."""
        held, self._held = self._held, []
        return [entry for entry in held if entry[0] >= self._started]
