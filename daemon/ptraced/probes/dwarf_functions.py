"""Functions in debug information: names and types of their arguments, and of what they return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.dwarf.ranges import BaseAddressEntry
from elftools.elf.elffile import ELFFile

from ptraced.probes.dwarf_arguments import Convention, place_of
from ptraced.probes.dwarf_dies import (
    LANGUAGES,
    RUST,
    UnknownType,
    attribute,
    language,
    name_of,
    type_of,
)
from ptraced.probes.dwarf_locations import Entry, Locations
from ptraced.probes.dwarf_types import Passed, Scalar, describe
from ptraced.probes.elf_answer import Argument
from ptraced.probes.elf_functions import Function
from ptraced.probes.elf_image import Image
from ptraced.probes.user_places import RETURNED, Place

# All debug sections together, uncompressed; larger ones are not read.
_DEBUG_BYTES_MAX = 256 << 20
# Of compilation units that are parsed for one question, 0.7 s each MiB.
_PARSED_BYTES_MAX = 4 << 20
# Later ones are left out; records of probes are small.
_ARGUMENTS_MAX = 16
_SCOPES = ("DW_TAG_namespace", "DW_TAG_module", "DW_TAG_structure_type", "DW_TAG_class_type")
_SCOPES_DEPTH = 16
# What parsing hostile data may raise: pyelftools asserts, looks up what is not there, and has
# forms that it does not implement. Whoever wrote it gets arguments without names.
_BROKEN = (
    ELFError, DWARFError, UnknownType, KeyError, ValueError, IndexError, AttributeError,
    TypeError, AssertionError, OverflowError, RecursionError, NotImplementedError, MemoryError,
)  # fmt: skip

Values = list[tuple[Argument, Place]]


class DebugInformation:
    """What an image or its separate debug file says about its functions."""

    def __init__(self, image: Image) -> None:
        self._machine = image.machine
        self._parsed = 0
        self._units: dict[int, dict[int, DIE]] = {}
        self._dwarf = _dwarf(image.elf)
        if self._dwarf is None:
            debug = image.debug_file()
            self._dwarf = _dwarf(debug) if debug is not None else None
        self._unit_starts = None if self._dwarf is None else _Units(self._dwarf)

    def arguments(self, function: Function) -> Values | None:
        """The named integer and pointer arguments at the function's entry; None if unknown."""
        try:
            die = self._function(function.start)
            return None if die is None else self._arguments(die, function)
        except _BROKEN:
            return None

    def returned(self, function: Function) -> Values | None:
        """What the function returns, nothing for void and floats; None if unknown."""
        try:
            die = self._function(function.start)
            if die is None:
                return None
            inner = type_of(die)
            result = describe(inner) if inner is not None else None
        except _BROKEN:
            return None
        if not isinstance(result, Scalar):
            return []
        place = Place("register", RETURNED[self._machine])
        return [_value(0, "ret", result, place)]

    def _arguments(self, die: DIE, function: Function) -> Values | None:
        spoken = language(die)
        if spoken not in LANGUAGES:
            return None
        convention = Convention(self._machine)
        inner = type_of(die)
        result = describe(inner) if inner is not None else None
        if isinstance(result, Passed):
            if spoken == RUST and result.size:
                return None
            if result.words is None or result.by_address:
                convention.returns_in_memory()
        free = bool(attribute(die, "DW_AT_external")) or not function.local
        assert self._dwarf is not None
        locations = Locations(self._dwarf, die, self._machine)
        found: Values = []
        for number, parameter in enumerate(islice(_parameters(die), _ARGUMENTS_MAX), 1):
            try:
                inner = type_of(parameter)
                if inner is None:
                    break
                type_ = describe(inner)
            except _BROKEN:
                break
            place = place_of(convention, type_)
            entry, register = locations.at_entry(parameter)
            if entry is Entry.REGISTER:
                place = register
            elif "." in function.symbol or (entry is Entry.ELSEWHERE and not free):
                place = None
            if isinstance(type_, Scalar) and place is not None:
                name = name_of(parameter) or f"arg{number}"
                found.append(_value(number, name, type_, place))
        return found

    def _function(self, address: int) -> DIE | None:
        if self._dwarf is None or self._unit_starts is None:
            return None
        unit = self._unit_starts.at(address)
        if unit is None:
            return None
        if unit.cu_offset not in self._units:
            self._parsed += unit["unit_length"]
            if self._parsed > _PARSED_BYTES_MAX:
                return None
            self._units[unit.cu_offset] = dict(_with_address(unit.get_top_DIE(), 0))
        return self._units[unit.cu_offset].get(address)


