"""What a stream carries: every event or its loss, marks, reasons, in both forms."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest
from processes import Calls, Daemon
from streams import GETPPID, Total, events, read_to_end, trace_while

from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb


def getppid_of(pid: int, **options: object) -> pb.TraceRequest:
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(pids=[pid]))
    request.MergeFrom(pb.TraceRequest(**options))  # type: ignore[arg-type]
    return request


def only_time() -> list[pb.Projection]:
    return [pb.Projection(event=GETPPID)]


def test_a_million_events_arrive_and_none_is_lost(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(1_000_000, 1)
    with daemon.connect() as host:
        total = trace_while(host, getppid_of(program.pid, projections=only_time()), program.make)

    assert total.delivered == {1: 1_000_000}
    assert not total.losses
    assert total.by_cpu == {(1, 1): 1_000_000}


def test_events_of_one_cpu_are_in_order_and_in_the_time_of_the_session(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(50_000)
    with daemon.connect() as host, host.open(getppid_of(program.pid)) as stream:
        program.make()
        stream.stop()
        total = read_to_end(stream)
        times = [event["_time"] for event in events(stream, total)]
        arrived = [
            time
            for batch in total.batches
            for time in _times(batch, stream.started.schemas[0].row_size)
        ]

    assert arrived == times
    assert stream.started.start_time <= times[0]
    assert len(times) == 50_000


def _times(batch: pb.Batch, row_size: int) -> list[int]:
    return [
        int.from_bytes(batch.rows[start : start + 8], "little")
        for start in range(0, len(batch.rows), row_size)
    ]


def test_a_full_kernel_buffer_is_counted_to_the_event(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    # GIVEN a ring of one page, a reader that is stopped
    program = calls(100_000)
    with daemon.connect() as host, host.open(getppid_of(program.pid, buffer_pages=1)) as stream:
        os.kill(daemon.pid, signal.SIGSTOP)
        # WHEN more is submitted than the ring holds
        try:
            program.make()
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        stream.stop()
        total = read_to_end(stream)

    # THEN each event was delivered or is counted, by stage, CPU and time
    assert total.lost.total() > 90_000
    assert total.produced == 100_000
    assert {loss.stage for loss in total.losses} == {pb.LOSS_STAGE_KERNEL_BUFFER}
    assert {loss.cpu for loss in total.losses} == {0}
    assert all(loss.start_time < loss.end_time for loss in total.losses)
    assert [(t.delivered, t.lost) for t in total.end.totals] == [
        (total.delivered.total(), total.lost.total())
    ]


def test_a_slow_client_loses_its_own_newest_events_and_nobody_elses(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    # GIVEN a client that does not read, and one that does
    program = calls(3_000_000, 1)
    fast = Total()
    with daemon.connect() as host, daemon.connect() as other:
        slow_stream = host.open(getppid_of(program.pid))
        with other.open(getppid_of(program.pid, projections=only_time())) as stream:
            reader = threading.Thread(target=read_to_end, args=(stream, fast))
            reader.start()
            # WHEN more events come than a session's queue takes
            program.make()
            stream.stop()
            reader.join()
        slow_stream.stop()
        slow = read_to_end(slow_stream)
        slow_stream.cancel()

    # THEN the slow one lost some at its queue, all counted; the other none
    assert fast.delivered.total() == 3_000_000
    assert slow.produced == 3_000_000
    assert {loss.stage for loss in slow.losses} == {pb.LOSS_STAGE_QUEUE}
    # and what it got are the oldest
    first_lost = min(loss.start_time for loss in slow.losses)
    assert int.from_bytes(slow.batches[0].rows[:8], "little") < first_lost


def test_marks_never_go_back_and_cover_what_came_before(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(200_000)
    with daemon.connect() as host:
        total = trace_while(host, getppid_of(program.pid), program.make)

    assert total.marks == sorted(total.marks)
    assert total.marks


def test_marks_come_from_an_idle_session_that_asks_for_them(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(1)
    request = getppid_of(program.pid, mark_interval=30_000_000)
    with daemon.connect() as host, host.open(request) as stream:
        marks = []
        while len(marks) < 3:
            message = stream.next(timeout=None)
            assert message is not None
            assert not message.batches
            marks.append(message.mark.time)

    assert marks == sorted(set(marks))


def test_self_describing_samples_have_names_and_typed_values(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(3)
    with daemon.connect() as host:
        request = getppid_of(program.pid, self_describing=True)
        total = trace_while(host, request, program.make)

    assert not total.batches
    assert [sample.event for sample in total.samples] == [GETPPID] * 3
    fields = {field.name: field for field in total.samples[0].fields}
    assert fields["_pid"].signed == program.pid
    assert fields["_comm"].text == "calls"
    assert fields["__syscall_nr"].signed == 110
    assert total.samples[0].time < total.samples[1].time < total.samples[2].time


def test_a_stopped_session_says_so_and_a_second_stop_does_not_find_it(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(10)
    with daemon.connect() as host:
        with host.open(getppid_of(program.pid)) as stream:
            program.make()
            host.stop(stream.started.session_id)
            total = read_to_end(stream)
            session = stream.started.session_id
        assert total.end.reason == pb.END_REASON_STOPPED
        assert total.delivered.total() == 10
        with pytest.raises(ClientError, match=f"^error: no session {session}$"):
            host.stop(session)


def test_a_session_ends_when_its_processes_are_gone(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(10)
    with daemon.connect() as host, host.open(getppid_of(program.pid)) as stream:
        program.make()
        program.end()
        total = read_to_end(stream)

    assert total.end.reason == pb.END_REASON_TARGETS_GONE
    assert total.delivered.total() == 10


def test_sigterm_ends_all_streams_with_a_reason(
    own_daemon: Callable[..., Daemon], calls: Callable[..., Calls]
) -> None:
    daemon = own_daemon()
    program = calls(1000)
    with daemon.connect() as host:
        streams = [host.open(getppid_of(program.pid)) for _ in range(3)]
        program.make()
        daemon.process.send_signal(signal.SIGTERM)
        totals = [read_to_end(stream) for stream in streams]

    assert [total.end.reason for total in totals] == [pb.END_REASON_SHUTDOWN] * 3
    assert [total.delivered.total() for total in totals] == [1000] * 3
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
