"""From the records of a ring to the packed rows of batches.

A record is a struct perf_event_header (u32 type, u16 misc, u16 size), a u32 with
the length of what follows, and the row, padded to 8 bytes. Where all rows have one
size a ring's content is an array of equal records, and NumPy strips the framing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ptraced.layout import TAG_BYTES, RowLayout
from ptraced.stacks import HEAD, Stack

_SAMPLE = 9
_HEADER = struct.Struct("<IHH")
_TAG = struct.Struct("<Q")
_PLACE = struct.Struct("<I")
_FRAMING = 12
# A batch stays below this many bytes, so that messages do too.
_BATCH_BYTES = 512 << 10
# All bits of a header but `misc`, which tells whether user or kernel code was hit.
_FIXED_BITS = 0xFFFF_0000_FFFF_FFFF


class Stacks(Protocol):
    """Numbers stacks, see stacks.py."""

    def number(self, key: bytes, time: int) -> int: ...

    def by_number(self, ids: Iterable[int]) -> tuple[Stack, ...]: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one event from one CPU, as Batch.rows wants them, and the stacks they refer to."""

    event: int
    count: int
    data: bytes
    first_time: int
    last_time: int
    stacks: tuple[Stack, ...] = ()


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


def walked_rows(span: memoryview, layouts: Sequence[RowLayout], stacks: Stacks) -> Iterator[Rows]:
    """Batches of a ring whose rows differ in size, record by record.

    A ring of one event has no tags. Stacks behind the rows are interned.
    """
    tagged = len(layouts) > 1
    at = 0
    while at < len(span):
        gathered: dict[int, _Gathered] = {}
        stop = min(len(span), at + _BATCH_BYTES)
        while at < stop:
            kind, _, size = _HEADER.unpack_from(span, at)
            if kind == _SAMPLE:
                start = at + _FRAMING
                event = 0
                if tagged:
                    (event,) = _TAG.unpack_from(span, start)
                    start += TAG_BYTES
                if event not in gathered:
                    gathered[event] = _Gathered(layouts[event], stacks)
                gathered[event].add(span, start, at + size)
            at += size
        for event, rows in gathered.items():
            yield rows.batch(event)


class _Gathered:
    """Rows of one event on the way to a batch."""

    def __init__(self, layout: RowLayout, stacks: Stacks) -> None:
        self._times: list[int] = []
        self._pieces: list[memoryview | bytes] = []
        self._size = layout.row_size
        self._with_length = layout.has_dynamic
        self._stack_at = layout.stack.offset if layout.stack else -1
        self._stacks = stacks
        self._numbers: list[int] = []

    def add(self, span: memoryview, start: int, end: int) -> None:
        """Take the row at span[start:], which ends before `end`."""
        (time,) = _TAG.unpack_from(span, start)
        self._times.append(time)
        if self._stack_at >= 0:
            end = self._take_stack(span, start, time)
        elif not self._with_length:
            end = start + self._size
        if self._with_length:
            self._pieces.append(_PLACE.pack(end - start))
        self._pieces.append(span[start:end])

    def _take_stack(self, span: memoryview, start: int, time: int) -> int:
        """Intern the stack behind a row; returns where it begins and the row ends."""
        place: int = start + _PLACE.unpack_from(span, start + self._stack_at)[0]
        _, kernel, user = HEAD.unpack_from(span, place)
        key = bytes(span[place : place + HEAD.size + kernel + user])
        number = self._stacks.number(key, time)
        # The buffer is ours until it is filled anew.
        _PLACE.pack_into(span, start + self._stack_at, number)
        self._numbers.append(number)
        return place

    def batch(self, event: int) -> Rows:
        return Rows(
            event,
            len(self._times),
            b"".join(self._pieces),
            self._times[0],
            self._times[-1],
            self._stacks.by_number(dict.fromkeys(self._numbers)),
        )
