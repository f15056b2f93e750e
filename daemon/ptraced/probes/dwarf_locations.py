"""Where a parameter is when its function is entered, as far as DWARF tells."""

from __future__ import annotations

import enum

from elftools.dwarf.die import DIE
from elftools.dwarf.dwarf_expr import DWARFExprParser
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.dwarf.locationlists import BaseAddressEntry, LocationEntry, LocationParser

from ptraced.probes.user_places import Place

# Numbers of registers in DWARF (System V ABI, figure 3.36).
_X86_64 = (
    *("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{number}" for number in range(8, 16)),
)
_NUMBERED = {"x86_64": _X86_64, "aarch64": tuple(f"x{number}" for number in range(31))}
_REG0 = 0x50


class Entry(enum.Enum):
    """In a register that DWARF names; where the calling convention puts it; or not there."""

    REGISTER = enum.auto()
    CONVENTION = enum.auto()
    ELSEWHERE = enum.auto()


class Locations:
    """The places of the parameters of one function."""

    def __init__(self, dwarf: DWARFInfo, function: DIE, machine: str) -> None:
        lists = dwarf.location_lists()
        self._parser = LocationParser(lists) if lists is not None else None
        self._expressions = DWARFExprParser(function.cu.structs)
        self._function = function
        self._registers = _NUMBERED[machine]
        low = function.attributes.get("DW_AT_low_pc")
        self._start = low.value if low is not None else None

    def at_entry(self, parameter: DIE) -> tuple[Entry, Place | None]:
        """What is known; a place only with Entry.REGISTER."""
        location = parameter.attributes.get("DW_AT_location")
        if location is None or self._start is None or self._parser is None:
            known = "DW_AT_const_value" in parameter.attributes
            return (Entry.ELSEWHERE if known else Entry.CONVENTION), None
        parsed = self._parser.parse_from_attribute(
            location, self._function.cu["version"], parameter
        )
        if not isinstance(parsed, list):
            # One place for the whole function: its slot on the stack, where optimization is
            # off and it is not yet when the function is entered.
            return Entry.CONVENTION, None
        base = self._unit_base()
        for entry in parsed:
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            elif isinstance(entry, LocationEntry):
                offset = 0 if entry.is_absolute else base
                if offset + entry.begin_offset <= self._start < offset + entry.end_offset:
                    return self._from_expression(entry.loc_expr)
        return Entry.ELSEWHERE, None

    def _from_expression(self, expression: list[int]) -> tuple[Entry, Place | None]:
        operations = self._expressions.parse_expr(expression)
        if len(operations) == 1:
            number = operations[0].op - _REG0
            if 0 <= number < len(self._registers):
                return Entry.REGISTER, Place("register", self._registers[number])
            if operations[0].op_name == "DW_OP_fbreg" and operations[0].args[0] >= 0:
                # The caller's part of the stack.
                return Entry.CONVENTION, None
        return Entry.ELSEWHERE, None

    def _unit_base(self) -> int:
        low = self._function.cu.get_top_DIE().attributes.get("DW_AT_low_pc")
        return int(low.value) if low is not None else 0
