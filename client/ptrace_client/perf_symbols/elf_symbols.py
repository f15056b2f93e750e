"""The symbols that perf takes from ELF files, at the offsets in the file that perf gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrace_client.perf_symbols.aliases import GLOBAL
from ptrace_client.perf_symbols.table import Demangle, Numbers, SymbolTable, plain
from ptrace_elf.elf import STRINGS_MAX, SYMBOL, SYMBOLS_MAX, Elf, ElfError, Rows

SHT_SYMTAB, SHT_REL, SHT_DYNSYM = 2, 9, 11
_SHF_ALLOC = 2
_NO_TYPE, _OBJECT, _FUNCTION, _INDIRECT_FUNCTION = 0, 1, 2, 10
_INTERNAL, _HIDDEN = 1, 2
_ABSOLUTE = 0xFFF1
_NAME_MAX = 4096
_PLT_NAME_MAX = 1018
_ARM, _AARCH64, _SPARC, _SPARCV9 = 40, 183, 2, 43
# By machine: bytes of the first entry of .plt and of the others; elsewhere the section tells.
_PLT_SIZES = {_ARM: (20, 12), _AARCH64: (32, 16), _SPARC: (48, 12), _SPARCV9: (128, 32)}


def has_symbols(elf: Elf) -> bool:
    """Whether there is a .symtab."""
    return _table(elf, b".symtab", SHT_SYMTAB) is not None


def is_what_runs(elf: Elf) -> bool:
    """Whether there is a .dynsym with content, which files of debug information lack."""
    return _table(elf, b".dynsym", SHT_DYNSYM) is not None


def text_offset(runtime: Elf) -> int:
    """Return how much higher than its place in the file code was linked."""
    text = runtime.section(b".text")
    return 0 if text is None else int(text["addr"]) - int(text["offset"])


def read_symbols(symbols: Elf, runtime: Elf, demangle: Demangle = plain) -> SymbolTable:
    """Return the symbols of `symbols`, which describes the file `runtime` or is the same.

    Raise ElfError where a file is not to be believed.
    """
    table = SymbolTable(demangle)
    for name, kind in ((b".symtab", SHT_SYMTAB), (b".dynsym", SHT_DYNSYM)):
        section = _table(symbols, name, kind)
        if section is not None:
            _add(table, symbols, runtime, section)
    if len(table):
        _add_jumps(table, runtime, demangle)
    return table


def read_absolute(elf: Elf) -> SymbolTable:
    """Return the symbols of a kernel image at the addresses that it was linked for."""
    table = SymbolTable()
    section = _table(elf, b".symtab", SHT_SYMTAB)
    if section is not None:
        rows, strings, _ = _chosen(elf, section)
        _insert(table, rows, rows["value"].astype(np.uint64), strings)
    return table


def _table(elf: Elf, name: bytes, kind: int) -> np.void | None:
    section = elf.section(name)
    return section if section is not None and section["type"] == kind else None


def _rows(elf: Elf, section: np.void) -> tuple[Rows, bytes]:
    """The entries of a symbol table, and the strings of their names."""
    link, dtype = int(section["link"]), SYMBOL[elf.bits]
    if link >= len(elf.sections):
        raise ElfError("a symbol table has no names")
    content = elf.content(section, SYMBOLS_MAX)
    rows = np.frombuffer(content[: len(content) // dtype.itemsize * dtype.itemsize], dtype)
    return rows, elf.content(elf.sections[link], STRINGS_MAX)


def _add(table: SymbolTable, symbols: Elf, runtime: Elf, section: np.void) -> None:
    rows, strings, sections = _chosen(symbols, section)
    _insert(table, rows, _file_offsets(rows, sections, runtime), strings)


def _insert(table: SymbolTable, rows: Rows, starts: Numbers, strings: bytes) -> None:
    names = _names(strings, rows)
    table.add(starts, rows["size"].astype(np.uint64), rows["info"] >> 4, names)
    table.end_those_without_size()
    table.drop_aliases()


def _chosen(symbols: Elf, section: np.void) -> tuple[Rows, bytes, Rows]:
    """Functions, objects, and labels in text and data; and the section that each lies in."""
    rows, strings = _rows(symbols, section)
    kind = rows["info"] & 15
    known = (rows["section"] > 0) & (rows["section"] < min(len(symbols.sections), _ABSOLUTE))
    known &= (rows["name"] > 0) & (rows["name"] < len(strings))
    function = (kind == _FUNCTION) | (kind == _INDIRECT_FUNCTION)
    shown = ~np.isin(rows["other"] & 3, (_INTERNAL, _HIDDEN))
    rows = rows[known & (function | (kind == _OBJECT) | ((kind == _NO_TYPE) & shown))]

    sections = symbols.sections[rows["section"]].copy()
    rows, sections = _kept(rows, sections, (sections["flags"] & _SHF_ALLOC) != 0)
    named = _named_text_or_data(symbols)[rows["section"]]
    rows, sections = _kept(rows, sections, ((rows["info"] & 15) != _NO_TYPE) | named)
    if symbols.machine in (_ARM, _AARCH64):
        rows, sections = _without_mapping_symbols(rows, sections, strings)
    if symbols.machine == _ARM:
        rows = rows.copy()
        # The lowest bit tells Thumb code.
        rows["value"] -= (rows["info"] & 15 == _FUNCTION) & (rows["value"] & 1)
    return rows, strings, sections


def _kept(rows: Rows, sections: Rows, keep: NDArray[Any]) -> tuple[Rows, Rows]:
    return rows[keep], sections[keep]


def _named_text_or_data(elf: Elf) -> NDArray[Any]:
    names = [elf.section_name(index) for index in range(len(elf.sections))]
    return np.array([b"text" in name or b"data" in name for name in names], bool)


def _without_mapping_symbols(rows: Rows, sections: Rows, strings: bytes) -> tuple[Rows, Rows]:
    """ARM's "$a", "$d.1" and the like tell where code is, not what."""
    marks = (b"$a", b"$d", b"$t", b"$x")
    names = [strings[at : at + 3] for at in rows["name"].tolist()]
    keep = [not (name[:2] in marks and name[2:] in (b"\0", b".")) for name in names]
    return _kept(rows, sections, np.array(keep, bool))


