"""struct perf_event_attr of events that are written: all with one layout of identification.

What reads a file finds the event of any record before it knows the event: samples begin with
their id (PERF_SAMPLE_IDENTIFIER), other records end with it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ptrace_client.perf_data.attr import (
    ATTR_SIZE,
    FLAG_SAMPLE_ID_ALL,
    FLAG_USE_CLOCKID,
    EventKind,
    SampleType,
)

# What every event has; the trailers of other records have the same but IP and PERIOD.
COMMON_TYPE: Final = (
    SampleType.IDENTIFIER
    | SampleType.IP
    | SampleType.TID
    | SampleType.TIME
    | SampleType.CPU
    | SampleType.PERIOD
)
# Bits of attr.flags: what perf has its first event tell of tasks, and frequencies.
_FREQ: Final = 1 << 10
_TASKS: Final = 1 << 8 | 1 << 9 | 1 << 13 | 1 << 23 | 1 << 24
_CLOCK_MONOTONIC: Final = 1
_ATTR: Final = struct.Struct("<IIQQQQQIIQQQQIiQIHHIIQ")


@dataclass(frozen=True, slots=True)
class WrittenEvent:
    """An event of a file: its name as perf shows it, its attr, and the ids of its samples."""

    name: str
    attr: bytes
    ids: tuple[int, ...]


def encode_attr(
    kind: int,
    config: int,
    sample_type: int,
    *,
    period: int = 0,
    frequency: int = 0,
    flags: int = 0,
    bp_type: int = 0,
    config1: int = 0,
    config2: int = 0,
    tells_tasks: bool = False,
) -> bytes:
    """Return the ATTR_SIZE bytes of an attr, its times of CLOCK_MONOTONIC.

    `period` is in occurrences or `frequency` in Hz. With `tells_tasks` the event is the one that
    brought the records of tasks.
    """
    flags |= FLAG_SAMPLE_ID_ALL | FLAG_USE_CLOCKID
    flags |= _FREQ if frequency else 0
    flags |= _TASKS if tells_tasks else 0
    return _ATTR.pack(
        kind,
        ATTR_SIZE,
        config,
        frequency or period,
        COMMON_TYPE | sample_type,
        0,
        flags,
        0,
        bp_type,
        config1,
        config2,
        *(0, 0, 0, _CLOCK_MONOTONIC),
        *(0, 0, 0, 0, 0, 0, 0),
    )


def tracepoint_attr(id: int, sample_type: int = 0, *, tells_tasks: bool = False) -> bytes:
    """Return the attr of a tracepoint with this id in tracefs; its samples have the raw record."""
    sample_type |= SampleType.RAW
    return encode_attr(EventKind.TRACEPOINT, id, sample_type, period=1, tells_tasks=tells_tasks)
