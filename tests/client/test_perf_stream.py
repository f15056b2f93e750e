"""PerfEvents of recordings: the daemon's columns, in perf's order."""

from __future__ import annotations

import struct
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from perf_files import (
    EVENT_DESC,
    FORMAT,
    TRACING_DATA,
    USUAL,
    MadeRecording,
    two_events,
    wakeup_raw,
    written,
)

from ptrace_client.commands.run_stream import run_on_stream
from ptrace_client.errors import ClientError
from ptrace_client.perf_data import recorded_stacks
from ptrace_client.perf_data.attr import ReadFormat, SampleType
from ptrace_client.perf_data.model import RecordKind
from ptrace_client.perf_data.recording import open_recording
from ptrace_client.perf_data.stream import described_events, open_file_stream
from ptrace_client.perf_symbols.machine import open_machine
from ptrace_client.runner import RunOptions
from ptrace_client.script import Script
from ptrace_proto import ptrace_pb2 as pb

ORDERS = pytest.mark.parametrize("order", ["<", ">"])
CLOCK_DATA = 29


def run(
    path: str, *selectors: str, options: RunOptions | None = None, **callbacks: Callable[..., Any]
) -> int:
    """Run a script of these callbacks on a recording."""
    module = types.ModuleType("made")
    vars(module).update(callbacks)
    script = Script(module)
    script.path = ""
    recording = open_recording(path)
    try:
        machine = open_machine(recording)
        return run_on_stream(
            recording, machine, script, selectors, options or RunOptions(all_fields=True)
        )
    finally:
        recording.close()


def events(path: str, *selectors: str) -> list[dict[str, Any]]:
    """All events of a recording, with their tasks' names."""
    seen: list[dict[str, Any]] = []

    def handler(event: Any) -> None:
        seen.append({**event.to_dict(), "_comm": event._comm})

    assert run(path, *selectors, __sample__=handler) == 0
    return seen


VARIED = (
    FORMAT.partition("\tfield:u64 value")[0].format(name="varied", id=301)
    + """\
\tfield:s8 small;\toffset:8;\tsize:1;\tsigned:1;
\tfield:int number;\toffset:12;\tsize:4;\tsigned:1;
\tfield:char comm[4];\toffset:16;\tsize:4;\tsigned:0;
\tfield:__data_loc char[] text;\toffset:20;\tsize:4;\tsigned:0;
\tfield:__rel_loc u8[] bytes;\toffset:24;\tsize:4;\tsigned:0;
\tfield:bool yes;\toffset:28;\tsize:1;\tsigned:0;
\tfield:unsigned long args[2];\toffset:32;\tsize:16;\tsigned:0;
\tfield:__data_loc u16[] list;\toffset:48;\tsize:4;\tsigned:0;

print fmt: "%d %s", REC->number, __get_str(text)
"""
)


@ORDERS
def test_a_tracepoint_has_the_fields_of_its_record(tmp_path: Path, order: str) -> None:
    # GIVEN a sample of an event with fields of all kinds
    made = MadeRecording(order)
    made.event(2, 301, ids=(31,), sample_type=USUAL | SampleType.RAW, name="my:varied")
    made.features[TRACING_DATA] = made.tracing({"my": [VARIED]})
    made.features[EVENT_DESC] = made.describe()
    record = made.pack(
        "HBBibxxxi4sIIbxxx", 301, 1, 2, 8, -1, -2, b"abc", 6 << 16 | 52, 2 << 16 | 30, 1
    )
    record += made.pack("QQI", 3, 4, 5 << 16 | 60) + b"hello\0\x01\x02" + made.pack("HHb", 5, 6, 7)
    made.record(RecordKind.COMM, made.pack("II16s", 7, 7, b"worker") + made.trailer(31, 5))
    made.sample(31, 1000, tail=made.raw(record))
    # WHEN a script gets it
    [event] = events(written(tmp_path, made.file()))
    # THEN
    expected = {
        "_pid": 7,
        "_tid": 7,
        "_time": 1000,
        "_cpu": 0,
        "_event": "my:varied",
        "_comm": "worker",
        "_callchain": [],
        "common_type": 301,
        "common_flags": 1,
        "common_preempt_count": 2,
        "small": -1,
        "number": -2,
        "comm": "abc",
        "text": "hello",
        "bytes": b"\x01\x02",
        "yes": 1,
        "args": struct.pack("<QQ", 3, 4),
        # Little-endian, but for what is no whole element.
        "list": struct.pack("<HHb", 5, 6, 7),
    }
    assert {name: event[name] for name in expected} == expected


