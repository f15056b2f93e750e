"""What the kernel is asked for, from the columns that are wanted."""

from __future__ import annotations

import struct

import pytest

from ptrace_formats import members as m
from ptrace_formats.registers import BY_MACHINE
from ptrace_formats.sample_format import sample_format
from ptrace_proto import ptrace_pb2 as pb
from ptraced.errors import NotFound, TraceError
from ptraced.layout import Blanks, RowLayout
from ptraced.origin import Sampled
from ptraced.program import StackDepth
from ptraced.sampling import attr, plan
from ptraced.sampling.layout import lay_out_sample
from ptraced.sampling.plan import SamplingPlan, event_scope
from ptraced.sampling.schema import ON_REQUEST, sample_info
from ptraced.sampling.selector import SampledOptions
from ptraced.sampling.shape import FORMAT_LOST, GROUP, Shape
from ptraced.scope import Scope

FORMAT = sample_format("page-faults")
FAULTS = Sampled(1, 2, "page-faults", period=1)
CLOCK = Sampled(1, 0, "cpu-clock", frequency=99)


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "counts_lost", lambda: True)


def planned(*wanted: str, origin: Sampled = CLOCK, stack: StackDepth | None = None) -> SamplingPlan:
    layout = lay_out_sample(FORMAT, wanted, stack is not None)
    return SamplingPlan(FORMAT, origin, layout, Scope(), None, stack or StackDepth(0, 0))


def columns(layout: RowLayout) -> list[tuple[str, int, int]]:
    return [(column.name, column.offset, column.size) for column in layout.columns]


def test_without_a_choice_rows_have_the_usual_members() -> None:
    assert columns(lay_out_sample(FORMAT, None)) == [
        *(("_time", 0, 8), ("ip", 8, 8), ("addr", 16, 8), ("id", 24, 8), ("period", 32, 8)),
        *(("_pid", 40, 4), ("_tid", 44, 4), ("read", 48, 8)),
    ]


def test_stacks_are_a_column_more() -> None:
    layout = lay_out_sample(FORMAT, None, True)

    assert layout.stack is not None
    assert (layout.stack.name, layout.stack.kind) == ("callchain", pb.FIELD_KIND_STACK)


def test_members_that_other_columns_have_take_no_room() -> None:
    layout = lay_out_sample(FORMAT, ("time", "pid", "tid", "cpu"))

    assert columns(layout) == [("_time", 0, 8), ("_pid", 8, 4), ("_tid", 12, 4)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adr", "error: page-faults has no member 'adr' (did you mean 'addr'?)"),
    ],
)
def test_no_such_member(name: str, message: str) -> None:
    with pytest.raises(TraceError) as error:
        lay_out_sample(FORMAT, (name,))

    assert str(error.value) == message


@pytest.mark.parametrize("member", m.MEMBERS, ids=lambda member: member.name)
def test_the_kernel_is_asked_for_what_is_wanted_and_no_more(member: m.Member) -> None:
    sample_type = planned(member.name).shape.sample_type

    # The CPU is known from the ring.
    wanted = 0 if member.name == "cpu" else member.bit
    assert sample_type == m.TIME | wanted


def test_parts_of_a_weight_come_in_place_of_the_whole() -> None:
    assert planned("weight", "ins_lat").shape.sample_type == m.TIME | m.WEIGHT_STRUCT


