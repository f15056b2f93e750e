"""How callers' registers are found: .eh_frame of ELF files (DWARF 5, 6.4; LSB, "Eh Frame")."""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import NamedTuple

from ptrace_elf.elf import Elf, ElfError

_FRAMES_MAX = 256 << 20
_CACHE_MAX = 100_000
_INSTRUCTIONS_MAX = 10_000
# Depth of remembered rows.
_STACK_MAX = 64
_ADDRESSES = 1 << 64

# Kinds of rules: at an offset from the CFA or that offset itself, in a register, by an
# expression or what that gives, not to be had.
OFFSET, VALUE_OFFSET, REGISTER, EXPRESSION, VALUE_EXPRESSION, UNDEFINED = range(6)

_PCREL, _DATAREL, _INDIRECT = 0x10, 0x30, 0x80
_FORMATS = {0x00: "<Q", 0x02: "<H", 0x03: "<I", 0x04: "<Q", 0x0A: "<h", 0x0B: "<i", 0x0C: "<q"}
# .eh_frame_hdr's usual table: pairs of s4, relative to the section.
_TABLE_ENCODING = 0x3B


# Instructions that give a register a rule: its kind, and what follows the register's number.
_REGISTER_RULES = {
    0x05: (OFFSET, "unsigned"),
    0x07: (UNDEFINED, ""),
    0x09: (REGISTER, "register"),
    0x10: (EXPRESSION, "block"),
    0x11: (OFFSET, "signed"),
    0x14: (VALUE_OFFSET, "unsigned"),
    0x15: (VALUE_OFFSET, "signed"),
    0x16: (VALUE_EXPRESSION, "block"),
}


class Rule(NamedTuple):
    """What a register of the caller is: `value` is an offset or a register."""

    kind: int
    value: int = 0
    expression: bytes = b""


class Row(NamedTuple):
    """The rules for one place: for the CFA (a register and an offset, or what an expression
    gives), and for registers."""

    cfa: Rule
    cfa_offset: int
    rules: dict[int, Rule]
    return_register: int
    is_signal_frame: bool


class _Cie(NamedTuple):
    code_alignment: int
    data_alignment: int
    return_register: int
    pointers: int
    has_sizes: bool
    is_signal_frame: bool
    instructions: tuple[int, int]


class Cursor:
    """Reads numbers of DWARF; IndexError or struct.error where the data end."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = min(end, len(data))

    def number(self, code: str) -> int:
        value: int
        (value,) = struct.unpack_from(code, self.data, self.at)
        self.at += struct.calcsize(code)
        return value

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 70:
                raise IndexError("a number is too long")

    def signed(self) -> int:
        start = self.at
        value = self.unsigned()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def block(self) -> bytes:
        size = self.unsigned()
        found = self.data[self.at : self.at + size]
        if len(found) != size:
            raise IndexError("a block is cut")
        self.at += size
        return found

    def pointer(self, encoding: int, base: int, table: int = 0) -> int:
        """Read a pointer (LSB, "DWARF Exception Header Encoding"); `base` is where data are."""
        place = base + self.at
        form = encoding & 0x0F
        if form == 1:
            value = self.unsigned()
        elif form == 9:
            value = self.signed()
        else:
            value = self.number(_FORMATS[form])
        if encoding & 0x70 == _PCREL:
            value += place
        elif encoding & 0x70 == _DATAREL:
            value += table
        return value % _ADDRESSES


class FrameTable:
    """The rules of one file of 64 bits; ElfError where it has none."""

    def __init__(self, elf: Elf) -> None:
        header, frames = elf.section(b".eh_frame_hdr"), elf.section(b".eh_frame")
        if header is None or frames is None or elf.bits != 2:
            raise ElfError("a file has no table of frames")
        self._frames = elf.content(frames, _FRAMES_MAX)
        self._base = int(frames["addr"])
        self._starts, self._places = self._read_header(
            elf.content(header, _FRAMES_MAX), int(header["addr"])
        )
        self._cies: dict[int, _Cie] = {}
        self._rows: dict[int, Row | None] = {}

    def row(self, address: int) -> Row | None:
        """Return the rules for an address that the file was linked for."""
        if address not in self._rows:
            if len(self._rows) > _CACHE_MAX:
                self._rows.clear()
            try:
                self._rows[address] = self._find(address)
            except (IndexError, struct.error, KeyError):
                self._rows[address] = None
        return self._rows[address]

    def _read_header(self, data: bytes, base: int) -> tuple[list[int], list[int]]:
        try:
            version, frame_encoding, count_encoding, table_encoding = data[:4]
            cursor = Cursor(data, 4, len(data))
            cursor.pointer(frame_encoding, base)
            count = cursor.pointer(count_encoding, base, base)
        except (ValueError, IndexError, struct.error, KeyError):
            raise ElfError("a table of frames is damaged") from None
        if version != 1 or table_encoding != _TABLE_ENCODING:
            raise ElfError("a table of frames has an unknown form")
        count = min(count, (len(data) - cursor.at) // 8)
        numbers = struct.unpack_from(f"<{2 * count}i", data, cursor.at)
        return [base + number for number in numbers[::2]], [base + one for one in numbers[1::2]]

    def _find(self, address: int) -> Row | None:
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        at = self._places[index] - self._base
        if at < 0:
            return None
        cursor, end, cie_place = self._entry(at)
        cie = self._cie(cie_place)
        start = cursor.pointer(cie.pointers, self._base)
        size = cursor.pointer(cie.pointers & 0x0F, self._base)
        if not start <= address < start + size:
            return None
        if cie.has_sizes:
            cursor.block()
        return self._run(cie, Cursor(self._frames, cursor.at, end), address - start)

    def _entry(self, at: int) -> tuple[Cursor, int, int]:
        """A cursor behind an FDE's pointer to its CIE, its end, and where the CIE is."""
        cursor = Cursor(self._frames, at, len(self._frames))
        size = cursor.number("<I")
        if size == 0xFFFFFFFF:
            size = cursor.number("<Q")
        end = cursor.at + size
        place = cursor.at
        return cursor, end, place - cursor.number("<I")

    def _cie(self, at: int) -> _Cie:
        found = self._cies.get(at)
        if found is None:
            if at < 0:
                raise IndexError("a CIE lies before the section")
            found = self._cies[at] = self._read_cie(at)
        return found

    def _read_cie(self, at: int) -> _Cie:
        cursor, end, _ = self._entry(at)
        version = cursor.number("<B")
        text_end = self._frames.find(b"\0", cursor.at, cursor.at + 16)
        if text_end < 0:
            raise IndexError("a CIE is cut")
        augmentation = self._frames[cursor.at : text_end]
        cursor.at = text_end + 1
        code, data = cursor.unsigned(), cursor.signed()
        register = cursor.number("<B") if version == 1 else cursor.unsigned()
        pointers = 0
        behind = cursor.at
        if augmentation.startswith(b"z"):
            size = cursor.unsigned()
            behind = cursor.at + size
            for letter in augmentation[1:]:
                if letter == ord("R"):
                    pointers = cursor.number("<B")
                elif letter == ord("L"):
                    cursor.number("<B")
                elif letter == ord("P"):
                    cursor.pointer(cursor.number("<B") & ~_INDIRECT, self._base)
        signal = b"S" in augmentation
        has_sizes = augmentation.startswith(b"z")
        return _Cie(code, data, register, pointers, has_sizes, signal, (behind, end))

    def _run(self, cie: _Cie, program: Cursor, distance: int) -> Row:
        machine = _Program(cie, self._base)
        machine.run(Cursor(self._frames, *cie.instructions), None)
        machine.initial = dict(machine.rules)
        machine.run(program, distance)
        return Row(
            machine.cfa, machine.cfa_offset, machine.rules, cie.return_register, cie.is_signal_frame
        )


