"""Merging by time, up to marks."""

from __future__ import annotations

from typing import Any

import pytest
from event_samples import DYNAMIC_STRING, SIGNED, make_batch, make_schema
from hypothesis import given
from hypothesis import strategies as st

from ptrace_client.decode import RowLayout
from ptrace_client.errors import ClientError
from ptrace_client.order import MIXED, BatchMerger, Entry, Merger
from ptrace_proto import ptrace_pb2 as pb


def entries(*times: int, source: str = "") -> list[Entry]:
    return [(time, source, f"{source}{time}") for time in times]


def times(taken: list[Entry]) -> list[int]:
    return [entry[0] for entry in taken]


def test_entries_wait_for_a_mark() -> None:
    # GIVEN rows of two CPUs
    merger = Merger()
    merger.add(entries(1, 5, 9, source="a"))
    merger.add(entries(2, 5, 7, source="b"))
    # WHEN a mark comes, what is older goes out in order, the mark's own moment waits
    assert [entry[2] for entry in merger.take(7)] == ["a1", "b2", "a5", "b5"]
    assert len(merger) == 2
    # AND the rest with the next, or at the end
    merger.add(entries(8, source="b"))
    assert times(merger.take(9)) == [7, 8]
    assert times(merger.take()) == [9]
    assert merger.take() == []
    assert merger.late == 0


def test_the_same_time_keeps_the_order_of_arrival() -> None:
    merger = Merger()
    merger.add(entries(5, 5, source="b"))
    merger.add(entries(5, 5, source="a"))
    assert [entry[1] for entry in merger.take()] == ["b", "b", "a", "a"]


def test_late_entries_are_delivered_first_and_counted() -> None:
    merger = Merger()
    merger.add(entries(10, 20))
    assert times(merger.take(15)) == [10]
    merger.add(entries(3, 14, 15, 16))
    assert times(merger.take(30)) == [3, 14, 15, 16, 20]
    assert merger.late == 2


def test_a_mark_that_goes_back_changes_nothing() -> None:
    merger = Merger()
    merger.add(entries(10, 20))
    merger.take(15)
    assert merger.take(5) == []
    merger.add(entries(12))
    merger.take(30)
    assert merger.late == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=60), st.data())
def test_order_per_cpu_always_holds(events: list[tuple[int, int]], data: st.DataObject) -> None:
    # GIVEN events of several CPUs, each in order of time, in rounds that a mark closes
    events.sort(key=lambda event: event[1])
    merger, taken = Merger(), []
    while events:
        cut = data.draw(st.integers(1, len(events)))
        part, events = events[:cut], events[cut:]
        for cpu in range(4):
            merger.add((time, cpu, number) for number, (c, time) in enumerate(part) if c == cpu)
        if events:
            taken += merger.take(events[0][1])
    taken += merger.take()
    # THEN the whole is in order and nothing was late
    assert times(taken) == sorted(times(taken))
    assert merger.late == 0


PLAIN = make_schema(own=(("pid", SIGNED, 4),), common=(("_time", SIGNED, 8),))
DYNAMIC = make_schema(
    own=(("pid", SIGNED, 4), ("path", DYNAMIC_STRING, 8)), common=(("_time", SIGNED, 8),)
)


class Merged:
    """A BatchMerger, and what it gives as (CPU or MIXED, times)."""

    def __init__(self, schema: pb.EventSchema = PLAIN) -> None:
        self.schema = schema
        self.merger = BatchMerger(schema, RowLayout(schema).rows, lambda cpu, rows: rows)

    def add(self, cpu: int, *times: int) -> None:
        rows = ({"_time": time, "pid": cpu} for time in times)
        self.merger.add(make_batch(self.schema, *rows, cpu=cpu))

    def take(self, until: int | None = None) -> list[tuple[int, list[int]]]:
        taken = [(cpu, [row[0] for row in rows]) for cpu, rows in self.merger.take(until)]
        return [each for each in taken if each[1]]


def test_batches_of_one_cpu_stay_what_they_are() -> None:
    merged = Merged()
    merged.add(1, 1, 2)
    merged.add(1, 5, 7, 9)
    assert len(merged.merger) == 5
    # The mark's own moment waits.
    assert merged.take(7) == [(1, [1, 2]), (1, [5])]
    assert len(merged.merger) == 2
    merged.add(1, 10)
    assert merged.take() == [(1, [7, 9]), (1, [10])]
    assert len(merged.merger) == 0


def test_rows_of_several_cpus_are_sorted() -> None:
    merged = Merged()
    merged.add(0, 1, 5, 9)
    merged.add(1, 2, 6, 8)
    assert merged.take(8) == [(MIXED, [1, 2, 5, 6])]
    # What is left over is of both, and new batches go between.
    merged.add(0, 10, 12)
    assert merged.take(11) == [(MIXED, [8, 9, 10])]
    assert merged.take() == [(MIXED, [12])]


@pytest.mark.parametrize("other", [0, 1])
def test_late_rows_are_counted(other: int) -> None:
    merged = Merged()
    merged.add(0, 10)
    merged.take(15)
    merged.add(0, 20)
    merged.add(other, 3, 14, 15)
    merged.take()
    assert merged.merger.late == 2


def test_a_damaged_batch_is_told_when_it_comes() -> None:
    batch = pb.Batch(schema_id=PLAIN.id, count=2, rows=b"short")
    with pytest.raises(ClientError, match="damaged"):
        Merged().merger.add(batch)


@pytest.mark.parametrize("schema", [PLAIN, DYNAMIC], ids=["plain", "dynamic"])
@given(
    events=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), max_size=60), data=st.data()
)
def test_batches_come_out_as_from_a_merger(
    schema: pb.EventSchema, events: list[tuple[int, int]], data: st.DataObject
) -> None:
    # GIVEN batches of several CPUs, in rounds that a mark closes
    events.sort(key=lambda event: event[1])
    merged, taken = Merged(schema), []
    total = len(events)
    while events:
        cut = data.draw(st.integers(1, len(events)))
        part, events = events[:cut], events[cut:]
        for cpu in range(3):
            merged.add(cpu, *(time for c, time in part if c == cpu))
        if events:
            taken += merged.take(events[0][1])
    taken += merged.take()
    # THEN all came, in order
    flat: list[Any] = [time for _, times in taken for time in times]
    assert flat == sorted(flat)
    assert len(flat) == total
    assert merged.merger.late == 0
