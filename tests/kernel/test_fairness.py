"""One user's flood, or clients that stop or die, cost others neither events nor time."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import Calls, Daemon
from strangers import ANN, BEN, CAT, connected_as, rule
from streams import GETPPID, Total, read_to_end

from ptrace_client.host import Host
from ptrace_client.stream import Stream
from ptrace_proto import ptrace_pb2 as pb

CLIENT = Path(__file__).with_name("reading_client.py")
# More than a test's time; the program is killed.
ENDLESS = 1 << 40
ROUND_TRIPS = 40


def counted(pid: int) -> str:
    return f"{GETPPID}/common_pid=={pid}/"


class Light:
    """A session of few events: calls of this process, the next when the last has come."""

    def __init__(self, host: Host) -> None:
        request = pb.TraceRequest(selectors=[counted(os.getpid())])
        self.stream: Stream = host.open(request)
        self.total = Total()
        self.made = 0

    def latencies(self) -> list[int]:
        """How long some events took from the kernel to here, ns."""
        found = []
        for _ in range(ROUND_TRIPS):
            begin = time.monotonic_ns()
            os.getppid()
            self.made += 1
            while self.total.produced < self.made:
                message = self.stream.next(timeout=None)
                if message is not None:
                    self.total.add(message)
            found.append(time.monotonic_ns() - begin)
        return found

    def end(self) -> None:
        self.stream.stop()
        read_to_end(self.stream, self.total)
        assert self.total.delivered[1] == self.made
        assert self.total.lost[1] == 0


@contextlib.contextmanager
def flood(program: Calls) -> Iterator[None]:
    """Have a program make calls without an end, meanwhile."""
    assert program.process.stdin is not None
    program.process.stdin.write("go\n")
    program.process.stdin.flush()
    program.process.send_signal(signal.SIGCONT)
    try:
        yield
    finally:
        program.process.send_signal(signal.SIGSTOP)


@contextlib.contextmanager
def reading(
    uid: int, daemon: Daemon, *selectors: str, pages: int = 512
) -> Iterator[subprocess.Popen[str]]:
    """A client of another user, in a process of its own, that reads as fast as it can."""
    with (
        connected_as(uid, daemon),
        subprocess.Popen(
            [sys.executable, CLIENT, daemon.socket.with_name(f"as-{uid}"), str(pages), *selectors],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as client,
    ):
        try:
            yield client
        finally:
            client.kill()


def wait_for_data(client: subprocess.Popen[str]) -> None:
    assert client.stdout is not None
    assert client.stdout.readline() == "reads\n"


def assert_as_quick(alone: list[int], beside: list[int]) -> None:
    """Twice at most, with what a machine of two CPUs that are both busy adds by itself."""
    print(f"alone {summary(alone)}, beside {summary(beside)}")
    assert statistics.median(beside) <= 2 * statistics.median(alone) + 10_000_000


def summary(latencies: list[int]) -> str:
    tenths = statistics.quantiles(latencies, n=10)
    return f"p50 {tenths[4] / 1e6:.1f} ms, p90 {tenths[8] / 1e6:.1f} ms"


@pytest.fixture
def flooding(calls: Callable[..., Calls]) -> Iterator[Calls]:
    program = calls(ENDLESS)
    yield program
    program.process.kill()


def test_clients_that_stop_or_die_in_mid_batch_cost_a_third_nothing(
    served: Callable[[str], Daemon], flooding: Calls
) -> None:
    daemon = served(rule(ANN) + rule(BEN) + rule(CAT))
    selector = counted(flooding.pid)
    alone, beside = [], []
    with contextlib.ExitStack() as undo:
        light = Light(undo.enter_context(connected_as(BEN, daemon)))
        for uid in (ANN, CAT):
            alone += light.latencies()
            with reading(uid, daemon, selector) as client, flood(flooding):
                wait_for_data(client)
                client.send_signal(signal.SIGSTOP if uid == ANN else signal.SIGKILL)
                beside += light.latencies()
        alone += light.latencies()
        light.end()
    assert_as_quick(alone, beside)


def test_a_user_at_full_rate_costs_another_nothing(
    served: Callable[[str], Daemon], flooding: Calls
) -> None:
    daemon = served(rule(ANN) + rule(BEN))
    # With stacks, which take the reader many times as long as other rows, and large rings: to
    # read all of them takes it much longer than a round should.
    selectors = [
        f"{GETPPID}/common_pid=={flooding.pid} && common_pid!={number}/stack/alias=e{number}/"
        for number in range(4)
    ]
    alone, beside = [], []
    with contextlib.ExitStack() as undo:
        light = Light(undo.enter_context(connected_as(BEN, daemon)))
        alone += light.latencies()
        with reading(ANN, daemon, *selectors, pages=1024) as client, flood(flooding):
            wait_for_data(client)
            beside += light.latencies()
        alone += light.latencies()
        light.end()
    assert_as_quick(alone, beside)


def test_clients_that_never_read_fill_no_more_than_their_user_s_share(
    served: Callable[[str], Daemon], calls: Callable[..., Calls]
) -> None:
    limits = '[limits]\nqueue_bytes = "16MiB"\ntotal_queue_bytes = "16MiB"\n'
    daemon = served(limits + rule(ANN) + rule(BEN))
    flood, few = calls(1_000_000), calls(1_000)
    with connected_as(ANN, daemon) as ann, connected_as(BEN, daemon) as ben:
        unread = [ann.open(pb.TraceRequest(selectors=[counted(flood.pid)])) for _ in range(4)]
        with ben.open(pb.TraceRequest(selectors=[counted(few.pid)])) as stream:
            flood.make()
            few.make()
            stream.stop()
            assert read_to_end(stream).delivered[1] == 1_000
        queued = sum(session.queued_bytes for session in ann.sessions())
        assert 4 << 20 < queued <= 8 << 20
        for each in unread:
            each.stop()
            assert read_to_end(each).produced == 1_000_000
            each.cancel()