def test_records_that_are_cut_off_are_filled_with_zeros(tmp_path: Path) -> None:
    made = two_events()
    made.sample(11, 5, tail=made.raw(made.pack("HBBi", 300, 0, 0, 7)))
    made.sample(11, 6, tail=wakeup_raw(made, 9))
    assert [event["value"] for event in events(written(tmp_path, made.file()))] == [0, 9]


def test_a_locator_leads_no_further_than_its_record(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(2, 301, ids=(31,), sample_type=USUAL | SampleType.RAW, name="my:varied")
    made.features[TRACING_DATA] = made.tracing({"my": [VARIED]})
    record = made.pack("HBBi12xII20x4s", 301, 0, 0, 7, 5000 << 16 | 48, 9 << 16 | 60000, b"tail")
    made.sample(31, 5, tail=made.raw(record))
    made.sample(31, 6, tail=made.raw(record + b"next" * 20))
    [event, _] = events(written(tmp_path, made.file()))
    assert (event["text"], event["bytes"]) == ("tail", b"")


def test_tasks_that_are_gone_have_no_numbers(tmp_path: Path) -> None:
    made = two_events()
    made.sample(21, 5, tid=(1 << 32) - 1)
    [event] = events(written(tmp_path, made.file()))
    assert (event["_pid"], event["_tid"], event["pid"]) == (-1, -1, -1)


@ORDERS
def test_a_sample_has_the_members_that_were_recorded(tmp_path: Path, order: str) -> None:
    # GIVEN a sample with counters, registers, branches and a stack
    made = MadeRecording(order)
    kinds = USUAL | SampleType.PERIOD | SampleType.READ | SampleType.REGS_USER
    kinds |= SampleType.BRANCH_STACK | SampleType.STACK_USER | SampleType.DATA_SRC
    made.event(
        ids=(21,),
        sample_type=kinds,
        read_format=ReadFormat.TOTAL_TIME_ENABLED | ReadFormat.ID,
        name="cpu-clock:u",
        regs_user=0b110,
    )
    made.features[EVENT_DESC] = made.describe()
    made.features[6] = made.text("x86_64")
    tail = made.pack("Q", 4000) + made.pack("3Q", 77, 88, 21)
    tail += made.pack("4Q", 1, 0xA, 0xB, 0)
    tail += made.pack("3Q", 2, 5, 6) + made.pack("Q8sQ", 8, b"stack\0\0\0", 5)
    tail += made.pack("Q", 0x68)
    made.sample(21, 50, tail=tail)
    # WHEN
    seen: list[dict[str, Any]] = []

    def cpu_clock_u(event: Any) -> None:
        seen.append(
            {
                "ip": event.ip,
                "id": event.id,
                "period": event.period,
                "read": event.read,
                "regs": event.regs_user,
                "none": event.regs_intr,
                "branches": event.branch_stack,
                "stack": event.stack_user,
                "data_src": event.data_src,
                "weight": event.weight,
            }
        )

    run(written(tmp_path, made.file()), cpu_clock_u=cpu_clock_u, options=RunOptions())
    # THEN
    assert seen == [
        {
            "ip": 0x1000,
            "id": 21,
            "period": 4000,
            "read": {"value": 77, "time_enabled": 88, "id": 21},
            "regs": {"abi": 2, "bx": 5, "cx": 6},
            "none": {"abi": 0},
            "branches": struct.pack("<3Q", 0xA, 0xB, 0),
            "stack": b"stack",
            "data_src": 0x68,
            "weight": 0,
        }
    ]


def test_members_that_were_not_recorded_have_defaults(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(sample_type=SampleType.IP | SampleType.TIME, period=99, name="cpu-clock")
    made.record(RecordKind.SAMPLE, made.pack("QQ", 0x1000, 5))
    [event] = events(written(tmp_path, made.file()))
    assert {name: event[name] for name in ("_pid", "_cpu", "period", "read", "_comm")} == {
        "_pid": -1,
        "_cpu": (1 << 32) - 1,
        "period": 99,
        "read": {"value": 0},
        "_comm": ":-1",
    }


def test_events_of_all_processors_come_in_the_order_of_time(tmp_path: Path) -> None:
    made = two_events()
    for id, time in ((11, 30), (21, 20), (12, 10), (21, 40)):
        made.sample(id, time, tail=wakeup_raw(made, time) if id < 20 else b"")
    seen = events(written(tmp_path, made.file()))
    assert [event["_time"] for event in seen] == [10, 20, 30, 40]


def test_selectors_choose_events_and_projections_columns(tmp_path: Path) -> None:
    made = two_events()
    made.sample(11, 5, tail=wakeup_raw(made, 9))
    made.sample(21, 6)
    path = written(tmp_path, made.file())
    assert [it["_event"] for it in events(path, "sched")] == ["sched:sched_wakeup"]
    assert [it["_event"] for it in events(path, "cpu-clock")] == ["cpu-clock:u"]
    recording = open_recording(path)
    [schema] = described_events(recording, ["sched:*"])
    assert "value" in {field.name for field in schema.fields}
    wanted = [pb.Projection(event="sched:sched_wakeup", fields=["_tid"])]
    stream = open_file_stream(recording, ["sched:*"], wanted)
    [schema] = stream.started.schemas
    assert [field.name for field in schema.fields] == ["_time", "_tid"]
    message = stream.next(None)
    assert message is not None
    assert [batch.rows for batch in message.batches] == [struct.pack("<Qi", 5, 7)]


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ("sched:sched_wakup", "has no event sched:sched_wakup: did you mean sched:sched_wakeup?"),
        ("net:*", "has no event net:*: it has sched:sched_wakeup, cpu-clock:u"),
        ("sched:sched_wakeup/value>3/", "filters and attributes are for live events"),
        ("sched:sched_wakeup//stack/", "has no call chains of sched:sched_wakeup: they are rec"),
    ],
)
def test_selectors_that_name_nothing(tmp_path: Path, selector: str, text: str) -> None:
    recording = open_recording(written(tmp_path, two_events().file()))
    with pytest.raises(ClientError, match=r"filters|has no") as error:
        described_events(recording, [selector])
    assert text in str(error.value)


