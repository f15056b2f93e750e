"""Recordings made up byte by byte: perf.data files and what perf writes into pipes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ptrace_client.perf_data.attr import FLAG_SAMPLE_ID_ALL, EventKind, SampleType, mirrored
from ptrace_client.perf_data.model import RecordKind

ATTR: Final = "IIQQQQQIIQQQQIiQIHHIIQ"
# What perf record asks for with several events, and what lies at the end of other records then.
USUAL: Final = (
    SampleType.IDENTIFIER | SampleType.IP | SampleType.TID | SampleType.TIME | SampleType.CPU
)
# A tracepoint's format, of which FORMAT.format(...) makes one of any system and id.
FORMAT: Final = """\
name: {name}
ID: {id}
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:u64 value;\toffset:8;\tsize:8;\tsigned:0;

print fmt: "value=%llu", REC->value
"""
HOSTNAME: Final = 3
TRACING_DATA: Final = 1
EVENT_DESC: Final = 12


@dataclass
class MadeEvent:
    """An event with its ids; `attr` is the struct in the byte order of the file."""

    attr: bytes
    ids: Sequence[int]
    name: str


@dataclass
class MadeRecording:
    """Add events, features and records, then take the bytes by file() or pipe().

    `order` is struct's prefix of the machine that records.
    """

    order: str = "<"
    events: list[MadeEvent] = field(default_factory=list)
    features: dict[int, bytes] = field(default_factory=dict)
    records: list[bytes] = field(default_factory=list)

    def pack(self, codes: str, *values: int | bytes | float) -> bytes:
        """Return values in the byte order of the file."""
        return struct.pack(self.order + codes, *values)

    def event(
        self,
        kind: int = EventKind.SOFTWARE,
        config: int = 0,
        *,
        ids: Sequence[int] = (),
        sample_type: int = USUAL,
        read_format: int = 0,
        flags: int = FLAG_SAMPLE_ID_ALL,
        name: str = "",
        size: int = 128,
        **others: int,
    ) -> None:
        """Add an event. `others`: period, branches, regs_user, regs_intr, config1, bp_type."""
        known = {"period": 3, "bp_type": 8, "config1": 9, "branches": 11, "regs_user": 12}
        members = [kind, size, config, 1, sample_type, read_format, flags, *[0] * 15]
        for key, value in others.items():
            members[{**known, "regs_intr": 15}[key]] = value
        if self.order == ">":
            members[6] = mirrored(flags)
        attr = self.pack(ATTR, *members).ljust(size, b"\0")[:size]
        self.events.append(MadeEvent(attr, ids, name))

    def record(self, kind: int, body: bytes = b"", misc: int = 0) -> bytes:
        """Add a record, and return its bytes."""
        body += b"\0" * (-len(body) % 8)
        made = self.pack("IHH", kind, misc, 8 + len(body)) + body
        self.records.append(made)
        return made

    def sample(
        self, id: int, time: int, *, tail: bytes = b"", tid: int = 7, misc: int = 2
    ) -> bytes:
        """Add a sample of sample_type USUAL; `tail` holds what that does not."""
        fixed = self.pack("QQIIQII", id, 0x1000, tid, tid, time, 0, 0)
        return self.record(RecordKind.SAMPLE, fixed + tail, misc)

    def trailer(self, id: int, time: int, tid: int = 7) -> bytes:
        """Return what ends records other than samples for sample_type USUAL."""
        return self.pack("IIQIIQ", tid, tid, time, 0, 0, id)

    def raw(self, content: bytes) -> bytes:
        """Return PERF_SAMPLE_RAW, padded as the kernel does."""
        content += b"\0" * (-(len(content) + 4) % 8)
        return self.pack("I", len(content)) + content

    def text(self, text: str) -> bytes:
        """Return a string of a feature section."""
        content = text.encode() + b"\0"
        content += b"\0" * (-len(content) % 64)
        return self.pack("I", len(content)) + content

    def tracing(
        self, formats: Mapping[str, Sequence[str]], *, commands: bytes = b"", version: str = "0.6"
    ) -> bytes:
        """Return tracing data: the texts of `format` files by system."""
        parts = [b"\x17\x08\x44tracing", version.encode() + b"\0"]
        parts.append(self.pack("BBI", self.order == ">", 8, 4096))
        parts += [b"header_page\0", self.pack("Q", 4), b"page"]
        parts += [b"header_event\0", self.pack("Q", 5), b"event"]
        parts.append(self.pack("II", 0, len(formats)))
        for system, texts in formats.items():
            parts += [system.encode() + b"\0", self.pack("I", len(texts))]
            for text in texts:
                content = text.encode(errors="surrogateescape")
                parts += [self.pack("Q", len(content)), content]
        parts += [self.pack("I", 4), b"syms", self.pack("I", 6), b"printk"]
        if version == "0.6":
            parts += [self.pack("Q", len(commands)), commands]
        return b"".join(parts)

    def describe(self) -> bytes:
        """Return EVENT_DESC for the events so far."""
        parts = [self.pack("II", len(self.events), len(self.events[0].attr))]
        for event in self.events:
            parts += [event.attr, self.pack("I", len(event.ids)), self.text(event.name)]
            parts.append(self.pack(f"{len(event.ids)}Q", *event.ids))
        return b"".join(parts)

    def file(self, *, data_size: int | None = None) -> bytes:
        """Return a perf.data file; `data_size` instead of the true one for the header."""
        place, ids, attrs = 104, [], []
        for event in self.events:
            content = self.pack(f"{len(event.ids)}Q", *event.ids)
            attrs.append(event.attr + self.pack("QQ", place, len(content)))
            ids.append(content)
            place += len(content)
        head, table, content = b"".join(ids), b"".join(attrs), b"".join(self.records)
        data = place + len(table)
        bits = sum(1 << feature for feature in self.features).to_bytes(32, "little")
        if self.order == ">":
            bits = b"".join(bits[start : start + 8][::-1] for start in range(0, 32, 8))
        size = len(content) if data_size is None else data_size
        header = b"PERFILE2" if self.order == "<" else b"2ELIFREP"
        header += self.pack(
            "8Q", 104, len(attrs[0]) if attrs else 144, place, len(table), data, size, 0, 0
        )
        return header + bits + head + table + content + self._sections(data + len(content))

    def _sections(self, place: int) -> bytes:
        place += 16 * len(self.features)
        table, contents = [], []
        for _, content in sorted(self.features.items()):
            table.append(self.pack("QQ", place, len(content)))
            contents.append(content)
            place += len(content)
        return b"".join(table + contents)

    def pipe(self) -> bytes:
        """Return the same as perf writes it into a pipe."""
        parts = [b"PERFILE2" if self.order == "<" else b"2ELIFREP", self.pack("Q", 16)]
        for event in self.events:
            body = event.attr + self.pack(f"{len(event.ids)}Q", *event.ids)
            parts.append(self.declared(RecordKind.HEADER_ATTR, body))
        for feature, content in sorted(self.features.items()):
            if feature == TRACING_DATA:
                content += b"\0" * (-len(content) % 8)
                size = self.pack("II", len(content), 0)
                parts += [self.declared(RecordKind.HEADER_TRACING_DATA, size), content]
            else:
                body = self.pack("Q", feature) + content
                parts.append(self.declared(RecordKind.HEADER_FEATURE, body))
        return b"".join([*parts, *self.records])

    def declared(self, kind: int, body: bytes) -> bytes:
        """Return a record without adding it."""
        body += b"\0" * (-len(body) % 8)
        return self.pack("IHH", kind, 0, 8 + len(body)) + body


def two_events(order: str = "<") -> MadeRecording:
    """Return a recording of sched:sched_wakeup (ids 11, 12) and cpu-clock (21)."""
    made = MadeRecording(order)
    wakeup = USUAL | SampleType.RAW
    made.event(
        EventKind.TRACEPOINT, 300, ids=(11, 12), sample_type=wakeup, name="sched:sched_wakeup"
    )
    made.event(EventKind.SOFTWARE, 0, ids=(21,), name="cpu-clock:u")
    made.features[TRACING_DATA] = made.tracing(
        {"sched": [FORMAT.format(name="sched_wakeup", id=300)]}
    )
    made.features[HOSTNAME] = made.text("wolke")
    made.features[EVENT_DESC] = made.describe()
    return made


def wakeup_raw(made: MadeRecording, value: int, pid: int = 7) -> bytes:
    """Return the raw part of a sample of sched_wakeup."""
    return made.raw(made.pack("HBBiQ", 300, 0, 0, pid, value))


def written(folder: Path, content: bytes, name: str = "perf.data") -> str:
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(content)
    return str(path)
