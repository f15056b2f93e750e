"""What perf copies of tracefs into a recording: the formats of the recorded events above all.

Written by tools/perf/util/trace-event-info.c.
"""

from __future__ import annotations

from typing import Final

from ptrace_client.perf_data.cursor import Cursor
from ptrace_client.perf_data.model import Buffer, TracingData
from ptrace_formats.event_format import FormatError, parse_format

_MAGIC: Final = b"\x17\x08\x44tracing"
# Bytes of it all: the formats of all of a kernel's events are some 6 MB.
MOST_TRACING_DATA: Final = 64 << 20
# Bytes of a format, and of the description of a field in it; the largest known have 12 kB and
# 150 bytes.
_LONGEST_FORMAT: Final = 256 << 10
_LONGEST_FIELD: Final = 500
# Bytes of saved command lines.
_MOST_COMMANDS: Final = 1 << 20
# Saved command lines came with this version.
_COMMANDS_VERSION: Final = (0, 6)


def read_tracing_data(data: Buffer, start: int, end: int, where: str) -> TracingData:
    """Read the section. Raise ClientError where it is damaged."""
    cursor = Cursor(data, start, end, "<", where)
    if end - start > MOST_TRACING_DATA:
        raise cursor.fail(f"{end - start} bytes are too many for what perf copies of tracefs")
    if cursor.take(len(_MAGIC)) != _MAGIC:
        raise cursor.fail("no tracing data starts here")
    version = cursor.line()
    big_endian = cursor.u8() != 0
    cursor = Cursor(data, cursor.position, end, ">" if big_endian else "<", where)
    tracing = TracingData(big_endian, long_size=cursor.u8(), page_size=cursor.u32())
    for name in (b"header_page\0", b"header_event\0"):
        if cursor.take(len(name)) != name:
            raise cursor.fail(f"{name[:-1].decode()} is missing")
        cursor.skip(cursor.u64())
    for _ in range(cursor.u32()):
        _format(cursor, "ftrace", tracing)
    for _ in range(cursor.u32()):
        system = cursor.line()
        for _ in range(cursor.u32()):
            _format(cursor, system, tracing)
    tracing.kallsyms = cursor.take(cursor.u32())
    tracing.printk_formats = cursor.take(cursor.u32())
    if _version(version) >= _COMMANDS_VERSION:
        tracing.commands = _commands(cursor.take(cursor.u64())[:_MOST_COMMANDS])
    return tracing


def _format(cursor: Cursor, system: str, tracing: TracingData) -> None:
    position, size = cursor.position, cursor.u64()
    text = cursor.take(size).decode(errors="surrogateescape")
    try:
        if size > _LONGEST_FORMAT or max(map(len, _fields(text))) > _LONGEST_FIELD:
            raise FormatError("it is too long")
        parsed = parse_format(system, text)
    except FormatError:
        tracing.damaged.append((system, f"byte {position}"))
        return
    tracing.formats[parsed.id] = parsed


def _fields(text: str) -> list[str]:
    return text.partition("\nprint fmt:")[0].split("\n")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in text[:20].split("."))


def _commands(content: bytes) -> dict[int, str]:
    """Read lines of a thread's id and name."""
    commands = {}
    for line in content.decode(errors="surrogateescape").splitlines():
        number, _, name = line.strip().partition(" ")
        if number.isdecimal() and len(number) < 11:
            commands[int(number)] = name
    return commands
