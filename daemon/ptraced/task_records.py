"""What a perf ring tells of tasks: mappings, names, forks, exits.

Layouts are those of perf_event_open(2), "Record types", for events with the sample_type
TID | TIME and sample_id_all: every record ends with pid and tid, u32, and a time, u64.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

# enum perf_event_type and PERF_RECORD_MISC_*: include/uapi/linux/perf_event.h
_LOST, _COMM, _EXIT, _FORK, _MMAP2, _LOST_SAMPLES = 2, 3, 4, 7, 10, 13
_MISC_COMM_EXEC = 1 << 13
_MISC_MMAP_BUILD_ID = 1 << 14

_HEADER = struct.Struct("<IHH")
_LOST_BODY = struct.Struct("<QQ")
_COUNT_BODY = struct.Struct("<Q")
_TASK = struct.Struct("<IIIIQ")
_IDS = struct.Struct("<II")
_PLACE = struct.Struct("<IIQQQ")
_INODE = struct.Struct("<IIQ")
# Bytes from the start of a record to the union of inode and build id, and to the path.
_UNION = _HEADER.size + _PLACE.size
_MMAP2_PATH = _UNION + 32
_TRAILER = struct.Struct("<IIQ")
_BUILD_ID_MAX = 20


class Mmap2(NamedTuple):
    """Executable memory was mapped: `length` bytes at `start`, from `offset` in a file.

    The file is told by its build id, or by device and inode where it has none. `time` is
    CLOCK_MONOTONIC in ns, here and below.
    """

    pid: int
    tid: int
    start: int
    length: int
    offset: int
    path: str
    build_id: bytes | None
    identity: tuple[int, int] | None
    time: int


class Comm(NamedTuple):
    """A thread has a new name; with `is_exec` since it runs another program from now on."""

    pid: int
    tid: int
    name: bytes
    is_exec: bool
    time: int


class Fork(NamedTuple):
    """A task was created; a thread where pid and ppid are the same process."""

    pid: int
    ppid: int
    tid: int
    ptid: int
    time: int


class Exit(NamedTuple):
    """A thread ended."""

    pid: int
    ppid: int
    tid: int
    ptid: int
    time: int


class Lost(NamedTuple):
    """The ring was full: this many records are missing."""

    count: int  # type: ignore[assignment] # tuple.count() is of no use here


# Says that records are missing, where it was not the kernel that dropped them.
LOST_RECORD = (
    _HEADER.pack(_LOST, 0, _HEADER.size + _LOST_BODY.size + _TRAILER.size)
    + _LOST_BODY.pack(0, 1)
    + bytes(_TRAILER.size)
)

TaskRecord = Mmap2 | Comm | Fork | Exit | Lost
# Of a record and all that it has but for its path.
_RECORD_BYTES = 512


def memory_of(record: TaskRecord) -> int:
    """Bytes of memory that a record takes at most."""
    # Text that is not ASCII takes up to four bytes for a character.
    return _RECORD_BYTES + (4 * len(record.path) if isinstance(record, Mmap2) else 0)


def task_records(records: bytes | memoryview) -> Iterator[TaskRecord]:
    """Parse the records of a ring; of other types, and of what is cut off, nothing comes."""
    data = memoryview(records)
    at = 0
    while at + _HEADER.size <= len(data):
        kind, misc, size = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or at + size > len(data):
            return
        try:
            record = _parse(kind, misc, data[at : at + size])
        except struct.error:
            # Shorter than its type has it: no kernel writes that.
            return
        if record is not None:
            yield record
        at += size


def _parse(kind: int, misc: int, record: memoryview) -> TaskRecord | None:
    if kind == _MMAP2:
        return _mmap2(misc, record)
    if kind in (_FORK, _EXIT):
        pid, ppid, tid, ptid, time = _TASK.unpack_from(record, _HEADER.size)
        return (Fork if kind == _FORK else Exit)(pid, ppid, tid, ptid, time)
    if kind == _COMM:
        pid, tid = _IDS.unpack_from(record, _HEADER.size)
        name = _text(record, _HEADER.size + _IDS.size)
        return Comm(pid, tid, name, bool(misc & _MISC_COMM_EXEC), _time(record))
    if kind == _LOST:
        return Lost(_LOST_BODY.unpack_from(record, _HEADER.size)[1])
    if kind == _LOST_SAMPLES:
        return Lost(_COUNT_BODY.unpack_from(record, _HEADER.size)[0])
    return None


def _mmap2(misc: int, record: memoryview) -> Mmap2:
    pid, tid, start, length, offset = _PLACE.unpack_from(record, _HEADER.size)
    build_id = identity = None
    if misc & _MISC_MMAP_BUILD_ID:
        size = min(record[_UNION], _BUILD_ID_MAX)
        build_id = bytes(record[_UNION + 4 : _UNION + 4 + size])
    else:
        major, minor, inode = _INODE.unpack_from(record, _UNION)
        identity = (os.makedev(major, minor), inode) if inode else None
    path = os.fsdecode(_text(record, _MMAP2_PATH))
    return Mmap2(pid, tid, start, length, offset, path, build_id, identity, _time(record))


def _text(record: memoryview, start: int) -> bytes:
    return bytes(record[start : len(record) - _TRAILER.size]).partition(b"\0")[0]


def _time(record: memoryview) -> int:
    time: int = _TRAILER.unpack_from(record, len(record) - _TRAILER.size)[2]
    return time
