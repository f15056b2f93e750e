"""Symbol tables of ELF files: which function covers an address."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptrace_elf.elf import STRINGS_MAX, SYMBOL, SYMBOLS_MAX, Elf, ElfError, Rows

_NAME_MAX = 4096
# Symbols that may lie, nested, between a function's start and an address in it.
_NESTED_MAX = 64
_ALIASES_MAX = 64

_FUNCTION, _INDIRECT_FUNCTION, _NO_TYPE = 2, 10, 0
_GLOBAL, _WEAK = 1, 2
_EXECUTABLE = 4  # SHF_EXECINSTR
_RESERVED = 0xFF00  # SHN_LORESERVE

Numbers = NDArray[np.uint64]


class SymbolTable:
    """Functions by address: arrays that are sorted by their start, then by preference."""

    def __init__(
        self, starts: Numbers, ends: Numbers, names: Rows, ranks: Rows, strings: bytes
    ) -> None:
        self._starts = starts
        self._ends = ends
        # Offsets in `strings`, and which of several symbols at one place goes first.
        self._names = names
        self._ranks = ranks
        self._strings = strings
        # How far what starts up to here reaches.
        self._reach: Numbers = np.maximum.accumulate(ends) if len(ends) else ends

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def size(self) -> int:
        """Bytes that this takes."""
        arrays = (self._starts, self._ends, self._names, self._ranks, self._reach)
        return len(self._strings) + sum(array.nbytes for array in arrays)

    def find(self, address: int) -> tuple[str, int] | None:
        """Name and start of the innermost symbol that covers an address."""
        if not 0 <= address < 1 << 64:
            return None
        at = int(np.searchsorted(self._starts, np.uint64(address), "right")) - 1
        for index in range(at, max(-1, at - _NESTED_MAX), -1):
            if self._reach[index] <= address:
                return None
            if self._ends[index] > address:
                start = int(self._starts[index])
                return self._best_name(start, address), start
        return None

    def _best_name(self, start: int, address: int) -> str:
        """Of several names for one place the one that perf takes (choose_best_symbol())."""
        first = int(np.searchsorted(self._starts, np.uint64(start), "left"))
        last = int(np.searchsorted(self._starts, np.uint64(start), "right"))
        best: tuple[tuple[int, int, int], str] | None = None
        for index in range(first, min(last, first + _ALIASES_MAX)):
            if self._ends[index] <= address:
                continue
            name, rank = self._name(index), int(self._ranks[index])
            key = (rank, len(name) - len(name.lstrip("_")), -len(name))
            if best is None or key < best[0]:
                best = key, name
        return best[1] if best else ""

    def _name(self, index: int) -> str:
        start = int(self._names[index])
        end = self._strings.find(b"\0", start, start + _NAME_MAX)
        name = self._strings[start : end if end >= 0 else start + _NAME_MAX]
        # What a linker notes of versions is no part of a function's name.
        own, _, version = name.decode(errors="surrogateescape").partition("@")
        return f"{own}@plt" if version == "plt" else own


def read_table(elf: Elf, kind: int) -> SymbolTable | None:
    """The functions of the symbol table of type `kind` (SHT_SYMTAB, SHT_DYNSYM).

    None where the file has none; ElfError where it is not to be believed.
    """
    tables = elf.sections[elf.sections["type"] == kind]
    if not len(tables):
        return None
    link = int(tables[0]["link"])
    dtype = SYMBOL[elf.bits]
    if link >= len(elf.sections):
        raise ElfError("a symbol table has no names")
    content = elf.content(tables[0], SYMBOLS_MAX)
    symbols = np.frombuffer(content[: len(content) // dtype.itemsize * dtype.itemsize], dtype)
    strings = elf.content(elf.sections[link], STRINGS_MAX)
    symbols = _functions(symbols, elf.sections, strings)
    return _sorted_table(symbols, elf.sections, strings)


def _functions(symbols: Rows, sections: Rows, strings: bytes) -> Rows:
    """Those that may name code: functions, and labels in code that assembler has left."""
    kind = symbols["info"] & 15
    section = symbols["section"]
    named = (symbols["name"] > 0) & (symbols["name"] < len(strings)) & (section > 0)
    function = (kind == _FUNCTION) | (kind == _INDIRECT_FUNCTION)
    symbols = symbols[named & (function | (kind == _NO_TYPE))]

    label = (symbols["info"] & 15) == _NO_TYPE
    real = symbols["section"] < min(len(sections), _RESERVED)
    flags = sections["flags"][np.where(real, symbols["section"], 0)] if len(sections) else 0
    code = real & ((flags & _EXECUTABLE) != 0)
    # "$x" and "$d" tell disassemblers of some machines where data is among code.
    first = np.frombuffer(strings, np.uint8)[symbols["name"]]
    kept: Rows = symbols[~label | (code & (first != ord("$")))]
    return kept


def _sorted_table(symbols: Rows, sections: Rows, strings: bytes) -> SymbolTable:
    bind = symbols["info"] >> 4
    rank = (bind == _WEAK) * 2 + ((bind != _GLOBAL) & (bind != _WEAK)) * 1
    start = symbols["value"].astype(np.uint64)
    size = symbols["size"].astype(np.uint64)
    end = np.where(start + size >= start, start + size, np.uint64(2**64 - 1))
    order = np.lexsort((rank, size == 0, start))
    start, end, size, rank = start[order], end[order], size[order], rank[order]
    symbols = symbols[order]

    # A symbol without a size names what no other one claims, up to the next one or the
    # end of its section.
    claimed = np.maximum.accumulate(np.concatenate((np.zeros(1, np.uint64), end)))[:-1]
    keep = (size > 0) | (start >= claimed)
    start, end, size, rank = start[keep], end[keep], size[keep], rank[keep]
    symbols = symbols[keep]
    end = np.where(size > 0, end, _limits(start, symbols["section"], sections))
    return SymbolTable(start, end, symbols["name"].copy(), rank.astype(np.uint8), strings)


def _limits(start: Numbers, section: Rows, sections: Rows) -> Numbers:
    """For each symbol the next one's start or, if that comes first, its section's end."""
    following = np.searchsorted(start, start, "right")
    padded = np.concatenate((start, np.array([2**64 - 1], np.uint64)))
    following_start = padded[following]
    if not len(sections):
        return start
    real = section < min(len(sections), _RESERVED)
    own = sections[np.where(real, section, 0)]
    section_end = own["addr"].astype(np.uint64) + own["size"].astype(np.uint64)
    section_end = np.where(real, section_end, start)
    limit: Numbers = np.maximum(start, np.minimum(following_start, section_end))
    return limit
