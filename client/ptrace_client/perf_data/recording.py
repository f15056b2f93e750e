"""An open recording: what open_recording() returns and the rest of the client reads from."""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Iterator, Sequence

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.cursor import Cursor, damage
from ptrace_client.perf_data.declarations import Declarations
from ptrace_client.perf_data.features import Feature
from ptrace_client.perf_data.header import (
    PIPE_HEADER_SIZE,
    Section,
    byte_order,
    read_header,
)
from ptrace_client.perf_data.model import (
    Features,
    Record,
    RecordedEvent,
    Recording,
    RecordKind,
    SampleId,
    TracingData,
)
from ptrace_client.perf_data.pipe import Pipe
from ptrace_client.perf_data.scan import Scan


def open_recording(path: str) -> Recording:
    """Open a perf.data file, or what comes from standard input for "-".

    Returns once the events are known. Raise ClientError where it cannot be opened or is none.
    """
    try:
        descriptor = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ClientError(f"cannot open {path}: {error.strerror}") from None
    except ValueError as error:
        raise ClientError(f"cannot open {path}: {error}") from None
    try:
        return _opened("standard input" if path == "-" else path, descriptor)
    finally:
        os.close(descriptor)


def _opened(path: str, descriptor: int) -> Recording:
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise ClientError(
            f"{path}: this is a directory, as perf record --threads writes it; name the file in "
            "it that holds what you want, or record without --threads"
        )
    if not stat.S_ISREG(status.st_mode):
        return _RecordedPipe(path, os.dup(descriptor))
    if status.st_size == 0:
        raise ClientError(f"{path}: the file is empty")
    data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    order, is_pipe = byte_order(data[:PIPE_HEADER_SIZE], path)
    if is_pipe:
        return _SavedPipe(path, data, order)
    return _RecordedFile(path, data, order)


