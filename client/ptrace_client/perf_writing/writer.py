"""The records of a recording in the order of time, with the ends of rounds between them."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable
from operator import itemgetter
from typing import Final

from ptrace_client.perf_data.model import RecordKind
from ptrace_client.perf_writing.encode_records import FINISHED_ROUND, Origin, RecordEncoder
from ptrace_client.perf_writing.output import Output
from ptrace_client.perf_writing.row_samples import Entry

# What is held for want of a round's end, bytes: more is written in the order of time as it is.
_HELD_MAX: Final = 64 << 20
# The objects around a record that is held.
_ENTRY_BYTES: Final = 200
# Threads whose names are known; more are forgotten, and told anew.
_NAMES_MAX: Final = 1 << 16
_IDS: Final = struct.Struct("<II")
_TASK: Final = struct.Struct("<IIII")
_NAME_BYTES: Final = 16
_HEADER_BYTES: Final = 8

_time = itemgetter(0)


class Writer:
    """Merges samples and other records by time, and writes what is older than a mark.

    A sample whose thread has another name than the records have told so far gets a record of the
    name before it: the rows of a stream have the names, and not all records of tasks are told.
    """

    def __init__(self, output: Output, encoder: RecordEncoder) -> None:
        self._output = output
        self._encoder = encoder
        self._held: list[Entry] = []
        self._held_bytes = 0
        self._names: dict[int, bytes] = {}
        self.samples = 0
        self.first_time = self.last_time = 0
        # All that is older has been written, ns.
        self.written_until = 0

    def add(self, entries: Iterable[Entry]) -> None:
        """Take samples and records."""
        before = len(self._held)
        self._held.extend(entries)
        added = len(self._held) - before
        if added:
            # Of a batch the last is as large as the others, more or less.
            self._held_bytes += added * (len(self._held[-1][4]) + _ENTRY_BYTES)
        if self._held_bytes > _HELD_MAX:
            self._flush(None)

    def end_round(self, time: int) -> None:
        """Write what is older than `time`, ns: nothing older is to come."""
        self.written_until = max(self.written_until, time)
        self._flush(time)

    def close(self) -> None:
        """Write all that is held."""
        self._flush(None)

    def _flush(self, until: int | None) -> None:
        held = self._held
        held.sort(key=_time)
        ready = held
        if until is None:
            self._held = []
        else:
            end = bisect_left(held, until, key=_time)
            ready, self._held = held[:end], held[end:]
        self._held_bytes = sum(len(entry[4]) + _ENTRY_BYTES for entry in self._held)
        if not ready:
            return
        parts: list[bytes] = []
        append, names = parts.append, self._names
        samples = len(ready)
        for time, pid, tid, name, record in ready:
            if name is None:
                samples -= 1
                self._take_name(record)
            elif names.get(tid) != name:
                self._rename(parts, Origin(pid, tid, time), name)
            append(record)
        append(FINISHED_ROUND)
        self._output.write(b"".join(parts))
        if samples:
            times = [entry[0] for entry in (ready[0], ready[-1]) if entry[3] is not None]
            if len(times) < 2:
                times = [entry[0] for entry in ready if entry[3] is not None]
            self._note(samples, times[0], times[-1])

    def _note(self, samples: int, first: int, last: int) -> None:
        """Count samples that were written, and tell of their times."""
        if not self.samples:
            self.first_time = first
        self.samples += samples
        self.last_time = max(self.last_time, last)
        self._output.note_times(self.first_time, self.last_time)

    def _rename(self, parts: list[bytes], origin: Origin, name: bytes) -> None:
        """Add a record of a thread's name; the idle threads all have one that perf knows."""
        known = self._names.get(origin.tid)
        if len(self._names) > _NAMES_MAX:
            self._names.clear()
        self._names[origin.tid] = name
        text = name.partition(b"\0")[0]
        if origin.tid and (known is None or known.partition(b"\0")[0] != text):
            parts.append(self._encoder.comm(origin, text))

    def _take_name(self, record: bytes) -> None:
        """Learn from a record of a task what its thread is called from now on."""
        kind = record[0]
        if kind == RecordKind.COMM:
            name = record[_HEADER_BYTES + _IDS.size :][:_NAME_BYTES].partition(b"\0")[0]
            tid = _IDS.unpack_from(record, _HEADER_BYTES)[1]
            self._names[tid] = name.ljust(_NAME_BYTES, b"\0")
        elif kind == RecordKind.FORK:
            _, _, tid, parent = _TASK.unpack_from(record, _HEADER_BYTES)
            if parent in self._names:
                self._names[tid] = self._names[parent]
