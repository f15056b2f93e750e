"""perf_event_open(2): tracepoints to hang BPF programs on, and the ring of a perf buffer."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading

from ptraced import syscalls

# include/uapi/linux/perf_event.h
_TYPE_SOFTWARE = 1
_TYPE_TRACEPOINT = 2
_COUNT_SW_BPF_OUTPUT = 10
_SAMPLE_RAW = 1 << 10
_ATTR_SIZE = 112
_FLAG_DISABLED = 1
_FLAG_WATERMARK = 1 << 14
_OPEN_FD_CLOEXEC = 1 << 3
_IOC_ENABLE = 0x2400
_IOC_SET_BPF = 0x40042408
_DATA_HEAD = 1024
_DATA_TAIL = 1032

# Native order and size: one load or store, which the kernel sees whole.
_u64 = struct.Struct("@Q")


def _attr(
    type_: int, config: int, flags: int, period: int = 0, sample_type: int = 0, wakeup: int = 0
) -> bytes:
    fields = struct.pack(
        "<IIQQQQQI", type_, _ATTR_SIZE, config, period, sample_type, 0, flags, wakeup
    )
    return fields.ljust(_ATTR_SIZE, b"\0")


def attach_tracepoint(tracepoint_id: int, program: int, cpu: int) -> int:
    """Run `program` at every hit of a tracepoint, on all CPUs, until the descriptor is closed.

    `cpu` only has to be online: a BPF program hangs on the tracepoint itself. The
    event as such stays disabled and has no period, or the kernel would also prepare
    a sample per hit for a ring that it does not have. Closing waits for an RCU grace
    period, tens of milliseconds.
    """
    attr = _attr(_TYPE_TRACEPOINT, tracepoint_id, _FLAG_DISABLED)
    fd = syscalls.perf_event_open(attr, -1, cpu, _OPEN_FD_CLOEXEC)
    try:
        fcntl.ioctl(fd, _IOC_SET_BPF, program)
    except OSError:
        os.close(fd)
        raise
    return fd


class Ring:
    """One CPU's part of a perf buffer, read in bulk.

    `pages` is the size of the ring (a power of two). The descriptor becomes
    readable when `watermark` bytes wait, or at every event where it is 0.
    """

    def __init__(self, cpu: int, pages: int, watermark: int) -> None:
        flags, wakeup = (_FLAG_WATERMARK, watermark) if watermark else (0, 1)
        attr = _attr(_TYPE_SOFTWARE, _COUNT_SW_BPF_OUTPUT, flags, 1, _SAMPLE_RAW, wakeup)
        self.cpu = cpu
        self.size = pages * mmap.PAGESIZE
        self.fd = syscalls.perf_event_open(attr, -1, cpu, _OPEN_FD_CLOEXEC)
        try:
            self._mmap = mmap.mmap(self.fd, self.size + mmap.PAGESIZE)
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
        length = head - tail
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
