"""Selection by CPU, process, thread and control group, in the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import Calls, Daemon
from streams import GETPPID, events, read_to_end, trace_while

from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb
from ptraced.scope import cgroup_root


def test_a_cpu(daemon: Daemon, calls: Callable[..., Calls]) -> None:
    here, there = calls(100, 0), calls(300, 1)
    request = pb.TraceRequest(
        selectors=[f"{GETPPID}/common_pid=={here.pid}||common_pid=={there.pid}/"],
        scope=pb.Scope(cpus="1"),
    )

    with daemon.connect() as host:
        total = trace_while(host, request, lambda: (here.make(), there.make()))

    assert total.by_cpu == {(1, 1): 300}


def test_a_cpu_of_one_event(daemon: Daemon, calls: Callable[..., Calls]) -> None:
    here, there = calls(100, 0), calls(300, 1)
    request = pb.TraceRequest(
        selectors=[f"{GETPPID}//cpus=0/,{GETPPID}//alias=all/"],
        scope=pb.Scope(pids=[here.pid, there.pid]),
    )

    with daemon.connect() as host:
        total = trace_while(host, request, lambda: (here.make(), there.make()))

    assert total.delivered == {1: 100, 2: 400}


# Forks a child that forks a child; each has a second thread, and each thread makes a call.
_FAMILY = """
import os, threading
def call(): os.getppid()
def generation(left):
    thread = threading.Thread(target=call); thread.start(); thread.join(); call()
    if left and os.fork() == 0:
        generation(left - 1)
    elif left:
        os.wait()
    if left < 2: os._exit(0)
print("ready", flush=True)
input()
generation(2)
"""


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _FAMILY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.communicate()


@pytest.mark.parametrize("kind", ["pids", "tids"])
def test_children_and_threads_that_come_later_are_followed(
    daemon: Daemon, family: subprocess.Popen[str], kind: str
) -> None:
    scope = pb.Scope(**{kind: [family.pid]})  # type: ignore[arg-type]
    with daemon.connect() as host:
        request = pb.TraceRequest(selectors=[GETPPID], scope=scope)
        with host.open(request) as stream:
            family.communicate("go\n")
            total = read_to_end(stream)
            found = events(stream, total)

    assert total.end.reason == pb.END_REASON_TARGETS_GONE
    assert len(found) == 6
    assert len({event["_pid"] for event in found}) == 3
    assert len({event["_tid"] for event in found}) == 6


def test_other_processes_are_not_traced(daemon: Daemon, calls: Callable[..., Calls]) -> None:
    wanted, other = calls(10), calls(20)
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(pids=[wanted.pid]))

    with daemon.connect() as host:
        total = trace_while(host, request, lambda: (wanted.make(), other.make()))

    assert total.delivered.total() == 10


@pytest.fixture
def group() -> Iterator[Path]:
    root = cgroup_root()
    assert root is not None
    directory = root / "ptraced-test"
    (directory / "inner").mkdir(parents=True)
    yield directory
    (directory / "inner").rmdir()
    directory.rmdir()


def test_a_control_group_and_what_lies_below_it(
    daemon: Daemon, calls: Callable[..., Calls], group: Path
) -> None:
    inside, below, outside = calls(10), calls(20), calls(40)
    (group / "cgroup.procs").write_text(str(inside.pid))
    (group / "inner/cgroup.procs").write_text(str(below.pid))
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(cgroups=["ptraced-te.t$"]))

    with daemon.connect() as host:
        total = trace_while(
            host, request, lambda: [program.make() for program in (inside, below, outside)]
        )
    for program in (inside, below):
        program.end()

    assert total.delivered.total() == 30


def test_a_process_that_is_not_there_is_refused(daemon: Daemon) -> None:
    pid = int(Path("/proc/sys/kernel/pid_max").read_text()) - 1
    assert not os.path.exists(f"/proc/{pid}")
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(pids=[pid]))

    with daemon.connect() as host, pytest.raises(ClientError) as error:
        host.open(request)

    assert str(error.value) == f"error: no process {pid}: it may have exited, or never was"
    assert error.value.status == 2
