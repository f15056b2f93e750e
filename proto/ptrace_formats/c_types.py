"""C integer types and the arithmetic of C constants, as a 64-bit kernel computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class CType(NamedTuple):
    """An integer type: width in bits and whether it is signed."""

    bits: int
    signed: bool

    @property
    def name(self) -> str:
        """The kernel's fixed-width spelling, "u32"."""
        return f"{'s' if self.signed else 'u'}{self.bits}"


class Constant(NamedTuple):
    """A value known when the format is read, within the range of its type."""

    value: int
    type: CType


BOOL = CType(1, False)
INT = CType(32, True)
UNSIGNED = CType(32, False)
LONG = CType(64, True)
UNSIGNED_LONG = CType(64, False)

_BASE_WORDS = frozenset({"char", "short", "int", "long", "signed", "unsigned"})

# Typedefs by what they are on a 64-bit kernel (include/linux/types.h and the
# uapi headers below it); the formats of the kernel's own events use only few.
_TYPEDEFS = {
    "bool": BOOL,
    "_Bool": BOOL,
    **{
        f"{prefix}{sign}{bits}": CType(bits, sign == "s")
        for prefix in ("", "__")
        for sign in "su"
        for bits in (8, 16, 32, 64)
    },
    **{
        f"{sign}int{bits}_t": CType(bits, sign == "")
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
    **dict.fromkeys(("uchar", "u_char", "unchar"), CType(8, False)),
    **dict.fromkeys(("ushort", "u_short", "umode_t", "__be16", "__le16"), CType(16, False)),
    **dict.fromkeys(("pid_t", "clockid_t", "__kernel_rwf_t", "key_serial_t"), INT),
    **dict.fromkeys(
        ("uint", "u_int", "gfp_t", "dev_t", "uid_t", "gid_t", "fmode_t", "blk_opf_t"), UNSIGNED
    ),
    **dict.fromkeys(("__be32", "__le32", "vm_fault_t", "slab_flags_t"), UNSIGNED),
    **dict.fromkeys(("loff_t", "ssize_t", "off_t", "time_t", "ktime_t", "time64_t"), LONG),
    **dict.fromkeys(("ptrdiff_t", "intptr_t", "long_t"), LONG),
    **dict.fromkeys(
        ("ulong", "u_long", "size_t", "ino_t", "sector_t", "blkcnt_t", "phys_addr_t"),
        UNSIGNED_LONG,
    ),
    **dict.fromkeys(
        ("dma_addr_t", "resource_size_t", "pgoff_t", "uintptr_t", "__be64", "__le64"),
        UNSIGNED_LONG,
    ),
}


def is_type_word(word: str) -> bool:
    """Tell whether an identifier can only be (part of) a type name."""
    return word in _BASE_WORDS or word in _TYPEDEFS or word in ("struct", "union", "enum", "void")


def named_type(words: list[str]) -> CType | None:
    """Return the type that C words such as ["unsigned", "long"] name, None where unknown."""
    if words and words[0] == "enum":
        return UNSIGNED
    if len(words) == 1 and words[0] in _TYPEDEFS:
        return _TYPEDEFS[words[0]]
    if not words or not _BASE_WORDS.issuperset(words):
        return None
    # Plain char is unsigned in the kernel since 6.2 (-funsigned-char, 3bc753c06dd0).
    signed = "unsigned" not in words and ("char" not in words or "signed" in words)
    if "char" in words:
        return CType(8, signed)
    if "short" in words:
        return CType(16, signed)
    return CType(64 if "long" in words else 32, signed)


def convert(value: int, to: CType) -> Constant:
    """Convert a value to a type by C's rules: bool tests for zero, others wrap."""
    if to == BOOL:
        return Constant(int(value != 0), BOOL)
    value &= (1 << to.bits) - 1
    if to.signed and value >> (to.bits - 1):
        value -= 1 << to.bits
    return Constant(value, to)


def literal_type(value: int, suffix: str, decimal: bool) -> CType:
    """Return the type of an integer literal (C11 6.4.4.1) from its value and suffix."""
    suffix = suffix.lower()
    candidates = (INT, UNSIGNED, LONG, UNSIGNED_LONG)
    for candidate in candidates:
        if candidate.signed and "u" in suffix:
            continue
        if not candidate.signed and decimal and "u" not in suffix:
            continue
        if candidate.bits < 64 and "l" in suffix:
            continue
        if convert(value, candidate).value == value:
            return candidate
    return UNSIGNED_LONG


def common_type(left: CType, right: CType) -> CType:
    """Return the type in which C computes with two operands (C11 6.3.1.8)."""
    left, right = (INT if side.bits < 32 else side for side in (left, right))
    bits = max(left.bits, right.bits)
    return CType(bits, all(side.signed for side in (left, right) if side.bits == bits))


def _quotient(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _quotient,
    "%": lambda left, right: left - _quotient(left, right) * right,
    "&": lambda left, right: left & right,
    "|": lambda left, right: left | right,
    "^": lambda left, right: left ^ right,
}
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def fold_binary(operator: str, left: Constant, right: Constant) -> Constant | None:
    """Compute `left operator right`; None where C leaves it undefined."""
    if operator == "&&":
        return Constant(int(bool(left.value and right.value)), INT)
    if operator == "||":
        return Constant(int(bool(left.value or right.value)), INT)
    if operator in ("<<", ">>"):
        to = common_type(left.type, left.type)
        if not 0 <= right.value < to.bits:
            return None
        shifted = left.value << right.value if operator == "<<" else left.value >> right.value
        return convert(shifted, to)
    to = common_type(left.type, right.type)
    operands = convert(left.value, to).value, convert(right.value, to).value
    if operator in _COMPARISONS:
        return Constant(int(_COMPARISONS[operator](*operands)), INT)
    if operator in "/%" and operands[1] == 0:
        return None
    return convert(_ARITHMETIC[operator](*operands), to)


def fold_unary(operator: str, operand: Constant) -> Constant:
    """Compute `neg`, `~` or `!` of a constant."""
    if operator == "!":
        return Constant(int(not operand.value), INT)
    to = common_type(operand.type, operand.type)
    return convert(-operand.value if operator == "neg" else ~operand.value, to)
