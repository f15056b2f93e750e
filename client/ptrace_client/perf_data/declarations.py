"""What a recording says of its events, of the host and of itself.

In a file it lies in sections around the records, in a pipe in records between them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import LEAST_ATTR_SIZE, attr_size, parse_attr
from ptrace_client.perf_data.cursor import BYTE_ORDERS, Cursor, damage
from ptrace_client.perf_data.events import Events
from ptrace_client.perf_data.features import (
    DescribedEvent,
    Feature,
    event_descriptions,
    read_build_ids,
    read_feature,
)
from ptrace_client.perf_data.model import Buffer, Features, RecordedEvent, RecordKind, TracingData
from ptrace_client.perf_data.tracing_data import read_tracing_data

_HEADER: Final = 8
_MOST_EVENTS: Final = 1 << 14
# An event has one on each processor, or for each thread.
_MOST_IDS: Final = 1 << 20
# Types of EVENT_UPDATE.
_UNIT, _SCALE, _NAME = range(3)


class Declarations:
    """Takes in declarations and holds what they say. `path` names the recording in errors."""

    def __init__(self, path: str, order: str) -> None:
        self.path = path
        self.order = order
        self.byteorder = BYTE_ORDERS[order]
        self.features = Features()
        self.tracing: TracingData | None = None
        self.events = Events(order, path)
        self._ids = 0
        self._described: list[DescribedEvent] = []

    def record(self, kind: int, data: Buffer, start: int, end: int, base: int = 0) -> bool:
        """Take in a record if it declares something; return whether it does.

        `base` is where `data` starts in the recording.
        """
        cursor = Cursor(data, start + _HEADER, end, self.order, f"{self.path}: records")
        cursor.base = base
        if kind == RecordKind.HEADER_ATTR:
            attr = self.attr(cursor)
            self.expect_ids(cursor.left // 8)
            event = self.add(attr, cursor.u64s(cursor.left // 8))
            if event.index < len(self._described):
                self._name(event, self._described[event.index].name)
            self.events.complete(event, self.tracing)
        elif kind == RecordKind.EVENT_UPDATE:
            self._update(cursor)
        elif kind == RecordKind.HEADER_FEATURE:
            self.feature(cursor.u64(), cursor)
        elif kind == RecordKind.HEADER_BUILD_ID:
            cursor.position = start
            read_build_ids(cursor, self.order, self.features)
        else:
            return kind == RecordKind.HEADER_EVENT_TYPE
        return True

    def attr(self, cursor: Cursor) -> bytes:
        """Take an attr, as long as it says that it is."""
        data, position = cursor.data, cursor.position
        cursor.skip(_HEADER)
        size = attr_size(data[position : position + _HEADER], self.order)
        cursor.position = position
        if size < LEAST_ATTR_SIZE:
            raise cursor.fail(f"an attr of {size} bytes")
        return cursor.take(size)

    def add(self, attr: bytes, ids: Sequence[int]) -> RecordedEvent:
        """Declare an event; complete() names it."""
        if len(self.events.all) >= _MOST_EVENTS:
            raise ClientError(f"{self.path}: attrs: more than {_MOST_EVENTS} events")
        return self.events.add(parse_attr(attr, self.order), ids)

    def expect_ids(self, count: int) -> None:
        """Count ids before they are read. Raise ClientError for too many of them."""
        self._ids += count
        if self._ids > _MOST_IDS:
            raise ClientError(f"{self.path}: attrs: more than {_MOST_IDS} ids of events")

    def feature(self, feature: int, cursor: Cursor) -> None:
        """Take in the content of a feature section."""
        cursor.where = f"{self.path}: feature {feature}"
        if feature == Feature.TRACING_DATA:
            self.tracing_data(cursor.data, cursor.position, cursor.end)
        elif feature == Feature.BUILD_ID:
            read_build_ids(cursor, self.order, self.features)
        elif feature == Feature.EVENT_DESC:
            self._describe(event_descriptions(cursor, self.order))
        else:
            read_feature(feature, cursor, self.features)

    def tracing_data(self, data: Buffer, start: int, end: int) -> None:
        """Take in what perf copied of tracefs."""
        if self.tracing is not None:
            raise damage(f"{self.path}: tracing data", start, "there is more of it")
        self.tracing = read_tracing_data(data, start, end, f"{self.path}: tracing data")

    def complete(self) -> None:
        """Name the events and give them their formats, as far as these are known by now."""
        for event in self.events.all:
            self.events.complete(event, self.tracing)

    def _describe(self, described: list[DescribedEvent]) -> None:
        """Name events, those of a pipe also before they come: they keep their order."""
        self._described = described
        events = self.events
        for position, one in enumerate(described):
            event = events.by_id.get(one.id) if one.id is not None else None
            if event is None and position < len(events.all):
                event = events.all[position]
            if event is not None and event.index not in events.named:
                self._name(event, one.name)

    def _name(self, event: RecordedEvent, name: str) -> None:
        event.name = name
        self.events.named.add(event.index)

    def _update(self, cursor: Cursor) -> None:
        kind, event = cursor.u64(), self.events.of_id(cursor.u64())
        if event is None:
            return
        if kind == _SCALE:
            event.scale = struct.unpack(f"{self.order}d", cursor.take(8))[0]
        elif kind in (_UNIT, _NAME):
            text = cursor.take(cursor.left).partition(b"\0")[0].decode(errors="surrogateescape")
            if kind == _UNIT:
                event.unit = text
            else:
                self._name(event, text)
