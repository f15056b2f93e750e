"""C, C++ and Rust types as DWARF describes them, as far as arguments of functions need it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from elftools.dwarf.die import DIE

from ptraced.probes.dwarf_classes import is_passed_by_address
from ptraced.probes.dwarf_dies import (
    CPP,
    POINTERS,
    RUST,
    STRUCTURES,
    UnknownType,
    bare_type,
    language,
    name_of,
    number,
    spelling,
    type_of,
)

# Members of a structure that are looked at: it is passed in registers up to 16 bytes.
_MEMBERS_MAX = 64
_DEPTH_MAX = 8
# DW_ATE_*: boolean, signed, signed_char, float, complex_float, unsigned and character ones.
_BOOLEAN, _COMPLEX, _FLOAT = 2, 3, 4
_SIGNED = (5, 6)
_UNSIGNED = (1, 7, 8, 0x10)


@dataclass(frozen=True, slots=True)
class Scalar:
    """An integer, enum or pointer of 1, 2, 4 or 8 bytes; `kind` as in elf_answer.Argument."""

    ctype: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class Passed:
    """Something else, by how it is passed.

    `words` are the classes of its 8-byte words, "integer" or "float", none for what is
    empty; None where it is in memory. `size` and `alignment` are in bytes. Of one that is
    passed `by_address` they are those of the address.
    """

    size: int
    words: tuple[str, ...] | None
    alignment: int = 8
    floats_only: bool = False
    by_address: bool = False


def describe(die: DIE) -> Scalar | Passed:
    """How a value of a type is passed; raises UnknownType."""
    ctype = spelling(die)
    bare = bare_type(die)
    size = number(bare, "DW_AT_byte_size")
    if bare.tag in POINTERS or bare.tag == "DW_TAG_unspecified_type":
        return Scalar(ctype, "pointer", 8)
    if bare.tag == "DW_TAG_ptr_to_member_type":
        return _member_pointer(bare)
    if bare.tag == "DW_TAG_enumeration_type":
        return _enumeration(bare, ctype, size)
    if bare.tag == "DW_TAG_base_type":
        return _base(bare, ctype, size)
    if bare.tag in STRUCTURES:
        if language(bare) in CPP and is_passed_by_address(bare):
            return Passed(8, ("integer",), by_address=True)
        return _structure(bare, size)
    raise UnknownType(bare.tag)


def _base(die: DIE, ctype: str, size: int) -> Scalar | Passed:
    encoding = number(die, "DW_AT_encoding")
    if size in (1, 2, 4, 8) and encoding in (_BOOLEAN, *_SIGNED, *_UNSIGNED):
        kind = "signed" if encoding in _SIGNED else "unsigned"
        return Scalar(ctype, "bool" if encoding == _BOOLEAN and size == 1 else kind, size)
    if size == 16 and encoding in (*_SIGNED, *_UNSIGNED):
        return Passed(16, ("integer", "integer"), 16)
    if encoding == _FLOAT and size in (2, 4, 8):
        return Passed(size, ("float",), size, floats_only=True)
    if encoding == _FLOAT and size == 16 and name_of(die) == "long double":
        # x87's; elsewhere it is a float of 128 bits, in one register.
        return Passed(16, None, 16)
    if encoding == _COMPLEX and size in (8, 16):
        return Passed(size, ("float",) * (size // 8), 8, floats_only=True)
    if size == 0:
        return Passed(0, (), 1)
    raise UnknownType(ctype)


def _enumeration(die: DIE, ctype: str, size: int) -> Scalar:
    under = type_of(die)
    signed = under is not None and number(bare_type(under), "DW_AT_encoding") in _SIGNED
    if size not in (1, 2, 4, 8):
        raise UnknownType(ctype)
    return Scalar(ctype, "signed" if signed else "unsigned", size)


def _member_pointer(die: DIE) -> Scalar | Passed:
    pointed = type_of(die)
    if pointed is not None and pointed.tag == "DW_TAG_subroutine_type":
        return Passed(16, ("integer", "integer"))
    return Scalar("ptrdiff_t", "signed", 8)


def _structure(die: DIE, size: int) -> Passed:
    """The rule of the System V ABI, 3.2.3; of AAPCS64 the caller knows what differs."""
    spoken = language(die)
    if spoken == RUST and size:
        raise UnknownType("Rust's own rules, which change")
    if "DW_AT_declaration" in die.attributes:
        raise UnknownType("a structure that is only declared")
    words = ["none"] * ((size + 7) // 8)
    alignment = 1
    floats = True
    for offset, member_size, kind in _leaves(die, 0, 0):
        alignment = max(alignment, member_size)
        floats = floats and kind == "float"
        if offset % member_size or offset + member_size > size:
            return Passed(size, None, 8)
        if size > 16:
            continue
        for word in range(offset // 8, (offset + member_size - 1) // 8 + 1):
            words[word] = "integer" if "integer" in (kind, words[word]) else "float"
    if size > 16:
        return Passed(size, None, max(8, alignment), floats)
    return Passed(size, tuple(word for word in words if word != "none"), max(8, alignment), floats)


def _leaves(die: DIE, base: int, depth: int) -> Iterator[tuple[int, int, str]]:
    """Offset, size and class of each number in a structure."""
    if depth > _DEPTH_MAX:
        raise UnknownType("a structure too deep")
    members = 0
    for child in die.iter_children():
        if child.tag not in ("DW_TAG_member", "DW_TAG_inheritance"):
            continue
        members += 1
        if members > _MEMBERS_MAX:
            raise UnknownType("a structure with many members")
        if "DW_AT_external" in child.attributes or "DW_AT_declaration" in child.attributes:
            continue
        if child.tag == "DW_TAG_inheritance" and "DW_AT_virtuality" in child.attributes:
            raise UnknownType("a virtual base")
        bits = child.attributes.get("DW_AT_data_bit_offset")
        if bits or "DW_AT_bit_size" in child.attributes:
            at = bits.value // 8 if bits else number(child, "DW_AT_data_member_location")
            yield base + at, 1, "integer"
            continue
        inner = type_of(child)
        if inner is not None:
            offset = base + number(child, "DW_AT_data_member_location")
            yield from _of_type(bare_type(inner), offset, depth)


def _of_type(die: DIE, offset: int, depth: int) -> Iterator[tuple[int, int, str]]:
    if die.tag in STRUCTURES:
        yield from _leaves(die, offset, depth + 1)
        return
    if die.tag == "DW_TAG_array_type":
        yield from _elements(die, offset, depth)
        return
    found = describe(die)
    if isinstance(found, Scalar):
        yield offset, found.size, "integer"
    elif found.words is None:
        raise UnknownType("a long double inside")
    else:
        part = found.size // max(len(found.words), 1)
        for index, kind in enumerate(found.words):
            yield offset + index * part, part, kind


def _elements(die: DIE, offset: int, depth: int) -> Iterator[tuple[int, int, str]]:
    if "DW_AT_GNU_vector" in die.attributes:
        raise UnknownType("a vector")
    element = type_of(die)
    count = 1
    for child in die.iter_children():
        if child.tag == "DW_TAG_subrange_type":
            if "DW_AT_count" in child.attributes:
                count *= number(child, "DW_AT_count")
            else:
                count *= number(child, "DW_AT_upper_bound") + 1
    if element is None or not 0 <= count <= _MEMBERS_MAX:
        raise UnknownType("a large array")
    bare = bare_type(element)
    size = number(bare, "DW_AT_byte_size") or 8
    for index in range(count):
        yield from _of_type(bare, offset + index * size, depth + 1)
