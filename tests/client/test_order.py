"""Merging by time, up to marks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ptrace_client.order import Entry, Merger


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
