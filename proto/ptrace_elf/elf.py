"""ELF files as far as symbols need them, read with distrust.

Sizes and counts in a file are checked against the file and against bounds before anything
is read by them; a file that lies gets an ElfError. Little-endian files of 32 and 64 bits.
Section headers are read as NumPy arrays: a process maps dozens of files, and most are
looked at once.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

# More than any linker makes.
_SEGMENTS_MAX = 1024
_SECTIONS_MAX = 32768
_NOTES_MAX = 1 << 20
_NAMES_MAX = 4 << 20

_PT_LOAD, _PT_NOTE = 1, 4
_SHT_NOBITS = 8
_NT_GNU_BUILD_ID = 3
_BUILD_ID_MAX = 64

_HEADERS = {
    1: struct.Struct("<16xHH4xIII4x2xHHHHH"),
    2: struct.Struct("<16xHH4xQQQ4x2xHHHHH"),
}
_SEGMENT = {
    1: np.dtype(
        {
            "names": ["type", "offset", "vaddr", "filesz", "memsz", "flags"],
            "formats": ["<u4"] * 6,
            "offsets": [0, 4, 8, 16, 20, 24],
            "itemsize": 32,
        }
    ),
    2: np.dtype(
        {
            "names": ["type", "flags", "offset", "vaddr", "filesz", "memsz"],
            "formats": ["<u4", "<u4", "<u8", "<u8", "<u8", "<u8"],
            "offsets": [0, 4, 8, 16, 32, 40],
            "itemsize": 56,
        }
    ),
}
_SECTION = {
    1: np.dtype(
        [
            *((name, "<u4") for name in ("name", "type", "flags", "addr", "offset", "size")),
            *((name, "<u4") for name in ("link", "info", "align", "entsize")),
        ]
    ),
    2: np.dtype(
        [
            *(("name", "<u4"), ("type", "<u4"), ("flags", "<u8"), ("addr", "<u8")),
            *(("offset", "<u8"), ("size", "<u8"), ("link", "<u4"), ("info", "<u4")),
            *(("align", "<u8"), ("entsize", "<u8")),
        ]
    ),
}
_EXECUTABLE = 1  # PF_X

# Bytes of a symbol table and of its names; the largest programs have about half of this.
SYMBOLS_MAX = 64 << 20
STRINGS_MAX = 192 << 20
# By Elf.bits, a symbol.
SYMBOL = {
    1: np.dtype(
        [
            *(("name", "<u4"), ("value", "<u4"), ("size", "<u4")),
            *(("info", "u1"), ("other", "u1"), ("section", "<u2")),
        ]
    ),
    2: np.dtype(
        [
            *(("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2")),
            *(("value", "<u8"), ("size", "<u8")),
        ]
    ),
}

Rows = NDArray[Any]


# Those that this machine has; O_BINARY is of Windows.
_OPENING = ("O_RDONLY", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY")
_FLAGS = sum(getattr(os, name, 0) for name in _OPENING)


class ElfError(Exception):
    """The file is no ELF file, or not one that can be believed."""


def _read_at(fd: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, size, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, size)


class FileData:
    """The content of a regular file, open as `fd`, which this object owns."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size = os.fstat(fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`; ElfError where the file has not as many.

        Not by mmap: who owns the file may cut it meanwhile, which would be SIGBUS.
        """
        if offset + size > self.size:
            raise ElfError("something lies behind the end of the file")
        parts = []
        while size:
            part = _read_at(self.fd, size, offset)
            if not part:
                raise ElfError("the file has become shorter")
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        os.close(self.fd)


class BytesData:
    """The same for what is in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`."""
        if offset + size > self.size:
            raise ElfError("something lies behind the end of the file")
        return self._data[offset : offset + size]

    def close(self) -> None:
        pass


Data = FileData | BytesData


class Elf:
    """The headers of an ELF file; raises ElfError, or OSError where it cannot be read."""

    def __init__(self, data: Data) -> None:
        ident = data.read(0, 16)
        if ident[:4] != b"\x7fELF" or ident[4] not in _HEADERS or ident[5] != 1:
            raise ElfError("no little-endian ELF file")
        self.data = data
        self.bits = ident[4]
        header = _HEADERS[self.bits]
        fields = header.unpack(data.read(0, header.size))
        self.type, self.machine, _, phoff, shoff = fields[:5]
        phentsize, phnum, shentsize, shnum, shstrndx = fields[5:]
        segments = self._rows(_SEGMENT[self.bits], phoff, phentsize, phnum, _SEGMENTS_MAX)
        self._notes = segments[segments["type"] == _PT_NOTE]
        self.loaded = segments[segments["type"] == _PT_LOAD]
        self.sections = self._read_sections(shoff, shentsize, shnum)
        self._names = self._section_names(shstrndx)

    def address_of(self, offset: int) -> int | None:
        """The address that the file's code at `offset` was linked for, None where none is."""
        starts = self.loaded["offset"]
        inside = (starts <= offset) & (offset < starts + self.loaded["filesz"])
        found = self.loaded[inside]
        if not len(found):
            return None
        executable = found[(found["flags"] & _EXECUTABLE) != 0]
        row = (executable if len(executable) else found)[0]
        return int(row["vaddr"]) + offset - int(row["offset"])

    def section(self, name: bytes) -> np.void | None:
        """The first section of that name."""
        for row in self.sections:
            at = int(row["name"])
            if self._names.startswith(name + b"\0", at):
                return row  # type: ignore[no-any-return]
        return None

    def section_name(self, index: int) -> bytes:
        """The name of the section with that number."""
        at = int(self.sections[index]["name"])
        return self._names[at : self._names.find(b"\0", at)]

    def content(self, section: np.void, limit: int) -> bytes:
        """The bytes of a section; ElfError where they are more than `limit`."""
        size = int(section["size"])
        if section["type"] == _SHT_NOBITS or size > limit:
            raise ElfError("a section has no content, or too much of it")
        return self.data.read(int(section["offset"]), size)

    def build_id(self) -> bytes | None:
        """What the linker wrote to tell this file from all others."""
        for row in self._notes[:16]:
            size = int(row["filesz"])
            if size <= _NOTES_MAX:
                found = build_id_in(self.data.read(int(row["offset"]), size))
                if found:
                    return found
        return None

    def _rows(self, kind: np.dtype[Any], offset: int, size: int, count: int, limit: int) -> Rows:
        if not count:
            return np.empty(0, kind)
        if size != kind.itemsize or count > limit:
            raise ElfError("a table of headers has a wrong size")
        return np.frombuffer(self.data.read(offset, size * count), kind)

    def _read_sections(self, offset: int, size: int, count: int) -> Rows:
        kind = _SECTION[self.bits]
        if offset and not count:
            # elf(5), e_shnum: where they are many, the first header has their number.
            (first,) = self._rows(kind, offset, size, 1, 1)
            count = int(first["size"])
        return self._rows(kind, offset, size, count if offset else 0, _SECTIONS_MAX)

    def _section_names(self, index: int) -> bytes:
        if index == 0xFFFF and len(self.sections):
            index = int(self.sections[0]["link"])
        if not 0 < index < len(self.sections):
            return b""
        return self.content(self.sections[index], _NAMES_MAX)


def build_id_in(notes: bytes) -> bytes | None:
    """The GNU build id among the notes of elf(5)."""
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, at)
        name = at + 12
        content = name + (name_size + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and notes[name : name + name_size] == b"GNU\0":
            found = notes[content : content + size]
            return found if len(found) == size and 0 < size <= _BUILD_ID_MAX else None
        at = content + (size + 3 & ~3)
    return None


def open_regular(path: str, *, follow: bool = True) -> FileData:
    """Open a regular file to read; OSError where it is none, without having opened it.

    Opening a FIFO may wait forever, opening a device may do something. Without `follow` a
    symbolic link is no regular file.
    """
    flags = _FLAGS
    own = 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    if not hasattr(os, "O_PATH"):
        # Not Linux: there it must do that opening does not wait.
        return _regular(os.open(path, flags | own), path)
    place = os.open(path, os.O_PATH | os.O_CLOEXEC | own)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(f"{path} is no regular file")
        return FileData(os.open(f"/proc/self/fd/{place}", flags))
    finally:
        os.close(place)


def _regular(fd: int, path: str) -> FileData:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is no regular file")
    return FileData(fd)