def test_names_of_tasks_are_those_at_the_time(tmp_path: Path) -> None:
    made = two_events()
    made.sample(21, 1)
    made.record(RecordKind.COMM, made.pack("II16s", 7, 7, b"one") + made.trailer(21, 2))
    made.sample(21, 3)
    made.record(RecordKind.COMM, made.pack("II16s", 7, 7, b"two") + made.trailer(21, 4))
    made.sample(21, 5)
    made.record(RecordKind.FORK, made.pack("IIIIQ", 8, 7, 8, 7, 6) + made.trailer(21, 6))
    made.sample(21, 7, tid=8)
    seen = events(written(tmp_path, made.file()))
    assert [event["_comm"] for event in seen] == [":7", "one", "two", "two"]


def test_losses_are_told_where_they_happened(tmp_path: Path) -> None:
    made = two_events()
    made.sample(21, 5)
    made.record(RecordKind.LOST, made.pack("QQ", 21, 3) + made.trailer(21, 6))
    made.record(RecordKind.LOST, made.pack("QQ", 11, 4) + made.trailer(11, 7))
    made.sample(21, 8)
    stream = open_file_stream(open_recording(written(tmp_path, made.file())), ["cpu-clock"])
    messages = [stream.next(None), stream.next(None)]
    with pytest.raises(EOFError):
        stream.next(None)
    losses = [loss for message in messages if message for loss in message.losses]
    assert [(loss.schema_id, loss.cpu, loss.count, loss.end_time) for loss in losses] == [
        (1, 0, 3, 6)
    ]
    assert messages[-1] is not None
    [totals] = messages[-1].end.totals
    assert (totals.delivered, totals.lost) == (2, 3)


