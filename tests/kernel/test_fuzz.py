"""Ten thousand requests of a stranger: the daemon answers each, and holds and loads nothing.

PTRACED_FUZZ_SEED has the seed of a run that failed, PTRACED_FUZZ_CASES another number of cases.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import tempfile
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from callers import effective, own_rule
from fuzzed import Case, cases
from leftovers import holdings, programs_of, resident_bytes, wait_until, wait_until_none
from processes import Daemon
from streams import events, read_to_end
from users import AS_DAEMON, DAEMON_UID

from ptrace_client.errors import ClientError
from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb
from ptraced.service import SERVICE
from unprivileged import NOBODY

SEED = int(os.environ.get("PTRACED_FUZZ_SEED", "0")) or int.from_bytes(os.urandom(4), "little")
CASES = int(os.environ.get("PTRACED_FUZZ_CASES", "10000"))
# Connections that do not even speak HTTP/2.
STRANGE_CONNECTIONS = 200
# Seconds after which a call is taken to hang: far more than any takes.
NEVER = 60.0
# A leak of 4 KiB per case would be more.
GROWTH_MAX = 32 << 20
# What the process that names stacks is held by: it starts with the first stack, whenever that is.
SYMBOLIZER = Counter({"pipe": 2, "thread python": 2})
# BPF_PROG_LOAD of include/uapi/linux/bpf.h.
LOADS = "syscalls:sys_enter_bpf/cmd == 5/"
# What a call may end with: UNKNOWN and INTERNAL would be faults of ours.
ANSWERS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
}


@dataclass(frozen=True, slots=True)
class Session:
    """A session that was asked for; from when to when (CLOCK_MONOTONIC, ns) that took."""

    start: int
    end: int
    case: Case
    refusal: str = ""


@dataclass
class Outcome:
    """What became of cases."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    granted: list[Session] = field(default_factory=list)
    refused: list[Session] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, case: Case, code: grpc.StatusCode, details: str) -> None:
        with self.lock:
            self.answers[case.method, code.name] += 1
            if code not in ANSWERS:
                self.wrong.append(f"case {case.number}: {case}: {code.name}: {details}")
            if not harmless(details):
                self.wrong.append(f"case {case.number}: {case}: not to be printed: {details!r}")


def harmless(text: str) -> bool:
    """Whether nothing in it acts on a terminal."""
    kinds = {unicodedata.category(char) for char in text if char != "\n"}
    return not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


class Caller:
    """A connection that sends bytes as they are."""

    def __init__(self, daemon: Daemon, outcome: Outcome) -> None:
        self._channel = grpc.insecure_channel(f"unix:{quote(str(daemon.socket))}")
        grpc.channel_ready_future(self._channel).result(timeout=NEVER)
        self._outcome = outcome

    def make(self, made: Sequence[Case]) -> None:
        for case in made:
            try:
                self._call(f"/{SERVICE}/{case.method}", case)
                self._outcome.note(case, grpc.StatusCode.OK, "")
            except grpc.RpcError as error:
                self._outcome.note(case, error.code(), error.details() or "")

    def _call(self, path: str, case: Case) -> None:
        if case.method != "Trace":
            self._channel.unary_unary(path)(case.request, timeout=NEVER)
            return
        before = time.monotonic_ns()
        call = self._channel.unary_stream(path)(case.request, timeout=NEVER)
        try:
            next(call)
        except grpc.RpcError as error:
            refused = Session(before, time.monotonic_ns(), case, error.details() or "")
            self._outcome.refused.append(refused)
            raise
        self._outcome.granted.append(Session(before, time.monotonic_ns(), case))
        call.cancel()

    def close(self) -> None:
        self._channel.close()


