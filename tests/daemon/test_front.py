"""The front socket tells who calls, carries streams whole, and belongs to one daemon."""

from __future__ import annotations

import grp
import multiprocessing
import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from ptraced.connection_limits import ConnectionLimits
from ptraced.errors import Unavailable
from ptraced.front import Front
from ptraced.peer import Credentials, abstract_name, parse_peer
from ptraced.public_socket import PublicSocket

MESSAGE = bytes(range(256)) * 4096
TIMEOUT = 20
LIMITS = ConnectionLimits(total=64, per_user=32)

CALL = """
import os, sys, grpc
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    print(os.getpid(), channel.unary_unary("/test.Test/Who")(b"", timeout=20).decode())
"""


class Service:
    """A gRPC server behind a front, with the calls that the tests need."""

    def __init__(
        self,
        directory: Path,
        limits: ConnectionLimits = LIMITS,
        patience: float = 10,
        mode: int = 0o600,
    ) -> None:
        inner = directory / "inner"
        inner.mkdir(mode=0o700)
        self.path = directory / "front.sock"
        self.peers: list[str] = []
        self.events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.ended = threading.Event()
        public = PublicSocket(self.path, mode, "")
        self.front = Front(public, f"unix:{inner}/grpc.sock", limits, self.events.put, patience)
        self.grpc = grpc.server(futures.ThreadPoolExecutor(8))
        handlers = {
            "Who": grpc.unary_unary_rpc_method_handler(self.who),
            "Read": grpc.unary_stream_rpc_method_handler(self.read),
        }
        self.grpc.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Test", handlers),)
        )
        self.grpc.add_insecure_port(f"unix:{inner}/grpc.sock")
        self.grpc.start()
        self.front.start()

    def who(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.peers.append(context.peer())
        return repr(parse_peer(context.peer())).encode()

    def read(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.ended.set)
        for _ in range(int(request)):
            yield MESSAGE

    def stop(self) -> None:
        self.grpc.stop(None).wait()
        self.front.stop()

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(f"unix:{self.path}", options=options) as channel:
            yield channel


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.stop()


def call(path: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", CALL, str(path)], capture_output=True, text=True, check=True
    )
    pid, _, answer = done.stdout.strip().partition(" ")
    return int(pid), answer


def test_a_call_tells_its_user_group_and_process(service: Service) -> None:
    pid, answer = call(service.path)
    assert answer == repr(Credentials(os.getuid(), os.getgid(), pid))
    assert service.peers[0].startswith(f"unix-abstract:ptraced-{os.getuid()}-{os.getgid()}-{pid}-")


def test_another_user_is_told_by_the_kernel() -> None:
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as inner:
        directory = Path(name)
        directory.chmod(0o755)
        inner.bind(str(directory / "inner"))
        inner.listen()
        inner.settimeout(TIMEOUT)
        front = Front(PublicSocket(directory / "s", 0o666, ""), f"unix:{directory}/inner", LIMITS)
        front.start()
        connect = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
            "s.send(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes(3) + b'\\x04' + bytes(5))"
        )
        user = subprocess.Popen(
            ["/usr/bin/python3", "-c", connect, str(directory / "s")],
            user=65534,
            group=65533,
            extra_groups=[],
        )
        connection, peer = inner.accept()
        connection.close()
        assert user.wait() == 0
        front.stop()
    assert parse_peer(f"unix-abstract:{peer[1:].decode()}") == Credentials(65534, 65533, user.pid)


def test_the_daemon_is_told_of_connections_that_speak_http2_and_of_their_end(
    service: Service,
) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(service.path))
    pid, _ = call(service.path)
    entered = service.events.get(timeout=TIMEOUT)
    who = {"uid": os.getuid(), "gid": os.getgid(), "pid": pid, "address": "", "certificate": ""}
    assert entered == {"kind": "connect", **who}
    left = service.events.get(timeout=TIMEOUT)
    assert left.pop("bytes_up") > 33
    assert left.pop("bytes_down") > 0
    assert left.pop("seconds") >= 0
    assert left == {"kind": "disconnect", **who, "reason": ""}


def test_callers_are_told_apart(service: Service) -> None:
    answers = [call(service.path) for _ in range(3)]
    assert len({pid for pid, _ in answers}) == 3
    assert all(f"pid={pid}," in answer for pid, answer in answers)
    assert len(set(service.peers)) == 3


