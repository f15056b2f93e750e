"""Users who have calls without end, or such as never end: others are served meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commandline import open_folder, ptrace_client
from leftovers import wait_until
from processes import Daemon
from users import AS_NOBODY, start_daemon

from unprivileged import NOBODY, as_user

OTHER = 65532
REFUSED = f"error: too many calls of uid {NOBODY} at once (limit 32)\n"
# Holds calls open that say no more than how they are called, until it is told to end.
HOLD_CALLS = """
import sys, threading
import grpc, grpc._channel
grpc._channel._consume_request_iterator = lambda *_: None
connections = [
    grpc.insecure_channel("unix:" + sys.argv[1], [("grpc.use_local_subchannel_pool", 1)])
    for _ in range(4)
]
held = []
for connection in connections:
    call = connection.stream_stream(sys.argv[2])
    held += [call(iter(())) for _ in range(200)]
    if sys.argv[2].endswith("/Watch"):
        call = connection.unary_stream(sys.argv[2])
        held += [call(b"") for _ in range(200)]
print("ready", flush=True)
sys.stdin.readline()
"""
# Asks 40 times and takes no answer: with a flow-control window of 0 (RFC 9113, 6.9).
TAKE_NOTHING = """
import socket, struct, sys
def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload
fields = b"".join(
    b"\\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    for name, value in (
        (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"here"),
        (b":path", b"/ptrace.v1.Tracing/WhoAmI"), (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n")
connection.sendall(frame(4, 0, 0, struct.pack(">HI", 4, 0)))
for stream in range(1, 81, 2):
    connection.sendall(frame(1, 4, stream, fields) + frame(0, 1, stream, bytes(5)))
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with open_folder() as folder:
        running = start_daemon(folder)
        yield running
        assert running.stop() == 0


@contextmanager
def running(daemon: Daemon, script: str, *arguments: str) -> Iterator[None]:
    command = as_user([sys.executable, "-c", script, str(daemon.socket), *arguments])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as attacker:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == "ready\n"
        yield
        attacker.communicate("end\n")


def threads(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/task").iterdir()))


@pytest.mark.parametrize(
    "method",
    [
        "/ptrace.v1.Tracing/GetServerInfo",
        "/ptrace.v1.Tracing/Trace",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_calls_that_never_end_are_few_and_keep_nobody_else_out(daemon: Daemon, method: str) -> None:
    before = threads(daemon)
    status = ("status", "--socket", daemon.socket)
    with running(daemon, HOLD_CALLS, method):
        wait_until(lambda: ptrace_client(*status, prefix=AS_NOBODY).err == REFUSED, "too many")
        for prefix in ((), as_user([], OTHER)):
            ended = ptrace_client(*status, prefix=prefix)
            assert (ended.status, ended.err) == (0, "")
        assert threads(daemon) < before + 100
    wait_until(lambda: ptrace_client(*status, prefix=AS_NOBODY).status == 0, "they are over")


def test_answers_that_are_not_taken_are_few(daemon: Daemon) -> None:
    status = ("status", "--socket", daemon.socket)
    with running(daemon, TAKE_NOTHING):
        wait_until(lambda: ptrace_client(*status, prefix=AS_NOBODY).err == REFUSED, "too many")
        assert ptrace_client(*status).status == 0
    wait_until(lambda: ptrace_client(*status, prefix=AS_NOBODY).status == 0, "they are over")


def test_a_million_globs_are_refused_before_they_are_tried(daemon: Daemon) -> None:
    ask = (
        "import sys\n"
        "from ptrace_client.host import connect\n"
        "from pathlib import Path\n"
        "with connect(socket=Path(sys.argv[1])) as host:\n"
        "    host.list_events(*['*'] * 300_000)\n"
    )
    command = as_user([sys.executable, "-c", ask, str(daemon.socket)])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "error: 300000 globs, at most 64" in done.stderr


def test_who_makes_the_daemon_log_without_end_does_not_fill_the_log(daemon: Daemon) -> None:
    ask = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ptrace_client.errors import ClientError\n"
        "from ptrace_client.host import connect\n"
        "from ptrace_proto import ptrace_pb2 as pb\n"
        # More than this daemon may lock.
        "request = pb.TraceRequest(selectors=['sched:sched_wakeup'], buffer_pages=16384)\n"
        "with connect(socket=Path(sys.argv[1])) as host:\n"
        "    for _ in range(40):\n"
        "        try:\n"
        "            host.open(request)\n"
        "        except ClientError as error:\n"
        "            print(error)\n"
    )
    command = as_user([sys.executable, "-c", ask, str(daemon.socket)])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("error: the kernel does not permit it") == 40
    assert daemon.log.read_text().count("refused: error: the kernel does not permit it") == 20
