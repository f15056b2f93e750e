"""Callers of a sample from its copy of the user's stack and registers, on x86_64.

As perf's libunwind does it: by the rules of .eh_frame, and where a file has none by frame pointers.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from ptrace_client.perf_data.model import Sample
from ptrace_client.perf_symbols.cfi import (
    EXPRESSION,
    OFFSET,
    REGISTER,
    UNDEFINED,
    VALUE_EXPRESSION,
    VALUE_OFFSET,
    FrameTable,
    Row,
    Rule,
)
from ptrace_client.perf_symbols.dsos import VDSO, LoadedDso
from ptrace_client.perf_symbols.dwarf_expression import evaluate
from ptrace_client.perf_symbols.files import cached, opened, own_vdso
from ptrace_client.perf_symbols.loading import Loader
from ptrace_client.perf_symbols.maps import Maps
from ptrace_client.perf_symbols.model import Dso, Map
from ptrace_elf.elf import Elf, ElfError

# The numbers of registers in perf's samples (asm/perf_regs.h) by those of DWARF (System V ABI
# for x86-64, figure 3.36); 16 is the return address.
_PERF_NUMBERS: Final = (0, 3, 2, 1, 4, 5, 6, 7, *range(16, 24), 8)
_BP, _SP, _IP = 6, 7, 16
# No register: the address of the last frame that rules told.
_CFA = -1
_ABI_64: Final = 2
_ADDRESSES: Final = 1 << 64
_MASK: Final = _ADDRESSES - 1
_WORD: Final = struct.Struct("<Q")
_PAGE: Final = 4096
# How far frame pointers may be apart to be taken for such.
_FRAME_MAX: Final = 0x4000
_STUBS_MAX: Final = 1 << 20


class _File(NamedTuple):
    """What a file has for unwinding; `stubs` is its .plt, which lies at `stubs_offset` in it."""

    table: FrameTable
    elf: Elf
    stubs: bytes
    stubs_offset: int

    def has_stub(self, offset: int) -> bool:
        """Whether a stub of the procedure linkage table begins there: jmp, push, jmp."""
        at = offset - self.stubs_offset
        code = self.stubs[at : at + 16] if at >= 0 else b""
        return code[:2] == b"\xff\x25" and code[6:7] == b"\x68" and code[11:12] == b"\xe9"


class Unwinder:
    """Finds callers; tables of files are kept. Unless `sane`, with perf's mistakes."""

    def __init__(self, loader: Loader, *, sane: bool) -> None:
        self._loader = loader
        self._sane = sane
        self._tables: dict[LoadedDso, _File | None] = {}

    def addresses(self, sample: Sample, maps: Maps, most: int) -> list[int]:
        """Return the addresses of the frames, leaf first, at most so many.

        Those of callers are one before where they go on, as perf has them.
        """
        registers = _registers(sample)
        if registers is None or _IP not in registers:
            return []
        found = [registers[_IP]]
        registers[_CFA] = registers.get(_SP, 0)
        stack = _Stack(sample.user_stack, registers.get(_SP, 0), maps)
        behind_call = False
        while len(found) < most:
            before = registers
            try:
                stepped = self._step(registers, stack, maps, behind_call)
            except (LookupError, struct.error):
                break
            if stepped is None:
                break
            registers, behind_call = stepped
            found.append((registers[_IP] - behind_call) & _MASK)
            if not registers[_IP] or registers == before:
                break
        return found

    def _step(
        self, registers: dict[int, int], stack: _Stack, maps: Maps, behind_call: bool
    ) -> tuple[dict[int, int], bool] | None:
        """The caller's registers, and whether it is in a call; None where there is none."""
        address = registers[_IP] - behind_call
        map = maps.find(address)
        found = None if map is None else self._table(map.dso)
        row = None if map is None or found is None else self._row(maps, map, address, found)
        if row is not None:
            caller = _apply(row, registers, stack)
            return None if caller is None else (caller, not row.is_signal_frame)
        if map is not None and found is not None and found.has_stub(map.to_file(address)):
            return _by_stub(registers, stack), True
        if found is None and not self._sane:
            # perf gives up where there is no table at all.
            return None
        caller = _by_frame_pointer(registers, stack, sane=self._sane)
        return None if caller is None else (caller, True)

    def _row(self, maps: Maps, map: Map, address: int, file: _File) -> Row | None:
        if self._sane:
            linked = file.elf.address_of(map.to_file(address))
            return None if linked is None else file.table.row(linked)
        # perf has a file linked from where its lowest mapping is, be that another program's
        # that ran in the process before, or one to read the file.
        lowest = maps.lowest(map.dso) or map
        loaded = file.elf.loaded
        base = int(loaded[0]["vaddr"]) & -_PAGE if len(loaded) else 0
        return file.table.row((address - lowest.start + lowest.pgoff + base) & _MASK)

    def _table(self, dso: Dso) -> _File | None:
        assert isinstance(dso, LoadedDso)
        if dso not in self._tables:
            self._tables[dso] = self._read(dso)
        return self._tables[dso]

    def _read(self, dso: LoadedDso) -> _File | None:
        self._loader.load(dso)
        copy = cached(dso.build_id, "vdso" if dso.name == VDSO else "elf")
        for path in (copy, self._loader.path(dso)):
            if path is not None:
                with opened(path) as elf:
                    if elf is not None:
                        return _table_of(elf)
        vdso = own_vdso() if dso.name == VDSO and not dso.is_in_header else None
        return None if vdso is None else _table_of(vdso)


