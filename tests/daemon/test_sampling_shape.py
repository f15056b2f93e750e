"""Samples as the kernel lays them out: every row of the sample_type table.

The layouts are those of perf_event_open(2), "PERF_RECORD_SAMPLE".
"""

from __future__ import annotations

import struct

import pytest
from samplerecords import u64

from ptrace_formats import members as m
from ptraced.sampling.shape import (
    FORMAT_ID,
    FORMAT_LOST,
    GROUP,
    TOTAL_TIME_ENABLED,
    TOTAL_TIME_RUNNING,
    MalformedSampleError,
    Parser,
    Shape,
    Values,
)

TIMES = TOTAL_TIME_ENABLED | TOTAL_TIME_RUNNING
ALL_OF_READ = TIMES | FORMAT_ID | FORMAT_LOST


def parse(shape: Shape, body: bytes) -> Values:
    return Parser(shape).parse(memoryview(body))


FIXED = [
    (m.IDENTIFIER, u64(7), {"identifier": 7}),
    (m.IP, u64(0xFFFF_FFFF_8100_0000), {"ip": 0xFFFF_FFFF_8100_0000}),
    (m.TID, struct.pack("<ii", 5, 6), {"_pid": 5, "_tid": 6}),
    # Of a task that is gone.
    (m.TID, struct.pack("<ii", -1, -1), {"_pid": -1, "_tid": -1}),
    (m.TIME, u64(1 << 60), {"_time": 1 << 60}),
    (m.ADDR, u64(0x7F00_0000_1000), {"addr": 0x7F00_0000_1000}),
    (m.ID, u64(8), {"id": 8}),
    (m.STREAM_ID, u64(9), {"stream_id": 9}),
    # The other half is reserved.
    (m.CPU, struct.pack("<II", 3, 0xDEAD), {"cpu": 3}),
    (m.PERIOD, u64(10_101_010), {"period": 10_101_010}),
    (m.WEIGHT, u64(1 << 40), {"weight": 1 << 40}),
    (
        m.WEIGHT_STRUCT,
        struct.pack("<IHH", 70_000, 600, 50),
        {"weight": 70_000, "ins_lat": 600, "p_stage_cyc": 50},
    ),
    (m.DATA_SRC, u64(0x1E05080021), {"data_src": 0x1E05080021}),
    (m.TRANSACTION, u64(1 << 32), {"transaction": 1 << 32}),
    (m.PHYS_ADDR, u64(0x1234_5000), {"phys_addr": 0x1234_5000}),
    (m.CGROUP, u64(4242), {"cgroup": 4242}),
    (m.DATA_PAGE_SIZE, u64(4096), {"data_page_size": 4096}),
    (m.CODE_PAGE_SIZE, u64(2 << 20), {"code_page_size": 2 << 20}),
]


@pytest.mark.parametrize(("bit", "body", "values"), FIXED)
def test_members_of_one_size(bit: int, body: bytes, values: Values) -> None:
    shape = Shape(bit)

    assert parse(shape, body) == values
    assert shape.is_fixed()


# An entry is {from, to, flags}.
BRANCHES = u64(0x1000, 0x2000, 1, 0x3000, 0x4000, 2)

VARYING = [
    ("callchain", Shape(m.CALLCHAIN), u64(2, 0x10, 0x20), u64(0x10, 0x20)),
    ("callchain", Shape(m.CALLCHAIN), u64(0), b""),
    # Its size, 4 bytes, counts what stands behind it up to a multiple of 8.
    ("raw", Shape(m.RAW), struct.pack("<I12s", 12, b"hello\0world\0"), b"hello\0world\0"),
    ("raw", Shape(m.RAW), struct.pack("<I4x", 4), bytes(4)),
    ("branch_stack", Shape(m.BRANCH_STACK), u64(2) + BRANCHES, BRANCHES),
    ("branch_stack", Shape(m.BRANCH_STACK), u64(0), b""),
    (
        "branch_stack",
        Shape(m.BRANCH_STACK, branch_index=True),
        u64(2, 0xFFFF_FFFF_FFFF_FFFF) + BRANCHES,
        BRANCHES,
    ),
    ("regs_user", Shape(m.REGS_USER, user_registers=3), u64(2, 1, 2, 3), u64(2, 1, 2, 3)),
    ("regs_user", Shape(m.REGS_USER, user_registers=2), u64(1, 1, 2), u64(1, 1, 2)),
    # A kernel thread has no user's registers: PERF_SAMPLE_REGS_ABI_NONE.
    ("regs_user", Shape(m.REGS_USER, user_registers=3), u64(0), u64(0)),
    ("regs_intr", Shape(m.REGS_INTR, interrupt_registers=2), u64(2, 8, 9), u64(2, 8, 9)),
    ("regs_intr", Shape(m.REGS_INTR, interrupt_registers=2), u64(0), u64(0)),
    # What was copied of 16 bytes that were asked for.
    ("stack_user", Shape(m.STACK_USER), u64(16, 1, 2, 8), u64(1)),
    ("stack_user", Shape(m.STACK_USER), u64(16, 1, 2, 16), u64(1, 2)),
    ("stack_user", Shape(m.STACK_USER), u64(0), b""),
    ("aux", Shape(m.AUX), u64(8, 77), u64(77)),
    ("aux", Shape(m.AUX), u64(0), b""),
    # A counter alone: value, time_enabled, time_running, id, lost, as far as asked for.
    ("read", Shape(m.READ), u64(1), u64(1)),
    ("read", Shape(m.READ, TIMES), u64(1, 2, 3), u64(1, 2, 3)),
    ("read", Shape(m.READ, FORMAT_ID), u64(1, 4), u64(1, 4)),
    ("read", Shape(m.READ, ALL_OF_READ), u64(1, 2, 3, 4, 5), u64(1, 2, 3, 4, 5)),
    # A group: nr, time_enabled, time_running, {value, id, lost}[nr], as far as asked for.
    ("read", Shape(m.READ, GROUP), u64(2, 11, 12), u64(2, 11, 12)),
    ("read", Shape(m.READ, GROUP | FORMAT_ID), u64(2, 1, 2, 3, 4), u64(2, 1, 2, 3, 4)),
    (
        "read",
        Shape(m.READ, GROUP | ALL_OF_READ),
        u64(2, 8, 9, 11, 1, 0, 12, 2, 5),
        u64(2, 8, 9, 11, 1, 0, 12, 2, 5),
    ),
]


