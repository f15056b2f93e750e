"""Takes apart the records of mappings and of the kernel's symbols."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ptrace_client.perf_data.model import Record, RecordKind
from ptrace_client.perf_symbols.dsos import FileId
from ptrace_client.perf_symbols.spaces import PROT_EXEC
from ptrace_client.perf_symbols.threads import text_at

# In misc: the mapping has no PROT_EXEC; the record has a build id in place of an inode.
_MISC_DATA = 1 << 13
_MISC_BUILD_ID = 1 << 14
# struct perf_record_ksymbol's flags: the function is gone.
_UNREGISTERED = 1


class Mapping(NamedTuple):
    """A PERF_RECORD_MMAP or MMAP2."""

    pid: int
    tid: int
    start: int
    size: int
    pgoff: int
    name: str
    id: FileId
    protection: int
    flags: int
    build_id: bytes


class KernelSymbol(NamedTuple):
    """A PERF_RECORD_KSYMBOL."""

    start: int
    size: int
    name: str
    is_gone: bool


class Records:
    """Reads records of one byte order; gives None for what is too short."""

    def __init__(self, byte_order: str) -> None:
        self._range = struct.Struct(byte_order + "8xIIQQQ")
        self._file = struct.Struct(byte_order + "IIQQII")
        self._symbol = struct.Struct(byte_order + "8xQIHH")

    def mapping(self, record: Record) -> Mapping | None:
        """Take apart an MMAP or MMAP2."""
        data, start, end = record.data, record.start, record.end
        name_at = start + self._range.size
        if record.kind == RecordKind.MMAP2:
            name_at += self._file.size
        if name_at > end:
            return None
        pid, tid, address, size, pgoff = self._range.unpack_from(data, start)
        id, build_id = FileId(), b""
        protection, flags = 0 if record.misc & _MISC_DATA else PROT_EXEC, 0
        if record.kind == RecordKind.MMAP2:
            at = start + self._range.size
            *numbers, protection, flags = self._file.unpack_from(data, at)
            if record.misc & _MISC_BUILD_ID:
                # Its size, three bytes without meaning, and 20 bytes.
                build_id = bytes(data[at + 4 : at + 4 + min(data[at], 20)])
            else:
                id = FileId(*numbers)
        name = text_at(data, name_at, end)
        return Mapping(pid, tid, address, size, pgoff, name, id, protection, flags, build_id)

    def symbol(self, record: Record) -> KernelSymbol | None:
        """Take apart a KSYMBOL."""
        name_at = record.start + self._symbol.size
        if name_at > record.end:
            return None
        start, size, _, flags = self._symbol.unpack_from(record.data, record.start)
        name = text_at(record.data, name_at, record.end)
        return KernelSymbol(start, size, name, bool(flags & _UNREGISTERED))
