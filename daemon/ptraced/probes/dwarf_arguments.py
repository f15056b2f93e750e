"""Where a function's arguments are when it is entered: the calling convention, and DWARF.

System V ABI for AMD64, 3.2.3; Procedure Call Standard for the Arm 64-bit Architecture, 6.4.
An optimizing compiler may pass the arguments of a function that nobody else can call as it
likes; where DWARF tells of a register at the function's entry, that is the one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ptraced.probes.dwarf_types import Passed, Scalar
from ptraced.probes.user_places import ARGUMENTS, STACK_POINTER, Place

_FLOATS = 8
# The return address lies there when an x86 function is entered.
_STACK_START = {"x86_64": 8, "aarch64": 0}


@dataclass(slots=True)
class Convention:
    """Hands out places for arguments in their order."""

    machine: str
    integers: int = 0
    floats: int = 0
    stack: int = 0

    def returns_in_memory(self) -> None:
        """The result's address comes before the arguments; on aarch64 in a register of its own."""
        if self.machine == "x86_64":
            self.integers += 1

    def scalar(self) -> Place:
        """Where the next integer or pointer is."""
        registers = ARGUMENTS[self.machine]
        if self.integers < len(registers):
            self.integers += 1
            return Place("register", registers[self.integers - 1])
        return self._on_stack(8, 8)

    def take(self, passed: Passed) -> None:
        """Skip an argument that is no integer or pointer."""
        if self.machine == "aarch64":
            self._take_arm(passed)
            return
        if passed.words is None:
            self._on_stack(passed.size, passed.alignment)
            return
        integers, floats = passed.words.count("integer"), passed.words.count("float")
        free = len(ARGUMENTS[self.machine]) - self.integers
        if integers <= free and floats <= _FLOATS - self.floats:
            self.integers += integers
            self.floats += floats
        else:
            self._on_stack(passed.size, passed.alignment)

    def _take_arm(self, passed: Passed) -> None:
        registers = len(ARGUMENTS[self.machine])
        if passed.words == ():
            return
        if passed.floats_only and passed.words is not None:
            # The members of one kind of float take a register each; which kind is not known
            # here, and no integer depends on it.
            self.floats += 1
            return
        if passed.words is None:
            # Its address, or the registers of up to four floats.
            if not passed.floats_only:
                self.scalar()
            return
        if passed.alignment == 16:
            self.integers += self.integers % 2
        if len(passed.words) <= registers - self.integers:
            self.integers += len(passed.words)
        else:
            self.integers = registers
            self._on_stack(passed.size, passed.alignment)

    def _on_stack(self, size: int, alignment: int) -> Place:
        alignment = max(8, alignment)
        start = (self.stack + alignment - 1) // alignment * alignment
        self.stack = start + (size + 7) // 8 * 8
        return Place("memory", STACK_POINTER[self.machine], start + _STACK_START[self.machine])


def place_of(convention: Convention, type_: Scalar | Passed) -> Place | None:
    """The place of the next argument; None for one that is no integer or pointer."""
    if isinstance(type_, Scalar):
        return convention.scalar()
    convention.take(type_)
    return None
