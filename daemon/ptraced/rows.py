"""From the records of a ring to the packed rows of batches.

A record is a struct perf_event_header (u32 type, u16 misc, u16 size), a u32 with
the length of what follows, and the row, padded to 8 bytes. Where all rows have one
size a ring's content is an array of equal records, and NumPy strips the framing.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ptraced.layout import TAG_BYTES

_SAMPLE = 9
_HEADER = struct.Struct("<IHH")
_TAG = struct.Struct("<Q")
_FRAMING = 12
# A batch stays below this many bytes, so that messages do too.
_BATCH_BYTES = 512 << 10
# All bits of a header but `misc`, which tells whether user or kernel code was hit.
_FIXED_BITS = 0xFFFF_0000_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one event from one CPU, as Batch.rows wants them."""

    event: int
    count: int
    data: bytes
    first_time: int
    last_time: int


@lru_cache(maxsize=4096)
def _record_type(row_size: int) -> np.dtype[np.void]:
    return np.dtype(
        {
            "names": ["header", "row"],
            "formats": ["<u8", f"V{row_size}"],
            "offsets": [0, _FRAMING],
            "itemsize": record_size(row_size),
        }
    )


def record_size(row_size: int) -> int:
    """Bytes that a row takes in the ring."""
    return (_FRAMING + row_size + 7) & ~7


def equal_records(span: memoryview, row_size: int) -> Iterator[npt.NDArray[np.void]]:
    """The records of a span whose rows all have `row_size` bytes, in runs.

    What interrupts a run is the kernel's own record of a loss, which BPF has
    counted already.
    """
    dtype = _record_type(row_size)
    most = max(1, _BATCH_BYTES // dtype.itemsize)
    expected = np.uint64(_SAMPLE | dtype.itemsize << 48)
    at = 0
    while at < len(span):
        count = min(most, (len(span) - at) // dtype.itemsize)
        records = np.frombuffer(span, dtype, count, at)
        strange = (records["header"] & np.uint64(_FIXED_BITS)) != expected
        run = int(strange.argmax()) if strange.any() else count
        if run:
            yield records[:run]
            at += run * dtype.itemsize
        else:
            at += _HEADER.unpack_from(span, at)[2]


def fixed_rows(span: memoryview, row_size: int) -> Iterator[Rows]:
    """Batches of a ring of one event without dynamic data."""
    for records in equal_records(span, row_size):
        yield _packed(0, records["row"])


def _packed(event: int, rows: npt.NDArray[np.void]) -> Rows:
    data = rows.tobytes()
    (first,) = _TAG.unpack_from(data, 0)
    (last,) = _TAG.unpack_from(data, len(data) - rows.itemsize)
    return Rows(event, len(rows), data, first, last)


def tagged_rows(span: memoryview, row_sizes: list[int], padded: int) -> Iterator[Rows]:
    """Batches of a ring that events share, all of their rows padded to one size.

    `row_sizes` are the events' own sizes; a row starts with its event's number.
    """
    for records in equal_records(span, padded):
        rows = records["row"]
        tags = rows.view(np.dtype({"names": ["tag"], "formats": ["<u8"], "itemsize": padded}))[
            "tag"
        ]
        for event in np.unique(tags):
            own = np.dtype(
                {
                    "names": ["row"],
                    "formats": [f"V{row_sizes[event]}"],
                    "offsets": [TAG_BYTES],
                    "itemsize": padded,
                }
            )
            yield _packed(int(event), rows[tags == event].view(own)["row"])


def walked_rows(span: memoryview, row_sizes: list[int], dynamic: list[bool]) -> Iterator[Rows]:
    """Batches of a ring whose rows differ in size, record by record.

    A ring of one event has no tags.
    """
    tag_bytes = TAG_BYTES if len(row_sizes) > 1 else 0
    at = 0
    while at < len(span):
        gathered: dict[int, _Gathered] = defaultdict(_Gathered)
        stop = min(len(span), at + _BATCH_BYTES)
        while at < stop:
            kind, _, size = _HEADER.unpack_from(span, at)
            if kind == _SAMPLE:
                start = at + _FRAMING
                event = _TAG.unpack_from(span, start)[0] if tag_bytes else 0
                start += tag_bytes
                end = at + size if dynamic[event] else start + row_sizes[event]
                gathered[event].add(span[start:end], dynamic[event])
            at += size
        for event, rows in gathered.items():
            yield rows.batch(event)


class _Gathered:
    """Rows of one event on the way to a batch."""

    def __init__(self) -> None:
        self._pieces: list[memoryview | bytes] = []
        self._times: list[int] = []

    def add(self, row: memoryview, with_length: bool) -> None:
        self._times.append(_TAG.unpack_from(row)[0])
        if with_length:
            self._pieces.append(len(row).to_bytes(4, "little"))
        self._pieces.append(row)

    def batch(self, event: int) -> Rows:
        data = b"".join(self._pieces)
        return Rows(event, len(self._times), data, self._times[0], self._times[-1])
