"""However a session ends, nothing of it stays: probes, programs, maps, descriptors, threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from leftovers import (
    bpf_programs,
    holdings,
    kernel_objects,
    programs_of,
    resident_bytes,
    wait_until,
    wait_until_none,
)
from processes import Calls, Daemon
from streams import GETPPID, read_to_end, trace_while

from ptrace_proto import ptrace_pb2 as pb

WARM = 400
REQUEST = pb.TraceRequest(selectors=["sched:sched_switch,sched:sched_wakeup", GETPPID])


@pytest.fixture
def settled(own_daemon: Callable[..., Daemon]) -> Iterator[Daemon]:
    """A daemon that has served once; after the test it must hold no more than it held then."""
    daemon = own_daemon()
    with daemon.connect() as host:
        trace_while(host, REQUEST, lambda: None)
    wait_until_none(lambda: kernel_objects(daemon), "left of the first session")
    before = holdings(daemon)
    # gRPC closes its side of a connection that ended when it next has something to do.
    before["socket"] = max(before["socket"], 3)
    yield daemon
    wait_until_none(lambda: holdings(daemon) - before, f"held on top of {before}")


def test_a_stopped_session(settled: Daemon) -> None:
    with settled.connect() as host:
        total = trace_while(host, REQUEST, lambda: os.getppid())
    assert total.end.reason == pb.END_REASON_STOPPED


def test_a_cancelled_call(settled: Daemon) -> None:
    with settled.connect() as host:
        host.open(REQUEST).cancel()
        assert len(host.sessions()) <= 1


def test_a_client_that_is_killed(settled: Daemon) -> None:
    client = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from ptrace_client import connect\n"
            "with connect(socket=sys.argv[1]) as host:\n"
            "    for event in host.trace('sched:sched_switch'):\n"
            "        print('here', flush=True)\n",
            str(settled.socket),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "here\n"
    assert programs_of(settled)
    client.send_signal(signal.SIGKILL)
    client.wait()
    client.stdout.close()


def test_a_request_that_is_refused_halfway(settled: Daemon) -> None:
    # The second event's ring does not fit, the first is attached by then.
    request = pb.TraceRequest(selectors=["sched:sched_switch", "sched:nosuch"])
    with settled.connect() as host, pytest.raises(Exception, match="nosuch"):
        host.open(request)


def test_a_daemon_that_is_told_to_stop(own_daemon: Callable[..., Daemon]) -> None:
    daemon = own_daemon()
    with daemon.connect() as host, host.open(REQUEST) as stream:
        programs = programs_of(daemon)
        assert programs
        daemon.process.send_signal(signal.SIGTERM)
        read_to_end(stream)
    assert daemon.stop() == 0
    assert not programs & bpf_programs()


def test_a_daemon_that_is_killed(own_daemon: Callable[..., Daemon]) -> None:
    daemon = own_daemon()
    with daemon.connect() as host, host.open(REQUEST):
        programs = programs_of(daemon)
        assert programs
        daemon.stop(signal.SIGKILL)
    wait_until(lambda: not programs & bpf_programs(), "the kernel dropped the programs")


def test_a_thousand_sessions_leave_nothing(settled: Daemon, calls: Callable[..., Calls]) -> None:
    # Every tenth asks for something else, so that not all share one compilation.
    def request(number: int) -> pb.TraceRequest:
        return pb.TraceRequest(selectors=[f"{GETPPID}/common_pid != {number // 100}/"])

    with settled.connect() as host:
        # Threads and malloc's arenas for them take some 20 MiB once, in the first hundreds.
        for number in range(WARM):
            trace_while(host, request(number), os.getppid)
        early = resident_bytes(settled)
        for number in range(WARM, WARM + 900):
            with host.open(request(number)) as stream:
                stream.stop()
                read_to_end(stream)
    grown = resident_bytes(settled) - early
    assert grown < 16 << 20, f"{grown} bytes more after 900 sessions"
