"""The events of a recording, found by the ids that records carry."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import EventAttr, SampleType
from ptrace_client.perf_data.event_names import event_name
from ptrace_client.perf_data.model import (
    Buffer,
    RecordedEvent,
    SampleId,
    TracingData,
)
from ptrace_client.perf_data.sample_layout import Layout

_HEADER: Final = 8
# Members in front of an ID that is at its own place, not at IDENTIFIER's.
_BEFORE_ID: Final = (SampleType.IP, SampleType.TID, SampleType.TIME, SampleType.ADDR)
# Members of a sample_id, in their order.
_TRAILER: Final = (
    (SampleType.TID, ("pid", "tid"), "II"),
    (SampleType.TIME, ("time",), "Q"),
    (SampleType.ID, ("id",), "Q"),
    (SampleType.STREAM_ID, ("stream_id",), "Q"),
    (SampleType.CPU, ("cpu",), "I4x"),
    (SampleType.IDENTIFIER, ("id",), "Q"),
)


class Trailer:
    """The sample_id at the end of records other than samples."""

    def __init__(self, attr: EventAttr, order: str) -> None:
        members = [part for part in _TRAILER if attr.sample_type & part[0]]
        self._names = [name for _, names, _ in members for name in names]
        codes = struct.Struct(order + "".join(part[2] for part in members))
        self.size = codes.size if attr.sample_id_all else 0
        self._unpack = codes.unpack_from
        # Where the time is, from the end of the record; 0 where there is none.
        self.time_place = self._place(attr, SampleType.TIME)
        # The same of the id.
        by_identifier = attr.sample_type & SampleType.IDENTIFIER
        last = SampleType.IDENTIFIER if by_identifier else SampleType.ID
        self.id_place = self._place(attr, last)

    @staticmethod
    def _place(attr: EventAttr, wanted: SampleType) -> int:
        if not attr.sample_id_all or not attr.sample_type & wanted:
            return 0
        behind = [part[0] for part in _TRAILER if attr.sample_type & part[0]]
        return 8 * (len(behind) - behind.index(wanted))

    def read(self, data: Buffer, start: int, end: int) -> SampleId:
        """Take the end of the record apart."""
        if not self.size or end - start < _HEADER + self.size:
            return SampleId()
        values = self._unpack(data, end - self.size)
        return SampleId(**dict(zip(self._names, values, strict=True)))


class CommonPlaces(NamedTuple):
    """Where the samples of all events have what is needed to queue them.

    `unpack` returns kind, misc, size, id and time, without the id where there is one event;
    time and id where `time_first`.
    """

    unpack: Callable[[Buffer, int], tuple[Any, ...]]
    # Bytes that a sample must have at least.
    least: int
    time_first: bool


class Events:
    """The events in the order in which they were declared."""

    def __init__(self, order: str, path: str) -> None:
        self.all: list[RecordedEvent] = []
        self.by_id: dict[int, RecordedEvent] = {}
        self.trailers: list[Trailer] = []
        # By event: where its samples have their time, from their start; 0 where they have none.
        self.time_places: list[int] = []
        # Where samples have their id and their time, of all events.
        self._places: set[tuple[int, int]] = set()
        # None where the events differ, or lack a time.
        self.common: CommonPlaces | None = None
        # Indices of events that the recording names.
        self.named: set[int] = set()
        self._order = order
        self._path = path
        # Where the id of a sample lies, from its start; 0 where it has none.
        self.id_place = 0
        self._u64: Callable[[Buffer, int], tuple[int]] = struct.Struct(order + "Q").unpack_from

    def add(self, attr: EventAttr, ids: Sequence[int], name: str = "") -> RecordedEvent:
        """Declare an event; without `name` it gets one by and by."""
        layout = Layout(attr, self._order, self._path)
        event = RecordedEvent(len(self.all), name, attr, tuple(ids), layout)
        layout.event = event
        self.all.append(event)
        self.trailers.append(Trailer(attr, self._order))
        self.time_places.append(time_place(attr))
        self._places.add((id_place(attr), time_place(attr)))
        if len(self.all) == 1:
            self.id_place = id_place(attr)
        for id in ids:
            self.by_id[id] = event
        self.common = self._common()
        return event

    def check(self) -> None:
        """Raise ClientError where samples cannot be told apart, as perf does."""
        places = {id_at for id_at, _ in self._places}
        if len(self.all) > 1 and (len(places) > 1 or 0 in places):
            raise ClientError(
                f"{self._path}: attrs: the samples of its events have no ids, or have them at "
                "different places, so that nothing tells them apart"
            )

    def complete(self, event: RecordedEvent, tracing: TracingData | None) -> None:
        """Give a tracepoint its format, and a name to an event that has none."""
        if tracing and event.format is None and event.is_tracepoint:
            event.format = tracing.formats.get(event.attr.config)
        if event.index not in self.named:
            event.name = event_name(event.attr, event.format)

    def _common(self) -> CommonPlaces | None:
        if len(self._places) > 1:
            return None
        ((id_at, time_at),) = self._places
        if not time_at or (len(self.all) > 1 and not id_at):
            return None
        places = [time_at] if len(self.all) == 1 else sorted((id_at, time_at))
        pattern, end = self._order + "IHH", _HEADER
        for place in places:
            pattern, end = f"{pattern}{place - end}xQ", place + 8
        layout = struct.Struct(pattern)
        return CommonPlaces(layout.unpack_from, layout.size, time_at < id_at)

    def of_sample(self, data: Buffer, start: int, end: int) -> RecordedEvent | None:
        """Return the event of a sample; None where its id is unknown."""
        if len(self.all) == 1:
            return self.all[0]
        if not self.id_place or start + self.id_place + 8 > end:
            return None
        return self.of_id(self._u64(data, start + self.id_place)[0])

    def of_id(self, id: int) -> RecordedEvent | None:
        """Return the event of an id; perf gives its own records an id of 0, and the first."""
        if self.all and (id == 0 or len(self.all) == 1):
            return self.all[0]
        return self.by_id.get(id)

    def trailer(self, data: Buffer, start: int, end: int) -> Trailer | None:
        """Return how the end of a record that is no sample is to be read; None for not."""
        if not self.all:
            return None
        first = self.trailers[0]
        if len(self.all) == 1 or not first.id_place:
            return first
        if start + _HEADER > end - first.id_place:
            return None
        event = self.of_id(self._u64(data, end - first.id_place)[0])
        return self.trailers[event.index] if event else None


def time_place(attr: EventAttr) -> int:
    """Where the time of an event's samples lies, from their start; 0 where there is none."""
    if not attr.sample_type & SampleType.TIME:
        return 0
    before = (SampleType.IDENTIFIER, SampleType.IP, SampleType.TID)
    return _HEADER + 8 * sum(1 for bit in before if attr.sample_type & bit)


def id_place(attr: EventAttr) -> int:
    """Where the id of an event's samples lies, from their start; 0 where there is none."""
    if attr.sample_type & SampleType.IDENTIFIER:
        return _HEADER
    if not attr.sample_type & SampleType.ID:
        return 0
    return _HEADER + 8 * sum(1 for bit in _BEFORE_ID if attr.sample_type & bit)