class _Stack:
    """The copied memory; what lies elsewhere is read as perf reads it."""

    def __init__(self, data: bytes, start: int, maps: Maps) -> None:
        self._data = data
        self._start = start
        self._maps = maps

    def read(self, address: int) -> int:
        """Return the word at an address; LookupError where there can be none."""
        at = address - self._start
        # The last word counts as behind the end, as for perf.
        if 0 <= at < len(self._data) - _WORD.size:
            value: int = _WORD.unpack_from(self._data, at)[0]
            return value
        if self._maps.find(address) is None:
            raise LookupError("nothing is mapped there")
        # perf takes memory that it has no copy of for zeros.
        return 0


def _registers(sample: Sample) -> dict[int, int] | None:
    if sample.user_regs is None or not sample.user_stack:
        return None
    abi, values = sample.user_regs
    if abi != _ABI_64:
        return None
    mask = sample.event.attr.sample_regs_user
    numbers = [number for number in range(64) if mask >> number & 1]
    recorded = dict(zip(numbers, values, strict=False))
    return {own: recorded[number] for own, number in enumerate(_PERF_NUMBERS) if number in recorded}


def _table_of(elf: Elf) -> _File | None:
    try:
        table = FrameTable(elf)
    except ElfError:
        return None
    stubs = elf.section(b".plt")
    if stubs is not None:
        with contextlib.suppress(ElfError):
            return _File(table, elf, elf.content(stubs, _STUBS_MAX), int(stubs["offset"]))
    return _File(table, elf, b"", 0)


def _apply(row: Row, registers: dict[int, int], stack: _Stack) -> dict[int, int] | None:
    """The caller's registers by rules; None where there is no caller."""
    read = stack.read
    if row.cfa.kind == EXPRESSION:
        cfa = evaluate(row.cfa.expression, registers, read)
    elif row.cfa.kind == REGISTER:
        cfa = (registers[row.cfa.value] + row.cfa_offset) & _MASK
    else:
        raise LookupError("a frame has no rule for its address")
    caller = dict(registers)
    caller[_SP] = caller[_CFA] = cfa
    address = row.rules.get(row.return_register, Rule(UNDEFINED))
    if address.kind == UNDEFINED:
        return None
    for register, rule in row.rules.items():
        if rule.kind == UNDEFINED:
            caller.pop(register, None)
        elif register == row.return_register or register <= _IP:
            caller[register] = _value(rule, cfa, registers, read)
    caller[_IP] = caller.get(row.return_register, 0)
    return caller


def _value(rule: Rule, cfa: int, registers: dict[int, int], read: Callable[[int], int]) -> int:
    if rule.kind == OFFSET:
        return read((cfa + rule.value) & _MASK)
    if rule.kind == VALUE_OFFSET:
        return (cfa + rule.value) & _MASK
    if rule.kind == REGISTER:
        return registers[rule.value]
    value = evaluate(rule.expression, registers, read, cfa)
    return value if rule.kind == VALUE_EXPRESSION else read(value)


def _by_stub(registers: dict[int, int], stack: _Stack) -> dict[int, int]:
    """The caller of a stub that has just been called, which libunwind knows by its code."""
    frame = registers[_CFA]
    behind = (frame + _WORD.size) & _MASK
    return {**registers, _IP: stack.read(frame), _SP: behind, _CFA: behind}


def _by_frame_pointer(
    registers: dict[int, int], stack: _Stack, *, sane: bool
) -> dict[int, int] | None:
    """The caller by the frame pointer, if there can be a frame: libunwind's guess."""
    pointer = registers.get(_BP, 0)
    distance = pointer - registers[_CFA]
    if not pointer or not 0 <= distance <= _FRAME_MAX:
        return None
    outer, address = stack.read(pointer), stack.read(pointer + 8)
    caller = {_BP: outer, _SP: (pointer + 16) & _MASK, _IP: address}
    if sane:
        return {**caller, _CFA: registers[_CFA]}
    # libunwind does not know of the caller's stack pointer, and takes this for it.
    guess = (registers[_CFA] + 16) & _MASK
    return {**caller, _SP: guess, _CFA: guess}
