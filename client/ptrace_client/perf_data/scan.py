"""From bytes to records in perf's order."""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence
from typing import Final, TypeAlias

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.compressed import Decompressor
from ptrace_client.perf_data.cursor import damage
from ptrace_client.perf_data.declarations import Declarations
from ptrace_client.perf_data.model import Buffer, Record, RecordKind
from ptrace_client.perf_data.order import Rounds
from ptrace_client.perf_data.tracing_data import MOST_TRACING_DATA

_HEADER: Final = 8
_NO_TIME: Final = (1 << 64) - 1
# Records of the kernel are of smaller kinds.
_FIRST_OF_PERF: Final = int(RecordKind.HEADER_ATTR)
_SAMPLE: Final = int(RecordKind.SAMPLE)
_FINISHED_ROUND: Final = int(RecordKind.FINISHED_ROUND)
# Bytes of samples between looks at how many wait.
_SEGMENT: Final = 8 << 20
# Records that are handed on together, about.
_PORTION: Final = 1 << 10

# Kinds that other bytes follow, or that hold records.
_NEVER_COMPRESSED: Final = (
    RecordKind.COMPRESSED,
    RecordKind.HEADER_TRACING_DATA,
    RecordKind.AUXTRACE,
)

# Yields records in order; returns where the first that is not complete starts.
Stretch: TypeAlias = Generator[Sequence[Record], None, int]


