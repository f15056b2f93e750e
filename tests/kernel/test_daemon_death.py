"""A daemon that dies while it serves: nothing of it stays, and its clients know."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from commandline import PTRACE_CLIENT, Run, wait_for_session
from leftovers import bpf_ids, ids_of, wait_until_none
from processes import Calls, Daemon
from streams import GETPPID, read_to_end

from ptrace_client.ends import LostConnection
from ptrace_proto import ptrace_pb2 as pb

SESSIONS = 20
COUNTING = """
def tell():
    print("running", flush=True)
seen = 0
def __sample__(event):
    global seen
    seen += 1
    if seen % 1000 == 0:
        print(seen, flush=True)
def __interval__():
    # The run has begun.
    global tell
    tell()
    tell = int
def __reconnected__(start, end):
    print("again", start, end, flush=True)
def __exit__():
    print("exit", seen)
"""
AGAIN = re.compile(
    r"ptrace-client: connected again: events of \d+ ms are missing, "
    r"from (\d+)\.(\d{6}) to (\d+)\.(\d{6}) s \(CLOCK_MONOTONIC\)\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "counting.py").write_text(COUNTING)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], Daemon]]:
    """Starts a daemon, always on the same socket."""
    started: list[Daemon] = []

    def daemon() -> Daemon:
        started.append(Daemon(folder))
        return started[-1]

    yield daemon
    for one in started:
        one.stop(signal.SIGKILL)


def counting(daemon: Daemon, folder: Path, *options: str) -> Run:
    command = [PTRACE_CLIENT, "run", "--socket", daemon.socket, "-q", "-e", GETPPID]
    return Run([*command, *options, "counting.py"], folder)


def requests() -> list[pb.TraceRequest]:
    """Of several kinds, each of which has programs, maps and rings of its own."""
    kinds = [
        *(GETPPID, "sched:sched_switch,sched:sched_wakeup", "syscalls:sys_enter_get*"),
        *("profile", f"{GETPPID}/common_pid != 1/"),
    ]
    return [pb.TraceRequest(selectors=[kinds[n % len(kinds)]]) for n in range(SESSIONS - 2)]


def test_a_daemon_is_killed_and_20_clients_know_and_one_goes_on(
    start: Callable[[], Daemon], folder: Path, calls: Callable[..., Calls]
) -> None:
    first, second = calls(1000), calls(1000, 1)
    pids = f"{first.pid},{second.pid}"
    daemon = start()
    with ExitStack() as clients:
        # GIVEN 20 sessions, one of which is to go on
        host = clients.enter_context(daemon.connect())
        streams = [clients.enter_context(host.open(request)) for request in requests()]
        plain = clients.enter_context(counting(daemon, folder, "--", "counting.py"))
        going_on = clients.enter_context(counting(daemon, folder, "--reconnect", "-p", pids))
        wait_for_session(host, "counting.py", going_on)
        while len(host.sessions()) < SESSIONS:
            assert plain.process.poll() is None
        first.make()
        assert going_on.line() == "1000"
        assert plain.line()
        held = ids_of(daemon)
        assert min(len(held["prog"]), len(held["map"])) > 5

        # WHEN the daemon is killed, and at once another starts on the same socket
        daemon.stop(signal.SIGKILL)
        daemon = start()

        # THEN no probe, program or map of the first remains
        wait_until_none(
            lambda: {
                kind: ids & bpf_ids(kind) for kind, ids in held.items() if ids & bpf_ids(kind)
            },
            "left of the daemon that was killed",
        )
        # AND all clients end with a clear message
        for stream in streams:
            with pytest.raises(LostConnection, match="went away in the middle of the trace"):
                read_to_end(stream)
        gone = (
            f"the daemon at unix:{daemon.socket} went away in the middle of the trace: events "
            "after this moment are missing; see `systemctl status ptraced`, then run again\n"
        )
        ended = plain.end()
        assert (ended.status, ended.err) == (4, f"error: {gone}")
        assert ended.out.splitlines()[-1].startswith("exit ")

        # AND the one goes on with what it has counted, and says what it missed
        again, begin, end = going_on.line().split()
        assert again == "again"
        assert 0 < int(begin) < int(end)
        second.make()
        assert going_on.line() == "2000"
        going_on.signal(signal.SIGINT)
        ended = going_on.end()
        assert (ended.status, ended.out) == (0, "exit 2000\n")
        assert ended.err.startswith(f"ptrace-client: {gone.partition(': events')[0]}\n")
        told = AGAIN.search(ended.err)
        assert told is not None
        assert int(told[1] + told[2]) == int(begin) // 1000
        assert int(told[3] + told[4]) == int(end) // 1000


def test_a_daemon_that_is_restarted_in_order_is_waited_for(
    start: Callable[[], Daemon], folder: Path, calls: Callable[..., Calls]
) -> None:
    daemon, program = start(), calls(1000)
    with counting(daemon, folder, "--reconnect", "-N", "1000") as run:
        with daemon.connect() as host:
            wait_for_session(host, "counting.py", run)
        assert daemon.stop() == 0
        start()
        assert run.line().startswith("again ")
        program.make()
        ended = run.end()
    assert (ended.status, ended.out) == (0, "1000\nexit 1000\n")
    assert AGAIN.search(ended.err)


def test_a_wait_for_the_daemon_ends_with_ctrl_c_or_its_time(
    start: Callable[[], Daemon], folder: Path
) -> None:
    daemon = start()
    with (
        counting(daemon, folder, "-i", "1", "--reconnect") as patient,
        counting(daemon, folder, "-i", "1", "--reconnect=0.5") as impatient,
    ):
        assert (patient.line(), impatient.line()) == ("running", "running")
        daemon.stop(signal.SIGKILL)
        ended = impatient.end()
        assert (ended.status, ended.out) == (4, "exit 0\n")
        assert ended.err.endswith("then run again\n")
        assert patient.process.stderr is not None
        # Told once, however often it tries.
        lines = [patient.process.stderr.readline() for _ in range(2)]
        assert lines[1].endswith("; trying again\n")
        patient.signal(signal.SIGINT)
        ended = patient.end()
        assert (ended.status, ended.out) == (4, "exit 0\n")
        assert ended.err.startswith("error: the daemon at ")


def test_a_daemon_that_is_back_and_refuses_is_the_end(
    start: Callable[[], Daemon], folder: Path, calls: Callable[..., Calls]
) -> None:
    daemon, program = start(), calls(1000)
    options = ("-i", "1", "--reconnect", "-p", str(program.pid))
    with counting(daemon, folder, *options) as run:
        assert run.line() == "running"
        daemon.stop(signal.SIGKILL)
        program.end()
        start()
        ended = run.end()
    assert (ended.status, ended.out) == (2, "exit 0\n")
    last = ended.err.splitlines()[-1]
    assert last == f"error: no process {program.pid}: it may have exited, or never was"
