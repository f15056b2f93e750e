"""Where the members of a sample lie (perf_event_open(2), "PERF_RECORD_SAMPLE").

The members up to the period have the same size in every sample of an event, so their places are
known beforehand; behind them each depends on what precedes it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import EventAttr, ReadFormat, SampleType
from ptrace_client.perf_data.cursor import Cursor, damage
from ptrace_client.perf_data.fixed_members import (
    fixed_maker,
    fixed_members,
    fixed_unpacker,
)
from ptrace_client.perf_data.model import (
    BranchEntry,
    Buffer,
    ReadValue,
    RecordedEvent,
    Sample,
)

_SHORT: Final = (1 << 9) - 1 & ~SampleType.READ | SampleType.RAW | SampleType.IDENTIFIER
_BRANCH_HW_INDEX: Final = 1 << 17
_WEIGHTS: Final = SampleType.WEIGHT | SampleType.WEIGHT_STRUCT


class Layout:
    """The SampleLayout of an event. `where` names the recording in errors."""

    def __init__(self, attr: EventAttr, order: str, where: str) -> None:
        self._attr = attr
        self._type = SampleType(attr.sample_type)
        self._order = order
        self._where = where
        self.event: RecordedEvent | None = None
        self.fixed, self._least = fixed_members(self._type, order)
        self._unpack = fixed_unpacker(self.fixed)
        self._make = fixed_maker(tuple(name for name, _, _ in self.fixed), attr.sample_period)
        self._before_raw: list[Callable[[Cursor, Sample], None]] = []
        self._from_raw: list[Callable[[Cursor, Sample], None]] = []
        self._plan()
        self._has_raw = bool(self._type & SampleType.RAW)
        # Where the u32 with the raw content's size lies, from the record's start; -1 where
        # there is none or where it differs from sample to sample.
        self.raw_place = self._least if self._has_raw and not self._before_raw else -1
        # Whether nothing but a callchain, and nothing but raw data, may follow what is fixed.
        self._short = not self._type & ~_SHORT
        self._has_read = bool(self._type & SampleType.READ)
        self._has_chain = bool(self._type & SampleType.CALLCHAIN)
        self._u64 = struct.Struct(f"{order}Q").unpack_from
        self._u32 = struct.Struct(f"{order}I").unpack_from

    def _plan(self) -> None:
        """Choose the readers of what has no fixed size, in its order."""
        kinds: tuple[tuple[int, Callable[[Cursor, Sample], None]], ...] = (
            (SampleType.READ, self._read),
            (SampleType.CALLCHAIN, self._callchain),
            (SampleType.RAW, self._raw),
            (SampleType.BRANCH_STACK, self._branches),
            (SampleType.REGS_USER, self._user_regs),
            (SampleType.STACK_USER, self._user_stack),
            (_WEIGHTS, self._weight),
            (SampleType.DATA_SRC, self._data_src),
            (SampleType.TRANSACTION, self._transaction),
            (SampleType.REGS_INTR, self._intr_regs),
            (SampleType.PHYS_ADDR, self._phys_addr),
            (SampleType.CGROUP, self._cgroup),
            (SampleType.DATA_PAGE_SIZE, self._data_page_size),
            (SampleType.CODE_PAGE_SIZE, self._code_page_size),
            (SampleType.AUX, self._aux),
        )
        for bits, read in kinds:
            if self._type & bits:
                early = bits in (SampleType.READ, SampleType.CALLCHAIN)
                (self._before_raw if early else self._from_raw).append(read)

    def raw(self, data: Buffer, start: int, end: int) -> tuple[int, int]:
        """Return (offset in `data`, size) of PERF_SAMPLE_RAW's content; (0, 0) without it."""
        if not self._has_raw:
            return 0, 0
        if self.raw_place >= 0:
            return self._raw_at(data, start, start + self.raw_place, end)
        if self._has_read:
            return self._searched_raw(data, start, end)
        return self._raw_at(data, start, self._chain_end(data, start, end), end)

    def _raw_at(self, data: Buffer, start: int, place: int, end: int) -> tuple[int, int]:
        offset = place + 4
        if offset > end:
            raise self._damage(start, "the sample ends in front of its raw data")
        size: int = self._u32(data, place)[0]
        if offset + size > end:
            raise self._damage(start, f"{size} bytes of raw data in a smaller sample")
        return offset, size

    def _chain_end(self, data: Buffer, start: int, end: int) -> int:
        """Return where the callchain ends that follows what is fixed."""
        place = start + self._least + 8
        if place > end:
            raise self._damage(start, "the sample ends in front of its callchain")
        count: int = self._u64(data, place - 8)[0]
        if count > (end - place) // 8:
            raise self._damage(start, f"{count} entries of a callchain in a smaller sample")
        return place + count * 8

    def _searched_raw(self, data: Buffer, start: int, end: int) -> tuple[int, int]:
        cursor = self._cursor(data, start + self._least, end)
        aside = Sample(self._own_event(), 0)
        for read in self._before_raw:
            read(cursor, aside)
        size = cursor.u32()
        return cursor.skip(size), size

    def sample(self, data: Buffer, start: int, end: int, misc: int) -> Sample:
        """Take the record apart. Raise ClientError where it is damaged."""
        if end - start < self._least:
            raise self._damage(start, f"a sample of {end - start} bytes, fewer than it must have")
        sample = self._make(self.event, misc, *self._unpack(data, start))
        if self._short:
            place = start + self._least
            if self._has_chain:
                place = self._chain_end(data, start, end)
                count = (place - start - self._least) // 8 - 1
                sample.callchain = struct.unpack_from(
                    f"{self._order}{count}Q", data, place - count * 8
                )
            if self._has_raw:
                offset, size = self._raw_at(data, start, place, end)
                sample.raw = data[offset : offset + size]
        elif self._before_raw or self._from_raw:
            cursor = self._cursor(data, start + self._least, end)
            for read in self._before_raw:
                read(cursor, sample)
            for read in self._from_raw:
                read(cursor, sample)
        return sample

    def _cursor(self, data: Buffer, start: int, end: int) -> Cursor:
        return Cursor(data, start, end, self._order, f"{self._where}: sample")

    def _damage(self, start: int, what: str) -> ClientError:
        return damage(f"{self._where}: sample", start, what)

    def _own_event(self) -> RecordedEvent:
        if self.event is None:
            raise AssertionError("a layout belongs to an event")
        return self.event

    def _read(self, cursor: Cursor, sample: Sample) -> None:
        kinds = self._attr.read_format
        group = bool(kinds & ReadFormat.GROUP)
        first = cursor.u64()
        if kinds & ReadFormat.TOTAL_TIME_ENABLED:
            sample.time_enabled = cursor.u64()
        if kinds & ReadFormat.TOTAL_TIME_RUNNING:
            sample.time_running = cursor.u64()
        lost = bool(kinds & ReadFormat.LOST)
        if not group:
            sample.values = (ReadValue(cursor.u64(), first, cursor.u64() if lost else None),)
            return
        numbers = cursor.u64s(self._count(cursor, first, 24 if lost else 16) * (3 if lost else 2))
        if lost:
            parts = zip(numbers[1::3], numbers[::3], numbers[2::3], strict=True)
            sample.values = tuple(ReadValue(*part) for part in parts)
        else:
            pairs = zip(numbers[1::2], numbers[::2], strict=True)
            sample.values = tuple(ReadValue(id, value, None) for id, value in pairs)

    @staticmethod
    def _count(cursor: Cursor, count: int, size: int) -> int:
        if count * size > cursor.left:
            raise cursor.fail(f"{count} entries of {size} bytes, {cursor.left} bytes are left")
        return count

    def _callchain(self, cursor: Cursor, sample: Sample) -> None:
        sample.callchain = cursor.u64s(self._count(cursor, cursor.u64(), 8))

    @staticmethod
    def _raw(cursor: Cursor, sample: Sample) -> None:
        sample.raw = cursor.take(cursor.u32())

    def _branches(self, cursor: Cursor, sample: Sample) -> None:
        count = cursor.u64()
        if self._attr.branch_sample_type & _BRANCH_HW_INDEX:
            cursor.u64()
        numbers = iter(cursor.u64s(self._count(cursor, count, 24) * 3))
        swapped = self._order == ">"
        sample.branches = tuple(
            BranchEntry(source, target, _branch_flags(flags) if swapped else flags)
            for source, target, flags in zip(numbers, numbers, numbers, strict=True)
        )

    @staticmethod
    def _regs(cursor: Cursor, mask: int) -> tuple[int, tuple[int, ...]]:
        abi = cursor.u64()
        return abi, cursor.u64s(mask.bit_count()) if abi else ()

    def _user_regs(self, cursor: Cursor, sample: Sample) -> None:
        sample.user_regs = self._regs(cursor, self._attr.sample_regs_user)

    def _intr_regs(self, cursor: Cursor, sample: Sample) -> None:
        sample.intr_regs = self._regs(cursor, self._attr.sample_regs_intr)

    @staticmethod
    def _user_stack(cursor: Cursor, sample: Sample) -> None:
        size = cursor.u64()
        if not size:
            return
        copied = cursor.take(size)
        filled = cursor.u64()
        if filled > size:
            raise cursor.fail(f"{filled} bytes of stack in {size}")
        sample.user_stack = copied[:filled]

    def _weight(self, cursor: Cursor, sample: Sample) -> None:
        weight = cursor.u64()
        if self._type & SampleType.WEIGHT:
            sample.weight = weight
        else:
            # union perf_sample_weight: a u32 and two u16, the u32 being the low half.
            sample.weight, sample.ins_lat = weight & 0xFFFFFFFF, weight >> 32 & 0xFFFF

    @staticmethod
    def _data_src(cursor: Cursor, sample: Sample) -> None:
        sample.data_src = cursor.u64()

    @staticmethod
    def _transaction(cursor: Cursor, sample: Sample) -> None:
        sample.transaction = cursor.u64()

    @staticmethod
    def _phys_addr(cursor: Cursor, sample: Sample) -> None:
        sample.phys_addr = cursor.u64()

    @staticmethod
    def _cgroup(cursor: Cursor, sample: Sample) -> None:
        sample.cgroup = cursor.u64()

    @staticmethod
    def _data_page_size(cursor: Cursor, sample: Sample) -> None:
        sample.data_page_size = cursor.u64()

    @staticmethod
    def _code_page_size(cursor: Cursor, sample: Sample) -> None:
        sample.code_page_size = cursor.u64()

    @staticmethod
    def _aux(cursor: Cursor, sample: Sample) -> None:
        sample.aux = cursor.take(cursor.u64())


def _branch_flags(flags: int) -> int:
    """Return a big-endian machine's bit field as a little-endian one has it.

    mispred, predicted, in_tx, abort: 1 bit each; cycles: 16; type: 4; from the top.
    """
    turned, place = 0, 0
    for width in (1, 1, 1, 1, 16, 4, 40):
        turned |= (flags >> 64 - place - width & (1 << width) - 1) << place
        place += width
    return turned
