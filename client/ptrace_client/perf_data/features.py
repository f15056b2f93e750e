"""The feature sections: what perf noted of the host, of itself and of the events.

Layouts: tools/perf/Documentation/perf.data-file-format.txt.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, NamedTuple

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import EventAttr, parse_attr
from ptrace_client.perf_data.cursor import BYTE_ORDERS, Cursor
from ptrace_client.perf_data.model import Features


class Feature(enum.IntEnum):
    """Bits of the header's bitmap that are taken apart, written, or refused."""

    TRACING_DATA = 1
    BUILD_ID = 2
    HOSTNAME = 3
    OSRELEASE = 4
    VERSION = 5
    ARCH = 6
    NRCPUS = 7
    CPUDESC = 8
    CPUID = 9
    TOTAL_MEM = 10
    CMDLINE = 11
    EVENT_DESC = 12
    STAT = 19
    SAMPLE_TIME = 21
    CLOCKID = 23
    DIR_FORMAT = 24
    COMPRESSED = 27
    CLOCK_DATA = 29


class DescribedEvent(NamedTuple):
    """An event as EVENT_DESC has it."""

    name: str
    attr: EventAttr
    # The first of its ids, None where it has none.
    id: int | None


def _count(cursor: Cursor, least: int) -> int:
    """Return a number of things of at least `least` bytes each."""
    count = cursor.u32()
    if count * least > cursor.left:
        raise cursor.fail(f"{count} entries are to follow, {cursor.left} bytes are left")
    return count


def event_descriptions(cursor: Cursor, order: str) -> list[DescribedEvent]:
    """Read EVENT_DESC."""
    count, size = _count(cursor, 8), cursor.u32()
    if count > _MOST_EVENTS:
        raise cursor.fail(f"{count} events")
    described = []
    for _ in range(count):
        attr = parse_attr(cursor.take(size), order)
        ids = cursor.u32()
        name, first = cursor.text(), cursor.position
        cursor.skip(ids * 8)
        id = int.from_bytes(cursor.data[first : first + 8], BYTE_ORDERS[order]) if ids else None
        described.append(DescribedEvent(name, attr, id))
    return described


def _hostname(cursor: Cursor, features: Features) -> None:
    features.hostname = cursor.text()


def _osrelease(cursor: Cursor, features: Features) -> None:
    features.os_release = cursor.text()


def _perf_version(cursor: Cursor, features: Features) -> None:
    features.version = cursor.text()


def _arch(cursor: Cursor, features: Features) -> None:
    features.arch = cursor.text()


def _cpus(cursor: Cursor, features: Features) -> None:
    features.cpus_available = cursor.u32()
    features.cpus_online = cursor.u32()


def _cpu_description(cursor: Cursor, features: Features) -> None:
    features.cpu_description = cursor.text()


def _cpuid(cursor: Cursor, features: Features) -> None:
    features.cpuid = cursor.text()


def _memory(cursor: Cursor, features: Features) -> None:
    features.total_memory = cursor.u64()


def _command_line(cursor: Cursor, features: Features) -> None:
    features.command_line = [cursor.text() for _ in range(_count(cursor, 4))]


def _sample_time(cursor: Cursor, features: Features) -> None:
    features.sample_time = (cursor.u64(), cursor.u64())


def _clock_data(cursor: Cursor, features: Features) -> None:
    if cursor.u32() == 1:
        features.clock_data = (cursor.u32(), cursor.u64(), cursor.u64())


_READERS: dict[int, Callable[[Cursor, Features], None]] = {
    Feature.HOSTNAME: _hostname,
    Feature.OSRELEASE: _osrelease,
    Feature.VERSION: _perf_version,
    Feature.ARCH: _arch,
    Feature.NRCPUS: _cpus,
    Feature.CPUDESC: _cpu_description,
    Feature.CPUID: _cpuid,
    Feature.TOTAL_MEM: _memory,
    Feature.CMDLINE: _command_line,
    Feature.SAMPLE_TIME: _sample_time,
    Feature.CLOCK_DATA: _clock_data,
}
# Bytes of sections that are kept without being taken apart, of all together.
_MOST_KEPT: Final = 64 << 20
# Files that were mapped, and events.
_MOST_BUILD_IDS: Final = 1 << 18
_MOST_EVENTS: Final = 1 << 14


def read_feature(feature: int, cursor: Cursor, features: Features) -> None:
    """Take in the section of a feature; those that have no reader are kept as they are."""
    read = _READERS.get(feature)
    if read is not None:
        read(cursor, features)
    elif feature == Feature.DIR_FORMAT:
        raise ClientError(
            f"{cursor.where}: this is the header of a directory of recordings (perf record "
            "--threads), which is not read; record without --threads"
        )
    else:
        kept = sum(map(len, features.other.values()))
        features.other[feature] = cursor.take(min(cursor.left, _MOST_KEPT - kept))


# PERF_RECORD_MISC_BUILD_ID_SIZE: the entry tells how many bytes its build id has.
_SIZE_KNOWN = 1 << 15
# Bytes in front of the path: header, pid, build id.
_BUILD_ID_ENTRY = 36


def read_build_ids(cursor: Cursor, order: str, features: Features) -> None:
    """Take in the entries of BUILD_ID: each is a record of its own."""
    while cursor.left >= _BUILD_ID_ENTRY:
        cursor.skip(4)
        packed = cursor.take(4)
        misc, size = (int.from_bytes(half, BYTE_ORDERS[order]) for half in (packed[:2], packed[2:]))
        if size < _BUILD_ID_ENTRY or len(features.build_ids) >= _MOST_BUILD_IDS:
            raise cursor.fail(f"an entry of {size} bytes, or one too many")
        entry = cursor.take(size - 8)
        build_id = entry[4:24]
        length = entry[24] if misc & _SIZE_KNOWN else 20
        path = entry[28:].partition(b"\0")[0].decode(errors="surrogateescape")
        features.build_ids[path] = build_id[: min(length, 20)]
