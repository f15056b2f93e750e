"""Names for the small jumps by which a program calls functions of libraries: "malloc@plt".

The linker makes them and gives them no symbols. Where one goes is told by the slot that it
jumps through, and the slot by the relocation that fills it. Only x86_64 is read: elsewhere
such addresses stay unknown.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptrace_elf.elf import STRINGS_MAX, SYMBOL, SYMBOLS_MAX, Elf, ElfError, Rows
from ptraced.symbols.table import SymbolTable

_X86_64 = 62
_SHT_RELA, _SHT_DYNSYM = 4, 11
# R_X86_64_GLOB_DAT and R_X86_64_JUMP_SLOT fill a slot with the address of a function.
_FILL = (6, 7)
# Sections of jumps, the size of one, and where in it "jmp *slot(%rip)" is: as it is, or
# behind endbr64, and there perhaps behind a prefix.
_SECTIONS = ((b".plt", 16), (b".plt.sec", 16), (b".plt.got", 8), (b".plt.got", 16))
_JUMP_AT = (0, 4, 5)
_JUMP = b"\xff\x25"
_PLT_MAX = 4 << 20
_RELA = np.dtype([("slot", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])
_NAME_MAX = 1024

Numbers = NDArray[np.uint64]


def jump_table(elf: Elf) -> SymbolTable | None:
    """The jumps to functions of libraries; None where there are none.

    ElfError where the file is not to be believed.
    """
    dynamic = elf.sections[elf.sections["type"] == _SHT_DYNSYM]
    if elf.machine != _X86_64 or elf.bits != 2 or not len(dynamic):
        return None
    slots = _slots(elf)
    places = [_jumps(elf, name, size) for name, size in _SECTIONS]
    starts = np.concatenate([starts for starts, _, _ in places])
    sizes = np.concatenate([sizes for _, sizes, _ in places])
    targets = np.concatenate([targets for _, _, targets in places])
    if not len(starts) or not len(slots):
        return None
    at = np.minimum(np.searchsorted(slots["slot"], targets), len(slots) - 1)
    known = slots["slot"][at] == targets
    starts, sizes, symbols = starts[known], sizes[known], slots["symbol"][at[known]]
    names, strings = _names(elf, dynamic[0], symbols)
    order = np.argsort(starts, kind="stable")
    named = order[names[order] > 0]
    ends = starts[named] + sizes[named]
    return SymbolTable(starts[named], ends, names[named], np.zeros(len(named), "u1"), strings)


def _slots(elf: Elf) -> Rows:
    """Relocations that fill slots, by slot."""
    parts = [np.empty(0, _RELA)]
    for section in elf.sections[elf.sections["type"] == _SHT_RELA][:8]:
        content = elf.content(section, SYMBOLS_MAX)
        rows = np.frombuffer(content[: len(content) // _RELA.itemsize * _RELA.itemsize], _RELA)
        parts.append(rows[np.isin(rows["type"], _FILL)])
    slots = np.concatenate(parts)
    return slots[np.argsort(slots["slot"], kind="stable")]


def _jumps(elf: Elf, name: bytes, size: int) -> tuple[Numbers, Numbers, Numbers]:
    """Address, size and slot of each jump in a section."""
    nothing = np.empty(0, np.uint64)
    section = elf.section(name)
    if section is None or (name == b".plt.got" and int(section["entsize"] or 8) != size):
        return nothing, nothing, nothing
    content = elf.content(section, _PLT_MAX)
    entries = np.frombuffer(content[: len(content) // size * size], np.uint8).reshape(-1, size)
    address = int(section["addr"]) + size * np.arange(len(entries), dtype=np.uint64)
    starts, targets = [nothing], [nothing]
    for at in _JUMP_AT:
        end = at + len(_JUMP) + 4
        if end <= size:
            jumps = (entries[:, at : at + 2] == list(_JUMP)).all(axis=1)
            distance = np.ascontiguousarray(entries[jumps, at + 2 : end]).view("<i4")[:, 0]
            starts.append(address[jumps])
            targets.append(address[jumps] + np.uint64(end) + distance.astype(np.uint64))
    start, target = np.concatenate(starts), np.concatenate(targets)
    return start, np.full(len(start), size, np.uint64), target


def _names(elf: Elf, dynamic: np.void, symbols: Rows) -> tuple[Rows, bytes]:
    """For each number of a symbol where its name is in the strings, 0 where it has none."""
    link, dtype = int(dynamic["link"]), SYMBOL[elf.bits]
    if link >= len(elf.sections):
        raise ElfError("a symbol table has no names")
    content = elf.content(dynamic, SYMBOLS_MAX)
    table = np.frombuffer(content[: len(content) // dtype.itemsize * dtype.itemsize], dtype)
    strings = elf.content(elf.sections[link], STRINGS_MAX)
    places = np.zeros(len(symbols), "<u4")
    made = bytearray(1)
    for index, symbol in enumerate(symbols.tolist()):
        start = int(table["name"][symbol]) if symbol < len(table) else 0
        end = strings.find(b"\0", start, start + _NAME_MAX)
        if 0 < start < end:
            places[index] = len(made)
            made += strings[start:end] + b"@plt\0"
    return places, bytes(made)
