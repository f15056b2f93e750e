"""What no workload here makes, in recordings that are made up: all callbacks are perf's, too."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from perf_files import EVENT_DESC, USUAL, MadeRecording, two_events, wakeup_raw
from recordings import HERE
from sidebyside import first_difference, run_both

from ptrace_client.perf_data.attr import EventKind, ReadFormat, SampleType
from ptrace_client.perf_data.model import RecordKind

# Without it perf gives scripts a tuple with a hole in it.
LOST: Final = ReadFormat.LOST
NO_DATA_SRC: Final = 0x5080021
MISC_13, MISC_14 = 1 << 13, 1 << 14


def _of_one_event(more: SampleType, **others: int) -> MadeRecording:
    made = MadeRecording()
    made.event(
        EventKind.HARDWARE,
        ids=(1,),
        sample_type=USUAL | more,
        name="cycles",
        **{"read_format": LOST, **others},
    )
    return made


def _branches() -> bytes:
    made = _of_one_event(
        SampleType.BRANCH_STACK | SampleType.WEIGHT | SampleType.DATA_SRC | SampleType.TRANSACTION,
        branches=1 << 3,
    )
    chance = random.Random(1)
    for number in range(60):
        count = chance.choice([0, 1, 2, 5])
        entries = [chance.randrange(1 << bits) for _ in range(count) for bits in (48, 48, 20)]
        rest = chance.randrange(1 << 30), NO_DATA_SRC, chance.randrange(1 << 60)
        tail = made.pack("Q", count) + made.pack(f"{len(entries) + 3}Q", *entries, *rest)
        made.sample(1, 100 + number, tail=tail)
    return made.file()


def _data_sources() -> bytes:
    """Every bit alone: several make texts that are too long for perf's buffer."""
    made = _of_one_event(SampleType.DATA_SRC)
    for bit in range(44):
        made.sample(1, 100 + bit, tail=made.pack("Q", 1 << bit))
    return made.file()


def _registers() -> bytes:
    made = _of_one_event(
        SampleType.REGS_USER | SampleType.REGS_INTR, regs_user=0xFF0FFF, regs_intr=0x3
    )
    for number, abi in enumerate((0, 1, 2, 2)):
        user = made.pack("21Q", 2, *range(number, number + 20))
        interrupted = made.pack("Q", abi) + (made.pack("2Q", 1 << 63, 5) if abi else b"")
        made.sample(1, 100 + number, tail=user + interrupted)
    return made.file()


def _counts(read_format: int) -> bytes:
    """Samples of two events with all counts that `read_format` tells."""
    made = MadeRecording()
    for id in (1, 2):
        made.event(
            ids=(id,), sample_type=USUAL | SampleType.READ, name=f"n{id}", read_format=read_format
        )
    is_group = bool(read_format & ReadFormat.GROUP)
    for number in range(3):
        times = [50, 40][: (read_format & 3).bit_count()]
        tail = [2, *times] if is_group else []
        for id in (1, 2) if is_group else (1,):
            tail.append(100 * id * (number + 1))
            tail += [] if is_group else times
            tail += [id] if read_format & ReadFormat.ID else []
            tail += [7] if read_format & ReadFormat.LOST else []
        made.sample(1, 100 + number, tail=made.pack(f"{len(tail)}Q", *tail))
    return made.file()


def _all_kinds(order: str = "<") -> MadeRecording:
    """Records of many kinds, in rounds, out of order.

    perf does not turn the bytes of a sample_id's 32-bit members round: what is told of switches
    and throttling is left out of recordings of the other byte order.
    """
    made = two_events(order)
    for event in made.events:
        event.attr = event.attr[:32] + made.pack("Q", LOST) + event.attr[40:]
    made.features[EVENT_DESC] = made.describe()

    def add(kind: RecordKind, codes: str, *values: int, text: str = "", misc: int = 0) -> None:
        content = made.pack(codes, *values) + text.encode().ljust(-(-len(text) // 8) * 8, b"\0")
        made.record(kind, content + made.trailer(21, 100 + 10 * len(made.records)), misc)

    add(RecordKind.COMM, "II", 7, 7, text="one\0")
    made.sample(21, 110)
    add(RecordKind.COMM, "II", 7, 7, text="two\0", misc=MISC_13)
    made.sample(11, 130, tail=wakeup_raw(made, 5))
    add(RecordKind.FORK, "IIIIQ", 8, 7, 8, 7, 140)
    made.sample(21, 150, tid=8)
    add(RecordKind.EXIT, "IIIIQ", 8, 7, 8, 7, 160)
    made.sample(21, 170, tid=8)
    if order == "<":
        add(RecordKind.SWITCH, "", misc=MISC_13 | MISC_14)
        add(RecordKind.SWITCH, "")
        add(RecordKind.SWITCH_CPU_WIDE, "II", 9, 9, misc=MISC_13)
        add(RecordKind.THROTTLE, "QQQ", 210, 21, 22)
        add(RecordKind.UNTHROTTLE, "QQQ", 220, 21, 22)
    add(RecordKind.LOST, "QQ", 21, 5)
    add(RecordKind.LOST_SAMPLES, "Q", 3)
    made.record(RecordKind.FINISHED_ROUND)
    made.sample(12, 360, tail=wakeup_raw(made, 1 << 63))
    made.sample(21, 350, tid=99)
    add(RecordKind.NAMESPACES, "IIQQQ", 7, 7, 1, 2, 3)
    add(RecordKind.CGROUP, "Q", 5, text="/x")
    made.record(RecordKind.FINISHED_ROUND)
    error = made.pack("IIIIIIQQ", 1, 5, 0, 7, 7, 2, 0x1234, 78) + b"text".ljust(64, b"\0")
    made.record(RecordKind.AUXTRACE_ERROR, error + made.pack("ii", 12, 3))
    made.sample(21, 500)
    return made


MADE: Final[dict[str, Callable[[], bytes]]] = {
    "branches": _branches,
    "data sources": _data_sources,
    "registers": _registers,
    "counts of one event": lambda: _counts(ReadFormat.ID | LOST),
    "counts of groups": lambda: _counts(31),
    "all kinds": lambda: _all_kinds().file(),
    "all kinds, piped": lambda: _all_kinds().pipe(),
    "all kinds, the other byte order": lambda: _all_kinds(">").file(),
}


@pytest.mark.parametrize("name", MADE)
def test_all_callbacks_are_those_of_perf(name: str, tmp_path: Path) -> None:
    path = tmp_path / "made.data"
    path.write_bytes(MADE[name]())

    perfs, ours = run_both(path, HERE / "recorder.py")

    assert perfs.status == 0, perfs.stderr
    assert len(perfs.stdout.splitlines()) > 3
    difference = first_difference(perfs.stdout, ours.stdout)
    assert not difference, f"{difference}\n{ours.stderr}"
    assert ours.status == 0, ours.stderr
