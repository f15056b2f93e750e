"""The Python API: a loop over the events of a host."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from struct import pack

import pytest

import ptrace_client
from fakeserver import FakeDaemon
from ptrace_client import ClientError, TraceWarning
from ptrace_proto import ptrace_pb2 as pb

SCHEMA = pb.EventSchema(
    id=1,
    system="sched",
    name="sched_wakeup",
    common_type=7,
    row_size=12,
    fields=[
        pb.Field(name="_time", kind=pb.FIELD_KIND_UNSIGNED, offset=0, size=8),
        pb.Field(name="pid", kind=pb.FIELD_KIND_SIGNED, offset=8, size=4),
    ],
    all_fields=[pb.FieldInfo(name="pid", type="pid_t", kind=pb.FIELD_KIND_SIGNED, size=4)],
)
STARTED = pb.TraceResponse(
    started=pb.Started(session_id="s1", schemas=[SCHEMA], realtime_offset=1000)
)


def batch(*rows: tuple[int, int], cpu: int = 0) -> pb.Batch:
    """Return a batch of (time, pid)."""
    data = b"".join(pack("<Qi", *row) for row in rows)
    return pb.Batch(schema_id=1, cpu=cpu, count=len(rows), rows=data)


def ended(reason: pb.EndReason = pb.END_REASON_STOPPED, text: str = "") -> pb.TraceResponse:
    return pb.TraceResponse(end=pb.End(reason=reason, text=text))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "d.sock") as fake:
        fake.schemas = [SCHEMA]
        yield fake


@pytest.fixture
def host(daemon: FakeDaemon, tmp_path: Path) -> Iterator[ptrace_client.Host]:
    with ptrace_client.connect(socket=tmp_path / "d.sock") as connected:
        yield connected


def play(daemon: FakeDaemon, *responses: pb.TraceResponse) -> None:
    """Let the daemon's next stream carry `responses` behind its start."""
    daemon.script = lambda fake, request: iter([STARTED, *responses])


def test_a_loop_gets_every_event(daemon: FakeDaemon, host: ptrace_client.Host) -> None:
    play(
        daemon,
        pb.TraceResponse(batches=[batch((1, 10), (2, 20)), batch((1, 30), cpu=3)]),
        pb.TraceResponse(mark=pb.RoundMark(time=3)),
        pb.TraceResponse(batches=[batch((4, 40))]),
        ended(),
    )
    events = list(host.trace("sched:sched_wakeup"))
    assert [(event._cpu, event._time, event.pid) for event in events] == [
        (0, 1, 10),
        (0, 2, 20),
        (3, 1, 30),
        (0, 4, 40),
    ]
    assert all(isinstance(event, ptrace_client.PerfEvent) for event in events)
    assert events[0]["_event"] == "sched:sched_wakeup"
    assert events[0]["_realtime"] == 1001


def test_the_request_says_what_was_asked_for(daemon: FakeDaemon, host: ptrace_client.Host) -> None:
    play(daemon, ended())
    tracing = host.trace(
        "sched:sched_wakeup",
        "irq:*",
        fields=["pid"],
        cpus="0",
        pids=[1],
        tids=[2],
        cgroups=["web"],
        buffer_pages=8,
        watermark=0,
        label="notebook",
    )
    assert list(tracing) == []
    assert daemon.seen["Trace"] == [
        pb.TraceRequest(
            selectors=["sched:sched_wakeup", "irq:*"],
            projections=[pb.Projection(event="sched:sched_wakeup", fields=["pid"])],
            scope=pb.Scope(cpus="0", pids=[1], tids=[2], cgroups=["web"]),
            buffer_pages=8,
            wake_every_event=True,
            print_formats=True,
            label="notebook",
        )
    ]


