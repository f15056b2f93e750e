"""The layout of PERF_RECORD_SAMPLE: what follows what, as attr says.

See perf_event_open(2), "PERF_RECORD_SAMPLE"; the order is that of perf_output_sample() in
kernel/events/core.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ptrace_formats import members as m

# PERF_FORMAT_* of read_format.
TOTAL_TIME_ENABLED, TOTAL_TIME_RUNNING, FORMAT_ID, GROUP, FORMAT_LOST = 1, 2, 4, 8, 16

# Columns and how they are packed; "x" is padding.
_FIXED = {
    m.IDENTIFIER: (("identifier",), "Q"),
    m.IP: (("ip",), "Q"),
    m.TID: (("_pid", "_tid"), "ii"),
    m.TIME: (("_time",), "Q"),
    m.ADDR: (("addr",), "Q"),
    m.ID: (("id",), "Q"),
    m.STREAM_ID: (("stream_id",), "Q"),
    m.CPU: (("cpu",), "I4x"),
    m.PERIOD: (("period",), "Q"),
    m.WEIGHT: (("weight",), "Q"),
    m.WEIGHT_STRUCT: (("weight", "ins_lat", "p_stage_cyc"), "IHH"),
    m.DATA_SRC: (("data_src",), "Q"),
    m.TRANSACTION: (("transaction",), "Q"),
    m.PHYS_ADDR: (("phys_addr",), "Q"),
    m.CGROUP: (("cgroup",), "Q"),
    m.DATA_PAGE_SIZE: (("data_page_size",), "Q"),
    m.CODE_PAGE_SIZE: (("code_page_size",), "Q"),
}
_ORDER = (
    *(m.IDENTIFIER, m.IP, m.TID, m.TIME, m.ADDR, m.ID, m.STREAM_ID, m.CPU, m.PERIOD),
    *(m.READ, m.CALLCHAIN, m.RAW, m.BRANCH_STACK, m.REGS_USER, m.STACK_USER),
    *(m.WEIGHT, m.WEIGHT_STRUCT, m.DATA_SRC, m.TRANSACTION, m.REGS_INTR, m.PHYS_ADDR),
    *(m.CGROUP, m.DATA_PAGE_SIZE, m.CODE_PAGE_SIZE, m.AUX),
)
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_BRANCH_BYTES = 24

# What a sample holds, by column: numbers, and the bytes of those that vary in size.
Values = dict[str, int | bytes]


class MalformedSampleError(Exception):
    """A record says that it holds more than it does; the kernel makes no such ones."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the layout of an event's samples; see struct perf_event_attr.

    Registers are counted; `branch_index` stands for PERF_SAMPLE_BRANCH_HW_INDEX.
    """

    sample_type: int
    read_format: int = 0
    user_registers: int = 0
    interrupt_registers: int = 0
    branch_index: bool = False

    @property
    def read_bytes(self) -> int:
        """Size of the counter's values where it counts alone; GROUP has as many as it says."""
        extra = (TOTAL_TIME_ENABLED, TOTAL_TIME_RUNNING, FORMAT_ID, FORMAT_LOST)
        return 8 + 8 * sum(bool(self.read_format & bit) for bit in extra)

    @property
    def lost_at(self) -> int:
        """Where read(2) of the event has the count of lost samples, in bytes; -1 if nowhere."""
        format = self.read_format
        if not format & FORMAT_LOST:
            return -1
        # The event leads its group, and its values come first.
        return self.read_bytes - 8 + (8 if format & GROUP else 0)

    def parts(self) -> Iterator[tuple[int, tuple[str, ...], str]]:
        """Bit, columns and packing of each part, in order; packing is "" where sizes differ."""
        for bit in _ORDER:
            if not self.sample_type & bit:
                continue
            if bit in _FIXED:
                yield bit, *_FIXED[bit]
            elif bit == m.READ and not self.read_format & GROUP:
                yield bit, ("read",), f"{self.read_bytes}s"
            else:
                yield bit, (), ""

    def is_fixed(self) -> bool:
        """Whether all samples have one size."""
        return all(packing for _, _, packing in self.parts())


