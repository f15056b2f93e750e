"""Users who want to be others, or to keep others out: none gets anywhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commandline import Ended, open_folder, ptrace_client
from leftovers import wait_until
from processes import Daemon
from users import AS_NOBODY, DAEMON_UID, start_daemon

from unprivileged import NOBODY, as_user

OTHER = 65532
PER_USER = 64

# Each prints JSON. The first argument is the socket.
CONNECT_TO_ALL = """
import errno, json, os, re, socket, sys
names = {sys.argv[2]}
for line in open("/proc/net/unix"):
    if match := re.search(r"@(ptraced-\\S+)$", line):
        names.add("\\0" + match[1])
told = {}
for name in names:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(name)
            told[name] = "connected"
        except OSError as error:
            told[name] = errno.errorcode[error.errno]
print(json.dumps(told))
"""
FORGE = """
import json, sys, grpc
from ptrace_proto import ptrace_pb2 as pb
metadata = [
    ("x-uid", "0"), ("uid", "0"), ("x-ptraced-uid", "0"), ("x-user", "root"),
    ("authorization", "Basic cm9vdDo="), ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-user", "root"), ("peer", "unix-abstract:ptraced-0-0-1-0123456789abcdef"),
    ("user-agent", "ptraced-0-0-1-0123456789abcdef"), ("uid-bin", b"\\0\\0\\0\\0"),
]
options = [("grpc.primary_user_agent", "ptraced-0-0-1"), ("grpc.default_authority", "root")]
with grpc.insecure_channel("unix:" + sys.argv[1], options=options) as channel:
    ask = channel.unary_unary("/ptrace.v1.Tracing/GetServerInfo",
        request_serializer=pb.GetServerInfoRequest.SerializeToString,
        response_deserializer=pb.ServerInfo.FromString)
    caller = ask(pb.GetServerInfoRequest(), metadata=metadata, timeout=20).caller
print(json.dumps([caller.uid, caller.gid, caller.user]))
"""
# Connects until it is told to end; the second argument is what each connection says at first.
FLOOD = """
import json, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))
held = []
for _ in range(int(sys.argv[3])):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    try:
        connection.sendall(bytes.fromhex(sys.argv[2]))
    except OSError:
        pass
    held.append(connection)
print("ready", flush=True)
sys.stdin.readline()
"""
CONNECT_WITHOUT_END = """
import itertools, socket, sys
for count in itertools.count():
    if count == 2000:
        print("many", flush=True)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
"""
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000 04 00 00000000")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[Daemon]:
    """A daemon that is not root."""
    running = start_daemon(folder)
    yield running
    assert running.stop() == 0


def inner_socket(daemon: Daemon) -> Path:
    (found,) = daemon.socket.parent.glob(".*/g")
    return found


@pytest.mark.parametrize("uid", [NOBODY, OTHER])
def test_the_inner_socket_is_reached_by_no_path_and_no_name(daemon: Daemon, uid: int) -> None:
    inner = inner_socket(daemon)
    with daemon.connect():
        command = ["/usr/bin/python3", "-c", CONNECT_TO_ALL, str(daemon.socket), str(inner)]
        done = subprocess.run(as_user(command, uid), capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told.pop(str(inner)) == "EACCES"
    # The names are those of connections of the front: they have no listener.
    assert told
    assert set(told.values()) == {"ECONNREFUSED"}


def test_nobody_gets_into_the_inner_directory_by_the_processes_either(daemon: Daemon) -> None:
    script = (
        "import glob, os\n"
        "for name in ('cwd', 'root', 'fd'):\n"
        "    for path in glob.glob(f'/proc/[0-9]*/{name}'):\n"
        "        try:\n"
        "            if os.stat(path).st_uid == 65533 and os.listdir(path): print(path)\n"
        "        except OSError: pass\n"
    )
    command = as_user(["/usr/bin/python3", "-c", script])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_what_a_client_says_of_itself_changes_nothing(daemon: Daemon) -> None:
    command = as_user([sys.executable, "-c", FORGE, str(daemon.socket)])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [NOBODY, NOBODY, "nobody"]


@contextmanager
def flood(daemon: Daemon, says: bytes, count: int) -> Iterator[None]:
    """Hold many connections of nobody's."""
    command = ["/usr/bin/python3", "-c", FLOOD, str(daemon.socket), says.hex(), str(count)]
    attacker = subprocess.Popen(
        as_user(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert attacker.stdout is not None
    assert attacker.stdout.readline() == "ready\n"
    try:
        yield
    finally:
        attacker.communicate("end\n")


def front_process(daemon: Daemon) -> int:
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    (found,) = (
        pid
        for pid in children
        if "ptraced.front_process" in Path(f"/proc/{pid}/cmdline").read_text()
    )
    return int(found)


def connections_to_grpc(daemon: Daemon) -> int:
    """How many connections gRPC has accepted; they have the name of its socket, which listens."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {inner_socket(daemon)}") for line in lines) - 1


@pytest.mark.parametrize(
    "says", [GREETING, GREETING[:20], b""], ids=["greeting", "stuck", "silent"]
)
def test_a_thousand_connections_of_one_user_keep_nobody_else_out(
    daemon: Daemon, says: bytes
) -> None:
    with flood(daemon, says, 1000):
        for prefix in ((), as_user([], OTHER)):
            ended = ptrace_client("status", "--socket", daemon.socket, prefix=prefix)
            assert (ended.status, ended.err) == (0, "")
        refused = f"error: too many connections of uid {NOBODY} (limit {PER_USER})\n"
        status = ("status", "--socket", daemon.socket)
        # For a moment it may be told that they come too quickly.
        wait_until(
            lambda: ptrace_client(*status, prefix=AS_NOBODY) == Ended(2, "", refused),
            "the user is told why",
        )
        let_in = PER_USER if says == GREETING else 0
        wait_until(lambda: connections_to_grpc(daemon) == let_in, "others' connections are gone")
        files = len(list(Path(f"/proc/{front_process(daemon)}/fd").iterdir()))
        assert files < 2 * PER_USER + 100


def test_who_connects_without_end_keeps_nobody_else_out(daemon: Daemon) -> None:
    command = as_user(["/usr/bin/python3", "-c", CONNECT_WITHOUT_END, str(daemon.socket)])
    attackers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for attacker in attackers:
            assert attacker.stdout is not None
            assert attacker.stdout.readline() == b"many\n"
        status = ("status", "--socket", daemon.socket)
        wait_until(
            lambda: ptrace_client(*status, prefix=as_user([], OTHER)).status == 0, "others get in"
        )
    finally:
        for attacker in attackers:
            attacker.kill()
            attacker.communicate()


def test_the_front_has_no_privilege_and_small_limits(daemon: Daemon) -> None:
    pid = front_process(daemon)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb", "CapInh")} == {0}
    assert (status["NoNewPrivs"], status["Uid"].split()[1]) == ("1", str(DAEMON_UID))
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"^Max processes +0 +0 ", limits, re.M)
    assert re.search(r"^Max open files +2272 +2272 ", limits, re.M)
