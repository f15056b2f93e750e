"""--reconnect: when the run goes on, with what, and what it says of the gap."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from event_samples import FakeStream, Item, make_batch, make_end, make_mark, make_schema

from conftest import LoadSource
from fakeserver import STARTED, FakeDaemon
from ptrace_client import host as host_module
from ptrace_client.ends import LostConnection
from ptrace_client.errors import ClientError
from ptrace_client.host import connect
from ptrace_client.options import Place
from ptrace_client.reconnect import Missed, Reconnect, Reconnector, spelled_out
from ptrace_client.runner import RunOptions, run_script
from ptrace_client.script import Script
from ptrace_proto import ptrace_pb2 as pb

SCRIPT = """
seen = []
def __sample__(event): seen.append(event.pid)
def __reconnected__(start, end): print("gap", start, end)
def __exit__(): print(*seen)
"""
GONE = LostConnection("the daemon at X went away: events after this moment are missing; see Y")
SHUTDOWN = make_end(pb.END_REASON_SHUTDOWN, "ptraced is shutting down")


def stream(*items: Item, schema_id: int = 1, start: int = 0) -> FakeStream:
    """A stream whose only event has this number."""
    schema = make_schema()
    schema.id = schema_id
    started = pb.Started(session_id="s", schemas=[schema], start_time=start)
    return FakeStream(started, items)


def message(*pids: int, schema_id: int = 1, mark: int = 0) -> pb.TraceResponse:
    schema = make_schema()
    schema.id = schema_id
    batch = make_batch(schema, *({"_time": pid, "pid": pid} for pid in pids))
    response = pb.TraceResponse(batches=[batch])
    if mark:
        response.mark.time = mark
    return response


class Again:
    """Stands in for a Reconnector: has streams to go on with, and notes what it is asked."""

    def __init__(self, *streams: FakeStream, rebooted: bool = False) -> None:
        self.streams = list(streams)
        self.rebooted = rebooted
        self.asked: list[int] = []
        self.closed = False

    def again(self, missed_from: int, deadline: int | None) -> tuple[FakeStream, Missed] | None:
        self.asked.append(missed_from)
        if not self.streams:
            return None
        found = self.streams.pop(0)
        return found, Missed(missed_from, found.started.start_time, self.rebooted)

    def stop(self) -> None: ...
    def wake(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def run(script: Script, first: FakeStream, again: Any, **options: Any) -> int:
    return run_script(script, lambda: first, RunOptions(quiet=True, **options), again)


def test_the_script_goes_on_and_is_told_of_the_gap(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    first = stream(message(1, mark=1_500_000_000), message(2), GONE)
    again = Again(stream(message(3, 4), start=3_750_000_000))
    assert run(load_source(SCRIPT), first, again) == 0
    output = capsys.readouterr()
    assert output.out == "gap 1500000000 3750000000\n1 2 3 4\n"
    assert output.err == (
        "ptrace-client: the daemon at X went away\n"
        "ptrace-client: connected again: events of 2250 ms are missing, "
        "from 1.500000 to 3.750000 s (CLOCK_MONOTONIC)\n"
    )
    assert first.cancelled
    assert again.closed


def test_before_the_first_mark_the_gap_begins_with_the_stream(load_source: LoadSource) -> None:
    again = Again(stream(start=900))
    run(load_source(SCRIPT), stream(GONE, start=400), again)
    assert again.asked == [400]


def test_numbers_of_the_new_stream_are_its_own(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    again = Again(stream(message(7, schema_id=5), schema_id=5))
    assert run(load_source(SCRIPT), stream(message(1), GONE), again) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 7"


def test_what_waits_for_its_order_is_delivered_before_the_gap(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_source(SCRIPT.replace("seen.append(event.pid)", "print(event.pid)"))
    again = Again(stream(message(9), start=8))
    assert run(script, stream(make_mark(1), message(2), GONE), again, order=True) == 0
    assert capsys.readouterr().out.split() == ["2", "gap", "1", "8", "9"]


def test_the_number_of_events_is_of_all_streams(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    again = Again(stream(message(3, 4, 5)))
    assert run(load_source(SCRIPT), stream(message(1, 2), GONE), again, exit_n=4, verbose=1) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == "1 2 3 4"
    assert "delivered 4; lost 0" in output.err


def test_a_daemon_that_is_restarted_is_waited_for(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    again = Again(stream(message(2)))
    assert run(load_source(SCRIPT), stream(message(1), SHUTDOWN), again) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 2"


@pytest.mark.parametrize("reason", [pb.END_REASON_KILLED, pb.END_REASON_NOT_ALLOWED])
def test_a_session_that_somebody_ended_is_not_opened_again(
    load_source: LoadSource, reason: pb.EndReason
) -> None:
    again = Again(stream())
    assert run(load_source(SCRIPT), stream(make_end(reason, "x")), again) == 3
    assert again.asked == []


def test_without_another_stream_the_run_ends_as_it_would_have(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LostConnection):
        run(load_source(SCRIPT), stream(message(1), GONE), Again())
    assert capsys.readouterr().out == "1\n"
    assert run(load_source(SCRIPT), stream(SHUTDOWN), Again()) == 1


def test_a_host_that_was_started_again_is_told(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    again = Again(stream(start=5_000_000_000), rebooted=True)
    run(load_source(SCRIPT), stream(make_mark(99_000_000_000), GONE), again)
    output = capsys.readouterr()
    assert output.out == "gap 99000000000 5000000000\n\n"
    assert output.err.splitlines()[-1] == (
        "ptrace-client: connected again: the host was started again: all events from 99.000000 s "
        "on are missing, up to 5.000000 s of the clock since then"
    )


class Link:
    """A TCP port from which bytes go to another and back, until it is cut: nobody is told."""

    def __init__(self, to: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._to = to
        self._cut = threading.Event()
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()

    def cut(self) -> None:
        self._cut.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._move, args=pair, daemon=True).start()

    def _move(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._cut.is_set():
                    sink.sendall(data)


def opened(fake: FakeDaemon, request: pb.TraceRequest) -> Iterable[pb.TraceResponse]:
    yield pb.TraceResponse(started=pb.Started(session_id="s2", start_time=77))
    fake.stop_called.wait()


def test_it_tries_until_there_is_a_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.sock"
    request = pb.TraceRequest(label="same")
    with FakeDaemon(path) as first, connect(socket=path) as host:
        first.info.boot_id = "1"
        host.info.boot_id = "1"
        later = FakeDaemon(tmp_path / "later.sock")
        later.info.boot_id = "2"
        later.script = opened  # type: ignore[assignment]
        first.die()

        attempts = []

        def again() -> Any:
            attempts.append(1)
            if len(attempts) == 4:
                later.__enter__()
            return connect(socket=path if len(attempts) < 4 else tmp_path / "later.sock")

        reconnector = Reconnector(again, request, 60.0, host)
        found = reconnector.again(55, None)
        assert found is not None
        stream, missed = found
        assert stream.started.session_id == "s2"
        assert missed == Missed(55, 77, rebooted=True)
        assert [seen.label for seen in later.seen["Trace"]] == ["same"]
        reconnector.close()
        later.die()
    # The same reason is told once.
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("ptrace-client: no daemon: ")
    assert err.endswith("; trying again\n")


def test_a_refusal_is_final(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with FakeDaemon(path) as daemon, connect(socket=path) as host:
        daemon.script = lambda *_: iter([STARTED])
        request = pb.TraceRequest(stacks=pb.Stacks(kernel=True))
        reconnector = Reconnector(lambda: connect(socket=path), request, 60.0, host)
        with pytest.raises(ClientError, match="is not able to give stacks"):
            reconnector.again(0, None)
        reconnector.close()


def test_the_place_is_the_one_that_was_named(tmp_path: Path) -> None:
    path = str(tmp_path / "d.sock")
    request = pb.TraceRequest()
    with FakeDaemon(Path(path)) as daemon, connect(socket=path) as host:
        assert Reconnect(Place(None, path), None).reconnector(host, request) is None
        reconnector = Reconnect(Place(None, path), 1.0).reconnector(host, request)
        assert reconnector is not None
        daemon.script = opened  # type: ignore[assignment]
        assert reconnector.again(0, None) is not None
        reconnector.close()
        # This is what it looks like where the daemon was started for this run alone.
        assert Reconnect(Place(None, None), 1.0).reconnector(host, request) is None


def test_a_link_that_is_silently_cut_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "_KEEPALIVE_MS", 500)
    with (
        FakeDaemon() as daemon,
        Link(daemon.port) as link,
        connect(f"127.0.0.1:{link.port}") as host,
        host.open(pb.TraceRequest()) as stream,
    ):
        link.cut()
        with pytest.raises(LostConnection, match="went away in the middle of the trace"):
            stream.next(None)


def test_the_time_need_not_be_given_and_no_word_is_taken_for_it() -> None:
    assert spelled_out(["--reconnect", "s.py"]) == ["--reconnect=inf", "s.py"]
    assert spelled_out(["s.py", "--reconnect=5"]) == ["s.py", "--reconnect=5"]
    assert spelled_out(["--", "s.py", "--reconnect"]) == ["--", "s.py", "--reconnect"]
