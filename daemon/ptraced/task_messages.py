"""Records of tasks as clients get them."""

from __future__ import annotations

import os

from ptrace_proto import ptrace_pb2 as pb
from ptraced.task_records import Comm, Exit, Fork, Lost, Mmap2, TaskRecord


def task_message(record: TaskRecord) -> pb.TaskRecord:
    """The message for a record."""
    match record:
        case Comm(pid, tid, name, is_exec, time):
            return _of(pid, tid, time, name=pb.TaskName(name=name, is_exec=is_exec))
        case Fork(pid, ppid, tid, ptid, time):
            return _of(pid, tid, time, start=pb.TaskStart(parent_pid=ppid, parent_tid=ptid))
        case Exit(pid, ppid, tid, ptid, time):
            return _of(pid, tid, time, end=pb.TaskEnd(parent_pid=ppid, parent_tid=ptid))
        case Mmap2():
            return _of(record.pid, record.tid, record.time, mapping=_mapping(record))
        case Lost(count):
            return pb.TaskRecord(lost=count)


def _of(pid: int, tid: int, time: int, **what: object) -> pb.TaskRecord:
    # Of tasks outside of the daemon's pid namespace the kernel tells -1.
    signed = {"pid": _signed(pid), "tid": _signed(tid)}
    return pb.TaskRecord(time=time, **signed, **what)  # type: ignore[arg-type]


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def _mapping(record: Mmap2) -> pb.TaskMapping:
    device, inode = record.identity or (0, 0)
    return pb.TaskMapping(
        start=record.start,
        length=record.length,
        offset=record.offset,
        path=os.fsencode(record.path),
        major=os.major(device),
        minor=os.minor(device),
        inode=inode,
    )
