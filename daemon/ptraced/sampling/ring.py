"""Rings of sampling events, and exact counts of what they had no room for."""

from __future__ import annotations

import fcntl
import os
import struct

from ptraced.perf_event import Ring
from ptraced.sampling.attr import open_event
from ptraced.sampling.records import Told
from ptraced.sampling.shape import Shape

_IOC_ENABLE, _IOC_DISABLE, _IOC_SET_BPF = 0x2400, 0x2401, 0x40042408
_HEAD = struct.Struct("@Q")
_DATA_HEAD = 1024
# Of PERF_RECORD_LOST, which goes ahead of the sample that finds room again.
_LOST_RECORD_BYTES = 24
# Enough for the values of a group.
_READ_BYTES_MAX = 4096


class SampleRing(Ring):
    """The ring of a sampling event on one CPU; the event is disabled until start().

    `sample_bytes` is the most that a sample takes. `told` is what records have told besides
    samples.
    """

    def __init__(self, cpu: int, pages: int, attr: bytes, shape: Shape, sample_bytes: int) -> None:
        super().__init__(cpu, pages, attr, enabled=False)
        self.told = Told()
        self._margin = sample_bytes + _LOST_RECORD_BYTES
        self._group: list[int] = []
        self._lost_at = shape.lost_at
        self._lost = 0
        self._malformed = 0
        self._was_full = False

    def add_counter(self, attr: bytes) -> None:
        """Count something else along with the event, and read it with each sample."""
        self._group.append(open_event(attr, self.cpu, self.fd))

    def close(self) -> None:
        for fd in self._group:
            os.close(fd)
        super().close()

    def filter_by(self, program: int) -> None:
        """Take the samples only for which a BPF program returns 1."""
        fcntl.ioctl(self.fd, _IOC_SET_BPF, program)

    def start(self) -> None:
        fcntl.ioctl(self.fd, _IOC_ENABLE, 0)

    def stop(self) -> None:
        fcntl.ioctl(self.fd, _IOC_DISABLE, 0)

    def read(self, buffer: memoryview) -> memoryview:
        before = self._tail
        span = super().read(buffer)
        # Asked only now: until then the kernel had the old tail, and may have found no room.
        (head,) = _HEAD.unpack_from(self._view, _DATA_HEAD)
        if head - before + self._margin > self.size:
            self._was_full = True
        return span

    def lost(self) -> int:
        """Samples lost since the last call.

        Exact with kernel 6.0 or later. Before, what was lost is known when the next sample finds
        room. Asking the kernel interrupts the event's CPU, so only a full ring is reason to.
        """
        total = self._lost
        if self._lost_at < 0:
            total = self.told.lost
        elif self._was_full:
            self._was_full = False
            values = os.read(self.fd, _READ_BYTES_MAX)
            (total,) = _HEAD.unpack_from(values, self._lost_at)
        new = total - self._lost + self.told.malformed - self._malformed
        self._lost, self._malformed = total, self.told.malformed
        return new
