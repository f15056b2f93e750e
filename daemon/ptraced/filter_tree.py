"""Checked filters as immutable trees; equal filters are equal trees with equal `canonical`.

Numbers are 64 bits wide. Fields and results are signed but for 64-bit unsigned fields,
pointers and constants above the largest signed one; where both kinds meet, C's rule holds:
both count as unsigned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ptraced.glob_pattern import Pattern

INT_MIN, INT_MAX, UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1


class Pseudo(Enum):
    """What every event has without it being in its record."""

    TYPE = "common_type"
    # The kernel's "pid": the id of the thread that hit the event.
    THREAD = "common_pid"
    PROCESS = "_pid"
    CPU = "CPU"
    COMM = "COMM"


class Memory(Enum):
    """What a pointer field points into."""

    KERNEL = "kernel"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Constant:
    value: int

    @property
    def unsigned(self) -> bool:
        return self.value > INT_MAX

    @property
    def canonical(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Field:
    """A number from the record."""

    name: str
    unsigned: bool

    @property
    def canonical(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class PseudoNumber:
    source: Pseudo
    unsigned: bool = False

    @property
    def canonical(self) -> str:
        # No field of an event starts with a percent sign.
        return f"%{self.source.value}"


@dataclass(frozen=True, slots=True)
class Unary:
    """`-` or `~`."""

    operator: str
    operand: Number

    @property
    def unsigned(self) -> bool:
        return self.operand.unsigned

    @property
    def canonical(self) -> str:
        return f"({self.operator}{self.operand.canonical})"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`+ - * / % << >> & | ^`. Anything / 0 and % 0 is 0; shifts count modulo 64."""

    operator: str
    left: Number
    right: Number

    @property
    def unsigned(self) -> bool:
        if self.operator in ("<<", ">>"):
            return self.left.unsigned
        return self.left.unsigned or self.right.unsigned

    @property
    def canonical(self) -> str:
        return f"({self.left.canonical} {self.operator} {self.right.canonical})"


@dataclass(frozen=True, slots=True)
class Choice:
    """`condition ? then : otherwise`."""

    condition: Number
    then: Number
    otherwise: Number

    @property
    def unsigned(self) -> bool:
        return self.then.unsigned or self.otherwise.unsigned

    @property
    def canonical(self) -> str:
        parts = (self.condition, self.then, self.otherwise)
        return "({} ? {} : {})".format(*(part.canonical for part in parts))


@dataclass(frozen=True, slots=True)
class Comparison:
    """`== != < <= > >=` of numbers."""

    operator: str
    left: Number
    right: Number
    unsigned: bool = False

    @property
    def canonical(self) -> str:
        return f"({self.left.canonical} {self.operator} {self.right.canonical})"


@dataclass(frozen=True, slots=True)
class InSet:
    """Whether a number is in one of the ranges, which are inclusive, apart and sorted."""

    value: Number
    ranges: tuple[tuple[int, int], ...]
    unsigned: bool = False

    @property
    def canonical(self) -> str:
        ranges = ",".join(f"{low}-{high}" for low, high in self.ranges)
        return f"({self.value.canonical} in {{{ranges}}})"


@dataclass(frozen=True, slots=True)
class Match:
    """Whether text matches: of a field, of COMM, or of what a pointer field points to.

    `longest` is how many bytes of text there can be.
    """

    source: str | Pseudo
    memory: Memory | None
    longest: int
    pattern: Pattern
    unsigned: bool = False

    @property
    def canonical(self) -> str:
        name = f"%{self.source.value}" if isinstance(self.source, Pseudo) else self.source
        where = f"@{self.memory.value}:{self.longest}" if self.memory else ""
        pattern = json.dumps([self.pattern.items, sorted(self.pattern.stars)])
        return f"({name}{where} matches {pattern})"


@dataclass(frozen=True, slots=True)
class Not:
    operand: Number
    unsigned: bool = False

    @property
    def canonical(self) -> str:
        return f"(!{self.operand.canonical})"


@dataclass(frozen=True, slots=True)
class Logical:
    """`&&` or `||` of two terms or more, evaluated from the left as far as needed."""

    operator: str
    terms: tuple[Number, ...]
    unsigned: bool = False

    @property
    def canonical(self) -> str:
        return f"({f' {self.operator} '.join(term.canonical for term in self.terms)})"


# Whether something holds is a number, 0 or 1, in this language as in C.
Truth = Comparison | InSet | Match | Not | Logical
Number = Constant | Field | PseudoNumber | Unary | Arithmetic | Choice | Truth


def operands(node: Number) -> tuple[Number, ...]:
    """Return a node's direct operands."""
    match node:
        case Unary() | Not():
            return (node.operand,)
        case Arithmetic() | Comparison():
            return (node.left, node.right)
        case Choice():
            return (node.condition, node.then, node.otherwise)
        case Logical():
            return node.terms
        case InSet():
            return (node.value,)
        case _:
            return ()


def walk(node: Number) -> Iterator[Number]:
    """Yield a node and all nodes below it."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(operands(current))
