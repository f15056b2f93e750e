"""The trees that arguments of a print format are, and the numbers in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class NotUnderstoodError(Exception):
    """Here libtraceevent stops."""


class Kind(Enum):
    """What a node is."""

    # Nothing: in front of the operator of `-x`.
    NOTHING = "nothing"
    # Words or a string: `text`, escapes as they are written.
    ATOM = "atom"
    # REC->text.
    FIELD = "field"
    # __print_flags: `parts` is what is printed, `text` the delimiter, `table` the names.
    FLAGS = "flags"
    # __print_symbolic, likewise.
    SYMBOLS = "symbols"
    # A function over `parts`.
    FUNCTION = "function"
    # A string of the record.
    TEXT = "text"
    # A dynamic array, its length, or a bitmask of the record.
    DYNAMIC = "dynamic"
    # A cast of `parts` to type `text`.
    CAST = "cast"
    # Operator `text` between the two `parts`.
    OPERATOR = "operator"


@dataclass(slots=True)
class Node:
    """A part of an argument; see Kind."""

    kind: Kind = Kind.NOTHING
    text: str = ""
    parts: list[Node] = field(default_factory=list)
    # (value, name) as the entries of a table evaluate.
    table: list[tuple[str, str]] = field(default_factory=list)
    # Of operators: the higher, the looser it binds.
    level: int = 0

    def become(self, other: Node) -> None:
        """Take over what another node is."""
        self.kind, self.text, self.level = other.kind, other.text, other.level
        self.parts, self.table = other.parts, other.table

    def copy(self) -> Node:
        """Return a node that is what this one is."""
        return Node(self.kind, self.text, self.parts, self.table, self.level)


def evaluated(node: Node) -> str:
    """Return an entry of a table as the text that its number is read from later."""
    while node.kind == Kind.CAST:
        [node] = node.parts
    if node.kind == Kind.ATOM:
        return node.text
    if node.kind == Kind.OPERATOR:
        return str(_number(node))
    raise NotUnderstoodError


_NUMBER: Final = re.compile(r"\s*([-+]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[0-9]+)")
_WIDTHS: Final = {
    **{f"{sign}{bits}": bits for sign in "us" for bits in (8, 16, 32)},
    **{
        f"{prefix}{name}": bits
        for prefix in ("", "unsigned ")
        for name, bits in (("char", 8), ("short", 16), ("int", 32))
    },
}


def leading_number(text: str) -> int:
    """Return the number that a text starts with, as strtol() with base 0 reads it; 0 for none."""
    match = _NUMBER.match(text)
    if match is None:
        return 0
    digits = match[2]
    octal = digits[0] == "0" and digits[1:2] not in ("x", "X")
    value = int(digits, 8) if octal else int(digits, 0)
    return -value if match[1] == "-" else value


def _signed(value: int) -> int:
    """Return the value as a long long holds it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


_ARITHMETIC: Final[dict[str, Callable[[int, int], int]]] = {
    "|": lambda left, right: left | right,
    "||": lambda left, right: int(bool(left or right)),
    "&": lambda left, right: left & right,
    "&&": lambda left, right: int(bool(left and right)),
    "<<": lambda left, right: left << (right & 63),
    ">>": lambda left, right: left >> (right & 63),
    "<": lambda left, right: int(left < right),
    "<=": lambda left, right: int(left <= right),
    ">": lambda left, right: int(left > right),
    ">=": lambda left, right: int(left >= right),
    "==": lambda left, right: int(left == right),
    "!=": lambda left, right: int(left != right),
    "-": lambda left, right: left - right,
    "+": lambda left, right: left + right,
}


def _number(node: Node) -> int:
    if node.kind == Kind.ATOM:
        return max(-(1 << 63), min(leading_number(node.text), (1 << 63) - 1))
    if node.kind == Kind.CAST:
        bits = _WIDTHS.get(node.text, 64)
        return _signed(_number(node.parts[0]) & ((1 << bits) - 1))
    if node.kind != Kind.OPERATOR:
        raise NotUnderstoodError
    if node.text == "~":
        return ~_number(node.parts[1])
    left, right = node.parts
    compute = _ARITHMETIC.get(node.text)
    if compute is None:
        raise NotUnderstoodError
    absent = left.kind == Kind.NOTHING and node.text in ("-", "+")
    return _signed(compute(0 if absent else _number(left), _number(right)))
