"""Merging of events by time, over all CPUs and events, up to round marks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from operator import itemgetter
from typing import Any

# What is merged: a time in ns, and whatever belongs to it.
Entry = tuple[int, Any, Any]

_time = itemgetter(0)


class Merger:
    """Holds entries until a mark says that nothing older is to come."""

    def __init__(self) -> None:
        # Entries that came after a mark that said they had been sent, count.
        self.late = 0
        self._held: list[Entry] = []
        self._taken_until = 0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, entries: Iterable[Entry]) -> None:
        """Take entries that are in order among themselves, such as the rows of a batch."""
        self._held.extend(entries)

    def take(self, until: int | None = None) -> list[Entry]:
        """Return in order of time what happened before `until`, ns; everything for None.

        Entries of the same time stay in the order in which they were added. Late ones are
        the first of the list.
        """
        held = self._held
        # Batches are runs in order, which is what list.sort() merges fastest.
        held.sort(key=_time)
        self.late += bisect_left(held, self._taken_until, key=_time)
        if until is None:
            self._held = []
            return held
        end = bisect_left(held, until, key=_time)
        self._taken_until = max(self._taken_until, until)
        self._held = held[end:]
        del held[end:]
        return held
