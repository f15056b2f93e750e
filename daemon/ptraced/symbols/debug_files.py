"""All symbol tables that belong to an ELF file: its own, and those split off from it.

Where they lie is told in GDB's manual, "Debugging Information in Separate Files" and
"Debugging information in a special section".
"""

from __future__ import annotations

import lzma
import os
import re
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence

from ptrace_elf.elf import BytesData, Elf, ElfError, FileData, open_regular
from ptraced.symbols.plt import jump_table
from ptraced.symbols.table import SymbolTable, read_table

_SHT_SYMTAB, _SHT_DYNSYM = 2, 11
_DEBUG = "/usr/lib/debug"
_LINK_MAX = 4096
_SUMMED_MAX = 256 << 20
_SUMMED_AT_ONCE = 4 << 20
_PACKED_MAX = 16 << 20
_UNPACKED_MAX = 64 << 20
_LINK_NAME = re.compile(r"[^/\0]{1,255}")


def symbol_tables(
    elf: Elf,
    build_id: bytes | None,
    directory: str,
    roots: Sequence[str],
    owners: Collection[int] = (0,),
) -> list[SymbolTable]:
    """The tables in which to look for a symbol of `elf`, in this order.

    `directory` is where the file is mapped from; files that belong to it are looked for in
    each of `roots`, such as "/proc/123/root", and taken where they are those of one of `owners`
    (uids). What cannot be believed is left out.
    """
    places = _places(elf, build_id, directory, roots)
    full = _table(elf, _SHT_SYMTAB) or _separate_table(elf, build_id, places, owners)
    some = [full] if full else [_packed_table(elf), _table(elf, _SHT_DYNSYM)]
    return [table for table in (*some, _jumps(elf)) if table is not None]


def _jumps(elf: Elf) -> SymbolTable | None:
    try:
        return jump_table(elf)
    except ElfError:
        return None


def _table(elf: Elf, kind: int) -> SymbolTable | None:
    try:
        return read_table(elf, kind)
    except ElfError:
        return None


def _separate_table(
    elf: Elf, build_id: bytes | None, places: Iterable[str], owners: Collection[int]
) -> SymbolTable | None:
    _, checksum = _debug_link(elf)
    for path in places:
        try:
            data = open_regular(path)
        except (OSError, ValueError):
            continue
        try:
            # Not anybody's, who has led us there by a mount or a link of its own.
            if os.fstat(data.fd).st_uid not in owners:
                continue
            separate = Elf(data)
            if _belongs(separate, data, build_id, checksum):
                table = read_table(separate, _SHT_SYMTAB)
                if table is not None:
                    return table
        except (OSError, ElfError):
            continue
        finally:
            data.close()
    return None


def _places(
    elf: Elf, build_id: bytes | None, directory: str, roots: Sequence[str]
) -> Iterator[str]:
    link, _ = _debug_link(elf)
    for root in roots:
        if build_id is not None and len(build_id) > 1:
            name = build_id.hex()
            yield f"{root}{_DEBUG}/.build-id/{name[:2]}/{name[2:]}.debug"
        if link and directory.startswith("/"):
            yield f"{root}{directory}/{link}"
            yield f"{root}{directory}/.debug/{link}"
            yield f"{root}{_DEBUG}{directory}/{link}"


def _belongs(separate: Elf, data: FileData, build_id: bytes | None, checksum: int | None) -> bool:
    other = separate.build_id()
    if build_id is not None and other is not None:
        return build_id == other
    return checksum is not None and _checksum(data) == checksum


def _checksum(data: FileData) -> int | None:
    if data.size > _SUMMED_MAX:
        return None
    checksum = 0
    for at in range(0, data.size, _SUMMED_AT_ONCE):
        checksum = zlib.crc32(data.read(at, min(_SUMMED_AT_ONCE, data.size - at)), checksum)
    return checksum


def _debug_link(elf: Elf) -> tuple[str, int | None]:
    """Name and checksum of the file that .gnu_debuglink names; "" where there is none."""
    section = elf.section(b".gnu_debuglink")
    if section is None:
        return "", None
    try:
        content = elf.content(section, _LINK_MAX)
    except ElfError:
        return "", None
    name = content.partition(b"\0")[0].decode(errors="replace")
    at = len(name.encode()) + 4 & ~3
    if not _LINK_NAME.fullmatch(name) or name in (".", "..") or len(content) < at + 4:
        return "", None
    return name, struct.unpack_from("<I", content, at)[0]


def _packed_table(elf: Elf) -> SymbolTable | None:
    """The symbols that Fedora leaves in stripped files, packed by xz ("MiniDebugInfo")."""
    section = elf.section(b".gnu_debugdata")
    if section is None:
        return None
    try:
        packed = elf.content(section, _PACKED_MAX)
        unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=128 << 20)
        unpacked = unpacker.decompress(packed, max_length=_UNPACKED_MAX)
        return read_table(Elf(BytesData(unpacked)), _SHT_SYMTAB)
    except (ElfError, lzma.LZMAError, EOFError):
        return None