def connected(daemon: Daemon) -> Host:
    """A connection of nobody's, as soon as those before are forgotten: there is a limit."""
    while True:
        with effective(NOBODY):
            try:
                return daemon.connect()
            except ClientError:
                assert daemon.process.poll() is None


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon as it is deployed, that lets nobody trace its own tasks."""
    folder = Path(tempfile.mkdtemp(prefix="ptraced-"))
    folder.chmod(0o755)
    own = folder / "daemon"
    own.mkdir()
    os.chown(own, DAEMON_UID, DAEMON_UID)
    # Small buffers, so that no session fails half-way for want of memory that may be locked.
    limits = "[limits]\nbuffer_pages = 4\nmax_buffer_pages = 8\n"
    running = Daemon(own, config=limits + own_rule(NOBODY), prefix=AS_DAEMON)
    yield running
    assert running.stop() == 0
    shutil.rmtree(folder)


@pytest.fixture
def watch(own_daemon: object) -> Iterator[Host]:
    """Another daemon, to see what the first one does."""
    assert callable(own_daemon)
    with own_daemon().connect() as host:
        yield host


def make_all(daemon: Daemon, made: Sequence[Case], outcome: Outcome) -> None:
    """Make cases: those of sessions one after the other, others beside them."""
    sessions = [case for case in made if case.method == "Trace"]
    rest = [case for case in made if case.method != "Trace"]
    with effective(NOBODY):
        callers = [Caller(daemon, outcome) for _ in range(4)]
    parts = [sessions, *(rest[start::3] for start in range(3))]
    with ThreadPoolExecutor(len(callers)) as threads:
        list(threads.map(Caller.make, callers, parts))
    for caller in callers:
        caller.close()


def connect_strangely(daemon: Daemon, chance: random.Random) -> None:
    """Send what is no HTTP/2, or half of it, and go."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for _ in range(STRANGE_CONNECTIONS):
        data = chance.choice([b"", preface, preface[: chance.randrange(24)]])
        data += chance.randbytes(chance.choice([0, 9, 4000]))
        with socket.socket(socket.AF_UNIX) as end, effective(NOBODY):
            end.connect(str(daemon.socket))
            try:
                end.sendall(data)
            except ConnectionError:
                # It was told to go before it had said all.
                pass


def is_in(session: Session, at: object) -> bool:
    assert isinstance(at, int)
    return session.start <= at <= session.end


@pytest.mark.needs_kernel("uprobes")
def test_ten_thousand_requests_of_a_stranger(daemon: Daemon, watch: Host) -> None:
    print(f"PTRACED_FUZZ_SEED={SEED}")
    made = list(cases(SEED, CASES, [os.getpid()]))
    outcome = Outcome()
    # Caches fill, and what is found out once about the kernel is.
    make_all(daemon, made[: CASES // 5], outcome)
    wait_until(lambda: not programs_of(daemon), "programs are let go")
    before = holdings(daemon) + SYMBOLIZER
    resident = resident_bytes(daemon)
    outcome.granted.clear()

    # WHEN the rest is made while somebody looks at which programs are loaded
    request = pb.TraceRequest(selectors=[LOADS], scope=pb.Scope(pids=[daemon.pid]))
    with watch.open(request) as stream:
        make_all(daemon, made[CASES // 5 :], outcome)
        stream.stop()
        total = read_to_end(stream)
        # Its compiler tries to, too, when BCC is loaded, and may not.
        loads = [event["_time"] for event in events(stream, total) if event["_pid"] == daemon.pid]

    # THEN each has an answer, and sessions that were granted loaded programs, and nothing else
    assert outcome.wrong == []
    assert outcome.answers.total() == CASES
    assert total.lost.total() == 0
    within = [session for at in loads for session in outcome.granted if is_in(session, at)]
    refused = [session for at in loads for session in outcome.refused if is_in(session, at)]
    assert refused == []
    assert len(within) == len(loads)
    assert outcome.granted
    assert loads
    # AND nothing is left, and it goes on
    wait_until(lambda: not programs_of(daemon), "programs are let go")
    wait_until_none(lambda: holdings(daemon) - before, "descriptors and threads are let go")
    assert resident_bytes(daemon) - resident < GROWTH_MAX
    connect_strangely(daemon, random.Random(SEED))
    request = pb.TraceRequest(selectors=["syscalls:sys_enter_getppid"])
    with connected(daemon) as host, host.open(request) as stream:
        stream.stop()
        assert read_to_end(stream).end.reason == pb.END_REASON_STOPPED
