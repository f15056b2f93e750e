"""From bytes to records in perf's order."""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.cursor import damage
from ptrace_client.perf_data.events import Events
from ptrace_client.perf_data.model import Buffer, Record, RecordKind
from ptrace_client.perf_data.order import MOST_WAITING, Rounds

_HEADER: Final = 8
_NO_TIME: Final = (1 << 64) - 1
# Records of the kernel are of smaller kinds.
_FIRST_OF_PERF: Final = int(RecordKind.HEADER_ATTR)


class Scan:
    """Reads stretches of records, in a row."""

    def __init__(self, events: Events, order: str, path: str) -> None:
        self.rounds = Rounds()
        # Samples whose id no event has.
        self.unknown = 0
        self._events = events
        self._where = f"{path}: records"
        self._header = struct.Struct(f"{order}IHH").unpack_from
        self._u64 = struct.Struct(f"{order}Q").unpack_from

    def stretch(
        self, data: Buffer, position: int, end: int
    ) -> Generator[Sequence[Record], None, int]:
        """Yield what can be handed on; return where the first incomplete record starts."""
        header, rounds = self._header, self.rounds
        while position + _HEADER <= end:
            kind, misc, size = header(data, position)
            following = position + size
            if size < _HEADER:
                raise damage(self._where, position, f"a record of {size} bytes")
            if following > end:
                break
            if kind == RecordKind.FINISHED_ROUND:
                yield rounds.finish()
            elif kind == RecordKind.AUXTRACE:
                yield (Record(None, kind, misc, data, position, following, -1),)
                following += self._trace_size(data, position, following)
                if following > end:
                    break
            elif kind >= _FIRST_OF_PERF:
                yield (Record(None, kind, misc, data, position, following, -1),)
            else:
                record = self._kernel_record(kind, misc, data, position, following)
                if record is None:
                    self.unknown += 1
                elif record.time < 0:
                    yield (record,)
                else:
                    rounds.waiting.append(record)
                    if len(rounds.waiting) >= MOST_WAITING:
                        yield rounds.half()
            position = following
        return position

    def _kernel_record(
        self, kind: int, misc: int, data: Buffer, start: int, end: int
    ) -> Record | None:
        if kind == RecordKind.SAMPLE:
            event = self._events.of_sample(data, start, end)
            if event is None:
                return None
            place = next((at for name, at, _ in event.layout.fixed if name == "time"), 0)
        else:
            event = None
            trailer = self._events.trailer(data, start, end)
            place = end - start - trailer.time_place if trailer and trailer.time_place else 0
        time = -1
        if place:
            if not _HEADER <= place <= end - start - 8:
                raise self._too_small(start, end)
            time = self._u64(data, start + place)[0]
            if time in (0, _NO_TIME):
                time = -1
        return Record(event, kind, misc, data, start, end, time)

    def _too_small(self, start: int, end: int) -> ClientError:
        return damage(self._where, start, f"a record of {end - start} bytes lacks its time")

    def _trace_size(self, data: Buffer, start: int, end: int) -> int:
        """Bytes of hardware trace behind an AUXTRACE record."""
        if end - start < 16:
            raise damage(self._where, start, "an AUXTRACE record without the size of its trace")
        size: int = self._u64(data, start + 8)[0]
        return size
