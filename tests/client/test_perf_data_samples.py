"""Samples are taken apart: every member that one may have, in both byte orders."""

from __future__ import annotations

from pathlib import Path

import pytest
from perf_files import MadeRecording, written

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import ReadFormat, SampleType
from ptrace_client.perf_data.model import BranchEntry, ReadValue, Record, Sample
from ptrace_client.perf_data.recording import open_recording

ORDERS = pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
NONE64 = (1 << 64) - 1


def sampled(tmp_path: Path, made: MadeRecording) -> tuple[Record, Sample]:
    """Returns the one sample of a recording."""
    recording = open_recording(written(tmp_path, made.file()))
    (record,) = recording.records()
    assert record.event is not None
    layout = record.event.layout
    sample = layout.sample(record.data, record.start, record.end, record.misc)
    offset, size = layout.raw(record.data, record.start, record.end)
    assert record.data[offset : offset + size] == sample.raw
    return record, sample


@ORDERS
def test_a_sample_with_everything(tmp_path: Path, order: str) -> None:
    made = MadeRecording(order)
    everything = (1 << 24) - 1
    reads = ReadFormat.GROUP | ReadFormat.ID | ReadFormat.LOST | 3
    made.event(
        sample_type=everything,
        read_format=reads,
        branches=1 << 17,
        regs_user=0b101,
        regs_intr=0b1,
        period=9,
    )
    flags = 0b11 | 7 << 4 | 2 << 20
    if order == ">":
        flags = 0b11 << 62 | 7 << 44 | 2 << 40
    parts = [
        made.pack("QQIIQQQQII", 3, 0xABC, 5, 6, 77, 0xADD, 3, 4, 2, 0),
        made.pack("Q", 1000),
        made.pack("QQQ6Q", 2, 50, 60, 111, 31, 1, 222, 32, 2),
        made.pack("QQQ", 2, NONE64 - 127, 0xF00),
        made.raw(b"raw bytes"),
        made.pack("QQQQQ", 1, 0, 0x10, 0x20, flags),
        made.pack("QQQ", 2, 0xAA, 0xBB),
        made.pack("Q8sQ", 8, b"stack---", 5),
        made.pack("Q", 55),
        made.pack("Q", 0x5080021),
        made.pack("Q", 66),
        made.pack("QQ", 1, 0xCC),
        made.pack("QQQQ", 0x9000, 12, 4096, 8192),
        made.pack("Q8s", 8, b"auxtrace"),
    ]
    # PHYS_ADDR is bit 19, AUX 20: in the record AUX is last.
    made.record(9, b"".join(parts), misc=2)
    record, sample = sampled(tmp_path, made)
    assert (sample.id, sample.ip, sample.pid, sample.tid) == (3, 0xABC, 5, 6)
    assert (sample.time, record.time, sample.addr) == (77, 77, 0xADD)
    assert (sample.stream_id, sample.cpu, sample.period) == (4, 2, 1000)
    assert sample.values == (ReadValue(31, 111, 1), ReadValue(32, 222, 2))
    assert (sample.time_enabled, sample.time_running) == (50, 60)
    assert sample.callchain == (NONE64 - 127, 0xF00)
    assert sample.raw.rstrip(b"\0") == b"raw bytes"
    assert sample.branches == (BranchEntry(0x10, 0x20, 0b11 | 7 << 4 | 2 << 20),)
    assert sample.user_regs == (2, (0xAA, 0xBB))
    assert sample.user_stack == b"stack"
    assert (sample.weight, sample.data_src, sample.transaction) == (55, 0x5080021, 66)
    assert sample.intr_regs == (1, (0xCC,))
    assert (sample.phys_addr, sample.cgroup) == (0x9000, 12)
    assert (sample.data_page_size, sample.code_page_size) == (4096, 8192)
    assert sample.aux == b"auxtrace"
    assert sample.cpumode == 2


