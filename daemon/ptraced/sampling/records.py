"""From the records of a sampling event's ring to the packed rows of batches.

Where all samples have one size a ring's content is an array of equal records, and NumPy
makes rows of all of them at once; otherwise they are taken apart one by one.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Protocol

import numpy as np

from ptrace_formats.members import CALLCHAIN_COLUMN, DYNAMIC
from ptraced.rows import Rows
from ptraced.sampling.callchain import split_chain
from ptraced.sampling.equal import CODES, EqualSamples
from ptraced.sampling.layout import SampleFormat
from ptraced.sampling.masking import masked
from ptraced.sampling.shape import MalformedSampleError, Parser
from ptraced.stacks import Stack

_log = logging.getLogger(__name__)
_LOST, _THROTTLE, _SAMPLE = 2, 5, 9
_HEADER = struct.Struct("<IHH")
_LENGTH = struct.Struct("<I")
# PERF_RECORD_LOST: header, id, count.
_LOST_COUNT = struct.Struct("<16xQ")
# A batch stays below this many bytes, so that messages do too.
_BATCH_BYTES = 512 << 10
# All bits of a header but `misc`, which tells whether user or kernel code was hit.
_FIXED_BITS = np.uint64(0xFFFF_0000_FFFF_FFFF)
# The size of a record has 16 bits, and is a multiple of 8.
_RECORD_BYTES_MAX = (1 << 16) - 8


class Stacks(Protocol):
    """Numbers stacks, see stacks.py."""

    def intern(self, tgid: int, kernel: bytes, user: bytes, time: int) -> int: ...

    def by_number(self, ids: set[int]) -> tuple[Stack, ...]: ...


@dataclass(slots=True)
class Told:
    """What else the records of a ring have told: counts that only grow.

    `lost` is what the kernel has said of samples that it had no room for; `malformed` are
    samples that could not be read, `throttled` pauses since there were too many.
    """

    lost: int = 0
    malformed: int = 0
    throttled: int = 0


class SampleRows:
    """Makes rows of the samples of one event."""

    def __init__(self, format: SampleFormat, stacks: Stacks) -> None:
        self._format = format
        self._stacks = stacks
        self._parser = Parser(format.shape)
        self._equal = EqualSamples(format) if format.shape.is_fixed() else None
        self._columns = format.layout.columns
        self._masked = format.masked
        codes = ("II" if c.kind in DYNAMIC else CODES[c.kind][c.size] for c in self._columns)
        self._head = struct.Struct(f"<{''.join(codes)}")
        # Of rows that are made of numbers alone.
        plain = all(c.kind not in DYNAMIC and c.name != "_comm" for c in self._columns)
        names = [column.name for column in self._columns]
        self._numbers_of = itemgetter(*names) if plain and len(names) > 1 else None
        self._complained = False

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sample in the ring at most."""
        return self._equal.record.itemsize if self._equal else _RECORD_BYTES_MAX

    def rows(self, span: memoryview, told: Told) -> Iterator[Rows]:
        """Batches of what a ring held; what its other records say is added to `told`."""
        if self._equal:
            return self._at_once(self._equal, span, told)
        return self._walked(span, told)

    def _at_once(self, equal: EqualSamples, span: memoryview, told: Told) -> Iterator[Rows]:
        dtype = equal.record
        most = max(1, _BATCH_BYTES // dtype.itemsize)
        expected = np.uint64(_SAMPLE | dtype.itemsize << 48)
        at = 0
        while at < len(span):
            run = 0
            count = min(most, (len(span) - at) // dtype.itemsize)
            if count:
                records = np.frombuffer(span, dtype, count, at)
                strange = (records["header"] & _FIXED_BITS) != expected
                run = int(strange.argmax()) if strange.any() else count
            if run:
                yield equal.rows(records[:run])
                at += run * dtype.itemsize
            else:
                kind, size = _header(span, at)
                if kind == _SAMPLE:
                    self._complain(told, f"a sample of {size} bytes, not {dtype.itemsize}")
                else:
                    _take_note(kind, span, at, told)
                at += size

    def _walked(self, span: memoryview, told: Told) -> Iterator[Rows]:
        at = 0
        # Stacks repeat; what is numbered here is not forgotten before the ring is done.
        known: dict[tuple[int, bytes], int] = {}
        while at < len(span):
            batch = _Batch()
            while at < len(span) and batch.size < _BATCH_BYTES:
                kind, size = _header(span, at)
                if kind == _SAMPLE:
                    try:
                        self._add(span[at + _HEADER.size : at + size], batch, known)
                    except MalformedSampleError as error:
                        self._complain(told, str(error))
                else:
                    _take_note(kind, span, at, told)
                at += size
            if batch.times:
                yield batch.rows(self._stacks)

    def _add(self, body: memoryview, batch: _Batch, known: dict[tuple[int, bytes], int]) -> None:
        values = self._parser.parse(body)
        values.update(self._format.constants)
        for name in self._masked:
            values[name] = masked(values[name])
        time = values["_time"]
        assert isinstance(time, int)
        number = 0
        chain = values.get(CALLCHAIN_COLUMN)
        if isinstance(chain, bytes):
            process = values.get("_pid", 0)
            assert isinstance(process, int)
            number = known.get((process, chain)) or self._number(process, chain, time)
            known[process, chain] = values[CALLCHAIN_COLUMN] = number
        batch.add(time, self._row_of(values), number)

    def _row_of(self, values: dict[str, int | bytes]) -> bytes:
        """One row, its length before it where rows have dynamic data."""
        if self._numbers_of:
            return self._head.pack(*self._numbers_of(values))
        words: list[int | bytes] = []
        tail: list[bytes] = []
        end = self._format.layout.row_size
        for column in self._columns:
            if column.kind in DYNAMIC:
                data = values[column.name]
                assert isinstance(data, bytes)
                words += (end, len(data))
                tail.append(data)
                end += len(data)
            elif column.name == "_comm":
                tid = values["_tid"]
                assert isinstance(tid, int)
                words.append(self._format.comm_of(tid))
            else:
                words.append(values[column.name])
        row = self._head.pack(*words) + b"".join(tail)
        return _LENGTH.pack(end) + row if self._format.layout.has_dynamic else row

    def _number(self, process: int, chain: bytes, time: int) -> int:
        kernel, user = split_chain(chain)
        most_kernel, most_user = self._format.depth
        # Of tasks that are gone the kernel no longer knows the process: -1.
        return self._stacks.intern(
            max(process, 0), kernel[: 8 * most_kernel], user[: 8 * most_user], time
        )

    def _complain(self, told: Told, problem: str) -> None:
        told.malformed += 1
        if not self._complained:
            self._complained = True
            _log.warning("a sample cannot be read: %s", problem)


class _Batch:
    """Rows on the way to a batch."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.size = 0
        self._pieces: list[bytes] = []
        self._numbers: set[int] = set()

    def add(self, time: int, row: bytes, stack: int) -> None:
        self.times.append(time)
        self._pieces.append(row)
        self.size += len(row)
        self._numbers.add(stack)

    def rows(self, stacks: Stacks) -> Rows:
        return Rows(
            0,
            len(self.times),
            b"".join(self._pieces),
            self.times[0],
            self.times[-1],
            stacks.by_number(self._numbers),
        )


def _header(span: memoryview, at: int) -> tuple[int, int]:
    """Type and size in bytes of a record; one that cannot be is all that is left."""
    left = len(span) - at
    if left < _HEADER.size:
        return 0, left
    kind, _, size = _HEADER.unpack_from(span, at)
    return (kind, size) if _HEADER.size <= size <= left else (0, left)


def _take_note(kind: int, span: memoryview, at: int, told: Told) -> None:
    if kind == _LOST:
        told.lost += _LOST_COUNT.unpack_from(span, at)[0]
    elif kind == _THROTTLE:
        told.throttled += 1
