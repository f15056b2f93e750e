"""Texts of samples that no recording of this machine holds: many kinds, made up."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from perf_files import EVENT_DESC, USUAL, MadeRecording
from recordings import HERE
from sidebyside import first_difference, run_both

from ptrace_client.perf_data.attr import EventKind, ReadFormat, SampleType
from ptrace_client.perf_script.data_source import decode

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events", "uprobes")

# Without LOST perf gives scripts a tuple with a hole in it.
KNOWN = ReadFormat.ID | ReadFormat.LOST
RECORDER = HERE / "recorder.py"
# Bits of perf_mem_data_src below those of the hops, of which perf 6.1 names five.
DATA_SRC_BITS = 43
# perf writes beyond its buffer where the text would be longer than that.
LONGEST_TEXT = 90


def differ(tmp_path: Path, made: MadeRecording) -> str:
    made.features[EVENT_DESC] = made.describe()
    path = tmp_path / "made.data"
    path.write_bytes(made.file())
    perfs, ours = run_both(path, RECORDER)
    assert perfs.status == 0, perfs.stderr
    assert ours.status == 0, ours.stderr
    assert len(perfs.stdout.splitlines()) > 5
    return first_difference(perfs.stdout, ours.stdout)


def test_sources_of_data(tmp_path: Path) -> None:
    made = MadeRecording()
    kinds = SampleType.ADDR | SampleType.WEIGHT | SampleType.DATA_SRC | SampleType.TRANSACTION
    made.event(
        EventKind.RAW, 0x1CD, ids=(21,), sample_type=USUAL | kinds, read_format=KNOWN, name="loads"
    )
    rng, values = random.Random(1), []
    for _ in range(1000):
        bits = sum(1 << bit for bit in rng.sample(range(DATA_SRC_BITS), rng.randrange(1, 12)))
        values.append(bits | rng.randrange(5) << DATA_SRC_BITS)
    values = [value for value in values if len(decode(value)) < LONGEST_TEXT]
    assert len(values) > 300
    for time, value in enumerate(values, start=1):
        # PERF_SAMPLE_ADDR lies between the time and the cpu.
        fixed = made.pack("QQIIQQII", 21, 0x1000, 7, 7, time, 0x2000 + time, 0, 0)
        made.record(9, fixed + made.pack("QQQ", 5, value, 6), misc=2)
    assert not (difference := differ(tmp_path, made)), difference


@pytest.mark.parametrize("arch", ["x86_64", "aarch64", "armv7l", "riscv64", "s390x"])
def test_registers(tmp_path: Path, arch: str) -> None:
    made = MadeRecording()
    kinds = USUAL | SampleType.REGS_USER | SampleType.REGS_INTR
    intr, user = (1 << 9) - 1 | 1 << 15, 1 << 23 | 0b1011 | 1 << 30
    made.event(
        EventKind.SOFTWARE,
        ids=(21,),
        sample_type=kinds,
        name="cpu-clock",
        regs_user=user,
        regs_intr=intr,
        read_format=KNOWN,
    )
    # HEADER_ARCH.
    made.features[6] = made.text(arch)
    rng = random.Random(3)
    for time in range(1, 20):
        users = [rng.getrandbits(rng.choice((8, 64))) for _ in range(user.bit_count())]
        intrs = [rng.getrandbits(rng.choice((8, 64))) for _ in range(intr.bit_count())]
        tail = made.pack(f"Q{len(users)}Q", 2, *users) + made.pack(f"Q{len(intrs)}Q", 2, *intrs)
        # Without user registers: of a thread of the kernel.
        if time % 4 == 0:
            tail = made.pack("Q", 0) + made.pack(f"Q{len(intrs)}Q", 2, *intrs)
        made.sample(21, time, tail=tail)
    assert not (difference := differ(tmp_path, made)), difference


@pytest.mark.parametrize(
    "read_format",
    [
        KNOWN,
        KNOWN | ReadFormat.TOTAL_TIME_ENABLED | ReadFormat.TOTAL_TIME_RUNNING,
    ],
)
def test_counters(tmp_path: Path, read_format: int) -> None:
    made = MadeRecording()
    kinds = USUAL | SampleType.READ | SampleType.PERIOD
    made.event(
        EventKind.SOFTWARE, ids=(21,), sample_type=kinds, read_format=read_format, name="cpu-clock"
    )
    count = int(read_format).bit_count()
    for time in range(1, 12):
        numbers = [time * 100 // 3, *([1000 * time, 900 * time] if count == 4 else [])]
        if read_format & ReadFormat.ID:
            numbers.append(21)
        if read_format & ReadFormat.LOST:
            numbers.append(time)
        fixed = made.pack("QQIIQIIQ", 21, 0x1000, 7, 7, time, 0, 0, 5)
        made.record(9, fixed + made.pack(f"{len(numbers)}Q", *numbers), misc=2)
    assert not (difference := differ(tmp_path, made)), difference