def test_the_period_of_a_software_event_is_not_asked_for() -> None:
    # The kernel would make a sample of every fault, whatever the period.
    hundredth = planned("ip", "period", origin=Sampled(1, 2, "page-faults", period=100))

    assert hundredth.shape.sample_type == m.TIME | m.IP
    assert hundredth.constants == {"period": 100}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("read", bytes(40)),
        ("regs_intr", bytes(8)),
        ("raw", b""),
        ("branch_stack", b""),
        ("phys_addr", 0),
        ("period", 0),
    ],
)
def test_the_kernel_is_not_asked_for_what_is_blank(name: str, value: int | bytes) -> None:
    leader = Sampled(1, 0, "cpu-clock", frequency=99, group=(FAULTS,))
    blanks = Blanks(frozenset({name}))
    layout = lay_out_sample(FORMAT, ("ip", name), blanks=blanks)

    blank = SamplingPlan(FORMAT, leader, layout, Scope())

    assert blank.shape.sample_type == m.TIME | m.IP
    assert blank.shape.read_format == FORMAT_LOST
    assert blank.group == ()
    assert blank.constants == {name: value}
    assert (
        blank.key != SamplingPlan(FORMAT, leader, lay_out_sample(FORMAT, ("ip", name)), Scope()).key
    )


def test_stacks_and_names_need_the_task() -> None:
    assert planned("callchain", stack=StackDepth(0, 9)).shape.sample_type & m.TID
    assert not planned("callchain", stack=StackDepth(9, 0)).shape.sample_type & m.TID
    assert planned("_comm").shape.sample_type & m.TID
    assert planned("_comm").names_tasks


def test_the_counter_is_read_whole_where_it_is_wanted() -> None:
    assert planned("read").shape.read_format == 1 | 2 | 4 | FORMAT_LOST
    assert planned("ip").shape.read_format == FORMAT_LOST


def test_a_group_is_read_as_a_whole() -> None:
    leader = Sampled(1, 0, "cpu-clock", frequency=99, group=(FAULTS,))

    assert planned("read", origin=leader).shape.read_format == 1 | 2 | 4 | GROUP | FORMAT_LOST
    assert planned("read", origin=leader).group == (FAULTS,)
    # It costs nothing where nobody reads it.
    assert planned("ip", origin=leader).shape.read_format == FORMAT_LOST
    assert planned("ip", origin=leader).group == ()
    assert sample_info(leader).read_format == 1 | 2 | 4 | GROUP | FORMAT_LOST


def test_attr_of_a_counter() -> None:
    data = attr.counter_attr(Sampled(9, 4, "msr/smi/", config1=5, config2=6), Shape(m.READ, GROUP))

    assert struct.unpack_from("<IIQQQQQ", data) == (9, 120, 4, 0, 0, GROUP, 1 << 25)
    assert struct.unpack_from("<QQ", data, 56) == (5, 6)
    assert struct.unpack_from("<i", data, 92) == (1,)


def test_equal_plans_share() -> None:
    assert planned("ip").key == planned("ip").key
    # A depth without stacks means nothing.
    assert planned("ip").key != planned("addr").key
    assert planned("ip").key != planned("ip", origin=FAULTS).key
    assert (
        planned("callchain", stack=StackDepth(1, 2)).key
        != planned("callchain", stack=StackDepth(2, 2)).key
    )


def test_attr_as_the_kernel_wants_it() -> None:
    origin = Sampled(
        5, 0, "mem:0x1000/8:w", config1=0x1000, config2=8, breakpoint=2, period=1, flags=1 << 5
    )
    data = attr.sample_attr(origin, Shape(m.TIME, FORMAT_LOST), watermark=4096)

    # struct perf_event_attr: type, size, config, sample_period, sample_type, read_format, flags,
    # wakeup_watermark, bp_type, bp_addr, bp_len.
    assert struct.unpack_from("<IIQQQQQIIQQ", data) == (
        *(5, 120, 0, 1, m.TIME, FORMAT_LOST),
        # disabled, exclude_kernel, watermark, use_clockid
        1 | 1 << 5 | 1 << 14 | 1 << 25,
        *(4096, 2, 0x1000, 8),
    )
    # clockid is CLOCK_MONOTONIC.
    assert struct.unpack_from("<i", data, 92) == (1,)
    assert len(data) == 120