def test_a_sample_with_nothing_has_perfs_defaults(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(sample_type=0, period=4000)
    made.record(9)
    record, sample = sampled(tmp_path, made)
    assert (sample.id, sample.time, sample.stream_id) == (NONE64, NONE64, NONE64)
    assert (sample.pid, sample.tid, sample.cpu) == ((1 << 32) - 1,) * 3
    assert (sample.period, sample.raw, sample.callchain, sample.data_src) == (4000, b"", (), None)
    assert (sample.user_regs, sample.intr_regs, record.time) == (None, None, -1)


@ORDERS
def test_the_read_values_of_one_event(tmp_path: Path, order: str) -> None:
    made = MadeRecording(order)
    made.event(sample_type=SampleType.READ, read_format=ReadFormat.ID)
    made.record(9, made.pack("QQ", 7, 31))
    assert sampled(tmp_path, made)[1].values == (ReadValue(31, 7, None),)


@ORDERS
def test_groups_without_lost(tmp_path: Path, order: str) -> None:
    made = MadeRecording(order)
    made.event(sample_type=SampleType.READ, read_format=ReadFormat.GROUP | ReadFormat.ID)
    made.record(9, made.pack("Q4Q", 2, 7, 31, 8, 32))
    assert sampled(tmp_path, made)[1].values == (ReadValue(31, 7, None), ReadValue(32, 8, None))


@ORDERS
def test_a_weight_in_parts(tmp_path: Path, order: str) -> None:
    made = MadeRecording(order)
    made.event(sample_type=SampleType.WEIGHT_STRUCT)
    made.record(9, made.pack("Q", 3 << 48 | 2 << 32 | 1))
    sample = sampled(tmp_path, made)[1]
    assert (sample.weight, sample.ins_lat) == (1, 2)


def test_registers_that_were_not_there_have_no_values(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(sample_type=SampleType.REGS_USER | SampleType.STACK_USER, regs_user=0xFF)
    made.record(9, made.pack("QQ", 0, 0))
    sample = sampled(tmp_path, made)[1]
    assert (sample.user_regs, sample.user_stack) == ((0, ()), b"")


def test_fixed_members_tell_where_they_are(tmp_path: Path) -> None:
    made = MadeRecording(">")
    kinds = SampleType.IDENTIFIER | SampleType.TID | SampleType.ID | SampleType.CPU
    made.event(sample_type=kinds | SampleType.RAW)
    made.record(9, made.pack("QIIQII", 1, 2, 3, 1, 4, 0) + made.raw(b"1234"))
    record, _ = sampled(tmp_path, made)
    assert record.event is not None
    layout = record.event.layout
    assert layout.fixed == (
        ("pid", 16, ">I"),
        ("tid", 20, ">I"),
        ("id", 24, ">Q"),
        ("cpu", 32, ">I"),
    )
    assert layout.raw_place == 40


@pytest.mark.parametrize(
    ("kinds", "codes", "values"),
    [
        (SampleType.IP, "I", (1,)),
        (SampleType.CALLCHAIN, "QQ", (1 << 61, 1)),
        (SampleType.CALLCHAIN, "QQ", (2, 1)),
        (SampleType.RAW, "II", (1 << 31, 0)),
        (SampleType.RAW | SampleType.CALLCHAIN, "QII", (0, 8, 0)),
        (SampleType.BRANCH_STACK, "QQ", (1 << 60, 0)),
        (SampleType.REGS_USER, "Q", (1,)),
        (SampleType.STACK_USER, "QQ", (1 << 63, 0)),
        (SampleType.STACK_USER, "QQQ", (8, 0, 9)),
        (SampleType.READ, "QQ", (1 << 60, 0)),
        (SampleType.AUX, "QQ", (9, 0)),
        (SampleType.PHYS_ADDR, "", ()),
    ],
)
def test_damaged_samples_are_told(
    tmp_path: Path, kinds: int, codes: str, values: tuple[int, ...]
) -> None:
    made = MadeRecording()
    made.event(sample_type=kinds, read_format=ReadFormat.GROUP, regs_user=3)
    # By hand, since record() rounds sizes up.
    body = made.pack(codes, *values)
    made.records.append(made.pack("IHH", 9, 0, 8 + len(body)) + body)
    with pytest.raises(ClientError, match=r"perf\.data: sample, byte \d+: "):
        sampled(tmp_path, made)