def test_names_carry_credentials_and_are_never_used_twice() -> None:
    who = Credentials(uid=4294967294, gid=0, pid=77)
    names = {abstract_name(who) for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("\0") and len(name) < 108 for name in names)
    assert {parse_peer("unix-abstract:" + name[1:]) for name in names} == {who}


@pytest.mark.parametrize(
    "peer",
    [
        "ipv4:127.0.0.1:4711",
        "unix:",
        "unix:/run/x",
        "unix-abstract:ptraced-0-0-1",
        "unix-abstract:other-0-0-1-0123456789abcdef",
        "x unix-abstract:ptraced-0-0-1-0123456789abcdef",
        "unix-abstract:ptraced-0-0-1-0123456789abcdef\n",
    ],
)
def test_other_peers_are_nobody(peer: str) -> None:
    assert parse_peer(peer) is None


GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000 04 00 00000000")


def next_event(service: Service, kind: str) -> dict[str, Any]:
    while True:
        event = service.events.get(timeout=TIMEOUT)
        if event["kind"] == kind:
            return event


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Service]:
    """A service that gives clients a fifth of a second to begin."""
    made = Service(tmp_path, patience=0.2)
    yield made
    made.stop()


def test_one_who_says_a_byte_now_and_then_is_shown_out_and_holds_up_nobody(
    impatient: Service,
) -> None:
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(TIMEOUT)
        slow.connect(str(impatient.path))
        spoken = 0
        while impatient.events.empty():
            # As slowly as may be: one byte in the time of a whole call of another's.
            if spoken < len(GREETING) - 1:
                slow.send(GREETING[spoken : spoken + 1])
                spoken += 1
            service_answers(impatient)
            drop_events_of_others(impatient)
        event = next_event(impatient, "refused")
        assert (event["uid"], event["reason"]) == (os.getuid(), "no HTTP/2 within 0.2 s")
        assert ended(slow)


def service_answers(service: Service) -> None:
    with service.channel() as channel:
        channel.unary_unary("/test.Test/Who")(b"", timeout=TIMEOUT, wait_for_ready=True)


def drop_events_of_others(service: Service) -> None:
    """Leave what is about refusals in the queue."""
    kept = []
    while not service.events.empty():
        event = service.events.get()
        if event["kind"] == "refused":
            kept.append(event)
    for event in kept:
        service.events.put(event)


