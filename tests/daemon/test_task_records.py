"""Records of tasks: of made-up bytes, and of what this kernel writes."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from ptrace_elf.elf import Elf, open_regular
from ptraced.perf_event import Ring, task_attr
from ptraced.scope import online_cpus
from ptraced.task_records import (
    LOST_RECORD,
    Comm,
    Exit,
    Fork,
    Lost,
    Mmap2,
    TaskRecord,
    task_records,
)

# include/uapi/linux/perf_event.h
MMAP, LOST, COMM, EXIT, FORK, MMAP2, LOST_SAMPLES = 1, 2, 3, 4, 7, 10, 13
COMM_EXEC, BUILD_ID = 1 << 13, 1 << 14
TIME = 1_234_567_890_123


def record(kind: int, body: bytes, misc: int = 0, trailer: bytes | None = None) -> bytes:
    if trailer is None:
        trailer = struct.pack("<IIQ", 11, 12, TIME)
    body += bytes(-len(body) % 8)
    return struct.pack("<IHH", kind, misc, 8 + len(body) + len(trailer)) + body + trailer


def place(path: bytes, file: bytes) -> bytes:
    return struct.pack("<IIQQQ", 11, 12, 0x7F00, 0x2000, 0x1000) + file + bytes(8) + path + b"\0"


def test_a_mapping_tells_its_file_by_device_and_inode() -> None:
    file = struct.pack("<IIQQ", 254, 3, 4711, 1)
    (found,) = task_records(record(MMAP2, place(b"/usr/lib/libc.so.6", file)))

    identity = (os.makedev(254, 3), 4711)
    expected = (11, 12, 0x7F00, 0x2000, 0x1000, "/usr/lib/libc.so.6", None, identity, TIME)
    assert found == Mmap2(*expected)


def test_a_mapping_tells_its_file_by_build_id_where_it_has_one() -> None:
    file = struct.pack("<BBH20s", 20, 0, 0, bytes(range(20)))
    (found,) = task_records(record(MMAP2, place(b"/bin/true", file), BUILD_ID))

    assert isinstance(found, Mmap2)
    assert (found.build_id, found.identity) == (bytes(range(20)), None)


def test_a_short_build_id_and_a_wrong_length_of_one() -> None:
    for length, expected in ((8, bytes(range(8))), (255, bytes(range(20)))):
        file = struct.pack("<BBH20s", length, 0, 0, bytes(range(20)))
        (found,) = task_records(record(MMAP2, place(b"/bin/true", file), BUILD_ID))
        assert isinstance(found, Mmap2)
        assert found.build_id == expected


def test_memory_of_no_file_has_neither() -> None:
    (found,) = task_records(record(MMAP2, place(b"//anon", bytes(24))))

    assert isinstance(found, Mmap2)
    assert (found.path, found.build_id, found.identity) == ("//anon", None, None)


def test_names_and_new_programs() -> None:
    body = struct.pack("<II", 11, 12) + b"name\xff\0"
    found = list(task_records(record(COMM, body) + record(COMM, body, COMM_EXEC)))

    assert found == [
        Comm(11, 12, b"name\xff", False, TIME),
        Comm(11, 12, b"name\xff", True, TIME),
    ]


def test_forks_and_ends_have_a_time_of_their_own() -> None:
    body = struct.pack("<IIIIQ", 21, 11, 22, 12, 99)
    found = list(task_records(record(FORK, body) + record(EXIT, body)))

    assert found == [Fork(21, 11, 22, 12, 99), Exit(21, 11, 22, 12, 99)]


def test_lost_records_are_told() -> None:
    lost = record(LOST, struct.pack("<QQ", 5, 17)) + record(LOST_SAMPLES, struct.pack("<Q", 3))
    assert list(task_records(lost + LOST_RECORD)) == [Lost(17), Lost(3), Lost(1)]


def test_other_records_are_passed_over() -> None:
    ends = record(EXIT, struct.pack("<IIIIQ", 21, 11, 22, 12, 99))
    found = list(task_records(record(MMAP, bytes(40)) + record(77, bytes(8)) + ends))
    assert found == [Exit(21, 11, 22, 12, 99)]


@pytest.mark.parametrize("size", [0, 7, 9, 23])
def test_what_is_cut_off_or_too_short_ends_it(size: int) -> None:
    whole = record(EXIT, struct.pack("<IIIIQ", 21, 11, 22, 12, 99))
    assert list(task_records(whole + whole[:size])) == [Exit(21, 11, 22, 12, 99)]
    wrong = whole[:6] + struct.pack("<H", size) + whole[8:]
    assert list(task_records(whole + wrong)) == [Exit(21, 11, 22, 12, 99)]


def recorded(command: list[str]) -> tuple[int, list[TaskRecord]]:
    """The pid of a command that has run, and the records of it."""
    rings = [Ring(cpu, 64, task_attr(32 * mmap.PAGESIZE)) for cpu in online_cpus()]
    buffer = memoryview(bytearray(64 * mmap.PAGESIZE))
    try:
        process = subprocess.Popen(command)
        process.wait()
        found = [one for ring in rings for one in task_records(ring.read(buffer))]
    finally:
        for ring in rings:
            ring.close()
    return process.pid, [one for one in found if getattr(one, "pid", None) == process.pid]


@pytest.mark.needs_kernel("perf events")
def test_a_real_program_tells_its_life_in_order() -> None:
    before = time.monotonic_ns()
    pid, found = recorded(["/bin/true"])
    after = time.monotonic_ns()

    found.sort(key=lambda one: one.time)  # type: ignore[union-attr]
    kinds = [type(one) for one in found]
    assert kinds[0] is Fork
    assert kinds[-1] is Exit
    (starts,) = (one for one in found if isinstance(one, Comm) and one.is_exec)
    assert starts.name == b"true"
    mappings = [one for one in found if isinstance(one, Mmap2)]
    assert all(before < one.time < after for one in found)  # type: ignore[union-attr]
    assert all(one.time > starts.time for one in mappings)
    (program,) = (one for one in mappings if one.path == str(Path("/bin/true").resolve()))
    file = open_regular("/bin/true")
    # Kernels before 5.12 tell no build ids.
    if program.build_id is not None:
        assert program.build_id == Elf(file).build_id()
    else:
        status = os.stat("/bin/true")
        assert program.identity == (status.st_dev, status.st_ino)
    file.close()
    assert pid == starts.tid
