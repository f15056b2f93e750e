"""Records other than samples are taken apart, in both byte orders."""

from __future__ import annotations

from pathlib import Path

import pytest
from perf_files import MadeRecording, two_events, written

from ptrace_client.errors import ClientError
from ptrace_client.perf_data import record_bodies as bodies
from ptrace_client.perf_data.model import Record, Recording, RecordKind, SampleId
from ptrace_client.perf_data.record_parsers import record_body
from ptrace_client.perf_data.recording import open_recording

NAME = b"/bin/sh\0"
COMM16 = b"sh".ljust(16, b"\0")
# Kind, misc, struct codes and values of the body, and what is read.
CASES: list[tuple[RecordKind, int, str, tuple[int | bytes, ...], bodies.Body]] = [
    (
        RecordKind.MMAP,
        2,
        "IIQQQ8s",
        (5, 6, 0x1000, 0x2000, 0x3000, NAME),
        bodies.Mapping(5, 6, 0x1000, 0x2000, 0x3000, "/bin/sh"),
    ),
    (
        RecordKind.MMAP2,
        2,
        "IIQQQIIQQII8s",
        (5, 6, 0x1000, 0x2000, 0x3000, 254, 1, 99, 3, 5, 2, NAME),
        bodies.Mapping(5, 6, 0x1000, 0x2000, 0x3000, "/bin/sh", 254, 1, 99, 3, 5, 2),
    ),
    (
        RecordKind.MMAP2,
        2 | 1 << 14,
        "IIQQQB3x20sII8s",
        (5, 6, 0x1000, 0x2000, 0x3000, 16, b"\xee" * 20, 5, 2, NAME),
        bodies.Mapping(5, 6, 0x1000, 0x2000, 0x3000, "/bin/sh", 0, 0, 0, 0, 5, 2, b"\xee" * 16),
    ),
    (RecordKind.COMM, 1 << 13, "II8s", (5, 6, b"sh"), bodies.Comm(5, 6, "sh", True)),
    (RecordKind.COMM, 0, "II8s", (5, 6, b"a b\xff"), bodies.Comm(5, 6, "a b\udcff", False)),
    (RecordKind.FORK, 0, "IIIIQ", (5, 1, 6, 1, 77), bodies.Task(5, 1, 6, 1, 77)),
    (RecordKind.EXIT, 0, "IIIIQ", (5, 1, 6, 1, 77), bodies.Task(5, 1, 6, 1, 77)),
    (RecordKind.LOST, 0, "QQ", (11, 3), bodies.Lost(11, 3)),
    (RecordKind.LOST_SAMPLES, 0, "Q", (4,), bodies.Lost(0, 4)),
    (RecordKind.THROTTLE, 0, "QQQ", (7, 11, 12), bodies.Throttle(7, 11, 12)),
    (RecordKind.UNTHROTTLE, 0, "QQQ", (7, 11, 12), bodies.Throttle(7, 11, 12)),
    (RecordKind.SWITCH, 3 << 13, "", (), bodies.Switch(True, True, -1, -1)),
    (RecordKind.SWITCH_CPU_WIDE, 1 << 13, "II", (8, 9), bodies.Switch(True, False, 8, 9)),
    (RecordKind.SWITCH_CPU_WIDE, 0, "II", (8, (1 << 32) - 1), bodies.Switch(False, False, 8, -1)),
    (
        RecordKind.NAMESPACES,
        0,
        "IIQQQQQ",
        (5, 6, 2, 1, 100, 2, 200),
        bodies.Namespaces(5, 6, ((1, 100), (2, 200))),
    ),
    (
        RecordKind.KSYMBOL,
        0,
        "QIHH8s",
        (0xFFFF0000, 64, 1, 0, b"bpf_x"),
        bodies.KernelSymbol(0xFFFF0000, 64, 1, 0, "bpf_x"),
    ),
    (
        RecordKind.BPF_EVENT,
        0,
        "HHI8s",
        (1, 0, 9, b"12345678"),
        bodies.BpfEvent(1, 0, 9, b"12345678"),
    ),
    (RecordKind.CGROUP, 0, "Q8s", (3, b"/a"), bodies.Cgroup(3, "/a")),
    (
        RecordKind.TEXT_POKE,
        0,
        "QHH4s",
        (0xFFFF0000, 1, 3, b"\x90abc"),
        bodies.TextPoke(0xFFFF0000, b"\x90", b"abc"),
    ),
    (RecordKind.AUX, 0, "QQQ", (1, 2, 3), bodies.Aux(1, 2, 3)),
    (RecordKind.ITRACE_START, 0, "II", (5, 6), bodies.TraceStart(5, 6)),
    (RecordKind.AUX_OUTPUT_HW_ID, 0, "Q", (5,), bodies.HardwareId(5)),
    (RecordKind.ID_INDEX, 0, "Q4Q", (1, 11, 0, 1, 7), bodies.IdIndex(((11, 0, 1, 7),))),
    (RecordKind.AUXTRACE_INFO, 0, "IIQ", (1, 0, 5), bodies.TraceInfo(1)),
    (RecordKind.AUXTRACE, 0, "QQQIIII", (0, 1, 2, 3, 4, 5, 0), bodies.Trace(0, 1, 2, 3, 4, 5)),
    (
        RecordKind.AUXTRACE_ERROR,
        0,
        "6IQQ64sII",
        (1, 2, 3, 4, 5, 2, 0xABC, 99, b"overflow", 0, 1),
        bodies.TraceError(1, 2, 3, 4, 5, 2, 0xABC, 99, "overflow", 0, 1),
    ),
    (
        RecordKind.AUXTRACE_ERROR,
        0,
        "6IQ64s",
        (1, 2, 3, 4, 5, 0, 0xABC, b"overflow"),
        bodies.TraceError(1, 2, 3, 4, 5, 0, 0xABC, 0, "overflow", 0, -1),
    ),
    (RecordKind.THREAD_MAP, 0, "QQ16s", (1, 7, COMM16), bodies.ThreadMap(((7, "sh"),))),
    (RecordKind.THREAD_MAP, 0, "QQ16s", (1, (1 << 64) - 1, b""), bodies.ThreadMap(((-1, ""),))),
    (RecordKind.CPU_MAP, 0, "HHHH", (0, 2, 1, 3), bodies.CpuMap((1, 3))),
    (RecordKind.CPU_MAP, 0, "HHHII", (1, 2, 4, 5, 1), bodies.CpuMap((0, 2, 32))),
    (RecordKind.CPU_MAP, 0, "HHH2xQ", (1, 1, 8, 5), bodies.CpuMap((0, 2))),
    (RecordKind.CPU_MAP, 0, "HBBHH", (2, 1, 0, 2, 4), bodies.CpuMap((-1, 2, 3, 4))),
    (RecordKind.CPU_MAP, 0, "HBBHH", (2, 0, 0, 2, 2), bodies.CpuMap((2,))),
    (RecordKind.STAT_CONFIG, 0, "QQQ", (1, 2, 3), bodies.StatConfig(((2, 3),))),
    (
        RecordKind.STAT,
        0,
        "QIIQQQ",
        (11, 0, (1 << 32) - 1, 5, 6, 7),
        bodies.Stat(11, 0, -1, 5, 6, 7),
    ),
    (RecordKind.STAT_ROUND, 0, "QQ", (1, 99), bodies.StatRound(1, 99)),
    (RecordKind.TIME_CONV, 0, "QQQ", (1, 2, 3), bodies.TimeConversion(1, 2, 3)),
]
IDS = [f"{case[0].name}-{number}" for number, case in enumerate(CASES)]


