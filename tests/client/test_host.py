"""The connection: calls, streams, and the text of every way in which they fail."""

from __future__ import annotations

import gc
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from fakeserver import STARTED, STOPPED, FakeDaemon, RefusalError
from ptrace_client.errors import ClientError
from ptrace_client.host import connect
from ptrace_proto import ptrace_pb2 as pb

START_HINT = (
    "start the daemon with `systemctl start ptraced`, or run as root: `ptrace-client run` then "
    "starts one for itself"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d.sock"


@pytest.fixture
def daemon(path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(path) as fake:
        yield fake


def batch(size: int) -> pb.TraceResponse:
    return pb.TraceResponse(batches=[pb.Batch(schema_id=1, count=1, rows=bytes(size))])


def refused(path: Path) -> str:
    with pytest.raises(ClientError) as caught:
        connect(socket=path).close()
    assert caught.value.status == 2
    return str(caught.value)


class TestCalls:
    def test_info_is_there_after_connecting(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host:
            assert host.info.hostname == "box"

    def test_lists_by_glob(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host:
            assert host.list_events("sched:*", "irq") == daemon.names
        assert list(daemon.seen["ListEvents"][0].globs) == ["sched:*", "irq"]

    def test_describes_selectors(self, daemon: FakeDaemon, path: Path) -> None:
        daemon.schemas = [pb.EventSchema(id=1, system="sched", name="sched_switch")]
        with connect(socket=path) as host:
            assert host.describe(["sched:sched_switch"]) == daemon.schemas
        assert list(daemon.seen["DescribeEvents"][0].selectors) == ["sched:sched_switch"]

    def test_lists_and_stops_sessions(self, daemon: FakeDaemon, path: Path) -> None:
        daemon.sessions = [pb.SessionInfo(session_id="s7")]
        with connect(socket=path) as host:
            assert [session.session_id for session in host.sessions()] == ["s7"]
            host.stop("s7")
        assert daemon.seen["StopSession"][0].session_id == "s7"

    def test_the_environment_names_the_socket(
        self, daemon: FakeDaemon, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PTRACED_SOCKET", str(path))
        with connect() as host:
            assert str(host.endpoint) == f"unix:{path}"

    @pytest.mark.parametrize("name", ["50%25 off.sock", "a#b?c.sock", "ä.sock"])
    def test_any_path_will_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        # The server's name is a URI too: it gets a plain one.
        with FakeDaemon(tmp_path / "plain.sock"):
            (tmp_path / name).symlink_to("plain.sock")
            with connect(socket=tmp_path / name) as host:
                assert host.info.hostname == "box"
            monkeypatch.chdir(tmp_path)
            with connect(socket=name) as host:
                assert host.info.hostname == "box"

    def test_a_proxy_of_the_environment_is_not_used(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:9")
        with FakeDaemon() as daemon, connect(f"127.0.0.1:{daemon.port}") as host:
            assert host.info.hostname == "box"


class TestClock:
    def test_is_the_same_on_a_socket(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            assert stream.clock_offset == 0

    def test_is_measured_over_tcp(self) -> None:
        hour = 3600 * 10**9
        with FakeDaemon() as daemon:
            daemon.clock_ahead = hour
            before = time.monotonic_ns()
            with connect(f"127.0.0.1:{daemon.port}") as host:
                possible_error = time.monotonic_ns() - before
                with host.open(pb.TraceRequest()) as stream:
                    assert abs(stream.clock_offset - hour) <= possible_error


class TestStream:
    def test_gives_messages_in_order_then_the_end(self, daemon: FakeDaemon, path: Path) -> None:
        def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
            yield STARTED
            yield batch(8)
            yield STOPPED

        daemon.script = script
        with connect(socket=path) as host, host.open(pb.TraceRequest(label="x")) as stream:
            assert stream.started.session_id == "s1"
            assert stream.next(None) == batch(8)
            assert stream.next(None) == STOPPED
            with pytest.raises(EOFError):
                stream.next(None)
        assert daemon.seen["Trace"][0].label == "x"

    def test_what_comes_with_the_start_is_not_lost(self, daemon: FakeDaemon, path: Path) -> None:
        def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
            first = pb.TraceResponse(warnings=[pb.Warning(text="careful")])
            first.MergeFrom(STARTED)
            yield first
            yield STOPPED

        daemon.script = script
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            first = stream.next(None)
            assert first is not None
            assert [warning.text for warning in first.warnings] == ["careful"]
            assert stream.next(None) == STOPPED

    def test_next_is_none_when_the_time_is_up(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            assert stream.next(0) is None
            assert stream.next(-1.0) is None
            assert stream.next(0.001) is None

    def test_stop_delivers_the_end(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            stream.stop()
            stream.stop()
            assert stream.next(None) == STOPPED
        assert [request.session_id for request in daemon.seen["StopSession"]] == ["s1"]

    def test_a_session_that_is_gone_already_may_be_stopped(
        self, daemon: FakeDaemon, path: Path
    ) -> None:
        asked = threading.Event()

        def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
            yield STARTED
            asked.wait()
            yield STOPPED

        daemon.script = script
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            daemon.refusal = RefusalError(grpc.StatusCode.NOT_FOUND, "no session s1")
            stream.stop()
            asked.set()
            assert stream.next(None) == STOPPED

    def test_a_refused_stop_ends_the_stream(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            daemon.refusal = RefusalError(grpc.StatusCode.PERMISSION_DENIED, "not yours")
            stream.stop()
            with pytest.raises(ClientError, match=r"^not yours$"):
                stream.next(None)
            with pytest.raises(EOFError):
                stream.next(None)

    def test_wake_makes_a_waiting_next_return(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            threading.Thread(target=stream.wake).start()
            assert stream.next(None) is None

    def test_a_signal_is_handled_while_next_waits(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            before = signal.signal(signal.SIGUSR2, lambda number, frame: stream.wake())
            try:
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR2)).start()
                assert stream.next(None) is None
            finally:
                signal.signal(signal.SIGUSR2, before)

    def test_cancel_ends_the_call_at_the_daemon(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host:
            stream = host.open(pb.TraceRequest())
            stream.cancel()
            stream.cancel()
            assert daemon.trace_over.wait(10)
            with pytest.raises(EOFError):
                stream.next(None)

    def test_a_forgotten_stream_is_cancelled(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host:
            host.open(pb.TraceRequest())
            gc.collect()
            assert daemon.trace_over.wait(10)

    def test_closing_the_host_ends_its_streams(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host:
            stream = host.open(pb.TraceRequest())
        with pytest.raises(EOFError):
            stream.next(None)

    def test_messages_of_4_mib_pass(self, daemon: FakeDaemon, path: Path) -> None:
        def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
            yield STARTED
            yield batch(4 << 20)

        daemon.script = script
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            assert stream.next(None) == batch(4 << 20)

    def test_a_slow_consumer_holds_the_daemon_back(self, daemon: FakeDaemon, path: Path) -> None:
        """Without flow control all thousand messages would be sent before the first is read."""
        total = 1000

        def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
            yield STARTED
            for _ in range(total):
                yield batch(1 << 20)
            yield STOPPED

        daemon.script = script
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            assert not daemon.trace_over.wait(0.5)
            assert daemon.sent < 100
            # Calls on the same connection do not wait behind the data that does.
            assert host.sessions() == []
            for _ in range(total):
                message = stream.next(None)
                assert message is not None
                assert len(message.batches) == 1
            assert stream.next(None) == STOPPED


class TestRefusals:
    @pytest.mark.parametrize(
        "code",
        [
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.UNAVAILABLE,
        ],
    )
    def test_the_daemons_text_stands_as_it_is(
        self, daemon: FakeDaemon, path: Path, code: grpc.StatusCode
    ) -> None:
        text = "error: no field 'pidd'\n  sched:sched_wakeup/pidd>1/\n                     ^~~~"
        daemon.refusal = RefusalError(code, text)
        with connect(socket=path) as host:
            with pytest.raises(ClientError) as from_call:
                host.describe(["sched:sched_wakeup/pidd>1/"])
            with pytest.raises(ClientError) as from_stream:
                host.open(pb.TraceRequest())
        assert str(from_call.value) == str(from_stream.value) == text
        assert from_call.value.status == from_stream.value.status == 2

    def test_a_failure_of_the_daemon_is_one(self, daemon: FakeDaemon, path: Path) -> None:
        daemon.refusal = RefusalError(grpc.StatusCode.INTERNAL, "oops")
        with connect(socket=path) as host, pytest.raises(ClientError) as caught:
            host.list_events()
        assert str(caught.value) == (
            f"the daemon at unix:{path} failed: INTERNAL: oops; "
            "see its log: `journalctl -u ptraced`"
        )
        assert caught.value.status == 1

    def test_a_silent_daemon_runs_into_the_timeout(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path, timeout=0.2) as host:
            daemon.silent = True
            with pytest.raises(ClientError) as caught:
                host.sessions()
        assert str(caught.value) == (
            f"the daemon at unix:{path} did not answer in time; "
            "see its log: `journalctl -u ptraced`"
        )

    def test_another_version_of_the_contract(self, path: Path) -> None:
        with FakeDaemon(path, leave_out=("GetServerInfo",)):
            text = refused(path)
        assert text == (
            f"wrong version: the daemon at unix:{path} does not know this call of the contract "
            "ptrace.v1 (Method not found!); install the ptraced that belongs to "
            "ptrace-client 0.1.0"
        )

    @pytest.mark.parametrize(
        ("feature", "what", "request_for_it"),
        [
            ("tasks", "selection by process or thread", pb.TraceRequest(scope=pb.Scope(pids=[1]))),
            ("tasks", "selection by process or thread", pb.TraceRequest(scope=pb.Scope(tids=[1]))),
            ("cgroups", "selection by cgroup", pb.TraceRequest(scope=pb.Scope(cgroups=["web"]))),
            ("self_describing", "self-describing samples", pb.TraceRequest(self_describing=True)),
            ("stacks", "stacks", pb.TraceRequest(stacks=pb.Stacks(kernel=True))),
            ("stacks", "stacks", pb.TraceRequest(stacks=pb.Stacks(user=True))),
        ],
    )
    def test_a_missing_feature_is_named(
        self,
        daemon: FakeDaemon,
        path: Path,
        feature: str,
        what: str,
        request_for_it: pb.TraceRequest,
    ) -> None:
        daemon.info.features[:] = ["tracepoint"]
        with connect(socket=path) as host, pytest.raises(ClientError) as caught:
            host.open(request_for_it)
        assert str(caught.value) == (
            f"the daemon at unix:{path} (ptraced 0.1.0) is not able to give {what}: "
            f"its feature {feature!r} is missing; install a newer ptraced"
        )
        assert "Trace" not in daemon.seen

    def test_a_stream_without_schemas(self, daemon: FakeDaemon, path: Path) -> None:
        daemon.script = lambda fake, request: iter([STOPPED])
        with connect(socket=path) as host, pytest.raises(ClientError) as caught:
            host.open(pb.TraceRequest())
        assert str(caught.value) == (
            f"wrong version: the daemon at unix:{path} began a stream without its schemas"
        )


class TestGone:
    def test_in_mid_stream(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host, host.open(pb.TraceRequest()) as stream:
            daemon.die()
            with pytest.raises(ClientError) as caught:
                stream.next(None)
        assert caught.value.status == 4
        assert str(caught.value) == (
            f"the daemon at unix:{path} went away in the middle of the trace: events after "
            "this moment are missing; see `systemctl status ptraced`, then run again"
        )

    def test_a_stream_that_just_ends(self, daemon: FakeDaemon, path: Path) -> None:
        daemon.script = lambda fake, request: iter([STARTED])
        with (
            connect(socket=path) as host,
            host.open(pb.TraceRequest()) as stream,
            pytest.raises(ClientError) as caught,
        ):
            stream.next(None)
        assert str(caught.value) == (
            f"the daemon at unix:{path} went away in the middle of the trace: events after this "
            "moment are missing; see `systemctl status ptraced`, then run again"
        )

    def test_between_two_calls(self, daemon: FakeDaemon, path: Path) -> None:
        with connect(socket=path) as host:
            daemon.die()
            path.unlink(missing_ok=True)
            with pytest.raises(ClientError) as caught:
                host.list_events()
        assert str(caught.value) == f"no daemon: there is no socket {path}; {START_HINT}"


class TestUnreachable:
    def test_no_socket(self, path: Path) -> None:
        assert refused(path) == f"no daemon: there is no socket {path}; {START_HINT}"

    def test_nothing_listens(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as leftover:
            leftover.bind(os.fspath(path))
        assert refused(path) == f"no daemon: nothing listens at {path}; {START_HINT}"

    def test_not_a_socket(self, path: Path) -> None:
        path.write_text("")
        assert refused(path) == f"{path} is not a socket; name the socket of a running ptraced"

    def test_a_path_too_long_for_a_socket(self, tmp_path: Path) -> None:
        folder = tmp_path / ("x" * 120)
        folder.mkdir()
        near = Path("/proc/self/cwd/near.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            here = Path.cwd()
            os.chdir(folder)
            try:
                listener.bind(os.fspath(near))
            finally:
                os.chdir(here)
            path = folder / "near.sock"
            assert refused(path) == f"cannot use the socket {path}: AF_UNIX path too long"

    def test_both_places_given(self) -> None:
        with pytest.raises(ClientError) as caught:
            connect("localhost:1", socket="/x")
        assert str(caught.value) == (
            "--host and --socket are both given: only one place can be traced at a time"
        )

    def test_both_places_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PTRACED_HOST", "localhost:1")
        monkeypatch.setenv("PTRACED_SOCKET", "/x")
        with pytest.raises(ClientError) as caught:
            connect()
        assert str(caught.value) == (
            "PTRACED_HOST and PTRACED_SOCKET are both given: only one place can be traced at a time"
        )

    def test_bad_address(self) -> None:
        for address in ("localhost", ":1", "localhost:", "localhost:99999", "localhost:x"):
            with pytest.raises(ClientError) as caught:
                connect(address)
            assert str(caught.value) == (
                f"bad address {address!r}: expected HOST:PORT, such as localhost:7878"
            )

    def test_an_address_elsewhere_needs_certificates(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        with pytest.raises(ClientError) as caught:
            connect("192.0.2.1:7879")
        assert str(caught.value) == (
            f"cannot read {tmp_path}/ptraced/ca.crt: No such file or directory; a daemon elsewhere "
            "needs ca.crt, user.crt and user.key, from its administrator (`ptraced-certs user "
            "NAME`), in ~/.config/ptraced or named by --tls"
        )

    def test_certificates_are_for_an_address(self, tmp_path: Path) -> None:
        with pytest.raises(ClientError) as caught:
            connect(socket=tmp_path / "s", tls=tmp_path)
        assert str(caught.value) == (
            "certificates are for a daemon at HOST:PORT; name it by --host"
        )

    def test_nothing_listens_at_the_port(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            with pytest.raises(ClientError) as caught:
                connect(f"127.0.0.1:{port}")
        assert str(caught.value) == (
            f"no daemon: cannot connect to 127.0.0.1:{port}: Connection refused; {START_HINT}"
        )

    @pytest.mark.parametrize(
        ("group", "mode", "hint"),
        [
            (0, 0o660, "ask the administrator for access, or run as root"),
            (4, 0o660, "ask the administrator to add you to the group adm and log in again"),
        ],
    )
    def test_no_permission(self, open_folder: Path, group: int, mode: int, hint: str) -> None:
        path = open_folder / "d.sock"
        with FakeDaemon(path):
            os.chown(path, 0, group)
            path.chmod(mode)
            text = refused_as_nobody(path)
        name = "adm" if group else "root"
        assert text == (
            f"permission denied at the socket {path}: it belongs to root:{name} with mode 0660; "
            f"{hint}"
        )

    def test_no_permission_for_the_folder(self, open_folder: Path) -> None:
        folder = open_folder / "run"
        folder.mkdir(mode=0o700)
        with FakeDaemon(folder / "d.sock"):
            text = refused_as_nobody(folder / "d.sock")
        assert text == (
            f"permission denied at the socket {folder}/d.sock: its folder {folder} belongs to "
            "root:root with mode 0700; ask the administrator for access, or run as root"
        )


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="ptrace-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def refused_as_nobody(path: Path) -> str:
    """Connect in a child without root and return the message."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            connect(socket=path)
        except ClientError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as answer:
        return answer.read()
