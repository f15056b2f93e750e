"""Feature sections: what a file says of its host and of itself.

Their contents are those of tools/perf/Documentation/perf.data-file-format.txt.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from ptrace_client.perf_data.attr import ATTR_SIZE
from ptrace_client.perf_data.model import CpuMode
from ptrace_client.perf_writing.encode_attr import WrittenEvent

_STRING_STEP: Final = 64
_BUILD_ID_BYTES: Final = 20
# PERF_RECORD_MISC_BUILD_ID_SIZE
_HAS_SIZE: Final = 1 << 15
_CLOCK_MONOTONIC: Final = 1
# The whole host, as opposed to a virtual machine on it.
_HOST: Final = -1


def string(text: str) -> bytes:
    """A text with its length before it."""
    data = text.encode(errors="surrogateescape") + b"\0"
    data += bytes(-len(data) % _STRING_STEP)
    return struct.pack("<I", len(data)) + data


def strings(texts: Sequence[str]) -> bytes:
    """Texts with their number before them."""
    return struct.pack("<I", len(texts)) + b"".join(map(string, texts))


def cpu_counts(available: int, online: int) -> bytes:
    """NRCPUS."""
    return struct.pack("<II", available, online)


def event_descriptions(events: Iterable[WrittenEvent]) -> bytes:
    """EVENT_DESC: attr, ids and name of each event."""
    described = [
        event.attr
        + struct.pack("<I", len(event.ids))
        + string(event.name)
        + struct.pack(f"<{len(event.ids)}Q", *event.ids)
        for event in events
    ]
    return struct.pack("<II", len(described), ATTR_SIZE) + b"".join(described)


def build_id_body(path: bytes, build_id: bytes) -> bytes:
    """What is behind the header of a build id's record, in a section and in a pipe."""
    name = path + b"\0"
    name += bytes(-len(name) % _STRING_STEP)
    size = min(len(build_id), _BUILD_ID_BYTES)
    return struct.pack("<i20sB3x", _HOST, build_id[:_BUILD_ID_BYTES], size) + name


def build_id_misc(path: bytes) -> int:
    """misc of that record."""
    return _HAS_SIZE | (CpuMode.KERNEL if path.startswith(b"[kernel") else CpuMode.USER)


def build_ids(known: Iterable[tuple[bytes, bytes]]) -> bytes:
    """BUILD_ID: records without a type, of paths and their build ids."""
    records = []
    for path, build_id in known:
        body = build_id_body(path, build_id)
        records.append(struct.pack("<IHH", 0, build_id_misc(path), 8 + len(body)) + body)
    return b"".join(records)


def sample_time(first: int, last: int) -> bytes:
    """SAMPLE_TIME, ns."""
    return struct.pack("<QQ", first, last)


def clock_resolution(resolution: int) -> bytes:
    """CLOCKID: resolution in ns of the clock that times are of."""
    return struct.pack("<Q", resolution)


def clock_data(time_of_day: int, monotonic: int) -> bytes:
    """CLOCK_DATA: one moment in ns since 1970, and of the clock that times are of."""
    return struct.pack("<IIQQ", 1, _CLOCK_MONOTONIC, time_of_day, monotonic)


def total_memory(size: int) -> bytes:
    """TOTAL_MEM, of `size` bytes."""
    return struct.pack("<Q", size >> 10)
