"""Recordings are read as perf reads them: the same records in the same order, taken apart alike."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from perf_files import HOSTNAME, USUAL, MadeRecording, written
from recordings import RECORDINGS, Recorder, clean_environment, perf

from ptrace_client.perf_data.attr import EventKind, SampleType
from ptrace_client.perf_data.model import Record, Recording, RecordKind
from ptrace_client.perf_data.recording import open_recording

# What only declares, ends a round or holds other records is not handed on.
_TAKEN_IN: Final = frozenset(
    {
        "ATTR",
        "EVENT_TYPE",
        "TRACING_DATA",
        "BUILD_ID",
        "FEATURE",
        "EVENT_UPDATE",
        "FINISHED_ROUND",
        "COMPRESSED",
    }
)
_HEAD: Final = re.compile(
    r"(?P<times>(?:-?\d+ )*)(?P<place>0x[0-9a-f]+) \[(?P<size>0x[0-9a-f]+)\]: "
    r"PERF_RECORD_(?P<kind>STAT_ROUND|[A-Z_]*[A-Z0-9])(?P<rest>.*)"
)
_SAMPLE: Final = re.compile(
    r"\(IP, 0x(?P<misc>[0-9a-f]+)\): (?P<pid>-?\d+)/(?P<tid>-?\d+): 0x(?P<ip>[0-9a-f]+) "
    r"period: (?P<period>\d+) addr: (?P<addr>0x[0-9a-f]+|0)"
)


@dataclass
class Dumped:
    """A record as `perf script -D` shows it."""

    kind: str
    place: int
    size: int
    times: list[str]
    rest: str
    numbers: dict[str, list[str]] = field(default_factory=dict)


def dump(path: Path) -> Iterator[Dumped]:
    """Yields the records in the order in which perf processes them."""
    done = subprocess.run(
        [perf(), "script", "-D", "-i", path],
        env=clean_environment(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    found: Dumped | None = None
    for line in done.stdout.decode(errors="replace").splitlines():
        head = _HEAD.match(line)
        if head:
            if found and found.kind not in _TAKEN_IN:
                yield found
            place, size = int(head["place"], 16), int(head["size"], 16)
            found = Dumped(head["kind"], place, size, head["times"].split(), head["rest"])
        elif found:
            _detail(found, line)
    if found and found.kind not in _TAKEN_IN:
        yield found


def _detail(found: Dumped, line: str) -> None:
    for name, pattern in (
        ("chain", r"\.\.\.\.\. +\d+: ([0-9a-f]{16})$"),
        ("values", r"\.\.\.\.\. id ([0-9a-f]{16}, value [0-9a-f]{16})"),
        ("registers", r"\.\.\.\. [A-Z0-9]+ +0x([0-9a-f]{16})$"),
        ("data_src", r" \. data_src: 0x([0-9a-f]+)$"),
        ("phys_addr", r" \.\. phys_addr: 0x([0-9a-f]+)$"),
    ):
        match = re.match(pattern, line)
        if match:
            found.numbers.setdefault(name, []).append(match[1])


def perfs_name(record: Record) -> str:
    """Returns the kind as perf writes it."""
    return RecordKind(record.kind).name.removeprefix("HEADER_")


@pytest.mark.parametrize("name", RECORDINGS)
def test_records_are_perfs(recording: Recorder, name: str) -> None:
    path = recording(name)
    opened = open_recording(str(path))
    _compare(opened, [*dump(path)])
    assert opened.notes == []


def _compare(opened: Recording, theirs: list[Dumped]) -> None:
    ours = [*opened.records()]
    assert [perfs_name(record) for record in ours] == [dumped.kind for dumped in theirs]
    # perf counts from behind the header of a pipe.
    shift = 16 if opened.is_pipe else 0
    for record, dumped in zip(ours, theirs, strict=True):
        assert record.end - record.start == dumped.size
        if not isinstance(record.data, bytes):
            assert record.start - shift == dumped.place
        if record.time > 0:
            assert dumped.times[-1] == str(record.time)
        if record.kind == RecordKind.SAMPLE:
            _compare_sample(record, dumped)


def _compare_sample(record: Record, dumped: Dumped) -> None:
    assert record.event is not None
    sample = record.event.layout.sample(record.data, record.start, record.end, record.misc)
    shown = _SAMPLE.match(dumped.rest)
    assert shown
    assert (sample.misc, sample.ip) == (int(shown["misc"], 16), int(shown["ip"], 16))
    assert (sample.period, sample.addr) == (int(shown["period"]), int(shown["addr"], 16))
    assert (sample.pid, sample.tid) == tuple(int(shown[one]) % (1 << 32) for one in ("pid", "tid"))
    if len(dumped.times) == 2:
        assert dumped.times == [str(sample.cpu), str(sample.time)]
    numbers = dumped.numbers
    assert [f"{ip:016x}" for ip in sample.callchain] == numbers.get("chain", [])
    values = [f"{value.id:016x}, value {value.value:016x}" for value in sample.values]
    assert values == numbers.get("values", [])
    registers = [*(sample.user_regs or (0, ()))[1], *(sample.intr_regs or (0, ()))[1]]
    assert sorted(f"{value:016x}" for value in registers) == sorted(numbers.get("registers", []))
    if sample.data_src is not None:
        assert [f"{sample.data_src:x}"] == numbers["data_src"]
    if record.event.attr.sample_type & SampleType.PHYS_ADDR:
        assert [f"{sample.phys_addr:x}"] == numbers["phys_addr"]


@pytest.mark.parametrize("name", RECORDINGS)
def test_events_are_perfs(recording: Recorder, name: str) -> None:
    path = recording(name)
    listed = _output("evlist", "-v", "-i", str(path)).splitlines()
    shown = {line.partition(": ")[0]: line for line in listed if "sample_type" in line}
    opened = open_recording(str(path))
    if not opened.is_pipe:
        assert [*shown] == [event.name for event in opened.events]
    for event in opened.events:
        if event.name in shown:
            kinds = re.search(r"sample_type: ([A-Z_|]+)", shown[event.name])
            assert kinds
            named = {SampleType[one] for one in kinds[1].replace("ADDR_", "").split("|")}
            # perf has no name for TRANSACTION there.
            assert set(SampleType(event.attr.sample_type)) - {SampleType.TRANSACTION} == named


def _output(*arguments: str) -> str:
    done = subprocess.run(
        [perf(), *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_features_are_perfs(recording: Recorder) -> None:
    path = recording("stacks")
    shown = dict(
        line.removeprefix("# ").split(" : ", 1)
        for line in _output("report", "--header-only", "-i", str(path)).splitlines()
        if " : " in line
    )
    features = open_recording(str(path)).features
    assert features.total_memory is not None
    assert features.sample_time is not None
    assert {
        "hostname": features.hostname,
        "os release": features.os_release,
        "perf version": features.version,
        "arch": features.arch,
        "nrcpus online": str(features.cpus_online),
        "nrcpus avail": str(features.cpus_available),
        "cpudesc": features.cpu_description,
        "cpuid": features.cpuid,
        "total memory": f"{features.total_memory} kB",
        "cmdline": " ".join(features.command_line) + " ",
        "time of first sample": _seconds(features.sample_time[0]),
        "time of last sample": _seconds(features.sample_time[1]),
    }.items() <= shown.items()


def _seconds(time: int) -> str:
    micros = time // 1000
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"


def test_build_ids_are_perfs(recording: Recorder) -> None:
    path = recording("stacks")
    lines = _output("buildid-list", "-i", str(path)).splitlines()
    shown = {name: id for id, _, name in (line.partition(" ") for line in lines)}
    features = open_recording(str(path)).features
    assert {name: id.hex() for name, id in features.build_ids.items()} == shown


def test_a_clock_that_was_asked_for_is_told(recording: Recorder) -> None:
    opened: Recording = open_recording(str(recording("options")))
    assert opened.features.clock_data is not None
    assert opened.features.clock_data[0] == 1
    assert opened.events[0].attr.clockid == 1


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_recordings_of_either_byte_order_are_perfs(tmp_path: Path, order: str) -> None:
    made = MadeRecording(order)
    kinds = USUAL | SampleType.PERIOD | SampleType.CALLCHAIN | SampleType.REGS_USER
    made.event(ids=(11, 12), sample_type=kinds, regs_user=0b11, period=5, flags=1 << 18 | 1 << 5)
    made.event(EventKind.HARDWARE, 1, ids=(21,), sample_type=kinds, regs_user=0b11)
    made.features = {HOSTNAME: made.text("wolke"), 6: made.text("x86_64")}
    made.record(RecordKind.COMM, made.pack("II8s", 7, 7, b"sh") + made.trailer(11, 5), 1 << 13)
    tail = made.pack("QQQQ", 1000, 2, (1 << 64) - 512, 0xABC) + made.pack("QQQ", 2, 0xAA, 0xBB)
    made.sample(12, 30, tail=tail)
    made.sample(21, 20, tail=tail)
    made.record(RecordKind.FINISHED_ROUND)
    mapping = made.pack("IIQQQIIQQII8s", 7, 7, 0x1000, 0x2000, 0, 8, 1, 99, 3, 5, 2, b"/bin/sh")
    made.record(RecordKind.MMAP2, mapping + made.trailer(21, 25), 2)
    made.record(RecordKind.FORK, made.pack("IIIIQ", 8, 7, 8, 7, 40) + made.trailer(21, 40))
    made.sample(11, 35, tail=tail)
    path = Path(written(tmp_path, made.file()))
    opened = open_recording(str(path))
    _compare(opened, [*dump(path)])
    assert [event.name for event in opened.events] == ["cpu-clock:uh", "instructions:HG"]
    listed = _output("evlist", "-i", str(path)).splitlines()
    assert listed[:2] == ["cpu-clock:uh", "instructions:HG"]
