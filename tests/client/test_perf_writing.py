"""Recordings out of streams: rows as records, the order of time, and files that stay whole."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptrace_client.arguments import split_before_word
from ptrace_client.commands import record as record_command
from ptrace_client.errors import ClientError
from ptrace_client.perf_data.model import Record, RecordKind, Sample
from ptrace_client.perf_data.recording import open_recording
from ptrace_client.perf_writing import output as output_module
from ptrace_client.perf_writing.launch import Launch
from ptrace_client.perf_writing.local_files import LocalFiles
from ptrace_client.perf_writing.output import FileOutput, PipeOutput, open_output
from ptrace_client.perf_writing.recorder import Recorder, sampled_projections
from ptrace_proto import ptrace_pb2 as pb

COMMON = """\
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
"""
FORMAT = f"""name: made_up
ID: 321
format:
{COMMON}
\tfield:s32 number;\toffset:12;\tsize:4;\tsigned:1;
\tfield:char text[4];\toffset:16;\tsize:4;\tsigned:0;
\tfield:__data_loc char[] name;\toffset:20;\tsize:4;\tsigned:0;
\tfield:__rel_loc u16[] data;\toffset:24;\tsize:4;\tsigned:0;

print fmt: "%d", REC->number
"""
PLAIN = f"""name: plain
ID: 322
format:
{COMMON}
\tfield:u8 small;\toffset:8;\tsize:1;\tsigned:0;
\tfield:u64 large;\toffset:16;\tsize:8;\tsigned:0;

