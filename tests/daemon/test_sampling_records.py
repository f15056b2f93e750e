"""Rings of sampling events to packed rows, at once where samples are equal and one by one."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from samplerecords import LOST, SAMPLE, THROTTLE, Numbers, record, sample_rows_format, span, u64

from ptrace_formats import members as m
from ptrace_formats.registers import host_registers
from ptrace_proto import ptrace_pb2 as pb
from ptraced.layout import Blanks, RowLayout
from ptraced.samples import SampleDecoder
from ptraced.sampling.layout import SampleFormat
from ptraced.sampling.records import SampleRows, Told
from ptraced.sampling.shape import FORMAT_ID, GROUP, Shape


def decoded(layout: RowLayout, data: bytes) -> list[dict[str, object]]:
    """Rows as clients would read them."""
    schema = pb.EventSchema(
        id=1,
        fields=[
            pb.Field(name=column.name, kind=column.kind, offset=column.offset, size=column.size)
            for column in layout.columns
        ],
        row_size=layout.row_size,
        has_dynamic=layout.has_dynamic,
    )
    return [
        {"_time": sample.time}
        | {field.name: getattr(field, field.WhichOneof("value")) for field in sample.fields}
        for sample in SampleDecoder([schema]).decode(1, 0, data)
    ]


def rows(
    format: SampleFormat, *records: bytes, told: Told | None = None, numbers: Numbers | None = None
) -> list[dict[str, object]]:
    made = SampleRows(format, numbers or Numbers()).rows(span(*records), told or Told())
    return [row for batch in made for row in decoded(format.layout, batch.data)]


def sample(time: int, *values: int) -> bytes:
    return record(u64(values[0]) + struct.pack("<ii", 10, 11) + u64(time, *values[1:]))


PLAIN = Shape(m.IP | m.TID | m.TIME | m.ADDR)
# The same members and one that varies in size, and so samples are taken apart one by one.
VARYING = Shape(PLAIN.sample_type | m.RAW)
NO_RAW = struct.pack("<I4x", 4)


def test_equal_samples_become_rows_of_the_columns_that_are_wanted() -> None:
    format = sample_rows_format(PLAIN, "addr", "_tid")

    found = rows(format, sample(1, 0x10, 0x20), sample(2, 0x11, 0x21))

    assert found == [{"_time": 1, "addr": 0x20, "_tid": 11}, {"_time": 2, "addr": 0x21, "_tid": 11}]
    assert format.layout.row_size == 20


def test_batches_know_their_count_and_times() -> None:
    format = sample_rows_format(PLAIN, "ip")

    (batch,) = SampleRows(format, Numbers()).rows(
        span(sample(5, 1, 2), sample(6, 1, 2), sample(9, 1, 2)), Told()
    )

    assert (batch.event, batch.count, batch.first_time, batch.last_time) == (0, 3, 5, 9)


def test_the_same_rows_are_made_at_once_and_one_by_one() -> None:
    wanted = ("ip", "pid", "tid", "time", "addr", "period", "_comm")
    at_once = sample_rows_format(PLAIN, *wanted, constants={"period": 7})
    one_by_one = sample_rows_format(VARYING, *wanted, constants={"period": 7})
    samples = [sample(time, 1 << 63, time + 5) for time in range(1, 50)]

    found = rows(at_once, *samples)

    assert found == rows(one_by_one, *(record(bytes(s[8:]) + NO_RAW) for s in samples))
    assert found[0] == {
        "_time": 1,
        "ip": 1 << 63,
        "_pid": 10,
        "_tid": 11,
        "addr": 6,
        "period": 7,
        "_comm": "task-11",
    }


def test_the_counters_values_follow_the_row() -> None:
    shape = Shape(m.TIME | m.READ, FORMAT_ID)
    format = sample_rows_format(shape, "read")

    found = rows(format, record(u64(1, 100, 4)), record(u64(2, 200, 4)))

    assert found == [{"_time": 1, "read": u64(100, 4)}, {"_time": 2, "read": u64(200, 4)}]
    assert format.layout.has_dynamic


def test_values_of_a_group_follow_the_row() -> None:
    shape = Shape(m.TIME | m.READ, GROUP)

    found = rows(sample_rows_format(shape, "read"), record(u64(1, 2, 30, 40)))

    assert found == [{"_time": 1, "read": u64(2, 30, 40)}]


def test_several_members_of_varying_size_follow_a_row_one_behind_the_other() -> None:
    shape = Shape(m.TIME | m.RAW | m.REGS_USER | m.STACK_USER, user_registers=1)
    format = sample_rows_format(shape, "raw", "regs_user", "stack_user")
    raw = struct.pack("<I4s", 4, b"abcd")

    found = rows(
        format,
        record(u64(1) + raw + u64(2, 0xCAFE) + u64(8, 9, 8)),
        record(u64(2) + raw + u64(0) + u64(0)),
    )

    assert found == [
        {"_time": 1, "raw": b"abcd", "regs_user": u64(2, 0xCAFE), "stack_user": u64(9)},
        {"_time": 2, "raw": b"abcd", "regs_user": u64(0), "stack_user": b""},
    ]


def chain(*addresses: int) -> bytes:
    return u64(len(addresses), *(address % (1 << 64) for address in addresses))


def test_stacks_are_numbered_with_their_process() -> None:
    shape = Shape(m.TID | m.TIME | m.CALLCHAIN)
    numbers = Numbers()
    body = struct.pack("<ii", 10, 11) + u64(5) + chain(-128, 0xF1, 0xF2, -512, 0x51)

    (batch,) = SampleRows(sample_rows_format(shape, "callchain", stack=True), numbers).rows(
        span(record(body)), Told()
    )

    assert numbers.stacks == [(10, u64(0xF1, 0xF2), u64(0x51), 5)]
    assert [stack.id for stack in batch.stacks] == [1]
    assert batch.data == u64(5) + struct.pack("<I", 1)


def test_stacks_are_cut_at_their_depth() -> None:
    shape = Shape(m.TIME | m.CALLCHAIN)
    numbers = Numbers()
    format = sample_rows_format(shape, "callchain", stack=True, depth=(1, 2))

    rows(format, record(u64(5) + chain(-128, 1, 2, 3, -512, 4, 5, 6)), numbers=numbers)

    assert numbers.stacks == [(0, u64(1), u64(4, 5), 5)]


def test_the_process_of_a_task_that_is_gone_is_unknown() -> None:
    numbers = Numbers()
    shape = Shape(m.TID | m.TIME | m.CALLCHAIN)
    body = struct.pack("<ii", -1, -1) + u64(5) + chain(-512, 4)

    found = rows(
        sample_rows_format(shape, "pid", "callchain", stack=True), record(body), numbers=numbers
    )

    assert numbers.stacks == [(0, b"", u64(4), 5)]
    assert found == [{"_time": 5, "_pid": -1, "callchain": 1}]


@pytest.mark.parametrize(
    ("shape", "made"),
    [
        (PLAIN, lambda time: sample(time, 1, 2)),
        (VARYING, lambda t: record(sample(t, 1, 2)[8:] + NO_RAW)),
    ],
)
def test_what_the_kernel_tells_in_between_is_counted_and_no_sample(shape, made) -> None:  # type: ignore[no-untyped-def]
    told = Told()
    records = [
        record(u64(0, 5), kind=LOST),
        made(1),
        record(u64(1, 2, 3), kind=THROTTLE),
        record(u64(1, 2, 3), kind=THROTTLE + 1),
        made(2),
        record(u64(0, 7), kind=LOST),
    ]

    found = rows(sample_rows_format(shape, "ip"), *records, told=told)

    assert [row["_time"] for row in found] == [1, 2]
    assert told == Told(lost=12, malformed=0, throttled=1)


MALFORMED: Sequence[tuple[bytes, int]] = [
    # Too short for its members, and too long.
    (record(u64(1)), 1),
    (record(bytes(64)), 1),
    # A record without a header, one that has no end, and one that ends behind the ring.
    (b"\0\0\0\0", 0),
    (struct.pack("<IHH", SAMPLE, 0, 0), 0),
    (struct.pack("<IHH", SAMPLE, 0, 4), 0),
    (struct.pack("<IHH", SAMPLE, 0, 65528), 0),
]


@pytest.mark.parametrize("shape", [PLAIN, Shape(PLAIN.sample_type | m.CALLCHAIN)])
@pytest.mark.parametrize(("bad", "counted"), MALFORMED)
def test_records_that_the_kernel_never_makes_do_no_harm(
    shape: Shape, bad: bytes, counted: int
) -> None:
    told = Told()
    good = sample(1, 1, 2)
    if shape is not PLAIN:
        good = record(good[8:] + chain())
        bad = record(u64(1, 2, 3, 4, 1 << 60)) if counted else bad

    found = rows(sample_rows_format(shape, "ip", stack=shape is not PLAIN), good, bad, told=told)

    assert [row["_time"] for row in found] == [1]
    assert told.malformed == counted


@pytest.mark.parametrize("shape", [PLAIN, VARYING])
def test_batches_stay_below_the_size_of_a_message(shape: Shape) -> None:
    one = sample(1, 2, 3) if shape is PLAIN else record(sample(1, 2, 3)[8:] + NO_RAW)
    format = sample_rows_format(shape, "ip", "addr", "_comm")

    batches = list(SampleRows(format, Numbers()).rows(memoryview(bytearray(one * 40_000)), Told()))

    assert sum(batch.count for batch in batches) == 40_000
    assert max(len(batch.data) for batch in batches) < (1 << 20)


def test_names_of_tasks_fit_their_column() -> None:
    format = sample_rows_format(PLAIN, "_comm")
    object.__setattr__(format, "comm_of", lambda tid: b"a-name-of-15-by" if tid == 11 else b"")

    assert rows(format, sample(1, 1, 2)) == [{"_time": 1, "_comm": "a-name-of-15-by"}]


@pytest.mark.parametrize("shape", [PLAIN, VARYING], ids=["at once", "one by one"])
def test_what_is_blank_is_the_same_in_all_rows(shape: Shape) -> None:
    format = sample_rows_format(
        shape,
        *("ip", "read", "regs_intr", "branch_stack", "phys_addr"),
        constants={"read": bytes(8), "regs_intr": bytes(8), "branch_stack": b"", "phys_addr": 0},
    )

    found = rows(format, *varied(shape, (0x10, 0x20), (0x11, 0x21)))

    blank = {"read": bytes(8), "regs_intr": bytes(8), "branch_stack": b"", "phys_addr": 0}
    assert found == [{"_time": 1, "ip": 0x10} | blank, {"_time": 2, "ip": 0x11} | blank]


@pytest.mark.parametrize("shape", [PLAIN, VARYING], ids=["at once", "one by one"])
def test_addresses_of_the_kernel_are_zero_where_they_are_hidden(shape: Shape) -> None:
    hidden = Blanks(kernel_addresses=frozenset({"ip", "addr"}))
    format = sample_rows_format(shape, "ip", "addr", blanks=hidden)
    lowest, highest = 1 << 63, (1 << 63) - 1

    found = rows(format, *varied(shape, (lowest, highest), (0x11, (1 << 64) - 1)))

    assert [(row["ip"], row["addr"]) for row in found] == [(0, highest), (0x11, 0)]


def varied(shape: Shape, *values: tuple[int, int]) -> list[bytes]:
    """Samples of PLAIN or VARYING with these for `ip` and `addr`."""
    return [
        record(u64(ip) + struct.pack("<ii", 10, 11) + u64(time, addr) + NO_RAW * (shape is VARYING))
        for time, (ip, addr) in enumerate(values, 1)
    ]


def test_registers_of_the_kernel_are_none_where_its_addresses_are_hidden() -> None:
    names = host_registers().names
    place = host_registers().place
    assert place is not None
    shape = Shape(m.TIME | m.REGS_INTR, interrupt_registers=len(names))
    hidden = Blanks(kernel_addresses=frozenset({"regs_intr"}))
    format = sample_rows_format(shape, "regs_intr", blanks=hidden)
    user = [2, *range(1, len(names) + 1)]
    kernel = user.copy()
    kernel[1 + place] = 1 << 63

    found = rows(
        format,
        record(u64(1, *user)),
        record(u64(2, *kernel)),
        # A sample without registers.
        record(u64(3, 0)),
    )

    assert [row["regs_intr"] for row in found] == [u64(*user), bytes(8), bytes(8)]