def test_stacks_are_sent_once(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(ids=(21,), sample_type=USUAL | SampleType.CALLCHAIN, name="cpu-clock")
    kernel, user = (1 << 64) - 128, (1 << 64) - 512
    chains = [
        [kernel, 0xFFFFFFFF81000010, user, 0x401000],
        [kernel, 0xFFFFFFFF81000010, user, 0x401000],
        [user, 0x402000],
        [],
    ]
    for time, chain in enumerate(chains, start=1):
        made.sample(21, time, tail=made.pack(f"Q{len(chain)}Q", len(chain), *chain))
    path = written(tmp_path, made.file())
    seen = events(path)
    addresses = [[frame["addr"] for frame in event["callchain"]] for event in seen]
    assert addresses == [[0xFFFFFFFF81000010, 0x401000]] * 2 + [[0x402000], []]
    assert [frame["kernel"] for frame in seen[0]["callchain"]] == [True, False]
    assert len(events(path, "cpu-clock/-F 99 -g/")) == len(seen)
    message = open_file_stream(open_recording(path), []).next(None)
    assert message is not None
    assert len(message.stacks) == 2


def mapped(made: MadeRecording, pid: int, time: int) -> None:
    """Add a mapping of a file at 0x400000."""
    body = made.pack("IIQQQ", pid, pid, 0x400000, 0x1000, 0) + b"/bin/program".ljust(16, b"\0")
    made.record(RecordKind.MMAP, body + made.trailer(21, time), misc=2)


def test_stacks_are_named_anew_where_mappings_change(tmp_path: Path) -> None:
    # GIVEN the same addresses before and after a mapping of the process, and of another
    made = MadeRecording()
    made.event(ids=(21,), sample_type=USUAL | SampleType.CALLCHAIN, name="cpu-clock")
    chain = made.pack("3Q", 2, (1 << 64) - 512, 0x400010)
    made.sample(21, 1, tail=chain)
    mapped(made, 7, 2)
    made.sample(21, 3, tail=chain)
    mapped(made, 8, 4)
    made.sample(21, 5, tail=chain)
    path = written(tmp_path, made.file())
    # THEN they mean what is mapped at the time
    found = [event["callchain"][0]["dso"] for event in events(path)]
    assert found == ["Unknown", "/bin/program", "/bin/program"]
    message = open_file_stream(open_recording(path), []).next(None)
    assert message is not None
    assert [stack.id for stack in message.stacks] == [1, 2]


def test_stacks_are_forgotten_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_stacks, "_REMEMBERED", 2)
    made = MadeRecording()
    made.event(ids=(21,), sample_type=USUAL | SampleType.CALLCHAIN, name="cpu-clock")
    for time in range(1, 3000):
        chain = ((1 << 64) - 512, 0x400000 + time // 1000)
        made.sample(21, time, tail=made.pack("3Q", 2, *chain))
    path = written(tmp_path, made.file())
    found = [event["callchain"][0]["addr"] for event in events(path)]
    assert found == [0x400000 + time // 1000 for time in range(1, 3000)]
    stream = open_file_stream(open_recording(path), [])
    messages = [stream.next(None) for _ in range(3)]
    assert [message and message.forget_stacks_below for message in messages] == [3, 5, 0]


def test_events_by_which_perf_follows_tasks_are_no_events(tmp_path: Path) -> None:
    made = two_events()
    made.event(1, 9, ids=(31,), name="dummy:HG")
    made.features[EVENT_DESC] = made.describe()
    recording = open_recording(written(tmp_path, made.file()))
    names = [schema.name for schema in described_events(recording, [])]
    assert names == ["sched_wakeup", "cpu-clock:u"]
    assert [schema.name for schema in described_events(recording, ["dummy:HG"])] == ["dummy:HG"]
    with pytest.raises(ClientError, match=r"it has sched:sched_wakeup, cpu-clock:u$"):
        described_events(recording, ["net"])


def test_the_wall_clock_is_the_recordings(tmp_path: Path) -> None:
    made = two_events()
    made.features[CLOCK_DATA] = made.pack("IIQQ", 1, 1, 10**18, 4 * 10**9)
    made.sample(21, 5 * 10**9)
    [event] = events(written(tmp_path, made.file()))
    assert event["_realtime"] == 10**18 + 10**9


def test_intervals_pass_in_the_recordings_time(tmp_path: Path) -> None:
    # GIVEN events over 4.5 ms, some of them close together
    made = two_events()
    for time in (10, 400, 900, 1500, 1600, 3200, 4500):
        made.sample(21, 10**9 + time * 1000)
    seen: list[Any] = []

    # WHEN __interval__ is called each ms
    def handler(event: Any) -> None:
        seen.append((event._time - 10**9) // 1000)

    options = RunOptions(interval_ms=1)
    path = written(tmp_path, made.file())
    run(path, options=options, __sample__=handler, __interval__=lambda: seen.append("tick"))
    # THEN it is called between them, not at the end
    assert [it for it in seen if it != "tick"] == [10, 400, 900, 1500, 1600, 3200, 4500]
    assert seen.index("tick") == 3
    assert seen.count("tick") == 3


def test_a_run_ends_after_as_many_events_as_it_was_to_have(tmp_path: Path) -> None:
    made = two_events()
    for time in range(1, 5000):
        made.sample(21, time)
    seen: list[int] = []
    path = written(tmp_path, made.file())
    run(path, options=RunOptions(exit_n=3), __sample__=lambda event: seen.append(event._time))
    assert seen == [1, 2, 3]


def test_what_lies_before_the_damage_is_delivered(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(ids=(21,), name="cpu-clock")
    for time in range(1, 3000):
        made.sample(21, time)
    content = made.file()
    end = content.rindex(made.records[-1])
    seen: list[int] = []
    path = written(tmp_path, content[: end + 20])
    ended: list[bool] = []
    with pytest.raises(ClientError, match="in the middle"):
        run(
            path,
            __sample__=lambda event: seen.append(event._time),
            __exit__=lambda: ended.append(True),
        )
    assert (seen, ended) == (list(range(1, 2999)), [True])


@pytest.mark.parametrize("size", [8, 24])
def test_samples_that_are_too_short_for_their_event(tmp_path: Path, size: int) -> None:
    made = two_events()
    made.sample(21, 1)
    made.records.append(
        made.pack("IHHQ", RecordKind.SAMPLE, 2, 8 + size, 21).ljust(8 + size, b"\0")
    )
    with pytest.raises(ClientError, match=r"sample|record"):
        events(written(tmp_path, made.file()))


def test_texts_of_recordings_need_not_be_text(tmp_path: Path) -> None:
    made = two_events()
    formats = made.tracing({"sched": [FORMAT.format(name="sched_wakeup", id=300)]})
    formats = formats.replace(b"value=%llu", b"value\xff%llu").replace(
        b"u64 value", b"u\xfe4 value"
    )
    made.features[TRACING_DATA] = formats
    made.sample(11, 5, tail=wakeup_raw(made, 9))
    [event] = events(written(tmp_path, made.file()))
    assert event["value"] == 9


def test_fields_that_lie_outside_any_record_are_refused(tmp_path: Path) -> None:
    made = two_events()
    huge = FORMAT.replace("offset:8;\tsize:8", "offset:8;\tsize:4000000000")
    made.features[TRACING_DATA] = made.tracing({"sched": [huge.format(name="x", id=300)]})
    with pytest.raises(ClientError, match="format"):
        open_recording(written(tmp_path, made.file()))


def with_fields(tmp_path: Path, fields: str, content: bytes) -> str:
    """A recording of an event with other fields than the kernel's have."""
    made = two_events()
    text = FORMAT.replace("\tfield:u64 value;\toffset:8;\tsize:8;\tsigned:0;\n", fields)
    made.features[TRACING_DATA] = made.tracing({"sched": [text.format(name="x", id=300)]})
    made.sample(11, 5, tail=made.raw(made.pack("HBBi", 300, 0, 0, 7) + content))
    return written(tmp_path, made.file())


def test_a_locator_of_no_known_size_leads_to_nothing(tmp_path: Path) -> None:
    fields = "\tfield:__data_loc char[] text;\toffset:8;\tsize:3;\tsigned:0;\n"
    [event] = events(with_fields(tmp_path, fields, b"\x0c\0\x04\0text"))
    assert not event["text"]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("char a{}[30000];\toffset:8;\tsize:30000", "have 90.* bytes, more than a record"),
        ("__data_loc char[] a{};\toffset:8;\tsize:4", "more bytes than it"),
    ],
)
def test_fields_that_lie_on_one_another_make_no_rows_larger_than_records(
    tmp_path: Path, field: str, message: str
) -> None:
    fields = "".join(f"\tfield:{field.format(number)};\tsigned:0;\n" for number in range(3))
    content = struct.pack("<HH", 12, 30_000) + b"x" * 30_000
    with pytest.raises(ClientError, match=message):
        events(with_fields(tmp_path, fields, content))