print fmt: "%d", REC->small
"""
U, S = pb.FIELD_KIND_UNSIGNED, pb.FIELD_KIND_SIGNED
INFO = pb.ServerInfo(hostname="box", kernel_release="6.1.0", machine="x86_64")


def column(name: str, kind: pb.FieldKind, offset: int, size: int) -> pb.Field:
    return pb.Field(name=name, kind=kind, offset=offset, size=size)


def schema(id: int, text: str, fields: list[pb.Field], **more: object) -> pb.EventSchema:
    end = fields[-1].offset + fields[-1].size
    return pb.EventSchema(
        id=id,
        system="made",
        name=text.split()[1] if text else "probe",
        fields=fields,
        row_size=end,
        format_text=text,
        **more,  # type: ignore[arg-type]
    )


DYNAMIC = schema(
    1,
    FORMAT,
    [
        column("_time", U, 0, 8),
        column("_comm", pb.FIELD_KIND_CHAR_ARRAY, 8, 16),
        column("name", pb.FIELD_KIND_DYNAMIC_STRING, 24, 8),
        column("data", pb.FIELD_KIND_DYNAMIC_BYTES, 32, 8),
        column("_pid", S, 40, 4),
        column("_tid", S, 44, 4),
        column("number", S, 48, 4),
        column("text", pb.FIELD_KIND_CHAR_ARRAY, 52, 4),
        column("common_flags", U, 56, 1),
        column("common_preempt_count", U, 57, 1),
    ],
    has_dynamic=True,
)
FIXED_COLUMNS = [
    column("_time", U, 0, 8),
    column("_comm", pb.FIELD_KIND_CHAR_ARRAY, 8, 16),
    column("large", U, 24, 8),
    column("_pid", S, 32, 4),
    column("_tid", S, 36, 4),
    column("small", U, 40, 1),
    column("common_flags", U, 41, 1),
    column("common_preempt_count", U, 42, 1),
]
FIXED = schema(2, PLAIN, FIXED_COLUMNS)
STACKED = schema(
    2, PLAIN, [*FIXED_COLUMNS, column("_callchain", pb.FIELD_KIND_STACK, 43, 4)], stack=True
)


def dynamic_row(time: int, name: bytes, data: bytes, *, number: int = -5) -> bytes:
    places = struct.pack("<IIII", 58, len(name), 58 + len(name), len(data))
    fixed = struct.pack("<Q16s16siii4sBB", time, b"task", places, 70, 71, number, b"abc", 3, 1)
    row = fixed + name + data
    return struct.pack("<I", len(row)) + row


def fixed_row(time: int, tid: int = 71, comm: bytes = b"task", stack: int | None = None) -> bytes:
    row = struct.pack("<Q16sQiiBBB", time, comm, 1 << 40, 70, tid, 200, 0, 0)
    return row if stack is None else row + struct.pack("<I", stack)


def batch(id: int, *rows: bytes, cpu: int = 1) -> pb.Batch:
    return pb.Batch(schema_id=id, cpu=cpu, count=len(rows), rows=b"".join(rows))


def started(*schemas: pb.EventSchema) -> pb.Started:
    host = pb.RecordedHost(
        header_page="page", header_event="event", page_size=4096, cpus_online=2, cpus_available=4
    )
    return pb.Started(schemas=schemas, recorded_host=host, start_time=50, realtime_offset=1000)


class Written:
    """A recording that is being written to a file."""

    def __init__(self, path: Path, *schemas: pb.EventSchema, **options: object) -> None:
        self.path = path
        output, self.fd = open_output(str(path))
        self.recorder = Recorder(started(*schemas), INFO, output, **options)  # type: ignore[arg-type]

    def take(self, **message: object) -> None:
        self.recorder.take(pb.TraceResponse(**message))  # type: ignore[arg-type]

    def read(self) -> list[Record]:
        self.recorder.close()
        os.close(self.fd)
        return list(open_recording(str(self.path)).records())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made.data"


def samples(records: list[Record]) -> list[Sample]:
    return [
        record.event.layout.sample(record.data, record.start, record.end, record.misc)
        for record in records
        if record.event is not None
    ]


def kinds(records: list[Record]) -> list[int]:
    return [record.kind for record in records]


def names(records: list[Record]) -> list[tuple[int, bytes]]:
    """Thread and name of each record of a name."""
    found = []
    for record in records:
        if record.kind == RecordKind.COMM:
            body = bytes(record.data[record.start + 8 : record.end])
            found.append((struct.unpack_from("<I", body, 4)[0], body[8:].partition(b"\0")[0]))
    return found


def test_a_raw_record_is_laid_out_as_the_kernel_does(path: Path) -> None:
    written = Written(path, DYNAMIC)
    written.take(batches=[batch(1, dynamic_row(100, b"name\0", b"\1\0\2\0"))])

    (sample,) = samples(written.read())

    head = struct.pack("<HBBi4xi4s", 321, 3, 1, 71, -5, b"abc")
    # Both locators; the second one counts from its own end.
    places = struct.pack("<II", 5 << 16 | 28, 4 << 16 | 28 + 5 - 28)
    assert sample.raw[: 28 + 9] == head + places + b"name\0" + b"\1\0\2\0"
    assert (len(sample.raw) + 4) % 8 == 0
    assert (sample.pid, sample.tid, sample.time, sample.cpu, sample.period) == (70, 71, 100, 1, 1)


def test_data_that_is_blank_is_empty_in_the_record(path: Path) -> None:
    written = Written(path, DYNAMIC)
    written.take(batches=[batch(1, dynamic_row(100, b"", b""))])

    (sample,) = samples(written.read())

    assert struct.unpack_from("<II", sample.raw, 20) == (28, 0)


def test_records_of_one_size_are_laid_out_as_the_kernel_does(path: Path) -> None:
    written = Written(path, FIXED)
    written.take(batches=[batch(2, fixed_row(1), fixed_row(2))])

    first, _ = samples(written.read())

    assert first.raw == struct.pack("<HBBiB7xQ4x", 322, 0, 0, 71, 200, 1 << 40)


def test_samples_have_the_callchain_of_their_stack(path: Path) -> None:
    frames = [
        pb.Frame(address=0xFFFFFFFF81000000, kernel=True),
        pb.Frame(address=0, kernel=True, symbol="hidden"),
        pb.Frame(address=0x4000),
        pb.Frame(address=0x5000),
    ]
    written = Written(path, STACKED)
    stacks = [pb.Stack(id=7, frames=frames), pb.Stack(id=8, frames=frames[2:])]
    rows = [fixed_row(time, stack=stack) for time, stack in ((1, 7), (2, 8), (3, 0))]
    written.take(stacks=stacks, batches=[batch(2, *rows)])

    both, user, none = samples(written.read())

    kernel_mark, user_mark = (1 << 64) - 128, (1 << 64) - 512
    assert both.callchain == (kernel_mark, 0xFFFFFFFF81000000, user_mark, 0x4000, 0x5000)
    assert (both.ip, both.cpumode) == (0xFFFFFFFF81000000, 1)
    assert user.callchain == (user_mark, 0x4000, 0x5000)
    assert (user.ip, user.cpumode) == (0x4000, 2)
    assert none.callchain == ()


def test_sampled_events_have_their_own_attr(path: Path) -> None:
    columns = [
        column("_time", U, 0, 8),
        column("ip", pb.FIELD_KIND_POINTER, 8, 8),
        column("addr", pb.FIELD_KIND_POINTER, 16, 8),
        column("period", U, 24, 8),
        column("_comm", pb.FIELD_KIND_CHAR_ARRAY, 32, 16),
        column("_pid", S, 48, 4),
        column("_tid", S, 52, 4),
    ]
    info = pb.SampleInfo(type=1, config=2, frequency=99, flags=1 << 4)
    sampled = pb.EventSchema(
        id=5,
        name="page-faults",
        fields=columns,
        row_size=56,
        source=pb.EVENT_SOURCE_SAMPLE,
        sample=info,
    )
    written = Written(path, sampled)
    row = struct.pack("<QQQQ16sii", 9, 0x4000, 0x7000, 3, b"task", 70, 71)
    written.take(batches=[batch(5, row)])

    (sample,) = samples(written.read())

    attr = sample.event.attr
    assert (sample.event.name, attr.type, attr.config, attr.sample_period) == (
        *("page-faults", 1, 2, 99),
    )
    assert attr.flags & (1 << 4 | 1 << 10) == 1 << 4 | 1 << 10
    assert (sample.ip, sample.addr, sample.period, sample.cpumode) == (0x4000, 0x7000, 3, 2)
    (projection,) = sampled_projections([sampled, FIXED])
    assert projection.event == "page-faults"
    assert {"ip", "addr", "period", "callchain", "_comm"} <= set(projection.fields)


def test_probes_get_a_format_of_their_columns(path: Path) -> None:
    columns = [
        column("_time", U, 0, 8),
        column("_comm", pb.FIELD_KIND_CHAR_ARRAY, 8, 16),
        column("ip", pb.FIELD_KIND_POINTER, 24, 8),
        column("path", pb.FIELD_KIND_DYNAMIC_STRING, 32, 8),
        column("_pid", S, 40, 4),
        column("_tid", S, 44, 4),
        column("count", S, 48, 2),
    ]
    probe = schema(3, "", columns, source=pb.EVENT_SOURCE_PROBE, has_dynamic=True)
    written = Written(path, probe)
    row = struct.pack("<Q16sQIIiih", 9, b"task", 0x4000, 50, 3, 70, 71, -2) + b"ab\0"
    written.take(batches=[batch(3, struct.pack("<I", len(row)) + row)])

    (sample,) = samples(written.read())

    format = sample.event.format
    assert format is not None
    assert format.title == "made:probe"
    places = {field.name: field.offset for field in format.fields}
    assert places == {"ip": 8, "path": 16, "count": 20}
    assert struct.unpack_from("<H", sample.raw) == (format.id,)
    assert struct.unpack_from("<QIh", sample.raw, 8) == (0x4000, 3 << 16 | 22, -2)
    assert sample.raw[22:25] == b"ab\0"
    assert format.print_fmt == '"ip=0x%llx path=%s count=%d", REC->ip, __get_str(path), REC->count'


def test_records_are_in_the_order_of_time_over_all_batches(path: Path) -> None:
    written = Written(path, DYNAMIC, FIXED)
    written.take(batches=[batch(2, fixed_row(30), fixed_row(50), cpu=0)])
    written.take(
        batches=[batch(1, dynamic_row(20, b"x\0", b""), cpu=1)], mark=pb.RoundMark(time=40)
    )
    written.take(batches=[batch(1, dynamic_row(45, b"x\0", b""))], mark=pb.RoundMark(time=60))

    records = written.read()

    assert [sample.time for sample in samples(records)] == [20, 30, 45, 50]
    assert written.recorder.samples == 4
    # In the file itself, too.
    data = path.read_bytes()
    places = [data.index(struct.pack("<IIQ", 70, 71, time)) for time in (20, 30, 45, 50)]
    assert places == sorted(places)
    assert open_recording(str(path)).features.sample_time == (20, 50)


def test_tasks_become_records_of_the_kernels_kinds(path: Path) -> None:
    written = Written(path, FIXED)
    mapping = pb.TaskMapping(
        start=0x1000, length=0x2000, offset=0x3000, path=b"/bin/x", major=8, minor=1, inode=77
    )
    who = {"pid": 70, "tid": 71}
    parent = {"parent_pid": 1, "parent_tid": 2}
    written.take(
        tasks=[
            pb.TaskRecord(time=1, start=pb.TaskStart(**parent), **who),
            pb.TaskRecord(time=2, name=pb.TaskName(name=b"new", is_exec=True), **who),
            pb.TaskRecord(time=3, mapping=mapping, **who),
            pb.TaskRecord(time=4, end=pb.TaskEnd(**parent), **who),
            pb.TaskRecord(lost=4),
        ]
    )

    records = written.read()

    assert written.recorder.lost_tasks == 4
    assert kinds(records) == [RecordKind.FORK, RecordKind.COMM, RecordKind.MMAP2, RecordKind.EXIT]
    fork, comm, mmap2, _ = (bytes(each.data[each.start : each.end]) for each in records)
    assert struct.unpack_from("<IIIIQ", fork, 8) == (70, 1, 71, 2, 1)
    assert records[1].misc == 2 | 1 << 13
    assert comm[8:24] == struct.pack("<II", 70, 71) + b"new".ljust(8, b"\0")
    assert struct.unpack_from("<IIQQQIIQQII", mmap2, 8) == (
        *(70, 71, 0x1000, 0x2000, 0x3000, 8, 1, 77, 0, 5, 2),
    )
    assert mmap2[72:].startswith(b"/bin/x\0")
    recording = open_recording(str(path))
    assert [recording.sample_id(record).time for record in records] == [1, 2, 3, 4]


def test_names_that_nobody_told_are_those_of_the_rows(path: Path) -> None:
    written = Written(path, FIXED)
    told = pb.TaskRecord(time=5, pid=70, tid=71, name=pb.TaskName(name=b"told"))
    child = pb.TaskRecord(time=6, pid=70, tid=73, start=pb.TaskStart(parent_pid=70, parent_tid=71))
    rows = [
        fixed_row(10, 71, b"told"),
        fixed_row(11, 73, b"told"),
        fixed_row(12, 72, b"other"),
        fixed_row(13, 72, b"other"),
        fixed_row(14, 72, b"renamed"),
        # perf knows the idle threads, by one name.
        fixed_row(15, 0, b"swapper/1"),
    ]
    written.take(tasks=[told, child], batches=[batch(2, *rows)])

    records = written.read()

    assert names(records) == [(71, b"told"), (72, b"other"), (72, b"renamed")]
    comm = RecordKind.COMM
    assert kinds(records) == [comm, RecordKind.FORK, 9, 9, comm, 9, 9, comm, 9, 9]


def test_what_is_told_late_does_not_break_the_order(path: Path) -> None:
    written = Written(path, FIXED)
    written.take(batches=[batch(2, fixed_row(100))], mark=pb.RoundMark(time=200))
    late = pb.TaskRecord(time=50, pid=70, tid=75, name=pb.TaskName(name=b"late"))
    written.take(tasks=[late])

    records = written.read()

    assert records[-1].kind == RecordKind.COMM
    assert records[-1].time == 200


def test_losses_are_records_with_the_id_of_their_event(path: Path) -> None:
    written = Written(path, DYNAMIC, FIXED)
    stage = pb.LOSS_STAGE_QUEUE
    losses = [
        pb.Loss(schema_id=2, cpu=1, count=9, stage=stage, start_time=5, end_time=30),
        pb.Loss(schema_id=1, cpu=-1, count=7, stage=pb.LOSS_STAGE_SKIPPED, end_time=30),
    ]
    written.take(losses=losses, batches=[batch(2, fixed_row(20), fixed_row(40))])

    records = written.read()

    assert [kind for kind in kinds(records) if kind != RecordKind.COMM] == [9, RecordKind.LOST, 9]
    (lost,) = (record for record in records if record.kind == RecordKind.LOST)
    id, count = struct.unpack_from("<QQ", lost.data, lost.start + 8)
    recording = open_recording(str(path))
    assert recording.event_of(id) is recording.events[1]
    assert (count, written.recorder.lost) == (9, 9)


def test_the_host_is_described(path: Path) -> None:
    first = started(FIXED)
    first.recorded_host.cpu_description = "a CPU"
    first.recorded_host.total_memory = 1 << 30
    first.recorded_host.kernel_build_id = b"k" * 20
    first.recorded_host.kernel_start, first.recorded_host.kernel_end = 0xFFFF0000, 0xFFFF8000
    output, fd = open_output(str(path))
    recorder = Recorder(first, INFO, output, command_line=["ptrace-client", "record"])
    recorder.close()
    os.close(fd)

    recording = open_recording(str(path))

    found = recording.features
    assert (found.hostname, found.os_release, found.arch) == ("box", "6.1.0", "x86_64")
    assert (found.cpus_online, found.cpus_available, found.cpu_description) == (2, 4, "a CPU")
    assert found.command_line == ["ptrace-client", "record"]
    assert found.clock_data == (1, 1050, 50)
    assert found.build_ids == {"[kernel.kallsyms]": b"k" * 20}
    assert recording.tracing is not None
    assert recording.tracing.formats[322].text == PLAIN
    (mmap,) = recording.records()
    assert struct.unpack_from("<IIQQQ", mmap.data, mmap.start + 8) == (
        *(0xFFFFFFFF, 0, 0xFFFF0000, 0x8000, 0xFFFF0000),
    )


def test_a_pipe_carries_the_same(tmp_path: Path) -> None:
    saved = tmp_path / "saved.pipe"
    with saved.open("wb") as file:
        recorder = Recorder(started(DYNAMIC, FIXED), INFO, PipeOutput(file.fileno()))
        rows = batch(1, dynamic_row(100, b"name\0", b"")), batch(2, fixed_row(110))
        recorder.take(pb.TraceResponse(batches=rows))
        recorder.close()

    recording = open_recording(str(saved))
    found = list(recording.records())

    assert recording.is_pipe
    assert [sample.event.name for sample in samples(found)] == ["made:made_up", "made:plain"]
    assert recording.features.hostname == "box"


def test_a_file_is_whole_after_every_step_but_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as its writer may be killed: between two small writes alone it is not."""
    path = tmp_path / "growing.data"
    whole: list[bool] = []
    real = os.pwrite

    def pwrite(fd: int, data: bytes | memoryview, position: int) -> int:
        written = real(fd, data, position)
        copy = tmp_path / f"copy{len(whole)}"
        copy.write_bytes(path.read_bytes())
        try:
            found = samples(list(open_recording(str(copy)).records()))
            whole.append(all(sample.raw for sample in found))
        except ClientError:
            whole.append(False)
        return written

    written = Written(path, FIXED)
    monkeypatch.setattr(output_module.os, "pwrite", pwrite)
    for time in range(100, 200, 10):
        rows = [fixed_row(time + more) for more in range(8)]
        written.take(batches=[batch(2, *rows)], mark=pb.RoundMark(time=time + 10))
    monkeypatch.undo()
    assert len(samples(written.read())) == 80

    # A piece: behind the old table, over it, the header, the times.
    assert whole == [True, False, True, True] * 10


