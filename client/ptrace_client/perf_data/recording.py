"""An open recording: what open_recording() returns and the rest of the client reads from."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import LEAST_ATTR_SIZE, attr_size, parse_attr
from ptrace_client.perf_data.cursor import Cursor, damage
from ptrace_client.perf_data.events import Events
from ptrace_client.perf_data.features import (
    Feature,
    event_descriptions,
    read_build_ids,
    read_feature,
)
from ptrace_client.perf_data.header import (
    PIPE_HEADER_SIZE,
    FileHeader,
    Section,
    byte_order,
    read_header,
)
from ptrace_client.perf_data.model import (
    Buffer,
    Features,
    Record,
    RecordedEvent,
    Recording,
    SampleId,
    TracingData,
)
from ptrace_client.perf_data.scan import Scan
from ptrace_client.perf_data.tracing_data import read_tracing_data

_MOST_EVENTS: Final = 1 << 16


def open_recording(path: str) -> Recording:
    """Open a perf.data file, or standard input for "-".

    Raise ClientError where it cannot be opened or is none.
    """
    if path == "-":
        raise ClientError("reading a recording from standard input is not possible")
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise ClientError(f"{path}: this file is empty")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ClientError(f"cannot open {path}: {error}") from None
    order, is_pipe = byte_order(data[:PIPE_HEADER_SIZE], path)
    if is_pipe:
        raise ClientError(f"{path}: this was written into a pipe, which is not read")
    return RecordedFile(path, data, order)


class RecordedFile:
    """A perf.data file (the protocol Recording)."""

    is_pipe = False

    def __init__(self, path: str, data: mmap.mmap, order: str) -> None:
        self.path = path
        self.big_endian = order == ">"
        self.features = Features()
        self.tracing: TracingData | None = None
        self.notes: list[str] = []
        self._data = data
        self._order = order
        self._header = read_header(data, path)
        self._events = Events(order, path)
        self.events: list[RecordedEvent] = self._events.all
        self._read_attrs()
        self._read_features()
        self._events.complete(self.tracing)

    def records(self) -> Iterator[Record]:
        """Yield the records in the order in which perf would process them."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[Sequence[Record]]:
        """Yield the same in portions."""
        start, size = self._header.data
        scan = Scan(self._events, self._order, self.path)
        end = min(start + size, len(self._data)) if size else len(self._data)
        stopped = yield from scan.stretch(self._data, start, end)
        yield scan.rounds.rest()
        if start + size > len(self._data) or stopped < end:
            raise damage(
                f"{self.path}: records", stopped, "the file ends in the middle of its records"
            )

    def sample_id(self, record: Record) -> SampleId:
        """Return the trailer of a record that is no sample."""
        trailer = self._events.trailer(record.data, record.start, record.end)
        return trailer.read(record.data, record.start, record.end) if trailer else SampleId()

    def event_of(self, id: int) -> RecordedEvent | None:
        """Return the event that has an id."""
        return self._events.of_id(id)

    def close(self) -> None:
        """Close the file."""
        self._data.close()

    def _read_attrs(self) -> None:
        offset, size = self._header.attrs
        where = f"{self.path}: attrs"
        cursor = Cursor(self._data, offset, offset + size, self._order, where)
        count = size // self._header.attr_size
        if count > _MOST_EVENTS:
            raise cursor.fail(f"{count} events")
        for _ in range(count):
            own = attr_size(self._data[cursor.position : cursor.position + 8], self._order)
            if own < LEAST_ATTR_SIZE:
                raise cursor.fail(f"an attr of {own} bytes")
            attr = parse_attr(cursor.take(own), self._order)
            ids = Section(cursor.u64(), cursor.u64())
            self._events.add(attr, self._read_ids(ids))
        self._events.check()

    def _read_ids(self, section: Section) -> tuple[int, ...]:
        where = f"{self.path}: ids"
        if sum(section) > len(self._data):
            raise damage(where, section.offset, "the section lies behind the end of the file")
        cursor = Cursor(self._data, section.offset, sum(section), self._order, where)
        return cursor.u64s(section.size // 8)

    def _read_features(self) -> None:
        header = self._header
        if header.data.size == 0:
            self.notes.append(
                f"{self.path}: the size of its data is 0 in its header: perf record did not end; "
                "what is there is read, but names and formats of events are missing"
            )
            return
        for feature, section in _feature_sections(self._data, header, self.path):
            where = f"{self.path}: feature {feature}"
            if sum(section) > len(self._data):
                raise damage(where, section.offset, "the section lies behind the end of the file")
            cursor = Cursor(self._data, section.offset, sum(section), header.order, where)
            self._read_feature(feature, cursor)

    def _read_feature(self, feature: int, cursor: Cursor) -> None:
        if feature == Feature.TRACING_DATA:
            where = f"{self.path}: tracing data"
            self.tracing = read_tracing_data(cursor.data, cursor.position, cursor.end, where)
        elif feature == Feature.BUILD_ID:
            read_build_ids(cursor, self._order, self.features)
        elif feature == Feature.EVENT_DESC:
            for described in event_descriptions(cursor, self._order):
                self._name(described.name, described.ids, described.attr.config)
        else:
            read_feature(feature, cursor, self.features)

    def _name(self, name: str, ids: Sequence[int], config: int) -> None:
        """Name the event that has the ids, or without ids the next one of that config."""
        if ids:
            event = self._events.by_id.get(ids[0])
        else:
            event = next(
                (one for one in self.events if not one.name and one.attr.config == config), None
            )
        if event is not None:
            event.name = name


def _feature_sections(data: Buffer, header: FileHeader, path: str) -> Iterator[tuple[int, Section]]:
    """Yield where the sections of features lie."""
    place = sum(header.data)
    if header.features and place + 16 * len(header.features) > len(data):
        raise damage(
            f"{path}: feature sections",
            place,
            "the file ends in front of them; it was cut short, or is still being written",
        )
    for feature in header.features:
        yield feature, Section(*struct.unpack_from(f"{header.order}2Q", data, place))
        place += 16
