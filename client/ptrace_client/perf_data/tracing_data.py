"""What perf copies of tracefs into a recording: the formats of the recorded events above all.

Written by tools/perf/util/trace-event-info.c.
"""

from __future__ import annotations

from typing import Final

from ptrace_client.perf_data.cursor import Cursor
from ptrace_client.perf_data.model import Buffer, TracingData
from ptrace_formats.event_format import FormatError, parse_format

_MAGIC: Final = b"\x17\x08\x44tracing"
# A format of the kernel has at most some 10 kB, since it is written into a seq buffer.
_LONGEST_FORMAT: Final = 1 << 20
# Saved command lines came with this version.
_COMMANDS_VERSION: Final = (0, 6)


def read_tracing_data(data: Buffer, start: int, end: int, where: str) -> TracingData:
    """Read the section. Raise ClientError where it is damaged."""
    cursor = Cursor(data, start, end, "<", where)
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
        tracing.commands = _commands(cursor.take(cursor.u64()))
    return tracing


def _format(cursor: Cursor, system: str, tracing: TracingData) -> None:
    position, size = cursor.position, cursor.u64()
    text = cursor.take(size)
    if size > _LONGEST_FORMAT:
        tracing.damaged.append((system, f"byte {position}"))
        return
    try:
        parsed = parse_format(system, text.decode(errors="surrogateescape"))
    except FormatError:
        tracing.damaged.append((system, f"byte {position}"))
        return
    tracing.formats[parsed.id] = parsed


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
