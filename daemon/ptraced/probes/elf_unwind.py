"""Where functions start and end as unwind information tells, which stripped files have too.

.eh_frame_hdr is a sorted table of starts (Linux Standard Base, "Exception Frames"); only
its usual form is read, that of GNU ld, gold, lld and mold.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from functools import cached_property

from ptraced.probes.elf_image import Image

# Version 1; a pointer relative to its place; a count; entries relative to the section.
_USUAL = bytes([1, 0x1B, 0x03, 0x3B])
_ENTRY = struct.Struct("<ii")
# Length, offset of the CIE, start relative to itself, length of the function.
_FDE = struct.Struct("<IIii")


class UnwindTable:
    """The functions of an image, by their start."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def starts_at(self, address: int) -> bool:
        return self._position(address) is not None and self._starts[self._last] == address

    def containing(self, address: int) -> tuple[int, int] | None:
        """Start and end of the function that an address lies in."""
        at = self._position(address)
        if at is None:
            return None
        start, described = self._starts[at], self._descriptions[at]
        frames = self._image.section(".eh_frame")
        if frames is None or not 0 <= described - frames["sh_addr"] <= frames["sh_size"] - 16:
            return None
        stream = self._image.elf.stream
        stream.seek(frames["sh_offset"] + described - frames["sh_addr"])
        _, _, relative, length = _FDE.unpack(stream.read(_FDE.size))
        if described + 8 + relative != start or not start <= address < start + length:
            return None
        return start, start + length

    def _position(self, address: int) -> int | None:
        self._last = bisect_right(self._starts, address) - 1
        return self._last if self._last >= 0 else None

    @cached_property
    def _table(self) -> tuple[list[int], list[int]]:
        data = self._image.data(".eh_frame_hdr")
        section = self._image.section(".eh_frame_hdr")
        if section is None or not data.startswith(_USUAL) or len(data) < 12:
            return [], []
        base = section["sh_addr"]
        (count,) = struct.unpack_from("<I", data, 8)
        whole = 12 + min(count, (len(data) - 12) // _ENTRY.size) * _ENTRY.size
        entries = sorted(_ENTRY.iter_unpack(data[12:whole]))
        return [base + start for start, _ in entries], [base + fde for _, fde in entries]

    @property
    def _starts(self) -> list[int]:
        return self._table[0]

    @property
    def _descriptions(self) -> list[int]:
        return self._table[1]