def ended(connection: socket.socket) -> bool:
    """Whether a connection has ended, at its other end."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("content", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(64)])
def test_what_is_not_http2_does_not_reach_grpc(service: Service, content: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        client.connect(str(service.path))
        client.sendall(content)
        assert ended(client)
    assert next_event(service, "refused")["reason"] == "not HTTP/2"


def test_who_has_too_many_connections_is_told_and_repeated_refusals_are_counted(
    tmp_path: Path,
) -> None:
    limits = ConnectionLimits(total=1, per_user=1)
    service = Service(tmp_path, limits)
    held = []
    try:
        while service.events.empty():
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(str(service.path))
        first = next_event(service, "refused")
        assert (first["uid"], first["pid"], first["count"]) == (os.getuid(), os.getpid(), 1)
        assert first["reason"] == "too many connections of all users together (limit 1)"
        for _ in range(50):
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(str(service.path))
        assert next_event(service, "refused")["count"] >= 50
        with service.channel() as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/test.Test/Who")(b"", timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.details() == first["reason"]
    finally:
        for connection in held:
            connection.close()
        service.stop()


def test_a_full_backlog_is_worked_off(service: Service) -> None:
    process = service.front._process.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    held = []
    try:
        while True:
            held.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            held[-1].connect(str(service.path))
    except BlockingIOError:
        # There is no more room.
        pass
    process.send_signal(signal.SIGCONT)
    for connection in held:
        connection.close()
    service_answers(service)
    assert len(held) > 1000


def test_streams_pass_whole_side_by_side(service: Service) -> None:
    def read(_: int) -> bool:
        with service.channel() as channel:
            messages = channel.unary_stream("/test.Test/Read")(b"20", timeout=TIMEOUT)
            return [message == MESSAGE for message in messages] == [True] * 20

    with futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(4)))


def test_a_client_that_does_not_read_holds_up_nobody(service: Service) -> None:
    with service.channel() as slow, service.channel() as quick:
        stalled = slow.unary_stream("/test.Test/Read")(b"1000", timeout=TIMEOUT)
        assert next(stalled) == MESSAGE
        messages = quick.unary_stream("/test.Test/Read")(b"20", timeout=TIMEOUT)
        assert sum(len(message) for message in messages) == 20 * len(MESSAGE)
        stalled.cancel()


def _read_for_ever(path: str, started: Callable[[], None]) -> None:
    with grpc.insecure_channel(f"unix:{path}") as channel:
        for _ in channel.unary_stream("/test.Test/Read")(b"1000000"):
            started()


def test_a_killed_client_ends_its_call(service: Service) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    client = context.Process(target=_read_for_ever, args=(str(service.path), started.set))
    client.start()
    assert started.wait(TIMEOUT)
    client.kill()
    client.join()
    assert service.ended.wait(TIMEOUT)


def test_a_front_process_that_dies_is_replaced(service: Service) -> None:
    before = service.front._process.process
    assert before is not None
    before.kill()
    before.wait()
    # The daemon holds the listening socket: this connection waits for the next process.
    assert "Credentials" in call(service.path)[1]
    assert service.front._process.process is not before


def test_stop_leaves_no_process_thread_or_file(tmp_path: Path) -> None:
    service = Service(tmp_path)
    call(service.path)
    process = service.front._process.process
    assert process is not None
    service.stop()
    assert process.returncode == 0
    assert "front" not in [thread.name for thread in threading.enumerate()]
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_the_front_process_outlives_signals_and_not_the_daemon(service: Service) -> None:
    call(service.path)
    process = service.front._process.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert "Credentials" in call(service.path)[1]
    assert process.poll() is None


def test_mode_and_owner(tmp_path: Path) -> None:
    group = grp.getgrnam("nogroup")
    public = PublicSocket(tmp_path / "s", 0o660, "nogroup")
    status = (tmp_path / "s").stat()
    assert stat.S_IMODE(status.st_mode) == 0o660
    assert (status.st_uid, status.st_gid) == (os.getuid(), group.gr_gid)
    public.close()
    assert list(tmp_path.iterdir()) == []


def test_a_group_that_is_not_there_leaves_the_daemons_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    public = PublicSocket(tmp_path / "s", 0o660, "nosuchgroup")
    assert (tmp_path / "s").stat().st_gid == os.getegid()
    assert caplog.messages == ["no group nosuchgroup: the socket stays with the daemon's own group"]
    public.close()


def test_a_second_daemon_is_told_who_has_the_socket(tmp_path: Path) -> None:
    first = PublicSocket(tmp_path / "s", 0o600, "")
    with pytest.raises(Unavailable) as caught:
        PublicSocket(tmp_path / "s", 0o600, "")
    assert str(caught.value) == (
        f"error: another daemon (process {os.getpid()}) serves on {tmp_path}/s; stop it, or name "
        "another path by --socket"
    )
    first.close()
    PublicSocket(tmp_path / "s", 0o600, "").close()


def test_a_listener_without_a_lock_is_respected_too(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(Unavailable, match=rf"another daemon \(process {os.getpid()}\) serves"):
            PublicSocket(tmp_path / "s", 0o600, "")
    assert (tmp_path / "s").exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    (tmp_path / "s.lock").write_text("4711\n")
    public = PublicSocket(tmp_path / "s", 0o600, "")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
    public.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(Unavailable) as caught:
        PublicSocket(tmp_path / "s", 0o600, "")
    assert str(caught.value) == (
        f"error: {tmp_path}/s is there and not a socket; remove it, or name another path by "
        "server.socket"
    )
    assert (tmp_path / "s").read_text() == "precious"


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        PublicSocket(tmp_path / "no/s", 0o600, "")
    assert str(caught.value) == f"error: cannot serve on {tmp_path}/no/s: No such file or directory"


def test_a_group_that_the_daemon_may_not_give_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(Unavailable) as caught:
        PublicSocket(tmp_path / "s", 0o660, "nogroup")
    assert str(caught.value) == (
        f"error: cannot give {tmp_path}/s to the group nogroup: "
        "the daemon's user must be a member of it"
    )
    assert list(tmp_path.iterdir()) == []
