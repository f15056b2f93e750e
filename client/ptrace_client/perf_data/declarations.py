"""What a recording says of its events, of the host and of itself.

In a file it lies in sections around the records, in a pipe in records between them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from ptrace_client.perf_data.attr import LEAST_ATTR_SIZE, attr_size, parse_attr
from ptrace_client.perf_data.cursor import BYTE_ORDERS, Cursor
from ptrace_client.perf_data.events import Events
from ptrace_client.perf_data.features import (
    Feature,
    event_descriptions,
    read_build_ids,
    read_feature,
)
from ptrace_client.perf_data.model import Buffer, Features, RecordedEvent, RecordKind, TracingData
from ptrace_client.perf_data.tracing_data import read_tracing_data

_HEADER: Final = 8
_MOST_EVENTS: Final = 1 << 16
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
        # What EVENT_DESC says, in the order of the events.
        self._described: list[tuple[str, tuple[int, ...]]] = []

    def record(self, kind: int, data: Buffer, start: int, end: int, base: int = 0) -> bool:
        """Take in a record if it declares something; return whether it does.

        `base` is where `data` starts in the recording.
        """
        cursor = Cursor(data, start + _HEADER, end, self.order, f"{self.path}: records")
        cursor.base = base
        if kind == RecordKind.HEADER_ATTR:
            attr = self.attr(cursor)
            self.add(attr, cursor.u64s(cursor.left // 8))
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

    def add(self, attr: bytes, ids: Sequence[int]) -> None:
        """Declare an event."""
        if len(self.events.all) >= _MOST_EVENTS:
            raise Cursor(b"", 0, 0, "<", f"{self.path}: attrs").fail("too many events")
        self.events.add(parse_attr(attr, self.order), ids)
        self.complete()

    def feature(self, feature: int, cursor: Cursor) -> None:
        """Take in the content of a feature section."""
        cursor.where = f"{self.path}: feature {feature}"
        if feature == Feature.TRACING_DATA:
            self.tracing_data(cursor.data, cursor.position, cursor.end)
        elif feature == Feature.BUILD_ID:
            read_build_ids(cursor, self.order, self.features)
        elif feature == Feature.EVENT_DESC:
            described = event_descriptions(cursor, self.order)
            self._described = [(event.name, event.ids) for event in described]
        else:
            read_feature(feature, cursor, self.features)

    def tracing_data(self, data: Buffer, start: int, end: int) -> None:
        """Take in what perf copied of tracefs."""
        self.tracing = read_tracing_data(data, start, end, f"{self.path}: tracing data")

    def complete(self) -> None:
        """Name the events and give them their formats, as far as these are known by now."""
        for position, (name, ids) in enumerate(self._described):
            event = self.events.by_id.get(ids[0]) if ids else None
            if event is None and position < len(self.events.all):
                event = self.events.all[position]
            if event is not None and event.index not in self.events.named:
                self._name(event, name)
        self.events.complete(self.tracing)

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
