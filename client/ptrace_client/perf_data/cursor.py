"""Numbers and strings out of a part of a recording, every length checked before it is used."""

from __future__ import annotations

import struct
from typing import Final, Literal

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.model import Buffer

# struct's prefixes as int.from_bytes() names them.
BYTE_ORDERS: Final[dict[str, Literal["little", "big"]]] = {"<": "little", ">": "big"}
_NUMBERS: Final = {
    order: (struct.Struct(f"{order}I").unpack_from, struct.Struct(f"{order}Q").unpack_from)
    for order in BYTE_ORDERS
}
# Bytes of a string; perf's command lines have the longest.
_LONGEST_TEXT: Final = 1 << 20


def damage(where: str, offset: int, what: str) -> ClientError:
    """Return the error for damaged bytes; `where` names the file and the part of it."""
    return ClientError(f"{where}, byte {offset}: {what}")


class Cursor:
    """Reads on from `start` up to `end` in `data`; `order` is struct's prefix, "<" or ">".

    Every method raises ClientError where less is left than it is to read.
    """

    def __init__(self, data: Buffer, start: int, end: int, order: str, where: str) -> None:
        self.data = data
        self.position = start
        self.end = end
        self.where = where
        # Where `data` starts in the recording.
        self.base = 0
        self._order = order
        self._u32, self._u64 = _NUMBERS[order]

    @property
    def left(self) -> int:
        """Bytes that are left."""
        return self.end - self.position

    def fail(self, what: str) -> ClientError:
        """Return the error for what lies at the current position."""
        return damage(self.where, self.base + self.position, what)

    def skip(self, size: int) -> int:
        """Go over `size` bytes and return where they start."""
        start = self.position
        if size > self.end - start:
            raise self.fail(f"{size} bytes are to follow, {self.left} are left")
        self.position = start + size
        return start

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        start = self.skip(size)
        return self.data[start : start + size]

    def u8(self) -> int:
        """Return the next byte."""
        return self.data[self.skip(1)]

    def u32(self) -> int:
        """Return the next 4 bytes as a number."""
        number: int = self._u32(self.data, self.skip(4))[0]
        return number

    def u64(self) -> int:
        """Return the next 8 bytes as a number."""
        number: int = self._u64(self.data, self.skip(8))[0]
        return number

    def u64s(self, count: int) -> tuple[int, ...]:
        """Return the next `count` numbers of 8 bytes."""
        start = self.skip(count * 8)
        return struct.unpack_from(f"{self._order}{count}Q", self.data, start)

    def text(self) -> str:
        """Return a string of a feature section: its size as u32, then that many bytes."""
        size = self.u32()
        if size > _LONGEST_TEXT:
            raise self.fail(f"a text of {size} bytes")
        return self.take(size).partition(b"\0")[0].decode(errors="surrogateescape")

    def line(self) -> str:
        """Return a string that a NUL ends."""
        found = self.data.find(b"\0", self.position, self.end)
        if found < 0:
            raise self.fail("a string without end")
        text = self.take(found - self.position)
        self.position += 1
        return text.decode(errors="surrogateescape")
