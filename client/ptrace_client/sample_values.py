"""Members of sampled events that are structures: counter readings and registers.

Their bytes are what perf_event_open(2) describes, of 64-bit words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import iter_unpack
from typing import Any, Final

# PERF_FORMAT_* of perf_event_open(2), and what read(2) gives for them.
_TIMES: Final = ((1, "time_enabled"), (2, "time_running"))
_GROUP: Final = 8
_IDENTITY: Final = ((4, "id"), (16, "lost"))


def counter_reading(data: bytes, read_format: int) -> dict[str, Any]:
    """Return what a counter, or a group of counters, stood at.

    One counter: `value`, then those of `time_enabled` and `time_running` (ns), `id` and `lost`
    that `read_format` has. A group: `nr`, the times, and `cntr`, a list with `value`, `id` and
    `lost` of each.
    """
    words = _words(data)
    times = [name for bit, name in _TIMES if read_format & bit]
    identity = [name for bit, name in _IDENTITY if read_format & bit]
    if not read_format & _GROUP:
        return _take(words, ["value", *times, *identity])
    reading = _take(words, ["nr", *times])
    counters = [_take(words, ["value", *identity]) for _ in range(_count(reading, data))]
    return {**reading, "cntr": counters}


def registers(data: bytes, names: Sequence[str]) -> dict[str, int]:
    """Return `abi` (PERF_SAMPLE_REGS_ABI_*) and the registers by name; only `abi` where it is 0."""
    return _take(_words(data), ["abi", *names])


def _words(data: bytes) -> Iterator[int]:
    whole = len(data) // 8 * 8
    return (word for (word,) in iter_unpack("<Q", data[:whole]))


def _take(words: Iterator[int], names: Sequence[str]) -> dict[str, Any]:
    # Names first: no word is taken that has none.
    return dict(zip(names, words, strict=False))


def _count(reading: dict[str, Any], data: bytes) -> int:
    """Return the number of counters, but no more than there can be."""
    return min(int(reading.get("nr", 0)), len(data) // 8)