@pytest.mark.parametrize(("name", "shape", "body", "value"), VARYING)
def test_members_that_vary_in_size(name: str, shape: Shape, body: bytes, value: bytes) -> None:
    # What follows is found where the member ends.
    shape = Shape(
        shape.sample_type | m.IP | m.CODE_PAGE_SIZE,
        shape.read_format,
        shape.user_registers,
        shape.interrupt_registers,
        shape.branch_index,
    )
    if name == "aux":
        body = u64(4096) + body
    else:
        body += u64(4096)

    assert parse(shape, u64(0xAB) + body) == {"ip": 0xAB, "code_page_size": 4096, name: value}


def test_every_row_of_the_table_has_been_decoded_here() -> None:
    decoded = 0
    for bit, _, _ in FIXED:
        decoded |= bit
    for _, shape, _, _ in VARYING:
        decoded |= shape.sample_type

    assert decoded == (1 << 25) - 1
    assert {member.bit for member in m.MEMBERS} | {m.CALLCHAIN} == {1 << bit for bit in range(25)}


def test_all_members_in_the_kernels_order() -> None:
    shape = Shape((1 << 25) - 1 & ~m.WEIGHT, FORMAT_ID, 2, 1)
    body = b"".join(
        [
            u64(1, 2),
            struct.pack("<ii", 3, 4),
            u64(5, 6, 7, 8),
            struct.pack("<II", 9, 0),
            u64(10),
            u64(11, 12),  # read
            u64(1, 0x13),  # callchain
            struct.pack("<I4s", 4, b"raw!"),
            u64(1, 14, 15, 16),  # branch_stack
            u64(2, 17, 18),  # regs_user
            u64(8, 19, 8),  # stack_user
            struct.pack("<IHH", 20, 21, 22),
            u64(23, 24),
            u64(1, 25),  # regs_intr
            u64(26, 27, 28, 29),
            u64(8, 30),  # aux
        ]
    )

    assert parse(shape, body) == {
        "identifier": 1,
        "ip": 2,
        "_pid": 3,
        "_tid": 4,
        "_time": 5,
        "addr": 6,
        "id": 7,
        "stream_id": 8,
        "cpu": 9,
        "period": 10,
        "read": u64(11, 12),
        "callchain": u64(0x13),
        "raw": b"raw!",
        "branch_stack": u64(14, 15, 16),
        "regs_user": u64(2, 17, 18),
        "stack_user": u64(19),
        "weight": 20,
        "ins_lat": 21,
        "p_stage_cyc": 22,
        "data_src": 23,
        "transaction": 24,
        "regs_intr": u64(1, 25),
        "phys_addr": 26,
        "cgroup": 27,
        "data_page_size": 28,
        "code_page_size": 29,
        "aux": u64(30),
    }


@pytest.mark.parametrize(
    ("shape", "body", "problem"),
    [
        (Shape(m.IP | m.TIME), u64(1), "a sample ends within a member, at byte 0"),
        (Shape(m.CALLCHAIN), b"", "a sample ends within a member, at byte 0"),
        (
            Shape(m.CALLCHAIN),
            u64(1 << 61, 1),
            f"'callchain' has {1 << 64} bytes in a sample that has 8 left",
        ),
        (Shape(m.RAW), struct.pack("<I", 5), "'raw' has 5 bytes in a sample that has 0 left"),
        (
            Shape(m.BRANCH_STACK),
            u64(2, 1, 2, 3),
            "'branch_stack' has 48 bytes in a sample that has 24 left",
        ),
        (
            Shape(m.REGS_USER, user_registers=4),
            u64(2, 1),
            "'regs_user' has 40 bytes in a sample that has 16 left",
        ),
        (
            Shape(m.STACK_USER),
            u64(1 << 63, 1),
            f"'stack_user' has {1 << 63} bytes in a sample that has 8 left",
        ),
        (
            Shape(m.READ, GROUP),
            u64(1 << 40, 1),
            f"'read' has {8 + (8 << 40)} bytes in a sample that has 16 left",
        ),
        (Shape(m.AUX), u64(9, 1), "'aux' has 9 bytes in a sample that has 8 left"),
    ],
)
def test_samples_that_say_they_have_more_than_they_have(
    shape: Shape, body: bytes, problem: str
) -> None:
    with pytest.raises(MalformedSampleError) as error:
        parse(shape, body)

    assert str(error.value) == problem


@pytest.mark.parametrize(
    ("format", "place"),
    [
        (0, -1),
        (GROUP | FORMAT_ID, -1),
        # value, lost
        (FORMAT_LOST, 8),
        # value, time_enabled, time_running, id, lost
        (ALL_OF_READ, 32),
        # nr, value, lost, ...
        (GROUP | FORMAT_LOST, 16),
        # nr, time_enabled, time_running, value, id, lost, ...
        (GROUP | ALL_OF_READ, 40),
    ],
)
def test_where_the_count_of_lost_samples_is(format: int, place: int) -> None:
    assert Shape(m.READ, format).lost_at == place
