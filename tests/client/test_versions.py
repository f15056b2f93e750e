"""A daemon of a newer minor version: what it adds is ignored, what an older one lacks is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from event_samples import make_batch, make_loss, make_mark, make_schema, make_started

from fakeserver import STOPPED, FakeDaemon
from ptrace_client.cli import execute
from ptrace_proto import ptrace_pb2 as pb

SCHEMA = make_schema()
# Field 900, a varint, and field 901, bytes, in protobuf's encoding: no message has them.
ADDED = b"\xa0\x38\x01" + b"\xaa\x38\x03new"
# Stages, reasons and kinds of events that this version has no names for.
NEW_NUMBER = 77


def with_additions(message: pb.TraceResponse) -> pb.TraceResponse:
    return pb.TraceResponse.FromString(message.SerializeToString() + ADDED)


def newer_stream(daemon: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
    """A stream with additions everywhere, and a message of nothing else."""
    row = {"_time": 1000, "comm": b"worker", "pid": 42}
    yield with_additions(pb.TraceResponse(started=make_started(SCHEMA)))
    yield pb.TraceResponse.FromString(ADDED)
    yield with_additions(
        pb.TraceResponse(losses=[make_loss(5, stage=NEW_NUMBER)], batches=[make_batch(SCHEMA, row)])
    )
    yield with_additions(make_mark(2000))
    yield with_additions(STOPPED)


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    socket = tmp_path / "newer.sock"
    monkeypatch.setenv("PTRACED_SOCKET", str(socket))
    with FakeDaemon(socket) as daemon:
        daemon.info = pb.ServerInfo.FromString(daemon.info.SerializeToString() + ADDED)
        daemon.info.api_minor += 1
        daemon.info.features.append("time_travel")
        daemon.schemas = [pb.EventSchema.FromString(SCHEMA.SerializeToString() + ADDED)]
        daemon.script = newer_stream
        yield daemon


@pytest.mark.usefixtures("interpreter", "newer")
def test_a_run_ignores_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "newer_script.py"
    script.write_text("def sched__sched_wakeup(event):\n    print(event.comm, event.pid)\n")
    status = execute(["run", "-q", "-v", "-e", "sched:sched_wakeup", str(script)])
    assert (status, *capsys.readouterr()) == (
        0,
        "worker 42\n",
        "ptrace-client: delivered 1; lost 5 (unknown stage: 5); 0 exceptions in handlers\n",
    )


def test_new_kinds_of_values_are_bytes(
    newer: FakeDaemon, tmp_path: Path, interpreter: None, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN an event with a field of a kind that came after this client
    schema = make_schema(own=[("what", NEW_NUMBER, 4)])
    newer.schemas = [schema]
    batch = pb.Batch(schema_id=1, count=1, rows=bytes(schema.row_size - 4) + b"\1\2\3\4")
    newer.script = lambda *_: iter(
        (
            pb.TraceResponse(started=make_started(schema)),
            pb.TraceResponse(batches=[batch]),
            STOPPED,
        )
    )
    script = tmp_path / "newer_kind.py"
    script.write_text("def sched__sched_wakeup(event):\n    print(event.what)\n")
    assert execute(["run", "-q", "-e", "sched:sched_wakeup", str(script)]) == 0
    assert capsys.readouterr() == ("b'\\x01\\x02\\x03\\x04'\n", "")


def test_status_shows_the_newer_versions(
    newer: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["status"]) == 0
    said = capsys.readouterr().out
    assert ", contract v1.1\n" in said
    assert "features  cgroups, projection, tasks, time_travel, tracepoint\n" in said


def test_what_an_older_daemon_lacks_is_named(
    newer: FakeDaemon, tmp_path: Path, interpreter: None, capsys: pytest.CaptureFixture[str]
) -> None:
    newer.info.features[:] = ["tracepoint"]
    script = tmp_path / "older.py"
    script.write_text("def __sample__(event):\n    pass\n")
    assert execute(["run", "-q", "-e", "sched:sched_wakeup", "-p", "1", str(script)]) == 2
    assert capsys.readouterr().err == (
        f"error: the daemon at unix:{tmp_path}/newer.sock (ptraced 0.1.0) is not able to give "
        "selection by process or thread: its feature 'tasks' is missing; install a newer "
        "ptraced\n"
    )