def opened(tmp_path: Path, made: MadeRecording) -> tuple[Recording, list[Record]]:
    recording = open_recording(written(tmp_path, made.file()))
    return recording, [*recording.records()]


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize(("kind", "misc", "codes", "values", "body"), CASES, ids=IDS)
def test_records_are_taken_apart(
    tmp_path: Path,
    order: str,
    kind: RecordKind,
    misc: int,
    codes: str,
    values: tuple[int | bytes, ...],
    body: bodies.Body,
) -> None:
    made = two_events(order)
    content = made.pack(codes, *values)
    content += b"\0" * (-len(content) % 8)
    if kind < RecordKind.HEADER_ATTR:
        content += made.trailer(21, 55, tid=9)
    made.record(kind, content, misc)
    recording, (record,) = opened(tmp_path, made)
    assert record_body(record, recording.big_endian) == body
    if kind < RecordKind.HEADER_ATTR:
        assert record.time == 55
        assert recording.sample_id(record) == SampleId(9, 9, 55, 21, cpu=0)
    else:
        assert recording.sample_id(record) == SampleId()


@pytest.mark.parametrize(("kind", "misc", "codes", "values", "body"), CASES, ids=IDS)
def test_records_that_are_cut_off_are_told(
    kind: RecordKind, misc: int, codes: str, values: tuple[int | bytes, ...], body: bodies.Body
) -> None:
    content = MadeRecording().pack(codes, *values)
    # The first 4 bytes of it are less than any kind has, but those without a body.
    record = Record(None, kind, misc, bytes(8) + content[:4], 0, 8 + len(content[:4]), -1)
    if kind in (RecordKind.SWITCH, RecordKind.AUXTRACE_INFO):
        assert record_body(record, False, "here") == body
        return
    with pytest.raises(ClientError, match=r"^here, byte \d+: "):
        record_body(record, False, "here")


