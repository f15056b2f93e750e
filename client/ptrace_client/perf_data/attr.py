"""struct perf_event_attr, the description of an event in a recording.

Its members, and the bits of theirs that are named here, are those of perf_event_open(2) and
include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import enum
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


class ReadFormat(enum.IntFlag):
    """attr.read_format: what PERF_SAMPLE_READ consists of."""

    TOTAL_TIME_ENABLED = 1 << 0
    TOTAL_TIME_RUNNING = 1 << 1
    ID = 1 << 2
    GROUP = 1 << 3
    LOST = 1 << 4


# Bits of attr.flags, the bit field behind read_format.
FLAG_SAMPLE_ID_ALL: Final = 1 << 18
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
