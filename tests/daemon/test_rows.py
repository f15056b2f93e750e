"""Records of a ring, made here byte by byte, to packed rows."""

from __future__ import annotations

import struct

from pendingframes import PendingFrames

from ptrace_proto import ptrace_pb2 as pb
from ptraced.layout import Column, RowLayout
from ptraced.rows import fixed_rows, record_size, tagged_rows, walked_rows
from ptraced.stacks import StackTable

SAMPLE, LOST = 9, 2


def record(row: bytes, misc: int = 1) -> bytes:
    size = record_size(len(row))
    return struct.pack("<IHHI", SAMPLE, misc, size, size - 12) + row.ljust(size - 12, b"\xee")


def lost_record() -> bytes:
    return struct.pack("<IHHQQ", LOST, 0, 24, 1, 3)


def span(*records: bytes) -> memoryview:
    return memoryview(bytearray(b"".join(records)))


def layout(size: int, dynamic: bool = False, stack_at: int | None = None) -> RowLayout:
    columns = []
    if stack_at is not None:
        columns.append(Column("_callchain", pb.FIELD_KIND_STACK, 4, 4, None, stack_at))
    return RowLayout(tuple(columns), size, dynamic)


def table() -> StackTable:
    return StackTable(PendingFrames())


def row(time: int, *values: int) -> bytes:
    return struct.pack(f"<Q{len(values)}I", time, *values)


def test_equal_rows_lose_their_framing_and_nothing_else() -> None:
    rows = [row(time, time + 7) for time in (10, 20, 30)]

    (batch,) = fixed_rows(span(*map(record, rows)), 12)

    assert batch.data == b"".join(rows)
    assert (batch.event, batch.count, batch.first_time, batch.last_time) == (0, 3, 10, 30)


def test_user_and_kernel_hits_are_equal_records() -> None:
    found = list(fixed_rows(span(record(row(1), misc=1), record(row(2), misc=2)), 8))

    assert [batch.count for batch in found] == [2]


def test_a_record_of_the_kernels_about_loss_is_no_row() -> None:
    parts = span(record(row(1)), lost_record(), record(row(2)), record(row(3)), lost_record())

    found = list(fixed_rows(parts, 8))

    assert [batch.data for batch in found] == [row(1), row(2) + row(3)]


def test_no_batch_is_larger_than_a_message_may_be() -> None:
    one = record(row(5, *range(30)))

    found = list(fixed_rows(memoryview(one * 20_000), 128))

    assert sum(batch.count for batch in found) == 20_000
    assert max(len(batch.data) for batch in found) <= 512 << 10


def test_tagged_rows_are_split_by_event_and_trimmed_to_its_size() -> None:
    def tagged(event: int, content: bytes) -> bytes:
        return record((struct.pack("<Q", event) + content).ljust(28, b"\xcc"))

    parts = span(tagged(0, row(1)), tagged(1, row(2, 22)), tagged(0, row(3)), tagged(1, row(4, 44)))

    found = {batch.event: batch for batch in tagged_rows(parts, [8, 12], 28)}

    assert found[0].data == row(1) + row(3)
    assert found[1].data == row(2, 22) + row(4, 44)
    assert (found[1].count, found[1].first_time, found[1].last_time) == (2, 2, 4)


def test_walked_rows_carry_their_length_where_they_have_dynamic_data() -> None:
    parts = span(record(row(1) + b"abc"), lost_record(), record(row(2) + b"a longer one"))

    (batch,) = walked_rows(parts, [layout(8, dynamic=True)], table())

    first = int.from_bytes(batch.data[:4], "little")
    assert batch.data[4 : 4 + first].startswith(row(1) + b"abc")
    second = batch.data[4 + first :]
    assert second[4:].startswith(row(2) + b"a longer one")
    assert int.from_bytes(second[:4], "little") == len(second) - 4
    assert batch.count == 2


def test_walked_rows_of_several_events_are_told_apart_by_their_tags() -> None:
    parts = span(
        record(struct.pack("<Q", 1) + row(1, 5)),
        record(struct.pack("<Q", 0) + row(2) + b"text"),
        record(struct.pack("<Q", 1) + row(3, 6)),
    )

    found = {
        batch.event: batch
        for batch in walked_rows(parts, [layout(8, dynamic=True), layout(12)], table())
    }

    assert found[1].data == row(1, 5) + row(3, 6)
    assert found[0].data[4:].startswith(row(2) + b"text")


def stack(tgid: int, kernel: bytes = b"", user: bytes = b"") -> bytes:
    return struct.pack("<IHH", tgid, len(kernel), len(user)) + kernel + user


def test_stacks_behind_rows_become_numbers_in_them() -> None:
    stacks = table()
    first, second = stack(7, bytes(8), b"u" * 16), stack(0, b"k" * 24)
    parts = span(
        record(row(1, 12) + first), record(row(2, 12) + second), record(row(3, 12) + first)
    )

    (batch,) = walked_rows(parts, [layout(12, stack_at=8)], stacks)

    assert batch.data == row(1, 1) + row(2, 2) + row(3, 1)
    assert sorted(found.id for found in batch.stacks) == [1, 2]
    assert (batch.first_time, batch.last_time) == (1, 3)


def test_stacks_stand_behind_the_dynamic_data_of_a_row() -> None:
    parts = span(record(row(1, 15) + b"abc" + stack(7, user=b"u" * 8)))

    (batch,) = walked_rows(parts, [layout(12, dynamic=True, stack_at=8)], table())

    assert batch.data == (15).to_bytes(4, "little") + row(1, 1) + b"abc"