def test_the_label_is_the_programs_name(
    daemon: FakeDaemon, host: ptrace_client.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/latency", "-x"])
    play(daemon, ended())
    list(host.trace("sched:sched_wakeup"))
    assert daemon.seen["Trace"][0].label == "latency"


def test_order_merges_up_to_the_marks(daemon: FakeDaemon, host: ptrace_client.Host) -> None:
    play(
        daemon,
        pb.TraceResponse(batches=[batch((5, 1), (9, 2)), batch((2, 3), (7, 4), cpu=1)]),
        pb.TraceResponse(mark=pb.RoundMark(time=8)),
        pb.TraceResponse(batches=[batch((8, 5), cpu=1)]),
        ended(),
    )
    events = host.trace("sched:sched_wakeup", order=True)
    assert [event.pid for event in events] == [3, 1, 4, 5, 2]


def test_leaving_the_loop_closes_the_session(daemon: FakeDaemon, host: ptrace_client.Host) -> None:
    def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
        yield STARTED
        yield pb.TraceResponse(batches=[batch((1, 10), (2, 20))])
        fake.stop_called.wait()

    daemon.script = script
    for event in host.trace("sched:sched_wakeup"):
        assert event.pid == 10
        break
    assert daemon.trace_over.wait(10)


def test_leaving_the_with_block_closes_the_session(
    daemon: FakeDaemon, host: ptrace_client.Host
) -> None:
    with host.trace("sched:sched_wakeup"):
        assert not daemon.trace_over.is_set()
    assert daemon.trace_over.wait(10)


def test_stop_lets_the_loop_finish(daemon: FakeDaemon, host: ptrace_client.Host) -> None:
    def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
        yield STARTED
        yield pb.TraceResponse(batches=[batch((1, 10))])
        fake.stop_called.wait()
        yield pb.TraceResponse(batches=[batch((2, 20))])
        yield ended()

    daemon.script = script
    seen = []
    with host.trace("sched:sched_wakeup") as tracing:
        for event in tracing:
            seen.append(event.pid)
            tracing.stop()
    assert seen == [10, 20]
    assert tracing.end == pb.End(reason=pb.END_REASON_STOPPED)


def test_losses_are_counted_and_told(daemon: FakeDaemon, host: ptrace_client.Host) -> None:
    losses = [
        pb.Loss(schema_id=1, cpu=0, count=3, stage=pb.LOSS_STAGE_KERNEL_BUFFER),
        pb.Loss(schema_id=1, cpu=1, count=4, stage=pb.LOSS_STAGE_QUEUE),
        pb.Loss(schema_id=1, cpu=-1, count=100, stage=pb.LOSS_STAGE_SKIPPED),
    ]
    play(daemon, pb.TraceResponse(losses=losses), ended())
    told: list[pb.Loss] = []
    tracing = host.trace("sched:sched_wakeup", on_lost=told.append)
    assert list(tracing) == []
    assert tracing.lost == 7
    assert told == losses


def test_warnings_are_pythons(daemon: FakeDaemon, host: ptrace_client.Host) -> None:
    play(daemon, pb.TraceResponse(warnings=[pb.Warning(text="careful")]), ended())
    with pytest.warns(TraceWarning, match=r"^careful$"):
        list(host.trace("sched:sched_wakeup"))


def test_a_session_without_targets_ends_the_loop(
    daemon: FakeDaemon, host: ptrace_client.Host
) -> None:
    play(daemon, ended(pb.END_REASON_TARGETS_GONE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(host.trace("sched:sched_wakeup")) == []


@pytest.mark.parametrize("reason", [pb.END_REASON_SHUTDOWN, pb.END_REASON_FAILED])
def test_a_failed_session_is_an_error(
    daemon: FakeDaemon, host: ptrace_client.Host, reason: pb.EndReason
) -> None:
    play(daemon, ended(reason, "shutting down"))
    with pytest.raises(ClientError, match=r"^the daemon ended the trace: shutting down$"):
        list(host.trace("sched:sched_wakeup"))


def test_the_package_names_its_api() -> None:
    for name in ptrace_client.__all__:
        assert name in dir(ptrace_client)
        assert getattr(ptrace_client, name).__name__ == name
    with pytest.raises(AttributeError, match=r"^module 'ptrace_client' has no attribute 'x'$"):
        _ = ptrace_client.x
