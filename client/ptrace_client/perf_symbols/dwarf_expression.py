"""Computes what DWARF expressions of frames give (DWARF 5, 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ptrace_client.perf_symbols.cfi import Cursor

_MASK = (1 << 64) - 1
_STEPS_MAX = 1000
_STACK_MAX = 256
_CONSTANTS = {
    0x08: "<B",
    0x09: "<b",
    0x0A: "<H",
    0x0B: "<h",
    0x0C: "<I",
    0x0D: "<i",
    0x0E: "<Q",
    0x0F: "<q",
}


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b,
    0x1C: lambda a, b: a - b,
    0x1E: lambda a, b: a * b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << b if b < 64 else 0,
    0x25: lambda a, b: a >> b if b < 64 else 0,
    0x26: lambda a, b: _signed(a) >> min(b, 63),
    0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: int(a == b),
    0x2A: lambda a, b: int(_signed(a) >= _signed(b)),
    0x2B: lambda a, b: int(_signed(a) > _signed(b)),
    0x2C: lambda a, b: int(_signed(a) <= _signed(b)),
    0x2D: lambda a, b: int(_signed(a) < _signed(b)),
    0x2E: lambda a, b: int(a != b),
}


def evaluate(
    expression: bytes,
    registers: Mapping[int, int],
    read: Callable[[int], int],
    start: int | None = None,
) -> int:
    """Return what an expression leaves on its stack, which has `start` on it at first.

    `read` gives the 8 bytes at an address. Raise LookupError or struct.error where it cannot be
    computed.
    """
    stack = [] if start is None else [start]
    cursor = Cursor(expression, 0, len(expression))
    steps = 0
    while cursor.at < cursor.end:
        steps += 1
        if steps > _STEPS_MAX or len(stack) > _STACK_MAX:
            raise LookupError("an expression does not end")
        _step(cursor, stack, registers, read)
    return stack.pop()


def _step(
    cursor: Cursor, stack: list[int], registers: Mapping[int, int], read: Callable[[int], int]
) -> None:
    code = cursor.number("<B")
    if code in _BINARY:
        right, left = stack.pop(), stack.pop()
        stack.append(_BINARY[code](left, right) & _MASK)
    elif 0x30 <= code <= 0x4F:  # lit0 and so on
        stack.append(code - 0x30)
    elif 0x70 <= code <= 0x8F:  # breg0 and so on
        stack.append((registers[code - 0x70] + cursor.signed()) & _MASK)
    elif code in _CONSTANTS:
        stack.append(cursor.number(_CONSTANTS[code]) & _MASK)
    elif code == 0x06:  # deref
        stack.append(read(stack.pop()))
    elif code == 0x10:  # constu
        stack.append(cursor.unsigned() & _MASK)
    elif code == 0x11:  # consts
        stack.append(cursor.signed() & _MASK)
    elif code == 0x12:  # dup
        stack.append(stack[-1])
    elif code == 0x13:  # drop
        stack.pop()
    elif code == 0x14:  # over
        stack.append(stack[-2])
    elif code == 0x16:  # swap
        stack[-1], stack[-2] = stack[-2], stack[-1]
    elif code == 0x1F:  # neg
        stack.append(-stack.pop() & _MASK)
    elif code == 0x20:  # not
        stack.append(~stack.pop() & _MASK)
    elif code == 0x23:  # plus_uconst
        stack.append((stack.pop() + cursor.unsigned()) & _MASK)
    elif code == 0x28:  # bra
        distance = cursor.number("<h")
        if stack.pop():
            cursor.at = _target(cursor, distance)
    elif code == 0x2F:  # skip
        distance = cursor.number("<h")
        cursor.at = _target(cursor, distance)
    elif code != 0x96:  # nop
        raise LookupError("an operation is not known")


def _target(cursor: Cursor, distance: int) -> int:
    if not 0 <= cursor.at + distance <= cursor.end:
        raise LookupError("an expression jumps out of itself")
    return cursor.at + distance
