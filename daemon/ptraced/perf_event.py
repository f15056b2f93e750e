"""perf_event_open(2): what BPF programs are hung on, and rings of what they and the kernel tell."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import threading
from pathlib import Path

from ptraced import syscalls

# include/uapi/linux/perf_event.h
_TYPE_SOFTWARE = 1
_TYPE_TRACEPOINT = 2
_COUNT_SW_DUMMY = 9
_COUNT_SW_BPF_OUTPUT = 10
_SAMPLE_TID = 1 << 1
_SAMPLE_TIME = 1 << 2
_SAMPLE_RAW = 1 << 10
_ATTR_SIZE = 112
_FLAG_DISABLED = 1
_FLAG_MMAP = 1 << 8
_FLAG_COMM = 1 << 9
_FLAG_TASK = 1 << 13
_FLAG_WATERMARK = 1 << 14
_FLAG_SAMPLE_ID_ALL = 1 << 18
_FLAG_MMAP2 = 1 << 23
_FLAG_COMM_EXEC = 1 << 24
_FLAG_USE_CLOCKID = 1 << 25
_TASK_FLAGS = (
    _FLAG_MMAP
    | _FLAG_MMAP2
    | _FLAG_COMM
    | _FLAG_COMM_EXEC
    | _FLAG_TASK
    | _FLAG_SAMPLE_ID_ALL
    | _FLAG_USE_CLOCKID
)
_CLOCK_MONOTONIC = 1
_OPEN_FD_CLOEXEC = 1 << 3
_IOC_ENABLE = 0x2400
_IOC_SET_BPF = 0x40042408
_DATA_HEAD = 1024
_DATA_TAIL = 1032
# PERF_UPROBE_REF_CTR_OFFSET_SHIFT, the bits of config with the offset of a USDT semaphore.
_SEMAPHORE_SHIFT = 32
_DEVICES = Path("/sys/bus/event_source/devices")

# Native order and size: one load or store, which the kernel sees whole.
_u64 = struct.Struct("@Q")


def _attr(
    type_: int,
    config: int,
    flags: int,
    *,
    period: int = 0,
    sample_type: int = 0,
    wakeup: int = 0,
    config1: int = 0,
    config2: int = 0,
    clock: int = 0,
) -> bytes:
    """struct perf_event_attr up to PERF_ATTR_SIZE_VER5, but for what nobody here sets."""
    fields = struct.pack(
        "<IIQQQQQIIQQQQIi",
        type_,
        _ATTR_SIZE,
        config,
        period,
        sample_type,
        0,
        flags,
        wakeup,
        0,
        config1,
        config2,
        0,
        0,
        0,
        clock,
    )
    return fields.ljust(_ATTR_SIZE, b"\0")


def attach_tracepoint(tracepoint_id: int, program: int, cpu: int) -> int:
    """Run `program` at every hit of a tracepoint, on all CPUs, until the descriptor is closed.

    `cpu` only has to be online: a BPF program hangs on the tracepoint itself. The
    event as such stays disabled and has no period, or the kernel would also prepare
    a sample per hit for a ring that it does not have. Closing waits for an RCU grace
    period, tens of milliseconds.
    """
    return _attach(_attr(_TYPE_TRACEPOINT, tracepoint_id, _FLAG_DISABLED), program, cpu)


def attach_kprobe(symbol: str, offset: int, returns: bool, program: int, cpu: int) -> int:
    """Run `program` at an instruction of the kernel, or when a function returns.

    The place is `symbol` + `offset` bytes, or the address `offset` where `symbol` is empty. As
    in attach_tracepoint() otherwise. Raises FileNotFoundError where the kernel has no kprobes.
    """
    name = ctypes.create_string_buffer(symbol.encode()) if symbol else None
    attr = _attr(
        pmu_type("kprobe"),
        int(returns),
        _FLAG_DISABLED,
        config1=ctypes.addressof(name) if name else 0,
        config2=offset,
    )
    return _attach(attr, program, cpu)


def attach_uprobe(
    file: int, offset: int, semaphore: int, returns: bool, program: int, cpu: int, pid: int = 0
) -> int:
    """Run `program` at the instruction that lies `offset` bytes from the start of a file.

    `file` is an open descriptor, and may be closed afterwards; `semaphore` is the place of a
    USDT probe's count of users in the file, 0 for none. With a `pid` only that process has a
    breakpoint there. As in attach_kprobe() otherwise.
    """
    path = ctypes.create_string_buffer(f"/proc/self/fd/{file}".encode())
    attr = _attr(
        pmu_type("uprobe"),
        int(returns) | semaphore << _SEMAPHORE_SHIFT,
        _FLAG_DISABLED,
        config1=ctypes.addressof(path),
        config2=offset,
    )
    return _attach(attr, program, -1 if pid else cpu, pid or -1)


def pmu_type(name: str) -> int:
    """The number by which the kernel calls a source of events; FileNotFoundError without it."""
    return int((_DEVICES / name / "type").read_text())


def _attach(attr: bytes, program: int, cpu: int, pid: int = -1) -> int:
    fd = syscalls.perf_event_open(attr, pid, cpu, _OPEN_FD_CLOEXEC)
    try:
        fcntl.ioctl(fd, _IOC_SET_BPF, program)
    except OSError:
        os.close(fd)
        raise
    return fd


def output_attr(watermark: int) -> bytes:
    """The event whose ring takes what BPF programs submit.

    It becomes readable when `watermark` bytes wait, or at every event where it is 0.
    """
    flags, wakeup = (_FLAG_WATERMARK, watermark) if watermark else (0, 1)
    return _attr(
        _TYPE_SOFTWARE,
        _COUNT_SW_BPF_OUTPUT,
        flags,
        period=1,
        sample_type=_SAMPLE_RAW,
        wakeup=wakeup,
    )


def task_attr(watermark: int) -> bytes:
    """The event whose ring tells of tasks: PERF_RECORD_MMAP2, COMM, FORK, EXIT.

    Each record ends with pid and tid, u32, and the time (CLOCK_MONOTONIC, ns), u64. It does not
    ask for build ids: the kernel would call what it tells to others build ids, too, as
    perf_event_mmap_output() leaves the mark in the record for the next event.
    """
    return _attr(
        _TYPE_SOFTWARE,
        _COUNT_SW_DUMMY,
        _TASK_FLAGS | _FLAG_WATERMARK,
        sample_type=_SAMPLE_TID | _SAMPLE_TIME,
        wakeup=watermark,
        clock=_CLOCK_MONOTONIC,
    )


class Ring:
    """The ring of a perf event on one CPU, read in bulk.

    `pages` is its size (a power of two), `attr` what perf_event_open(2) is asked for. It
    records from the beginning, unless its event is opened disabled and `enabled` is False.
    """

    def __init__(self, cpu: int, pages: int, attr: bytes, *, enabled: bool = True) -> None:
        self.cpu = cpu
        # Bytes that the last read() found.
        self.filled = 0
        self.size = pages * mmap.PAGESIZE
        self.fd = syscalls.perf_event_open(attr, -1, cpu, _OPEN_FD_CLOEXEC)
        try:
            self._mmap = mmap.mmap(self.fd, self.size + mmap.PAGESIZE)
            if enabled:
                fcntl.ioctl(self.fd, _IOC_ENABLE, 0)
        except OSError:
            os.close(self.fd)
            raise
        self._view = memoryview(self._mmap)
        self._data = self._view[mmap.PAGESIZE :]
        self._tail = 0
        self._barrier = threading.Lock()

    def read(self, buffer: memoryview) -> memoryview:
        """Move all that waits into `buffer` (at least `size` bytes); returns the part it filled."""
        (head,) = _u64.unpack_from(self._view, _DATA_HEAD)
        tail = self._tail
        self.filled = length = head - tail
        if not length:
            return buffer[:0]
        # An acquire, so that weakly ordered CPUs read the data after the head.
        with self._barrier:
            start = tail % self.size
            first = min(length, self.size - start)
            buffer[:first] = self._data[start : start + first]
            if first < length:
                buffer[first:length] = self._data[: length - first]
        _u64.pack_into(self._view, _DATA_TAIL, head)
        self._tail = head
        return buffer[:length]

    def close(self) -> None:
        self._data.release()
        self._view.release()
        self._mmap.close()
        os.close(self.fd)
