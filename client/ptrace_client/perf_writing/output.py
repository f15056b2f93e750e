"""Where a recording goes: a file, or a pipe whose reader sees it grow.

A file is a header, attrs with their ids, feature sections, records, and behind these the table
of the sections. The table is written anew with every piece of records, so that a file whose
writer is killed is whole up to the last piece.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from dataclasses import dataclass, field
from typing import Final, Protocol

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import ATTR_SIZE
from ptrace_client.perf_data.features import Feature
from ptrace_client.perf_data.model import RecordKind
from ptrace_client.perf_writing.encode_attr import WrittenEvent
from ptrace_client.perf_writing.encode_features import (
    build_id_body,
    build_id_misc,
    build_ids,
    sample_time,
)
from ptrace_client.perf_writing.encode_records import FINISHED_ROUND, own_record
from ptrace_client.printing import terminal_safe

_MAGIC: Final = b"PERFILE2"
_SECTION: Final = struct.Struct("<QQ")
_HEADER: Final = struct.Struct("<8sQQQQQQQQ32s")
_PIPE_HEADER: Final = struct.Struct("<8sQ")
# An attr in a file has the place of its ids behind it.
_ATTR_ENTRY: Final = ATTR_SIZE + _SECTION.size
# PERF_EVENT_UPDATE__NAME
_UPDATE_NAME: Final = 2
# Largest body of a record whose size is a u16.
_BODY_MAX: Final = 0xFFF8 - 8


@dataclass
class Head:
    """What stands before the records: events, tracing data (if any), and other features."""

    events: list[WrittenEvent]
    tracing: bytes = b""
    features: dict[int, bytes] = field(default_factory=dict)


class Output(Protocol):
    """Takes a recording: `begin` once, then records; whatever is given is whole records."""

    # Bytes written so far.
    size: int

    def begin(self, head: Head) -> None:
        """Write what stands before the records."""

    def write(self, records: bytes) -> None:
        """Write records."""

    def note_build_id(self, path: bytes, build_id: bytes) -> None:
        """Note the build id of a file that records name."""

    def note_times(self, first: int, last: int) -> None:
        """Note the times of the first and the last sample so far, ns."""

    def close(self) -> None:
        """Write what stands behind the records."""


class FileOutput:
    """A file of perf.data's kind. `fd` is empty and can be written at any place.

    Methods raise ClientError where there is no room left, naming the file as `path`.
    """

    def __init__(self, fd: int, path: str = "the recording") -> None:
        self._fd = fd
        self._path = path
        self.size = 0
        self._attrs = 0
        self._events = 0
        self._sections: dict[int, tuple[int, int]] = {}
        self._build_ids: dict[bytes, bytes] = {}
        self._data = 0
        # Bytes of the table that was written last.
        self._table_size = 0

    def begin(self, head: Head) -> None:
        """Write what stands before the records."""
        parts = [bytes(_HEADER.size)]
        position = _HEADER.size
        places = []
        for event in head.events:
            ids = struct.pack(f"<{len(event.ids)}Q", *event.ids)
            places.append((position, len(ids)))
            parts.append(ids)
            position += len(ids)
        self._attrs, self._events = position, len(head.events)
        for event, place in zip(head.events, places, strict=True):
            parts += event.attr, _SECTION.pack(*place)
            position += _ATTR_ENTRY
        features = dict(head.features)
        if head.tracing:
            features[Feature.TRACING_DATA] = head.tracing
        features[Feature.SAMPLE_TIME] = sample_time(0, 0)
        for bit, content in sorted(features.items()):
            content += bytes(-len(content) % 8)
            self._sections[bit] = position, len(content)
            parts.append(content)
            position += len(content)
        self._data = self.size = position
        self._put(b"".join(parts), 0)
        # Without any record it would look as if it had been given up.
        self.write(FINISHED_ROUND)

    def write(self, records: bytes) -> None:
        """Write records, and behind them the table.

        Nothing of what the header promises is overwritten but in the last two steps.
        """
        end = self.size + len(records)
        piece = records + self._tail(end)
        behind = self._table_size
        self._put(piece[behind:], self.size + behind)
        self._put(piece[:behind], self.size)
        self.size, self._table_size = end, len(piece) - len(records)
        self._put(self._header(), 0)

    def note_build_id(self, path: bytes, build_id: bytes) -> None:
        """Note the build id of a file that records name."""
        self._build_ids[path] = build_id

    def note_times(self, first: int, last: int) -> None:
        """Note the times of the first and the last sample so far, ns."""
        self._put(sample_time(first, last), self._sections[Feature.SAMPLE_TIME][0])

    def close(self) -> None:
        """Write what stands behind the records."""
        self.write(b"")
        self.size += self._table_size
        os.ftruncate(self._fd, self.size)

    def _tail(self, end: int) -> bytes:
        """The table of the sections, for records that end at `end`, and what changes with time."""
        sections = dict(self._sections)
        known = build_ids(self._build_ids.items())
        if known:
            behind = end + _SECTION.size * (len(sections) + 1)
            sections[Feature.BUILD_ID] = behind, len(known)
        table = b"".join(_SECTION.pack(*sections[bit]) for bit in sorted(sections))
        return table + known

    def _header(self) -> bytes:
        bits = sum(1 << bit for bit in self._sections)
        bits |= bool(self._build_ids) << Feature.BUILD_ID
        return _HEADER.pack(
            *(_MAGIC, _HEADER.size, _ATTR_ENTRY),
            *(self._attrs, self._events * _ATTR_ENTRY),
            *(self._data, self.size - self._data, 0, 0),
            bits.to_bytes(32, "little"),
        )

    def _put(self, data: bytes, position: int) -> None:
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, position)
                view, position = view[written:], position + written
        except OSError as error:
            raise _unwritable(self._path, error) from None


class PipeOutput:
    """Perf's pipe mode: what a file has around its records, as records before them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = 0

    def begin(self, head: Head) -> None:
        """Write what stands before the records."""
        parts = [_PIPE_HEADER.pack(_MAGIC, _PIPE_HEADER.size)]
        for event in head.events:
            ids = struct.pack(f"<{len(event.ids)}Q", *event.ids)
            parts.append(own_record(RecordKind.HEADER_ATTR, event.attr + ids))
        for event in head.events:
            body = struct.pack("<QQ", _UPDATE_NAME, event.ids[0])
            body += event.name.encode(errors="surrogateescape") + b"\0"
            parts.append(own_record(RecordKind.EVENT_UPDATE, body))
        for bit, content in sorted(head.features.items()):
            body = struct.pack("<Q", bit) + content
            # A description of very many events has no room, and is not needed here.
            if len(body) <= _BODY_MAX:
                parts.append(own_record(RecordKind.HEADER_FEATURE, body))
        if head.tracing:
            # Its size is not the record's, behind which it stands.
            content = head.tracing + bytes(-len(head.tracing) % 8)
            record = struct.pack("<IHHI", RecordKind.HEADER_TRACING_DATA, 0, 12, len(content))
            parts += record, content
        self.write(b"".join(parts))

    def write(self, records: bytes) -> None:
        """Write records. Raise BrokenPipeError where nobody reads them any more."""
        view = memoryview(records)
        self.size += len(view)
        while view:
            view = view[os.write(self._fd, view) :]

    def note_build_id(self, path: bytes, build_id: bytes) -> None:
        """Write the build id of a file that records name."""
        body = build_id_body(path, build_id)
        self.write(own_record(RecordKind.HEADER_BUILD_ID, body, build_id_misc(path)))

    def note_times(self, first: int, last: int) -> None:
        """Leave it: the reader has seen them."""

    def close(self) -> None:
        """Leave it to the descriptor's end."""


def open_output(path: str) -> tuple[Output, int]:
    """Open a new file, or "-" for stdout; return it with the descriptor that is to be closed.

    A file of that name gets ".old" behind its name. Raise ClientError where that is not possible,
    or where records would go to a terminal.
    """
    if path == "-":
        fd = sys.stdout.fileno()
        if os.isatty(fd):
            raise ClientError("a recording is no text for a terminal: send stdout elsewhere")
        return PipeOutput(os.dup(fd)), fd
    try:
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise ClientError(f"{terminal_safe(path)} is there, and is no regular file")
        if os.path.lexists(path):
            os.replace(path, f"{path}.old")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    return FileOutput(fd, path), fd


def _unwritable(path: str, error: OSError) -> ClientError:
    return ClientError(f"cannot write {terminal_safe(path)}: {error.strerror or error}")
