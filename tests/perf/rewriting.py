"""A recording read and written again: samples taken apart and put together, the rest as it is."""

from __future__ import annotations

import os
from pathlib import Path
from struct import pack

from ptrace_client.perf_data.attr import ReadFormat, SampleType
from ptrace_client.perf_data.features import Feature
from ptrace_client.perf_data.model import Features, Record, RecordKind, Sample
from ptrace_client.perf_data.recording import open_recording
from ptrace_client.perf_writing import encode_features as features
from ptrace_client.perf_writing.encode_attr import WrittenEvent
from ptrace_client.perf_writing.encode_records import FINISHED_ROUND
from ptrace_client.perf_writing.encode_tracing import encode_tracing
from ptrace_client.perf_writing.output import FileOutput, Head

EVENTS = Path("/sys/kernel/tracing/events")
# Of how the file was written, which is another one now.
_OF_THE_FILE = 27


def rewrite(source: Path, target: Path) -> None:
    """Write what a recording has into another file."""
    recording = open_recording(str(source))
    # Those of a pipe are known once all has been read.
    records = list(recording.records())
    fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    output = FileOutput(fd)
    events = [WrittenEvent(event.name, event.attr.raw, event.ids) for event in recording.events]
    tracing = b""
    found = recording.tracing
    if found is not None and found.formats:
        formats = [(each.system, each.text) for each in found.formats.values()]
        page, event = ((EVENTS / name).read_text() for name in ("header_page", "header_event"))
        tracing = encode_tracing(found.page_size, page, event, formats, found.printk_formats)
    output.begin(Head(events, tracing, _features(recording.features, events)))
    for path, build_id in recording.features.build_ids.items():
        output.note_build_id(os.fsencode(path), build_id)
    for start in range(0, len(records), 500):
        piece = b"".join(map(_record, records[start : start + 500]))
        output.write(piece + FINISHED_ROUND)
    if recording.features.sample_time:
        output.note_times(*recording.features.sample_time)
    output.close()
    os.close(fd)
    recording.close()


def _features(found: Features, events: list[WrittenEvent]) -> dict[int, bytes]:
    made = {bit: content for bit, content in found.other.items() if bit != _OF_THE_FILE}
    texts = {
        Feature.HOSTNAME: found.hostname,
        Feature.OSRELEASE: found.os_release,
        Feature.VERSION: found.version,
        Feature.ARCH: found.arch,
        Feature.CPUDESC: found.cpu_description,
    }
    made |= {bit: features.string(text) for bit, text in texts.items() if text is not None}
    if found.cpus_available is not None and found.cpus_online is not None:
        made[Feature.NRCPUS] = features.cpu_counts(found.cpus_available, found.cpus_online)
    made[Feature.CMDLINE] = features.strings(found.command_line)
    made[Feature.EVENT_DESC] = features.event_descriptions(events)
    return made


def _record(record: Record) -> bytes:
    if record.event is None:
        return bytes(record.data[record.start : record.end])
    layout = record.event.layout
    body = _sample(layout.sample(record.data, record.start, record.end, record.misc))
    return pack("<IHH", RecordKind.SAMPLE, record.misc, 8 + len(body)) + body


def _sample(sample: Sample) -> bytes:
    """The members in the order of perf_event_open(2)."""
    attr = sample.event.attr
    kinds = SampleType(attr.sample_type)
    parts = [
        (SampleType.IDENTIFIER, lambda: pack("<Q", sample.id)),
        (SampleType.IP, lambda: pack("<Q", sample.ip)),
        (SampleType.TID, lambda: pack("<II", sample.pid, sample.tid)),
        (SampleType.TIME, lambda: pack("<Q", sample.time)),
        (SampleType.ADDR, lambda: pack("<Q", sample.addr)),
        (SampleType.ID, lambda: pack("<Q", sample.id)),
        (SampleType.STREAM_ID, lambda: pack("<Q", sample.stream_id)),
        (SampleType.CPU, lambda: pack("<II", sample.cpu, 0)),
        (SampleType.PERIOD, lambda: pack("<Q", sample.period)),
        (SampleType.READ, lambda: _read(sample)),
        (SampleType.CALLCHAIN, lambda: _counted(sample.callchain)),
        (SampleType.RAW, lambda: pack("<I", len(sample.raw)) + sample.raw),
        (SampleType.REGS_USER, lambda: _registers(sample.user_regs)),
        (SampleType.WEIGHT, lambda: pack("<Q", sample.weight)),
        (SampleType.WEIGHT_STRUCT, lambda: pack("<IHH", sample.weight, sample.ins_lat, 0)),
        (SampleType.DATA_SRC, lambda: pack("<Q", sample.data_src)),
        (SampleType.TRANSACTION, lambda: pack("<Q", sample.transaction)),
        (SampleType.REGS_INTR, lambda: _registers(sample.intr_regs)),
        (SampleType.PHYS_ADDR, lambda: pack("<Q", sample.phys_addr)),
        (SampleType.CGROUP, lambda: pack("<Q", sample.cgroup)),
        (SampleType.DATA_PAGE_SIZE, lambda: pack("<Q", sample.data_page_size)),
        (SampleType.CODE_PAGE_SIZE, lambda: pack("<Q", sample.code_page_size)),
    ]
    known = SampleType(0)
    for bit, _ in parts:
        known |= bit
    assert not kinds & ~known, "no recording of these tests has other members"
    return b"".join(encode() for bit, encode in parts if kinds & bit)


def _counted(numbers: tuple[int, ...]) -> bytes:
    return pack(f"<{1 + len(numbers)}Q", len(numbers), *numbers)


def _registers(values: tuple[int, tuple[int, ...]] | None) -> bytes:
    assert values is not None
    return pack(f"<{1 + len(values[1])}Q", values[0], *values[1])


def _read(sample: Sample) -> bytes:
    kinds = sample.event.attr.read_format
    times = []
    if kinds & ReadFormat.TOTAL_TIME_ENABLED:
        times.append(sample.time_enabled)
    if kinds & ReadFormat.TOTAL_TIME_RUNNING:
        times.append(sample.time_running)
    counters = [
        [value.value, value.id, *([] if value.lost is None else [value.lost])]
        for value in sample.values
    ]
    if kinds & ReadFormat.GROUP:
        numbers = [len(counters), *times, *(number for each in counters for number in each)]
    else:
        numbers = [counters[0][0], *times, *counters[0][1:]]
    return pack(f"<{len(numbers)}Q", *numbers)