class Scan:
    """Reads stretches of records, in a row. Positions are those in the buffers it is given."""

    def __init__(self, declarations: Declarations) -> None:
        self.rounds = Rounds()
        # Samples whose id no event has.
        self.unknown = 0
        # Bytes that the stretch after this one must have to be of use.
        self.wanted = _HEADER
        # Where the buffer of the stretch starts in the recording.
        self.base = 0
        self._declarations = declarations
        self._events = declarations.events
        self._where = f"{declarations.path}: records"
        self._decompressor = Decompressor(self._where)
        self._decompressed = b""
        self._nested = False
        order = declarations.order
        self._header = struct.Struct(f"{order}IHH").unpack_from
        self._u64 = struct.Struct(f"{order}Q").unpack_from

    @property
    def unfinished(self) -> bool:
        """Whether what was decompressed ends in the middle of a record."""
        return bool(self._decompressed)

    def stretch(self, data: Buffer, position: int, end: int) -> Stretch:
        """Read the records between two places."""
        rounds = self.rounds
        while True:
            ready: list[Record] = []
            position = self._samples(data, position, end, ready)
            if ready:
                yield ready
            if rounds.full:
                yield rounds.relieve()
            self.wanted = _HEADER
            if position + _HEADER > end:
                return position
            kind, misc, size = self._header(data, position)
            following = position + size
            if size < _HEADER:
                raise self._damage(position, f"a record of {size} bytes")
            if following > end:
                self.wanted = size
                return position
            if kind >= _FIRST_OF_PERF:
                following = yield from self._of_perf(kind, misc, data, position, following, end)
                if following < 0:
                    return position
            else:
                record = self._of_kernel(kind, misc, data, position, following)
                if record is None:
                    self.unknown += 1
                elif record.time < 0:
                    yield (record,)
                else:
                    rounds.waiting.append(record)
            position = following

    def _samples(self, data: Buffer, position: int, end: int, ready: list[Record]) -> int:
        """Queue samples as long as they are like most; return where something else starts.

        What the ends of rounds release goes to `ready`.
        """
        places = self._events.common
        if places is None:
            return position
        if len(self._events.all) == 1:
            return self._samples_of_one(data, position, end, ready)
        unpack, least, time_first = places
        find = self._events.by_id.get
        new, add, finish = tuple.__new__, self.rounds.waiting.append, self.rounds.finish
        last, no_time = min(end - least, position + _SEGMENT), _NO_TIME
        while position <= last:
            kind, misc, size, id, time = unpack(data, position)
            if time_first:
                id, time = time, id
            following = position + size
            if kind != _SAMPLE:
                if kind != _FINISHED_ROUND or size != _HEADER or len(ready) > _PORTION:
                    break
                ready += finish()
                position = following
                continue
            if size < least or following > end or not 0 < time < no_time:
                break
            event = find(id)
            if event is None:
                break
            add(new(Record, (event, kind, misc, data, position, following, time)))
            position = following
        return position

    def _samples_of_one(self, data: Buffer, position: int, end: int, ready: list[Record]) -> int:
        """Do the same where there is but one event, whatever its ids."""
        places = self._events.common
        if places is None:
            return position
        unpack, least, event = places.unpack, places.least, self._events.all[0]
        new, add, finish = tuple.__new__, self.rounds.waiting.append, self.rounds.finish
        last, no_time = min(end - least, position + _SEGMENT), _NO_TIME
        while position <= last:
            kind, misc, size, time = unpack(data, position)
            following = position + size
            if kind != _SAMPLE:
                if kind != _FINISHED_ROUND or size != _HEADER or len(ready) > _PORTION:
                    break
                ready += finish()
                position = following
                continue
            if size < least or following > end or not 0 < time < no_time:
                break
            add(new(Record, (event, kind, misc, data, position, following, time)))
            position = following
        return position

    def _of_kernel(self, kind: int, misc: int, data: Buffer, start: int, end: int) -> Record | None:
        """Return a record with its time; None for a sample of no event."""
        event, time = None, -1
        if kind == _SAMPLE:
            event = self._events.of_sample(data, start, end)
            if event is None:
                return None
            place = self._events.time_places[event.index]
        else:
            trailer = self._events.trailer(data, start, end)
            place = end - start - trailer.time_place if trailer and trailer.time_place else 0
        if place:
            if not _HEADER <= place <= end - start - 8:
                raise self._damage(start, f"a record of {end - start} bytes lacks its time")
            time = self._u64(data, start + place)[0]
        return Record(event, kind, misc, data, start, end, time if 0 < time < _NO_TIME else -1)

    def _of_perf(
        self, kind: int, misc: int, data: Buffer, start: int, end: int, limit: int
    ) -> Stretch:
        """Process a record of perf's own; return where the next starts, -1 for incomplete."""
        if self._nested and kind in _NEVER_COMPRESSED:
            raise self._damage(start, f"a record of kind {kind} in a compressed one")
        if kind == RecordKind.FINISHED_ROUND:
            yield self.rounds.finish()
        elif kind == RecordKind.COMPRESSED:
            yield from self._compressed(data[start + _HEADER : end], start)
        elif kind == RecordKind.HEADER_TRACING_DATA:
            return self._tracing_data(data, start, end, limit)
        elif not self._declarations.record(kind, data, start, end, self.base):
            yield (Record(None, kind, misc, data, start, end, -1),)
            if kind == RecordKind.AUXTRACE:
                if end - start < _HEADER + 8:
                    raise self._damage(start, "a trace without its size")
                end += self._u64(data, start + _HEADER)[0]
        return end

    def _compressed(self, content: bytes, start: int) -> Stretch:
        """Process the records in a compressed one; the last may go on in the next."""
        self._nested = True
        base, self.base = self.base, self.base + start
        chunk = self._decompressed + self._decompressor.take(content, self.base + start)
        self.rounds.hold(len(chunk))
        stopped = yield from self.stretch(chunk, 0, len(chunk))
        self._decompressed = chunk[stopped:]
        self._nested, self.base = False, base
        return 0

    def _tracing_data(self, data: Buffer, start: int, end: int, limit: int) -> int:
        """Take in tracing data, which follows its record."""
        if end - start < _HEADER + 4:
            raise self._damage(start, "tracing data without its size")
        size = int.from_bytes(data[start + 8 : start + 12], self._declarations.byteorder)
        if size > MOST_TRACING_DATA:
            raise self._damage(start, f"tracing data of {size} bytes")
        if end + size > limit:
            self.wanted = end + size - start
            return -1
        self._declarations.tracing_data(data, end, end + size)
        self._declarations.complete()
        return end + size

    def _damage(self, start: int, what: str) -> ClientError:
        return damage(self._where, self.base + start, what)
