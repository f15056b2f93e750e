"""Symbol tables of an image, those of its separate debug file included."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from elftools.elf.sections import Section

from ptraced.errors import LimitExceeded
from ptraced.probes.elf_answer import Refused
from ptraced.probes.elf_image import Image
from ptraced.probes.elf_unwind import UnwindTable

# Elf64_Sym: st_name, st_info, st_other, st_shndx, st_value, st_size.
_SYMBOL = struct.Struct("<IBBHQQ")
# Those of the largest browsers; each takes half a microsecond.
_SYMBOLS_MAX = 4_000_000
_NAME_MAX = 4096
# How C++ and Rust names start.
MANGLED = ("_Z", "_R")
NOTYPE, OBJECT, FUNC, IFUNC = 0, 1, 2, 10
_LOCAL = 0
_UNDEFINED = 0
# Of .gnu.version: an older version of a symbol, that new programs do not link to.
_HIDDEN = 0x8000


class Symbol(NamedTuple):
    """A symbol; `size` in bytes, 0 where unknown. `defined` is False for imported ones."""

    name: str
    address: int
    size: int
    type: int
    local: bool
    defined: bool
    hidden: bool


def read_symbols(image: Image) -> list[Symbol]:
    """Functions and data that the image or its debug file knows, imported ones too."""
    symbols = list(_table(image, image.section(".symtab"), image.data(".strtab")))
    debug = image.debug_file()
    if debug is not None and not symbols:
        section = debug.get_section_by_name(".symtab")
        strings = debug.get_section_by_name(".strtab")
        if strings is not None:
            symbols = list(_table(image, section, strings.data()))
    versions = image.data(".gnu.version")
    exported = _table(image, image.section(".dynsym"), image.data(".dynstr"), versions)
    return symbols + list(exported)


def functions(symbols: Iterable[Symbol], image: Image, unwind: UnwindTable) -> Iterator[Symbol]:
    """The symbols where a function starts, in code that the image maps.

    Symbols without a type are functions if unwind information says so: others mark tables
    that lie among code, and a breakpoint in a table changes it.
    """
    for symbol in symbols:
        if not symbol.defined or image.file_offset(symbol.address) is None:
            continue
        if symbol.type == FUNC or (symbol.type == NOTYPE and unwind.starts_at(symbol.address)):
            yield symbol


def _table(
    image: Image, section: Section | None, strings: bytes, versions: bytes = b""
) -> Iterator[Symbol]:
    if section is None or section["sh_type"] == "SHT_NOBITS":
        return
    count = section["sh_size"] // _SYMBOL.size
    if count > _SYMBOLS_MAX:
        raise Refused(
            LimitExceeded, f"'{image.shown}' has {count} symbols, at most {_SYMBOLS_MAX} are read"
        )
    data = section.data()[: count * _SYMBOL.size]
    for index, fields in enumerate(_SYMBOL.iter_unpack(data)):
        name, info, _, place, value, size = fields
        kind = info & 15
        if kind not in (NOTYPE, OBJECT, FUNC, IFUNC) or not 0 < name < len(strings):
            continue
        end = strings.find(b"\0", name, name + _NAME_MAX)
        text = strings[name : max(end, name)].decode(errors="replace")
        # "name@VERSION" and "name@@VERSION" stand in static tables only.
        base, _, version = text.partition("@")
        hidden = bool(version) and not version.startswith("@")
        if len(versions) >= 2 * index + 2:
            hidden = bool(struct.unpack_from("<H", versions, 2 * index)[0] & _HIDDEN)
        yield Symbol(base, value, size, kind, info >> 4 == _LOCAL, place != _UNDEFINED, hidden)
