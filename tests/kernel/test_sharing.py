"""Sessions that ask for the same share a program; others, tracers too, notice nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from leftovers import programs_of, wait_until
from processes import Calls, Daemon
from streams import GETPPID, Total, read_to_end

from ptrace_client.errors import ClientError
from ptrace_client.stream import Stream
from ptrace_proto import ptrace_pb2 as pb


def test_equal_requests_share_one_program_and_each_gets_every_event(
    own_daemon: Callable[..., Daemon], calls: Callable[..., Calls]
) -> None:
    daemon = own_daemon()
    program = calls(10_000)
    # The same filter, written in two ways.
    selectors = [
        f"{GETPPID}/common_pid == {program.pid}/",
        f"{GETPPID}/ ( common_pid=={hex(program.pid)} ) /alias=twin/",
    ]
    with daemon.connect() as host:
        streams = [
            host.open(pb.TraceRequest(selectors=[selectors[number % 2]])) for number in range(4)
        ]
        assert len(programs_of(daemon)) == 1
        program.make()
        totals = []
        for stream in streams:
            stream.stop()
            totals.append(read_to_end(stream))
            stream.cancel()

    assert [total.delivered[1] for total in totals] == [10_000] * 4
    wait_until(lambda: not programs_of(daemon), "the last user took the program down")


def test_a_session_gets_nothing_from_before_it_began(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    first, second = calls(5_000), calls(7_000)
    request = pb.TraceRequest(
        selectors=[f"{GETPPID}/common_pid=={first.pid} || common_pid=={second.pid}/"]
    )
    with daemon.connect() as host, host.open(request) as early:
        first.make()
        with host.open(request) as late:
            second.make()
            late.stop()
            assert read_to_end(late).delivered.total() == 7_000
        early.stop()
        assert read_to_end(early).delivered.total() == 12_000


def test_more_programs_than_a_tracepoint_takes_are_refused_with_the_reason(
    own_daemon: Callable[..., Daemon],
) -> None:
    # An event that nobody else traces meanwhile.
    event = "syscalls:sys_enter_sysinfo"
    daemon = own_daemon()
    streams: list[Stream] = []
    with daemon.connect() as host:

        def add(number: int) -> None:
            selector = f"{event}/common_pid=={number}/"
            streams.append(host.open(pb.TraceRequest(selectors=[selector], buffer_pages=16)))

        for number in range(64):
            add(number)
        with pytest.raises(ClientError) as error:
            add(64)
        # One that asks for what another has shares its program.
        add(0)
        for stream in streams:
            stream.cancel()

    assert str(error.value) == (
        f"error: the kernel runs at most 64 programs on a tracepoint, and {event} has them; "
        "sessions that ask for the same share one"
    )


def test_a_hundred_sessions_at_once(daemon: Daemon, calls: Callable[..., Calls]) -> None:
    program = calls(1_000)
    with daemon.connect() as host:
        # Ten kinds of sessions, ten of each.
        streams = [
            host.open(
                pb.TraceRequest(
                    selectors=[f"{GETPPID}/common_pid=={program.pid} && CPU<{100 + number % 10}/"],
                    buffer_pages=16,
                )
            )
            for number in range(100)
        ]
        assert len(host.sessions()) >= 100
        program.make()
        totals = [Total() for _ in streams]
        for stream, total in zip(streams, totals, strict=True):
            stream.stop()
            read_to_end(stream, total)
            stream.cancel()

    assert [total.delivered.total() for total in totals] == [1_000] * 100


def test_perf_sees_every_event_while_we_trace_a_part_of_them(
    daemon: Daemon, calls: Callable[..., Calls], tmp_path: Path
) -> None:
    # GIVEN a session whose filter lets nothing through
    program = calls(3_000)
    request = pb.TraceRequest(selectors=[f"{GETPPID}/common_pid==1/"])
    with daemon.connect() as host, host.open(request):
        # WHEN perf counts and records the same tracepoint
        data = tmp_path / "perf.data"
        record = f"perf record -q -o {data} -m 512 -e {GETPPID} -p {program.pid}"
        perf = subprocess.Popen(
            [*record.split(), "-D", "-1", "--control", "fd:0,1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert perf.stdin is not None
        assert perf.stdout is not None
        perf.stdin.write(b"enable\n")
        perf.stdin.flush()
        assert perf.stdout.readline().startswith(b"ack")
        program.make()
        program.end()
        # Its control pipe stays open meanwhile: perf takes the end of it for an error.
        assert perf.wait() == 0
        perf.communicate()
    # THEN it has all of them
    lines = subprocess.run(
        ["perf", "script", "-i", data, "-F", "event"], check=True, capture_output=True, text=True
    )
    assert len(lines.stdout.splitlines()) == 3_000
