"""Names of tasks, from made-up records."""

from __future__ import annotations

import struct
from pathlib import Path

from ptraced.tasks import Tasks

# include/uapi/linux/perf_event.h
COMM, FORK = 3, 7
# More than any pid: nobody can be asked for its name.
CHILD = 1 << 23


def record(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 8) + struct.pack("<IIQ", 1, 1, 5)
    return struct.pack("<IHH", kind, 0, 8 + len(body)) + body


def fork(parent: int) -> bytes:
    return record(FORK, struct.pack("<IIIIQ", CHILD, parent, CHILD, parent, 5))


def named(tid: int, name: bytes) -> bytes:
    return record(COMM, struct.pack("<II", tid, tid) + name + b"\0")


def names_after(*records: bytes) -> bytes:
    tasks = Tasks(lambda cpu, data: None, lambda pid, time: None, lambda: None)
    tasks._take(b"".join(records))
    return tasks.comm(CHILD)


def test_a_child_has_its_parents_name() -> None:
    assert names_after(named(1, b"parent"), fork(1)) == b"parent"


def test_a_child_of_one_that_was_there_before_has_its_name_too() -> None:
    assert names_after(fork(1)) == Path("/proc/1/comm").read_bytes().rstrip()


def test_a_parent_that_has_a_new_name_since_tells_nothing() -> None:
    assert names_after(fork(1), named(1, b"later")) == b""
