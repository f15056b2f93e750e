"""Hours of coming and going: the daemon's memory stays flat, and nothing is left over.

PTRACED_SOAK_SECONDS says how long; `make soak` takes an hour.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commandline import open_folder
from leftovers import children_of, holdings, kernel_objects, wait_until_none
from processes import Daemon
from streams import read_to_end, trace_while
from users import start_daemon

from ptrace_client import host as host_module
from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb

SECONDS = float(os.environ.get("PTRACED_SOAK_SECONDS", "60"))
SESSIONS = 200
CONNECTIONS = 8
PROCESSES_PER_SECOND = 1000
# Of the second half against the first: what caches that fill may take, and noise of malloc.
GROWTH_MAX = 1.1
MIB = 1 << 20
# A daemon without privilege may lock little memory, and sessions with -p share no buffer.
SMALL_BUFFERS = "[limits]\nbuffer_pages = 16\n"
# Those of a thousand new processes a second fill what is kept of stacks (128 MiB) in minutes.
USER_STACKS = pb.Stacks(kernel=True, user=SECONDS >= 600)
CHOICES = (
    pb.TraceRequest(selectors=["sched:sched_process_exec"]),
    pb.TraceRequest(selectors=["sched:sched_process_exec,sched:sched_process_exit"]),
    pb.TraceRequest(selectors=["sched:sched_process_fork"], stacks=pb.Stacks(kernel=True)),
    pb.TraceRequest(selectors=["task:task_newtask"], stacks=USER_STACKS),
    pb.TraceRequest(selectors=["syscalls:sys_enter_exit_group"]),
    pb.TraceRequest(selectors=['syscalls:sys_enter_execve/filename.ustring ~ "*churn*"/']),
    pb.TraceRequest(selectors=["profile/-F 49/"], stacks=USER_STACKS),
    pb.TraceRequest(selectors=["sched:sched_switch"], scope=pb.Scope(pids=[os.getpid()])),
)


class Clients:
    """Sessions that are opened, read for a while, and ended in one of the ways there are."""

    def __init__(self, daemon: Daemon, until: float) -> None:
        self.opened = self.delivered = 0
        self.failures: list[str] = []
        self._daemon = daemon
        self._until = until
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._live, args=(random.Random(number),))
            for number in range(SESSIONS)
        ]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def _live(self, chance: random.Random) -> None:
        try:
            while time.monotonic() < self._until:
                with self._daemon.connect() as host:
                    self._trace(host, chance)
        except Exception as error:
            self.failures.append(f"{type(error).__name__}: {error}")

    def _trace(self, host: Host, chance: random.Random) -> None:
        delivered = 0
        with host.open(chance.choice(CHOICES)) as stream:
            end = min(self._until, time.monotonic() + chance.uniform(0.1, 8))
            while time.monotonic() < end:
                message = stream.next(timeout=end - time.monotonic())
                delivered += sum(batch.count for batch in message.batches) if message else 0
            # The others are dropped in the middle, by the end of the block.
            if chance.random() < 0.5:
                stream.stop()
                delivered += read_to_end(stream).delivered.total()
        with self._lock:
            self.opened += 1
            self.delivered += delivered


class Memory:
    """What a daemon and its helpers have resident, over time, bytes."""

    def __init__(self, daemon: Daemon) -> None:
        self.samples: list[int] = []
        self._daemon = daemon
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SECONDS / 100):
            self.samples.append(sum(map(_resident, _family(self._daemon.pid))))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in children_of(pid):
        yield from _family(child)


def _resident(pid: int) -> int:
    try:
        # proc(5): resident pages that are not of files.
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE")


@contextmanager
def churn(binary: Path) -> Iterator[None]:
    """Short processes, all the time."""
    program = subprocess.Popen(
        [binary, str(PROCESSES_PER_SECOND)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"started\n"
    started = time.monotonic()
    yield
    count = int(program.communicate()[0])
    assert count > PROCESSES_PER_SECOND * (time.monotonic() - started) / 2


@pytest.mark.needs_kernel("tracefs", "BPF programs", "uprobes")
def test_soak(build: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    # Threads that want the same of gRPC share a connection, of 256 calls at most.
    usual, serial = host_module._options, itertools.count()
    monkeypatch.setattr(
        host_module,
        "_options",
        lambda endpoint: [*usual(endpoint), ("soak", next(serial) % CONNECTIONS)],
    )
    with open_folder() as folder:
        daemon = start_daemon(folder, config=SMALL_BUFFERS)
        try:
            soak(daemon, build("churn"))
        finally:
            daemon.stop(signal.SIGKILL)


def soak(daemon: Daemon, binary: Path) -> None:
    with daemon.connect() as host:
        for request in CHOICES:
            trace_while(host, request, lambda: None)
    wait_until_none(lambda: kernel_objects(daemon), "left of the first sessions")
    before = holdings(daemon)
    clients = Clients(daemon, time.monotonic() + SECONDS)
    with churn(binary), Memory(daemon) as memory:
        clients.run()
    assert clients.failures == []
    assert clients.delivered > 0
    half = len(memory.samples) // 2
    early = statistics.median(memory.samples[half // 2 : half])
    late = statistics.median(memory.samples[-half // 2 :])
    print(
        f"{clients.opened} sessions, {clients.delivered} events, "
        f"{early / MIB:.0f} MiB in the first half, {late / MIB:.0f} MiB at the end"
    )
    assert late < early * GROWTH_MAX
    with daemon.connect() as host:
        assert host.sessions() == []
    wait_until_none(lambda: kernel_objects(daemon), "left of the sessions")
    # gRPC in this process keeps the connections.
    before["socket"] += CONNECTIONS + 1
    wait_until_none(lambda: holdings(daemon) - before, f"held on top of {before}")
    assert daemon.stop() == 0
