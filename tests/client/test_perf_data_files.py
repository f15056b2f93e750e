"""Files are read: their events, what perf noted, old and foreign ones as well."""

from __future__ import annotations

from pathlib import Path

import pytest
from perf_files import (
    FORMAT,
    HOSTNAME,
    TRACING_DATA,
    MadeRecording,
    two_events,
    wakeup_raw,
    written,
)

from ptrace_client.perf_data.attr import FLAG_SAMPLE_ID_ALL, EventKind, SampleType, mirrored
from ptrace_client.perf_data.event_names import event_name
from ptrace_client.perf_data.model import Recording
from ptrace_client.perf_data.recording import open_recording

ORDERS = pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])


def opened(tmp_path: Path, made: MadeRecording) -> Recording:
    return open_recording(written(tmp_path, made.file()))


@ORDERS
def test_events_have_names_ids_and_formats(tmp_path: Path, order: str) -> None:
    recording = opened(tmp_path, two_events(order))
    wakeup, clock = recording.events
    assert (wakeup.name, wakeup.ids, wakeup.index) == ("sched:sched_wakeup", (11, 12), 0)
    assert (clock.name, clock.ids, clock.index) == ("cpu-clock:u", (21,), 1)
    assert wakeup.format is not None
    assert [field.name for field in wakeup.format.fields] == ["value"]
    assert clock.format is None
    assert wakeup.attr.sample_id_all
    assert recording.event_of(12) is wakeup
    assert recording.event_of(99) is None
    assert recording.big_endian == (order == ">")
    recording.close()


@ORDERS
def test_samples_are_told_apart_by_their_ids(tmp_path: Path, order: str) -> None:
    made = two_events(order)
    made.sample(12, 100, tail=wakeup_raw(made, 1 << 40), tid=5)
    made.sample(21, 101, tid=6)
    first, second = opened(tmp_path, made).records()
    assert first.event is not None
    assert second.event is not None
    sample = first.event.layout.sample(first.data, first.start, first.end, first.misc)
    assert (sample.event.name, sample.tid, sample.time) == ("sched:sched_wakeup", 5, 100)
    assert sample.raw[8:16] == made.pack("Q", 1 << 40)
    offset, size = first.event.layout.raw(first.data, first.start, first.end)
    assert first.data[offset : offset + size] == sample.raw
    assert (second.event.name, second.time) == ("cpu-clock:u", 101)
    assert second.event.layout.raw(second.data, second.start, second.end) == (0, 0)


@ORDERS
def test_what_perf_noted_is_there(tmp_path: Path, order: str) -> None:
    made = two_events(order)
    made.features |= {
        2: made.pack("IHHI20sB3x", 67, 1 << 15, 44, 0xFFFFFFFF, b"\xab" * 20, 16) + b"/bin/ls\0",
        4: made.text("6.18.0"),
        5: made.text("6.1.192"),
        6: made.text("x86_64"),
        7: made.pack("II", 4, 2),
        8: made.text("A processor"),
        9: made.text("GenuineIntel,6"),
        10: made.pack("Q", 1 << 33),
        11: made.pack("I", 2) + made.text("perf") + made.text("record"),
        16: b"opaque",
        21: made.pack("QQ", 5, 9),
        29: made.pack("IIQQ", 1, 1, 77, 88),
    }
    features = opened(tmp_path, made).features
    assert features.hostname == "wolke"
    assert (features.os_release, features.version, features.arch) == ("6.18.0", "6.1.192", "x86_64")
    assert (features.cpus_available, features.cpus_online) == (4, 2)
    assert (features.cpu_description, features.cpuid) == ("A processor", "GenuineIntel,6")
    assert features.total_memory == 1 << 33
    assert features.command_line == ["perf", "record"]
    assert features.build_ids == {"/bin/ls": b"\xab" * 16}
    assert features.sample_time == (5, 9)
    assert features.clock_data == (1, 77, 88)
    assert features.other[16] == b"opaque"


def test_features_of_32_bit_big_endian_machines_are_found(tmp_path: Path) -> None:
    made = two_events(">")
    content = bytearray(made.file())
    for start in range(72, 104, 8):
        content[start : start + 8] = content[start + 4 : start + 8] + content[start : start + 4]
    recording = open_recording(written(tmp_path, bytes(content)))
    assert recording.features.hostname == "wolke"


@ORDERS
def test_tracing_data_tells_of_the_machine(tmp_path: Path, order: str) -> None:
    made = two_events(order)
    made.features[TRACING_DATA] = made.tracing(
        {
            "sched": [FORMAT.format(name="sched_wakeup", id=300), "no format"],
            "irq": [FORMAT.format(name="softirq_entry", id=301)],
        },
        commands=b"5 sh\n77 with blanks\nbad\n",
    )
    tracing = opened(tmp_path, made).tracing
    assert tracing is not None
    assert (tracing.big_endian, tracing.long_size, tracing.page_size) == (order == ">", 8, 4096)
    assert {id: format.title for id, format in tracing.formats.items()} == {
        300: "sched:sched_wakeup",
        301: "irq:softirq_entry",
    }
    assert [system for system, _ in tracing.damaged] == ["sched"]
    assert (tracing.kallsyms, tracing.printk_formats) == (b"syms", b"printk")
    assert tracing.commands == {5: "sh", 77: "with blanks"}