def _file_offsets(rows: Rows, sections: Rows, runtime: Elf) -> Numbers:
    """By the segment that a symbol's address lies in, else by its section."""
    values = rows["value"].astype(np.uint64)
    moves = sections["addr"].astype(np.uint64) - sections["offset"].astype(np.uint64)
    free = np.ones(len(rows), bool)
    for segment in runtime.loaded:
        start = int(segment["vaddr"])
        end = min(start + max(int(segment["memsz"]), int(segment["filesz"])), (1 << 64) - 1)
        inside = free & (values >= np.uint64(start)) & (values < np.uint64(end))
        moves[inside] = np.uint64((start - int(segment["offset"])) % (1 << 64))
        free &= ~inside
    return values - moves


def _names(strings: bytes, rows: Rows) -> list[bytes]:
    """The names of symbols; ElfError where they overlap to more than files have."""
    names, size = [], 0
    for at in rows["name"].tolist():
        name = _name(strings, at)
        size += len(name)
        if size > STRINGS_MAX:
            raise ElfError("the names of a symbol table are too long")
        names.append(name)
    return names


def _name(strings: bytes, at: int) -> bytes:
    end = strings.find(b"\0", at, at + _NAME_MAX)
    return strings[at : end if end >= 0 else at + _NAME_MAX]


def _add_jumps(table: SymbolTable, elf: Elf, demangle: Demangle) -> None:
    """Name the entries of .plt, "malloc@plt", by the relocations of the same order."""
    dynamic, plt = _table(elf, b".dynsym", SHT_DYNSYM), elf.section(b".plt")
    relocations = elf.section(b".rela.plt")
    if relocations is None:
        relocations = elf.section(b".rel.plt")
    if dynamic is None or plt is None or relocations is None:
        return
    if elf.section_name(int(relocations["link"]) % max(len(elf.sections), 1)) != b".dynsym":
        return
    first, size = _PLT_SIZES.get(elf.machine, (int(plt["entsize"]), int(plt["entsize"])))
    rows, strings = _rows(elf, dynamic)
    numbers = _symbol_numbers(elf, relocations)
    names = _names(strings, rows[numbers[numbers < len(rows)]])
    shown = [name.encode(errors="surrogateescape") for name in demangle(names)]
    at = np.uint64((int(plt["offset"]) + first) % (1 << 64))
    starts = at + np.arange(len(names), dtype=np.uint64) * np.uint64(size)
    sizes = np.full(len(names), size, np.uint64)
    bindings = np.full(len(names), GLOBAL, np.uint8)
    table.add(starts, sizes, bindings, [name[:_PLT_NAME_MAX] + b"@plt" for name in shown])


def _symbol_numbers(elf: Elf, relocations: np.void) -> NDArray[Any]:
    """For each relocation, which symbol it is for."""
    word = "<u8" if elf.bits == 2 else "<u4"
    columns = 2 if relocations["type"] == SHT_REL else 3
    content = elf.content(relocations, SYMBOLS_MAX)
    size = columns * np.dtype(word).itemsize
    info = np.frombuffer(content[: len(content) // size * size], word).reshape(-1, columns)[:, 1]
    return info >> (32 if elf.bits == 2 else 8)
