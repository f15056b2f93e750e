"""How many bytes an x86 instruction has.

Tells that and nothing else, for code of 32 and 64 bits: prefixes, opcode, ModRM, SIB,
displacement, immediates, as in the Intel SDM, volume 2, chapter 2 and appendix A.
"""

from __future__ import annotations

from typing import Final

_MOST: Final = 15
_LEGACY_PREFIXES: Final = frozenset(b"\xf0\xf2\xf3\x2e\x36\x3e\x26\x64\x65\x66\x67")
_OPERAND_SIZE: Final = 0x66
_ADDRESS_SIZE: Final = 0x67

# Immediates: bytes, or by the size of operands or addresses.
_WORD_OR_DWORD: Final = -1
_UP_TO_QWORD: Final = -2
_OFFSET: Final = -3
_FAR: Final = -4
_ENTER: Final = 3


def _ranges(*parts: tuple[int, int]) -> frozenset[int]:
    return frozenset(code for first, last in parts for code in range(first, last + 1))


# One-byte opcodes with a ModRM byte.
_MODRM: Final = (
    frozenset(row | column for row in range(0, 0x40, 8) for column in range(4))
    | _ranges((0x62, 0x63), (0x80, 0x8F), (0xC0, 0xC1), (0xC4, 0xC7), (0xD0, 0xD3), (0xD8, 0xDF))
    | frozenset((0x69, 0x6B, 0xF6, 0xF7, 0xFE, 0xFF))
)
_IMMEDIATES: Final[dict[int, int]] = {
    **{row | 4: 1 for row in range(0, 0x40, 8)},
    **{row | 5: _WORD_OR_DWORD for row in range(0, 0x40, 8)},
    0x68: _WORD_OR_DWORD,
    0x69: _WORD_OR_DWORD,
    0x6A: 1,
    0x6B: 1,
    **dict.fromkeys(range(0x70, 0x80), 1),
    0x80: 1,
    0x81: _WORD_OR_DWORD,
    0x82: 1,
    0x83: 1,
    0x9A: _FAR,
    **dict.fromkeys(range(0xA0, 0xA4), _OFFSET),
    0xA8: 1,
    0xA9: _WORD_OR_DWORD,
    **dict.fromkeys(range(0xB0, 0xB8), 1),
    **dict.fromkeys(range(0xB8, 0xC0), _UP_TO_QWORD),
    0xC0: 1,
    0xC1: 1,
    0xC2: 2,
    0xC6: 1,
    0xC7: _WORD_OR_DWORD,
    0xC8: _ENTER,
    0xCA: 2,
    0xCD: 1,
    0xD4: 1,
    0xD5: 1,
    **dict.fromkeys(range(0xE0, 0xE8), 1),
    0xE8: _WORD_OR_DWORD,
    0xE9: _WORD_OR_DWORD,
    0xEA: _FAR,
    0xEB: 1,
}
# Relative branches have 4 bytes in 64-bit code, whatever the operands' size.
_NEAR_BRANCHES: Final = frozenset((0xE8, 0xE9))
# Opcodes behind 0F that have no ModRM byte.
_NO_MODRM_0F: Final = (
    _ranges((0x04, 0x0C), (0x0E, 0x0E), (0x30, 0x37), (0x80, 0x8F), (0xA0, 0xA2), (0xA8, 0xAA))
    | _ranges((0xC8, 0xCF))
    | frozenset((0x77,))
) - frozenset((0x0D,))
_IMMEDIATE_0F: Final = _ranges((0x70, 0x73)) | frozenset(
    (0x0F, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6)
)


def instruction_length(code: bytes, is_64bit: bool) -> int | None:
    """Return the length of the instruction at the start of `code`; None if it is cut short."""
    try:
        length = _Reader(code[:_MOST], is_64bit).length()
    except IndexError:
        return None
    return length if length <= len(code[:_MOST]) else None


class _Reader:
    def __init__(self, code: bytes, is_64bit: bool) -> None:
        self._code = code
        self._is_64bit = is_64bit
        self._at = 0
        self._small_operands = False
        self._other_addresses = False
        self._wide = False

    def length(self) -> int:
        """Raise IndexError where the code ends before that is clear."""
        opcode = self._prefixes()
        if opcode in (0xC4, 0xC5, 0x62) and (self._is_64bit or self._code[self._at] >= 0xC0):
            return self._vector(opcode)
        if opcode == 0x0F:
            return self._two_bytes()
        has_modrm = opcode in _MODRM
        modrm = self._code[self._at] if has_modrm else 0
        if has_modrm:
            self._modrm()
        immediate = self._immediate(_IMMEDIATES.get(opcode, 0), opcode)
        if opcode in (0xF6, 0xF7) and not modrm >> 4 & 3:
            immediate = 1 if opcode == 0xF6 else self._immediate(_WORD_OR_DWORD, opcode)
        return self._at + immediate

    def _next(self) -> int:
        value = self._code[self._at]
        self._at += 1
        return value

    def _prefixes(self) -> int:
        byte = self._next()
        while byte in _LEGACY_PREFIXES:
            self._small_operands |= byte == _OPERAND_SIZE
            self._other_addresses |= byte == _ADDRESS_SIZE
            byte = self._next()
        if self._is_64bit and byte & 0xF0 == 0x40:
            self._wide = bool(byte & 8)
            byte = self._next()
        return byte

    def _two_bytes(self) -> int:
        opcode = self._next()
        if opcode in (0x38, 0x3A):
            self._at += 1
            self._modrm()
            return self._at + (opcode == 0x3A)
        if 0x80 <= opcode < 0x90:
            return self._at + self._immediate(_WORD_OR_DWORD, 0xE9)
        if opcode not in _NO_MODRM_0F:
            self._modrm()
        return self._at + (opcode in _IMMEDIATE_0F)

    def _vector(self, kind: int) -> int:
        """Go on behind the first byte of VEX or EVEX."""
        table = 1
        if kind == 0xC4:
            table = self._code[self._at] & 0x1F
        elif kind == 0x62:
            table = self._code[self._at] & 7
        self._at += {0xC5: 1, 0xC4: 2, 0x62: 3}[kind]
        opcode = self._next()
        if table == 1 and opcode == 0x77:
            return self._at
        self._modrm()
        has_immediate = table == 3 or (table == 1 and opcode in _IMMEDIATE_0F)
        return self._at + has_immediate

    def _modrm(self) -> None:
        """Go over ModRM, SIB and the displacement."""
        modrm = self._next()
        mode, register = modrm >> 6, modrm & 7
        if mode == 3:
            return
        if not self._is_64bit and self._other_addresses:
            self._at += {0: 2 * (register == 6), 1: 1, 2: 2}[mode]
            return
        base = register
        if register == 4:
            base = self._next() & 7
        if mode == 0 and base == 5:
            self._at += 4
        elif mode:
            self._at += 1 if mode == 1 else 4

    def _immediate(self, kind: int, opcode: int) -> int:
        operands = 2 if self._small_operands and not self._wide else 4
        if kind == _WORD_OR_DWORD:
            return 4 if self._is_64bit and opcode in _NEAR_BRANCHES else operands
        if kind == _UP_TO_QWORD:
            return 8 if self._wide else operands
        if kind == _OFFSET:
            if self._is_64bit:
                return 4 if self._other_addresses else 8
            return 2 if self._other_addresses else 4
        return operands + 2 if kind == _FAR else kind
