"""Reads the tracepoint samples of a perf.data file.

The layout is in tools/perf/Documentation/perf.data-file-format.txt of the kernel and in
perf_event_open(2), "MMAP layout".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ptrace_formats.event_format import FormatField
from ptrace_proto import ptrace_pb2 as pb

_RECORD_SAMPLE = 9
# Bits of sample_type and how many bytes they put before the raw data, in order.
_BEFORE_RAW = (
    (1 << 16, 8),  # IDENTIFIER
    (1 << 0, 8),  # IP
    (1 << 1, 8),  # TID
    (1 << 2, 8),  # TIME
    (1 << 3, 8),  # ADDR
    (1 << 6, 8),  # ID
    (1 << 9, 8),  # STREAM_ID
    (1 << 7, 8),  # CPU
    (1 << 8, 8),  # PERIOD
)
_TID, _TIME, _CPU = 1 << 1, 1 << 2, 1 << 7
_RAW = 1 << 10
_KNOWN = _RAW | sum(bit for bit, _ in _BEFORE_RAW)


class Sample(NamedTuple):
    """A tracepoint hit: CLOCK time in ns as perf recorded it, and the kernel's record."""

    time: int
    cpu: int
    tid: int
    record: bytes

    @property
    def common_type(self) -> int:
        """Id of the tracepoint."""
        return int.from_bytes(self.record[:2], "little")


def samples(path: Path) -> Iterator[Sample]:
    """Yield the samples of a perf.data file in the order in which it holds them."""
    content = path.read_bytes()
    magic, _, _, attrs_at, _, data_at, data_size = struct.unpack_from("<8s6Q", content)
    assert magic == b"PERFILE2"
    # All events of one `perf record -e` list of tracepoints have the same sample_type.
    (sample_type,) = struct.unpack_from("<Q", content, attrs_at + 24)
    assert sample_type & _RAW
    assert not sample_type & ~_KNOWN
    places = {}
    place = 8
    for bit, size in _BEFORE_RAW:
        if sample_type & bit:
            places[bit] = place
            place += size
    at, end = data_at, data_at + data_size
    while at < end:
        kind, _, size = struct.unpack_from("<IHH", content, at)
        if kind == _RECORD_SAMPLE:
            (time,) = struct.unpack_from("<Q", content, at + places[_TIME])
            (cpu,) = struct.unpack_from("<I", content, at + places[_CPU])
            (tid,) = struct.unpack_from("<I", content, at + places[_TID] + 4)
            (length,) = struct.unpack_from("<I", content, at + place)
            start = at + place + 4
            yield Sample(time, cpu, tid, content[start : start + length])
        at += size


def value(field: FormatField, record: bytes) -> int | str | bytes:
    """Return a field of a record as clients get it."""
    data = record[field.offset : field.offset + field.size]
    if field.kind in (pb.FIELD_KIND_DYNAMIC_STRING, pb.FIELD_KIND_DYNAMIC_BYTES):
        locator = int.from_bytes(data, "little")
        start = (locator & 0xFFFF) + (field.offset + field.size if field.relative else 0)
        data = record[start : start + (locator >> 16)]
    if field.kind in (pb.FIELD_KIND_CHAR_ARRAY, pb.FIELD_KIND_DYNAMIC_STRING):
        return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    if field.kind in (pb.FIELD_KIND_BYTES, pb.FIELD_KIND_DYNAMIC_BYTES):
        return data
    return int.from_bytes(data, "little", signed=field.kind == pb.FIELD_KIND_SIGNED)
