"""Users over their rate are held back in the kernel: told so, and counted to the event."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from leftovers import programs_of
from processes import Calls, Daemon
from sampled import Program
from strangers import ANN, BEN, connected_as, rule
from streams import GETPPID, Total, read_to_end, trace_while

from ptrace_client.stream import Stream
from ptrace_proto import ptrace_pb2 as pb


def counted(program: Calls) -> str:
    return f"{GETPPID}/common_pid=={program.pid}/"


def read_until_it_goes_on(stream: Stream, total: Total) -> None:
    while not total.throttles or total.throttles[-1].started:
        message = stream.next(timeout=None)
        if message is not None:
            total.add(message)


@pytest.mark.parametrize("limit", [{"events_per_second": 2_000}, {"bytes_per_second": 50_000}])
def test_what_is_held_back_is_told_and_counted_to_the_event(
    served: Callable[[str], Daemon], calls: Callable[..., Calls], limit: dict[str, int]
) -> None:
    daemon = served(rule(ANN, **limit))
    program = calls(200_000)
    (name, rate), total = limit.popitem(), Total()
    request = pb.TraceRequest(selectors=[counted(program)], mark_interval=100_000_000)
    with connected_as(ANN, daemon) as ann, ann.open(request) as stream:
        program.make()
        read_until_it_goes_on(stream, total)
        stream.stop()
        read_to_end(stream, total)

    assert total.produced == 200_000
    assert total.lost_at(pb.LOSS_STAGE_THROTTLED) > 100_000
    assert (total.end.totals[0].delivered, total.end.totals[0].lost) == (
        total.delivered[1],
        total.lost[1],
    )
    started, went_on = total.throttles
    assert started.started
    assert started.time <= went_on.time
    assert started.reason == (
        f"your limit is {rate} {name.split('_')[0]} per second, over all of your sessions"
    )


def test_all_sessions_of_a_user_have_one_rate_and_other_users_theirs(
    served: Callable[[str], Daemon], calls: Callable[..., Calls]
) -> None:
    daemon = served(rule(ANN, events_per_second=5_000) + rule(BEN, events_per_second=1_000_000))
    program = calls(100_000)
    selectors = [counted(program), f"{GETPPID}/common_pid=={program.pid} && common_pid!=1/"]
    with connected_as(ANN, daemon) as ann, connected_as(BEN, daemon) as ben:
        # Of the last two the one that is the same as the first shares its source.
        streams = [ann.open(pb.TraceRequest(selectors=[s])) for s in (*selectors, selectors[0])]

        def work() -> None:
            program.make()
            for stream in streams:
                stream.stop()

        other = trace_while(ben, pb.TraceRequest(selectors=[selectors[0]]), work)
        totals = [read_to_end(stream) for stream in streams]
        for stream in streams:
            stream.cancel()

    assert [total.produced for total in totals] == [100_000] * 3
    assert all(total.lost_at(pb.LOSS_STAGE_THROTTLED) > 50_000 for total in totals)
    assert other.produced == 100_000
    assert other.lost_at(pb.LOSS_STAGE_THROTTLED) == 0


def test_many_events_of_one_module_are_counted_each(
    served: Callable[[str], Daemon], calls: Callable[..., Calls]
) -> None:
    daemon = served(rule(ANN, events_per_second=1_000))
    program = calls(50_000)
    request = pb.TraceRequest(
        selectors=["syscalls:sys_enter_get*,syscalls:sys_exit_get*"],
        scope=pb.Scope(pids=[program.pid]),
    )
    with connected_as(ANN, daemon) as ann:
        total = trace_while(ann, request, program.make)
    names = {schema.id: schema.name for schema in total.schemas}
    produced = {
        names[id_]: total.delivered[id_] + total.lost[id_]
        for id_ in names
        if total.delivered[id_] + total.lost[id_]
    }
    assert produced == {"sys_enter_getppid": 50_000, "sys_exit_getppid": 50_000}
    assert total.lost_at(pb.LOSS_STAGE_THROTTLED) > 50_000


def test_samples_are_held_back_and_counted_as_well(
    served: Callable[[str], Daemon], program: Program
) -> None:
    daemon = served(rule(ANN, events_per_second=1_000))
    request = pb.TraceRequest(selectors=["page-faults/-c 1/"], scope=pb.Scope(pids=[program.pid]))
    with connected_as(ANN, daemon) as ann:
        alone = trace_while(ann, request, lambda: program.do("t", 100))
        total = trace_while(ann, request, lambda: program.do("t", 20_000))
    assert total.lost_at(pb.LOSS_STAGE_THROTTLED) > 10_000
    # The program has a few faults besides those that it is asked for.
    assert 20_000 <= total.produced <= 20_000 + alone.produced


def test_who_has_no_limit_shares_with_others_who_have_none(
    served: Callable[[str], Daemon], calls: Callable[..., Calls]
) -> None:
    daemon = served(rule(ANN) + rule(BEN))
    program = calls(10_000)
    request = pb.TraceRequest(selectors=[counted(program)])
    with (
        connected_as(ANN, daemon) as ann,
        connected_as(BEN, daemon) as ben,
        ben.open(request) as stream,
        ann.open(request) as other,
    ):
        assert len(programs_of(daemon)) == 1
        program.make()
        for each in (stream, other):
            each.stop()
            assert read_to_end(each).delivered[1] == 10_000


def test_stacks_beyond_the_rate_have_no_names_and_rows_come_all_the_same(
    served: Callable[[str], Daemon], calls: Callable[..., Calls]
) -> None:
    daemon = served(rule(ANN, stacks_per_second=0))
    program = calls(1_000)
    request = pb.TraceRequest(selectors=[counted(program)], stacks=pb.Stacks(kernel=True))
    with connected_as(ANN, daemon) as ann, ann.open(request) as stream:
        total = Total()
        program.make()
        while not total.warnings:
            message = stream.next(timeout=None)
            if message is not None:
                total.add(message)
        stream.stop()
        read_to_end(stream, total)
    assert total.delivered[1] == 1_000
    assert total.stacks
    assert {frame.symbol for stack in total.stacks for frame in stack.frames} == {""}
    assert total.warnings == [
        "stacks have addresses without names where there are more new ones per second than the "
        "policy has names found for, and are left out beyond 10000"
    ]