class _Recording:
    """What all kinds of recordings have in common (the protocol Recording)."""

    def __init__(self, path: str, order: str, *, is_pipe: bool) -> None:
        self.path = path
        self.big_endian = order == ">"
        self.is_pipe = is_pipe
        self.notes: list[str] = []
        self._declared = Declarations(path, order)

    @property
    def events(self) -> list[RecordedEvent]:
        """The events, as declared."""
        return self._declared.events.all

    @property
    def features(self) -> Features:
        """What perf noted."""
        return self._declared.features

    @property
    def tracing(self) -> TracingData | None:
        """What perf copied of tracefs."""
        return self._declared.tracing

    def records(self) -> Iterator[Record]:
        """Yield the records in the order in which perf would process them."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[Sequence[Record]]:
        """Yield the same in portions."""
        raise AssertionError("every kind of recording has its own")

    def sample_id(self, record: Record) -> SampleId:
        """Return the trailer of a record that is no sample."""
        data, start, end = record.data, record.start, record.end
        trailer = self._declared.events.trailer(data, start, end)
        if record.kind >= RecordKind.HEADER_ATTR or trailer is None:
            return SampleId()
        return trailer.read(data, start, end)

    def event_of(self, id: int) -> RecordedEvent | None:
        """Return the event that has an id."""
        return self._declared.events.of_id(id)

    def _finished(self, scan: Scan) -> None:
        """Note what was strange, once all is read."""
        if scan.unknown:
            self.notes.append(
                f"{self.path}: {scan.unknown} samples have ids that no event has; left out"
            )
        if scan.rounds.late:
            self.notes.append(f"{self.path}: {scan.rounds.late} records came out of order")
        if scan.unfinished:
            raise ClientError(f"{self.path}: records: the compressed ones end in the middle of one")

    def _check_formats(self) -> None:
        """Raise ClientError for tracepoints of which nothing says what they record."""
        for event in self.events:
            if event.is_tracepoint and event.format is None:
                known = f" ({self.notes[-1].removeprefix(f'{self.path}: ')})" if self.notes else ""
                raise ClientError(
                    f"{self.path}: it has no format of the tracepoint {event.attr.config}, which "
                    f"tells what its samples hold{known}; record again"
                )


class _RecordedFile(_Recording):
    """A perf.data file."""

    def __init__(self, path: str, data: mmap.mmap, order: str) -> None:
        super().__init__(path, order, is_pipe=False)
        self._data = data
        self._header = read_header(data, path)
        self._unfinished = False
        self._read_attrs()
        self._read_features()
        self._declared.complete()
        self._check_formats()

    def batches(self) -> Iterator[Sequence[Record]]:
        """Yield the records in portions."""
        start, size = self._header.data
        length = len(self._data)
        end = length if self._unfinished else min(start + size, length)
        scan = Scan(self._declared)
        stopped = yield from scan.stretch(self._data, start, end)
        yield scan.rounds.rest()
        self._finished(scan)
        if stopped != end or start + size > length:
            raise damage(f"{self.path}: records", stopped, "the records end in the middle of one")

    def close(self) -> None:
        """Close the file."""
        _close(self._data)

    def _read_attrs(self) -> None:
        offset, size = self._header.attrs
        where = f"{self.path}: attrs"
        cursor = Cursor(self._data, offset, offset + size, self._declared.order, where)
        for _ in range(size // self._header.attr_size):
            attr = self._declared.attr(cursor)
            self._declared.add(attr, self._read_ids(Section(cursor.u64(), cursor.u64())))
        if not self.events:
            raise cursor.fail("there is no event")
        if Feature.STAT not in self._header.features:
            # Counts have the id of their event in records of their own.
            self._declared.events.check()

    def _read_ids(self, section: Section) -> tuple[int, ...]:
        cursor = self._section("ids", section)
        self._declared.expect_ids(section.size // 8)
        return cursor.u64s(section.size // 8)

    def _section(self, name: str, section: Section) -> Cursor:
        """Return a cursor over a part of the file. Raise ClientError where it is not in it."""
        where = f"{self.path}: {name}"
        if sum(section) > len(self._data):
            raise damage(where, section.offset, f"{section.size} bytes are not all in the file")
        return Cursor(self._data, section.offset, sum(section), self._declared.order, where)

    def _read_features(self) -> None:
        for feature, section in self._feature_sections():
            self._declared.feature(feature, self._section(f"feature {feature}", section))

    def _feature_sections(self) -> list[tuple[int, Section]]:
        """Return where the features lie, by the table behind the data."""
        header, data = self._header, self._data
        place, size = sum(header.data), 16 * len(header.features)
        if place + size > len(data):
            self.notes.append(
                f"{self.path}: the file is cut off: it ends at byte {len(data)}, and what the "
                f"host and the events are should start at byte {place}"
            )
            return []
        numbers = struct.iter_unpack(f"{header.order}2Q", data[place : place + size])
        table = [Section(*both) for both in numbers]
        if header.data.size == 0 and table and table[0].offset != place + size:
            # perf writes the size and the features at the end.
            self._unfinished = True
            self.notes.append(
                f"{self.path}: the size of the data is 0 in the header: perf record did not "
                "end, and what it writes last is missing"
            )
            return []
        return [*zip(header.features, table, strict=True)]


class _Declaring(_Recording):
    """A recording that declares its events between its records, which can be read once."""

    def __init__(self, path: str, order: str) -> None:
        super().__init__(path, order, is_pipe=True)
        self._batches = self._read()
        # Declarations are no records: with the first of these, those in front of it are known.
        self._first = next(self._batches, ())
        self._check_formats()

    def batches(self) -> Iterator[Sequence[Record]]:
        """Yield the records in portions; once."""
        first, self._first = self._first, ()
        yield first
        yield from self._batches

    def _read(self) -> Iterator[Sequence[Record]]:
        raise AssertionError("a pipe and a file of one are read each in their way")


class _SavedPipe(_Declaring):
    """What perf wrote into a pipe and someone put into a file."""

    def __init__(self, path: str, data: mmap.mmap, order: str) -> None:
        self._data = data
        super().__init__(path, order)

    def _read(self) -> Iterator[Sequence[Record]]:
        scan, end = Scan(self._declared), len(self._data)
        stopped = yield from scan.stretch(self._data, PIPE_HEADER_SIZE, end)
        yield scan.rounds.rest()
        self._finished(scan)
        if stopped != end:
            raise damage(f"{self.path}: records", stopped, "the file ends in the middle of one")

    def close(self) -> None:
        """Close the file."""
        _close(self._data)


class _RecordedPipe(_Declaring):
    """A pipe that perf writes into."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._pipe = Pipe(path, descriptor)
        try:
            super().__init__(path, self._pipe.order)
        except BaseException:
            self._pipe.close()
            raise

    def _read(self) -> Iterator[Sequence[Record]]:
        scan = Scan(self._declared)
        yield from self._pipe.batches(scan)
        self._finished(scan)
        self._pipe.check_end()

    def close(self) -> None:
        """Close the pipe."""
        self._pipe.close()


def _close(data: mmap.mmap) -> None:
    try:
        data.close()
    except BufferError:
        # Someone still holds a part of it; it goes with that.
        pass