class _Program:
    """Runs instructions of frames (DWARF 5, 6.4.2) up to a distance from a function's start."""

    def __init__(self, cie: _Cie, base: int) -> None:
        self._cie = cie
        self._base = base
        self.cfa = Rule(UNDEFINED)
        self.cfa_offset = 0
        self.rules: dict[int, Rule] = {}
        self.initial: dict[int, Rule] = {}
        self._stack: list[tuple[Rule, int, dict[int, Rule]]] = []
        self._place = 0

    def run(self, cursor: Cursor, distance: int | None) -> None:
        count = 0
        while cursor.at < cursor.end:
            count += 1
            if count > _INSTRUCTIONS_MAX:
                raise IndexError("a frame has too many instructions")
            code = cursor.number("<B")
            high, low = code >> 6, code & 63
            if high == 1 or 0x02 <= code <= 0x04:
                self._place += self._advance(cursor, code) * self._cie.code_alignment
                if distance is not None and self._place > distance:
                    return
            elif high == 2:
                self.rules[low] = Rule(OFFSET, cursor.unsigned() * self._cie.data_alignment)
            elif high == 3:
                self._restore(low)
            else:
                self._other(code, cursor)

    def _advance(self, cursor: Cursor, code: int) -> int:
        if code >> 6 == 1:
            return code & 63
        return cursor.number({2: "<B", 3: "<H", 4: "<I"}[code])

    def _restore(self, register: int) -> None:
        if register in self.initial:
            self.rules[register] = self.initial[register]
        else:
            self.rules.pop(register, None)

    def _other(self, code: int, cursor: Cursor) -> None:
        if code in _REGISTER_RULES:
            kind, operand = _REGISTER_RULES[code]
            register = cursor.unsigned()
            self.rules[register] = self._rule(kind, operand, cursor)
        elif code == 0x06:  # restore_extended
            self._restore(cursor.unsigned())
        elif code == 0x08:  # same_value
            self.rules.pop(cursor.unsigned(), None)
        elif code == 0x0A:  # remember_state
            if len(self._stack) >= _STACK_MAX:
                raise IndexError("too many rows are remembered")
            self._stack.append((self.cfa, self.cfa_offset, dict(self.rules)))
        elif code == 0x0B:  # restore_state
            self.cfa, self.cfa_offset, self.rules = self._stack.pop()
        elif code == 0x2E:  # GNU_args_size
            cursor.unsigned()
        elif code != 0x00:
            self._define_cfa(code, cursor)

    def _rule(self, kind: int, operand: str, cursor: Cursor) -> Rule:
        if operand == "block":
            return Rule(kind, 0, cursor.block())
        if operand == "register":
            return Rule(kind, cursor.unsigned())
        if not operand:
            return Rule(kind)
        number = cursor.signed() if operand == "signed" else cursor.unsigned()
        return Rule(kind, number * self._cie.data_alignment)

    def _define_cfa(self, code: int, cursor: Cursor) -> None:
        if code == 0x0F:  # def_cfa_expression
            self.cfa = Rule(EXPRESSION, 0, cursor.block())
            return
        if code in (0x0C, 0x0D, 0x12):  # def_cfa, def_cfa_register, def_cfa_sf
            self.cfa = Rule(REGISTER, cursor.unsigned())
        if code in (0x0C, 0x0E):  # def_cfa, def_cfa_offset
            self.cfa_offset = cursor.unsigned()
        elif code in (0x12, 0x13):  # def_cfa_sf, def_cfa_offset_sf
            self.cfa_offset = cursor.signed() * self._cie.data_alignment
        elif code != 0x0D:
            raise IndexError("an instruction of frames is not known")