def test_a_file_that_is_there_is_kept_as_old(path: Path) -> None:
    path.write_text("precious")

    Written(path, FIXED).read()

    assert path.with_name("made.data.old").read_text() == "precious"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["folder", "fifo", "missing"])
def test_places_where_no_file_can_be_are_refused(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "folder":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place = place / "file"

    with pytest.raises(ClientError, match=r"place"):
        open_output(str(place))


def test_a_full_disk_is_told_and_what_was_written_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(path, FIXED)
    written.take(batches=[batch(2, fixed_row(1))], mark=pb.RoundMark(time=2))

    def full(fd: int, data: bytes, position: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output_module.os, "pwrite", full)
    with pytest.raises(ClientError, match=r"cannot write .*made\.data: No space left on device"):
        written.take(batches=[batch(2, fixed_row(3))], mark=pb.RoundMark(time=4))
    monkeypatch.undo()

    assert len(samples(list(open_recording(str(path)).records()))) == 1


def test_rows_that_do_not_fit_their_schema_are_refused(path: Path) -> None:
    written = Written(path, DYNAMIC, FIXED)
    for damaged in (batch(2, fixed_row(1)[:-1]), batch(1, b"\xff\0\0\0" + bytes(60))):
        with pytest.raises(ClientError, match="damaged batch of made:"):
            written.take(batches=[damaged])


def test_an_event_that_no_record_can_hold_is_refused(path: Path) -> None:
    written = Written(path, DYNAMIC)
    with pytest.raises(ClientError, match="does not fit into a record"):
        written.take(batches=[batch(1, dynamic_row(1, bytes(70000), b""))])


def test_build_ids_are_those_of_the_files_that_were_mapped() -> None:
    status = os.stat("/bin/true")
    files = LocalFiles()

    assert files.build_id(b"/bin/true", status.st_dev, status.st_ino + 1) == b""
    assert len(files.build_id(b"/bin/true", status.st_dev, status.st_ino)) == 20
    # Once is enough.
    assert files.build_id(b"/bin/true", status.st_dev, status.st_ino) == b""
    assert files.build_id(b"[vdso]", 0, 0) == b""
    assert files.build_id(b"/no/such\0file", 0, 0) == b""


def entries(*which: tuple[int, int]) -> Iterator[tuple[int, int, int, bytes | None, bytes]]:
    return ((time, pid, pid, b"x", b"") for time, pid in which)


def test_what_a_command_did_before_it_was_the_command_is_left_out() -> None:
    launch = Launch(70)

    assert [entry[0] for entry in launch.sift(entries((1, 70), (2, 5), (4, 70)))] == [2]
    launch.started(5, 2)
    assert not launch.has_started
    launch.started(70, 3)
    assert [entry[0] for entry in launch.take_held()] == [4]
    assert not launch.is_over(3)
    assert [entry[0] for entry in launch.sift(entries((2, 70), (5, 70)))] == [5]
    assert launch.is_over(4)


def test_nothing_of_a_command_is_left_out_whose_start_is_not_known() -> None:
    launch = Launch(70)
    list(launch.sift(entries((1, 70), (2, 70))))

    assert [entry[0] for entry in launch.take_held()] == [1, 2]


@pytest.mark.parametrize(
    ("words", "own", "command"),
    [
        ("-e a ls -l", "-e a", "ls -l"),
        ("-e a -- ls -- x", "-e a", "ls -- x"),
        ("-e a --duration 3", "-e a --duration 3", ""),
        ("-ea -g ls", "-ea -g", "ls"),
        ("--output=x -q", "--output=x -q", ""),
        ("-o - ls", "-o -", "ls"),
    ],
)
def test_the_first_word_that_is_no_option_begins_the_command(
    words: str, own: str, command: str
) -> None:
    split = split_before_word(words.split(), record_command.declare().params)

    assert split == (own.split(), command.split())


def test_a_file_output_needs_no_more_than_what_it_is_given(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "empty", os.O_RDWR | os.O_CREAT)
    output = FileOutput(fd)
    output.begin(output_module.Head([]))
    output.close()
    os.close(fd)

    assert (tmp_path / "empty").stat().st_size == output.size
