"""The order in which perf processes records: by time, as far as what was read allows.

Buffers of several processors are written one after the other, so time jumps back between them.
perf writes FINISHED_ROUND when it has been through all: what lies in the file up to that may
still be older than what comes next, but not older than the newest of the round before. So each
round releases what is no newer than that (ordered_events__flush() in perf).
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import Final

from ptrace_client.perf_data.model import Record

_TIME: Final = itemgetter(6)
# Records that wait. More are in no round of a file that perf wrote by itself: its buffers would
# have to hold GBs. Then the older half goes, as in perf.
MOST_WAITING: Final = 1 << 21


class Rounds:
    """Records that wait for their turn."""

    def __init__(self) -> None:
        # Whoever reads appends here.
        self.waiting: list[Record] = []
        self._newest = 0
        self._limit = 0

    def finish(self) -> list[Record]:
        """End a round: return the records whose turn has come, in order."""
        waiting = self.waiting
        if not waiting:
            return []
        waiting.sort(key=_TIME)
        self._newest = max(self._newest, waiting[-1][6])
        released = self._release(self._limit)
        self._limit = self._newest
        return released

    def half(self) -> list[Record]:
        """Return the records of the older half of the time that is waiting."""
        waiting = self.waiting
        waiting.sort(key=_TIME)
        self._newest = max(self._newest, waiting[-1][6])
        self._limit = waiting[0][6] + (waiting[-1][6] - waiting[0][6]) // 2
        return self._release(self._limit)

    def rest(self) -> list[Record]:
        """Return all that is left, in order."""
        self.waiting.sort(key=_TIME)
        return self._release(1 << 64)

    def _release(self, limit: int) -> list[Record]:
        """Take the records up to a time, of the sorted list."""
        count = bisect_right(self.waiting, limit, key=_TIME)
        released = self.waiting[:count]
        del self.waiting[:count]
        return released
