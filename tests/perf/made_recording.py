"""A perf.data file of samples that are made up, over formats that are not.

Only what perf needs to take its tracepoint samples from: header, attrs, tracing data, samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from struct import pack

from ptrace_formats.event_format import EventFormat, FormatField

# IDENTIFIER, TID, TIME, CPU, RAW.
_SAMPLE_TYPE = 1 << 16 | 1 << 1 | 1 << 2 | 1 << 7 | 1 << 10
# LOST: without it perf gives scripts a tuple with a hole.
_READ_FORMAT = 1 << 4
_SAMPLE_ID_ALL = 1 << 18
_TRACEPOINT, _SAMPLE = 2, 9
_HEADER_SIZE, _ATTR_SIZE = 104, 128
_TRACING_DATA = 1
# The events of the other tracers, whose formats have a place of their own.
_FTRACE = "ftrace"


def write(path: Path, formats: list[tuple[EventFormat, str]], records: list[list[bytes]]) -> None:
    """Write a recording of events, each with its format file's text, and their raw records.

    The records come event by event, a nanosecond apart.
    """
    attrs_at = _HEADER_SIZE + 8 * len(formats)
    ids = b"".join(pack("<Q", 1000 + number) for number in range(len(formats)))
    attrs = b"".join(
        _attr(format.id) + pack("<QQ", _HEADER_SIZE + 8 * number, 8)
        for number, (format, _) in enumerate(formats)
    )
    data_at = attrs_at + len(attrs)
    data = b"".join(_samples(records))
    features_at = data_at + len(data) + 16
    tracing = _tracing_data(formats)
    header = b"PERFILE2" + pack(
        "<8Q",
        _HEADER_SIZE,
        _ATTR_SIZE + 16,
        attrs_at,
        len(attrs),
        data_at,
        len(data),
        0,
        0,
    )
    header += pack("<4Q", 1 << _TRACING_DATA, 0, 0, 0)
    path.write_bytes(header + ids + attrs + data + pack("<QQ", features_at, len(tracing)) + tracing)


def _attr(event: int) -> bytes:
    fields = pack("<IIQQQ", _TRACEPOINT, _ATTR_SIZE, event, 1, _SAMPLE_TYPE)
    fields += pack("<QQ", _READ_FORMAT, _SAMPLE_ID_ALL)
    return fields.ljust(_ATTR_SIZE, b"\0")


def _samples(records: list[list[bytes]]) -> Iterator[bytes]:
    time = 10**9
    for number, raws in enumerate(records):
        for raw in raws:
            time += 1
            raw += bytes(-(len(raw) + 4) % 8)
            body = pack("<QIIQII", 1000 + number, 42, 42, time, 1, 0) + pack("<I", len(raw)) + raw
            yield pack("<IHH", _SAMPLE, 1, len(body) + 8) + body


def _tracing_data(formats: list[tuple[EventFormat, str]]) -> bytes:
    def sized(text: str) -> bytes:
        return pack("<Q", len(text.encode())) + text.encode()

    made = b"\x17\x08\x44tracing0.6\0" + pack("<BBI", 0, 8, 4096)
    for name in ("header_page", "header_event"):
        made += (
            name.encode() + b"\0" + sized(Path(f"/sys/kernel/tracing/events/{name}").read_text())
        )
    own = [text for format, text in formats if format.system == _FTRACE]
    made += pack("<I", len(own)) + b"".join(map(sized, own))
    systems = [
        (system, [text for _, text in group])
        for system, group in groupby(formats, key=lambda each: each[0].system)
        if system != _FTRACE
    ]
    made += pack("<I", len(systems))
    for system, texts in systems:
        made += system.encode() + b"\0" + pack("<I", len(texts))
        made += b"".join(sized(text) for text in texts)
    # kallsyms, printk formats, names of commands.
    return made + pack("<II", 0, 0) + pack("<Q", 0)


def raw_record(format: EventFormat, variant: int) -> bytes:
    """Make a record whose values show size, sign and place of each field.

    Text of variant 1 has a byte that does not print.
    """
    size = max((field.offset + field.size for field in (*format.common, *format.fields)), default=8)
    record = bytearray(size)
    record[:8] = pack("<HBBi", format.id, 1, 2, 42)
    for number, field in enumerate(format.fields):
        place = slice(field.offset, field.offset + field.size)
        content = _content(field, number, variant)
        if field.ctype.startswith(("__data_loc", "__rel_loc")):
            start = len(record)
            if field.relative:
                start -= field.offset + field.size
            record[place] = pack("<I", len(content) << 16 | start)
            record += content
        else:
            record[place] = content
    return bytes(record)


def _content(field: FormatField, number: int, variant: int) -> bytes:
    dynamic = field.ctype.startswith(("__data_loc", "__rel_loc"))
    length = 8 + number % 5 if dynamic else field.size
    if "[" in field.ctype and length:
        text = f"{variant}{field.name}".encode()[: length - 1]
        if variant == 1:
            text = b"\x01" + text[1:]
        return text.ljust(length, b"\0")
    # The top bit set in variant 0: negative where signed.
    return bytes([(number + variant) & 0x7F] * (length - 1) + [0x80 + number & 0xFF])[:length]