@pytest.mark.parametrize("values", [(3, 0, 0), (1, 1, 65535), (1, 1, 2)])
def test_maps_of_processors_that_lie(values: tuple[int, ...]) -> None:
    data = bytes(8) + MadeRecording().pack("HHH", *values) + bytes(100)
    record = Record(None, RecordKind.CPU_MAP, 0, data, 0, len(data), -1)
    with pytest.raises(ClientError, match="a map of processors"):
        record_body(record, False)


def test_large_maps_of_processors_take_no_time() -> None:
    words = (65528 - 16) // 8
    data = bytes(8) + MadeRecording().pack(f"HHHH{words}Q", 1, words, 8, 0, *[1 << 63] * words)
    body = record_body(Record(None, RecordKind.CPU_MAP, 0, data, 0, len(data), -1), False)
    assert isinstance(body, bodies.CpuMap)
    assert len(body.cpus) == words


def test_what_has_no_class_is_none(tmp_path: Path) -> None:
    made = two_events()
    made.record(RecordKind.FINISHED_INIT)
    _, (record,) = opened(tmp_path, made)
    assert record_body(record, False) is None


def test_old_recordings_have_no_trailers(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(ids=(1,), flags=0)
    made.sample(1, 30)
    made.record(RecordKind.COMM, made.pack("II8s", 5, 6, b"sh"))
    recording, (comm, sample) = opened(tmp_path, made)
    assert (comm.kind, comm.time, sample.time) == (RecordKind.COMM, -1, 30)
    assert recording.sample_id(comm) == SampleId()


def test_the_trailer_is_laid_out_by_the_event_that_it_names(tmp_path: Path) -> None:
    made = MadeRecording()
    identified = 1 << 16 | 1 << 2
    made.event(ids=(1,), sample_type=identified)
    made.event(ids=(2,), sample_type=identified | 1 << 7 | 1 << 6)
    made.record(RecordKind.LOST, made.pack("QQ", 1, 2) + made.pack("QQ", 44, 1))
    made.record(RecordKind.LOST, made.pack("QQ", 1, 2) + made.pack("QQIIQ", 45, 2, 3, 0, 2))
    recording, (first, second) = opened(tmp_path, made)
    assert recording.sample_id(first) == SampleId(time=44, id=1)
    assert recording.sample_id(second) == SampleId(time=45, id=2, cpu=3)
