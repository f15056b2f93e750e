"""Which words of a command line are run's own, and what its options become in the request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakeserver import FakeDaemon

from ptrace_client.arguments import split_arguments
from ptrace_client.commands import run as run_command
from ptrace_client.errors import ClientError
from ptrace_client.request import project, trace_request
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


def split(line: str) -> tuple[list[str], list[str]]:
    return split_arguments(line.split(), run_command.declare().params)


class TestSplit:
    @pytest.mark.parametrize(
        ("line", "own", "script"),
        [
            ("-e X s.py", "-e X", "s.py"),
            ("-eX -i100 s.py", "-eX -i100", "s.py"),
            ("--event=X s.py a b", "--event=X", "s.py a b"),
            ("-e X ./s.py -N 2 --threshold 50 pos", "-e X -N 2", "./s.py --threshold 50 pos"),
            ("-e X s.py -vq", "-e X -vq", "s.py"),
            ("-e X s.py -qx", "-e X", "s.py -qx"),
            ("-e X s.py -xq", "-e X", "s.py -xq"),
            ("-e X s.py -vN3", "-e X -vN3", "s.py"),
            ("-e X s.py -vN 3", "-e X -vN 3", "s.py"),
            ("-e X s.py - -1", "-e X", "s.py - -1"),
            ("-e X -- s.py -N 2", "-e X", "s.py -N 2"),
            ("-e X s.py -- -N 2", "-e X", "s.py -N 2"),
            ("-e X -- s.py -- -N", "-e X", "s.py -- -N"),
            ("-e X --bogus s.py", "-e X --bogus", "s.py"),
            ("-e", "-e", ""),
            ("", "", ""),
        ],
    )
    def test_words(self, line: str, own: str, script: str) -> None:
        assert split(line) == (own.split(), script.split())

    def test_a_value_may_look_like_an_option(self) -> None:
        assert split("-e -x -o -- s.py") == (["-e", "-x", "-o", "--"], ["s.py"])


class TestRequest:
    def test_everything_arrives(self) -> None:
        request = trace_request(
            ["a:b", "c:d"],
            cpus="0-3",
            pids=[1],
            tids=[2, 3],
            cgroups=["web"],
            buffer_pages=64,
            watermark=25,
            mark_interval=5,
            label="x.py",
        )
        assert request == pb.TraceRequest(
            selectors=["a:b", "c:d"],
            scope=pb.Scope(cpus="0-3", pids=[1], tids=[2, 3], cgroups=["web"]),
            buffer_pages=64,
            watermark_percent=25,
            mark_interval=5,
            print_formats=True,
            label="x.py",
        )

    def test_watermark_0_is_per_event(self) -> None:
        assert trace_request(["a:b"], watermark=0).wake_every_event
        assert not trace_request(["a:b"]).wake_every_event

    @pytest.mark.parametrize("watermark", [-1, 101])
    def test_watermark_out_of_range(self, watermark: int) -> None:
        with pytest.raises(ClientError) as caught:
            trace_request(["a:b"], watermark=watermark)
        assert str(caught.value) == (f"watermark {watermark} is not a percentage from 0 to 100")

    @pytest.mark.parametrize(
        ("pages", "text"),
        [
            (3, "a buffer of 3 pages is not a power of two: 2 and 4 are"),
            (100, "a buffer of 100 pages is not a power of two: 64 and 128 are"),
            (-8, "a buffer of -8 pages is not a power of two"),
        ],
    )
    def test_buffer_not_a_power_of_two(self, pages: int, text: str) -> None:
        with pytest.raises(ClientError) as caught:
            trace_request(["a:b"], buffer_pages=pages)
        assert str(caught.value) == text

    def test_label_is_cut_at_a_character(self) -> None:
        assert trace_request(["a:b"], label="ä" * 200).label == "ä" * 128
        assert trace_request(["a:b"], label="a" + "ä" * 200).label == "a" + "ä" * 127

    def test_projection_to_columns(self) -> None:
        other = pb.EventSchema(system="irq", name="x", fields=[pb.Field(name="_time")])
        assert project([SCHEMA, other], ["pid", "_realtime", "_cpu"]) == [
            pb.Projection(event="sched:sched_wakeup", fields=["_time", "pid"]),
            pb.Projection(event="irq:x", fields=["_time"]),
        ]

    def test_projection_to_an_unknown_field(self) -> None:
        with pytest.raises(ClientError, match=r"^none of the events has a field 'pidd'$"):
            project([SCHEMA], ["pid", "pidd"])


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A daemon with one event that is traced, and that the environment names."""

    def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
        first = pb.TraceResponse(started=pb.Started(session_id="s1", schemas=[SCHEMA]))
        yield first
        rows = bytes(12) * 5
        yield pb.TraceResponse(
            batches=[pb.Batch(schema_id=1, cpu=0, count=5, rows=rows)],
            mark=pb.RoundMark(time=1),
        )
        fake.stop_called.wait()
        totals = [pb.EventTotals(schema_id=1, delivered=5)]
        yield pb.TraceResponse(end=pb.End(reason=pb.END_REASON_STOPPED, totals=totals))

    path = tmp_path / "d.sock"
    monkeypatch.setenv("PTRACED_SOCKET", str(path))
    with FakeDaemon(path) as fake:
        fake.schemas = [SCHEMA]
        fake.script = script
        yield fake