class Parser:
    """Takes samples of one shape apart, one by one."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._steps = list(self._make_steps())

    def parse(self, body: memoryview) -> Values:
        """What a sample holds; `body` is the record without its header.

        Raises MalformedSampleError.
        """
        values: Values = {}
        at = 0
        try:
            for step in self._steps:
                at = step(body, at, values)
        except struct.error:
            raise MalformedSampleError(f"a sample ends within a member, at byte {at}") from None
        return values

    def _make_steps(self) -> Iterator[Callable[[memoryview, int, Values], int]]:
        varying: dict[int, Callable[[memoryview, int, Values], int]] = {
            m.READ: self._read_group,
            m.CALLCHAIN: self._callchain,
            m.RAW: self._raw,
            m.BRANCH_STACK: self._branches,
            m.REGS_USER: self._registers("regs_user", self._shape.user_registers),
            m.REGS_INTR: self._registers("regs_intr", self._shape.interrupt_registers),
            m.STACK_USER: self._user_stack,
            m.AUX: self._aux,
        }
        names: list[str] = []
        packing = "<"
        for bit, columns, format in self._shape.parts():
            if format:
                names += columns
                packing += format
                continue
            if names:
                yield _fixed_step(tuple(names), struct.Struct(packing))
                names, packing = [], "<"
            yield varying[bit]
        if names:
            yield _fixed_step(tuple(names), struct.Struct(packing))

    def _read_group(self, body: memoryview, at: int, values: Values) -> int:
        format = self._shape.read_format
        (count,) = _U64.unpack_from(body, at)
        times = bool(format & TOTAL_TIME_ENABLED) + bool(format & TOTAL_TIME_RUNNING)
        each = 1 + bool(format & FORMAT_ID) + bool(format & FORMAT_LOST)
        return _take(body, at, 8 * (1 + times + count * each), "read", values)

    def _callchain(self, body: memoryview, at: int, values: Values) -> int:
        (count,) = _U64.unpack_from(body, at)
        return _take(body, at + 8, 8 * count, m.CALLCHAIN_COLUMN, values)

    def _raw(self, body: memoryview, at: int, values: Values) -> int:
        # The size makes the next member stand on a multiple of 8.
        (size,) = _U32.unpack_from(body, at)
        return _take(body, at + 4, size, "raw", values)

    def _branches(self, body: memoryview, at: int, values: Values) -> int:
        (count,) = _U64.unpack_from(body, at)
        at += 16 if self._shape.branch_index else 8
        return _take(body, at, _BRANCH_BYTES * count, "branch_stack", values)

    def _registers(self, name: str, count: int) -> Callable[[memoryview, int, Values], int]:
        def step(body: memoryview, at: int, values: Values) -> int:
            (abi,) = _U64.unpack_from(body, at)
            return _take(body, at, 8 * (1 + count) if abi else 8, name, values)

        return step

    def _user_stack(self, body: memoryview, at: int, values: Values) -> int:
        (size,) = _U64.unpack_from(body, at)
        if not size:
            values["stack_user"] = b""
            return at + 8
        end = _take(body, at + 8, size, "stack_user", values)
        # What was really copied.
        (used,) = _U64.unpack_from(body, end)
        values["stack_user"] = bytes(body[at + 8 : at + 8 + min(size, used)])
        return end + 8

    def _aux(self, body: memoryview, at: int, values: Values) -> int:
        (size,) = _U64.unpack_from(body, at)
        return _take(body, at + 8, size, "aux", values)


def _fixed_step(
    names: tuple[str, ...], packed: struct.Struct
) -> Callable[[memoryview, int, Values], int]:
    def step(body: memoryview, at: int, values: Values) -> int:
        values.update(zip(names, packed.unpack_from(body, at), strict=True))
        return at + packed.size

    return step


def _take(body: memoryview, at: int, size: int, name: str, values: Values) -> int:
    if at + size > len(body):
        raise MalformedSampleError(
            f"'{name}' has {size} bytes in a sample that has {len(body) - at} left"
        )
    values[name] = bytes(body[at : at + size])
    return at + size
