"""Merging of events by time, over all CPUs and events, up to round marks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from struct import Struct
from typing import Any, Final, NamedTuple

from ptrace_client.decode import RowData
from ptrace_proto import ptrace_pb2 as pb

# What is merged: a time in ns, and whatever belongs to it.
Entry = tuple[int, Any, Any]

# A row, which begins with its time.
Row = tuple[Any, ...]

_time = itemgetter(0)
_TIME: Final = Struct("<Q")
# The CPU of rows of several.
MIXED: Final = -1


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


class _Held(NamedTuple):
    batch: RowData
    rows: Iterator[Row]


class BatchMerger:
    """Holds the batches of one event until a mark says that nothing older is to come.

    As long as one CPU has all the events of a round, which are in order as they are, its
    batches stay what they are: rows are sorted only where there are those of several CPUs.
    `rows` takes a batch apart, and `mixed` makes rows of a CPU what they are among others'.
    """

    def __init__(
        self,
        schema: pb.EventSchema,
        rows: Callable[[RowData], Iterator[Row]],
        mixed: Callable[[int, Iterator[Row]], Iterable[Row]],
    ) -> None:
        # Rows that came after a mark that said they had been sent, count.
        self.late = 0
        self._decode = rows
        self._mixed = mixed
        self._row_size = schema.row_size
        # What rows of these refer to may be forgotten before the mark comes.
        self._at_once = schema.has_dynamic or schema.stack
        self._held: list[_Held] = []
        # Rows of several CPUs that are newer than the last mark, in order.
        self._rows: list[Row] = []
        self._taken_until = 0

    def __len__(self) -> int:
        return len(self._rows) + sum(held.batch.count for held in self._held)

    def add(self, batch: pb.Batch) -> None:
        """Take a batch. Raise ClientError where it is damaged."""
        # A message copies its bytes each time that it is asked for them.
        kept = RowData(batch.cpu, batch.count, batch.rows)
        rows = self._decode(kept)
        if self._at_once:
            self._rows.extend(self._mixed(kept.cpu, rows))
        elif kept.count:
            self._held.append(_Held(kept, rows))

    def take(self, until: int | None = None) -> list[tuple[int, Iterator[Row]]]:
        """Return what happened before `until`, ns, in order of time; everything for None.

        That is (CPU, rows) where the rows are of one CPU, and (MIXED, rows) else.
        """
        if self._rows or len({held.batch.cpu for held in self._held}) > 1:
            taken = [(MIXED, iter(self._take_rows(until)))]
        else:
            taken = self._take_batches(until)
        self._taken_until = max(self._taken_until, until or 0)
        return taken

    def _take_rows(self, until: int | None) -> list[Row]:
        rows = self._rows
        for held in self._held:
            rows.extend(self._mixed(held.batch.cpu, held.rows))
        self._held.clear()
        # Batches are runs in order, which is what list.sort() merges fastest.
        rows.sort(key=_time)
        self.late += bisect_left(rows, self._taken_until, key=_time)
        end = len(rows) if until is None else bisect_left(rows, until, key=_time)
        self._rows = rows[end:]
        del rows[end:]
        return rows

    def _take_batches(self, until: int | None) -> list[tuple[int, Iterator[Row]]]:
        """Return the rows of a CPU as they came, late ones first as they are the oldest."""
        taken, kept = [], []
        for held in self._held:
            batch = held.batch
            self.late += self._place(batch, self._taken_until)
            end = batch.count if until is None else self._place(batch, until)
            if end == batch.count:
                taken.append((batch.cpu, held.rows))
                continue
            if end:
                taken.append((batch.cpu, self._decode(self._part(batch, 0, end))))
            rest = self._part(batch, end, batch.count)
            kept.append(_Held(rest, self._decode(rest)))
        self._held = kept
        return taken

    def _place(self, batch: RowData, time: int) -> int:
        """Return how many rows are older than `time`."""
        size, data = self._row_size, batch.rows

        def time_of(row: int) -> int:
            found: int = _TIME.unpack_from(data, row * size)[0]
            return found

        # Nearly always all or nothing.
        if time_of(batch.count - 1) < time:
            return batch.count
        return bisect_left(range(batch.count), time, key=time_of)

    def _part(self, batch: RowData, start: int, end: int) -> RowData:
        size = self._row_size
        data = memoryview(batch.rows)[start * size : end * size]
        return RowData(batch.cpu, end - start, data)
