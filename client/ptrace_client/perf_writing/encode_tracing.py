"""Tracing data: the part of tracefs that a file has a copy of, so that its records can be read.

Its layout is that of trace.dat files (trace-cmd.dat.v6(5)), up to their options.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

_BEGIN: Final = b"\x17\x08\x44tracing" + b"0.6\0"
_LITTLE_ENDIAN: Final = 0
_LONG_SIZE: Final = 8


def encode_tracing(
    page_size: int,
    header_page: str,
    header_event: str,
    formats: Iterable[tuple[str, str]],
    printk_formats: bytes = b"",
) -> bytes:
    """Return the section with these texts; `formats` are pairs of system and format.

    `printk_formats` are texts of the kernel's that records name by their addresses.
    """
    systems: dict[str, list[str]] = {}
    for system, text in formats:
        systems.setdefault(system, []).append(text)
    parts = [
        _BEGIN,
        struct.pack("<BBI", _LITTLE_ENDIAN, _LONG_SIZE, page_size),
        b"header_page\0" + _text(header_page),
        b"header_event\0" + _text(header_event),
        # No formats of ftrace's own events.
        struct.pack("<I", 0),
        struct.pack("<I", len(systems)),
    ]
    for system, texts in systems.items():
        parts.append(system.encode() + b"\0" + struct.pack("<I", len(texts)))
        parts += map(_text, texts)
    # No symbols before it, and no names of tasks behind it.
    parts += struct.pack("<II", 0, len(printk_formats)), printk_formats, struct.pack("<Q", 0)
    return b"".join(parts)


def _text(text: str) -> bytes:
    data = text.encode(errors="surrogateescape")
    return struct.pack("<Q", len(data)) + data
