"""The order in which perf processes records: by time, as far as what was read allows.

Buffers of several processors are written one after the other, so time jumps back between them.
perf writes FINISHED_ROUND when it has been through all: what lies in the file up to that may
still be older than what comes next, but not older than the newest of the round before. So each
round releases what is no newer than that (ordered_events__flush() in perf).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import itemgetter
from typing import Final

from ptrace_client.perf_data.model import Record

_TIME: Final = itemgetter(6)
# Records that wait, some 200 bytes each. More are in no two rounds that perf writes by itself:
# its buffers would have to hold hundreds of MB.
MOST_WAITING: Final = 1 << 21
# Bytes of records that wait and do not lie in a file: of pipes, and decompressed ones.
MOST_HELD: Final = 256 << 20


class Rounds:
    """Records that wait for their turn. Equal times keep the order of the file."""

    def __init__(self) -> None:
        # Whoever reads appends here; each record has a time.
        self.waiting: list[Record] = []
        # Records that came too late: something newer had been released.
        self.late = 0
        self._newest = 0
        self._limit = 0
        self._released = 0
        self._held = 0
        self._held_before = 0

    @property
    def full(self) -> bool:
        """Whether relieve() is to be called before more is read."""
        return len(self.waiting) >= MOST_WAITING or self._held + self._held_before > MOST_HELD

    def hold(self, size: int) -> None:
        """Count memory that records of this round lie in."""
        self._held += size

    def finish(self) -> list[Record]:
        """End a round: return the records whose turn has come, in order."""
        self._held_before, self._held = self._held, 0
        waiting = self.waiting
        if not waiting:
            return []
        waiting.sort(key=_TIME)
        limit, last = self._limit, waiting[-1][6]
        if last > self._newest:
            self._newest = last
        self._limit = self._newest
        # Most rounds are of a few records, so that what is done for each one counts.
        return [] if waiting[0][6] > limit else self._release(limit)

    def relieve(self) -> list[Record]:
        """Return the older half of what waits, or all if that holds too much memory."""
        waiting = self.waiting
        if not waiting or self._held + self._held_before > MOST_HELD:
            self._held = self._held_before = 0
            return self.rest()
        waiting.sort(key=_TIME)
        self._newest = max(self._newest, waiting[-1].time)
        self._limit = waiting[len(waiting) // 2].time
        return self._release(self._limit)

    def rest(self) -> list[Record]:
        """Return all that is left, in order."""
        waiting = self.waiting
        waiting.sort(key=_TIME)
        if waiting:
            self._newest = max(self._newest, waiting[-1].time)
        return self._release(1 << 64)

    def _release(self, limit: int) -> list[Record]:
        """Take the records up to a time, of the sorted list."""
        waiting = self.waiting
        count = bisect_right(waiting, limit, key=_TIME)
        released = waiting[:count]
        del waiting[:count]
        if released:
            if released[0][6] < self._released:
                self.late += bisect_left(released, self._released, key=_TIME)
            self._released = max(self._released, released[-1][6])
        return released