def test_attr_of_what_costs_more() -> None:
    origin = Sampled(1, 0, "cpu-clock", frequency=99, user_stack_bytes=512)
    shape = Shape(m.TIME | m.CALLCHAIN | m.BRANCH_STACK | m.STACK_USER | m.AUX | m.REGS_INTR)
    data = attr.sample_attr(origin, shape, watermark=0, depth=(0, 20))

    flags, wakeup = struct.unpack_from("<QI", data, 40)
    # disabled, freq, exclude_callchain_kernel, use_clockid
    assert flags == 1 | 1 << 10 | 1 << 21 | 1 << 25
    assert wakeup == 1
    assert struct.unpack_from("<Q", data, 16) == (99,)
    # PERF_SAMPLE_BRANCH_ANY.
    assert struct.unpack_from("<Q", data, 72) == (8,)
    assert struct.unpack_from("<I", data, 88) == (512,)
    # sample_max_stack, and aux_sample_size.
    assert struct.unpack_from("<H", data, 108) == (20,)
    assert struct.unpack_from("<I", data, 112) == (4096,)


@pytest.mark.parametrize(
    ("depth", "asked"),
    [
        # Deep stacks of the kernel must not take the room of the user's.
        ((8, 8), 100),
        ((127, 1), 100),
        ((8, 0), 8),
        ((0, 127), 100),
    ],
)
def test_frames_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, depth: tuple[int, int], asked: int
) -> None:
    monkeypatch.setattr(attr, "setting", {"perf_event_max_stack": 100}.__getitem__)
    origin = Sampled(1, 0, "cpu-clock", frequency=99)

    data = attr.sample_attr(origin, Shape(m.TIME | m.CALLCHAIN), watermark=0, depth=depth)

    assert struct.unpack_from("<H", data, 108) == (asked,)


def test_processes_of_an_event_stand_in_place_of_the_sessions() -> None:
    session = Scope(cpus=(0,), pids=(1,), identity=(7,))

    assert event_scope(session, SampledOptions()) is session
    own = event_scope(session, SampledOptions(tids=(1,)))
    assert (own.cpus, own.pids, own.tids) == ((0,), (), (1,))
    assert own.identity != session.identity


def test_a_process_that_is_not_there() -> None:
    with pytest.raises(NotFound) as error:
        event_scope(Scope(), SampledOptions(pids=(9_999_999,)))

    assert str(error.value) == "error: no process 9999999: it may have exited, or never was"


def test_names_of_registers_are_in_the_order_of_samples() -> None:
    x86, arm = BY_MACHINE["x86_64"], BY_MACHINE["aarch64"]

    assert x86.names[:12] == (
        *("ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip", "flags", "cs", "ss"),
    )
    assert x86.names[12:] == tuple(f"r{number}" for number in range(8, 16))
    # Without ds, es, fs and gs.
    assert x86.mask == 0xFF0FFF
    assert BY_MACHINE["i386"].names == x86.names[:12]
    assert arm.names == (*(f"x{number}" for number in range(30)), "lr", "sp", "pc")
    assert arm.mask == (1 << 33) - 1


def test_what_clients_are_told() -> None:
    info = sample_info(CLOCK)

    assert (info.counter, info.read_format) == ("cpu-clock", 1 | 2 | 4 | FORMAT_LOST)
    assert info.regs_user == info.regs_intr
    assert {"ip", "pid", "tid", "time", "addr", "id", "cpu", "period", "read"}.isdisjoint(
        ON_REQUEST
    )
    assert {"regs_user", "stack_user", "raw", "branch_stack"} <= ON_REQUEST


@pytest.mark.parametrize(
    ("counter", "frequency", "period", "rate"),
    [
        (0, 4000, 0, 4000),
        (1, 0, 1_000_000, 1000),
        # As often as the kernel does it at most.
        (0, 0, 1, 100_000),
        (2, 0, 1, 0),
    ],
)
def test_how_often_timers_interrupt(counter: int, frequency: int, period: int, rate: int) -> None:
    names = ("cpu-clock", "task-clock", "page-faults")
    origin = Sampled(1, counter, names[counter], frequency=frequency, period=period)

    assert planned("ip", origin=origin).timer_rate == rate