def test_tracing_data_of_old_perf_has_no_commands(tmp_path: Path) -> None:
    made = two_events()
    made.features[TRACING_DATA] = made.tracing(
        {"sched": [FORMAT.format(name="sched_wakeup", id=300)]}, version="0.5"
    )
    tracing = opened(tmp_path, made).tracing
    assert tracing is not None
    assert tracing.commands == {}


@ORDERS
@pytest.mark.parametrize("size", [64, 72, 80, 96, 104, 112, 120, 128, 136])
def test_attrs_of_any_size_are_read(tmp_path: Path, order: str, size: int) -> None:
    made = MadeRecording(order)
    made.event(EventKind.HARDWARE, 1, ids=(5,), size=size, period=4000, flags=FLAG_SAMPLE_ID_ALL)
    made.event(EventKind.SOFTWARE, 2, ids=(6,), size=size, flags=1 << 15 | 1 << 5)
    made.sample(6, 50)
    recording = opened(tmp_path, made)
    assert [event.name for event in recording.events] == ["instructions:HG", "page-faults:uhp"]
    first, second = recording.events
    assert (first.attr.sample_period, len(first.attr.raw)) == (4000, 128)
    assert second.attr.flags == 1 << 15 | 1 << 5
    assert [record.event for record in recording.records()] == [second]


def test_bits_of_big_endian_machines_start_at_the_top() -> None:
    assert mirrored(1 << 63 | 1 << 45) == 1 | 1 << 18
    # precise_ip of 1: the lower of its two bits.
    assert mirrored(1 << 47) == 1 << 15
    assert mirrored(1 << 15) == 1 << 47


def test_an_attr_of_size_0_is_of_the_first_version(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(EventKind.HARDWARE, 0, ids=(5,), size=64)
    made.events[0].attr = made.events[0].attr[:4] + bytes(4) + made.events[0].attr[8:]
    assert opened(tmp_path, made).events[0].ids == (5,)


@pytest.mark.parametrize(
    ("kind", "config", "others", "name"),
    [
        # Without modifiers perf expects that guests are excluded.
        (0, 0, {}, "cycles"),
        (0, 0, {"flags": 0}, "cycles:HG"),
        (0, 99, {}, "unknown-hardware"),
        (0, 3, {"flags": 1 << 5}, "cache-misses:uh"),
        (0, 3, {"flags": 3 << 15 | 1 << 20}, "cache-misses:pppH"),
        (0, 3, {"flags": 1 << 5 | 1 << 6 | 1 << 20}, "cache-misses:uH"),
        (1, 3, {}, "context-switches"),
        (1, 10, {}, "unknown-software"),
        (3, 0x10001, {}, "L1-icache-load-misses"),
        (3, 2, {}, "LLC-loads"),
        (3, 0x104, {}, "invalid-cache"),
        (3, 9, {}, "unknown-ext-hardware-cache-type"),
        (3, 0x300, {}, "unknown-ext-hardware-cache-op"),
        (3, 0x20000, {}, "unknown-ext-hardware-cache-result"),
        (4, 0x1C2, {}, "raw 0x1c2"),
        (5, 0, {"bp_type": 3, "config1": 0x1000}, "mem:0x1000:rw"),
        (77, 0, {}, "unknown attr type: 77"),
    ],
)
def test_events_without_a_name_get_perfs(
    tmp_path: Path, kind: int, config: int, others: dict[str, int], name: str
) -> None:
    made = MadeRecording()
    made.event(kind, config, flags=others.get("flags", 1 << 20), **_others(others))
    attr = opened(tmp_path, made).events[0].attr
    assert event_name(attr, None) == name


def _others(others: dict[str, int]) -> dict[str, int]:
    return {key: value for key, value in others.items() if key != "flags"}


def test_a_name_may_come_with_the_format(tmp_path: Path) -> None:
    made = two_events()
    del made.features[12]
    assert [event.name for event in opened(tmp_path, made).events] == [
        "sched:sched_wakeup",
        "cpu-clock:HG",
    ]


def test_names_belong_to_events_in_order_where_there_are_no_ids(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(EventKind.SOFTWARE, 0, name="one")
    made.features = {HOSTNAME: made.text("h"), 12: made.describe()}
    assert opened(tmp_path, made).events[0].name == "one"


def test_one_event_needs_no_ids(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(sample_type=SampleType.IP | SampleType.TIME)
    made.record(9, made.pack("QQ", 1, 20))
    made.record(9, made.pack("QQ", 2, 10))
    recording = opened(tmp_path, made)
    assert [record.time for record in recording.records()] == [10, 20]


def test_a_header_of_old_perf_without_features_is_read(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(ids=(1,))
    content = made.file()
    old = b"PERFFILE" + made.pack("Q", 72) + content[16:72] + bytes(32) + content[104:]
    assert open_recording(written(tmp_path, old)).events[0].ids == (1,)
