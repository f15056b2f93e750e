"""Control goes ahead of data: calls while sessions stream, and losses while events wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from leftovers import wait_until
from processes import Calls, Daemon
from streams import GETPPID, Total, read_to_end

from ptrace_client.stream import Stream
from ptrace_proto import ptrace_pb2 as pb


def only_time(program: Calls, **options: Any) -> pb.TraceRequest:
    return pb.TraceRequest(
        selectors=[GETPPID],
        scope=pb.Scope(pids=[program.pid]),
        projections=[pb.Projection(event=GETPPID)],
        **options,
    )


def test_control_calls_are_answered_while_eight_sessions_stream_at_full_rate(
    own_daemon: Callable[..., Daemon], calls: Callable[..., Calls]
) -> None:
    daemon = own_daemon()
    programs = [calls(4_000_000, cpu) for cpu in (0, 1)]
    totals = [Total() for _ in range(4)]
    with daemon.connect() as host, daemon.connect() as control:
        # GIVEN four sessions that are read, and four whose clients do not read
        sessions = [
            host.open(only_time(programs[number % 2], label=f"s{number}")) for number in range(8)
        ]
        read, unread = sessions[:4], sessions[4:]
        threads = [
            threading.Thread(target=read_to_end, args=pair)
            for pair in zip(read, totals, strict=True)
        ]
        threads += [threading.Thread(target=program.make) for program in programs]
        for thread in threads:
            thread.start()
        wait_until(
            lambda: all(session.totals[0].delivered for session in control.sessions()),
            "all sessions stream",
        )
        # WHEN control calls come
        assert control.info.caller.pid
        stopped = unread[0].started.session_id
        control.stop(stopped)
        listed = {session.label for session in control.sessions()}
        # THEN they are answered with the streams still under way
        assert all(thread.is_alive() for thread in threads)
        assert listed >= {f"s{number}" for number in range(8) if number != 4}

        # AND the stopped one ends with what it had, the others with everything
        end = read_to_end(unread[0])
        assert end.end.reason == pb.END_REASON_STOPPED
        assert 0 < end.produced < 4_000_000
        for program in threads[4:]:
            program.join()
        for session in sessions:
            if session is not unread[0]:
                session.stop()
        totals += [read_to_end(session) for session in unread[1:]]
        for thread in threads:
            thread.join()
    assert [total.produced for total in totals] == [4_000_000] * 7


def test_a_loss_is_told_before_older_data_that_waits(
    own_daemon: Callable[..., Daemon], calls: Callable[..., Calls]
) -> None:
    # GIVEN a client that does not read, so that its queue of 4 MiB is full when events are lost
    daemon = own_daemon(config='[limits]\nqueue_bytes = "4MiB"')
    program = calls(1_500_000)
    with daemon.connect() as host, host.open(only_time(program)) as stream:
        program.make()
        stream.stop()
        # WHEN it reads at last
        messages = all_messages(stream)

    # THEN the loss comes in a message ahead of data that happened, and was queued, before it
    place, loss = next(
        (place, message.losses[0]) for place, message in enumerate(messages) if message.losses
    )
    assert loss.stage == pb.LOSS_STAGE_QUEUE
    behind = next(batch for message in messages[place + 1 :] for batch in message.batches)
    assert int.from_bytes(behind.rows[:8], "little") < loss.start_time
    total = Total()
    for message in messages:
        total.add(message)
    assert total.produced == 1_500_000


def all_messages(stream: Stream) -> list[pb.TraceResponse]:
    found = []
    while not found or not found[-1].HasField("end"):
        message = stream.next(timeout=None)
        assert message is not None
        found.append(message)
    return found
