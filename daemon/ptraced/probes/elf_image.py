"""A program or shared library as a user probe needs it: what lies at an address, and where."""

from __future__ import annotations

import os
import stat
import struct
from typing import BinaryIO, NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

from ptraced.errors import TraceError
from ptraced.probes.elf_answer import Refused

# e_machine by uname's names, and what users call the others.
_MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}
_CALLED = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64", "EM_386": "i386", "EM_ARM": "arm"}
_MAGIC = b"\x7fELF"
_SECTION_BYTES_MAX = 512 << 20
_EXECUTABLE, _WRITABLE = 1, 2
_DEBUG_FILES = "/usr/lib/debug/.build-id"
_NOTE = struct.Struct("<III")


class Segment(NamedTuple):
    """What a PT_LOAD maps: `length` bytes from `offset` in the file on, to `address`."""

    address: int
    offset: int
    length: int
    flags: int


class Image:
    """An ELF file. Raises Refused where it is none that could be probed on this machine."""

    def __init__(self, stream: BinaryIO, machine: str, shown: str) -> None:
        self.shown = shown
        self.machine = machine
        self.elf = self._opened(stream)
        self.entry: int = self.elf["e_entry"]
        self.segments = [
            Segment(part["p_vaddr"], part["p_offset"], part["p_filesz"], part["p_flags"])
            for part in self.elf.iter_segments("PT_LOAD")
        ]

    def section(self, name: str) -> Section | None:
        """A section that has bytes in the file and is not absurdly large."""
        section = self.elf.get_section_by_name(name)
        if section is None or section["sh_type"] == "SHT_NOBITS":
            return None
        return section if section["sh_size"] <= _SECTION_BYTES_MAX else None

    def data(self, name: str) -> bytes:
        section = self.section(name)
        return section.data() if section is not None else b""

    def file_offset(self, address: int, *, executable: bool = True) -> int | None:
        """Where the byte at an address is in the file: of code, or of what can be written."""
        wanted = _EXECUTABLE if executable else _WRITABLE
        for segment in self.segments:
            if segment.flags & wanted and 0 <= address - segment.address < segment.length:
                return address - segment.address + segment.offset
        return None

    def code(self, address: int, length: int) -> bytes:
        """Up to `length` bytes of code at an address."""
        for segment in self.segments:
            inside = address - segment.address
            if segment.flags & _EXECUTABLE and 0 <= inside < segment.length:
                self.elf.stream.seek(segment.offset + inside)
                return bytes(self.elf.stream.read(min(length, segment.length - inside)))
        return b""

    def build_id(self) -> str:
        """The build id in hex, "" without one."""
        data = self.data(".note.gnu.build-id")
        if len(data) < _NOTE.size:
            return ""
        name, length, _ = _NOTE.unpack_from(data)
        start = _NOTE.size + (name + 3 & ~3)
        return data[start : start + length].hex() if length <= 64 else ""

    def debug_file(self) -> ELFFile | None:
        """The separate file with this one's debug information, as distributions install it."""
        build_id = self.build_id()
        if len(build_id) < 4:
            return None
        path = f"{_DEBUG_FILES}/{build_id[:2]}/{build_id[2:]}.debug"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        stream = os.fdopen(fd, "rb")
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        try:
            return ELFFile(stream)
        except ELFError:
            return None

    @property
    def is_go(self) -> bool:
        """Go moves its stacks and passes arguments in registers of its own choice."""
        return self.elf.get_section_by_name(".note.go.buildid") is not None

    @property
    def is_stripped(self) -> bool:
        return self.section(".symtab") is None

    def _opened(self, stream: BinaryIO) -> ELFFile:
        stream.seek(0)
        if stream.read(4) != _MAGIC:
            raise Refused(TraceError, f"'{self.shown}' is no ELF file", "path")
        try:
            elf = ELFFile(stream)
        except ELFError as error:
            raise Refused(TraceError, f"'{self.shown}' is damaged: {error}", "path") from None
        found = elf["e_machine"]
        if found != _MACHINES[self.machine] or elf.elfclass != 64 or not elf.little_endian:
            called = _CALLED.get(found, str(found))
            raise Refused(
                TraceError,
                f"'{self.shown}' is for another machine ({called}), this one is {self.machine}",
                "path",
            )
        if elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
            raise Refused(
                TraceError, f"'{self.shown}' is neither a program nor a shared library", "path"
            )
        return elf