def _value(number: int, name: str, type_: Scalar, place: Place) -> tuple[Argument, Place]:
    at = replace(place, size=type_.size, signed=type_.kind == "signed")
    return Argument(number, name, type_.ctype, type_.kind, type_.size), at


class _Units:
    """Compilation units by the addresses that they cover."""

    def __init__(self, dwarf: DWARFInfo) -> None:
        self._dwarf = dwarf
        self._ranges: list[tuple[int, int, CompileUnit]] | None = None
        try:
            self._aranges = dwarf.get_aranges()
        except _BROKEN:
            self._aranges = None

    def at(self, address: int) -> CompileUnit | None:
        if self._aranges is not None:
            offset = self._aranges.cu_offset_at_addr(address)
            if offset is not None:
                return self._dwarf.get_CU_at(offset)
        # clang writes no .debug_aranges; the units themselves tell.
        if self._ranges is None:
            self._ranges = list(_covered(self._dwarf))
        for start, end, unit in self._ranges:
            if start <= address < end:
                return unit
        return None


def _covered(dwarf: DWARFInfo) -> Iterator[tuple[int, int, CompileUnit]]:
    lists = dwarf.range_lists()
    for unit in dwarf.iter_CUs():
        top = unit.get_top_DIE().attributes
        low = top["DW_AT_low_pc"].value if "DW_AT_low_pc" in top else 0
        if "DW_AT_high_pc" in top:
            high = top["DW_AT_high_pc"]
            yield low, high.value + (0 if high.form == "DW_FORM_addr" else low), unit
        elif "DW_AT_ranges" in top and lists is not None:
            for entry in lists.get_range_list_at_offset(top["DW_AT_ranges"].value, unit):
                if isinstance(entry, BaseAddressEntry):
                    low = entry.base_address
                else:
                    base = 0 if entry.is_absolute else low
                    yield base + entry.begin_offset, base + entry.end_offset, unit


def _with_address(die: DIE, depth: int) -> Iterator[tuple[int, DIE]]:
    for child in die.iter_children():
        if child.tag == "DW_TAG_subprogram":
            low = child.attributes.get("DW_AT_low_pc")
            ranges = child.attributes.get("DW_AT_ranges")
            if low is not None:
                yield low.value, child
            elif ranges is not None:
                yield from _first_range(child, ranges.value)
        elif child.tag in _SCOPES and depth < _SCOPES_DEPTH:
            yield from _with_address(child, depth + 1)


def _first_range(die: DIE, offset: int) -> Iterator[tuple[int, DIE]]:
    """A function in several pieces, hot and cold, starts with the first."""
    lists = die.dwarfinfo.range_lists()
    if lists is None or not isinstance(die.cu, CompileUnit):
        return
    base = die.cu.get_top_DIE().attributes.get("DW_AT_low_pc")
    low = base.value if base else 0
    for entry in lists.get_range_list_at_offset(offset, die.cu):
        if isinstance(entry, BaseAddressEntry):
            low = entry.base_address
            continue
        yield (0 if entry.is_absolute else low) + entry.begin_offset, die
        return


def _parameters(die: DIE) -> Iterator[DIE]:
    return (child for child in die.iter_children() if child.tag == "DW_TAG_formal_parameter")


def _dwarf(elf: ELFFile) -> DWARFInfo | None:
    try:
        sizes = [
            section.data_size
            for section in elf.iter_sections()
            if section.name.startswith((".debug_", ".zdebug_"))
        ]
        if not elf.has_dwarf_info(strict=True) or sum(sizes) > _DEBUG_BYTES_MAX:
            return None
        return elf.get_dwarf_info(relocate_dwarf_sections=False, follow_links=False)
    except _BROKEN:
        return None
