"""struct perf_event_attr, the description of an event in a recording.

Its members, and the bits of theirs that are named here, are those of perf_event_open(2) and
include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import enum
import struct
import sys
from dataclasses import dataclass
from typing import Final


class EventKind(enum.IntEnum):
    """attr.type."""

    HARDWARE = 0
    SOFTWARE = 1
    TRACEPOINT = 2
    HW_CACHE = 3
    RAW = 4
    BREAKPOINT = 5


class SampleType(enum.IntFlag):
    """attr.sample_type: what a sample consists of."""

    IP = 1 << 0
    TID = 1 << 1
    TIME = 1 << 2
    ADDR = 1 << 3
    READ = 1 << 4
    CALLCHAIN = 1 << 5
    ID = 1 << 6
    CPU = 1 << 7
    PERIOD = 1 << 8
    STREAM_ID = 1 << 9
    RAW = 1 << 10
    BRANCH_STACK = 1 << 11
    REGS_USER = 1 << 12
    STACK_USER = 1 << 13
    WEIGHT = 1 << 14
    DATA_SRC = 1 << 15
    IDENTIFIER = 1 << 16
    TRANSACTION = 1 << 17
    REGS_INTR = 1 << 18
    PHYS_ADDR = 1 << 19
    AUX = 1 << 20
    CGROUP = 1 << 21
    DATA_PAGE_SIZE = 1 << 22
    CODE_PAGE_SIZE = 1 << 23
    WEIGHT_STRUCT = 1 << 24


class ReadFormat(enum.IntEnum):
    """Bits of attr.read_format: what PERF_SAMPLE_READ consists of."""

    TOTAL_TIME_ENABLED = 1 << 0
    TOTAL_TIME_RUNNING = 1 << 1
    ID = 1 << 2
    GROUP = 1 << 3
    LOST = 1 << 4


# Bits of attr.flags, the bit field behind read_format.
FLAG_SAMPLE_ID_ALL: Final = 1 << 18
FLAG_COMM_EXEC: Final = 1 << 24
FLAG_USE_CLOCKID: Final = 1 << 25
# Bytes of the newest struct that is known here (PERF_ATTR_SIZE_VER7).
ATTR_SIZE: Final = 128


@dataclass(frozen=True, slots=True)
class EventAttr:
    """The attr of one event. `flags` is the whole bit field as a number.

    `raw` is the struct itself in this machine's byte order, ATTR_SIZE bytes, zeros for what
    the recording's perf did not know: what scripts get as param_dict["attr"].
    """

    type: int
    config: int
    sample_period: int
    sample_type: int
    read_format: int
    flags: int
    bp_type: int
    config1: int
    config2: int
    branch_sample_type: int
    sample_regs_user: int
    sample_stack_user: int
    clockid: int
    sample_regs_intr: int
    raw: bytes

    @property
    def sample_id_all(self) -> bool:
        """Whether records other than samples end with a sample_id."""
        return bool(self.flags & FLAG_SAMPLE_ID_ALL)


# type, size, config, period, sample_type, read_format, flags, wakeup, bp_type, config1, config2,
# branch_sample_type, regs_user, stack_user, clockid, regs_intr, aux_watermark, max_stack,
# reserved, aux_sample_size, reserved, sig_data.
_STRUCT: Final = "IIQQQQQIIQQQQIiQIHHIIQ"
_FLAGS_INDEX: Final = 6
# PERF_ATTR_SIZE_VER0; perf takes a size of 0 for it.
LEAST_ATTR_SIZE: Final = 64
# The only member of the bit field with more than one bit: precise_ip.
_PRECISE: Final = 15


def attr_size(data: bytes, order: str) -> int:
    """Return the size that an attr, of which `data` is the start, tells of itself."""
    size: int = struct.unpack_from(f"{order}I", data, 4)[0]
    return size or LEAST_ATTR_SIZE


def parse_attr(data: bytes, order: str) -> EventAttr:
    """Read an attr of any size; what it lacks is 0, what is newer than ATTR_SIZE is left out."""
    members = list(struct.unpack(order + _STRUCT, data[:ATTR_SIZE].ljust(ATTR_SIZE, b"\0")))
    flags = members[_FLAGS_INDEX]
    if order == ">":
        flags = mirrored(flags)
    members[_FLAGS_INDEX] = mirrored(flags) if sys.byteorder == "big" else flags
    return EventAttr(
        type=members[0],
        config=members[2],
        sample_period=members[3],
        sample_type=members[4],
        read_format=members[5],
        flags=flags,
        bp_type=members[8],
        config1=members[9],
        config2=members[10],
        branch_sample_type=members[11],
        sample_regs_user=members[12],
        sample_stack_user=members[13],
        clockid=members[14],
        sample_regs_intr=members[15],
        raw=struct.pack("=" + _STRUCT, *members),
    )


def mirrored(flags: int) -> int:
    """Turn the bit field between big-endian machines, where C starts at the top, and others."""
    turned = int(f"{flags:064b}"[::-1], 2)
    # Either way round, the two bits of precise_ip are a number and keep their order.
    for place in (_PRECISE, 62 - _PRECISE):
        low, high = turned >> place & 1, turned >> place + 1 & 1
        turned = turned & ~(3 << place) | (high | low << 1) << place
    return turned
